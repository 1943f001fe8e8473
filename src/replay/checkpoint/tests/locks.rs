//! Who excludes whom.

use super::*;
use crate::segment::{FileLock, LockKind, StorageFile};

#[track_caller]
fn locked(result: Result<Checkpoints, StateError>) -> (PathBuf, Option<u32>) {
    match result {
        Err(StateError::Locked { dir, pid }) => (dir, pid),
        other => panic!("not locked: {other:?}"),
    }
}

#[test]
fn two_at_work_on_the_same_backups_exclude_each_other() {
    let place = Place::new();
    let first = place.open(&place.backups()).unwrap();
    let error = place.open(&place.backups()).unwrap_err();
    let text = error.to_string();
    let dir = place.backups().join(".sift-replay");
    for part in ["another sift-replay", &format!("process {}", std::process::id()), dir.to_str().unwrap()] {
        assert!(text.contains(part), "{text:?} doesn't say {part:?}");
    }
    // Looking is always possible.
    save(&first, &target("https://a:443"), vec![acknowledged(0..5)]);
    assert_eq!(Checkpoints::look(&disk(), &place.dirs(&[&place.backups()])).list().len(), 1);
    drop(first);
    place.open(&place.backups()).unwrap();
}

#[test]
fn overlapping_places_exclude_each_other_and_siblings_do_not() {
    let place = Place::new();
    let [left, right] = ["left", "right"].map(|name| place.backups().join(name));
    let deep = left.join("deep/er");
    [&left, &right, &deep].iter().for_each(|dir| std::fs::create_dir_all(dir).unwrap());
    let file = right.join("a.sfr");
    std::fs::write(&file, "").unwrap();
    let own = |dir: &Path| dir.join(".sift-replay");
    {
        let _around = place.open(&place.backups()).unwrap();
        assert_eq!(locked(place.open(&left)).0, own(&place.backups()));
        assert_eq!(locked(place.open(&deep)).0, own(&place.backups()));
        assert_eq!(locked(place.open(&file)).0, own(&place.backups()));
    }
    let siblings = [place.open(&left).unwrap(), place.open(&file).unwrap()];
    // They share what is around them, and neither is the one that is to be named.
    assert_eq!(locked(place.open(&place.backups())), (own(&place.backups()), None));
    std::fs::remove_dir_all(own(&place.backups())).unwrap();
    assert_eq!(locked(place.open(&place.backups())), (own(&left), Some(std::process::id())));
    assert_eq!(locked(place.open(&right)).0, own(&right));
    drop(siblings);
    // One process may replay a place and what is in it.
    let both = Checkpoints::open(disk(), place.dirs(&[&left, &place.backups(), &deep, &left])).unwrap();
    assert_eq!(both.primary(), Some(&*own(&left)));
}

/// A disk whose `backups` can't be written.
struct ReadOnly;

impl ReadOnly {
    fn refuse(path: &Path) -> std::io::Result<()> {
        let below = path.components().any(|part| part.as_os_str() == "backups");
        let standing_in = path.components().any(|part| part.as_os_str() == "home");
        if below && !standing_in { Err(std::io::ErrorKind::ReadOnlyFilesystem.into()) } else { Ok(()) }
    }
}

impl Storage for ReadOnly {
    fn create_dir_all(&self, dir: &Path) -> std::io::Result<()> {
        if dir.is_dir() { Ok(()) } else { Self::refuse(dir).and_then(|()| Disk.create_dir_all(dir)) }
    }
    fn create(&self, path: &Path) -> std::io::Result<Box<dyn StorageFile>> {
        Self::refuse(path).and_then(|()| Disk.create(path))
    }
    fn rename(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        Self::refuse(to).and_then(|()| Disk.rename(from, to))
    }
    fn sync_dir(&self, dir: &Path) -> std::io::Result<()> {
        Disk.sync_dir(dir)
    }
    fn list(&self, dir: &Path) -> std::io::Result<Vec<PathBuf>> {
        Disk.list(dir)
    }
    fn read(&self, path: &Path, limit: u64) -> std::io::Result<Vec<u8>> {
        Disk.read(path, limit)
    }
    fn remove(&self, path: &Path) -> std::io::Result<()> {
        Self::refuse(path).and_then(|()| Disk.remove(path))
    }
    fn lock(&self, path: &Path, kind: LockKind) -> std::io::Result<Option<FileLock>> {
        Disk.lock(path, kind)
    }
}

fn open_read_only(place: &Place, path: &Path) -> Result<Checkpoints, StateError> {
    Checkpoints::open(Arc::new(ReadOnly), place.dirs(&[path]))
}

#[test]
fn what_cannot_be_written_is_read_and_the_users_directory_stands_in() {
    let place = Place::new();
    let a = target("https://a:443");
    save(&place.open(&place.backups()).unwrap(), &a, vec![acknowledged(0..5)]);
    std::fs::remove_dir_all(place.user()).unwrap();
    let own: Vec<_> = std::fs::read_dir(place.backups().join(".sift-replay/checkpoints")).unwrap().collect();
    {
        let checkpoints = open_read_only(&place, &place.backups()).unwrap();
        assert!(checkpoints.primary().unwrap().starts_with(place.user()), "{:?}", checkpoints.primary());
        assert_eq!(ranges(&checkpoints.done(&a, SESSION).all()), [0..5]);
        save(&checkpoints, &a, vec![acknowledged(8..9)]);
        let forgotten = checkpoints.reset(&Forget::default()).unwrap();
        let kept: Vec<_> = forgotten.kept.iter().map(|(path, _)| path.clone()).collect();
        assert_eq!(kept, [place.backups().join(".sift-replay")]);
        save(&checkpoints, &a, vec![acknowledged(8..9)]);
    }
    assert_eq!(own.len(), 1);
    // When it can be written again, what stood in for it is still known.
    std::fs::remove_dir_all(place.user().join("sift-replay/shared")).unwrap();
    let checkpoints = place.open(&place.backups()).unwrap();
    assert_eq!(ranges(&checkpoints.done(&a, SESSION).all()), [0..5, 8..9]);
}

#[test]
fn places_that_cannot_be_written_exclude_each_other_all_the_same() {
    let place = Place::new();
    let (inner, sibling) = (place.backups().join("a"), place.backups().join("b"));
    [&inner, &sibling].iter().for_each(|dir| std::fs::create_dir(dir).unwrap());
    {
        let _first = open_read_only(&place, &inner).unwrap();
        locked(open_read_only(&place, &inner));
        locked(open_read_only(&place, &place.backups()));
        open_read_only(&place, &sibling).unwrap();
    }
    let _first = open_read_only(&place, &place.backups()).unwrap();
    locked(open_read_only(&place, &inner));
}

#[test]
fn without_any_place_to_write_it_says_so() {
    let place = Place::new();
    let dirs = StateDirs::resolve_in(&[place.backups()], None, None);
    let error = Checkpoints::open(Arc::new(ReadOnly), dirs).unwrap_err();
    let text = error.to_string();
    for part in ["--state-dir", "read-only", place.backups().to_str().unwrap()] {
        assert!(text.contains(part), "{text:?} doesn't say {part:?}");
    }
}

#[test]
fn a_backup_that_comes_back_elsewhere_without_its_state_is_known() {
    let place = Place::new();
    let a = target("https://a:443");
    save(&place.open(&place.backups()).unwrap(), &a, vec![acknowledged(0..5)]);
    std::fs::remove_dir_all(place.backups()).unwrap();
    let elsewhere = place.root().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    assert_eq!(place.open(&elsewhere).unwrap().done(&a, SESSION).all().len(), 5);
}

#[test]
fn a_journal_in_use_is_left_alone_in_what_all_share() {
    let place = Place::new();
    let (inner, sibling) = (place.backups().join("a"), place.backups().join("b"));
    [&inner, &sibling].iter().for_each(|dir| std::fs::create_dir(dir).unwrap());
    let a = target("https://a:443");
    let journals = || std::fs::read_dir(place.user().join("sift-replay/shared/checkpoints")).unwrap().count();
    let first = place.open(&inner).unwrap();
    save(&first, &a, vec![acknowledged(0..1)]);
    let second = place.open(&sibling).unwrap();
    save(&second, &a, vec![acknowledged(5..6)]);
    save(&first, &a, vec![acknowledged(9..10)]);
    assert_eq!(journals(), 2);
    let forgotten = second.reset(&Forget::default()).unwrap();
    assert!(forgotten.kept.iter().any(|(_, why)| why.contains("another sift-replay")), "{forgotten:?}");
    drop((first, second));
    [&inner, &sibling].iter().for_each(|dir| std::fs::remove_dir_all(dir).unwrap());
    // The first one's journal was in use while the second forgot.
    assert_eq!(ranges(&place.open(&place.backups()).unwrap().done(&a, SESSION).all()), [0..1, 9..10]);
    assert_eq!(journals(), 1);
}
