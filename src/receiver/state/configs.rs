//! Ingestion configs and their flows.

use super::{Config, Flow, Registry, State, id_of, now, random_id};
use crate::receiver::{
    error::{RegistryError, clipped},
    schema::{FlowShape, Schema},
};
use pbjson_types::Timestamp;
use prost::Message;
use sift_rs::{
    common::r#type::v1::ChannelDataType,
    ingestion_configs::v2::{CreateIngestionConfigRequest, FlowConfig, IngestionConfig},
};
use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// An ingestion config as lists see it.
#[derive(Clone, Debug)]
pub(in crate::receiver) struct ConfigView {
    pub(in crate::receiver) number: u64,
    pub(in crate::receiver) config: IngestionConfig,
    pub(in crate::receiver) created: Timestamp,
    pub(in crate::receiver) modified: Timestamp,
}

/// A flow as lists see it.
#[derive(Clone, Debug)]
pub(in crate::receiver) struct FlowView {
    pub(in crate::receiver) id: String,
    pub(in crate::receiver) config: Arc<FlowConfig>,
    pub(in crate::receiver) created: Timestamp,
}

pub(super) fn derived_id(asset_name: &str, client_key: &str) -> String {
    id_of("ingestion config", &[&asset_name.to_lowercase(), client_key])
}

impl Config {
    fn message(&self) -> IngestionConfig {
        IngestionConfig {
            ingestion_config_id: self.id.clone(),
            asset_id: self.asset_id.clone(),
            client_key: self.client_key.clone(),
        }
    }

    pub(super) fn request(&self) -> CreateIngestionConfigRequest {
        CreateIngestionConfigRequest {
            asset_name: self.asset_name.clone(),
            flows: self.flows.iter().map(|flow| flow.config.as_ref().clone()).collect(),
            organization_id: self.organization_id.clone(),
            client_key: self.client_key.clone(),
        }
    }

    pub(super) fn schema(&mut self) -> Arc<Schema> {
        match &self.schema {
            Some(schema) if !schema.is_outdated() => Arc::clone(schema),
            _ => {
                let shapes: Vec<_> = self.flows.iter().map(|flow| Arc::clone(&flow.shape)).collect();
                let schema = Arc::new(Schema::new(&shapes, Arc::clone(&self.flow_count)));
                self.schema = Some(Arc::clone(&schema));
                schema
            }
        }
    }

    fn add_flow(&mut self, flow: &FlowConfig) {
        let place = self.flows.len().to_string();
        self.flows.push(Flow {
            id: id_of("flow", &[&self.id, &flow.name, &place]),
            config: Arc::new(flow.clone()),
            shape: Arc::new(FlowShape::of(flow)),
            created: now(),
        });
        self.modified = now();
        self.flow_count.store(self.flows.len(), Ordering::Release);
    }
}

/// Whether each flow makes sense by itself.
fn check_flows(flows: &[FlowConfig]) -> Result<(), RegistryError> {
    let invalid = |text| Err(RegistryError::Invalid(text));
    for flow in flows {
        let name = clipped(&flow.name);
        if flow.name.is_empty() {
            return invalid("a flow has no name; name all flows".to_owned());
        }
        let mut names = HashSet::with_capacity(flow.channels.len());
        for (place, channel) in flow.channels.iter().enumerate() {
            let channel_name = clipped(&channel.name);
            if channel.name.is_empty() {
                return invalid(format!("flow {name:?}: channel {place} (from 0) has no name"));
            }
            if channel.data_type() == ChannelDataType::Unspecified {
                return invalid(format!(
                    "flow {name:?}, channel {channel_name:?}: its data type is unspecified or unknown"
                ));
            }
            if !names.insert(channel.name.as_str()) {
                return invalid(format!(
                    "flow {name:?}: two channels are named {channel_name:?}; names must differ within a flow"
                ));
            }
        }
    }
    Ok(())
}

fn encoded_len(flows: &[FlowConfig]) -> usize {
    flows.iter().map(Message::encoded_len).sum()
}

impl State {
    fn insert_config(&mut self, id: &str, request: &CreateIngestionConfigRequest) -> Result<(), RegistryError> {
        self.charge(request.encoded_len())?;
        let asset_id = self.ensure_asset(&request.asset_name)?;
        let created = now();
        let number = self.number();
        let config = Config {
            number,
            id: id.to_owned(),
            asset_id,
            asset_name: request.asset_name.clone(),
            client_key: request.client_key.clone(),
            organization_id: request.organization_id.clone(),
            flows: Vec::with_capacity(request.flows.len()),
            flow_count: Arc::new(AtomicUsize::new(0)),
            schema: None,
            created,
            modified: created,
        };
        let config = self.configs.entry(id.to_owned()).or_insert(config);
        request.flows.iter().for_each(|flow| config.add_flow(flow));
        if !request.client_key.is_empty() {
            let known = self.config_by_client_key.entry(request.client_key.clone());
            known.or_insert_with(|| id.to_owned());
        }
        Ok(())
    }
}

impl Registry {
    pub(super) fn config_id_by_client_key(&self, client_key: &str) -> Option<String> {
        self.state().config_by_client_key.get(client_key).cloned()
    }

    /// Makes an ingestion config known under an id that somebody else gave it: backups made by
    /// Sift's own library hold such ids. If the id is known, flows that it lacks are added.
    ///
    /// # Errors
    /// If the config is not valid, or memory's bound is reached.
    pub fn seed_config_with_id(&self, id: &str, config: &CreateIngestionConfigRequest) -> Result<(), RegistryError> {
        check_request(config)?;
        let mut state = self.state();
        let Some(known) = state.configs.get(id) else {
            return state.insert_config(id, config);
        };
        let old: HashSet<_> = known.flows.iter().map(|flow| flow.config.encode_to_vec()).collect();
        let missing: Vec<_> =
            config.flows.iter().filter(|flow| !old.contains(&flow.encode_to_vec())).cloned().collect();
        state.charge(encoded_len(&missing))?;
        if let Some(known) = state.configs.get_mut(id) {
            missing.iter().for_each(|flow| known.add_flow(flow));
        }
        Ok(())
    }

    /// Creates an ingestion config, and its asset if there is none of that name.
    pub(in crate::receiver) fn create_config(
        &self,
        request: &CreateIngestionConfigRequest,
    ) -> Result<IngestionConfig, RegistryError> {
        check_request(request)?;
        let mut earlier = HashSet::with_capacity(request.flows.len());
        if let Some(twice) = request.flows.iter().find(|flow| !earlier.insert(flow.encode_to_vec())) {
            let name = clipped(&twice.name);
            return Err(RegistryError::Invalid(format!("flow {name:?} is given twice")));
        }
        let mut state = self.state();
        let key = request.client_key.as_str();
        let id = if key.is_empty() { random_id() } else { derived_id(&request.asset_name, key) };
        if state.config_by_client_key.contains_key(key) || state.configs.contains_key(&id) {
            return Err(RegistryError::exists("an ingestion config with client key", key));
        }
        state.insert_config(&id, request)?;
        let made = state.configs.get(&id).map(Config::message);
        made.ok_or_else(|| RegistryError::not_found("ingestion config", &id))
    }

    /// Adds flows to a config: all of them or, on an error, none.
    pub(in crate::receiver) fn create_flows(&self, config_id: &str, flows: &[FlowConfig]) -> Result<(), RegistryError> {
        check_flows(flows)?;
        let mut state = self.state();
        let Some(config) = state.configs.get(config_id) else {
            return Err(RegistryError::not_found("ingestion config", config_id));
        };
        let mut names: HashSet<&str> = HashSet::with_capacity(flows.len());
        if let Some(twice) = flows.iter().find(|flow| !names.insert(&flow.name)) {
            let name = clipped(&twice.name);
            return Err(RegistryError::Invalid(format!("flow {name:?} is given twice")));
        }
        let known = config.flows.iter().map(|flow| flow.config.name.as_str());
        if let Some(known) = known.into_iter().find(|name| names.contains(name)) {
            return Err(RegistryError::exists("a flow named", known));
        }
        state.charge(encoded_len(flows))?;
        if let Some(config) = state.configs.get_mut(config_id) {
            flows.iter().for_each(|flow| config.add_flow(flow));
        }
        Ok(())
    }

    pub(in crate::receiver) fn config(&self, id: &str) -> Result<IngestionConfig, RegistryError> {
        let state = self.state();
        let known = state.configs.get(id).map(Config::message);
        known.ok_or_else(|| RegistryError::not_found("ingestion config", id))
    }

    /// All ingestion configs, oldest first.
    pub(in crate::receiver) fn configs(&self) -> Vec<ConfigView> {
        let state = self.state();
        let view = |config: &Config| ConfigView {
            number: config.number,
            config: config.message(),
            created: config.created,
            modified: config.modified,
        };
        let mut configs: Vec<_> = state.configs.values().map(view).collect();
        configs.sort_by_key(|config| config.number);
        configs
    }

    /// The flows of a config, in the order in which they were added.
    pub(in crate::receiver) fn flows(&self, config_id: &str) -> Result<Vec<FlowView>, RegistryError> {
        let state = self.state();
        let Some(config) = state.configs.get(config_id) else {
            return Err(RegistryError::not_found("ingestion config", config_id));
        };
        let view =
            |flow: &Flow| FlowView { id: flow.id.clone(), config: Arc::clone(&flow.config), created: flow.created };
        Ok(config.flows.iter().map(view).collect())
    }
}

fn check_request(request: &CreateIngestionConfigRequest) -> Result<(), RegistryError> {
    if request.asset_name.is_empty() {
        let text = "the ingestion config names no asset; give `asset_name`";
        return Err(RegistryError::Invalid(text.to_owned()));
    }
    check_flows(&request.flows)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{config, flow};
    use super::*;

    #[test]
    fn a_client_key_can_be_taken_once_whatever_the_asset() {
        let registry = Registry::new();
        registry.create_config(&config("k", vec![])).unwrap();
        let mut other = config("k", vec![]);
        other.asset_name = "lander".into();
        for again in [config("k", vec![]), other] {
            let error = registry.create_config(&again).unwrap_err();
            assert!(matches!(error, RegistryError::AlreadyExists { .. }));
        }
    }

    #[test]
    fn adding_flows_adds_all_or_none() {
        let registry = Registry::new();
        let made = registry.create_config(&config("k", vec![flow("f", &["a"])])).unwrap();
        let id = made.ingestion_config_id;
        let exists = registry.create_flows(&id, &[flow("g", &["a"]), flow("f", &["b"])]);
        assert!(matches!(exists, Err(RegistryError::AlreadyExists { .. })));
        let twice = registry.create_flows(&id, &[flow("g", &["a"]), flow("g", &["b"])]);
        assert!(matches!(twice, Err(RegistryError::Invalid(_))));
        assert_eq!(registry.flows(&id).unwrap().len(), 1);
        registry.create_flows(&id, &[flow("g", &["a"]), flow("h", &["a"])]).unwrap();
        assert_eq!(registry.flows(&id).unwrap().len(), 3);
    }

    #[test]
    fn flows_that_make_no_sense_are_refused_with_their_names() {
        let registry = Registry::new();
        let mut untyped = flow("f", &["a"]);
        untyped.channels[0].data_type = 0;
        let mut unknown = flow("f", &["a"]);
        unknown.channels[0].data_type = 99;
        let cases = [
            (flow("", &[]), "a flow has no name"),
            (flow("f", &["a", ""]), "flow \"f\": channel 1 (from 0) has no name"),
            (flow("f", &["a", "b", "a"]), "flow \"f\": two channels are named \"a\""),
            (untyped, "flow \"f\", channel \"a\": its data type is unspecified"),
            (unknown, "flow \"f\", channel \"a\": its data type is unspecified"),
        ];
        for (flow, expected) in cases {
            let error = registry.create_config(&config("k", vec![flow])).unwrap_err();
            assert!(error.to_string().starts_with(expected), "{error}");
        }
    }

    #[test]
    fn a_foreign_id_is_kept() {
        let registry = Registry::new();
        let foreign = config("k", vec![flow("f", &["a"])]);
        registry.seed_config_with_id("foreign", &foreign).unwrap();
        assert_eq!(registry.config("foreign").unwrap().client_key, "k");
        assert_eq!(registry.restore(&foreign, None).unwrap().ingestion_config_id, "foreign");
    }
}
