//! The program on such disks: nothing counts as delivered that isn't noted, nothing is acknowledged that isn't kept, and
//! when there is room again, it goes on where it was.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use tonic::Status;

use super::{disk, done, fill, on_a_disk, remount};
use crate::replay::{counting, flight, recorded, session, small_segments};
use crate::support::cli::{Home, Ran, Running};
use crate::support::desk::{Desk, figures};
use crate::support::destination::received;
use crate::support::faulty::RecordId;

/// Records of the backup.
const RECORDS: u64 = 300;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn backup(dir: &Path) -> Vec<PathBuf> {
    session(dir, &flight(counting("k")), small_segments(), RECORDS)
}

/// How many records the server has acknowledged.
fn acknowledged(desk: &Desk) -> u64 {
    desk.faulty.seen().records.values().filter(|copies| copies.acknowledged > 0).count() as u64
}

#[track_caller]
fn says(ran: &Ran, parts: &[&str]) {
    for part in parts {
        assert!(ran.all().contains(part), "it doesn't say {part:?}: {ran:?}");
    }
}

/// With so many pages free, from none to enough: whatever fits is kept, and nothing else counts.
#[test]
#[ignore = "a child of `checkpoints_and_dead_letters_on_a_full_disk_are_kept_or_what_they_are_about_is_sent_again`"]
fn child_whose_state_has_no_room() {
    let disk = disk();
    let (mut failed, mut held) = (0, 0);
    for free in [0, 1, 2, 3, 4, 5, 6, 8, 12, 30] {
        let desk = Desk::new();
        backup(&desk.dir());
        // Each tenth is refused, and becomes a dead letter.
        let is_refused = |id: &RecordId| (id.time - 1_700_000_000_000_000_000) % 10 == 3;
        desk.faulty.refuse(move |request| {
            let nanos = request.timestamp.as_ref().map_or(0, |time| time.nanos);
            (nanos % 10 == 3).then(|| Status::invalid_argument("not this one"))
        });
        let ballast = fill(&disk, free);
        let state = disk.join("state");
        let args = ["--state-dir", text(&state), "--window-bytes", "1000"];
        let ran = desk.replay(&args);
        match ran.code {
            Some(1) => {
                failed += 1;
                says(&ran, &["No space left on device", text(&state)]);
            }
            code => {
                assert_eq!(code, Some(3), "{free} pages: {ran:?}");
                held += 1;
            }
        }
        // What is noted was acknowledged; what is noted as a dead letter can be read.
        let known = desk.home.run(&["checkpoints", "backups", "--state-dir", text(&state), "--json"]).summary();
        assert!(known["records_acknowledged"].as_u64().unwrap() <= acknowledged(&desk), "{known}");
        let letters = desk.home.run(&["dead-letters", "backups", "--state-dir", text(&state), "--json"]).summary();
        assert!(known["records_dead_lettered"].as_u64() <= letters["records"].as_u64(), "{known} {letters}");
        // With room, the rest is done: each record is acknowledged or a dead letter.
        std::fs::remove_file(ballast).unwrap();
        let ran = desk.replay(&args);
        assert_eq!(ran.code, Some(3), "{ran:?}");
        assert_eq!(figures(&ran, &["records_found", "records_dead_lettered"]), [RECORDS, RECORDS / 10], "{free}");
        let seen = desk.faulty.seen();
        let all = seen.records.iter().all(|(id, copies)| is_refused(id) != (copies.acknowledged > 0));
        assert!(all && acknowledged(&desk) == RECORDS - RECORDS / 10, "{free}");
        std::fs::remove_dir_all(state).unwrap();
    }
    assert!(failed >= 3 && held >= 1, "{failed} failed, {held} held");
    done();
}

#[test]
fn checkpoints_and_dead_letters_on_a_full_disk_are_kept_or_what_they_are_about_is_sent_again() {
    on_a_disk("size=512k", "program::child_whose_state_has_no_room");
}

#[test]
#[ignore = "a child of `an_archive_on_a_full_disk_takes_nothing_and_what_was_to_go_stays`"]
fn child_whose_archive_is_full() {
    let (disk, desk) = (disk(), Desk::new());
    let files = session(&desk.dir(), &flight(counting("k")), small_segments(), 2000);
    let (archive, expected) = (disk.join("archive"), recorded(&files));
    std::fs::create_dir(&archive).unwrap();
    let ballast = fill(&disk, 3);
    let after = format!("archive={}", archive.display());
    let ran = desk.replay(&["--after", &after]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let kept: Vec<_> = ran.json().into_iter().filter(|line| line["event"] == "kept").collect();
    let [archived, deleted] = figures(&ran, &["files_archived", "files_deleted"])[..] else { panic!() };
    assert!(!kept.is_empty() && archived < files.len() as u64 && deleted == 0, "{ran:?}");
    for line in &kept {
        let reason = line["reason"].as_str().unwrap();
        assert!(reason.contains("No space left on device") && reason.contains(text(&archive)), "{line}");
    }
    // Each file is whole in one place or the other, and nowhere is half of one.
    let there =
        |dir: &Path| files.iter().filter(|file| dir.join(file.strip_prefix(desk.dir()).unwrap()).is_file()).count();
    assert_eq!(there(&desk.dir()) + there(&archive), files.len());
    assert_eq!(archived as usize, there(&archive));
    // With room, the next replay puts the rest away, and sends nothing again.
    std::fs::remove_file(ballast).unwrap();
    let ran = desk.replay(&["--after", &after]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(figures(&ran, &["records_acknowledged"]), [0]);
    assert_eq!(there(&archive), files.len(), "{ran:?}");
    let archived: Vec<_> = files.iter().map(|file| archive.join(file.strip_prefix(desk.dir()).unwrap())).collect();
    assert_eq!(recorded(&archived), expected);
    done();
}

#[test]
fn an_archive_on_a_full_disk_takes_nothing_and_what_was_to_go_stays() {
    on_a_disk("size=256k", "program::child_whose_archive_is_full");
}

/// Records that take some twenty pages where they are received.
const MANY: u64 = 5000;

/// A stream that can't be kept isn't acknowledged.
#[test]
#[ignore = "a child of `a_receiver_on_a_full_disk_acknowledges_only_what_it_keeps`"]
fn child_that_receives_on_a_full_disk() {
    let disk = disk();
    let mut refused = 0;
    for free in [2, 5, 9, 45] {
        let home = Home::new();
        let dir = home.path().join("backups");
        let expected = recorded(&session(&dir, &flight(counting("k")), small_segments(), MANY));
        std::fs::create_dir(disk.join("received")).unwrap();
        let ballast = fill(&disk, free);
        let into = disk.join("received");
        let args = ["receive", "--listen", "127.0.0.1:0", "--json", "--into", text(&into)];
        let mut running = Running::start(home.command(&args));
        let listening = running.json_line();
        let uri = format!("http://{}", listening["address"].as_str().unwrap());
        let args = ["--json", "--uri", &uri, "--give-up-after", "1s", "--window-bytes", "1000", text(&dir)];
        let ran = home.run(&args);
        let acknowledged = ran.summary()["records_acknowledged"].as_u64().unwrap();
        if acknowledged < MANY {
            refused += 1;
            assert_ne!(ran.code, Some(0), "{ran:?}");
            says(&ran, &["No space left on device"]);
        }
        // Whatever happens to it now.
        running.kill();
        let kept: Vec<_> = received(&into).into_iter().flat_map(|session| session.records).collect();
        assert!(kept.len() as u64 >= acknowledged, "{} kept, {acknowledged} acknowledged", kept.len());
        // Each record that counts as acknowledged is there: those in between may be on their way, on another lane.
        let there: BTreeSet<i128> = kept.iter().map(|record| RecordId::of(record).time).collect();
        let known = home.run(&["checkpoints", text(&dir), "--json"]).json();
        let ranges = known.iter().filter(|line| line["event"] == "session").flat_map(|line| {
            let ranges = line["acknowledged"].as_array().unwrap().iter();
            ranges.map(|range| range[0].as_u64().unwrap() as usize..range[1].as_u64().unwrap() as usize)
        });
        let seqs: Vec<usize> = ranges.flatten().collect();
        assert_eq!(seqs.len() as u64, acknowledged);
        assert!(seqs.iter().all(|&seq| there.contains(&RecordId::of(&expected[seq]).time)));
        std::fs::remove_file(ballast).unwrap();
        std::fs::remove_dir_all(into).unwrap();
    }
    assert!(refused >= 2, "{refused}");
    done();
}

#[test]
fn a_receiver_on_a_full_disk_acknowledges_only_what_it_keeps() {
    on_a_disk("size=256k", "program::child_that_receives_on_a_full_disk");
}

/// Nothing is ever written to it, all the same it is delivered, and known afterwards.
#[test]
#[ignore = "a child of `backups_on_a_read_only_disk_are_delivered_once`"]
fn child_with_read_only_backups() {
    let (disk, desk) = (disk(), Desk::new());
    let dir = disk.join("backups");
    backup(&dir);
    remount(&disk, "ro");
    let ran = desk.replay_at(&[text(&dir)], &["--after", "delete"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(figures(&ran, &["records_acknowledged", "files_deleted"]), [RECORDS, 0]);
    says(&ran, &["Read-only file system"]);
    let ran = desk.replay_at(&[text(&dir)], &[]);
    assert_eq!(figures(&ran, &["records_acknowledged", "records_already_acknowledged"]), [0, RECORDS]);
    // Who names a directory there is told.
    let ran = desk.replay_at(&[text(&dir)], &["--state-dir", text(&disk.join("state"))]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    says(&ran, &["Read-only file system", "--state-dir", text(&disk)]);
    let after = format!("archive={}", disk.join("archive").display());
    let ran = desk.replay_at(&[text(&dir)], &["--after", &after]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    says(&ran, &["can't archive to", "Read-only file system", "name a directory that can be written"]);
    let ran = desk.home.run(&["receive", "--listen", "127.0.0.1:0", "--into", text(&disk.join("received"))]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    says(&ran, &["Read-only file system", text(&disk)]);
    done();
}

#[test]
fn backups_on_a_read_only_disk_are_delivered_once() {
    on_a_disk("size=1m", "program::child_with_read_only_backups");
}

/// Without any mount: a file of checkpoints may not grow, as by a quota.
#[test]
fn checkpoints_that_can_not_grow_end_the_replay_and_nothing_counts_that_is_not_noted() {
    for blocks in ["0", "1", "2", "4"] {
        let desk = Desk::new();
        backup(&desk.dir());
        let uri = desk.faulty.uri();
        let program =
            desk.home.command(&["backups", "--uri", &uri, "--json", "--window-bytes", "200", "--state-dir", "state"]);
        let mut command = std::process::Command::new("sh");
        command.args(["-c", &format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"")]);
        command.arg(program.get_program()).args(program.get_args()).current_dir(desk.home.path()).env_clear();
        command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let ran = crate::support::cli::ran(&mut command);
        desk.faulty.wait(|seen| seen.open_streams == 0);
        if ran.code != Some(0) {
            assert_eq!(ran.code, Some(1), "{blocks}: {ran:?}");
            says(&ran, &["File too large", "state"]);
        }
        assert!(blocks != "0" || ran.code == Some(1), "{ran:?}");
        let known = desk.home.run(&["checkpoints", "backups", "--state-dir", "state", "--json"]).summary();
        assert!(known["records_acknowledged"].as_u64().unwrap() <= acknowledged(&desk), "{known}");
        // Without the limit, it goes on where it was.
        let ran = desk.replay(&["--state-dir", "state"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert_eq!(acknowledged(&desk), RECORDS);
    }
}
