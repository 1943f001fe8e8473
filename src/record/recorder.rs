//! The recorder's handle.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use prost::Message;
use uuid::Uuid;

use super::clock::Clock;
use super::error::{RecordError, SchemaError};
use super::flow::Flow;
use super::flow_table::{FlowTable, check_added};
use super::options::{RecorderOptions, SyncPolicy};
use super::queue::{Filling, Patience, Queue, Work};
use super::schema::{FlowSchema, Schema, check_flow};
use super::stats::{Counters, RecorderStats};
use super::sync::{JoinHandle, Mutex, ThreadBuilder};
use super::value::{Timestamp, Value};
use super::writer::Writer;
use crate::format::{AddedFlows, FlowConfig, Mark, MarkMessage, RECORD_PREFIX_BYTES};
use crate::segment::{SegmentError, session_dir};

/// Most bytes of a mark: a note is for people.
const MAX_MARK_BYTES: usize = 64 << 10;

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a record may have been dropped"]
pub enum Recorded {
    /// It has this seq. It is durable once [`durable_seq`](Recorder::durable_seq) exceeds the seq: with
    /// [`SyncPolicy::EveryRecord`] that is at once, unless it was [offered](Recorder::offer).
    Seq(u64),
    /// There was no room, and the policy is [`OnFull::DropNewest`](super::OnFull::DropNewest). It is counted in a MARK.
    Dropped,
}

/// Records telemetry to segment files: one session, from [`create`](Self::create) to [`finish`](Self::finish). Never needs
/// a network. May be shared between threads.
///
/// Dropping it without [`finish`](Self::finish) finishes it too, and hides what goes wrong in that.
pub struct Recorder {
    pub(super) queue: Arc<Queue>,
    counters: Arc<Counters>,
    session: Uuid,
    dir: PathBuf,
    pub(super) every_record: bool,
    /// Whoever waits for a record to be durable must ask for it.
    asks: bool,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Recorder {
    /// Begins a session under `root`, in a directory named after the schema's asset and run. The first segment exists
    /// when this returns. Files of earlier sessions are left alone.
    ///
    /// # Errors
    /// [`RecordError::Schema`] for what Sift would refuse, [`RecordError::Options`], [`RecordError::Segment`].
    pub fn create(root: impl AsRef<Path>, schema: &Schema, options: RecorderOptions) -> Result<Self, RecordError> {
        let (recorder, writer) = Self::prepare(root.as_ref(), schema, options, Uuid::now_v7(), Clock::System)?;
        recorder.start(writer)?;
        Ok(recorder)
    }

    /// Lets the writer run, on a thread of its own.
    pub(super) fn start(&self, writer: Writer) -> Result<(), SegmentError> {
        let named = ThreadBuilder::new().name("sift-recorder".to_owned());
        let thread = named.spawn(move || writer.run_guarded()).map_err(|source| SegmentError::Io {
            action: "start the writer thread for",
            path: self.dir.clone(),
            source,
        })?;
        *self.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(())
    }

    /// The recorder and its writer, with the first segment there, and no thread yet.
    pub(super) fn prepare(
        root: &Path,
        schema: &Schema,
        options: RecorderOptions,
        session: Uuid,
        clock: Clock,
    ) -> Result<(Self, Writer), RecordError> {
        schema.check()?;
        let requests = schema.requests();
        options.check()?;
        let dir = session_dir(root, schema.asset(), schema.run_name());
        let every_record = options.sync == SyncPolicy::EveryRecord;
        let flows = FlowTable::new(session, schema.flows());
        let queue = Arc::new(Queue::new(flows, &options, clock.clone()));
        let asks = !syncs_by_itself(options.sync);
        let mut writer = Writer::new(queue.clone(), options, dir.clone(), session, requests, clock)?;
        writer.run_id = schema.known_run_id().map(str::to_owned);
        writer.open_segment(0)?;
        let counters = writer.counters.clone();
        Ok((Self { queue, counters, session, dir, every_record, asks, thread: Mutex::default() }, writer))
    }

    /// The session's id.
    pub fn session(&self) -> Uuid {
        self.session
    }

    /// The directory of its segments.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The flow of this name.
    ///
    /// # Errors
    /// [`RecordError::UnknownFlow`].
    pub fn flow(&self, name: &str) -> Result<Flow, RecordError> {
        self.queue.lock().flows.get(name).cloned()
    }

    /// Records one value for each of the flow's channels. Waits for a buffer if the disk is behind and the policy
    /// says so; with [`SyncPolicy::EveryRecord`] returns when the record is durable, otherwise at once.
    ///
    /// # Errors
    /// [`RecordError::ValueCount`], [`RecordError::ValueType`], [`RecordError::ForeignFlow`],
    /// [`RecordError::TooLarge`]: nothing of the record was written. [`RecordError::Failed`],
    /// [`RecordError::Finished`].
    #[inline]
    pub fn record(&self, flow: &Flow, time: Timestamp, values: &[Value<'_>]) -> Result<Recorded, RecordError> {
        flow.belongs_to(self.session)?;
        self.put(Patience::AsOnFull, self.every_record, |filling| flow.put(&mut filling.frame, time, values))
    }

    /// Like [`record`](Self::record), but never waits for a buffer (with [`SyncPolicy::EveryRecord`] it waits for the
    /// sync all the same).
    ///
    /// # Errors
    /// As [`record`](Self::record), and [`RecordError::Full`]: then the record is the caller's still.
    #[inline]
    pub fn try_record(&self, flow: &Flow, time: Timestamp, values: &[Value<'_>]) -> Result<Recorded, RecordError> {
        flow.belongs_to(self.session)?;
        self.put(Patience::None, self.every_record, |filling| flow.put(&mut filling.frame, time, values))
    }

    /// Records values given by their channels' names; the flow's other channels are empty in this record. Slower than
    /// [`record`](Self::record).
    ///
    /// # Errors
    /// As [`record`](Self::record), and [`RecordError::UnknownFlow`], [`RecordError::UnknownChannel`],
    /// [`RecordError::RepeatedChannel`].
    pub fn record_named(
        &self,
        flow: &str,
        time: Timestamp,
        values: &[(&str, Value<'_>)],
    ) -> Result<Recorded, RecordError> {
        let flow = self.flow(flow)?;
        let mut arranged = Vec::new();
        flow.arrange(values.iter().copied(), &mut arranged)?;
        self.record(&flow, time, &arranged)
    }

    /// Records a ready-made `IngestWithConfigDataStreamRequest`, encoded. It is checked against the schema and stored as it
    /// is, bit for bit.
    ///
    /// # Errors
    /// As [`record`](Self::record), and [`RecordError::UnknownFlow`], [`RecordError::Request`],
    /// [`RecordError::NoTimestamp`].
    pub fn record_request(&self, request: &[u8]) -> Result<Recorded, RecordError> {
        self.put(Patience::AsOnFull, self.every_record, |filling| put_request(filling, request))
    }

    /// Whether [`record_request`](Self::record_request) would take this request; nothing is recorded.
    ///
    /// # Errors
    /// As there.
    pub fn check_request(&self, request: &[u8]) -> Result<(), RecordError> {
        self.queue.lock().flows.check_request(request).map(drop)
    }

    /// Records a ready-made `IngestWithConfigDataStreamRequest` message.
    ///
    /// # Errors
    /// As [`record_request`](Self::record_request).
    pub fn record_message(&self, request: &impl Message) -> Result<Recorded, RecordError> {
        self.record_request(&request.encode_to_vec())
    }

    /// Like [`record`](Self::record), but never waits for anything: neither for room, nor, with
    /// [`SyncPolicy::EveryRecord`], for the sync. For tasks that mustn't block a thread: they wait with
    /// [`poll_room`](Self::poll_room) and [`poll_durable`](Self::poll_durable).
    ///
    /// # Errors
    /// As [`record`](Self::record), and [`RecordError::Full`] under [`OnFull::Block`](super::OnFull::Block): then the
    /// record is the caller's still.
    #[inline]
    pub fn offer(&self, flow: &Flow, time: Timestamp, values: &[Value<'_>]) -> Result<Recorded, RecordError> {
        flow.belongs_to(self.session)?;
        self.put(Patience::NoWaiting, false, |filling| flow.put(&mut filling.frame, time, values))
    }

    /// Like [`record_request`](Self::record_request), but never waits, as [`offer`](Self::offer) has it.
    ///
    /// # Errors
    /// As [`record_request`](Self::record_request), and [`RecordError::Full`] as [`offer`](Self::offer).
    pub fn offer_request(&self, request: &[u8]) -> Result<Recorded, RecordError> {
        self.put(Patience::NoWaiting, false, |filling| put_request(filling, request))
    }

    /// Ready when [`offer`](Self::offer) may find room, or would fail for another reason than [`RecordError::Full`].
    /// Otherwise the task is woken when there may be; others may take it first, so that it offers and polls in turn.
    /// A wait may be given up at any time.
    pub fn poll_room(&self, context: &mut Context<'_>) -> Poll<()> {
        self.queue.poll_room(context)
    }

    /// Ready when the record of this seq is durable, or never will be. The first call asks the writer for a sync, which all
    /// who wait share; under [`SyncPolicy::Interval`] the interval's own sync is waited for. Records that
    /// [`OnFull::DropOldest`](super::OnFull::DropOldest) dropped count as durable, as in
    /// [`durable_seq`](Self::durable_seq). A wait may be given up at any time.
    ///
    /// `seq` is one that a call has returned. For one that isn't given yet, nothing is asked for.
    ///
    /// # Errors
    /// [`RecordError::Failed`]; [`RecordError::Finished`] if there is no such record.
    pub fn poll_durable(&self, seq: u64, context: &mut Context<'_>) -> Poll<Result<(), RecordError>> {
        self.queue.poll_durable(seq, self.asks, context)
    }

    #[inline]
    fn put(
        &self,
        patience: Patience,
        wait_durable: bool,
        encode: impl FnOnce(&mut Filling) -> Result<(), RecordError>,
    ) -> Result<Recorded, RecordError> {
        let Some(mut filling) = self.queue.admit(patience)? else { return Ok(Recorded::Dropped) };
        encode(&mut filling)?;
        let (seq, ticket) = self.queue.recorded(&mut filling);
        drop(filling);
        if wait_durable {
            self.queue.wait_durable(ticket)?;
        }
        Ok(Recorded::Seq(seq))
    }

    /// Adds a flow while recording, and returns it. Adding the same flow again returns the one that is there.
    ///
    /// # Errors
    /// [`RecordError::Schema`], also if a flow of that name has other channels. [`RecordError::Full`],
    /// [`RecordError::Failed`], [`RecordError::Finished`] as for [`mark`](Self::mark).
    pub fn add_flow(&self, flow: FlowSchema) -> Result<Flow, RecordError> {
        check_added(&flow)?;
        let mut filling = self.queue.room(false)?;
        if let Some(known) = filling.flows.known(&flow)? {
            return Ok(known);
        }
        let added = filling.flows.add(&flow.0);
        self.submit_flows(&mut filling, vec![flow.0]);
        Ok(added)
    }

    /// Adds flows while recording, from a ready-made `CreateIngestionConfigFlowsRequest`, encoded. As Sift does, this
    /// takes several flows of one name, told apart by their channels; those that are there already are passed over.
    ///
    /// # Errors
    /// As [`add_flow`](Self::add_flow).
    pub fn add_flows_request(&self, request: &[u8]) -> Result<(), RecordError> {
        let request = AddedFlows::decode(request).map_err(|error| SchemaError::Request(error.to_string()))?;
        request.flows.iter().try_for_each(check_flow)?;
        let mut filling = self.queue.room(false)?;
        let flows: Vec<_> = request.flows.into_iter().filter(|flow| !filling.flows.has(flow)).collect();
        if !flows.is_empty() {
            filling.flows.check_room(&flows)?;
            flows.iter().for_each(|flow| {
                filling.flows.add(flow);
            });
            self.submit_flows(&mut filling, flows);
        }
        Ok(())
    }

    fn submit_flows(&self, filling: &mut Filling, flows: Vec<FlowConfig>) {
        self.queue.submit(filling, Some(Work::Schema(AddedFlows { flows })));
        filling.frame.set_flow_count(filling.flows.len());
    }

    /// Records a fact in time, between the records before it and those behind it. When the disk is behind, this waits
    /// under [`OnFull::Block`](super::OnFull::Block); under the other policies it never does.
    ///
    /// # Errors
    /// [`RecordError::MarkTooLarge`]. [`RecordError::Full`] if the disk is behind and may not be waited for.
    /// [`RecordError::Failed`], [`RecordError::Finished`].
    pub fn mark(&self, mark: Mark) -> Result<(), RecordError> {
        let message = MarkMessage { wall_clock_ns: 0, mark: Some(mark) };
        let bytes = message.encoded_len();
        if bytes > MAX_MARK_BYTES {
            return Err(RecordError::MarkTooLarge { bytes, most: MAX_MARK_BYTES });
        }
        if let Some(mark) = message.mark {
            self.queue.submit(&mut *self.queue.room(false)?, Some(Work::Mark(mark)));
        }
        Ok(())
    }

    /// Records a note, such as an operator's.
    ///
    /// # Errors
    /// As [`mark`](Self::mark).
    pub fn note(&self, text: impl Into<String>) -> Result<(), RecordError> {
        self.mark(Mark::Note(text.into()))
    }

    /// Seals the segment and begins the next one with the next record.
    ///
    /// # Errors
    /// As [`mark`](Self::mark).
    pub fn rotate(&self) -> Result<(), RecordError> {
        self.queue.submit(&mut *self.queue.room(false)?, Some(Work::Rotate));
        Ok(())
    }

    /// Returns when all that was recorded before is on stable storage.
    ///
    /// # Errors
    /// [`RecordError::Failed`], [`RecordError::Finished`].
    pub fn flush(&self) -> Result<(), RecordError> {
        let ticket = self.queue.submit(&mut *self.queue.room(true)?, None);
        self.queue.wait_durable(ticket)
    }

    /// All records with a lesser seq are on stable storage (those that [`OnFull::DropOldest`](super::OnFull::DropOldest)
    /// dropped apart, whose seqs a MARK names).
    pub fn durable_seq(&self) -> u64 {
        self.queue.durable_seq()
    }

    /// When recording has failed for good ([`RecordError::Failed`]): what was accepted and isn't durable, as seqs and
    /// requests, in order. Each is handed over once; until then they stay in memory. Some of them may be on the disk all
    /// the same. A record is among them also if its own call waited for the sync and returned the error. Those that
    /// [`OnFull::DropOldest`](super::OnFull::DropOldest) dropped aren't. Empty as long as nothing has failed.
    pub fn take_lost(&self) -> Vec<(u64, Vec<u8>)> {
        self.queue.take_lost()
    }

    /// Figures so far.
    pub fn stats(&self) -> RecorderStats {
        let filling = self.queue.lock();
        RecorderStats {
            records: filling.next_seq,
            durable_seq: self.queue.durable_seq(),
            dropped: filling.dropped,
            recorded_bytes: filling.recorded_bytes(),
            waiting: self.queue.waiting(&filling),
            non_finite: filling.non_finite + filling.frame.non_finite(),
            bytes_written: self.counters.bytes_written.load(Ordering::Relaxed),
            segments: self.counters.segments.load(Ordering::Relaxed),
            syncs: self.counters.syncs.load(Ordering::Relaxed),
            io_errors: self.counters.io_errors.load(Ordering::Relaxed),
        }
    }

    /// Why nothing can be recorded any more; `None` while it can.
    pub fn failure(&self) -> Option<RecordError> {
        self.queue.check().err()
    }

    /// Writes what remains, seals the segment, and ends the session. Returns the final figures.
    ///
    /// # Errors
    /// [`RecordError::Failed`]; [`RecordError::Finished`] if it was called before.
    pub fn finish(&self) -> Result<RecorderStats, RecordError> {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(thread) = thread.take() else { return Err(RecordError::Finished) };
        self.queue.finish();
        // A panic of the writer would be a bug; if it left records behind, that is an error below.
        let _ = thread.join();
        self.outcome()
    }

    /// How the session ended.
    pub(super) fn outcome(&self) -> Result<RecorderStats, RecordError> {
        match self.queue.failure().cloned() {
            Some(source) => Err(RecordError::Failed { source, not_durable_from: self.durable_seq() }),
            None => {
                let stats = self.stats();
                if stats.durable_seq >= stats.records {
                    return Ok(stats);
                }
                // It would be a bug. Whoever was told that all is durable would delete what isn't.
                let source = Arc::new(SegmentError::Abandoned { path: self.dir.clone() });
                Err(RecordError::Failed { source, not_durable_from: stats.durable_seq })
            }
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        // What goes wrong here has nobody to be told to; `finish` is for that.
        let _ = self.finish();
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("session", &self.session).field("dir", &self.dir).finish_non_exhaustive()
    }
}

fn put_request(filling: &mut Filling, request: &[u8]) -> Result<(), RecordError> {
    let checked = filling.flows.check_request(request)?;
    let record = filling.frame.begin(|out| {
        out.extend_from_slice(&[0; RECORD_PREFIX_BYTES]);
        out.extend_from_slice(request);
    });
    record.commit(checked.flow, Some(checked.time), checked.bare, checked.non_finite);
    Ok(())
}

/// Whether the policy itself sees to it that each record becomes durable in a while.
fn syncs_by_itself(sync: SyncPolicy) -> bool {
    // An interval that no clock can hold means never.
    matches!(sync, SyncPolicy::Interval(interval) if Instant::now().checked_add(interval).is_some())
}
