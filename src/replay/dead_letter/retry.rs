//! The dead letters' way back: they are replayed as any recording is, and the records that they are count as acknowledged
//! from then on.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use futures_util::FutureExt;
use uuid::Uuid;

use super::super::checkpoint::Checkpoints;
use super::super::context::{State, blocking};
use super::super::engine::{Work, replay_until};
use super::super::lane::Lanes;
use super::super::observe::{Observer, ReplayEvent};
use super::super::options::{After, OnReject, ReplayOptions, Selection};
use super::super::report::Report;
use super::super::retire::{Content, Delivered, Kept, RetireError, Retired, retire};
use super::super::retry::{Patience, Stop};
use super::super::target::Target;
use super::read::{DeadLetter, Trouble};
use super::survey::{LetterFile, LetterSession, Survey, next_round, reconcile, survey};
use crate::catalog::{Catalog, DiscoverError, Fingerprint, SeqSet};
use crate::segment::{Disk, SegmentError, Storage};

/// What came of a retry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retried {
    /// The replay's figures, of dead letters of this destination.
    pub report: Report,
    /// Dead letters of other destinations, which weren't touched.
    pub others: BTreeMap<Target, u64>,
    /// Files that nothing could be done with.
    pub troubles: Vec<Trouble>,
}

/// What there is to be retried.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WaitingLetters {
    /// How many dead letters wait for being delivered, by who refused them; 0 where only their files are left.
    pub targets: BTreeMap<Target, u64>,
    /// Files that can't be read or understood, or not wholly.
    pub troubles: Vec<Trouble>,
}

/// Looks for dead letters in some state directories.
///
/// # Errors
/// [`DiscoverError`] if a directory is there and can't be looked into.
pub fn waiting_dead_letters(
    state_dirs: &[PathBuf],
    checkpoints: &Checkpoints,
) -> Result<WaitingLetters, DiscoverError> {
    let Survey { sessions, mut troubles } = survey(state_dirs)?;
    troubles.extend(sessions.iter().flat_map(LetterSession::troubles));
    Ok(WaitingLetters { targets: by_target(sessions.iter(), checkpoints), troubles })
}

fn by_target<'a>(
    sessions: impl Iterator<Item = &'a LetterSession>,
    checkpoints: &Checkpoints,
) -> BTreeMap<Target, u64> {
    let mut targets = BTreeMap::new();
    for session in sessions {
        if let Some(target) = &session.refused_by {
            *targets.entry(target.clone()).or_default() += session.pending(checkpoints).len();
        }
    }
    targets
}

/// Whether a dead letter, of this session of dead letters, still waits for being delivered. To be asked in order: what is
/// known of a session is looked up once.
pub fn undelivered(checkpoints: &Checkpoints) -> impl Fn(Uuid, &DeadLetter<'_>) -> bool {
    let last: RefCell<Option<(String, Uuid, SeqSet)>> = RefCell::default();
    move |session, letter| {
        let Some(refusal) = letter.refusal else { return true };
        let (endpoint, mut last) = (refusal.target.endpoint(), last.borrow_mut());
        let known = last.take().filter(|(its, of, _)| *its == endpoint && *of == session);
        let (.., delivered) = last.insert(known.unwrap_or_else(|| {
            // A session of dead letters has one target.
            (endpoint.to_owned(), session, checkpoints.known(endpoint, session).acknowledged)
        }));
        !delivered.contains(letter.letter)
    }
}

/// Tells everything but the end, which comes once.
struct WithoutSummary<'a>(&'a dyn Observer);

impl Observer for WithoutSummary<'_> {
    fn stream_ended(&self, code: u8) {
        self.0.stream_ended(code);
    }

    fn event(&self, event: &ReplayEvent<'_>) {
        if !matches!(event, ReplayEvent::Summary(_)) {
            self.0.event(event);
        }
    }
}

/// Replays the dead letters in some state directories that this destination has refused, in whatever way they were
/// rewritten. What is acknowledged counts as acknowledged for the recordings as well, and files that are wholly delivered
/// are deleted. What is refused again stays where it is. Of the options, the selection, the rewriting and what concerns
/// refusals and files are of no account.
///
/// Nobody else may be at work in the directories: `state` must have locked them.
///
/// # Errors
/// [`DiscoverError`] if a directory is there and can't be looked into. Whatever else is in the way is in the report.
pub async fn retry_dead_letters(
    interrupted: impl Future<Output = ()> + Send,
    lanes: &Lanes,
    state: &State,
    state_dirs: &[PathBuf],
    options: &ReplayOptions,
    observer: &dyn Observer,
) -> Result<Retried, DiscoverError> {
    let (began, interrupted) = (Instant::now(), interrupted.shared());
    let dirs = state_dirs.to_vec();
    let Survey { mut sessions, troubles } = blocking(move || survey(&dirs)).await?;
    let mut retried = Retried { troubles, ..Retried::default() };
    let quiet = WithoutSummary(observer);
    let asked = tokio::select! {
        organization = organization(lanes, options, &quiet) => organization,
        () = interrupted.clone() => Err(Stop::Interrupted),
    };
    match asked {
        Err(stop) => end(&mut retried.report, &stop),
        Ok(organization) => {
            let endpoint = lanes.destination_name();
            let others = take_others(&mut sessions, &endpoint, organization.as_deref());
            retried.others = by_target(others.iter(), state.checkpoints());
            let again = Again { interrupted, lanes, state, state_dirs, options, observer: &quiet };
            let replayed = again.replay(&sessions, &mut retried.report).await;
            replayed.unwrap_or_else(|stop| end(&mut retried.report, &stop));
            let is_told = |id: Uuid| retried.report.lines.iter().any(|line| line.origin == id.to_string());
            let untold = sessions.iter().filter(|session| !is_told(session.session.id));
            let troubles = untold.flat_map(LetterSession::troubles);
            retried.troubles.extend(troubles);
            retire_all(&sessions, state.checkpoints(), &quiet, &mut retried.report).await;
        }
    }
    retried.report.elapsed = began.elapsed();
    observer.event(&ReplayEvent::Summary(&retried.report));
    Ok(retried)
}

/// Notes why the retry ends early.
fn end(report: &mut Report, stop: &Stop) {
    report.interrupted = *stop == Stop::Interrupted;
    report.failed_here = matches!(stop, Stop::Here(_));
    report.stopped = Some(stop.to_string());
}

/// The organization that the credentials belong to, if anything tells.
async fn organization(lanes: &Lanes, options: &ReplayOptions, observer: &dyn Observer) -> Result<Option<String>, Stop> {
    let patience = Patience::new(options);
    let (mut attempts, mut failed_on) = (patience.attempts(), None);
    loop {
        let lane = lanes.pick(failed_on);
        let error = match lane.connection.organization().await {
            Ok(organization) => return Ok(organization),
            Err(error) => error,
        };
        failed_on = Some(lane.number());
        drop(lane);
        let tell = |attempt, pause| {
            observer.event(&ReplayEvent::Retrying { origin: None, error: &error.to_string(), attempt, pause });
        };
        patience.pause(&mut attempts, &error, tell).await?;
    }
}

/// Leaves in `sessions` those of this destination, and files without a single dead letter; returns the others.
fn take_others(sessions: &mut Vec<LetterSession>, endpoint: &str, organization: Option<&str>) -> Vec<LetterSession> {
    let (mut own, mut others) = (Vec::new(), Vec::new());
    for mut session in sessions.drain(..) {
        let its = session.parts.organization.as_deref();
        // Where nothing told the organization then, the endpoint alone tells whose they are.
        let is_own = session.target.endpoint() == endpoint && (its.is_none() || its == organization);
        if session.refused_by.is_none() {
            own.push(session);
        } else if is_own {
            session.target = Target::new(endpoint, organization, &session.parts.rewrite);
            own.push(session);
        } else {
            others.push(session);
        }
    }
    *sessions = own;
    others
}

struct Again<'a, F: Future<Output = ()>> {
    interrupted: futures_util::future::Shared<F>,
    lanes: &'a Lanes,
    state: &'a State,
    state_dirs: &'a [PathBuf],
    options: &'a ReplayOptions,
    observer: &'a dyn Observer,
}

impl<F: Future<Output = ()>> Again<'_, F> {
    /// Replays what isn't delivered, what is rewritten in one way after the other.
    async fn replay(&self, sessions: &[LetterSession], report: &mut Report) -> Result<(), Stop> {
        let checkpoints = self.state.checkpoints();
        let mut groups: BTreeMap<&Target, Vec<&LetterSession>> = BTreeMap::new();
        for session in sessions.iter().filter(|session| session.refused_by.is_some()) {
            groups.entry(&session.target).or_default().push(session);
        }
        for mut left in groups.into_values() {
            loop {
                // What an earlier retry has delivered, and was killed before it had said so, and what this one has.
                reconcile(checkpoints, &left).await.map_err(|error| Stop::Here(error.to_string()))?;
                let round = next_round(&mut left, checkpoints);
                if round.is_empty() {
                    break;
                }
                self.replay_round(&round, report).await;
                // Whatever ended it, what is acknowledged stays so.
                reconcile(checkpoints, &round.iter().chain(&left).copied().collect::<Vec<_>>())
                    .await
                    .map_err(|error| Stop::Here(error.to_string()))?;
                if report.stopped.is_some() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    async fn replay_round(&self, round: &[&LetterSession], report: &mut Report) {
        let Some(rewrite) = round.first().map(|session| session.parts.rewrite.clone()) else { return };
        let options = ReplayOptions {
            on_reject: OnReject::Skip,
            despite_refusals: true,
            selection: Selection::default(),
            after: After::Keep,
            rewrite,
            ..self.options.clone()
        };
        let sessions = round.iter().map(|session| session.session.clone()).collect();
        let work = Work::once(self.state_dirs, Catalog { sessions, ..Catalog::default() });
        let (interrupted, lanes, state) = (self.interrupted.clone(), self.lanes, self.state);
        let this = replay_until(interrupted, lanes, state, work, &options, self.observer).await;
        report.sessions += this.sessions;
        report.segments += this.segments;
        report.files_unreadable += this.files_unreadable;
        report.lines.extend(this.lines);
        report.interrupted |= this.interrupted;
        report.failed_here |= this.failed_here;
        report.stopped = report.stopped.take().or(this.stopped);
        report.sum();
    }
}

/// Deletes the files of which everything is delivered.
async fn retire_all(
    sessions: &[LetterSession],
    checkpoints: &Checkpoints,
    observer: &dyn Observer,
    report: &mut Report,
) {
    for session in sessions {
        let delivered = session.delivered(checkpoints);
        for file in session.files.iter().filter(|file| file.letters.without(&delivered).is_empty()) {
            let path = &file.path;
            match retire_file(file, &delivered).await {
                Ok(Retired::Deleted | Retired::Archived(_)) => {
                    report.files_deleted += 1;
                    observer.event(&ReplayEvent::Retired { path, archived: None });
                }
                Ok(Retired::Kept(Kept::Gone)) => {}
                Ok(Retired::Kept(kept)) => observer.event(&ReplayEvent::Kept { path, reason: &kept.to_string() }),
                Err(error) => observer.event(&ReplayEvent::Kept { path, reason: &error.to_string() }),
            }
        }
    }
}

async fn retire_file(file: &LetterFile, delivered: &SeqSet) -> Result<Retired, RetireError> {
    let (path, expected, delivered) = (file.path.clone(), file.fingerprint, delivered.clone());
    let unsealed = file.open && file.troubles.is_empty();
    blocking(move || {
        let root = path.parent().unwrap_or(Path::new("."));
        if unsealed {
            return remove_unsealed(&Disk, &path, &expected);
        }
        let content = Content::Segment(&delivered);
        let delivered = Delivered { root, file: &path, expected: &expected, content, abandoned: false };
        retire(&Disk, &After::Delete, &delivered)
    })
    .await
}

/// Removes what its writer couldn't seal any more. It was one of us, and is no more: the directory is locked. What stands
/// behind the last whole frame was never a dead letter.
fn remove_unsealed(storage: &dyn Storage, path: &Path, expected: &Fingerprint) -> Result<Retired, RetireError> {
    let now = Fingerprint::of(path).map_err(SegmentError::io("look at", path))?;
    if now != *expected {
        return Ok(Retired::Kept(Kept::Changed));
    }
    storage.remove(path).map_err(SegmentError::io("remove", path))?;
    let dir = path.parent().unwrap_or(Path::new("."));
    storage.sync_dir(dir).map_err(SegmentError::io("sync the directory", dir))?;
    Ok(Retired::Deleted)
}
