//! What the fuzz targets share: files made of arbitrary parts, what may happen to them, and readers written from the
//! text of `format-spec` alone, with which the crate's readers must agree.

pub mod checkpoint;
pub mod files;
pub mod memory;
pub mod pbfs;
pub mod recording;
pub mod request;
pub mod segment;

mod change;
mod growth;
mod mend;

pub use change::{Change, apply, keep_places};
pub use growth::Growth;
pub use mend::mend;

/// What isn't used up of an input.
pub use arbitrary::{Arbitrary, Result, Unstructured};

/// CRC-32 of [F-6].
pub fn crc32(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}
