//! `sift-replay dead-letters`, as people and scripts meet it.

use serde_json::{Value, json};

use super::*;
use crate::support::cli::{Home, Ran};
use crate::support::destination::{Rig, block_on};

/// A home with a drive of backups in it, beside which there are dead letters.
fn home() -> (Home, PathBuf) {
    let home = Home::new();
    let drive = home.path().join("drive");
    let state = drive.join(".sift-replay");
    let (requests, values) = all_types();
    let mut letters = on_disk(&state);
    let origin = drive.join("rover");
    let add = |letters: &mut DeadLetters, subject: &Subject, reason: &str, records: &[RefusedRecord]| {
        letters.add(&target(), subject, Some(&origin), Some(&requests), reason, records).unwrap();
    };
    add(&mut letters, &SESSION, "channel c9 \u{1b}[2Jis no double", &[values]);
    let more = [3, 4, 5, 10, 12, 14].map(record);
    add(&mut letters, &SESSION, "too old", &more);
    letters.finish_all().unwrap();
    (home, drive)
}

fn dead_letters(home: &Home, path: &Path, args: &[&str]) -> Ran {
    let mut all = vec!["dead-letters", path.to_str().unwrap()];
    all.extend(args);
    home.run(&all)
}

#[test]
fn a_table_says_what_was_refused_and_why() {
    let (home, drive) = home();
    let ran = dead_letters(&home, &drive, &[]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    let lines: Vec<_> = ran.stdout.lines().collect();
    assert_eq!(lines.len(), 4, "{ran:?}");
    let Subject::Session(session) = SESSION else { panic!() };
    for words in
        [&["rover", "all", "channel c9 \\u{1b}[2Jis no double"][..], &["1 ", &format!("session {session}, seq 41")]]
    {
        assert!(words.iter().all(|word| lines[1].contains(word)), "{}", lines[1]);
    }
    assert!(lines[2].contains("too old") && lines[2].ends_with("seq 3\u{2013}5, 10, 12, \u{2026}"), "{}", lines[2]);
    assert_eq!(lines[3], "7 dead letters in 1 session");
    assert!(!ran.stdout.contains(target().as_str()));
    // Once there are two who refuse, it is said who did.
    let other = Target::from_text("https://elsewhere.example:443");
    on_disk(&drive.join(".sift-replay")).add(&other, &SESSION, None, None, "no", &records([1])).unwrap();
    let ran = dead_letters(&home, &drive, &[]);
    assert!(ran.stdout.contains(target().as_str()) && ran.stdout.contains(other.as_str()), "{ran:?}");
}

#[test]
fn json_has_an_object_for_each_group_and_a_summary() {
    let (home, drive) = home();
    let ran = dead_letters(&home, &drive, &["--json"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let summary = ran.summary();
    assert_eq!((&summary["records"], &summary["groups"], &summary["sessions"]), (&json!(7), &json!(2), &json!(1)));
    let lines = ran.json();
    let old = &lines[1];
    assert_eq!(old["event"], "dead-letters");
    assert_eq!((&old["reason"], &old["records"], &old["asset"]), (&json!("too old"), &json!(6), &json!("rover")));
    assert_eq!(old["destination"], target().as_str());
    assert_eq!(old["flows"], json!({"f": 6}));
    assert_eq!(old["seqs"][0], json!({"first": 3, "end": 6}));
    let Subject::Session(session) = SESSION else { panic!() };
    assert_eq!(old["origin"], json!({"session": session.to_string()}));
    assert_eq!(old["origin_path"], json!(drive.join("rover").to_str().unwrap()));
    assert_eq!((&old["first_ns"], &old["last_ns"]), (&json!(3), &json!(14)));
}

#[test]
fn an_export_shows_each_value_by_its_name_and_type() {
    let (home, drive) = home();
    let ran = dead_letters(&home, &drive, &["--export"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    let lines = ran.json();
    assert_eq!(lines.len(), 7);
    let letter = &lines[0];
    assert_eq!((&letter["seq"], &letter["flow"]), (&json!(41), &json!("all")));
    assert_eq!(letter["reason"], "channel c9 \u{1b}[2Jis no double");
    assert_eq!(letter["time_ns"], "1700000000000000005");
    assert_eq!(letter["time"], "2023-11-14T22:13:20.000000005Z");
    let value = |channel: &str, kind: &str, value: Value| json!({"channel": channel, "type": kind, "value": value});
    let mut declared = value("c9", "double", json!(2.5));
    declared["declared"] = json!("uint64");
    let expected = [
        value("c0", "double", json!("NaN")),
        value("c1", "string", json!("\u{e9}\"\n")),
        value("c2", "enum", json!(7)),
        value("c3", "bit_field", json!("ff0f")),
        value("c4", "bool", json!(true)),
        value("c5", "float", json!(0.1)),
        value("c6", "int32", json!(-5)),
        value("c7", "uint32", json!(u32::MAX)),
        value("c8", "int64", json!("-9223372036854775808")),
        declared,
        value("c10", "bytes", json!("00ff")),
    ];
    assert_eq!(letter["values"], json!(expected));
    assert_eq!(letter["request"], Value::Null, "what is shown says it all");
    // The second flow isn't in the recording's schema: by position.
    assert_eq!(lines[1]["values"], json!([{"position": 0, "type": "uint64", "value": "3"}]));
    assert_eq!(dead_letters(&home, &drive, &["--export", "--json"]).summary()["records"], 7);
}

#[test]
fn what_an_export_cannot_show_wholly_has_its_bytes() {
    let home = Home::new();
    let mut letters = on_disk(&home.path().join("state"));
    let unknown = [counted(1), vec![0xf8, 0x01, 7]].concat();
    let garbage = vec![0xff, 0x00];
    let all = [(1, &unknown), (2, &garbage)].map(|(seq, bytes)| RefusedRecord { seq, bytes: bytes.clone() });
    letters.add(&target(), &PBFS, None, None, "strange", &all).unwrap();
    let ran = home.run(&["dead-letters", ".", "--state-dir", "state", "--export"]);
    let lines = ran.json();
    assert_eq!(lines[0]["request"], crate::support::format::hex(&unknown), "{ran:?}");
    assert_eq!(lines[0]["values"][0]["value"], "1");
    assert_eq!((&lines[1]["request"], &lines[1]["values"]), (&json!("ff00"), &Value::Null));
    assert_eq!(lines[1]["origin"], json!({"pbfs": "22".repeat(32)}));
    assert_eq!((&lines[1]["asset"], &lines[1]["origin_path"]), (&Value::Null, &Value::Null));
}

#[test]
fn damage_is_told_and_ends_with_its_own_code() {
    let (home, drive) = home();
    let path = files(&drive.join(".sift-replay")).remove(0);
    crate::support::cli::damage_middle_frame(&path);
    let ran = dead_letters(&home, &drive, &[]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(ran.stderr.contains("can't be read") && ran.stderr.contains("lost at byte"), "{ran:?}");
    let ran = dead_letters(&home, &drive, &["--json"]);
    assert_eq!((ran.code, &ran.summary()["troubles"]), (Some(3), &json!(1)));
    assert_eq!(dead_letters(&home, &drive, &["--export"]).code, Some(3));
}

#[test]
fn they_are_found_in_the_users_own_directory_too() {
    let home = Home::new();
    let data = home.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let ran = dead_letters(&home, &data, &[]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "no dead letters\n"), "{ran:?}");
    // Where what can't be kept beside the backups is kept.
    let real = data.canonicalize().unwrap();
    let stand_in = home.path().join("states/sift-replay/paths").join(real.strip_prefix("/").unwrap());
    let state = stand_in.join(".sift-replay");
    let mut letters = on_disk(&state);
    letters.add(&target(), &PBFS, None, None, "no", &records([1])).unwrap();
    let mut command = home.command(&["dead-letters", "data", "--json"]);
    let ran = crate::support::cli::ran(command.env("XDG_STATE_HOME", home.path().join("states")));
    assert_eq!(ran.summary()["records"], 1, "{ran:?}");
    // Nothing was written anywhere.
    assert_eq!(std::fs::read_dir(&data).unwrap().count(), 0);
}

#[test]
fn a_path_that_is_not_there_and_none_at_all_are_errors() {
    let home = Home::new();
    assert_eq!(home.run(&["dead-letters"]).code, Some(2));
    let ran = home.run(&["dead-letters", "nowhere"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("nowhere"), "{ran:?}");
}

#[test]
fn dead_letters_are_replayed_as_any_recording_is() {
    let home = Home::new();
    let state = home.path().join(".sift-replay");
    let mut letters = on_disk(&state);
    letters.add(&target(), &SESSION, None, Some(&requests()), "no", &records([3, 4, 900])).unwrap();
    letters.add(&target(), &SESSION, None, Some(&requests()), "never", &records([0])).unwrap();
    let (ran, sessions) = block_on(async {
        let rig = Rig::start().await;
        let files = dead_letters_for(std::slice::from_ref(&state), &target()).unwrap();
        let ran = home.run(&["--uri", &rig.uri(), "--json", files[0].to_str().unwrap()]);
        (ran, rig.finish().await)
    });
    assert_eq!((ran.code, &ran.summary()["records_acknowledged"]), (Some(0), &json!(4)), "{ran:?}");
    let arrived: Vec<_> = sessions.into_iter().flat_map(|session| session.records).collect();
    assert_eq!(arrived, [3, 4, 900, 0].map(counted));
    let marks: Vec<_> = ran.json().into_iter().filter(|event| event["event"] == "mark").collect();
    assert_eq!(marks[1]["mark"]["kind"], "refused");
    assert_eq!((&marks[1]["mark"]["reason"], &marks[1]["mark"]["records"]), (&json!("never"), &json!(1)));
}
