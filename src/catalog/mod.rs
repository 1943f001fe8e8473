//! What a set of directories holds: sessions and their segments, other backups, and what is none of these.

mod cache;
mod discover;
mod fingerprint;
mod requests;
mod seq_set;
mod sessions;
mod stretch;

pub use cache::CatalogCache;
pub use discover::{DiscoverError, FileKind, ForeignReason, Found, STATE_DIR, check_paths, discover};
pub use fingerprint::Fingerprint;
pub use requests::Requests;
pub use seq_set::SeqSet;
pub use sessions::{Catalog, Ignored, PbfsFile, Sealed, SegmentFile, Session, Unreadable};
pub use stretch::Stretch;
