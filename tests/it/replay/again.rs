//! Windows that must be sent once more, and that are read once more for that.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use sift_replay::replay::{Observer, OnReject, ReplayEvent, ReplayOptions, Report};
use tonic::Status;

use super::lanes::replayed;
use super::{counting, recorded, session, small_segments};
use crate::support::faulty::{Fate, Faulty};

const LANES: NonZeroUsize = NonZeroUsize::new(2).unwrap();
const RECORDS: u64 = 1000;

fn options() -> ReplayOptions {
    ReplayOptions {
        window_bytes: 2000,
        first_pause: Duration::from_millis(5),
        longest_pause: Duration::from_millis(20),
        ..ReplayOptions::default()
    }
}

/// What is done after the first error with such a text.
type Step<'a> = (&'static str, Box<dyn FnOnce() + Send + 'a>);

/// The errors after which something was tried again, and what is done then, one step after the other.
#[derive(Default)]
struct Retries<'a> {
    errors: Mutex<Vec<String>>,
    steps: Mutex<VecDeque<Step<'a>>>,
}

impl<'a> Retries<'a> {
    fn then(self, text: &'static str, step: impl FnOnce() + Send + 'a) -> Self {
        self.steps.lock().unwrap().push_back((text, Box::new(step)));
        self
    }

    fn with(&self, text: &str) -> Vec<String> {
        self.errors.lock().unwrap().iter().filter(|error| error.contains(text)).cloned().collect()
    }
}

impl Observer for Retries<'_> {
    fn event(&self, event: &ReplayEvent<'_>) {
        let ReplayEvent::Retrying { error, .. } = event else { return };
        self.errors.lock().unwrap().push((*error).to_owned());
        let mut steps = self.steps.lock().unwrap();
        if steps.front().is_some_and(|(text, _)| error.contains(text)) {
            steps.pop_front().unwrap().1();
        }
    }
}

fn unavailable() -> Fate {
    Fate::RefusedAtEnd(Status::unavailable("not now"))
}

/// A session of small segments, and the server that is to get it.
fn desk() -> (tempfile::TempDir, Vec<PathBuf>, Faulty) {
    let dir = tempfile::tempdir().unwrap();
    let files = session(&dir.path().join("backups"), &counting("k"), small_segments(), RECORDS);
    (dir, files, Faulty::start())
}

fn replay_in(dir: &Path, faulty: &Faulty, options: &ReplayOptions, observer: &dyn Observer) -> Report {
    replayed(faulty, &dir.join("backups"), LANES, options, observer)
}

#[test]
fn whatever_fails_after_it_was_sent_arrives_all_the_same() {
    let (dir, files, faulty) = desk();
    // All of those on their way, and some of the second attempts.
    let mixed = (0..20).map(|n| if n % 2 == 0 { Fate::Taken } else { unavailable() });
    faulty.next_streams(vec![unavailable(); 40].into_iter().chain(mixed));
    let retries = Retries::default();
    let report = replay_in(dir.path(), &faulty, &options(), &retries);
    assert!(report.is_complete(), "{report:?}");
    assert_eq!(retries.with("not now").len(), 50);
    assert_eq!(report.totals.records_acknowledged, RECORDS);
    let seen = faulty.seen();
    assert_eq!(seen.acknowledged(), RECORDS);
    assert_eq!(seen.acknowledged_twice(), 0);
    assert_eq!(seen.records.len(), recorded(&files).len());
}

#[test]
fn refused_records_are_found_in_windows_that_were_sent() {
    for on_reject in [OnReject::DeadLetter, OnReject::Skip] {
        let (dir, _files, faulty) = desk();
        faulty.refuse(|request| {
            let nth = request.timestamp.unwrap().nanos;
            (nth % 100 == 7).then(|| Status::invalid_argument("not this one"))
        });
        let options = ReplayOptions { on_reject, ..options() };
        let report = replay_in(dir.path(), &faulty, &options, &());
        assert_eq!(report.totals.records_acknowledged, RECORDS - 10, "{report:?}");
        assert_eq!(report.totals.records_refused, 10, "nothing is kept without a state: {report:?}");
        let seen = faulty.seen();
        assert_eq!((seen.acknowledged(), seen.acknowledged_twice()), (RECORDS - 10, 0));
    }
}

/// As a drive that is pulled, and put in again.
#[test]
fn a_file_that_is_gone_for_a_while_is_waited_for() {
    let (dir, _files, faulty) = desk();
    faulty.all_streams(unavailable());
    let [backups, away] = ["backups", "away"].map(|name| dir.path().join(name));
    let retries = Retries::default().then("not now", || std::fs::rename(&backups, &away).unwrap());
    let retries = retries.then("can't read", || {
        std::fs::rename(&away, &backups).unwrap();
        faulty.heal();
    });
    let report = replay_in(dir.path(), &faulty, &options(), &retries);
    let told = &retries.with("can't read")[0];
    assert!(told.contains(".sfr") && told.contains("must be sent once more"), "{told}");
    // What wasn't read before it vanished can't be.
    let totals = report.totals;
    assert!(totals.records_acknowledged > 0, "{report:?}");
    assert_eq!((totals.records_acknowledged, totals.records_refused), (totals.records_found, 0), "{report:?}");
    assert_eq!(faulty.seen().acknowledged(), totals.records_found);
}

#[test]
fn a_file_that_was_changed_under_the_replay_is_told_of_and_what_is_not_delivered_counted() {
    let (dir, files, faulty) = desk();
    faulty.all_streams(unavailable());
    let change = || {
        for file in &files {
            let bytes = std::fs::read(file).unwrap();
            std::fs::write(file, &bytes[..bytes.len() / 3]).unwrap();
        }
        faulty.heal();
    };
    let retries = Retries::default().then("not now", change);
    let report = replay_in(dir.path(), &faulty, &options(), &retries);
    let refusal = report.lines[0].refusal.as_deref().unwrap();
    assert!(refusal.contains("has changed while it was replayed") && refusal.contains("replay it again"), "{refusal}");
    let totals = report.totals;
    assert!(totals.records_refused > 0 && !report.is_complete(), "{report:?}");
    assert_eq!(totals.records_acknowledged + totals.records_refused, totals.records_found);
    assert_eq!(faulty.seen().acknowledged(), totals.records_acknowledged);
}

#[test]
fn a_file_that_does_not_come_back_is_given_up_in_time() {
    let (dir, _files, faulty) = desk();
    faulty.all_streams(unavailable());
    let backups = dir.path().join("backups");
    let retries = Retries::default().then("not now", || {
        std::fs::remove_dir_all(&backups).unwrap();
        faulty.heal();
    });
    let options = ReplayOptions { give_up_after: Some(Duration::from_secs(1)), ..options() };
    let report = replay_in(dir.path(), &faulty, &options, &retries);
    let stopped = report.stopped.as_deref().unwrap();
    assert!(stopped.contains("can't read") && stopped.contains("given up after 1 s without progress"), "{stopped}");
    let totals = report.totals;
    assert_eq!(totals.records_acknowledged + totals.records_refused, totals.records_found);
    assert!(totals.records_refused > 0, "{report:?}");
}
