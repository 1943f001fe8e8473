//! The recorder on such disks: what was durable is there, the rest is handed back, and the error says what to do.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sift_replay::format::{Compression, Mark};
use sift_replay::record::{RecordError, Recorder, RecorderOptions, SyncPolicy, Value};
use sift_replay::segment::{Disk, Storage, StorageFile};

use super::{disk, done, fill, on_a_disk, remount};
use crate::support::recording::{Segment, at, counted, counter_schema, merged, read_dir};

fn options() -> RecorderOptions {
    RecorderOptions {
        sync: SyncPolicy::Bytes(10_000),
        compression: Compression::None,
        frame_bytes: 2000,
        segment_bytes: 60_000,
        buffers: 4,
        ..RecorderOptions::default()
    }
}

/// Records until the recorder says no; returns that, and how many it took.
fn record_until_it_fails(recorder: &Recorder) -> (RecordError, u64) {
    let flow = recorder.flow("f").unwrap();
    for number in 0..1_000_000 {
        if let Err(error) = recorder.record(&flow, at(number), &[Value::Uint64(number)]) {
            return (error, number);
        }
    }
    panic!("it never fails");
}

/// All that is durable is there, the rest is handed back, and all of it is what was recorded.
fn check(recorder: &Recorder, taken: u64) -> Vec<Segment> {
    let durable = recorder.durable_seq();
    let segments = read_dir(recorder.dir());
    let records = merged(&segments);
    assert!((0..durable).all(|seq| records.contains_key(&seq)), "{durable} are durable, {} are there", records.len());
    assert!(records.iter().all(|(seq, record)| *record == counted(*seq)));
    let lost = recorder.take_lost();
    assert!(lost.iter().all(|(seq, record)| *record == counted(*seq)));
    assert!(lost.iter().map(|(seq, _)| *seq).eq(durable..taken), "all that isn't durable comes back");
    assert!(durable > 0, "it says nothing");
    segments
}

/// What happened, where, from which record on, and what to do.
fn check_words(error: &RecordError, dir: &Path, cause: &str) {
    let text = error.to_string();
    for part in ["recording has stopped", dir.to_str().unwrap(), cause, "are not durable", "make a new recorder"] {
        assert!(text.contains(part), "{text:?} doesn't say {part:?}");
    }
}

#[test]
#[ignore = "a child of `a_full_disk_costs_nothing_that_was_durable`"]
fn child_on_a_full_disk() {
    let disk = disk();
    for free in [20, 40, 41, 60, 75] {
        let ballast = fill(&disk, free);
        let recorder = Recorder::create(&disk, &counter_schema(), options()).unwrap();
        let (error, taken) = record_until_it_fails(&recorder);
        check_words(&error, recorder.dir(), "No space left on device");
        assert!(error.to_string().contains("make room on the disk"), "{error}");
        assert_eq!(recorder.flush().unwrap_err().to_string(), error.to_string(), "every call says so");
        check(&recorder, taken);
        assert_eq!(recorder.finish().unwrap_err().to_string(), error.to_string());
        // When there is room again, another recorder works, and the old files are as they were.
        std::fs::remove_file(ballast).unwrap();
        let another = Recorder::create(&disk, &counter_schema(), options()).unwrap();
        let flow = another.flow("f").unwrap();
        let _ = another.record(&flow, at(0), &[Value::Uint64(0)]).unwrap();
        assert_eq!(another.finish().unwrap().durable_seq, 1);
        assert!(merged(&read_session(&recorder)).len() as u64 >= recorder.durable_seq());
        std::fs::remove_dir_all(disk.join("rover")).unwrap();
    }
    done();
}

fn read_session(recorder: &Recorder) -> Vec<Segment> {
    let mut segments = read_dir(recorder.dir());
    segments.retain(|segment| segment.name.session == recorder.session());
    segments
}

#[test]
fn a_full_disk_costs_nothing_that_was_durable() {
    on_a_disk("size=512k", "recorder::child_on_a_full_disk");
}

/// The disk, with somebody who makes room as soon as something doesn't fit.
struct Tidied(PathBuf);

struct TidiedFile(Box<dyn StorageFile>, PathBuf);

impl Storage for Tidied {
    fn create_dir_all(&self, dir: &Path) -> std::io::Result<()> {
        Disk.create_dir_all(dir)
    }
    fn create(&self, path: &Path) -> std::io::Result<Box<dyn StorageFile>> {
        Ok(Box::new(TidiedFile(Disk.create(path)?, self.0.clone())))
    }
    fn rename(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        Disk.rename(from, to)
    }
    fn sync_dir(&self, dir: &Path) -> std::io::Result<()> {
        Disk.sync_dir(dir)
    }
    fn list(&self, dir: &Path) -> std::io::Result<Vec<PathBuf>> {
        Disk.list(dir)
    }
    fn read(&self, path: &Path, limit: u64) -> std::io::Result<Vec<u8>> {
        Disk.read(path, limit)
    }
    fn remove(&self, path: &Path) -> std::io::Result<()> {
        Disk.remove(path)
    }
}

impl StorageFile for TidiedFile {
    fn append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let appended = self.0.append(bytes);
        if appended.is_err() {
            let _ = std::fs::remove_file(&self.1);
        }
        appended
    }
    fn sync(&mut self) -> std::io::Result<()> {
        self.0.sync()
    }
}

#[test]
#[ignore = "a child of `when_room_is_made_in_time_recording_goes_on_in_a_new_file`"]
fn child_that_is_tidied_up() {
    let disk = disk();
    // In the middle of a page, so that a part of a frame fits.
    for free in [3, 9, 17] {
        let ballast = fill(&disk, free);
        let storage = Arc::new(Tidied(ballast));
        let recorder = Recorder::create(&disk, &counter_schema(), RecorderOptions { storage, ..options() }).unwrap();
        let flow = recorder.flow("f").unwrap();
        for number in 0..4000 {
            let _ = recorder.record(&flow, at(number), &[Value::Uint64(number)]).unwrap();
        }
        let stats = recorder.finish().unwrap();
        assert_eq!((stats.io_errors, stats.durable_seq), (1, 4000));
        let segments = read_dir(recorder.dir());
        let records = merged(&segments);
        assert!(records.keys().copied().eq(0..4000) && records.iter().all(|(seq, record)| *record == counted(*seq)));
        // The file that was given up was never touched again: it ends in the middle of a frame, and the next one says so.
        let open: Vec<_> = segments.iter().filter(|segment| segment.name.open).collect();
        assert_eq!(open.len(), 1);
        let mark = segments.iter().flat_map(|segment| &segment.marks).find_map(|mark| match mark {
            Mark::Abandoned(mark) => Some(mark.clone()),
            _ => None,
        });
        let mark = mark.unwrap();
        assert_eq!(mark.segment_index, open[0].name.index);
        assert!(mark.error.contains("can't write to") && mark.error.contains("No space left"), "{}", mark.error);
        std::fs::remove_dir_all(disk.join("rover")).unwrap();
    }
    done();
}

#[test]
fn when_room_is_made_in_time_recording_goes_on_in_a_new_file() {
    on_a_disk("size=512k", "recorder::child_that_is_tidied_up");
}

#[test]
#[ignore = "a child of `a_file_system_without_inodes_costs_nothing_that_was_durable`"]
fn child_without_inodes() {
    let disk = disk();
    let options = RecorderOptions { segment_bytes: 5000, ..options() };
    let recorder = Recorder::create(&disk, &counter_schema(), options).unwrap();
    let (error, taken) = record_until_it_fails(&recorder);
    check_words(&error, recorder.dir(), "No space left on device");
    let segments = check(&recorder, taken);
    assert!(segments.len() > 3, "one segment after the other, until no name could be made");
    assert!(segments.iter().all(|segment| !segment.name.open && segment.trouble.is_empty()));
    done();
}

#[test]
fn a_file_system_without_inodes_costs_nothing_that_was_durable() {
    on_a_disk("size=8m,nr_inodes=12", "recorder::child_without_inodes");
}

#[test]
#[ignore = "a child of `a_read_only_disk_is_named_at_once`"]
fn child_on_a_read_only_disk() {
    let disk = disk();
    remount(&disk, "ro");
    let error = Recorder::create(disk.join("backups"), &counter_schema(), options()).unwrap_err().to_string();
    for part in ["can't create the directory", disk.to_str().unwrap(), "Read-only file system"] {
        assert!(error.contains(part), "{error:?} doesn't say {part:?}");
    }
    done();
}

#[test]
fn a_read_only_disk_is_named_at_once() {
    on_a_disk("size=1m", "recorder::child_on_a_read_only_disk");
}
