//! A message: values of one flow's channels, by their names.

use sift_rs::common::r#type::v1::ChannelDataType;
use sift_rs::ingest::v1::IngestWithConfigDataStreamRequest;

use super::descriptor::FlowDescriptor;
use super::time::TimeValue;
use super::value::{ChannelValue, Value, words};
use crate::record::{DataType, RecordError, SchemaError};

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

    /// As a request without ids, its values in the channels' order.
    ///
    /// # Errors
    /// [`RecordError::UnknownFlow`] if it is another flow's descriptor, [`RecordError::UnknownChannel`],
    /// [`RecordError::RepeatedChannel`], [`RecordError::ValueType`].
    pub(super) fn into_request(
        self,
        descriptor: &FlowDescriptor<String>,
    ) -> Result<IngestWithConfigDataStreamRequest, RecordError> {
        let Self { flow_name: flow, timestamp, values } = self;
        if flow != descriptor.name {
            return Err(RecordError::UnknownFlow { flow });
        }
        let mut places: Vec<Option<Value>> = vec![None; descriptor.channels.len()];
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use prost::Message;
    use sift_rs::ingest::v1::ingest_with_config_data_channel_value::Type;
    use sift_rs::ingestion_configs::v2::CreateIngestionConfigRequest;

    use super::*;
    use crate::record::{Recorder, RecorderOptions, Schema};
    use crate::segment::{Event, SegmentReader};
    use crate::stream::FlowDescriptorBuilder;
    use crate::stream::auto_register::flow_config_of;

    fn wheels() -> FlowDescriptor<String> {
        let mut builder = FlowDescriptorBuilder::new("config", "wheels");
        builder.add("speed".to_owned(), ChannelDataType::Double);
        builder.add("slipping".to_owned(), ChannelDataType::Bool);
        builder.add("odd".to_owned(), ChannelDataType::Unspecified);
        builder.build()
    }

    fn flow(values: &[ChannelValue]) -> Flow {
        Flow::new("wheels", TimeValue::from_timestamp_nanos(1_500_000_000), values)
    }

    #[test]
    fn a_request_has_its_values_in_the_channels_order_and_missing_ones_empty() {
        let values = [ChannelValue::new("slipping", true), ChannelValue::new("speed", 1.5)];
        let request = flow(&values).into_request(&wheels()).unwrap();
        let given: Vec<_> = request.channel_values.iter().map(|value| value.r#type.clone().unwrap()).collect();
        assert_eq!(given, [Type::Double(1.5), Type::Bool(true), Type::Empty(pbjson_types::Empty {})]);
        assert_eq!(
            (&request.flow[..], request.timestamp.map(|t| (t.seconds, t.nanos))),
            ("wheels", Some((1, 500_000_000)))
        );
        assert_eq!(
            (&request.ingestion_config_id[..], &request.run_id[..]),
            ("", ""),
            "ids are appended when it is sent"
        );
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let speed = ChannelValue::new("speed", 1.5);
        for (values, text) in [
            (
                vec![ChannelValue::new("sped", 1.5)],
                "flow \"wheels\" has no channel \"sped\"; it has \"speed\", \"slipping\", \"odd\"",
            ),
            (
                vec![ChannelValue::new("speed", 1.5_f32)],
                "channel \"speed\" of flow \"wheels\" takes double, and a float was given",
            ),
            (vec![speed.clone(), speed], "channel \"speed\" of flow \"wheels\" is given twice in one record"),
            (vec![ChannelValue::new("odd", 1)], "channel \"odd\" of flow \"wheels\" has no known data type (0)"),
        ] {
            assert_eq!(flow(&values).into_request(&wheels()).unwrap_err().to_string(), text);
        }
        let other = Flow { flow_name: "weels".to_owned(), ..flow(&[]) };
        assert!(matches!(other.into_request(&wheels()), Err(RecordError::UnknownFlow { flow }) if flow == "weels"));
    }

    /// A stream without files sends the request, one with files records the flow: Sift must not see a difference.
    #[test]
    fn a_flow_as_a_request_is_what_a_recorder_makes_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let config = flow_config_of(&flow(&[ChannelValue::new("speed", 0.0), ChannelValue::new("name", "x")])).unwrap();
        let descriptor = FlowDescriptor::try_from(("", &config)).unwrap();
        let request = CreateIngestionConfigRequest {
            asset_name: "rover".to_owned(),
            client_key: "rover-v1".to_owned(),
            flows: vec![config],
            ..Default::default()
        };
        let schema = Schema::from_requests(&request.encode_to_vec(), None).unwrap();
        let recorder = Recorder::create(dir.path(), &schema, RecorderOptions::default()).unwrap();
        let mut requests = Vec::new();
        for values in [
            vec![ChannelValue::new("name", "front"), ChannelValue::new("speed", 1.5)],
            vec![ChannelValue::new("name", "")],
            vec![],
        ] {
            let flow = flow(&values);
            let named: Vec<_> = flow.values.iter().map(|given| (given.name.as_str(), given.value.borrowed())).collect();
            let _ = recorder.record_named(&flow.flow_name, flow.timestamp.timestamp(), &named).unwrap();
            requests.push(flow.into_request(&descriptor).unwrap().encode_to_vec());
        }
        recorder.finish().unwrap();
        assert_eq!(recorded(recorder.dir()), requests);
    }

    fn recorded(dir: &Path) -> Vec<Vec<u8>> {
        let mut records = Vec::new();
        for entry in std::fs::read_dir(dir).unwrap() {
            let mut reader = SegmentReader::open_plain(&entry.unwrap().path()).unwrap();
            while let Some(event) = reader.next_event().unwrap() {
                if let Event::Records(batch) = event {
                    records.extend(batch.records().map(<[u8]>::to_vec));
                }
            }
        }
        records
    }
}
