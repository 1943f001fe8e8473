//! What verifying comes to.

use std::time::Duration;

use crate::catalog::Catalog;

/// The figures of one session, one file, or all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Bytes of the files.
    pub bytes: u64,
    /// Sound frames of segments, and sound chunks of PBFS files, copies included.
    pub frames: u64,
    /// Records that can be read, each seq of a session counted once.
    pub records_found: u64,
    /// Records that don't fit their schema, or that Sift would refuse for another reason, copies included.
    pub records_invalid: u64,
    /// Seqs that stand in several files, with different bytes.
    pub records_differing: u64,
    /// Seqs that the session should have and no file has.
    pub records_missing: u64,
    /// Records in frames of a later version.
    pub records_unreadable: u64,
    /// Records that the recorder itself dropped, and said so.
    pub records_dropped_on_board: u64,
    /// Values that are NaN or infinite, copies included: Sift refuses records that have one.
    pub values_non_finite: u64,
    /// What sound frames (or files' names) say and isn't so.
    pub contradictions: u64,
    /// Places of files whose bytes are lost.
    pub damaged_places: u64,
    /// Bytes lost there.
    pub damaged_bytes: u64,
    /// Files that end within a frame: ordinary after a power cut.
    pub torn_files: u64,
    /// Bytes of unfinished frames at their ends.
    pub torn_bytes: u64,
    /// Files that can't be read to their end.
    pub files_unreadable: u64,
}

impl Totals {
    fn figures(&mut self) -> [&mut u64; 15] {
        [
            &mut self.bytes,
            &mut self.frames,
            &mut self.records_found,
            &mut self.records_invalid,
            &mut self.records_differing,
            &mut self.records_missing,
            &mut self.records_unreadable,
            &mut self.records_dropped_on_board,
            &mut self.values_non_finite,
            &mut self.contradictions,
            &mut self.damaged_places,
            &mut self.damaged_bytes,
            &mut self.torn_files,
            &mut self.torn_bytes,
            &mut self.files_unreadable,
        ]
    }

    /// Adds other figures.
    pub fn add(&mut self, other: &Self) {
        let mut other = *other;
        for (figure, more) in self.figures().into_iter().zip(other.figures()) {
            add(figure, *more);
        }
    }

    /// Whether all that should be there is there, and as it should be. (A torn end isn't a loss: what it would have held
    /// was never promised. Neither is what the recorder dropped and told: that was known before.)
    pub fn is_sound(&self) -> bool {
        let told = Self {
            bytes: self.bytes,
            frames: self.frames,
            records_found: self.records_found,
            records_dropped_on_board: self.records_dropped_on_board,
            damaged_bytes: self.damaged_bytes,
            torn_files: self.torn_files,
            torn_bytes: self.torn_bytes,
            ..Self::default()
        };
        *self == told
    }
}

/// Adds to a figure. Files can claim any number of records lost; no claim may end the program.
pub(super) fn add(figure: &mut u64, more: u64) {
    *figure = figure.saturating_add(more);
}

/// What was verified, in one line.
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
}

/// What verifying comes to.
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
    /// Files that can't even be looked into, or whose session nothing tells; [`Totals::files_unreadable`] has them, too.
    pub files_unknown: u64,
    /// One line each, in the order in which they were read.
    pub lines: Vec<Line>,
    /// All together.
    pub totals: Totals,
    /// How long it took.
    pub elapsed: Duration,
}

impl Report {
    pub(super) fn of(catalog: &Catalog) -> Self {
        Self {
            sessions: catalog.sessions.len() as u64,
            segments: catalog.sessions.iter().map(|session| session.segments.len() as u64).sum(),
            pbfs_files: catalog.pbfs.len() as u64,
            files_ignored: catalog.ignored.len() as u64,
            files_unknown: catalog.unreadable.len() as u64,
            ..Self::default()
        }
    }

    /// Adds up the lines.
    pub(super) fn sum(&mut self) {
        self.totals = Totals { files_unreadable: self.files_unknown, ..Totals::default() };
        self.lines.iter().for_each(|line| self.totals.add(&line.totals));
    }

    /// Whether all that was found is as it should be, and nothing is missing.
    pub fn is_sound(&self) -> bool {
        self.totals.is_sound()
    }
}
