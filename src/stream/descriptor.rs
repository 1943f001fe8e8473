//! Flows prepared for fast building: channels by index or by a key of the caller's own.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};

use sift_rs::common::r#type::v1::ChannelDataType;
use sift_rs::ingest::v1::IngestWithConfigDataStreamRequest;
use sift_rs::ingestion_configs::v2::FlowConfig;

use super::time::TimeValue;
use super::value::{Value, words};
use crate::record::{self, SchemaError};

/// Most channels that an error names.
const MOST_NAMED: usize = 20;

/// A channel's place in its flow. One that another descriptor gave out stands for the channel in the same place: use it
/// only with flows of the same channels.
#[derive(Debug, Copy, Clone, PartialEq, Eq, Hash)]
pub struct ChannelIndex(usize);

/// A flow's name and channels, to build requests by. It doesn't change; [`FlowDescriptorBuilder`] makes one, or a
/// [`FlowConfig`] is turned into one whose keys are the channels' names.
///
/// The ingestion config's id may be empty: the stream then sends the requests with its own, once it knows it. That is
/// how descriptors are made where there is no network.
#[derive(Debug, Clone)]
pub struct FlowDescriptor<K> {
    ingestion_config_id: String,
    name: String,
    channels: Vec<Channel>,
    index_map: HashMap<K, ChannelIndex>,
}

#[derive(Debug, Clone)]
struct Channel {
    /// What errors call it.
    label: String,
    data_type: ChannelDataType,
}

impl<K> FlowDescriptor<K> {
    /// The flow's name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// How many channels it has.
    pub(super) fn len(&self) -> usize {
        self.channels.len()
    }

    /// The channels' names or keys, for an error.
    pub(super) fn known(&self) -> String {
        let labels = self.channels.iter().take(MOST_NAMED).map(|channel| channel.label.as_str());
        let named = labels.collect::<Vec<_>>().join(", ");
        match self.channels.len().saturating_sub(MOST_NAMED) {
            0 if named.is_empty() => "none".to_owned(),
            0 => named,
            more => format!("{named} and {more} more"),
        }
    }
}

impl<K> FlowDescriptor<K>
where
    K: Eq + Hash,
{
    /// The type of the channel with this key.
    pub fn get<Q>(&self, key: &Q) -> Option<ChannelDataType>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.place(key).map(|(_, data_type)| data_type)
    }

    /// Each key's channel.
    pub fn mapping(&self) -> &HashMap<K, ChannelIndex> {
        &self.index_map
    }

    /// The place and type of the channel with this key.
    pub(super) fn place<Q>(&self, key: &Q) -> Option<(usize, ChannelDataType)>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let index = self.index_map.get(key)?;
        self.channels.get(index.0).map(|channel| (index.0, channel.data_type))
    }
}

/// Makes a [`FlowDescriptor`], channel by channel.
///
/// ```
/// use sift_replay::stream::{ChannelDataType, FlowBuilder, FlowDescriptorBuilder, TimeValue};
///
/// let mut builder = FlowDescriptorBuilder::new("", "wheels");
/// let speed = builder.add("speed", ChannelDataType::Double);
/// builder.add("slipping", ChannelDataType::Bool);
/// let wheels = builder.build();
///
/// let mut flow = FlowBuilder::new(&wheels);
/// flow.set(speed, 1.5)?;
/// flow.set_with_key("slipping", false)?;
/// let request = flow.request(TimeValue::now());
/// # assert_eq!(request.channel_values.len(), 2);
/// # Ok::<(), sift_replay::stream::FlowBuilderError>(())
/// ```
#[derive(Debug)]
pub struct FlowDescriptorBuilder<K> {
    descriptor: FlowDescriptor<K>,
}

impl<K> FlowDescriptorBuilder<K>
where
    K: Eq + Hash,
{
    /// A flow of this name without channels yet. The id may be empty.
    pub fn new(ingestion_config_id: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            descriptor: FlowDescriptor {
                ingestion_config_id: ingestion_config_id.into(),
                name: name.into(),
                channels: Vec::new(),
                index_map: HashMap::new(),
            },
        }
    }

    /// Adds the next channel, in the order that the ingestion config has them. A key that is there already stands for the
    /// new channel from now on; the other one is reached by its index.
    pub fn add(&mut self, key: K, field_type: ChannelDataType) -> ChannelIndex {
        let FlowDescriptor { channels, index_map, .. } = &mut self.descriptor;
        let index = ChannelIndex(channels.len());
        let label = label_of(&key).unwrap_or_else(|| format!("no. {}", index.0));
        channels.push(Channel { label, data_type: field_type });
        index_map.insert(key, index);
        index
    }

    /// The descriptor.
    pub fn build(self) -> FlowDescriptor<K> {
        self.descriptor
    }
}

/// Fails on what no ingestion config can have: a channel without a type, one of a type that this version doesn't know,
/// two channels of one name.
impl<S> TryFrom<(S, &FlowConfig)> for FlowDescriptor<String>
where
    S: ToString,
{
    type Error = SchemaError;

    fn try_from((ingestion_config_id, config): (S, &FlowConfig)) -> Result<Self, SchemaError> {
        let mut builder = FlowDescriptorBuilder::new(ingestion_config_id.to_string(), &config.name);
        for channel in &config.channels {
            let (flow, name, number) = (config.name.clone(), channel.name.clone(), channel.data_type);
            if builder.descriptor.index_map.contains_key(&name) {
                return Err(SchemaError::RepeatedChannel { flow, channel: name });
            }
            match ChannelDataType::try_from(number) {
                Err(_) | Ok(ChannelDataType::Unspecified) => {
                    return Err(SchemaError::DataType { flow, channel: name, number });
                }
                Ok(data_type) => builder.add(name, data_type),
            };
        }
        Ok(builder.build())
    }
}

/// As from a reference.
impl<S> TryFrom<(S, FlowConfig)> for FlowDescriptor<String>
where
    S: ToString,
{
    type Error = SchemaError;

    fn try_from((ingestion_config_id, config): (S, FlowConfig)) -> Result<Self, SchemaError> {
        Self::try_from((ingestion_config_id, &config))
    }
}

/// Why a value can't be set. What was set before stays.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FlowBuilderError {
    /// No channel has the key.
    #[error("flow {flow:?} has no channel {key}; it has {known}")]
    UnknownKey {
        /// The flow.
        flow: String,
        /// The key, if it is a text or a number.
        key: String,
        /// The keys of its first channels.
        known: String,
    },
    /// The index is another descriptor's: this one has fewer channels.
    #[error(
        "flow {flow:?} has {channels} channels, and none with index {index}: use indices of this flow's own descriptor"
    )]
    ForeignIndex {
        /// The flow.
        flow: String,
        /// The index, from 0.
        index: usize,
        /// How many channels the flow has.
        channels: usize,
    },
    /// A value of another type than its channel's.
    #[error("channel {channel} of flow {flow:?} takes {}, and {} was given", words(*expected), words(*given))]
    ValueType {
        /// The flow.
        flow: String,
        /// The channel's key, or its number if the key is neither text nor a number.
        channel: String,
        /// The channel's type.
        expected: ChannelDataType,
        /// The type of the value given.
        given: ChannelDataType,
    },
}

/// Builds one request of a flow. Channels that aren't set are empty.
#[derive(Debug)]
pub struct FlowBuilder<'a, K> {
    descriptor: &'a FlowDescriptor<K>,
    values: Vec<Value>,
    run_id: String,
}

impl<K> FlowBuilder<'_, K> {
    /// The request. Without a run's id the stream sends it to the run that is attached then.
    pub fn request(self, now: TimeValue) -> IngestWithConfigDataStreamRequest {
        IngestWithConfigDataStreamRequest {
            ingestion_config_id: self.descriptor.ingestion_config_id.clone(),
            flow: self.descriptor.name.clone(),
            timestamp: Some(now.into_message()),
            channel_values: self.values.into_iter().map(Value::into_message).collect(),
            run_id: self.run_id,
            ..Default::default()
        }
    }

    /// The flow's name.
    #[cfg_attr(not(test), expect(dead_code, reason = "the streams call it"))]
    pub(super) fn flow_name(&self) -> &str {
        &self.descriptor.name
    }

    /// Empty if there is none.
    #[cfg_attr(not(test), expect(dead_code, reason = "the streams call it"))]
    pub(super) fn ingestion_config_id(&self) -> &str {
        &self.descriptor.ingestion_config_id
    }

    /// Empty if there is none.
    #[cfg_attr(not(test), expect(dead_code, reason = "the streams call it"))]
    pub(super) fn run_id(&self) -> &str {
        &self.run_id
    }

    /// The values in the channels' order, as a recorder takes them.
    #[cfg_attr(not(test), expect(dead_code, reason = "the streams call it"))]
    pub(super) fn values(&self) -> impl ExactSizeIterator<Item = record::Value<'_>> {
        self.values.iter().map(Value::borrowed)
    }
}

impl<'a, K> FlowBuilder<'a, K>
where
    K: Eq + Hash,
{
    /// With all channels empty.
    pub fn new(flow_descriptor: &'a FlowDescriptor<K>) -> Self {
        let values = vec![Value::Empty; flow_descriptor.channels.len()];
        Self { descriptor: flow_descriptor, values, run_id: String::new() }
    }

    /// Sets the run that the request belongs to, whatever run the stream has.
    pub fn attach_run_id(&mut self, run_id: impl Into<String>) {
        self.run_id = run_id.into();
    }

    /// Sets a channel's value; the fast way.
    ///
    /// # Errors
    /// [`FlowBuilderError::ForeignIndex`], [`FlowBuilderError::ValueType`].
    pub fn set<V>(&mut self, index: ChannelIndex, value: V) -> Result<(), FlowBuilderError>
    where
        V: Into<Value>,
    {
        let value = value.into();
        let (Some(channel), Some(place)) = (self.descriptor.channels.get(index.0), self.values.get_mut(index.0)) else {
            let (flow, channels) = (self.descriptor.name.clone(), self.descriptor.channels.len());
            return Err(FlowBuilderError::ForeignIndex { flow, index: index.0, channels });
        };
        if let Some(given) = value.data_type().filter(|given| *given != channel.data_type) {
            let (flow, channel, expected) = (self.descriptor.name.clone(), channel.label.clone(), channel.data_type);
            return Err(FlowBuilderError::ValueType { flow, channel, expected, given });
        }
        *place = value;
        Ok(())
    }

    /// Sets the value of the channel with this key.
    ///
    /// # Errors
    /// [`FlowBuilderError::UnknownKey`], [`FlowBuilderError::ValueType`].
    pub fn set_with_key<Q, V>(&mut self, key: &Q, value: V) -> Result<(), FlowBuilderError>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
        V: Into<Value>,
    {
        match self.descriptor.index_map.get(key) {
            Some(index) => self.set(*index, value),
            None => Err(FlowBuilderError::UnknownKey {
                flow: self.descriptor.name.clone(),
                key: label_of(key).unwrap_or_else(|| "with the key that was given".to_owned()),
                known: self.descriptor.known(),
            }),
        }
    }
}

/// What to call a key in an error. Keys need not be printable, but all can be hashed: what a text or a number tells the
/// hasher is the text or the number.
fn label_of<Q: Hash + ?Sized>(key: &Q) -> Option<String> {
    let mut listener = Listener::default();
    key.hash(&mut listener);
    match listener.heard {
        Heard::Text(text) => String::from_utf8(text).ok().map(|text| format!("{text:?}")),
        Heard::Number(number) => Some(number),
        Heard::Nothing | Heard::Bytes(_) | Heard::Other => None,
    }
}

#[derive(Default)]
struct Listener {
    heard: Heard,
}

#[derive(Default)]
enum Heard {
    #[default]
    Nothing,
    /// So far; text ends with a byte that isn't part of any.
    Bytes(Vec<u8>),
    Text(Vec<u8>),
    Number(String),
    Other,
}

impl Listener {
    fn number(&mut self, number: impl ToString) {
        self.heard = match self.heard {
            Heard::Nothing => Heard::Number(number.to_string()),
            _ => Heard::Other,
        };
    }
}

impl Hasher for Listener {
    fn finish(&self) -> u64 {
        0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.heard = match self.heard {
            Heard::Nothing => Heard::Bytes(bytes.to_vec()),
            _ => Heard::Other,
        };
    }

    fn write_u8(&mut self, number: u8) {
        match std::mem::take(&mut self.heard) {
            Heard::Bytes(text) if number == 0xff => self.heard = Heard::Text(text),
            heard => {
                self.heard = heard;
                self.number(number);
            }
        }
    }

    fn write_u16(&mut self, number: u16) {
        self.number(number);
    }

    fn write_u32(&mut self, number: u32) {
        self.number(number);
    }

    fn write_u64(&mut self, number: u64) {
        self.number(number);
    }

    fn write_u128(&mut self, number: u128) {
        self.number(number);
    }

    fn write_usize(&mut self, number: usize) {
        self.number(number);
    }

    fn write_i8(&mut self, number: i8) {
        self.number(number);
    }

    fn write_i16(&mut self, number: i16) {
        self.number(number);
    }

    fn write_i32(&mut self, number: i32) {
        self.number(number);
    }

    fn write_i64(&mut self, number: i64) {
        self.number(number);
    }

    fn write_i128(&mut self, number: i128) {
        self.number(number);
    }

    fn write_isize(&mut self, number: isize) {
        self.number(number);
    }
}

#[cfg(test)]
mod tests {
    use sift_rs::ingest::v1::ingest_with_config_data_channel_value::Type;
    use sift_rs::ingestion_configs::v2::ChannelConfig;

    use super::*;

    fn config(channels: &[(&str, i32)]) -> FlowConfig {
        let channels = channels.iter().map(|(name, data_type)| ChannelConfig {
            name: (*name).to_owned(),
            data_type: *data_type,
            ..Default::default()
        });
        FlowConfig { name: "wheels".to_owned(), channels: channels.collect() }
    }

    fn speed_and_slipping() -> FlowDescriptor<String> {
        FlowDescriptor::try_from(("config", config(&[("speed", 1), ("slipping", 5)]))).unwrap()
    }

    #[test]
    fn what_is_set_is_in_the_request_and_the_rest_is_empty() {
        let descriptor = speed_and_slipping();
        let mut flow = FlowBuilder::new(&descriptor);
        flow.attach_run_id("run");
        flow.set_with_key("slipping", true).unwrap();
        assert_eq!((flow.flow_name(), flow.ingestion_config_id(), flow.run_id()), ("wheels", "config", "run"));
        assert_eq!(flow.values().collect::<Vec<_>>(), [record::Value::Empty, record::Value::Bool(true)]);
        let request = flow.request(TimeValue::from_timestamp_nanos(7));
        assert_eq!((&request.ingestion_config_id[..], &request.run_id[..]), ("config", "run"));
        assert_eq!(request.timestamp.unwrap().nanos, 7);
        let given: Vec<_> = request.channel_values.into_iter().map(|value| value.r#type.unwrap()).collect();
        assert_eq!(given, [Type::Empty(pbjson_types::Empty {}), Type::Bool(true)]);
    }

    #[test]
    fn a_request_of_a_descriptor_without_ids_has_none() {
        let descriptor = FlowDescriptor::try_from(("", &config(&[("speed", 1)]))).unwrap();
        let request = FlowBuilder::new(&descriptor).request(TimeValue::now());
        assert_eq!((&request.ingestion_config_id[..], &request.run_id[..]), ("", ""));
    }

    #[test]
    fn what_does_not_fit_is_named_and_changes_nothing() {
        let descriptor = speed_and_slipping();
        let speed = descriptor.mapping()["speed"];
        let mut flow = FlowBuilder::new(&descriptor);
        flow.set(speed, 1.5).unwrap();
        assert_eq!(
            flow.set(speed, "fast").unwrap_err().to_string(),
            "channel \"speed\" of flow \"wheels\" takes a double, and a string was given"
        );
        assert_eq!(
            flow.set_with_key("sped", 2.5).unwrap_err().to_string(),
            "flow \"wheels\" has no channel \"sped\"; it has \"speed\", \"slipping\""
        );
        assert_eq!(flow.values().next(), Some(record::Value::Double(1.5)));
        flow.set(speed, ()).unwrap();
        assert_eq!(flow.values().next(), Some(record::Value::Empty));
    }

    #[test]
    fn an_index_of_a_larger_descriptor_is_refused() {
        let larger = FlowDescriptor::try_from(("", config(&[("a", 1), ("b", 1), ("c", 1)]))).unwrap();
        let descriptor = speed_and_slipping();
        let error = FlowBuilder::new(&descriptor).set(larger.mapping()["c"], 1.5).unwrap_err();
        let expected =
            "flow \"wheels\" has 2 channels, and none with index 2: use indices of this flow's own descriptor";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn keys_are_named_whatever_they_are() {
        #[derive(PartialEq, Eq, Hash)]
        enum Wheel {
            Front,
            Rear,
        }
        #[derive(PartialEq, Eq, Hash)]
        struct Pair(u8, u8);

        assert_eq!(label_of("speed"), Some("\"speed\"".to_owned()));
        assert_eq!(label_of(&"speed".to_owned()), Some("\"speed\"".to_owned()));
        assert_eq!(label_of(""), Some("\"\"".to_owned()));
        assert_eq!(label_of(&7_usize), Some("7".to_owned()));
        assert_eq!(label_of(&-7_i16), Some("-7".to_owned()));
        assert_eq!(label_of(&Wheel::Rear), Some("1".to_owned()));
        for (label, of) in
            [(label_of(&Pair(1, 0xff)), "pair"), (label_of(&()), "unit"), (label_of(&[b'a', 0xff]), "bytes")]
        {
            assert_eq!(label, None, "{of}");
        }

        let mut builder = FlowDescriptorBuilder::new("", "wheels");
        let only = builder.add(Pair(1, 2), ChannelDataType::Double);
        let descriptor = builder.build();
        let mut flow = FlowBuilder::new(&descriptor);
        let unknown = flow.set_with_key(&Pair(3, 4), 1.5).unwrap_err().to_string();
        assert_eq!(unknown, "flow \"wheels\" has no channel with the key that was given; it has no. 0");
        let wrong = flow.set(only, true).unwrap_err().to_string();
        assert_eq!(wrong, "channel no. 0 of flow \"wheels\" takes a double, and a bool was given");
        assert!(label_of(&Wheel::Front).is_some());
    }

    #[test]
    fn an_error_names_some_channels_of_very_many() {
        let mut builder = FlowDescriptorBuilder::new("", "many");
        (0..100_u32).for_each(|key| drop(builder.add(key, ChannelDataType::Double)));
        let many = builder.build();
        let error = FlowBuilder::new(&many).set_with_key(&100, 1.5).unwrap_err().to_string();
        assert!(
            error.starts_with("flow \"many\" has no channel 100; it has 0, 1, ") && error.ends_with(", 19 and 80 more")
        );
        let none = FlowDescriptorBuilder::<String>::new("", "none").build();
        let error = FlowBuilder::new(&none).set_with_key("x", 1.5).unwrap_err().to_string();
        assert_eq!(error, "flow \"none\" has no channel \"x\"; it has none");
    }

    #[test]
    fn a_config_that_sift_would_refuse_makes_no_descriptor() {
        for (channels, text) in [
            (&[("x", 0)][..], "channel \"x\" of flow \"wheels\" has no known data type (0)"),
            (&[("x", 99)], "channel \"x\" of flow \"wheels\" has no known data type (99)"),
            (&[("x", 1), ("x", 1)], "flow \"wheels\" has two channels named \"x\""),
        ] {
            assert_eq!(FlowDescriptor::try_from(("", config(channels))).unwrap_err().to_string(), text);
        }
    }
}
