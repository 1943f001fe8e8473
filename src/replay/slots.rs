//! How many windows may be in memory at once, over all jobs; and that memory.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::buffers::Buffers;

/// No more windows are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Closed;

/// Slots for windows; clones share them. Whoever waits longest gets the next one, which keeps sessions even.
#[derive(Debug, Clone)]
pub(super) struct Slots {
    slots: Option<(Arc<Semaphore>, Handle)>,
    buffers: Buffers,
}

impl Slots {
    /// So many slots. To be called on a runtime.
    pub(super) fn new(slots: usize) -> Self {
        Self { slots: Some((Arc::new(Semaphore::new(slots)), Handle::current())), buffers: Buffers::default() }
    }

    /// As many as anybody wants.
    pub(super) fn unlimited() -> Self {
        Self { slots: None, buffers: Buffers::default() }
    }

    /// Waits for a slot. Blocking: not for asynchronous tasks.
    pub(super) fn take(&self) -> Result<Option<OwnedSemaphorePermit>, Closed> {
        let Some((slots, runtime)) = &self.slots else { return Ok(None) };
        runtime.block_on(slots.clone().acquire_owned()).map(Some).map_err(|_| Closed)
    }

    /// What windows are made of.
    pub(super) fn buffers(&self) -> &Buffers {
        &self.buffers
    }

    /// Whether nobody gets another one.
    pub(super) fn are_closed(&self) -> bool {
        self.slots.as_ref().is_some_and(|(slots, _)| slots.is_closed())
    }

    /// Nobody gets another one.
    pub(super) fn close(&self) {
        if let Some((slots, _)) = &self.slots {
            slots.close();
        }
    }
}
