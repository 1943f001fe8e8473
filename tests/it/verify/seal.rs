//! SEAL must say what the segment holds: each of its fields, made to lie.

use prost::Message;
use serde_json::json;
use sift_replay::format::{MAX_INDEX_ENTRIES, MAX_SEAL_FLOWS, Seal};
use sift_replay::record::{DataType, Recorder, RecorderOptions, Schema, Timestamp, Value};

use super::{begun, look, look_at};
use crate::support::format::golden::{chan, imus};
use crate::support::format::{Flow, FrameSpec, Rec, SEAL, Seg, V};
use crate::support::recording::flow_of;

/// Two flows, three DATA frames, a flow added.
fn segment() -> Seg {
    let mut seg = begun();
    let gps = |i: i32| Rec::new("gps", 1_700_000_100, i, vec![V::Bool(true), V::U32(3)]);
    seg.data(&[gps(1), gps(2)], true).schema(vec![Flow { name: "motor", channels: vec![chan("rpm", "", 7)] }]);
    seg.data(&imus(2, 1), false);
    seg
}

/// The segment, sealed with a SEAL that `change` was at; and where that begins.
fn sealed(seg: &Seg, change: impl FnOnce(&mut Seal)) -> (Seg, usize) {
    let mut honest = seg.clone();
    honest.seal();
    let frame = honest.frames.last().unwrap();
    let mut seal = Seal::decode(&honest.bytes[frame.offset + 72..frame.offset + frame.len]).unwrap();
    change(&mut seal);
    let (mut seg, at) = (seg.clone(), seg.bytes.len());
    seg.frame(FrameSpec::new(SEAL, seg.next_seq, seal.encode_to_vec()), json!({ "event": "seal" }));
    seg.bytes.extend((at as u64).to_le_bytes());
    seg.bytes.extend(b"SFR-SEAL");
    (seg, at)
}

type Change = fn(&mut Seal);

#[test]
fn each_field_of_seal_that_lies_is_told_and_nothing_else() {
    let (honest, _) = sealed(&segment(), |_| {});
    look_at(&honest).is_sound(5);
    let cases: [(Change, &str); 24] = [
        (|s| s.records += 1, "SEAL says 6 for the number of records, and it is 5"),
        (|s| s.end_seq -= 1, "SEAL says 4 for the seq behind the last record, and it is 5"),
        (|s| s.least = None, "SEAL says none for the least time, and it is 1700000000000000500 ns"),
        (|s| s.greatest = Some(5), "SEAL says 5 ns for the greatest time, and it is 1700000100000000002 ns"),
        (|s| s.non_finite = 1, "SEAL says 1 for the number of values that aren't finite, and it is 0"),
        (|s| s.flows[0].records += 1, "SEAL's figures of flow \"imu\" aren't those of its records"),
        (|s| s.flows[1].least = Some(3), "SEAL's figures of flow \"gps\" aren't those of its records"),
        (|s| s.flows[1].greatest = None, "SEAL's figures of flow \"gps\" aren't those of its records"),
        (|s| drop(s.flows.remove(0)), "SEAL's figures of flow \"imu\" aren't those of its records"),
        (|s| s.flows[0].name = "none".to_owned(), "SEAL's figures of flow \"none\" aren't those of its records"),
        (|s| s.flows.push(s.flows[0].clone()), "SEAL's figures of flow \"imu\" aren't those of its records"),
        (|s| s.index[0].offset += 1, "SEAL's index is wrong: it doesn't begin with the first DATA frame (entry 0)"),
        (
            |s| s.index[1].offset += 1,
            "SEAL's index is wrong: it states other records or times than the frames have (entry 0)",
        ),
        (
            |s| s.index[1].first_seq += 1,
            "SEAL's index is wrong: it states another first seq than the frame has (entry 1)",
        ),
        (
            |s| s.index[2].count += 1,
            "SEAL's index is wrong: it states other records or times than the frames have (entry 2)",
        ),
        (
            |s| s.index[0].greatest = Some(0),
            "SEAL's index is wrong: it states other records or times than the frames have (entry 0)",
        ),
        (
            |s| s.index.truncate(2),
            "SEAL's index is wrong: it states other records or times than the frames have (entry 1)",
        ),
        (|s| s.index.clear(), "SEAL's index is wrong: it doesn't begin with the first DATA frame (entry 0)"),
        (|s| s.index.push(s.index[0]), "SEAL's index is wrong: no DATA frame begins there (entry 3)"),
        (|s| s.header = None, "SEAL's copy of HEADER is missing"),
        (|s| s.header.as_mut().unwrap().host.clear(), "SEAL's copy of HEADER isn't what HEADER says"),
        (|s| s.header.as_mut().unwrap().first_seq = 1, "SEAL's copy of HEADER isn't what HEADER says"),
        (
            |s| drop(s.header.as_mut().unwrap().ingestion_config.drain(7..)),
            "SEAL's copy of HEADER doesn't have exactly the flows of HEADER and those added since",
        ),
        (
            |s| s.header.as_mut().unwrap().run_id = Some("other".to_owned()),
            "SEAL's copy of HEADER isn't what HEADER says",
        ),
    ];
    for (change, told) in cases {
        let (seg, at) = sealed(&segment(), change);
        look_at(&seg).finds(&[&format!("invalid {at}: {told}")]);
    }
}

#[test]
fn without_added_flows_seals_schema_is_that_of_header() {
    let (seg, at) = sealed(&begun(), |seal| seal.header.as_mut().unwrap().ingestion_config.extend([0x22, 1, b'x']));
    let told = format!("invalid {at}: SEAL's copy of HEADER has another schema, and no flow was added");
    look_at(&seg).finds(&[&told]);
}

/// [F-25]: an entry may stand for several frames.
#[test]
fn an_entry_may_stand_for_several_frames() {
    let (seg, _) = sealed(&segment(), |seal| {
        let last = seal.index.pop().unwrap();
        let before = seal.index.last_mut().unwrap();
        before.count += last.count;
        before.least = before.least.min(last.least);
        before.greatest = before.greatest.max(last.greatest);
    });
    look_at(&seg).is_sound(5);
}

/// [F-24], [F-25]: bounded lists are no lies; longer ones break the rules.
#[test]
fn what_seal_leaves_out_by_its_bounds_is_no_lie() {
    let dir = tempfile::tempdir().unwrap();
    let options = RecorderOptions { frame_bytes: 1, segment_bytes: u64::MAX, ..RecorderOptions::default() };
    let schema = (0..MAX_SEAL_FLOWS + 3).fold(Schema::new("rover", "rover-v1"), |schema, i| {
        schema.flow(flow_of(&format!("flow {i}"), &[DataType::Uint64]))
    });
    let recorder = Recorder::create(dir.path(), &schema, options).unwrap();
    let mut records = 0;
    for i in (0..MAX_SEAL_FLOWS + 3).chain(0..3) {
        let flow = recorder.flow(&format!("flow {i}")).unwrap();
        let _ = recorder.record(&flow, Timestamp::from_unix_ns(i as i64), &[Value::Uint64(1)]).unwrap();
        records += 1;
    }
    recorder.finish().unwrap();
    let looked = look(dir.path());
    looked.is_sound(records);
    // More frames than the index has entries, or nothing was tested.
    assert!(looked.report.totals.frames > MAX_INDEX_ENTRIES as u64, "{looked:?}");
    let (seg, at) = sealed(&begun(), |seal| {
        let entry = seal.index[0];
        seal.index.resize(MAX_INDEX_ENTRIES + 1, entry);
    });
    let told = format!("invalid {at}: SEAL's index is wrong: there are more than there may be (entry 4096)");
    look_at(&seg).finds(&[&told]);
}

/// Where frames are lost, SEAL tells of what isn't there any more: that is what it is for.
#[test]
fn seal_is_not_blamed_for_what_is_damaged() {
    let (seg, _) = sealed(&segment(), |_| {});
    let mut bytes = seg.bytes.clone();
    bytes[seg.frames[1].offset + 80] ^= 1;
    super::look_as(&super::name(&seg), &bytes).finds(&["damage 216 +156 payload-checksum Some(0..2)", "missing 0..2"]);
}
