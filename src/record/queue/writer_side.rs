//! The queue as the writer thread sees it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Instant;

use super::{Queue, State, Ticket, Work, WorkQueue};
use crate::record::lost;
use crate::segment::{PendingFrame, SegmentError};

/// What the writer finds to do.
pub(in crate::record) enum Task {
    /// Write these, and sync if somebody waits for it.
    Write(WorkQueue, bool),
    /// Nothing came until the deadline.
    Timeout,
    /// Write these, then seal and end.
    Finish(WorkQueue),
}

impl Queue {
    /// Waits for work, until `deadline` if there is one; the frame being filled has a deadline of its own.
    pub(in crate::record) fn next_task(&self, deadline: Option<Instant>) -> Task {
        let mut state = self.lock();
        let task = loop {
            let now = self.clock.now();
            if let Some(task) = self.ready(&mut state, now) {
                break task;
            }
            let frame_due = self.frame_due(&state);
            // A frame that is begun while the writer sleeps wakes it, to learn of the frame's deadline.
            state.writer_idle = state.frame.is_empty();
            state = match [deadline, frame_due].into_iter().flatten().min() {
                None => self.work.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(until) if until <= now => return Task::Timeout,
                Some(until) => self.work.wait_timeout(state, until - now).unwrap_or_else(PoisonError::into_inner).0,
            };
            state.writer_idle = false;
        };
        self.wake_for_room(state);
        task
    }

    /// What there is to do now, without waiting for any; `None` if nothing is.
    #[cfg(feature = "sim")]
    pub(in crate::record) fn task_now(&self, deadline: Option<Instant>) -> Option<Task> {
        let (mut state, now) = (self.lock(), self.clock.now());
        let timeout = || deadline.is_some_and(|deadline| deadline <= now).then_some(Task::Timeout);
        let task = self.ready(&mut state, now).or_else(timeout)?;
        self.wake_for_room(state);
        Some(task)
    }

    /// When the frame that is being filled is to be written though it isn't full.
    fn frame_due(&self, state: &State) -> Option<Instant> {
        // An interval that no clock can hold means never.
        state.frame.began().and_then(|began| began.checked_add(self.flush_interval))
    }

    /// What waits to be done.
    fn ready(&self, state: &mut State, now: Instant) -> Option<Task> {
        let wanted = state.wanted >= state.durable_tickets;
        // Somebody waits for what is in the frame, or it has lain long enough.
        let due = state.wanted >= state.next_ticket || self.frame_due(state).is_some_and(|due| due <= now);
        if !state.frame.is_empty() && (due || state.finishing) {
            self.hand_over_frame(state);
        }
        if state.finishing {
            self.push_drops(state);
            return Some(Task::Finish(state.take_work()));
        }
        (!state.work.is_empty() || wanted).then(|| Task::Write(state.take_work(), wanted))
    }

    /// Wakes who waits for something to be durable.
    fn wake_for_durable(&self, mut state: MutexGuard<'_, State>) {
        let wakers = state.durable_wakers.take();
        drop(state);
        self.durable.notify_all();
        wakers.wake();
    }

    /// Gives buffers back to be filled again.
    pub(in crate::record) fn recycle(&self, buffers: impl IntoIterator<Item = Vec<u8>>) {
        let mut state = self.lock();
        for buffer in buffers {
            // One that a huge record has made grow isn't kept, nor one that was never a frame's.
            let fits = (self.frame_bytes..=4 * self.frame_bytes.max(64 << 10)).contains(&buffer.capacity());
            if fits && state.buffers.len() < self.max_spare {
                state.buffers.push(buffer);
            }
        }
    }

    /// Everything up to `ticket` is durable, and all records before `seq`.
    pub(in crate::record) fn set_durable(&self, ticket: Ticket, seq: u64) {
        let mut state = self.lock();
        state.durable_tickets = state.durable_tickets.max(ticket + 1);
        self.durable_seq.fetch_max(seq, Ordering::AcqRel);
        self.wake_for_durable(state);
    }

    /// Nothing is recorded any more. `unsynced` was written and isn't durable, `at_hand` was taken and not yet written.
    pub(in crate::record) fn fail(&self, error: Arc<SegmentError>, unsynced: Vec<PendingFrame>, at_hand: WorkQueue) {
        let mut state = self.lock();
        state.failure = Some(error);
        if !state.frame.is_empty() {
            self.hand_over_frame(&mut state);
        }
        let waiting = state.take_work();
        state.lost = unsynced;
        state.lost.extend(at_hand.into_iter().chain(waiting).filter_map(|(_, work)| match work {
            Work::Frame(filled) => Some(lost::uncompressed(filled)),
            _ => None,
        }));
        state.buffers = Vec::new();
        drop(state);
        self.wake_all();
    }

    /// The writer has ended: whoever still waits, waits in vain.
    pub(in crate::record) fn end(&self) {
        self.lock().ended = true;
        self.wake_all();
    }

    fn wake_all(&self) {
        self.wake_for_durable(self.lock());
        self.wake_for_room(self.lock());
    }
}
