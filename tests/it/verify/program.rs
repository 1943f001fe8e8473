//! `sift-replay verify` as people and scripts use it.

use serde_json::{Value, json};

use super::{begun, imu_with, name};
use crate::replay::{counting, session, small_frames};
use crate::support::cli::{Home, damage_middle_frame};
use crate::support::desk::tree;
use crate::support::format::golden::{chan, header, imus};
use crate::support::format::{DATA, Flow, FrameSpec, Header, Rec, SESSION, Seg, V};

fn last(text: &str) -> &str {
    text.lines().last().unwrap_or_default()
}

fn put(home: &Home, seg: &Seg) {
    std::fs::create_dir_all(home.path().join("backups")).unwrap();
    std::fs::write(home.path().join("backups").join(name(seg)), &seg.bytes).unwrap();
}

#[test]
fn sound_recordings_are_0_and_nothing_is_changed() {
    let home = Home::new();
    session(&home.path().join("backups"), &counting("k"), small_frames(), 100);
    let before = tree(home.path());
    let ran = home.run(&["verify", "backups"]);
    assert_eq!((ran.code, &ran.stderr[..]), (Some(0), ""), "{ran:?}");
    assert_eq!(last(&ran.stdout), "SOUND: all 100 records are as they should be.");
    assert!(ran.stdout.contains("found                 100 records"), "{ran:?}");
    assert!(tree(home.path()) == before, "something was written");
    let ran = home.run(&["verify", "--json", "backups"]);
    let summary = ran.summary();
    assert_eq!((ran.code, ran.json().len(), &summary["sound"]), (Some(0), 1, &json!(true)), "{ran:?}");
    assert_eq!(summary["origins"][0]["records_found"], 100);
}

#[test]
fn damage_is_3_and_told_on_stdout() {
    let home = Home::new();
    let files = session(&home.path().join("backups"), &counting("k"), small_frames(), 100);
    let lost = damage_middle_frame(&files[0]);
    let ran = home.run(&["verify", "backups"]);
    assert_eq!((ran.code, &ran.stderr[..]), (Some(3), ""), "{ran:?}");
    assert!(ran.stdout.starts_with("damaged: backups/"), "{ran:?}");
    let count = lost.end - lost.start;
    assert_eq!(
        last(&ran.stdout),
        format!(
            "NOT SOUND: 1 place is damaged; {count} records are missing. `sift-replay repair` makes sound copies of \
             what can be read."
        )
    );
    // Quiet: the figures alone.
    let quiet = home.run(&["verify", "-q", "backups"]);
    assert_eq!(quiet.code, Some(3));
    assert!(quiet.stdout.starts_with("sessions  ") && last(&quiet.stdout) == last(&ran.stdout), "{quiet:?}");
}

#[test]
fn a_wrong_path_is_1_wrong_usage_2_and_nothing_there_is_said() {
    let home = Home::new();
    let ran = home.run(&["verify", "no-such-dir"]);
    assert_eq!((ran.code, &ran.stdout[..]), (Some(1), ""), "{ran:?}");
    assert!(ran.stderr.contains("no-such-dir"), "{ran:?}");
    assert_eq!(home.run(&["verify"]).code, Some(2));
    assert_eq!(home.run(&["verify", "--no-such-option", "."]).code, Some(2));
    let ran = home.run(&["verify", "."]);
    assert!(ran.code == Some(0) && last(&ran.stdout).starts_with("NOTHING TO VERIFY"), "{ran:?}");
}

/// A torn end is ordinary; a file that can't be read isn't.
#[test]
fn a_torn_end_is_0_and_a_file_that_can_not_be_read_is_3() {
    let home = Home::new();
    let mut seg = begun();
    seg.data(&imus(2, 1), false);
    seg.bytes.pop();
    put(&home, &seg);
    let ran = home.run(&["verify", "backups"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.starts_with("torn: ") && ran.stdout.contains("torn ends             1 file"), "{ran:?}");
    std::fs::write(home.path().join("backups").join(format!("{SESSION}-000001.sfr")), "").unwrap();
    let ran = home.run(&["verify", "backups"]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(last(&ran.stdout).contains("1 file can't be read"), "{ran:?}");
}

/// Each event has exactly the fields that the README's table names.
#[test]
fn json_has_the_fields_that_are_documented() {
    let home = Home::new();
    let nan = imu_with(V::F64(f64::NAN));
    let mut seg = Seg::new(Header { first_seq: 1, ..header(0) });
    let wrong: Vec<Rec> = (0..12).map(|_| imu_with(V::Bool(true))).collect();
    seg.data(&imus(0, 1), false).data(&[nan], false).data(&wrong, false);
    let copy = seg.clone();
    seg.seal();
    put(&home, &seg);
    let mut other = Seg::new(Header { first_seq: 1, ..header(0) });
    other.data(&imus(50, 1), false);
    let mut bytes = other.bytes.clone();
    bytes.extend(&copy.bytes[copy.bytes.len() - 300..][..60]);
    std::fs::write(home.path().join("backups/other"), &bytes).unwrap();
    std::fs::write(home.path().join("backups/notes"), "nothing").unwrap();
    let ran = home.run(&["verify", "--json", "backups"]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    let fields = |event: &str| {
        let line = ran.json().into_iter().find(|line| line["event"] == event);
        let line = line.unwrap_or_else(|| panic!("no {event}: {ran:?}"));
        let fields: Vec<String> = line.as_object().unwrap().keys().cloned().collect();
        fields.join(" ")
    };
    assert_eq!(fields("ignored"), "event path reason");
    assert_eq!(fields("damage"), "bytes cause event offset path seqs");
    assert_eq!(fields("invalid"), "event offset path reason seq");
    assert_eq!(fields("non_finite"), "channel event flow path values");
    assert_eq!(fields("differs"), "event other path seqs session");
    assert_eq!(fields("missing"), "event seqs session");
    assert_eq!(fields("more"), "event of path session untold");
    let summary = ran.summary();
    for (field, value) in [
        ("sessions", 1),
        ("segments", 2),
        ("files_ignored", 1),
        ("records_found", 14),
        ("records_invalid", 12),
        ("records_differing", 1),
        ("records_missing", 1),
        ("values_non_finite", 1),
        ("damaged_places", 1),
        ("damaged_bytes", 60),
        ("contradictions", 0),
    ] {
        assert_eq!(summary[field], value, "{field}: {summary}");
    }
    assert_eq!(summary["sound"], Value::Bool(false));
}

#[test]
fn a_hundred_thousand_bad_records_take_a_few_lines() {
    let home = Home::new();
    let mut seg = begun();
    let wrong = imu_with(V::Bool(true));
    let (mut spec, event) = seg.data_spec(&[wrong], false);
    spec = FrameSpec { count: 100_000, times: spec.times, ..FrameSpec::new(DATA, 2, spec.stored.repeat(100_000)) };
    seg.data_frame(&[], spec, event);
    put(&home, &seg);
    let ran = home.run(&["verify", "backups"]);
    assert_eq!(ran.code, Some(3));
    assert!(ran.stdout.lines().count() < 30, "{ran:?}");
    assert!(ran.stdout.contains("99,990 more (--all tells each)"), "{ran:?}");
    assert!(last(&ran.stdout).starts_with("NOT SOUND: 100,000 records are invalid."), "{ran:?}");
    assert_eq!(home.run(&["verify", "backups", "--json", "--all"]).json().len(), 100_001);
}

/// What a file says never reaches the terminal as it is, and never fills it.
#[test]
fn names_can_not_command_the_terminal_or_fill_it() {
    const NAME: &str = "a\x1b[2Jb\nc\r\u{9b}";
    let home = Home::new();
    let long: &'static str = String::leak("x".repeat(1 << 20));
    let flow = Flow { name: NAME, channels: vec![chan(NAME, "", 1)] };
    let mut seg = Seg::new(Header { flows: vec![flow], ..header(0) });
    let record = |flow, value| Rec::new(flow, 1, 0, vec![value]);
    seg.data(&[record(NAME, V::Bool(true)), record(long, V::Bool(true)), record("\x1b]0;t\x07", V::Empty)], false);
    seg.data(&[record(NAME, V::F64(f64::NAN))], false);
    put(&home, &seg);
    std::fs::write(home.path().join("backups/no\x1b[1mte\ns"), "nothing").unwrap();
    let (people, json) = (char::is_control as fn(char) -> bool, (|c| c.is_ascii_control()) as fn(char) -> bool);
    for (args, is_control) in [(&["verify", "backups"][..], people), (&["verify", "backups", "--json"], json)] {
        let ran = home.run(args);
        assert_eq!(ran.code, Some(3), "{ran:?}");
        let bad = |c: char| is_control(c) && c != '\n';
        assert!(!ran.stdout.contains(bad) && ran.stderr.is_empty(), "{ran:?}");
        assert!(ran.stdout.lines().all(|line| line.len() < 2000) && ran.stdout.lines().count() < 30, "{ran:?}");
    }
}
