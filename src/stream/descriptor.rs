//! A flow's channels, prepared for fast building: by index, or by a key of the caller's own.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

use sift_rs::common::r#type::v1::ChannelDataType;
use sift_rs::ingestion_configs::v2::FlowConfig;

use super::key_label::label_of;
use crate::record::SchemaError;

/// Most channels that an error names.
const MOST_NAMED: usize = 20;

/// A channel's place in its flow. One that another descriptor gave out stands for the channel in the same place: use it
/// only with flows of the same channels.
#[derive(Debug, Copy, Clone, PartialEq, Eq, Hash)]
pub struct ChannelIndex(pub(super) usize);

/// A flow's name and channels, to build requests by. It doesn't change; [`FlowDescriptorBuilder`] makes one, or a
/// [`FlowConfig`] is turned into one whose keys are the channels' names.
///
/// The ingestion config's id may be empty: the stream then sends the requests with its own, once it knows it. That is
/// how descriptors are made where there is no network.
#[derive(Debug, Clone)]
pub struct FlowDescriptor<K> {
    pub(super) ingestion_config_id: String,
    pub(super) name: String,
    pub(super) channels: Vec<Channel>,
    index_map: HashMap<K, ChannelIndex>,
}

#[derive(Debug, Clone)]
pub(super) struct Channel {
    /// What errors call it.
    pub(super) label: String,
    pub(super) data_type: ChannelDataType,
}

impl<K> FlowDescriptor<K> {
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

#[cfg(test)]
mod tests {
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

    #[test]
    fn a_key_given_twice_stands_for_the_later_channel_and_both_stay() {
        let mut builder = FlowDescriptorBuilder::new("", "wheels");
        let first = builder.add("speed", ChannelDataType::Double);
        let second = builder.add("speed", ChannelDataType::Float);
        let descriptor = builder.build();
        assert_eq!((descriptor.mapping()["speed"], descriptor.get("speed")), (second, Some(ChannelDataType::Float)));
        assert!(first != second && descriptor.channels.len() == 2);
    }
}
