//! A stream's files: one recorder after the other, a leg each.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use prost::Message;
use sift_rs::ingestion_configs::v2::{CreateIngestionConfigFlowsRequest, CreateIngestionConfigRequest, FlowConfig};
use walkdir::WalkDir;

use super::account::{Account, accepted, dropped_with_seqs};
use super::error::{FinishError, Finished, StreamError};
use super::forms::RunSelector;
use super::intake::RecorderIntake;
use super::ledger::Ledger;
use super::leg::{Leg, schema};
use super::metrics::Gauges;
use super::pieces::{Piece, Pieces};
use super::policy::DiskBackupPolicy;
use crate::catalog::{STATE_DIR, SeqSet};
use crate::format::AddedFlows;
use crate::record::{FlowSchema, RecordError, Recorder, RecorderOptions, RecorderStats, Tap, TappedFrame};
use crate::replay::{Done, State, StateDirs, StateError, spawn_blocking};
use crate::segment::{self, SegmentName, Storage, component};

/// How often, and with what pauses, a directory that another stream holds is tried once more.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// Below the user's data directory.
const DEFAULT_DIR: [&str; 2] = ["sift-replay", "streams"];

/// Where a stream of this client key has its files.
pub(super) fn home_of(policy: &DiskBackupPolicy, client_key: &str) -> Result<PathBuf, StreamError> {
    let dir = match &policy.backups_dir {
        Some(dir) => dir.clone(),
        None => dirs::data_dir().ok_or(StreamError::NoDirectory)?.join(DEFAULT_DIR[0]).join(DEFAULT_DIR[1]),
    };
    Ok(dir.join(component(client_key)))
}

/// What was confirmed, kept beside the files; nobody else may be at work on them.
pub(super) async fn open_state(home: &Path) -> Result<State, StreamError> {
    let home = home.to_owned();
    blocking(move || {
        let storage: Arc<dyn Storage> = Arc::new(segment::Disk);
        let made = storage.create_dir_all(&home);
        made.map_err(|source| StreamError::Directory { path: home.clone(), source })?;
        // Who was dropped or killed a moment ago lets go of it in a moment.
        let mut tries = LOCK_TRIES;
        loop {
            match State::open(storage.clone(), StateDirs::resolve_in(std::slice::from_ref(&home), None, None)) {
                Ok(state) => return Ok(state),
                Err(StateError::Locked { .. }) if tries > 0 => std::thread::sleep(LOCK_PAUSE),
                Err(source @ StateError::Locked { .. }) => return Err(StreamError::Shared { source }),
                Err(error) => return Err(error.into()),
            }
            tries -= 1;
        }
    })
    .await
}

/// Runs what writes and syncs beside the asynchronous tasks.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match spawn_blocking(work).await {
        Ok(done) => done,
        // It panicked, which is a bug: let it be seen.
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Who else gets what is recorded.
#[derive(Clone)]
pub(super) struct Live {
    pub(super) pieces: Arc<Pieces>,
    pub(super) ledger: Arc<Ledger>,
}

/// A stream's files.
pub(super) struct Disk {
    home: PathBuf,
    options: RecorderOptions,
    live: Option<Live>,
    legs: Mutex<AllLegs>,
}

/// All legs, in order.
#[derive(Default)]
struct AllLegs {
    /// Of which nothing is left to be done.
    settled: Account,
    /// Whose recorders have ended.
    ended: Vec<Ended>,
    /// The others; the one that is being recorded is the last.
    recorded: Vec<Recording>,
}

/// A leg whose recorder has ended: what it had in memory is free.
struct Ended {
    leg: Arc<Leg>,
    stats: RecorderStats,
    lost: Vec<(u64, Vec<u8>)>,
    returned: SeqSet,
}

/// A leg, and who records it.
#[derive(Clone)]
pub(super) struct Recording {
    pub(super) recorder: Arc<Recorder>,
    pub(super) leg: Arc<Leg>,
    /// Seqs of requests that couldn't be made safe and went back to who sent them.
    returned: Arc<Mutex<SeqSet>>,
}

impl Disk {
    pub(super) fn new(home: PathBuf, options: RecorderOptions, live: Option<Live>) -> Self {
        Self { home, options, live, legs: Mutex::default() }
    }

    fn legs(&self) -> MutexGuard<'_, AllLegs> {
        self.legs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a leg; the one before is ended in the background. Blocks.
    pub(super) fn begin(
        self: &Arc<Self>,
        config: &CreateIngestionConfigRequest,
        run: Option<RunSelector>,
    ) -> Result<Recording, StreamError> {
        let tap = self.live.clone().map(|live| Arc::new(LiveTap { live, leg: OnceLock::new() }));
        let mut options = self.options.clone();
        if let Some(tap) = &tap {
            options.tap = Some(tap.clone());
        }
        let schema = schema(config, run.as_ref()).map_err(RecordError::from)?;
        let recorder = Arc::new(Recorder::create(&self.home, &schema, options)?);
        let leg = Arc::new(Leg::new(recorder.session(), config.clone(), run, Arc::downgrade(&recorder)));
        // Before there is anything to record: no replay takes it for somebody else's.
        if let Some(live) = &self.live {
            live.ledger.begin(&leg);
        }
        if let Some(tap) = tap {
            tap.leg.get_or_init(|| leg.clone());
        }
        let recording = Recording { recorder, leg, returned: Arc::default() };
        let mut legs = self.legs();
        let before = legs.recorded.last().cloned();
        legs.recorded.push(recording.clone());
        self.settle(&mut legs);
        drop(legs);
        if let Some(before) = before {
            let disk = self.clone();
            // Should it fail, `finish` ends it, and says so.
            let named = std::thread::Builder::new().name("sift-stream-leg".to_owned());
            let _ = named.spawn(move || disk.end(&before));
        }
        Ok(recording)
    }

    pub(super) fn intake(&self, recording: &Recording) -> RecorderIntake {
        RecorderIntake::new(recording.recorder.clone(), self.options.sync, recording.returned.clone())
    }

    /// Ends a leg: everything that can be is durable when it returns. Blocks.
    fn end(&self, recording: &Recording) {
        match recording.recorder.finish() {
            // It was ended before.
            Ok(_) | Err(RecordError::Finished) => {}
            Err(error) => tracing::error!(%error, "recording has failed"),
        }
        let mut legs = self.legs();
        let Some(at) = legs.recorded.iter().position(|other| Arc::ptr_eq(&other.leg, &recording.leg)) else { return };
        legs.recorded.remove(at);
        let returned = recording.returned.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (stats, lost) = (recording.recorder.stats(), recording.recorder.take_lost());
        legs.ended.push(Ended { leg: recording.leg.clone(), stats, lost, returned });
    }

    /// Ends all legs.
    pub(super) async fn finish(self: &Arc<Self>) {
        let disk = self.clone();
        blocking(move || {
            let recorded = disk.legs().recorded.clone();
            recorded.iter().for_each(|recording| disk.end(recording));
        })
        .await;
    }

    /// Forgets ended legs of which nothing is left to be done, but for their figures: a stream may have any number of them.
    fn settle(&self, legs: &mut AllLegs) {
        let Some(live) = &self.live else { return };
        let AllLegs { settled, ended, .. } = legs;
        ended.retain(|ended| {
            let account = self.account_of(ended);
            if !account.is_settled() {
                return true;
            }
            live.ledger.end(&ended.leg);
            settled.add(account);
            false
        });
    }

    fn account_of(&self, ended: &Ended) -> Account {
        let Ended { leg, stats, lost, returned } = ended;
        Account::of(stats, &self.done(leg), lost, returned, self.options.on_full)
    }

    /// What became of all that was accepted, when all legs have ended.
    pub(super) fn account(&self, reason: Option<String>) -> Result<Finished, FinishError> {
        let mut legs = self.legs();
        let mut all = std::mem::take(&mut legs.settled);
        legs.ended.iter().for_each(|ended| all.add(self.account_of(ended)));
        all.finish(self.home.clone(), reason)
    }

    fn done(&self, leg: &Leg) -> Done {
        self.live.as_ref().map_or_else(Done::default, |live| live.ledger.done(leg))
    }

    /// Records of a leg that aren't the live lane's, or no longer, and not done.
    fn awaiting_replay(&self, leg: &Leg, stats: &RecorderStats) -> u64 {
        let Some(live) = &self.live else { return 0 };
        let done = live.ledger.done(leg).all();
        match live.ledger.state.held().released_of(leg.id) {
            Some(released) => released.without(&done).len(),
            None => stats.records.saturating_sub(done.len() + dropped_with_seqs(stats, self.options.on_full)),
        }
    }

    /// Figures of what is recorded and what is there. Blocks while the directory is read.
    pub(super) fn gauges(&self) -> Gauges {
        // Legs come and go, and a directory may be slow: whoever begins one doesn't wait for this.
        let (mut gauges, legs) = {
            let legs = self.legs();
            let ended = legs.ended.iter().map(|ended| (ended.leg.clone(), ended.stats));
            let recorded = legs.recorded.iter().map(|recording| (recording.leg.clone(), recording.recorder.stats()));
            (legs.settled.gauges(), ended.chain(recorded).collect::<Vec<_>>())
        };
        for (leg, stats) in legs {
            gauges.awaiting_replay += self.awaiting_replay(&leg, &stats);
            gauges.received += accepted(&stats, self.options.on_full);
            gauges.received_bytes += stats.recorded_bytes;
            gauges.recorded += stats.records;
            gauges.durable += stats.durable_seq;
            gauges.backup_channel_depth += stats.waiting;
        }
        // Dead letters are files, too, but not the stream's.
        let is_state = |entry: &walkdir::DirEntry| entry.file_name() == STATE_DIR;
        let entries = WalkDir::new(&self.home).into_iter().filter_entry(|entry| !is_state(entry));
        let entries = entries.filter_map(Result::ok);
        for entry in entries.filter(|entry| SegmentName::of_path(entry.path()).is_some()) {
            gauges.files += 1;
            gauges.disk_bytes += entry.metadata().map_or(0, |metadata| metadata.len());
        }
        gauges
    }
}

impl Recording {
    /// Makes flows known: records may have them from now on. Blocks while the disk is behind.
    pub(super) fn add_flows(&self, flows: &[FlowConfig]) -> Result<(), StreamError> {
        for flow in flows {
            let flow = FlowSchema::from_request(&flow.encode_to_vec()).map_err(RecordError::from)?;
            self.recorder.add_flow(flow)?;
        }
        Ok(())
    }

    /// Why nothing can be recorded any more.
    pub(super) fn closed(&self) -> Option<String> {
        self.recorder.failure().map(|error| error.to_string())
    }
}

/// Gives what is recorded to the live lane.
struct LiveTap {
    live: Live,
    /// Set before anything is recorded.
    leg: OnceLock<Arc<Leg>>,
}

impl Tap for LiveTap {
    fn frame(&self, frame: &TappedFrame<'_>) {
        let Some(leg) = self.leg.get() else { return };
        let payload = frame.payload.to_vec();
        let piece = Piece::new(leg.clone(), frame.first_seq, u64::from(frame.count), frame.bare, payload);
        let piece = piece.in_segment(frame.segment);
        for (leg, seqs) in self.live.pieces.push(piece) {
            self.live.ledger.metrics.evicted(seqs.end - seqs.start);
            self.live.ledger.release(leg, [seqs]);
        }
    }

    fn flows(&self, flows: &AddedFlows) {
        let Some(leg) = self.leg.get() else { return };
        // Both types have the same fields, so that what one encodes the other decodes.
        let flows = CreateIngestionConfigFlowsRequest::decode(&flows.encode_to_vec()[..]);
        leg.add_flows(flows.map(|request| request.flows).unwrap_or_default(), false);
    }
}
