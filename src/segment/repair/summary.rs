//! What a segment's SEAL must say, gathered from its frames ([F-24]), in bounded memory.

use std::collections::HashMap;

use crate::format::{
    FrameHeader, MAX_SEAL_FLOWS, RecordInfo, Records, Seal, SealBuilder, SealFlow, SegmentHeader, Tally,
    non_finite_values,
};

/// Most bytes that the names of all flows listed may have together: a hostile file has any names. Records of further
/// flows are in the totals alone.
const MAX_NAME_BYTES: usize = 4 << 20;

/// A SEAL in the making.
#[derive(Debug, Clone)]
pub(super) struct Summary {
    seal: SealBuilder,
    flows: Vec<(String, Tally)>,
    /// Where in `flows` each name stands.
    places: HashMap<Vec<u8>, usize>,
    name_bytes: usize,
    /// Whether all flows are listed.
    complete: bool,
    non_finite: u64,
}

impl Summary {
    /// For a segment whose first record has seq `first_seq`.
    pub(super) fn new(first_seq: u64) -> Self {
        Self {
            seal: SealBuilder::new(first_seq),
            flows: Vec::new(),
            places: HashMap::new(),
            name_bytes: 0,
            complete: true,
            non_finite: 0,
        }
    }

    /// Notes a DATA frame where it stands now; also one that this version can't read.
    pub(super) fn frame(&mut self, header: &FrameHeader) {
        self.seal.add_frame(header);
    }

    /// Looks into the records of a DATA frame.
    pub(super) fn records(&mut self, records: Records<'_>) {
        for record in records {
            self.non_finite += non_finite_values(record);
            // What isn't a request has no flow.
            if let Ok(info) = RecordInfo::parse(record) {
                self.record(info);
            }
        }
    }

    fn record(&mut self, info: RecordInfo<'_>) {
        let place = match self.places.get(info.flow) {
            Some(place) => Some(*place),
            None => self.list(info.flow),
        };
        let Some((_, tally)) = place.and_then(|place| self.flows.get_mut(place)) else { return };
        tally.records += 1;
        if let Some(time) = info.timestamp {
            tally.times.include(time);
        }
    }

    /// Lists one flow more, if there is room and its name is a text.
    fn list(&mut self, flow: &[u8]) -> Option<usize> {
        let name = std::str::from_utf8(flow).ok()?;
        let name_bytes = self.name_bytes.saturating_add(flow.len());
        if self.flows.len() >= MAX_SEAL_FLOWS || name_bytes > MAX_NAME_BYTES {
            self.complete = false;
            return None;
        }
        self.name_bytes = name_bytes;
        self.flows.push((name.to_owned(), Tally::ZERO));
        self.places.insert(flow.to_owned(), self.flows.len() - 1);
        Some(self.flows.len() - 1)
    }

    /// The seq behind the last record so far.
    pub(super) fn end_seq(&self) -> u64 {
        self.seal.end_seq()
    }

    /// SEAL's message. `end_seq`: behind the last record that the segment is known to have had; `header`: HEADER once
    /// more.
    pub(super) fn finish(self, end_seq: u64, header: Option<SegmentHeader>) -> Seal {
        let mut builder = self.seal;
        builder.extend_to(end_seq);
        builder.add_non_finite(self.non_finite);
        self.flows.iter().for_each(|(name, tally)| builder.add_flow(name, tally));
        Seal { header, ..builder.finish(SegmentHeader::default()) }
    }

    /// Whether `seal` says all this, the copy of HEADER aside.
    pub(super) fn agrees_with(&self, seal: &Seal) -> bool {
        let mut own = self.clone().finish(seal.end_seq, None);
        let mut stated = seal.clone();
        for flows in [&mut own.flows, &mut stated.flows] {
            flows.sort_by(|a: &SealFlow, b| a.name.cmp(&b.name));
            if !self.complete {
                // Which of them are listed is the writer's choice.
                flows.clear();
            }
        }
        own == Seal { header: None, ..stated }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_are_listed_until_there_are_too_many_or_their_names_take_too_much() {
        let mut summary = Summary::new(0);
        for number in 0..MAX_SEAL_FLOWS {
            assert_eq!(summary.list(number.to_string().as_bytes()), Some(number));
        }
        assert!(summary.complete);
        assert_eq!((summary.list(b"more"), summary.complete, summary.flows.len()), (None, false, MAX_SEAL_FLOWS));

        let mut summary = Summary::new(0);
        assert_eq!(summary.list(&vec![b'a'; MAX_NAME_BYTES - 1]), Some(0));
        assert_eq!((summary.list(b"bc"), summary.complete), (None, false));
        assert_eq!(summary.list(b"b"), Some(1));
        assert_eq!((summary.list(b"c"), summary.flows.len()), (None, 2));
    }
}
