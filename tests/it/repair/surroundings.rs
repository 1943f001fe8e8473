//! Files that somebody else uses, and disks that aren't what they should be.

use std::io::{self, Cursor};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use sift_replay::format::SegmentHeader;
use sift_replay::record::{Recorder, RecorderOptions, Value};
use sift_replay::segment::{
    Condition, Disk, FileLock, LockKind, Repair, RepairError, RepairTo, SimDisk, SimFiles, Storage, StorageFile,
    StorageRead, pbfs_to_segment, repair_pbfs, repair_segment,
};

use uuid::Uuid;

use crate::pbfs::chunk;
use crate::support::recording::{at, counter_schema};
use crate::support::repairing::{File, Shape, one, out};

/// What a disk does differently.
#[derive(Clone, PartialEq)]
enum Oddity {
    /// Files can't be locked.
    NoLocks,
    /// From the second time on, the original has these bytes when it is opened.
    Changes(Vec<u8>),
    /// What was written is read back with a flipped bit.
    Rots,
    /// This file can't be opened.
    Hides(PathBuf),
    /// This file is read back instead of what was written.
    Swaps(Vec<u8>),
}

struct Odd {
    disk: SimDisk,
    oddity: Oddity,
    opened: AtomicUsize,
}

impl Odd {
    fn new(file: &File, oddity: Oddity) -> Self {
        let disk = SimDisk::of(SimFiles::from([(file.path.clone(), file.bytes.clone())]));
        Self { disk, oddity, opened: AtomicUsize::new(0) }
    }
}

impl Storage for Odd {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir_all(dir)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        self.disk.create(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        self.disk.list(dir)
    }

    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        self.disk.read(path, limit)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn StorageRead>> {
        let mut bytes = self.disk.read(path, u64::MAX)?;
        let draft = path.to_str().unwrap().ends_with(".mending");
        let times = if draft { 0 } else { self.opened.fetch_add(1, Ordering::Relaxed) };
        match &self.oddity {
            Oddity::Hides(hidden) if path == hidden => return Err(io::ErrorKind::PermissionDenied.into()),
            Oddity::Changes(other) if times > 0 => bytes.clone_from(other),
            Oddity::Swaps(other) if draft => bytes.clone_from(other),
            Oddity::Rots if draft => {
                let at = bytes.len() / 2;
                bytes[at] ^= 0x10;
            }
            _ => {}
        }
        Ok(Box::new(Cursor::new(bytes)))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn lock(&self, path: &Path, kind: LockKind) -> io::Result<Option<FileLock>> {
        match self.oddity {
            Oddity::NoLocks => Err(io::ErrorKind::Unsupported.into()),
            _ => self.disk.lock(path, kind),
        }
    }
}

fn repair(storage: &dyn Storage, path: &Path, to: RepairTo<'_>) -> Result<Condition, RepairError> {
    repair_segment(path, &mut Repair::new(storage, to, &mut |_| {})).map(|repaired| repaired.condition)
}

#[test]
fn where_files_can_not_be_locked_an_open_segment_is_copied_and_not_replaced() {
    let [sealed, open] = one(Shape::SMALL);
    let odd = Odd::new(&open, Oddity::NoLocks);
    assert_eq!(repair(&odd, &open.path, RepairTo::Dir(&out())).unwrap(), Condition::Unsealed);
    let before = odd.disk.image().all();
    match repair(&odd, &open.path, RepairTo::InPlace) {
        Err(error @ RepairError::Unlockable { .. }) => assert!(error.to_string().contains("can't lock"), "{error}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(odd.disk.image().all(), before);
    // Nobody writes a sealed one.
    let odd = Odd::new(&sealed, Oddity::NoLocks);
    assert_eq!(repair(&odd, &sealed.path, RepairTo::InPlace).unwrap(), Condition::Sound);
}

/// Sound segments: with fewer frames than a small one has, with as many that hold something else, with as many of the
/// same lengths.
fn others() -> Vec<[File; 2]> {
    let shapes = [Shape { frames: 2, ..Shape::SMALL }, Shape { text: 20, ..Shape::SMALL }, Shape::SMALL];
    shapes.into_iter().map(one).collect()
}

#[track_caller]
fn check_changed(odd: &Odd, repaired: Result<Condition, RepairError>) {
    match repaired {
        Err(error @ RepairError::Changed { .. }) => assert!(error.to_string().contains("changed"), "{error}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(odd.disk.image().all().len(), 1);
}

#[track_caller]
fn check_bad_copy(odd: &Odd, repaired: Result<Condition, RepairError>) {
    match repaired {
        Err(error @ RepairError::BadCopy { .. }) => assert!(error.to_string().contains("check the medium"), "{error}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(odd.disk.image().all().len(), 1);
}

#[test]
fn a_file_that_changes_while_it_is_read_is_left_alone() {
    for (at, file) in one(Shape::SMALL).into_iter().enumerate() {
        // What is sound is copied; then the copy isn't what the original is.
        let damaged = |bytes: &[u8]| [bytes, &[0]].concat();
        // Whole frames more or less, as a recorder leaves them; or others.
        let half = file.bytes[..file.bytes.len() / 2].to_vec();
        let others = others().into_iter().map(|other| damaged(&other[at].bytes));
        let file = file.with(damaged(&file.bytes));
        for other in others.chain([half]) {
            for to in [RepairTo::Dir(&out()), RepairTo::InPlace] {
                let odd = Odd::new(&file, Oddity::Changes(other.clone()));
                check_changed(&odd, repair(&odd, &file.path, to));
            }
        }
    }
}

#[test]
fn what_is_not_read_back_as_it_was_written_gets_no_name() {
    for file in one(Shape::SMALL) {
        let others = others().into_iter().map(|[other, _]| Oddity::Swaps(other.bytes));
        for oddity in others.chain([Oddity::Rots]) {
            let odd = Odd::new(&file, oddity);
            check_bad_copy(&odd, repair(&odd, &file.path, RepairTo::Dir(&out())));
        }
    }
}

/// Where something stands that nobody can look at, nothing is put.
#[test]
fn what_can_not_be_looked_at_counts_as_there() {
    let path = PathBuf::from("in/backup");
    for content in [chunk(&[b"a"]), [chunk(&[b"a"]), vec![0]].concat()] {
        for name in ["out/backup", "out/backup.mending"] {
            let odd = Odd::new(&File { path: path.clone(), bytes: content.clone() }, Oddity::Hides(name.into()));
            odd.disk.create_dir_all(&out()).unwrap();
            odd.disk.create(Path::new(name)).unwrap();
            let error = repair_pbfs(&path, &mut Repair::new(&odd, RepairTo::Dir(&out()), &mut |_| {})).unwrap_err();
            assert!(error.is_about_the_destination() && !error.is_not_found(), "{error}");
            assert!(error.to_string().contains("can't look at"), "{error}");
            let files = odd.disk.image().all();
            assert_eq!((&files[&path], &files[Path::new(name)]), (&content, &Vec::new()));
        }
    }
}

#[test]
fn a_backup_that_changes_while_it_is_read_or_is_not_read_back_is_left_alone() {
    let bytes = |texts: &[&[u8]]| texts.iter().flat_map(|text| chunk(&[text])).chain([0]).collect::<Vec<u8>>();
    let (path, out) = (PathBuf::from("in/backup"), out());
    let file = File { path: path.clone(), bytes: bytes(&[b"a", b"b", b"c"]) };
    let backup =
        |odd: &Odd, to| repair_pbfs(&path, &mut Repair::new(odd, to, &mut |_| {})).map(|repaired| repaired.condition);
    let segment = |odd: &Odd| {
        let (mut lost, header) = (|_| {}, SegmentHeader::default());
        let mut repair = Repair::new(odd, RepairTo::Dir(&out), &mut lost);
        pbfs_to_segment(&path, &out, Uuid::from_u128(7), header, &mut repair).map(|repaired| repaired.condition)
    };
    for other in [bytes(&[b"a", b"b"]), bytes(&[b"a", b"d", b"c"])] {
        let changes = || Odd::new(&file, Oddity::Changes(other.clone()));
        for to in [RepairTo::Dir(&out), RepairTo::InPlace] {
            let odd = changes();
            check_changed(&odd, backup(&odd, to));
            // What is read back is sound.
            let odd = Odd::new(&file, Oddity::Swaps(other[..other.len() - 1].to_vec()));
            check_bad_copy(&odd, backup(&odd, to));
        }
        let odd = changes();
        check_changed(&odd, segment(&odd));
    }
    // Of another backup, the segment is like this one but for what its records hold.
    let other = Odd::new(&file.with(bytes(&[b"a", b"d", b"c"])), Oddity::NoLocks);
    segment(&other).unwrap();
    let made = other.disk.image().all().into_iter().find(|(made, _)| *made != path).unwrap().1;
    let odd = Odd::new(&file, Oddity::Swaps(made));
    check_bad_copy(&odd, segment(&odd));
}

/// On Windows a recorder can't tell that it is at work.
#[cfg(unix)]
#[test]
fn a_segment_that_a_recorder_is_writing_is_left_alone_until_that_has_ended() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    let recorder = Recorder::create(&root, &counter_schema(), RecorderOptions::default()).unwrap();
    let _ = recorder.record(&recorder.flow("f").unwrap(), at(0), &[Value::Uint64(0)]).unwrap();
    recorder.flush().unwrap();
    let path = std::fs::read_dir(recorder.dir()).unwrap().next().unwrap().unwrap().path();
    let before = std::fs::read(&path).unwrap();
    let to = dir.path().join("out");
    for to in [RepairTo::Dir(&to), RepairTo::InPlace] {
        match repair(&Disk, &path, to) {
            Err(error @ RepairError::Busy { .. }) => {
                assert!(error.to_string().contains("a recorder is writing"), "{error}");
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(!to.exists());
    assert_eq!(std::fs::read(&path).unwrap(), before);
    // It is cut off: its lock ends with it.
    let cut = dir.path().join(path.file_name().unwrap());
    std::fs::write(&cut, before).unwrap();
    assert_eq!(repair(&Disk, &cut, RepairTo::Dir(&to)).unwrap(), Condition::Unsealed);
}

#[test]
fn a_file_that_is_gone_is_told() {
    for name in ["in/gone", "in/01935f6e-1b2c-7000-8123-456789abcdef-000003.sfr.open"] {
        let error = repair(&SimDisk::new(), Path::new(name), RepairTo::InPlace).unwrap_err();
        assert!(error.is_not_found() && !error.is_about_the_destination(), "{error}");
        let error = repair(&Disk, Path::new(name), RepairTo::InPlace).unwrap_err();
        assert!(error.is_not_found(), "{error}");
    }
}
