//! Power cuts after something else went wrong: a disk that fails, or is full.

use std::sync::{Arc, Mutex};

use sift_replay::format::Compression;
use sift_replay::record::{RecordError, SyncPolicy};
use sift_replay::segment::{SimDisk, SimFault, SimImage};

use super::recorder::MIXED;
use super::script::{Run, Watched, options};
use super::{Cuts, History, check};

/// What became of a run.
struct Outcome {
    operations: usize,
    created: bool,
    io_errors: u64,
    finished: bool,
}

/// Plays a script on a disk with faults, and cuts the power at each operation from the first fault on.
fn play(prepare: impl FnOnce(&SimDisk), from: usize, random: usize, cuts: &Arc<Mutex<Cuts>>, what: &str) -> Outcome {
    let (disk, watched) = (SimDisk::new(), Watched::default());
    prepare(&disk);
    let history: Arc<Mutex<Option<Arc<Mutex<History>>>>> = Arc::default();
    let look = {
        let (watched, history, cuts, what) = (watched.clone(), history.clone(), cuts.clone(), what.to_owned());
        move |number: usize, image: &SimImage| {
            if number < from {
                return;
            }
            let mut now = history.lock().unwrap().as_ref().map_or_else(History::default, |h| h.lock().unwrap().clone());
            now.durable = watched.get().map_or(0, |recorder| recorder.durable_seq());
            let promise = (now.durable, now.durable_notes);
            cuts.lock().unwrap().each(image, promise, (4, random), |state, files| {
                if let Err(error) = check(files, &now) {
                    panic!("{what}, power cut before operation {number}, {state}: {error}");
                }
            });
        }
    };
    disk.watch(look.clone());
    let sync = SyncPolicy::Bytes(150);
    let Ok(mut run) = Run::create(options(sync, Compression::None, 1, &disk), &watched) else {
        return Outcome { operations: disk.log().len(), created: false, io_errors: 0, finished: false };
    };
    *history.lock().unwrap() = Some(run.history.clone());
    let finished = match run.play(&MIXED) {
        Ok(stats) => {
            assert_eq!(stats.durable_seq, run.history().records.len() as u64, "{what}");
            true
        }
        Err(RecordError::Failed { not_durable_from, .. }) => {
            assert_eq!(not_durable_from, run.history().durable, "{what}");
            false
        }
        Err(error) => panic!("{what}: {error}"),
    };
    look(disk.log().len(), &disk.image());
    assert_eq!(disk.violations(), Vec::<String>::new(), "{what}");
    let io_errors = run.recorder.recorder().stats().io_errors;
    Outcome { operations: disk.log().len(), created: true, io_errors, finished }
}

const FAULTS: [SimFault; 4] = [SimFault::Refused, SimFault::Short(1), SimFault::Short(80), SimFault::Short(usize::MAX)];

fn operations() -> usize {
    let outcome = play(|_| {}, usize::MAX, 0, &Arc::default(), "no fault");
    assert!(outcome.finished && outcome.operations > 50, "{} operations", outcome.operations);
    outcome.operations
}

#[test]
fn one_failing_operation_costs_nothing_even_if_the_power_goes_too() {
    let cuts = Arc::new(Mutex::new(Cuts::default()));
    let (mut failed, mut refused) = (0, 0);
    for number in 0..operations() {
        for fault in FAULTS {
            let what = format!("{fault:?} at operation {number}");
            let outcome = play(|disk| disk.fail_at(number, fault), number, 6, &cuts, &what);
            if outcome.created {
                // A sync of a directory or an append that was whole may be the last that is asked of a file.
                assert!(outcome.finished && outcome.io_errors == 1, "{what}: {} errors", outcome.io_errors);
                failed += 1;
            } else {
                refused += 1;
            }
        }
    }
    assert!(failed >= 200 && refused < 30, "{failed} runs went on, {refused} never began");
    let count = cuts.lock().unwrap().count();
    println!("{count} states of the disk after a failure and a power cut");
    assert!(count > 20_000, "{count} states of the disk were looked at");
}

#[test]
fn two_failing_operations_cost_nothing_that_is_durable_even_if_the_power_goes_too() {
    let cuts = Arc::new(Mutex::new(Cuts::default()));
    for number in (0..operations()).step_by(3) {
        for apart in [1, 2, 3, 5, 9] {
            let prepare = |disk: &SimDisk| {
                disk.fail_at(number, FAULTS[number % 4]);
                disk.fail_at(number + apart, FAULTS[(number + apart) % 4]);
            };
            play(prepare, number, 12, &cuts, &format!("faults at operations {number} and {}", number + apart));
        }
    }
    let count = cuts.lock().unwrap().count();
    println!("{count} states of the disk after two failures and a power cut");
    assert!(count > 3_000, "{count} states of the disk were looked at");
}

#[test]
fn a_disk_that_dies_or_is_full_costs_nothing_that_is_durable_even_if_the_power_goes_too() {
    let cuts = Arc::new(Mutex::new(Cuts::default()));
    let mut stopped = 0;
    for number in 0..operations() {
        let outcome = play(|disk| disk.die_at(number), number, 24, &cuts, &format!("dead from operation {number}"));
        stopped += usize::from(outcome.created && !outcome.finished);
    }
    for capacity in (0..6_000).step_by(37) {
        let prepare = |disk: &SimDisk| disk.set_capacity(Some(capacity));
        let outcome = play(prepare, 0, 6, &cuts, &format!("a disk of {capacity} bytes"));
        stopped += usize::from(outcome.created && !outcome.finished);
    }
    assert!(stopped > 100, "{stopped} recordings were stopped");
    let count = cuts.lock().unwrap().count();
    println!("{count} states of the disk after it died or was full");
    assert!(count > 2_000, "{count} states of the disk were looked at");
}
