//! Requests made without a recorder, and flows from Sift's own messages.

use prost::Message;
use sift_replay::record::{
    Channel, DataType, Encoder, FlowSchema, MAX_RECORDED_BYTES, RecordError, Recorder, Schema, SchemaError, Timestamp,
    Value,
};
use sift_rs::common::r#type::v1::{ChannelBitFieldElement, ChannelDataType, ChannelEnumType};
use sift_rs::ingestion_configs::v2::{ChannelConfig, FlowConfig};

use super::quiet;
use crate::support::recording::{Owned, counted, counter_schema, encoded, flow_of, merged, request};
use crate::support::storage::FaultyStorage;

fn every_type() -> Vec<Owned> {
    vec![
        Owned::Double(1.5),
        Owned::Text("héllo".to_owned()),
        Owned::Enum(7),
        Owned::BitField(vec![1, 2]),
        Owned::Bool(true),
        Owned::Float(f32::NAN),
        Owned::Int32(-1),
        Owned::Uint32(u32::MAX),
        Owned::Int64(i64::MIN),
        Owned::Uint64(u64::MAX),
        Owned::Bytes(vec![0; 300]),
    ]
}

#[test]
fn an_encoder_makes_what_a_recorder_records() {
    let storage = FaultyStorage::new();
    let schema = Schema::new("rover", "k").flow(flow_of("all", &DataType::ALL)).flow(flow_of("none", &[]));
    let recorder = Recorder::create("root", &schema, quiet(&storage)).unwrap();
    let encoder = Encoder::new(&schema).unwrap();
    let cases = [
        ("all", 1_700_000_000_123_456_789, every_type()),
        ("all", -1, vec![Owned::Empty; 11]),
        ("none", 0, Vec::new()),
        ("all", i64::MAX, every_type()),
    ];
    let mut stream = vec![0xff];
    let mut expected = vec![0xff];
    for (flow, time, owned) in &cases {
        let values: Vec<_> = owned.iter().map(Owned::value).collect();
        let at = Timestamp::from_unix_ns(*time);
        let start = stream.len();
        encoder.encode(&encoder.flow(flow).unwrap(), at, &values, &mut stream).unwrap();
        assert!(encoder.check(&stream[start..]).unwrap());
        expected.extend(encoded(flow, *time, owned));
        assert_eq!(stream, expected, "appended, byte for byte");
        let _ = recorder.record(&recorder.flow(flow).unwrap(), at, &values).unwrap();
    }
    recorder.finish().unwrap();
    let recorded: Vec<u8> = merged(&super::saved(&storage)).into_values().flatten().collect();
    assert_eq!(recorded, stream[1..]);
}

#[test]
fn what_can_not_be_encoded_leaves_the_buffer_as_it_was() {
    let encoder = Encoder::new(&Schema::new("rover", "k").flow(flow_of("f", &[DataType::String; 2]))).unwrap();
    let flow = encoder.flow("f").unwrap();
    let huge = "x".repeat(MAX_RECORDED_BYTES);
    let mut out = b"before".to_vec();
    let mut refused = |values: &[Value<'_>]| {
        let error = encoder.encode(&flow, Timestamp::now(), values, &mut out).unwrap_err();
        assert_eq!(out, b"before");
        error
    };
    assert!(matches!(refused(&[Value::Empty]), RecordError::ValueCount { expected: 2, given: 1, .. }));
    assert!(matches!(refused(&[Value::String("a"), Value::Bool(true)]), RecordError::ValueType { .. }));
    assert!(matches!(refused(&[Value::String("a"), Value::String(&huge)]), RecordError::TooLarge { .. }));
    assert!(matches!(refused(&[Value::String(&huge[..MAX_RECORDED_BYTES / 2]); 2]), RecordError::TooLarge { .. }));
}

#[test]
fn an_encoder_checks_requests_as_a_recorder_does() {
    let encoder = Encoder::new(&counter_schema()).unwrap();
    let mut own = request("f", 1, &[Owned::Uint64(1)]);
    assert!(encoder.check(&own.encode_to_vec()).unwrap());
    own.run_id = "run".to_owned();
    assert!(!encoder.check(&own.encode_to_vec()).unwrap(), "it has an id of its own");
    own.timestamp = None;
    assert!(matches!(encoder.check(&own.encode_to_vec()), Err(RecordError::NoTimestamp { .. })));
    assert!(matches!(encoder.check(&encoded("g", 1, &[])), Err(RecordError::UnknownFlow { .. })));
    assert!(matches!(encoder.check(&encoded("f", 1, &[Owned::Bool(true)])), Err(RecordError::ValueType { .. })));
    assert!(matches!(encoder.check(&encoded("f", 1, &[])), Err(RecordError::ValueCount { .. })));
    assert!(matches!(encoder.check(&counted(1)[..5]), Err(RecordError::Request(_))));
}

#[test]
fn an_encoder_adds_flows_as_a_recorder_does() {
    let mut encoder = Encoder::new(&counter_schema()).unwrap();
    let late = || flow_of("late", &[DataType::Bool]);
    let added = encoder.add_flow(late()).unwrap();
    let again = encoder.add_flow(late()).unwrap();
    let (mut first, mut second) = (Vec::new(), Vec::new());
    encoder.encode(&added, Timestamp::from_unix_ns(1), &[Value::Bool(true)], &mut first).unwrap();
    encoder.encode(&again, Timestamp::from_unix_ns(1), &[Value::Bool(true)], &mut second).unwrap();
    assert_eq!((&first, &first), (&second, &encoded("late", 1, &[Owned::Bool(true)])));
    let differs = encoder.add_flow(flow_of("late", &[DataType::Double]));
    assert!(matches!(differs, Err(RecordError::Schema(SchemaError::FlowDiffers { flow })) if flow == "late"));
    let nameless = encoder.add_flow(FlowSchema::new(""));
    assert!(matches!(nameless, Err(RecordError::Schema(SchemaError::Empty { .. }))));
    let misfit = FlowSchema::new("x").channel(Channel::new("c", DataType::Bool).enum_value(1, "on"));
    assert!(matches!(encoder.add_flow(misfit), Err(RecordError::Schema(SchemaError::Misfit { .. }))));
    let large = (0..40).fold(FlowSchema::new("large"), |flow, n| {
        flow.channel(Channel::new(n.to_string(), DataType::Bool).description("x".repeat(500_000)))
    });
    assert!(matches!(encoder.add_flow(large.clone()), Err(RecordError::Schema(SchemaError::TooLarge { .. }))));
    assert!(encoder.flow("large").is_err());
    let schema = Schema::new("rover", "k").flow(large);
    assert!(matches!(Encoder::new(&schema), Err(RecordError::Schema(SchemaError::TooLarge { .. }))));
    assert!(matches!(Encoder::new(&Schema::new("", "k")), Err(RecordError::Schema(SchemaError::Empty { .. }))));
}

#[test]
fn flows_of_others_are_refused_by_encoders_and_recorders() {
    let encoder = Encoder::new(&counter_schema()).unwrap();
    let recorder = Recorder::create("root", &counter_schema(), quiet(&FaultyStorage::new())).unwrap();
    let (theirs, ours) = (recorder.flow("f").unwrap(), encoder.flow("f").unwrap());
    let mut out = Vec::new();
    let foreign = encoder.encode(&theirs, Timestamp::now(), &[Value::Uint64(1)], &mut out);
    assert!(matches!(foreign, Err(RecordError::ForeignFlow { .. })) && out.is_empty());
    let foreign = recorder.offer(&ours, Timestamp::now(), &[Value::Uint64(1)]);
    assert!(matches!(foreign, Err(RecordError::ForeignFlow { .. })));
}

fn sifts_flow() -> FlowConfig {
    let channel = |name: &str, data_type: ChannelDataType| ChannelConfig {
        name: name.to_owned(),
        unit: "m".to_owned(),
        description: "what it is".to_owned(),
        data_type: data_type.into(),
        ..Default::default()
    };
    let mode = ChannelConfig {
        enum_types: vec![ChannelEnumType { name: "on".to_owned(), key: 1, ..Default::default() }],
        ..channel("mode", ChannelDataType::Enum)
    };
    let bits = ChannelConfig {
        bit_field_elements: vec![ChannelBitFieldElement { name: "low".to_owned(), index: 0, bit_count: 4 }],
        ..channel("bits", ChannelDataType::BitField)
    };
    FlowConfig { name: "nav".to_owned(), channels: vec![channel("x", ChannelDataType::Double), mode, bits] }
}

#[test]
fn a_flow_is_made_of_sifts_own_message() {
    let flow = FlowSchema::from_request(&sifts_flow().encode_to_vec()).unwrap();
    let channel = |name, data_type| Channel::new(name, data_type).unit("m").description("what it is");
    let by_hand = FlowSchema::new("nav")
        .channel(channel("x", DataType::Double))
        .channel(channel("mode", DataType::Enum).enum_value(1, "on"))
        .channel(channel("bits", DataType::BitField).bits("low", 0, 4));
    assert_eq!(flow, by_hand);
    assert_eq!(flow.name(), "nav");
}

#[test]
fn a_message_that_makes_no_flow_is_refused_by_name() {
    let refused = |change: &dyn Fn(&mut FlowConfig)| {
        let mut flow = sifts_flow();
        change(&mut flow);
        FlowSchema::from_request(&flow.encode_to_vec()).unwrap_err()
    };
    assert!(matches!(refused(&|flow| flow.name.clear()), SchemaError::Empty { .. }));
    assert!(matches!(refused(&|flow| flow.channels[0].data_type = 0), SchemaError::DataType { number: 0, .. }));
    assert!(matches!(refused(&|flow| flow.channels[1].name = "x".to_owned()), SchemaError::RepeatedChannel { .. }));
    assert!(matches!(refused(&|flow| flow.channels[1].data_type = 5), SchemaError::Misfit { .. }));
    assert!(matches!(FlowSchema::from_request(&[0xff]), Err(SchemaError::Request(_))));
}

#[test]
fn a_flow_tells_its_channels() {
    let encoder = Encoder::new(&Schema::new("rover", "k").flow(flow_of("f", &DataType::ALL))).unwrap();
    let flow = encoder.flow("f").unwrap();
    assert_eq!(flow.name(), "f");
    assert_eq!(flow.channel_names().len(), 11);
    for (at, (name, data_type)) in flow.channel_names().iter().zip(DataType::ALL).enumerate() {
        assert_eq!((flow.channel_index(name), flow.channel_type(at)), (Some(at), Some(data_type)));
    }
    assert_eq!((flow.channel_index("c11"), flow.channel_type(11)), (None, None));
}

#[test]
fn named_values_find_their_places_in_any_order() {
    let channels = 700;
    let encoder =
        Encoder::new(&Schema::new("rover", "k").flow(flow_of("f", &vec![DataType::Uint64; channels]))).unwrap();
    let flow = encoder.flow("f").unwrap();
    let named = |at: usize| (flow.channel_names()[at].as_str(), Value::Uint64(at as u64));
    let in_order: Vec<_> = (0..channels).map(|at| Value::Uint64(at as u64)).collect();
    let mut out = vec![Value::Bool(true)];
    flow.arrange((0..channels).map(named), &mut out).unwrap();
    assert_eq!(out, in_order);
    flow.arrange((0..channels).rev().map(named), &mut out).unwrap();
    assert_eq!(out, in_order);
    // 3 has no divisor in common with 700.
    flow.arrange((0..channels).map(|at| named(at * 3 % channels)), &mut out).unwrap();
    assert_eq!(out, in_order);
    flow.arrange([named(0), named(5), named(6), named(699), named(2)], &mut out).unwrap();
    for (at, value) in out.iter().enumerate() {
        let given = [0, 2, 5, 6, 699].contains(&at);
        assert_eq!(*value, if given { Value::Uint64(at as u64) } else { Value::Empty });
    }
    flow.arrange([], &mut out).unwrap();
    assert_eq!(out, vec![Value::Empty; channels]);
}

#[test]
fn named_values_that_have_no_place_are_refused() {
    let encoder = Encoder::new(&Schema::new("rover", "k").flow(flow_of("f", &[DataType::Bool; 300]))).unwrap();
    let flow = encoder.flow("f").unwrap();
    let mut out = Vec::new();
    let unknown = flow.arrange([("c0", Value::Bool(true)), ("C1", Value::Bool(true))], &mut out);
    assert!(matches!(unknown, Err(RecordError::UnknownChannel { channel, known, .. })
        if channel == "C1" && known.starts_with("c0, c1, ")));
    assert!(out.is_empty());
    for name in ["c0", "c63", "c64", "c255", "c256", "c299"] {
        // Given as empty, it is given all the same.
        for first in [Value::Empty, Value::Bool(true)] {
            let named = [(name, first), ("c7", Value::Empty), (name, Value::Bool(false))];
            let repeated = flow.arrange(named, &mut out);
            assert!(matches!(repeated, Err(RecordError::RepeatedChannel { channel, .. }) if channel == name));
            assert!(out.is_empty());
        }
    }
}

#[test]
fn names_of_all_lengths_and_single_doubles_are_encoded_as_prost_has_it() {
    for length in (1..60).chain([127, 128, 200]) {
        let (storage, name) = (FaultyStorage::new(), "n".repeat(length));
        let schema = Schema::new("rover", "k").flow(flow_of(&name, &[DataType::Double]));
        let (recorder, encoder) =
            (Recorder::create("root", &schema, quiet(&storage)).unwrap(), Encoder::new(&schema).unwrap());
        let (flow, mut alone) = (recorder.flow(&name).unwrap(), b"before".to_vec());
        let _ = recorder.record(&flow, Timestamp::from_unix_ns(7), &[Value::Double(f64::NAN)]).unwrap();
        encoder
            .encode(&encoder.flow(&name).unwrap(), Timestamp::from_unix_ns(7), &[Value::Double(f64::NAN)], &mut alone)
            .unwrap();
        assert_eq!(recorder.finish().unwrap().non_finite, 1);
        let expected = encoded(&name, 7, &[Owned::Double(f64::NAN)]);
        assert_eq!(alone, [b"before", &expected[..]].concat());
        assert_eq!(merged(&super::saved(&storage))[&0], expected);
    }
}
