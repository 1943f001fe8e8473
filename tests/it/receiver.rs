//! The embedded destination's own files, on a disk that fails.

use std::path::Path;

use sift_replay::receiver::organization_of;
use sift_replay::segment::Disk;

use crate::support::storage::{Fault, FaultyStorage};

#[test]
fn the_stores_id_survives_power_cuts_and_faults_at_any_operation() {
    let root = Path::new("store");
    let storage = FaultyStorage::new();
    organization_of(&storage, root).unwrap();
    let operations = storage.log().len();
    assert!(operations >= 5, "{:?}", storage.log());
    for number in 0..=operations {
        for fault in [None, Some(Fault::Refused), Some(Fault::Half)] {
            let storage = FaultyStorage::new();
            match fault {
                None => storage.die_at(number),
                Some(fault) => storage.fail_at(number, fault),
            }
            let first = organization_of(&storage, root).ok();
            assert!(first.is_some() || number < operations, "{number} {fault:?}");
            assert_eq!(storage.violations(), Vec::<String>::new(), "{number} {fault:?}");
            for seed in 0..8 {
                let left = tempfile::tempdir().unwrap();
                let state = left.path().join(".sift-replay");
                std::fs::create_dir(&state).unwrap();
                storage.save_after_power_cut(seed, &state);
                let root = left.path();
                let second = organization_of(&Disk, root).unwrap();
                assert!(first.is_none_or(|first| first == second), "{number} {fault:?}: {first:?} {second}");
                assert_eq!(organization_of(&Disk, root).unwrap(), second);
            }
        }
    }
}
