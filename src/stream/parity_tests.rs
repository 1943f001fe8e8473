//! One source, two crates: what users of the official crate wrote compiles against this one, and does the same.

use proptest::prelude::*;
use prost::Message;
use sift_rs::common::r#type::v1::ChannelDataType;
use sift_rs::ingest::v1::IngestWithConfigDataStreamRequest;
use sift_rs::ingestion_configs::v2::{ChannelConfig, FlowConfig};

/// Two channels of each type.
fn config() -> FlowConfig {
    let types = (1..=11).map(|number| ChannelDataType::try_from(number).unwrap());
    let channels = types.flat_map(|data_type| {
        ["a", "b"].map(|suffix| ChannelConfig {
            name: format!("{data_type:?}-{suffix}"),
            data_type: data_type.into(),
            ..Default::default()
        })
    });
    FlowConfig { name: "all".to_owned(), channels: channels.collect() }
}

/// Each snippet once for each crate, as functions of the same names in modules of their own.
macro_rules! in_both_crates {
    ($($items:tt)*) => {
        mod official {
            #[allow(unused_imports)]
            use super::*;
            use ::sift_stream::*;
            $($items)*
        }
        mod ours {
            #[allow(unused_imports)]
            use super::*;
            use crate::stream::*;
            $($items)*
        }
    };
}

in_both_crates! {
    /// One value of each kind, from each type that there is a conversion of.
    pub(super) fn values() -> Vec<ChannelValue> {
        let bytes: &[u8] = &[4, 5];
        vec![
            ChannelValue::new("Double-a", 1.5),
            ChannelValue::new("String-a", "text"),
            ChannelValue::new("String-b", String::from("more")),
            ChannelValue::new("Enum-a", ChannelEnum(2)),
            ChannelValue::new("BitField-a", vec![3]),
            ChannelValue::new("BitField-b", bytes),
            ChannelValue::new("Bool-a", true),
            ChannelValue::new("Bool-b", false),
            ChannelValue::new("Float-a", -1.5_f32),
            ChannelValue::new("Int32-a", -6),
            ChannelValue::new("Int32-b", i32::MIN),
            ChannelValue::new("Uint32-a", u32::MAX),
            ChannelValue::new("Int64-a", i64::MIN),
            ChannelValue::new("Uint64-a", u64::MAX),
            ChannelValue::new("Bytes-a", ChannelBytes(vec![7, 8])),
            ChannelValue { name: "Bytes-b".into(), value: Value::Empty },
            ChannelValue::new("Double-b", ()),
        ]
    }

    /// All of them in one request, by keys and by indices.
    pub(super) fn request_of_values() -> IngestWithConfigDataStreamRequest {
        let descriptor = FlowDescriptor::try_from(("config-1", &config())).unwrap();
        let mut builder = FlowBuilder::new(&descriptor);
        builder.attach_run_id("run-1");
        for (at, ChannelValue { name, value }) in values().into_iter().enumerate() {
            if at % 2 == 0 {
                builder.set_with_key(&name, value).unwrap();
            } else {
                let index = descriptor.mapping().get(&name).copied().unwrap();
                builder.set(index, value).unwrap();
            }
        }
        builder.request(TimeValue::from_timestamp_nanos(-1_700_000_000_000_000_001))
    }

    /// As the official documentation builds one, keys borrowed and owned, with what is refused on the way.
    pub(super) fn requests_of_built_descriptors() -> Vec<IngestWithConfigDataStreamRequest> {
        #[derive(PartialEq, Eq, Hash)]
        struct OwnKey(u8);

        let mut names = FlowDescriptorBuilder::new("config-2", String::from("by-name"));
        let text = names.add("text", ChannelDataType::String);
        names.add("count", ChannelDataType::Uint64);
        let names = names.build();
        assert_eq!((names.get("count"), names.get("counts")), (Some(ChannelDataType::Uint64), None));
        assert!(names.mapping()["text"] == text && names.mapping().len() == 2);
        let mut by_name = FlowBuilder::new(&names);
        assert!(by_name.set(text, "a".to_string()).is_ok());
        assert!(by_name.set_with_key("count", 123_u64).is_ok());
        assert!(by_name.set(text, 1).is_err() && by_name.set_with_key("texts", "a").is_err());

        let mut numbers = FlowDescriptorBuilder::<usize>::new("", "by-number");
        for key in 0..3 {
            numbers.add(key, ChannelDataType::Double);
        }
        let numbers = numbers.build().clone();
        let run_id = String::from("run-2");
        let mut by_number = FlowBuilder::new(&numbers);
        by_number.set_with_key(&1, 2.5).unwrap();
        by_number.attach_run_id(&run_id);

        let mut owns = FlowDescriptorBuilder::new("", "by-own-key");
        owns.add(OwnKey(1), ChannelDataType::Bool);
        owns.add(OwnKey(1), ChannelDataType::Float);
        let owns = owns.build();
        let mut by_own_key = FlowBuilder::new(&owns);
        by_own_key.set_with_key(&OwnKey(1), 0.0_f32).unwrap();

        let time = || TimeValue::try_from_timestamp(1, 2).unwrap();
        vec![by_name.request(time()), by_number.request(time()), by_own_key.request(time())]
    }

    /// Sets arbitrary values in arbitrary channels: which were taken, and what came of it.
    pub(super) fn request_of_arbitrary(sets: &[(usize, u8, u64, String)]) -> (Vec<bool>, Vec<u8>) {
        let config = config();
        let descriptor = FlowDescriptor::try_from((7, &config)).unwrap();
        let mut builder = FlowBuilder::new(&descriptor);
        let taken = sets.iter().map(|(channel, kind, bits, text)| {
            let value = match kind {
                0 => Value::Empty,
                1 => (*bits % 2 == 1).into(),
                2 => text.as_str().into(),
                3 => f32::from_bits(*bits as u32).into(),
                4 => f64::from_bits(*bits).into(),
                5 => (*bits as i32).into(),
                6 => (*bits as i64).into(),
                7 => (*bits as u32).into(),
                8 => (*bits).into(),
                9 => ChannelEnum(*bits as u32).into(),
                10 => text.clone().into_bytes().into(),
                _ => ChannelBytes(text.clone().into_bytes()).into(),
            };
            builder.set_with_key(&config.channels[*channel].name, value).is_ok()
        });
        let taken = taken.collect();
        (taken, builder.request(TimeValue::from_timestamp_nanos(0)).encode_to_vec())
    }

    /// What each constructor makes of what is given; `None` if it refuses.
    pub(super) fn times() -> Vec<Option<(i64, i32)>> {
        let mut times = Vec::new();
        for given in [i64::MIN, -62_135_596_800_001, -1, 0, 1, 999, 1_700_000_000_123, i64::MAX] {
            times.push(TimeValue::try_from_timestamp_millis(given).ok());
            times.push(TimeValue::try_from_timestamp_micros(given).ok());
            times.push(Some(TimeValue::from_timestamp_nanos(given)));
            for nanos in [0, 1, 999_999_999, 1_000_000_000, u32::MAX] {
                times.push(TimeValue::try_from_timestamp(given, nanos).ok());
            }
        }
        for text in [
            "2021-01-01T00:00:00Z",
            "2021-01-01t00:00:00.123456789z",
            "2021-01-01 00:00:00+00:00",
            "1969-12-31T23:59:59.999999999-11:30",
            "2021-01-01T00:00:00",
            "2021-02-30T00:00:00Z",
            "1677-09-21T00:12:44Z",
            "2262-04-11T23:47:16Z",
            "",
        ] {
            times.push(TimeValue::try_from_rfc3339(text).ok());
            times.push(TimeValue::try_from_rfc3339(String::from(text)).ok());
        }
        let at: chrono::DateTime<chrono::Utc> = "2024-02-29T12:00:00.5Z".parse().unwrap();
        times.push(Some(at.into()));
        let mut changed = TimeValue::from(at);
        changed.seconds += 1;
        changed.nanos = 7;
        times.push(Some(changed.clone()));
        times.into_iter().map(|time| time.map(|time| (time.seconds, time.nanos))).collect()
    }

    /// A message's parts, as callers read and write them.
    pub(super) fn flow() -> (String, Vec<(String, String)>) {
        let flow = Flow::new("all", TimeValue::default(), &values());
        let mut flow = Flow { timestamp: TimeValue::now(), ..flow.clone() };
        flow.values.retain(|value| value.value != Value::Empty);
        let owned = Flow::new(String::from("all"), flow.timestamp.clone(), &flow.values);
        assert_eq!(owned.values, flow.values);
        (owned.flow_name, flow.values.iter().map(|v| (v.name.clone(), format!("{:?}", v.value))).collect())
    }

    /// What callers match and propagate.
    pub(super) fn errors() -> Vec<String> {
        fn checked<E: std::error::Error + Send + Sync + 'static>(error: E) -> Box<dyn std::error::Error + Send + Sync> {
            error.into()
        }
        fn kind<T>(error: &TrySendError<T>) -> &'static str {
            match error {
                TrySendError::Full(_) => "full",
                TrySendError::Closed(_) => "closed",
            }
        }
        let (full, closed) = (TrySendError::Full(1_u8), TrySendError::Closed(1_u8));
        assert!(full.is_full() && closed.is_closed() && !full.is_closed() && !closed.is_full());
        let mut told = vec![kind(&full).to_owned(), kind(&closed).to_owned()];
        told.push(SendError(vec![1]).into_inner().len().to_string());
        told.push((full.into_inner() + closed.into_inner()).to_string());
        let sent: Result<(), SiftStreamSendError<u8>> = Err(SiftStreamSendError::ChannelClosed(3));
        told.push(match sent {
            Ok(()) => "sent".to_owned(),
            Err(SiftStreamSendError::ChannelClosed(message)) => message.to_string(),
            Err(SiftStreamSendError::EncodeError(error)) => error.to_string(),
        });
        let sent: Result<(), SiftStreamTrySendError<u8>> = Err(SiftStreamTrySendError::Channel(TrySendError::Full(4)));
        told.push(match sent {
            Ok(()) => "sent".to_owned(),
            Err(SiftStreamTrySendError::Channel(error)) => error.into_inner().to_string(),
            Err(SiftStreamTrySendError::EncodeError(error)) => error.to_string(),
        });
        let _ = [
            checked(SendError(1)),
            checked(TrySendError::Full(1)),
            checked(SiftStreamSendError::ChannelClosed(1)),
            checked(SiftStreamTrySendError::Channel(TrySendError::Closed(1))),
        ];
        let descriptor = FlowDescriptorBuilder::<String>::new("", "f").build();
        let _ = checked(FlowBuilder::new(&descriptor).set_with_key("x", 1).unwrap_err());
        let _ = checked(TimeValue::try_from_rfc3339("").unwrap_err());
        let odd = FlowConfig { channels: vec![ChannelConfig { data_type: 99, ..Default::default() }], ..Default::default() };
        let _ = checked(FlowDescriptor::try_from((String::from("id"), &odd)).err().unwrap());
        let _ = checked(FlowDescriptor::try_from(("id", odd)).err().unwrap());
        told
    }
}

#[test]
fn values_become_the_same_requests() {
    let request = ours::request_of_values();
    assert_eq!(request, official::request_of_values());
    assert_eq!(request.encode_to_vec(), official::request_of_values().encode_to_vec());
    assert_eq!(request.channel_values.len(), 22);
}

#[test]
fn built_descriptors_make_the_same_requests() {
    assert_eq!(ours::requests_of_built_descriptors(), official::requests_of_built_descriptors());
}

#[test]
fn times_are_the_same_and_refused_alike_within_the_range() {
    let (ours, official) = (ours::times(), official::times());
    assert_eq!(ours.len(), official.len());
    let (mut refused_here, mut leap_seconds) = (0, 0);
    for (ours, official) in ours.into_iter().zip(official) {
        // Ours have the range of 64-bit nanoseconds; the official crate's go as far as its calendar.
        let within = |(seconds, nanos): &(i64, i32)| {
            i64::try_from(i128::from(*seconds) * 1_000_000_000 + i128::from(*nanos)).is_ok()
        };
        refused_here += usize::from(official.is_some_and(|time| !within(&time)));
        // And the official crate sends a leap second as more nanoseconds than protobuf has room for.
        leap_seconds += usize::from(official.is_some_and(|(_, nanos)| nanos >= 1_000_000_000));
        let settled = |(seconds, nanos)| {
            if nanos >= 1_000_000_000 { (seconds + 1, nanos - 1_000_000_000) } else { (seconds, nanos) }
        };
        assert_eq!(ours, official.filter(within).map(settled));
    }
    assert!(refused_here > 0 && leap_seconds > 0, "both departures are tested");
}

#[test]
fn messages_and_errors_are_read_alike() {
    assert_eq!(ours::flow(), official::flow());
    assert_eq!(ours::errors(), official::errors());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_values_are_taken_and_encoded_alike(
        sets in prop::collection::vec((0..22_usize, 0..12_u8, any::<u64>(), ".{0,8}"), 0..40)
    ) {
        prop_assert_eq!(ours::request_of_arbitrary(&sets), official::request_of_arbitrary(&sets));
    }
}
