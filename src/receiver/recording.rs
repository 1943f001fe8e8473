//! The store that really stores: a recorder for each ingestion config and run, so that what a receiver got is a backup
//! like any other, and can be replayed.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};

use prost::Message;
use sift_rs::ingestion_configs::v2::{CreateIngestionConfigFlowsRequest, CreateIngestionConfigRequest};
use sift_rs::runs::v2::CreateRunRequest;
use uuid::Uuid;

use super::error::RegistryError;
use super::state::Registry;
use super::store::{SessionKey, Store, StoreError};
use crate::catalog::{Catalog, Requests};
use crate::format::{Bounded, IngestionConfig, MAX_MESSAGE_PARTS, Run};
use crate::record::{RecordError, Recorded, Recorder, RecorderOptions, Schema};

/// Records what a receiver gets, as sessions below a directory.
pub struct RecordingStore {
    root: PathBuf,
    options: RecorderOptions,
    sessions: RwLock<HashMap<SessionKey, Session>>,
}

struct Session {
    recorder: Arc<Recorder>,
    /// How many of the config's flows the recorder has.
    flows: usize,
}

impl RecordingStore {
    /// Records below `root`. Whatever the options' sync policy, a stream is acknowledged only when it is durable.
    pub fn new(root: &Path, options: RecorderOptions) -> Self {
        Self { root: root.to_owned(), options, sessions: RwLock::default() }
    }

    /// Seals all segments. Nothing can be stored in the sessions so far afterwards.
    ///
    /// # Errors
    /// The first recorder's that fails; the others are finished all the same.
    pub fn finish(&self) -> Result<(), RecordError> {
        let sessions = std::mem::take(&mut *self.lock());
        let results: Vec<_> = sessions.into_values().map(|session| session.recorder.finish()).collect();
        results.into_iter().try_for_each(|result| result.map(|_| ()))
    }

    fn lock(&self) -> RwLockWriteGuard<'_, HashMap<SessionKey, Session>> {
        self.sessions.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn recorder(&self, key: &SessionKey) -> Result<Arc<Recorder>, StoreError> {
        let sessions = self.sessions.read().unwrap_or_else(PoisonError::into_inner);
        sessions.get(key).map(|session| session.recorder.clone()).ok_or(StoreError::Closed)
    }
}

impl Store for RecordingStore {
    fn open(
        &self,
        key: &SessionKey,
        config: &CreateIngestionConfigRequest,
        run: Option<&CreateRunRequest>,
    ) -> Result<(), StoreError> {
        let mut sessions = self.lock();
        if let Some(session) = sessions.get_mut(key) {
            let flows = config.flows.get(session.flows..).unwrap_or_default().to_vec();
            if !flows.is_empty() {
                let request = CreateIngestionConfigFlowsRequest { flows, ..Default::default() };
                session.recorder.add_flows_request(&request.encode_to_vec()).map_err(store_error)?;
                session.flows = config.flows.len();
            }
            return Ok(());
        }
        let (config_request, run_request) = with_keys(key, config, run);
        let run_request = run_request.as_ref().map(Message::encode_to_vec);
        let schema = Schema::from_requests(&config_request.encode_to_vec(), run_request.as_deref())
            .map_err(|error| StoreError::Failed(error.to_string()))?;
        let recorder = Recorder::create(&self.root, &schema, self.options.clone()).map_err(store_error)?;
        sessions.insert(key.clone(), Session { recorder: Arc::new(recorder), flows: config.flows.len() });
        Ok(())
    }

    fn record(&self, key: &SessionKey, request: &[u8]) -> Result<(), StoreError> {
        match self.recorder(key)?.record_request(request).map_err(store_error)? {
            Recorded::Seq(_) => Ok(()),
            Recorded::Dropped => Err(StoreError::Full("the disk is behind".to_owned())),
        }
    }

    fn flush(&self, keys: &[SessionKey]) -> Result<(), StoreError> {
        // Recorders sync on threads of their own; asking one after the other costs little.
        keys.iter().try_for_each(|key| self.recorder(key)?.flush().map_err(store_error))
    }
}

impl std::fmt::Debug for RecordingStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordingStore").field("root", &self.root).finish_non_exhaustive()
    }
}

fn store_error(error: RecordError) -> StoreError {
    match &error {
        RecordError::Finished => StoreError::Closed,
        RecordError::Segment(source) if source.is_out_of_space() => StoreError::Full(error.to_string()),
        // This session's recorder is done with.
        RecordError::Failed { source, .. } if source.is_out_of_space() => {
            StoreError::Full(format!("{error}: start the receiver again"))
        }
        _ => StoreError::Failed(error.to_string()),
    }
}

/// Begins the client keys of what clients made without one. The rest of such a key is the id that it was given.
const KEYLESS: &str = "sift-replay-receiver/";

/// Recordings name configs and runs by their client keys. Clients may do without; what they record must be replayable
/// all the same, and be found again under its id when the receiver is started again.
fn with_keys(
    key: &SessionKey,
    config: &CreateIngestionConfigRequest,
    run: Option<&CreateRunRequest>,
) -> (CreateIngestionConfigRequest, Option<CreateRunRequest>) {
    let mut config = config.clone();
    if config.client_key.is_empty() {
        config.client_key = format!("{KEYLESS}{}", key.ingestion_config_id);
    }
    let run = run.cloned().map(|mut run| {
        if run.client_key.as_ref().is_none_or(String::is_empty) {
            run.client_key = Some(format!("{KEYLESS}{}", key.run_id));
        }
        run
    });
    (config, run)
}

/// What a registry was made to know.
#[derive(Debug, Default)]
pub struct Restored {
    /// How many sessions' configs and runs it knows.
    pub sessions: u64,
    /// The sessions that it doesn't take, and why.
    pub refused: Vec<(Uuid, RegistryError)>,
}

/// Makes a registry know the configs and runs of all sessions of a catalog, under the ids that they had. A session that it
/// doesn't take is passed over: the others' clients must be able to go on.
pub fn restore(registry: &Registry, catalog: &Catalog) -> Restored {
    let mut restored = Restored::default();
    for session in &catalog.sessions {
        let Some(requests) = &session.requests else { continue };
        match restore_session(registry, requests) {
            Ok(()) => restored.sessions += 1,
            Err(error) => restored.refused.push((session.id, error)),
        }
    }
    restored
}

fn restore_session(registry: &Registry, requests: &Requests) -> Result<(), RegistryError> {
    let invalid = |error: prost::DecodeError| RegistryError::Invalid(error.to_string());
    // [F-14]
    if !IngestionConfig::is_bounded(&requests.ingestion_config) || !requests.run.as_deref().is_none_or(Run::is_bounded)
    {
        return Err(RegistryError::Invalid(format!("it has more than {MAX_MESSAGE_PARTS} parts")));
    }
    let config = CreateIngestionConfigRequest::decode(&requests.ingestion_config[..]).map_err(invalid)?;
    let mut run = requests.run.as_deref().map(CreateRunRequest::decode).transpose().map_err(invalid)?;
    let is_keyless = |run: &mut CreateRunRequest| run.client_key.as_deref().is_some_and(|key| key.starts_with(KEYLESS));
    if let Some(keyless) = run.take_if(is_keyless) {
        let id = keyless.client_key.as_deref().and_then(|key| key.strip_prefix(KEYLESS)).unwrap_or_default();
        registry.seed_run_with_id(id, &keyless)?;
    }
    if let Some(id) = config.client_key.strip_prefix(KEYLESS) {
        registry.seed_config_with_id(id, &config)?;
    }
    registry.restore(&config, run.as_ref()).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::discover;

    #[test]
    fn what_has_no_client_key_is_recorded_under_its_id_and_known_again_under_it() {
        let dir = tempfile::tempdir().unwrap();
        let store = RecordingStore::new(dir.path(), RecorderOptions::default());
        let key = SessionKey { ingestion_config_id: "config-id".into(), run_id: "run-id".into() };
        let config = CreateIngestionConfigRequest { asset_name: "rover".into(), ..Default::default() };
        let run = CreateRunRequest { name: "flight".into(), ..Default::default() };
        store.open(&key, &config, Some(&run)).unwrap();
        store.finish().unwrap();

        let catalog = Catalog::build(discover(&[dir.path().to_owned()]).unwrap());
        let requests = catalog.sessions[0].requests.clone().unwrap();
        let recorded = CreateRunRequest::decode(&requests.run.unwrap()[..]).unwrap();
        assert_eq!(recorded.client_key.as_deref(), Some("sift-replay-receiver/run-id"));
        let registry = Registry::new();
        let restored = restore(&registry, &catalog);
        assert_eq!((restored.sessions, restored.refused.len()), (1, 0));
        let config = CreateIngestionConfigRequest::decode(&requests.ingestion_config[..]).unwrap();
        assert_eq!(registry.restore(&config, Some(&recorded)), Ok(key));
    }

    #[test]
    fn a_session_that_no_registry_takes_does_not_keep_the_others_clients_out() {
        let dir = tempfile::tempdir().unwrap();
        let config =
            CreateIngestionConfigRequest { asset_name: "rover".into(), client_key: "key".into(), ..Default::default() };
        let fine = config.encode_to_vec();
        // An organization's id that is a number: nothing that the recorder looks at.
        let odd = [&fine[..], &[0x18, 7]].concat();
        for config in [fine, odd] {
            let schema = Schema::from_requests(&config, None).unwrap();
            Recorder::create(dir.path(), &schema, RecorderOptions::default()).unwrap().finish().unwrap();
        }
        let catalog = Catalog::build(discover(&[dir.path().to_owned()]).unwrap());
        let restored = restore(&Registry::new(), &catalog);
        assert_eq!((restored.sessions, restored.refused.len()), (1, 1), "{restored:?}");
    }
}
