//! The tap: it sees what is written, once and in order, whatever the disk does.

use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sift_replay::format::{AddedFlows, Compression, Records};
use sift_replay::record::{DataType, Recorder, RecorderOptions, SyncPolicy, Tap, TappedFrame, Value};

use super::faults::{RECORDS, expected, operations, workload};
use super::{quiet, saved};
use crate::support::recording::{Owned, at, counted, counter_schema, flow_of, merged, request};
use crate::support::storage::{Fault, FaultyStorage, Op};

/// What a tap has seen, in order.
#[derive(Debug, Clone, PartialEq)]
enum Seen {
    Frame { first_seq: u64, segment: u32, bare: bool, records: Vec<Vec<u8>> },
    Flows(Vec<String>),
}

#[derive(Default)]
struct Keeping(Mutex<Vec<Seen>>);

impl Keeping {
    fn seen(&self) -> Vec<Seen> {
        self.0.lock().unwrap().clone()
    }

    /// All records, which must come in order and without gaps.
    fn records(&self) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        for seen in self.seen() {
            if let Seen::Frame { first_seq, records, .. } = seen {
                assert_eq!(first_seq, all.len() as u64, "in order, and once");
                all.extend(records);
            }
        }
        all
    }
}

impl Tap for Keeping {
    fn frame(&self, frame: &TappedFrame<'_>) {
        let records = Records::parse(frame.payload, frame.count).expect("whole records").map(<[u8]>::to_vec).collect();
        let TappedFrame { first_seq, segment, bare, .. } = *frame;
        self.0.lock().unwrap().push(Seen::Frame { first_seq, segment, bare, records });
    }

    fn flows(&self, flows: &AddedFlows) {
        let names = flows.flows.iter().map(|flow| flow.name.clone()).collect();
        self.0.lock().unwrap().push(Seen::Flows(names));
    }
}

fn tapped(options: RecorderOptions) -> (Arc<Keeping>, RecorderOptions) {
    let tap = Arc::new(Keeping::default());
    let options = RecorderOptions { tap: Some(tap.clone()), ..options };
    (tap, options)
}

const COMPRESSIONS: [Compression; 2] = [Compression::None, Compression::Zstd(1)];

#[test]
fn the_tap_sees_each_record_once_and_in_order() {
    for compression in COMPRESSIONS {
        for frame_bytes in [1, 300, 64 << 10] {
            let storage = FaultyStorage::new();
            let (tap, options) = tapped(RecorderOptions { compression, frame_bytes, ..quiet(&storage) });
            let recorder = Recorder::create("root", &counter_schema(), options).unwrap();
            let flow = recorder.flow("f").unwrap();
            for number in 0..5000 {
                let _ = recorder.record(&flow, at(number), &[Value::Uint64(number)]).unwrap();
                if number % 1000 == 0 {
                    recorder.rotate().unwrap();
                }
            }
            recorder.finish().unwrap();
            assert!(tap.records() == (0..5000).map(counted).collect::<Vec<_>>(), "{compression:?}, {frame_bytes}");
            for seen in tap.seen() {
                let Seen::Frame { first_seq, segment, records, .. } = seen else { continue };
                let last = first_seq + records.len() as u64 - 1;
                assert_eq!([first_seq, last].map(|seq| seq.div_ceil(1000)), [u64::from(segment); 2]);
            }
        }
    }
}

#[test]
fn the_tap_hears_of_flows_before_their_records_and_of_ids() {
    let storage = FaultyStorage::new();
    let (tap, options) = tapped(quiet(&storage));
    let recorder = Recorder::create("root", &counter_schema(), options).unwrap();
    let late = recorder.add_flow(flow_of("late", &[DataType::Bool])).unwrap();
    let _ = recorder.record(&late, at(7), &[Value::Bool(true)]).unwrap();
    let mut with_id = request("f", 8, &[Owned::Uint64(8)]);
    with_id.ingestion_config_id = "config".to_owned();
    let _ = recorder.record_message(&with_id).unwrap();
    recorder.finish().unwrap();
    let seen = tap.seen();
    assert_eq!(seen[0], Seen::Flows(vec!["late".to_owned()]));
    assert!(matches!(&seen[1], Seen::Frame { first_seq: 0, bare: true, records, .. } if records.len() == 1));
    assert!(matches!(&seen[2], Seen::Frame { first_seq: 1, bare: false, records, .. } if records.len() == 1));
    assert_eq!(seen.len(), 3);
}

#[test]
fn whichever_operation_fails_the_tap_sees_each_record_once() {
    for number in 0..operations().len() {
        for (fault, compression) in [(Fault::Refused, Compression::None), (Fault::Half, Compression::Zstd(1))] {
            let storage = FaultyStorage::new();
            storage.fail_at(number, fault);
            let (tap, options) = tapped(RecorderOptions { compression, ..quiet(&storage) });
            let Ok(recorder) = Recorder::create("root", &counter_schema(), options) else { continue };
            workload(&recorder).unwrap();
            recorder.finish().unwrap();
            assert!(tap.records() == (0..RECORDS).map(expected).collect::<Vec<_>>(), "{fault:?} at {number}");
            let seen = tap.seen();
            let flows = seen.iter().position(|seen| *seen == Seen::Flows(vec!["late".to_owned()]));
            let first = seen.iter().position(|seen| matches!(seen, Seen::Frame { first_seq: 6, .. }));
            assert!(flows.unwrap() < first.unwrap(), "{fault:?} at {number}");
        }
    }
}

#[test]
fn the_tap_sees_what_the_disk_took_and_nothing_that_it_did_not() {
    for number in 0..operations().len() {
        let storage = FaultyStorage::new();
        storage.die_at(number);
        let (tap, options) = tapped(quiet(&storage));
        let Ok(recorder) = Recorder::create("root", &counter_schema(), options) else { continue };
        let failed = workload(&recorder).and_then(|()| recorder.finish().map(drop));
        assert!(failed.is_err());
        // Ends the writer, so that nothing more is shown.
        let _ = recorder.finish();
        let on_disk: Vec<_> = merged(&saved(&storage)).into_values().collect();
        assert!(tap.records() == on_disk, "dead from operation {number}");
    }
}

struct Announcing(Mutex<Sender<u32>>);

impl Tap for Announcing {
    fn frame(&self, frame: &TappedFrame<'_>) {
        self.0.lock().unwrap().send(frame.count).unwrap();
    }

    fn flows(&self, _: &AddedFlows) {}
}

#[test]
fn a_frame_is_shown_after_it_was_written_and_before_it_is_durable() {
    let storage = FaultyStorage::new();
    let (sender, shown) = channel();
    let tap = Some(Arc::new(Announcing(Mutex::new(sender))) as Arc<dyn Tap>);
    let recorder = Recorder::create("root", &counter_schema(), RecorderOptions { tap, ..quiet(&storage) }).unwrap();
    storage.hold(Op::Append);
    let _ = recorder.record_request(&counted(0)).unwrap();
    storage.wait_held();
    assert!(shown.try_recv().is_err());
    storage.release();
    assert_eq!(shown.recv_timeout(Duration::from_secs(120)), Ok(1));
    assert_eq!((storage.count(Op::Sync), recorder.durable_seq()), (0, 0));
}

#[test]
fn a_flush_interval_less_than_the_syncs_counts() {
    let storage = FaultyStorage::new();
    let (sender, shown) = channel();
    let options = RecorderOptions {
        sync: SyncPolicy::Interval(Duration::from_secs(3600)),
        flush_interval: Duration::from_millis(1),
        frame_bytes: 64 << 10,
        tap: Some(Arc::new(Announcing(Mutex::new(sender)))),
        ..quiet(&storage)
    };
    let recorder = Recorder::create("root", &counter_schema(), options).unwrap();
    let _ = recorder.record_request(&counted(0)).unwrap();
    assert_eq!(shown.recv_timeout(Duration::from_secs(120)), Ok(1), "written, though not full");
    assert_eq!((storage.count(Op::Sync), recorder.durable_seq()), (0, 0), "and not synced");
}
