//! I/O errors at every operation in turn, and power cuts in between.

use std::collections::BTreeMap;

use sift_replay::format::{Abandoned, Mark};
use sift_replay::record::{RecordError, Recorder, Value};

use super::{quiet, saved, saved_durable};
use crate::support::recording::{Owned, Segment, at, counted, counter_schema, encoded, flow_of, merged, read_dir};
use crate::support::storage::{Fault, FaultyStorage, Op};

/// Records of the workload below, in order.
pub(super) const RECORDS: u64 = 9;

/// Record 6 is of the flow that is added on the way.
pub(super) fn expected(seq: u64) -> Vec<u8> {
    if seq == 6 { encoded("late", 6, &[Owned::Uint64(6)]) } else { counted(seq) }
}

/// One call after the other until one fails, as a program would. Which operations this makes of the disk doesn't depend on
/// how fast the writer is.
pub(super) fn workload(recorder: &Recorder) -> Result<(), RecordError> {
    let flow = recorder.flow("f")?;
    let record = |number| recorder.record(&flow, at(number), &[Value::Uint64(number)]).map(drop);
    (0..3).try_for_each(record)?;
    recorder.flush()?;
    recorder.note("between")?;
    (3..5).try_for_each(record)?;
    recorder.rotate()?;
    record(5)?;
    let late = recorder.add_flow(flow_of("late", &[sift_replay::record::DataType::Uint64]))?;
    let _ = recorder.record(&late, at(6), &[Value::Uint64(6)])?;
    recorder.flush()?;
    (7..9).try_for_each(record)
}

/// Everything that is read was recorded, in place; and everything that counts as durable is there.
fn check(segments: &[Segment], durable: u64) -> BTreeMap<u64, Vec<u8>> {
    for segment in segments {
        assert!(segment.records.is_sorted_by(|(a, _), (b, _)| a < b), "order is kept");
    }
    let records = merged(segments);
    for (seq, record) in &records {
        assert_eq!(record, &expected(*seq), "seq {seq} isn't what was recorded");
    }
    assert!((0..durable).all(|seq| records.contains_key(&seq)), "{durable} counted as durable: {:?}", records.keys());
    records
}

fn check_power_cuts(storage: &FaultyStorage, durable: u64) {
    check(&saved_durable(storage), durable);
    for seed in 0..4 {
        let dir = tempfile::tempdir().unwrap();
        storage.save_after_power_cut(seed, dir.path());
        check(&read_dir(dir.path()), durable);
    }
}

pub(super) fn operations() -> Vec<Op> {
    let storage = FaultyStorage::new();
    let recorder = Recorder::create("root", &counter_schema(), quiet(&storage)).unwrap();
    workload(&recorder).unwrap();
    recorder.finish().unwrap();
    let log = storage.log();
    assert!([Op::Create, Op::Append, Op::Sync, Op::Rename, Op::SyncDir].iter().all(|op| log.contains(op)));
    log
}

fn abandoned(segments: &[Segment]) -> Vec<(u32, Abandoned)> {
    let marks = segments.iter().flat_map(|segment| segment.marks.iter().map(|mark| (segment.name.index, mark)));
    marks
        .filter_map(|(index, mark)| if let Mark::Abandoned(mark) = mark { Some((index, mark.clone())) } else { None })
        .collect()
}

#[test]
fn one_failing_operation_loses_nothing_whichever_it_is() {
    for (number, op) in operations().into_iter().enumerate() {
        for fault in [Fault::Refused, Fault::Half] {
            let storage = FaultyStorage::new();
            storage.fail_at(number, fault);
            let what = format!("{fault:?} at operation {number}, {op:?}");
            let Ok(recorder) = Recorder::create("root", &counter_schema(), quiet(&storage)) else {
                assert!(number < 5, "{what}");
                continue;
            };
            workload(&recorder).unwrap();
            let stats = recorder.finish().unwrap();
            assert_eq!((stats.durable_seq, stats.io_errors), (RECORDS, 1), "{what}");
            assert_eq!(storage.violations(), Vec::<String>::new(), "{what}");
            let segments = saved(&storage);
            assert_eq!(check(&segments, RECORDS).len() as u64, RECORDS, "{what}");
            check_power_cuts(&storage, RECORDS);
            // The next segment says which one failed, and why.
            let marks = abandoned(&segments);
            assert_eq!(marks.len(), 1, "{what}");
            let (index, mark) = &marks[0];
            assert_eq!(mark.segment_index + 1, *index, "{what}");
            assert!(mark.error.contains(&format!("operation {number} failed on purpose")), "{mark:?}");
            // All that didn't fail is sealed, and sound.
            for segment in segments.iter().filter(|segment| segment.name.index != mark.segment_index) {
                segment.check_seal();
            }
            let notes: Vec<_> = segments.iter().flat_map(Segment::notes).collect();
            assert!(!notes.is_empty() && notes.iter().all(|note| *note == "between"), "{what}");
            // A replayer that takes the segments one after the other knows each flow before its records come.
            let mut known: Vec<String> = Vec::new();
            for segment in segments.iter().filter(|segment| segment.header.is_some()) {
                let flows: Vec<_> = segment.flows().into_iter().map(|flow| flow.name).collect();
                assert!(
                    flows.iter().collect::<std::collections::HashSet<_>>().len() == flows.len(),
                    "{what}: {flows:?}"
                );
                known.extend(flows);
                assert!(known.contains(&"late".to_owned()) || segment.records.iter().all(|(seq, _)| *seq != 6));
            }
        }
    }
}

#[test]
fn two_failing_operations_lose_nothing_that_counts_as_durable() {
    let operations = operations().len();
    for number in 0..operations {
        for second in 1..10 {
            let storage = FaultyStorage::new();
            storage.fail_at(number, Fault::Half);
            storage.fail_at(number + second, if second % 2 == 0 { Fault::Half } else { Fault::Refused });
            let Ok(recorder) = Recorder::create("root", &counter_schema(), quiet(&storage)) else { continue };
            let result = workload(&recorder).and_then(|()| recorder.finish().map(drop));
            let durable = recorder.durable_seq();
            match result {
                Ok(()) => assert_eq!(durable, RECORDS),
                Err(RecordError::Failed { not_durable_from, .. }) => assert_eq!(not_durable_from, durable),
                Err(other) => panic!("{other}"),
            }
            assert_eq!(storage.violations(), Vec::<String>::new());
            check(&saved(&storage), durable);
            check_power_cuts(&storage, durable);
        }
    }
}

#[test]
fn when_the_second_segment_fails_too_every_call_says_what_is_not_durable() {
    let operations = operations().len();
    for number in 0..operations {
        let storage = FaultyStorage::new();
        storage.die_at(number);
        let Ok(recorder) = Recorder::create("root", &counter_schema(), quiet(&storage)) else { continue };
        let flow = recorder.flow("f").unwrap();
        let result = workload(&recorder).and_then(|()| recorder.finish().map(drop));
        let durable = recorder.durable_seq();
        let failed = |result: Result<(), RecordError>| match result {
            Err(error @ RecordError::Failed { not_durable_from, .. }) => {
                assert_eq!(not_durable_from, durable);
                assert!(error.to_string().contains(&format!("from seq {durable} on")), "{error}");
                assert!(error.to_string().contains("failed on purpose"), "{error}");
            }
            other => panic!("dead from operation {number}: {other:?}"),
        };
        failed(result);
        let records = recorder.stats().records;
        failed(recorder.record(&flow, at(0), &[Value::Uint64(0)]).map(drop));
        failed(recorder.try_record(&flow, at(0), &[Value::Uint64(0)]).map(drop));
        failed(recorder.record_request(&counted(0)).map(drop));
        failed(recorder.note("n"));
        failed(recorder.rotate());
        failed(recorder.flush());
        failed(recorder.add_flow(flow_of("x", &[])).map(drop));
        assert_eq!(recorder.stats().records, records);
        assert_eq!(storage.violations(), Vec::<String>::new());
        check(&saved(&storage), durable);
        check_power_cuts(&storage, durable);
    }
}

#[test]
fn a_power_cut_at_any_operation_leaves_what_counts_as_durable() {
    let storage = FaultyStorage::new();
    let recorder = std::sync::Arc::new(std::sync::OnceLock::<Recorder>::new());
    let watched = recorder.clone();
    let states = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = states.clone();
    storage.watch(move |disk| {
        let durable = watched.get().map_or(0, Recorder::durable_seq);
        let views = std::iter::once(disk.durable()).chain((0..8).map(|seed| disk.after_power_cut(seed)));
        seen.lock().unwrap().extend(views.map(|files| (durable, files)));
    });
    assert!(recorder.set(Recorder::create("root", &counter_schema(), quiet(&storage)).unwrap()).is_ok());
    workload(recorder.get().unwrap()).unwrap();
    recorder.get().unwrap().finish().unwrap();
    let states = std::mem::take(&mut *states.lock().unwrap());
    assert!(states.len() > 9 * 2 * 20);
    for (durable, files) in states {
        let dir = tempfile::tempdir().unwrap();
        for (path, bytes) in files {
            std::fs::write(dir.path().join(path.file_name().unwrap()), bytes).unwrap();
        }
        check(&read_dir(dir.path()), durable);
    }
}

#[test]
fn a_storage_that_panics_stops_the_recorder_with_an_error() {
    let storage = FaultyStorage::new();
    let recorder = Recorder::create("root", &counter_schema(), quiet(&storage)).unwrap();
    storage.watch(|_| panic!("on purpose"));
    let _ = recorder.record(&recorder.flow("f").unwrap(), at(0), &[Value::Uint64(0)]);
    assert!(matches!(recorder.flush(), Err(RecordError::Failed { not_durable_from: 0, .. })));
    assert!(matches!(recorder.finish(), Err(RecordError::Failed { not_durable_from: 0, .. })));
}
