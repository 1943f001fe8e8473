//! For tests: a disk in memory that fails, fills up, rots and loses power on demand.
//!
//! What a sync has confirmed stays, unless it rots. Of everything else a power cut leaves any part: any bytes of what was
//! appended, and any of the changes to directories, each of which (a rename, say) happens wholly or not at all. After a
//! failed sync, what it was for never reaches the disk, though later syncs succeed: the operating system has forgotten
//! that it is still to be written.

mod image;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Cursor};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::image::Change;
pub use self::image::{SimFiles, SimImage};
use super::storage::{Storage, StorageFile, StorageRead};

/// What was asked of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SimOp {
    /// A directory was to be made.
    CreateDir,
    /// A file was to be made.
    Create,
    /// Bytes were to be appended to a file.
    Append,
    /// A file was to be synced.
    Sync,
    /// A file was to be renamed.
    Rename,
    /// A directory was to be synced.
    SyncDir,
    /// A file was to be removed.
    Remove,
}

/// How an operation goes wrong. A sync that goes wrong has written any part of what it was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SimFault {
    /// Nothing is done.
    Refused,
    /// So many bytes of an append are written; anything else is done, and fails all the same.
    Short(usize),
}

/// Called before each operation, with its number.
type Watch = Box<dyn FnMut(usize, &SimImage) + Send>;

#[derive(Default)]
struct State {
    image: SimImage,
    dirs: BTreeSet<PathBuf>,
    log: Vec<SimOp>,
    faults: BTreeMap<usize, SimFault>,
    /// From this operation on everything is refused.
    dead_from: Option<usize>,
    capacity: Option<u64>,
    /// Files of which an operation has failed.
    failed: BTreeSet<usize>,
    violations: Vec<String>,
}

/// The disk; clones are the same one.
#[derive(Clone, Default)]
pub struct SimDisk(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Apart from the state, so that it may look at the disk itself.
    watch: Mutex<Option<Watch>>,
}

impl SimDisk {
    /// An empty disk without faults.
    pub fn new() -> Self {
        Self::default()
    }

    /// A disk that holds these files, durably: what a computer finds when it starts again.
    pub fn of(files: SimFiles) -> Self {
        let disk = Self::new();
        let mut state = disk.state();
        for (path, bytes) in files {
            state.dirs.extend(path.ancestors().skip(1).map(Path::to_owned));
            state.image.put_durable(path, bytes);
        }
        drop(state);
        disk
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The disk as it is now.
    pub fn image(&self) -> SimImage {
        self.state().image.clone()
    }

    /// What was asked of it so far. Reading isn't counted: it changes nothing.
    pub fn log(&self) -> Vec<SimOp> {
        self.state().log.clone()
    }

    /// The operation of this number (counted from 0) goes wrong.
    pub fn fail_at(&self, number: usize, fault: SimFault) {
        self.state().faults.insert(number, fault);
    }

    /// From the operation of this number on, all are refused.
    pub fn die_at(&self, number: usize) {
        self.state().dead_from = Some(number);
    }

    /// The disk holds so many bytes; what doesn't fit is [`io::ErrorKind::StorageFull`]. `None`: any number.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state().capacity = bytes;
    }

    /// Changes what is durable, as a medium does that rots. Nothing if there is no such file.
    pub fn rot(&self, path: &Path, change: impl FnOnce(&mut [u8])) {
        self.state().image.rot(path, change);
    }

    /// Calls `watch` before each operation, with its number and the disk as it is then: at no other time does what a power
    /// cut leaves change.
    pub fn watch(&self, watch: impl FnMut(usize, &SimImage) + Send + 'static) {
        *self.0.watch.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(watch));
    }

    /// Uses of a file after one of it had failed: nothing may be written to it any more.
    pub fn violations(&self) -> Vec<String> {
        self.state().violations.clone()
    }

    /// Does one operation, or fails. `work` is told how many bytes of it to do.
    fn operate<T>(
        &self,
        op: SimOp,
        file: Option<usize>,
        work: impl FnOnce(&mut State, usize) -> io::Result<T>,
    ) -> io::Result<T> {
        if let Some(watch) = &mut *self.0.watch.lock().unwrap_or_else(PoisonError::into_inner) {
            let (number, image) = {
                let state = self.state();
                (state.log.len(), state.image.clone())
            };
            watch(number, &image);
        }
        let mut state = self.state();
        let number = state.log.len();
        state.log.push(op);
        if file.is_some_and(|file| state.failed.contains(&file)) {
            state.violations.push(format!("operation {number}, {op:?}, on a file that had failed"));
        }
        let dead = state.dead_from.is_some_and(|from| number >= from);
        let fault = if dead { Some(SimFault::Refused) } else { state.faults.get(&number).copied() };
        let refusal = || io::Error::other(format!("operation {number} failed on purpose"));
        let result = match fault {
            None => work(&mut state, usize::MAX),
            Some(SimFault::Refused) => Err(refusal()),
            Some(SimFault::Short(bytes)) => work(&mut state, bytes).and(Err(refusal())),
        };
        if let (Err(_), Some(file)) = (&result, file) {
            state.failed.insert(file);
            if op == SimOp::Sync {
                // What it was for will never be written.
                state.image.forget_unsynced(file);
            }
        }
        result
    }
}

impl std::fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimDisk").field("operations", &self.state().log.len()).finish_non_exhaustive()
    }
}

impl Storage for SimDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.operate(SimOp::CreateDir, None, |state, _| {
            state.dirs.extend(dir.ancestors().map(Path::to_owned));
            Ok(())
        })
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        let file = self.operate(SimOp::Create, None, |state, _| {
            if path.parent().is_some_and(|dir| !state.dirs.contains(dir)) {
                return Err(io::ErrorKind::NotFound.into());
            }
            if state.image.file(path).is_some() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            Ok(state.image.create(path))
        })?;
        Ok(Box::new(SimFile { disk: self.clone(), file }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let file = self.state().image.file(from);
        self.operate(SimOp::Rename, file, |state, _| {
            let file = file.ok_or(io::ErrorKind::NotFound)?;
            if state.image.file(to).is_some() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            state.image.change(Change::Rename { file, from: from.to_owned(), to: to.to_owned() });
            Ok(())
        })
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.operate(SimOp::SyncDir, None, |state, _| {
            state.image.sync_dir(dir);
            Ok(())
        })
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let state = self.state();
        Ok(state.image.names().filter(|path| path.parent() == Some(dir)).cloned().collect())
    }

    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let state = self.state();
        let bytes = state.image.bytes(path).ok_or(io::ErrorKind::NotFound)?;
        if bytes.len() as u64 > limit { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes.to_vec()) }
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn StorageRead>> {
        Ok(Box::new(Cursor::new(self.read(path, u64::MAX)?)))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.operate(SimOp::Remove, None, |state, _| {
            let file = state.image.file(path).ok_or(io::ErrorKind::NotFound)?;
            state.image.change(Change::Remove { file, path: path.to_owned() });
            Ok(())
        })
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        let file = self.state().image.file(path);
        self.operate(SimOp::Sync, file, |state, _| {
            state.image.sync(file.ok_or(io::ErrorKind::NotFound)?);
            Ok(())
        })
    }
}

struct SimFile {
    disk: SimDisk,
    file: usize,
}

impl StorageFile for SimFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let file = self.file;
        self.disk.operate(SimOp::Append, Some(file), |state, most| {
            let room = state.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(state.image.used()));
            let room = usize::try_from(room).unwrap_or(usize::MAX);
            let written = bytes.get(..most.min(room)).unwrap_or(bytes);
            state.image.append(file, written);
            if written.len() < bytes.len() && room < bytes.len() {
                Err(io::ErrorKind::StorageFull.into())
            } else {
                Ok(())
            }
        })
    }

    fn sync(&mut self) -> io::Result<()> {
        let file = self.file;
        self.disk.operate(SimOp::Sync, Some(file), |state, _| {
            state.image.sync(file);
            Ok(())
        })
    }
}
