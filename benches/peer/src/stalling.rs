//! A disk that stalls: each sync that comes a second or more after the last stall takes 200 ms.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sift_replay::segment::{Disk, Storage, StorageFile};

const STALL: Duration = Duration::from_millis(200);
const BETWEEN: Duration = Duration::from_secs(1);

/// The computer's file system, with stalls.
pub(crate) struct Stalling {
    last: Arc<Mutex<Instant>>,
}

impl Stalling {
    pub(crate) fn new() -> Self {
        Self { last: Arc::new(Mutex::new(Instant::now())) }
    }
}

impl Storage for Stalling {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        Disk.create_dir_all(dir)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        Ok(Box::new(StallingFile { file: Disk.create(path)?, last: self.last.clone() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Disk.rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        Disk.sync_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        Disk.list(dir)
    }

    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        Disk.read(path, limit)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        Disk.remove(path)
    }
}

struct StallingFile {
    file: Box<dyn StorageFile>,
    last: Arc<Mutex<Instant>>,
}

impl StorageFile for StallingFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.append(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut last = self.last.lock().expect("nobody panics with it");
        if last.elapsed() >= BETWEEN {
            std::thread::sleep(STALL);
            *last = Instant::now();
        }
        self.file.sync()
    }
}
