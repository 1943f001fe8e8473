//! The writer thread: has frames compressed, checksums, writes, syncs and rotates, and starts over on a new segment when the
//! disk fails.

mod packing;
mod syncing;
mod unsynced;

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use prost::Message;
use uuid::Uuid;

use self::packing::{PackedFrame, Packer};
use self::unsynced::{Unsynced, UnsyncedFrame};
use super::clock::{Clock, SessionClock};
use super::options::RecorderOptions;
use super::queue::{Queue, Task, Ticket, Work, WorkQueue};
use super::stats::Counters;
use crate::format::{
    Abandoned, AddedFlows, ClockStep, FORMAT_VERSION, IngestionConfig, Kind, Mark, MarkMessage, SegmentHeader,
    TimeRange,
};
use crate::segment::{PendingFrame, SegmentError, SegmentWriter};

/// The state of the writer thread.
pub(super) struct Writer {
    pub(super) queue: Arc<Queue>,
    pub(super) counters: Arc<Counters>,
    pub(super) options: RecorderOptions,
    pub(super) dir: PathBuf,
    pub(super) session: Uuid,
    /// The ingestion config with all flows known so far, as HEADER has it.
    config: Vec<u8>,
    run: Option<Vec<u8>>,
    pub(super) run_id: Option<String>,
    flow_names: Vec<String>,
    segment: Option<SegmentWriter>,
    segment_began: Instant,
    next_index: u32,
    packer: Packer,
    /// Bytes of the segments before the open one.
    closed_bytes: u64,
    /// The SCHEMA frame that is being written isn't in `config` yet.
    schema_at_hand: bool,
    /// Frames ready to be written.
    packed: VecDeque<PackedFrame>,
    /// Work that was taken and not yet begun; it comes behind those frames.
    at_hand: WorkQueue,
    unsynced: Unsynced,
    last_ticket: Ticket,
    written_seq: u64,
    clock: SessionClock,
}

impl Writer {
    pub(super) fn new(
        queue: Arc<Queue>,
        options: RecorderOptions,
        dir: PathBuf,
        session: Uuid,
        (config, run): (Vec<u8>, Option<Vec<u8>>),
        clock: Clock,
    ) -> Result<Self, SegmentError> {
        let flow_names = queue.lock().flows.names();
        Ok(Self {
            flow_names,
            counters: Arc::default(),
            packer: Packer::new(options.compression, options.tap.is_some())?,
            queue,
            options,
            dir,
            session,
            config,
            run,
            run_id: None,
            segment: None,
            segment_began: clock.now(),
            next_index: 0,
            closed_bytes: 0,
            schema_at_hand: false,
            packed: VecDeque::new(),
            at_hand: WorkQueue::new(),
            unsynced: Unsynced::default(),
            last_ticket: 0,
            written_seq: 0,
            clock: SessionClock::start(clock),
        })
    }

    /// Creates the next segment, whose first record will have seq `first_seq`.
    pub(super) fn open_segment(&mut self, first_seq: u64) -> Result<(), SegmentError> {
        let header = SegmentHeader {
            format_version: FORMAT_VERSION,
            session_id: self.session.as_bytes().to_vec(),
            segment_index: self.next_index,
            first_seq,
            wall_clock_ns: self.clock.wall_ns(),
            monotonic_ns: self.clock.steady_ns(),
            recorder: self.options.program.clone(),
            recorder_version: self.options.program_version.clone(),
            host: self.options.host.clone(),
            ingestion_config: self.config.clone(),
            run: self.run.clone(),
            run_id: self.run_id.clone(),
        };
        // Taken also if creating fails: a name that was tried isn't tried again.
        self.next_index += 1;
        let segment = SegmentWriter::create(self.options.storage.clone(), &self.dir, self.session, header)?;
        self.counters.segments.fetch_add(1, Ordering::Relaxed);
        self.segment_began = self.clock.now();
        self.segment = Some(segment);
        self.count_bytes();
        Ok(())
    }

    fn count_bytes(&self) {
        let open = self.segment.as_ref().map_or(0, SegmentWriter::len);
        self.counters.bytes_written.store(self.closed_bytes + open, Ordering::Relaxed);
    }

    /// Works until the recorder is finished or the disk has failed twice. Should a bug make it panic, nobody waits for
    /// ever.
    pub(super) fn run_guarded(mut self) {
        let result = catch_unwind(AssertUnwindSafe(|| self.run()));
        let result = result.unwrap_or_else(|_| Err(SegmentError::Abandoned { path: self.dir.clone() }));
        self.over(result);
    }

    /// Nothing more is written.
    pub(super) fn over(&mut self, result: Result<(), SegmentError>) {
        if let Err(error) = result {
            let at_hand = std::mem::take(&mut self.at_hand);
            let mut frames = self.unsynced.take_data();
            frames.extend(self.packed.drain(..).map(|packed| packed.unsynced.frame));
            self.queue.fail(Arc::new(error), frames, at_hand);
        }
        self.queue.end();
    }

    fn run(&mut self) -> Result<(), SegmentError> {
        while !self.perform(self.queue.next_task(self.deadline()))? {}
        Ok(())
    }

    /// Does what there is to do; returns whether that was all, for ever.
    pub(super) fn perform(&mut self, task: Task) -> Result<bool, SegmentError> {
        match task {
            Task::Write(work, wanted) => {
                self.process(work)?;
                self.sync_if(wanted)?;
            }
            Task::Timeout => self.sync_if(false)?,
            Task::Finish(work) => {
                self.process(work)?;
                self.end()?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn process(&mut self, work: WorkQueue) -> Result<(), SegmentError> {
        self.at_hand = work;
        self.watch_clock()?;
        while let Some(ticket) = self.do_next()? {
            self.last_ticket = ticket;
            self.rotate_if_due()?;
            if self.sync_is_due(false) {
                self.sync()?;
            }
        }
        Ok(())
    }

    /// Does what comes next of the work at hand; returns its ticket.
    fn do_next(&mut self) -> Result<Option<Ticket>, SegmentError> {
        if let Some(PackedFrame { ticket, unsynced, began, .. }) = self.packed.pop_front() {
            self.write(unsynced, began)?;
            return Ok(Some(ticket));
        }
        let Some((ticket, work)) = self.at_hand.pop_front() else { return Ok(None) };
        match work {
            Work::Frame(filled) => {
                self.packed = self.packer.pack((ticket, filled), &mut self.at_hand);
                self.queue.recycle(self.packed.iter_mut().filter_map(|packed| packed.spare.take()));
                return self.do_next();
            }
            Work::Schema(added) => self.write_schema(&added)?,
            Work::Mark(mark) => self.write_mark(mark)?,
            Work::Dropped(dropped) => {
                if let Some(first) = dropped.first_seq {
                    self.written_seq = first + dropped.records;
                }
                self.write_mark(Mark::Dropped(dropped))?;
            }
            Work::Rotate => self.seal()?,
        }
        Ok(Some(ticket))
    }

    fn write_message(&mut self, kind: Kind, times: TimeRange, message: &impl Message) -> Result<(), SegmentError> {
        let frame = PendingFrame::message(kind, self.written_seq, times, message)?;
        self.write(UnsyncedFrame::message(frame), None)
    }

    fn write_schema(&mut self, added: &AddedFlows) -> Result<(), SegmentError> {
        // If this begins a segment, HEADER has the flows so far, and SCHEMA the new ones: none stands twice.
        self.schema_at_hand = true;
        let written = self.write_message(Kind::Schema, TimeRange::EMPTY, added);
        self.schema_at_hand = false;
        // In protobuf, concatenation merges: the config now has these flows too.
        let flows = IngestionConfig { flows: added.flows.clone(), ..Default::default() };
        self.config.extend(flows.encode_to_vec());
        self.flow_names.extend(added.flows.iter().map(|flow| flow.name.clone()));
        if let Some(segment) = &mut self.segment {
            segment.set_ingestion_config(self.config.clone());
        }
        written?;
        if let Some(tap) = &self.options.tap {
            tap.flows(added);
        }
        Ok(())
    }

    fn write_mark(&mut self, mark: Mark) -> Result<(), SegmentError> {
        let wall_clock_ns = self.clock.wall_ns();
        let message = MarkMessage { wall_clock_ns, mark: Some(mark) };
        self.write_message(Kind::Mark, TimeRange::at(wall_clock_ns), &message)
    }

    /// Writes a frame; on an error once more, to a new segment.
    fn write(&mut self, unsynced: UnsyncedFrame, began: Option<Instant>) -> Result<(), SegmentError> {
        let first_seq = unsynced.frame.first_seq;
        if unsynced.frame.kind == Kind::Data {
            self.written_seq = unsynced.frame.end_seq();
        }
        self.unsynced.push(unsynced, began.unwrap_or_else(|| self.clock.now()));
        let opened = match self.segment {
            Some(_) => Ok(()),
            None => self.open_segment(first_seq),
        };
        let result = opened.and_then(|()| match (&mut self.segment, self.unsynced.last_mut()) {
            (Some(segment), Some(unsynced)) => unsynced.put(segment, &self.flow_names),
            _ => Ok(()),
        });
        self.count_bytes();
        match result {
            Ok(()) => {
                self.show();
                Ok(())
            }
            Err(error) => self.recover(&error),
        }
    }

    /// Shows the tap the frame that the file system has taken.
    fn show(&mut self) {
        if let (Some(tap), Some(segment)) = (&self.options.tap, &self.segment) {
            let spare = self.unsynced.show(&**tap, segment.index());
            self.queue.recycle(spare);
        }
    }

    /// The open segment can't be written any more: what isn't durable goes into a new one.
    fn recover(&mut self, error: &SegmentError) -> Result<(), SegmentError> {
        self.counters.io_errors.fetch_add(1, Ordering::Relaxed);
        let failed = self.close().map_or(self.next_index.saturating_sub(1), |segment| segment.index());
        let mark = Mark::Abandoned(Abandoned { segment_index: failed, error: error.to_string() });
        let wall_clock_ns = self.clock.wall_ns();
        let message = MarkMessage { wall_clock_ns, mark: Some(mark) };
        let first_seq = self.unsynced.first_seq().unwrap_or(self.written_seq);
        let times = TimeRange::at(wall_clock_ns);
        let mut mark = PendingFrame::message(Kind::Mark, first_seq, times, &message)?;
        // The new HEADER has the flows that were added.
        self.unsynced.forget_schemas(self.schema_at_hand);
        self.open_segment(first_seq)?;
        self.counters.syncs.fetch_add(1, Ordering::Relaxed);
        if let Some(segment) = &mut self.segment {
            segment.write(&mut mark)?;
            for unsynced in self.unsynced.iter_mut() {
                unsynced.put(segment, &self.flow_names)?;
            }
            segment.sync()?;
        }
        self.count_bytes();
        self.show();
        self.confirm();
        Ok(())
    }

    /// Has no segment open any more.
    fn close(&mut self) -> Option<SegmentWriter> {
        let segment = self.segment.take()?;
        self.closed_bytes += segment.len();
        Some(segment)
    }

    /// Marks a jump of the wall clock.
    fn watch_clock(&mut self) -> Result<(), SegmentError> {
        match self.clock.step() {
            Some(step_ns) => self.write_mark(Mark::ClockStep(ClockStep { step_ns })),
            None => Ok(()),
        }
    }
}
