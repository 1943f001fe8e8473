//! What recording threads and the writer thread share: the frame being filled, and what waits to be written.
//!
//! Two locks, always taken in this order: the one of [`Filling`], which a recording thread holds while it encodes, and the one
//! of [`Backlog`], which the writer works on. They meet once a frame, so that neither waits for the other per record.

mod backlog;
mod waiting;
mod writer_side;

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use self::backlog::Backlog;
pub(super) use self::backlog::{Ticket, Work, WorkQueue};
pub(super) use self::writer_side::Task;
use super::clock::Clock;
use super::error::RecordError;
use super::flow_table::FlowTable;
use super::frame_builder::{FrameBuilder, buffer_bytes};
use super::lost;
use super::options::{OnFull, RecorderOptions};
use super::sync::{AtomicBool, AtomicU64, Condvar, Mutex, MutexGuard, OnceLock};
use crate::format::Dropped;
use crate::segment::SegmentError;

/// What a call does when there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// What [`OnFull`] says.
    AsOnFull,
    /// The same, but never waits.
    NoWaiting,
    /// Leaves everything as it is, whatever [`OnFull`] says.
    None,
}

/// What recording threads work on.
#[derive(Debug)]
pub(super) struct Filling {
    pub(super) flows: FlowTable,
    pub(super) frame: FrameBuilder,
    pub(super) next_seq: u64,
    /// The ticket of whatever is handed over next.
    next_ticket: Ticket,
    /// Records dropped and not yet named in a MARK.
    pending_drops: u64,
    pub(super) dropped: u64,
    /// Of the records in frames that were handed over.
    handed_over_bytes: u64,
    pub(super) non_finite: u64,
    /// The writer is to be told when a frame is begun: it has no deadline for it. Only while the frame is empty.
    announce: bool,
}

#[derive(Debug)]
pub(super) struct Queue {
    filling: Mutex<Filling>,
    backlog: Mutex<Backlog>,
    /// The writer waits here for work.
    work: Condvar,
    /// Recording threads wait here for a buffer.
    space: Condvar,
    /// Threads wait here for something to be durable.
    durable: Condvar,
    durable_seq: AtomicU64,
    /// As the backlog has it, for who fills a frame.
    records_waiting: AtomicU64,
    /// Nothing more is recorded. Set with `filling` locked; the writer goes by what the backlog says of it.
    finishing: AtomicBool,
    /// Why nothing can be recorded any more. Set with both locked, and what then is lost collected.
    failure: OnceLock<Arc<SegmentError>>,
    frame_bytes: usize,
    max_waiting: usize,
    /// Frames for which a writer that lingers is woken.
    wake_at: usize,
    /// Records that may wait for the writer.
    max_records: u64,
    /// Buffers kept to be used again: as many as ever are in use at a time, so that steady recording allocates none.
    max_spare: usize,
    on_full: OnFull,
    flush_interval: Duration,
    clock: Clock,
}

/// Pieces of work that aren't frames and may wait for the writer. Programs make few; a disk that hangs mustn't make
/// them fill the memory. Where interleavings are searched, few are enough to meet the bound.
const MAX_OTHER_WORK: usize = if cfg!(feature = "interleave") { 2 } else { 256 };

/// Most frames that wait for a writer that lingers: waking it for each one costs as much as encoding a hundred records.
const MAX_WAKE_AT: usize = 8;

const REASON: &str = "the disk was slower than what was recorded";

impl Queue {
    pub(super) fn new(flows: FlowTable, options: &RecorderOptions, clock: Clock) -> Self {
        let RecorderOptions { frame_bytes, buffers: max_waiting, unsynced_bytes, on_full, .. } = *options;
        let mut frame = FrameBuilder::new(frame_bytes, clock.clone());
        frame.set_flow_count(flows.len());
        let filling = Filling {
            flows,
            frame,
            next_seq: 0,
            next_ticket: 1,
            pending_drops: 0,
            dropped: 0,
            handed_over_bytes: 0,
            non_finite: 0,
            announce: false,
        };
        // Who watches frames, or counts the records that wait, wants them at once.
        let at_once = options.tap.is_some() || options.waiting_records != u64::MAX;
        Self {
            filling: Mutex::new(filling),
            backlog: Mutex::new(Backlog::new()),
            work: Condvar::new(),
            space: Condvar::new(),
            durable: Condvar::new(),
            durable_seq: AtomicU64::new(0),
            records_waiting: AtomicU64::new(0),
            finishing: AtomicBool::new(false),
            failure: OnceLock::new(),
            frame_bytes,
            max_waiting,
            wake_at: if at_once { 1 } else { (max_waiting / 4).clamp(1, MAX_WAKE_AT) },
            max_records: options.waiting_records,
            max_spare: max_waiting.saturating_mul(2).saturating_add(unsynced_bytes / buffer_bytes(frame_bytes)),
            on_full,
            flush_interval: options.flush_after(),
            clock,
        }
    }

    #[inline]
    pub(super) fn lock(&self) -> MutexGuard<'_, Filling> {
        // No code that holds the lock panics; were it to, the state would still be whole.
        self.filling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn backlog(&self) -> MutexGuard<'_, Backlog> {
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn durable_seq(&self) -> u64 {
        self.durable_seq.load(Ordering::Acquire)
    }

    /// Why nothing can be recorded any more.
    pub(super) fn failure(&self) -> Option<&Arc<SegmentError>> {
        self.failure.get()
    }

    /// Whether recording is possible at all.
    #[inline]
    pub(super) fn check(&self) -> Result<(), RecordError> {
        if self.failure.get().is_none() && !self.finishing.load(Ordering::Acquire) {
            return Ok(());
        }
        Err(self.failed().unwrap_or(RecordError::Finished))
    }

    fn failed(&self) -> Option<RecordError> {
        let source = self.failure()?.clone();
        Some(RecordError::Failed { source, not_durable_from: self.durable_seq() })
    }

    /// Records that wait for the writer.
    #[inline]
    pub(super) fn waiting(&self, filling: &Filling) -> u64 {
        self.records_waiting.load(Ordering::Relaxed) + u64::from(filling.frame.count())
    }

    /// Whether one more record may go into the frame, once the frame so far is handed over if that helps.
    fn make_room(&self, filling: &mut Filling, backlog: &mut Backlog) -> bool {
        if self.is_full(filling) && backlog.frames() < self.max_waiting && !filling.frame.is_empty() {
            self.hand_over_frame(filling, backlog);
        }
        !self.is_full(filling)
    }

    /// Whether no more may go into the frame.
    #[inline]
    pub(super) fn is_full(&self, filling: &Filling) -> bool {
        filling.frame.len() >= self.frame_bytes || self.waiting(filling) >= self.max_records
    }

    /// The frame with room for a record; `None` if the record is to be dropped.
    #[inline]
    pub(super) fn admit(&self, patience: Patience) -> Result<Option<MutexGuard<'_, Filling>>, RecordError> {
        let filling = self.lock();
        self.check()?;
        if self.is_full(&filling) { self.admit_when_full(filling, patience) } else { Ok(Some(filling)) }
    }

    #[cold]
    fn admit_when_full<'a>(
        &'a self,
        mut filling: MutexGuard<'a, Filling>,
        patience: Patience,
    ) -> Result<Option<MutexGuard<'a, Filling>>, RecordError> {
        loop {
            self.check()?;
            let mut backlog = self.backlog();
            if self.make_room(&mut filling, &mut backlog) {
                drop(backlog);
                return Ok(Some(filling));
            }
            match (self.on_full, patience) {
                (_, Patience::None) | (OnFull::Block, Patience::NoWaiting) => return Err(RecordError::Full),
                (OnFull::Block, _) => {
                    drop(filling);
                    drop(self.space.wait(backlog).unwrap_or_else(PoisonError::into_inner));
                    filling = self.lock();
                }
                (OnFull::DropNewest, _) => {
                    filling.dropped += 1;
                    filling.pending_drops += 1;
                    return Ok(None);
                }
                (OnFull::DropOldest, _) => self.drop_oldest(&mut filling, &mut backlog),
            }
        }
    }

    fn drop_oldest(&self, filling: &mut Filling, backlog: &mut Backlog) {
        filling.dropped += backlog.drop_oldest(REASON);
        self.records_waiting.store(backlog.records(), Ordering::Relaxed);
    }

    /// Notes that a record was put into the frame; returns its seq and the ticket that it will have.
    #[inline(always)]
    pub(super) fn recorded(&self, filling: &mut Filling) -> (u64, Ticket) {
        let seq = filling.next_seq;
        filling.next_seq += 1;
        let ticket = filling.next_ticket;
        if filling.announce {
            self.announce(filling);
        }
        if self.is_full(filling) {
            let mut backlog = self.backlog();
            if backlog.frames() < self.max_waiting {
                self.hand_over_frame(filling, &mut backlog);
            }
        }
        (seq, ticket)
    }

    /// Tells the writer that there is a deadline now.
    #[cold]
    fn announce(&self, filling: &mut Filling) {
        filling.announce = false;
        // An interval that no clock can hold means never.
        self.backlog().look_at = filling.frame.began().and_then(|began| began.checked_add(self.flush_interval));
        self.work.notify_one();
    }

    fn hand_over_frame(&self, filling: &mut Filling, backlog: &mut Backlog) {
        let buffer = backlog.buffers.pop().unwrap_or_default();
        let filled = filling.frame.take(buffer, self.frame_bytes);
        filling.non_finite += filled.non_finite;
        filling.handed_over_bytes += filled.record_bytes();
        // The next frame begins later than this one did.
        let due = filled.began.and_then(|began| began.checked_add(self.flush_interval));
        backlog.look_at = backlog.look_at.max(due);
        self.push(filling, backlog, Work::Frame(filled));
        self.push_drops(filling, backlog);
    }

    /// A MARK for the records dropped since the last one.
    fn push_drops(&self, filling: &mut Filling, backlog: &mut Backlog) {
        let records = std::mem::take(&mut filling.pending_drops);
        if records > 0 {
            let dropped = Dropped { records, reason: REASON.to_owned(), first_seq: None };
            self.push(filling, backlog, Work::Dropped(dropped));
        }
    }

    fn push(&self, filling: &mut Filling, backlog: &mut Backlog, work: Work) {
        let at_once = !backlog.lingering || !matches!(work, Work::Frame(_));
        backlog.push(filling.next_ticket, work);
        filling.next_ticket += 1;
        self.records_waiting.store(backlog.records(), Ordering::Relaxed);
        if at_once || backlog.frames() >= self.wake_at {
            self.work.notify_one();
        }
    }

    /// The state with room for the frame so far and one more piece of work. Waits for it under [`OnFull::Block`]; if
    /// `patient`, whatever the policy.
    pub(super) fn room(&self, patient: bool) -> Result<MutexGuard<'_, Filling>, RecordError> {
        loop {
            let mut filling = self.lock();
            self.check()?;
            let mut backlog = self.backlog();
            let others_fit = backlog.others() < MAX_OTHER_WORK;
            if others_fit && (filling.frame.is_empty() || backlog.frames() < self.max_waiting) {
                drop(backlog);
                return Ok(filling);
            }
            match self.on_full {
                OnFull::DropOldest if others_fit && !patient => self.drop_oldest(&mut filling, &mut backlog),
                OnFull::DropNewest | OnFull::DropOldest if !patient => return Err(RecordError::Full),
                _ => {
                    drop(filling);
                    drop(self.space.wait(backlog).unwrap_or_else(PoisonError::into_inner));
                }
            }
        }
    }

    /// Hands over the frame so far, and then `work`, if any. Returns the ticket of the last piece.
    pub(super) fn submit(&self, filling: &mut Filling, work: Option<Work>) -> Ticket {
        let mut backlog = self.backlog();
        if !filling.frame.is_empty() {
            self.hand_over_frame(filling, &mut backlog);
        }
        if let Some(work) = work {
            self.push(filling, &mut backlog, work);
        }
        filling.next_ticket - 1
    }

    /// Returns when everything up to `ticket` is durable.
    pub(super) fn wait_durable(&self, ticket: Ticket) -> Result<(), RecordError> {
        let mut backlog = self.backlog();
        while backlog.durable_tickets <= ticket {
            if let Some(failed) = self.failed() {
                return Err(failed);
            }
            if backlog.ended {
                return Err(RecordError::Finished);
            }
            self.want(&mut backlog, ticket);
            backlog = self.durable.wait(backlog).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }

    /// Asks the writer to make everything up to `ticket` durable.
    fn want(&self, backlog: &mut Backlog, ticket: Ticket) {
        if backlog.wanted < ticket {
            backlog.wanted = ticket;
            self.work.notify_one();
        }
    }

    /// What was accepted and will never be durable; from now on it is the caller's.
    pub(super) fn take_lost(&self) -> Vec<(u64, Vec<u8>)> {
        let lost = std::mem::take(&mut self.backlog().lost);
        lost::requests(lost)
    }

    /// Wakes who waits for room.
    fn wake_for_room(&self, mut backlog: MutexGuard<'_, Backlog>) {
        let wakers = backlog.room_wakers.take();
        drop(backlog);
        self.space.notify_all();
        wakers.wake();
    }

    /// The session ends: the writer is to write what remains, and nobody can record any more.
    pub(super) fn finish(&self) {
        let filling = self.lock();
        self.finishing.store(true, Ordering::Release);
        let mut backlog = self.backlog();
        backlog.finishing = true;
        drop(filling);
        self.work.notify_all();
        self.wake_for_room(backlog);
    }
}

impl Filling {
    /// Bytes of all records that were given a seq.
    pub(super) fn recorded_bytes(&self) -> u64 {
        self.handed_over_bytes + self.frame.record_bytes()
    }
}
