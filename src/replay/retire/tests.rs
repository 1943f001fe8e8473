//! Files that go, files that stay, and what is left when it goes wrong half-way.

mod abandoned;
mod archiving;

use std::fs;
use std::sync::{Arc, Mutex};

use super::*;
use crate::record::{Channel, DataType, FlowSchema, Recorder, RecorderOptions, Schema, Timestamp, Value};
use crate::segment::{Disk, Event, SegmentReader, StorageFile};

/// The disk, with another file system wherever a directory is named `archive`, and one operation that goes wrong.
#[derive(Default)]
struct Faulty {
    crosses: bool,
    /// The operation (counted from 0) that goes wrong, and whether only after it took effect, wholly or in part.
    fault: Option<(usize, bool)>,
    /// Nothing works any more after the fault: the process is gone.
    dies: bool,
    /// What is appended is kept wrong, without an error.
    garbles: bool,
    log: Mutex<Vec<String>>,
}

impl Faulty {
    fn verdict(&self, operation: &str, path: &Path) -> Option<bool> {
        let mut log = self.log.lock().unwrap();
        log.push(format!("{operation} {}", path.file_name().unwrap_or_default().to_string_lossy()));
        let number = log.len() - 1;
        let (at, half) = self.fault?;
        if number == at { Some(half) } else { (self.dies && number > at).then_some(false) }
    }

    fn operate<T>(&self, operation: &str, path: &Path, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let failed = || io::Error::other("failed on purpose");
        match self.verdict(operation, path) {
            None => work(),
            Some(false) => Err(failed()),
            Some(true) => {
                let _ = work();
                Err(failed())
            }
        }
    }
}

struct FaultyFile {
    file: Box<dyn StorageFile>,
    path: PathBuf,
    garbles: bool,
    /// Decides as the storage does.
    storage: Arc<Faulty>,
}

impl StorageFile for FaultyFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut bytes = bytes.to_vec();
        if let (true, Some(last)) = (self.garbles, bytes.last_mut()) {
            *last ^= 1;
        }
        match self.storage.verdict("append", &self.path) {
            None => self.file.append(&bytes),
            Some(half) => {
                if half {
                    self.file.append(&bytes[..bytes.len() / 2])?;
                }
                Err(io::ErrorKind::StorageFull.into())
            }
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        let file = &mut self.file;
        self.storage.operate("sync", &self.path, || file.sync())
    }

    fn set_modified(&mut self, time: std::time::SystemTime) {
        self.file.set_modified(time);
    }
}

/// A handle, so that files can hold one too.
struct Handle(Arc<Faulty>);

impl Storage for Handle {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.0.operate("create-dir", dir, || Disk.create_dir_all(dir))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        let file = self.0.operate("create", path, || Disk.create(path))?;
        let storage = self.0.clone();
        Ok(Box::new(FaultyFile { file, path: path.to_owned(), garbles: storage.garbles, storage }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let archived = |path: &Path| path.iter().any(|part| part == "archive");
        self.0.operate("rename", to, || {
            if self.0.crosses && archived(from) != archived(to) {
                return Err(io::ErrorKind::CrossesDevices.into());
            }
            Disk.rename(from, to)
        })
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.operate("sync-dir", dir, || Disk.sync_dir(dir))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        Disk.list(dir)
    }

    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        Disk.read(path, limit)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.operate("remove", path, || Disk.remove(path))
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        self.0.operate("sync-file", path, || Disk.sync_file(path))
    }
}

/// A directory with one sealed segment, and where it may go.
struct Backup {
    dir: tempfile::TempDir,
    file: PathBuf,
    bytes: Vec<u8>,
    expected: Fingerprint,
    done: SeqSet,
}

impl Backup {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let flow = FlowSchema::new("n").channel(Channel::new("n", DataType::Uint64));
        let schema = Schema::new("rover", "key").flow(flow);
        let options = RecorderOptions { frame_bytes: 256, ..RecorderOptions::default() };
        let recorder = Recorder::create(dir.path().join("drive"), &schema, options).unwrap();
        let flow = recorder.flow("n").unwrap();
        for n in 0..100 {
            let _ = recorder.record(&flow, Timestamp::from_unix_ns(n), &[Value::Uint64(n as u64)]).unwrap();
        }
        recorder.finish().unwrap();
        let file = fs::read_dir(recorder.dir()).unwrap().next().unwrap().unwrap().path();
        let mut done = SeqSet::new();
        done.insert(0..100);
        Self::of(dir, file, done)
    }

    fn of(dir: tempfile::TempDir, file: PathBuf, done: SeqSet) -> Self {
        let expected = Fingerprint::of(&file).unwrap();
        Self { bytes: fs::read(&file).unwrap(), expected, dir, file, done }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("drive")
    }

    fn archive(&self) -> After {
        After::Archive(self.dir.path().join("archive/of drives"))
    }

    /// Where the file goes.
    fn target(&self) -> PathBuf {
        self.dir.path().join("archive/of drives").join(self.file.strip_prefix(self.root()).unwrap())
    }

    fn partial(&self) -> PathBuf {
        let name = self.target().file_name().unwrap().to_str().unwrap().to_owned();
        self.target().with_file_name(name + ".partial")
    }

    fn retire_on(&self, storage: &dyn Storage, after: &After) -> Result<Retired, RetireError> {
        let (root, content) = (self.root(), Content::Segment(&self.done));
        let (file, expected) = (&*self.file, &self.expected);
        retire(storage, after, &Delivered { root: &root, file, expected, content, abandoned: false })
    }

    #[track_caller]
    fn assert_kept(&self, kept: Kept) {
        for after in [After::Delete, self.archive()] {
            assert_eq!(self.retire_on(&Disk, &after).unwrap(), Retired::Kept(kept.clone()));
        }
        assert!(self.file.exists() && !self.target().exists());
    }

    /// The places that have the whole file.
    fn whole(&self) -> Vec<PathBuf> {
        let places = [self.file.clone(), self.target()];
        places.into_iter().filter(|place| fs::read(place).is_ok_and(|bytes| bytes == self.bytes)).collect()
    }
}

#[test]
fn what_is_delivered_is_kept_deleted_or_archived_as_asked() {
    let kept = Backup::new();
    assert_eq!(kept.retire_on(&Disk, &After::Keep).unwrap(), Retired::Kept(Kept::Asked));
    assert!(kept.file.exists());
    assert_eq!(kept.retire_on(&Disk, &After::Delete).unwrap(), Retired::Deleted);
    assert!(!kept.file.exists());
    let archived = Backup::new();
    let target = archived.target();
    assert_eq!(archived.retire_on(&Disk, &archived.archive()).unwrap(), Retired::Archived(target.clone()));
    assert_eq!(archived.whole(), [target]);
    assert_eq!(Fingerprint::of(&archived.target()).unwrap(), archived.expected);
}

#[test]
fn a_file_that_was_asked_for_itself_is_archived_under_its_name() {
    let backup = Backup::new();
    let content = Content::Segment(&backup.done);
    let (root, file, expected) = (&*backup.file, &*backup.file, &backup.expected);
    let delivered = Delivered { root, file, expected, content, abandoned: false };
    let target = backup.dir.path().join("archive/of drives").join(file.file_name().unwrap());
    assert_eq!(retire(&Disk, &backup.archive(), &delivered).unwrap(), Retired::Archived(target.clone()));
    assert_eq!(fs::read(target).unwrap(), backup.bytes);
}

#[test]
fn what_is_not_wholly_delivered_stays() {
    let mut backup = Backup::new();
    backup.done = SeqSet::new();
    backup.done.insert(0..60);
    backup.done.insert(61..100);
    backup.assert_kept(Kept::NotDelivered { seqs: 60..61 });
}

#[test]
fn what_has_changed_or_gone_stays() {
    let backup = Backup::new();
    fs::write(&backup.file, [&backup.bytes[..], b"more"].concat()).unwrap();
    backup.assert_kept(Kept::Changed);
    // As long and as old, but another file.
    let backup = Backup::new();
    let other = backup.file.with_extension("other");
    fs::write(&other, &backup.bytes).unwrap();
    fs::File::options().append(true).open(&other).unwrap().set_modified(backup.expected.modified.unwrap()).unwrap();
    fs::rename(other, &backup.file).unwrap();
    if backup.expected.id.is_some() {
        backup.assert_kept(Kept::Changed);
    }
    fs::remove_file(&backup.file).unwrap();
    assert_eq!(backup.retire_on(&Disk, &After::Delete).unwrap(), Retired::Kept(Kept::Gone));
}

#[test]
fn what_is_open_unsealed_damaged_or_torn_stays() {
    let seal = |bytes: &[u8]| crate::format::decode_trailer(bytes.last_chunk().unwrap()).unwrap() as usize;
    let changed = |name: Option<&str>, change: &dyn Fn(&mut Vec<u8>)| {
        let Backup { dir, mut file, mut bytes, done, .. } = Backup::new();
        fs::remove_file(&file).unwrap();
        if let Some(name) = name {
            file = file.with_file_name(name);
        }
        change(&mut bytes);
        fs::write(&file, bytes).unwrap();
        Backup::of(dir, file, done)
    };
    let flipped = changed(None, &|bytes| *bytes.get_mut(1000).unwrap() ^= 1);
    let Ok(Retired::Kept(Kept::Damaged { offset })) = flipped.retire_on(&Disk, &After::Delete) else { panic!() };
    flipped.assert_kept(Kept::Damaged { offset });
    assert!(offset <= 1000);
    let unsealed = changed(None, &|bytes| bytes.truncate(seal(bytes)));
    unsealed.assert_kept(Kept::NotSealed);
    let end = changed(None, &|bytes| bytes.truncate(seal(bytes) + 5));
    // Of this very file: another one's header may have a byte more.
    end.assert_kept(Kept::Torn { offset: end.bytes.len() as u64 - 5 });
    let name = "01935f6e-0000-7000-8000-000000000001-000000.sfr.open";
    changed(Some(name), &|_| {}).assert_kept(Kept::Open);
    let behind = changed(None, &|bytes| bytes.extend(b"x"));
    let offset = behind.bytes.len() as u64 - 1;
    behind.assert_kept(Kept::Damaged { offset });
    // Its name is lost, nothing else.
    let renamed = changed(Some("FILE0001.CHK"), &|_| {});
    assert_eq!(renamed.retire_on(&Disk, &After::Delete).unwrap(), Retired::Deleted);
}

#[cfg(unix)]
#[test]
fn a_link_is_not_taken_for_the_file() {
    let mut backup = Backup::new();
    let link = backup.file.with_file_name("link.sfr");
    std::os::unix::fs::symlink(&backup.file, &link).unwrap();
    backup.file = link;
    backup.assert_kept(Kept::Link);
}

#[test]
fn a_backup_of_the_official_library_goes_when_its_last_byte_is_delivered() {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/pbfs");
    let retired = |name: &str, done: u64| {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(name);
        fs::copy(samples.join(name), &file).unwrap();
        let (root, expected, content) = (dir.path(), &Fingerprint::of(&file).unwrap(), Content::Pbfs(done));
        let delivered = Delivered { root, file: &file, expected, content, abandoned: false };
        let retired = retire(&Disk, &After::Delete, &delivered).unwrap();
        assert_eq!(file.exists(), retired != Retired::Deleted);
        retired
    };
    let sound = "s2_all_types_run.pbfs";
    let bytes = fs::metadata(samples.join(sound)).unwrap().len();
    assert_eq!(retired(sound, bytes), Retired::Deleted);
    assert_eq!(retired(sound, bytes - 1), Retired::Kept(Kept::RestNotDelivered { offset: bytes - 1 }));
    assert!(matches!(retired("c1_truncated_in_message.pbfs", bytes), Retired::Kept(Kept::Torn { .. })));
    assert!(matches!(retired("c3_flipped_byte.pbfs", bytes), Retired::Kept(Kept::Damaged { .. })));
}

#[test]
fn the_root_of_a_file_is_the_nearest() {
    let paths = ["drive", "drive/a", "dr"].map(PathBuf::from);
    for (file, root) in [("drive/a/b", Some("drive/a")), ("drive/b", Some("drive")), ("dri", None)] {
        assert_eq!(root_of(&paths, Path::new(file)), root.map(Path::new));
    }
}
