//! What a disk holds at the end, held against what was promised.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;

use crate::session::{Session, Trouble};
use sift_replay::format::{Kind, Mark, MarkMessage, PayloadDecoder, RecordInfo, Records, Scanner, Step};
use sift_replay::record::RecordError;
use sift_replay::segment::{SegmentName, SimFiles};

/// What stands in the files.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    /// The records by seq, each named by its time.
    pub(crate) records: BTreeMap<u64, i64>,
    /// Seqs in the order in which they stand.
    order: Vec<u64>,
    /// Records dropped that had no seqs.
    dropped: u64,
    /// Seqs dropped, without their ends.
    dropped_seqs: Vec<(u64, u64)>,
    notes: usize,
    /// Damage, torn ends, and segments that aren't sealed.
    unsound: usize,
}

impl Evidence {
    pub(crate) fn of(files: &SimFiles) -> Self {
        let mut evidence = Self::default();
        // Their names go up as they follow each other, open or not.
        for (path, bytes) in files {
            evidence.unsound += usize::from(SegmentName::of_path(path).unwrap().open);
            let mut scanner = Scanner::new(None);
            loop {
                let at = scanner.position() as usize;
                match scanner.step(&bytes[at..], true) {
                    Step::Frame(frame) => evidence.add(&frame),
                    Step::Damage(_) | Step::Torn(_) => evidence.unsound += 1,
                    Step::NeedMore(_) | Step::End => break,
                }
            }
        }
        evidence
    }

    fn add(&mut self, frame: &sift_replay::format::Frame<'_>) {
        let mut decoder = PayloadDecoder::default();
        let payload = decoder.decode(frame).unwrap();
        match frame.header.kind {
            Kind::Data => {
                let records = Records::parse(payload, frame.header.count).unwrap();
                for (seq, request) in (frame.header.first_seq..).zip(records) {
                    let id = name(request);
                    let before = self.records.insert(seq, id);
                    assert!(before.is_none_or(|before| before == id), "{seq} is two records: {before:?} and {id}");
                    self.order.push(seq);
                }
            }
            Kind::Mark => match MarkMessage::decode(payload).unwrap().mark {
                Some(Mark::Dropped(dropped)) => match dropped.first_seq {
                    Some(first) => self.dropped_seqs.push((first, first + dropped.records)),
                    None => self.dropped += dropped.records,
                },
                Some(Mark::Note(_)) => self.notes += 1,
                _ => {}
            },
            _ => {}
        }
    }

    /// Whether a MARK says that this seq was dropped.
    pub(crate) fn has_dropped(&self, seq: u64) -> bool {
        self.dropped_seqs.iter().any(|(first, end)| (*first..*end).contains(&seq))
    }
}

/// By what a request is known.
fn name(request: &[u8]) -> i64 {
    RecordInfo::parse(request).unwrap().timestamp.unwrap()
}

impl Session {
    /// Ends a session whose threads have ended, and checks all that was promised.
    pub(crate) fn settle(&self) {
        if self.promises().finished.is_none() {
            self.finish();
        }
        let stats = self.recorder.stats();
        assert_eq!(stats.waiting, 0, "nothing waits");
        let written = Evidence::of(&self.disk.image().all());
        self.check_written(&written);
        if let Some(shown) = &self.shown {
            let shown = shown.0.lock().unwrap();
            assert!(shown.is_sorted_by(|(_, end), (next, _)| end <= next), "each once, in order: {shown:?}");
            let all = shown.iter().flat_map(|(first, end)| *first..*end);
            assert!(stats.durable_seq < stats.records || all.eq(written.records.keys().copied()), "{shown:?}");
        }
        let outcome = self.promises().finished.clone().unwrap();
        match outcome {
            Ok(told) => {
                assert_eq!(told, stats);
                self.check_success(&written);
            }
            Err(error) => self.check_failure(&error),
        }
        assert_eq!(self.disk.violations(), Vec::<String>::new());
    }

    /// Of what stands there: all of it was recorded, in this order, with these seqs.
    fn check_written(&self, written: &Evidence) {
        let promises = self.promises();
        for (seq, id) in &promises.acked {
            if let Some(stands) = written.records.get(seq) {
                assert_eq!(stands, id, "another record has the seq {seq}");
            }
        }
        let acked = promises.acked.iter().map(|(_, id)| id);
        let given: BTreeSet<_> = acked.chain(&promises.recorded).chain(&promises.unsure).collect();
        let mut last = BTreeMap::new();
        for (seq, id) in &written.records {
            assert!(given.contains(id), "{id} (seq {seq}) was never recorded");
            let before = last.insert(id / 1000, id);
            assert!(before < Some(id), "{id} comes behind {before:?} of its thread, or twice");
        }
    }

    fn check_success(&self, written: &Evidence) {
        let (promises, stats) = (self.promises(), self.recorder.stats());
        assert_eq!(stats.durable_seq, stats.records);
        assert_eq!(self.recorder.take_lost(), []);
        for seq in 0..stats.records {
            let has_dropped = written.has_dropped(seq);
            assert!(!has_dropped || self.drops_oldest);
            assert_ne!(has_dropped, written.records.contains_key(&seq), "{seq}: {written:?}");
        }
        assert!(written.records.keys().chain(written.order.iter()).all(|seq| *seq < stats.records));
        let ids: BTreeSet<_> = written.records.values().collect();
        assert!(self.drops_oldest || promises.recorded.iter().all(|id| ids.contains(id)));
        let told_dropped = if self.drops_oldest {
            written.dropped_seqs.iter().collect::<BTreeSet<_>>().iter().map(|(first, end)| end - first).sum()
        } else {
            let most = promises.dropped + promises.maybe_dropped;
            assert!((promises.dropped..=most).contains(&stats.dropped), "{stats:?}");
            written.dropped
        };
        if matches!(self.trouble, Trouble::None) {
            assert_eq!((written.unsound, stats.io_errors), (0, 0), "{written:?}");
            assert_eq!(written.notes, promises.notes);
            assert_eq!(told_dropped, stats.dropped);
            assert!(written.order.is_sorted_by(|one, next| one < next), "{:?}", written.order);
        } else {
            // What had to be written again may stand twice.
            assert!(written.notes >= promises.notes);
            assert!(told_dropped >= stats.dropped);
        }
    }

    /// All is durable, or handed back as lost, or was dropped before.
    fn check_failure(&self, error: &RecordError) {
        let RecordError::Failed { not_durable_from, .. } = *error else { panic!("{error}") };
        assert!(!matches!(self.trouble, Trouble::None | Trouble::Fails(..)), "one fault is borne: {error}");
        let (stats, mut lost) = (self.recorder.stats(), self.recorder.take_lost());
        assert_eq!(stats.durable_seq, not_durable_from);
        let mut promises = self.promises();
        if let Some(before) = promises.lost.take() {
            assert_eq!(lost, [], "lost after somebody had learnt what is");
            lost = before;
        }
        assert!(lost.is_sorted_by(|(one, _), (next, _)| one < next), "in order, and none twice");
        let durable = Evidence::of(&self.disk.image().least());
        let lost: BTreeMap<_, _> = lost.iter().map(|(seq, request)| (*seq, name(request))).collect();
        for (seq, id) in &promises.acked {
            assert!(lost.get(seq).is_none_or(|lost| lost == id), "another record has the seq {seq}");
        }
        let is_kept = |seq: &u64| match *seq < not_durable_from {
            true => durable.records.contains_key(seq),
            false => lost.contains_key(seq),
        };
        let missing = (0..stats.records).filter(|seq| !is_kept(seq)).count() as u64;
        let dropped = if self.drops_oldest { stats.dropped } else { 0 };
        assert_eq!(missing, dropped, "of {stats:?}: {durable:?} and {lost:?}");
    }
}
