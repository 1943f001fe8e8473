#![allow(clippy::single_range_in_vec_init, reason = "one range is meant")]

mod dirs;
mod journal;
mod locks;
mod surroundings;

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

fn delivered(messages: Range<u64>) -> Checkpoint {
    Checkpoint::PbfsDelivered { id: PbfsId([7; 32]), messages }
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

#[test]
fn dead_letters_of_a_pbfs_file_that_were_delivered_since_are_known_to_the_next_process() {
    let place = Place::new();
    let here = target("https://a:443");
    // They may be known before the marks that count them are.
    for facts in [vec![delivered(3..4), mark(100, 1)], vec![mark(30, 2), delivered(4..4), delivered(30..40)]] {
        save(&place.open(&place.backups()).unwrap(), &here, facts);
    }
    for _ in 0..2 {
        let checkpoints = place.open(&place.backups()).unwrap();
        assert_eq!(ranges(&checkpoints.pbfs_delivered(&here, PbfsId([7; 32]))), [3..4, 30..40]);
        assert!(checkpoints.pbfs_delivered(&target("https://b:443"), PbfsId([7; 32])).is_empty());
        // The first mark has 3 messages, the second 10.
        let counts = |marks: &[PbfsMark]| marks.iter().map(|mark| mark.dead_lettered).collect::<Vec<_>>();
        assert_eq!(counts(&checkpoints.pbfs_marks(&here, PbfsId([7; 32]))), [1, 1], "as they were made");
        assert_eq!(counts(&checkpoints.list()[0].pbfs[0].1), [1, 0]);
    }
}

#[test]
fn a_session_is_known_at_every_target_of_an_endpoint() {
    let checkpoints = Checkpoints::in_memory();
    let plain = target("https://a:443");
    let renamed = Target::new("https://a:443", None, &Rewrite { asset: Some("x".to_owned()), ..Rewrite::default() });
    save(&checkpoints, &plain, vec![acknowledged(0..5)]);
    save(&checkpoints, &renamed, vec![dead(3..8)]);
    save(&checkpoints, &target("https://b:443"), vec![acknowledged(100..200)]);
    assert_eq!(ranges(&checkpoints.known("https://a:443", SESSION).all()), [0..8]);
    assert_eq!(ranges(&checkpoints.done(&plain, SESSION).all()), [0..5]);
    assert_eq!((checkpoints.primary(), checkpoints.found().len()), (None, 0));
}

#[test]
fn an_empty_range_is_no_fact_and_a_target_that_fits_into_no_frame_is_refused() {
    let place = Place::new();
    let checkpoints = place.open(&place.backups()).unwrap();
    save(&checkpoints, &target("https://a:443"), vec![acknowledged(5..5)]);
    assert!(checkpoints.list().is_empty());
    let long = Target::from_text(&format!("https://a:443 asset={}", "x".repeat(200 << 10)));
    let refused = block_on(checkpoints.save(&long, vec![acknowledged(0..1)])).unwrap_err();
    assert!(matches!(refused, StateError::Encode(_)), "{refused}");
    save(&checkpoints, &target("https://a:443"), vec![acknowledged(0..1)]);
}

#[test]
fn what_is_forgotten_is_forgotten_everywhere_and_nothing_else_is() {
    let place = Place::new();
    let inner = place.backups().join("flight 7");
    std::fs::create_dir(&inner).unwrap();
    let (a, b) = (target("https://a:443"), target("https://b:443"));
    let other = Checkpoint::Session { session: Uuid::from_u128(9), seqs: 0..3, outcome: Outcome::Acknowledged };
    // Known within, around, here, and in what all share.
    for dir in [&inner, &place.root(), &place.backups()] {
        save(&place.open(dir).unwrap(), &a, vec![acknowledged(0..5), other.clone(), mark(10, 1)]);
        save(&place.open(dir).unwrap(), &b, vec![acknowledged(0..7), dead(8..9)]);
    }
    let forget = |what: &Forget| {
        let checkpoints = place.open(&place.backups()).unwrap();
        let forgotten = checkpoints.reset(what).unwrap();
        assert_eq!((forgotten.cleared.len(), &forgotten.kept), (4, &Vec::new()), "{forgotten:?}");
        checkpoints.list()
    };
    let there = forget(&Forget { session: Some(SESSION), endpoint: Some("https://a:443".to_owned()) });
    let look = || Checkpoints::look(&disk(), &place.dirs(&[&place.backups()])).list();
    assert_eq!(there, look());
    assert_eq!(there.len(), 2);
    assert_eq!((there[0].sessions.len(), there[0].pbfs.len()), (1, 1));
    assert_eq!(there[0].sessions[0].0, Uuid::from_u128(9));
    let there = forget(&Forget { session: None, endpoint: Some("https://a:443".to_owned()) });
    assert_eq!(there, look());
    assert_eq!(there.iter().map(|known| known.target.endpoint()).collect::<Vec<_>>(), ["https://b:443"]);
    assert!(forget(&Forget::default()).is_empty());
    assert!(look().is_empty());
}

#[test]
fn a_journal_that_grew_is_made_compact_while_it_is_in_use() {
    let place = Place::new();
    let checkpoints = place.open(&place.backups()).unwrap();
    let long = Target::from_text(&format!("https://a:443 asset={}", "x".repeat(100 << 10)));
    let size = || -> u64 {
        let journals = std::fs::read_dir(place.backups().join(".sift-replay/checkpoints")).unwrap();
        journals.map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
    };
    let mut greatest = 0;
    for seq in 0..200 {
        save(&checkpoints, &long, vec![acknowledged(seq..seq + 1)]);
        greatest = greatest.max(size());
    }
    assert!(greatest > 8 << 20 && greatest < 9 << 20, "{greatest}");
    drop(checkpoints);
    assert_eq!(ranges(&place.open(&place.backups()).unwrap().done(&long, SESSION).acknowledged), [0..200]);
}
