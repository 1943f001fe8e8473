//! Records and frames whose checksums hold, and that aren't what they should be.

use serde_json::json;

use super::{FIRST, begun, imu_with, look_at, look_with, name};
use crate::support::format::golden::{header, imus};
use crate::support::format::{DATA, FrameSpec, HEADER, Header, MARK, Pb, Rec, SCHEMA, Seg, Times, V, payload};
use sift_replay::verify::VerifyOptions;

/// A DATA frame of these bytes instead of records, one record.
fn raw(seg: &mut Seg, record: &[u8]) {
    let payload = [&(record.len() as u32).to_le_bytes()[..], record].concat();
    let spec = FrameSpec { count: 1, ..FrameSpec::new(DATA, seg.next_seq, payload) };
    seg.data_frame(&[], spec, json!({ "event": "records" }));
}

#[test]
fn a_record_that_does_not_fit_its_schema_is_told_by_its_seq_and_channel() {
    let unknown = Rec { flow: "engine", ..imus(9, 1)[0].clone() };
    let one = Rec { values: vec![V::F64(1.0)], ..imus(9, 1)[0].clone() };
    let timeless = Rec { time: None, ..imus(9, 1)[0].clone() };
    for (record, told) in [
        (imu_with(V::U64(1)), "channel \"x\" of flow \"imu\" takes double, and the record has a uint64"),
        (imu_with(V::F32(1.0)), "channel \"x\" of flow \"imu\" takes double, and the record has a float"),
        (unknown, "the record is of flow \"engine\", which no schema ahead of it has"),
        (one, "the record of flow \"imu\" has 1 values, and the flow 2 channels"),
        (timeless, "the record of flow \"imu\" has no timestamp"),
    ] {
        for zstd in [false, true] {
            let mut seg = begun();
            let at = seg.bytes.len();
            // Beside sound ones; SEAL is as it was.
            seg.data(&[imus(2, 1), vec![record.clone()], imus(3, 2)].concat(), zstd).seal();
            let looked = look_at(&seg);
            looked.finds(&[&format!("invalid {at} seq 3: {told}")]);
            assert_eq!((looked.report.totals.records_found, looked.report.totals.records_invalid), (6, 1));
        }
    }
}

#[test]
fn bytes_that_are_no_request_are_told() {
    let flow = |name: &[u8]| Pb::default().always_bytes(2, name);
    for (record, told) in [
        (vec![0xff; 3], "the record is no request: a cut-off number at its byte 3"),
        (vec![0x0b], "the record is no request: a wire type that no field of this message has at its byte 1"),
        (flow(b"im\xff").0, "the record is no request: a text that isn't UTF-8 at its byte 0"),
        (
            flow(b"imu").always_varint(3, 5).0,
            "the record is no request: a known field with another wire type at its byte 5",
        ),
        (Vec::new(), "the record of flow \"\" has no timestamp"),
    ] {
        let mut seg = begun();
        let at = seg.bytes.len();
        raw(&mut seg, &record);
        look_at(&seg).finds(&[&format!("invalid {at} seq 2: {told}")]);
    }
}

#[test]
fn a_record_that_no_recorder_would_take_for_its_size_is_told() {
    let mut seg = begun();
    let at = seg.bytes.len();
    let flow = Pb::default().always_bytes(2, b"imu");
    raw(&mut seg, &flow.always_bytes(99, &vec![0; 16 << 20]).0);
    look_at(&seg).finds(&[&format!("invalid {at} seq 2: the record of flow \"imu\" exceeds {} bytes", 16 << 20)]);
}

/// Sift refuses them, and SEAL counts them: that is no lie.
#[test]
fn values_that_are_not_finite_are_counted_by_flow_and_channel() {
    let y = |v| Rec { values: vec![V::F64(1.0), V::F64(v)], ..imus(8, 1)[0].clone() };
    let mut seg = begun();
    seg.data(&[imu_with(V::F64(f64::NAN)), y(f64::INFINITY), y(f64::NEG_INFINITY)], false);
    let both = Rec { values: vec![V::F64(f64::NAN), V::F64(f64::NAN)], ..imus(9, 1)[0].clone() };
    seg.data(&[imu_with(V::F64(f64::MAX)), both], true).seal();
    let looked = look_at(&seg);
    looked.finds(&["non-finite Some(\"imu\") Some(\"x\") 2", "non-finite Some(\"imu\") Some(\"y\") 3"]);
    assert_eq!((looked.report.totals.values_non_finite, looked.report.totals.records_invalid), (5, 0));
}

/// [F-21]
#[test]
fn a_frame_that_says_bare_and_holds_ids_is_told_with_the_first_record_that_has_one() {
    for ids in [["cfg", "", ""], ["", "run", ""], ["", "", "org"]] {
        let mut seg = begun();
        let at = seg.bytes.len();
        let own = Rec { ids, ..imus(3, 1)[0].clone() };
        let records = [imus(2, 1), vec![own.clone(), own], imus(4, 1)].concat();
        let (spec, event) = seg.data_spec(&records, false);
        assert_eq!(spec.flags, 0);
        seg.data_frame(&records, FrameSpec { flags: 1, ..spec.clone() }, event.clone()).seal();
        let told =
            format!("invalid {at} seq 3: the record carries ids of its own, and its frame says that none there does");
        look_at(&seg).finds(&[&told]);
        // Without the flag, a replayer looks.
        let mut seg = begun();
        seg.data_frame(&records, spec, event).seal();
        look_at(&seg).is_sound(6);
        // Not saying it where it would be true costs time, and is no lie.
        let mut seg = begun();
        let (spec, event) = seg.data_spec(&imus(2, 2), false);
        seg.data_frame(&imus(2, 2), FrameSpec { flags: 0, ..spec }, event).seal();
        look_at(&seg).is_sound(4);
    }
}

/// [F-17]
#[test]
fn a_frame_with_other_times_than_its_records_is_told() {
    let true_times = Times::of(&imus(2, 2));
    for (times, stated) in [
        (Times(true_times.0 - 1, true_times.1), "1700000002000000499 to 1700000003000000500 ns"),
        (Times(true_times.0 + 1, true_times.1), "1700000002000000501 to 1700000003000000500 ns"),
        (Times(true_times.0, true_times.1 + 1), "1700000002000000500 to 1700000003000000501 ns"),
        (Times(true_times.0, true_times.1 - 1), "1700000002000000500 to 1700000003000000499 ns"),
        (Times::NONE, "none"),
    ] {
        let mut seg = begun();
        let at = seg.bytes.len();
        let (spec, event) = seg.data_spec(&imus(2, 2), false);
        // SEAL is built of what the frames say.
        seg.data_frame(&imus(2, 2), FrameSpec { times, ..spec }, event);
        look_at(&seg).finds(&[&format!(
            "invalid {at}: the frame says that its times are {stated}, and they are 1700000002000000500 to \
             1700000003000000500 ns"
        )]);
    }
}

/// Records that aren't requests have no time: nobody knows what the frame's should be.
#[test]
fn times_are_not_judged_where_a_record_can_not_be_read() {
    let mut seg = begun();
    let at = seg.bytes.len();
    raw(&mut seg, &[0xff]);
    look_at(&seg).finds(&[&format!("invalid {at} seq 2: the record is no request: a cut-off number at its byte 1")]);
}

/// [F-4], [F-17]: what the other kinds of frames state.
#[test]
fn frames_without_records_must_not_state_any() {
    let note = |ns: i64| Pb::default().sfixed64(1, ns).always_bytes(4, b"note").0;
    let mark = || FrameSpec { times: Times(7, 7), ..FrameSpec::new(MARK, 2, note(7)) };
    let schema = || FrameSpec::new(SCHEMA, 2, Vec::new());
    for (spec, told) in [
        (FrameSpec { count: 1, ..mark() }, "the frame states records, and its kind has none"),
        (FrameSpec { times: Times(7, 8), ..mark() }, "the frame states other times than its mark"),
        (FrameSpec { times: Times::NONE, ..mark() }, "the frame states other times than its mark"),
        (FrameSpec { count: 3, ..schema() }, "the frame states records, and its kind has none"),
        (FrameSpec { times: Times(0, 0), ..schema() }, "the frame states times, and its kind has none"),
    ] {
        let mut seg = begun();
        let at = seg.bytes.len();
        seg.frame(spec, json!({ "event": "mark" }));
        look_at(&seg).finds(&[&format!("invalid {at}: {told}")]);
    }
    let mut seg = begun();
    seg.frame(mark(), json!({ "event": "mark" })).frame(schema(), json!({ "event": "schema" }));
    look_at(&seg).is_sound(2);
}

/// [F-2], [F-18]
#[test]
fn a_second_header_is_told_and_tells_nothing() {
    let mut seg = begun();
    let at = seg.bytes.len();
    let second = Header { flows: Vec::new(), first_seq: 2, ..header(0) };
    seg.frame(FrameSpec::new(HEADER, 2, second.encode()), json!({ "event": "header" })).data(&imus(2, 1), false);
    look_at(&seg).finds(&[&format!("invalid {at}: HEADER stands within the file, where none belongs")]);
}

#[test]
fn one_fault_in_many_records_is_told_ten_times_and_counted() {
    let mut seg = begun();
    let wrong: Vec<Rec> = (0..1000).map(|_| imu_with(V::Bool(true))).collect();
    seg.data(&wrong, false).data(&imus(0, 1), false);
    let looked = look_at(&seg);
    assert_eq!(looked.found.len(), 11, "{looked:?}");
    assert!(looked.found[9].starts_with(&format!("invalid {} seq 11", FIRST + 156)), "{looked:?}");
    assert_eq!(looked.found[10], "more invalid of the file: 990");
    assert_eq!(looked.report.totals.records_invalid, 1000);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(name(&seg)), &seg.bytes).unwrap();
    let all = look_with(&[dir.path().to_owned()], VerifyOptions { most_told: u64::MAX });
    assert_eq!(all.found.len(), 1000);
}

/// A frame may hold no record at all [F-20].
#[test]
fn an_empty_frame_is_sound() {
    let mut seg = begun();
    let spec = FrameSpec::new(DATA, seg.next_seq, payload(&[]));
    seg.data_frame(&[], spec, json!({ "event": "records" })).data(&imus(2, 1), false).seal();
    look_at(&seg).is_sound(3);
}
