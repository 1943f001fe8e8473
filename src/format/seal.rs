//! SEAL's bookkeeping while a segment is written, and the trailer that points at it.

use std::collections::HashMap;

use super::frame::{FrameHeader, TimeRange, take};
use super::limits::{MAX_SEAL_FLOWS, WRITTEN_INDEX_ENTRIES};
use super::message::{IndexEntry, Seal, SealFlow, SegmentHeader};

/// Bytes of the trailer ([F-26]).
pub const TRAILER_BYTES: usize = 16;

/// The last bytes of a sealed segment ([F-26]).
const TRAILER_MAGIC: [u8; 8] = *b"SFR-SEAL";

/// The trailer for a SEAL frame that begins at `seal_offset` bytes.
pub fn encode_trailer(seal_offset: u64) -> [u8; TRAILER_BYTES] {
    let mut out = [0; TRAILER_BYTES];
    if let Some((offset, magic)) = out.split_first_chunk_mut::<8>() {
        *offset = seal_offset.to_le_bytes();
        magic.copy_from_slice(&TRAILER_MAGIC);
    }
    out
}

/// Where the SEAL frame begins, in bytes, if these are a trailer's bytes.
pub fn decode_trailer(bytes: &[u8; TRAILER_BYTES]) -> Option<u64> {
    let mut rest = &bytes[..];
    let offset = u64::from_le_bytes(take(&mut rest)?);
    (rest == TRAILER_MAGIC).then_some(offset)
}

impl TimeRange {
    /// As optional ends: absent when empty.
    pub(crate) fn ends(&self) -> (Option<i64>, Option<i64>) {
        if self.is_empty() { (None, None) } else { (Some(self.least), Some(self.greatest)) }
    }

    /// From optional ends; empty unless both are there.
    pub fn from_ends(least: Option<i64>, greatest: Option<i64>) -> Self {
        match (least, greatest) {
            (Some(least), Some(greatest)) => Self { least, greatest },
            _ => Self::EMPTY,
        }
    }
}

/// How much of one flow there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// Records.
    pub records: u64,
    /// Their times.
    pub times: TimeRange,
}

impl Tally {
    /// Nothing.
    pub const ZERO: Self = Self { records: 0, times: TimeRange::EMPTY };

    /// Counts one record.
    #[inline]
    pub fn add(&mut self, time: i64) {
        self.records += 1;
        self.times.include(time);
    }

    /// Adds another tally.
    pub fn merge(&mut self, other: &Self) {
        self.records += other.records;
        self.times.merge(&other.times);
    }
}

/// Gathers what SEAL will say, in bounded memory whatever the segment's size.
#[derive(Debug, Clone)]
pub struct SealBuilder {
    entries: Vec<IndexEntry>,
    /// Frames that an entry stands for; doubled whenever the index is full ([F-25]).
    frames_per_entry: u32,
    frames_in_last: u32,
    total: Tally,
    end_seq: u64,
    flows: Vec<(String, Tally)>,
    /// Where in `flows` each name stands.
    places: HashMap<String, usize>,
    non_finite: u64,
}

impl SealBuilder {
    /// For a segment whose first record will have seq `first_seq`.
    pub fn new(first_seq: u64) -> Self {
        Self {
            entries: Vec::new(),
            frames_per_entry: 1,
            frames_in_last: 0,
            total: Tally::ZERO,
            end_seq: first_seq,
            flows: Vec::new(),
            places: HashMap::new(),
            non_finite: 0,
        }
    }

    /// The seq behind the last record so far.
    pub fn end_seq(&self) -> u64 {
        self.end_seq
    }

    /// Records so far.
    pub fn records(&self) -> u64 {
        self.total.records
    }

    /// The segment had seqs up to `end_seq`, though the last of them aren't in it any more.
    pub fn extend_to(&mut self, end_seq: u64) {
        self.end_seq = self.end_seq.max(end_seq);
    }

    /// Notes a DATA frame that has been written.
    pub fn add_frame(&mut self, header: &FrameHeader) {
        self.total.merge(&Tally { records: u64::from(header.count), times: header.times });
        self.end_seq = header.end_seq();
        match self.entries.last_mut() {
            Some(last) if self.frames_in_last < self.frames_per_entry => {
                merge_entry(last, u64::from(header.count), &header.times);
                self.frames_in_last += 1;
            }
            _ => {
                let (least, greatest) = header.times.ends();
                self.entries.push(IndexEntry {
                    offset: header.offset,
                    first_seq: header.first_seq,
                    count: u64::from(header.count),
                    least,
                    greatest,
                });
                self.frames_in_last = 1;
            }
        }
        if self.entries.len() > WRITTEN_INDEX_ENTRIES {
            self.halve();
        }
    }

    fn halve(&mut self) {
        let mut halved: Vec<IndexEntry> = Vec::with_capacity(WRITTEN_INDEX_ENTRIES);
        for (i, entry) in self.entries.iter().enumerate() {
            match halved.last_mut() {
                Some(last) if i % 2 == 1 => {
                    merge_entry(last, entry.count, &TimeRange::from_ends(entry.least, entry.greatest));
                }
                _ => halved.push(*entry),
            }
        }
        // An odd number of entries leaves the last one half full.
        if self.entries.len().is_multiple_of(2) {
            self.frames_in_last += self.frames_per_entry;
        }
        self.frames_per_entry = self.frames_per_entry.saturating_mul(2);
        self.entries = halved;
    }

    /// Adds `tally` records of the flow `name`.
    pub fn add_flow(&mut self, name: &str, tally: &Tally) {
        if let Some((_, sum)) = self.places.get(name).and_then(|&place| self.flows.get_mut(place)) {
            sum.merge(tally);
        } else if self.flows.len() < MAX_SEAL_FLOWS {
            self.places.insert(name.to_owned(), self.flows.len());
            self.flows.push((name.to_owned(), *tally));
        }
    }

    /// Counts values that were NaN or infinite.
    pub fn add_non_finite(&mut self, values: u64) {
        self.non_finite += values;
    }

    /// SEAL's message, with HEADER's once more.
    pub fn finish(self, header: SegmentHeader) -> Seal {
        let (least, greatest) = self.total.times.ends();
        let flows = self.flows.into_iter().map(|(name, tally)| {
            let (least, greatest) = tally.times.ends();
            SealFlow { name, records: tally.records, least, greatest }
        });
        Seal {
            header: Some(header),
            records: self.total.records,
            end_seq: self.end_seq,
            least,
            greatest,
            flows: flows.collect(),
            index: self.entries,
            non_finite: self.non_finite,
        }
    }
}

fn merge_entry(entry: &mut IndexEntry, count: u64, times: &TimeRange) {
    entry.count += count;
    let mut sum = TimeRange::from_ends(entry.least, entry.greatest);
    sum.merge(times);
    (entry.least, entry.greatest) = sum.ends();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::frame::{Codec, Kind};

    fn frame(i: u64) -> FrameHeader {
        FrameHeader {
            kind: Kind::Data,
            codec: Codec::None,
            flags: 0,
            stored_len: 14,
            raw_len: 14,
            count: 2,
            first_seq: i * 2,
            times: TimeRange { least: i as i64, greatest: i as i64 + 1 },
            segment_id: 1,
            offset: 8 + i * 86,
            payload_crc: 0,
        }
    }

    #[test]
    fn trailers_read_back() {
        let trailer = encode_trailer(4711);
        assert_eq!(decode_trailer(&trailer), Some(4711));
        let mut bad = trailer;
        bad[15] ^= 1;
        assert_eq!(decode_trailer(&bad), None);
    }

    #[test]
    fn the_index_is_bounded_and_covers_every_frame() {
        for frames in [0, 1, WRITTEN_INDEX_ENTRIES as u64, WRITTEN_INDEX_ENTRIES as u64 + 1, 50_000] {
            let mut builder = SealBuilder::new(0);
            (0..frames).for_each(|i| builder.add_frame(&frame(i)));
            let seal = builder.finish(SegmentHeader::default());
            assert!(seal.index.len() <= WRITTEN_INDEX_ENTRIES);
            assert_eq!((seal.records, seal.end_seq), (frames * 2, frames * 2));
            let mut seq = 0;
            for entry in &seal.index {
                assert_eq!(entry.first_seq, seq);
                assert_eq!(entry.offset, 8 + seq / 2 * 86);
                assert_eq!(entry.least, Some((seq / 2) as i64));
                seq += entry.count;
            }
            assert_eq!(seq, frames * 2);
        }
    }

    #[test]
    fn each_entry_of_the_index_stands_for_as_many_frames_as_any_other_but_the_last() {
        let full = WRITTEN_INDEX_ENTRIES as u64;
        let few = [(full, 1), (full + 1, 2), (2 * full, 2), (2 * full + 1, 4), (2 * full + 3, 4)];
        for (frames, stride) in few.into_iter().chain([(50_000, 128)]) {
            let mut builder = SealBuilder::new(0);
            (0..frames).for_each(|i| builder.add_frame(&frame(i)));
            let index = builder.finish(SegmentHeader::default()).index;
            let (last, others) = index.split_last().unwrap();
            assert!(others.iter().all(|entry| entry.count == stride * 2), "{frames} frames");
            assert_eq!(index.len() as u64, frames.div_ceil(stride), "{frames} frames");
            assert_eq!((last.least, last.greatest), (Some((last.first_seq / 2) as i64), Some(frames as i64)));
        }
    }

    #[test]
    fn flows_are_summed_by_name_and_bounded() {
        let mut builder = SealBuilder::new(0);
        let mut tally = Tally::ZERO;
        tally.add(5);
        for i in 0..MAX_SEAL_FLOWS + 10 {
            builder.add_flow(&format!("flow {i}"), &tally);
        }
        builder.add_flow("flow 3", &tally);
        let seal = builder.finish(SegmentHeader::default());
        assert_eq!(seal.flows.len(), MAX_SEAL_FLOWS);
        assert_eq!((seal.flows[3].records, seal.flows[3].least), (2, Some(5)));
    }
}
