//! How a recorder behaves: what it promises about power cuts, what it does when the disk is behind, when it rotates.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::error::RecordError;
use super::frame_builder::MAX_RECORDED_BYTES;
use super::tap::Tap;
use crate::format::Compression;
use crate::segment::{Disk, Storage};

/// When what was recorded is put on stable storage: that is what a power cut can cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncPolicy {
    /// `record()` returns when the record is durable: a power cut costs nothing that was recorded. Threads that record
    /// at the same time share a sync. Limited by the disk to some hundred or thousand syncs a second.
    EveryRecord,
    /// Once in this time: a power cut costs what was recorded in it, and in the time that the sync takes. What is
    /// recorded goes to the file system sooner if [`RecorderOptions::flush_interval`] is less.
    Interval(Duration),
    /// Whenever this many bytes (before compression) were written since the last one: a power cut costs about as many,
    /// and what was recorded in the last [`RecorderOptions::flush_interval`].
    Bytes(u64),
    /// When a segment is sealed, and whenever [`RecorderOptions::unsynced_bytes`] wait: the least work for the disk.
    OnRotation,
}

/// What `record()` does when all buffers wait for a disk that is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFull {
    /// Wait until one is free.
    #[default]
    Block,
    /// Drop the record at hand. It takes no seq; a MARK counts the drops.
    DropNewest,
    /// Drop the frame that has waited longest. Its seqs are missing from the session; a MARK names them.
    DropOldest,
}

/// How a recorder behaves. The defaults suit a vehicle computer with an SSD or SD card.
#[derive(Clone)]
pub struct RecorderOptions {
    /// When to sync. Default: every 100 ms.
    pub sync: SyncPolicy,
    /// What to do when the disk is behind. Default: wait.
    pub on_full: OnFull,
    /// How frames are compressed: on the writer thread, and on a second one while frames wait for it. Default: zstd level 1.
    pub compression: Compression,
    /// Bytes of records after which a frame is full: the unit of checksum, compression and loss. Default: 64 KiB; at most
    /// 16 MiB.
    pub frame_bytes: usize,
    /// Time after which a frame is written though it isn't full; with [`SyncPolicy::Interval`], the lesser of the two
    /// counts. Default: 100 ms.
    pub flush_interval: Duration,
    /// Full frames that may wait for the writer: this bounds how long the disk may stall before `on_full` matters, and,
    /// with the other sizes, memory: about twice `buffers` × `frame_bytes` (as many wait as are being written), and
    /// `unsynced_bytes`. Default: 32.
    pub buffers: usize,
    /// Records that may wait for the writer: in the frame being filled, and in frames that it hasn't taken yet. When
    /// they are reached, the frame is handed over as it is, and `on_full` matters until the writer takes it. Default:
    /// [`u64::MAX`], so that `buffers` and `frame_bytes` alone bound them.
    pub waiting_records: u64,
    /// Bytes written and not yet synced that are kept in memory, to be written again should the disk fail; when they
    /// are reached, the writer syncs whatever `sync` says. Default: 8 MiB.
    pub unsynced_bytes: usize,
    /// Bytes after which a segment is sealed and the next one begun. Default: 256 MiB.
    pub segment_bytes: u64,
    /// Time after which a segment that has records is sealed and the next one begun. Default: none.
    pub segment_age: Option<Duration>,
    /// The recording program's name, for HEADER. Default: this crate's.
    pub program: String,
    /// The recording program's version, for HEADER. Default: this crate's.
    pub program_version: String,
    /// This computer's name, for HEADER. Default: what the operating system says without asking a network; empty if it
    /// doesn't.
    pub host: String,
    /// Who sees each frame when it was written. Default: nobody.
    pub tap: Option<Arc<dyn Tap>>,
    /// Where segments are written. Default: the computer's file system.
    pub storage: Arc<dyn Storage>,
}

impl Default for RecorderOptions {
    fn default() -> Self {
        Self {
            sync: SyncPolicy::Interval(Duration::from_millis(100)),
            on_full: OnFull::default(),
            compression: Compression::default(),
            frame_bytes: 64 << 10,
            flush_interval: Duration::from_millis(100),
            buffers: 32,
            waiting_records: u64::MAX,
            unsynced_bytes: 8 << 20,
            segment_bytes: 256 << 20,
            segment_age: None,
            program: env!("CARGO_PKG_NAME").to_owned(),
            program_version: env!("CARGO_PKG_VERSION").to_owned(),
            host: host_name(),
            tap: None,
            storage: Arc::new(Disk),
        }
    }
}

impl RecorderOptions {
    /// The time after which a frame is written though it isn't full.
    pub(super) fn flush_after(&self) -> Duration {
        match self.sync {
            SyncPolicy::Interval(interval) => interval.min(self.flush_interval),
            _ => self.flush_interval,
        }
    }

    /// Whether they agree with each other.
    pub(super) fn check(&self) -> Result<(), RecordError> {
        if self.frame_bytes == 0 || self.frame_bytes > MAX_RECORDED_BYTES {
            return Err(RecordError::Options("`frame_bytes` must be between 1 and 16 MiB"));
        }
        if self.buffers == 0 || self.waiting_records == 0 {
            return Err(RecordError::Options("`buffers` and `waiting_records` must be at least 1"));
        }
        if self.segment_bytes == 0 || self.unsynced_bytes == 0 {
            return Err(RecordError::Options("`segment_bytes` and `unsynced_bytes` must be at least 1"));
        }
        if matches!(self.sync, SyncPolicy::Interval(interval) if interval < Duration::from_millis(1)) {
            return Err(RecordError::Options("a sync interval must be at least 1 ms: use `EveryRecord` for less"));
        }
        if self.sync == SyncPolicy::EveryRecord && self.on_full != OnFull::Block {
            return Err(RecordError::Options(
                "`EveryRecord` waits for the disk, so that nothing can be dropped: use `Block`",
            ));
        }
        Ok(())
    }
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .or_else(|_| std::env::var("COMPUTERNAME"))
        .or_else(|_| std::env::var("HOSTNAME"));
    name.map(|name| name.trim().to_owned()).unwrap_or_default()
}

impl fmt::Debug for RecorderOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecorderOptions")
            .field("sync", &self.sync)
            .field("on_full", &self.on_full)
            .field("compression", &self.compression)
            .field("frame_bytes", &self.frame_bytes)
            .field("segment_bytes", &self.segment_bytes)
            .finish_non_exhaustive()
    }
}
