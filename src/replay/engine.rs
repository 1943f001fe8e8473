//! Runs jobs side by side, and again when their files have changed; ends when all is done, or somebody wants it to.

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::context::{Context, State};
use super::job::{self, JobState};
use super::lane::Lanes;
use super::observe::{Observer, ReplayEvent};
use super::options::ReplayOptions;
use super::plan::{Job, JobKey, not_selected, plan};
use super::registering::{persist, target_told};
use super::report::Report;
use super::retiring::{retire_files, tell_kept};
use super::retry::Stop;
use super::searching::Searches;
use super::target::Target;
use crate::catalog::{Catalog, Fingerprint};
use crate::sift::find_or_create_run_named;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

/// Bytes of all windows in memory, being sent or filled: with many lanes, windows are smaller.
const WINDOWS_BYTES: usize = 32 << 20;

/// Windows that are filled or sent for each lane; more may be on their way, which were sent and wait to be acknowledged.
const IN_MEMORY_PER_LANE: usize = 2;

/// Windows on their way at most, whatever is asked for.
const MAX_FLIGHTS: usize = 1 << 10;

/// What is to be replayed.
#[derive(Debug)]
pub struct Work {
    /// The files and directories that were searched.
    pub paths: Vec<PathBuf>,
    /// What they hold.
    pub catalog: Catalog,
    /// Whether to go on when all of that is done: the paths are searched again after file-system events, and after this
    /// time in any case.
    pub watch: Option<Duration>,
}

impl Work {
    /// What was found, and nothing that comes later.
    pub fn once(paths: &[PathBuf], catalog: Catalog) -> Self {
        Self { paths: paths.to_vec(), catalog, watch: None }
    }
}

/// Replays `work` over `lanes`, and reports. What can't be delivered is in the report: nothing is an error here.
pub async fn replay(
    lanes: &Lanes,
    state: &State,
    work: Work,
    options: &ReplayOptions,
    observer: &dyn Observer,
) -> Report {
    replay_until(std::future::pending(), lanes, state, work, options, observer).await
}

/// Like [`replay`], but winds up when `interrupted` is ready: no new windows are sent, those on their way have the
/// [`grace`](ReplayOptions::grace) to be acknowledged, and what wasn't read is in no figure.
pub async fn replay_until(
    interrupted: impl Future<Output = ()>,
    lanes: &Lanes,
    state: &State,
    work: Work,
    options: &ReplayOptions,
    observer: &dyn Observer,
) -> Report {
    let began = Instant::now();
    observer.event(&ReplayEvent::Found(&work.catalog));
    let flights = lanes.count().saturating_mul(options.windows_per_lane.max(1)).min(MAX_FLIGHTS);
    // Those that are being filled count, too: each job that runs must be able to fill one.
    let windows = flights.min(lanes.count().saturating_mul(IN_MEMORY_PER_LANE)).max(active(lanes) + 1);
    let window_bytes = options.window_bytes.min(WINDOWS_BYTES / windows);
    let options = &ReplayOptions { window_bytes, ..options.clone() };
    let mut context = Context::new(lanes, state, options, observer, (flights, windows));
    context.paths.clone_from(&work.paths);
    context.watching = work.watch.is_some();
    let mut interrupted = std::pin::pin!(interrupted);
    let prepared = tokio::select! {
        prepared = prepare(&context) => prepared,
        () = &mut interrupted => {
            context.patience.wind_up();
            Err(Stop::Interrupted)
        }
    };
    match prepared {
        Ok((target, run_id)) => {
            context.is_nameless = target.is_none();
            context.target = target.unwrap_or(context.target);
            context.run_id = run_id;
        }
        Err(Stop::Interrupted) => {}
        Err(stop) => context.patience.fail(stop),
    }
    let mut engine = Engine::new(&context, work);
    engine.run(interrupted).await;
    let mut report = engine.report();
    report.interrupted = context.patience.check() == Err(Stop::Interrupted);
    let failure = context.patience.failure();
    report.failed_here = matches!(failure, Some(Stop::Here(_)));
    let stop = failure.or_else(|| report.interrupted.then_some(Stop::Interrupted));
    report.stopped = stop.map(|stop| stop.to_string());
    report.elapsed = began.elapsed();
    report.sum();
    observer.event(&ReplayEvent::Summary(&report));
    report
}

/// Jobs that run side by side.
fn active(lanes: &Lanes) -> usize {
    lanes.count().max(2)
}

/// Finds out for whom checkpoints are kept, if anybody tells, and the run that everything goes into.
async fn prepare(context: &Context<'_>) -> Result<(Option<Target>, Option<String>), Stop> {
    let target = if context.state.is_kept() { target_told(context).await? } else { None };
    let run_id = match &context.options.rewrite.run {
        None => None,
        Some(name) => {
            let call = |connection| async move { find_or_create_run_named(&connection, name).await };
            Some(persist(context, None, call).await?.0)
        }
    };
    Ok((target, run_id))
}

/// A job, and whether it runs.
struct Known {
    /// As the last search found it.
    job: Job,
    /// Its files when it was begun last.
    begun_with: Vec<(PathBuf, Fingerprint)>,
    /// Those of its files that the last search didn't find any more.
    gone: HashSet<PathBuf>,
    /// `None` while it runs.
    state: Option<Box<JobState>>,
    queued: bool,
}

struct Engine<'a> {
    context: &'a Context<'a>,
    /// `None`: what was found is all.
    searches: Option<Searches>,
    /// What the last search found that isn't a job.
    ignored: u64,
    unreadable: u64,
    not_selected: u64,
    /// Files of all searches.
    files: HashSet<PathBuf>,
    known: HashMap<JobKey, Known>,
    /// In the order in which they were found.
    order: Vec<JobKey>,
    queue: VecDeque<JobKey>,
}

impl<'a> Engine<'a> {
    fn new(context: &'a Context<'a>, work: Work) -> Self {
        let mut engine = Self {
            context,
            // Before the first search is looked at, so that no change is missed.
            searches: work.watch.map(|rescan| Searches::new(work.paths, rescan)),
            ignored: 0,
            unreadable: 0,
            not_selected: 0,
            files: HashSet::new(),
            known: HashMap::new(),
            order: Vec::new(),
            queue: VecDeque::new(),
        };
        engine.take(&work.catalog);
        engine
    }

    /// Takes note of what a search has found; returns whether anything is new.
    fn take(&mut self, catalog: &Catalog) -> bool {
        let before = (self.ignored, self.unreadable, self.files.len());
        self.ignored = catalog.ignored.len() as u64;
        self.unreadable = catalog.unreadable.len() as u64;
        let jobs = plan(catalog, &self.context.options.selection);
        self.not_selected = not_selected(catalog, &jobs);
        for job in jobs {
            self.files.extend(job.files().into_iter().map(|(path, _)| path));
            let key = job.key();
            match self.known.get_mut(&key) {
                Some(known) => (known.job, known.gone) = job.with_gone_of(&known.job),
                None => {
                    self.order.push(key.clone());
                    let state = Some(Box::new(JobState::new(job.clone())));
                    let known = Known { job, begun_with: Vec::new(), gone: HashSet::new(), state, queued: false };
                    self.known.insert(key.clone(), known);
                }
            }
            self.queue_if_changed(&key, true);
        }
        before != (self.ignored, self.unreadable, self.files.len())
    }

    /// Queues a job whose files aren't those with which it was begun last, unless it runs; `found`: they were just found,
    /// so that what didn't go well may be tried again.
    fn queue_if_changed(&mut self, key: &JobKey, found: bool) {
        let Some(known) = self.known.get_mut(key) else { return };
        let Some(state) = known.state.as_mut() else { return };
        let gone = &known.gone;
        for path in known.job.forget(|file| gone.contains(&file.path) && state.memory.has_another(file)) {
            state.findings.forget(&path);
            // It was another name of a file that is there.
            self.files.remove(&path);
        }
        let changed = known.begun_with != known.job.files() || (found && state.wants_another_look());
        if !known.queued && changed {
            known.queued = true;
            self.queue.push_back(key.clone());
        }
    }

    async fn run(&mut self, mut interrupted: std::pin::Pin<&mut impl Future<Output = ()>>) {
        let context = self.context;
        let mut running = FuturesUnordered::new();
        let (mut is_interrupted, mut waiting) = (false, false);
        loop {
            while running.len() < active(context.lanes) && self.may_begin() {
                let Some((key, state)) = self.next() else { break };
                if waiting {
                    // There was nothing in which to make progress.
                    context.patience.progressed();
                }
                running.push(async move { (key, run_and_retire(context, *state).await) });
                waiting = false;
            }
            if running.is_empty() {
                if self.searches.is_none() || context.patience.check().is_err() {
                    break;
                }
                if !std::mem::replace(&mut waiting, true) {
                    context.observer.event(&ReplayEvent::Waiting);
                }
            }
            let is_on = context.patience.check().is_ok();
            tokio::select! {
                biased;
                () = &mut interrupted, if !is_interrupted => {
                    is_interrupted = true;
                    context.patience.wind_up();
                    context.slots.close();
                }
                Some((key, state)) = running.next() => self.done(&key, state),
                catalog = search(&mut self.searches), if is_on => {
                    if self.take(&catalog) {
                        context.observer.event(&ReplayEvent::Found(&catalog));
                    }
                }
            }
        }
        if context.watching {
            let told = self.states().filter(|state| !self.is_elsewhere(state));
            told.for_each(|state| state.findings.tell(state.job.origin(), context.observer));
            self.states().for_each(|state| tell_kept(state, context.observer));
        }
    }

    /// Whether queued jobs are to be begun. After a failure they are read all the same, to be counted; but who watches
    /// doesn't wait for the end.
    fn may_begin(&self) -> bool {
        match self.context.patience.check() {
            Ok(()) => true,
            Err(Stop::Interrupted) => false,
            Err(_) => self.searches.is_none(),
        }
    }

    fn next(&mut self) -> Option<(JobKey, Box<JobState>)> {
        let key = self.queue.pop_front()?;
        let known = self.known.get_mut(&key)?;
        known.queued = false;
        known.begun_with = known.job.files();
        let mut state = known.state.take()?;
        state.job = known.job.clone();
        Some((key, state))
    }

    fn done(&mut self, key: &JobKey, state: JobState) {
        if let Some(known) = self.known.get_mut(key) {
            known.state = Some(Box::new(state));
        }
        if self.searches.is_some() {
            self.queue_if_changed(key, false);
        }
    }

    fn states(&self) -> impl Iterator<Item = &JobState> {
        self.order.iter().filter_map(|key| self.known.get(key)?.state.as_deref())
    }

    /// Whether a backup of the official library that is gone is there under another name, so that nothing that was wrong
    /// with it counts.
    fn is_elsewhere(&self, state: &JobState) -> bool {
        let Job::Pbfs(file) = &state.job else { return false };
        let same = |other: &JobState| match &other.job {
            Job::Pbfs(other) => other.path != file.path && other.fingerprint == file.fingerprint,
            Job::Session(_) => false,
        };
        is_gone(&file.path) && self.states().any(same)
    }

    fn report(&self) -> Report {
        let there = || self.states().filter(|state| !self.is_elsewhere(state));
        let is_pbfs = |key: &&JobKey| matches!(key, JobKey::Pbfs(_));
        let pbfs_files = self.order.iter().filter(is_pbfs).count() as u64;
        Report {
            sessions: self.order.len() as u64 - pbfs_files,
            segments: self.files.len() as u64 - pbfs_files,
            pbfs_files,
            files_ignored: self.ignored,
            files_unreadable: self.unreadable + there().map(|state| state.findings.unreadable()).sum::<u64>(),
            files_not_selected: self.not_selected,
            files_archived: self.states().map(|state| state.archived).sum(),
            files_deleted: self.states().map(|state| state.deleted).sum(),
            lines: self
                .states()
                .filter(|state| state.has_run)
                .map(|state| state.line(!self.is_elsewhere(state)))
                .collect(),
            ..Report::default()
        }
    }
}

async fn run_and_retire(context: &Context<'_>, state: JobState) -> JobState {
    let mut state = job::run(context, state).await;
    retire_files(context, &mut state).await;
    state
}

fn is_gone(path: &Path) -> bool {
    path.symlink_metadata().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}

/// What the next search finds; never anything if nothing is watched.
async fn search(searches: &mut Option<Searches>) -> Catalog {
    match searches {
        Some(searches) => searches.next().await,
        None => std::future::pending().await,
    }
}
