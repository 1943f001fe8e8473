//! The checkpoints of one replay: their union in memory, and the thread that makes them durable.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use tokio::sync::oneshot;
use uuid::Uuid;

use super::compact::{Purpose, compact, remove, survey};
use super::dirs::{Around, StateDirs};
use super::error::StateError;
use super::facts::{Checkpoint, Done, Facts, Forget, KnownTarget, PbfsMark};
use super::journal::check_target;
use super::lock::Locks;
use super::writer::{Order, Place, Save, Writer, locked, warn_of_shared};
use crate::catalog::SeqSet;
use crate::replay::scope::Scope;
use crate::replay::target::{PbfsId, Target};
use crate::segment::{LockKind, Storage};

/// What is known to be done. As long as this lives, no other process gets at the same backups.
#[derive(Debug)]
pub struct Checkpoints {
    facts: Arc<Mutex<Facts>>,
    primary: Option<PathBuf>,
    found: Vec<PathBuf>,
    /// `None`: nothing is kept beyond this process.
    thread: Option<Thread>,
}

#[derive(Debug)]
struct Thread {
    /// `None` when it is to end.
    orders: Option<Sender<Order>>,
    handle: Option<JoinHandle<()>>,
}

/// What became of a reset.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// State directories that were cleared of it.
    pub cleared: Vec<PathBuf>,
    /// Directories and files that may still hold it, with the reason: what stands there will be known again.
    pub kept: Vec<(PathBuf, String)>,
}

impl Forgotten {
    pub(super) fn note(&mut self, dir: &Path, kept: Vec<(PathBuf, String)>) {
        if kept.is_empty() {
            self.cleared.push(dir.to_owned());
        }
        self.kept.extend(kept);
    }
}

impl Checkpoints {
    /// Takes the locks, reads everything that is known, makes the journals compact, and is ready to keep more. Blocks.
    ///
    /// # Errors
    /// [`StateError::Locked`] if another process is at work on these backups or some of them;
    /// [`StateError::Nowhere`] if there is no directory to keep checkpoints in.
    pub fn open(storage: Arc<dyn Storage>, dirs: StateDirs) -> Result<Self, StateError> {
        let mut locks = Locks::new(storage.clone());
        let (places, around) = lock_all(&mut locks, &dirs)?;
        let (mut facts, mut primaries, mut found): (_, Vec<Place>, _) = (Facts::default(), Vec::new(), Vec::new());
        for (path, mut tried, candidates) in places {
            // Two paths with one state directory.
            if candidates.iter().any(|dir| primaries.iter().any(|place| place.dir == *dir)) {
                continue;
            }
            let mut place = None;
            for dir in candidates {
                match locks.make(&dir).and_then(|()| open_place(&storage, &dir, &mut facts, &mut found)) {
                    Ok(opened) => {
                        place = Some(opened);
                        break;
                    }
                    Err(error @ StateError::Locked { .. }) => return Err(error),
                    Err(error) => tried.push(error.to_string()),
                }
            }
            primaries.push(place.ok_or(StateError::Nowhere { path, tried })?);
        }
        let shared = dirs.shared().and_then(|dir| {
            open_place(&storage, dir, &mut facts, &mut found).map_err(|error| warn_of_shared(&error)).ok()
        });
        let written: Vec<_> = primaries.iter().chain(&shared).map(|place| place.dir.clone()).collect();
        let others: Vec<_> = dirs.all_with(around).into_iter().filter(|dir| !written.contains(dir)).collect();
        read_all(&storage, &others, &mut facts, &mut found);
        let primary = written.first().cloned();
        let facts = Arc::new(Mutex::new(facts));
        let writer = Writer { storage, facts: facts.clone(), primaries, shared, others, failed: None };
        let (orders, receiver) = channel();
        let work = move || {
            writer.run(&receiver);
            drop(locks);
        };
        let named = std::thread::Builder::new().name("checkpoints".to_owned());
        let start = named.spawn(work).map_err(StateError::io("start a thread for", Path::new("checkpoints")))?;
        let thread = Some(Thread { orders: Some(orders), handle: Some(start) });
        Ok(Self { facts, primary, found, thread })
    }

    /// Reads what is known, takes no lock and writes nothing: another process may be at work. What is saved is kept in
    /// memory alone. Blocks.
    pub fn look(storage: &Arc<dyn Storage>, dirs: &StateDirs) -> Self {
        let (mut facts, mut found) = (Facts::default(), Vec::new());
        read_all(storage, &dirs.all(), &mut facts, &mut found);
        Self { facts: Arc::new(Mutex::new(facts)), found, ..Self::in_memory() }
    }

    /// Knows nothing and keeps nothing beyond this process.
    pub fn in_memory() -> Self {
        Self { facts: Arc::default(), primary: None, found: Vec::new(), thread: None }
    }

    /// The state directory that other things than checkpoints go to, such as dead letters: the first path's. `None` if
    /// nothing is kept.
    pub fn primary(&self) -> Option<&Path> {
        self.primary.as_deref()
    }

    /// The state directories in which something was known.
    pub fn found(&self) -> &[PathBuf] {
        &self.found
    }

    /// What of a session is done.
    pub fn done(&self, target: &Target, session: Uuid) -> Done {
        locked(&self.facts).done(target, session)
    }

    /// What of a session is done at any target of an endpoint.
    pub fn known(&self, endpoint: &str, session: Uuid) -> Done {
        locked(&self.facts).known(endpoint, session)
    }

    /// What is done of a session for targets such as these, together.
    pub(in crate::replay) fn done_for(&self, such: impl Fn(&Target) -> bool, session: Uuid) -> Done {
        locked(&self.facts).done_for(such, session)
    }

    /// How far files that begin as `id` says are done, for each target that `such` makes something of; and which
    /// of the dead letters that are counted were delivered since, by the numbers of their messages.
    pub(in crate::replay) fn pbfs_marks_for<T>(
        &self,
        such: impl Fn(&Target) -> Option<T>,
        id: PbfsId,
    ) -> Vec<(T, Vec<PbfsMark>, SeqSet)> {
        locked(&self.facts).pbfs_marks_for(such, id)
    }

    /// How far files that begin as `id` says are done, ascending by the end. Of the dead letters that are counted, some
    /// may be [`delivered`](Self::pbfs_delivered) since.
    pub fn pbfs_marks(&self, target: &Target, id: PbfsId) -> Vec<PbfsMark> {
        locked(&self.facts).pbfs_marks(target, id)
    }

    /// Which dead letters of files that begin as `id` says were acknowledged since, by the numbers of their messages.
    pub fn pbfs_delivered(&self, target: &Target, id: PbfsId) -> SeqSet {
        locked(&self.facts).pbfs_delivered(target, id)
    }

    /// Everything that is known.
    pub fn list(&self) -> Vec<KnownTarget> {
        locked(&self.facts).list()
    }

    /// Keeps checkpoints: durable when it returns, and only then known. Calls at the same time share a write. If the
    /// future is dropped, they are kept all the same.
    ///
    /// # Errors
    /// [`StateError::Io`] if a file and the one that was begun in its place can't be written; then every later call
    /// fails likewise. [`StateError::Encode`] for a target of more than 128 KiB.
    pub async fn save(&self, target: &Target, checkpoints: Vec<Checkpoint>) -> Result<(), StateError> {
        check_target(target)?;
        let sound = |checkpoint: &Checkpoint| match checkpoint {
            Checkpoint::Session { seqs, .. } => !seqs.is_empty(),
            Checkpoint::PbfsDelivered { messages, .. } => !messages.is_empty(),
            Checkpoint::Pbfs { .. } => true,
        };
        let checkpoints: Vec<_> = checkpoints.into_iter().filter(sound).collect();
        if checkpoints.is_empty() {
            return Ok(());
        }
        let Some(orders) = self.orders() else {
            let mut facts = locked(&self.facts);
            checkpoints.iter().for_each(|checkpoint| facts.add(target, checkpoint));
            return Ok(());
        };
        let (reply, saved) = oneshot::channel();
        let save = Save { scope: Scope::here(), target: target.clone(), checkpoints, reply };
        orders.send(Order::Save(save)).map_err(|_| StateError::Stopped)?;
        saved.await.map_err(|_| StateError::Stopped)?
    }

    /// Forgets, in every place that was read and can be written: the records will be sent again. Blocks.
    ///
    /// # Errors
    /// [`StateError::Stopped`]. What couldn't be cleared is in the answer.
    pub fn reset(&self, what: &Forget) -> Result<Forgotten, StateError> {
        let Some(orders) = self.orders() else {
            locked(&self.facts).forget(what);
            return Ok(Forgotten::default());
        };
        let (reply, done) = sync_channel(1);
        orders.send(Order::Reset(Scope::here(), what.clone(), reply)).map_err(|_| StateError::Stopped)?;
        done.recv().map_err(|_| StateError::Stopped)
    }

    fn orders(&self) -> Option<&Sender<Order>> {
        self.thread.as_ref().and_then(|thread| thread.orders.as_ref())
    }
}

impl Drop for Thread {
    /// Waits for what was ordered; then the locks are free.
    fn drop(&mut self) {
        self.orders = None;
        if let Some(handle) = self.handle.take()
            && handle.join().is_err()
        {
            tracing::error!("the thread that keeps checkpoints has panicked");
        }
    }
}

/// A path, how making each of the first directories for it failed, and the others.
type Candidates = (PathBuf, Vec<String>, Vec<PathBuf>);

/// Locks what these paths have to do with. One's own comes first and what is around is looked for after it, so that of
/// two that begin at the same time at least one sees the other.
fn lock_all(locks: &mut Locks, dirs: &StateDirs) -> Result<(Vec<Candidates>, Around), StateError> {
    let mut places = Vec::new();
    for (path, candidates) in dirs.candidates() {
        let (mut tried, mut left) = (Vec::new(), Vec::new());
        for dir in candidates {
            if !left.is_empty() {
                // One that was used when the better one couldn't be written.
                if dir.is_dir() {
                    locks.try_take(dir, LockKind::Exclusive)?;
                }
                left.push(dir.clone());
                continue;
            }
            match locks.make(dir) {
                Ok(()) => left.push(dir.clone()),
                Err(error @ StateError::Locked { .. }) => return Err(error),
                Err(error) => {
                    tried.push(error.to_string());
                    locks.try_take(dir, LockKind::Exclusive)?;
                }
            }
        }
        if left.is_empty() {
            return Err(StateError::Nowhere { path: path.to_owned(), tried });
        }
        places.push((path.to_owned(), tried, left));
    }
    let around = dirs.around();
    for (dirs, kind) in [(&around.below, LockKind::Exclusive), (&around.above, LockKind::Shared)] {
        dirs.iter().try_for_each(|dir| locks.try_take(dir, kind))?;
    }
    Ok((places, around))
}

fn open_place(
    storage: &Arc<dyn Storage>,
    dir: &Path,
    facts: &mut Facts,
    found: &mut Vec<PathBuf>,
) -> Result<Place, StateError> {
    let made = compact(storage, dir, None, None)?;
    if !made.facts.is_empty() {
        found.push(dir.to_owned());
    }
    facts.union(&made.facts);
    for (path, why) in remove(storage, dir, made.old) {
        tracing::debug!("can't remove {}: {why}", path.display());
    }
    for (path, why) in made.kept {
        tracing::debug!("{} is kept: {why}", path.display());
    }
    Ok(Place::new(dir.to_owned(), made.journal))
}

fn read_all(storage: &Arc<dyn Storage>, dirs: &[PathBuf], facts: &mut Facts, found: &mut Vec<PathBuf>) {
    for dir in dirs {
        match survey(storage, dir, Purpose::Look) {
            Ok(survey) => {
                if !survey.facts.is_empty() {
                    found.push(dir.clone());
                }
                facts.union(&survey.facts);
            }
            Err(error) => {
                tracing::warn!("{error}; what it says has been delivered will be sent again")
            }
        }
    }
}
