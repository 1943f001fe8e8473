//! What isn't as it should be.

use std::ops::Range;
use std::path::Path;

use thiserror::Error;
use uuid::Uuid;

use crate::catalog::ForeignReason;
use crate::format::{Damage, Mark, TimeRange, Torn, WireError};
use crate::record::{RecordError, SchemaError};
use crate::segment::Skipped;

/// What a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject<'a> {
    /// A file.
    File(&'a Path),
    /// A session: all of its files.
    Session(Uuid),
}

/// Something that was found.
#[derive(Debug)]
pub enum Finding<'a> {
    /// A file that is something else.
    Ignored {
        /// The file.
        path: &'a Path,
        /// What.
        reason: ForeignReason,
    },
    /// A file that can't be read, or not to its end; what was read of it before counts.
    Unreadable {
        /// The file.
        path: &'a Path,
        /// Why.
        reason: &'a str,
    },
    /// Bytes of a file are lost.
    Damage {
        /// The file.
        path: &'a Path,
        /// Where and why.
        damage: &'a Damage,
    },
    /// A file ends within a frame or chunk.
    Torn {
        /// The file.
        path: &'a Path,
        /// Where.
        torn: &'a Torn,
    },
    /// A frame of a later version.
    Skipped {
        /// The file.
        path: &'a Path,
        /// Where and why.
        skipped: &'a Skipped,
    },
    /// A record, or what a frame says, isn't what it should be, though its checksums hold.
    Invalid {
        /// The file.
        path: &'a Path,
        /// Where the frame or chunk begins, in bytes from the file's start.
        offset: u64,
        /// The record's seq, or its number in a PBFS file (counted from 0 over the sound chunks); `None` if it isn't a
        /// record.
        seq: Option<u64>,
        /// What is wrong.
        problem: &'a Problem,
    },
    /// Values of a file are NaN or infinite: Sift refuses records that have one.
    NonFinite {
        /// The file.
        path: &'a Path,
        /// The flow; `None` for all further ones, where there are too many to be told apart.
        flow: Option<&'a str>,
        /// The channel, where the schema is known.
        channel: Option<&'a str>,
        /// How many.
        values: u64,
    },
    /// Seqs that stand in two files, with different bytes ([F-34]).
    Differs {
        /// The session.
        session: Uuid,
        /// Which.
        seqs: &'a Range<u64>,
        /// One of the files.
        path: &'a Path,
        /// The other one.
        other: &'a Path,
    },
    /// The recorder noted that it dropped records.
    Mark {
        /// The session.
        session: Uuid,
        /// When, in ns since the Unix epoch.
        wall_clock_ns: i64,
        /// What.
        mark: &'a Mark,
    },
    /// Seqs that the session should have and no file has.
    Missing {
        /// The session.
        session: Uuid,
        /// Which.
        seqs: &'a Range<u64>,
    },
    /// There was more of one kind than what was told.
    More {
        /// Where.
        subject: Subject<'a>,
        /// Of which kind.
        kind: FindingKind,
        /// How many weren't told.
        untold: u64,
    },
}

/// The kinds of findings of which there may be any number in one file or session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FindingKind {
    /// [`Finding::Damage`].
    Damage,
    /// [`Finding::Skipped`].
    Skipped,
    /// [`Finding::Invalid`].
    Invalid,
    /// [`Finding::NonFinite`].
    NonFinite,
    /// [`Finding::Differs`].
    Differs,
    /// [`Finding::Mark`].
    Mark,
    /// [`Finding::Missing`].
    Missing,
}

impl FindingKind {
    /// All of them.
    pub(super) const ALL: [Self; 7] =
        [Self::Damage, Self::Skipped, Self::Invalid, Self::NonFinite, Self::Differs, Self::Mark, Self::Missing];

    /// A short stable word for machine-readable output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Damage => "damage",
            Self::Skipped => "skipped",
            Self::Invalid => "invalid",
            Self::NonFinite => "non_finite",
            Self::Differs => "differs",
            Self::Mark => "mark",
            Self::Missing => "missing",
        }
    }
}

/// What is wrong with a record or a frame whose checksums hold.
#[derive(Debug, Error)]
pub enum Problem {
    /// The record isn't what its schema wants, or what Sift takes.
    #[error("{}", record_text(.0))]
    Record(RecordError),
    /// The record names no ingestion config, and its file tells of none ([F-19]).
    #[error("the record names no ingestion config, and the file tells of none")]
    NoConfig,
    /// The record carries ids, and its frame says that none there does ([F-21]).
    #[error("the record carries ids of its own, and its frame says that none there does")]
    NotBare,
    /// The frame's times aren't those of its records ([F-17]).
    #[error("the frame says that its times are {}, and they are {}", times_text(stated), times_text(found))]
    Times {
        /// What it says.
        stated: TimeRange,
        /// What its records say.
        found: TimeRange,
    },
    /// The frame states what a frame of its kind can't have.
    #[error("the frame {0}")]
    Frame(&'static str),
    /// HEADER contradicts itself or the frames.
    #[error("HEADER {0}")]
    Header(&'static str),
    /// The file's name is another segment's ([F-37]).
    #[error("the file has another segment's name: rename it to {should}")]
    Name {
        /// What it should be.
        should: String,
    },
    /// No HEADER was ever written ([F-2]).
    #[error("the file doesn't begin with HEADER")]
    NoHeader,
    /// Neither this segment nor another one of the session tells the schema.
    #[error("the schema is lost: verify it together with another segment of the session")]
    SchemaLost,
    /// What should be the schema isn't a message.
    #[error("the schema can't be read: {0}")]
    SchemaUnreadable(String),
    /// Sift would refuse a flow of the schema.
    #[error("a flow of the schema: {0}")]
    Schema(SchemaError),
    /// SEAL says what isn't so ([F-24]).
    #[error("SEAL says {stated} for {what}, and it is {found}")]
    Seal {
        /// Of what.
        what: &'static str,
        /// What it says.
        stated: String,
        /// What there is.
        found: String,
    },
    /// SEAL contradicts HEADER ([F-24]).
    #[error("SEAL's copy of HEADER {0}")]
    SealHeader(&'static str),
    /// SEAL's figures of a flow aren't those of its records ([F-24]).
    #[error("SEAL's figures of flow {flow:?} aren't those of its records")]
    SealFlow {
        /// The flow.
        flow: String,
    },
    /// SEAL's index breaks [F-25].
    #[error("SEAL's index is wrong: {what} (entry {entry})")]
    SealIndex {
        /// Which entry, from 0.
        entry: usize,
        /// What is wrong with it.
        what: &'static str,
    },
}

impl From<RecordError> for Problem {
    fn from(error: RecordError) -> Self {
        Self::Record(error)
    }
}

/// What the recorder says of a record that it refuses, without its advice to whoever records.
fn record_text(error: &RecordError) -> String {
    match error {
        RecordError::UnknownFlow { flow } => format!("the record is of flow {flow:?}, which no schema ahead of it has"),
        RecordError::ValueCount { flow, expected, given } => {
            format!("the record of flow {flow:?} has {given} values, and the flow {expected} channels")
        }
        RecordError::ValueType { flow, channel, expected, given } => {
            format!("channel {channel:?} of flow {flow:?} takes {expected}, and the record has {given}")
        }
        RecordError::NoTimestamp { flow } => format!("the record of flow {flow:?} has no timestamp"),
        RecordError::TooLarge { flow, most } => format!("the record of flow {flow:?} exceeds {most} bytes"),
        RecordError::Request(WireError { at, problem }) => {
            format!("the record is no request: {problem} at its byte {at}")
        }
        other => other.to_string(),
    }
}

fn times_text(times: &TimeRange) -> String {
    if times.is_empty() { "none".to_owned() } else { format!("{} to {} ns", times.least, times.greatest) }
}
