//! Files that grow while the program watches.

use std::fs;
use std::io::Write;

use sift_replay::record::RecorderOptions;

use super::desk::{Desk, Live, Program};
use crate::support::faulty::RecordId;
use crate::support::recording::{Owned, encoded};

fn options() -> RecorderOptions {
    RecorderOptions { frame_bytes: 256, ..RecorderOptions::default() }
}

#[test]
fn an_open_segment_is_followed_to_its_end_until_it_is_sealed() {
    let desk = Desk::new();
    let mut live = Live::start(&desk.dir, 0, options());
    live.record(100);
    let program = desk.watch(&[]);
    program.delivers(100);
    for round in 2..=4 {
        live.record(100);
        program.delivers(round * 100);
    }
    // Sealed with some more, at once.
    live.record(5);
    let session = live.finish();
    program.delivers(405);
    let sealed = session.files[0].to_str().unwrap().to_owned();
    program.wait("the sealed file", |lines| lines.iter().filter(|line| line["event"] == "started").count() > 4);
    let ended = program.interrupt();
    assert!(sealed.ends_with(".sfr"));
    desk.check(&ended, &session.records);
    assert_eq!((ended.summary()["segments"].as_u64(), ended.summary()["sessions"].as_u64()), (Some(1), Some(1)));
    assert!(ended.of("unreadable").is_empty() && ended.of("damage").is_empty(), "{:?}", ended.lines);
}

#[test]
fn a_recorder_that_never_rests_is_followed_through_its_segments() {
    let desk = Desk::new();
    let options = RecorderOptions { segment_bytes: 3000, ..options() };
    let mut live = Live::start(&desk.dir, 0, options);
    let program = desk.watch(&[]);
    for _ in 0..50 {
        live.record(40);
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let session = live.finish();
    program.delivers(2000);
    assert!(session.files.len() > 5);
    desk.check(&program.interrupt(), &session.records);
}

#[test]
fn an_unfinished_frame_waits_for_its_end() {
    let desk = Desk::new();
    let mut live = Live::start(&desk.elsewhere, 0, options());
    live.record(300);
    let session = live.finish();
    let bytes = fs::read(&session.files[0]).unwrap();
    let frames = crate::support::cli::frames(&session.files[0]);
    let name = session.files[0].file_name().unwrap().to_str().unwrap().to_owned();
    let path = desk.dir.join(format!("{name}.open"));
    let program = desk.watch(&[]);
    let mut written = 0;
    for at in [1, frames.len() / 2] {
        // To the middle of a frame: its header is there.
        let (place, seqs) = &frames[at];
        let middle = (place.start + place.end) as usize / 2;
        let mut file = fs::OpenOptions::new().create(true).append(true).open(&path).unwrap();
        file.write_all(&bytes[written..middle]).unwrap();
        written = middle;
        program.delivers(seqs.start as usize);
    }
    let (place, _) = &frames[frames.len() - 1];
    let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(&bytes[written..place.end as usize]).unwrap();
    program.delivers(300);
    desk.check(&program.interrupt(), &session.records);
}

#[test]
fn an_end_that_stays_torn_is_told_at_the_end_and_once() {
    let desk = Desk::new();
    let mut live = Live::start(&desk.elsewhere, 0, options());
    live.record(300);
    let session = live.finish();
    let bytes = fs::read(&session.files[0]).unwrap();
    let name = session.files[0].file_name().unwrap().to_str().unwrap().to_owned();
    let (place, seqs) = crate::support::cli::frames(&session.files[0])[3].clone();
    fs::write(desk.dir.join(format!("{name}.open")), &bytes[..place.end as usize - 1]).unwrap();
    let program = desk.watch(&[]);
    program.delivers(seqs.start as usize);
    assert_eq!(program.count("torn"), 0);
    let ended = program.interrupt();
    assert_eq!((ended.of("torn").len(), ended.summary()["torn_files"].as_u64()), (1, Some(1)));
    desk.check_arrived(&session.records[..seqs.start as usize], 0);
}

/// A backup of the official library's, chunk by chunk.
struct Library {
    bytes: Vec<u8>,
    records: Vec<RecordId>,
}

impl Library {
    fn chunk(&mut self, count: u64) -> &[u8] {
        let begin = self.bytes.len();
        let mut payload = Vec::new();
        for _ in 0..count {
            let time = 1_700_000_000_000_000_000 + self.records.len() as i64;
            let message = [&b"\x0a\x06theirs"[..], &encoded("p", time, &[Owned::Uint64(7)])].concat();
            payload.extend_from_slice(&(message.len() as u32).to_le_bytes());
            payload.extend_from_slice(&message);
            self.records.push(RecordId::of(&message));
        }
        let covered = [&(payload.len() as u64).to_le_bytes()[..], &payload].concat();
        self.bytes.extend_from_slice(&crc32fast::hash(&covered).to_le_bytes());
        self.bytes.extend_from_slice(&covered);
        &self.bytes[begin..]
    }
}

fn append(path: &std::path::Path, bytes: &[u8]) {
    let mut file = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(bytes).unwrap();
}

#[test]
fn a_library_backup_that_grows_is_gone_on_with_by_this_program_and_by_the_next() {
    let desk = Desk::new();
    let path = desk.dir.join("theirs-1700000000000000");
    let mut library = Library { bytes: Vec::new(), records: Vec::new() };
    append(&path, library.chunk(50));
    let program = desk.watch(&[]);
    program.delivers(50);
    append(&path, library.chunk(50));
    program.delivers(100);
    // Not a whole chunk.
    let chunk = library.chunk(50).to_vec();
    append(&path, &chunk[..chunk.len() / 2]);
    program.wait("a look at it", |lines| lines.iter().filter(|line| line["event"] == "started").count() > 2);
    append(&path, &chunk[chunk.len() / 2..]);
    program.delivers(150);
    desk.check(&program.interrupt(), &library.records);
    append(&path, library.chunk(30));
    let program = desk.watch(&[]);
    program.delivers(30);
    // Renamed, it is the same.
    fs::rename(&path, desk.dir.join("renamed")).unwrap();
    append(&desk.dir.join("renamed"), library.chunk(20));
    program.delivers(50);
    let ended = program.interrupt();
    desk.check_arrived(&library.records, 0);
    assert_eq!(ended.summary()["records_already_acknowledged"].as_u64().map(|n| n >= 150), Some(true));
    assert_eq!(
        (ended.summary()["files_unreadable"].as_u64(), ended.summary()["torn_files"].as_u64()),
        (Some(0), Some(0))
    );
}

#[test]
fn a_file_that_is_asked_for_by_name_is_followed_too() {
    let desk = Desk::new();
    let mut live = Live::start(&desk.dir, 0, options());
    live.record(100);
    let open = crate::replay::files_of(&live.recorder).remove(0);
    let program = Program::start(desk.command_for(&[&open], &["--watch"]));
    program.delivers(100);
    live.record(100);
    program.delivers(200);
    desk.check(&program.interrupt(), &live.records());
}
