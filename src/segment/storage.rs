//! The one seam through which files are written: append, sync, rename, remove, sync a directory. The recorder and the
//! replayer's checkpoints know no other way to a disk, so that tests can put a failing or crashing one in its place.

use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Cursor, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A place where segments are written.
pub trait Storage: Send + Sync + 'static {
    /// Creates a directory with its parents, durably: when this returns, a power cut doesn't undo it.
    ///
    /// # Errors
    /// The operating system's.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// Creates a file for appending; one of that name must not exist.
    ///
    /// # Errors
    /// The operating system's.
    fn create(&self, path: &Path) -> io::Result<Box<dyn StorageFile>>;

    /// Renames a file, replacing none; durable only after [`sync_dir`](Self::sync_dir) of the directory that it is in then,
    /// and of the one that it was in.
    ///
    /// # Errors
    /// The operating system's; [`io::ErrorKind::CrossesDevices`] if the file would have to be copied.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Makes the directory's entries (files created, renamed) durable.
    ///
    /// # Errors
    /// The operating system's.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// The files directly in a directory, in the order of their names; none if it doesn't exist.
    ///
    /// # Errors
    /// The operating system's.
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>>;

    /// All bytes of a file.
    ///
    /// # Errors
    /// The operating system's; [`io::ErrorKind::FileTooLarge`] if there are more than `limit`;
    /// [`io::ErrorKind::InvalidInput`] if it isn't a regular file.
    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>>;

    /// Opens a file for reading, from anywhere in it. The default takes all of it into memory.
    ///
    /// # Errors
    /// The operating system's.
    fn open(&self, path: &Path) -> io::Result<Box<dyn StorageRead>> {
        Ok(Box::new(Cursor::new(self.read(path, u64::MAX)?)))
    }

    /// Removes a file; durable only after [`sync_dir`](Self::sync_dir).
    ///
    /// # Errors
    /// The operating system's.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Locks a file that exists; `None` if somebody else has locked it, in this process or another. A storage that only
    /// one process can know needs no locks; the default locks nothing.
    ///
    /// # Errors
    /// The operating system's; [`io::ErrorKind::Unsupported`] if the file system has no locks;
    /// [`io::ErrorKind::InvalidInput`] if it isn't a regular file.
    fn lock(&self, path: &Path, kind: LockKind) -> io::Result<Option<FileLock>> {
        let _ = (path, kind);
        Ok(Some(FileLock::nothing()))
    }

    /// Returns when all bytes of a file that somebody else wrote are on stable storage.
    ///
    /// # Errors
    /// The operating system's; [`io::ErrorKind::Unsupported`] where this can't be had.
    fn sync_file(&self, _path: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// A file that is read: nothing of it is changed.
pub trait StorageRead: Read + Seek + Send + Sync {}

impl<T: Read + Seek + Send + Sync> StorageRead for T {}

/// How a file is locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockKind {
    /// Beside others that are shared.
    Shared,
    /// Alone.
    Exclusive,
}

/// A lock on a file. It ends when this is dropped, and at the latest with the process, however that ends.
#[derive(Debug)]
pub struct FileLock(Option<File>);

impl FileLock {
    /// For a storage that nobody else knows: locks nothing.
    pub fn nothing() -> Self {
        Self(None)
    }

    /// Replaces what is in the file, which is there for people: nothing rests on it.
    ///
    /// # Errors
    /// The operating system's.
    pub fn write_note(&mut self, text: &str) -> io::Result<()> {
        let Some(file) = &mut self.0 else { return Ok(()) };
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(text.as_bytes())
    }
}

/// A file that is appended to. After an error it must not be used any more.
pub trait StorageFile: Send {
    /// Appends all of `bytes`.
    ///
    /// # Errors
    /// The operating system's; any part of `bytes` may have been written.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Returns when all that was appended is on stable storage.
    ///
    /// # Errors
    /// The operating system's; then what was appended since the last sync may be lost.
    fn sync(&mut self) -> io::Result<()>;

    /// Locks the file exclusively, for as long as it is open; false if somebody else has locked it. The default locks
    /// nothing.
    ///
    /// # Errors
    /// The operating system's.
    fn lock(&mut self) -> io::Result<bool> {
        Ok(true)
    }

    /// Makes the file look as if it was written last at `time`. Only for people: where it can't be done, nothing is.
    fn set_modified(&mut self, _time: SystemTime) {}
}

/// The computer's file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct Disk;

impl Storage for Disk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
        if dir.is_dir() {
            // Whoever made it may not have synced that. Where it can't be done, it is not ours to do.
            let _ = self.sync_dir(parent.unwrap_or(Path::new(".")));
            return Ok(());
        }
        if let Some(parent) = parent {
            self.create_dir_all(parent)?;
        }
        match fs::create_dir(dir) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => {}
            other => other?,
        }
        self.sync_dir(parent.unwrap_or(Path::new(".")))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        let file = OpenOptions::new().append(true).create_new(true).open(path)?;
        Ok(Box::new(DiskFile(file)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        // A link counts as well, wherever it leads.
        if to.symlink_metadata().is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        fs::rename(from, to)
    }

    #[cfg(unix)]
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    // Elsewhere a directory can't be opened to be synced; the file system's journal keeps renames in order.
    #[cfg(not(unix))]
    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut files = Vec::new();
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                files.push(entry.path());
            }
        }
        files.sort();
        Ok(files)
    }

    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        check_regular(path)?;
        // Grows with what is there.
        File::open(path)?.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn StorageRead>> {
        Ok(Box::new(open_file(path)?))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn lock(&self, path: &Path, kind: LockKind) -> io::Result<Option<FileLock>> {
        check_regular(path)?;
        // Some file systems lock alone only what is open for writing; a read-only one can be locked all the same.
        let file = OpenOptions::new().read(true).write(true).open(path).or_else(|_| File::open(path))?;
        let locked = match kind {
            LockKind::Shared => file.try_lock_shared(),
            LockKind::Exclusive => file.try_lock(),
        };
        Ok(held(locked)?.then_some(FileLock(Some(file))))
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        check_regular(path)?;
        // Windows syncs only what could be written to.
        OpenOptions::new().read(true).write(cfg!(windows)).open(path)?.sync_all()
    }
}

/// Whoever fills a drive can put a pipe where a file is expected, which would wait for a writer; or a link, through which
/// a file of somebody else's would be opened for writing.
fn check_regular(path: &Path) -> io::Result<()> {
    match path.symlink_metadata()?.is_file() {
        true => Ok(()),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, NOT_REGULAR)),
    }
}

/// Opens a file for reading, also through a link. A pipe would wait for a writer, and a device has no end: both are refused.
pub(crate) fn open_file(path: &Path) -> io::Result<File> {
    open_known(path).map(|(file, _)| file)
}

/// Like [`open_file`]; also what the file system said of the file just before.
pub(crate) fn open_known(path: &Path) -> io::Result<(File, Metadata)> {
    let metadata = path.metadata()?;
    match metadata.is_file() {
        true => Ok((File::open(path)?, metadata)),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, NOT_REGULAR)),
    }
}

/// What is said of it.
const NOT_REGULAR: &str = "it is not a regular file, but a link, a pipe or a device";

/// Whether a lock was had.
fn held(locked: Result<(), TryLockError>) -> io::Result<bool> {
    match locked {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(io::Error::new(io::ErrorKind::Unsupported, error)),
    }
}

struct DiskFile(File);

impl StorageFile for DiskFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn lock(&mut self) -> io::Result<bool> {
        held(self.0.try_lock())
    }

    fn set_modified(&mut self, time: SystemTime) {
        let _ = self.0.set_modified(time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use io::ErrorKind::{AlreadyExists, FileTooLarge, InvalidInput, NotFound};

    fn kind<T>(result: io::Result<T>) -> Option<io::ErrorKind> {
        result.err().map(|error| error.kind())
    }

    #[test]
    fn nothing_that_exists_is_created_anew_or_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        for (path, bytes) in [(&one, b"1"), (&two, b"2")] {
            Disk.create(path).unwrap().append(bytes).unwrap();
            assert_eq!(kind(Disk.create(path)), Some(AlreadyExists));
        }
        assert_eq!(kind(Disk.rename(&one, &two)), Some(AlreadyExists));
        assert_eq!((fs::read(&one).unwrap(), fs::read(&two).unwrap()), (b"1".to_vec(), b"2".to_vec()));
        Disk.remove(&two).unwrap();
        Disk.rename(&one, &two).unwrap();
        assert_eq!((kind(Disk.read(&one, 9)), Disk.read(&two, 9).unwrap()), (Some(NotFound), b"1".to_vec()));
    }

    #[test]
    fn directories_are_made_with_their_parents_unless_a_file_stands_there() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b/c");
        Disk.create_dir_all(&deep).unwrap();
        Disk.create_dir_all(&deep).unwrap();
        assert!(deep.is_dir());
        let file = deep.join("file");
        fs::write(&file, "").unwrap();
        assert_eq!(kind(Disk.create_dir_all(&file)), Some(AlreadyExists));
        assert!(Disk.create_dir_all(&file.join("below")).is_err());
    }

    #[test]
    fn whoever_makes_a_directory_at_the_same_time_does_no_harm() {
        let dir = tempfile::tempdir().unwrap();
        let begin = std::sync::Barrier::new(4);
        let made = |i: usize| {
            begin.wait();
            Disk.create_dir_all(&dir.path().join(i.to_string()))
        };
        std::thread::scope(|scope| {
            // Asked when all are done: who doesn't come to the barrier keeps the others waiting.
            let all: Vec<_> = (0..4).map(|_| scope.spawn(|| (0..50).map(made).collect::<Vec<_>>())).collect();
            all.into_iter().flat_map(|thread| thread.join().unwrap()).for_each(Result::unwrap);
        });
    }

    #[test]
    fn a_list_has_the_files_in_the_order_of_their_names_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let [a, b, c] = ["a", "b", "c"].map(|name| dir.path().join(name));
        fs::create_dir(&b).unwrap();
        [&c, &a].into_iter().for_each(|path| fs::write(path, "").unwrap());
        assert_eq!(Disk.list(dir.path()).unwrap(), [a.clone(), c]);
        assert_eq!(Disk.list(&dir.path().join("none")).unwrap(), Vec::<PathBuf>::new());
        assert!(Disk.list(&a).is_err(), "a file is no directory without files");
    }

    #[test]
    fn no_more_is_read_than_may_be() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "12345").unwrap();
        assert_eq!(Disk.read(&path, 5).unwrap(), b"12345");
        assert_eq!(kind(Disk.read(&path, 4)), Some(FileTooLarge));
        assert_eq!(kind(Disk.read(&path, 0)), Some(FileTooLarge));
        assert_eq!(Disk.read(&path, u64::MAX).unwrap(), b"12345");
    }

    #[cfg(unix)]
    #[test]
    fn through_a_link_a_file_is_opened_and_never_locked_or_synced_nor_is_what_is_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        fs::write(&file, "1").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        for path in [&link, dir.path()] {
            assert_eq!(kind(Disk.read(path, 9)), Some(InvalidInput));
            assert_eq!(kind(Disk.lock(path, LockKind::Shared)), Some(InvalidInput));
            assert_eq!(kind(Disk.sync_file(path)), Some(InvalidInput));
        }
        assert_eq!((kind(Disk.open(&link)), kind(Disk.open(dir.path()))), (None, Some(InvalidInput)));
    }

    #[cfg(unix)]
    #[test]
    fn what_the_system_did_not_sync_does_not_count_as_synced() {
        let dir = tempfile::tempdir().unwrap();
        let none = dir.path().join("none");
        assert_eq!((kind(Disk.sync_dir(&none)), kind(Disk.sync_file(&none))), (Some(NotFound), Some(NotFound)));
        // What nothing can be stored on can't be synced.
        let device = Path::new("/dev/null");
        assert!(Disk.sync_file(device).is_err());
        assert!(DiskFile(OpenOptions::new().append(true).open(device).unwrap()).sync().is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_lock_keeps_others_out_until_it_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let mut file = Disk.create(&path).unwrap();
        let lock = |kind| Disk.lock(&path, kind).unwrap();
        assert!(file.lock().unwrap());
        assert!(lock(LockKind::Shared).is_none() && lock(LockKind::Exclusive).is_none());
        drop(file);
        let shared = [lock(LockKind::Shared), lock(LockKind::Shared)];
        assert!(shared.iter().all(Option::is_some) && lock(LockKind::Exclusive).is_none());
        drop(shared);
        let mut alone = lock(LockKind::Exclusive).unwrap();
        assert!(lock(LockKind::Shared).is_none());
        for note in ["long", "no"] {
            alone.write_note(note).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), note);
        }
        assert_eq!(kind(Disk.lock(&dir.path().join("none"), LockKind::Shared)), Some(NotFound));
    }
}
