//! A stream's files: one recorder after the other, a leg each.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use prost::Message;
use sift_rs::ingest::v1::IngestWithConfigDataStreamRequest;
use sift_rs::ingestion_configs::v2::{CreateIngestionConfigFlowsRequest, CreateIngestionConfigRequest, FlowConfig};
use walkdir::WalkDir;

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
use crate::record::{FlowSchema, OnFull, RecordError, Recorder, RecorderOptions, RecorderStats, Tap, TappedFrame};
use crate::replay::{Done, State, StateDirs, StateError, spawn_blocking};
use crate::segment::{self, SegmentName, Storage, component};

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
        State::open(storage, StateDirs::resolve_in(&[home], None, None)).map_err(|error| match error {
            StateError::Locked { .. } => StreamError::Shared { source: error },
            error => error.into(),
        })
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
    /// All legs, the one that is being recorded last.
    recordings: Mutex<Vec<Recording>>,
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
        Self { home, options, live, recordings: Mutex::default() }
    }

    fn recordings(&self) -> MutexGuard<'_, Vec<Recording>> {
        self.recordings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a leg; the one before is ended in the background. Blocks.
    pub(super) fn begin(
        &self,
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
        let mut recordings = self.recordings();
        let before = recordings.last().map(|last| last.recorder.clone());
        recordings.push(recording.clone());
        drop(recordings);
        if let Some(before) = before {
            // Should it fail, `finish` says so.
            let _ =
                std::thread::Builder::new().name("sift-stream-leg".to_owned()).spawn(move || before.finish().map(drop));
        }
        Ok(recording)
    }

    pub(super) fn intake(&self, recording: &Recording) -> RecorderIntake {
        RecorderIntake::new(recording.recorder.clone(), self.options.sync, recording.returned.clone())
    }

    /// Ends all legs: everything that can be is durable when it returns.
    pub(super) async fn finish(self: &Arc<Self>) {
        let disk = self.clone();
        blocking(move || {
            let recordings = disk.recordings().clone();
            for recording in recordings {
                match recording.recorder.finish() {
                    // It was ended before.
                    Ok(_) | Err(RecordError::Finished) => {}
                    Err(error) => tracing::error!(%error, "recording has failed"),
                }
            }
        })
        .await;
    }

    /// What became of all that was accepted.
    pub(super) fn account(&self, reason: Option<String>) -> Result<Finished, FinishError> {
        let mut finished = Finished { directory: Some(self.home.clone()), ..Finished::default() };
        let (mut undelivered, mut failure) = (Vec::new(), None);
        for Recording { recorder, leg, returned } in &*self.recordings() {
            let (stats, done) = (recorder.stats(), self.done(leg));
            let all_done = done.all();
            // Of what is lost, some may have been acknowledged before the disk failed.
            let returned = returned.lock().unwrap_or_else(PoisonError::into_inner).without(&all_done);
            let lost = recorder.take_lost().into_iter();
            let lost = lost.filter(|(seq, _)| !all_done.contains(*seq) && !returned.contains(*seq));
            let lost: Vec<_> = lost.map(|(_, request)| request).collect();
            // Those that went back weren't accepted.
            let accepted = (stats.records - returned.len()) + self.dropped_without_seqs(stats.dropped);
            let (acknowledged, lost_count) = (done.acknowledged.len(), lost.len() as u64);
            let dead_lettered = all_done.len() - acknowledged;
            finished.requests += accepted;
            finished.acknowledged += acknowledged;
            finished.dead_lettered += dead_lettered;
            finished.dropped += stats.dropped;
            finished.on_disk += accepted.saturating_sub(all_done.len() + lost_count + stats.dropped);
            if lost_count > 0 {
                failure = failure.or_else(|| Some("recording has failed: see the log".to_owned()));
            }
            undelivered
                .extend(lost.iter().filter_map(|request| IngestWithConfigDataStreamRequest::decode(&request[..]).ok()));
        }
        finished.reason = reason.filter(|_| finished.on_disk > 0);
        match failure {
            None => Ok(finished),
            Some(reason) => Err(FinishError { reason, finished: Box::new(finished), undelivered }),
        }
    }

    /// Of what was dropped, what isn't among the numbered records: only the oldest were given a seq before.
    fn dropped_without_seqs(&self, dropped: u64) -> u64 {
        if self.options.on_full == OnFull::DropOldest { 0 } else { dropped }
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
            None => {
                stats.records.saturating_sub(done.len() + (stats.dropped - self.dropped_without_seqs(stats.dropped)))
            }
        }
    }

    /// Figures of what is recorded and what is there. Blocks while the directory is read.
    pub(super) fn gauges(&self) -> Gauges {
        let mut gauges = Gauges::default();
        // Legs come and go, and a directory may be slow: whoever begins one doesn't wait for this.
        let recordings = self.recordings().clone();
        for recording in &recordings {
            let stats = recording.recorder.stats();
            gauges.awaiting_replay += self.awaiting_replay(&recording.leg, &stats);
            gauges.received += stats.records + self.dropped_without_seqs(stats.dropped);
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
