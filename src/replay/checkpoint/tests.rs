#![allow(clippy::single_range_in_vec_init, reason = "one range is meant")]

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

use super::*;
use crate::replay::options::Rewrite;
use crate::replay::target::{PbfsId, Target};
use crate::segment::{Disk, Storage};

const SESSION: Uuid = Uuid::from_u128(0x0193_5f6e_0000_7000_8000_0000_0000_0001);

fn target(endpoint: &str) -> Target {
    Target::new(endpoint, Some("org"), &Rewrite::default())
}

fn acknowledged(seqs: Range<u64>) -> Checkpoint {
    Checkpoint::Session { session: SESSION, seqs, outcome: Outcome::Acknowledged }
}

fn dead(seqs: Range<u64>) -> Checkpoint {
    Checkpoint::Session { session: SESSION, seqs, outcome: Outcome::DeadLettered }
}

fn mark(end: u64, hash: u8) -> Checkpoint {
    let mark = PbfsMark { end, hash: [hash; 32], messages: end / 10, dead_lettered: 1 };
    Checkpoint::Pbfs { id: PbfsId([7; 32]), mark }
}

fn disk() -> Arc<dyn Storage> {
    Arc::new(Disk)
}

/// A place with backups, and a home.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        std::fs::create_dir(place.backups()).unwrap();
        place
    }

    fn root(&self) -> PathBuf {
        self.0.path().canonicalize().unwrap()
    }

    fn backups(&self) -> PathBuf {
        self.root().join("backups")
    }

    fn user(&self) -> PathBuf {
        self.root().join("home")
    }

    fn dirs(&self, paths: &[&Path]) -> StateDirs {
        let paths: Vec<_> = paths.iter().map(|path| path.to_path_buf()).collect();
        StateDirs::resolve_in(&paths, None, Some(&self.user()))
    }

    fn open(&self, path: &Path) -> Result<Checkpoints, StateError> {
        Checkpoints::open(disk(), self.dirs(&[path]))
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn save(checkpoints: &Checkpoints, target: &Target, facts: Vec<Checkpoint>) {
    block_on(checkpoints.save(target, facts)).unwrap();
}

fn ranges(set: &crate::catalog::SeqSet) -> Vec<Range<u64>> {
    set.ranges().collect()
}

#[test]
fn what_was_saved_is_known_to_the_next_process() {
    let place = Place::new();
    let (here, there) = (target("https://a:443"), target("https://b:443"));
    {
        let checkpoints = place.open(&place.backups()).unwrap();
        assert_eq!(checkpoints.primary(), Some(&*place.backups().join(".sift-replay")));
        save(&checkpoints, &here, vec![acknowledged(10..20), dead(5..6)]);
        save(&checkpoints, &here, vec![acknowledged(0..5), acknowledged(20..30), mark(100, 1), mark(50, 2)]);
        save(&checkpoints, &there, vec![acknowledged(1..2)]);
    }
    for _ in 0..3 {
        let checkpoints = place.open(&place.backups()).unwrap();
        let done = checkpoints.done(&here, SESSION);
        assert_eq!(ranges(&done.acknowledged), [0..5, 10..30]);
        assert_eq!(ranges(&done.dead_lettered), [5..6]);
        assert_eq!(ranges(&done.all()), [0..6, 10..30]);
        let ends: Vec<_> = checkpoints.pbfs_marks(&here, PbfsId([7; 32])).iter().map(|mark| mark.end).collect();
        assert_eq!(ends, [50, 100]);
        assert_eq!(checkpoints.done(&there, SESSION).all().len(), 1);
        assert_eq!(checkpoints.done(&target("https://c:443"), SESSION), Done::default());
    }
}
