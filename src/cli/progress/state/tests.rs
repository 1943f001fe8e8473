//! Events in, texts out, with a clock of one's own.

use std::path::Path;

use super::*;
use crate::catalog::{Fingerprint, SegmentFile, Session};

const ONE: Origin<'static> = Origin::Session(Uuid::from_u128(1));
const TWO: Origin<'static> = Origin::Session(Uuid::from_u128(2));

struct Rig {
    start: Instant,
    progress: Progress,
}

impl Rig {
    fn new() -> Self {
        let start = Instant::now();
        Self { start, progress: Progress::new(start) }
    }

    fn at(&self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms)
    }

    fn event(&mut self, ms: u64, event: &ReplayEvent<'_>) {
        self.progress.event(event, self.at(ms));
    }

    fn started(&mut self, ms: u64, origin: Origin<'_>, asset: &str, bytes: u64) {
        self.event(ms, &ReplayEvent::Started { origin, asset: Some(asset), bytes });
    }

    fn acknowledged(&mut self, ms: u64, origin: Origin<'_>, records: u64, read: u64) {
        self.event(ms, &ReplayEvent::Acknowledged { origin, records, bytes: 2 * read, read });
    }

    fn view(&self, ms: u64) -> View {
        self.progress.view(self.at(ms))
    }
}

fn session(id: u128, bytes: u64) -> Session {
    let fingerprint = Fingerprint::default();
    let file =
        |index| SegmentFile { path: "f".into(), index, bytes: bytes / 2, sealed: None, open: false, fingerprint };
    Session { id: Uuid::from_u128(id), segments: vec![file(0), file(1)], requests: None }
}

#[test]
fn the_whole_is_known_before_it_is_begun() {
    let mut rig = Rig::new();
    let catalog = Catalog { sessions: vec![session(1, 1000), session(2, 3000)], ..Catalog::default() };
    rig.event(0, &ReplayEvent::Found(&catalog));
    assert_eq!(rig.view(0).running, [""; 0], "nothing runs yet");
    rig.started(0, ONE, "rover", 1000);
    rig.acknowledged(1000, ONE, 50, 500);
    let view = rig.view(2000);
    assert_eq!(
        view.total,
        "total                            [##------------------]  12%  25 records/s  500 B/s  14 s left"
    );
    assert_eq!(
        view.running,
        ["rover                            [##########----------]  50%  25 records/s  500 B/s  2 s left"]
    );
    rig.acknowledged(2000, ONE, 50, 500);
    assert_eq!(rig.view(2000).running, [""; 0], "what is read has no bar any more");
}

#[test]
fn what_was_passed_over_counts_as_read_and_not_as_sent() {
    let mut rig = Rig::new();
    rig.started(0, ONE, "rover", 1000);
    rig.event(500, &ReplayEvent::Passed { origin: ONE, records: 9, read: 900 });
    let total = rig.view(1000).total;
    assert!(total.contains(" 90%  0 records/s  0 B/s  1 s left"), "{total}");
    let line = rig.progress.line(rig.at(1000)).unwrap();
    assert_eq!(line, "read 900 B of 1000 B: 0 records acknowledged, 9 passed over  0 records/s  0 B/s  1 s left");
}

#[test]
fn troubles_are_shown_where_there_are_any() {
    let mut rig = Rig::new();
    assert!(!rig.view(0).total.contains("retr"));
    let retrying = ReplayEvent::Retrying { origin: None, error: "x", attempt: 1, pause: Duration::ZERO };
    rig.event(0, &retrying);
    rig.event(0, &ReplayEvent::DeadLettered { origin: ONE, records: 2, reason: "x" });
    assert!(rig.view(0).total.ends_with("  1 retry  2 dead letters"), "{}", rig.view(0).total);
}

#[test]
fn a_line_comes_only_if_something_has_changed() {
    let mut rig = Rig::new();
    assert_eq!(rig.progress.line(rig.at(0)), None);
    rig.started(0, ONE, "rover", 1000);
    rig.acknowledged(0, ONE, 1, 10);
    assert!(rig.progress.line(rig.at(10_000)).is_some());
    assert_eq!(rig.progress.line(rig.at(20_000)), None);
    rig.event(20_000, &ReplayEvent::Waiting);
    assert!(rig.progress.line(rig.at(30_000)).unwrap().contains("waiting for more"));
    assert_eq!(rig.progress.line(rig.at(40_000)), None);
}

#[test]
fn a_file_that_has_grown_is_added_to_what_was_done() {
    let mut rig = Rig::new();
    rig.started(0, ONE, "rover", 1000);
    rig.acknowledged(0, ONE, 1, 1000);
    rig.event(0, &ReplayEvent::Waiting);
    assert!(rig.view(0).total.contains("100%  all delivered, waiting for more"), "{}", rig.view(0).total);
    rig.started(0, ONE, "rover", 3000);
    assert!(rig.view(0).total.contains(" 25%"), "{}", rig.view(0).total);
    // It has grown while it was read: never beyond all of it.
    rig.acknowledged(0, ONE, 1, 5000);
    assert!(rig.view(0).total.contains("100%"), "{}", rig.view(0).total);
}

#[test]
fn what_rests_near_its_end_is_taken_for_finished() {
    let mut rig = Rig::new();
    rig.started(0, ONE, "one", 1000);
    rig.started(0, TWO, "two", 1000);
    rig.acknowledged(0, ONE, 1, 990);
    rig.acknowledged(0, TWO, 1, 500);
    assert_eq!(rig.view(1000).running.len(), 2);
    let running = rig.view(6000).running;
    assert!(running.len() == 1 && running[0].starts_with("two"), "{running:?}");
}

#[test]
fn bars_are_few_and_lines_as_long_as_they_should_be_whatever_the_names() {
    let mut rig = Rig::new();
    for number in 0..20_u128 {
        let origin = Origin::Session(Uuid::from_u128(number));
        rig.started(0, origin, &format!("{number} \x1b[2J {}", "long ".repeat(100)), 1000);
    }
    rig.started(0, Origin::Pbfs(Path::new("dir/backup\n.pb")), "x", 1000);
    let running = rig.view(0).running;
    assert_eq!(running.len(), MOST_BARS + 1);
    assert_eq!(running[MOST_BARS], "and 13 more");
    assert!(running.iter().all(|line| line.chars().count() < 90 && !line.contains(char::is_control)), "{running:#?}");
}

#[test]
fn figures_from_hostile_files_end_nothing() {
    let mut rig = Rig::new();
    for origin in [ONE, TWO] {
        rig.started(0, origin, "rover", u64::MAX);
        rig.acknowledged(0, origin, u64::MAX, u64::MAX / 2);
        rig.event(0, &ReplayEvent::Passed { origin, records: u64::MAX, read: u64::MAX });
        rig.event(0, &ReplayEvent::DeadLettered { origin, records: u64::MAX, reason: "" });
    }
    assert!(rig.view(0).total.contains("100%"));
    assert!(rig.progress.line(rig.at(0)).is_some());
}

#[test]
fn a_long_name_loses_its_middle() {
    assert_eq!(clipped("rover"), "rover");
    let clipped = clipped("demo-drone, Demo flight over the sea, part 2");
    assert_eq!((clipped.as_str(), clipped.chars().count()), ("demo-drone, Demo…the sea, part 2", LABEL_CHARS));
}

#[test]
fn spans_are_told_roughly() {
    for (seconds, text) in
        [(0, "0 s"), (99, "99 s"), (100, "2 min"), (5999, "100 min"), (6000, "2 h"), (400_000, "days")]
    {
        assert_eq!(span(seconds), text);
    }
}
