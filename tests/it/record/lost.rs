//! When the disk fails for good, what isn't durable is handed back: all of it, once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sift_replay::format::{AddedFlows, Compression};
use sift_replay::record::{OnFull, RecordError, Recorded, Recorder, RecorderOptions, SyncPolicy, Tap, TappedFrame};

use super::faults::{expected, operations, workload};
use super::quiet;
use crate::support::recording::{counted, counter_schema};
use crate::support::storage::{FaultyStorage, Op};

/// What is durable and what is handed back are together all that was accepted, each once.
#[track_caller]
fn check(recorder: &Recorder, record: impl Fn(u64) -> Vec<u8>) -> usize {
    let stats = recorder.stats();
    let lost = recorder.take_lost();
    let accounted: Vec<_> = (stats.durable_seq..stats.records).map(|seq| (seq, record(seq))).collect();
    assert!(lost == accounted, "{} of {stats:?}", lost.len());
    assert_eq!(recorder.take_lost(), [], "once");
    lost.len()
}

#[test]
fn wherever_the_disk_dies_what_is_not_durable_is_handed_back() {
    let mut most = 0;
    for number in 0..operations().len() {
        for compression in [Compression::None, Compression::Zstd(1)] {
            for frame_bytes in [1, 64 << 10] {
                let storage = FaultyStorage::new();
                storage.die_at(number);
                let options = RecorderOptions { compression, frame_bytes, ..quiet(&storage) };
                let Ok(recorder) = Recorder::create("root", &counter_schema(), options) else { continue };
                let result = workload(&recorder).and_then(|()| recorder.finish().map(drop));
                // With large frames there are fewer operations, so that it may have survived.
                if result.is_ok() {
                    assert_eq!(recorder.take_lost(), []);
                    continue;
                }
                let _ = recorder.finish();
                most = most.max(check(&recorder, expected));
            }
        }
    }
    assert!(most > 2, "{most}");
}

#[test]
fn two_failing_operations_lose_nothing_at_all() {
    use crate::support::storage::Fault;
    let operations = operations().len();
    for number in 0..operations {
        for second in 1..10 {
            let storage = FaultyStorage::new();
            storage.fail_at(number, Fault::Half);
            storage.fail_at(number + second, Fault::Refused);
            let Ok(recorder) = Recorder::create("root", &counter_schema(), quiet(&storage)) else { continue };
            let _ = workload(&recorder).and_then(|()| recorder.finish().map(drop));
            let _ = recorder.finish();
            check(&recorder, expected);
        }
    }
}

/// Options under which all that recorders have is in use: frames are written, at hand, waiting, and being filled.
#[test]
fn what_waits_and_what_is_being_filled_is_handed_back_too() {
    for compression in [Compression::None, Compression::Zstd(1)] {
        let storage = FaultyStorage::new();
        let options = RecorderOptions { compression, buffers: 4, frame_bytes: 200, ..quiet(&storage) };
        let recorder = Recorder::create("root", &counter_schema(), options).unwrap();
        for number in 0..50 {
            let _ = recorder.record_request(&counted(number)).unwrap();
        }
        recorder.flush().unwrap();
        let durable = recorder.durable_seq();
        for number in 50..80 {
            let _ = recorder.record_request(&counted(number)).unwrap();
        }
        storage.hold(Op::Append);
        let accepted = (80..).find(|number| recorder.offer_request(&counted(*number)).is_err()).unwrap();
        storage.wait_held();
        assert_eq!(recorder.take_lost(), [], "nothing has failed yet");
        storage.die_at(storage.log().len());
        storage.release();
        assert!(matches!(recorder.finish(), Err(RecordError::Failed { .. })));
        let stats = recorder.stats();
        assert_eq!((stats.records, stats.durable_seq), (accepted, durable));
        assert_eq!(check(&recorder, counted) as u64, accepted - durable);
    }
}

#[test]
fn a_record_whose_own_sync_fails_is_handed_back() {
    let storage = FaultyStorage::new();
    let options = RecorderOptions { sync: SyncPolicy::EveryRecord, ..quiet(&storage) };
    let recorder = Recorder::create("root", &counter_schema(), options).unwrap();
    assert_eq!(recorder.record_request(&counted(0)).unwrap(), Recorded::Seq(0));
    storage.die_at(storage.log().len());
    let failed = recorder.record_request(&counted(1));
    assert!(matches!(failed, Err(RecordError::Failed { not_durable_from: 1, .. })), "{failed:?}");
    assert!(recorder.record_request(&counted(2)).is_err(), "not accepted");
    assert_eq!(recorder.take_lost(), [(1, counted(1))]);
}

#[test]
fn what_was_dropped_is_not_handed_back() {
    let storage = FaultyStorage::new();
    let options = RecorderOptions { on_full: OnFull::DropOldest, buffers: 2, ..quiet(&storage) };
    let recorder = Recorder::create("root", &counter_schema(), options).unwrap();
    storage.hold(Op::Append);
    let _ = recorder.record_request(&counted(0)).unwrap();
    storage.wait_held();
    for number in 1..10 {
        let _ = recorder.record_request(&counted(number)).unwrap();
    }
    storage.die_at(storage.log().len());
    storage.release();
    assert!(recorder.finish().is_err());
    let stats = recorder.stats();
    let lost = recorder.take_lost();
    assert_eq!((lost.len() as u64 + stats.dropped, stats.durable_seq), (stats.records, 0));
    assert!(lost.iter().all(|(seq, request)| *request == counted(*seq)));
    assert!(lost.is_sorted_by_key(|(seq, _)| *seq) && lost[0].0 == 0);
}

/// Panics at the third frame.
struct Broken(AtomicU64);

impl Tap for Broken {
    fn frame(&self, _: &TappedFrame<'_>) {
        assert!(self.0.fetch_add(1, Ordering::SeqCst) < 2, "on purpose");
    }

    fn flows(&self, _: &AddedFlows) {}
}

#[test]
fn a_panic_on_the_writer_thread_loses_nothing() {
    for compression in [Compression::None, Compression::Zstd(1)] {
        let storage = FaultyStorage::new();
        let tap = Some(Arc::new(Broken(AtomicU64::new(0))) as Arc<dyn Tap>);
        let recorder =
            Recorder::create("root", &counter_schema(), RecorderOptions { tap, compression, ..quiet(&storage) });
        let recorder = recorder.unwrap();
        let _ = recorder.record_request(&counted(0)).unwrap();
        recorder.flush().unwrap();
        let accepted = (1..1000).find(|number| recorder.record_request(&counted(*number)).is_err()).unwrap_or(1000);
        assert!(matches!(recorder.finish(), Err(RecordError::Failed { not_durable_from: 1, .. })));
        assert_eq!(recorder.stats().records, accepted);
        assert_eq!(check(&recorder, counted) as u64, accepted - 1);
    }
    // The storage may be what panics.
    let storage = FaultyStorage::new();
    let recorder = Recorder::create("root", &counter_schema(), quiet(&storage)).unwrap();
    storage.watch(|_| panic!("on purpose"));
    let _ = recorder.record_request(&counted(0));
    assert!(recorder.finish().is_err());
    assert_eq!(recorder.take_lost(), [(0, counted(0))]);
}
