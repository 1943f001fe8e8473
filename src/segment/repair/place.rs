//! Putting a sound file into its place, so that no crash and no error leaves less to read than before.
//!
//! It is written under a name that nobody reads, synced, checked, and renamed, replacing nothing; the directory is synced
//! after each rename. In place, the original is renamed when the mended file is durable under a name that is read: its own
//! where that is another one, else one that ends in [`MENDED_SUFFIX`] until the original has made room.

use std::ffi::OsString;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::{DAMAGED_SUFFIX, MENDED_SUFFIX, MENDING_SUFFIX, RepairError, RepairTo};
use crate::segment::error::SegmentError;
use crate::segment::storage::{LockKind, Storage, StorageFile};

/// Bytes that are copied and compared at a time.
const COPY_BYTES: u64 = 1 << 20;

/// How many originals of one name are kept.
const MAX_ORIGINALS: u32 = 1000;

/// A file that isn't finished.
pub(super) struct Draft {
    /// `None` once a write or sync has failed.
    file: Option<Box<dyn StorageFile>>,
    path: PathBuf,
}

impl Draft {
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), RepairError> {
        self.with("write to", |file| file.append(bytes))
    }

    fn sync(&mut self) -> Result<(), RepairError> {
        self.with("sync", |file| file.sync())
    }

    /// After an error, the file is done with.
    fn with(
        &mut self,
        action: &'static str,
        work: impl FnOnce(&mut Box<dyn StorageFile>) -> io::Result<()>,
    ) -> Result<(), RepairError> {
        let Some(mut file) = self.file.take() else {
            return Err(RepairError::Write(SegmentError::Abandoned { path: self.path.clone() }));
        };
        work(&mut file).map_err(write(action, &self.path))?;
        self.file = Some(file);
        Ok(())
    }
}

/// A file in its place.
pub(super) struct Placed {
    pub(super) path: PathBuf,
    pub(super) already_there: bool,
    pub(super) original: Option<PathBuf>,
}

/// Where a repaired file goes.
pub(super) struct Place<'a> {
    storage: &'a dyn Storage,
    /// The original.
    source: &'a Path,
    dir: PathBuf,
    in_place: bool,
    /// Names that it may have, the best first.
    names: Vec<OsString>,
}

impl<'a> Place<'a> {
    /// `names`: those that the file may have, the best first.
    pub(super) fn new(storage: &'a dyn Storage, source: &'a Path, to: RepairTo<'_>, names: Vec<OsString>) -> Self {
        let (dir, in_place) = match to {
            RepairTo::Dir(dir) => (dir.to_owned(), false),
            RepairTo::InPlace => (parent(source).to_owned(), true),
        };
        Self { storage, source, dir, in_place, names }
    }

    /// A file that was sound all along: left alone, or copied.
    pub(super) fn keep(&self) -> Result<Placed, RepairError> {
        if self.in_place {
            return self.finish_earlier();
        }
        for name in &self.names {
            let target = self.dir.join(name);
            if self.exists(&target)? && self.is_same(self.source, &target)? {
                return self.found(target);
            }
        }
        let copy = |draft: &mut Draft| {
            let mut source = self.storage.open(self.source).map_err(read(self.source))?;
            let mut buffer = Vec::new();
            loop {
                buffer.clear();
                source.by_ref().take(COPY_BYTES).read_to_end(&mut buffer).map_err(read(self.source))?;
                if buffer.is_empty() {
                    return Ok(());
                }
                draft.append(&buffer)?;
            }
        };
        self.make(copy, |copy, ()| self.is_same(self.source, copy))
    }

    /// A sound file that still has the name under which it waited for its original to make room.
    fn finish_earlier(&self) -> Result<Placed, RepairError> {
        let own = PathBuf::from(self.source);
        let Some(name) = without_suffix(self.source, MENDED_SUFFIX) else {
            return Ok(Placed { path: own, already_there: true, original: None });
        };
        let target = self.dir.join(name);
        if self.exists(&target)? {
            return Ok(Placed { path: own, already_there: true, original: None });
        }
        self.rename(self.source, &target)?;
        self.sync_dir()?;
        Ok(Placed { path: target, already_there: true, original: None })
    }

    /// A file for what is made of the original. What an interrupted repair has left of an earlier one goes.
    pub(super) fn draft(&self) -> Result<Draft, RepairError> {
        let name = self.names.first().cloned().unwrap_or_default();
        let path = self.dir.join(with_suffix(name, MENDING_SUFFIX));
        self.storage.create_dir_all(&self.dir).map_err(write("create the directory", &self.dir))?;
        if self.exists(&path)? {
            // Somebody else may be at work in the same place. Where there are no locks, nothing tells.
            if let Ok(None) = self.storage.lock(&path, LockKind::Exclusive) {
                let source = io::Error::new(io::ErrorKind::ResourceBusy, "another repair is writing it");
                return Err(write("replace", &path)(source));
            }
            self.storage.remove(&path).map_err(write("remove", &path))?;
        }
        let mut file = self.storage.create(&path).map_err(write("create", &path))?;
        // On Windows, nobody could read what is locked.
        if cfg!(unix) {
            let _ = file.lock();
        }
        Ok(Draft { file: Some(file), path })
    }

    /// Writes a new file and puts it into its place, if `check` finds there what `write` says to have written.
    pub(super) fn make<T>(
        &self,
        write: impl FnOnce(&mut Draft) -> Result<T, RepairError>,
        check: impl FnOnce(&Path, T) -> Result<bool, RepairError>,
    ) -> Result<Placed, RepairError> {
        let mut draft = self.draft()?;
        let written = write(&mut draft).and_then(|written| {
            draft.sync()?;
            Ok(written)
        });
        let Draft { file, path } = draft;
        drop(file);
        let checked = written.and_then(|written| match check(&path, written)? {
            true => Ok(()),
            false => Err(RepairError::BadCopy { path: path.clone() }),
        });
        if let Err(error) = checked {
            // It is of no use, and the disk may be full.
            let _ = self.storage.remove(&path);
            return Err(error);
        }
        self.commit(&path)
    }

    /// Gives a durable draft its name.
    fn commit(&self, draft: &Path) -> Result<Placed, RepairError> {
        let own = self.source.file_name().unwrap_or_default();
        if !self.in_place {
            return match self.name(draft, &self.names)? {
                Some(placed) => Ok(placed),
                None => self.taken(draft, &self.dir.join(self.names.first().cloned().unwrap_or_default())),
            };
        }
        let others: Vec<_> = self.names.iter().filter(|name| **name != own).cloned().collect();
        if let Some(placed) = self.name(draft, &others)? {
            return Ok(Placed { original: Some(self.set_aside()?), ..placed });
        }
        let waiting = with_suffix(own.to_owned(), MENDED_SUFFIX);
        let Some(waiting) = self.name(draft, std::slice::from_ref(&waiting))? else {
            return self.taken(draft, &self.dir.join(waiting));
        };
        let original = self.set_aside()?;
        self.rename(&waiting.path, self.source)?;
        self.sync_dir()?;
        Ok(Placed { path: self.source.to_owned(), already_there: waiting.already_there, original: Some(original) })
    }

    fn taken(&self, draft: &Path, target: &Path) -> Result<Placed, RepairError> {
        self.storage.remove(draft).map_err(write("remove", draft))?;
        Err(RepairError::Taken { path: self.source.to_owned(), target: target.to_owned() })
    }

    /// Renames a durable draft to the first name that is free, or under which its content stands already; `None` if all
    /// are taken.
    fn name(&self, draft: &Path, names: &[OsString]) -> Result<Option<Placed>, RepairError> {
        for name in names {
            let target = self.dir.join(name);
            if !self.exists(&target)? {
                self.rename(draft, &target)?;
                self.sync_dir()?;
                return Ok(Some(Placed { path: target, already_there: false, original: None }));
            }
            if self.is_same(draft, &target)? {
                self.storage.remove(draft).map_err(write("remove", draft))?;
                return self.found(target).map(Some);
            }
        }
        Ok(None)
    }

    /// What is wanted is there. Whoever renamed it may have been interrupted before that was durable.
    fn found(&self, target: PathBuf) -> Result<Placed, RepairError> {
        self.sync_dir()?;
        Ok(Placed { path: target, already_there: true, original: None })
    }

    /// Renames the original, so that nobody reads it any more.
    fn set_aside(&self) -> Result<PathBuf, RepairError> {
        let own = self.source.file_name().unwrap_or_default();
        for number in 1..=MAX_ORIGINALS {
            let suffix = if number == 1 { DAMAGED_SUFFIX.to_owned() } else { format!(".{number}{DAMAGED_SUFFIX}") };
            let aside = self.dir.join(with_suffix(own.to_owned(), &suffix));
            if !self.exists(&aside)? {
                self.rename(self.source, &aside)?;
                self.sync_dir()?;
                return Ok(aside);
            }
        }
        let target = self.dir.join(with_suffix(own.to_owned(), DAMAGED_SUFFIX));
        Err(RepairError::Taken { path: self.source.to_owned(), target })
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), RepairError> {
        self.storage.rename(from, to).map_err(write("rename", from))
    }

    fn sync_dir(&self) -> Result<(), RepairError> {
        self.storage.sync_dir(&self.dir).map_err(write("sync the directory", &self.dir))
    }

    fn exists(&self, path: &Path) -> Result<bool, RepairError> {
        match self.storage.open(path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(write("look at", path)(error)),
        }
    }

    /// Whether two files have the same bytes.
    fn is_same(&self, a: &Path, b: &Path) -> Result<bool, RepairError> {
        let mut files = (self.storage.open(a).map_err(read(a))?, self.storage.open(b).map_err(read(b))?);
        let (mut of_a, mut of_b) = (Vec::new(), Vec::new());
        loop {
            of_a.clear();
            of_b.clear();
            files.0.by_ref().take(COPY_BYTES).read_to_end(&mut of_a).map_err(read(a))?;
            files.1.by_ref().take(COPY_BYTES).read_to_end(&mut of_b).map_err(read(b))?;
            if of_a != of_b {
                return Ok(false);
            }
            if of_a.is_empty() {
                return Ok(true);
            }
        }
    }
}

/// The directory that a file is in.
fn parent(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

pub(super) fn with_suffix(mut name: OsString, suffix: &str) -> OsString {
    name.push(suffix);
    name
}

/// The file's name without an ending, if it has that.
pub(super) fn without_suffix(path: &Path, suffix: &str) -> Option<OsString> {
    path.file_name()?.to_str()?.strip_suffix(suffix).map(OsString::from)
}

fn read<'p>(path: &'p Path) -> impl FnOnce(io::Error) -> RepairError + 'p {
    move |error| RepairError::Read(SegmentError::io("read", path)(error))
}

fn write<'p>(action: &'static str, path: &'p Path) -> impl FnOnce(io::Error) -> RepairError + 'p {
    move |error| RepairError::Write(SegmentError::io(action, path)(error))
}
