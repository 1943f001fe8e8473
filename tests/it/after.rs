//! What the program does with files that are delivered: `--after`.

use std::fs;
use std::path::{Path, PathBuf};

use sift_replay::record::RecorderOptions;
use tonic::Status;

use crate::support::cli::damage_middle_frame;
use crate::support::faulty::Fate;
use crate::watch::desk::{Desk, Ended, Live, record, record_with};

const DELETE: [&str; 2] = ["--after", "delete"];

fn small() -> RecorderOptions {
    RecorderOptions { frame_bytes: 256, ..RecorderOptions::default() }
}

/// Several segments.
fn segmented() -> RecorderOptions {
    RecorderOptions { segment_bytes: 3000, ..small() }
}

fn archive(dir: &Path) -> String {
    format!("archive={}", dir.display())
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

#[track_caller]
fn check_retired(ended: &Ended, archived: u64, deleted: u64) {
    let summary = ended.summary();
    assert_eq!(
        (summary["files_archived"].as_u64(), summary["files_deleted"].as_u64()),
        (Some(archived), Some(deleted))
    );
    assert_eq!(ended.of("retired").len() as u64, archived + deleted);
    for figure in ["records_missing", "files_unreadable"] {
        assert_eq!(summary[figure], 0, "{figure}: {summary}");
    }
}

/// Refuses each fiftieth record.
fn refuse_some(desk: &Desk) {
    desk.faulty.refuse(|request| {
        let n = request.timestamp.as_ref().map_or(0, |time| time.nanos);
        (n % 50 == 7).then(|| Status::invalid_argument("not this one"))
    });
}

#[test]
fn what_is_delivered_is_deleted_and_the_next_replay_misses_nothing() {
    let desk = Desk::new();
    let one = record_with(&desk.dir.join("a"), 0, 1000, segmented());
    let two = record(&desk.dir, 1, 100);
    let ended = desk.run(&DELETE);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    desk.check(&ended, &[one.records, two.records].concat());
    check_retired(&ended, 0, one.files.len() as u64 + 1);
    assert!(one.files.len() > 2 && one.files.iter().chain(&two.files).all(|file| !file.exists()));
    let again = desk.run(&DELETE);
    assert_eq!(again.code, Some(0), "{:?}", again.lines);
    check_retired(&again, 0, 0);
}

#[test]
fn what_is_delivered_is_archived_with_its_path_and_can_be_replayed_from_there() {
    let desk = Desk::new();
    let one = record_with(&desk.dir.join("a/b"), 0, 1000, segmented());
    let bytes: Vec<_> = one.files.iter().map(|file| fs::read(file).unwrap()).collect();
    let place = desk.home().join("archive/of all");
    let ended = desk.run(&["--after", &archive(&place)]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    check_retired(&ended, one.files.len() as u64, 0);
    for (file, bytes) in one.files.iter().zip(bytes) {
        let archived = place.join(file.strip_prefix(&desk.dir).unwrap());
        assert!(!file.exists() && fs::read(archived).unwrap() == bytes);
    }
    // What is there again is delivered, wherever it is.
    let again = crate::watch::desk::Program::start(desk.command_for(&[&place], &[])).end();
    assert_eq!(again.code, Some(0), "{:?}", again.lines);
    desk.check_arrived(&one.records, 0);
}

#[test]
fn what_an_earlier_replay_has_delivered_goes_when_it_is_whole() {
    let desk = Desk::new();
    let (one, two) = (record(&desk.dir, 0, 300), record(&desk.dir, 1, 300));
    assert_eq!(desk.run(&[]).code, Some(0));
    // Nobody need read it to deliver it.
    damage_middle_frame(&two.files[0]);
    let ended = desk.run(&DELETE);
    assert!(!one.files[0].exists() && two.files[0].exists());
    check_retired(&ended, 0, 1);
    let kept = ended.kept();
    assert!(kept.len() == 1 && kept[0].0 == name(&two.files[0]) && kept[0].1.contains("damaged"), "{kept:?}");
}

#[test]
fn what_is_damaged_open_or_torn_stays() {
    let desk = Desk::new();
    let damaged = record(&desk.dir, 0, 300);
    damage_middle_frame(&damaged.files[0]);
    let mut open = Live::start(&desk.dir, 1, small());
    open.record(100);
    let torn = record(&desk.dir, 2, 300);
    let bytes = fs::read(&torn.files[0]).unwrap();
    fs::write(&torn.files[0], &bytes[..bytes.len() - 10]).unwrap();
    let ended = desk.run(&DELETE);
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert_eq!((ended.of("retired").len(), ended.kept().len()), (0, 3), "{:?}", ended.kept());
    assert!(damaged.files[0].exists() && torn.files[0].exists());
    assert!(ended.kept().iter().any(|(_, reason)| reason.contains("never sealed")), "{:?}", ended.kept());
    // Sealed, it goes.
    let sealed = open.finish();
    let ended = desk.run(&DELETE);
    assert!(!sealed.files[0].exists() && ended.of("retired").len() == 1);
}

#[test]
fn dead_letters_are_kept_so_that_the_segment_may_go() {
    let desk = Desk::new();
    let session = record(&desk.dir, 0, 300);
    refuse_some(&desk);
    let ended = desk.run(&DELETE);
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    check_retired(&ended, 0, 1);
    assert_eq!(ended.summary()["records_dead_lettered"], 6);
    assert!(!session.files[0].exists());
}

#[test]
fn what_is_refused_and_not_kept_stays_in_its_segment() {
    for on_reject in ["skip", "stop"] {
        let desk = Desk::new();
        let session = record(&desk.dir, 0, 300);
        refuse_some(&desk);
        let ended = desk.run(&["--after", "delete", "--on-reject", on_reject]);
        assert_eq!(ended.code, Some(3), "{}", ended.stderr);
        assert!(session.files[0].exists(), "{on_reject}: records are lost");
        assert!(ended.kept()[0].1.contains("aren't delivered"), "{:?}", ended.kept());
        // They are there when they are wanted.
        desk.faulty.heal();
        let ended = desk.run(&DELETE);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        check_retired(&ended, 0, 1);
        let seen = desk.faulty.seen();
        assert!(session.records.iter().all(|record| seen.is_acknowledged(record)));
    }
}

#[test]
fn what_was_not_asked_for_stays() {
    let desk = Desk::new();
    let session = record(&desk.dir, 0, 300);
    let library = desk.dir.join("theirs-1700000000000000");
    fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/pbfs/s3_flows_interleaved_no_run.pbfs"), &library)
        .unwrap();
    for selection in [["--flow", "none of them"], ["--to", "1700000000000000150"], ["--from", "2100-01-01"]] {
        let ended = desk.run(&[&DELETE[..], &selection].concat());
        assert!(session.files[0].exists() && library.exists(), "{selection:?}: {:?}", ended.lines);
        assert_eq!(ended.kept().len(), 2, "{:?}", ended.kept());
    }
}

#[test]
fn what_a_schema_keeps_from_being_delivered_stays() {
    use sift_replay::record::{DataType, Schema};
    let desk = Desk::new();
    let schema = Schema::new("rover", "rover-v1");
    let mut good = Live::with_schema(&desk.dir, 0, &schema, DataType::Uint64, small());
    good.record(100);
    let good = good.finish();
    assert_eq!(desk.run(&[]).code, Some(0));
    // One more channel type of the same name, and something in it.
    let bad = Live::with_schema(&desk.dir, 1, &schema, DataType::Double, small());
    let flow = bad.recorder.flow("n").unwrap();
    let values = [sift_replay::record::Value::Double(0.5)];
    let _ = bad.recorder.record(&flow, sift_replay::record::Timestamp::from_unix_ns(5), &values).unwrap();
    let bad = bad.finish();
    let ended = desk.run(&DELETE);
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert!(!good.files[0].exists() && bad.files[0].exists());
}

#[test]
fn copies_go_together() {
    let desk = Desk::new();
    let session = record(&desk.dir, 0, 300);
    fs::create_dir(desk.dir.join("again")).unwrap();
    let copy = desk.dir.join("again/renamed");
    fs::copy(&session.files[0], &copy).unwrap();
    let damaged = desk.dir.join("again/damaged");
    fs::copy(&session.files[0], &damaged).unwrap();
    damage_middle_frame(&damaged);
    let ended = desk.run(&DELETE);
    desk.check_arrived(&session.records, 0);
    assert!(!session.files[0].exists() && !copy.exists() && damaged.exists(), "{:?}", ended.kept());
    assert_eq!(ended.kept().len(), 1);
}

#[test]
fn what_has_changed_since_it_was_read_stays() {
    let desk = Desk::new();
    let session = record(&desk.dir, 0, 300);
    desk.faulty.next_streams([Fate::Held]);
    let program = desk.start(&DELETE);
    desk.faulty.wait(|seen| seen.held_streams == 1 && seen.whole_streams > 3);
    let bytes = fs::read(&session.files[0]).unwrap();
    fs::write(&session.files[0], [&bytes[..], b"more"].concat()).unwrap();
    desk.faulty.release();
    let ended = program.end();
    assert!(session.files[0].exists());
    assert!(ended.kept()[0].1.contains("has changed"), "{:?}", ended.kept());
}

#[test]
fn backups_of_the_official_library_go_when_whoever_looked_once_has_delivered_all() {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/pbfs");
    let desk = Desk::new();
    let (whole, torn) = (desk.dir.join("whole-1"), desk.dir.join("torn-2"));
    fs::copy(samples.join("s2_all_types_run.pbfs"), &whole).unwrap();
    fs::copy(samples.join("c1_truncated_in_message.pbfs"), &torn).unwrap();
    let program = desk.watch(&DELETE);
    program.tells("waiting");
    let ended = program.interrupt();
    assert!(whole.exists() && torn.exists() && ended.kept().is_empty(), "{:?}", ended.kept());
    let ended = desk.run(&DELETE);
    assert!(!whole.exists() && torn.exists(), "{:?}", ended.lines);
    assert_eq!(ended.kept()[0].0, "torn-2");
}

#[test]
fn an_archive_that_can_be_none_is_a_usage_error_before_anything_is_sent() {
    let desk = Desk::new();
    let session = record(&desk.dir, 0, 100);
    let occupied = desk.home().join("occupied");
    fs::write(&occupied, "a file").unwrap();
    let link = desk.home().join("link");
    std::os::unix::fs::symlink(&desk.dir, &link).unwrap();
    let wrong: [PathBuf; 6] = [
        desk.dir.clone(),
        desk.dir.join("archive"),
        desk.dir.join("../backups/archive"),
        link.join("archive"),
        occupied.clone(),
        occupied.join("archive"),
    ];
    for place in wrong {
        let ended = desk.run(&["--after", &archive(&place)]);
        assert_eq!(ended.code, Some(2), "{place:?}: {}", ended.stderr);
        assert!(ended.stderr.contains("archive"), "{}", ended.stderr);
        assert!(ended.lines.is_empty());
    }
    // Its own directory, for a file that is asked for by name.
    let dir = session.files[0].parent().unwrap();
    let command = desk.command_for(&[&session.files[0]], &["--after", &archive(dir)]);
    assert_eq!(crate::watch::desk::Program::start(command).end().code, Some(2));
    assert_eq!((desk.faulty.seen().messages, session.files[0].exists()), (0, true));
    assert!(!desk.dir.join("archive").exists());
}

#[test]
fn what_is_in_the_archive_already_is_compared() {
    let desk = Desk::new();
    let (one, two) = (record(&desk.dir, 0, 100), record(&desk.dir, 1, 100));
    let place = desk.home().join("archive");
    let target = |file: &Path| place.join(file.strip_prefix(&desk.dir).unwrap());
    for file in [&one.files[0], &two.files[0]] {
        fs::create_dir_all(target(file).parent().unwrap()).unwrap();
    }
    fs::copy(&one.files[0], target(&one.files[0])).unwrap();
    fs::write(target(&two.files[0]), "something else").unwrap();
    let ended = desk.run(&["--after", &archive(&place)]);
    assert_eq!(ended.code, Some(0), "all is delivered: {}", ended.stderr);
    check_retired(&ended, 1, 0);
    assert!(!one.files[0].exists() && two.files[0].exists());
    assert_eq!(fs::read(target(&two.files[0])).unwrap(), b"something else");
    let kept = ended.kept();
    assert!(kept.len() == 1 && kept[0].1.contains("another file of that name"), "{kept:?}");
}

#[test]
fn nothing_undelivered_goes_when_the_replay_ends_early() {
    let desk = Desk::new();
    let sessions: Vec<_> = (0..3).map(|number| record(&desk.dir, number, 1000)).collect();
    desk.faulty.next_streams(vec![Fate::Held; 4]);
    let program = desk.start(&["--after", "delete", "--grace", "60s"]);
    desk.faulty.wait(|seen| seen.held_streams == 4);
    program.signal("INT");
    program.notices();
    desk.faulty.release();
    assert_eq!(program.end().code, Some(130));
    assert!(sessions.iter().all(|session| session.files[0].exists()));
    desk.faulty.die_after(500);
    let ended = desk.run(&["--after", "delete", "--give-up-after", "1s"]);
    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    assert!(sessions.iter().all(|session| session.files[0].exists()));
    desk.faulty.revive();
    let ended = desk.run(&DELETE);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    check_retired(&ended, 0, 3);
    let seen = desk.faulty.seen();
    assert!(sessions.iter().flat_map(|session| &session.records).all(|record| seen.is_acknowledged(record)));
}

#[test]
fn who_watches_retires_what_is_sealed_and_goes_on_with_the_rest() {
    let desk = Desk::new();
    let mut live = Live::start(&desk.dir, 0, segmented());
    let program = desk.watch(&DELETE);
    for round in 1..=4 {
        live.record(200);
        program.delivers(200 * round);
    }
    let session = live.finish();
    assert!(session.files.len() < 4, "the sealed ones are gone: {:?}", session.files);
    program.wait("the last one deleted", |_| session.files.iter().all(|file| !file.exists()));
    let ended = program.interrupt();
    desk.check(&ended, &session.records);
    assert!(ended.summary()["files_deleted"].as_u64() > Some(3) && ended.kept().is_empty(), "{:?}", ended.kept());
    // A later program misses nothing of a session whose beginning is gone.
    let mut live = Live::start(&desk.dir, 1, segmented());
    live.record(500);
    let program = desk.watch(&DELETE);
    program.delivers(500);
    program.interrupt();
    live.record(100);
    let ended = desk.run(&[]);
    assert_eq!(
        (ended.code, ended.summary()["records_acknowledged"].as_u64()),
        (Some(0), Some(100)),
        "{:?}",
        ended.lines
    );
}

#[test]
fn who_watches_tells_once_why_a_file_is_kept() {
    let desk = Desk::new();
    let place = desk.home().join("archive");
    let mut live = Live::start(&desk.dir, 0, segmented());
    live.record(300);
    let first = crate::replay::files_of(&live.recorder).remove(0);
    let target = place.join(first.strip_prefix(&desk.dir).unwrap());
    fs::create_dir_all(target.parent().unwrap()).unwrap();
    fs::write(&target, "something else").unwrap();
    let program = desk.watch(&["--after", &archive(&place)]);
    program.delivers(300);
    for round in 1..=3 {
        live.record(100);
        program.delivers(300 + 100 * round);
    }
    assert_eq!(program.count("kept"), 1);
    let ended = program.interrupt();
    // And, at the end, that the open one is still there.
    let kept = ended.kept();
    assert!(kept.len() == 2 && kept[1].1.contains("never sealed"), "{kept:?}");
    assert_eq!((kept[0].0.clone(), first.exists()), (name(&first), true));
}
