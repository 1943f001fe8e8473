//! Sessions that are being recorded, whose records somebody else delivers as they come: replay passes over them, but for
//! what was given to it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use std::ops::Range;
use uuid::Uuid;

use crate::catalog::SeqSet;

/// Which records aren't for the replay. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Held {
    released: Arc<Mutex<HashMap<Uuid, SeqSet>>>,
    unsettled: Arc<AtomicBool>,
}

impl Held {
    fn released(&self) -> MutexGuard<'_, HashMap<Uuid, SeqSet>> {
        self.released.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on none of the session's records is for the replay.
    pub(crate) fn hold(&self, session: Uuid) {
        self.released().entry(session).or_default();
    }

    /// These records of a session that is held are for the replay, after all.
    pub(crate) fn release(&self, session: Uuid, seqs: Range<u64>) {
        if let Some(released) = self.released().get_mut(&session) {
            released.insert(seqs);
        }
    }

    /// All of the session is for the replay: it is over.
    pub(crate) fn let_go(&self, session: Uuid) {
        self.released().remove(&session);
    }

    /// Whether the session is held.
    pub(super) fn holds(&self, session: Uuid) -> bool {
        self.released().contains_key(&session)
    }

    /// Somebody else has just made an ingestion config or a run: it may still be on its way to where records arrive, so that
    /// refusals may be premature.
    pub(crate) fn unsettle(&self) {
        self.unsettled.store(true, Ordering::Relaxed);
    }

    /// Records were acknowledged: what they need has arrived.
    pub(crate) fn has_settled(&self) {
        self.unsettled.store(false, Ordering::Relaxed);
    }

    /// Whether refusals may be premature.
    pub(super) fn is_unsettled(&self) -> bool {
        self.unsettled.load(Ordering::Relaxed)
    }

    /// Forgets what was released and is in `done`: it needn't be replayed any more.
    pub(crate) fn settle(&self, session: Uuid, done: &SeqSet) {
        if let Some(released) = self.released().get_mut(&session) {
            *released = released.without(done);
        }
    }

    /// What of a session that is held was released, without what was settled; `None` if nobody holds it.
    pub(crate) fn released_of(&self, session: Uuid) -> Option<SeqSet> {
        self.released().get(&session).cloned()
    }

    /// What of a session isn't for the replay.
    pub(super) fn of(&self, session: Uuid) -> SeqSet {
        let mut held = SeqSet::new();
        if let Some(released) = self.released().get(&session) {
            for range in released.missing_in(0..u64::MAX) {
                held.insert(range);
            }
        }
        held
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::single_range_in_vec_init, reason = "a set of one range is meant")]

    use super::*;

    #[test]
    fn only_what_was_released_is_for_the_replay() {
        let (held, session) = (Held::default(), Uuid::now_v7());
        let ranges = |held: &Held| held.of(session).ranges().collect::<Vec<_>>();
        assert_eq!(ranges(&held), [], "nobody holds it");
        held.release(session, 0..5);
        held.hold(session);
        assert_eq!(ranges(&held), [0..u64::MAX]);
        held.release(session, 3..5);
        held.release(session, 9..10);
        // To be told of a session that is held already takes nothing back.
        held.hold(session);
        assert_eq!(ranges(&held), [0..3, 5..9, 10..u64::MAX]);
        let waiting = |held: &Held| held.released_of(session).map(|released| released.len());
        assert_eq!(waiting(&held), Some(3));
        let mut done = SeqSet::new();
        done.insert(4..20);
        held.settle(session, &done);
        assert_eq!((ranges(&held), waiting(&held)), (vec![0..3, 4..u64::MAX], Some(1)));
        held.let_go(session);
        assert_eq!((ranges(&held), waiting(&held)), (vec![], None));
    }

    #[test]
    fn refusals_may_be_premature_until_something_was_acknowledged() {
        let held = Held::default();
        let clone = held.clone();
        assert!(!held.is_unsettled());
        clone.unsettle();
        assert!(held.is_unsettled());
        held.has_settled();
        assert!(!clone.is_unsettled());
    }
}
