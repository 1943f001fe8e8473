//! Checkpoint journals: whatever a power cut leaves of them, they know all that was promised, and nothing that was never
//! said.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};

use sift_replay::replay::{Checkpoints, StateError};
use sift_replay::segment::{SimDisk, SimFault, SimFiles, SimImage, Storage};

use super::Cuts;
use crate::checkpoints::{known, only, save};

/// What was said of facts, by their numbers.
#[derive(Debug, Clone, Default)]
struct Said {
    /// `save` was called.
    tried: BTreeSet<u64>,
    /// `save` returned.
    promised: BTreeSet<u64>,
}

const STATE: &str = "/simulated/state";

fn open(disk: &SimDisk) -> Result<Checkpoints, StateError> {
    Checkpoints::open(Arc::new(disk.clone()), only(Path::new(STATE)))
}

/// What somebody knows who only looks.
fn look(files: &SimFiles) -> BTreeSet<u64> {
    let disk: Arc<dyn Storage> = Arc::new(SimDisk::of(files.clone()));
    known(&Checkpoints::look(&disk, &only(Path::new(STATE))))
}

#[track_caller]
fn check(known: &BTreeSet<u64>, said: &Said, what: &str) {
    assert!(known.is_superset(&said.promised), "{what}: {known:?} are known, promised were {:?}", said.promised);
    assert!(known.is_subset(&said.tried), "{what}: {known:?} are known, said were {:?}", said.tried);
}

/// One process that saves a few times.
fn live(disk: &SimDisk, facts: std::ops::Range<u64>, said: &Mutex<Said>) {
    let Ok(checkpoints) = open(disk) else { return };
    check(&known(&checkpoints), &said.lock().unwrap(), "at the start");
    for number in facts {
        let group = [number * 2, number * 2 + 1];
        said.lock().unwrap().tried.extend(group);
        if save(&checkpoints, group).is_ok() {
            said.lock().unwrap().promised.extend(group);
        }
    }
}

/// Three processes, one after the other, on a disk whose power may go at each operation from `from` on.
fn live_and_cut(
    prepare: impl FnOnce(&SimDisk),
    from: usize,
    density: (usize, usize),
    cuts: &Arc<Mutex<Cuts>>,
    what: &str,
) -> SimDisk {
    let (disk, said) = (SimDisk::new(), Arc::new(Mutex::new(Said::default())));
    prepare(&disk);
    let cut = {
        let (said, cuts, what) = (said.clone(), cuts.clone(), what.to_owned());
        move |number: usize, image: &SimImage| {
            let now = said.lock().unwrap().clone();
            if number >= from {
                cuts.lock().unwrap().each(image, &now.promised, density, |state, files| {
                    check(&look(files), &now, &format!("{what}, power cut before operation {number}, {state}"));
                });
            }
        }
    };
    disk.watch(cut.clone());
    (0..3).for_each(|life| live(&disk, life * 4..life * 4 + 4, &said));
    cut(disk.log().len(), &disk.image());
    assert_eq!(disk.violations(), Vec::<String>::new(), "{what}");
    disk
}

#[test]
fn no_power_cut_costs_a_checkpoint_or_makes_one_up() {
    let cuts = Arc::default();
    let disk = live_and_cut(|_| {}, 0, (usize::MAX, 150), &cuts, "no fault");
    assert_eq!(look(&disk.image().all()), (0..24).collect());
    let count = cuts.lock().unwrap().count();
    println!("{count} states of the journals after a power cut");
    assert!(count > 4_000, "{count} states of the disk were looked at");
}

#[test]
fn no_failing_operation_costs_a_checkpoint_or_makes_one_up_even_if_the_power_goes_too() {
    let operations = live_and_cut(|_| {}, usize::MAX, (0, 0), &Arc::default(), "no fault").log().len();
    let cuts = Arc::default();
    for number in 0..operations {
        for fault in [SimFault::Refused, SimFault::Short(30), SimFault::Short(usize::MAX)] {
            let what = format!("{fault:?} at operation {number}");
            live_and_cut(|disk| disk.fail_at(number, fault), number, (2, 4), &cuts, &what);
        }
        live_and_cut(|disk| disk.die_at(number), number, (2, 4), &cuts, &format!("dead from operation {number}"));
    }
    let count = cuts.lock().unwrap().count();
    println!("{count} states of the journals after a failure and a power cut");
    assert!(count > 2_000, "{count} states of the disk were looked at");
}

/// What a power cut has left is what the next process makes a compact journal of; its power goes, too.
#[test]
fn a_power_cut_while_what_another_left_is_made_compact_costs_no_checkpoint() {
    let (states, cuts) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Cuts::default())));
    let (disk, said) = (SimDisk::new(), Arc::new(Mutex::new(Said::default())));
    disk.watch({
        let (states, said) = (states.clone(), said.clone());
        move |number, image| {
            let now = said.lock().unwrap().clone();
            states.lock().unwrap().extend((0..3).map(|seed| (image.survivor(seed + 10 * number as u64), now.clone())));
        }
    });
    (0..3).for_each(|life| live(&disk, life * 4..life * 4 + 4, &said));
    for (files, said) in std::mem::take(&mut *states.lock().unwrap()) {
        let before = look(&files);
        let (disk, said) = (SimDisk::of(files), Arc::new(Mutex::new(said)));
        disk.watch({
            let (said, cuts, before) = (said.clone(), cuts.clone(), before.clone());
            move |number, image| {
                let mut now = said.lock().unwrap().clone();
                // What was known once stays known.
                now.promised.extend(&before);
                cuts.lock().unwrap().each(image, &now.promised, (2, 3), |state, files| {
                    check(&look(files), &now, &format!("second power cut, before operation {number}, {state}"));
                });
            }
        });
        live(&disk, 20..22, &said);
    }
    let count = cuts.lock().unwrap().count();
    println!("{count} states of the journals after a second power cut");
    assert!(count > 2_000, "{count} states of the disk were looked at");
}
