//! Archives or deletes a job's files when all of their records are delivered.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::context::{Context, blocking};
use super::job::JobState;
use super::observe::ReplayEvent;
use super::options::After;
use super::plan::Job;
use super::retire::{Content, Delivered, Kept, RetireError, Retired, retire, root_of};
use crate::catalog::{Fingerprint, SegmentFile, SeqSet};
use crate::segment::Disk;

/// One file, with what is known of it.
struct Candidate {
    path: PathBuf,
    fingerprint: Fingerprint,
    scanned: bool,
    done: Done,
}

/// What of it is delivered.
#[derive(Clone)]
enum Done {
    Segment(Arc<SeqSet>),
    Pbfs(u64),
}

/// Does with the files of a job what is asked for, as far as they are wholly delivered, and tells.
pub(super) async fn retire_files(context: &Context<'_>, state: &mut JobState) {
    let after = &context.options.after;
    if *after == After::Keep || context.patience.check().is_err() {
        return;
    }
    for candidate in candidates(context, state) {
        let Candidate { path, fingerprint, scanned, done } = candidate;
        let Some(root) = root_of(&context.paths, &path) else { continue };
        let (root, file, after) = (root.to_owned(), path.clone(), after.clone());
        let retired = blocking(move || {
            let content = match &done {
                Done::Segment(seqs) => Content::Segment(seqs),
                Done::Pbfs(end) => Content::Pbfs(*end),
            };
            retire(&Disk, &after, &Delivered { root: &root, file: &file, expected: &fingerprint, content, scanned })
        });
        tell(context, state, &path, retired.await);
    }
}

fn candidates(context: &Context<'_>, state: &JobState) -> Vec<Candidate> {
    let candidate =
        |path: &Path, fingerprint, scanned, done| Candidate { path: path.to_owned(), fingerprint, scanned, done };
    match &state.job {
        Job::Session(session) => {
            let target = state.target.as_ref().unwrap_or(context.target());
            let done = Arc::new(context.state.checkpoints.done(target, session.id).all());
            let of = |file: &SegmentFile| {
                let scanned = state.memory.has_read_whole(&file.path, &file.fingerprint, &done);
                candidate(&file.path, file.fingerprint, scanned, Done::Segment(done.clone()))
            };
            session.segments.iter().map(of).collect()
        }
        // Nothing tells whether such a file is finished: whoever looks at it once says so, whoever watches doesn't.
        Job::Pbfs(_) if context.watching => Vec::new(),
        // Whether all of it is delivered is easily looked up again.
        Job::Pbfs(file) => vec![candidate(&file.path, file.fingerprint, false, Done::Pbfs(state.delivered_end()))],
    }
}

fn tell(context: &Context<'_>, state: &mut JobState, path: &Path, retired: Result<Retired, RetireError>) {
    let observer = context.observer;
    match retired {
        Ok(Retired::Deleted) => {
            state.deleted += 1;
            observer.event(&ReplayEvent::Retired { path, archived: None });
        }
        Ok(Retired::Archived(archived)) => {
            state.archived += 1;
            observer.event(&ReplayEvent::Retired { path, archived: Some(&archived) });
        }
        // Files come and grow while they are watched.
        Ok(Retired::Kept(Kept::Open | Kept::Changed | Kept::NotDelivered { .. } | Kept::Gone)) if context.watching => {}
        Ok(Retired::Kept(kept)) => observer.event(&ReplayEvent::Kept { path, reason: &kept.to_string() }),
        Err(error) => observer.event(&ReplayEvent::Kept { path, reason: &error.to_string() }),
    }
}
