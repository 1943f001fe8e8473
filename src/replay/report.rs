//! What a replay comes to.

use std::time::Duration;

use crate::catalog::Catalog;

/// The figures of one session, one file, or all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Records that can be read, each counted once.
    pub records_found: u64,
    /// Records that the destination has acknowledged in this run.
    pub records_acknowledged: u64,
    /// Records that it had acknowledged before.
    pub records_already_acknowledged: u64,
    /// Records that it refuses for good, kept with the reason.
    pub records_dead_lettered: u64,
    /// Records that weren't asked for.
    pub records_not_selected: u64,
    /// Records that were found and not delivered.
    pub records_refused: u64,
    /// Seqs that the session should have and no file has.
    pub records_missing: u64,
    /// Records in frames of a later version.
    pub records_unreadable: u64,
    /// Records that the recorder itself dropped, and said so.
    pub records_dropped_on_board: u64,
    /// Places of files whose bytes are lost.
    pub damaged_places: u64,
    /// Bytes lost there.
    pub damaged_bytes: u64,
    /// Files that end within a frame: ordinary after a power cut.
    pub torn_files: u64,
    /// Bytes of unfinished frames at their ends.
    pub torn_bytes: u64,
    /// Bytes sent, as gRPC messages.
    pub bytes_sent: u64,
}

impl Totals {
    /// Adds other figures.
    pub fn add(&mut self, other: &Self) {
        add(&mut self.records_found, other.records_found);
        add(&mut self.records_acknowledged, other.records_acknowledged);
        add(&mut self.records_already_acknowledged, other.records_already_acknowledged);
        add(&mut self.records_dead_lettered, other.records_dead_lettered);
        add(&mut self.records_not_selected, other.records_not_selected);
        add(&mut self.records_refused, other.records_refused);
        add(&mut self.records_missing, other.records_missing);
        add(&mut self.records_unreadable, other.records_unreadable);
        add(&mut self.records_dropped_on_board, other.records_dropped_on_board);
        add(&mut self.damaged_places, other.damaged_places);
        add(&mut self.damaged_bytes, other.damaged_bytes);
        add(&mut self.torn_files, other.torn_files);
        add(&mut self.torn_bytes, other.torn_bytes);
        add(&mut self.bytes_sent, other.bytes_sent);
    }

    /// Whether everything that was recorded was delivered. (A torn end isn't a loss: what it would have held was never
    /// promised.)
    pub fn is_complete(&self) -> bool {
        self.records_refused == 0
            && self.records_dead_lettered == 0
            && self.records_missing == 0
            && self.records_unreadable == 0
            && self.damaged_places == 0
    }
}

/// Adds to a figure. Files can claim any number of records lost; no claim may end the program.
pub(super) fn add(figure: &mut u64, more: u64) {
    *figure = figure.saturating_add(more);
}

/// What was replayed, in one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The session's id, or the file's path.
    pub origin: String,
    /// The asset's name, where known.
    pub asset: Option<String>,
    /// The run's name, where known.
    pub run: Option<String>,
    /// Its figures.
    pub totals: Totals,
    /// Why not everything was delivered.
    pub refusal: Option<String>,
}

/// What a replay comes to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Sessions found.
    pub sessions: u64,
    /// Segment files found, copies included.
    pub segments: u64,
    /// PBFS files found.
    pub pbfs_files: u64,
    /// Files that are something else.
    pub files_ignored: u64,
    /// Segments and PBFS files of which nothing was asked for.
    pub files_not_selected: u64,
    /// Files that can't be read.
    pub files_unreadable: u64,
    /// Files that were moved into the archive, all of them delivered.
    pub files_archived: u64,
    /// Files that were deleted, all of them delivered.
    pub files_deleted: u64,
    /// One line each, in the order of replay.
    pub lines: Vec<Line>,
    /// All together.
    pub totals: Totals,
    /// How long it took.
    pub elapsed: Duration,
    /// Why it ended early: the destination can't be reached or refuses, or somebody interrupted it.
    pub stopped: Option<String>,
    /// Whether it ended early because what was delivered can't be kept in mind on this computer.
    pub failed_here: bool,
    /// Whether nothing was sent, only counted.
    pub dry_run: bool,
    /// Whether somebody interrupted it.
    pub interrupted: bool,
}

impl Report {
    /// What there is to do, and nothing done yet.
    pub fn of(catalog: &Catalog) -> Self {
        Self {
            sessions: catalog.sessions.len() as u64,
            segments: catalog.sessions.iter().map(|session| session.segments.len() as u64).sum(),
            pbfs_files: catalog.pbfs.len() as u64,
            files_ignored: catalog.ignored.len() as u64,
            files_unreadable: catalog.unreadable.len() as u64,
            ..Self::default()
        }
    }

    /// Adds up the lines.
    pub(super) fn sum(&mut self) {
        self.totals = Totals::default();
        self.lines.iter().for_each(|line| self.totals.add(&line.totals));
    }

    /// Whether everything found was delivered, and nothing is missing.
    pub fn is_complete(&self) -> bool {
        self.totals.is_complete() && self.files_unreadable == 0 && self.stopped.is_none()
    }
}
