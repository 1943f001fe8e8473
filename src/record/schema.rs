//! What will be recorded: an asset's flows with their typed channels, and the run that they belong to.

use std::collections::HashSet;

use prost::Message;

use super::data_type::DataType;
use super::error::SchemaError;
use crate::format::{BitFieldElement, ChannelConfig, EnumType, FlowConfig, IngestionConfig, Run};

/// Most bytes of a schema's flows and run, encoded: HEADER and SEAL hold them in one frame.
const MAX_SCHEMA_BYTES: usize = 16 << 20;

/// A channel: one of a flow's values.
#[derive(Debug, Clone, PartialEq)]
pub struct Channel(ChannelConfig);

impl Channel {
    /// A channel of this name and type.
    pub fn new(name: impl Into<String>, data_type: DataType) -> Self {
        Self(ChannelConfig { name: name.into(), data_type: data_type.number(), ..Default::default() })
    }

    /// Its unit, such as `m/s`.
    pub fn unit(mut self, unit: impl Into<String>) -> Self {
        self.0.unit = unit.into();
        self
    }

    /// What it is.
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.0.description = description.into();
        self
    }

    /// Names one value of an enum channel.
    pub fn enum_value(mut self, key: u32, name: impl Into<String>) -> Self {
        self.0.enum_types.push(EnumType { name: name.into(), key, is_signed: false });
        self
    }

    /// Names some bits of a bit-field channel: `bit_count` of them from bit `index` on.
    pub fn bits(mut self, name: impl Into<String>, index: i32, bit_count: u32) -> Self {
        self.0.bit_field_elements.push(BitFieldElement { name: name.into(), index, bit_count });
        self
    }
}

/// A flow: channels whose values are recorded together, with one timestamp.
#[derive(Debug, Clone, PartialEq)]
pub struct FlowSchema(pub(super) FlowConfig);

impl FlowSchema {
    /// A flow without channels yet.
    pub fn new(name: impl Into<String>) -> Self {
        Self(FlowConfig { name: name.into(), channels: Vec::new() })
    }

    /// From Sift's own `FlowConfig` (`sift.ingestion_configs.v2`), encoded.
    ///
    /// # Errors
    /// [`SchemaError::Request`] if it can't be read; otherwise what [`Recorder::add_flow`](super::Recorder::add_flow)
    /// refuses.
    pub fn from_request(flow_config: &[u8]) -> Result<Self, SchemaError> {
        let flow = FlowConfig::decode(flow_config).map_err(|error| SchemaError::Request(error.to_string()))?;
        check_flow(&flow)?;
        check_details(&flow)?;
        Ok(Self(flow))
    }

    /// The flow's name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Adds a channel. Records give their values in the order in which channels were added.
    pub fn channel(mut self, channel: Channel) -> Self {
        self.0.channels.push(channel.0);
        self
    }
}

/// The run that a recording belongs to. Its client key is how Sift finds it again: recordings of one flight by several
/// computers share it, and replaying twice makes no second run.
#[derive(Debug, Clone, PartialEq)]
pub struct RunSchema(Run);

impl RunSchema {
    /// A run of this name, found again by `client_key`.
    pub fn new(name: impl Into<String>, client_key: impl Into<String>) -> Self {
        Self(Run { name: name.into(), client_key: Some(client_key.into()), ..Default::default() })
    }

    /// What it is.
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.0.description = description.into();
        self
    }

    /// Adds a tag.
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.0.tags.push(tag.into());
        self
    }
}

/// What will be recorded. The recorder writes it into each segment, as the requests with which a replayer registers it
/// ([F-19]).
#[derive(Debug, Clone, PartialEq)]
pub struct Schema {
    config: IngestionConfig,
    run: Option<Run>,
    run_id: Option<String>,
    /// The requests as they were given, with whatever a later version of Sift adds to them.
    given: Option<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Schema {
    /// For an asset, with the client key by which Sift finds its ingestion config again. Recordings with the same
    /// flows share a key; a flow whose channels change needs another name or another key.
    pub fn new(asset: impl Into<String>, client_key: impl Into<String>) -> Self {
        let config = IngestionConfig { asset_name: asset.into(), client_key: client_key.into(), flows: Vec::new() };
        Self { config, run: None, run_id: None, given: None }
    }

    /// Adds a flow.
    pub fn flow(mut self, flow: FlowSchema) -> Self {
        self.config.flows.push(flow.0);
        self.given = None;
        self
    }

    /// Sets the run.
    pub fn run(mut self, run: RunSchema) -> Self {
        self.run = Some(run.0);
        self.given = None;
        self
    }

    /// Attaches the run that has this id at the destination, whatever [`run`](Self::run) says: for those who know one.
    pub fn run_id(mut self, run_id: impl Into<String>) -> Self {
        self.run_id = Some(run_id.into());
        self
    }

    /// From Sift's own requests, `CreateIngestionConfigRequest` and `CreateRunRequest`, encoded.
    ///
    /// # Errors
    /// [`SchemaError::Request`] if they can't be read.
    pub fn from_requests(ingestion_config: &[u8], run: Option<&[u8]>) -> Result<Self, SchemaError> {
        let unreadable = |e: prost::DecodeError| SchemaError::Request(e.to_string());
        Ok(Self {
            config: IngestionConfig::decode(ingestion_config).map_err(unreadable)?,
            run: run.map(Run::decode).transpose().map_err(unreadable)?,
            run_id: None,
            given: Some((ingestion_config.to_vec(), run.map(<[u8]>::to_vec))),
        })
    }

    /// The asset's name.
    pub fn asset(&self) -> &str {
        &self.config.asset_name
    }

    /// The run's name; its id, if only that is known.
    pub fn run_name(&self) -> Option<&str> {
        self.run.as_ref().map(|run| run.name.as_str()).or(self.run_id.as_deref())
    }

    /// The run's id, where it is known.
    pub(super) fn known_run_id(&self) -> Option<&str> {
        self.run_id.as_deref()
    }

    pub(super) fn flows(&self) -> &[FlowConfig] {
        &self.config.flows
    }

    /// The requests for HEADER.
    pub(super) fn requests(&self) -> (Vec<u8>, Option<Vec<u8>>) {
        match &self.given {
            Some(given) => given.clone(),
            None => (self.config.encode_to_vec(), self.run.as_ref().map(Message::encode_to_vec)),
        }
    }

    /// Whether Sift would take it, and HEADER can hold it.
    pub(super) fn check(&self) -> Result<(), SchemaError> {
        let empty = |what: &str| Err(SchemaError::Empty { what: what.to_owned() });
        if self.config.asset_name.is_empty() {
            return empty("the asset's name");
        }
        if self.config.client_key.is_empty() {
            return empty("the ingestion config's client key");
        }
        if let Some(run) = &self.run {
            if run.name.is_empty() {
                return empty("the run's name");
            }
            // A run made without a key (by somebody else's request) is found by no one again; that is theirs to decide.
            if self.given.is_none() && run.client_key.as_deref().is_none_or(str::is_empty) {
                return empty("the run's client key");
            }
        }
        if self.run_id.as_deref() == Some("") {
            return empty("the run's id");
        }
        let mut names = HashSet::new();
        for flow in &self.config.flows {
            check_flow(flow)?;
            if self.given.is_none() {
                check_details(flow)?;
            }
            // Sift itself keeps several flows of one name apart by their channels; a recorder can't.
            if !names.insert(&flow.name) && self.given.is_none() {
                return Err(SchemaError::RepeatedFlow { flow: flow.name.clone() });
            }
        }
        let (config, run) = match &self.given {
            Some((config, run)) => (config.len(), run.as_ref().map_or(0, Vec::len)),
            None => (self.config.encoded_len(), self.run.as_ref().map_or(0, Message::encoded_len)),
        };
        check_schema_bytes(config + run)
    }
}

/// Whether HEADER, and SEAL, which repeats it, will surely fit into a frame.
pub(super) fn check_schema_bytes(bytes: usize) -> Result<(), SchemaError> {
    if bytes > MAX_SCHEMA_BYTES { Err(SchemaError::TooLarge { bytes, most: MAX_SCHEMA_BYTES }) } else { Ok(()) }
}

/// Whether Sift would take the flow.
pub(super) fn check_flow(flow: &FlowConfig) -> Result<(), SchemaError> {
    if flow.name.is_empty() {
        return Err(SchemaError::Empty { what: "a flow's name".to_owned() });
    }
    let mut names = HashSet::new();
    for channel in &flow.channels {
        if channel.name.is_empty() {
            return Err(SchemaError::Empty { what: format!("a channel's name in flow {:?}", flow.name) });
        }
        if !names.insert(&channel.name) {
            return Err(SchemaError::RepeatedChannel { flow: flow.name.clone(), channel: channel.name.clone() });
        }
        if DataType::from_number(channel.data_type).is_none() {
            let (flow, channel, number) = (flow.name.clone(), channel.name.clone(), channel.data_type);
            return Err(SchemaError::DataType { flow, channel, number });
        }
    }
    Ok(())
}

/// Whether details stand only on channels that can have them. Requests made by others are stored as they are: that is
/// between them and Sift.
pub(super) fn check_details(flow: &FlowConfig) -> Result<(), SchemaError> {
    for channel in &flow.channels {
        let Some(data_type) = DataType::from_number(channel.data_type) else { continue };
        let misfit = |what| {
            let (flow, channel) = (flow.name.clone(), channel.name.clone());
            Err(SchemaError::Misfit { flow, channel, data_type, what })
        };
        if !channel.enum_types.is_empty() && data_type != DataType::Enum {
            return misfit("enum names");
        }
        if !channel.bit_field_elements.is_empty() && data_type != DataType::BitField {
            return misfit("bit-field elements");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(flow: FlowSchema) -> Schema {
        Schema::new("rover", "rover-v1").flow(flow)
    }

    #[test]
    fn what_sift_would_refuse_is_refused_by_name() {
        let x = || Channel::new("x", DataType::Double);
        for (schema, text) in [
            (Schema::new("", "k"), "the asset's name is empty"),
            (Schema::new("a", ""), "the ingestion config's client key is empty"),
            (Schema::new("a", "k").run(RunSchema::new("", "k")), "the run's name is empty"),
            (Schema::new("a", "k").run(RunSchema::new("r", "")), "the run's client key is empty"),
            (schema(FlowSchema::new("")), "a flow's name is empty"),
            (
                schema(FlowSchema::new("f").channel(Channel::new("", DataType::Bool))),
                "a channel's name in flow \"f\" is empty",
            ),
            (schema(FlowSchema::new("f").channel(x()).channel(x())), "flow \"f\" has two channels named \"x\""),
            (schema(FlowSchema::new("f")).flow(FlowSchema::new("f")), "two flows are named \"f\""),
            (
                schema(FlowSchema::new("f").channel(x().enum_value(1, "on"))),
                "channel \"x\" of flow \"f\" is double, and can't have enum names",
            ),
            (
                schema(FlowSchema::new("f").channel(x().bits("b", 0, 1))),
                "channel \"x\" of flow \"f\" is double, and can't have bit-field elements",
            ),
        ] {
            assert_eq!(schema.check().unwrap_err().to_string(), text);
        }
    }

    #[test]
    fn requests_given_ready_made_survive_with_fields_unknown_here() {
        let (mut config, _) = schema(FlowSchema::new("f")).requests();
        config.extend([0xf8, 0x01, 7]); // field 31
        let schema = Schema::from_requests(&config, None).unwrap();
        assert_eq!(schema.requests().0, config);
        assert!(schema.check().is_ok());
    }

    #[test]
    fn what_others_made_and_sift_took_is_recorded_as_it_is() {
        let odd = Channel::new("x", DataType::Double).enum_value(1, "on");
        let (config, _) = schema(FlowSchema::new("f").channel(odd)).requests();
        assert!(Schema::from_requests(&config, None).unwrap().check().is_ok());
    }
}
