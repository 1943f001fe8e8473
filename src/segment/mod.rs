//! Segment files: their names, writing them, and reading them in whatever state they are.

mod error;
mod identity;
mod map;
mod name;
mod pbfs;
mod reader;
mod repair;
#[cfg(feature = "sim")]
mod sim;
mod source;
mod storage;
mod writer;

pub use error::SegmentError;
pub use identity::Identity;
pub use name::{OPEN_SUFFIX, SEALED_SUFFIX, SegmentName, component, session_dir};
pub use pbfs::{PbfsEvent, PbfsReader, SNIFF_BYTES, is_pbfs};
pub use reader::{Batch, Event, SegmentReader, SkipReason, Skipped};
pub use repair::{
    Condition, DAMAGED_SUFFIX, HeaderFrom, Loss, Losses, MENDED_SUFFIX, MENDING_SUFFIX, Repair, RepairError, RepairTo,
    Repaired, pbfs_to_segment, repair_pbfs, repair_segment,
};
#[cfg(feature = "sim")]
pub use sim::{SimDisk, SimFault, SimFiles, SimImage, SimOp};
#[cfg(feature = "checkpoints")]
pub(crate) use storage::open_file;
pub use storage::{Disk, FileLock, LockKind, Storage, StorageFile, StorageRead};
pub use writer::{PendingFrame, SegmentWriter};
