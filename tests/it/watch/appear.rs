//! Files that come while the program watches, in each way in which files come.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::symlink;
use std::path::Path;

use super::desk::{Desk, Program, record};

#[test]
fn what_is_there_is_replayed_first_and_what_comes_then() {
    let desk = Desk::new();
    let mut records = record(&desk.dir, 0, 100).records;
    let program = desk.watch(&[]);
    program.delivers(records.len());
    // Written in place.
    records.extend(record(&desk.dir, 1, 100).records);
    program.delivers(records.len());
    // Renamed into place, and out of the one searched place into another.
    let session = record(&desk.elsewhere, 2, 100);
    fs::rename(&session.files[0], desk.dir.join(session.files[0].file_name().unwrap())).unwrap();
    records.extend(session.records);
    program.delivers(records.len());
    // In directories that come later, one in the other, all at once or one by one.
    records.extend(record(&desk.dir.join("a/b/c"), 3, 100).records);
    program.delivers(records.len());
    fs::create_dir_all(desk.dir.join("x/y")).unwrap();
    records.extend(record(&desk.dir.join("x/y/z"), 4, 100).records);
    program.delivers(records.len());
    let session = record(&desk.elsewhere.join("whole"), 5, 100);
    fs::rename(desk.elsewhere.join("whole"), desk.dir.join("x/whole")).unwrap();
    records.extend(session.records);
    program.delivers(records.len());
    desk.check(&program.interrupt(), &records);
}

#[test]
fn a_path_that_is_not_there_is_waited_for() {
    let desk = Desk::new();
    let later = desk.home().join("mnt/usb/backups");
    let program = Program::start(desk.command_for(&[&later], &["--watch"]));
    program.tells("waiting");
    fs::create_dir_all(later.parent().unwrap()).unwrap();
    let session = record(&desk.elsewhere, 0, 100);
    fs::rename(&desk.elsewhere, &later).unwrap();
    program.delivers(100);
    let ended = program.interrupt();
    desk.check(&ended, &session.records);
    // The same for a file.
    let desk = Desk::new();
    let session = record(&desk.elsewhere, 0, 100);
    let file = desk.dir.join("flight.sfr");
    let program = Program::start(desk.command_for(&[&file], &["--watch"]));
    program.tells("waiting");
    fs::copy(&session.files[0], &file).unwrap();
    program.delivers(100);
    desk.check(&program.interrupt(), &session.records);
}

#[test]
fn a_path_that_is_a_link_is_followed_to_where_it_leads_now() {
    let desk = Desk::new();
    let (first, second) = (desk.elsewhere.join("1"), desk.elsewhere.join("2"));
    let mut records = record(&first, 1, 50).records;
    records.extend(record(&second, 2, 50).records);
    let link = desk.home().join("current");
    symlink(&first, &link).unwrap();
    let program = Program::start(desk.command_for(&[&link], &["--watch", "--rescan", "1"]));
    program.delivers(50);
    fs::remove_file(&link).unwrap();
    symlink(&second, &link).unwrap();
    program.delivers(100);
    desk.check(&program.interrupt(), &records);
}

/// Writes `bytes` piece by piece to `path` under the program's eyes; `place` says where a piece goes.
fn copy_slowly(program: &Program, bytes: &[u8], path: &Path, allocated: bool) {
    let mut file = fs::File::create(path).unwrap();
    if allocated {
        file.set_len(bytes.len() as u64).unwrap();
    }
    let pieces = 6;
    for (number, piece) in bytes.chunks(bytes.len().div_ceil(pieces)).enumerate() {
        file.seek(SeekFrom::Start((number * bytes.len().div_ceil(pieces)) as u64)).unwrap();
        file.write_all(piece).unwrap();
        // It is looked at, as far as it has come.
        let passes = program.count("started");
        program.wait("another look", |lines| lines.iter().filter(|line| line["event"] == "started").count() > passes);
    }
}

#[test]
fn a_copy_on_its_way_is_no_damage_and_costs_nothing() {
    for allocated in [false, true] {
        let desk = Desk::new();
        let session = record(&desk.elsewhere, 0, 600);
        let bytes = fs::read(&session.files[0]).unwrap();
        let program = desk.watch(&[]);
        program.tells("waiting");
        copy_slowly(&program, &bytes, &desk.dir.join(session.files[0].file_name().unwrap()), allocated);
        program.delivers(600);
        let ended = program.interrupt();
        desk.check(&ended, &session.records);
        if !allocated {
            assert!(ended.of("damage").is_empty() && ended.of("torn").is_empty(), "allocated: {allocated}");
        }
    }
}

#[test]
fn a_copy_under_another_name_that_is_renamed_when_it_is_complete() {
    let desk = Desk::new();
    let session = record(&desk.elsewhere, 0, 600);
    let bytes = fs::read(&session.files[0]).unwrap();
    let program = desk.watch(&[]);
    program.tells("waiting");
    let partial = desk.dir.join("flight.sfr.part");
    copy_slowly(&program, &bytes[..bytes.len() / 2], &partial, false);
    fs::OpenOptions::new().append(true).open(&partial).unwrap().write_all(&bytes[bytes.len() / 2..]).unwrap();
    fs::rename(&partial, desk.dir.join("flight.sfr")).unwrap();
    program.delivers(600);
    let ended = program.interrupt();
    desk.check(&ended, &session.records);
    assert_eq!(ended.summary()["segments"], 1);
}

#[test]
fn a_second_copy_of_a_session_brings_nothing_twice() {
    let desk = Desk::new();
    let session = record(&desk.elsewhere, 0, 300);
    let program = desk.watch(&[]);
    fs::copy(&session.files[0], desk.dir.join("one.sfr")).unwrap();
    program.delivers(300);
    fs::create_dir(desk.dir.join("again")).unwrap();
    fs::copy(&session.files[0], desk.dir.join("again/another name")).unwrap();
    program.wait("second look", |lines| lines.iter().filter(|line| line["event"] == "started").count() > 1);
    let other = record(&desk.dir, 1, 10);
    program.delivers(310);
    let all = [session.records, other.records].concat();
    desk.check(&program.interrupt(), &all);
}
