//! Very many of what is small.

use super::make::{Made, channel, config, flow, record};
use super::many;
use super::place::Place;
use crate::support::backup::put_chunk;
use crate::support::format::{DATA, FrameSpec, MARK, Pb, SCHEMA};

#[test]
fn very_many_frames_of_one_record_are_all_delivered() {
    let mut made = Made::ordinary(1, 0);
    for seq in 0..many() {
        made.data(seq, 1);
    }
    let said = Place::with(&made.open_name(), &made.bytes).run();
    said.says("replay", 0, &["COMPLETE"]);
    assert_eq!(said.figure("records_already_acknowledged"), many());
}

#[test]
fn very_many_empty_frames_and_marks_cost_nothing() {
    let mut made = Made::ordinary(1, 0);
    for seq in 0..many() {
        made.frame(FrameSpec::new(DATA, 0, Vec::new()));
        let note = Pb::default().sfixed64(1, seq as i64).always_bytes(4, b"");
        made.frame(FrameSpec::new(MARK, 0, note.0));
        made.frame(FrameSpec::new(99, 0, Vec::new()));
    }
    made.data(0, 3);
    let said = Place::with(&made.open_name(), &made.bytes).run();
    said.says("replay", 0, &["COMPLETE"]);
    assert_eq!(said.figure("records_already_acknowledged"), 3);
}

/// Each frame adds a flow, and has a record of it.
#[test]
fn very_many_schema_frames_are_registered_or_refused_in_a_line() {
    let mut made = Made::ordinary(1, 0);
    // Each costs calls, so that they are fewer.
    let flows = many() / 100;
    for number in 0..flows {
        let added = flow(&format!("flow {number}"), [&channel("c")]);
        made.frame(FrameSpec::new(SCHEMA, number, Pb::default().always_bytes(2, &added).0));
        made.data(number, 1);
    }
    let said = Place::with(&made.open_name(), &made.bytes).run();
    said.says("replay", 0, &["COMPLETE"]);
    assert_eq!(said.figure("records_already_acknowledged"), flows);
}

/// [P-1]
#[test]
fn very_many_empty_pbfs_chunks_are_read() {
    let mut file = Vec::new();
    for _ in 0..many() {
        put_chunk(&mut file, &[]);
    }
    let place = Place::with("backup-1", &file);
    let said = place.run();
    said.says("ls", 0, &["backup-1", "PBFS"]).says("replay", 0, &["NOTHING TO REPLAY"]);
}

/// Every second record is nowhere.
#[test]
fn very_many_gaps_are_counted_and_told() {
    let mut made = Made::ordinary(1, 0);
    for number in 0..many() {
        made.data(number * 2 + 1, 1);
    }
    let said = Place::with(&made.open_name(), &made.bytes).run();
    said.says("replay", 3, &["1 record (seqs 0 to 0)", "records are missing"]);
    assert_eq!((said.figure("records_already_acknowledged"), said.figure("records_missing")), (many(), many()));
}

/// Each other frame is damaged.
#[test]
fn very_many_damaged_places_are_counted_and_told() {
    let mut made = Made::ordinary(1, 0);
    for number in 0..many() {
        made.data(number * 2, 1);
        let at = made.bytes.len();
        made.data(number * 2 + 1, 1);
        // In half of them the header, in half of them the payload.
        let hit = if number % 2 == 0 { at + 20 } else { at + 75 };
        made.bytes[hit] ^= 1;
    }
    let said = Place::with(&made.open_name(), &made.bytes).run();
    said.says("replay", 3, &["header's checksum is wrong", "payload's checksum is wrong", "places are damaged"]);
    assert_eq!(said.figure("damaged_places"), many());
    assert_eq!(said.figure("records_already_acknowledged"), many());
}

#[test]
fn thousands_of_sessions_are_listed_and_delivered() {
    let place = Place::new();
    let sessions = (many() / 20) as u32;
    for session in 0..sessions {
        let mut made = Made::ordinary(session, 0);
        made.data(0, 1);
        place.put(format!("{}/{}", session % 10, made.open_name()), &made.bytes);
    }
    let said = place.run();
    said.says("replay", 0, &["COMPLETE"]);
    assert_eq!(said.figure("sessions"), u64::from(sessions));
    assert_eq!(said.figure("records_already_acknowledged"), u64::from(sessions));
}

/// Each claims what another has.
#[test]
fn segments_that_overlap_in_every_way_deliver_each_seq_once() {
    let place = Place::new();
    let segments = (many() / 200) as u32;
    for index in 0..segments {
        let mut made = Made::ordinary(1, index);
        // Backwards from file to file, and with holes in each.
        for frame in 0..20 {
            made.data(u64::from(segments - index) * 3 + frame * 7, 5);
        }
        place.put(made.open_name(), &made.bytes);
    }
    // All of them under one more index.
    let mut all = Made::ordinary(1, u32::MAX);
    all.data(0, 100);
    place.put(all.open_name(), &all.bytes);
    let said = place.run();
    assert_eq!(said.figure("records_found"), said.figure("records_already_acknowledged"));
    let found = said.figure("records_found");
    let end = u64::from(segments) * 3 + 19 * 7 + 5;
    assert_eq!(found + said.figure("records_missing"), end);
}

/// Seqs and times at their ends ([F-14], [F-17]).
#[test]
fn seqs_near_the_last_one_and_times_at_the_limits_are_ordinary() {
    let mut made = Made::ordinary(1, 0);
    made.data(0, 1).data(u64::MAX - 6, 3);
    // The same of records that may have ids, which are looked at one by one.
    let mut last = super::make::data_spec(u64::MAX - 3, &[record(0, 1), record(0, 2), record(0, 3)]);
    last.flags = 0;
    made.frame(last);
    let place = Place::with(&made.open_name(), &made.bytes);
    // One more would be beyond.
    let mut beyond = Made::ordinary(2, 0);
    beyond.data(0, 1);
    let mut spec = super::make::data_spec(u64::MAX - 2, &[record(0, 1), record(0, 2), record(0, 3)]);
    spec.count = 3;
    beyond.frame(spec);
    place.put(beyond.open_name(), &beyond.bytes);
    let mut times = Made::ordinary(3, 0);
    for (seq, (seconds, nanos)) in
        [(i64::MAX, i32::MAX), (i64::MIN, i32::MIN), (i64::MIN, i32::MAX), (0, -1), (-1, 0)].into_iter().enumerate()
    {
        let mut record = record(0, 0);
        record.time = Some((seconds, nanos));
        times.frame(super::make::data_spec(seq as u64, &[record]));
    }
    place.put(times.open_name(), &times.bytes);
    let said = place.run();
    said.says("ls", 0, &["1677-09-21T00:12:43", "2262-04-11T23:47:16"]);
    said.says("replay", 3, &["impossible length or number", "records are missing"]);
    for shift in ["-300000h", "300000h"] {
        let ran = place.command(&["--dry-run", "--shift-time", shift, place.dir.to_str().unwrap()]);
        assert!(matches!(ran.code, Some(2 | 3)), "{ran:?}");
    }
}

#[test]
fn an_asset_of_very_many_flows_in_many_segments_is_merged_in_time() {
    let flows: Vec<_> = (0..many()).map(|number| flow(&format!("flow {number}"), [&channel("c")])).collect();
    let place = Place::new();
    // Each has all flows, in another order, so that no two are the same.
    for index in 0..5 {
        let mut made = Made::new(1, index);
        let mut turned = flows.clone();
        turned.rotate_left(index as usize);
        made.header(&config("rover", &turned));
        place.put(made.open_name(), &made.bytes);
    }
    place.run().says("replay", 0, &["NOTHING TO REPLAY"]);
}
