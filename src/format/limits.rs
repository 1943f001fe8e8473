//! Bounds on every length that a file may state. Each is checked before anything is allocated or computed with it
//! ([F-14]), so that a hostile or damaged file can't choose how much memory a reader takes.

/// Most bytes that a frame's payload may have before compression: 64 MiB.
pub const MAX_RAW_BYTES: u32 = 64 << 20;

/// Most bytes that a frame's payload may have as stored. zstd adds a little to what it can't compress; such a
/// payload is stored uncompressed, so that the same bound holds for both.
pub const MAX_STORED_BYTES: u32 = MAX_RAW_BYTES;

/// Bytes of the length that precedes each record in a DATA payload.
pub const RECORD_PREFIX_BYTES: usize = 4;

/// Most bytes that one record may have: a frame's raw payload less the length before it.
pub const MAX_RECORD_BYTES: u32 = MAX_RAW_BYTES - RECORD_PREFIX_BYTES as u32;

/// Most entries that a SEAL's index may have ([F-25]).
pub const MAX_INDEX_ENTRIES: usize = 4096;

/// Most entries that this writer gives it; it halves its index when it would exceed this. Readers of this crate keep no more
/// stretches in any case, and an entry has up to 35 bytes, so that the end of a segment of any size is soon read.
pub const WRITTEN_INDEX_ENTRIES: usize = 512;

/// Most flows that a SEAL lists by name ([F-24]); the records of any further ones are in the totals alone.
pub const MAX_SEAL_FLOWS: usize = 4096;

/// Most parts (nested messages, repeated values) that a message in a frame may have, at all depths together: a few hundred
/// MB in memory at most. A schema of 100,000 flows has a fifth of it.
pub const MAX_MESSAGE_PARTS: usize = 1 << 20;

/// Most bytes that the rest of a PBFS chunk may have before a reader takes its length for garbage ([P-2]).
pub const MAX_PBFS_CHUNK_BYTES: u64 = 64 << 20;

/// Most bytes that a CHECKPOINT payload may have before compression ([F-40]): a hostile one decodes to no more than some
/// forty times as much.
pub const MAX_CHECKPOINT_BYTES: u32 = 256 << 10;
