//! The legs of a stream with files, one at a time.

use std::sync::Arc;

use sift_rs::ingestion_configs::v2::{CreateIngestionConfigRequest, FlowConfig};

use super::disk::{Disk, Recording, blocking};
use super::error::StreamError;
use super::forms::RunSelector;
use super::intake::{Closed, Intake, RecorderIntake};
use super::leg::schema;
use crate::record::{Encoder, RecordError, SchemaError};

/// Why a stream that should have begun another leg, and couldn't, takes nothing.
const NO_LEG: &str = "its recording couldn't go on without the run: see the log";

/// The leg that is being recorded.
pub(super) struct Legs {
    pub(super) disk: Arc<Disk>,
    /// With all flows so far.
    config: CreateIngestionConfigRequest,
    /// `None`: another one was to begin, and couldn't.
    current: Option<(Recording, RecorderIntake)>,
}

impl Legs {
    pub(super) fn new(disk: Arc<Disk>, config: CreateIngestionConfigRequest) -> Self {
        Self { disk, config, current: None }
    }

    pub(super) fn config(&self) -> &CreateIngestionConfigRequest {
        &self.config
    }

    pub(super) fn recording(&self) -> Option<&Recording> {
        self.current.as_ref().map(|(recording, _)| recording)
    }

    /// Begins a leg; should that fail, everything is as it was.
    pub(super) async fn begin(&mut self, run: Option<RunSelector>) -> Result<Recording, StreamError> {
        let (disk, config) = (self.disk.clone(), self.config.clone());
        let recording = blocking(move || disk.begin(&config, run)).await?;
        self.current = Some((recording.clone(), self.disk.intake(&recording)));
        Ok(recording)
    }

    /// Begins a leg without a run. Blocks for as long as it takes to make a file. Should that fail, nothing more is taken:
    /// it would go into the wrong run.
    pub(super) fn begin_without_run(&mut self) -> Option<Recording> {
        let begun = self.disk.begin(&self.config, None);
        if let Err(error) = &begun {
            tracing::error!(%error, "the run can't be detached, so the stream is closed");
        }
        self.current = begun.ok().map(|recording| (recording.clone(), self.disk.intake(&recording)));
        self.recording().cloned()
    }

    pub(super) fn intake(&self) -> &dyn Intake {
        match &self.current {
            Some((_, intake)) => intake,
            None => &Closed,
        }
    }

    /// Why nothing is taken in any more.
    pub(super) fn closed(&self) -> Option<String> {
        match &self.current {
            Some((recording, _)) => recording.closed(),
            None => Some(NO_LEG.to_owned()),
        }
    }

    /// Records may have these flows from now on.
    pub(super) async fn add_flows(&mut self, flows: &[FlowConfig]) -> Result<(), StreamError> {
        let Some(recording) = self.recording().cloned() else { return Err(StreamError::Closed(NO_LEG.to_owned())) };
        let new = unknown_flows(&self.config, flows)?;
        let added = new.clone();
        blocking(move || recording.add_flows(&added)).await?;
        self.config.flows.extend(new);
        Ok(())
    }
}

/// Those of `flows` that the config doesn't have yet.
///
/// # Errors
/// One of them makes no sense, or the config has another flow of that name.
pub(super) fn unknown_flows(
    config: &CreateIngestionConfigRequest,
    flows: &[FlowConfig],
) -> Result<Vec<FlowConfig>, RecordError> {
    let mut new: Vec<FlowConfig> = Vec::new();
    for flow in flows {
        match config.flows.iter().chain(&new).find(|known| known.name == flow.name) {
            Some(known) if known == flow => {}
            Some(_) => return Err(SchemaError::FlowDiffers { flow: flow.name.clone() }.into()),
            None => new.push(flow.clone()),
        }
    }
    let alone = CreateIngestionConfigRequest { flows: new, ..config.clone() };
    Encoder::new(&schema(&alone, None)?)?;
    Ok(alone.flows)
}
