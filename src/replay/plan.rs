//! What is to be replayed, in which order: sessions, then the official library's backups.

use std::path::PathBuf;
use std::sync::Arc;

use sift_rs::ingestion_configs::v2::CreateIngestionConfigRequest;
use sift_rs::runs::v2::CreateRunRequest;

use crate::catalog::{Catalog, Requests, Session};

/// One piece of work: its records go out in order.
#[derive(Debug, Clone)]
pub(super) enum Job {
    Session(Arc<Session>),
    Pbfs(PathBuf),
}

/// The jobs of a catalog, in order.
pub(super) fn plan(catalog: &Catalog) -> Vec<Job> {
    let sessions = catalog.sessions.iter().cloned().map(|session| Job::Session(Arc::new(session)));
    sessions.chain(catalog.pbfs.iter().map(|file| Job::Pbfs(file.path.clone()))).collect()
}

/// A session's requests as Sift's own types.
pub(super) fn sift_requests(
    requests: &Requests,
) -> Result<(CreateIngestionConfigRequest, Option<CreateRunRequest>), prost::DecodeError> {
    use prost::Message;
    let config = CreateIngestionConfigRequest::decode(&requests.ingestion_config[..])?;
    let run = requests.run.as_deref().map(CreateRunRequest::decode).transpose()?;
    Ok((config, run))
}
