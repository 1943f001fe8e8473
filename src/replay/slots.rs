//! How many windows may be in memory at once, over all jobs.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// No more windows are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Closed;

/// Slots for windows; clones share them. Whoever waits longest gets the next one, which keeps sessions even.
#[derive(Debug, Clone)]
pub(super) struct Slots(Option<(Arc<Semaphore>, Handle)>);

impl Slots {
    /// So many slots. To be called on a runtime.
    pub(super) fn new(slots: usize) -> Self {
        Self(Some((Arc::new(Semaphore::new(slots)), Handle::current())))
    }

    /// As many as anybody wants.
    pub(super) fn unlimited() -> Self {
        Self(None)
    }

    /// Waits for a slot. Blocking: not for asynchronous tasks.
    pub(super) fn take(&self) -> Result<Option<OwnedSemaphorePermit>, Closed> {
        let Some((slots, runtime)) = &self.0 else { return Ok(None) };
        runtime.block_on(slots.clone().acquire_owned()).map(Some).map_err(|_| Closed)
    }

    /// Whether nobody gets another one.
    pub(super) fn are_closed(&self) -> bool {
        self.0.as_ref().is_some_and(|(slots, _)| slots.is_closed())
    }

    /// Nobody gets another one.
    pub(super) fn close(&self) {
        if let Some((slots, _)) = &self.0 {
            slots.close();
        }
    }
}
