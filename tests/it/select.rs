//! Selection: what is asked for is sent, the rest isn't, and a later replay sends exactly that.

use std::path::Path;

use sift_replay::record::RecorderOptions;
use sift_rs::ingest::v1::IngestWithConfigDataStreamRequest as Request;

use crate::replay::small_frames;
use crate::support::desk::{Desk, figures, library_file, of_flow, record, timeless, two_flows};

/// 2023-11-14T22:13:20Z, in seconds.
const START: i64 = 1_700_000_000;

/// So many seconds later, in ns.
fn at(seconds: i64) -> i64 {
    (START + seconds) * 1_000_000_000
}

fn of_time(time: i64) -> impl Fn(&&Request) -> bool {
    move |request| request.timestamp.as_ref().is_some_and(|t| t.seconds * 1_000_000_000 + i64::from(t.nanos) == time)
}

/// Records of both flows in turn, one each second.
fn in_turn(count: u64, base: u64) -> Vec<Request> {
    (0..count).map(|n| of_flow(if n % 2 == 0 { "a" } else { "b" }, at(n as i64), base + n)).collect()
}

const FIGURES: [&str; 5] = [
    "records_found",
    "records_acknowledged",
    "records_already_acknowledged",
    "records_not_selected",
    "records_missing",
];

fn of<'a>(records: &'a [Request], flow: &'a str) -> impl Iterator<Item = &'a Request> {
    records.iter().filter(move |record| record.flow == flow)
}

#[test]
fn times_select_from_the_first_on_and_up_to_before_the_last_whatever_the_frames_are() {
    // Frames of a few records: the bounds fall within one, and whole frames and segments lie outside.
    for options in [small_frames(), RecorderOptions { frame_bytes: 64, segment_bytes: 1000, ..small_frames() }] {
        let desk = Desk::new();
        let mut records = in_turn(300, 0);
        record(&desk.dir(), &two_flows("rover", "k"), options, &records, &[40, 100, 260]);
        // No recorder takes records without a time.
        let none = [timeless("a", 1000), timeless("b", 1001)];
        library_file(&desk.dir().join("theirs"), "c", &[&none]);
        records.extend(none);
        let (from, to) = ((START + 101).to_string(), "2023-11-14T22:16:40Z");
        let ran = desk.replay(&["--from", &from, "--to", to]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert_eq!(figures(&ran, &FIGURES), [302, 99, 0, 203, 0]);
        assert_eq!(desk.known(), 99);
        for (time, arrives) in [(at(100), 0), (at(101), 1), (at(199), 1), (at(200), 0)] {
            assert_eq!(desk.arrived(records.iter().filter(of_time(time))), arrives, "{time}");
        }
        // Half-open on one side.
        let ran = desk.replay(&["--from", &(at(290) + 1).to_string()]);
        assert_eq!(figures(&ran, &FIGURES), [302, 9, 99, 194, 0]);
        let ran = desk.replay(&["--to", &at(1).to_string()]);
        assert_eq!((ran.code, figures(&ran, &FIGURES)), (Some(0), vec![302, 1, 108, 193, 0]));
        // What has no time is in no range, and not lost.
        let ran = desk.replay(&[]);
        assert_eq!((ran.code, figures(&ran, &FIGURES)), (Some(0), vec![302, 193, 109, 0, 0]));
        assert_eq!(desk.arrived(&records), 302);
        let ran = desk.replay(&[]);
        assert_eq!((ran.code, figures(&ran, &FIGURES)), (Some(0), vec![302, 0, 302, 0, 0]));
    }
}

#[test]
fn flows_are_sent_one_after_the_other_and_the_rest_at_last() {
    let desk = Desk::new();
    let records = in_turn(200, 0);
    record(&desk.dir(), &two_flows("rover", "k"), small_frames(), &records, &[70]);
    let ran = desk.replay(&["--flow", "a"]);
    assert_eq!((ran.code, figures(&ran, &FIGURES)), (Some(0), vec![200, 100, 0, 100, 0]));
    assert_eq!((desk.arrived(of(&records, "a")), desk.arrived(of(&records, "b"))), (100, 0));
    // Names of flows are exact.
    let ran = desk.replay(&["--flow", "B", "--flow", "a"]);
    assert_eq!((ran.code, figures(&ran, &FIGURES)), (Some(0), vec![200, 0, 100, 100, 0]));
    let ran = desk.replay(&["--flow", "b", "--flow", "a"]);
    assert_eq!((ran.code, figures(&ran, &FIGURES)), (Some(0), vec![200, 100, 100, 0, 0]));
    assert_eq!(desk.arrived(&records), 200);
}

#[test]
fn assets_and_sessions_are_selected_and_others_are_not_touched() {
    let desk = Desk::new();
    let (first, second, third) = (in_turn(10, 0), in_turn(20, 100), in_turn(30, 200));
    record(&desk.dir(), &two_flows("Rover", "k1"), small_frames(), &first, &[5]);
    record(&desk.dir(), &two_flows("glider", "k2"), small_frames(), &second, &[]);
    let (id, _) = record(&desk.dir(), &two_flows("glider", "k3"), small_frames(), &third, &[]);
    // A backup of the library names no asset and is no session.
    library_file(&desk.dir().join("theirs"), "c", &[&[of_flow("p", at(0), 999)]]);
    const FILES: [&str; 4] = ["records_found", "records_acknowledged", "sessions", "files_not_selected"];
    let ran = desk.replay(&["--asset", "ROVER"]);
    assert_eq!((ran.code, figures(&ran, &FILES)), (Some(0), vec![10, 10, 1, 3]));
    let ran = desk.replay(&["--asset", "rover", "--asset", "GLIDER", "--session", &id.to_string()]);
    assert_eq!((ran.code, figures(&ran, &FILES)), (Some(0), vec![30, 30, 1, 4]));
    // What all ask for together is nobody's.
    let ran = desk.replay(&["--asset", "rover", "--session", &id.to_string()]);
    assert_eq!((ran.code, figures(&ran, &FILES)), (Some(0), vec![0, 0, 0, 5]));
    assert_eq!((desk.arrived(&first), desk.arrived(&second), desk.arrived(&third), desk.known()), (10, 0, 30, 40));
    let ran = desk.replay(&[]);
    assert_eq!((ran.code, figures(&ran, &FILES)), (Some(0), vec![61, 21, 3, 0]));
    assert_eq!(desk.arrived(first.iter().chain(&second).chain(&third)), 60);
}

#[test]
fn a_session_that_is_not_there_is_an_error_before_anything_is_sent() {
    let desk = Desk::new();
    let (id, _) = record(&desk.dir(), &two_flows("rover", "k"), small_frames(), &in_turn(10, 0), &[]);
    let unknown = "01a1fb9b-598a-74a4-adfd-4736b8dcc5f3";
    let id = id.to_string();
    for more in [&[][..], &["--dry-run"]] {
        let args = [&["--session", &id, "--session", unknown], more].concat();
        let ran = desk.replay(&args);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{ran:?}");
        assert!(ran.stderr.contains(unknown) && ran.stderr.contains("sift-replay ls"), "{ran:?}");
    }
    assert_eq!(desk.known(), 0);
    // An asset may well be on another drive only.
    let uri = desk.faulty.uri();
    for args in [["--asset", "glider"], ["--flow", "c"], ["--to", "2000-01-01"]] {
        let ran = desk.home.run(&[&["backups", "--uri", &uri], &args[..]].concat());
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(ran.stdout.contains("NOTHING SELECTED"), "{ran:?}");
    }
    assert_eq!(desk.known(), 0);
}

#[test]
fn all_conditions_hold_together() {
    let desk = Desk::new();
    let (records, others) = (in_turn(100, 0), in_turn(100, 1000));
    let (id, _) = record(&desk.dir(), &two_flows("rover", "k"), small_frames(), &records, &[30]);
    record(&desk.dir(), &two_flows("rover", "k"), small_frames(), &others, &[]);
    let (id, from, to) = (id.to_string(), at(20).to_string(), at(40).to_string());
    let ran = desk.replay(&["--session", &id, "--asset", "rover", "--flow", "b", "--from", &from, "--to", &to]);
    assert_eq!((ran.code, figures(&ran, &FIGURES)), (Some(0), vec![100, 10, 0, 90, 0]));
    let wanted =
        records.iter().filter(|r| r.flow == "b" && (20..40).contains(&(r.timestamp.as_ref().unwrap().seconds - START)));
    assert_eq!((desk.arrived(wanted), desk.known()), (10, 10));
}

#[test]
fn what_is_not_selected_is_not_missing_and_what_is_missing_is() {
    let desk = Desk::new();
    let records = in_turn(100, 0);
    let (_, files) = record(&desk.dir(), &two_flows("rover", "k"), small_frames(), &records, &[40, 60]);
    std::fs::remove_file(&files[1]).unwrap();
    let ran = desk.replay(&["--flow", "a", "--from", &at(80).to_string()]);
    assert_eq!((ran.code, figures(&ran, &FIGURES)), (Some(3), vec![80, 10, 0, 70, 20]));
}

fn theirs(dir: &Path) -> (Vec<Request>, Vec<Request>) {
    let (first, second) = (in_turn(20, 0), in_turn(21, 100));
    library_file(&dir.join("theirs"), "c", &[&first, &second]);
    (first, second)
}

#[test]
fn a_library_backup_is_sent_in_parts_and_no_record_twice() {
    let desk = Desk::new();
    let (first, second) = theirs(&desk.dir());
    let all = || first.iter().chain(&second);
    let ran = desk.replay(&["--flow", "a"]);
    assert_eq!((ran.code, figures(&ran, &FIGURES)), (Some(0), vec![41, 21, 0, 20, 0]));
    // The same again: what isn't selected isn't taken for delivered.
    let ran = desk.replay(&["--flow", "a"]);
    assert_eq!((ran.code, figures(&ran, &FIGURES)), (Some(0), vec![41, 0, 21, 20, 0]));
    // Another part overlaps.
    let ran = desk.replay(&["--from", &at(10).to_string()]);
    assert_eq!((ran.code, figures(&ran, &FIGURES)), (Some(0), vec![41, 10, 21, 10, 0]));
    let ran = desk.replay(&[]);
    assert_eq!((ran.code, figures(&ran, &FIGURES)), (Some(0), vec![41, 10, 31, 0, 0]));
    assert_eq!((desk.arrived(all()), desk.known()), (41, 41));
    // When all is delivered, so is each part.
    let ran = desk.replay(&["--flow", "b"]);
    assert_eq!((ran.code, figures(&ran, &FIGURES)), (Some(0), vec![41, 0, 41, 0, 0]));
    let ran = desk.replay(&["--dry-run", "--flow", "b"]);
    assert_eq!((ran.code, figures(&ran, &FIGURES)), (Some(0), vec![41, 0, 41, 0, 0]));
}

#[test]
fn a_part_of_a_library_backup_does_not_stand_for_all_of_it() {
    let desk = Desk::new();
    let (first, second) = theirs(&desk.dir());
    let ran = desk.replay(&["--flow", "a", "--after", "delete"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(desk.dir().join("theirs").exists(), "half of it was never delivered");
    let ran = desk.replay(&["--dry-run"]);
    assert_eq!(figures(&ran, &FIGURES), [41, 0, 21, 0, 0]);
    // A file that begins alike and goes on otherwise has nothing in common with it but the beginning.
    let third = in_turn(9, 500);
    library_file(&desk.dir().join("theirs"), "c", &[&first, &third]);
    let ran = desk.replay(&["--after", "delete"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(!desk.dir().join("theirs").exists(), "all of it is delivered");
    assert_eq!(desk.arrived(&third), 9);
    assert_eq!(desk.arrived(of(&second, "a")), 11);
}

#[test]
fn segments_of_which_a_part_was_sent_are_not_deleted() {
    let desk = Desk::new();
    let records = in_turn(60, 0);
    let (_, files) = record(&desk.dir(), &two_flows("rover", "k"), small_frames(), &records, &[30]);
    let ran = desk.replay(&["--to", &at(30).to_string(), "--after", "delete"]);
    assert_eq!((ran.code, figures(&ran, &FIGURES)), (Some(0), vec![60, 30, 0, 30, 0]), "{ran:?}");
    assert_eq!([files[0].exists(), files[1].exists()], [false, true]);
    let ran = desk.replay(&[]);
    // The first segment was delivered: where it is now is nobody's concern.
    assert_eq!((ran.code, figures(&ran, &FIGURES)), (Some(0), vec![30, 30, 0, 0, 0]));
    assert_eq!(desk.arrived(&records), 60);
}
