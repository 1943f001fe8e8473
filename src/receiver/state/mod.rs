//! What the receiver knows: ingestion configs with their flows, assets and runs.
//!
//! Ids are derived from names wherever a thing has one, so that a receiver that is started again
//! gives the same things the same ids, and clients that remember an id can go on.

mod assets;
mod configs;
mod runs;

pub(super) use configs::{ConfigView, FlowView};

use super::{
    error::RegistryError,
    schema::{FlowShape, Refusal, Schema},
    store::SessionKey,
};
use pbjson_types::Timestamp;
use sift_rs::{
    assets::v1::Asset,
    ingestion_configs::v2::{CreateIngestionConfigRequest, FlowConfig},
    runs::v2::{CreateRunRequest, Run},
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicUsize},
    time::{SystemTime, UNIX_EPOCH},
};
use uuid::Uuid;

/// The namespace of all ids that are derived from names.
const NAMESPACE: Uuid = Uuid::from_u128(0x5f0c_2a4e_7a53_4a8e_9c1d_1f1e_60b7_d3a5);

/// How many bytes of configs, assets and runs a registry remembers unless told otherwise.
const DEFAULT_LIMIT: usize = 256 * 1024 * 1024;

/// What a thing costs beside its message, in bytes.
const OVERHEAD: usize = 512;

/// A UUID that depends on the kind of a thing and its natural key only.
pub(super) fn id_of(kind: &str, key: &[&str]) -> String {
    let mut name = kind.to_owned();
    for part in key {
        // The length keeps ("a", "bc") and ("ab", "c") apart.
        name.push_str(&format!("\0{}\0{part}", part.len()));
    }
    Uuid::new_v5(&NAMESPACE, name.as_bytes()).to_string()
}

fn random_id() -> String {
    Uuid::now_v7().to_string()
}

fn now() -> Timestamp {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp { seconds: i64::try_from(now.as_secs()).unwrap_or(i64::MAX), nanos: now.subsec_nanos().cast_signed() }
}

/// What a client may create, list and change, and what requests are checked against. Lives in
/// memory; what must outlive the process is restored from what the store kept.
#[derive(Debug)]
pub struct Registry {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What things say that name no organization of their own.
    organization_id: String,
    configs: HashMap<String, Config>,
    config_by_client_key: HashMap<String, String>,
    assets: HashMap<String, Numbered<Asset>>,
    runs: HashMap<String, Numbered<KnownRun>>,
    run_by_client_key: HashMap<String, String>,
    /// Numbers things in the order of their creation.
    created: u64,
    bytes: usize,
    limit: usize,
}

#[derive(Debug)]
struct Config {
    number: u64,
    id: String,
    asset_id: String,
    asset_name: String,
    client_key: String,
    organization_id: String,
    flows: Vec<Flow>,
    flow_count: Arc<AtomicUsize>,
    /// Built when a stream needs it.
    schema: Option<Arc<Schema>>,
    created: Timestamp,
    modified: Timestamp,
}

#[derive(Debug)]
struct Flow {
    id: String,
    config: Arc<FlowConfig>,
    shape: Arc<FlowShape>,
    created: Timestamp,
}

#[derive(Debug)]
struct KnownRun {
    run: Run,
    /// The request that made it, with later updates applied.
    request: CreateRunRequest,
    /// What it was charged with.
    bytes: usize,
}

/// Something with its place in the order of creation.
#[derive(Clone, Debug)]
pub(super) struct Numbered<T> {
    pub(super) number: u64,
    pub(super) item: T,
}

impl State {
    fn number(&mut self) -> u64 {
        self.created += 1;
        self.created
    }

    /// Makes room for so many bytes more.
    fn charge(&mut self, bytes: usize) -> Result<(), RegistryError> {
        let total = self.bytes.saturating_add(bytes).saturating_add(OVERHEAD);
        if total > self.limit {
            return Err(RegistryError::Exhausted { limit: self.limit });
        }
        self.bytes = total;
        Ok(())
    }

    /// Gives back what something that is forgotten or replaced was charged with.
    fn refund(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes.saturating_add(OVERHEAD));
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

impl Registry {
    /// An empty registry of an organization of its own, which remembers at most 256 MiB.
    pub fn new() -> Self {
        Self::with_limit(DEFAULT_LIMIT)
    }

    /// An empty registry that remembers at most so many bytes of configs, assets and runs
    /// (measured as protobuf messages; memory use is a small multiple of it).
    pub fn with_limit(registry_bytes: usize) -> Self {
        let organization_id = random_id();
        Self { state: Mutex::new(State { organization_id, limit: registry_bytes, ..State::default() }) }
    }

    /// The same, but of the organization with this id. To be called before anything is created or restored.
    #[must_use]
    pub fn with_organization(self, id: Uuid) -> Self {
        self.state().organization_id = id.to_string();
        self
    }

    /// The id of the organization that clients are told.
    pub fn organization_id(&self) -> String {
        self.state().organization_id.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic while the lock was held can at worst have left a half-made entry.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes what an earlier life of the receiver recorded known again: the config with its
    /// flows, and the run. What is known already is completed with what it lacks. Returns the ids,
    /// which are those of the earlier life if the config and the run have client keys.
    ///
    /// # Errors
    /// If the config or the run is not valid, or memory's bound is reached.
    pub fn restore(
        &self,
        config: &CreateIngestionConfigRequest,
        run: Option<&CreateRunRequest>,
    ) -> Result<SessionKey, RegistryError> {
        let key = config.client_key.as_str();
        let id = match self.config_id_by_client_key(key) {
            Some(known) => known,
            None if key.is_empty() => random_id(),
            None => configs::derived_id(&config.asset_name, key),
        };
        self.seed_config_with_id(&id, config)?;
        let run_id = match run {
            Some(run) => self.restore_run(run)?,
            None => String::new(),
        };
        Ok(SessionKey { ingestion_config_id: id, run_id })
    }

    /// What a stream needs to check the requests of a session.
    pub(super) fn session(&self, config_id: &str, run_id: &str) -> Result<Arc<Schema>, Refusal> {
        let mut state = self.state();
        let State { configs, runs, .. } = &mut *state;
        let Some(config) = configs.get_mut(config_id) else {
            return Err(Refusal::UnknownConfig(super::error::clipped(config_id)));
        };
        if !run_id.is_empty() {
            let Some(run) = runs.get_mut(run_id) else {
                return Err(Refusal::UnknownRun(super::error::clipped(run_id)));
            };
            run.item.run.add_asset(&config.asset_id);
        }
        Ok(config.schema())
    }

    /// The requests that must precede the data of a session, with all flows known so far.
    pub(super) fn preamble(
        &self,
        key: &SessionKey,
    ) -> Option<(CreateIngestionConfigRequest, Option<CreateRunRequest>)> {
        let state = self.state();
        let config = state.configs.get(&key.ingestion_config_id)?;
        let run = state.runs.get(&key.run_id).map(|run| run.item.request.clone());
        Some((config.request(), run))
    }
}

/// Adds what ingesting tells about a run.
trait AddAsset {
    fn add_asset(&mut self, asset_id: &str);
}

impl AddAsset for Run {
    fn add_asset(&mut self, asset_id: &str) {
        if !self.asset_ids.iter().any(|known| known == asset_id) {
            self.asset_ids.push(asset_id.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sift_rs::{common::r#type::v1::ChannelDataType, ingestion_configs::v2::ChannelConfig};

    pub(super) fn flow(name: &str, channels: &[&str]) -> FlowConfig {
        let channels = channels.iter().map(|name| ChannelConfig {
            name: (*name).into(),
            data_type: ChannelDataType::Double.into(),
            ..Default::default()
        });
        FlowConfig { name: name.into(), channels: channels.collect() }
    }

    pub(super) fn config(client_key: &str, flows: Vec<FlowConfig>) -> CreateIngestionConfigRequest {
        CreateIngestionConfigRequest {
            asset_name: "rover".into(),
            client_key: client_key.into(),
            flows,
            ..Default::default()
        }
    }

    fn run(client_key: Option<&str>) -> CreateRunRequest {
        CreateRunRequest { name: "flight".into(), client_key: client_key.map(Into::into), ..Default::default() }
    }

    #[test]
    fn a_registry_that_is_started_again_gives_the_same_ids() {
        let (config, run) = (config("k", vec![flow("f", &["a"])]), run(Some("r")));
        let first = Registry::new();
        let made = first.create_config(&config).unwrap();
        let run_id = first.create_run(&run).unwrap().run_id;
        let second = Registry::new();
        let key = second.restore(&config, Some(&run)).unwrap();
        assert_eq!(key.ingestion_config_id, made.ingestion_config_id);
        assert_eq!(key.run_id, run_id);
        let asset = second.asset(&made.asset_id).unwrap();
        assert_eq!(asset.name, "rover");
        assert_eq!(second.restore(&config, Some(&run)).unwrap(), key);
    }

    #[test]
    fn restoring_completes_what_is_known() {
        let registry = Registry::new();
        let one = config("k", vec![flow("f", &["a"])]);
        let two = config("k", vec![flow("g", &["a"]), flow("f", &["a"])]);
        let key = registry.restore(&one, None).unwrap();
        assert_eq!(registry.restore(&two, None).unwrap(), key);
        let (all, _) = registry.preamble(&key).unwrap();
        let names: Vec<_> = all.flows.iter().map(|flow| flow.name.as_str()).collect();
        assert_eq!(names, ["f", "g"]);
    }

    #[test]
    fn runs_without_a_client_key_are_all_different() {
        let registry = Registry::new();
        let first = registry.create_run(&run(None)).unwrap();
        let second = registry.create_run(&run(None)).unwrap();
        assert_ne!(first.run_id, second.run_id);
    }

    #[test]
    fn an_outdated_schema_says_so() {
        let registry = Registry::new();
        let id = registry.create_config(&config("k", vec![flow("f", &["a"])])).unwrap().ingestion_config_id;
        let schema = registry.session(&id, "").unwrap();
        assert!(!schema.is_outdated());
        registry.create_flows(&id, &[flow("g", &["a"])]).unwrap();
        assert!(schema.is_outdated());
        assert!(!registry.session(&id, "").unwrap().is_outdated());
    }

    #[test]
    fn memory_is_bounded() {
        let registry = Registry::with_limit(2048);
        let mut error = None;
        for n in 0..10 {
            error = registry.create_config(&config(&n.to_string(), vec![])).err();
        }
        let expected = RegistryError::Exhausted { limit: 2048 };
        assert_eq!(error, Some(expected));
    }

    #[test]
    fn keys_that_look_alike_when_joined_have_different_ids() {
        assert_ne!(id_of("k", &["a", "bc"]), id_of("k", &["ab", "c"]));
    }
}
