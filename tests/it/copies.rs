//! Copies, moves and gaps: each record once, wherever its files are, and what is nowhere is said to be missing.

use std::path::{Path, PathBuf};

use sift_rs::ingest::v1::IngestWithConfigDataStreamRequest as Request;
use uuid::Uuid;

use crate::replay::small_frames;
use crate::support::cli::{Ran, frames};
use crate::support::desk::{Desk, figures, library_file, of_flow, record, two_flows};

const FIGURES: [&str; 4] = ["records_found", "records_acknowledged", "records_already_acknowledged", "records_missing"];

fn numbers(count: u64, base: u64) -> Vec<Request> {
    (0..count).map(|n| of_flow("a", 1_700_000_000_000_000_000 + n as i64, base + n)).collect()
}

/// A session of 90 records in three segments.
struct Session {
    id: Uuid,
    files: Vec<PathBuf>,
    records: Vec<Request>,
}

fn session(desk: &Desk) -> Session {
    let records = numbers(90, 0);
    let (id, files) = record(&desk.dir(), &two_flows("rover", "k"), small_frames(), &records, &[30, 60]);
    Session { id, files, records }
}

fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (entry, to) = (entry.unwrap(), to.to_owned());
        match entry.path() {
            path if path.is_dir() => copy_all(&path, &to.join(entry.file_name())),
            path => drop(std::fs::copy(path, to.join(entry.file_name())).unwrap()),
        }
    }
}

#[track_caller]
fn check(ran: &Ran, code: i32, expected: [u64; 4]) {
    assert_eq!((ran.code, figures(ran, &FIGURES)), (Some(code), expected.to_vec()), "{}", ran.all());
}

/// The ranges that a run told to be missing.
fn missing(ran: &Ran) -> Vec<(u64, u64)> {
    let events = ran.json().into_iter().filter(|event| event["event"] == "missing");
    events.map(|e| (e["seqs"]["first"].as_u64().unwrap(), e["seqs"]["end"].as_u64().unwrap())).collect()
}

#[test]
fn the_same_session_in_two_directories_and_under_other_names_is_one() {
    let desk = Desk::new();
    let session = session(&desk);
    let copy = desk.dir().join("the same again");
    copy_all(session.files[0].parent().unwrap(), &copy);
    for (number, file) in session.files.iter().enumerate() {
        std::fs::copy(file, desk.dir().join(format!("copy {number} of something.bak"))).unwrap();
    }
    let ran = desk.replay(&[]);
    check(&ran, 0, [90, 90, 0, 0]);
    assert_eq!(figures(&ran, &["sessions", "segments"]), [1, 9]);
    assert_eq!((desk.arrived(&session.records), desk.known()), (90, 90));
    check(&desk.replay(&[]), 0, [90, 0, 90, 0]);
}

#[test]
fn renamed_moved_and_on_another_drive_with_or_without_what_is_remembered_nothing_is_sent_again() {
    let desk = Desk::new();
    let session = session(&desk);
    library_file(&desk.dir().join("theirs"), "c", &[&numbers(10, 1000), &numbers(10, 2000)]);
    check(&desk.replay(&[]), 0, [110, 110, 0, 0]);
    let home = desk.home.path().to_owned();
    // Renamed where they are.
    for (number, file) in session.files.iter().enumerate() {
        std::fs::rename(file, file.with_file_name(format!("renamed {number}"))).unwrap();
    }
    std::fs::rename(desk.dir().join("theirs"), desk.dir().join("ours")).unwrap();
    check(&desk.replay(&[]), 0, [110, 0, 110, 0]);
    // Elsewhere, with its memory; this computer's own is gone.
    std::fs::rename(desk.dir(), home.join("elsewhere")).unwrap();
    std::fs::rename(home.join(".local"), home.join("of another computer")).unwrap();
    check(&desk.replay_at(&["elsewhere"], &[]), 0, [110, 0, 110, 0]);
    // On another drive without its memory: this computer knows.
    std::fs::remove_dir_all(home.join(".local")).unwrap();
    std::fs::rename(home.join("of another computer"), home.join(".local")).unwrap();
    copy_all(&home.join("elsewhere"), &home.join("drive"));
    std::fs::remove_dir_all(home.join("drive/.sift-replay")).unwrap();
    check(&desk.replay_at(&["drive"], &[]), 0, [110, 0, 110, 0]);
    check(&desk.replay_at(&["drive", "elsewhere"], &[]), 0, [130, 0, 130, 0]);
    assert_eq!(desk.arrived(&session.records), 90);
    assert_eq!(desk.known(), 110);
}

#[test]
fn a_file_alone_is_known_when_its_directory_is_replayed_and_the_other_way_round() {
    let desk = Desk::new();
    let session = session(&desk);
    let file = session.files[1].to_str().unwrap();
    check(&desk.replay_at(&[file], &[]), 3, [30, 30, 0, 30]);
    check(&desk.replay(&[]), 0, [90, 60, 30, 0]);
    check(&desk.replay_at(&[file], &[]), 0, [30, 0, 30, 0]);
    assert_eq!(desk.arrived(&session.records), 90);
}

#[test]
fn copied_by_half_and_then_wholly_the_rest_is_sent() {
    // The copy stops within the last frame that holds anything, under the name of a finished file.
    for both in [false, true] {
        let desk = Desk::new();
        let session = session(&desk);
        let file = &session.files[2];
        let (place, seqs) = frames(file).pop().unwrap();
        let whole = std::fs::read(file).unwrap();
        let half = &whole[..place.end as usize - 3];
        let lost = seqs.end - seqs.start;
        std::fs::write(file, half).unwrap();
        let ran = desk.replay(&[]);
        check(&ran, 3, [90 - lost, 90 - lost, 0, lost]);
        assert_eq!(missing(&ran), [(seqs.start, seqs.end)]);
        // What is half there is still so.
        check(&desk.replay(&[]), 3, [90 - lost, 0, 90 - lost, lost]);
        let to = if both { desk.dir().join("again").join(file.file_name().unwrap()) } else { file.clone() };
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::write(&to, &whole).unwrap();
        // A cut copy beside a whole one costs nothing.
        let ran = desk.replay(&[]);
        check(&ran, 0, [90, lost, 90 - lost, 0]);
        assert_eq!(desk.arrived(&session.records), 90);
    }
}

#[test]
fn half_a_copy_and_the_whole_in_one_replay_are_one_session() {
    let desk = Desk::new();
    let session = session(&desk);
    for file in &session.files {
        let whole = std::fs::read(file).unwrap();
        // Its name comes before and after the whole one's.
        for name in ["0 half", "z half"] {
            let name = format!("{name} of {}", file.file_name().unwrap().to_str().unwrap());
            std::fs::write(desk.dir().join(name), &whole[..whole.len() / 2]).unwrap();
        }
    }
    check(&desk.replay(&[]), 0, [90, 90, 0, 0]);
    assert_eq!((desk.arrived(&session.records), desk.known()), (90, 90));
}

#[test]
fn a_segment_that_is_nowhere_is_missing_each_time_until_it_is_found() {
    for (gone, seqs) in [(0, (0, 30)), (1, (30, 60))] {
        let desk = Desk::new();
        let session = session(&desk);
        let away = desk.home.path().join("away");
        std::fs::rename(&session.files[gone], &away).unwrap();
        for sent in [60, 0] {
            let ran = desk.replay(&[]);
            check(&ran, 3, [60, sent, 60 - sent, 30]);
            assert_eq!(missing(&ran), [seqs]);
        }
        let ran = desk.home.run(&["backups", "--uri", &desk.faulty.uri()]);
        assert_eq!(ran.code, Some(3));
        let (first, last) = (seqs.0.to_string(), (seqs.1 - 1).to_string());
        for part in [&session.id.to_string()[..], &format!("30 records (seqs {first} to {last})")] {
            assert!(ran.stderr.contains(part), "{part}: {ran:?}");
        }
        assert!(ran.stdout.contains("INCOMPLETE: 30 records are missing. All the rest is delivered."), "{ran:?}");
        // A dry run says so, too.
        let ran = desk.replay(&["--dry-run"]);
        check(&ran, 3, [60, 0, 60, 30]);
        assert_eq!(missing(&ran), [seqs]);
        std::fs::rename(&away, &session.files[gone]).unwrap();
        let ran = desk.replay(&[]);
        check(&ran, 0, [90, 30, 60, 0]);
        assert_eq!((missing(&ran), desk.arrived(&session.records)), (vec![], 90));
    }
}

#[test]
fn nobody_can_know_of_a_last_segment_that_is_gone_but_of_what_was_delivered() {
    let desk = Desk::new();
    let session = session(&desk);
    let last = std::fs::read(&session.files[2]).unwrap();
    std::fs::remove_file(&session.files[2]).unwrap();
    check(&desk.replay(&[]), 0, [60, 60, 0, 0]);
    std::fs::write(&session.files[2], last).unwrap();
    check(&desk.replay(&[]), 0, [90, 30, 60, 0]);
    // What was delivered is missed by nobody.
    std::fs::remove_file(&session.files[0]).unwrap();
    check(&desk.replay(&[]), 0, [60, 0, 60, 0]);
    assert_eq!(desk.arrived(&session.records), 90);
}

#[test]
fn library_backups_are_known_by_what_they_hold() {
    let desk = Desk::new();
    let (first, second, third) = (numbers(20, 0), numbers(20, 100), numbers(20, 200));
    let file = |name: &str, chunks: &[&[Request]]| library_file(&desk.dir().join(name), "c", chunks);
    // Two copies in one replay.
    file("a", &[&first, &second]);
    file("copy of a", &[&first, &second]);
    check(&desk.replay(&[]), 0, [80, 40, 40, 0]);
    // One more, later.
    file("dir/again", &[&first, &second]);
    check(&desk.replay(&[]), 0, [120, 0, 120, 0]);
    // It has grown: the rest is sent.
    file("a", &[&first, &second, &third]);
    check(&desk.replay(&[]), 0, [140, 20, 120, 0]);
    assert_eq!((desk.known(), desk.arrived(first.iter().chain(&second).chain(&third))), (60, 60));
    // Another one that begins alike is another one, and wholly sent: its records may be meant twice.
    let other = numbers(20, 300);
    file("other", &[&first, &other]);
    check(&desk.replay(&[]), 0, [180, 40, 140, 0]);
    assert_eq!((desk.known(), desk.arrived(&other)), (80, 20));
    check(&desk.replay(&[]), 0, [180, 0, 180, 0]);
}

#[test]
fn a_library_backup_that_was_cut_off_goes_on_where_it_ended() {
    let desk = Desk::new();
    let (first, second) = (numbers(20, 0), numbers(20, 100));
    let path = desk.dir().join("theirs");
    library_file(&path, "c", &[&first, &second]);
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() - 7]).unwrap();
    // A torn end is no loss: nobody was promised what it would have held.
    let ran = desk.replay(&[]);
    check(&ran, 0, [20, 20, 0, 0]);
    assert_eq!(figures(&ran, &["torn_files"]), [1]);
    std::fs::write(&path, &whole).unwrap();
    check(&desk.replay(&[]), 0, [40, 20, 20, 0]);
    assert_eq!(desk.arrived(first.iter().chain(&second)), 40);
}
