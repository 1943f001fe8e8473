//! Copies of one PBFS file take turns: what the first delivers, the others needn't.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedMutexGuard;

use super::target::PbfsId;

/// Whose turn it is, for each file that is being replayed.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<HashMap<PbfsId, Arc<tokio::sync::Mutex<()>>>>);

impl Turns {
    /// Returns when nobody else replays this file; until the guard is dropped, nobody else does.
    pub(super) async fn take(&self, id: PbfsId) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // Nobody holds or awaits those that only this map knows.
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            turns.entry(id).or_default().clone()
        };
        turn.lock_owned().await
    }
}
