//! A storage that costs nothing; the benchmarks use it too.

use std::io;
use std::path::{Path, PathBuf};

use sift_replay::segment::{Storage, StorageFile};

/// Takes everything and keeps nothing.
pub(crate) struct NullStorage;

impl Storage for NullStorage {
    fn create_dir_all(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn create(&self, _path: &Path) -> io::Result<Box<dyn StorageFile>> {
        Ok(Box::new(NullFile))
    }

    fn rename(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        Ok(())
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, _dir: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }

    fn read(&self, _path: &Path, _limit: u64) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn remove(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }
}

struct NullFile;

impl StorageFile for NullFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        // So that no optimiser finds out.
        std::hint::black_box(bytes);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}
