//! Finding files, and telling what they are.

use std::collections::{HashMap, HashSet};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use thiserror::Error;
use walkdir::WalkDir;

use crate::format::{FRAME_HEADER_BYTES, FrameHeader, JOURNAL_MAGIC, Kind, MAGIC, SYNC_MARKER};
use crate::segment::{DAMAGED_SUFFIX, MENDING_SUFFIX, SegmentError, SegmentName, is_pbfs, open_file};

/// Directory beside the backups in which the replayer keeps its own files.
pub const STATE_DIR: &str = ".sift-replay";

/// How much of a file's beginning is searched for a frame, in bytes: far more than what a lost block or two cost.
const SEARCHED_BYTES: u64 = 1 << 20;

/// What a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileKind {
    /// A segment.
    Segment,
    /// A backup of the official library.
    Pbfs,
    /// Something else; harmless.
    Foreign(ForeignReason),
    /// It can't be read, so nobody knows; with the operating system's answer.
    Unreadable(String),
}

/// Why a file is taken for something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForeignReason {
    /// It has no bytes.
    Empty,
    /// It is neither a segment nor PBFS.
    NoBackup,
    /// The original of a file that was repaired in place.
    SetAside,
    /// A file that an interrupted repair has left.
    Unfinished,
    /// It isn't a file: a socket, a pipe, a device, or a link, which isn't followed.
    NotAFile,
}

impl ForeignReason {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::NoBackup => "neither a segment nor a PBFS backup",
            Self::SetAside => "the original of a repaired file; to have it read, rename it",
            Self::Unfinished => "left by an interrupted repair; the next one removes it",
            Self::NotAFile => "not a regular file",
        }
    }
}

/// A file found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where.
    pub path: PathBuf,
    /// What.
    pub kind: FileKind,
}

/// A path that was asked for and can't be looked into.
#[derive(Debug, Error)]
#[error("can't read {}: {source}; check the path, and whether the drive is mounted", path.display())]
pub struct DiscoverError {
    /// The path.
    pub path: PathBuf,
    /// The operating system's answer.
    pub source: io::Error,
}

/// Whether all of `paths` are there.
///
/// # Errors
/// [`DiscoverError`] for the first that isn't.
pub fn check_paths(paths: &[PathBuf]) -> Result<(), DiscoverError> {
    paths.iter().try_for_each(|path| {
        std::fs::metadata(path).map_err(|source| DiscoverError { path: path.clone(), source })?;
        Ok(())
    })
}

/// Finds all files at and below `paths`, each once, in the order of their names.
///
/// # Errors
/// [`DiscoverError`] if one of `paths` itself isn't there. What can't be read further down is
/// [`FileKind::Unreadable`].
pub fn discover(paths: &[PathBuf]) -> Result<Vec<Found>, DiscoverError> {
    check_paths(paths)?;
    let looked = list(paths, Vanished::Listed).into_iter().map(|listed| match listed {
        Listed::File(path) => Found { kind: kind_of(&path), path },
        Listed::Other(found) => found,
    });
    Ok(looked.collect())
}

/// Something that a directory lists.
#[derive(Debug)]
pub(super) enum Listed {
    /// A file that nobody has looked into.
    File(PathBuf),
    /// Something that can't be looked into.
    Other(Found),
}

impl Listed {
    /// By which it is known if it is met once more: where it is, without links on the way. `asked`: it is what was asked for.
    fn place(&self, asked: bool, dirs: &mut Dirs) -> PathBuf {
        let place = match self {
            // Only what was asked for is followed if it is a link.
            Self::File(path) if asked => path.canonicalize().ok(),
            // Not where a link leads: a file isn't done with because a link to it is passed over.
            Self::File(path) | Self::Other(Found { path, .. }) => dirs.place(path),
        };
        place.unwrap_or_else(|| self.path().to_owned())
    }

    fn path(&self) -> &Path {
        match self {
            Self::File(path) | Self::Other(Found { path, .. }) => path,
        }
    }
}

/// Where directories are, without links on the way. Most files are in the same one as those before them.
#[derive(Debug, Default)]
struct Dirs(HashMap<PathBuf, Option<PathBuf>>);

impl Dirs {
    fn place(&mut self, path: &Path) -> Option<PathBuf> {
        let (dir, name) = (path.parent()?, path.file_name()?);
        if !self.0.contains_key(dir) {
            self.0.insert(dir.to_owned(), dir.canonicalize().ok());
        }
        self.0.get(dir)?.as_ref().map(|place| place.join(name))
    }
}

/// What becomes of a path that isn't there (any more) when it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Vanished {
    /// It is listed as unreadable.
    Listed,
    /// It is passed over.
    PassedOver,
}

/// All that is at and below `paths`, each once, in the order of the names.
pub(super) fn list(paths: &[PathBuf], vanished: Vanished) -> Vec<Listed> {
    let (mut listed, mut seen, mut dirs) = (Vec::new(), HashSet::new(), Dirs::default());
    for path in paths {
        let walk = WalkDir::new(path).sort_by_file_name().into_iter();
        for entry in walk.filter_entry(|entry| entry.file_name() != STATE_DIR) {
            let asked = entry.as_ref().is_ok_and(|entry| entry.depth() == 0);
            let entry = match entry {
                Ok(entry) if entry.file_type().is_dir() => continue,
                // A path that was asked for may be a link to a file; links further down may lead in circles.
                Ok(entry) if entry.file_type().is_file() || (asked && entry.path().is_file()) => {
                    Listed::File(entry.into_path())
                }
                // A link to a directory, which was asked for: what is in it follows.
                Ok(entry) if asked && entry.path().is_dir() => continue,
                // A link whose target isn't there at the moment.
                Ok(entry) if vanished == Vanished::PassedOver && asked && !entry.path().exists() => continue,
                Ok(entry) => {
                    let kind = FileKind::Foreign(ForeignReason::NotAFile);
                    Listed::Other(Found { path: entry.into_path(), kind })
                }
                Err(error) if vanished == Vanished::PassedOver && is_gone(&error) => continue,
                Err(error) => Listed::Other(Found {
                    path: error.path().unwrap_or(path).to_owned(),
                    kind: FileKind::Unreadable(error.io_error().map_or_else(|| error.to_string(), ToString::to_string)),
                }),
            };
            // The same file given twice, or with the directory that it is in.
            if seen.insert(entry.place(asked, &mut dirs)) {
                listed.push(entry);
            }
        }
    }
    listed
}

fn is_gone(error: &walkdir::Error) -> bool {
    error.io_error().is_some_and(|error| matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory))
}

/// What the file at `path` is.
fn kind_of(path: &Path) -> FileKind {
    match read_kind(path) {
        Ok(kind) => kind,
        Err(SegmentError::Io { source, .. }) => FileKind::Unreadable(source.to_string()),
        Err(error) => FileKind::Unreadable(error.to_string()),
    }
}

/// [F-42]: files that have a name which nobody reads.
fn passed_over(path: &Path) -> Option<ForeignReason> {
    let name = path.file_name()?.as_encoded_bytes();
    match name {
        name if name.ends_with(DAMAGED_SUFFIX.as_bytes()) => Some(ForeignReason::SetAside),
        name if name.ends_with(MENDING_SUFFIX.as_bytes()) => Some(ForeignReason::Unfinished),
        _ => None,
    }
}

/// The same, or why it can't be told.
pub(super) fn read_kind(path: &Path) -> Result<FileKind, SegmentError> {
    if let Some(reason) = passed_over(path) {
        return Ok(FileKind::Foreign(reason));
    }
    let name = SegmentName::of_path(path);
    // Its name tells; what is wrong with it is found out when it is looked into.
    if name.is_some() && std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() > 0) {
        return Ok(FileKind::Segment);
    }
    let mut begin = Vec::new();
    let file = open_file(path).map_err(SegmentError::io("read", path))?;
    // A segment is known by few bytes; only files that show neither magic nor name are looked into.
    let read =
        |begin: &mut Vec<u8>, bytes| (&file).take(bytes).read_to_end(begin).map_err(SegmentError::io("read", path));
    read(&mut begin, MAGIC.len() as u64)?;
    if !begin.is_empty() && !begin.starts_with(&MAGIC) && name.is_none() {
        read(&mut begin, SEARCHED_BYTES)?;
    }
    Ok(if begin.is_empty() {
        match name {
            // [F-29]: it had a seal when it was given this name.
            Some(name) if !name.open => FileKind::Unreadable("a sealed segment without a single byte".to_owned()),
            _ => FileKind::Foreign(ForeignReason::Empty),
        }
    } else if begin.starts_with(&MAGIC) || name.is_some() || has_frame(&begin) {
        FileKind::Segment
    } else if is_pbfs(path)? {
        FileKind::Pbfs
    } else {
        FileKind::Foreign(ForeignReason::NoBackup)
    })
}

/// Whether a sound frame header stands in its own place somewhere in a file's beginning: a segment whose first block and
/// name are both lost ([F-33]). No other file has one but a checkpoint journal, not even a file that holds a segment.
fn has_frame(begin: &[u8]) -> bool {
    // [F-39]
    !begin.starts_with(&JOURNAL_MAGIC)
        && memchr::memmem::find_iter(begin, &SYNC_MARKER).any(|at| {
            let header = begin.get(at..).and_then(|tail| tail.first_chunk::<FRAME_HEADER_BYTES>());
            let header = header.and_then(|header| FrameHeader::decode(header, at as u64, None).ok());
            // A journal without its first block.
            header.is_some_and(|header| header.kind != Kind::Checkpoint)
        })
}
