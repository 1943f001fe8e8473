//! Rows recorded together: as one by one, but for the time it takes.

use std::sync::Arc;

use sift_replay::record::{OnFull, RecordError, Recorder, RecorderOptions, SyncPolicy, Timestamp, Value};

use super::{ends, quiet, saved};
use crate::support::recording::{Segment, at, counted, counter_schema, merged};
use crate::support::storage::{FaultyStorage, Op};

/// Records these numbers as one batch.
fn batch(recorder: &Recorder, numbers: std::ops::Range<u64>) -> Result<u64, RecordError> {
    let values: Vec<_> = numbers.clone().map(|number| [Value::Uint64(number)]).collect();
    let rows: Vec<(Timestamp, &[Value<'_>])> =
        numbers.zip(&values).map(|(number, row)| (at(number), &row[..])).collect();
    recorder.record_batch(&recorder.flow("f").unwrap(), &rows)
}

fn assert_recorded(storage: &FaultyStorage, numbers: std::ops::Range<u64>) {
    let segments = saved(storage);
    segments.iter().for_each(Segment::check_seal);
    assert_eq!(merged(&segments).into_iter().collect::<Vec<_>>(), numbers.map(|n| (n, counted(n))).collect::<Vec<_>>());
}

#[test]
fn a_batch_is_recorded_as_its_rows_would_be_over_many_frames_and_segments() {
    for frame_bytes in [1, 300, 64 << 10] {
        let storage = FaultyStorage::new();
        let options = RecorderOptions { frame_bytes, segment_bytes: 3000, buffers: 2, ..quiet(&storage) };
        let recorder = Recorder::create("root", &counter_schema(), options).unwrap();
        assert_eq!(batch(&recorder, 0..0).unwrap(), 0);
        assert_eq!(batch(&recorder, 0..400).unwrap(), 400);
        assert_eq!(batch(&recorder, 400..401).unwrap(), 1);
        assert_eq!(recorder.finish().unwrap().records, 401);
        assert_recorded(&storage, 0..401);
    }
}

#[test]
fn a_row_that_is_refused_is_named_and_those_before_it_are_recorded() {
    let storage = FaultyStorage::new();
    let recorder = Recorder::create("root", &counter_schema(), quiet(&storage)).unwrap();
    let flow = recorder.flow("f").unwrap();
    let (sound, wrong) = ([Value::Uint64(0)], [Value::Double(1.0)]);
    let rows = [(at(0), &sound[..]), (at(1), &wrong), (at(2), &sound)];
    let error = recorder.record_batch(&flow, &rows).unwrap_err();
    assert!(matches!(&error, RecordError::Row { at: 1, source } if matches!(**source, RecordError::ValueType { .. })));
    let text = error.to_string();
    assert!(text.contains("row 1") && text.contains("a double"), "{text}");
    assert_eq!(recorder.finish().unwrap().records, 1);
    assert_recorded(&storage, 0..1);
    let after = batch(&recorder, 1..2).unwrap_err();
    assert!(
        matches!(&after, RecordError::Row { at: 0, source } if matches!(**source, RecordError::Finished)),
        "{after}"
    );
}

#[test]
fn another_recorders_flow_is_refused_before_any_row() {
    let (one, other) = (FaultyStorage::new(), FaultyStorage::new());
    let recorder = Recorder::create("root", &counter_schema(), quiet(&one)).unwrap();
    let foreign = Recorder::create("root", &counter_schema(), quiet(&other)).unwrap().flow("f").unwrap();
    let row = [Value::Uint64(0)];
    let error = recorder.record_batch(&foreign, &[(at(0), &row)]).unwrap_err();
    assert!(matches!(error, RecordError::ForeignFlow { .. }), "{error}");
    assert_eq!(recorder.finish().unwrap().records, 0);
}

#[test]
fn the_rows_of_a_batch_share_a_sync() {
    let storage = FaultyStorage::new();
    let options = RecorderOptions { sync: SyncPolicy::EveryRecord, frame_bytes: 64 << 10, ..quiet(&storage) };
    let recorder = Recorder::create("root", &counter_schema(), options).unwrap();
    for round in 0..3 {
        assert_eq!(batch(&recorder, round * 50..(round + 1) * 50).unwrap(), 50);
        assert_eq!(recorder.durable_seq(), (round + 1) * 50);
        assert_eq!(recorder.stats().syncs, round + 1);
    }
    recorder.finish().unwrap();
    assert_recorded(&storage, 0..150);
}

/// A recorder that has room for no more: record 0 is being written, and three wait.
fn stuck(on_full: OnFull) -> (FaultyStorage, Recorder) {
    let storage = FaultyStorage::new();
    let options = RecorderOptions { on_full, buffers: 2, ..quiet(&storage) };
    let recorder = Recorder::create("root", &counter_schema(), options).unwrap();
    storage.hold(Op::Append);
    assert_eq!(batch(&recorder, 0..1).unwrap(), 1);
    storage.wait_held();
    assert_eq!(batch(&recorder, 1..4).unwrap(), 3);
    (storage, recorder)
}

#[test]
fn rows_for_which_there_is_no_room_are_dropped_and_counted() {
    let (storage, recorder) = stuck(OnFull::DropNewest);
    assert_eq!(batch(&recorder, 4..14).unwrap(), 0);
    assert_eq!((recorder.stats().records, recorder.stats().dropped), (4, 10));
    storage.release();
    recorder.finish().unwrap();
    assert_recorded(&storage, 0..4);
}

#[test]
fn a_batch_waits_for_room_in_its_middle_and_loses_nothing() {
    let (storage, recorder) = stuck(OnFull::Block);
    let recorder = Arc::new(recorder);
    let waiting = recorder.clone();
    let thread = std::thread::spawn(move || batch(&waiting, 4..200));
    storage.release();
    assert_eq!(ends(move || thread.join().unwrap()).unwrap(), 196);
    recorder.finish().unwrap();
    assert_recorded(&storage, 0..200);
}
