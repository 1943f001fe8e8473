//! Waiting for room and for the disk without blocking a thread; and a bound in records.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use sift_replay::record::{OnFull, RecordError, Recorded, Recorder, RecorderOptions, SyncPolicy, Value};

use super::{ends, quiet, saved};
use crate::support::recording::{at, counted, counter_schema, merged, records_in};
use crate::support::storage::{FaultyStorage, Op};
use crate::support::tasks::{Task, block_on, poll_once, run};

const ON_FULL: [OnFull; 3] = [OnFull::Block, OnFull::DropNewest, OnFull::DropOldest];

fn create(storage: &FaultyStorage, options: RecorderOptions) -> Recorder {
    let recorder = Recorder::create("root", &counter_schema(), options).unwrap();
    storage.hold(Op::Append);
    recorder
}

fn offer(recorder: &Recorder, number: u64) -> Result<Recorded, RecordError> {
    recorder.offer(&recorder.flow("f").unwrap(), at(number), &[Value::Uint64(number)])
}

fn seq(recorded: Recorded) -> u64 {
    let Recorded::Seq(seq) = recorded else { panic!("dropped") };
    seq
}

/// Offers records from 0 on until the writer is stuck in the first ones and there is no more room; returns how many were
/// taken.
fn fill(storage: &FaultyStorage, recorder: &Recorder, first: u64) -> u64 {
    for number in 0..first {
        assert_eq!(offer(recorder, number).unwrap(), Recorded::Seq(number));
    }
    storage.wait_held();
    (first..).find(|number| matches!(offer(recorder, *number), Err(RecordError::Full))).unwrap()
}

/// What a task does to record without blocking.
async fn record(recorder: &Recorder, number: u64) -> Result<Recorded, RecordError> {
    loop {
        match recorder.offer_request(&counted(number)) {
            Err(RecordError::Full) => poll_fn(|context| recorder.poll_room(context)).await,
            done => return done,
        }
    }
}

async fn durable(recorder: &Recorder, seq: u64) -> Result<(), RecordError> {
    poll_fn(|context| recorder.poll_durable(seq, context)).await
}

#[test]
fn an_offer_never_waits_and_does_what_the_policy_says() {
    for on_full in ON_FULL {
        let storage = FaultyStorage::new();
        let recorder = create(&storage, RecorderOptions { on_full, buffers: 2, ..quiet(&storage) });
        let recorded: Vec<_> = (0..1)
            .map(|number| offer(&recorder, number))
            .chain(std::iter::once_with(|| {
                storage.wait_held();
                offer(&recorder, 1)
            }))
            .chain((2..6).map(|number| offer(&recorder, number)))
            .collect();
        assert!(recorded[..4].iter().enumerate().all(|(n, r)| *r.as_ref().unwrap() == Recorded::Seq(n as u64)));
        for recorded in &recorded[4..] {
            match on_full {
                OnFull::Block => assert!(matches!(recorded, Err(RecordError::Full)), "{recorded:?}"),
                OnFull::DropNewest => assert_eq!(*recorded.as_ref().unwrap(), Recorded::Dropped),
                OnFull::DropOldest => assert_ne!(*recorded.as_ref().unwrap(), Recorded::Dropped),
            }
        }
        let room = poll_once(poll_fn(|context| recorder.poll_room(context))).0;
        assert_eq!(room.is_pending(), on_full == OnFull::Block);
        storage.release();
        recorder.finish().unwrap();
    }
}

#[test]
fn an_offer_does_not_wait_for_the_sync_of_every_record() {
    let storage = FaultyStorage::new();
    let recorder = create(&storage, RecorderOptions { sync: SyncPolicy::EveryRecord, ..quiet(&storage) });
    assert_eq!(offer(&recorder, 0).unwrap(), Recorded::Seq(0));
    assert_eq!(offer(&recorder, 1).unwrap(), Recorded::Seq(1));
    assert_eq!(recorder.durable_seq(), 0);
    storage.release();
    let syncs = ends(move || {
        block_on(durable(&recorder, 1)).unwrap();
        storage.count(Op::Sync)
    });
    assert_eq!(syncs, 1);
}

#[test]
fn tasks_that_wait_for_room_are_woken_and_lose_nothing() {
    for bound in [1, 3, u64::MAX] {
        let storage = FaultyStorage::new();
        let options = RecorderOptions { buffers: 2, waiting_records: bound, ..quiet(&storage) };
        let recorder = Arc::new(create(&storage, options));
        let filled = fill(&storage, &recorder, 1);
        let tasks = recorder.clone();
        let thread = std::thread::spawn(move || {
            let task = |number: u64| -> Task<'_> {
                let recorder = &tasks;
                Box::pin(async move {
                    for number in (number..400).step_by(8) {
                        let _ = seq(record(recorder, number).await.unwrap());
                    }
                })
            };
            run((0..8).map(|n| task(filled + n)).collect());
        });
        storage.release();
        ends(move || thread.join().unwrap());
        recorder.finish().unwrap();
        let mut records: Vec<_> = merged(&saved(&storage)).into_values().collect();
        records.sort();
        let mut expected: Vec<_> = (0..400).map(counted).collect();
        expected.sort();
        assert!(records == expected, "bound {bound}");
    }
}

#[test]
fn each_of_many_tasks_has_its_record_durable_when_told_so() {
    let storage = FaultyStorage::new();
    let options = RecorderOptions { sync: SyncPolicy::EveryRecord, frame_bytes: 64 << 10, ..quiet(&storage) };
    let recorder = Arc::new(Recorder::create("root", &counter_schema(), options).unwrap());
    let threads: Vec<_> = (0..4u64)
        .map(|thread| {
            let (storage, recorder) = (storage.clone(), recorder.clone());
            std::thread::spawn(move || {
                let task = |number: u64| -> Task<'_> {
                    let (storage, recorder) = (&storage, &recorder);
                    Box::pin(async move {
                        for number in number * 10..(number + 1) * 10 {
                            let seq = seq(record(recorder, number).await.unwrap());
                            durable(recorder, seq).await.unwrap();
                            assert!(recorder.durable_seq() > seq);
                            let disk = storage.disk().durable();
                            let mut records = disk.values().flat_map(|bytes| records_in(bytes));
                            assert!(records.any(|record| record == (seq, counted(number))), "{number} isn't durable");
                        }
                    })
                };
                run((thread * 4..(thread + 1) * 4).map(task).collect());
            })
        })
        .collect();
    ends(move || threads.into_iter().for_each(|thread| thread.join().unwrap()));
    recorder.finish().unwrap();
    assert_eq!(merged(&saved(&storage)).len(), 160);
}

#[test]
fn tasks_share_a_sync() {
    let storage = FaultyStorage::new();
    let options = RecorderOptions { sync: SyncPolicy::EveryRecord, frame_bytes: 64 << 10, ..quiet(&storage) };
    let recorder = Recorder::create("root", &counter_schema(), options).unwrap();
    ends(move || {
        storage.hold(Op::Sync);
        let seqs: Vec<_> = (0..8).map(|number| seq(offer(&recorder, number).unwrap())).collect();
        // The first one asks, and the sync is under way when the others come.
        assert!(poll_once(durable(&recorder, 3)).0.is_pending());
        storage.wait_held();
        storage.release();
        let recorder = &recorder;
        let task = |seq| -> Task<'_> { Box::pin(async move { durable(recorder, seq).await.unwrap() }) };
        run(seqs.into_iter().map(task).collect());
        assert_eq!(storage.count(Op::Sync), 1);
    });
}

#[test]
fn waiting_for_durability_ends_under_every_policy() {
    for sync in [
        SyncPolicy::EveryRecord,
        SyncPolicy::Interval(Duration::from_millis(1)),
        SyncPolicy::Interval(Duration::MAX),
        SyncPolicy::Bytes(1 << 40),
        SyncPolicy::OnRotation,
    ] {
        let storage = FaultyStorage::new();
        let options = RecorderOptions { sync, frame_bytes: 64 << 10, ..quiet(&storage) };
        let recorder = Recorder::create("root", &counter_schema(), options).unwrap();
        ends(move || {
            // In the frame, with the writer, and durable already.
            for number in 0..3 {
                assert_eq!(offer(&recorder, number).unwrap(), Recorded::Seq(number));
                block_on(durable(&recorder, number)).unwrap();
                block_on(durable(&recorder, 0)).unwrap();
            }
            let waiting = offer(&recorder, 3).unwrap();
            recorder.rotate().unwrap();
            recorder.note("behind it").unwrap();
            block_on(durable(&recorder, seq(waiting))).unwrap();
        });
    }
}

#[test]
fn under_an_interval_nobody_hurries_the_disk() {
    let storage = FaultyStorage::new();
    let sync = SyncPolicy::Interval(Duration::from_secs(3600));
    let recorder = Recorder::create("root", &counter_schema(), RecorderOptions { sync, ..quiet(&storage) }).unwrap();
    assert_eq!(offer(&recorder, 0).unwrap(), Recorded::Seq(0));
    let (polled, alarm) = poll_once(durable(&recorder, 0));
    assert!(polled.is_pending());
    recorder.rotate().unwrap();
    ends(move || recorder.finish()).unwrap();
    assert_eq!((storage.count(Op::Sync), alarm.times.load(Ordering::SeqCst)), (1, 1), "only the seal's");
}

#[test]
fn a_wait_that_is_given_up_leaves_nothing_broken() {
    let storage = FaultyStorage::new();
    let options = RecorderOptions { sync: SyncPolicy::EveryRecord, buffers: 2, ..quiet(&storage) };
    let recorder = create(&storage, options);
    let filled = fill(&storage, &recorder, 1);
    let (room, for_room) = poll_once(poll_fn(|context| recorder.poll_room(context)));
    let (sync, for_sync) = poll_once(durable(&recorder, filled - 1));
    assert!(room.is_pending() && sync.is_pending());
    let (offered, unused) = poll_once(record(&recorder, filled));
    assert!(offered.is_pending(), "it isn't recorded");
    storage.release();
    ends(move || {
        let seq = seq(block_on(record(&recorder, filled)).unwrap());
        assert_eq!(seq, filled, "what was given up took no seq");
        block_on(durable(&recorder, seq)).unwrap();
        recorder.finish().unwrap();
    });
    // Woken once, though nobody listens; and never again.
    for alarm in [for_room, for_sync, unused] {
        assert_eq!(alarm.times.load(Ordering::SeqCst), 1);
    }
    assert_eq!(merged(&saved(&storage)).len() as u64, filled + 1);
}

#[test]
fn whoever_waits_is_told_that_recording_has_failed() {
    let storage = FaultyStorage::new();
    let recorder = Arc::new(create(&storage, RecorderOptions { buffers: 2, ..quiet(&storage) }));
    let filled = fill(&storage, &recorder, 1);
    let (tasks, died) = (recorder.clone(), storage.clone());
    ends(move || {
        let recorder = &*tasks;
        let waits_for_room = async {
            let refused = record(recorder, filled).await;
            assert!(matches!(refused, Err(RecordError::Failed { not_durable_from: 0, .. })), "{refused:?}");
        };
        let waits_for_sync = async {
            let lost = durable(recorder, filled - 1).await;
            assert!(matches!(lost, Err(RecordError::Failed { not_durable_from: 0, .. })), "{lost:?}");
        };
        let breaks_the_disk = async {
            died.die_at(died.log().len());
            died.release();
        };
        run(vec![Box::pin(waits_for_room), Box::pin(waits_for_sync), Box::pin(breaks_the_disk)]);
    });
    assert!(block_on(durable(&recorder, 0)).is_err());
}

#[test]
fn whoever_waits_is_told_that_the_recorder_is_finished() {
    let storage = FaultyStorage::new();
    let recorder = Arc::new(create(&storage, RecorderOptions { buffers: 2, ..quiet(&storage) }));
    let filled = fill(&storage, &recorder, 1);
    let (room, for_room) = poll_once(poll_fn(|context| recorder.poll_room(context)));
    let (sync, for_sync) = poll_once(durable(&recorder, filled + 7));
    assert!(room.is_pending() && sync.is_pending());
    storage.release();
    let finishing = recorder.clone();
    ends(move || finishing.finish()).unwrap();
    assert!(for_room.times.load(Ordering::SeqCst) == 1 && for_sync.times.load(Ordering::SeqCst) == 1);
    assert_eq!(poll_once(poll_fn(|context| recorder.poll_room(context))).0, Poll::Ready(()));
    assert!(matches!(offer(&recorder, filled), Err(RecordError::Finished)));
    block_on(durable(&recorder, filled - 1)).unwrap();
    assert!(matches!(block_on(durable(&recorder, filled)), Err(RecordError::Finished)), "there is no such record");
}

#[test]
fn no_more_records_wait_for_the_writer_than_may() {
    for bound in [1, 2, 10] {
        for on_full in ON_FULL {
            let storage = FaultyStorage::new();
            // Frames that never fill: nothing but the bound hands them over.
            let options = RecorderOptions { on_full, waiting_records: bound, frame_bytes: 64 << 10, ..quiet(&storage) };
            let recorder = create(&storage, options);
            let what = format!("{bound}, {on_full:?}");
            for number in 0..bound {
                assert_eq!(offer(&recorder, number).unwrap(), Recorded::Seq(number));
            }
            // The writer has the first ones: as many may wait again.
            storage.wait_held();
            assert_eq!(recorder.stats().waiting, 0, "{what}");
            for number in bound..2 * bound {
                assert_eq!(offer(&recorder, number).unwrap(), Recorded::Seq(number), "{what}");
            }
            assert_eq!(recorder.stats().waiting, bound, "{what}");
            let more: Vec<_> = (2 * bound..5 * bound).map(|number| offer(&recorder, number)).collect();
            let stats = recorder.stats();
            assert!(stats.waiting <= bound, "{what}: {stats:?}");
            match on_full {
                OnFull::Block => assert!(more.iter().all(|r| matches!(r, Err(RecordError::Full))), "{what}"),
                OnFull::DropNewest => assert_eq!((stats.records, stats.dropped), (2 * bound, 3 * bound), "{what}"),
                OnFull::DropOldest => assert_eq!((stats.records, stats.dropped), (5 * bound, 3 * bound), "{what}"),
            }
            storage.release();
            assert_eq!(recorder.finish().unwrap().waiting, 0);
            let kept: Vec<_> = merged(&saved(&storage)).into_keys().collect();
            let last = if on_full == OnFull::DropOldest { 4 * bound..5 * bound } else { bound..2 * bound };
            assert_eq!(kept, (0..bound).chain(last).collect::<Vec<_>>(), "{what}");
        }
    }
}

#[test]
fn a_recorder_with_room_for_one_record_records_all() {
    let storage = FaultyStorage::new();
    let options = RecorderOptions { waiting_records: 1, frame_bytes: 64 << 10, ..quiet(&storage) };
    let recorder = Arc::new(Recorder::create("root", &counter_schema(), options).unwrap());
    let threads: Vec<_> = (0..4u64)
        .map(|thread| {
            let recorder = recorder.clone();
            std::thread::spawn(move || {
                for number in thread * 100..(thread + 1) * 100 {
                    let _ = seq(recorder.record_request(&counted(number)).unwrap());
                }
            })
        })
        .collect();
    ends(move || threads.into_iter().for_each(|thread| thread.join().unwrap()));
    recorder.finish().unwrap();
    assert_eq!(merged(&saved(&storage)).len(), 400);
}

#[test]
fn a_bound_of_no_records_is_refused() {
    let options = RecorderOptions { waiting_records: 0, ..quiet(&FaultyStorage::new()) };
    assert!(matches!(Recorder::create("root", &counter_schema(), options), Err(RecordError::Options(_))));
}
