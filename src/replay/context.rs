//! What all jobs of a replay share.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OnceCell;

use super::checkpoint::{Checkpoints, StateDirs, StateError};
use super::dead_letter::{DeadLetters, RefusedRecord};
use super::held::Held;
use super::lane::Lanes;
use super::observe::Observer;
use super::options::ReplayOptions;
use super::rate::Limiter;
use super::retry::Patience;
use super::scope::spawn_blocking;
use super::slots::Slots;
use super::target::{PbfsId, Subject, Target};
use super::turns::Turns;
use crate::catalog::Requests;
use crate::segment::{SegmentError, Storage};
use crate::sift::Registration;

/// What a replay remembers beyond its end: checkpoints, and dead letters.
#[derive(Debug)]
pub struct State {
    /// `None`: nowhere, so that what is refused is only reported. It goes first, while the locks hold.
    pub(super) dead_letters: Option<Arc<Mutex<DeadLetters>>>,
    pub(super) checkpoints: Checkpoints,
    pub(super) held: Held,
}

impl State {
    /// Keeps it in these directories, which are locked: no other replay of the same backups may run.
    ///
    /// # Errors
    /// [`StateError`]: another replay is at work, or nothing can be written there.
    pub fn open(storage: Arc<dyn Storage>, dirs: StateDirs) -> Result<Self, StateError> {
        let checkpoints = Checkpoints::open(storage.clone(), dirs)?;
        let dead_letters = DeadLetters::new(storage, checkpoints.primary().unwrap_or(Path::new(".")));
        Ok(Self { checkpoints, dead_letters: Some(Arc::new(Mutex::new(dead_letters))), held: Held::default() })
    }

    /// Remembers nothing.
    pub fn none() -> Self {
        Self { checkpoints: Checkpoints::in_memory(), dead_letters: None, held: Held::default() }
    }

    /// Whether it outlives the process.
    pub(super) fn is_kept(&self) -> bool {
        self.dead_letters.is_some()
    }

    /// Which records aren't for the replay.
    #[cfg(feature = "stream")]
    pub(crate) fn held(&self) -> &Held {
        &self.held
    }

    /// What was acknowledged.
    pub fn checkpoints(&self) -> &Checkpoints {
        &self.checkpoints
    }
}

/// What all jobs of a replay share.
pub(super) struct Context<'a> {
    pub(super) lanes: &'a Lanes,
    pub(super) state: &'a State,
    pub(super) options: &'a ReplayOptions,
    pub(super) observer: &'a dyn Observer,
    pub(super) patience: Patience,
    pub(super) limiter: Limiter,
    pub(super) slots: Slots,
    /// What checkpoints are keyed by, as far as was known at the beginning.
    pub(super) target: Target,
    /// Whether the destination's organization wasn't told then.
    pub(super) is_nameless: bool,
    /// What checkpoints are keyed by since something was registered, if it was asked for once more.
    pub(super) told_later: OnceCell<Target>,
    /// The files and directories that were asked for.
    pub(super) paths: Vec<PathBuf>,
    /// Copies of one PBFS file take turns: what the first delivers, the others needn't.
    pub(super) pbfs_turns: Turns<PbfsId>,
    /// Sessions of one client key register one after the other, the earliest first.
    pub(super) key_turns: Turns<String>,
    /// What was registered, by the requests: most sessions have the same ones.
    pub(super) registered: Mutex<HashMap<Requests, Registration>>,
    /// Whether files are waited for, and may be on their way.
    pub(super) watching: bool,
    /// The id of the run that everything is attached to.
    pub(super) run_id: Option<String>,
}

/// Records that were refused for one reason.
pub(super) struct DeadLetter {
    pub(super) target: Target,
    pub(super) subject: Subject,
    pub(super) requests: Option<Requests>,
    pub(super) reason: String,
    pub(super) records: Vec<RefusedRecord>,
}

impl<'a> Context<'a> {
    /// For so many windows on their way at a time, and so many in memory.
    pub(super) fn new(
        lanes: &'a Lanes,
        state: &'a State,
        options: &'a ReplayOptions,
        observer: &'a dyn Observer,
        (flights, windows): (usize, usize),
    ) -> Self {
        Self {
            lanes,
            state,
            options,
            observer,
            patience: Patience::new(options),
            limiter: Limiter::new(options.rate),
            slots: Slots::new(windows, flights),
            target: Target::new(&lanes.destination_name(), None, &options.rewrite),
            is_nameless: false,
            told_later: OnceCell::new(),
            paths: Vec::new(),
            pbfs_turns: Turns::default(),
            key_turns: Turns::default(),
            registered: Mutex::default(),
            watching: false,
            run_id: None,
        }
    }
}

impl Context<'_> {
    /// What checkpoints are keyed by, as far as is known.
    pub(super) fn target(&self) -> &Target {
        self.told_later.get().unwrap_or(&self.target)
    }

    pub(super) fn registered(&self) -> MutexGuard<'_, HashMap<Requests, Registration>> {
        self.registered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps dead letters; they are durable when this returns.
    pub(super) async fn keep(&self, letter: DeadLetter, origin: Option<&Path>) -> Result<(), SegmentError> {
        let Some(dead_letters) = self.state.dead_letters.clone() else { return Ok(()) };
        let origin = origin.map(Path::to_owned);
        blocking(move || {
            let DeadLetter { target, subject, requests, reason, records } = letter;
            let mut dead_letters = dead_letters.lock().unwrap_or_else(PoisonError::into_inner);
            dead_letters.add(&target, &subject, origin.as_deref(), requests.as_ref(), &reason, &records)
        })
        .await
    }

    /// Ends the segment of a job's dead letters, if there is one.
    pub(super) async fn close_letters(&self, target: &Target, subject: Subject) {
        let Some(dead_letters) = self.state.dead_letters.clone() else { return };
        let target = target.clone();
        let closed = blocking(move || {
            dead_letters.lock().unwrap_or_else(PoisonError::into_inner).finish(&target, &subject).map(drop)
        });
        if let Err(error) = closed.await {
            // What it holds is durable, under the name of an open segment.
            tracing::warn!(%error, "a segment of dead letters isn't sealed");
        }
    }
}

/// Runs what writes and syncs beside the asynchronous tasks.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match spawn_blocking(work).await {
        Ok(done) => done,
        // It panicked, which is a bug: let it be seen.
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
