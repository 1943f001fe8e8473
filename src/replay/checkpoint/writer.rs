//! The thread that writes checkpoints: what is handed over while it writes shares the next write and sync.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::compact::{JOURNALS, Purpose, compact, remove, survey};
use super::error::StateError;
use super::facts::{Checkpoint, Facts, Forget};
use super::journal::{self, JournalWriter};
use super::store::Forgotten;
use crate::replay::scope::Scope;
use crate::replay::target::Target;
use crate::segment::{PendingFrame, Storage};

/// Most calls of `save` that share a write.
const MAX_GROUP: usize = 4096;

/// Bytes of a journal after which it is made compact, if that is likely to halve it.
const COMPACT_BYTES: u64 = 8 << 20;

/// What the thread is asked for.
pub(super) enum Order {
    Save(Save),
    Reset(Scope, Forget, SyncSender<Forgotten>),
}

/// Checkpoints to be kept.
pub(super) struct Save {
    /// Where it is logged what goes wrong; a group's is its first one's.
    pub(super) scope: Scope,
    pub(super) target: Target,
    pub(super) checkpoints: Vec<Checkpoint>,
    pub(super) reply: oneshot::Sender<Result<(), StateError>>,
}

/// A state directory that is written to.
pub(super) struct Place {
    pub(super) dir: PathBuf,
    pub(super) journal: JournalWriter,
    /// The journal's size when it was compact.
    pub(super) compact: u64,
}

impl Place {
    pub(super) fn new(dir: PathBuf, journal: JournalWriter) -> Self {
        let compact = journal.len();
        Self { dir, journal, compact }
    }
}

/// What the thread owns.
pub(super) struct Writer {
    pub(super) storage: Arc<dyn Storage>,
    pub(super) facts: Arc<Mutex<Facts>>,
    /// Checkpoints must be durable in each.
    pub(super) primaries: Vec<Place>,
    /// As good as it can be.
    pub(super) shared: Option<Place>,
    /// Where more is known: below, above, and where it was kept earlier.
    pub(super) others: Vec<PathBuf>,
    /// Why nothing can be saved any more.
    pub(super) failed: Option<StateError>,
}

pub(super) fn locked(facts: &Mutex<Facts>) -> MutexGuard<'_, Facts> {
    facts.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Writer {
    /// Until nobody can order any more.
    pub(super) fn run(mut self, orders: &Receiver<Order>) {
        let mut next = orders.recv().ok();
        while let Some(order) = next.take() {
            match order {
                Order::Reset(scope, what, reply) => {
                    // Whoever asked and went away has his wish all the same.
                    let _ = reply.send(scope.within(|| self.reset(&what)));
                }
                Order::Save(first) => {
                    let (scope, mut group) = (first.scope.clone(), vec![first]);
                    while group.len() < MAX_GROUP && next.is_none() {
                        match orders.try_recv() {
                            Ok(Order::Save(save)) => group.push(save),
                            Ok(other) => next = Some(other),
                            Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
                        }
                    }
                    scope.within(|| self.group(group));
                }
            }
            if next.is_none() {
                next = orders.try_recv().ok().or_else(|| {
                    // Nobody waits for this one.
                    self.on_shared(JournalWriter::sync);
                    orders.recv().ok()
                });
            }
        }
        self.on_shared(JournalWriter::sync);
    }

    fn group(&mut self, group: Vec<Save>) {
        let facts = || group.iter().flat_map(|save| save.checkpoints.iter().map(|c| (&save.target, c.clone())));
        let result = match &self.failed {
            Some(error) => Err(error.clone()),
            None => journal::frames(facts()).and_then(|mut frames| self.write(&mut frames).map(|()| frames)),
        };
        if result.is_ok() {
            let mut known = locked(&self.facts);
            facts().for_each(|(target, checkpoint)| known.add(target, &checkpoint));
        }
        let (reply, frames) = match result {
            Ok(frames) => (Ok(()), frames),
            Err(error) => (Err(error), Vec::new()),
        };
        for save in group {
            // Whoever gave up waiting is told by what is known.
            let _ = save.reply.send(reply.clone());
        }
        let mut frames = frames;
        if !frames.is_empty() {
            self.on_shared(|journal| journal.append(&mut frames));
            self.make_compact();
        }
    }

    /// Durable in all primaries when it returns.
    fn write(&mut self, frames: &mut [PendingFrame]) -> Result<(), StateError> {
        for place in &mut self.primaries {
            let journal = &mut place.journal;
            let Err(error) = journal.append(frames).and_then(|()| journal.sync()) else { continue };
            tracing::warn!("{error}; a new file is begun");
            // What the abandoned file confirmed is still there; only these facts aren't known to be.
            match JournalWriter::create(&self.storage, &place.dir.join(JOURNALS), frames) {
                Ok(journal) => *place = Place::new(std::mem::take(&mut place.dir), journal),
                Err(error) => {
                    self.failed = Some(error.clone());
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn on_shared(&mut self, work: impl FnOnce(&mut JournalWriter) -> Result<(), StateError>) {
        let Some(place) = &mut self.shared else { return };
        if let Err(error) = work(&mut place.journal) {
            warn_of_shared(&error);
            self.shared = None;
        }
    }

    fn make_compact(&mut self) {
        let storage = &self.storage;
        for place in self.primaries.iter_mut().chain(&mut self.shared) {
            let len = place.journal.len();
            if len < COMPACT_BYTES || len < place.compact.saturating_mul(2) {
                continue;
            }
            if let Err(error) = rewrite(storage, place, None) {
                // The one there is goes on.
                tracing::debug!("{} isn't made compact: {error}", place.dir.display());
                place.compact = len;
            }
        }
    }

    fn reset(&mut self, what: &Forget) -> Forgotten {
        let mut forgotten = Forgotten::default();
        let storage = &self.storage;
        for place in self.primaries.iter_mut().chain(&mut self.shared) {
            match rewrite(storage, place, Some(what)) {
                Ok(kept) => forgotten.note(&place.dir, kept),
                Err(error) => forgotten.kept.push((place.dir.clone(), error.to_string())),
            }
        }
        for dir in &self.others {
            match clear(storage, dir, what) {
                Ok(Some(kept)) => forgotten.note(dir, kept),
                Ok(None) => {}
                Err(error) => forgotten.kept.push((dir.clone(), error.to_string())),
            }
        }
        locked(&self.facts).forget(what);
        forgotten
    }
}

/// Clears a directory that isn't written to otherwise; returns what couldn't be removed, or `None` if it knows nothing of
/// what is to be forgotten.
fn clear(storage: &Arc<dyn Storage>, dir: &Path, what: &Forget) -> Result<Option<Vec<(PathBuf, String)>>, StateError> {
    if !survey(storage, dir, Purpose::Look)?.facts.forget(what) {
        return Ok(None);
    }
    let made = compact(storage, dir, None, Some(what))?;
    drop(made.journal);
    Ok(Some(made.kept.into_iter().chain(remove(storage, dir, made.old)).collect()))
}

/// Makes one journal of a place's, without what is to be forgotten; returns what couldn't be removed.
fn rewrite(
    storage: &Arc<dyn Storage>,
    place: &mut Place,
    forget: Option<&Forget>,
) -> Result<Vec<(PathBuf, String)>, StateError> {
    let made = compact(storage, &place.dir, Some(place.journal.path()), forget)?;
    *place = Place::new(std::mem::take(&mut place.dir), made.journal);
    Ok(made.kept.into_iter().chain(remove(storage, &place.dir, made.old)).collect())
}

pub(super) fn warn_of_shared(error: &StateError) {
    tracing::warn!(
        "{error}; they are kept beside the backups all the same, but a backup that comes back without its state \
         directory won't be known"
    );
}
