//! SEAL and its index: what a writer gathers is bounded and covers every frame ([F-24], [F-25]); an index that lies, and
//! jumping to anywhere, lose no record.

#![no_main]

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use sift_replay::catalog::{Catalog, SeqSet, discover};
use sift_replay::format::{
    Codec, FrameHeader, IndexEntry, Kind, MAX_SEAL_FLOWS, Seal, SealBuilder, SegmentHeader, Tally, TimeRange,
    WRITTEN_INDEX_ENTRIES,
};
use sift_replay::segment::{Event, SegmentReader};
use sift_replay_fuzz::segment::readers::own;
use sift_replay_fuzz::segment::{Found, Plan, SESSION, What, oracle};
use sift_replay_fuzz::{Arbitrary, Change, Unstructured, apply, files, memory};

fuzz_target!(|input: &[u8]| {
    let Some((&mode, rest)) = input.split_first() else { return };
    let u = Unstructured::new(rest);
    match mode % 3 {
        0 => {
            if let Ok(gathered) = Gathered::arbitrary_take_rest(u) {
                gathered.check();
            }
        }
        1 => {
            if let Ok(case) = Lying::arbitrary_take_rest(u) {
                case.check();
            }
        }
        _ => {
            if let Ok(case) = Jumping::arbitrary_take_rest(u) {
                case.check();
            }
        }
    }
});

/// What a writer tells of its frames: groups of so many alike.
#[derive(Debug, Arbitrary)]
struct Gathered {
    first_seq: u32,
    groups: Vec<(u16, Alike)>,
    flows: Vec<(u16, u16, i64)>,
}

#[derive(Debug, Clone, Arbitrary)]
struct Alike {
    gap: u8,
    count: u8,
    len: u16,
    time: Option<(i64, u32)>,
}

impl Gathered {
    fn headers(&self) -> Vec<FrameHeader> {
        let (mut headers, mut seq, mut offset) = (Vec::new(), u64::from(self.first_seq), 80);
        for (frames, alike) in &self.groups {
            for _ in 0..*frames {
                if headers.len() == 3 * WRITTEN_INDEX_ENTRIES {
                    return headers;
                }
                seq += u64::from(alike.gap);
                let times = alike.time.map_or(TimeRange::EMPTY, |(least, more)| TimeRange {
                    least,
                    greatest: least.saturating_add(more.into()),
                });
                headers.push(FrameHeader {
                    kind: Kind::Data,
                    codec: Codec::None,
                    flags: 0,
                    stored_len: alike.len.into(),
                    raw_len: alike.len.into(),
                    count: alike.count.into(),
                    first_seq: seq,
                    times,
                    segment_id: 1,
                    offset,
                    payload_crc: 0,
                });
                seq += u64::from(alike.count);
                offset += 72 + u64::from(alike.len) + u64::from(alike.gap % 3) * 100;
            }
        }
        headers
    }

    fn check(&self) {
        let headers = self.headers();
        let seal = memory::within(8 << 20, "what SEAL is made of", || {
            let mut builder = SealBuilder::new(self.first_seq.into());
            headers.iter().for_each(|header| builder.add_frame(header));
            for (flow, records, time) in &self.flows {
                let name = format!("flow {flow}");
                builder.add_flow(&name, &Tally { records: (*records).into(), times: TimeRange::at(*time) });
            }
            builder.finish(SegmentHeader::default())
        });
        assert!(seal.index.len() <= WRITTEN_INDEX_ENTRIES && seal.flows.len() <= MAX_SEAL_FLOWS);
        check_index(&seal, &headers);
        let mut flows: BTreeMap<String, Tally> = BTreeMap::new();
        for (flow, records, time) in &self.flows {
            let tally = Tally { records: (*records).into(), times: TimeRange::at(*time) };
            flows.entry(format!("flow {flow}")).or_insert(Tally::ZERO).merge(&tally);
        }
        let found: BTreeMap<_, _> = seal
            .flows
            .iter()
            .map(|flow| {
                let times = TimeRange::from_ends(flow.least, flow.greatest);
                (flow.name.clone(), Tally { records: flow.records, times })
            })
            .collect();
        assert_eq!(found.len(), seal.flows.len(), "a flow twice");
        assert_eq!(found, flows);
    }
}

/// [F-25]
fn check_index(seal: &Seal, headers: &[FrameHeader]) {
    let mut all = TimeRange::EMPTY;
    headers.iter().for_each(|header| all.merge(&header.times));
    assert_eq!(TimeRange::from_ends(seal.least, seal.greatest), all);
    assert_eq!(seal.records, headers.iter().map(|header| u64::from(header.count)).sum::<u64>());
    if let Some(last) = headers.last() {
        assert_eq!(seal.end_seq, last.first_seq + u64::from(last.count));
    }
    // Each but the last has as many frames: the fewest with which the index is small enough.
    let frames = headers.len().div_ceil(WRITTEN_INDEX_ENTRIES).next_power_of_two();
    let mut rest = headers;
    for (i, entry) in seal.index.iter().enumerate() {
        let end = seal.index.get(i + 1).map_or(u64::MAX, |next| next.offset);
        let (stretch, behind) = rest.split_at(rest.partition_point(|header| header.offset < end));
        let first = stretch.first().expect("a stretch has a frame");
        assert!(stretch.len() == frames || behind.is_empty() && stretch.len() < frames, "{} frames", stretch.len());
        assert_eq!((entry.offset, entry.first_seq), (first.offset, first.first_seq));
        assert_eq!(entry.count, stretch.iter().map(|header| u64::from(header.count)).sum::<u64>());
        let mut times = TimeRange::EMPTY;
        stretch.iter().for_each(|header| times.merge(&header.times));
        assert_eq!(TimeRange::from_ends(entry.least, entry.greatest), times);
        rest = behind;
    }
    assert!(rest.is_empty(), "no entry has {} frames", rest.len());
}

/// A segment whose SEAL isn't true, and what of it isn't done.
#[derive(Debug, Arbitrary)]
struct Lying {
    fitting: bool,
    frames_per_entry: u8,
    lies: Vec<Lie>,
    need: u8,
    more_needed: Vec<u8>,
    frames: Frames,
    changes: Vec<Change>,
}

/// Small DATA frames: so many, alike in turn.
#[derive(Debug, Arbitrary)]
struct Frames {
    count: u8,
    shapes: [(u8, u8); 3],
}

impl Frames {
    fn plan(&self) -> Plan {
        let frames: Vec<_> = self.shapes.iter().copied().cycle().take(usize::from(self.count % 32)).collect();
        Plan::of_frames(&frames)
    }
}

#[derive(Debug, Arbitrary)]
enum Lie {
    /// Begins with the seq with which a later entry begins; those between are gone. It contradicts nothing.
    Later {
        at: u8,
        by: u8,
    },
    /// The same, of the place.
    Earlier {
        at: u8,
        by: u8,
    },
    Offset {
        at: u8,
        by: i16,
    },
    Seq {
        at: u8,
        by: i8,
    },
    Count {
        at: u8,
        by: i8,
    },
    PointAt {
        at: u8,
        other: u8,
    },
    SeqOf {
        at: u8,
        other: u8,
    },
    Remove(u8),
    Swap(u8, u8),
    Repeat(u8),
    EndSeq(i8),
    Records(i8),
    Entry {
        offset: u64,
        first_seq: u64,
        count: u64,
    },
}

impl Lie {
    fn tell(&self, seal: &mut Seal) {
        let len = seal.index.len();
        if let Self::Entry { offset, first_seq, count } = *self {
            return seal.index.push(IndexEntry { offset, first_seq, count, ..IndexEntry::default() });
        }
        if len == 0 {
            return;
        }
        let at = |at: u8| usize::from(at) % len;
        match *self {
            Self::Later { at: i, by } | Self::Earlier { at: i, by } => {
                let (from, to) = (at(i), (at(i) + usize::from(by % 4) + 1).min(len - 1));
                let first_seq = seal.index[to].first_seq;
                let offset =
                    seal.index[if matches!(self, Self::Later { .. }) { from } else { to.min(from + 1) }].offset;
                (seal.index[to].first_seq, seal.index[to].offset) = (first_seq, offset);
                seal.index.drain(from..to);
            }
            Self::Offset { at: i, by } => add(&mut seal.index[at(i)].offset, by.into()),
            Self::Seq { at: i, by } => add(&mut seal.index[at(i)].first_seq, by.into()),
            Self::Count { at: i, by } => add(&mut seal.index[at(i)].count, by.into()),
            Self::PointAt { at: i, other } => seal.index[at(i)].offset = seal.index[at(other)].offset,
            Self::SeqOf { at: i, other } => seal.index[at(i)].first_seq = seal.index[at(other)].first_seq,
            Self::Remove(i) => drop(seal.index.remove(at(i))),
            Self::Swap(i, other) => seal.index.swap(at(i), at(other)),
            Self::Repeat(i) => seal.index.insert(at(i), seal.index[at(i)]),
            Self::EndSeq(by) => add(&mut seal.end_seq, by.into()),
            Self::Records(by) => add(&mut seal.records, by.into()),
            Self::Entry { .. } => {}
        }
    }
}

fn add(number: &mut u64, by: i64) {
    *number = number.wrapping_add_signed(by);
}

/// An index of these frames, as it should be.
fn index(found: &[Found], frames_per_entry: usize) -> Vec<IndexEntry> {
    let data = found.iter().filter_map(|found| match &found.what {
        What::Records { first_seq, records, .. } => Some((found.offset, *first_seq, records.len() as u64)),
        _ => None,
    });
    let data: Vec<_> = data.collect();
    let entry = |frames: &[(u64, u64, u64)]| {
        let &(offset, first_seq, _) = frames.first()?;
        let count = frames.iter().map(|&(_, _, count)| count).sum();
        Some(IndexEntry { offset, first_seq, count, least: Some(-5), greatest: Some(9) })
    };
    data.chunks(frames_per_entry).filter_map(entry).collect()
}

/// The records that are found, by seq.
fn records(found: &[Found]) -> BTreeMap<u64, Vec<u8>> {
    let mut all = BTreeMap::new();
    for found in found {
        if let What::Records { first_seq, records, .. } = &found.what {
            all.extend((*first_seq..).zip(records.iter().cloned()));
        }
    }
    all
}

impl Lying {
    fn check(&self) {
        let plan = self.frames.plan();
        let mut written = plan.write_open();
        let index = index(&written.found, usize::from(self.frames_per_entry % 4) + 1);
        let end_seq = records(&written.found).last_key_value().map_or(0, |(seq, _)| seq + 1);
        let header = written.found.first().and_then(|found| match &found.what {
            What::Header(header) => Some(header.clone()),
            _ => None,
        });
        let records_in = index.iter().map(|entry| entry.count).sum();
        let mut seal = Seal { header, records: records_in, end_seq, index, ..Seal::default() };
        self.lies.iter().for_each(|lie| lie.tell(&mut seal));
        if self.fitting {
            // Contradicts itself nowhere.
            seal.index.retain(|entry| entry.count > 0);
            seal.records = seal.index.iter().fold(0, |sum, entry| sum.wrapping_add(entry.count));
            let end = seal.index.last().map_or(0, |last| last.first_seq.wrapping_add(last.count));
            seal.end_seq = seal.end_seq.max(end);
        }
        written.seal_with(seal);
        let mut file = written.bytes.clone();
        if !self.changes.is_empty() {
            apply(&self.changes, &mut file, &plan.write(true).bytes);
        }
        let name = format!("{SESSION}-{:06}.sfr", plan.index());
        let who = oracle::identify(&name, &file);
        let all = records(&oracle::read(&file, who.id));
        let mut done = SeqSet::new();
        done.insert(0..1 << 40);
        for which in self.more_needed.iter().chain([&self.need]) {
            if let Some((seq, _)) = all.iter().nth(usize::from(*which) % all.len().max(1)) {
                let mut needed = SeqSet::new();
                needed.insert(*seq..*seq + 1);
                done = done.without(&needed);
            }
        }
        let read = read_rest(&name, &file, &done);
        for (seq, record) in all.iter().filter(|(seq, _)| !done.contains(**seq)) {
            assert_eq!(read.get(seq), Some(record), "seq {seq} isn't done");
        }
    }
}

/// What a replay reads of a file when these seqs are done.
fn read_rest(name: &str, file: &[u8], done: &SeqSet) -> BTreeMap<u64, Vec<u8>> {
    let path = files::put(name, file);
    let catalog = Catalog::build(discover(std::slice::from_ref(&path)).expect("a file that is there"));
    let segment = catalog.sessions.first().and_then(|session| session.segments.first());
    let sealed = segment.and_then(|segment| segment.sealed.clone());
    let mut reader = SegmentReader::open_plain(&path).expect("a file that is there");
    let (mut read, mut events) = (BTreeMap::new(), 0);
    loop {
        if let Some(sealed) = &sealed
            && !sealed.skip_done(&mut reader, done).expect("a file that can be read")
        {
            break;
        }
        match reader.next_event().expect("a file that can be read") {
            Some(Event::Records(batch)) => {
                for (seq, record) in (batch.first_seq..).zip(batch.records()) {
                    let before = read.insert(seq, record.to_vec());
                    assert!(before.is_none() || done.contains(seq), "seq {seq} twice");
                }
            }
            Some(_) => {}
            None => break,
        }
        events += 1;
        assert!(events <= file.len(), "reading doesn't end");
    }
    std::fs::remove_file(path).expect("a file that is there");
    read
}

/// A segment that is read with jumps.
#[derive(Debug, Arbitrary)]
struct Jumping {
    named: bool,
    steps: Vec<Step>,
    changes: Vec<Change>,
    plan: Plan,
    /// Small DATA frames instead.
    frames: Option<Frames>,
}

#[derive(Debug, Arbitrary)]
enum Step {
    Read(u8),
    /// To the beginning of something, or near it.
    Jump {
        to: u8,
        by: i8,
        first_seq: Option<u16>,
        right: bool,
    },
    Far(u64),
}

impl Jumping {
    fn check(&self) {
        let plan = self.frames.as_ref().map_or_else(|| self.plan.clone(), Frames::plan);
        let mut file = plan.write(false).bytes;
        apply(&self.changes, &mut file, &plan.write(true).bytes);
        let name = if self.named { format!("{SESSION}-{:06}.sfr", plan.index()) } else { "unnamed".to_owned() };
        let who = oracle::identify(&name, &file);
        let all = oracle::read(&file, who.id);
        let mut rest: std::collections::VecDeque<_> = all.iter().cloned().collect();
        let reader = SegmentReader::from_reader(Path::new(&name), Box::new(Cursor::new(file.clone())));
        let mut reader = reader.expect("a file that can be read");
        for step in &self.steps {
            let (offset, first_seq) = match step {
                Step::Read(events) => {
                    for _ in 0..*events % 8 {
                        let event = reader.next_event().expect("a file that can be read").map(own);
                        assert_eq!(event, rest.pop_front().map(|found| found.what));
                    }
                    continue;
                }
                Step::Far(offset) => (*offset, None),
                Step::Jump { to, by, first_seq, right } => {
                    let Some(found) = all.get(usize::from(*to) % all.len().max(1)) else { continue };
                    let seq = match &found.what {
                        What::Records { first_seq, .. } if *right => Some(*first_seq),
                        _ => first_seq.map(u64::from),
                    };
                    (found.offset.wrapping_add_signed(i64::from(*by / 32)), seq)
                }
            };
            let before = reader.position();
            if !reader.skip_to(offset, first_seq).expect("a file that can be read") {
                assert_eq!(reader.position(), before, "stays where it was");
                continue;
            }
            assert_eq!(reader.position(), offset);
            assert!(offset >= before, "goes back");
            while let Some(found) = rest.front().filter(|found| found.offset < offset) {
                if let (What::Records { first_seq: first, records, .. }, Some(seq)) = (&found.what, first_seq) {
                    assert!(first + records.len() as u64 <= seq, "seqs from {first} on are passed over for {seq}");
                }
                rest.pop_front();
            }
            rest = oracle::read_from(&file, offset as usize, reader.segment_id()).into();
            let there = rest.front().and_then(|found| match &found.what {
                What::Records { first_seq, .. } => Some(*first_seq),
                What::Skipped { seqs, .. } | What::Damage { seqs, .. } | What::Torn { seqs } => seqs.map(|seqs| seqs.0),
                _ => None,
            });
            assert!(first_seq.is_none() || there.is_none() || there == first_seq, "{there:?} instead of {first_seq:?}");
        }
        while let Some(event) = reader.next_event().expect("a file that can be read") {
            assert_eq!(Some(own(event)), rest.pop_front().map(|found| found.what));
        }
        assert_eq!(rest.pop_front(), None);
    }
}
