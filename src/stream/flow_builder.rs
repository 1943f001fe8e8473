//! Requests built channel by channel.

use std::borrow::Borrow;
use std::hash::Hash;

use prost::Message;
use sift_rs::common::r#type::v1::ChannelDataType;
use sift_rs::ingest::v1::IngestWithConfigDataStreamRequest;

use super::descriptor::{ChannelIndex, FlowDescriptor};
use super::key_label::label_of;
use super::time::TimeValue;
use super::value::{Value, words};
use crate::record;

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
    /// The request, with the ids that are known; those that are empty are left to the stream.
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

    /// The request, encoded, of a builder that is used once more.
    pub(super) fn encoded(&self, now: TimeValue) -> Vec<u8> {
        let (descriptor, values, run_id) = (self.descriptor, self.values.clone(), self.run_id.clone());
        FlowBuilder { descriptor, values, run_id }.request(now).encode_to_vec()
    }

    /// The flow's name.
    pub(super) fn flow_name(&self) -> &str {
        &self.descriptor.name
    }

    /// Empty if there is none.
    pub(super) fn ingestion_config_id(&self) -> &str {
        &self.descriptor.ingestion_config_id
    }

    /// Empty if there is none.
    pub(super) fn run_id(&self) -> &str {
        &self.run_id
    }

    /// The values in the channels' order, as a recorder takes them.
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

    /// Sets the run that the request belongs to.
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
        match self.descriptor.place(key) {
            Some((index, _)) => self.set(ChannelIndex(index), value),
            None => Err(FlowBuilderError::UnknownKey {
                flow: self.descriptor.name.clone(),
                key: label_of(key).unwrap_or_else(|| "with the key that was given".to_owned()),
                known: self.descriptor.known(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use sift_rs::ingest::v1::ingest_with_config_data_channel_value::Type;
    use sift_rs::ingestion_configs::v2::{ChannelConfig, FlowConfig};

    use super::*;
    use crate::stream::FlowDescriptorBuilder;

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
    fn keys_that_can_not_be_named_are_numbered() {
        #[derive(PartialEq, Eq, Hash)]
        struct Pair(u8, u8);

        let mut builder = FlowDescriptorBuilder::new("", "wheels");
        let only = builder.add(Pair(1, 2), ChannelDataType::Double);
        let descriptor = builder.build();
        let mut flow = FlowBuilder::new(&descriptor);
        let unknown = flow.set_with_key(&Pair(3, 4), 1.5).unwrap_err().to_string();
        assert_eq!(unknown, "flow \"wheels\" has no channel with the key that was given; it has no. 0");
        let wrong = flow.set(only, true).unwrap_err().to_string();
        assert_eq!(wrong, "channel no. 0 of flow \"wheels\" takes a double, and a bool was given");
    }

    #[test]
    fn an_error_names_some_channels_of_very_many() {
        let mut builder = FlowDescriptorBuilder::new("", "many");
        for key in 0..100_u32 {
            builder.add(key, ChannelDataType::Double);
        }
        let many = builder.build();
        let error = FlowBuilder::new(&many).set_with_key(&100, 1.5).unwrap_err().to_string();
        assert!(
            error.starts_with("flow \"many\" has no channel 100; it has 0, 1, ") && error.ends_with(", 19 and 80 more")
        );
        let none = FlowDescriptorBuilder::<String>::new("", "none").build();
        let error = FlowBuilder::new(&none).set_with_key("x", 1.5).unwrap_err().to_string();
        assert_eq!(error, "flow \"none\" has no channel \"x\"; it has none");
    }
}
