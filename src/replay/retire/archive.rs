//! Moving a file into the archive, its path below the searched one kept.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use thiserror::Error;

use super::check::changed;
use super::{Delivered, RetireError, Retired, parent, remove, sync_parent};
use crate::catalog::Fingerprint;
use crate::replay::places::resolve;
use crate::replay::retire::Kept;
use crate::segment::Storage;

/// Ending of a copy that isn't complete.
const PARTIAL_SUFFIX: &str = ".partial";

/// Bytes that are copied and compared at a time.
const COPY_BYTES: usize = 1 << 20;

/// An archive that can't be one.
#[derive(Debug, Error)]
pub enum ArchiveError {
    /// It lies where backups are searched for.
    #[error(
        "the archive {} lies within {}: what is archived would be found again. Choose a directory beside it",
        dir.display(), path.display()
    )]
    Searched {
        /// The archive.
        dir: PathBuf,
        /// What is searched.
        path: PathBuf,
    },
    /// A path leads nowhere.
    #[error("can't tell where {} is: {source}; give a path that begins at the root", path.display())]
    Lost {
        /// The path.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
}

/// Whether `dir` can be the archive of what is found at `paths`; neither need be there yet.
///
/// # Errors
/// [`ArchiveError`] if not.
pub fn check_archive(paths: &[PathBuf], dir: &Path) -> Result<(), ArchiveError> {
    let resolved = |path: &Path| resolve(path).map_err(|source| ArchiveError::Lost { path: path.to_owned(), source });
    let archive = resolved(dir)?;
    for path in paths {
        let place = resolved(path)?;
        // A file would be archived onto itself where it is.
        if archive.starts_with(&place) || (place.is_file() && place.parent() == Some(&archive)) {
            return Err(ArchiveError::Searched { dir: dir.to_owned(), path: path.clone() });
        }
    }
    Ok(())
}

/// Moves a file that may go below `dir`.
pub(super) fn archive(storage: &dyn Storage, dir: &Path, delivered: &Delivered<'_>) -> Result<Retired, RetireError> {
    let file = delivered.file;
    let target = dir.join(relative(delivered.root, file));
    let resolved = |path: &Path| resolve(path).map_err(RetireError::io("find", path, file));
    let (searched, place) = (resolved(delivered.root)?, resolved(&target)?);
    if place == resolved(file)? {
        return Ok(Retired::Kept(Kept::TargetIsItself(target)));
    }
    if place.starts_with(&searched) {
        return Ok(Retired::Kept(Kept::TargetIsSearched(target)));
    }
    if target.symlink_metadata().is_ok() {
        return replaced_by(storage, target, delivered);
    }
    let target_dir = parent(&target);
    storage.create_dir_all(target_dir).map_err(RetireError::io("create the directory", target_dir, file))?;
    match storage.rename(file, &target) {
        Ok(()) => {
            sync_parent(storage, &target, file)?;
            sync_parent(storage, file, file)?;
            Ok(Retired::Archived(target))
        }
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => copy_over(storage, target, delivered),
        Err(error) => Err(RetireError::io("move to the archive", &target, file)(error)),
    }
}

/// The path below the archive. No part of it leads upwards.
fn relative(root: &Path, file: &Path) -> PathBuf {
    let below = file.strip_prefix(root).unwrap_or(Path::new(""));
    let below: PathBuf = below.components().filter(|part| matches!(part, Component::Normal(_))).collect();
    if below.as_os_str().is_empty() { file.file_name().map(PathBuf::from).unwrap_or_default() } else { below }
}

/// Something is in the file's place in the archive: if it is the same, the file is archived already.
fn replaced_by(storage: &dyn Storage, target: PathBuf, delivered: &Delivered<'_>) -> Result<Retired, RetireError> {
    let file = delivered.file;
    let regular = target.symlink_metadata().is_ok_and(|metadata| metadata.is_file());
    // One file with two names, perhaps in one directory that is mounted twice: then they are one.
    let id = Fingerprint::of(&target).map_err(RetireError::io("look at", &target, file))?.id;
    if id.is_some() && id == delivered.expected.id {
        return Ok(Retired::Kept(Kept::TargetIsItself(target)));
    }
    if !regular || !is_same(file, &target).map_err(RetireError::io("compare with", &target, file))? {
        return Ok(Retired::Kept(Kept::TargetDiffers(target)));
    }
    // Whoever put it there may not have synced it.
    storage.sync_file(&target).map_err(RetireError::io("sync", &target, file))?;
    finish(storage, target, delivered)
}

/// Copies a file to another file system, then removes it.
fn copy_over(storage: &dyn Storage, target: PathBuf, delivered: &Delivered<'_>) -> Result<Retired, RetireError> {
    let file = delivered.file;
    let mut name = target.file_name().map(OsString::from).unwrap_or_default();
    name.push(PARTIAL_SUFFIX);
    let partial = target.with_file_name(name);
    // Left by a crash.
    if partial.symlink_metadata().is_ok() {
        storage.remove(&partial).map_err(RetireError::io("remove", &partial, file))?;
    }
    copy(storage, delivered, &partial)?;
    if !is_same(file, &partial).map_err(RetireError::io("read back", &partial, file))? {
        // Either it is a bad copy, or the file isn't what it was.
        return match changed(delivered)? {
            Some(kept) => Ok(Retired::Kept(kept)),
            None => Err(RetireError::BadCopy { copy: partial, file: file.to_owned() }),
        };
    }
    storage.rename(&partial, &target).map_err(RetireError::io("complete the copy", &target, file))?;
    finish(storage, target, delivered)
}

fn copy(storage: &dyn Storage, delivered: &Delivered<'_>, to: &Path) -> Result<(), RetireError> {
    let file = delivered.file;
    let mut source = File::open(file).map_err(RetireError::io("read", file, file))?;
    let mut copy = storage.create(to).map_err(RetireError::io("create", to, file))?;
    let mut buffer = Vec::with_capacity(COPY_BYTES);
    loop {
        buffer.clear();
        let read = source.by_ref().take(COPY_BYTES as u64).read_to_end(&mut buffer);
        if read.map_err(RetireError::io("read", file, file))? == 0 {
            break;
        }
        copy.append(&buffer).map_err(RetireError::io("write to", to, file))?;
    }
    if let Some(modified) = delivered.expected.modified {
        copy.set_modified(modified);
    }
    copy.sync().map_err(RetireError::io("sync", to, file))
}

/// The target is whole: its name is made durable, then the original goes, if it is still what was copied.
fn finish(storage: &dyn Storage, target: PathBuf, delivered: &Delivered<'_>) -> Result<Retired, RetireError> {
    sync_parent(storage, &target, delivered.file)?;
    if let Some(kept) = changed(delivered)? {
        return Ok(Retired::Kept(kept));
    }
    remove(storage, delivered.file)?;
    Ok(Retired::Archived(target))
}

/// Whether two files have the same bytes.
fn is_same(a: &Path, b: &Path) -> io::Result<bool> {
    let (mut a, mut b) = (File::open(a)?, File::open(b)?);
    let (mut of_a, mut of_b) = (Vec::with_capacity(COPY_BYTES), Vec::with_capacity(COPY_BYTES));
    loop {
        of_a.clear();
        of_b.clear();
        a.by_ref().take(COPY_BYTES as u64).read_to_end(&mut of_a)?;
        b.by_ref().take(COPY_BYTES as u64).read_to_end(&mut of_b)?;
        if of_a != of_b {
            return Ok(false);
        }
        if of_a.is_empty() {
            return Ok(true);
        }
    }
}
