//! What may go wrong with checkpoints.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use crate::format::EncodeError;
use crate::segment::SegmentError;

/// Checkpoints that can't be kept.
#[derive(Debug, Clone, Error)]
pub enum StateError {
    /// Another process replays from the same place.
    #[error(
        "another sift-replay{} is at work on these backups: it has locked {}. Wait until it ends, or stop it; two at a \
         time would send everything twice",
        pid.map(|pid| format!(" (process {pid})")).unwrap_or_default(), dir.display()
    )]
    Locked {
        /// The state directory.
        dir: PathBuf,
        /// The other process, if it said so.
        pid: Option<u32>,
    },
    /// No directory for them.
    #[error(
        "checkpoints of {} can't be kept anywhere: {}. Name a directory that can be written with --state-dir",
        path.display(), if tried.is_empty() { "the user has no state directory".to_owned() } else { tried.join("; ") }
    )]
    Nowhere {
        /// What is to be replayed.
        path: PathBuf,
        /// What was tried, and how it failed.
        tried: Vec<String>,
    },
    /// The operating system refuses.
    #[error("checkpoints can't be kept: can't {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// The operating system's answer.
        source: Arc<io::Error>,
    },
    /// A fact that fits into no frame.
    #[error("a checkpoint can't be kept: {0}")]
    Encode(#[from] EncodeError),
    /// The thread that keeps them has ended.
    #[error("checkpoints can't be kept any more: their thread has ended")]
    Stopped,
}

impl StateError {
    /// For `map_err`: wraps the operating system's answer.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source: Arc::new(source) }
    }
}

impl From<SegmentError> for StateError {
    fn from(error: SegmentError) -> Self {
        match error {
            SegmentError::Io { action, path, source } => Self::Io { action, path, source: Arc::new(source) },
            SegmentError::Encode(error) => Self::Encode(error),
            SegmentError::Abandoned { .. } => Self::Stopped,
        }
    }
}
