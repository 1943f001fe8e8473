//! What else is in a state directory, and what others do there meanwhile.

use std::fs;
use std::io::{self, ErrorKind};
use std::sync::Mutex;
use std::sync::mpsc::{channel, sync_channel};

use tokio::sync::oneshot;

use super::*;
use crate::replay::checkpoint::compact::remove;
use crate::replay::checkpoint::facts::{Facts, present_in};
use crate::replay::checkpoint::writer::{Order, Save, Writer};
use crate::replay::scope::Scope;
use crate::segment::{FileLock, LockKind, StorageFile};

/// What somebody does to files.
type Meddling = Box<dyn FnOnce() + Send>;

/// A disk where somebody meddles with the journals right after they were first listed, where locks fail, and where a file
/// can't be read.
#[derive(Default)]
struct Odd {
    meddling: Mutex<Option<Meddling>>,
    locks: Option<ErrorKind>,
    unreadable: Option<PathBuf>,
}

impl Storage for Odd {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        Disk.create_dir_all(dir)
    }
    fn create(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        Disk.create(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Disk.rename(from, to)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        Disk.sync_dir(dir)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let files = Disk.list(dir)?;
        let meddling = if files.is_empty() { None } else { self.meddling.lock().unwrap().take() };
        meddling.into_iter().for_each(|meddle| meddle());
        Ok(files)
    }
    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        match &self.unreadable {
            Some(unreadable) if unreadable == path => Err(io::Error::other("a bad sector")),
            _ => Disk.read(path, limit),
        }
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        Disk.remove(path)
    }
    fn lock(&self, path: &Path, kind: LockKind) -> io::Result<Option<FileLock>> {
        let in_home = path.components().any(|part| part.as_os_str() == "home");
        self.locks.filter(|_| !in_home).map_or_else(|| Disk.lock(path, kind), |kind| Err(kind.into()))
    }
}

fn journals(dir: &Path) -> Vec<PathBuf> {
    Disk.list(&dir.join(".sift-replay/checkpoints")).unwrap()
}

/// [F-39]
#[test]
fn what_is_no_journal_is_left_alone_and_what_was_never_finished_is_unknown_and_removed() {
    let place = Place::new();
    let here = target("https://a:443");
    save(&place.open(&place.backups()).unwrap(), &here, vec![acknowledged(0..5)]);
    let journal = journals(&place.backups()).remove(0);
    let other = Place::new();
    save(&other.open(&other.backups()).unwrap(), &here, vec![acknowledged(50..60)]);
    let begun = journal.with_file_name("01935f6e-1b2c-7000-8123-456789abcdef.sfj.new");
    fs::copy(journals(&other.backups()).remove(0), &begun).unwrap();
    let theirs = ["notes.txt", "empty", "journal.sfj.bak"].map(|name| journal.with_file_name(name));
    theirs.iter().for_each(|path| fs::write(path, path.to_str().unwrap()).unwrap());
    let checkpoints = place.open(&place.backups()).unwrap();
    assert_eq!(ranges(&checkpoints.done(&here, SESSION).acknowledged), [0..5]);
    assert!(!begun.exists());
    theirs.iter().for_each(|path| assert_eq!(fs::read_to_string(path).unwrap(), path.to_str().unwrap()));
    assert!(checkpoints.reset(&Forget::default()).unwrap().kept.is_empty());
    assert!(theirs.iter().all(|path| path.exists()));
}

/// [F-39]: somebody else makes one journal of many, and what was listed is gone when it is to be read.
#[test]
fn a_journal_that_is_replaced_while_it_is_looked_for_costs_nothing() {
    for look in [true, false] {
        let (place, other) = (Place::new(), Place::new());
        let here = target("https://a:443");
        for place in [&place, &other] {
            save(&place.open(&place.backups()).unwrap(), &here, vec![acknowledged(0..5)]);
        }
        // Known here alone.
        fs::remove_dir_all(place.user()).unwrap();
        let (old, new) = (journals(&place.backups()).remove(0), journals(&other.backups()).remove(0));
        let meddle = move || {
            fs::copy(&new, old.with_file_name(new.file_name().unwrap())).unwrap();
            fs::remove_file(old).unwrap();
        };
        let storage = Arc::new(Odd { meddling: Mutex::new(Some(Box::new(meddle))), ..Odd::default() });
        let dirs = place.dirs(&[&place.backups()]);
        let checkpoints = match look {
            true => Checkpoints::look(&(storage.clone() as Arc<dyn Storage>), &dirs),
            false => Checkpoints::open(storage.clone(), dirs).unwrap(),
        };
        assert!(storage.meddling.lock().unwrap().is_none());
        assert_eq!(ranges(&checkpoints.done(&here, SESSION).acknowledged), [0..5], "look: {look}");
    }
}

/// What it says is sent again, so that nothing is lost; and it stays, for it may be read elsewhere.
#[test]
fn a_journal_that_can_not_be_read_stops_nothing_and_stays() {
    let (place, other) = (Place::new(), Place::new());
    let here = target("https://a:443");
    for (place, seqs) in [(&place, 0..5), (&other, 50..60)] {
        save(&place.open(&place.backups()).unwrap(), &here, vec![acknowledged(seqs)]);
    }
    let theirs = journals(&other.backups()).remove(0);
    let unreadable = journals(&place.backups()).remove(0).with_file_name(theirs.file_name().unwrap());
    fs::copy(theirs, &unreadable).unwrap();
    // Known here alone.
    fs::remove_dir_all(place.user()).unwrap();
    let storage = Arc::new(Odd { unreadable: Some(unreadable.clone()), ..Odd::default() });
    let checkpoints = Checkpoints::open(storage, place.dirs(&[&place.backups()])).unwrap();
    assert_eq!(ranges(&checkpoints.done(&here, SESSION).acknowledged), [0..5]);
    assert!(unreadable.exists());
    drop(checkpoints);
    let checkpoints = place.open(&place.backups()).unwrap();
    assert_eq!(ranges(&checkpoints.done(&here, SESSION).acknowledged), [0..5, 50..60]);
}

#[test]
fn what_is_gone_needs_no_removing_and_what_can_not_be_removed_is_named() {
    let place = Place::new();
    save(&place.open(&place.backups()).unwrap(), &target("https://a:443"), vec![acknowledged(0..5)]);
    let journal = journals(&place.backups()).remove(0);
    let (gone, stuck) = (journal.with_file_name("gone.sfj"), journal.with_file_name("stuck.sfj"));
    fs::create_dir(&stuck).unwrap();
    let kept = remove(&disk(), &place.backups().join(".sift-replay"), vec![gone, stuck.clone(), journal.clone()]);
    assert_eq!(kept.into_iter().map(|(path, _)| path).collect::<Vec<_>>(), [stuck]);
    assert!(!journal.exists());
}

#[test]
fn a_place_without_locks_is_used_and_one_that_can_not_be_locked_is_not() {
    for (error, beside) in [(ErrorKind::Unsupported, true), (ErrorKind::PermissionDenied, false)] {
        let place = Place::new();
        let here = target("https://a:443");
        // The second time there are journals that can't be locked, either.
        for known in [0, 5] {
            let storage = Arc::new(Odd { locks: Some(error), ..Odd::default() });
            let checkpoints = Checkpoints::open(storage, place.dirs(&[&place.backups()])).unwrap();
            let primary = checkpoints.primary().unwrap();
            assert_eq!(primary.starts_with(place.backups()), beside, "{error}: {primary:?}");
            assert_eq!(checkpoints.done(&here, SESSION).all().len(), known);
            save(&checkpoints, &here, vec![acknowledged(0..5)]);
        }
    }
}

#[test]
fn directories_in_which_something_is_known_are_named_and_others_are_not() {
    let place = Place::new();
    let dirs = place.dirs(&[&place.backups()]);
    assert!(place.open(&place.backups()).unwrap().found().is_empty());
    assert!(Checkpoints::look(&disk(), &dirs).found().is_empty());
    save(&place.open(&place.backups()).unwrap(), &target("https://a:443"), vec![acknowledged(0..5)]);
    let known = [place.backups().join(".sift-replay"), place.user().join("sift-replay/shared")];
    assert_eq!(place.open(&place.backups()).unwrap().found(), known);
    assert_eq!(Checkpoints::look(&disk(), &dirs).found(), known);
}

#[test]
fn the_facts_of_each_file_and_target_are_its_own() {
    let place = Place::new();
    let (a, b) = (target("https://a:443"), target("https://b:443"));
    let of = |id: u8, end: u64| {
        let mark = PbfsMark { end, hash: [id; 32], messages: end, dead_lettered: 4 };
        Checkpoint::Pbfs { id: PbfsId([id; 32]), mark }
    };
    let since = |id: u8, messages| Checkpoint::PbfsDelivered { id: PbfsId([id; 32]), messages };
    {
        let checkpoints = place.open(&place.backups()).unwrap();
        save(&checkpoints, &a, vec![of(1, 10), of(2, 20), of(1, 30), since(2, 1..4), acknowledged(0..5)]);
        save(&checkpoints, &b, vec![of(2, 40), acknowledged(7..9)]);
    }
    let checkpoints = place.open(&place.backups()).unwrap();
    let at = |endpoint: &'static str| move |target: &Target| (target.endpoint() == endpoint).then_some(endpoint);
    let marks = |endpoint, id: u8| {
        let found = checkpoints.pbfs_marks_for(at(endpoint), PbfsId([id; 32]));
        let ends = |marks: &[PbfsMark]| marks.iter().map(|mark| mark.end).collect::<Vec<_>>();
        found.iter().map(|(at, marks, since)| (*at, ends(marks), since.len())).collect::<Vec<_>>()
    };
    assert_eq!(marks("https://a:443", 1), [("https://a:443", vec![10, 30], 0)]);
    assert_eq!(marks("https://a:443", 2), [("https://a:443", vec![20], 3)]);
    assert_eq!(marks("https://b:443", 2), [("https://b:443", vec![40], 0)]);
    assert_eq!(marks("https://b:443", 1), []);
    let done = checkpoints.done_for(|target| target.endpoint() == "https://b:443", SESSION);
    assert_eq!(ranges(&done.all()), [7..9]);
    let [left] = checkpoints.pbfs_marks(&a, PbfsId([2; 32]))[..] else { panic!() };
    assert_eq!(left.without(&checkpoints.pbfs_delivered(&a, PbfsId([2; 32]))).dead_lettered, 1);
}

#[test]
fn the_parts_of_a_range_that_are_there_are_told_without_empty_ones() {
    let mut set = crate::catalog::SeqSet::new();
    [2..4, 6..8].into_iter().for_each(|range| drop(set.insert(range)));
    for (range, present) in
        [(0..10, vec![2..4, 6..8]), (2..8, vec![2..4, 6..8]), (3..7, vec![3..4, 6..7]), (4..6, vec![]), (8..9, vec![])]
    {
        assert_eq!(present_in(&set, range.clone()), present, "{range:?}");
    }
}

#[test]
fn orders_are_followed_in_their_order_whatever_shares_a_write() {
    let facts = Arc::new(Mutex::new(Facts::default()));
    let writer = Writer {
        storage: disk(),
        facts: facts.clone(),
        primaries: Vec::new(),
        shared: None,
        others: Vec::new(),
        failed: None,
    };
    let (orders, receiver) = channel();
    let mut saved = Vec::new();
    let mut reset = Vec::new();
    let here = target("https://a:443");
    for fact in [acknowledged(0..5), acknowledged(7..9)] {
        let (reply, done) = oneshot::channel();
        saved.push(done);
        let save = Save { scope: Scope::here(), target: here.clone(), checkpoints: vec![fact], reply };
        orders.send(Order::Save(save)).unwrap();
        if reset.is_empty() {
            for _ in 0..2 {
                let (reply, done) = sync_channel(1);
                reset.push(done);
                orders.send(Order::Reset(Scope::here(), Forget::default(), reply)).unwrap();
            }
        }
    }
    drop(orders);
    writer.run(&receiver);
    saved.into_iter().for_each(|done| block_on(done).unwrap().unwrap());
    reset.into_iter().for_each(|done| assert_eq!(done.recv().unwrap(), Forgotten::default()));
    assert_eq!(ranges(&facts.lock().unwrap().done(&here, SESSION).all()), [7..9]);
}

#[test]
fn a_file_of_somebody_elses_that_is_locked_keeps_what_it_holds() {
    let place = Place::new();
    let lock = place.backups().join(".sift-replay/lock");
    fs::create_dir(lock.parent().unwrap()).unwrap();
    fs::write(&lock, "a diary").unwrap();
    let checkpoints = place.open(&place.backups()).unwrap();
    assert!(checkpoints.primary().unwrap().starts_with(place.backups()));
    drop(checkpoints);
    assert_eq!(fs::read_to_string(&lock).unwrap(), "a diary");
}
