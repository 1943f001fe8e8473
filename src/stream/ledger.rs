//! What became of a stream's records: confirmed, or given to the replay.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use uuid::Uuid;

use super::leg::Leg;
use super::metrics::StreamMetrics;
use crate::catalog::SeqSet;
use crate::format::{Confirmed, Mark};
use crate::replay::{Checkpoint, Done, Outcome, State, StateError, Target, spawn_blocking};

/// Ranges of one checkpoint that are marked in the segment, at most: the journal has them all.
const MAX_MARKS: usize = 64;

/// Shared by the live lane, the tap and the keeper.
pub(super) struct Ledger {
    /// The destination's name, by which what is done is known, whoever has delivered it.
    endpoint: String,
    pub(super) state: State,
    pub(super) metrics: Arc<StreamMetrics>,
    /// There is work for the keeper.
    pub(super) news: Notify,
    /// Those of which something may be left to be done.
    legs: Mutex<Vec<Arc<Leg>>>,
    /// The sessions of all legs.
    sessions: Mutex<Vec<Uuid>>,
    /// Why the link is down, or was when it was tried last.
    trouble: Mutex<Option<String>>,
}

impl Ledger {
    pub(super) fn new(endpoint: String, state: State, metrics: Arc<StreamMetrics>) -> Self {
        Self {
            endpoint,
            state,
            metrics,
            news: Notify::new(),
            legs: Mutex::default(),
            sessions: Mutex::default(),
            trouble: Mutex::default(),
        }
    }

    fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on, what the leg records is for the live lane.
    pub(super) fn begin(&self, leg: &Arc<Leg>) {
        self.state.held().hold(leg.id);
        Self::locked(&self.sessions).push(leg.id);
        Self::locked(&self.legs).push(leg.clone());
    }

    /// All of an ended leg is done.
    pub(super) fn end(&self, leg: &Arc<Leg>) {
        self.state.held().let_go(leg.id);
        Self::locked(&self.legs).retain(|other| !Arc::ptr_eq(other, leg));
    }

    pub(super) fn sessions(&self) -> Vec<Uuid> {
        Self::locked(&self.sessions).clone()
    }

    pub(super) fn legs(&self) -> Vec<Arc<Leg>> {
        Self::locked(&self.legs).clone()
    }

    /// The live lane is over: what isn't confirmed is for the replay.
    pub(super) fn let_go(&self) {
        self.legs().iter().for_each(|leg| self.state.held().let_go(leg.id));
        self.news.notify_one();
    }

    /// These records won't be sent by the live lane, or not again: they are for the replay.
    pub(super) fn release(&self, leg: Uuid, seqs: impl IntoIterator<Item = Range<u64>>) {
        seqs.into_iter().for_each(|seqs| self.state.held().release(leg, seqs));
        self.news.notify_one();
    }

    /// Sift has acknowledged these records: that is durably noted when this returns, and marked in the segment.
    pub(super) async fn confirm(&self, leg: &Arc<Leg>, target: &Target, seqs: &SeqSet) -> Result<(), StateError> {
        let checkpoint = |seqs| Checkpoint::Session { session: leg.id, seqs, outcome: Outcome::Acknowledged };
        self.state.checkpoints().save(target, seqs.ranges().map(checkpoint).collect()).await?;
        self.metrics.acknowledged(seqs.len());
        self.state.held().has_settled();
        self.state.held().settle(leg.id, &self.done(leg).all());
        let (recorder, destination) = (leg.recorder.upgrade(), target.as_str().to_owned());
        if let Some(recorder) = recorder {
            let ranges: Vec<_> = seqs.ranges().take(MAX_MARKS).collect();
            let marked = spawn_blocking(move || {
                for seqs in ranges {
                    let (destination, first_seq, end_seq) = (destination.clone(), seqs.start, seqs.end);
                    recorder.mark(Mark::Confirmed(Confirmed { destination, first_seq, end_seq }))?;
                }
                Ok::<_, crate::record::RecordError>(())
            });
            // A mark tells whoever reads the file; what counts is in the journal.
            if let Ok(Err(error)) = marked.await {
                tracing::debug!(%error, "a checkpoint isn't marked in the segment");
            }
        }
        self.news.notify_one();
        Ok(())
    }

    /// What of a leg is done. Perhaps the replay has delivered it, and nobody else ever reached the destination.
    pub(super) fn done(&self, leg: &Leg) -> Done {
        self.state.checkpoints().known(&self.endpoint, leg.id)
    }

    /// What was released and is done doesn't wait for the replay any more.
    pub(super) fn settle(&self) {
        self.legs().iter().for_each(|leg| self.state.held().settle(leg.id, &self.done(leg).all()));
    }

    /// The link is down, or up again.
    pub(super) fn set_trouble(&self, trouble: Option<String>) {
        *Self::locked(&self.trouble) = trouble;
    }

    pub(super) fn trouble(&self) -> Option<String> {
        Self::locked(&self.trouble).clone()
    }
}
