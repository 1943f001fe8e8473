//! Scanning again and again: only what changed is looked into, and every change is seen.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sift_replay::catalog::{Catalog, CatalogCache, Fingerprint, discover};
use sift_replay::record::Recorder;

use crate::replay::{count, counting, session, small_frames, small_segments};

/// Long before any scan.
fn long_ago() -> SystemTime {
    SystemTime::now() - Duration::from_secs(3600)
}

fn set_modified(path: &Path, time: SystemTime) {
    File::options().append(true).open(path).unwrap().set_modified(time).unwrap();
}

/// Replaces a file's bytes where they are, its size and time kept: no look at the outside can tell.
fn overwrite_unseen(path: &Path) {
    let time = fs::metadata(path).unwrap().modified().unwrap();
    fs::write(path, vec![b'x'; fs::metadata(path).unwrap().len() as usize]).unwrap();
    set_modified(path, time);
}

/// Gives segments names by which nobody would take them for any: what they are is in them alone.
fn rename(files: Vec<PathBuf>) -> Vec<PathBuf> {
    let renamed = files.into_iter().enumerate().map(|(i, file)| {
        let to = file.with_file_name(format!("{i}.dat"));
        fs::rename(file, &to).unwrap();
        to
    });
    renamed.collect()
}

fn segments(catalog: &Catalog) -> Vec<PathBuf> {
    catalog.sessions.iter().flat_map(|session| &session.segments).map(|file| file.path.clone()).collect()
}

#[test]
fn a_file_that_has_not_changed_is_not_looked_into_again() {
    let dir = tempfile::tempdir().unwrap();
    let files = rename(session(dir.path(), &counting("k"), small_segments(), 300));
    let notes = dir.path().join("notes.txt");
    fs::write(&notes, "a note").unwrap();
    files.iter().chain([&notes]).for_each(|path| set_modified(path, long_ago()));
    let paths = [dir.path().to_owned()];
    let mut cache = CatalogCache::new();
    let first = cache.scan(&paths).unwrap();
    assert_eq!(segments(&first), files);
    for file in &files {
        overwrite_unseen(file);
    }
    // Had they been looked into, they would be foreign now.
    for _ in 0..2 {
        let again = cache.scan(&paths).unwrap();
        assert_eq!((segments(&again), again.ignored.len()), (files.clone(), 1));
        assert_eq!(again.sessions[0].requests, first.sessions[0].requests);
    }
    // Any other time, and it is.
    set_modified(&files[1], long_ago());
    let seen = cache.scan(&paths).unwrap();
    assert_eq!((segments(&seen).len(), seen.ignored.len()), (files.len() - 1, 2));
    // What vanished is forgotten, also if it comes again as it was.
    let time = fs::metadata(&files[0]).unwrap().modified().unwrap();
    let aside = tempfile::tempdir_in(dir.path().parent().unwrap()).unwrap();
    fs::rename(&files[0], aside.path().join("file")).unwrap();
    assert_eq!(segments(&cache.scan(&paths).unwrap()).len(), files.len() - 2);
    fs::rename(aside.path().join("file"), &files[0]).unwrap();
    assert_eq!(fs::metadata(&files[0]).unwrap().modified().unwrap(), time);
    assert_eq!(segments(&cache.scan(&paths).unwrap()).len(), files.len() - 2);
}

#[test]
fn a_file_written_to_just_now_is_looked_into_every_time() {
    let dir = tempfile::tempdir().unwrap();
    let files = rename(session(dir.path(), &counting("k"), small_frames(), 10));
    let paths = [dir.path().to_owned()];
    for age in [Duration::ZERO, Duration::from_millis(500)] {
        let content = fs::read(&files[0]).unwrap();
        let now = SystemTime::now();
        set_modified(&files[0], now - age);
        let mut cache = CatalogCache::new();
        assert_eq!(segments(&cache.scan(&paths).unwrap()), files);
        // Within one tick of the file system's clock.
        overwrite_unseen(&files[0]);
        assert_eq!(segments(&cache.scan(&paths).unwrap()), Vec::<PathBuf>::new());
        fs::write(&files[0], content).unwrap();
    }
    // And so is one from the future, whoever's clock is wrong.
    set_modified(&files[0], SystemTime::now() + Duration::from_secs(3600));
    let mut cache = CatalogCache::new();
    assert_eq!(segments(&cache.scan(&paths).unwrap()), files);
    overwrite_unseen(&files[0]);
    assert_eq!(segments(&cache.scan(&paths).unwrap()), Vec::<PathBuf>::new());
}

#[test]
fn scans_see_files_grow_and_be_sealed() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::create(dir.path(), &counting("k"), small_frames()).unwrap();
    let paths = [dir.path().to_owned()];
    let mut cache = CatalogCache::new();
    let mut last = 0;
    for _ in 0..3 {
        count(&recorder, 100);
        recorder.flush().unwrap();
        let catalog = cache.scan(&paths).unwrap();
        let file = &catalog.sessions[0].segments[0];
        assert!(file.open && file.sealed.is_none() && file.bytes > last);
        assert_eq!(file.fingerprint, Fingerprint::of(&file.path).unwrap());
        last = file.bytes;
    }
    recorder.finish().unwrap();
    let catalog = cache.scan(&paths).unwrap();
    let file = &catalog.sessions[0].segments[0];
    assert!(!file.open && file.sealed.as_ref().is_some_and(|sealed| sealed.end_seq == 300));
}

#[test]
fn scans_find_what_a_fresh_look_finds() {
    let dir = tempfile::tempdir().unwrap();
    let mut cache = CatalogCache::new();
    let paths = [dir.path().to_owned()];
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/pbfs");
    let mut remembered = Vec::new();
    for round in 0..4 {
        let files = session(&dir.path().join(format!("{round}")), &counting("k"), small_segments(), 200);
        fs::copy(samples.join("s2_all_types_run.pbfs"), dir.path().join(format!("key-{round}"))).unwrap();
        fs::write(dir.path().join(format!("empty-{round}")), "").unwrap();
        for path in &files {
            set_modified(path, long_ago());
        }
        if let Some(old) = remembered.pop() {
            fs::remove_file(old).unwrap();
        }
        remembered.extend(files.into_iter().take(1));
        let (scanned, fresh) = (cache.scan(&paths).unwrap(), Catalog::build(discover(&paths).unwrap()));
        assert_eq!(format!("{scanned:?}"), format!("{fresh:?}"));
        assert_eq!(scanned.pbfs.len(), round + 1);
    }
}

#[test]
fn what_is_not_there_is_no_error_where_it_may_come() {
    let dir = tempfile::tempdir().unwrap();
    let later = dir.path().join("later");
    let paths = [later.clone(), dir.path().join("never")];
    let mut cache = CatalogCache::new();
    assert_eq!(cache.scan(&paths).unwrap_err().path, later);
    let empty = cache.scan_existing(&paths);
    assert_eq!((segments(&empty), empty.unreadable, empty.ignored), (Vec::new(), Vec::new(), Vec::new()));
    let files = session(&later, &counting("k"), small_frames(), 10);
    assert_eq!(segments(&cache.scan_existing(&paths)), files);
    fs::remove_dir_all(&later).unwrap();
    assert!(segments(&cache.scan_existing(&paths)).is_empty());
    #[cfg(unix)]
    {
        // A link to a drive that isn't mounted.
        std::os::unix::fs::symlink(dir.path().join("nowhere"), &later).unwrap();
        let empty = cache.scan_existing(&paths);
        assert_eq!((empty.unreadable, empty.ignored), (Vec::new(), Vec::new()));
    }
}

#[test]
fn files_that_vanish_meanwhile_are_simply_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let stays = session(&dir.path().join("z"), &counting("k"), small_frames(), 10);
    let (paths, root) = ([dir.path().to_owned()], dir.path().to_owned());
    std::thread::scope(|scope| {
        // Dropped when the scans are done, or one has failed.
        let (scanning, scans) = std::sync::mpsc::channel::<()>();
        scope.spawn(move || {
            while scans.try_recv() != Err(std::sync::mpsc::TryRecvError::Disconnected) {
                for i in 0..20 {
                    fs::create_dir_all(root.join(format!("{i}/below"))).unwrap();
                    fs::write(root.join(format!("{i}/below/file")), "x").unwrap();
                }
                for i in 0..20 {
                    fs::remove_dir_all(root.join(format!("{i}"))).unwrap();
                }
            }
        });
        let (mut cache, _scanning) = (CatalogCache::new(), scanning);
        for _ in 0..200 {
            let catalog = cache.scan_existing(&paths);
            assert_eq!(segments(&catalog), stays);
            assert_eq!(catalog.unreadable, []);
        }
    });
}
