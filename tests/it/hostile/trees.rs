//! Directories that lead nowhere, everywhere, and in circles.

use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::make::Made;
use super::many;
use super::place::Place;

/// An honest segment.
fn honest(session: u32) -> (String, Vec<u8>) {
    let mut made = Made::ordinary(session, 0);
    made.data(0, 5);
    (made.open_name(), made.bytes)
}

/// Removes what `remove_dir_all` can't: it holds a directory open for each level.
struct Deep(PathBuf);

impl Drop for Deep {
    fn drop(&mut self) {
        let _ = Command::new("rm").arg("-rf").arg(&self.0).status();
    }
}

/// A path of one-letter directories below `dir`.
fn chain(dir: &Path, depth: usize) -> PathBuf {
    let mut path = dir.to_owned();
    (0..depth).for_each(|_| path.push("d"));
    std::fs::create_dir_all(&path).unwrap();
    path
}

#[test]
fn directories_deeper_than_any_path_are_named_and_all_the_others_read() {
    let place = Place::new();
    let top = Deep(place.dir.join("deep"));
    // No path is longer than the system takes, but the last one is of three.
    let [mut middle, mut bottom] = [1, 2].map(|number| place.dir.join(format!("part-{number}")));
    let (name, bytes) = honest(1);
    for part in [&mut bottom, &mut middle] {
        let end = chain(part, 1500);
        std::fs::write(end.join(&name), &bytes).unwrap();
    }
    std::fs::rename(&bottom, place.dir.join("part-1").join("d/".repeat(1500)).join("d")).unwrap();
    let end = chain(&top.0, 1500);
    std::fs::rename(&middle, end.join("d")).unwrap();
    let (name, bytes) = honest(2);
    std::fs::write(end.join(&name), &bytes).unwrap();
    let said = place.run();
    said.says("ls", 0, &["can't be read: ", "File name too long"]);
    said.says("replay", 3, &["File name too long", "1 file can't be read"]);
    assert_eq!(said.figure("records_already_acknowledged"), 5);
}

#[test]
fn a_wide_directory_of_nothing_is_listed_in_time() {
    let place = Place::new();
    for number in 0..many() / 4 {
        std::fs::write(place.dir.join(format!("{number}.sfr.open")), b"").unwrap();
        std::fs::create_dir(place.dir.join(format!("{number}"))).unwrap();
    }
    let (name, bytes) = honest(1);
    place.put(name, &bytes);
    let said = place.run();
    said.says("replay", 0, &["COMPLETE", "(empty)"]);
    assert_eq!(said.figure("files_ignored"), many() / 4);
}

#[test]
fn links_are_not_followed_and_circles_end() {
    let place = Place::new();
    let (name, bytes) = honest(1);
    place.put(&name, &bytes);
    for (from, to) in [
        ("self", "self"),
        ("a", "b"),
        ("b", "a"),
        ("here", "."),
        ("up", ".."),
        ("root", "/"),
        ("sub/up", ".."),
        ("zero.sfr", "/dev/zero"),
        ("random.sfr.open", "/dev/urandom"),
        ("full", "/dev/full"),
        // Before and behind the file itself, in the order of the names.
        ("0.sfr", &name),
        ("again.sfr", &name),
        ("proc", "/proc/self/fd/0"),
        ("memory", "/proc/kcore"),
    ] {
        let link = place.dir.join(from);
        std::fs::create_dir_all(link.parent().unwrap()).unwrap();
        symlink(to, link).unwrap();
    }
    let said = place.run();
    said.says("ls", 0, &["zero.sfr (not a regular file)"]).says("replay", 0, &["COMPLETE"]);
    assert_eq!((said.figure("files_ignored"), said.figure("records_already_acknowledged")), (14, 5));
}

#[test]
fn pipes_sockets_and_devices_are_passed_over_also_if_they_are_asked_for() {
    let place = Place::new();
    let names = ["pipe.sfr", "socket.sfr.open", "zero.sfr"];
    let pipe = Command::new("mkfifo").arg(place.dir.join(names[0])).status().unwrap();
    assert!(pipe.success());
    let _socket = UnixListener::bind(place.dir.join(names[1])).unwrap();
    symlink("/dev/zero", place.dir.join(names[2])).unwrap();
    place.run().says("ls", 0, &names).says("replay", 0, &["NOTHING TO REPLAY"]);
    for path in names.map(|name| place.dir.join(name)).into_iter().chain([PathBuf::from("/dev/zero")]) {
        for args in [&["ls"][..], &["--dry-run"], &["checkpoints"]] {
            let ran = place.command(&[args, &[path.to_str().unwrap()]].concat());
            assert_eq!(ran.code, Some(0), "{args:?} {path:?}: {ran:?}");
            let says = args[0] == "checkpoints" || ran.stderr.contains("not a regular file");
            assert!(says, "{args:?} {path:?}: {ran:?}");
        }
    }
    // Whoever asks for a circle is told.
    symlink("round", place.dir.join("round")).unwrap();
    for args in [&["ls"][..], &["--dry-run"]] {
        let path = place.dir.join("round");
        let ran = place.command(&[args, &[path.to_str().unwrap()]].concat());
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.stderr.contains("round: ") && ran.stderr.contains("check the path"), "{ran:?}");
    }
}

/// At the library, too: whoever names a pipe is told that it is one.
#[test]
fn a_reader_does_not_wait_for_a_pipe() {
    use sift_replay::segment::{PbfsReader, SegmentReader};
    let place = Place::new();
    let pipe = place.dir.join("pipe.sfr");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let zero = place.dir.join("zero.sfr");
    symlink("/dev/zero", &zero).unwrap();
    for path in [&pipe, &zero] {
        let errors = [
            SegmentReader::open(path).unwrap_err(),
            SegmentReader::open_plain(path).unwrap_err(),
            PbfsReader::open(path).unwrap_err(),
        ];
        for error in errors {
            let text = error.to_string();
            assert!(text.contains("not a regular file") && text.contains(".sfr"), "{text}");
        }
    }
}
