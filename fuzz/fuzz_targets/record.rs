//! Recording: whatever is done in whatever order, with whatever options, what is read back is what was recorded, and what
//! isn't there is accounted for. The disk may fail at any operation, and power may be lost: what was durable is there,
//! and nothing else is made up.

#![no_main]

use std::collections::{BTreeMap, BTreeSet};

use libfuzzer_sys::fuzz_target;
use prost::Message;
use sift_replay::format::{AddedFlows, IngestionConfig, Mark, Seal};
use sift_replay::segment::{SimDisk, SimFiles};
use sift_replay_fuzz::recording::{Life, Told};
use sift_replay_fuzz::request::Request;
use sift_replay_fuzz::segment::What;
use sift_replay_fuzz::segment::readers::{self, Way};
use sift_replay_fuzz::{Arbitrary, Unstructured, memory};

fuzz_target!(|input: &[u8]| {
    if let Ok(case) = Case::arbitrary_take_rest(Unstructured::new(input)) {
        case.check();
    }
});

#[derive(Debug, Arbitrary)]
struct Case {
    /// Power is lost at the end; the number says what is left.
    cut: Option<u64>,
    life: Life,
}

impl Case {
    fn check(&self) {
        let disk = SimDisk::new();
        let told = memory::within(64 << 20, "recording", || self.life.live(&disk, self.cut.is_none()));
        assert_eq!(disk.violations(), Vec::<String>::new(), "a file that failed is used");
        let Some(told) = told else { return };
        let image = disk.image();
        let Some(seed) = self.cut else {
            let read = Read::of(&image.all());
            read.check(&told, false);
            if told.whole {
                read.check_whole(&told);
            }
            // What isn't lost is durable once it is finished.
            Read::of(&image.least()).check(&told, false);
            return;
        };
        for files in [image.least(), image.survivor(seed)] {
            Read::of(&files).check(&told, true);
        }
    }
}

/// All that can be read of a session.
#[derive(Default)]
struct Read {
    /// Each record, and whether its frame is bare.
    records: BTreeMap<u64, (Vec<u8>, bool)>,
    /// Seqs that a mark says were dropped.
    dropped: BTreeSet<u64>,
    dropped_without_seq: u64,
    notes: Vec<String>,
    flows: Vec<String>,
    damaged: Vec<String>,
    /// By segment: the records in it by flow, and its SEAL.
    sealed: Vec<(BTreeMap<String, u64>, Option<Seal>)>,
    open: usize,
}

impl Read {
    fn of(files: &SimFiles) -> Self {
        let mut all = Self::default();
        for (path, bytes) in files {
            let name = path.file_name().expect("a name").to_str().expect("a text");
            all.open += usize::from(name.ends_with(".open"));
            all.add(name, bytes);
        }
        all
    }

    fn add(&mut self, name: &str, bytes: &[u8]) {
        let (who, found) = readers::read(name, bytes, Way::Memory);
        let mut flows: BTreeMap<String, u64> = BTreeMap::new();
        for (_, what) in found {
            match what {
                What::Header(header) => self.note_flows(&header.ingestion_config),
                What::Records { first_seq, bare, records, .. } => {
                    for (seq, record) in (first_seq..).zip(records) {
                        let request = Request::decode(&record[..]).expect("a request");
                        *flows.entry(request.flow).or_default() += 1;
                        let before = self.records.insert(seq, (record.clone(), bare));
                        assert!(before.is_none_or(|(before, _)| before == record), "seq {seq} twice, and not the same");
                    }
                }
                What::Schema(AddedFlows { flows }) => self.flows.extend(flows.into_iter().map(|flow| flow.name)),
                What::Mark(mark) => match mark.mark {
                    Some(Mark::Note(note)) => self.notes.push(note),
                    Some(Mark::Dropped(dropped)) => match dropped.first_seq {
                        Some(first) => self.dropped.extend(first..first + dropped.records),
                        None => self.dropped_without_seq += dropped.records,
                    },
                    Some(Mark::ClockStep(_) | Mark::Abandoned(_)) => {}
                    other => panic!("{other:?} was never written"),
                },
                What::Seal(_) => {}
                other => self.damaged.push(format!("{other:?} in {name}")),
            }
        }
        self.sealed.push((flows, who.seal));
    }

    fn note_flows(&mut self, config: &[u8]) {
        let config = IngestionConfig::decode(config).expect("a config");
        for flow in config.flows {
            if !self.flows.contains(&flow.name) {
                self.flows.push(flow.name);
            }
        }
    }

    /// What was durable is there, and nothing is that wasn't recorded.
    fn check(&self, told: &Told, cut: bool) {
        for seq in 0..told.durable {
            assert!(self.records.contains_key(&seq) || self.dropped.contains(&seq), "seq {seq} was durable");
        }
        for (seq, (record, bare)) in &self.records {
            let recorded = told.records.get(*seq as usize).unwrap_or_else(|| panic!("seq {seq} wasn't recorded"));
            assert_same(record, recorded);
            assert!(!(*bare && told.own_ids[*seq as usize]), "seq {seq} has ids, and its frame says that none has");
            assert!(!self.dropped.contains(seq), "seq {seq} is there, and is said to be dropped");
        }
        let known = |note: &String| told.notes.contains(note);
        assert!(self.notes.iter().all(known), "{:?} was never noted", self.notes);
        assert!(cut || told.faulty || self.damaged.is_empty(), "{:?}", self.damaged);
    }

    /// Nothing went wrong: all of it is there, and told.
    fn check_whole(&self, told: &Told) {
        let seqs = 0..told.records.len() as u64;
        assert!(seqs.clone().all(|seq| self.records.contains_key(&seq) || self.dropped.contains(&seq)));
        if told.faulty {
            // What was written to a file that failed stands in two, and the one that failed isn't sealed.
            return;
        }
        assert_eq!(self.dropped.len() as u64 + self.dropped_without_seq, told.dropped, "what was dropped");
        assert_eq!(self.notes, told.notes);
        let flows: BTreeSet<_> = self.flows.iter().collect();
        assert_eq!(flows, told.flows.iter().collect(), "flows that were recorded");
        assert_eq!(self.open, 0, "everything is sealed");
        for (flows, seal) in &self.sealed {
            let seal = seal.as_ref().expect("everything is sealed");
            let sealed: BTreeMap<_, _> = seal.flows.iter().map(|flow| (flow.name.clone(), flow.records)).collect();
            assert_eq!(&sealed, flows, "SEAL counts records by flow");
            assert_eq!(seal.records, flows.values().sum::<u64>());
        }
    }
}

fn assert_same(found: &[u8], recorded: &[u8]) {
    if found != recorded {
        // Typed records may differ from prost's bytes, not in what they say.
        let [found, recorded] = [found, recorded].map(|bytes| Request::decode(bytes).expect("a request"));
        assert_eq!(found.encode_to_vec(), recorded.encode_to_vec(), "{found:?} instead of {recorded:?}");
    }
}
