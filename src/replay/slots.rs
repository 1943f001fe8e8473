//! How many windows may be in memory at once, and how many on their way, over all jobs; and that memory.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

use super::buffers::Buffers;

/// No more windows are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Closed;

/// Windows that are read once more, to be sent once more, and are in memory at a time. They have slots of their own: those
/// of windows that are read for the first time may all be with some that wait until others are through.
const AGAIN: usize = 2;

/// A place for a window's messages in memory; or for a window on its way, until what was acknowledged of it is saved. The
/// default: one of any number.
#[derive(Debug, Default)]
pub(super) struct Place {
    _permit: Option<OwnedSemaphorePermit>,
}

/// Slots and flights for windows; clones share them. Whoever waits longest gets the next one, which keeps sessions even.
#[derive(Debug, Clone)]
pub(super) struct Slots {
    limits: Option<Arc<Limits>>,
    again: Arc<Semaphore>,
    buffers: Buffers,
}

#[derive(Debug)]
struct Limits {
    slots: Arc<Semaphore>,
    flights: Arc<Semaphore>,
    runtime: Handle,
}

async fn acquire(semaphore: &Arc<Semaphore>) -> Result<Place, Closed> {
    let permit = semaphore.clone().acquire_owned().await.map_err(|_: AcquireError| Closed)?;
    Ok(Place { _permit: Some(permit) })
}

impl Limits {
    fn acquire(&self, semaphore: &Arc<Semaphore>) -> Result<Place, Closed> {
        self.runtime.block_on(acquire(semaphore))
    }
}

impl Slots {
    /// So many slots and flights. To be called on a runtime.
    pub(super) fn new(slots: usize, flights: usize) -> Self {
        let [slots, flights] = [slots, flights].map(|permits| Arc::new(Semaphore::new(permits)));
        Self { limits: Some(Arc::new(Limits { slots, flights, runtime: Handle::current() })), ..Self::unlimited() }
    }

    /// As many as anybody wants.
    pub(super) fn unlimited() -> Self {
        Self { limits: None, again: Arc::new(Semaphore::new(AGAIN)), buffers: Buffers::default() }
    }

    /// Waits for a slot. Blocking: not for asynchronous tasks.
    pub(super) fn take(&self) -> Result<Place, Closed> {
        self.limits.as_ref().map_or(Ok(Place::default()), |limits| limits.acquire(&limits.slots))
    }

    /// Waits until one more window may go on its way. Blocking, so that a job's windows go in order: those that are through
    /// and wait for one before them must never keep that one from its way.
    pub(super) fn take_flight(&self) -> Result<Place, Closed> {
        self.limits.as_ref().map_or(Ok(Place::default()), |limits| limits.acquire(&limits.flights))
    }

    /// Waits for a slot for a window that is read once more.
    pub(super) async fn take_again(&self) -> Place {
        // Nobody closes these.
        acquire(&self.again).await.unwrap_or_default()
    }

    /// What windows are made of.
    pub(super) fn buffers(&self) -> &Buffers {
        &self.buffers
    }

    /// Whether nobody gets another one.
    pub(super) fn are_closed(&self) -> bool {
        self.limits.as_ref().is_some_and(|limits| limits.slots.is_closed())
    }

    /// Nobody gets another one.
    pub(super) fn close(&self) {
        if let Some(limits) = &self.limits {
            limits.slots.close();
            limits.flights.close();
        }
    }
}
