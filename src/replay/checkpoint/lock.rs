//! Locks on state directories: two replays of the same or of overlapping places exclude each other.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::dirs::real;
use super::error::StateError;
use crate::segment::{FileLock, LockKind, Storage};

/// The file that is locked.
const LOCK: &str = "lock";

/// The locks of one replay. They end when this is dropped, or the process dies.
pub(super) struct Locks {
    storage: Arc<dyn Storage>,
    held: Vec<FileLock>,
    dirs: HashSet<PathBuf>,
}

impl Locks {
    pub(super) fn new(storage: Arc<dyn Storage>) -> Self {
        Self { storage, held: Vec::new(), dirs: HashSet::new() }
    }

    /// Makes the directory and locks it alone.
    pub(super) fn make(&mut self, dir: &Path) -> Result<(), StateError> {
        self.storage.create_dir_all(dir).map_err(StateError::io("create the directory", dir))?;
        self.take(dir, LockKind::Exclusive)
    }

    /// Locks a directory if that can be done: where nothing can be written, it is somebody else's to care.
    pub(super) fn try_take(&mut self, dir: &Path, kind: LockKind) -> Result<(), StateError> {
        match self.take(dir, kind) {
            Err(StateError::Io { source, .. }) => {
                tracing::debug!("{} isn't locked: {source}", dir.display());
                Ok(())
            }
            other => other,
        }
    }

    fn take(&mut self, dir: &Path, kind: LockKind) -> Result<(), StateError> {
        let key = real(dir);
        // A lock of one's own is in one's own way.
        if self.dirs.contains(&key) {
            return Ok(());
        }
        self.lock(&dir.join(LOCK), dir, kind)?;
        self.dirs.insert(key);
        Ok(())
    }

    fn lock(&mut self, path: &Path, dir: &Path, kind: LockKind) -> Result<(), StateError> {
        match self.storage.create(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                tracing::debug!("can't create {}: {error}", path.display());
            }
            _ => {}
        }
        match self.storage.lock(path, kind) {
            Ok(Some(mut lock)) => {
                // Of several that share it, none is named; nor is one that is long gone.
                let note = match kind {
                    LockKind::Exclusive => format!("{}\n", std::process::id()),
                    LockKind::Shared => String::new(),
                };
                // A link, or a drive that somebody else has filled, may show another file here than our own.
                if !self.is_note(path) {
                    tracing::debug!("{} holds something else, which stays", path.display());
                } else if let Err(error) = lock.write_note(&note) {
                    tracing::debug!("can't write to {}: {error}", path.display());
                }
                self.held.push(lock);
                Ok(())
            }
            Ok(None) => Err(StateError::Locked { dir: dir.to_owned(), pid: self.owner(path) }),
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                tracing::warn!(
                    "the file system of {} has no locks ({error}): make sure that no other sift-replay is at work there",
                    dir.display()
                );
                Ok(())
            }
            Err(error) => Err(StateError::io("lock", path)(error)),
        }
    }

    /// Whether a lock file holds nothing but what is written here.
    fn is_note(&self, path: &Path) -> bool {
        let is_digit = |byte: &u8| byte.is_ascii_digit() || byte.is_ascii_whitespace();
        self.storage.read(path, 64).is_ok_and(|bytes| bytes.iter().all(is_digit))
    }

    fn owner(&self, path: &Path) -> Option<u32> {
        let text = String::from_utf8(self.storage.read(path, 64).ok()?).ok()?;
        text.trim().parse().ok()
    }
}
