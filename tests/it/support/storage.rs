//! A disk in memory that fails, holds and counts on demand, and knows what a power cut would leave.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use sift_replay::segment::{Storage, StorageFile};

/// What was asked of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Op {
    CreateDir,
    Create,
    Append,
    Sync,
    Rename,
    SyncDir,
    Remove,
}

/// How an operation goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing of it is done.
    Refused,
    /// An append leaves half of its bytes; a sync, a rename or a directory's sync takes effect in part or wholly, and
    /// says that it failed.
    Half,
}

/// Looks at the disk whenever something is asked of it.
type Watch = Box<dyn Fn(&Disk) + Send>;

/// A file's bytes.
#[derive(Debug, Clone, Default)]
struct Content {
    bytes: Vec<u8>,
    /// How many of them a sync has confirmed.
    durable: usize,
    /// An append, sync or rename of it has failed.
    failed: bool,
}

/// What is on the disk.
#[derive(Default)]
pub(crate) struct Disk {
    files: Vec<Content>,
    /// Names as a running computer sees them.
    names: BTreeMap<PathBuf, usize>,
    /// Names that survive a power cut.
    durable_names: BTreeMap<PathBuf, usize>,
    log: Vec<Op>,
    faults: BTreeMap<usize, Fault>,
    /// From this operation on everything is refused.
    dead_from: Option<usize>,
    held: BTreeSet<Op>,
    /// Operations that are waiting to be released.
    waiting: usize,
    violations: Vec<String>,
    watch: Option<Watch>,
}

impl Disk {
    /// Every file as the last sync left it, under the names that are durable: the least that a power cut leaves.
    pub(crate) fn durable(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let files = self.durable_names.iter().map(|(path, &file)| (path, &self.files[file]));
        files.map(|(path, file)| (path.clone(), file.bytes[..file.durable].to_vec())).collect()
    }

    /// Every file as a running computer sees it.
    fn all(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        self.names.iter().map(|(path, &file)| (path.clone(), self.files[file].bytes.clone())).collect()
    }

    /// What some power cut leaves: of what isn't durable, any part, and bytes that were never written.
    pub(crate) fn after_power_cut(&self, mut seed: u64) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut pick = move |below: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize % below.max(1)
        };
        let names = if pick(2) == 0 { &self.names } else { &self.durable_names };
        let mut left = BTreeMap::new();
        for (path, &file) in names {
            let file = &self.files[file];
            let mut bytes = file.bytes[..file.durable + pick(file.bytes.len() - file.durable + 1)].to_vec();
            let unsynced = bytes.len() - file.durable;
            if unsynced > 0 && pick(2) == 0 {
                let from = file.durable + pick(unsynced);
                bytes[from..].fill(0);
            }
            left.insert(path.clone(), bytes);
        }
        left
    }
}

/// A handle to the disk; clones share it.
#[derive(Clone, Default)]
pub(crate) struct FaultyStorage(Arc<Shared>);

#[derive(Default)]
struct Shared {
    disk: Mutex<Disk>,
    changed: Condvar,
}

impl FaultyStorage {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The operation of this number (counted from 0 over all kinds) goes wrong.
    pub(crate) fn fail_at(&self, number: usize, fault: Fault) {
        self.disk().faults.insert(number, fault);
    }

    /// From the operation of this number on, all are refused.
    pub(crate) fn die_at(&self, number: usize) {
        self.disk().dead_from = Some(number);
    }

    /// Operations so far.
    pub(crate) fn log(&self) -> Vec<Op> {
        self.disk().log.clone()
    }

    pub(crate) fn count(&self, op: Op) -> usize {
        self.disk().log.iter().filter(|&&logged| logged == op).count()
    }

    /// From now on operations of this kind wait for [`release`](Self::release).
    pub(crate) fn hold(&self, op: Op) {
        self.disk().held.insert(op);
    }

    pub(crate) fn release(&self) {
        self.disk().held.clear();
        self.0.changed.notify_all();
    }

    /// Returns when an operation is being held.
    pub(crate) fn wait_held(&self) {
        let mut disk = self.disk();
        while disk.waiting == 0 {
            disk = self.0.changed.wait(disk).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Calls `watch` before and after each operation.
    pub(crate) fn watch(&self, watch: impl Fn(&Disk) + Send + 'static) {
        self.disk().watch = Some(Box::new(watch));
    }

    /// Uses of a file after it had failed.
    pub(crate) fn violations(&self) -> Vec<String> {
        self.disk().violations.clone()
    }

    /// Writes what a running computer sees to real files under `dir`.
    pub(crate) fn save(&self, dir: &Path) {
        save(&self.disk().all(), dir);
    }

    /// Writes the least that a power cut leaves to real files under `dir`.
    pub(crate) fn save_durable(&self, dir: &Path) {
        save(&self.disk().durable(), dir);
    }

    /// Writes what some power cut leaves to real files under `dir`.
    pub(crate) fn save_after_power_cut(&self, seed: u64, dir: &Path) {
        save(&self.disk().after_power_cut(seed), dir);
    }

    /// Does one operation, or fails, or waits. `work` gets the disk and whether it is to be done by halves.
    fn operate<T>(
        &self,
        op: Op,
        file: Option<usize>,
        work: impl FnOnce(&mut Disk, bool) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut disk = self.disk();
        if disk.held.contains(&op) {
            disk.waiting += 1;
            self.0.changed.notify_all();
            while disk.held.contains(&op) {
                disk = self.0.changed.wait(disk).unwrap_or_else(PoisonError::into_inner);
            }
            disk.waiting -= 1;
        }
        if let Some(watch) = &disk.watch {
            watch(&disk);
        }
        let number = disk.log.len();
        disk.log.push(op);
        if let Some(file) = file
            && disk.files[file].failed
        {
            disk.violations.push(format!("operation {number}, {op:?}, on a file that had failed"));
        }
        let dead = disk.dead_from.is_some_and(|from| number >= from);
        let fault = if dead { Some(Fault::Refused) } else { disk.faults.get(&number).copied() };
        let result = match fault {
            None => work(&mut disk, false),
            Some(Fault::Refused) => Err(refusal(number)),
            Some(Fault::Half) => work(&mut disk, true).and(Err(refusal(number))),
        };
        if let (Err(_), Some(file)) = (&result, file) {
            disk.files[file].failed = true;
        }
        if let Some(watch) = &disk.watch {
            watch(&disk);
        }
        result
    }
}

fn refusal(number: usize) -> io::Error {
    io::Error::other(format!("operation {number} failed on purpose"))
}

fn save(files: &BTreeMap<PathBuf, Vec<u8>>, dir: &Path) {
    for (path, bytes) in files {
        std::fs::write(dir.join(path.file_name().unwrap()), bytes).unwrap();
    }
}

impl Storage for FaultyStorage {
    fn create_dir_all(&self, _dir: &Path) -> io::Result<()> {
        self.operate(Op::CreateDir, None, |_, _| Ok(()))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        let file = self.operate(Op::Create, None, |disk, _| {
            if disk.names.contains_key(path) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            disk.files.push(Content::default());
            let file = disk.files.len() - 1;
            disk.names.insert(path.to_owned(), file);
            Ok(file)
        })?;
        Ok(Box::new(FaultyFile { storage: self.clone(), file }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let file = self.disk().names.get(from).copied();
        self.operate(Op::Rename, file, |disk, _| {
            let file = disk.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
            assert!(disk.names.insert(to.to_owned(), file).is_none(), "a file was replaced");
            Ok(())
        })
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.operate(Op::SyncDir, None, |disk, _| {
            let inside = |path: &Path| path.parent() == Some(dir);
            disk.durable_names.retain(|path, _| !inside(path));
            let now = disk.names.iter().filter(|(path, _)| inside(path)).map(|(path, &file)| (path.clone(), file));
            disk.durable_names.extend(now.collect::<Vec<_>>());
            Ok(())
        })
    }

    // Reading isn't counted: it changes nothing.
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(self.disk().names.keys().filter(|path| path.parent() == Some(dir)).cloned().collect())
    }

    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let disk = self.disk();
        let file = *disk.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        let bytes = &disk.files[file].bytes;
        if bytes.len() as u64 > limit { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes.clone()) }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.operate(Op::Remove, None, |disk, _| {
            disk.names.remove(path).map(|_| ()).ok_or(io::ErrorKind::NotFound.into())
        })
    }
}

struct FaultyFile {
    storage: FaultyStorage,
    file: usize,
}

impl StorageFile for FaultyFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let file = self.file;
        self.storage.operate(Op::Append, Some(file), |disk, half| {
            let written = if half { bytes.len() / 2 } else { bytes.len() };
            disk.files[file].bytes.extend_from_slice(&bytes[..written]);
            Ok(())
        })
    }

    fn sync(&mut self) -> io::Result<()> {
        let file = self.file;
        self.storage.operate(Op::Sync, Some(file), |disk, half| {
            // A sync that fails has perhaps written some; nothing may rest on it.
            if !half {
                disk.files[file].durable = disk.files[file].bytes.len();
            }
            Ok(())
        })
    }
}
