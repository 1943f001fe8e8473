//! The recorder: what is recorded is read back, whatever the options, the threads and the disk do.

mod api;
mod batch;
mod encoding;
mod faults;
mod life;
mod lost;
mod memory;
mod pressure;
mod properties;
mod tap;
mod waiting;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use sift_replay::format::Compression;
use sift_replay::record::{RecorderOptions, SyncPolicy};

use crate::support::recording::{Segment, read_dir};
use crate::support::storage::FaultyStorage;

/// Options under which nothing happens unless the test makes it happen: one record per frame, synced when asked.
fn quiet(storage: &FaultyStorage) -> RecorderOptions {
    RecorderOptions {
        sync: SyncPolicy::OnRotation,
        compression: Compression::None,
        frame_bytes: 1,
        flush_interval: Duration::from_secs(3600),
        storage: Arc::new(storage.clone()),
        ..Default::default()
    }
}

/// What a running computer sees of the storage, read through real files.
fn saved(storage: &FaultyStorage) -> Vec<Segment> {
    let dir = tempfile::tempdir().unwrap();
    storage.save(dir.path());
    read_dir(dir.path())
}

/// What the worst power cut leaves.
fn saved_durable(storage: &FaultyStorage) -> Vec<Segment> {
    let dir = tempfile::tempdir().unwrap();
    storage.save_durable(dir.path());
    read_dir(dir.path())
}

/// The segment files in a directory.
fn files_in(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Runs what may hang if it is broken. The bound is far beyond what it takes; it only ends a test that has failed.
fn ends<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, wait) = channel();
    std::thread::spawn(move || done.send(work()));
    wait.recv_timeout(Duration::from_secs(120)).expect("it waits for ever, or has panicked")
}
