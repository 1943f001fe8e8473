//! What SEAL says, held against what was read ([F-24], [F-25]).

use std::collections::{HashMap, HashSet};

use prost::Message;

use super::finding::Problem;
use super::schema::Schema;
use crate::format::{
    AddedFlows, Bounded, FlowConfig, IndexEntry, IngestionConfig, MAX_INDEX_ENTRIES, MAX_SEAL_FLOWS, Seal,
    SegmentHeader, Tally, TimeRange,
};
use crate::segment::Batch;

/// What SEAL must say, gathered while a segment is read.
#[derive(Debug)]
pub(super) struct Expected {
    total: Tally,
    end_seq: u64,
    /// By the flow's place in the schema.
    flows: Vec<Tally>,
    /// By the flow's name, where the schema isn't known: as many as SEAL may list, and one.
    named: HashMap<Vec<u8>, Tally>,
    /// `None` if the trailer points at no SEAL: what it lists isn't known while the frames are read.
    index: Option<Index>,
}

impl Expected {
    /// `seal`: the one that the trailer points at.
    pub(super) fn new(seal: Option<&Seal>) -> Self {
        Self {
            total: Tally::ZERO,
            end_seq: 0,
            flows: Vec::new(),
            named: HashMap::new(),
            index: seal.map(|seal| Index::new(&seal.index)),
        }
    }

    /// HEADER was read.
    pub(super) fn begin(&mut self, first_seq: u64) {
        self.end_seq = self.end_seq.max(first_seq);
    }

    /// A DATA frame was read.
    pub(super) fn frame(&mut self, batch: &Batch<'_>) {
        self.total.merge(&Tally { records: u64::from(batch.count), times: batch.times });
        self.end_seq = batch.end_seq();
        if let Some(index) = &mut self.index {
            index.frame(batch);
        }
    }

    /// A record was read, of the flow at this place in the schema.
    #[inline]
    pub(super) fn record(&mut self, flow: usize, time: i64) {
        if flow >= self.flows.len() {
            self.flows.resize(flow + 1, Tally::ZERO);
        }
        if let Some(tally) = self.flows.get_mut(flow) {
            tally.add(time);
        }
    }

    /// A record of this flow was read.
    pub(super) fn record_alone(&mut self, flow: &[u8], time: i64) {
        if let Some(tally) = self.named.get_mut(flow) {
            tally.add(time);
        } else if self.named.len() <= MAX_SEAL_FLOWS {
            self.named.insert(flow.to_owned(), Tally { records: 1, times: TimeRange::at(time) });
        }
    }

    /// What of SEAL's totals and index isn't so.
    pub(super) fn check(&mut self, seal: &Seal) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut compare = |what, stated: u64, found: u64| {
            if stated != found {
                problems.push(Problem::Seal { what, stated: stated.to_string(), found: found.to_string() });
            }
        };
        compare("the number of records", seal.records, self.total.records);
        // A repaired segment may have lost the last of its records ([F-42]): they are told as missing.
        compare("the seq behind the last record", seal.end_seq.min(self.end_seq), self.end_seq);
        let (least, greatest) = self.total.times.ends();
        for (what, stated, found) in
            [("the least time", seal.least, least), ("the greatest time", seal.greatest, greatest)]
        {
            if stated != found {
                let text = |time: Option<i64>| time.map_or_else(|| "none".to_owned(), |time| format!("{time} ns"));
                problems.push(Problem::Seal { what, stated: text(stated), found: text(found) });
            }
        }
        problems.extend(self.index.as_mut().and_then(|index| index.end(&seal.index)));
        problems
    }

    /// What of SEAL's figures that follow from each record isn't so.
    pub(super) fn check_records(&self, seal: &Seal, schema: &Schema, non_finite: u64) -> Vec<Problem> {
        let mut problems = Vec::new();
        if seal.non_finite != non_finite {
            let (stated, found) = (seal.non_finite.to_string(), non_finite.to_string());
            problems.push(Problem::Seal { what: "the number of values that aren't finite", stated, found });
        }
        problems.extend(self.check_flows(seal, schema));
        problems
    }

    fn check_flows(&self, seal: &Seal, schema: &Schema) -> Option<Problem> {
        let mut flows: HashMap<&[u8], Tally> = self.named.iter().map(|(name, tally)| (&name[..], *tally)).collect();
        if let Schema::Flows(checker) = schema {
            for (place, tally) in self.flows.iter().enumerate().filter(|(_, tally)| tally.records > 0) {
                let name = checker.flow(place).map_or("", crate::record::Flow::name).as_bytes();
                flows.entry(name).or_insert(Tally::ZERO).merge(tally);
            }
        }
        let mut listed = HashSet::new();
        for flow in &seal.flows {
            let found = flows.get(flow.name.as_bytes()).copied().unwrap_or(Tally::ZERO);
            let stated = Tally { records: flow.records, times: TimeRange::from_ends(flow.least, flow.greatest) };
            if stated != found || !listed.insert(flow.name.as_bytes()) {
                return Some(Problem::SealFlow { flow: flow.name.clone() });
            }
        }
        if seal.flows.len() >= MAX_SEAL_FLOWS {
            let (stated, found) = (seal.flows.len().to_string(), format!("at most {MAX_SEAL_FLOWS}"));
            let what = "the number of flows that it lists";
            return (seal.flows.len() > MAX_SEAL_FLOWS).then_some(Problem::Seal { what, stated, found });
        }
        let unlisted = flows.keys().filter(|name| !listed.contains(**name)).min();
        unlisted.map(|name| Problem::SealFlow { flow: String::from_utf8_lossy(name).into_owned() })
    }
}

/// Walks over SEAL's index while the DATA frames are read.
#[derive(Debug)]
struct Index {
    /// Empty if there are more than there may be.
    entries: Vec<IndexEntry>,
    /// How many of them have begun.
    begun: usize,
    /// What the one that has begun stands for.
    stretch: Tally,
    wrong: Option<Problem>,
}

impl Index {
    fn new(entries: &[IndexEntry]) -> Self {
        // Not to be kept in memory a second time.
        let entries = if entries.len() > MAX_INDEX_ENTRIES { &[] } else { entries };
        Self { entries: entries.to_vec(), begun: 0, stretch: Tally::ZERO, wrong: None }
    }

    fn is_wrong(&mut self, entry: usize, what: &'static str) {
        self.wrong.get_or_insert(Problem::SealIndex { entry, what });
    }

    fn frame(&mut self, batch: &Batch<'_>) {
        if let Some(next) = self.entries.get(self.begun).filter(|next| next.offset == batch.offset) {
            let fits = next.first_seq == batch.first_seq;
            self.stretch_ends();
            if !fits {
                self.is_wrong(self.begun, "it states another first seq than the frame has");
            }
            self.begun += 1;
        } else if self.begun == 0 {
            self.is_wrong(0, "it doesn't begin with the first DATA frame");
        }
        self.stretch.merge(&Tally { records: u64::from(batch.count), times: batch.times });
    }

    fn stretch_ends(&mut self) {
        let found = std::mem::replace(&mut self.stretch, Tally::ZERO);
        let Some(at) = self.begun.checked_sub(1) else { return };
        let Some(entry) = self.entries.get(at) else { return };
        let stated = Tally { records: entry.count, times: TimeRange::from_ends(entry.least, entry.greatest) };
        if stated != found {
            self.is_wrong(at, "it states other records or times than the frames have");
        }
    }

    /// Everything is read. `entries`: all of them.
    fn end(&mut self, entries: &[IndexEntry]) -> Option<Problem> {
        if entries.len() > MAX_INDEX_ENTRIES {
            return Some(Problem::SealIndex { entry: MAX_INDEX_ENTRIES, what: "there are more than there may be" });
        }
        self.stretch_ends();
        if self.begun < entries.len() {
            self.is_wrong(self.begun, "no DATA frame begins there");
        }
        self.wrong.take()
    }
}

/// What SEAL's copy of HEADER has, beside HEADER's own fields.
#[derive(Debug, Default)]
pub(super) struct HeaderCopy {
    header: Option<SegmentHeader>,
    added: Vec<AddedFlows>,
    added_bytes: usize,
}

/// Most bytes of added flows, encoded, that are kept to be compared: more than a schema may have.
const MOST_ADDED_BYTES: usize = 32 << 20;

impl HeaderCopy {
    /// HEADER was read.
    pub(super) fn header(&mut self, header: SegmentHeader) {
        self.header = Some(header);
    }

    /// SCHEMA was read.
    pub(super) fn added(&mut self, added: AddedFlows) {
        self.added_bytes = self.added_bytes.saturating_add(added.encoded_len());
        if self.added_bytes <= MOST_ADDED_BYTES {
            self.added.push(added);
        }
    }

    /// What of SEAL's copy isn't as it should be.
    pub(super) fn check(self, seal: &Seal) -> Option<Problem> {
        let copy = match &seal.header {
            Some(copy) => copy,
            None => return Some(Problem::SealHeader("is missing")),
        };
        let header = self.header?;
        let as_copied = SegmentHeader { ingestion_config: copy.ingestion_config.clone(), ..header.clone() };
        if *copy != as_copied {
            return Some(Problem::SealHeader("isn't what HEADER says"));
        }
        if self.added.is_empty() {
            let same = copy.ingestion_config == header.ingestion_config;
            return (!same).then_some(Problem::SealHeader("has another schema, and no flow was added"));
        }
        let flows =
            |config: &[u8]| IngestionConfig::decode_bounded(config).map(|config| config.flows).unwrap_or_default();
        let (has, had) = (flows(&copy.ingestion_config), flows(&header.ingestion_config));
        let should: Vec<&FlowConfig> = had.iter().chain(self.added.iter().flat_map(|added| &added.flows)).collect();
        let same = self.added_bytes > MOST_ADDED_BYTES || same_flows(&has, &should);
        (!same).then_some(Problem::SealHeader("doesn't have exactly the flows of HEADER and those added since"))
    }
}

/// Whether these are the same flows, in whatever order, and however often each stands there.
fn same_flows(some: &[FlowConfig], others: &[&FlowConfig]) -> bool {
    let encoded = |flow: &FlowConfig| flow.encode_to_vec();
    let some: HashSet<_> = some.iter().map(encoded).collect();
    let others: HashSet<_> = others.iter().map(|flow| encoded(flow)).collect();
    some == others
}
