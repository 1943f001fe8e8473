//! The queue as the writer thread sees it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::backlog::Backlog;
use super::{Filling, Queue, Ticket, Work, WorkQueue};
use crate::record::lost;
use crate::record::sync::MutexGuard;
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

/// After work, the writer looks for more by itself, so that who records at full speed needn't wake it for each frame.
const LINGER: Duration = Duration::from_millis(1);

impl Queue {
    /// Waits for work, until `deadline` if there is one; the frame being filled has a deadline of its own.
    pub(in crate::record) fn next_task(&self, deadline: Option<Instant>) -> Task {
        let mut backlog = self.backlog();
        let mut linger = true;
        let task = loop {
            let now = self.clock.now();
            if self.must_look(&backlog, now) {
                drop(backlog);
                let mut filling = self.lock();
                backlog = self.backlog();
                self.look(&mut filling, &mut backlog, now);
            }
            if let Some(task) = self.ready(&mut backlog) {
                break task;
            }
            let until = [deadline, backlog.look_at].into_iter().flatten().min();
            let moment = if std::mem::take(&mut linger) { now.checked_add(LINGER) } else { None };
            backlog.lingering = moment.is_some();
            backlog = match moment.into_iter().chain(until).min() {
                None => self.work.wait(backlog).unwrap_or_else(PoisonError::into_inner),
                Some(until) if until <= now => return Task::Timeout,
                Some(until) => self.work.wait_timeout(backlog, until - now).unwrap_or_else(PoisonError::into_inner).0,
            };
            backlog.lingering = false;
        };
        self.wake_for_room(backlog);
        task
    }

    /// What there is to do now, without waiting for any; `None` if nothing is.
    #[cfg(feature = "sim")]
    pub(in crate::record) fn task_now(&self, deadline: Option<Instant>) -> Option<Task> {
        let (mut filling, now) = (self.lock(), self.clock.now());
        let mut backlog = self.backlog();
        self.look(&mut filling, &mut backlog, now);
        drop(filling);
        let timeout = || deadline.is_some_and(|deadline| deadline <= now).then_some(Task::Timeout);
        let task = self.ready(&mut backlog).or_else(timeout)?;
        self.wake_for_room(backlog);
        Some(task)
    }

    /// Whether the frame that is being filled may have to be written as it is.
    fn must_look(&self, backlog: &Backlog, now: Instant) -> bool {
        backlog.finishing || backlog.filling_is_wanted() || backlog.look_at.is_none_or(|due| due <= now)
    }

    /// Hands over the frame that is being filled if it is due, or else notes when it will be.
    fn look(&self, filling: &mut Filling, backlog: &mut Backlog, now: Instant) {
        // An interval that no clock can hold means never.
        let due = filling.frame.began().and_then(|began| began.checked_add(self.flush_interval));
        // Somebody waits for what is in the frame, or it has lain long enough.
        let is_due = backlog.finishing || backlog.filling_is_wanted() || due.is_some_and(|due| due <= now);
        if !filling.frame.is_empty() && is_due {
            self.hand_over_frame(filling, backlog);
        }
        if backlog.finishing {
            self.push_drops(filling, backlog);
        }
        backlog.look_at = if filling.frame.is_empty() { None } else { due };
        filling.announce = filling.frame.is_empty();
    }

    /// What waits to be done. The backlog must have been locked since it was decided whether to look at the frame that is
    /// being filled: else that could be overlooked at the end.
    fn ready(&self, backlog: &mut Backlog) -> Option<Task> {
        let wanted = backlog.sync_is_wanted();
        if !backlog.finishing && backlog.is_empty() && !wanted {
            return None;
        }
        let work = backlog.take();
        self.records_waiting.store(0, Ordering::Relaxed);
        Some(if backlog.finishing { Task::Finish(work) } else { Task::Write(work, wanted) })
    }

    /// Wakes who waits for something to be durable.
    fn wake_for_durable(&self, mut backlog: MutexGuard<'_, Backlog>) {
        let wakers = backlog.durable_wakers.take();
        drop(backlog);
        self.durable.notify_all();
        wakers.wake();
    }

    /// Gives buffers back to be filled again.
    pub(in crate::record) fn recycle(&self, buffers: impl IntoIterator<Item = Vec<u8>>) {
        // One that a huge record has made grow isn't kept, nor one that was never a frame's.
        let most = 4 * self.frame_bytes.max(64 << 10);
        let fit = buffers.into_iter().filter(|buffer| (self.frame_bytes..=most).contains(&buffer.capacity()));
        let mut fit = fit.peekable();
        if fit.peek().is_some() {
            let mut backlog = self.backlog();
            let room = self.max_spare.saturating_sub(backlog.buffers.len());
            backlog.buffers.extend(fit.take(room));
        }
    }

    /// Everything up to `ticket` is durable, and all records before `seq`.
    pub(in crate::record) fn set_durable(&self, ticket: Ticket, seq: u64) {
        let mut backlog = self.backlog();
        backlog.durable_tickets = backlog.durable_tickets.max(ticket + 1);
        self.durable_seq.fetch_max(seq, Ordering::AcqRel);
        self.wake_for_durable(backlog);
    }

    /// Nothing is recorded any more. `unsynced` was written and isn't durable, `at_hand` was taken and not yet written.
    pub(in crate::record) fn fail(&self, error: Arc<SegmentError>, unsynced: Vec<PendingFrame>, at_hand: WorkQueue) {
        let mut filling = self.lock();
        let mut backlog = self.backlog();
        // Whoever learns of it finds here what is lost.
        let _ = self.failure.set(error);
        if !filling.frame.is_empty() {
            self.hand_over_frame(&mut filling, &mut backlog);
        }
        drop(filling);
        let waiting = backlog.take();
        self.records_waiting.store(0, Ordering::Relaxed);
        backlog.lost = unsynced;
        backlog.lost.extend(at_hand.into_iter().chain(waiting).filter_map(|(_, work)| match work {
            Work::Frame(filled) => Some(lost::uncompressed(filled)),
            _ => None,
        }));
        backlog.buffers = Vec::new();
        drop(backlog);
        self.wake_all();
    }

    /// The writer has ended: whoever still waits, waits in vain.
    pub(in crate::record) fn end(&self) {
        self.backlog().ended = true;
        self.wake_all();
    }

    fn wake_all(&self) {
        self.wake_for_durable(self.backlog());
        self.wake_for_room(self.backlog());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use uuid::Uuid;

    use super::*;
    use crate::record::clock::Clock;
    use crate::record::flow_table::FlowTable;
    use crate::record::options::RecorderOptions;

    #[test]
    fn an_end_that_comes_while_the_writer_looks_for_work_takes_the_last_frame_along() {
        let (flows, options) = (FlowTable::new(Uuid::nil(), &[]), RecorderOptions::default());
        let queue = Queue::new(flows, &options, Clock::default());
        let mut filling = queue.lock();
        filling.frame.set_flow_count(1);
        filling.frame.begin(|out| out.extend_from_slice(&[0; 4])).commit(0, Some(1), true, 0);
        let _ = queue.recorded(&mut filling);
        let mut backlog = queue.backlog();
        let now = queue.clock.now();
        queue.look(&mut filling, &mut backlog, now);
        drop(filling);
        assert!(!queue.must_look(&backlog, now), "the frame isn't due");
        std::thread::scope(|scope| {
            scope.spawn(|| queue.finish());
            while queue.check().is_ok() {
                std::thread::yield_now();
            }
            assert!(queue.ready(&mut backlog).is_none(), "the end, without the frame");
            drop(backlog);
            let Task::Finish(work) = queue.next_task(None) else { panic!("it ends") };
            assert!(matches!(work.front(), Some((1, Work::Frame(frame))) if frame.count == 1));
        });
    }
}
