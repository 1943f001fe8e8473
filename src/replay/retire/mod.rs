//! What happens to a file when all of its records are delivered: nothing, or it is archived, or deleted.
//!
//! Whatever fails, and wherever power is cut: one whole copy of the file is there. The original goes last, after what
//! takes its place is durable and was compared with it; and only if it is still the file that was delivered.

mod archive;
mod check;

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use thiserror::Error;

pub use archive::{ArchiveError, check_archive};

use super::options::After;
use crate::catalog::{Fingerprint, SeqSet};
use crate::segment::{LockKind, SegmentError, SegmentName, Storage};

/// A file that is said to be wholly delivered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Delivered<'a> {
    /// The path that was asked for and below which it was found, or itself.
    pub(super) root: &'a Path,
    pub(super) file: &'a Path,
    /// What it was like when it was delivered.
    pub(super) expected: &'a Fingerprint,
    pub(super) content: Content<'a>,
    /// Whether nobody writes it any more, should it never have been sealed.
    pub(super) abandoned: bool,
}

/// What is in a file, and how much of that is acknowledged or dead-lettered.
#[derive(Debug, Clone, Copy)]
pub(super) enum Content<'a> {
    /// A segment, and the seqs of its session that are done.
    Segment(&'a SeqSet),
    /// A PBFS file, of which so many bytes from the beginning are done.
    Pbfs(u64),
}

/// What became of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Retired {
    Kept(Kept),
    Deleted,
    /// It is here now.
    Archived(PathBuf),
}

/// Why a file stays.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum Kept {
    #[error("as asked for")]
    Asked,
    #[error("it isn't there any more")]
    Gone,
    #[error("it is a link: give the path of the file itself to have that archived or deleted")]
    Link,
    #[error("it has changed since it was replayed; the next replay looks at it again")]
    Changed,
    #[error("it was never sealed: its recorder may still be writing")]
    Open,
    #[error("it has no seal")]
    NotSealed,
    #[error("its bytes from {offset} on are damaged, and nobody knows what they were")]
    Damaged { offset: u64 },
    #[error("it ends in the middle of something, at byte {offset}")]
    Torn { offset: u64 },
    #[error("the frame at byte {offset} is of a later version: a later sift-replay may be able to read it")]
    Unreadable { offset: u64 },
    #[error("records {} to {} aren't delivered", .seqs.start, .seqs.end.saturating_sub(1))]
    NotDelivered { seqs: Range<u64> },
    #[error("its bytes from {offset} on aren't delivered")]
    RestNotDelivered { offset: u64 },
    #[error("the archive has another file of that name, {}: compare the two, and move one away", .0.display())]
    TargetDiffers(PathBuf),
    #[error("its place in the archive, {}, is its own", .0.display())]
    TargetIsItself(PathBuf),
    #[error("its place in the archive, {}, lies where backups are searched for: choose another archive", .0.display())]
    TargetIsSearched(PathBuf),
}

/// A file that can't be retired. One whole copy of it is there.
#[derive(Debug, Error)]
pub(super) enum RetireError {
    #[error(
        "can't {action} {}: {source}. Nothing is lost: {} is whole where it is, or in its new place; the next replay \
         tries again", path.display(), file.display()
    )]
    Io { action: &'static str, path: PathBuf, file: PathBuf, source: io::Error },
    #[error(
        "the copy {} isn't what was written: check the archive's medium. The original, {}, is where it was",
        copy.display(), file.display()
    )]
    BadCopy { copy: PathBuf, file: PathBuf },
    #[error("can't make sure that all of it was delivered: {0}")]
    Check(#[from] SegmentError),
}

impl RetireError {
    /// For `map_err`: wraps the operating system's answer.
    fn io<'a>(action: &'static str, path: &'a Path, file: &'a Path) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self::Io { action, path: path.to_owned(), file: file.to_owned(), source }
    }
}

/// Does with a file what `after` says, unless it must stay.
pub(super) fn retire(storage: &dyn Storage, after: &After, delivered: &Delivered<'_>) -> Result<Retired, RetireError> {
    if *after == After::Keep {
        return Ok(Retired::Kept(Kept::Asked));
    }
    // Held until the file is gone. Where files can't be locked, nothing tells whether its recorder is gone.
    let is_open = SegmentName::of_path(delivered.file).is_some_and(|name| name.open);
    let abandoned = is_open && delivered.abandoned;
    let lock = abandoned.then(|| storage.lock(delivered.file, LockKind::Exclusive));
    if matches!(lock, Some(Ok(None))) {
        return Ok(Retired::Kept(Kept::Open));
    }
    if let Some(kept) = check::reason_to_keep(delivered)? {
        return Ok(Retired::Kept(kept));
    }
    match after {
        After::Keep => Ok(Retired::Kept(Kept::Asked)),
        After::Delete => remove(storage, delivered.file).map(|()| Retired::Deleted),
        After::Archive(dir) => archive::archive(storage, dir, delivered),
    }
}

/// The longest of `paths` that `file` is, or is below.
pub(super) fn root_of<'a>(paths: &'a [PathBuf], file: &Path) -> Option<&'a Path> {
    let roots = paths.iter().filter(|path| file.starts_with(path));
    roots.max_by_key(|path| path.components().count()).map(PathBuf::as_path)
}

/// Removes a file durably.
fn remove(storage: &dyn Storage, file: &Path) -> Result<(), RetireError> {
    storage.remove(file).map_err(RetireError::io("remove", file, file))?;
    sync_parent(storage, file, file)
}

/// Makes the entries of the directory that `path` is in durable; `file` is what is being retired.
fn sync_parent(storage: &dyn Storage, path: &Path, file: &Path) -> Result<(), RetireError> {
    let dir = parent(path);
    storage.sync_dir(dir).map_err(RetireError::io("sync the directory", dir, file))
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests;
