//! What a set of directories holds: sessions and their segments, other backups, and what is none of these.

mod discover;
mod seq_set;
mod sessions;

pub use discover::{DiscoverError, FileKind, ForeignReason, Found, STATE_DIR, check_paths, discover};
pub use seq_set::SeqSet;
pub use sessions::{Catalog, Ignored, Requests, Sealed, SegmentFile, Session, Unreadable};
