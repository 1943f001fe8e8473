//! Checking one session: its segments one by one, and what they hold together.

use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;

use uuid::Uuid;

use super::ahead::{Ahead, Clean};
use super::finding::{Finding, FindingKind, Subject};
use super::report::{Totals, add};
use super::schema::Schemas;
use super::segment::Held;
use super::tell::{Teller, Told};
use super::{copies, segment};
use crate::catalog::{SeqSet, Session};
use crate::segment::SegmentError;

/// What is known of a session so far.
#[derive(Debug)]
pub(super) struct State<'a> {
    pub(super) session: Uuid,
    pub(super) schemas: Schemas<'a>,
    pub(super) totals: Totals,
    /// How much was told of the session as a whole.
    pub(super) told: Told,
    /// Seqs that can be read.
    pub(super) read: SeqSet,
    /// Seqs that something explains: dropped on board, or in frames of a later version.
    explained: SeqSet,
    /// The end of the seqs that anything tells of.
    pub(super) end: u64,
    /// Hashes of the Dropped marks that were met.
    pub(super) dropped: HashSet<[u8; 32]>,
}

impl<'a> State<'a> {
    /// Nothing yet.
    pub(super) fn new(session: &'a Session) -> Self {
        Self {
            session: session.id,
            schemas: Schemas::new(session.requests.as_ref()),
            totals: Totals::default(),
            told: Told::default(),
            read: SeqSet::new(),
            explained: SeqSet::new(),
            end: 0,
            dropped: HashSet::new(),
        }
    }

    /// Takes note of seqs that can be read; those that stood somewhere before are put into `again` ([F-34]).
    pub(super) fn hold(&mut self, seqs: Range<u64>, again: &mut SeqSet) {
        let mut at = seqs.start;
        for new in self.read.insert(seqs.clone()) {
            again.insert(at..new.start);
            at = new.end;
        }
        again.insert(at..seqs.end);
    }

    /// Takes in a segment that was checked ahead.
    fn add(&mut self, clean: Clean) -> Held {
        let mut again = SeqSet::new();
        self.totals.add(&clean.totals);
        self.end = self.end.max(clean.end);
        clean.read.ranges().for_each(|seqs| self.hold(seqs, &mut again));
        Held { span: clean.span, again }
    }

    /// Returns how many of the seqs weren't explained before.
    pub(super) fn explain(&mut self, seqs: Range<u64>) -> u64 {
        self.end = self.end.max(seqs.end);
        self.explained.insert(seqs).into_iter().map(|new| new.end - new.start).sum()
    }

    pub(super) fn unreadable(&mut self, path: &Path, error: &SegmentError, teller: &mut Teller<'_>) {
        add(&mut self.totals.files_unreadable, 1);
        teller.once(&Finding::Unreadable { path, reason: &reason(error) });
    }

    /// What of the session is nowhere.
    fn missing(&self) -> impl Iterator<Item = Range<u64>> {
        let unread = self.read.missing_in(0..self.end).into_iter();
        unread.flat_map(|seqs| self.explained.missing_in(seqs))
    }
}

/// Why a file can't be read; the path stands beside it.
pub(super) fn reason(error: &SegmentError) -> String {
    match error {
        SegmentError::Io { source, .. } => source.to_string(),
        error => error.to_string(),
    }
}

/// Checks all segments of a session; what was checked ahead begins with its first one.
pub(super) fn check(session: &Session, ahead: &mut Ahead, teller: &mut Teller<'_>) -> Totals {
    let mut state = State::new(session);
    let mut before: Vec<(&Path, Range<u64>)> = Vec::new();
    for file in &session.segments {
        let Held { span, again } = match ahead.next() {
            Some(clean) => state.add(clean),
            None => segment::check(&file.path, &mut state, teller),
        };
        if !again.is_empty() {
            compare(&file.path, again, &before, &mut state, teller);
        }
        before.push((&file.path, span));
    }
    state.totals.records_missing = state.missing().map(|seqs| seqs.end - seqs.start).fold(0, u64::saturating_add);
    state.totals.records_found = state.read.len();
    let mut told = std::mem::take(&mut state.told);
    for seqs in state.missing() {
        teller.tell(&mut told, FindingKind::Missing, &Finding::Missing { session: session.id, seqs: &seqs });
    }
    teller.rest(&told, Subject::Session(session.id));
    state.totals
}

/// Compares what a file holds of `seqs` with what the files before it hold: each seq with one of them, since they were
/// compared with each other ([F-34]).
fn compare(
    path: &Path,
    mut seqs: SeqSet,
    before: &[(&Path, Range<u64>)],
    state: &mut State<'_>,
    teller: &mut Teller<'_>,
) {
    let session = state.session;
    for (other, span) in before {
        let meets = |part: Range<u64>| part.start < span.end && span.start < part.end;
        if !seqs.ranges().any(meets) {
            continue;
        }
        let mut differ = |seqs: &Range<u64>| {
            add(&mut state.totals.records_differing, seqs.end - seqs.start);
            teller.tell(&mut state.told, FindingKind::Differs, &Finding::Differs { session, seqs, path, other });
        };
        match copies::compare(path, other, &seqs, &mut differ) {
            Ok(compared) => seqs = seqs.without(&compared),
            Err(error) => return state.unreadable(path, &error, teller),
        }
        if seqs.is_empty() {
            return;
        }
    }
}
