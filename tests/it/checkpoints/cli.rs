//! `sift-replay checkpoints` as people and scripts use it.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::*;
use crate::support::cli::{Home, Ran};

/// A home with a directory of backups about which something is known.
struct Known {
    home: Home,
}

impl Known {
    fn new() -> Self {
        let known = Self { home: Home::new() };
        std::fs::create_dir(known.backups()).unwrap();
        let checkpoints = known.open();
        save(&checkpoints, 1..9).unwrap();
        let other = Target::new("http://127.0.0.1:50051", None, &Rewrite::default());
        let seqs = 0..1_000;
        let fact = Checkpoint::Session { session: SESSION, seqs, outcome: Outcome::Acknowledged };
        block_on(checkpoints.save(&other, vec![fact])).unwrap();
        known
    }

    fn backups(&self) -> PathBuf {
        self.home.path().join("backups")
    }

    /// What the program takes for the user's state directory.
    fn open(&self) -> Checkpoints {
        let user = self.home.path().join(".local/state");
        Checkpoints::open(real_disk(), StateDirs::resolve_in(&[self.backups()], None, Some(&user))).unwrap()
    }

    fn run(&self, args: &[&str]) -> Ran {
        self.home.run(&[&["checkpoints", "backups"], args].concat())
    }

    /// What is shown, by destination and session.
    fn shown(&self) -> Vec<Value> {
        let ran = self.run(&["--json"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        ran.json()
    }
}

/// Every file below `dir` with its content.
fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    let mut entries: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            files.extend(self::files(&path));
        } else {
            files.push((path.clone(), std::fs::read(&path).unwrap()));
        }
    }
    files
}

#[test]
fn it_shows_what_is_known_and_from_where() {
    let known = Known::new();
    let ran = known.run(&[]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for text in [
        "delivered to https://sift.example:443 organization=\"org\"",
        "delivered to http://127.0.0.1:50051",
        &SESSION.to_string(),
        "10 to 14 · 20 to 24 · 30 to 34 · 50 to 54 · and 2 ranges more",
        "0 to 999",
        "PBFS 0707070707070707…",
        "the first 8 B (2 marks)",
    ] {
        assert!(ran.stdout.contains(text), "{text:?} isn't in {}", ran.stdout);
    }
    for text in ["backups/.sift-replay", "sift-replay/shared"] {
        assert!(ran.stderr.contains(text), "{text:?} isn't in {}", ran.stderr);
    }
    let lines = known.shown();
    let session = lines.iter().find(|line| line["destination"] == "https://sift.example:443").unwrap();
    assert_eq!(session["session"], SESSION.to_string());
    assert_eq!((&session["records_acknowledged"], &session["records_dead_lettered"]), (&json!(20), &json!(10)));
    assert_eq!(session["dead_lettered"], json!([[30, 35], [60, 65]]));
    let summary = lines.last().unwrap();
    assert_eq!(summary["event"], "summary");
    assert_eq!((&summary["targets"], &summary["sessions"], &summary["pbfs_files"]), (&json!(2), &json!(2), &json!(1)));
    let only = known.run(&["--json", "--destination", "http://127.0.0.1:50051/", "--session", &SESSION.to_string()]);
    assert_eq!((only.json().len(), &only.summary()["records_acknowledged"]), (2, &json!(1_000)));
}

#[test]
fn showing_writes_nothing_and_needs_no_lock() {
    let known = Known::new();
    let at_work = known.open();
    let before = files(known.home.path());
    assert_eq!(known.shown().len(), 4);
    assert_eq!(files(known.home.path()), before);
    // It does see what is written meanwhile.
    save(&at_work, [13]).unwrap();
    let lines = known.shown();
    let session = lines.iter().find(|line| line["destination"] == "https://sift.example:443").unwrap();
    assert_eq!(session["records_acknowledged"], 25);
    let nothing = Home::new();
    let ran = nothing.run(&["checkpoints", "no-such-dir"]);
    assert_eq!((ran.code, &ran.stdout[..]), (Some(0), ""), "{ran:?}");
    assert!(ran.stderr.contains("nothing is known"), "{ran:?}");
    assert_eq!(files(nothing.path()), []);
}

#[test]
fn forgetting_asks_first_and_says_what_it_forgets() {
    let known = Known::new();
    for (args, needed) in [
        (&["--reset"][..], "--session"),
        (&["--reset", "--yes"], "--all"),
        (&["--reset", "--all"], "--yes"),
        (&["--reset", "--session", &SESSION.to_string()], "--yes"),
        (&["--reset", "--session", "nonsense", "--yes"], "--session"),
        (&["--reset", "--destination", "ftp://x", "--yes"], "ftp://x"),
        (&["--all"], "--reset"),
        (&["--yes"], "--reset"),
        (&["--reset", "--all", "--session", &SESSION.to_string(), "--yes"], "--all"),
    ] {
        let ran = known.run(args);
        assert_eq!(ran.code, Some(2), "{args:?}: {ran:?}");
        assert!(ran.stderr.contains(needed), "{args:?}: {ran:?}");
    }
    assert_eq!(known.shown().len(), 4);
    let ran = known.run(&["--reset", "--destination", "HTTP://127.0.0.1:50051", "--yes"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.contains("forgotten: 1,000 records"), "{ran:?}");
    assert!(ran.stderr.contains("backups/.sift-replay") && ran.stderr.contains("sift-replay/shared"), "{ran:?}");
    assert_eq!(known.shown().len(), 3);
    let ran = known.run(&["--reset", "--session", &SESSION.to_string(), "--yes", "--json"]);
    let summary = ran.summary();
    assert_eq!((&summary["records_forgotten"], &summary["kept"]), (&json!(30), &json!([])), "{ran:?}");
    assert_eq!(known.shown()[0]["event"], "pbfs");
    assert_eq!(known.run(&["--reset", "--all", "--yes"]).code, Some(0));
    assert_eq!(known.shown().len(), 1);
    // Once more: there is nothing.
    let ran = known.run(&["--reset", "--all", "--yes"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stderr.contains("nothing to forget"), "{ran:?}");
}

#[test]
fn forgetting_while_a_replay_is_at_work_is_refused() {
    let known = Known::new();
    let at_work = known.open();
    let ran = known.run(&["--reset", "--all", "--yes"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let pid = format!("process {}", std::process::id());
    assert!(ran.stderr.contains("another sift-replay") && ran.stderr.contains(&pid), "{ran:?}");
    drop(at_work);
    assert_eq!(known.shown().len(), 4);
}

#[test]
fn what_cannot_be_forgotten_is_named_and_is_not_a_success() {
    let known = Known::new();
    // What a later version wrote isn't this one's to throw away.
    let journals = known.backups().join(".sift-replay/checkpoints");
    let name = std::fs::read_dir(&journals).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&name).unwrap();
    let uuid: Uuid = name.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    let later = crate::support::format::FrameSpec::new(77, 0, b"later".to_vec());
    bytes.extend(later.encode(crate::support::format::segment_id(uuid.as_bytes(), 0), bytes.len() as u64));
    std::fs::write(&name, bytes).unwrap();
    let ran = known.run(&["--reset", "--all", "--yes"]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(ran.stderr.contains(name.file_name().unwrap().to_str().unwrap()), "{ran:?}");
    assert!(ran.stderr.contains("later version"), "{ran:?}");
}

#[test]
fn a_state_directory_that_is_given_is_the_only_one_looked_into() {
    let known = Known::new();
    let ran = known.run(&["--json", "--state-dir", "elsewhere"]);
    assert_eq!((ran.code, ran.json().len()), (Some(0), 1), "{ran:?}");
    let ran = known.run(&["--json", "--state-dir", "backups/.sift-replay"]);
    assert_eq!((ran.code, ran.json().len()), (Some(0), 4), "{ran:?}");
}
