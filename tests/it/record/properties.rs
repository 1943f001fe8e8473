//! Record → read, for whatever schema, values, options and calls.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use sift_replay::format::Compression;
use sift_replay::record::{DataType, Flow, Recorded, Recorder, RecorderOptions, Schema, SyncPolicy, Timestamp, Value};
use sift_replay::segment::Disk;

use crate::support::recording::{Owned, Segment, encoded, flow_of, merged, read_dir};
use crate::support::storage::FaultyStorage;

/// What a test does with the recorder.
#[derive(Debug, Clone)]
enum Step {
    Record { flow: usize, time: i64, seed: u64 },
    Flush,
    Rotate,
    Note(String),
    AddFlow(Vec<DataType>),
}

#[derive(Debug, Clone)]
struct Plan {
    flows: Vec<Vec<DataType>>,
    steps: Vec<Step>,
    sync: SyncPolicy,
    frame_bytes: usize,
    segment_bytes: u64,
    unsynced_bytes: usize,
    buffers: usize,
    compression: Compression,
}

fn types() -> impl Strategy<Value = Vec<DataType>> {
    prop::collection::vec(prop::sample::select(&DataType::ALL[..]), 0..=12)
}

fn step() -> impl Strategy<Value = Step> {
    let edges = prop::sample::select(vec![i64::MIN, i64::MAX, -1, 0, 1, 999_999_999, 1_000_000_000, -1_000_000_000]);
    let time = prop_oneof![3 => 1_700_000_000_000_000_000..1_800_000_000_000_000_000i64, 1 => any::<i64>(), 1 => edges];
    prop_oneof![
        20 => (any::<usize>(), time, any::<u64>()).prop_map(|(flow, time, seed)| Step::Record { flow, time, seed }),
        1 => Just(Step::Flush),
        1 => Just(Step::Rotate),
        1 => ".{0,20}".prop_map(Step::Note),
        1 => types().prop_map(Step::AddFlow),
    ]
}

fn plan() -> impl Strategy<Value = Plan> {
    let sync = prop::sample::select(vec![
        SyncPolicy::EveryRecord,
        SyncPolicy::Interval(Duration::from_millis(1)),
        SyncPolicy::Interval(Duration::MAX),
        SyncPolicy::Bytes(1),
        SyncPolicy::Bytes(5000),
        SyncPolicy::OnRotation,
    ]);
    let compression = prop::sample::select(vec![Compression::None, Compression::Zstd(1), Compression::Zstd(-3)]);
    let sizes = (
        prop::sample::select(vec![1usize, 60, 500, 4096, 64 << 10]),
        prop::sample::select(vec![1u64, 1500, 20_000, 1 << 20]),
        prop::sample::select(vec![1usize, 3000, 8 << 20]),
        prop::sample::select(vec![1usize, 2, 32]),
    );
    (prop::collection::vec(types(), 1..=5), prop::collection::vec(step(), 0..60), sync, sizes, compression).prop_map(
        |(flows, steps, sync, (frame_bytes, segment_bytes, unsynced_bytes, buffers), compression)| Plan {
            flows,
            steps,
            sync,
            frame_bytes,
            segment_bytes,
            unsynced_bytes,
            buffers,
            compression,
        },
    )
}

/// Numbers from a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn of<T: Clone>(&mut self, edges: &[T], other: impl FnOnce(u64) -> T) -> T {
        let roll = self.roll();
        edges.get(roll as usize % (edges.len() + 3)).cloned().unwrap_or_else(|| other(roll >> 8))
    }

    fn bytes(&mut self) -> Vec<u8> {
        let len = self.of(&[0, 1, 127, 128, 16_384], |roll| roll as usize % 300);
        (0..len).map(|_| self.roll() as u8).collect()
    }

    fn value(&mut self, data_type: DataType) -> Owned {
        if self.roll().is_multiple_of(7) {
            return Owned::Empty;
        }
        match data_type {
            DataType::Double => Owned::Double(self.of(
                &[0.0, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MIN_POSITIVE, f64::MAX],
                f64::from_bits,
            )),
            DataType::Float => Owned::Float(
                self.of(&[0.0, -0.0, f32::NAN, f32::INFINITY, f32::MAX], |roll| f32::from_bits(roll as u32)),
            ),
            DataType::String => {
                let text = self
                    .of(&["", "a", "µ \u{1f680}\n\0", &"long ".repeat(5000)].map(str::to_owned), |_| String::new());
                Owned::Text(text)
            }
            DataType::Enum => Owned::Enum(self.of(&[0, 1, 127, 128, u32::MAX], |roll| roll as u32)),
            DataType::BitField => Owned::BitField(self.bytes()),
            DataType::Bool => Owned::Bool(self.roll().is_multiple_of(2)),
            DataType::Int32 => Owned::Int32(self.of(&[0, 1, -1, i32::MIN, i32::MAX], |roll| roll as i32)),
            DataType::Uint32 => Owned::Uint32(self.of(&[0, 127, 128, u32::MAX], |roll| roll as u32)),
            DataType::Int64 => Owned::Int64(self.of(&[0, 1, -1, i64::MIN, i64::MAX], |roll| roll as i64)),
            DataType::Uint64 => Owned::Uint64(self.of(&[0, 127, 128, u64::MAX], |roll| roll)),
            DataType::Bytes => Owned::Bytes(self.bytes()),
        }
    }
}

impl Plan {
    fn options(&self) -> RecorderOptions {
        RecorderOptions {
            sync: self.sync,
            frame_bytes: self.frame_bytes,
            segment_bytes: self.segment_bytes,
            unsynced_bytes: self.unsynced_bytes,
            buffers: self.buffers,
            compression: self.compression,
            ..Default::default()
        }
    }

    fn schema(&self) -> Schema {
        let flows = self.flows.iter().enumerate();
        flows.fold(Schema::new("rover", "rover-v1"), |schema, (i, types)| {
            schema.flow(flow_of(&format!("flow {i}"), types))
        })
    }
}

/// What must be read back.
#[derive(Default)]
struct Expected {
    records: Vec<Vec<u8>>,
    notes: Vec<String>,
    flows: Vec<String>,
    non_finite: u64,
}

/// Plays the steps; returns what must be there after `finish`.
fn play(plan: &Plan, recorder: &Recorder) -> Expected {
    let mut expected = Expected::default();
    let mut flows: Vec<(Flow, Vec<DataType>)> = Vec::new();
    for (i, types) in plan.flows.iter().enumerate() {
        flows.push((recorder.flow(&format!("flow {i}")).unwrap(), types.clone()));
    }
    for step in &plan.steps {
        match step {
            Step::Record { flow, time, seed } => {
                let (flow, types) = &flows[flow % flows.len()];
                let mut dice = Dice(*seed);
                let values: Vec<Owned> = types.iter().map(|data_type| dice.value(*data_type)).collect();
                let borrowed: Vec<Value<'_>> = values.iter().map(Owned::value).collect();
                let recorded = recorder.record(flow, Timestamp::from_unix_ns(*time), &borrowed).unwrap();
                assert_eq!(recorded, Recorded::Seq(expected.records.len() as u64));
                expected.records.push(encoded(flow.name(), *time, &values));
                expected.non_finite += values.iter().filter(|value| value.is_non_finite()).count() as u64;
                if plan.sync == SyncPolicy::EveryRecord {
                    assert_eq!(recorder.durable_seq(), expected.records.len() as u64);
                }
            }
            Step::Flush => {
                recorder.flush().unwrap();
                assert_eq!(recorder.durable_seq(), expected.records.len() as u64);
            }
            Step::Rotate => recorder.rotate().unwrap(),
            Step::Note(note) => {
                recorder.note(note).unwrap();
                expected.notes.push(note.clone());
            }
            Step::AddFlow(types) => {
                let name = format!("flow {}", flows.len());
                flows.push((recorder.add_flow(flow_of(&name, types)).unwrap(), types.clone()));
            }
        }
    }
    expected.flows = flows.iter().map(|(flow, _)| flow.name().to_owned()).collect();
    expected
}

fn check(segments: &[Segment], expected: &Expected, recorder: &Recorder) {
    let stats = recorder.stats();
    let mut next = 0;
    for (i, segment) in segments.iter().enumerate() {
        segment.check_seal();
        let header = segment.header.as_ref().unwrap();
        assert_eq!((header.segment_index, segment.name.index), (i as u32, i as u32));
        assert_eq!(segment.name.session, recorder.session());
        assert_eq!(header.first_seq, next, "segments follow each other without gaps");
        for (seq, record) in &segment.records {
            assert_eq!(*seq, next);
            assert_eq!(record, &expected.records[next as usize]);
            next += 1;
        }
        assert!(segment.frames.iter().all(|&(.., bare)| bare));
        // What a replayer registers before it sends: each flow, once.
        let flows: Vec<_> = segment.flows().into_iter().map(|flow| flow.name).collect();
        assert_eq!(flows, expected.flows[..flows.len()]);
    }
    assert_eq!(next, expected.records.len() as u64);
    assert_eq!(merged(segments).len() as u64, next);
    let notes: Vec<_> = segments.iter().flat_map(Segment::notes).collect();
    assert_eq!(notes, expected.notes);
    assert_eq!((stats.records, stats.durable_seq, stats.dropped, stats.io_errors), (next, next, 0, 0));
    assert_eq!(stats.non_finite, expected.non_finite);
    assert_eq!(stats.segments, segments.len() as u64);
    let bytes: u64 = segments.iter().map(|segment| std::fs::metadata(&segment.path).unwrap().len()).sum();
    assert_eq!(stats.bytes_written, bytes);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]

    #[test]
    fn what_is_recorded_is_read_back_bit_for_bit(plan in plan()) {
        let storage = FaultyStorage::new();
        let options = RecorderOptions { storage: Arc::new(storage.clone()), ..plan.options() };
        let recorder = Recorder::create("root", &plan.schema(), options).unwrap();
        let expected = play(&plan, &recorder);
        recorder.finish().unwrap();
        let dir = tempfile::tempdir().unwrap();
        // After `finish` nothing is left to a power cut.
        storage.save_durable(dir.path());
        check(&read_dir(dir.path()), &expected, &recorder);
        prop_assert_eq!(storage.violations(), Vec::<String>::new());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..Default::default() })]

    #[test]
    fn what_is_recorded_to_a_real_disk_is_read_back_bit_for_bit(plan in plan()) {
        let root = tempfile::tempdir().unwrap();
        let options = RecorderOptions { storage: Arc::new(Disk), ..plan.options() };
        let recorder = Recorder::create(root.path(), &plan.schema(), options).unwrap();
        let expected = play(&plan, &recorder);
        recorder.finish().unwrap();
        check(&read_dir(recorder.dir()), &expected, &recorder);
    }

    #[test]
    fn threads_that_record_at_once_each_find_their_records_under_their_seqs(plan in plan()) {
        let storage = FaultyStorage::new();
        let options = RecorderOptions { storage: Arc::new(storage.clone()), ..plan.options() };
        let schema = (0..4).fold(Schema::new("a", "k"), |s, i| s.flow(flow_of(&format!("t{i}"), &[DataType::Uint64])));
        let recorder = Recorder::create("root", &schema, options).unwrap();
        let thread = |name: String| {
            let flow = recorder.flow(&name).unwrap();
            (0..100u64).map(|n| {
                if n % 40 == 39 {
                    recorder.flush().unwrap();
                }
                match recorder.record(&flow, Timestamp::from_unix_ns(-(n as i64)), &[Value::Uint64(n)]).unwrap() {
                    Recorded::Seq(seq) => (seq, encoded(&name, -(n as i64), &[Owned::Uint64(n)])),
                    Recorded::Dropped => panic!("nothing is dropped under `Block`"),
                }
            }).collect::<Vec<_>>()
        };
        let mut seqs: Vec<(u64, Vec<u8>)> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|i| scope.spawn(move || thread(format!("t{i}")))).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        recorder.finish().unwrap();
        // Each thread saw its own seqs rise; together they are all there are.
        prop_assert!(seqs.chunks(100).all(|own| own.is_sorted_by_key(|(seq, _)| *seq)));
        seqs.sort();
        let expected = Expected {
            records: seqs.iter().map(|(_, record)| record.clone()).collect(),
            flows: (0..4).map(|i| format!("t{i}")).collect(),
            ..Default::default()
        };
        prop_assert!((0..400).eq(seqs.iter().map(|(seq, _)| *seq)));
        let dir = tempfile::tempdir().unwrap();
        storage.save_durable(dir.path());
        check(&read_dir(dir.path()), &expected, &recorder);
    }
}
