//! State directories that somebody else has filled: they travel with the backups.

use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use super::make::Made;
use super::many;
use super::place::Place;
use crate::support::format::{FrameSpec, Pb, segment_id};

const MAGIC: [u8; 8] = [0x89, 0x53, 0x46, 0x4a, 0x0d, 0x0a, 0x1a, 0x0a];
const CHECKPOINT: u8 = 6;

/// A journal of these frames, and its name.
fn journal(number: u32, frames: impl IntoIterator<Item = FrameSpec>) -> (String, Vec<u8>) {
    let id = super::make::session_id(number);
    let mut bytes = MAGIC.to_vec();
    for frame in frames {
        bytes.extend(frame.encode(segment_id(&id, 0), bytes.len() as u64));
    }
    (format!(".sift-replay/checkpoints/{}.sfj", uuid::Uuid::from_bytes(id)), bytes)
}

/// An honest backup of five records.
fn honest() -> Place {
    let mut made = Made::ordinary(1, 0);
    made.data(0, 5);
    Place::with(&made.open_name(), &made.bytes)
}

fn target(text: &[u8], sessions: &[u8]) -> Vec<u8> {
    Pb::default().always_bytes(1, &[&Pb::default().bytes(1, text).0[..], sessions].concat()).0
}

fn checkpoint(payload: Vec<u8>) -> FrameSpec {
    FrameSpec::new(CHECKPOINT, 0, payload)
}

/// [F-39], [F-40]
#[test]
fn journals_that_lie_about_lengths_are_damaged_and_cost_only_a_repetition() {
    let place = honest();
    for (number, length) in [u64::from(u32::MAX), 1 << 32, u64::MAX].into_iter().enumerate() {
        let mut long = Pb::default();
        long.raw_varint(1 << 3 | 2);
        long.raw_varint(length);
        let mut stated = checkpoint(vec![0; 10]);
        stated.stored_len = length as u32;
        let mut raw = super::make::compressed(checkpoint(vec![0; 10]));
        raw.raw_len = length as u32;
        let frames = [checkpoint(long.0), stated, raw, checkpoint(target(b"http://a", b""))];
        let (name, bytes) = journal(number as u32, frames);
        place.put(name, &bytes);
    }
    let said = place.run();
    said.says("replay", 0, &["COMPLETE", "is damaged at byte", "will be sent again"]);
    assert_eq!(said.figure("records_already_acknowledged"), 5);
}

/// A few bytes, and as many targets as memory has.
#[test]
fn a_journal_of_bombs_takes_no_memory() {
    let place = honest();
    // Each target of 128 KiB is another one; of each, as many ranges as fit.
    let frames = (0..many() / 4).map(|number| {
        let mut text = vec![b'a'; 128 << 10];
        text[..8].copy_from_slice(format!("{number:08}").as_bytes());
        super::make::compressed(checkpoint(target(&text, b"")))
    });
    let (name, bytes) = journal(1, frames);
    place.put(name, &bytes);
    let ranges = Pb::default().always_bytes(2, &Pb::default().varint(1, 1).varint(2, 5).0).0.repeat(14_000);
    let session =
        Pb::default().always_bytes(2, &Pb(Pb::default().bytes(1, &[7; 16]).0.into_iter().chain(ranges).collect()).0);
    let frames = (0..50u8)
        .map(|number| super::make::compressed(checkpoint(target(&vec![b'b' + number % 20; 128 << 10], &session.0))));
    let (name, bytes) = journal(2, frames);
    place.put(name, &bytes);
    let said = place.run();
    said.says("replay", 0, &["COMPLETE", "will be sent again"]);
    assert_eq!(said.figure("records_already_acknowledged"), 5);
}

#[test]
fn very_many_facts_are_known_in_time() {
    let place = honest();
    let id = Pb::default().bytes(1, &super::make::session_id(99));
    let ranges = |first: u64| {
        (first..first + 5000)
            .fold(id.clone(), |pb, n| pb.always_bytes(2, &Pb::default().varint(1, 2 * n).varint(2, 2 * n + 1).0))
    };
    // Backwards, so that nothing goes by order.
    let firsts = (0..many()).step_by(5000).collect::<Vec<_>>().into_iter().rev();
    let frames =
        firsts.map(|first| checkpoint(target(b"http://a:1", &Pb::default().always_bytes(2, &ranges(first).0).0)));
    let (name, bytes) = journal(1, frames);
    place.put(name, &bytes);
    let said = place.run();
    said.says("replay", 0, &["COMPLETE"]).says("checkpoints", 0, &["http://a:1", "ranges"]);
}

/// [F-40]: names of targets are shown.
#[test]
fn a_target_can_not_command_the_terminal() {
    let place = honest();
    let range = Pb::default().always_bytes(2, &Pb::default().varint(1, 1).varint(2, 5).0).0;
    let session = Pb::default().always_bytes(2, &[&Pb::default().bytes(1, &[7; 16]).0[..], &range].concat());
    let names = ["\u{1b}[2J", "a\nb", "\u{9b}1m", "\u{202e}", "", "\0"];
    let long = "x".repeat(100 << 10);
    let frames = names.into_iter().chain([&long[..]]).map(|name| checkpoint(target(name.as_bytes(), &session.0)));
    let (name, bytes) = journal(1, frames);
    place.put(name, &bytes);
    place.run().says("checkpoints", 0, &[r"\u{1b}[2J", r"a\nb"]);
}

/// Nothing outside of the state directory is opened for writing because something in it says so, and nothing waits.
#[test]
fn links_pipes_and_devices_in_a_state_directory_are_not_followed() {
    let id = uuid::Uuid::from_bytes(super::make::session_id(5));
    let names = ["lock".to_owned(), format!("checkpoints/{id}.sfj"), format!("checkpoints/{id}.sfj.new")];
    for name in names {
        for kind in ["link", "dangling link", "device", "pipe", "socket", "directory", "loop"] {
            let place = honest();
            let state = place.dir.join(".sift-replay");
            std::fs::create_dir_all(state.join("checkpoints")).unwrap();
            let (path, precious) = (state.join(&name), place.home().join("precious"));
            std::fs::write(&precious, "precious").unwrap();
            let _listener = make(kind, &path, &precious);
            let destination = super::place::Destination::start();
            let ran = place.command(&["--uri", &destination.uri, place.dir.to_str().unwrap()]);
            assert!(matches!(ran.code, Some(0 | 1)), "{name} is a {kind}: {ran:?}");
            if ran.code == Some(1) {
                assert!(ran.stderr.contains(".sift-replay"), "{name} is a {kind}: {ran:?}");
            }
            let ran = place.command(&["checkpoints", place.dir.to_str().unwrap()]);
            assert_eq!(ran.code, Some(0), "{name} is a {kind}: {ran:?}");
            assert_eq!(std::fs::read_to_string(&precious).unwrap(), "precious", "{name} is a {kind}");
            assert!(!place.home().join("nowhere").exists(), "{name} is a {kind}");
        }
    }
}

fn make(kind: &str, path: &Path, precious: &Path) -> Option<UnixListener> {
    match kind {
        "link" => symlink(precious, path).unwrap(),
        "dangling link" => symlink(precious.with_file_name("nowhere"), path).unwrap(),
        "device" => symlink("/dev/zero", path).unwrap(),
        "pipe" => assert!(Command::new("mkfifo").arg(path).status().unwrap().success()),
        "socket" => return Some(UnixListener::bind(path).unwrap()),
        "directory" => std::fs::create_dir(path).unwrap(),
        _ => symlink(path, path).unwrap(),
    }
    None
}

/// The state directory itself is a file, a link, a pipe.
#[test]
fn a_state_directory_that_is_none_is_no_obstacle() {
    for kind in ["link", "dangling link", "device", "pipe", "socket", "loop"] {
        let place = honest();
        let precious = place.home().join("precious");
        std::fs::write(&precious, "precious").unwrap();
        let _listener = make(kind, &place.dir.join(".sift-replay"), &precious);
        let said = place.run();
        said.says("replay", 0, &["COMPLETE"]);
        assert_eq!(said.figure("records_already_acknowledged"), 5, "{kind}");
        assert_eq!(std::fs::read_to_string(&precious).unwrap(), "precious", "{kind}");
        assert!(!place.home().join("nowhere").exists(), "{kind}");
    }
}

/// The same where recordings are received.
#[test]
fn a_receiver_does_not_follow_what_stands_where_its_id_should_be() {
    for kind in ["link", "device", "pipe", "socket", "directory", "loop"] {
        let place = Place::new();
        let (state, precious) = (place.dir.join(".sift-replay"), place.home().join("precious"));
        std::fs::create_dir(&state).unwrap();
        std::fs::write(&precious, uuid::Uuid::from_bytes(super::make::session_id(7)).to_string()).unwrap();
        let _listener = make(kind, &state.join("organization"), &precious);
        let ran = place.command(&["receive", "--listen", "127.0.0.1:0", "--into", place.dir.to_str().unwrap()]);
        assert_eq!(ran.code, Some(1), "{kind}: {ran:?}");
        assert!(
            ran.stderr.contains("organization: ") && ran.stderr.contains("the id of this store"),
            "{kind}: {ran:?}"
        );
    }
}
