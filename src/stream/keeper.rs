//! The keeper: has the replay engine deliver what the live lane didn't, pass by pass over the stream's files, and delete
//! what is confirmed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use uuid::Uuid;

use super::disk::blocking;
use super::ledger::Ledger;
use crate::catalog::{Catalog, CatalogCache};
use crate::replay::{
    Lanes, Observer, ReplayEvent, ReplayOptions, Report, Selection, Sweeper, Work, replay_until, spawn_blocking,
};

/// How long it must have been quiet before a pass: what was released together is replayed together.
const QUIET: Duration = Duration::from_millis(100);

/// How often what is delivered is looked for while a pass is under way.
const SWEEP: Duration = Duration::from_secs(1);
/// The longest pause before sessions that were refused as a whole are tried once more, should there be no other reason to.
const LONGEST_REST: Duration = Duration::from_secs(300);

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

/// Until when nothing is done.
enum Pause {
    /// Until there is work.
    ForNews,
    /// So long: another attempt may do better, but not at once.
    For(Duration),
    /// Until there is work, or so long.
    AtMost(Duration),
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
            ReplayEvent::Acknowledged { records, .. } => {
                metrics.replayed(*records);
                self.0.settle();
                if *records > 0 {
                    self.0.set_trouble(None);
                }
            }
            ReplayEvent::DeadLettered { records, reason, .. } => {
                tracing::warn!(records, reason, "Sift refuses records; they are kept as dead letters");
                metrics.dead_lettered(*records);
                self.0.settle();
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
        let (mut cache, mut sweeper) = (CatalogCache::new(), Sweeper::default());
        // Sessions of earlier processes; others that appear later belong to somebody else.
        let mut earlier: Option<Vec<Uuid>> = None;
        let mut rest = self.options.longest_pause;
        loop {
            let last = matches!(*self.phase.borrow(), Phase::Last(_));
            let catalog = self.search(&mut cache).await;
            let earlier = earlier.get_or_insert_with(|| catalog.sessions.iter().map(|session| session.id).collect());
            let report = {
                let mut sweeping = std::pin::pin!(self.sweep_always(&mut cache, &mut sweeper));
                tokio::select! {
                    report = self.pass(catalog, earlier) => report.unwrap_or_default(),
                    () = &mut sweeping => Report::default(),
                }
            };
            let is_refused = report.totals.records_refused > 0;
            let pause = match report.stopped {
                Some(_) => Pause::For(self.options.longest_pause),
                None if is_refused => Pause::AtMost(rest),
                None => Pause::ForNews,
            };
            rest = if is_refused { (rest * 2).min(LONGEST_REST) } else { self.options.longest_pause };
            if last || !self.wait(pause).await {
                return;
            }
        }
    }

    /// Waits until there is something to do; false if there never will be.
    async fn wait(&mut self, pause: Pause) -> bool {
        let news = self.ledger.news.notified();
        let over = async {
            match pause {
                Pause::ForNews => news.await,
                Pause::For(pause) => sleep(pause).await,
                Pause::AtMost(pause) => tokio::select! {
                    () = news => {}
                    () = sleep(pause) => {}
                },
            }
        };
        tokio::select! {
            () = over => {}
            _ = self.phase.wait_for(|phase| *phase != Phase::On) => {}
        }
        match *self.phase.borrow() {
            Phase::Last(until) => return Instant::now() < until,
            Phase::On => {}
        }
        sleep(QUIET).await;
        true
    }

    /// Deletes what is delivered while a pass is under way: one that waits for a link, or has a long way to go, mustn't let
    /// the disk fill up.
    async fn sweep_always(&self, cache: &mut CatalogCache, sweeper: &mut Sweeper) {
        loop {
            sleep(SWEEP).await;
            let target = self.ledger.legs().iter().find_map(|leg| Some(leg.registered()?.target.clone()));
            let Some(target) = target else { continue };
            let sessions = self.search(cache).await.sessions;
            let (ledger, home, after) = (self.ledger.clone(), self.home.clone(), self.options.after.clone());
            let mut work = std::mem::take(sweeper);
            let swept = blocking(move || {
                work.sweep(&ledger.state, &target, &home, &sessions, &after);
                work
            });
            *sweeper = swept.await;
        }
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
        let sessions: Vec<_> = self.ledger.sessions().into_iter().chain(earlier.iter().copied()).collect();
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
