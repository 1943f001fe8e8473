//! Comparing what two segments of a session hold of the same seqs ([F-34]): read side by side, one frame of each in
//! memory, whatever their sizes.

use std::ops::Range;
use std::path::Path;

use crate::catalog::SeqSet;
use crate::format::RECORD_PREFIX_BYTES;
use crate::segment::{Event, SegmentError, SegmentReader};

/// Compares the records of `seqs` that both files hold. Returns which these are; `differ` is told of those that aren't
/// the same.
pub(super) fn compare(
    one: &Path,
    other: &Path,
    seqs: &SeqSet,
    differ: &mut dyn FnMut(&Range<u64>),
) -> Result<SeqSet, SegmentError> {
    let (mut one, mut other) = (Cursor::open(one)?, Cursor::open(other)?);
    let mut comparison = Comparison { compared: SeqSet::new(), different: 0..0, differ };
    for range in seqs.ranges() {
        let mut at = range.start;
        // Each looks for what the other one has next.
        while at < range.end && one.seek(at)? && other.seek(at.max(one.seq))? {
            at = one.seq.max(other.seq);
            if one.seq == other.seq && at < range.end {
                at = comparison.step(&mut one, &mut other, range.end);
            }
        }
    }
    comparison.tell();
    Ok(comparison.compared)
}

struct Comparison<'a> {
    compared: SeqSet,
    /// Seqs that differ and weren't told yet.
    different: Range<u64>,
    differ: &'a mut dyn FnMut(&Range<u64>),
}

impl Comparison<'_> {
    /// Compares the frames' rests, if they are alike; else one record. Both cursors are at the same seq. Returns the next.
    fn step(&mut self, one: &mut Cursor, other: &mut Cursor, end: u64) -> u64 {
        let seq = one.seq;
        let whole = one.end == other.end && one.end <= end && one.rest() == other.rest();
        if whole {
            one.seq = one.end;
            other.seq = other.end;
            self.compared.insert(seq..one.end);
            return one.end;
        }
        if one.take() != other.take() {
            if self.different.end != seq {
                self.tell();
                self.different = seq..seq;
            }
            self.different.end = seq + 1;
        }
        self.compared.insert(seq..seq + 1);
        seq + 1
    }

    fn tell(&mut self) {
        if !self.different.is_empty() {
            (self.differ)(&self.different);
        }
    }
}

/// Goes over a segment's records.
struct Cursor {
    reader: SegmentReader,
    /// The present frame's payload.
    payload: Vec<u8>,
    /// The next record's place in it.
    at: usize,
    /// The next record's seq; `end` if the frame has no more.
    seq: u64,
    end: u64,
}

impl Cursor {
    fn open(path: &Path) -> Result<Self, SegmentError> {
        Ok(Self { reader: SegmentReader::open(path)?, payload: Vec::new(), at: 0, seq: 0, end: 0 })
    }

    /// Goes on to the first record that has `seq` or a later one; false if there is none.
    fn seek(&mut self, seq: u64) -> Result<bool, SegmentError> {
        while self.end <= seq {
            match self.reader.next_event()? {
                None => return Ok(false),
                Some(Event::Records(batch)) if batch.end_seq() > seq => {
                    self.payload.clear();
                    self.payload.extend_from_slice(batch.payload);
                    (self.at, self.seq, self.end) = (0, batch.first_seq, batch.end_seq());
                }
                Some(_) => {}
            }
        }
        while self.seq < seq {
            self.take();
        }
        Ok(true)
    }

    /// The bytes of the frame's records from here on.
    fn rest(&self) -> &[u8] {
        self.payload.get(self.at..).unwrap_or_default()
    }

    /// The next record of the frame, which has one.
    fn take(&mut self) -> &[u8] {
        self.seq += 1;
        let from = self.at + RECORD_PREFIX_BYTES;
        let prefix = self.payload.get(self.at..).and_then(|rest| rest.first_chunk());
        let len = prefix.map_or(0, |len| u32::from_le_bytes(*len) as usize);
        self.at = from.saturating_add(len);
        self.payload.get(from..self.at).unwrap_or_default()
    }
}
