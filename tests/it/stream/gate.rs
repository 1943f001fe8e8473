//! The computer's disk, which stalls or dies on demand; and what a stream has on it.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prost::Message;
use sift_replay::format::{Compression, Confirmed, Mark};
use sift_replay::record::RecorderOptions;
use sift_replay::segment::{Disk, Event, SegmentName, SegmentReader, Storage, StorageFile};
use sift_rs::ingest::v1::IngestWithConfigDataStreamRequest;

use super::support::segments;
use crate::support::faulty::Faulty;

/// Longest that anything is waited for: a broken test must end.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until it is so.
#[track_caller]
pub(super) fn until(mut such: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !such() {
        assert!(begun.elapsed() < PATIENCE, "waited for {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Frames of few records, written at once, readable without decompressing.
pub(super) fn small_frames() -> RecorderOptions {
    let (frame_bytes, flush_interval) = (256, Duration::from_millis(2));
    RecorderOptions { compression: Compression::None, frame_bytes, flush_interval, ..RecorderOptions::default() }
}

/// The disk as all see it, behind a gate; clones share it.
#[derive(Clone, Default)]
pub(super) struct Gate(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
struct State {
    closed: bool,
    waiting: usize,
    /// Writes and syncs that still work; `None`: all do.
    left: Option<usize>,
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on whatever is written or synced waits.
    pub(super) fn close(&self) {
        self.lock().closed = true;
    }

    pub(super) fn open(&self) {
        self.lock().closed = false;
        self.0.1.notify_all();
    }

    /// Whether the recorder is at the gate.
    pub(super) fn is_waited_at(&self) -> bool {
        self.lock().waiting > 0
    }

    /// After so many operations more, nothing works any more.
    pub(super) fn die_after(&self, operations: usize) {
        self.lock().left = Some(operations);
    }

    fn pass(&self) -> io::Result<()> {
        let mut state = self.lock();
        state.waiting += 1;
        while state.closed {
            state = self.0.1.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.waiting -= 1;
        match &mut state.left {
            None => Ok(()),
            Some(0) => Err(io::Error::other("the disk has died on purpose")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }
}

impl Storage for Gate {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        Disk.create_dir_all(dir)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        self.pass()?;
        Ok(Box::new(GateFile(self.clone(), Disk.create(path)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.pass()?;
        Disk.rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        Disk.sync_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        Disk.list(dir)
    }

    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        Disk.read(path, limit)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        Disk.remove(path)
    }
}

struct GateFile(Gate, Box<dyn StorageFile>);

impl StorageFile for GateFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.pass()?;
        self.1.append(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.pass()?;
        self.1.sync()
    }

    fn lock(&mut self) -> io::Result<bool> {
        self.1.lock()
    }
}

/// What segments hold.
#[derive(Debug, Default)]
pub(super) struct OnDisk {
    pub(super) numbers: BTreeSet<u64>,
    pub(super) confirmed: Vec<Confirmed>,
    pub(super) files: usize,
}

impl OnDisk {
    /// What is below `dir` at this moment; files may be sealed or deleted meanwhile.
    pub(super) fn read(dir: &Path) -> Self {
        'anew: loop {
            let mut found = Self::default();
            for path in files(dir) {
                if !found.add(&path) {
                    continue 'anew;
                }
            }
            return found;
        }
    }

    /// False if the file has gone.
    fn add(&mut self, path: &Path) -> bool {
        let Ok(mut reader) = SegmentReader::open_plain(path) else { return false };
        self.files += 1;
        while let Some(event) = reader.next_event().unwrap() {
            match event {
                Event::Records(batch) => self.numbers.extend(batch.records().map(number_of)),
                Event::Mark(message) => self.confirmed.extend(message.mark.and_then(|mark| match mark {
                    Mark::Confirmed(confirmed) => Some(confirmed),
                    _ => None,
                })),
                _ => {}
            }
        }
        true
    }
}

/// The segments below a directory in which files come and go.
fn files(dir: &Path) -> Vec<PathBuf> {
    let files = walkdir::WalkDir::new(dir).into_iter().filter_map(Result::ok).map(walkdir::DirEntry::into_path);
    files.filter(|path| SegmentName::of_path(path).is_some()).collect()
}

/// The number that a message's time tells.
pub(super) fn number_of(record: &[u8]) -> u64 {
    number(&IngestWithConfigDataStreamRequest::decode(record).unwrap())
}

pub(super) fn number(request: &IngestWithConfigDataStreamRequest) -> u64 {
    let time = request.timestamp.as_ref().unwrap();
    u64::try_from(time.seconds * 1_000_000_000 + i64::from(time.nanos) - 1_700_000_000_000_000_000).unwrap()
}

/// What isn't on disk any more is acknowledged: of the numbers below `durable`.
#[track_caller]
pub(super) fn assert_nothing_unconfirmed_is_gone(dir: &Path, server: &Faulty, durable: u64) {
    // First the disk: what goes later is acknowledged by then, too.
    let there = OnDisk::read(dir).numbers;
    let numbers = super::support::numbers(&server.seen());
    let acknowledged = |n: &u64| numbers.get(n).is_some_and(|(acknowledged, _)| *acknowledged > 0);
    let gone: Vec<_> = (0..durable).filter(|n| !there.contains(n) && !acknowledged(n)).collect();
    assert!(gone.is_empty(), "{} are gone and not acknowledged, the first {:?}", gone.len(), gone.first());
}

/// The indices of the segments below a directory.
pub(super) fn indices(dir: &Path) -> Vec<u64> {
    let mut indices: Vec<_> =
        segments(dir).iter().map(|path| u64::from(SegmentName::of_path(path).unwrap().index)).collect();
    indices.sort_unstable();
    indices
}
