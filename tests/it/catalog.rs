//! What directories hold: told by content, whatever the names; foreign files are listed and harm nothing.

use std::path::{Path, PathBuf};

use sift_replay::catalog::{Catalog, ForeignReason, discover};
use sift_replay::record::RecorderOptions;

use crate::replay::{assert_same, counting, recorded, session, small_frames, small_segments};
use crate::support::cli::frames;
use crate::support::destination::{Rig, block_on};

fn catalog(paths: &[&Path]) -> Catalog {
    let paths: Vec<PathBuf> = paths.iter().map(|path| path.to_path_buf()).collect();
    Catalog::build(discover(&paths).unwrap())
}

/// Bytes that look like nothing, always the same.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..bytes).map(|_| next()).collect()
}

#[test]
fn foreign_files_are_listed_with_the_reason_and_harm_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let nested = dir.path().join("a/b/c");
    let files = session(&nested, &counting("k"), small_segments(), 300);
    let mut expected = Vec::new();
    for (name, content, reason) in [
        (".DS_Store", &[0, 0, 0, 1, b'B', b'u', b'd', b'1'][..], ForeignReason::NoBackup),
        ("README.txt", b"Telemetry of flight 7. Do not delete.", ForeignReason::NoBackup),
        ("a/empty", b"", ForeignReason::Empty),
        ("a/b/notes.sickt", b"SFR", ForeignReason::NoBackup),
        ("a/zeros.sfr.bak", &[0; 5000], ForeignReason::NoBackup),
        ("a/noise.bin", &noise(5 << 20), ForeignReason::NoBackup),
        ("with\u{1b}[31m\nnewline", b"x", ForeignReason::NoBackup),
    ] {
        std::fs::write(dir.path().join(name), content).unwrap();
        expected.push((dir.path().join(name), reason));
    }
    // A file that holds a segment is none itself.
    let mut archive = vec![b'x'; 777];
    archive.extend(std::fs::read(&files[0]).unwrap());
    std::fs::write(dir.path().join("backup.tar"), archive).unwrap();
    expected.push((dir.path().join("backup.tar"), ForeignReason::NoBackup));
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(dir.path(), dir.path().join("a/loop")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
        expected.extend([dir.path().join("a/loop"), dir.path().join("socket")].map(|p| (p, ForeignReason::NotAFile)));
    }
    // Nothing that the program itself keeps is mistaken for a recording.
    std::fs::create_dir(dir.path().join(".sift-replay")).unwrap();
    std::fs::write(dir.path().join(".sift-replay/journal"), b"x").unwrap();

    let catalog = catalog(&[dir.path()]);
    let mut ignored: Vec<_> = catalog.ignored.into_iter().map(|file| (file.path, file.reason)).collect();
    ignored.sort_by(|a, b| a.0.cmp(&b.0));
    expected.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(ignored, expected);
    assert_eq!((catalog.unreadable, catalog.pbfs), (Vec::new(), Vec::new()));
    assert_eq!(catalog.sessions.len(), 1);
    block_on(async {
        let rig = Rig::start().await;
        let replayed = rig.replay(&[dir.path()]).await;
        assert!(replayed.report.is_complete(), "{:?}", replayed.report);
        assert_same(&rig.finish_records().await, &recorded(&files));
    });
}

#[test]
fn a_file_given_twice_is_one_file() {
    let dir = tempfile::tempdir().unwrap();
    let files = session(dir.path(), &counting("k"), small_segments(), 300);
    let twice = catalog(&[&files[0], dir.path(), &files[0], &dir.path().join("."), &files[1]]);
    assert_eq!(twice.sessions[0].segments.len(), files.len());
    #[cfg(unix)]
    {
        let link = dir.path().parent().unwrap().join(format!("link-{}", std::process::id()));
        std::os::unix::fs::symlink(&files[0], &link).unwrap();
        let linked = catalog(&[&link, &files[0]]);
        std::fs::remove_file(&link).unwrap();
        assert_eq!(linked.sessions[0].segments.len(), 1);
    }
}

#[test]
fn a_path_that_is_not_there_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("no such thing");
    let error = discover(&[dir.path().to_owned(), missing.clone()]).unwrap_err();
    assert_eq!(error.path, missing);
    assert!(error.to_string().contains("no such thing"), "{error}");
}

#[cfg(unix)]
#[test]
fn what_was_asked_for_and_is_no_file_is_listed() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let ignored = catalog(&[&socket]).ignored;
    assert_eq!((&ignored[0].path, ignored[0].reason), (&socket, ForeignReason::NotAFile));
    // A link to a directory, on the other hand, is that directory.
    let files = session(&dir.path().join("real"), &counting("k"), small_frames(), 10);
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(dir.path().join("real"), &link).unwrap();
    let linked = catalog(&[&link]);
    assert_eq!(linked.sessions[0].segments.len(), files.len());
    assert_eq!(linked.ignored, []);
}

#[test]
fn a_renamed_segment_belongs_to_its_session_still() {
    let dir = tempfile::tempdir().unwrap();
    let files = session(dir.path(), &counting("k"), small_segments(), 400);
    let expected = recorded(&files);
    assert!(files.len() > 2);
    std::fs::rename(&files[0], dir.path().join("zzz.dat")).unwrap();
    // Under the name of another session's segment.
    let other = "01935f6e-0000-7000-8000-000000000001-000000.sfr";
    std::fs::rename(&files[1], dir.path().join(other)).unwrap();
    block_on(async {
        let rig = Rig::start().await;
        let replayed = rig.replay(&[dir.path()]).await;
        assert!(replayed.report.is_complete(), "{:?}", replayed.report);
        assert_eq!(replayed.report.sessions, 1);
        assert_same(&rig.finish_records().await, &expected);
    });
}

#[test]
fn a_segment_without_header_and_name_is_adopted_by_its_session() {
    for lost_magic in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        session(&dir.path().join("other"), &counting("other"), small_segments(), 100);
        let files = session(&dir.path().join("it"), &counting("k"), small_segments(), 400);
        let expected = recorded(&files);
        let begin = frames(&files[1])[0].0.start as usize;
        let mut content = std::fs::read(&files[1]).unwrap();
        let seal = sift_replay::format::decode_trailer(content.last_chunk().unwrap()).unwrap() as usize;
        // Neither HEADER nor SEAL nor, the second time, even the magic: nothing but DATA frames.
        content.truncate(seal);
        content[if lost_magic { 0 } else { 8 }..begin].fill(0);
        std::fs::remove_file(&files[1]).unwrap();
        std::fs::write(dir.path().join("FILE0001.CHK"), &content).unwrap();
        let adopted = catalog(&[dir.path()]);
        assert_eq!((adopted.sessions.len(), adopted.unreadable.len()), (2, 0));
        assert_eq!(adopted.sessions[1].segments[1].index, 1);
        block_on(async {
            let rig = Rig::start().await;
            let replayed = rig.replay(&[dir.path()]).await;
            assert_eq!(replayed.report.totals.records_missing, 0);
            let sessions = rig.finish().await;
            let it = sessions.iter().find(|session| session.config.client_key == "k").unwrap();
            assert_same(&it.records, &expected);
        });
        // Alone it belongs to nobody; that is said, not passed over.
        let alone = catalog(&[&dir.path().join("FILE0001.CHK")]);
        assert_eq!((alone.sessions.len(), alone.ignored.len(), alone.unreadable.len()), (0, 0, 1));
        assert!(alone.unreadable[0].reason.contains("put it beside"), "{:?}", alone.unreadable);
    }
}

#[test]
fn a_sealed_segment_without_a_byte_is_a_loss_and_an_open_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let files = session(dir.path(), &counting("k"), RecorderOptions::default(), 10);
    std::fs::write(&files[0], b"").unwrap();
    let found = catalog(&[dir.path()]);
    assert_eq!((found.unreadable.len(), found.ignored.len()), (1, 0));
    std::fs::rename(&files[0], files[0].with_extension("sfr.open")).unwrap();
    let found = catalog(&[dir.path()]);
    assert_eq!((found.unreadable.len(), found.ignored[0].reason), (0, ForeignReason::Empty));
}
