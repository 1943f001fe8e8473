//! The journals of one directory: reading all, and making one of many ([F-39]).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::StateError;
use super::facts::{Facts, Forget};
use super::journal::{self, JournalWriter};
use crate::segment::{LockKind, Storage};

/// Directory of the journals within a state directory.
pub(super) const JOURNALS: &str = "checkpoints";

/// Most bytes that a journal may have to be read; one that is written to is replaced by a compact one long before.
const MAX_JOURNAL_BYTES: u64 = 256 << 20;

/// How often a directory is read anew because a journal vanished meanwhile: somebody else makes one of many there.
const MAX_PASSES: usize = 20;

/// What a directory holds.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub(super) facts: Facts,
    /// Files that were read wholly (or never finished), and that nobody is using.
    pub(super) old: Vec<PathBuf>,
    /// Journals that must stay, with the reason.
    pub(super) kept: Vec<(PathBuf, String)>,
}

/// What a directory is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose<'a> {
    /// To know: nothing is locked, not for a moment.
    Look,
    /// To replace its journals; `own` is one that is in use here and may be replaced all the same.
    Replace { own: Option<&'a Path> },
}

/// Reads all journals of a state directory.
pub(super) fn survey(storage: &Arc<dyn Storage>, dir: &Path, purpose: Purpose<'_>) -> Result<Survey, StateError> {
    let dir = dir.join(JOURNALS);
    for _ in 0..MAX_PASSES {
        if let Some(survey) = pass(storage, &dir, purpose)? {
            return Ok(survey);
        }
    }
    let vanished = io::Error::new(io::ErrorKind::NotFound, "files vanish as fast as they are listed");
    Err(StateError::io("read", &dir)(vanished))
}

/// `None` if a journal vanished: what it held is in one that wasn't listed yet.
fn pass(storage: &Arc<dyn Storage>, dir: &Path, purpose: Purpose<'_>) -> Result<Option<Survey>, StateError> {
    let mut survey = Survey::default();
    for path in storage.list(dir).map_err(StateError::io("list", dir))? {
        let leftover = journal::is_leftover(&path);
        if !leftover && !journal::is_journal(&path) {
            continue;
        }
        // Asked before it is read: if its writer has ended by then, it doesn't grow any more.
        let free = match purpose {
            Purpose::Look => Ok(()),
            Purpose::Replace { own } if own == Some(&*path) => Ok(()),
            Purpose::Replace { .. } => match storage.lock(&path, LockKind::Exclusive) {
                Ok(Some(_)) => Ok(()),
                Ok(None) => Err("another sift-replay is writing to it".to_owned()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => Err(format!("it can't be locked: {error}")),
            },
        };
        // What was never finished isn't known: no save that rests on it has returned.
        if leftover {
            survey.old.extend(free.is_ok().then_some(path));
            continue;
        }
        let bytes = match storage.read(&path, MAX_JOURNAL_BYTES) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                tracing::warn!(
                    "can't read {}: {error}; what it says has been delivered will be sent again",
                    path.display()
                );
                survey.kept.push((path, error.to_string()));
                continue;
            }
        };
        let known = journal::read(&path, &bytes, &mut survey.facts);
        match free {
            Ok(()) if known => survey.old.push(path),
            Ok(()) => survey.kept.push((path, "a later version wrote something into it".to_owned())),
            Err(why) => survey.kept.push((path, why)),
        }
    }
    Ok(Some(survey))
}

/// A directory that is written to.
pub(super) struct Compacted {
    /// One journal with all that could be read, durable.
    pub(super) journal: JournalWriter,
    /// What that directory knows, with what stands in journals that were kept.
    pub(super) facts: Facts,
    /// Files whose facts are in `journal`.
    pub(super) old: Vec<PathBuf>,
    /// Journals that must stay, with the reason.
    pub(super) kept: Vec<(PathBuf, String)>,
}

/// Makes one journal of a directory's. The old ones are still there: whoever has given up `own` goes on to
/// [`remove`].
pub(super) fn compact(
    storage: &Arc<dyn Storage>,
    dir: &Path,
    own: Option<&Path>,
    forget: Option<&Forget>,
) -> Result<Compacted, StateError> {
    let journals = dir.join(JOURNALS);
    storage.create_dir_all(&journals).map_err(StateError::io("create the directory", &journals))?;
    let Survey { mut facts, old, kept, .. } = survey(storage, dir, Purpose::Replace { own })?;
    if let Some(what) = forget {
        facts.forget(what);
    }
    let journal = JournalWriter::create(storage, &journals, &mut journal::frames(facts.iter())?)?;
    Ok(Compacted { journal, facts, old, kept })
}

/// Removes journals whose facts are durable elsewhere; returns those that couldn't be.
pub(super) fn remove(storage: &Arc<dyn Storage>, dir: &Path, old: Vec<PathBuf>) -> Vec<(PathBuf, String)> {
    if old.is_empty() {
        return Vec::new();
    }
    let mut kept = Vec::new();
    for path in old {
        match storage.remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => kept.push((path, error.to_string())),
            _ => {}
        }
    }
    let journals = dir.join(JOURNALS);
    if let Err(error) = storage.sync_dir(&journals) {
        kept.push((journals, error.to_string()));
    }
    kept
}
