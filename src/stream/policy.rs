//! How a stream tries again, and how it keeps files.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::replay::Faulty;
use crate::sift::Fault;

/// Pauses between attempts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts at one thing, the first included, after which a stream without files gives up. One with files doesn't:
    /// what isn't delivered is on disk, and tried again as long as the stream lives. Default: 5.
    pub max_attempts: u8,
    /// The range of the first pause: pauses are random, below their range. Default: 50 ms.
    pub initial_backoff: Duration,
    /// The longest range, and the longest that Sift is believed when it asks for a pause. Default: 5 s.
    pub max_backoff: Duration,
    /// By how much each range is longer than the one before. Default: 5.
    pub backoff_multiplier: u8,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: 5,
            initial_backoff: Duration::from_millis(50),
            max_backoff: Duration::from_secs(5),
            backoff_multiplier: 5,
        }
    }
}

/// Where files are kept, how large, how many, and how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskBackupPolicy {
    /// The directory. Default: `sift-replay/streams` in the user's data directory; a stream that only records must be
    /// given one.
    pub backups_dir: Option<PathBuf>,
    /// Bytes after which a segment is sealed and the next one begun. Default: 500 MiB.
    pub max_backup_file_size: usize,
    /// How many there may be.
    pub rolling_file_policy: RollingFilePolicy,
    /// Whether segments stay when all of their records are confirmed. Default: no.
    pub retain_backups: bool,
}

impl Default for DiskBackupPolicy {
    fn default() -> Self {
        Self {
            backups_dir: None,
            max_backup_file_size: 500 << 20,
            rolling_file_policy: RollingFilePolicy::default(),
            retain_backups: false,
        }
    }
}

/// How many files there may be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RollingFilePolicy {
    /// Segments of the stream at which a checkpoint is forced, so that some can be deleted; nothing is ever dropped for
    /// it. Default: none.
    pub max_file_count: Option<usize>,
}

/// An error after which is tried again, whatever it is: nothing is lost by that.
pub(super) struct Later<'a>(pub(super) &'a dyn Faulty);

impl fmt::Display for Later<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Faulty for Later<'_> {
    fn fault(&self) -> Fault {
        match self.0.fault() {
            Fault::Transient { retry_after } => Fault::Transient { retry_after },
            Fault::Data | Fault::Destination => Fault::Transient { retry_after: None },
        }
    }
}
