//! The keeper: has the replay engine deliver what the live lane didn't, pass by pass over the stream's files, and delete
//! what is confirmed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use uuid::Uuid;

use super::ledger::Ledger;
use crate::catalog::{Catalog, CatalogCache};
use crate::replay::{
    Lanes, Observer, ReplayEvent, ReplayOptions, Report, Selection, Work, replay_until, spawn_blocking,
};

/// How long it must have been quiet before a pass: what was released together is replayed together.
const QUIET: Duration = Duration::from_millis(100);

/// How far the stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// At work.
    On,
    /// The live lane is over: what is left may be replayed until then.
    Last(Instant),
}

/// Replays what a stream has on disk.
pub(super) struct Keeper {
    pub(super) home: PathBuf,
    pub(super) ledger: Arc<Ledger>,
    /// Of its own: it never competes with the live lane for a connection.
    pub(super) lanes: Lanes,
    pub(super) options: ReplayOptions,
    pub(super) phase: watch::Receiver<Phase>,
}

/// What passes tell.
struct Listener<'a>(&'a Ledger);

impl Observer for Listener<'_> {
    fn stream_ended(&self, code: u8) {
        self.0.metrics.status(code);
    }

    fn event(&self, event: &ReplayEvent<'_>) {
        let metrics = &self.0.metrics;
        match event {
            ReplayEvent::Acknowledged { records, .. } => metrics.replayed(*records),
            ReplayEvent::DeadLettered { records, reason, .. } => {
                tracing::warn!(records, reason, "Sift refuses records; they are kept as dead letters");
                metrics.dead_lettered(*records);
            }
            ReplayEvent::Retrying { error, attempt, pause, .. } => {
                tracing::debug!(error, attempt, ?pause, "the replay tries again");
                metrics.retried();
            }
            ReplayEvent::Refused { reason, .. } => tracing::error!(reason, "records on disk can't be delivered"),
            ReplayEvent::Damage { path, damage } => {
                tracing::error!(path = %path.display(), offset = damage.offset, bytes = damage.len, "damage on disk");
            }
            ReplayEvent::Unreadable { path, error } => {
                tracing::error!(path = %path.display(), %error, "a file can't be read");
            }
            ReplayEvent::Retired { path, .. } => tracing::debug!(path = %path.display(), "delivered, and deleted"),
            _ => {}
        }
    }
}

impl Keeper {
    /// Works until the stream has ended and what it left is replayed, or the time for that is over.
    pub(super) async fn run(mut self) {
        let mut cache = CatalogCache::new();
        // Sessions of earlier processes; others that appear later belong to somebody else.
        let mut earlier: Option<Vec<Uuid>> = None;
        loop {
            let last = matches!(*self.phase.borrow(), Phase::Last(_));
            let catalog = self.search(&mut cache).await;
            let earlier = earlier.get_or_insert_with(|| catalog.sessions.iter().map(|session| session.id).collect());
            let stopped = self.pass(catalog, earlier).await.is_some_and(|report| report.stopped.is_some());
            if last || !self.wait(stopped).await {
                return;
            }
        }
    }

    /// Waits until there is something to do; false if there never will be.
    async fn wait(&mut self, stopped: bool) -> bool {
        if stopped {
            // Another attempt may do better, but not at once.
            tokio::select! {
                () = sleep(self.options.longest_pause) => {}
                _ = self.phase.wait_for(|phase| *phase != Phase::On) => {}
            }
        } else {
            tokio::select! {
                () = self.ledger.news.notified() => {}
                _ = self.phase.wait_for(|phase| *phase != Phase::On) => {}
            }
        }
        match *self.phase.borrow() {
            Phase::Last(until) => return Instant::now() < until,
            Phase::On => {}
        }
        sleep(QUIET).await;
        true
    }

    async fn search(&self, cache: &mut CatalogCache) -> Catalog {
        let (home, mut known) = (vec![self.home.clone()], std::mem::take(cache));
        let searched = spawn_blocking(move || (known.scan_existing(&home), known)).await;
        match searched {
            Ok((catalog, known)) => {
                *cache = known;
                catalog
            }
            // It panicked, which is a bug: let it be seen.
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// Replays what there is for it; `None` if there is nothing.
    async fn pass(&self, catalog: Catalog, earlier: &[Uuid]) -> Option<Report> {
        let sessions: Vec<_> = self.ledger.legs().iter().map(|leg| leg.id).chain(earlier.iter().copied()).collect();
        if !catalog.sessions.iter().any(|session| sessions.contains(&session.id)) {
            return None;
        }
        let options =
            ReplayOptions { selection: Selection { sessions, ..Selection::default() }, ..self.options.clone() };
        let work = Work::once(std::slice::from_ref(&self.home), catalog);
        let listener = Listener(&self.ledger);
        let mut phase = self.phase.clone();
        let interrupted = async move {
            // The sender outlives this; were it gone, the stream would be, too.
            let until = match phase.wait_for(|phase| *phase != Phase::On).await.as_deref() {
                Ok(Phase::Last(until)) => *until,
                _ => Instant::now(),
            };
            sleep_until(until).await;
        };
        Some(replay_until(interrupted, &self.lanes, &self.ledger.state, work, &options, &listener).await)
    }
}
