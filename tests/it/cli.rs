//! The program as people and scripts meet it: exit codes, JSON, what it says and what it must never say.

mod receive;

use std::path::Path;

use serde_json::Value;
use sift_replay::receiver::ReceiverOptions;
use sift_replay::record::RecorderOptions;

use crate::replay::{counting, flight, session, small_frames, small_segments};
use crate::support::cli::{Home, Ran, Running, damage_middle_frame, frames, ran};
use crate::support::destination::{Mood, Raw, Rig, block_on};

const KEY: &str = "a-key-that-must-never-be-shown";

/// The keys that a summary has at least.
const SUMMARY: [&str; 12] = [
    "sessions",
    "segments",
    "files_ignored",
    "records_found",
    "records_acknowledged",
    "records_already_acknowledged",
    "records_dead_lettered",
    "records_missing",
    "damaged_places",
    "damaged_bytes",
    "bytes_sent",
    "seconds",
];

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Runs the program against a receiver, while that works.
fn against(options: ReceiverOptions, run: impl FnOnce(&str) -> Ran) -> (Ran, Vec<Vec<u8>>) {
    block_on(async {
        let rig = Rig::with(options).await;
        let ran = run(&rig.uri());
        let sessions = rig.finish().await;
        (ran, sessions.into_iter().flat_map(|session| session.records).collect())
    })
}

#[test]
fn without_arguments_it_shows_its_help_and_fails() {
    let ran = Home::new().run(&[]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.all().contains("Usage: sift-replay") && ran.all().contains("Exit codes"), "{ran:?}");
}

#[test]
fn help_and_version_are_no_errors_and_unknown_options_are() {
    let home = Home::new();
    assert_eq!(home.run(&["--help"]).code, Some(0));
    assert_eq!(home.run(&["--version"]).code, Some(0));
    assert_eq!(home.run(&["--no-such-option"]).code, Some(2));
    // A key in an argument would be seen by all users of the computer.
    assert_eq!(home.run(&["--api-key", KEY, "."]).code, Some(2));
}

#[test]
fn a_wrong_path_is_named() {
    let home = Home::new();
    for args in [&["--uri", "http://127.0.0.1:9", "no-such-dir"][..], &["ls", "no-such-dir"]] {
        let ran = home.run(args);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.stderr.contains("no-such-dir"), "{ran:?}");
        assert_eq!(ran.stdout, "");
    }
}

#[test]
fn without_a_destination_it_names_the_ways_to_give_one() {
    let home = Home::new();
    let ran = home.run(&[text(home.path())]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    for way in ["--uri", "SIFT_URI", "sift.toml"] {
        assert!(ran.stderr.contains(way), "{way}: {ran:?}");
    }
}

#[test]
fn plain_http_to_another_computer_needs_a_word() {
    let home = Home::new();
    let ran = home.run(&["--uri", "http://192.0.2.1:50051", text(home.path())]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.stderr.contains("--insecure"), "{ran:?}");
}

#[test]
fn an_endpoint_that_nobody_listens_at_is_a_destination_error() {
    let home = Home::new();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let ran = home.run(&["--give-up-after", "500ms", "--uri", &uri, text(home.path())]);
    assert_eq!(ran.code, Some(4), "{ran:?}");
    assert!(ran.stderr.contains(&uri), "{ran:?}");
    // Nothing was looked into, so that no zero may say that nothing is there.
    assert!(ran.stdout.contains("STOPPED") && !ran.stdout.contains("0 records"), "{ran:?}");
    let ran = home.run(&["--give-up-after", "1ms", "--json", "--uri", &uri, text(home.path())]);
    assert_eq!((ran.code, ran.summary()["complete"].as_bool()), (Some(4), Some(false)), "{ran:?}");
}

#[test]
fn wrong_values_are_2_and_a_right_one_is_shown() {
    let home = Home::new();
    for (args, right) in [
        (&["--from", "2026"][..], "2026-03-01T12:30:00Z"),
        (&["--from", "2026-03-02", "--to", "2026-03-01"], "--from must be before --to"),
        (&["--rate", "5Mbit"], "5MB"),
        (&["--shift-time", "tomorrow"], "-1h"),
        (&["--ack-timeout", "0"], "30s"),
        (&["--after", "archive"], "archive=DIR"),
        (&["--lanes", "65"], "64"),
        (&["--watch", "--dry-run"], "--dry-run"),
    ] {
        let ran = home.run(&[&["--uri", "http://127.0.0.1:1", text(home.path())], args].concat());
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{args:?}: {ran:?}");
        assert!(ran.stderr.contains(right), "{args:?}: {ran:?}");
    }
}

#[test]
fn a_place_without_recordings_is_said_to_be_one() {
    let home = Home::new();
    let file = home.path().join("notes.txt");
    std::fs::write(&file, "nothing here").unwrap();
    let (ran, _) = against(ReceiverOptions::default(), |uri| home.run(&["--uri", uri, text(&file)]));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.contains("NOTHING TO REPLAY") && ran.stderr.contains("notes.txt"), "{ran:?}");
}

#[test]
fn a_wrong_key_is_a_destination_error_and_no_key_is_ever_shown() {
    let home = Home::new();
    let dir = home.path().join("backups");
    session(&dir, &counting("k"), small_frames(), 10);
    let options = || ReceiverOptions { api_key: Some(KEY.to_owned()), ..ReceiverOptions::default() };
    let wrong = "another-key-that-must-not-be-shown";
    for key in [None, Some(wrong)] {
        let (ran, records) = against(options(), |uri| {
            let mut command = home.command(&["-vv", "--uri", uri, text(&dir)]);
            if let Some(key) = key {
                command.env("SIFT_API_KEY", key);
            }
            ran(&mut command)
        });
        assert_eq!((ran.code, records.len()), (Some(4), 0), "{ran:?}");
        assert!(!ran.all().contains(wrong) && !ran.all().contains(KEY), "{ran:?}");
    }
}

#[test]
fn the_key_comes_from_a_file_the_environment_or_a_profile() {
    let home = Home::new();
    let dir = home.path().join("backups");
    session(&dir, &counting("k"), small_frames(), 10);
    let file = home.file("key", &format!("{KEY}\n"));
    let options = || ReceiverOptions { api_key: Some(KEY.to_owned()), ..ReceiverOptions::default() };
    let ways: [&dyn Fn(&str) -> Ran; 5] = [
        &|uri| home.run(&["-vv", "--uri", uri, "--api-key-file", text(&file), text(&dir)]),
        &|uri| ran(home.command(&["-vv", "--uri", uri, text(&dir)]).env("SIFT_API_KEY", KEY)),
        &|uri| ran(home.command(&["-vv", text(&dir)]).env("SIFT_API_KEY", KEY).env("SIFT_URI", uri)),
        &|uri| {
            home.file("sift.toml", &format!("[field]\ngrpc_uri = \"{uri}\"\napikey = \"{KEY}\"\n"));
            home.run(&["-vv", "--profile", "field", text(&dir)])
        },
        &|uri| {
            home.file("sift.toml", &format!("grpc_uri = \"{uri}\"\napikey = \"{KEY}\"\n"));
            home.run(&["-vv", text(&dir)])
        },
    ];
    for way in ways {
        let (ran, records) = against(options(), way);
        assert_eq!((ran.code, records.len()), (Some(0), 10), "{ran:?}");
        assert!(!ran.all().contains(KEY), "{ran:?}");
    }
}

#[test]
fn all_delivered_is_0_and_every_line_of_json_parses() {
    let home = Home::new();
    let dir = home.path().join("backups");
    let files = session(&dir, &flight(counting("k")), small_segments(), 300);
    std::fs::write(dir.join("README"), "not a backup").unwrap();
    let (ran, records) = against(ReceiverOptions::default(), |uri| home.run(&["--json", "--uri", uri, text(&dir)]));
    assert_eq!((ran.code, records.len()), (Some(0), 300), "{ran:?}");
    let summary = ran.summary();
    for key in SUMMARY {
        assert!(summary[key].is_number(), "{key}: {summary}");
    }
    for (key, value) in [
        ("sessions", 1),
        ("segments", files.len() as u64),
        ("files_ignored", 1),
        ("records_found", 300),
        ("records_acknowledged", 300),
        ("records_missing", 0),
        ("damaged_places", 0),
    ] {
        assert_eq!(summary[key].as_u64(), Some(value), "{key}");
    }
    let events: Vec<Value> = ran.json();
    assert!(events.iter().all(|event| event["event"].is_string()));
    assert!(events.iter().any(|event| event["event"] == "registered" && event["run"] == "Flight 7"));
    assert!(events.iter().any(|event| event["event"] == "ignored"));
    assert_eq!(events.iter().filter(|event| event["event"] == "summary").count(), 1);
}

#[test]
fn damage_is_3_and_the_place_is_reported() {
    let home = Home::new();
    let dir = home.path().join("backups");
    let files = session(&dir, &counting("k"), small_frames(), 300);
    let lost = damage_middle_frame(&files[0]);
    let (ran, records) = against(ReceiverOptions::default(), |uri| home.run(&["--json", "--uri", uri, text(&dir)]));
    let count = lost.end - lost.start;
    assert_eq!((ran.code, records.len() as u64), (Some(3), 300 - count), "{ran:?}");
    let summary = ran.summary();
    assert_eq!((summary["damaged_places"].as_u64(), summary["records_missing"].as_u64()), (Some(1), Some(count)));
    assert!(summary["damaged_bytes"].as_u64() > Some(0));
    let events = ran.json();
    let damage = events.iter().find(|event| event["event"] == "damage").unwrap();
    assert_eq!(damage["path"], text(&files[0]));
    assert_eq!((damage["seqs"]["first"].as_u64(), damage["seqs"]["end"].as_u64()), (Some(lost.start), Some(lost.end)));
    // For people, too.
    let (ran, _) = against(ReceiverOptions::default(), |uri| home.run(&["--uri", uri, text(&dir)]));
    assert_eq!(ran.code, Some(3));
    assert!(ran.stdout.contains("INCOMPLETE") && ran.stderr.contains(text(&files[0])), "{ran:?}");
}

#[test]
fn a_schema_that_is_lost_everywhere_is_3() {
    let home = Home::new();
    let dir = home.path().join("backups");
    let files = session(&dir, &counting("k"), small_frames(), 300);
    let mut content = std::fs::read(&files[0]).unwrap();
    let seal = sift_replay::format::decode_trailer(content.last_chunk().unwrap()).unwrap() as usize;
    let begin = frames(&files[0])[0].0.start as usize;
    content[..begin].fill(0);
    std::fs::write(files[0].with_extension("sfr.open"), &content[..seal]).unwrap();
    std::fs::remove_file(&files[0]).unwrap();
    let (ran, records) = against(ReceiverOptions::default(), |uri| home.run(&["--json", "--uri", uri, text(&dir)]));
    assert_eq!((ran.code, records.len()), (Some(3), 0), "{ran:?}");
    assert_eq!(ran.summary()["records_refused"], 300);
    let listed = home.run(&["ls", text(&dir)]);
    assert!(listed.stdout.contains("schema lost"), "{listed:?}");
}

#[test]
fn a_destination_that_never_acknowledges_is_4() {
    let home = Home::new();
    let dir = home.path().join("backups");
    session(&dir, &counting("k"), small_frames(), 100);
    let raw = Raw::start(Mood::Silent { after: 0 });
    let ran =
        home.run(&["--json", "--uri", &raw.uri(), "--ack-timeout", "0.2", "--give-up-after", "500ms", text(&dir)]);
    assert_eq!(ran.code, Some(4), "{ran:?}");
    let summary = ran.summary();
    assert_eq!((summary["records_acknowledged"].as_u64(), summary["records_found"].as_u64()), (Some(0), Some(100)));
    assert!(summary["stopped"].as_str().unwrap().contains("no acknowledgement"), "{summary}");
}

#[cfg(unix)]
#[test]
fn ctrl_c_during_a_replay_is_130() {
    let home = Home::new();
    let dir = home.path().join("backups");
    session(&dir, &counting("k"), small_frames(), 100);
    let raw = Raw::start(Mood::Silent { after: 0 });
    let running = Running::start(home.command(&["--grace", "0.2", "--uri", &raw.uri(), text(&dir)]));
    block_on(raw.seen.silent.notified());
    running.interrupt();
    let (status, _, stderr) = running.wait();
    assert_eq!(status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("interrupted"), "{stderr}");
}

#[test]
fn ls_tells_people_and_scripts_what_is_there() {
    let home = Home::new();
    let dir = home.path().join("backups");
    session(&dir, &flight(counting("k")), small_segments(), 300);
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/pbfs");
    std::fs::copy(samples.join("c3_flipped_byte.pbfs"), dir.join("c3")).unwrap();
    std::fs::write(dir.join("bad\u{1b}[2Jname"), "no backup").unwrap();
    let ran = home.run(&["ls", text(&dir)]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for part in ["rover", "Flight 7", "300", "499", "damaged", "2023-11-14T22:13:20.000Z"] {
        assert!(ran.stdout.contains(part), "{part}: {ran:?}");
    }
    assert!(!ran.all().contains('\u{1b}'), "a file's name commands the terminal: {ran:?}");
    let ran = home.run(&["ls", "--json", text(&dir)]);
    let lines = ran.json();
    let find = |event: &str| lines.iter().find(|line| line["event"] == event).unwrap_or_else(|| panic!("{event}"));
    assert_eq!((find("session")["records"].as_u64(), find("session")["missing"].as_u64()), (Some(300), Some(0)));
    assert_eq!(find("pbfs")["records"], 499);
    assert_eq!(find("ignored")["reason"], "neither a segment nor a PBFS backup");
    assert_eq!(
        (ran.summary()["records_found"].as_u64(), ran.summary()["files_ignored"].as_u64()),
        (Some(799), Some(1))
    );
}

#[cfg(unix)]
#[test]
fn ls_goes_on_behind_what_it_can_not_read() {
    let home = Home::new();
    let dir = home.path().join("backups");
    session(&dir, &counting("good"), RecorderOptions::default(), 5);
    std::fs::write(dir.join("01935f6e-0000-7000-8000-000000000001-000000.sfr"), "").unwrap();
    let ran = home.run(&["ls", text(&dir)]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.contains("rover") && ran.stderr.contains("can't be read"), "{ran:?}");
}
