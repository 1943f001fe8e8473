//! `ls` of sealed segments: what it takes doesn't grow with what is in them.

use std::path::{Path, PathBuf};
use std::process::Command;

use sift_replay::format::WRITTEN_INDEX_ENTRIES;
use sift_replay::record::{Recorder, RecorderOptions};
use sift_replay::segment::SegmentReader;

use crate::replay::{count, counting, files_of, small_frames};
use crate::support::cli::Home;
use crate::support::taken::reads_of;

/// System calls that may be made for each segment, of all kinds.
const CALLS: f64 = 8.0;

/// Of these, those that find the file out, open it and close it read nothing.
const CALLS_THAT_READ: f64 = 4.0;

/// Bytes that may be read of each segment.
const BYTES: f64 = 64.0 * 1024.0;

/// A session of so many sealed segments, of as many records each.
fn segments(dir: &Path, segments: u64, records: u64, options: RecorderOptions) -> Vec<PathBuf> {
    let recorder = Recorder::create(dir, &counting("k"), options).unwrap();
    for _ in 0..segments {
        count(&recorder, records);
        recorder.rotate().unwrap();
    }
    recorder.finish().unwrap();
    files_of(&recorder)
}

/// What listing costs for each of these segments of one session: system calls that read, bytes read, and system calls of
/// all kinds, where they can be counted. Half of them are listed, and then all, so that what the program takes to start
/// counts for nothing.
fn cost_of_each(home: &Home, segments: &[PathBuf]) -> (f64, f64, Option<f64>) {
    let listed = || home.command(&["ls", "backups"]);
    let late = &segments[segments.len() / 2..];
    let away: Vec<_> = late.iter().map(|path| home.path().join(path.file_name().unwrap())).collect();
    let rename = |from: &[PathBuf], to: &[PathBuf]| {
        from.iter().zip(to).for_each(|(from, to)| std::fs::rename(from, to).unwrap());
    };
    rename(late, &away);
    let ((said, few), all_few) = (reads_of(&mut listed()), all_calls(&listed()));
    rename(&away, late);
    let ((_, many), all_many) = (reads_of(&mut listed()), all_calls(&listed()));
    assert!(said.contains("rover"), "{said}");
    let each = |few: u64, many: u64| (many - few) as f64 / late.len() as f64;
    let calls = all_few.zip(all_many).map(|(few, many)| each(few, many));
    (each(few.calls, many.calls), each(few.bytes, many.bytes), calls)
}

/// All system calls of a command, of all its threads; `None` if nothing here can count them.
fn all_calls(command: &Command) -> Option<u64> {
    let counts = tempfile::NamedTempFile::new().unwrap();
    let mut traced = Command::new("strace");
    traced.args(["-f", "-c", "-o"]).arg(counts.path()).arg(command.get_program()).args(command.get_args());
    traced.current_dir(command.get_current_dir().unwrap()).env("HOME", command.get_current_dir().unwrap());
    let ran = traced.output().ok()?;
    let counted = std::fs::read_to_string(counts.path()).unwrap();
    let total = counted.lines().find(|line| line.ends_with(" total"));
    if !ran.status.success() || total.is_none() {
        println!("not all system calls are counted here: {ran:?}");
        return None;
    }
    // Share, seconds, µs for each, calls.
    total?.split_whitespace().nth(3)?.parse().ok()
}

#[track_caller]
fn check(home: &Home, segments: &[PathBuf]) {
    let (reads, bytes, calls) = cost_of_each(home, segments);
    println!("each segment: {reads} calls that read, {bytes} bytes, {calls:?} calls");
    assert!(reads <= CALLS_THAT_READ && bytes <= BYTES, "{reads} calls, {bytes} bytes");
    // It really looks into them.
    assert!(reads >= 1.0 && bytes >= 256.0, "{reads} calls, {bytes} bytes");
    // Built with debug assertions, the standard library looks at each file once more before it is closed.
    let of_debugging = if cfg!(debug_assertions) { 1.0 } else { 0.0 };
    // Names come many at a time, and so does memory.
    let now_and_then = 0.25;
    assert!(calls.is_none_or(|calls| calls <= CALLS + now_and_then + of_debugging), "{calls:?} calls");
}

#[test]
fn listing_a_small_segment_takes_eight_system_calls_and_64_kib_at_most() {
    let home = Home::new();
    let files = segments(&home.path().join("backups"), 200, 20, RecorderOptions::default());
    check(&home, &files);
}

/// Nothing of a long segment is read but its ends, and what SEAL says of it has grown as far as it can.
#[test]
fn listing_a_segment_of_any_size_takes_no_more() {
    let home = Home::new();
    let files = segments(&home.path().join("backups"), 20, 11_000, small_frames());
    for file in &files {
        let entries = SegmentReader::open(file).unwrap().seal().unwrap().index.len();
        assert!(entries > WRITTEN_INDEX_ENTRIES * 7 / 8, "{entries} entries");
        assert!(file.metadata().unwrap().len() > 2 * BYTES as u64, "it is small");
    }
    check(&home, &files);
}
