//! File names that want to be more than names.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::make::Made;
use super::place::Place;

/// As the file system takes them: no text of ours must hold them raw.
const NAMES: [&[u8]; 8] = [
    b"\x1b[2J\x1b]0;title\x07",
    b"two\nlines: all is delivered",
    b"\xff\xfe not UTF-8 \x80",
    "txt.\u{202e}rfs".as_bytes(),
    "\u{9b}31mred\u{85}".as_bytes(),
    b"\r\x08\x08\x7f",
    b"$(reboot)`reboot`'\"",
    b"-rf --help",
];

/// What is sound, damaged, empty, foreign, in directories with such names.
#[test]
fn names_are_shown_and_never_obeyed() {
    let place = Place::new();
    for (number, name) in NAMES.into_iter().enumerate() {
        let name = OsStr::from_bytes(name);
        let mut made = Made::ordinary(number as u32, 0);
        made.data(0, 2);
        let at = made.bytes.len();
        made.data(2, 2);
        made.bytes[at + 80] ^= 1;
        made.data(4, 2);
        made.bytes.truncate(made.bytes.len() - 3);
        for dir in [std::path::Path::new("plain"), name.as_ref()] {
            let with = |ending: &str| {
                let mut file = name.to_owned();
                file.push(ending);
                dir.join(file)
            };
            place.put(with(".segment"), &made.bytes);
            place.put(with(".empty"), b"");
            place.put(with(".foreign"), b"neither one nor the other");
            place.put(with(".sfr"), b"");
        }
    }
    let said = place.run();
    said.says("ls", 0, &[r"\u{1b}[2J", r"two\nlines", r"\u{202e}", "\u{fffd}"]);
    said.says("replay", 3, &[r"\u{1b}[2J", r"two\nlines", r"\u{9b}31m", "torn: ", "damaged: ", "ignored: "]);
    assert_eq!(said.figure("records_already_acknowledged"), 2 * NAMES.len() as u64);
}

/// Errors name paths, too.
#[test]
fn an_error_about_a_name_is_one_plain_line() {
    let place = Place::new();
    let dir = place.dir.to_str().unwrap();
    for name in NAMES.into_iter().filter_map(|name| std::str::from_utf8(name).ok()) {
        let path = format!("{dir}/{name}");
        for args in [&["ls", &path][..], &["--dry-run", &path], &["--uri", "http://127.0.0.1:9", &path]] {
            let ran = place.command(args);
            assert_eq!(ran.code, Some(1), "{args:?}: {ran:?}");
            assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
            assert!(!ran.stderr.trim_end().contains(char::is_control), "{ran:?}");
        }
    }
}
