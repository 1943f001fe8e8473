//! SEAL's index, kept small: from where to read when some of a segment's records are done already ([F-25]).

use std::ops::Range;
use std::sync::Arc;

use super::seq_set::SeqSet;
use crate::format::{IndexEntry, Kind, MAX_INDEX_ENTRIES, Seal, WRITTEN_INDEX_ENTRIES};
use crate::segment::{SegmentError, SegmentReader};

/// Most stretches that are kept of a segment: of a hundred thousand segments, a few hundred MB. As fine as the index that
/// our own writer makes; another one's may be finer, which costs reading a stretch of a segment too much at most.
const MAX_STRETCHES: usize = WRITTEN_INDEX_ENTRIES;

/// Most frames behind the last place that the index names that are looked at: an entry rarely stands for more than a few.
const MAX_TAIL_FRAMES: usize = 4096;

/// Consecutive frames of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch {
    /// Where it begins, in bytes from the file's start. The first one begins at 0, with the HEADER.
    pub offset: u64,
    /// Seq of the record with which the DATA frame at `offset` begins; `None` for the first stretch, which begins
    /// otherwise.
    pub first_seq: Option<u64>,
    /// Where the next one begins, or `u64::MAX`.
    pub end: u64,
    /// The seqs that may stand in it.
    pub seqs: Range<u64>,
}

/// Where the stretches of a sealed segment begin, and with which seq.
#[derive(Debug, Clone, Default)]
pub(super) struct Stretches {
    /// Offset and first seq, in order; empty if SEAL's index is of no use.
    begins: Arc<[(u64, u64)]>,
    /// Where the index's last entry begins; the last of these stretches may be several.
    last: u64,
    /// The segment's first seq, as its HEADER says, and the one behind its last, as SEAL does.
    first_seq: u64,
    end_seq: u64,
}

impl Stretches {
    /// Of `reader`'s SEAL. An index that breaks [F-25], or whose ends aren't where it says, is of no use: such a segment
    /// is one stretch.
    pub(super) fn of(reader: &mut SegmentReader) -> Result<Self, SegmentError> {
        let first_seq = reader.identity().header.as_ref().map_or(0, |header| header.first_seq);
        let Some(seal) = reader.seal().filter(|seal| is_sound(seal)) else { return Ok(Self::default()) };
        let end_seq = seal.end_seq;
        let ends = [seal.index.first().copied(), seal.index.last().copied()];
        let last = seal.index.last().map_or(0, |entry| entry.offset);
        let each = seal.index.len().div_ceil(MAX_STRETCHES).max(1);
        let begins: Vec<(u64, u64)> =
            seal.index.iter().step_by(each).map(|entry| (entry.offset, entry.first_seq)).collect();
        for entry in ends.into_iter().flatten() {
            if !begins_with(reader, entry.offset, entry.first_seq)? {
                return Ok(Self::default());
            }
        }
        Ok(Self { begins: begins.into(), last, first_seq, end_seq })
    }

    fn get(&self, at: usize) -> Option<Stretch> {
        let &(offset, first_seq) = self.begins.get(at)?;
        let next = self.begins.get(at + 1).copied();
        let (end, end_seq) = next.unwrap_or((u64::MAX, self.end_seq));
        // What stands before the first record that the index tells of belongs to the first stretch: HEADER, marks,
        // and what the index keeps quiet about.
        Some(match at {
            0 => Stretch { offset: 0, first_seq: None, end, seqs: first_seq.min(self.first_seq)..end_seq },
            _ => Stretch { offset, first_seq: Some(first_seq), end, seqs: first_seq..end_seq },
        })
    }

    /// The number of the stretch that `position` is in.
    fn at(&self, position: u64) -> usize {
        self.begins.partition_point(|&(offset, _)| offset <= position).saturating_sub(1)
    }

    /// Whether the stretch that `position` is in begins in the file as it does here. Then no seq before it follows
    /// ([F-34]).
    pub(super) fn holds_at(&self, reader: &mut SegmentReader, position: u64) -> Result<bool, SegmentError> {
        match self.begins.get(self.at(position)) {
            Some(&(offset, first_seq)) => begins_with(reader, offset, first_seq),
            None => Ok(false),
        }
    }

    /// Whether, from the last place that the index names to SEAL, there are sound frames, and none with a seq that SEAL
    /// doesn't tell of. Then no such record is behind that place.
    pub(super) fn ends_as_said(&self, reader: &mut SegmentReader) -> Result<bool, SegmentError> {
        let mut offset = self.last;
        for _ in 0..MAX_TAIL_FRAMES {
            match reader.frame_at(offset)? {
                Some(frame) if frame.kind == Kind::Seal => return Ok(true),
                Some(frame) if frame.kind != Kind::Data || frame.end_seq() <= self.end_seq => {
                    offset = offset.saturating_add(frame.frame_len());
                }
                _ => break,
            }
        }
        Ok(false)
    }

    /// The first stretch that ends behind `position` and of whose seqs one isn't in `done`.
    pub(super) fn next_needed(&self, done: &SeqSet, position: u64) -> Option<Stretch> {
        if self.begins.is_empty() {
            // Nothing is known: all of it.
            return Some(Stretch { offset: 0, first_seq: None, end: u64::MAX, seqs: 0..u64::MAX });
        }
        (self.at(position)..self.begins.len())
            .filter_map(|at| self.get(at))
            .find(|stretch| !done.missing_in(stretch.seqs.clone()).is_empty())
    }
}

/// Whether a DATA frame with this first seq begins at `offset`.
fn begins_with(reader: &mut SegmentReader, offset: u64, first_seq: u64) -> Result<bool, SegmentError> {
    let frame = reader.frame_at(offset)?;
    Ok(frame.is_some_and(|frame| frame.kind == Kind::Data && frame.first_seq == first_seq))
}

/// Whether an index is as [F-25] wants it.
fn is_sound(seal: &Seal) -> bool {
    let next_of = |entry: &IndexEntry| entry.first_seq.checked_add(entry.count);
    let in_order = seal.index.windows(2).all(|pair| match pair {
        [a, b] => a.offset < b.offset && next_of(a).is_some_and(|next| next <= b.first_seq),
        _ => false,
    });
    let records = seal.index.iter().try_fold(0u64, |sum, entry| sum.checked_add(entry.count));
    let end = seal.index.last().and_then(next_of);
    let bounded = seal.index.len() <= MAX_INDEX_ENTRIES && seal.index.iter().all(|entry| entry.count > 0);
    bounded && in_order && records == Some(seal.records) && end.is_some_and(|end| end <= seal.end_seq)
}
