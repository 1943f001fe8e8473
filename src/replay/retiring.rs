//! Archives or deletes a job's files when all of their records are delivered.

#[cfg(feature = "stream")]
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[cfg(feature = "stream")]
use super::context::State;
use super::context::{Context, blocking};
use super::job::JobState;
use super::observe::{Observer, ReplayEvent};
use super::options::After;
use super::plan::Job;
use super::retire::{Content, Delivered, Kept, RetireError, Retired, retire, root_of};
#[cfg(feature = "stream")]
use super::target::Target;
#[cfg(feature = "stream")]
use crate::catalog::Session;
use crate::catalog::{Fingerprint, SegmentFile, SeqSet};
use crate::segment::Disk;

/// One file, with what is known of it.
struct Candidate {
    path: PathBuf,
    fingerprint: Fingerprint,
    done: Done,
}

/// What of it is delivered.
#[derive(Clone)]
enum Done {
    Segment(Arc<SeqSet>),
    Pbfs(u64),
}

impl Candidate {
    /// What is decided by: as long as it is the same, so is the decision.
    fn basis(&self) -> (Fingerprint, u64) {
        let done = match &self.done {
            Done::Segment(seqs) => seqs.len(),
            Done::Pbfs(end) => *end,
        };
        (self.fingerprint, done)
    }
}

/// A file that wasn't archived or deleted.
#[derive(Debug)]
pub(super) struct KeptFile {
    /// What that was decided by; `None` if another attempt may do better.
    because: Option<(Fingerprint, u64)>,
    reason: String,
    told: bool,
}

/// Does with the files of a job what is asked for, as far as they are wholly delivered, and tells.
pub(super) async fn retire_files(context: &Context<'_>, state: &mut JobState) {
    let after = &context.options.after;
    if *after == After::Keep || context.patience.check().is_err() {
        return;
    }
    for candidate in candidates(context, state) {
        let Candidate { path, fingerprint, done } = &candidate;
        let because = Some(candidate.basis());
        if state.kept.get(path).is_some_and(|kept| kept.because == because) {
            continue;
        }
        let Some(root) = root_of(&context.paths, path) else { continue };
        let (root, file, after) = (root.to_owned(), path.clone(), after.clone());
        let (expected, done) = (*fingerprint, done.clone());
        let abandoned = context.options.after_unsealed && is_over(context, &state.job);
        let retired = blocking(move || {
            let content = match &done {
                Done::Segment(seqs) => Content::Segment(seqs),
                Done::Pbfs(end) => Content::Pbfs(*end),
            };
            let expected = &expected;
            retire(&Disk, &after, &Delivered { root: &root, file: &file, expected, content, abandoned })
        });
        tell(context, state, &candidate, retired.await);
    }
}

/// Whether nobody records the job's session any more, as far as this process knows.
fn is_over(context: &Context<'_>, job: &Job) -> bool {
    matches!(job, Job::Session(session) if !context.state.held.holds(session.id))
}

fn candidates(context: &Context<'_>, state: &JobState) -> Vec<Candidate> {
    let candidate =
        |path: &Path, fingerprint: Fingerprint, done| Candidate { path: path.to_owned(), fingerprint, done };
    match &state.job {
        Job::Session(session) => {
            let target = state.target.as_ref().unwrap_or(context.target());
            let done = Arc::new(context.state.checkpoints.done(target, session.id).all());
            let of = |file: &SegmentFile| candidate(&file.path, file.fingerprint, Done::Segment(done.clone()));
            session.segments.iter().map(of).collect()
        }
        // Nothing tells whether such a file is finished: whoever looks at it once says so, whoever watches doesn't.
        Job::Pbfs(_) if context.watching => Vec::new(),
        // How far it is done doesn't tell what of that was asked for.
        Job::Pbfs(file) if context.options.selection.looks_into_records() => {
            vec![candidate(&file.path, file.fingerprint, Done::Pbfs(0))]
        }
        Job::Pbfs(file) => vec![candidate(&file.path, file.fingerprint, Done::Pbfs(state.delivered_end()))],
    }
}

/// Sealed segments below a directory that go as soon as all of their records are delivered, while a replay may be at work.
#[cfg(feature = "stream")]
#[derive(Debug, Default)]
pub(crate) struct Sweeper {
    /// Why files stay: as long as that is the same, they aren't read again.
    kept: HashMap<PathBuf, (Fingerprint, u64)>,
}

#[cfg(feature = "stream")]
impl Sweeper {
    /// Does with the sealed segments of these sessions what `after` says, as far as they are wholly delivered to `target`.
    /// Blocks. What goes wrong is logged: the next replay says more.
    pub(crate) fn sweep(&mut self, state: &State, target: &Target, root: &Path, sessions: &[Session], after: &After) {
        if *after == After::Keep {
            return;
        }
        for session in sessions {
            let done = state.checkpoints.done(target, session.id).all();
            let files = session.segments.iter().filter(|file| {
                file.sealed
                    .as_ref()
                    .is_some_and(|sealed| sealed.seqs.ranges().all(|seqs| done.missing_in(seqs).is_empty()))
            });
            for file in files {
                let basis = (file.fingerprint, done.len());
                if self.kept.get(&file.path) == Some(&basis) {
                    continue;
                }
                let (expected, content) = (&file.fingerprint, Content::Segment(&done));
                let delivered = Delivered { root, file: &file.path, expected, content, abandoned: false };
                match retire(&Disk, after, &delivered) {
                    Ok(Retired::Kept(kept)) => {
                        tracing::debug!(path = %file.path.display(), %kept, "a delivered segment stays");
                        self.kept.insert(file.path.clone(), basis);
                    }
                    Ok(Retired::Deleted | Retired::Archived(_)) => {
                        self.kept.remove(&file.path);
                        tracing::debug!(path = %file.path.display(), "delivered, and deleted");
                    }
                    Err(error) => tracing::warn!(path = %file.path.display(), %error, "a delivered segment stays"),
                }
            }
        }
    }
}

/// Takes note of what became of a file, and tells, while files are watched of each reason once.
fn tell(context: &Context<'_>, state: &mut JobState, candidate: &Candidate, retired: Result<Retired, RetireError>) {
    let (observer, path) = (context.observer, &*candidate.path);
    let kept = match retired {
        Ok(Retired::Deleted) => {
            state.deleted += 1;
            observer.event(&ReplayEvent::Retired { path, archived: None });
            None
        }
        Ok(Retired::Archived(archived)) => {
            state.archived += 1;
            observer.event(&ReplayEvent::Retired { path, archived: Some(&archived) });
            None
        }
        Ok(Retired::Kept(Kept::Gone | Kept::Changed)) if context.watching => None,
        Ok(Retired::Kept(kept)) => Some((kept.to_string(), context.watching && may_change(&kept), true)),
        Err(error) => Some((error.to_string(), false, false)),
    };
    let before = state.kept.remove(path);
    let Some((reason, later, lasting)) = kept else { return };
    let told = before.is_some_and(|before| before.told && before.reason == reason);
    if !told && !later {
        observer.event(&ReplayEvent::Kept { path, reason: &reason });
    }
    let because = lasting.then(|| candidate.basis());
    state.kept.insert(path.to_owned(), KeptFile { because, reason, told: told || !later });
}

/// Whether a file that is kept may be on its way: a recorder writes it, or it is being copied.
fn may_change(kept: &Kept) -> bool {
    matches!(kept, Kept::Open | Kept::NotSealed | Kept::Torn { .. } | Kept::Damaged { .. })
}

/// Tells which files were kept, as far as that wasn't told while they were watched.
pub(super) fn tell_kept(state: &JobState, observer: &dyn Observer) {
    for (path, kept) in state.kept.iter().filter(|(path, kept)| !kept.told && path.symlink_metadata().is_ok()) {
        observer.event(&ReplayEvent::Kept { path, reason: &kept.reason });
    }
}
