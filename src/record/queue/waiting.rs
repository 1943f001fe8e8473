//! Waiting for room and for durability as tasks do: by leaving a waker behind instead of a thread.

use std::panic::catch_unwind;
use std::task::{Context, Poll, Waker};

use super::Queue;
#[cfg(feature = "sim")]
use super::Ticket;
use crate::record::error::RecordError;
use crate::record::options::OnFull;

/// Who is to be woken; a task that asks again is in it once.
#[derive(Debug, Default)]
pub(super) struct Wakers(Vec<Waker>);

impl Wakers {
    fn add(&mut self, waker: &Waker) {
        if !self.0.iter().any(|known| known.will_wake(waker)) {
            self.0.push(waker.clone());
        }
    }

    /// All of them, to be woken once the state is unlocked: a waker may run what it wakes at once.
    pub(super) fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    /// Wakes them all. One that panics is a bug of whoever made it; it costs neither the others nor the writer anything.
    pub(super) fn wake(self) {
        for waker in self.0 {
            let _ = catch_unwind(|| waker.wake());
        }
    }
}

impl Queue {
    /// Asks for all that was recorded to be made durable, as `wait_durable` does, but doesn't wait.
    #[cfg(feature = "sim")]
    pub(in crate::record) fn ask_durable(&self) -> Result<Ticket, RecordError> {
        let mut filling = self.room(true)?;
        let ticket = self.submit(&mut filling, None);
        self.want(&mut self.backlog(), ticket);
        Ok(ticket)
    }

    /// What has become of that: `None` if it isn't decided.
    #[cfg(feature = "sim")]
    pub(in crate::record) fn made_durable(&self, ticket: Ticket) -> Option<Result<(), RecordError>> {
        let backlog = self.backlog();
        if backlog.durable_tickets > ticket {
            return Some(Ok(()));
        }
        self.failed().or_else(|| backlog.ended.then_some(RecordError::Finished)).map(Err)
    }

    /// Ready when a record that may not wait would find room, or fail for another reason.
    pub(in crate::record) fn poll_room(&self, context: &Context<'_>) -> Poll<()> {
        let mut filling = self.lock();
        if self.on_full != OnFull::Block || self.check().is_err() || !self.is_full(&filling) {
            return Poll::Ready(());
        }
        let mut backlog = self.backlog();
        if self.make_room(&mut filling, &mut backlog) {
            return Poll::Ready(());
        }
        backlog.room_wakers.add(context.waker());
        Poll::Pending
    }

    /// Ready when this record is durable, or never will be. If `ask`, the writer is asked to see to it.
    pub(in crate::record) fn poll_durable(
        &self,
        seq: u64,
        ask: bool,
        context: &Context<'_>,
    ) -> Poll<Result<(), RecordError>> {
        if self.durable_seq() > seq {
            return Poll::Ready(Ok(()));
        }
        let filling = self.lock();
        let mut backlog = self.backlog();
        if self.durable_seq() > seq {
            return Poll::Ready(Ok(()));
        }
        if let Some(failed) = self.failed() {
            return Poll::Ready(Err(failed));
        }
        if backlog.ended {
            return Poll::Ready(Err(RecordError::Finished));
        }
        if ask && seq < filling.next_seq {
            let is_filling = seq >= filling.frame.first_seq();
            let ticket = if is_filling { filling.next_ticket } else { backlog.ticket_of(seq) };
            self.want(&mut backlog, ticket);
        }
        backlog.durable_wakers.add(context.waker());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_task_that_asks_often_is_kept_and_woken_once() {
        let counts = [Arc::new(Count::default()), Arc::new(Count::default())];
        let mut wakers = Wakers::default();
        for _ in 0..100 {
            // A new waker each time, for the same task.
            counts.iter().for_each(|count| wakers.add(&Waker::from(count.clone())));
        }
        assert_eq!(wakers.0.len(), 2);
        wakers.take().wake();
        wakers.take().wake();
        assert!(counts.iter().all(|count| count.0.load(Ordering::Relaxed) == 1));
    }

    struct Broken;

    impl Wake for Broken {
        fn wake(self: Arc<Self>) {
            panic!("on purpose");
        }
    }

    #[test]
    fn a_waker_that_panics_keeps_nobody_else_asleep() {
        let count = Arc::new(Count::default());
        let mut wakers = Wakers::default();
        wakers.add(&Waker::from(Arc::new(Broken)));
        wakers.add(&Waker::from(count.clone()));
        wakers.wake();
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
    }
}
