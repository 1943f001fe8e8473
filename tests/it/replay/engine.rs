//! The engine against a server that refuses, keeps silent and changes its mind: it ends, counts right, and claims nothing
//! that isn't so.

mod counting;
mod ending;
mod keeping;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prost::Message;
use sift_replay::catalog::{Catalog, discover};
use sift_replay::replay::{Lanes, Observer, ReplayEvent, ReplayOptions, Report, State, StateDirs, Work, replay_until};
use sift_replay::segment::Disk;
use sift_replay::sift::{Destination, DestinationOptions, Timeouts};
use sift_rs::ingest::v1::IngestWithConfigDataStreamRequest;

use crate::support::backup::put_chunk;
use crate::support::faulty::Faulty;

/// Longest that a replay may take: one that hangs shall fail.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a replay told, in order.
#[derive(Default)]
struct Told {
    lines: Mutex<Vec<String>>,
}

impl Observer for Told {
    fn event(&self, event: &ReplayEvent<'_>) {
        let line = match event {
            ReplayEvent::Started { .. } => "started".to_owned(),
            ReplayEvent::Waiting => "waiting".to_owned(),
            ReplayEvent::Refused { reason, .. } => format!("refused: {reason}"),
            ReplayEvent::Kept { path, reason } => format!("kept: {}: {reason}", path.display()),
            ReplayEvent::Retired { path, .. } => format!("retired: {}", path.display()),
            ReplayEvent::Acknowledged { records, .. } => format!("acknowledged: {records}"),
            ReplayEvent::Damage { damage, .. } => format!("damage: {}", damage.offset),
            _ => return,
        };
        self.lines.lock().unwrap().push(line);
    }
}

impl Told {
    fn count(&self, beginning: &str) -> usize {
        self.lines.lock().unwrap().iter().filter(|line| line.starts_with(beginning)).count()
    }
}

/// A desk: files, a server, and what is remembered between replays.
struct Desk {
    dir: tempfile::TempDir,
    faulty: Faulty,
    lanes: usize,
    options: ReplayOptions,
    watch: bool,
    told: Arc<Told>,
}

impl Desk {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("backups")).unwrap();
        let options = ReplayOptions {
            window_bytes: 500,
            give_up_after: Some(PATIENCE),
            first_pause: Duration::from_millis(5),
            ..ReplayOptions::default()
        };
        Self { dir, faulty: Faulty::start(), lanes: 1, options, watch: false, told: Arc::default() }
    }

    fn backups(&self) -> PathBuf {
        self.dir.path().join("backups")
    }

    fn state(&self) -> State {
        let dir = self.dir.path().join("state");
        State::open(Arc::new(Disk), StateDirs::resolve_in(&[self.backups()], Some(&dir), None)).unwrap()
    }

    fn run(&mut self) -> Report {
        self.run_until(std::future::pending())
    }

    fn run_until(&mut self, interrupted: impl Future<Output = ()> + Send + 'static) -> Report {
        let catalog = Catalog::build(discover(&[self.backups()]).unwrap());
        self.run_of(catalog, interrupted)
    }

    /// Replays what is in a catalog. Panics if that doesn't end.
    fn run_of(&mut self, catalog: Catalog, interrupted: impl Future<Output = ()> + Send + 'static) -> Report {
        self.told = Arc::default();
        let (told, options, state) = (self.told.clone(), self.options.clone(), self.state());
        let work =
            Work { watch: self.watch.then_some(Duration::from_millis(100)), ..Work::once(&[self.backups()], catalog) };
        let timeouts = Timeouts { connect: PATIENCE, ..Timeouts::default() };
        let to = DestinationOptions { uri: Some(self.faulty.uri()), timeouts, ..DestinationOptions::default() };
        let (destination, lanes) = (Destination::resolve(&to).unwrap(), NonZeroUsize::new(self.lanes).unwrap());
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let replaying = async move {
            let lanes = Lanes::open(&destination, lanes).await.unwrap();
            replay_until(interrupted, &lanes, &state, work, &options, &*told).await
        };
        let ended = runtime.block_on(async { tokio::time::timeout(PATIENCE, tokio::spawn(replaying)).await });
        // Whoever hangs is left behind.
        runtime.shutdown_background();
        ended.unwrap_or_else(|_| panic!("it doesn't end: {:?}", self.told.lines.lock().unwrap())).unwrap()
    }

    /// A backup of the official library, with so many requests in each chunk.
    fn library_backup(&self, name: &str, chunks: &[u64]) -> PathBuf {
        let path = self.backups().join(name);
        std::fs::write(&path, library_backup("theirs", 0, chunks)).unwrap();
        path
    }
}

/// Chunks of the official library; each request has its number as its time, in s.
fn library_backup(config: &str, first: u64, chunks: &[u64]) -> Vec<u8> {
    let (mut file, mut next) = (Vec::new(), first);
    for &requests in chunks {
        let chunk: Vec<_> = (next..next + requests).map(|n| request(config, n)).collect();
        put_chunk(&mut file, &chunk);
        next += requests;
    }
    file
}

fn request(config: &str, number: u64) -> Vec<u8> {
    let timestamp = Some(pbjson_types::Timestamp { seconds: number as i64, nanos: 0 });
    let (ingestion_config_id, flow) = (config.to_owned(), "p".to_owned());
    IngestWithConfigDataStreamRequest { ingestion_config_id, flow, timestamp, ..Default::default() }.encode_to_vec()
}

/// The number of a request of a [`library_backup`].
fn number(request: &IngestWithConfigDataStreamRequest) -> u64 {
    request.timestamp.as_ref().map_or(0, |time| time.seconds as u64)
}

/// Everything found is accounted for, once.
#[track_caller]
fn assert_adds_up(report: &Report) {
    let totals = &report.totals;
    let sum = totals.records_acknowledged
        + totals.records_already_acknowledged
        + totals.records_dead_lettered
        + totals.records_not_selected
        + totals.records_refused;
    assert_eq!(totals.records_found, sum, "{totals:?}");
}

fn append(path: &Path, bytes: &[u8]) {
    use std::io::Write;
    std::fs::OpenOptions::new().append(true).open(path).unwrap().write_all(bytes).unwrap();
}
