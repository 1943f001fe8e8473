//! Replaying over a real socket, from files to the last acknowledgement: to a server that only counts bytes, and to the
//! embedded destination, which checks each request and puts it on stable storage before it acknowledges.
//!
//! `cargo bench --bench replay`; W1, W2, W3 are one flow of 10, 200 and 1 doubles.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "benchmarks")]
#![allow(missing_docs, reason = "a benchmark exports nothing")]

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use sift_replay::catalog::{Catalog, discover};
use sift_replay::format::{Compression, Suffix};
use sift_replay::record::{Channel, DataType, FlowSchema, Recorder, RecorderOptions, Schema, Timestamp, Value};
use sift_replay::replay::{Lanes, ReplayOptions, State, StateDirs, Work, replay};
use sift_replay::segment::Disk;
use sift_replay::sift::{Destination, DestinationOptions};

#[allow(dead_code, reason = "shared with the tests, which use all of it")]
#[path = "../tests/it/support/destination.rs"]
mod destination;

use destination::{Mood, RAW_CONFIG_ID, Raw, Rig, connect};

fn main() {
    divan::main();
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Workload {
    W1,
    W2,
    W3,
}

use Workload::{W1, W2, W3};

impl Workload {
    fn channels(self) -> usize {
        match self {
            W1 => 10,
            W2 => 200,
            W3 => 1,
        }
    }

    /// About 128 MiB of records.
    fn records(self) -> u64 {
        match self {
            W1 => 1_000_000,
            W2 => 60_000,
            W3 => 2_000_000,
        }
    }
}

/// Recordings made once, in a directory that the system clears.
fn recordings() -> &'static Path {
    static DIR: OnceLock<tempfile::TempDir> = OnceLock::new();
    DIR.get_or_init(|| tempfile::tempdir().unwrap()).path()
}

/// A session of the workload, uncompressed; its directory.
fn segments(workload: Workload) -> PathBuf {
    let dir = recordings().join(format!("{workload:?}"));
    if dir.exists() {
        return dir;
    }
    let channels = (0..workload.channels()).map(|n| Channel::new(format!("channel-{n}"), DataType::Double));
    let schema = Schema::new("bench", format!("bench-{workload:?}"))
        .flow(channels.fold(FlowSchema::new("flow"), FlowSchema::channel));
    let options = RecorderOptions { compression: Compression::None, ..RecorderOptions::default() };
    let recorder = Recorder::create(&dir, &schema, options).unwrap();
    let flow = recorder.flow("flow").unwrap();
    let mut values = vec![Value::Double(0.0); workload.channels()];
    for n in 0..workload.records() {
        for (channel, value) in values.iter_mut().enumerate() {
            *value = Value::Double(n as f64 + channel as f64 / 1000.0);
        }
        let time = Timestamp::from_unix_ns(1_700_000_000_000_000_000 + n as i64 * 1000);
        let _ = recorder.record(&flow, time, &values).unwrap();
    }
    recorder.finish().unwrap();
    dir
}

/// The same as a backup of the official library, one message a chunk; its directory.
fn pbfs(workload: Workload) -> PathBuf {
    let dir = recordings().join(format!("{workload:?}-pbfs"));
    if dir.exists() {
        return dir;
    }
    let suffix = Suffix::new(RAW_CONFIG_ID, None, false);
    let catalog = Catalog::build(discover(&[segments(workload)]).unwrap());
    let mut file = Vec::new();
    for record in catalog.sessions[0].segments.iter().flat_map(|segment| destination::records(&segment.path)) {
        let message = [&record[..], suffix.for_bare()].concat();
        let mut chunk = (message.len() as u64 + 4).to_le_bytes().to_vec();
        chunk.extend_from_slice(&(message.len() as u32).to_le_bytes());
        chunk.extend_from_slice(&message);
        file.extend_from_slice(&crc32fast::hash(&chunk).to_le_bytes());
        file.extend_from_slice(&chunk);
    }
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("bench-1700000000000000"), file).unwrap();
    dir
}

/// Replays all of `dir` to `uri`, again and again.
fn run(bencher: Bencher<'_, '_>, dir: PathBuf, uri: String, records: u64, runtime: &tokio::runtime::Runtime) {
    let lanes = Lanes::single(runtime.block_on(connect(uri)));
    let bytes: u64 = {
        let catalog = Catalog::build(discover(std::slice::from_ref(&dir)).unwrap());
        let segments = catalog.sessions.iter().flat_map(|session| &session.segments).map(|file| file.bytes);
        let backups = catalog.pbfs.iter().map(|file| file.bytes);
        segments.chain(backups).sum()
    };
    bencher.counter(ItemsCount::new(records)).counter(BytesCount::new(bytes)).bench_local(|| {
        let catalog = Catalog::build(discover(std::slice::from_ref(&dir)).unwrap());
        let work = Work::once(std::slice::from_ref(&dir), catalog);
        let report = runtime.block_on(replay(&lanes, &State::none(), work, &ReplayOptions::default(), &()));
        assert_eq!(report.totals.records_acknowledged, records, "{report:?}");
    });
}

/// The same over four lanes, with each acknowledgement durably noted; what was noted is forgotten before the next time.
fn run_with_checkpoints(bencher: Bencher<'_, '_>, dir: PathBuf, uri: String, records: u64, lanes: usize) {
    let runtime = runtime();
    let options = DestinationOptions { uri: Some(uri), ..DestinationOptions::default() };
    let destination = Destination::resolve(&options).unwrap();
    let lanes = runtime.block_on(Lanes::open(&destination, NonZeroUsize::new(lanes).unwrap())).unwrap();
    let paths = [dir];
    bencher.counter(ItemsCount::new(records)).bench_local(|| {
        let state_dir = tempfile::tempdir().unwrap();
        let dirs = StateDirs::resolve(&paths, Some(state_dir.path()));
        let state = State::open(Arc::new(Disk), dirs).unwrap();
        let work = Work::once(&paths, Catalog::build(discover(&paths).unwrap()));
        let report = runtime.block_on(replay(&lanes, &state, work, &ReplayOptions::default(), &()));
        assert_eq!(report.totals.records_acknowledged, records, "{report:?}");
    });
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap()
}

#[divan::bench(args = [W1, W2, W3], sample_count = 7, sample_size = 1)]
fn segments_to_a_server_that_counts(bencher: Bencher<'_, '_>, workload: Workload) {
    let server = Raw::start(Mood::Counts);
    run(bencher, segments(workload), server.uri(), workload.records(), &runtime());
}

#[divan::bench(args = [W1, W2, W3], sample_count = 7, sample_size = 1)]
fn segments_over_four_lanes_with_checkpoints(bencher: Bencher<'_, '_>, workload: Workload) {
    let server = Raw::start(Mood::Counts);
    run_with_checkpoints(bencher, segments(workload), server.uri(), workload.records(), 4);
}

#[divan::bench(args = [W1], sample_count = 7, sample_size = 1)]
fn segments_over_one_lane_with_checkpoints(bencher: Bencher<'_, '_>, workload: Workload) {
    let server = Raw::start(Mood::Counts);
    run_with_checkpoints(bencher, segments(workload), server.uri(), workload.records(), 1);
}

#[divan::bench(args = [W1], sample_count = 7, sample_size = 1)]
fn pbfs_to_a_server_that_counts(bencher: Bencher<'_, '_>, workload: Workload) {
    let server = Raw::start(Mood::Counts);
    run(bencher, pbfs(workload), server.uri(), workload.records(), &runtime());
}

#[divan::bench(args = [W1, W2, W3], sample_count = 3, sample_size = 1)]
fn segments_to_the_receiver(bencher: Bencher<'_, '_>, workload: Workload) {
    let runtime = runtime();
    let rig = runtime.block_on(Rig::start());
    run(bencher, segments(workload), rig.uri(), workload.records(), &runtime);
    runtime.block_on(rig.end());
}
