//! What a replay tells while it runs: one trait, whoever listens.

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use uuid::Uuid;

use super::report::Report;
use crate::catalog::{Catalog, Requests};
use crate::format::{Damage, Mark, Torn};
use crate::segment::{SegmentError, Skipped};
use crate::sift::Registration;

/// Whose records are spoken of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin<'a> {
    /// A recorder's session.
    Session(Uuid),
    /// A backup of the official library.
    Pbfs(&'a Path),
}

/// Something that happened.
#[derive(Debug)]
pub enum ReplayEvent<'a> {
    /// What there is to do.
    Found(&'a Catalog),
    /// A session's or a file's records are being read.
    Started {
        /// Whose.
        origin: Origin<'a>,
        /// The asset's name, where known.
        asset: Option<&'a str>,
        /// Bytes of the files that are to be read.
        bytes: u64,
    },
    /// The Sift requests of a session were fulfilled.
    Registered {
        /// The session.
        session: Uuid,
        /// What was asked for; its asset and run are those that records are delivered to.
        requests: &'a Requests,
        /// What Sift answered.
        registration: &'a Registration,
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
    /// A file can't be read, or not to its end; what was read of it before counts.
    Unreadable {
        /// The file.
        path: &'a Path,
        /// Why.
        error: &'a SegmentError,
    },
    /// A frame of a later version was skipped.
    Skipped {
        /// The file.
        path: &'a Path,
        /// Where and why.
        skipped: &'a Skipped,
    },
    /// The recorder noted a fact.
    Mark {
        /// The session.
        session: Uuid,
        /// When, in ns since the Unix epoch.
        wall_clock_ns: i64,
        /// What.
        mark: &'a Mark,
    },
    /// The destination has acknowledged a window, and that is durably noted.
    Acknowledged {
        /// Whose records.
        origin: Origin<'a>,
        /// How many.
        records: u64,
        /// Bytes sent for them.
        bytes: u64,
        /// Bytes of the files that they were read from.
        read: u64,
    },
    /// Records needn't be sent: an earlier replay has delivered or dead-lettered them, or they aren't selected.
    Passed {
        /// Whose records.
        origin: Origin<'a>,
        /// How many.
        records: u64,
        /// Bytes of the files that they stand in.
        read: u64,
    },
    /// Something failed that may well succeed later: it is tried again after a pause.
    Retrying {
        /// Whose records; `None` for the connection itself.
        origin: Option<Origin<'a>>,
        /// What failed, and how.
        error: &'a str,
        /// The first attempt that failed was 1.
        attempt: u32,
        /// The pause.
        pause: Duration,
    },
    /// The destination refuses records for good. They are kept as dead letters.
    DeadLettered {
        /// Whose records.
        origin: Origin<'a>,
        /// How many.
        records: u64,
        /// What the destination said.
        reason: &'a str,
    },
    /// A file was archived or deleted.
    Retired {
        /// Where it was.
        path: &'a Path,
        /// Where it is now; `None` if it was deleted.
        archived: Option<&'a Path>,
    },
    /// A file that was to be archived or deleted was kept.
    Kept {
        /// The file.
        path: &'a Path,
        /// Why.
        reason: &'a str,
    },
    /// Everything there is was delivered; new files are waited for.
    Waiting,
    /// Records weren't delivered, and won't be in this run.
    Refused {
        /// Whose records.
        origin: Origin<'a>,
        /// Why, and what to do.
        reason: &'a str,
    },
    /// Seqs that the session should have and no file has.
    Missing {
        /// The session.
        session: Uuid,
        /// Which.
        seqs: &'a Range<u64>,
    },
    /// The end.
    Summary(&'a Report),
}

/// Whoever wants to know. Called from one task, in order.
pub trait Observer: Send + Sync {
    /// Something happened.
    fn event(&self, event: &ReplayEvent<'_>);

    /// A gRPC stream that carried records has ended: with which status, as its number (0: it is acknowledged). Default:
    /// nothing is done about it.
    fn stream_ended(&self, _code: u8) {}
}

/// Nobody wants to know.
impl Observer for () {
    fn event(&self, _event: &ReplayEvent<'_>) {}
}
