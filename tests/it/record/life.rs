//! A session's life: rotation, the end, and what came before.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sift_replay::format::{Compression, Mark};
use sift_replay::record::{RecordError, Recorder, RecorderOptions, Schema, SyncPolicy, Value};
use sift_replay::segment::Disk;

use super::{files_in, quiet, saved};
use crate::support::recording::{Owned, request};
use crate::support::recording::{Segment, at, counted, counter_schema, encoded, flow_of, merged, read_dir};
use crate::support::storage::{FaultyStorage, Op};

fn on_disk() -> RecorderOptions {
    RecorderOptions { storage: Arc::new(Disk), ..quiet(&FaultyStorage::new()) }
}

fn record(recorder: &Recorder, numbers: std::ops::Range<u64>) {
    let flow = recorder.flow("f").unwrap();
    for number in numbers {
        let _ = recorder.record(&flow, at(number), &[Value::Uint64(number)]).unwrap();
    }
}

fn check(segments: &[Segment], records: u64) {
    segments.iter().for_each(Segment::check_seal);
    assert!(merged(segments).into_iter().eq((0..records).map(|n| (n, counted(n)))));
}

#[test]
fn a_segment_that_is_large_enough_is_sealed_and_the_next_one_begun() {
    let root = tempfile::tempdir().unwrap();
    let options = RecorderOptions { segment_bytes: 4000, ..on_disk() };
    let recorder = Recorder::create(root.path(), &counter_schema(), options).unwrap();
    record(&recorder, 0..200);
    let stats = recorder.finish().unwrap();
    let segments = read_dir(recorder.dir());
    assert!(segments.len() > 3);
    assert_eq!(stats.segments, segments.len() as u64);
    // Each but the last is just over the bound.
    for segment in &segments[..segments.len() - 1] {
        let seal = segment.seal.as_ref().unwrap();
        let last = seal.index.last().unwrap();
        assert!(last.offset < 4000 && segment.records.len() > 1, "{seal:?}");
    }
    check(&segments, 200);
}

#[test]
fn an_old_segment_is_sealed_though_nothing_more_is_recorded() {
    let root = tempfile::tempdir().unwrap();
    let options = RecorderOptions { segment_age: Some(Duration::from_millis(5)), ..on_disk() };
    let recorder = Recorder::create(root.path(), &counter_schema(), options).unwrap();
    // Without a record it is left alone, however old.
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(files_in(recorder.dir()).len(), 1);
    assert!(files_in(recorder.dir())[0].to_str().unwrap().ends_with(".open"));
    record(&recorder, 0..1);
    let begun = Instant::now();
    while files_in(recorder.dir()).iter().any(|file| file.to_str().unwrap().ends_with(".open")) {
        assert!(begun.elapsed() < Duration::from_secs(120), "it isn't sealed");
        std::thread::sleep(Duration::from_millis(1));
    }
    // The file has its sealed name a moment before the recorder knows that all of it is durable.
    recorder.flush().unwrap();
    assert_eq!(recorder.durable_seq(), 1);
    record(&recorder, 1..2);
    recorder.finish().unwrap();
    let segments = read_dir(recorder.dir());
    assert_eq!(segments.len(), 2);
    check(&segments, 2);
}

#[test]
fn rotating_on_demand_seals_what_was_recorded_before() {
    let root = tempfile::tempdir().unwrap();
    let recorder = Recorder::create(root.path(), &counter_schema(), on_disk()).unwrap();
    record(&recorder, 0..3);
    recorder.rotate().unwrap();
    // There is nothing to seal.
    recorder.rotate().unwrap();
    recorder.flush().unwrap();
    let sealed = read_dir(recorder.dir());
    assert_eq!(sealed.len(), 1);
    check(&sealed, 3);
    record(&recorder, 3..5);
    recorder.finish().unwrap();
    let segments = read_dir(recorder.dir());
    assert_eq!(segments.iter().map(|segment| segment.records.len()).collect::<Vec<_>>(), [3, 2]);
    check(&segments, 5);
}

#[test]
fn flows_added_after_a_rotation_are_told_once() {
    let storage = FaultyStorage::new();
    let recorder = Recorder::create("root", &counter_schema(), quiet(&storage)).unwrap();
    record(&recorder, 0..1);
    recorder.rotate().unwrap();
    let new = recorder.add_flow(flow_of("new", &[])).unwrap();
    let _ = recorder.record(&new, at(1), &[]).unwrap();
    recorder.rotate().unwrap();
    record(&recorder, 2..3);
    recorder.finish().unwrap();
    let segments = saved(&storage);
    let flows = |segment: &Segment| segment.flows().into_iter().map(|flow| flow.name).collect::<Vec<_>>();
    assert_eq!(segments.iter().map(flows).collect::<Vec<_>>(), [vec!["f"], vec!["f", "new"], vec!["f", "new"]]);
    assert_eq!(segments[1].records, [(1, encoded("new", 1, &[]))]);
}

#[test]
fn after_finish_every_call_says_finished() {
    let storage = FaultyStorage::new();
    let recorder = Recorder::create("root", &counter_schema(), quiet(&storage)).unwrap();
    let flow = recorder.flow("f").unwrap();
    record(&recorder, 0..2);
    assert_eq!(recorder.finish().unwrap().durable_seq, 2);
    let log = storage.log();
    let calls: [(&str, Result<(), RecordError>); 11] = [
        ("record", recorder.record(&flow, at(2), &[Value::Uint64(2)]).map(drop)),
        ("try_record", recorder.try_record(&flow, at(2), &[Value::Uint64(2)]).map(drop)),
        ("record_named", recorder.record_named("f", at(2), &[]).map(drop)),
        ("record_request", recorder.record_request(&counted(2)).map(drop)),
        ("record_message", recorder.record_message(&request("f", 2, &[Owned::Uint64(2)])).map(drop)),
        ("add_flow", recorder.add_flow(flow_of("g", &[])).map(drop)),
        ("note", recorder.note("n")),
        ("mark", recorder.mark(Mark::Note("n".into()))),
        ("rotate", recorder.rotate()),
        ("flush", recorder.flush()),
        ("finish", recorder.finish().map(drop)),
    ];
    for (call, result) in calls {
        assert!(matches!(result, Err(RecordError::Finished)), "{call}: {result:?}");
    }
    assert_eq!((recorder.durable_seq(), recorder.stats().records), (2, 2));
    drop(recorder);
    assert_eq!(storage.log(), log);
    check(&saved(&storage), 2);
}

#[test]
fn a_recorder_that_is_dropped_seals_too() {
    let storage = FaultyStorage::new();
    let recorder = Recorder::create("root", &counter_schema(), quiet(&storage)).unwrap();
    record(&recorder, 0..3);
    drop(recorder);
    check(&saved(&storage), 3);
}

#[test]
fn an_empty_session_is_readable() {
    let root = tempfile::tempdir().unwrap();
    let recorder = Recorder::create(root.path(), &Schema::new("a", "k"), on_disk()).unwrap();
    recorder.flush().unwrap();
    let open = read_dir(recorder.dir());
    assert!(open[0].name.open && open[0].seal.is_none() && open[0].trouble.is_empty());
    let stats = recorder.finish().unwrap();
    assert_eq!((stats.records, stats.durable_seq, stats.segments), (0, 0, 1));
    let segments = read_dir(recorder.dir());
    assert_eq!(segments.len(), 1);
    check(&segments, 0);
}

#[test]
fn files_that_an_earlier_recorder_left_are_left_alone() {
    let root = tempfile::tempdir().unwrap();
    // Cut off: what a power cut leaves of a session that was never finished.
    let storage = FaultyStorage::new();
    let cut = Recorder::create(root.path(), &counter_schema(), quiet(&storage)).unwrap();
    record(&cut, 0..5);
    cut.flush().unwrap();
    record(&cut, 5..6);
    std::fs::create_dir_all(cut.dir()).unwrap();
    storage.save(cut.dir());
    let left: Vec<_> =
        files_in(cut.dir()).into_iter().map(|file| (file.clone(), std::fs::read(file).unwrap())).collect();
    assert_eq!(left.len(), 1);
    assert!(left[0].0.to_str().unwrap().ends_with(".sfr.open"));
    let recorder = Recorder::create(root.path(), &counter_schema(), on_disk()).unwrap();
    assert_eq!(recorder.dir(), cut.dir());
    record(&recorder, 0..3);
    recorder.finish().unwrap();
    for (file, bytes) in &left {
        assert!(std::fs::read(file).unwrap() == *bytes, "{} was changed", file.display());
    }
    let (old, new): (Vec<_>, Vec<_>) =
        read_dir(recorder.dir()).into_iter().partition(|segment| segment.name.session == cut.session());
    assert!(old[0].seal.is_none());
    assert!(merged(&old).len() >= 5);
    check(&new, 3);
}

#[test]
fn never_is_a_duration_too() {
    let storage = FaultyStorage::new();
    for sync in [SyncPolicy::Interval(Duration::MAX), SyncPolicy::OnRotation] {
        let options = RecorderOptions {
            sync,
            flush_interval: Duration::MAX,
            segment_age: Some(Duration::MAX),
            frame_bytes: 64 << 10,
            ..quiet(&storage)
        };
        let recorder = Recorder::create("root", &counter_schema(), options).unwrap();
        record(&recorder, 0..3);
        recorder.flush().unwrap();
        record(&recorder, 3..5);
        assert_eq!(recorder.finish().unwrap().durable_seq, 5);
    }
}

#[test]
fn what_is_recorded_becomes_durable_by_itself_after_the_interval() {
    let storage = FaultyStorage::new();
    let sync = SyncPolicy::Interval(Duration::from_millis(1));
    let options = RecorderOptions { sync, frame_bytes: 64 << 10, ..quiet(&storage) };
    let recorder = Recorder::create("root", &counter_schema(), options).unwrap();
    for number in 0..5 {
        record(&recorder, number..number + 1);
        let begun = Instant::now();
        while recorder.durable_seq() <= number {
            assert!(begun.elapsed() < Duration::from_secs(120), "record {number} never becomes durable");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn a_sync_by_bytes_counts_what_was_recorded_not_what_is_left_after_compression() {
    let storage = FaultyStorage::new();
    let options = RecorderOptions {
        sync: SyncPolicy::Bytes(10_000),
        compression: Compression::Zstd(1),
        frame_bytes: 1000,
        ..quiet(&storage)
    };
    let recorder = Recorder::create("root", &counter_schema(), options).unwrap();
    let bytes: usize = (0..5000).map(|number| counted(number).len() + 4).sum();
    record(&recorder, 0..5000);
    recorder.finish().unwrap();
    // A frame is a little more than 1000 bytes, so that at most 11 make one sync.
    assert!(storage.count(Op::Sync) >= bytes / 11_500, "{} syncs for {bytes} bytes", storage.count(Op::Sync));
}
