//! What a replay tells while it runs: one trait, whoever listens.

use std::ops::Range;
use std::path::Path;

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
    /// The Sift requests of a session were fulfilled.
    Registered {
        /// The session.
        session: Uuid,
        /// What was asked for.
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
    /// The destination has acknowledged a window.
    Acknowledged {
        /// Whose records.
        origin: Origin<'a>,
        /// How many.
        records: u64,
        /// Bytes sent for them.
        bytes: u64,
    },
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
}

/// Nobody wants to know.
impl Observer for () {
    fn event(&self, _event: &ReplayEvent<'_>) {}
}
