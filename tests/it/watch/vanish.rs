//! Files and drives that go, and perhaps come back.

use std::fs;

use serde_json::Value;

use super::desk::{Desk, Live, record};
use crate::support::faulty::Fate;
use sift_replay::record::RecorderOptions;

fn acknowledged(lines: &[Value]) -> bool {
    lines.iter().any(|line| line["event"] == "acknowledged")
}

#[test]
fn what_was_delivered_may_go() {
    let desk = Desk::new();
    let (one, two) = (record(&desk.dir, 0, 200), record(&desk.dir, 1, 200));
    let program = desk.watch(&["--rescan", "1"]);
    program.delivers(400);
    fs::remove_file(&one.files[0]).unwrap();
    // It has seen that when this has come.
    let three = record(&desk.dir, 2, 10);
    program.delivers(410);
    let records = [one.records, two.records, three.records].concat();
    desk.check(&program.interrupt(), &records);
    // Nor does a later program miss it.
    let ended = desk.run(&[]);
    assert_eq!(ended.code, Some(0), "{:?}", ended.lines);
}

#[test]
fn what_an_earlier_program_has_delivered_may_go_before_it_is_looked_at() {
    let desk = Desk::new();
    let one = record(&desk.dir, 0, 200);
    assert_eq!(desk.run(&[]).code, Some(0));
    // Found, and not read before it is gone: registering takes so long.
    desk.faulty.kill();
    let program = desk.watch(&["--rescan", "1"]);
    program.tells("retrying");
    fs::remove_file(&one.files[0]).unwrap();
    desk.faulty.revive();
    let two = record(&desk.dir, 1, 10);
    program.delivers(10);
    let ended = program.interrupt();
    desk.check_arrived(&[one.records, two.records].concat(), 0);
    assert_eq!(
        (ended.summary()["files_unreadable"].as_u64(), ended.summary()["records_missing"].as_u64()),
        (Some(0), Some(0))
    );
}

#[test]
fn what_goes_before_it_was_read_is_told() {
    let desk = Desk::new();
    let one = record(&desk.dir, 0, 200);
    desk.faulty.kill();
    let program = desk.watch(&["--rescan", "1"]);
    program.tells("retrying");
    fs::remove_file(&one.files[0]).unwrap();
    desk.faulty.revive();
    let two = record(&desk.dir, 1, 10);
    program.delivers(10);
    let ended = program.interrupt();
    desk.check_arrived(&two.records, 0);
    assert_eq!(ended.summary()["files_unreadable"], 1);
    assert_eq!(ended.of("unreadable").len(), 1, "{:?}", ended.lines);
}

#[test]
fn what_goes_while_it_is_read_arrives_as_long_as_it_is_open() {
    let desk = Desk::new();
    let one = record(&desk.dir, 0, 2000);
    // The windows of the first streams wait, so that reading does.
    desk.faulty.next_streams(vec![Fate::Held; 4]);
    let program = desk.watch(&["--rescan", "1"]);
    desk.faulty.wait(|seen| seen.held_streams == 4);
    fs::remove_file(&one.files[0]).unwrap();
    desk.faulty.release();
    program.delivers(2000);
    desk.check(&program.interrupt(), &one.records);
}

#[test]
fn a_drive_that_is_unplugged_and_plugged_in_again_is_gone_on_with() {
    let desk = Desk::new();
    let backups = desk.dir.join("drive");
    let one = record(&backups, 0, 200);
    let program = desk.watch(&["--rescan", "1"]);
    program.delivers(200);
    for round in 0..2 {
        let away = desk.elsewhere.join("away");
        fs::rename(&desk.dir, &away).unwrap();
        // It is written to elsewhere.
        let _ = record(&away.join("drive"), 10 + round, 50);
        fs::rename(&away, &desk.dir).unwrap();
        program.delivers(250 + 50 * round as usize);
    }
    let ended = program.interrupt();
    assert_eq!(desk.faulty.seen().duplicates(), 0);
    let seen = desk.faulty.seen();
    assert!(one.records.iter().all(|record| seen.is_acknowledged(record)));
    assert_eq!(ended.summary()["records_acknowledged"], 300);
    assert_eq!(
        (ended.summary()["files_unreadable"].as_u64(), ended.summary()["records_missing"].as_u64()),
        (Some(0), Some(0))
    );
}

#[test]
fn a_drive_that_is_unplugged_before_it_was_read_is_read_when_it_is_back() {
    let desk = Desk::new();
    let sessions: Vec<_> = (0..6).map(|number| record(&desk.dir.join("drive"), number, 300)).collect();
    desk.faulty.next_streams(vec![Fate::Held; 4]);
    let program = desk.watch(&["--rescan", "1"]);
    // Two sessions are being read; nobody has looked into the others.
    desk.faulty.wait(|seen| seen.held_streams == 4);
    let away = desk.elsewhere.join("away");
    fs::rename(&desk.dir, &away).unwrap();
    desk.faulty.release();
    program.wait("something delivered", acknowledged);
    program.tells("waiting");
    // Nothing about it has changed.
    fs::rename(&away, &desk.dir).unwrap();
    program.delivers(1800);
    let records: Vec<_> = sessions.into_iter().flat_map(|session| session.records).collect();
    desk.check(&program.interrupt(), &records);
}

#[test]
fn a_segment_that_is_sealed_or_moved_before_it_was_read_is_not_lost() {
    let desk = Desk::new();
    let options = RecorderOptions { frame_bytes: 256, ..RecorderOptions::default() };
    let mut live = Live::start(&desk.dir, 0, options);
    live.record(200);
    let moved = record(&desk.dir.join("here"), 1, 200);
    desk.faulty.kill();
    let program = desk.watch(&["--rescan", "1"]);
    program.tells("retrying");
    let sealed = live.finish();
    fs::rename(desk.dir.join("here"), desk.dir.join("there")).unwrap();
    desk.faulty.revive();
    program.delivers(400);
    let ended = program.interrupt();
    desk.check(&ended, &[sealed.records, moved.records].concat());
    assert!(ended.of("unreadable").is_empty(), "{:?}", ended.of("unreadable"));
}
