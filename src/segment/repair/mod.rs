//! Repair ([F-42]): the one module that mends files. It makes sound copies of files that are damaged, torn or were never sealed.
//!
//! What it *preserves*: the original, always, byte for byte (in place, under a name that ends in [`DAMAGED_SUFFIX`], which
//! nobody reads); each sound frame, with its payload as it is stored, also of kinds, codecs and flags that this version
//! doesn't know ([F-12]); the seqs of its records, so that what is lost stays a gap; of a PBFS file each sound chunk.
//!
//! What it *leaves out*: damaged places, the torn end, and what SEAL said, which is made anew. So a mended file is
//! shorter, its frames stand elsewhere, and their headers say where. A note ahead of SEAL tells what was left out; SEAL's
//! `end_seq` still tells of records that were at the end and are lost ([F-24]).
//!
//! Wherever it is interrupted, whatever fails: nothing that could be read before can't be read afterwards, and doing it
//! again completes it. A file that isn't whole has a name that nobody reads ([`MENDING_SUFFIX`]); it is synced, and read
//! back, before it gets another one; nothing is ever replaced.

mod output;
mod pbfs;
mod place;
mod schema;
mod segment;
mod summary;
mod survey;

use std::path::{Path, PathBuf};

use thiserror::Error;

pub use pbfs::{pbfs_to_segment, repair_pbfs};
pub use segment::repair_segment;

use super::error::SegmentError;
use super::identity::Identity;
use super::storage::Storage;
use crate::format::{Damage, SegmentHeader, Torn};

/// Ending of the name of an original that was repaired in place. Whoever searches directories passes over such files.
pub const DAMAGED_SUFFIX: &str = ".damaged";

/// Ending of the name of a file that isn't finished. Whoever searches directories passes over such files.
pub const MENDING_SUFFIX: &str = ".mending";

/// Ending of the name of a mended file that still has to take its original's place.
pub const MENDED_SUFFIX: &str = ".mended";

/// Where a sound file goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RepairTo<'a> {
    /// Into this directory, which is made if it isn't there. Files that are there stay as they are.
    Dir(&'a Path),
    /// Into the place of the original, which stays under another name, ending in [`DAMAGED_SUFFIX`].
    InPlace,
}

/// Something that isn't in the repaired file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loss {
    /// Damaged bytes.
    Damage(Damage),
    /// The torn end.
    Torn(Torn),
}

/// What repairing needs of its surroundings.
pub struct Repair<'a> {
    /// Where files are read and written.
    pub storage: &'a dyn Storage,
    /// Where sound files go.
    pub to: RepairTo<'a>,
    /// Finds the HEADER of another segment of the same session (or of a copy of the same segment) for one that has lost
    /// its own ([F-33]).
    pub sibling: &'a dyn Fn(&Identity) -> Option<SegmentHeader>,
    /// Told of all that is left out, in the file's order, before anything is written.
    pub lost: &'a mut dyn FnMut(Loss),
}

impl<'a> Repair<'a> {
    /// Repairs what stands alone, and tells nobody what is left out.
    pub fn new(storage: &'a dyn Storage, to: RepairTo<'a>, lost: &'a mut dyn FnMut(Loss)) -> Self {
        Self { storage, to, sibling: &|_| None, lost }
    }
}

impl std::fmt::Debug for Repair<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Repair").field("to", &self.to).finish_non_exhaustive()
    }
}

/// In which state a file was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// Sound: copied byte for byte, or left alone.
    Sound,
    /// It wasn't sealed, or what frames it isn't what it should be. No record was lost.
    Unsealed,
    /// Some of it was lost.
    Damaged,
    /// There is no sound frame (or chunk) in it: nothing was made of it.
    Nothing,
}

/// Where a segment's HEADER comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderFrom {
    /// It was there.
    Own,
    /// SEAL's copy.
    Seal,
    /// Another segment of the session.
    Sibling,
    /// Nobody knows it: the file has none, and can be replayed only together with another segment of its session.
    Nobody,
}

/// What was left out of a repaired file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Losses {
    /// Damaged places.
    pub places: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of the torn end.
    pub torn_bytes: u64,
    /// Whether its end is missing though its name says that it was once sealed: it was cut short later ([F-30]).
    pub cut: bool,
}

impl Losses {
    fn note(&mut self, loss: &Loss) {
        match loss {
            Loss::Damage(damage) => {
                self.places = self.places.saturating_add(1);
                self.bytes = self.bytes.saturating_add(damage.len);
            }
            Loss::Torn(torn) => self.torn_bytes = self.torn_bytes.saturating_add(torn.len),
        }
    }
}

/// A file that was repaired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repaired {
    /// In which state it was.
    pub condition: Condition,
    /// Where it is now, sound; `None` if there was nothing in it.
    pub path: Option<PathBuf>,
    /// Whether it was there already, from an earlier repair.
    pub already_there: bool,
    /// Where the original is, if it had to make room.
    pub original: Option<PathBuf>,
    /// Its records, as far as this version can read them; of a PBFS file its messages.
    pub records: u64,
    /// What was left out.
    pub losses: Losses,
    /// Frames of later versions, which are kept as they are.
    pub unreadable: u64,
    /// Where its HEADER comes from; of a PBFS file this says nothing.
    pub header: HeaderFrom,
}

/// A file that couldn't be repaired. It is as it was.
#[derive(Debug, Error)]
pub enum RepairError {
    /// It can't be read.
    #[error(transparent)]
    Read(#[from] SegmentError),
    /// What should be made of it can't be written.
    #[error("{0}; the original is whole")]
    Write(SegmentError),
    /// A recorder is writing it.
    #[error("a recorder is writing {}: repair it when that has ended", path.display())]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// Nothing tells whether a recorder is writing it.
    #[error(
        "can't lock {}, so that nobody can tell whether a recorder is writing it: {source}. Repair a copy of it, or to \
         another directory", path.display()
    )]
    Unlockable {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// It changed while it was read.
    #[error("{} changed while it was read: repair it when nobody writes it any more", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// Another file has the name that the repaired one should have.
    #[error(
        "{} is there already and holds something else than {} does when it is repaired: compare the two, and move it \
         away", target.display(), path.display()
    )]
    Taken {
        /// The file.
        path: PathBuf,
        /// The file in its way.
        target: PathBuf,
    },
    /// What was written isn't read back.
    #[error("{} isn't what was written: check the medium. The original is whole", path.display())]
    BadCopy {
        /// The copy.
        path: PathBuf,
    },
}

impl RepairError {
    /// Whether it isn't about this file alone: the next one would fail in the same way.
    pub fn is_about_the_destination(&self) -> bool {
        matches!(self, Self::Write(_))
    }

    /// Whether the file isn't there (any more).
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Read(error) if error.is_not_found())
    }
}
