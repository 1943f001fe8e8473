//! What is archived: copied, compared, and only then removed.

use super::*;

#[test]
fn what_is_there_already_is_never_replaced() {
    for crosses in [false, true] {
        let storage = || Handle(Arc::new(Faulty { crosses, ..Faulty::default() }));
        let backup = Backup::new();
        fs::create_dir_all(backup.target().parent().unwrap()).unwrap();
        fs::write(backup.target(), "another").unwrap();
        let kept = Retired::Kept(Kept::TargetDiffers(backup.target()));
        assert_eq!(backup.retire_on(&storage(), &backup.archive()).unwrap(), kept);
        assert_eq!((fs::read(backup.target()).unwrap(), backup.whole().len()), (b"another".to_vec(), 1));
        // The same bytes, on the other hand, are what was wanted.
        fs::write(backup.target(), &backup.bytes).unwrap();
        let archived = Retired::Archived(backup.target());
        assert_eq!(backup.retire_on(&storage(), &backup.archive()).unwrap(), archived);
        assert_eq!(backup.whole(), [backup.target()]);
    }
}

#[cfg(unix)]
#[test]
fn a_file_is_not_mistaken_for_its_own_copy() {
    // Two names of one file.
    let backup = Backup::new();
    fs::create_dir_all(backup.target().parent().unwrap()).unwrap();
    fs::hard_link(&backup.file, backup.target()).unwrap();
    let itself = Retired::Kept(Kept::TargetIsItself(backup.target()));
    assert_eq!(backup.retire_on(&Disk, &backup.archive()).unwrap(), itself);
    assert!(backup.file.exists());
    // An archive that leads back to where the file is.
    let backup = Backup::new();
    fs::create_dir_all(backup.dir.path().join("archive")).unwrap();
    std::os::unix::fs::symlink(backup.root(), backup.dir.path().join("archive/of drives")).unwrap();
    let itself = Retired::Kept(Kept::TargetIsItself(backup.target()));
    assert_eq!(backup.retire_on(&Disk, &backup.archive()).unwrap(), itself);
    assert!(backup.file.exists());
}

#[test]
fn a_copy_that_is_not_what_was_written_costs_nothing() {
    let backup = Backup::new();
    let storage = Handle(Arc::new(Faulty { crosses: true, garbles: true, ..Faulty::default() }));
    let error = backup.retire_on(&storage, &backup.archive()).unwrap_err();
    assert!(matches!(&error, RetireError::BadCopy { copy, .. } if *copy == backup.partial()), "{error}");
    assert_eq!(backup.whole(), std::slice::from_ref(&backup.file));
    // The bad copy is in nobody's way.
    let storage = Handle(Arc::new(Faulty { crosses: true, ..Faulty::default() }));
    assert_eq!(backup.retire_on(&storage, &backup.archive()).unwrap(), Retired::Archived(backup.target()));
    assert!(backup.whole() == [backup.target()] && !backup.partial().exists());
}

#[test]
fn the_original_goes_last() {
    let backup = Backup::new();
    let storage = Handle(Arc::new(Faulty { crosses: true, ..Faulty::default() }));
    backup.retire_on(&storage, &backup.archive()).unwrap();
    let name = backup.file.file_name().unwrap().to_str().unwrap();
    let expected = [
        "create-dir no-run".to_owned(),
        format!("rename {name}"),
        format!("create {name}.partial"),
        format!("append {name}.partial"),
        format!("sync {name}.partial"),
        format!("rename {name}"),
        "sync-dir no-run".to_owned(),
        format!("remove {name}"),
        "sync-dir no-run".to_owned(),
    ];
    assert_eq!(*storage.0.log.lock().unwrap(), expected);
    let age = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
    assert_eq!(age(&backup.target()), backup.expected.modified.unwrap());
}

#[test]
fn whatever_goes_wrong_one_whole_copy_is_there_and_the_next_time_does_the_rest() {
    let mut failures = 0;
    for (crosses, there_already, delete) in
        [(false, false, false), (true, false, false), (true, true, false), (false, false, true)]
    {
        for (half, dies) in [(false, false), (false, true), (true, false), (true, true)] {
            for operation in 0.. {
                let backup = Backup::new();
                if there_already {
                    fs::create_dir_all(backup.target().parent().unwrap()).unwrap();
                    fs::write(backup.target(), &backup.bytes).unwrap();
                }
                let fault = Some((operation, half));
                let storage = Handle(Arc::new(Faulty { crosses, fault, dies, ..Faulty::default() }));
                let after = if delete { After::Delete } else { backup.archive() };
                let retired = backup.retire_on(&storage, &after);
                if storage.0.log.lock().unwrap().len() <= operation {
                    retired.unwrap();
                    break;
                }
                failures += 1;
                assert!(retired.is_err(), "operation {operation} failed, nobody noticed");
                // Deleted by an operation that said otherwise.
                let gone = delete && !backup.file.exists();
                assert!(gone || !backup.whole().is_empty(), "operation {operation}: no whole copy left");
                // A name in the archive always stands for all of the file.
                assert!(!backup.target().exists() || backup.whole().contains(&backup.target()));

                let storage = Handle(Arc::new(Faulty { crosses, ..Faulty::default() }));
                match backup.retire_on(&storage, &after).unwrap() {
                    Retired::Kept(kept) => assert!(kept == Kept::Gone && (delete || backup.target().exists())),
                    Retired::Deleted => assert!(delete),
                    Retired::Archived(to) => assert_eq!(to, backup.target()),
                }
                assert!(!backup.file.exists() && !backup.partial().exists());
                assert_eq!(backup.whole().len(), usize::from(!delete));
            }
        }
    }
    assert!(failures > 60, "{failures} failures");
}

/// A directory on another file system than `dir`.
#[cfg(target_os = "linux")]
fn elsewhere(dir: &Path) -> Option<tempfile::TempDir> {
    let device = |path: &Path| Fingerprint::of(path).unwrap().id.map(|(device, _)| device);
    let here = device(dir);
    let places = ["/dev/shm", "/tmp", "/var/tmp", env!("CARGO_MANIFEST_DIR")].map(Path::new);
    let other = places.into_iter().find(|place| place.is_dir() && device(place) != here)?;
    tempfile::tempdir_in(other).ok()
}

#[cfg(target_os = "linux")]
#[test]
fn between_real_file_systems_a_file_is_copied() {
    let backup = Backup::new();
    // Where there is only one file system the copy is forced, as in the other tests.
    let (dir, storage): (_, Box<dyn Storage>) = match elsewhere(backup.dir.path()) {
        Some(dir) => (dir, Box::new(Disk)),
        None => {
            let storage = Faulty { crosses: true, ..Faulty::default() };
            (tempfile::tempdir().unwrap(), Box::new(Handle(Arc::new(storage))))
        }
    };
    let archive = dir.path().join("archive");
    let target = archive.join(backup.file.strip_prefix(backup.root()).unwrap());
    let after = After::Archive(archive);
    assert_eq!(backup.retire_on(&*storage, &after).unwrap(), Retired::Archived(target.clone()));
    assert_eq!(fs::read(&target).unwrap(), backup.bytes);
    assert!(!backup.file.exists());
    let now = Fingerprint::of(&target).unwrap();
    assert_eq!((now.bytes, now.modified), (backup.expected.bytes, backup.expected.modified));
    assert_eq!(fs::read_dir(target.parent().unwrap()).unwrap().count(), 1);
    // What was archived can be read as before.
    let mut reader = SegmentReader::open(&target).unwrap();
    let mut records = 0;
    while let Some(event) = reader.next_event().unwrap() {
        if let Event::Records(batch) = event {
            records += batch.count;
        }
    }
    assert_eq!(records, 100);
}

#[test]
fn an_archive_within_what_is_searched_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let drive = dir.path().join("drive");
    fs::create_dir_all(drive.join("a")).unwrap();
    fs::write(drive.join("a/file"), "x").unwrap();
    let file = drive.join("a/file");
    let refused = |path: &Path, archive: PathBuf| check_archive(&[path.to_owned()], &archive).is_err();
    for inside in ["", "a", "not yet/there", "../drive/x", "a/.."] {
        assert!(refused(&drive, drive.join(inside)), "{inside}");
    }
    assert!(refused(&drive.join("not/there"), drive.join("not/there/archive")));
    assert!(refused(&file, drive.join("a")));
    for beside in ["drive2", "archive/deep", "drive/../archive"] {
        assert!(!refused(&drive, dir.path().join(beside)), "{beside}");
    }
    assert!(!refused(&file, drive.join("b")));
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(drive.join("a"), dir.path().join("link")).unwrap();
        assert!(refused(&drive, dir.path().join("link/archive")));
    }
    // An archive above: the one file whose place is where backups are searched for stays.
    let deep = Backup::new();
    let nested = deep.root().join("drive/rover");
    fs::create_dir_all(&nested).unwrap();
    let inner = nested.join("file.sfr");
    fs::rename(&deep.file, &inner).unwrap();
    let (root, content) = (deep.root(), Content::Segment(&deep.done));
    let delivered = Delivered { root: &root, file: &inner, expected: &deep.expected, content, abandoned: false };
    let retired = retire(&Disk, &After::Archive(deep.dir.path().to_owned()), &delivered).unwrap();
    let place = deep.dir.path().join("drive/rover/file.sfr");
    assert_eq!(retired, Retired::Kept(Kept::TargetIsSearched(place)));
    assert!(inner.exists());
}
