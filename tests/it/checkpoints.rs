//! Checkpoints under everything that may happen to them: failing and dying disks, power cuts, SIGKILL, and people.

mod cli;
mod vectors;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use futures_util::FutureExt;
use sift_replay::replay::{Checkpoint, Checkpoints, Outcome, PbfsId, PbfsMark, Rewrite, StateDirs, StateError, Target};
use sift_replay::segment::{Disk, Storage};
use uuid::Uuid;

use crate::support::destination::block_on;
use crate::support::storage::{Fault, FaultyStorage, Op};

const SESSION: Uuid = Uuid::from_u128(0x0193_5f6e_0000_7000_8000_0000_0000_0001);

pub(crate) fn target() -> Target {
    Target::new("https://sift.example:443", Some("org"), &Rewrite::default())
}

/// The fact of this number: a range of its own, sometimes dead letters, sometimes a mark.
pub(crate) fn fact(number: u64) -> Checkpoint {
    let outcome = if number.is_multiple_of(3) { Outcome::DeadLettered } else { Outcome::Acknowledged };
    let mark = PbfsMark { end: number, hash: [number as u8; 32], messages: number, dead_lettered: 0 };
    match number % 4 {
        0 => Checkpoint::Pbfs { id: PbfsId([7; 32]), mark },
        _ => Checkpoint::Session { session: SESSION, seqs: number * 10..number * 10 + 5, outcome },
    }
}

/// The numbers of the facts that are known, each wholly; anything else that is known fails the test.
pub(crate) fn known(checkpoints: &Checkpoints) -> BTreeSet<u64> {
    let done = checkpoints.done(&target(), SESSION);
    let mut known = BTreeSet::new();
    for (set, outcome) in [(done.acknowledged, Outcome::Acknowledged), (done.dead_lettered, Outcome::DeadLettered)] {
        for range in set.ranges() {
            let number = range.start / 10;
            assert_eq!(fact(number), Checkpoint::Session { session: SESSION, seqs: range, outcome });
            known.insert(number);
        }
    }
    for mark in checkpoints.pbfs_marks(&target(), PbfsId([7; 32])) {
        assert_eq!(fact(mark.end), Checkpoint::Pbfs { id: PbfsId([7; 32]), mark });
        known.insert(mark.end);
    }
    assert!(checkpoints.list().iter().all(|known| known.target == target()));
    known
}

pub(crate) fn save(checkpoints: &Checkpoints, numbers: impl IntoIterator<Item = u64>) -> Result<(), StateError> {
    block_on(checkpoints.save(&target(), numbers.into_iter().map(fact).collect()))
}

pub(crate) fn only(dir: &Path) -> StateDirs {
    StateDirs::resolve_in(&[], Some(dir), None)
}

fn real_disk() -> Arc<dyn Storage> {
    Arc::new(Disk)
}

/// What stands in one directory of a simulated disk, written to a real one and read from there.
fn read_back(files: &std::collections::BTreeMap<PathBuf, Vec<u8>>, state: &Path) -> BTreeSet<u64> {
    let dir = tempfile::tempdir().unwrap();
    let journals = dir.path().join("checkpoints");
    std::fs::create_dir(&journals).unwrap();
    for (path, bytes) in files.iter().filter(|(path, _)| path.parent() == Some(&state.join("checkpoints"))) {
        std::fs::write(journals.join(path.file_name().unwrap()), bytes).unwrap();
    }
    known(&Checkpoints::look(&real_disk(), &only(dir.path())))
}

/// Two directories with backups, and the simulated disk on which their state is.
struct Rig {
    dir: tempfile::TempDir,
    storage: FaultyStorage,
}

impl Rig {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        ["a", "b"].iter().for_each(|name| std::fs::create_dir(dir.path().join(name)).unwrap());
        Self { dir, storage: FaultyStorage::new() }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().canonicalize().unwrap()
    }

    fn primaries(&self) -> [PathBuf; 2] {
        ["a", "b"].map(|name| self.root().join(name).join(".sift-replay"))
    }

    fn shared(&self) -> PathBuf {
        self.root().join("user/sift-replay/shared")
    }

    fn open(&self) -> Result<Checkpoints, StateError> {
        let user = self.root().join("user");
        let paths = ["a", "b"].map(|name| self.root().join(name));
        Checkpoints::open(Arc::new(self.storage.clone()), StateDirs::resolve_in(&paths, None, Some(&user)))
    }

    /// Three processes, one after the other, each of which saves a few times; returns what was promised and what was
    /// tried.
    fn work(&self) -> (BTreeSet<u64>, BTreeSet<u64>) {
        let (mut promised, mut tried) = (BTreeSet::new(), BTreeSet::new());
        for life in 0..3 {
            let Ok(checkpoints) = self.open() else { continue };
            let known_before = known(&checkpoints);
            assert!(known_before.is_superset(&promised), "promised {promised:?}, known {known_before:?}");
            for call in 0..3 {
                let numbers = [life * 10 + call * 2, life * 10 + call * 2 + 1];
                tried.extend(numbers);
                if save(&checkpoints, numbers).is_ok() {
                    promised.extend(numbers);
                }
                assert!(known(&checkpoints).is_superset(&promised));
            }
        }
        (promised, tried)
    }

    /// Whatever of the two primaries' disk is left holds all that was promised there, and nothing that wasn't tried.
    fn check(&self, promised: &BTreeSet<u64>, tried: &BTreeSet<u64>, what: &str) {
        let primaries = self.used_primaries();
        for (at, state) in primaries.iter().enumerate() {
            let mut left = vec![self.storage.disk().durable()];
            left.extend((0..6).map(|seed| self.storage.disk().after_power_cut(seed * 31 + at as u64)));
            for files in left {
                let found = read_back(&files, state);
                assert!(found.is_superset(promised), "{what}: {promised:?} promised, {found:?} in {}", state.display());
                assert!(found.is_subset(tried), "{what}: {tried:?} tried, {found:?} in {}", state.display());
            }
        }
        assert_eq!(self.storage.violations(), Vec::<String>::new(), "{what}");
    }

    fn used_primaries(&self) -> Vec<PathBuf> {
        self.primaries().to_vec()
    }
}

#[test]
fn nothing_that_was_saved_is_lost_when_the_disk_dies_at_any_operation() {
    let sound = Rig::new();
    let (promised, tried) = sound.work();
    assert_eq!((promised.len(), &promised), (18, &tried));
    sound.check(&promised, &tried, "no fault");
    assert_eq!(read_back(&sound.storage.disk().durable(), &sound.shared()), tried);
    let operations = sound.storage.log().len();
    assert!(operations > 100, "{operations}");
    for number in 0..operations {
        let rig = Rig::new();
        rig.storage.die_at(number);
        let (promised, tried) = rig.work();
        rig.check(&promised, &tried, &format!("dead from operation {number}"));
    }
}

/// A single fault costs nothing at all that was asked for, unless it makes a place be kept elsewhere.
#[test]
fn nothing_that_was_saved_is_lost_when_any_operation_fails() {
    let sound = Rig::new();
    sound.work();
    let operations = sound.storage.log().len();
    for fault in [Fault::Refused, Fault::Half] {
        for number in 0..operations {
            let rig = Rig::new();
            rig.storage.fail_at(number, fault);
            let (promised, tried) = rig.work();
            assert_eq!(promised, tried, "{fault:?} at operation {number}");
            // All places together, since the fault may have made one stand in for another.
            let disk = rig.storage.disk().durable();
            let states: BTreeSet<_> = disk.keys().filter_map(|path| path.parent()?.parent()).collect();
            let found: BTreeSet<_> = states.into_iter().flat_map(|state| read_back(&disk, state)).collect();
            assert_eq!(found, tried, "{fault:?} at operation {number}");
            assert_eq!(rig.storage.violations(), Vec::<String>::new());
        }
    }
}

#[test]
fn a_journal_that_fails_is_replaced_once_and_then_saving_stays_failed() {
    let dir = tempfile::tempdir().unwrap();
    let storage = FaultyStorage::new();
    let checkpoints = Checkpoints::open(Arc::new(storage.clone()), only(dir.path())).unwrap();
    save(&checkpoints, [1]).unwrap();
    // The sync fails; a new file is begun.
    storage.fail_at(storage.log().len() + 1, Fault::Half);
    save(&checkpoints, [2]).unwrap();
    assert_eq!(storage.count(Op::Create), 3, "the lock, the first journal and the second");
    // The append fails, and so does the new file.
    let at = storage.log().len();
    storage.fail_at(at, Fault::Half);
    storage.fail_at(at + 1, Fault::Refused);
    let error = save(&checkpoints, [3]).unwrap_err().to_string();
    assert!(error.contains("can't create") && error.contains(".sfj.new"), "{error}");
    let operations = storage.log().len();
    assert_eq!(save(&checkpoints, [5]).unwrap_err().to_string(), error);
    assert_eq!(storage.log().len(), operations, "nothing is tried any more");
    assert_eq!(known(&checkpoints), [1, 2].into());
    assert_eq!(storage.violations(), Vec::<String>::new());
    drop(checkpoints);
    assert!(read_back(&storage.disk().durable(), &dir.path().canonicalize().unwrap()).is_superset(&[1, 2].into()));
}

#[test]
fn what_all_share_may_fail_without_failing_the_replay() {
    for operation in ["open", "save"] {
        let rig = Rig::new();
        if operation == "open" {
            std::fs::write(rig.root().join("user"), "a file is in the way").unwrap();
        }
        let user = rig.root().join("user");
        let dirs = StateDirs::resolve_in(&[rig.root().join("a")], None, Some(&user));
        let checkpoints = Checkpoints::open(real_disk(), dirs).unwrap();
        if operation == "save" {
            std::fs::remove_dir_all(&user).unwrap();
        }
        save(&checkpoints, [1, 2, 3]).unwrap();
        drop(checkpoints);
        let alone = Checkpoints::look(&real_disk(), &only(&rig.root().join("a/.sift-replay")));
        assert_eq!(known(&alone), [1, 2, 3].into());
    }
}

#[test]
fn saves_at_the_same_time_share_a_write_and_are_known_only_when_durable() {
    let dir = tempfile::tempdir().unwrap();
    let storage = FaultyStorage::new();
    let checkpoints = Checkpoints::open(Arc::new(storage.clone()), only(dir.path())).unwrap();
    let (appends, syncs) = (storage.count(Op::Append), storage.count(Op::Sync));
    let target = target();
    block_on(async {
        storage.hold(Op::Sync);
        let mut first = Box::pin(checkpoints.save(&target, vec![fact(1)]));
        assert!((&mut first).now_or_never().is_none());
        storage.wait_held();
        let mut others: Vec<_> = (2..60).map(|n| Box::pin(checkpoints.save(&target, vec![fact(n)]))).collect();
        for other in &mut others {
            assert!(other.now_or_never().is_none());
        }
        assert_eq!(known(&checkpoints), BTreeSet::new(), "not durable, and known");
        // Whoever doesn't wait any more has his wish all the same.
        drop(others.split_off(30));
        storage.release();
        first.await.unwrap();
        for other in others {
            other.await.unwrap();
        }
    });
    drop(checkpoints);
    assert_eq!((storage.count(Op::Append) - appends, storage.count(Op::Sync) - syncs), (2, 2));
    let found = read_back(&storage.disk().durable(), &dir.path().canonicalize().unwrap());
    assert_eq!(found, (1..60).collect());
}

#[test]
fn a_crash_while_forgetting_loses_nothing_else() {
    let count = {
        let rig = Rig::new();
        forget_one(&rig, None);
        rig.storage.log().len()
    };
    for number in 0..count {
        let rig = Rig::new();
        forget_one(&rig, Some(number));
        for state in rig.primaries() {
            for seed in 0..4 {
                let found = read_back(&rig.storage.disk().after_power_cut(seed), &state);
                let marks: BTreeSet<u64> = [4, 8].into();
                assert!(found.is_superset(&marks), "dead from operation {number} of forgetting: {found:?}");
            }
        }
    }
}

/// Saves a few facts, then forgets the session's; the disk dies at this operation of forgetting.
fn forget_one(rig: &Rig, die_at: Option<usize>) {
    use sift_replay::replay::Forget;
    let checkpoints = rig.open().unwrap();
    save(&checkpoints, 1..10).unwrap();
    let before = rig.storage.log().len();
    if let Some(number) = die_at {
        rig.storage.die_at(before + number);
    }
    checkpoints.reset(&Forget { session: Some(SESSION), endpoint: None }).unwrap();
    assert_eq!(known(&checkpoints), [4, 8].into());
}

const ROOT: &str = "SIFT_REPLAY_TEST_CHECKPOINTS_ROOT";

#[test]
#[ignore = "a child of `kill_9_costs_no_checkpoint_and_frees_the_lock`"]
fn child_that_saves_for_ever() {
    let root = PathBuf::from(std::env::var(ROOT).unwrap());
    let dirs = StateDirs::resolve_in(&[root.join("backups")], None, Some(&root.join("user")));
    let checkpoints = Checkpoints::open(real_disk(), dirs).unwrap();
    let next = known(&checkpoints).last().map_or(0, |last| last + 1);
    for number in next.. {
        save(&checkpoints, [number]).unwrap();
        let mut out = std::io::stdout().lock();
        out.write_all(format!("\nsaved {number}\n").as_bytes()).unwrap();
        out.flush().unwrap();
    }
}

#[test]
fn kill_9_costs_no_checkpoint_and_frees_the_lock() {
    let root = tempfile::tempdir().unwrap();
    let backups = root.path().join("backups");
    std::fs::create_dir(&backups).unwrap();
    let dirs = || StateDirs::resolve_in(std::slice::from_ref(&backups), None, Some(&root.path().join("user")));
    let mut saved = 0;
    for round in 0..12u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--ignored", "--nocapture", "checkpoints::child_that_saves_for_ever"])
            .env(ROOT, root.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let wanted = 1 + (round * 7919 + 13) % 41;
        let mut told = 0;
        for line in lines {
            let Ok(line) = line else { break };
            // The last line may be cut off in the middle; then it tells less.
            let Some(number) = line.strip_prefix("saved ").and_then(|number| number.parse::<u64>().ok()) else {
                continue;
            };
            saved = saved.max(number);
            told += 1;
            if told == 1 {
                let locked = Checkpoints::open(real_disk(), dirs()).unwrap_err();
                assert!(matches!(locked, StateError::Locked { pid: Some(pid), .. } if pid == child.id()), "{locked}");
            }
            if told == wanted {
                child.kill().unwrap();
            }
        }
        assert!(!child.wait().unwrap().success());
        assert!(told >= wanted, "the child ended by itself");
        let known = known(&Checkpoints::open(real_disk(), dirs()).unwrap());
        let expected: Range<u64> = 0..saved + 1;
        assert!(known.is_superset(&expected.collect()), "{saved} was saved, {known:?} is known");
    }
    // One compact journal, and the lock.
    assert_eq!(std::fs::read_dir(backups.join(".sift-replay/checkpoints")).unwrap().count(), 1);
}
