//! `sift-replay dead-letters --retry`: the way back.

mod edges;

use std::collections::BTreeSet;

use serde_json::json;
use sift_replay::record::{Recorder, RecorderOptions, Timestamp};
use tonic::Status;

use super::*;
use crate::support::backup::{Backup, put_chunk};
use crate::support::cli::{Home, Ran, Running, ran};
use crate::support::faulty::{Fate, Faulty, RecordId, Request, Server};
use crate::support::recording::flow_of;

/// A backup, and a server that may refuse some of it.
struct Desk {
    home: Home,
    backups: PathBuf,
    faulty: Faulty,
}

fn time_of(request: &Request) -> i64 {
    request.timestamp.as_ref().map_or(0, |time| time.seconds * 1_000_000_000 + i64::from(time.nanos))
}

impl Desk {
    fn new() -> Self {
        let home = Home::new();
        let backups = home.path().join("backups");
        std::fs::create_dir(&backups).unwrap();
        Self { home, backups, faulty: Faulty::start() }
    }

    /// With sessions of so many records each.
    fn sound(sessions: u64, records: u64) -> (Self, Backup) {
        let desk = Self::new();
        let backup = Backup::sound(&desk.backups, 11, sessions, records);
        (desk, backup)
    }

    fn command(&self, before: &[&str], server: &Server, more: &[&str]) -> std::process::Command {
        let uri = server.uri();
        let args = [before, &[self.backups.to_str().unwrap(), "--uri", &uri], more].concat();
        let mut command = self.home.command(&args);
        command.env("XDG_STATE_HOME", self.home.path().join("xdg-state"));
        command
    }

    fn replay(&self, more: &[&str]) -> Ran {
        ran(&mut self.command(&["--json"], &self.faulty, more))
    }

    fn retry(&self) -> Ran {
        ran(&mut self.command(&["dead-letters", "--retry", "--json"], &self.faulty, &[]))
    }

    /// The dead letters as a list shows them: their seqs in their sessions or files.
    fn listed(&self) -> Vec<u64> {
        let ran = ran(&mut self.command(&["dead-letters", "--export"], &self.faulty, &[]));
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let mut seqs: Vec<_> = ran.json().iter().map(|line| line["seq"].as_u64().unwrap()).collect();
        seqs.sort_unstable();
        seqs
    }

    fn state(&self) -> PathBuf {
        self.backups.join(".sift-replay")
    }

    fn files(&self) -> Vec<PathBuf> {
        if self.state().join(DEAD_LETTERS_DIR).is_dir() { files(&self.state()) } else { Vec::new() }
    }

    /// All is delivered, everything counts so, and nothing is sent again.
    #[track_caller]
    fn check_healed(&self) {
        assert_eq!(self.files(), Vec::<PathBuf>::new());
        assert_eq!(self.listed(), Vec::<u64>::new());
        let messages = self.faulty.seen().messages;
        let again = self.replay(&[]);
        let summary = again.summary();
        assert_eq!(again.code, Some(0), "{again:?}");
        assert_eq!((&summary["records_dead_lettered"], &summary["records_acknowledged"]), (&json!(0), &json!(0)));
        assert_eq!(summary["records_already_acknowledged"], summary["records_found"]);
        let nothing = self.retry();
        assert_eq!((nothing.code, &nothing.summary()["records_found"]), (Some(0), &json!(0)), "{nothing:?}");
        assert!(nothing.stderr.contains("no dead letters of http"), "{nothing:?}");
        assert_eq!(self.faulty.seen().messages, messages, "nothing is sent again");
    }
}

/// Refuses the records of these times.
fn refuse(server: &Server, times: impl IntoIterator<Item = i64>) {
    let times: BTreeSet<i64> = times.into_iter().collect();
    server.refuse(move |request| {
        times.contains(&time_of(request)).then(|| Status::invalid_argument("the sensor wasn't known"))
    });
}

fn times(backup: &Backup, every: usize) -> Vec<i64> {
    backup.readable().step_by(every).map(|record| record.time as i64).collect()
}

#[test]
fn dead_letters_that_are_accepted_after_all_count_as_acknowledged() {
    let (desk, backup) = Desk::sound(3, 200);
    refuse(&desk.faulty, times(&backup, 20));
    let first = desk.replay(&[]);
    assert_eq!((first.code, &first.summary()["records_dead_lettered"]), (Some(3), &json!(30)), "{first:?}");
    // They are counted, and make the exit code, as long as they aren't delivered.
    let second = desk.replay(&[]);
    assert_eq!((second.code, &second.summary()["records_dead_lettered"]), (Some(3), &json!(30)), "{second:?}");
    assert_eq!(desk.listed().len(), 30);
    desk.faulty.heal();
    let retried = desk.retry();
    let summary = retried.summary();
    assert_eq!(retried.code, Some(0), "{retried:?}");
    assert_eq!((&summary["records_found"], &summary["records_acknowledged"]), (&json!(30), &json!(30)));
    assert_eq!(summary["files_deleted"], 3);
    let seen = desk.faulty.seen();
    for record in backup.readable() {
        let copies = seen.copies(record);
        assert_eq!(copies.acknowledged, 1, "{record:?}");
        assert_eq!(copies.under.len(), 1, "under the ids of its session: {copies:?}");
    }
    desk.check_healed();
}

#[test]
fn what_is_refused_again_stays_where_it_is_and_is_not_kept_twice() {
    let (desk, backup) = Desk::sound(2, 200);
    let refused = times(&backup, 10);
    refuse(&desk.faulty, refused.clone());
    assert_eq!(desk.replay(&[]).code, Some(3));
    let (before, still) = (desk.files(), refused.iter().copied().step_by(4).collect::<Vec<_>>());
    refuse(&desk.faulty, still.clone());
    for acknowledged in [30, 0] {
        let retried = desk.retry();
        let summary = retried.summary();
        assert_eq!(retried.code, Some(3), "{retried:?}");
        assert_eq!((&summary["records_acknowledged"], &summary["records_refused"]), (&json!(acknowledged), &json!(10)));
        assert_eq!(summary["records_dead_lettered"], 0);
        assert_eq!((desk.files(), desk.listed().len()), (before.clone(), 10));
        let again = desk.replay(&[]);
        assert_eq!((again.code, &again.summary()["records_dead_lettered"]), (Some(3), &json!(10)), "{again:?}");
    }
    let text = ran(&mut desk.command(&["dead-letters", "--retry"], &desk.faulty, &[]));
    assert!(text.stdout.contains("INCOMPLETE: 10 records were not delivered"), "{text:?}");
    desk.faulty.heal();
    assert_eq!(desk.retry().code, Some(0));
    assert_eq!(desk.faulty.seen().acknowledged_twice(), 0);
    desk.check_healed();
}

#[test]
fn a_thousand_refused_again_do_not_hold_up_those_behind() {
    let (desk, backup) = Desk::sound(1, 1300);
    let all = times(&backup, 1);
    // Some are taken, so that it isn't taken for a wrong destination.
    refuse(&desk.faulty, all[100..].to_vec());
    assert_eq!(desk.replay(&[]).summary()["records_dead_lettered"], 1200);
    refuse(&desk.faulty, all[..1290].to_vec());
    let retried = desk.retry();
    assert_eq!((retried.code, &retried.summary()["records_acknowledged"]), (Some(3), &json!(10)), "{}", retried.stderr);
}

#[test]
fn dead_letters_of_the_librarys_backups_count_as_acknowledged_too() {
    let desk = Desk::new();
    let path = desk.backups.join("theirs-1700000000000000");
    let chunk = |times: std::ops::Range<u64>| {
        let mut file = Vec::new();
        let messages: Vec<_> = times.map(|time| [&[0x0a, 6][..], b"theirs", &counted(time)].concat()).collect();
        put_chunk(&mut file, &messages);
        file
    };
    std::fs::write(&path, chunk(1..11)).unwrap();
    refuse(&desk.faulty, [3, 4, 13]);
    assert_eq!((desk.replay(&[]).code, desk.listed()), (Some(3), vec![2, 3]));
    // One is taken, the other is refused again.
    refuse(&desk.faulty, [4, 13]);
    assert_eq!(desk.retry().code, Some(3));
    let again = desk.replay(&[]);
    assert_eq!((again.code, &again.summary()["records_dead_lettered"]), (Some(3), &json!(1)), "{again:?}");
    // It grows, and one more is refused.
    let grown = [std::fs::read(&path).unwrap(), chunk(11..21)].concat();
    std::fs::write(&path, grown).unwrap();
    for _ in 0..2 {
        let again = desk.replay(&[]);
        assert_eq!((again.code, &again.summary()["records_dead_lettered"]), (Some(3), &json!(2)), "{again:?}");
    }
    assert_eq!(desk.listed(), [3, 12]);
    desk.faulty.heal();
    let retried = desk.retry();
    assert_eq!((retried.code, &retried.summary()["records_acknowledged"]), (Some(0), &json!(2)), "{retried:?}");
    let seen = desk.faulty.seen();
    assert!(seen.records.values().all(|copies| copies.acknowledged == 1), "{:?}", seen.records);
    // Under the ids that they carry.
    assert!(seen.records.values().all(|copies| copies.under.iter().all(|[config, ..]| config == "theirs")));
    desk.check_healed();
}

#[test]
fn what_was_rewritten_is_rewritten_again() {
    let (desk, backup) = Desk::sound(2, 100);
    const HOUR: i64 = 3_600_000_000_000;
    let shifted = |time: i64| time - HOUR;
    refuse(&desk.faulty, times(&backup, 10).into_iter().map(shifted));
    let rewriting = ["--asset-as", "a \"quoted\" one", "--run", "again", "--shift-time", "-1h"];
    assert_eq!(desk.replay(&rewriting).code, Some(3));
    // The same ones, as they are.
    refuse(&desk.faulty, times(&backup, 10));
    assert_eq!(desk.replay(&[]).code, Some(3));
    desk.faulty.heal();
    let retried = desk.retry();
    assert_eq!((retried.code, &retried.summary()["records_acknowledged"]), (Some(0), &json!(40)), "{retried:?}");
    let seen = desk.faulty.seen();
    for record in backup.readable() {
        assert_eq!(seen.copies(record).acknowledged, 1, "{record:?}");
        let time = i128::from(shifted(record.time as i64));
        let moved: Vec<_> = seen.records.iter().filter(|(id, _)| id.time == time && id.flow == record.flow).collect();
        let [(_, copies)] = &moved[..] else { panic!("{moved:?}") };
        assert_eq!((copies.acknowledged, copies.under.len()), (1, 1), "{copies:?}");
    }
    let again = desk.replay(&rewriting);
    assert_eq!((again.code, &again.summary()["records_already_acknowledged"]), (Some(0), &json!(200)), "{again:?}");
    desk.check_healed();
}

#[test]
fn dead_letters_of_another_destination_are_left_alone_and_named() {
    let (desk, backup) = Desk::sound(1, 100);
    refuse(&desk.faulty, times(&backup, 10));
    desk.replay(&[]);
    let (other, before) = (Faulty::start(), desk.files());
    for json in [true, false] {
        let mut command = desk.command(&["dead-letters", "--retry"], &other, if json { &["--json"] } else { &[] });
        let ran = ran(&mut command);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        for part in [
            format!("no dead letters of {}", other.uri()),
            format!("10 dead letters wait for another destination: {} organization=", desk.faulty.uri()),
        ] {
            assert!(if json { &ran.stderr } else { &ran.stdout }.contains(&part), "{part}: {ran:?}");
        }
        if json {
            assert_eq!(ran.summary()["records_found"], 0);
        }
    }
    assert_eq!(other.seen().connections, 0, "nobody need be asked");
    // The same place, and somebody else's there.
    desk.faulty.organization(Some("another"));
    desk.faulty.heal();
    let ran = desk.retry();
    assert_eq!((ran.code, &ran.summary()["records_found"]), (Some(0), &json!(0)), "{ran:?}");
    assert!(ran.stderr.contains("10 dead letters wait for another destination"), "{ran:?}");
    assert_eq!((desk.files(), desk.faulty.seen().acknowledged()), (before, 90));
}

#[test]
fn no_letters_at_all_need_no_destination_that_answers() {
    let (desk, _) = Desk::sound(1, 10);
    let ran = ran(&mut desk.command(&["dead-letters", "--retry"], &desk.faulty, &[]));
    assert_eq!((ran.code, desk.faulty.seen().connections), (Some(0), 0), "{ran:?}");
    assert!(ran.stdout.starts_with("no dead letters of http"), "{ran:?}");
    assert!(!desk.state().exists(), "and nothing is written");
    assert_eq!(desk.home.run(&["dead-letters", "backups", "--retry", "--export"]).code, Some(2));
}

#[test]
fn killed_twice_in_the_middle_it_goes_on_where_it_was() {
    let (desk, backup) = Desk::sound(6, 300);
    let refused: BTreeSet<i64> = times(&backup, 3).into_iter().collect();
    refuse(&desk.faulty, refused.clone());
    assert_eq!(desk.replay(&[]).code, Some(3));
    desk.faulty.heal();
    let mut killed = 0;
    for messages in [150, 200] {
        let more = ["--window-bytes", "500"];
        let mut command = desk.command(&["dead-letters", "--retry", "--json"], &desk.faulty, &more);
        let child = command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
        let child = Arc::new(std::sync::Mutex::new(child));
        let kill = child.clone();
        desk.faulty.after(messages, move || kill.lock().unwrap().kill().unwrap());
        loop {
            if let Some(status) = child.lock().unwrap().try_wait().unwrap() {
                killed += u64::from(status.code().is_none());
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        desk.faulty.wait(|seen| seen.open_connections == 0);
    }
    assert_eq!(killed, 2);
    // Even without the retry's end nothing is told that isn't so.
    let again = desk.replay(&[]);
    assert_eq!(again.code, Some(3), "{again:?}");
    let retried = desk.retry();
    assert_eq!(retried.code, Some(0), "{retried:?}");
    assert!(retried.summary()["records_already_acknowledged"].as_u64().unwrap() > 0, "{retried:?}");
    let seen = desk.faulty.seen();
    assert!(backup.readable().all(|record| seen.is_acknowledged(record)));
    // 8 windows in flight and 4 that are done and not yet noted, of 15 records each.
    let twice = seen.acknowledged_twice();
    assert!(twice <= 2 * 12 * 15, "{twice} arrived twice");
    desk.check_healed();
}

/// A crash between the dead letter and its checkpoint leaves a record with two letters.
#[test]
fn a_record_with_two_letters_is_sent_once() {
    let (desk, backup) = Desk::sound(2, 100);
    let refused = times(&backup, 10);
    refuse(&desk.faulty, refused.clone());
    assert_eq!(desk.replay(&[]).code, Some(3));
    for dir in [desk.state(), desk.home.path().join("xdg-state/sift-replay/shared")] {
        std::fs::remove_dir_all(dir.join("checkpoints")).unwrap();
    }
    assert_eq!(desk.replay(&[]).code, Some(3));
    assert_eq!(desk.listed().len(), 40);
    desk.faulty.heal();
    let retried = desk.retry();
    assert_eq!((retried.code, &retried.summary()["records_acknowledged"]), (Some(0), &json!(20)), "{retried:?}");
    let seen = desk.faulty.seen();
    for record in backup.readable().filter(|record| refused.contains(&(record.time as i64))) {
        assert_eq!(seen.copies(record).acknowledged, 1);
    }
    desk.check_healed();
}

#[test]
fn letters_of_a_process_that_was_killed_are_sent_and_their_unsealed_file_is_deleted() {
    let (desk, backup) = Desk::sound(1, 100);
    refuse(&desk.faulty, times(&backup, 10));
    assert_eq!(desk.replay(&[]).code, Some(3));
    let [path] = &desk.files()[..] else { panic!() };
    let (bytes, open) = (std::fs::read(path).unwrap(), path.with_extension("sfr.open"));
    // Within SEAL.
    std::fs::write(&open, &bytes[..bytes.len() - 100]).unwrap();
    std::fs::remove_file(path).unwrap();
    desk.faulty.heal();
    let retried = desk.retry();
    assert_eq!((retried.code, &retried.summary()["files_deleted"]), (Some(0), &json!(1)), "{retried:?}");
    desk.check_healed();
}

#[test]
fn a_damaged_file_is_kept_and_never_called_done() {
    let (desk, backup) = Desk::sound(1, 300);
    refuse(&desk.faulty, times(&backup, 10));
    assert_eq!(desk.replay(&[]).code, Some(3));
    let [path] = &desk.files()[..] else { panic!() };
    crate::support::cli::damage_middle_frame(path);
    desk.faulty.heal();
    for _ in 0..2 {
        let retried = desk.retry();
        assert_eq!(retried.code, Some(3), "{retried:?}");
        assert!(path.exists());
    }
    assert_eq!(desk.replay(&[]).code, Some(3), "what was in the damaged frame isn't delivered");
}
