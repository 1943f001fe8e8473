//! Directories that vanish or are something else than they were, while somebody is at work in them. None of this needs a
//! file system of its own.

use std::sync::{Arc, Mutex};

use sift_replay::format::Mark;
use sift_replay::record::{Recorder, RecorderOptions, Value};

use crate::replay::{counting, flight, session, small_segments};
use crate::support::desk::{Desk, figures};
use crate::support::recording::{at, counted, counter_schema, merged, read_dir};

fn record(recorder: &Recorder, numbers: std::ops::Range<u64>) {
    let flow = recorder.flow("f").unwrap();
    for number in numbers {
        let _ = recorder.record(&flow, at(number), &[Value::Uint64(number)]).unwrap();
    }
    recorder.flush().unwrap();
}

/// What is deleted is gone; what is recorded from the next segment on is there, and says what happened.
#[test]
fn a_recorder_whose_directory_is_deleted_makes_it_anew_and_says_what_it_lacks() {
    let root = tempfile::tempdir().unwrap();
    let recorder = Recorder::create(root.path(), &counter_schema(), RecorderOptions::default()).unwrap();
    record(&recorder, 0..100);
    std::fs::remove_dir_all(recorder.dir()).unwrap();
    record(&recorder, 100..150);
    recorder.rotate().unwrap();
    record(&recorder, 150..200);
    let stats = recorder.finish().unwrap();
    assert_eq!(stats.io_errors, 1);
    let segments = read_dir(recorder.dir());
    let records = merged(&segments);
    assert!((150..200).all(|seq| records.get(&seq) == Some(&counted(seq))), "{:?}", records.keys());
    // A reader sees that something is missing, and a mark says why.
    assert!(segments.iter().all(|segment| segment.header.as_ref().unwrap().first_seq > 0));
    let why = segments.iter().flat_map(|segment| &segment.marks).find_map(|mark| match mark {
        Mark::Abandoned(mark) => Some(mark.error.clone()),
        _ => None,
    });
    let why = why.unwrap();
    assert!(why.contains("can't rename to its sealed name") && why.contains("No such file"), "{why}");
}

/// A file where the directory was: nothing can be made there.
#[test]
fn a_recorder_whose_directory_has_become_a_file_stops_and_hands_back_the_rest() {
    let root = tempfile::tempdir().unwrap();
    let recorder = Recorder::create(root.path(), &counter_schema(), RecorderOptions::default()).unwrap();
    record(&recorder, 0..100);
    std::fs::remove_dir_all(recorder.dir()).unwrap();
    std::fs::write(recorder.dir(), "a file").unwrap();
    recorder.rotate().unwrap();
    let error = recorder.flush().unwrap_err().to_string();
    for part in ["recording has stopped", recorder.dir().to_str().unwrap(), "from seq 100 on", "make a new recorder"] {
        assert!(error.contains(part), "{error:?} doesn't say {part:?}");
    }
    assert_eq!(std::fs::read_to_string(recorder.dir()).unwrap(), "a file");
}

/// Sealing replaces nothing, whatever is there.
#[test]
fn a_sealed_name_that_is_taken_stays_what_it_is_and_nothing_is_lost() {
    for is_dir in [false, true] {
        let root = tempfile::tempdir().unwrap();
        let recorder = Recorder::create(root.path(), &counter_schema(), RecorderOptions::default()).unwrap();
        record(&recorder, 0..100);
        let taken = recorder.dir().join(format!("{}-000000.sfr", recorder.session()));
        if is_dir {
            std::fs::create_dir(&taken).unwrap()
        } else {
            std::fs::write(&taken, "precious").unwrap()
        }
        recorder.rotate().unwrap();
        record(&recorder, 100..200);
        let stats = recorder.finish().unwrap();
        assert_eq!((stats.io_errors, stats.durable_seq), (1, 200));
        assert_eq!(taken.is_dir(), is_dir);
        assert!(is_dir || std::fs::read_to_string(&taken).unwrap() == "precious");
        if !is_dir {
            std::fs::remove_file(&taken).unwrap();
        } else {
            std::fs::remove_dir(&taken).unwrap();
        }
        let records = merged(&read_dir(recorder.dir()));
        assert!(records.keys().copied().eq(0..200) && records.iter().all(|(seq, record)| *record == counted(*seq)));
    }
}

/// In the middle of a replay: what was sent counts, the rest is told, file by file.
#[test]
fn backups_that_vanish_while_they_are_replayed_are_told_file_by_file() {
    for what in ["deleted", "a directory", "a file"] {
        let desk = Desk::new();
        let dir = desk.dir();
        let files = session(&dir, &flight(counting("k")), small_segments(), 2000);
        assert!(files.len() > 5);
        let gone = Arc::new(Mutex::new(false));
        let (flag, paths) = (gone.clone(), files.clone());
        desk.faulty.after(200, move || {
            for path in &paths {
                std::fs::remove_file(path).unwrap();
                match what {
                    "deleted" => {}
                    "a directory" => std::fs::create_dir(path).unwrap(),
                    _ => std::fs::write(path, "not what it was").unwrap(),
                }
            }
            *flag.lock().unwrap() = true;
        });
        let ran = desk.replay(&["--window-bytes", "500", "--lanes", "1"]);
        assert!(*gone.lock().unwrap(), "it never vanished");
        assert_eq!(ran.code, Some(3), "{what}: {ran:?}");
        let lost: Vec<_> = ran
            .json()
            .into_iter()
            .filter(|line| ["unreadable", "damage"].contains(&line["event"].as_str().unwrap()))
            .collect();
        assert!(!lost.is_empty(), "{what}: {ran:?}");
        let last = files.last().unwrap().file_name().unwrap().to_str().unwrap();
        assert!(lost.iter().any(|line| line["path"].as_str().unwrap().ends_with(last)), "{what}: {lost:?}");
        let [found, acknowledged] = figures(&ran, &["records_found", "records_acknowledged"])[..] else { panic!() };
        let seen = desk.faulty.seen();
        let arrived = seen.records.values().filter(|copies| copies.acknowledged > 0).count() as u64;
        assert!(found == acknowledged && acknowledged == arrived && arrived < 2000, "{what}: {ran:?}");
    }
}
