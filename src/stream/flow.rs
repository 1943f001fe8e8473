//! A message: values of one flow's channels, by their names.

use sift_rs::common::r#type::v1::ChannelDataType;
use sift_rs::ingest::v1::IngestWithConfigDataStreamRequest;

use super::descriptor::FlowDescriptor;
use super::time::TimeValue;
use super::value::{ChannelValue, Value, words};
use crate::record::{self, DataType, RecordError, SchemaError};

/// Values of one flow, taken at one time. Channels may be in any order, and missing ones are empty.
#[derive(Debug, Clone, PartialEq)]
pub struct Flow {
    /// The flow's name.
    pub flow_name: String,
    /// When the values were taken.
    pub timestamp: TimeValue,
    /// The values, each of another channel.
    pub values: Vec<ChannelValue>,
}

impl Flow {
    /// With copies of these values.
    pub fn new<S>(flow_name: S, timestamp: TimeValue, values: &[ChannelValue]) -> Self
    where
        S: ToString,
    {
        Self { flow_name: flow_name.to_string(), timestamp, values: values.to_vec() }
    }

    /// The values as a recorder takes them.
    #[cfg_attr(not(test), expect(dead_code, reason = "the streams call it"))]
    pub(super) fn named(&self) -> Vec<(&str, record::Value<'_>)> {
        self.values.iter().map(|given| (given.name.as_str(), given.value.borrowed())).collect()
    }

    /// As a request without ids, its values in the channels' order.
    ///
    /// # Errors
    /// [`RecordError::UnknownFlow`] if it is another flow's descriptor, [`RecordError::UnknownChannel`],
    /// [`RecordError::RepeatedChannel`], [`RecordError::ValueType`].
    #[cfg_attr(not(test), expect(dead_code, reason = "the streams call it"))]
    pub(super) fn into_request(
        self,
        descriptor: &FlowDescriptor<String>,
    ) -> Result<IngestWithConfigDataStreamRequest, RecordError> {
        let Self { flow_name: flow, timestamp, values } = self;
        if flow != descriptor.name() {
            return Err(RecordError::UnknownFlow { flow });
        }
        let mut places: Vec<Option<Value>> = vec![None; descriptor.len()];
        for ChannelValue { name, value } in values {
            let Some((place, expected)) =
                descriptor.place(&name).and_then(|(at, expected)| places.get_mut(at).map(|place| (place, expected)))
            else {
                let known = descriptor.known();
                return Err(RecordError::UnknownChannel { flow, channel: name, known });
            };
            if let Some(given) = value.data_type().filter(|given| *given != expected) {
                return Err(wrong_type(flow, name, expected, given));
            }
            if place.replace(value).is_some() {
                return Err(RecordError::RepeatedChannel { flow, channel: name });
            }
        }
        let channel_values = places.into_iter().map(|value| value.unwrap_or(Value::Empty).into_message()).collect();
        let timestamp = Some(timestamp.into_message());
        Ok(IngestWithConfigDataStreamRequest { flow, timestamp, channel_values, ..Default::default() })
    }
}

fn wrong_type(flow: String, channel: String, expected: ChannelDataType, given: ChannelDataType) -> RecordError {
    let number = expected.into();
    match DataType::from_number(number) {
        Some(expected) => RecordError::ValueType { flow, channel, expected, given: words(given) },
        None => SchemaError::DataType { flow, channel, number }.into(),
    }
}
