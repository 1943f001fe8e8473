//! A recorder's figures.

use std::sync::atomic::AtomicU64;

/// Figures of a recorder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RecorderStats {
    /// Records that were given a seq.
    pub records: u64,
    /// Records before this seq are durable.
    pub durable_seq: u64,
    /// Records dropped because the disk was behind.
    pub dropped: u64,
    /// Bytes of the records that were given a seq.
    pub recorded_bytes: u64,
    /// Records that the writer hasn't taken yet.
    pub waiting: u64,
    /// Values that were NaN or infinite: recorded, but Sift will refuse them.
    pub non_finite: u64,
    /// Bytes written to segments.
    pub bytes_written: u64,
    /// Segments begun.
    pub segments: u64,
    /// Syncs asked of the disk.
    pub syncs: u64,
    /// Segments given up after a failed write or sync.
    pub io_errors: u64,
}

/// What the writer has done, for whoever asks.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) bytes_written: AtomicU64,
    pub(super) segments: AtomicU64,
    pub(super) syncs: AtomicU64,
    pub(super) io_errors: AtomicU64,
}
