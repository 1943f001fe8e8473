//! Comparing finds what reading finds.

use prost::Message;
use sift_rs::ingest::v1::ingest_with_config_data_channel_value::Type;
use sift_rs::ingest::v1::{IngestWithConfigDataChannelValue, IngestWithConfigDataStreamRequest as Request};
use uuid::Uuid;

use super::*;
use crate::record::checker::Checker;
use crate::record::data_type::DataType;
use crate::record::flow_table::FlowTable;
use crate::record::schema::{Channel, FlowSchema};

#[test]
fn varints_are_read_wherever_they_stand() {
    for bits in 0..64 {
        for value in [1_u64 << bits, (1 << bits) - 1, 0x1234_5678_9abc_def0 >> (63 - bits)] {
            let mut record = vec![0xff; 3];
            crate::format::put_varint_field(&mut record, 1, value);
            let range = 4..record.len();
            let varint = Varint::at(&range);
            assert_eq!(varint.is_none(), range.len() > 8);
            for _ in 0..9 {
                assert!(varint.is_none_or(|varint| varint.of(&record) == Some(value)), "{value} in {record:?}");
                record.push(0xff);
            }
        }
    }
    assert_eq!(Varint::default().of(&[0xff; 9]), Some(0));
}

const TYPES: [DataType; 12] = [
    DataType::Double,
    DataType::Float,
    DataType::Bool,
    DataType::Int32,
    DataType::Uint32,
    DataType::Int64,
    DataType::Uint64,
    DataType::Enum,
    DataType::BitField,
    DataType::Bytes,
    DataType::String,
    DataType::Double,
];

fn flow(name: &str) -> FlowSchema {
    let element = |channel: Channel| channel.bits("bit", 0, 8);
    TYPES.iter().enumerate().fold(FlowSchema::new(name), |flow, (at, data_type)| {
        let channel = Channel::new(format!("channel {at}"), *data_type);
        let channel = match data_type {
            DataType::BitField => element(channel),
            DataType::Enum => channel.enum_value(0, "off"),
            _ => channel,
        };
        flow.channel(channel)
    })
}

/// A request with values of any size.
fn request(random: &mut fastrand::Rng, flow: &str) -> Vec<u8> {
    let any = |random: &mut fastrand::Rng| random.u64(..) >> random.u32(0..64);
    let double = |random: &mut fastrand::Rng| match random.u8(0..8) {
        0 => f64::NAN,
        1 => f64::NEG_INFINITY,
        _ => f64::from_bits(random.u64(..)),
    };
    let values = [
        Type::Double(double(random)),
        Type::Float(double(random) as f32),
        Type::Bool(random.bool()),
        Type::Int32(any(random) as i32),
        Type::Uint32(any(random) as u32),
        Type::Int64(any(random) as i64),
        Type::Uint64(any(random)),
        Type::Enum(any(random) as u32),
        Type::BitField(vec![random.u8(..)]),
        Type::Bytes(random.u16(..).to_le_bytes().to_vec()),
        Type::String(["", "é", "on"][random.usize(0..3)].to_owned()),
        Type::Double(double(random)),
    ];
    let empty = || Type::Empty(pbjson_types::Empty {});
    let values = values.into_iter().map(|value| if random.u8(0..30) == 0 { empty() } else { value });
    let value = |value| IngestWithConfigDataChannelValue { r#type: Some(value) };
    let channel_values = values.collect::<Vec<_>>().into_iter().map(value).collect();
    let nanos = (any(random) % 1_000_000_000) as i32;
    let timestamp = Some(pbjson_types::Timestamp { seconds: any(random) as i64, nanos });
    let run_id = ["", "r"][usize::from(random.u8(0..9) == 0)].to_owned();
    Request { flow: flow.to_owned(), timestamp, channel_values, run_id, ..Default::default() }.encode_to_vec()
}

/// The same, changed a little.
fn changed(random: &mut fastrand::Rng, mut request: Vec<u8>) -> Vec<u8> {
    match random.u8(0..8) {
        0 => request.truncate(random.usize(0..request.len())),
        1 => request.extend_from_slice(&[random.u8(..), 0]),
        _ => {
            for _ in 0..random.usize(1..4) {
                let at = random.usize(0..request.len());
                request[at] ^= 1 << random.u8(0..8);
            }
        }
    }
    request
}

#[test]
fn what_has_been_met_before_is_found_to_be_what_reading_it_finds() {
    let mut random = fastrand::Rng::with_seed(3);
    let flows = ["a", "b"].map(|name| flow(name).0);
    let table = FlowTable::new(Uuid::nil(), &flows);
    let mut checker = Checker::new();
    flows.iter().for_each(|flow| checker.add(flow).unwrap());
    // Few enough for all to be like one met before, sooner or later.
    let pool: Vec<_> = (0..8).map(|at| request(&mut random, ["a", "b"][at % 2])).collect();
    let (mut sound, mut unsound) = (0, 0);
    for _ in 0..20_000 {
        let mut request = pool[random.usize(0..pool.len())].clone();
        if random.bool() {
            request = changed(&mut random, request);
        }
        match (checker.check(&request), table.check_request(&request)) {
            (Ok(found), Ok(read)) => {
                assert_eq!(found, read, "{request:x?}");
                sound += 1;
            }
            (Err(_), Err(_)) => unsound += 1,
            (found, read) => panic!("{found:?}, {read:?}: {request:x?}"),
        }
    }
    assert!(sound > 4000 && unsound > 2000, "{sound} {unsound}");
    assert!(checker.shapes().met > 4000, "{:?}", checker.shapes());
}

#[test]
fn where_no_two_are_alike_nothing_more_is_learnt_soon() {
    let mut random = fastrand::Rng::with_seed(4);
    let mut checker = Checker::new();
    checker.add(&flow("a").0).unwrap();
    for _ in 0..10_000 {
        checker.check(&request(&mut random, "a")).unwrap();
    }
    let shapes = checker.shapes();
    assert!(shapes.learnt <= LEARNING + shapes.met + 1 && shapes.known.len() == MAX_SHAPES, "{}", shapes.learnt);
}

#[test]
fn a_flow_that_is_added_is_looked_for_also_in_records_like_those_before() {
    let mut checker = Checker::new();
    let one = |data_type| FlowSchema::new("a").channel(Channel::new("x", data_type)).0;
    checker.add(&one(DataType::Double)).unwrap();
    let value = IngestWithConfigDataChannelValue { r#type: Some(Type::Empty(pbjson_types::Empty {})) };
    let timestamp = Some(pbjson_types::Timestamp { seconds: 1, nanos: 0 });
    let request = Request { flow: "a".to_owned(), timestamp, channel_values: vec![value], ..Default::default() };
    let request = request.encode_to_vec();
    let flows = |checker: &mut Checker| [(); 2].map(|()| checker.check(&request).unwrap().flow);
    assert_eq!(flows(&mut checker), [0, 0]);
    checker.add(&one(DataType::Float)).unwrap();
    assert_eq!(flows(&mut checker), [1, 1], "the latest that fits");
}
