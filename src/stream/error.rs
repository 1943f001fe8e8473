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
    #[error("{}", for_programs(.0))]
    Connect(#[from] ConnectError),
    /// The destination refuses the ingestion config, the run or the asset's details.
    #[error(transparent)]
    Register(#[from] RegisterError),
    /// Nothing can be recorded, or not this.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// What was acknowledged can't be kept in mind.
    #[error("{}", where_to_keep(.0))]
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

/// What to do about it in a program: the command has options that it hasn't.
fn for_programs(error: &ConnectError) -> String {
    match error {
        ConnectError::PlainTextRefused { name } => format!(
            "{name} is plain http to another machine: the key and the data could be read on the way. Use https, or \
             `disable_tls` if that network is trusted"
        ),
        ConnectError::MissingKey { name } | ConnectError::NoApiKey { name } => {
            format!("no API key for {name}: give it with the credentials, or put it into their profile")
        }
        ConnectError::TlsHandshake { name, detail } => format!(
            "no TLS connection to {name}: {detail}. If its certificate is signed privately, this system must trust the \
             authority; if it speaks plain text, use `disable_tls`"
        ),
        ConnectError::NoDestination { profile_file } => {
            format!(
                "nowhere to send to: there is no {}. Make it, or give URI and key as credentials",
                profile_file.display()
            )
        }
        ConnectError::IncompleteProfile { profile, path } => format!(
            "{} has no grpc_uri (nor uri) in {}: add it, or use another profile",
            path.display(),
            profile.as_deref().map_or("its top level".to_owned(), |name| format!("profile {name:?}"))
        ),
        error => error.to_string(),
    }
}

fn where_to_keep(error: &StateError) -> String {
    match error {
        StateError::Nowhere { path, tried } => format!(
            "checkpoints of {} can't be kept anywhere: {}. Give the stream a backups_dir that can be written",
            path.display(),
            tried.join("; ")
        ),
        error => error.to_string(),
    }
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
        if self.on_disk > 0 {
            write!(f, ", {} on disk", self.on_disk)?;
            if let Some(directory) = &self.directory {
                write!(f, " in {}", directory.display())?;
            }
            f.write_str(" and not confirmed")?;
        }
        for (count, what) in [
            (self.dead_lettered, "refused and kept as dead letters"),
            (self.dropped, "dropped because the disk was behind"),
        ] {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        match &self.reason {
            Some(reason) => write!(f, " ({reason})"),
            None => Ok(()),
        }
    }
}

/// Some accepted requests are neither acknowledged nor durable on disk.
#[derive(Debug, Error)]
#[error(
    "{} of {} requests are neither acknowledged nor on disk: {reason}. {} in `undelivered`",
    self.count(), finished.requests, self.handed_back()
)]
pub struct FinishError {
    /// Why.
    pub reason: String,
    /// What became of the others.
    pub finished: Box<Finished>,
    /// Those requests, in order.
    pub undelivered: Vec<IngestWithConfigDataStreamRequest>,
}

impl FinishError {
    /// Requests that are neither acknowledged nor durable on disk.
    fn count(&self) -> u64 {
        let Finished { requests, acknowledged, on_disk, dead_lettered, dropped, .. } = &*self.finished;
        requests.saturating_sub(acknowledged + on_disk + dead_lettered + dropped)
    }

    fn handed_back(&self) -> String {
        match self.undelivered.len() as u64 {
            all if all >= self.count() => "They are handed back".to_owned(),
            some => format!("Only {some} of them were kept, and are handed back"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(requests: u64, undelivered: usize) -> String {
        let finished =
            Finished { requests, acknowledged: 5, on_disk: 2, dead_lettered: 2, dropped: 1, ..Finished::default() };
        let undelivered = vec![IngestWithConfigDataStreamRequest::default(); undelivered];
        FinishError { reason: "no luck".to_owned(), finished: Box::new(finished), undelivered }.to_string()
    }

    #[test]
    fn what_is_not_handed_back_is_not_said_to_be() {
        let start = "3 of 13 requests are neither acknowledged nor on disk: no luck.";
        assert_eq!(failed(13, 3), format!("{start} They are handed back in `undelivered`"));
        assert_eq!(failed(13, 1), format!("{start} Only 1 of them were kept, and are handed back in `undelivered`"));
    }

    #[test]
    fn no_error_names_options_of_the_command() {
        let name = || "https://sift.example:443".to_owned();
        let (profile_file, path) = (PathBuf::from("sift.toml"), PathBuf::from("backups"));
        for error in [
            StreamError::from(ConnectError::PlainTextRefused { name: name() }),
            ConnectError::MissingKey { name: name() }.into(),
            ConnectError::NoApiKey { name: name() }.into(),
            ConnectError::TlsHandshake { name: name(), detail: "odd".to_owned() }.into(),
            ConnectError::NoDestination { profile_file }.into(),
            ConnectError::IncompleteProfile { profile: None, path: path.clone() }.into(),
            StateError::Nowhere { path, tried: vec!["read-only".to_owned()] }.into(),
        ] {
            assert!(!error.to_string().contains(" --"), "{error}");
        }
    }
}
