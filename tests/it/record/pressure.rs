//! A disk that is behind, and several threads.

use std::sync::{Arc, OnceLock};

use sift_replay::format::{Dropped, Mark};
use sift_replay::record::{OnFull, RecordError, Recorded, Recorder, RecorderOptions, SyncPolicy, Value};

use super::{ends, quiet, saved};
use crate::support::recording::{Segment, at, counted, counter_schema, merged, records_in};
use crate::support::storage::{FaultyStorage, Op};

/// A recorder with two buffers whose writer is stuck in writing record 0, and whose buffers are all in use by records 1 to 3:
/// two wait, one fills the frame.
fn stuck(on_full: OnFull) -> (FaultyStorage, Recorder) {
    let storage = FaultyStorage::new();
    let options = RecorderOptions { on_full, buffers: 2, ..quiet(&storage) };
    let recorder = Recorder::create("root", &counter_schema(), options).unwrap();
    storage.hold(Op::Append);
    assert_eq!(record(&recorder, 0), Recorded::Seq(0));
    storage.wait_held();
    for number in 1..4 {
        assert_eq!(record(&recorder, number), Recorded::Seq(number));
    }
    (storage, recorder)
}

fn record(recorder: &Recorder, number: u64) -> Recorded {
    recorder.record(&recorder.flow("f").unwrap(), at(number), &[Value::Uint64(number)]).unwrap()
}

fn drops(segments: &[Segment]) -> Vec<(u64, Option<u64>)> {
    let marks = segments.iter().flat_map(|segment| &segment.marks);
    marks
        .filter_map(|mark| match mark {
            Mark::Dropped(Dropped { records, first_seq, reason }) => {
                assert!(!reason.is_empty());
                Some((*records, *first_seq))
            }
            _ => None,
        })
        .collect()
}

#[test]
fn try_record_says_full_instead_of_waiting() {
    for on_full in [OnFull::Block, OnFull::DropNewest, OnFull::DropOldest] {
        let (storage, recorder) = stuck(on_full);
        let flow = recorder.flow("f").unwrap();
        for _ in 0..3 {
            let full = recorder.try_record(&flow, at(4), &[Value::Uint64(4)]);
            assert!(matches!(full, Err(RecordError::Full)), "{full:?}");
        }
        assert_eq!((recorder.stats().records, recorder.stats().dropped), (4, 0), "the record is still the caller's");
        storage.release();
        recorder.flush().unwrap();
        assert_eq!(recorder.try_record(&flow, at(4), &[Value::Uint64(4)]).unwrap(), Recorded::Seq(4));
        recorder.finish().unwrap();
        let expected: Vec<_> = (0..5).map(|n| (n, counted(n))).collect();
        assert_eq!(merged(&saved(&storage)).into_iter().collect::<Vec<_>>(), expected);
    }
}

#[test]
fn record_waits_for_a_buffer_under_block_and_loses_nothing() {
    let (storage, recorder) = stuck(OnFull::Block);
    let recorder = Arc::new(recorder);
    let waiting = recorder.clone();
    let thread = std::thread::spawn(move || (4..50).map(|n| record(&waiting, n)).collect::<Vec<_>>());
    storage.release();
    let recorded = ends(move || thread.join().unwrap());
    assert!(recorded.into_iter().eq((4..50).map(Recorded::Seq)));
    recorder.finish().unwrap();
    assert_eq!(merged(&saved(&storage)).len(), 50);
    assert_eq!(drops(&saved(&storage)), []);
}

#[test]
fn the_newest_dropped_take_no_seq_and_are_counted_in_marks() {
    let (storage, recorder) = stuck(OnFull::DropNewest);
    for number in 4..14 {
        assert_eq!(record(&recorder, number), Recorded::Dropped);
    }
    assert_eq!((recorder.stats().records, recorder.stats().dropped), (4, 10));
    storage.release();
    recorder.flush().unwrap();
    // A second time.
    storage.hold(Op::Append);
    assert_eq!(record(&recorder, 4), Recorded::Seq(4));
    storage.wait_held();
    for number in 5..8 {
        assert_eq!(record(&recorder, number), Recorded::Seq(number));
    }
    assert_eq!(record(&recorder, 8), Recorded::Dropped);
    storage.release();
    assert_eq!(recorder.finish().unwrap().dropped, 11);
    let segments = saved(&storage);
    segments[0].check_seal();
    assert_eq!(drops(&segments), [(10, None), (1, None)]);
    assert_eq!(merged(&segments).into_iter().collect::<Vec<_>>(), (0..8).map(|n| (n, counted(n))).collect::<Vec<_>>());
}

#[test]
fn the_oldest_dropped_are_named_by_their_seqs() {
    let (storage, recorder) = stuck(OnFull::DropOldest);
    for number in 4..14 {
        assert_eq!(record(&recorder, number), Recorded::Seq(number));
    }
    assert_eq!((recorder.stats().records, recorder.stats().dropped), (14, 10));
    assert_eq!(recorder.durable_seq(), 0);
    storage.release();
    let stats = recorder.finish().unwrap();
    assert_eq!((stats.durable_seq, stats.dropped), (14, 10));
    let segments = saved(&storage);
    segments[0].check_seal();
    assert_eq!(drops(&segments), [(10, Some(1))]);
    assert_eq!(merged(&segments).into_keys().collect::<Vec<_>>(), [0, 11, 12, 13]);
}

#[test]
fn drops_on_both_sides_of_a_note_keep_its_place() {
    let (storage, recorder) = stuck(OnFull::DropOldest);
    recorder.note("here").unwrap();
    for number in 4..14 {
        let _ = record(&recorder, number);
    }
    storage.release();
    recorder.finish().unwrap();
    let segments = saved(&storage);
    let missing: u64 = drops(&segments).iter().map(|(records, _)| records).sum();
    let present = merged(&segments);
    assert_eq!(missing + present.len() as u64, 14);
    for (records, first) in drops(&segments) {
        let first = first.unwrap();
        assert!((first..first + records).all(|seq| !present.contains_key(&seq)));
    }
    assert_eq!(segments[0].notes(), ["here"]);
}

#[test]
fn notes_and_rotations_do_not_outgrow_the_buffers_of_a_stuck_disk() {
    for on_full in [OnFull::DropNewest, OnFull::DropOldest] {
        let (storage, recorder) = stuck(on_full);
        let mut notes = 0;
        for number in 4..5000 {
            let _ = record(&recorder, number);
            match recorder.note(number.to_string()) {
                Ok(()) => notes += 1,
                Err(error) => assert!(matches!(error, RecordError::Full), "{error}"),
            }
            assert!(matches!(recorder.rotate(), Ok(()) | Err(RecordError::Full)));
        }
        assert!(notes < 1000, "{notes} notes wait in memory");
        storage.release();
        let stats = recorder.finish().unwrap();
        let segments = saved(&storage);
        assert_eq!(segments.iter().map(|segment| segment.notes().len()).sum::<usize>(), notes);
        assert_eq!(drops(&segments).iter().map(|(records, _)| records).sum::<u64>(), stats.dropped);
        let with_seq: u64 =
            drops(&segments).iter().filter(|(_, first)| first.is_some()).map(|(records, _)| records).sum();
        assert_eq!(merged(&segments).len() as u64 + with_seq, stats.records);
    }
}

#[test]
fn flush_returns_after_the_sync_and_not_before() {
    let storage = FaultyStorage::new();
    let recorder = Arc::new(Recorder::create("root", &counter_schema(), quiet(&storage)).unwrap());
    let _ = record(&recorder, 0);
    storage.hold(Op::Sync);
    let flusher = recorder.clone();
    let watched = storage.clone();
    let thread = std::thread::spawn(move || {
        flusher.flush().unwrap();
        (watched.count(Op::Sync), flusher.durable_seq())
    });
    storage.wait_held();
    assert!(!thread.is_finished());
    assert_eq!(recorder.durable_seq(), 0);
    storage.release();
    assert_eq!(ends(move || thread.join().unwrap()), (1, 1));
}

#[test]
fn each_of_many_threads_has_its_record_durable_when_record_returns() {
    let storage = FaultyStorage::new();
    let options = RecorderOptions { sync: SyncPolicy::EveryRecord, frame_bytes: 64 << 10, ..quiet(&storage) };
    let recorder = Arc::new(Recorder::create("root", &counter_schema(), options).unwrap());
    let threads: Vec<_> = (0..8u64)
        .map(|thread| {
            let (storage, recorder) = (storage.clone(), recorder.clone());
            std::thread::spawn(move || {
                for number in thread * 25..(thread + 1) * 25 {
                    let Recorded::Seq(seq) = record(&recorder, number) else { panic!("dropped") };
                    assert!(recorder.durable_seq() > seq);
                    let durable: Vec<_> =
                        storage.disk().durable().values().flat_map(|bytes| records_in(bytes)).collect();
                    assert!(durable.contains(&(seq, counted(number))), "record {number} isn't durable");
                }
            })
        })
        .collect();
    ends(move || threads.into_iter().for_each(|thread| thread.join().unwrap()));
    recorder.finish().unwrap();
    assert_eq!(merged(&saved(&storage)).len(), 200);
}

#[test]
fn threads_share_a_sync() {
    let storage = FaultyStorage::new();
    let options = RecorderOptions { sync: SyncPolicy::EveryRecord, frame_bytes: 64 << 10, ..quiet(&storage) };
    let recorder = Arc::new(Recorder::create("root", &counter_schema(), options).unwrap());
    storage.hold(Op::Sync);
    let threads: Vec<_> = (0..8)
        .map(|number| {
            let recorder = recorder.clone();
            std::thread::spawn(move || record(&recorder, number))
        })
        .collect();
    // All eight are in; the first sync is still under way.
    while recorder.stats().records < 8 {
        std::thread::yield_now();
    }
    storage.wait_held();
    assert_eq!(recorder.durable_seq(), 0);
    storage.release();
    ends(move || threads.into_iter().for_each(|thread| assert_ne!(thread.join().unwrap(), Recorded::Dropped)));
    assert!(storage.count(Op::Sync) <= 2, "{} syncs for 8 records", storage.count(Op::Sync));
}

#[test]
fn durable_seq_never_exceeds_what_the_disk_has_synced() {
    for sync in [SyncPolicy::EveryRecord, SyncPolicy::Bytes(300), SyncPolicy::OnRotation] {
        let storage = FaultyStorage::new();
        let options =
            RecorderOptions { sync, frame_bytes: 60, segment_bytes: 2000, unsynced_bytes: 900, ..quiet(&storage) };
        let recorder = Arc::new(OnceLock::new());
        let (watched, looked) = (recorder.clone(), Arc::new(OnceLock::new()));
        let seen = looked.clone();
        storage.watch(move |disk| {
            let Some(recorder) = watched.get() else { return };
            let durable = Recorder::durable_seq(recorder);
            let synced: Vec<_> = disk.durable().values().flat_map(|bytes| records_in(bytes)).collect();
            assert!((0..durable).all(|seq| synced.contains(&(seq, counted(seq)))), "{durable} is too much");
            let _ = seen.set(());
        });
        assert!(recorder.set(Recorder::create("root", &counter_schema(), options).unwrap()).is_ok());
        let recorder = recorder.get().unwrap();
        for number in 0..100 {
            let _ = record(recorder, number);
            match number % 37 {
                20 => recorder.flush().unwrap(),
                30 => recorder.rotate().unwrap(),
                _ => {}
            }
        }
        // A panic of the watch, which runs on the writer thread, would be an error here.
        assert_eq!(recorder.finish().unwrap().durable_seq, 100);
        assert!(looked.get().is_some());
    }
}

#[test]
fn whoever_waits_behind_a_rotation_is_woken_when_the_recorder_finishes() {
    for _ in 0..50 {
        let storage = FaultyStorage::new();
        let recorder = Arc::new(Recorder::create("root", &counter_schema(), quiet(&storage)).unwrap());
        storage.hold(Op::Append);
        let _ = record(&recorder, 0);
        storage.wait_held();
        recorder.rotate().unwrap();
        let flusher = recorder.clone();
        let thread = std::thread::spawn(move || flusher.flush());
        // So that the flush is likely to wait already when the recorder finishes; either order is sound.
        for _ in 0..1000 {
            std::thread::yield_now();
        }
        let finisher = recorder.clone();
        let finish = std::thread::spawn(move || finisher.finish().map(drop));
        for _ in 0..1000 {
            std::thread::yield_now();
        }
        storage.release();
        ends(move || finish.join().unwrap()).unwrap();
        let flushed = ends(move || thread.join().unwrap());
        assert!(matches!(flushed, Ok(()) | Err(RecordError::Finished)), "{flushed:?}");
    }
}
