//! Segment files: their names, writing them, and reading them in whatever state they are.

mod error;
mod identity;
mod map;
mod name;
mod pbfs;
mod reader;
mod source;
mod storage;
mod writer;

pub use error::SegmentError;
pub use identity::Identity;
pub use name::{OPEN_SUFFIX, SEALED_SUFFIX, SegmentName, component, session_dir};
pub use pbfs::{PbfsEvent, PbfsReader, SNIFF_BYTES, is_pbfs};
pub use reader::{Batch, Event, SegmentReader, SkipReason, Skipped};
pub(crate) use source::open_file;
pub use storage::{Disk, FileLock, LockKind, Storage, StorageFile};
pub use writer::{PendingFrame, SegmentWriter};
