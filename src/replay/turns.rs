//! Taking turns: what is the same to the destination is done by one job at a time, and the others see its results.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedMutexGuard;

/// Whose turn it is, for each thing that several jobs may be about.
#[derive(Debug)]
pub(super) struct Turns<K>(Mutex<HashMap<K, Arc<tokio::sync::Mutex<()>>>>);

impl<K> Default for Turns<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash> Turns<K> {
    /// Returns when nobody else is about this thing, in the order of asking; until the guard is dropped, nobody else is.
    pub(super) async fn take(&self, thing: K) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // Nobody holds or awaits those that only this map knows.
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            turns.entry(thing).or_default().clone()
        };
        turn.lock_owned().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_about_one_thing_in_the_order_of_asking() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (turns, done) = (Turns::default(), Mutex::new(Vec::new()));
            let work = async |thing: u8, name: u8| {
                let _turn = turns.take(thing).await;
                done.lock().unwrap().push((name, 'b'));
                tokio::task::yield_now().await;
                done.lock().unwrap().push((name, 'e'));
            };
            tokio::join!(work(1, 1), work(1, 2), work(9, 3), work(1, 4));
            let done = done.into_inner().unwrap();
            let of_one: Vec<_> = done.iter().filter(|(name, _)| *name != 3).copied().collect();
            assert_eq!(of_one, [(1, 'b'), (1, 'e'), (2, 'b'), (2, 'e'), (4, 'b'), (4, 'e')]);
            let at = |step| done.iter().position(|done| *done == step).unwrap();
            assert!(at((3, 'b')) < at((1, 'e')), "other things don't wait: {done:?}");
            drop(turns.take(0).await);
            assert_eq!(turns.0.lock().unwrap().len(), 1, "nothing of the past is kept");
        });
    }
}
