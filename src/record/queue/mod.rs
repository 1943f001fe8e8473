//! What recording threads and the writer thread share: the frame being filled, and what waits to be written.

mod waiting;
mod writer_side;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use self::waiting::Wakers;
pub(super) use self::writer_side::Task;
use super::clock::Clock;
use super::error::RecordError;
use super::flow_table::FlowTable;
use super::frame_builder::{FilledFrame, FrameBuilder, buffer_bytes};
use super::lost;
use super::options::{OnFull, RecorderOptions};
use crate::format::{AddedFlows, Dropped, Mark};
use crate::segment::{PendingFrame, SegmentError};

/// One piece of work for the writer.
#[derive(Debug)]
pub(super) enum Work {
    Frame(FilledFrame),
    Schema(AddedFlows),
    Mark(Mark),
    /// A MARK of the recorder's own: unlike one that somebody else makes, it accounts for seqs.
    Dropped(Dropped),
    Rotate,
}

/// Work in order, each piece with its ticket.
pub(super) type WorkQueue = VecDeque<(Ticket, Work)>;

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

/// Numbers pieces of work, so that somebody can wait for one to be durable. Several may share a number.
pub(super) type Ticket = u64;

#[derive(Debug)]
pub(super) struct State {
    pub(super) flows: FlowTable,
    pub(super) frame: FrameBuilder,
    pub(super) next_seq: u64,
    work: WorkQueue,
    frames_waiting: usize,
    /// Records in those frames.
    records_waiting: u64,
    /// The ticket of whatever is handed over next.
    next_ticket: Ticket,
    /// Somebody waits until this ticket is durable.
    wanted: Ticket,
    /// All tickets before this one are durable.
    durable_tickets: Ticket,
    /// Buffers to use again.
    buffers: Vec<Vec<u8>>,
    /// Records dropped and not yet named in a MARK.
    pending_drops: u64,
    pub(super) dropped: u64,
    /// Of the records in frames that were handed over.
    handed_over_bytes: u64,
    pub(super) non_finite: u64,
    pub(super) finishing: bool,
    /// The writer has ended: nothing more becomes durable.
    ended: bool,
    pub(super) failure: Option<Arc<SegmentError>>,
    /// What was accepted and will never be durable, in order.
    lost: Vec<PendingFrame>,
    /// Tasks that wait for room.
    room_wakers: Wakers,
    /// Tasks that wait for something to be durable.
    durable_wakers: Wakers,
    /// The writer sleeps with nothing to do, and without a deadline.
    writer_idle: bool,
}

#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// The writer waits here for work.
    work: Condvar,
    /// Recording threads wait here for a buffer.
    space: Condvar,
    /// Threads wait here for something to be durable.
    durable: Condvar,
    durable_seq: AtomicU64,
    frame_bytes: usize,
    max_waiting: usize,
    /// Records that may wait for the writer.
    max_records: u64,
    /// Buffers kept to be used again: as many as ever are in use at a time, so that steady recording allocates none.
    max_spare: usize,
    on_full: OnFull,
    flush_interval: Duration,
    clock: Clock,
}

/// Pieces of work that aren't frames and may wait for the writer. Programs make few; a disk that hangs mustn't make
/// them fill the memory.
const MAX_OTHER_WORK: usize = 256;

const REASON: &str = "the disk was slower than what was recorded";

impl Queue {
    pub(super) fn new(flows: FlowTable, options: &RecorderOptions, clock: Clock) -> Self {
        let RecorderOptions { frame_bytes, buffers: max_waiting, unsynced_bytes, on_full, .. } = *options;
        let mut frame = FrameBuilder::new(frame_bytes, clock.clone());
        frame.set_flow_count(flows.len());
        let state = State {
            flows,
            frame,
            next_seq: 0,
            work: VecDeque::new(),
            frames_waiting: 0,
            records_waiting: 0,
            next_ticket: 1,
            wanted: 0,
            durable_tickets: 1,
            buffers: Vec::new(),
            pending_drops: 0,
            dropped: 0,
            handed_over_bytes: 0,
            non_finite: 0,
            finishing: false,
            ended: false,
            failure: None,
            lost: Vec::new(),
            room_wakers: Wakers::default(),
            durable_wakers: Wakers::default(),
            writer_idle: false,
        };
        Self {
            state: Mutex::new(state),
            work: Condvar::new(),
            space: Condvar::new(),
            durable: Condvar::new(),
            durable_seq: AtomicU64::new(0),
            frame_bytes,
            max_waiting,
            max_records: options.waiting_records,
            max_spare: max_waiting.saturating_mul(2).saturating_add(unsynced_bytes / buffer_bytes(frame_bytes)),
            on_full,
            flush_interval: options.flush_after(),
            clock,
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // No code that holds the lock panics; were it to, the state would still be whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn durable_seq(&self) -> u64 {
        self.durable_seq.load(Ordering::Acquire)
    }

    /// Whether recording is possible at all.
    pub(super) fn check(&self, state: &State) -> Result<(), RecordError> {
        match self.failed(state) {
            Some(failed) => Err(failed),
            None if state.finishing => Err(RecordError::Finished),
            None => Ok(()),
        }
    }

    fn failed(&self, state: &State) -> Option<RecordError> {
        let source = state.failure.clone()?;
        Some(RecordError::Failed { source, not_durable_from: self.durable_seq() })
    }

    /// Whether one more record may go into the frame, once the frame so far is handed over if that helps.
    fn make_room(&self, state: &mut State) -> bool {
        if !self.is_full(state) {
            return true;
        }
        if state.frames_waiting < self.max_waiting && !state.frame.is_empty() {
            self.hand_over_frame(state);
        }
        !self.is_full(state)
    }

    #[inline]
    fn is_full(&self, state: &State) -> bool {
        state.frame.len() >= self.frame_bytes || state.waiting() >= self.max_records
    }

    /// The state with room for a record in its frame; `None` if the record is to be dropped.
    pub(super) fn admit(&self, patience: Patience) -> Result<Option<MutexGuard<'_, State>>, RecordError> {
        let mut state = self.lock();
        loop {
            self.check(&state)?;
            if self.make_room(&mut state) {
                return Ok(Some(state));
            }
            match (self.on_full, patience) {
                (_, Patience::None) | (OnFull::Block, Patience::NoWaiting) => return Err(RecordError::Full),
                (OnFull::Block, _) => state = self.space.wait(state).unwrap_or_else(PoisonError::into_inner),
                (OnFull::DropNewest, _) => {
                    state.dropped += 1;
                    state.pending_drops += 1;
                    return Ok(None);
                }
                (OnFull::DropOldest, _) => drop_oldest(&mut state),
            }
        }
    }

    /// Notes that a record was put into the frame; returns its seq and the ticket that it will have.
    #[inline]
    pub(super) fn recorded(&self, state: &mut State) -> (u64, Ticket) {
        let seq = state.next_seq;
        state.next_seq += 1;
        let ticket = state.next_ticket;
        if self.is_full(state) && state.frames_waiting < self.max_waiting {
            self.hand_over_frame(state);
        } else if state.frame.count() == 1 && state.writer_idle {
            // The writer must learn that there is a deadline now.
            self.work.notify_one();
        }
        (seq, ticket)
    }

    fn hand_over_frame(&self, state: &mut State) {
        let buffer = state.buffers.pop().unwrap_or_default();
        let filled = state.frame.take(buffer, self.frame_bytes);
        state.non_finite += filled.non_finite;
        state.handed_over_bytes += filled.record_bytes();
        state.frames_waiting += 1;
        state.records_waiting += u64::from(filled.count);
        self.push(state, Work::Frame(filled));
        self.push_drops(state);
    }

    /// A MARK for the records dropped since the last one.
    fn push_drops(&self, state: &mut State) {
        let records = std::mem::take(&mut state.pending_drops);
        if records > 0 {
            self.push(state, Work::Dropped(Dropped { records, reason: REASON.to_owned(), first_seq: None }));
        }
    }

    fn push(&self, state: &mut State, work: Work) {
        state.work.push_back((state.next_ticket, work));
        state.next_ticket += 1;
        self.work.notify_one();
    }

    /// The state with room for the frame so far and one more piece of work. Waits for it under [`OnFull::Block`]; if
    /// `patient`, whatever the policy.
    pub(super) fn room(&self, patient: bool) -> Result<MutexGuard<'_, State>, RecordError> {
        let mut state = self.lock();
        loop {
            self.check(&state)?;
            let others = state.work.len().saturating_sub(state.frames_waiting);
            if others < MAX_OTHER_WORK && (state.frame.is_empty() || state.frames_waiting < self.max_waiting) {
                return Ok(state);
            }
            match self.on_full {
                OnFull::DropOldest if others < MAX_OTHER_WORK && !patient => drop_oldest(&mut state),
                OnFull::DropNewest | OnFull::DropOldest if !patient => return Err(RecordError::Full),
                _ => state = self.space.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// Hands over the frame so far, and then `work`, if any. Returns the ticket of the last piece.
    pub(super) fn submit(&self, state: &mut State, work: Option<Work>) -> Ticket {
        if !state.frame.is_empty() {
            self.hand_over_frame(state);
        }
        if let Some(work) = work {
            self.push(state, work);
        }
        state.next_ticket - 1
    }

    /// Returns when everything up to `ticket` is durable.
    pub(super) fn wait_durable(&self, mut state: MutexGuard<'_, State>, ticket: Ticket) -> Result<(), RecordError> {
        while state.durable_tickets <= ticket {
            if let Some(failed) = self.failed(&state) {
                return Err(failed);
            }
            if state.ended {
                return Err(RecordError::Finished);
            }
            self.want(&mut state, ticket);
            state = self.durable.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }

    /// Asks the writer to make everything up to `ticket` durable.
    fn want(&self, state: &mut State, ticket: Ticket) {
        if state.wanted < ticket {
            state.wanted = ticket;
            self.work.notify_one();
        }
    }

    /// What was accepted and will never be durable; from now on it is the caller's.
    pub(super) fn take_lost(&self) -> Vec<(u64, Vec<u8>)> {
        let lost = std::mem::take(&mut self.lock().lost);
        lost::requests(lost)
    }

    /// Wakes who waits for room.
    fn wake_for_room(&self, mut state: MutexGuard<'_, State>) {
        let wakers = state.room_wakers.take();
        drop(state);
        self.space.notify_all();
        wakers.wake();
    }

    /// The session ends: the writer is to write what remains, and nobody can record any more.
    pub(super) fn finish(&self) {
        let mut state = self.lock();
        state.finishing = true;
        self.work.notify_all();
        self.wake_for_room(state);
    }
}

impl State {
    /// Records that wait for the writer.
    #[inline]
    pub(super) fn waiting(&self) -> u64 {
        self.records_waiting + u64::from(self.frame.count())
    }

    /// Bytes of all records that were given a seq.
    pub(super) fn recorded_bytes(&self) -> u64 {
        self.handed_over_bytes + self.frame.record_bytes()
    }

    fn take_work(&mut self) -> WorkQueue {
        self.frames_waiting = 0;
        self.records_waiting = 0;
        std::mem::take(&mut self.work)
    }
}

impl Work {
    /// The seqs that it accounts for: the first one, and the one behind the last.
    fn seqs(&self) -> Option<(u64, u64)> {
        match self {
            Self::Frame(frame) => Some((frame.first_seq, frame.first_seq + u64::from(frame.count))),
            Self::Dropped(dropped) => dropped.first_seq.map(|first| (first, first + dropped.records)),
            Self::Schema(_) | Self::Mark(_) | Self::Rotate => None,
        }
    }
}

/// Drops the frame that has waited longest; the MARK that names its seqs takes its place, and grows with the next
/// one dropped.
fn drop_oldest(state: &mut State) {
    let Some(at) = state.work.iter().position(|(_, work)| matches!(work, Work::Frame(_))) else { return };
    let Some((ticket, Work::Frame(frame))) = state.work.remove(at) else { return };
    state.frames_waiting -= 1;
    let records = u64::from(frame.count);
    state.records_waiting -= records;
    state.dropped += records;
    if state.buffers.is_empty() {
        state.buffers.push(frame.buffer);
    }
    let before = at.checked_sub(1).and_then(|before| state.work.get_mut(before));
    if let Some((at, Work::Dropped(dropped))) = before
        && dropped.first_seq.is_some_and(|first| first + dropped.records == frame.first_seq)
    {
        dropped.records += records;
        *at = ticket;
        return;
    }
    let dropped = Dropped { records, reason: REASON.to_owned(), first_seq: Some(frame.first_seq) };
    state.work.insert(at, (ticket, Work::Dropped(dropped)));
}
