//! What can go wrong with a stream as a whole, and what it says at its end.

use std::fmt;
use std::path::PathBuf;

use sift_rs::ingest::v1::IngestWithConfigDataStreamRequest;
use thiserror::Error;

use super::auto_register::DeriveError;
use crate::record::RecordError;
use crate::replay::StateError;
use crate::sift::{ConnectError, RegisterError};

/// Why a stream can't be built, or a run or flow not be attached to it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The destination can't be used.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The destination refuses the ingestion config, the run or the asset's details.
    #[error(transparent)]
    Register(#[from] RegisterError),
    /// Nothing can be recorded, or not this.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// What was acknowledged can't be kept in mind.
    #[error(transparent)]
    State(#[from] StateError),
    /// Another stream or replay is at work on the same files.
    #[error("{source}. A stream must be alone with its files: give each one a backups_dir or a client key of its own")]
    Shared {
        /// What stands in the way.
        source: StateError,
    },
    /// A stream that records wasn't told where.
    #[error("no directory to record to: set disk_backup_policy with its backups_dir")]
    NoDirectory,
    /// The directory can't be made.
    #[error("can't make the directory {}: {source}", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// A flow's config can't be derived from its values.
    #[error(transparent)]
    Derive(#[from] DeriveError),
    /// Options that make no sense.
    #[error("{0}")]
    Options(&'static str),
    /// The stream has ended.
    #[error("the stream is closed: {0}")]
    Closed(String),
}

impl StreamError {
    /// Whether trying again later may help.
    pub fn is_transient(&self) -> bool {
        use crate::sift::Fault;
        match self {
            Self::Connect(error) => error.is_transient(),
            Self::Register(error) => matches!(error.fault(), Fault::Transient { .. }),
            _ => false,
        }
    }
}

/// What became of the requests that a stream has accepted; each is in one of the figures.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Finished {
    /// Requests that the stream accepted.
    pub requests: u64,
    /// Of them, acknowledged by Sift.
    pub acknowledged: u64,
    /// Refused by Sift, and durably kept as dead letters.
    pub dead_lettered: u64,
    /// Durable on disk, and not confirmed by Sift: the next stream of the same client key and directory, or
    /// `sift-replay` with that directory, delivers them.
    pub on_disk: u64,
    /// Dropped when the disk was behind, as the recorder's options ask for.
    pub dropped: u64,
    /// Where the files are, if anything is recorded.
    pub directory: Option<PathBuf>,
    /// Why not everything is acknowledged, where that is known.
    pub reason: Option<String>,
}

impl fmt::Display for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} requests: {} acknowledged", self.requests, self.acknowledged)?;
        for (count, what) in [
            (self.on_disk, "on disk, not confirmed"),
            (self.dead_lettered, "refused and kept as dead letters"),
            (self.dropped, "dropped because the disk was behind"),
        ] {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        if let (Some(directory), 1..) = (&self.directory, self.on_disk) {
            write!(f, " in {}", directory.display())?;
        }
        match &self.reason {
            Some(reason) => write!(f, " ({reason})"),
            None => Ok(()),
        }
    }
}

/// Some accepted requests are neither acknowledged nor durable on disk.
#[derive(Debug, Error)]
#[error("{} of {} requests are neither acknowledged nor on disk: {reason}. They are handed back in `undelivered`", 
    finished.requests.saturating_sub(finished.acknowledged + finished.on_disk + finished.dead_lettered + finished.dropped),
    finished.requests
)]
pub struct FinishError {
    /// Why.
    pub reason: String,
    /// What became of the others.
    pub finished: Box<Finished>,
    /// Those requests, in order.
    pub undelivered: Vec<IngestWithConfigDataStreamRequest>,
}
