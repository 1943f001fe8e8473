//! What a stream is about: its asset, flows and run.

use sift_rs::ingestion_configs::v2::{CreateIngestionConfigRequest, FlowConfig};
use sift_rs::metadata::v1::MetadataValue;

/// An ingestion config, found by its client key or created. Using the same form again uses the same config; a flow
/// whose channels change needs another name, or the config another key.
#[derive(Debug, Clone)]
pub struct IngestionConfigForm {
    /// The asset that the telemetry is of.
    pub asset_name: String,
    /// By which Sift finds the config again; unique within the organization.
    pub client_key: String,
    /// The flows with their channels.
    pub flows: Vec<FlowConfig>,
}

impl IngestionConfigForm {
    /// The request that makes it.
    pub(super) fn request(&self) -> CreateIngestionConfigRequest {
        let Self { asset_name, client_key, flows } = self.clone();
        CreateIngestionConfigRequest { asset_name, client_key, flows, ..CreateIngestionConfigRequest::default() }
    }
}

/// A run, found by its client key or created. Of a run that is there, what isn't `None` here is set, the rest is left
/// as it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunForm {
    /// Its name.
    pub name: String,
    /// By which Sift finds it again; unique within the organization.
    pub client_key: String,
    /// What it is.
    pub description: Option<String>,
    /// Its tags.
    pub tags: Option<Vec<String>>,
    /// Its metadata.
    pub metadata: Option<Vec<MetadataValue>>,
}

/// Which run.
#[derive(Debug, Clone, PartialEq)]
pub enum RunSelector {
    /// The one with this id.
    ById(String),
    /// The one of this form, found or created.
    ByForm(RunForm),
}
