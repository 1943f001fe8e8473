//! How the program ends: locks, dry runs, exit codes, and its last words.

use std::os::unix::fs::PermissionsExt;

use sift_rs::ingest::v1::IngestWithConfigDataStreamRequest as Request;

use crate::replay::{flight, small_frames};
use crate::support::cli::{Home, Ran, Running, damage_middle_frame};
use crate::support::desk::{Desk, figures, library_file, of_flow, record, tree, two_flows};
use crate::support::destination::{Mood, Raw};
use crate::support::faulty::Fate;

const FIGURES: [&str; 4] = ["records_found", "records_acknowledged", "records_already_acknowledged", "records_missing"];

fn numbers(count: u64, base: u64) -> Vec<Request> {
    (0..count).map(|n| of_flow("a", 1_700_000_000_000_000_000 + n as i64, base + n)).collect()
}

/// Where nobody listens.
fn dead_uri() -> String {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", free.local_addr().unwrap())
}

/// The last line for people.
fn last(ran: &Ran) -> &str {
    ran.stdout.lines().last().unwrap_or_default()
}

#[test]
fn a_dry_run_asks_nobody_writes_nothing_and_counts() {
    let desk = Desk::new();
    let (_, files) = record(&desk.dir(), &flight(two_flows("rover", "k")), small_frames(), &numbers(90, 0), &[30, 60]);
    library_file(&desk.dir().join("theirs"), "c", &[&numbers(10, 100)]);
    let all = || tree(desk.home.path());
    let before = all();
    let dead = dead_uri();
    for destination in [&[][..], &["--uri", &dead]] {
        let ran = desk.home.run(&[&["backups", "--dry-run", "--json"], destination].concat());
        assert_eq!((ran.code, figures(&ran, &FIGURES)), (Some(0), vec![100, 0, 0, 0]), "{ran:?}");
        let ran = desk.home.run(&[&["backups", "--dry-run"], destination].concat());
        assert!(ran.stdout.contains("would be sent         100 records"), "{ran:?}");
        assert_eq!(last(&ran), "DRY RUN: nothing was sent.");
        // Whoever names no destination can't be told what it has.
        assert_eq!(ran.stderr.contains("isn't known here"), destination.is_empty(), "{ran:?}");
    }
    assert!(all() == before, "something was written");
    assert_eq!(desk.faulty.seen().connections, 0);
    // With checkpoints, and with damage and a gap.
    assert_eq!(desk.replay(&["--flow", "a", "--to", "2023-11-14T22:13:20.000000050Z"]).code, Some(0));
    let lost = damage_middle_frame(&files[2]);
    std::fs::remove_file(&files[0]).unwrap();
    let (before, connections) = (all(), desk.faulty.seen().connections);
    let ran = desk.replay(&["--dry-run"]);
    let lost = lost.end - lost.start;
    // The 30 of the segment that is gone were delivered: nobody misses them.
    assert_eq!((ran.code, figures(&ran, &FIGURES)), (Some(3), vec![70 - lost, 0, 20 + 10, lost]), "{ran:?}");
    let ran = desk.home.run(&["backups", "--dry-run", "--uri", &desk.faulty.uri()]);
    assert!(last(&ran).starts_with("DRY RUN: nothing was sent. But ") && last(&ran).contains("1 place is damaged"));
    // As another asset nothing was delivered yet.
    let ran = desk.replay(&["--dry-run", "--asset-as", "twin", "--asset", "rover"]);
    assert_eq!(figures(&ran, &FIGURES), [60 - lost, 0, 0, lost + 30]);
    assert!(all() == before, "something was written");
    assert_eq!(desk.faulty.seen().connections, connections);
}

#[test]
fn two_at_once_exclude_each_other_where_they_overlap_and_only_there() {
    let desk = Desk::new();
    let home = desk.home.path().to_owned();
    for dir in ["backups/one", "backups/two", "siblings"] {
        record(&home.join(dir), &two_flows("rover", "k"), small_frames(), &numbers(10, 0), &[]);
    }
    desk.faulty.all_streams(Fate::Held);
    let uri = desk.faulty.uri();
    let start = |path: &str| Running::start(desk.home.command(&[path, "--json", "--uri", &uri]));
    let first = start("backups/one");
    desk.faulty.wait(|seen| seen.held_streams > 0);
    let pid = first.id().to_string();
    // The same, what is around it, and what is in it.
    let within = std::fs::read_dir(home.join("backups/one")).unwrap();
    let within = within.map(|entry| entry.unwrap().path()).find(|path| !path.ends_with(".sift-replay")).unwrap();
    for path in ["backups/one", "backups", within.to_str().unwrap()] {
        let ran = desk.home.run(&[path, "--uri", &uri]);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{path}: {ran:?}");
        assert!(ran.stderr.contains("another sift-replay") && ran.stderr.contains(&pid), "{path}: {ran:?}");
        // Looking is always possible.
        let ran = desk.home.run(&[path, "--uri", &uri, "--dry-run"]);
        assert_eq!(ran.code, Some(0), "{path}: {ran:?}");
    }
    let held = desk.faulty.seen().held_streams;
    let second = start("backups/two");
    let third = start("siblings");
    desk.faulty.wait(|seen| seen.held_streams == held + 2);
    // Killed without warning, it leaves no lock behind.
    first.kill();
    desk.faulty.all_streams(Fate::Taken);
    let ran = desk.home.run(&["backups/one", "--json", "--uri", &uri]);
    assert_eq!((ran.code, figures(&ran, &FIGURES)), (Some(0), vec![10, 10, 0, 0]), "{ran:?}");
    desk.faulty.release();
    for running in [second, third] {
        let (status, out, _) = running.wait();
        assert_eq!(status.code(), Some(0), "{out}");
    }
}

#[test]
fn where_nothing_can_be_remembered_nothing_is_sent() {
    let desk = Desk::new();
    record(&desk.dir(), &two_flows("rover", "k"), small_frames(), &numbers(10, 0), &[]);
    // Where a directory should be made there is a file: that stops even an administrator.
    std::fs::write(desk.home.path().join("file"), "").unwrap();
    let ran = desk.replay(&["--state-dir", "file/state"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{ran:?}");
    assert!(ran.stderr.contains("file/state") && ran.stderr.contains("--state-dir"), "{ran:?}");
    assert_eq!(desk.known(), 0);
    // Beside the backups it can't be written: it is remembered elsewhere.
    std::fs::write(desk.dir().join(".sift-replay"), "in the way").unwrap();
    for sent in [10, 0] {
        let ran = desk.replay(&[]);
        assert_eq!((ran.code, figures(&ran, &["records_acknowledged"])), (Some(0), vec![sent]), "{ran:?}");
    }
    assert_eq!(std::fs::read(desk.dir().join(".sift-replay")).unwrap(), b"in the way");
}

#[test]
fn a_drive_that_can_only_be_read_is_remembered_by_this_computer() {
    let desk = Desk::new();
    record(&desk.dir(), &two_flows("rover", "k"), small_frames(), &numbers(10, 0), &[]);
    std::fs::set_permissions(desk.dir(), std::fs::Permissions::from_mode(0o555)).unwrap();
    let before = tree(&desk.dir());
    for sent in [10, 0] {
        let ran = desk.replay(&[]);
        assert_eq!((ran.code, figures(&ran, &["records_acknowledged"])), (Some(0), vec![sent]), "{ran:?}");
    }
    // An administrator can write anywhere.
    let is_root = std::fs::create_dir(desk.dir().join("probe")).is_ok();
    assert!(is_root || tree(&desk.dir()) == before);
    std::fs::set_permissions(desk.dir(), std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn each_end_has_its_code_and_its_last_words() {
    let desk = Desk::new();
    let (_, files) = record(&desk.dir(), &two_flows("rover", "k"), small_frames(), &numbers(60, 0), &[30]);
    let uri = desk.faulty.uri();
    let people = |args: &[&str]| desk.home.run(&[&["backups", "--uri", &uri], args].concat());
    let first = people(&[]);
    assert_eq!((first.code, last(&first)), (Some(0), "COMPLETE: all that was found is delivered."), "{first:?}");
    let again = people(&[]);
    assert_eq!((again.code, last(&again)), (Some(0), "COMPLETE: all that was found had been delivered before."));
    damage_middle_frame(&files[1]);
    let damaged = people(&["--asset-as", "twin"]);
    assert_eq!(damaged.code, Some(3));
    assert!(last(&damaged).starts_with("INCOMPLETE: ") && last(&damaged).contains("1 place is damaged"), "{damaged:?}");
    desk.faulty.refuse(|_| Some(tonic::Status::invalid_argument("no")));
    for (policy, words) in
        [("dead-letter", "kept as dead letters"), ("skip", "not delivered"), ("stop", "not delivered")]
    {
        let refused = people(&["--asset-as", policy, "--on-reject", policy]);
        assert_eq!(refused.code, Some(3), "{refused:?}");
        assert!(last(&refused).starts_with("INCOMPLETE: ") && last(&refused).contains(words), "{policy}: {refused:?}");
    }
    let wrong = people(&["--rate", "fast"]);
    assert_eq!((wrong.code, wrong.stdout.as_str()), (Some(2), ""));
}

#[test]
fn a_destination_that_is_none_is_4_at_once() {
    let desk = Desk::new();
    record(&desk.dir(), &two_flows("rover", "k"), small_frames(), &numbers(10, 0), &[]);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("http://{}", listener.local_addr().unwrap());
    // A web server: no patience is needed to see that it isn't Sift. (It may take a second look.)
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        while let Ok((mut stream, _)) = listener.accept() {
            let _ = stream.read(&mut [0; 1000]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            // What closes while there is something unread takes its answer back.
            let _ = stream.shutdown(std::net::Shutdown::Write);
            while stream.read(&mut [0; 1000]).is_ok_and(|read| read > 0) {}
        }
    });
    let ran = desk.home.run(&["backups", "--uri", &uri]);
    assert_eq!(ran.code, Some(4), "{ran:?}");
    assert!(last(&ran).starts_with("STOPPED: ") && last(&ran).contains("not as a gRPC server"), "{ran:?}");
}

#[test]
fn who_waits_for_a_destination_is_told_how_long_and_how_to_stop() {
    let desk = Desk::new();
    record(&desk.dir(), &two_flows("rover", "k"), small_frames(), &numbers(10, 0), &[]);
    let dead = dead_uri();
    let ran = desk.home.run(&["backups", "--uri", &dead, "--give-up-after", "1500ms"]);
    assert_eq!(ran.code, Some(4), "{ran:?}");
    for part in ["nothing listens", "trying again", "for 1.5 s (--give-up-after)", "Ctrl-C ends it"] {
        assert!(ran.stderr.contains(part), "{part}: {ran:?}");
    }
    assert!(last(&ran).starts_with("STOPPED: ") && last(&ran).contains("given up after 1.5 s"), "{ran:?}");
}

#[test]
fn interrupted_before_it_has_reached_anybody_it_ends_at_once_with_130_and_a_summary() {
    let home = Home::new();
    record(&home.path().join("backups"), &two_flows("rover", "k"), small_frames(), &numbers(10, 0), &[]);
    let dead = dead_uri();
    let mut running = Running::start(home.command(&["backups", "--json", "--uri", &dead]));
    while running.json_line()["event"] != "retrying" {}
    running.interrupt();
    let (status, out, _) = running.wait();
    assert_eq!(status.code(), Some(130), "{out}");
    let last: serde_json::Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    assert_eq!((&last["event"], &last["interrupted"]), (&"summary".into(), &true.into()));
}

#[test]
fn interrupted_in_the_middle_says_that_nothing_is_lost_and_twice_ends_at_once() {
    let desk = Desk::new();
    record(&desk.dir(), &two_flows("rover", "k"), small_frames(), &numbers(10, 0), &[]);
    // Acknowledged after the interrupt, within the grace.
    desk.faulty.all_streams(Fate::Held);
    let mut running = Running::start(desk.home.command(&["backups", "--uri", &desk.faulty.uri()]));
    desk.faulty.wait(|seen| seen.held_streams == 1);
    running.interrupt();
    running.says("what is on its way has");
    desk.faulty.release();
    let (status, out, _) = running.wait();
    assert_eq!(status.code(), Some(130));
    assert!(out.contains("10 of 10 records acknowledged") && out.contains("INTERRUPTED"), "{out}");
    desk.faulty.all_streams(Fate::Taken);
    let ran = desk.replay(&[]);
    assert_eq!(figures(&ran, &FIGURES), [10, 0, 10, 0]);
    // Never acknowledged: who interrupts twice doesn't wait.
    let raw = Raw::start(Mood::Silent { after: 0 });
    let mut running = Running::start(desk.home.command(&["backups", "--uri", &raw.uri()]));
    crate::support::destination::block_on(raw.seen.silent.notified());
    running.interrupt();
    running.says("what is on its way has");
    running.interrupt();
    let (status, _, _) = running.wait();
    assert_eq!(status.code(), Some(130));
}

#[test]
fn a_closed_pipe_is_nobodys_failure() {
    let desk = Desk::new();
    record(&desk.dir(), &two_flows("rover", "k"), small_frames(), &numbers(10, 0), &[]);
    let mut command = desk.home.command(&["backups", "--json", "--uri", &desk.faulty.uri()]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    command.stdout(writer);
    let mut child = command.spawn().unwrap();
    drop(command);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(desk.known(), 10);
}
