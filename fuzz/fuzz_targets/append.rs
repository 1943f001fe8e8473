//! Appending ids and timestamps to a request that isn't decoded: what comes out is what decoding it, setting the fields
//! and encoding it again would have made, and what is learnt from its bytes is what decoding tells ([F-17], [F-21],
//! [F-36]).
//!
//! The first byte says what the input is: even: a request's bytes; odd: pieces of one.

#![no_main]

use libfuzzer_sys::fuzz_target;
use prost::Message;
use sift_replay::format::{Fields, RecordInfo, Suffix, WireProblem, put_bytes_field, put_timestamp, put_varint};
use sift_replay_fuzz::request::Request;
use sift_replay_fuzz::{Arbitrary, Unstructured};

fuzz_target!(|input: &[u8]| {
    let Some((&mode, rest)) = input.split_first() else { return };
    if mode & 1 == 1 {
        if let Ok(case) = Case::arbitrary_take_rest(Unstructured::new(rest)) {
            let mut bytes = Vec::new();
            case.pieces.iter().for_each(|piece| piece.put(&mut bytes));
            check(&bytes, &case.ids, case.ns);
        }
        return;
    }
    let Some((&[a, b, c, d], bytes)) = rest.split_first_chunk::<4>() else { return };
    let ids =
        Ids { config: "config".repeat(usize::from(a & 1)), run: (a & 2 != 0).then(|| "run".into()), end: a & 4 != 0 };
    check(bytes, &ids, i64::from_le_bytes([b, c, d, b, c, d, b, c]));
});

#[derive(Debug, Arbitrary)]
struct Case {
    pieces: Vec<Piece>,
    ids: Ids,
    ns: i64,
}

#[derive(Debug, Arbitrary)]
struct Ids {
    config: String,
    run: Option<String>,
    end: bool,
}

/// A part of a request: any may come again.
#[derive(Debug, Arbitrary)]
enum Piece {
    Config(String),
    Flow(String),
    Time(Vec<Part>),
    Value { number: u8, bytes: Vec<u8> },
    Run(String),
    End(u64),
    Organization(String),
    Unknown { number: u32, wire: u8, bytes: [u8; 8] },
}

/// A part of a timestamp.
#[derive(Debug, Arbitrary)]
enum Part {
    Seconds(i64),
    Nanos(i32),
    /// As a program may write it that means 32 bits: without the sign's.
    Short(u32),
    Long(u64),
    Unknown {
        number: u32,
        wire: u8,
        bytes: [u8; 8],
    },
}

impl Piece {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Config(id) => put_bytes_field(out, 1, id.as_bytes()),
            Self::Flow(flow) => put_bytes_field(out, 2, flow.as_bytes()),
            Self::Time(parts) => {
                let mut stamp = Vec::new();
                for part in parts {
                    match *part {
                        Part::Seconds(seconds) => put_varint_field(&mut stamp, 1, seconds as u64),
                        Part::Nanos(nanos) => put_varint_field(&mut stamp, 2, i64::from(nanos) as u64),
                        Part::Short(nanos) => put_varint_field(&mut stamp, 2, nanos.into()),
                        Part::Long(nanos) => put_varint_field(&mut stamp, 2, nanos),
                        Part::Unknown { number, wire, ref bytes } => put_unknown(&mut stamp, number, wire, bytes),
                    }
                }
                put_bytes_field(out, 3, &stamp);
            }
            Self::Value { number, bytes } => {
                let mut value = Vec::new();
                put_bytes_field(&mut value, u32::from(*number) + 1, bytes);
                put_bytes_field(out, 4, &value);
            }
            Self::Run(id) => put_bytes_field(out, 5, id.as_bytes()),
            Self::End(end) => put_varint_field(out, 6, *end),
            Self::Organization(id) => put_bytes_field(out, 7, id.as_bytes()),
            Self::Unknown { number, wire, bytes } => put_unknown(out, *number, *wire, bytes),
        }
    }
}

fn put_varint_field(out: &mut Vec<u8>, number: u32, value: u64) {
    put_varint(out, u64::from(number) << 3);
    put_varint(out, value);
}

fn put_unknown(out: &mut Vec<u8>, number: u32, wire: u8, bytes: &[u8; 8]) {
    let number = number % ((1 << 29) - 1) + 1;
    put_varint(out, u64::from(number) << 3 | u64::from(wire % 6));
    match wire % 6 {
        0 => put_varint(out, u64::from_le_bytes(*bytes)),
        1 => out.extend(bytes),
        2 => {
            put_varint(out, bytes.len() as u64);
            out.extend(bytes);
        }
        5 => out.extend(&bytes[..4]),
        _ => {}
    }
}

/// Nanoseconds as [F-17] has them.
fn time(request: &Request) -> Option<i64> {
    let stamp = request.timestamp.as_ref()?;
    let ns = i128::from(stamp.seconds) * 1_000_000_000 + i128::from(stamp.nanos);
    Some(ns.clamp(i64::MIN.into(), i64::MAX.into()) as i64)
}

fn check(bytes: &[u8], ids: &Ids, ns: i64) {
    walk(bytes);
    let info = RecordInfo::parse(bytes);
    let Ok(request) = Request::decode(bytes) else { return };
    let info = match info {
        Ok(info) => info,
        // Groups aren't part of proto3: prost passes over them all the same.
        Err(error) => return assert_eq!(error.problem, WireProblem::UnknownWireType, "{request:?}"),
    };
    assert_eq!(info.flow, request.flow.as_bytes());
    assert_eq!(info.timestamp, time(&request), "{request:?}");
    assert_eq!(info.has_config_id, !request.ingestion_config_id.is_empty());
    assert_eq!(info.has_run_id, !request.run_id.is_empty());
    assert_eq!(info.has_organization_id, !request.organization_id.is_empty());
    assert_eq!(
        info.is_bare(),
        request.ingestion_config_id.is_empty() && request.run_id.is_empty() && request.organization_id.is_empty()
    );
    append_ids(bytes, &request, ids);

    let mut shifted = bytes.to_vec();
    put_timestamp(&mut shifted, ns);
    let mut expected = request;
    let (seconds, nanos) = (ns.div_euclid(1_000_000_000), ns.rem_euclid(1_000_000_000) as i32);
    let stamp = expected.timestamp.get_or_insert_default();
    (stamp.seconds, stamp.nanos) = (seconds, nanos);
    assert_same(&shifted, &expected);
    assert_eq!(RecordInfo::parse(&shifted).map(|info| info.timestamp), Ok(Some(ns)));
}

fn assert_same(bytes: &[u8], expected: &Request) {
    let found = Request::decode(bytes).expect("a request that was appended to is one");
    // NaN isn't equal to itself; what is encoded is.
    assert_eq!(found.encode_to_vec(), expected.encode_to_vec(), "{found:?} instead of {expected:?}");
}

fn append_ids(bytes: &[u8], request: &Request, ids: &Ids) {
    let suffix = Suffix::new(&ids.config, ids.run.as_deref(), ids.end);
    let (own_config, own_run) = (!request.ingestion_config_id.is_empty(), !request.run_id.is_empty());
    let appended = |suffix: &Suffix| [bytes, suffix.for_request(bytes).expect("a request")].concat();

    let mut expected = request.clone();
    expected.end_stream_on_validation_error |= ids.end;
    assert_same(&appended(&Suffix::without_ids(ids.end)), &expected);

    if !own_config {
        expected.ingestion_config_id.clone_from(&ids.config);
    }
    if let Some(run) = ids.run.as_ref().filter(|_| !own_config && !own_run) {
        expected.run_id.clone_from(run);
    }
    assert_same(&appended(&suffix), &expected);
    if !own_config && !own_run {
        assert_eq!(appended(&suffix), [bytes, suffix.for_bare()].concat(), "what is bare needn't be looked at");
    }
    if let Some(run) = &ids.run {
        expected.run_id.clone_from(run);
        assert_same(&appended(&suffix.with_run_for_all(run)), &expected);
    }
}

/// Whatever the bytes are, walking over fields ends, in order, without a gap.
fn walk(bytes: &[u8]) {
    let mut at = 0;
    for field in Fields::new(bytes) {
        let Ok(field) = field else { return };
        assert!(field.start == at && field.end > at && field.end <= bytes.len());
        at = field.end;
    }
    assert_eq!(at, bytes.len());
}
