//! Ctrl-C and SIGTERM at any time: what is acknowledged counts, nothing is lost, and the summary comes last.

use std::time::{Duration, Instant};

use tonic::Status;

use super::desk::{Desk, Ended, Program, record};
use crate::support::faulty::{CallFate, Fate};

/// Windows in flight, and what is being saved: two lanes, two windows each, and two more.
const IN_FLIGHT: u64 = 6 * (2000 / 35 + 1);

/// That it ended as somebody who was interrupted does.
#[track_caller]
fn check(ended: &Ended) {
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    let summary = ended.summary();
    assert_eq!(
        (summary["interrupted"].as_bool(), summary["complete"].as_bool()),
        (Some(true), Some(false)),
        "{summary}"
    );
    // Who stops in between has found nothing to be wrong.
    for figure in ["records_missing", "records_refused", "damaged_places", "files_unreadable"] {
        assert_eq!(summary[figure], 0, "{figure}: {summary}");
    }
}

#[test]
fn what_is_acknowledged_within_the_grace_is_counted_and_never_sent_again() {
    for signal in ["INT", "TERM"] {
        let desk = Desk::new();
        let session = record(&desk.dir, 0, 2000);
        desk.faulty.next_streams(vec![Fate::Held; 4]);
        let program = desk.start(&["--grace", "60s"]);
        desk.faulty.wait(|seen| seen.held_streams == 4);
        program.signal(signal);
        program.notices();
        desk.faulty.release();
        let ended = program.end();
        check(&ended);
        let seen = desk.faulty.seen();
        assert_eq!((seen.streams, seen.acknowledged_streams), (4, 4), "new windows");
        assert_eq!(ended.summary()["records_acknowledged"], seen.acknowledged());
        let again = desk.run(&[]);
        assert_eq!(again.code, Some(0), "{}", again.stderr);
        assert_eq!(again.summary()["records_already_acknowledged"], seen.acknowledged());
        desk.check_arrived(&session.records, 0);
    }
}

#[test]
fn what_is_not_acknowledged_in_time_is_sent_again_by_the_next_program() {
    let desk = Desk::new();
    let session = record(&desk.dir, 0, 2000);
    desk.faulty.next_streams([Fate::Taken, Fate::Taken, Fate::Silent, Fate::Silent, Fate::Silent, Fate::Silent]);
    let program = desk.start(&["--grace", "300ms"]);
    desk.faulty.wait(|seen| seen.silent_streams == 4);
    program.signal("INT");
    let ended = program.end();
    check(&ended);
    let noted = desk.faulty.seen().acknowledged();
    assert_eq!(ended.summary()["records_acknowledged"], noted);
    let again = desk.run(&[]);
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    assert_eq!(again.summary()["records_already_acknowledged"], noted);
    desk.check_arrived(&session.records, IN_FLIGHT);
    assert_eq!(desk.faulty.seen().acknowledged_twice(), 0);
}

#[test]
fn whoever_asks_twice_does_not_wait() {
    for signals in [["INT", "INT"], ["INT", "TERM"], ["TERM", "INT"]] {
        let desk = Desk::new();
        let session = record(&desk.dir, 0, 2000);
        desk.faulty.all_streams(Fate::Silent);
        let program = desk.start(&["--grace", "1h"]);
        desk.faulty.wait(|seen| seen.silent_streams == 4);
        program.signal(signals[0]);
        program.notices();
        program.signal(signals[1]);
        assert_eq!(program.end().code, Some(130));
        desk.faulty.heal();
        assert_eq!(desk.run(&[]).code, Some(0));
        desk.check_arrived(&session.records, IN_FLIGHT);
    }
}

/// Long enough for who waits for it to be caught.
const LONG: [&str; 2] = ["--grace", "1h"];

#[test]
fn who_waits_for_an_answer_to_a_call_ends_at_once() {
    for method in ["GetMe", "ListIngestionConfigs", "CreateIngestionConfig", "ListRuns"] {
        let desk = Desk::new();
        record(&desk.dir, 0, 100);
        desk.faulty.next_calls(method, u64::MAX, CallFate::Silent);
        let run = ["--run", "a run", "--grace", "1h"];
        let program = desk.start(if method == "ListRuns" { &run } else { &LONG });
        desk.faulty.wait(|seen| seen.calls(method) > 0);
        program.signal("TERM");
        check(&program.end());
        assert_eq!(desk.faulty.seen().messages, 0);
    }
}

#[test]
fn who_pauses_between_attempts_ends_at_once() {
    let desk = Desk::new();
    record(&desk.dir, 0, 2000);
    desk.faulty.all_streams(Fate::Refused(crate::support::faulty::rate_limited(Duration::from_secs(25))));
    let program = desk.start(&LONG);
    program.tells("retrying");
    let begun = Instant::now();
    program.signal("INT");
    check(&program.end());
    assert!(begun.elapsed() < Duration::from_secs(20), "it has waited");
    // Between attempts to register.
    let desk = Desk::new();
    record(&desk.dir, 0, 2000);
    desk.faulty.next_calls("CreateIngestionConfig", u64::MAX, CallFate::Refused(Status::unavailable("restarting")));
    let program = desk.start(&LONG);
    program.tells("retrying");
    program.signal("INT");
    check(&program.end());
}

#[test]
fn who_has_not_connected_yet_ends_at_once_with_a_summary() {
    for more in [&[][..], &["--watch"]] {
        let desk = Desk::new();
        record(&desk.dir, 0, 100);
        desk.faulty.kill();
        let program = desk.start(&[&LONG, more].concat());
        program.tells("retrying");
        program.signal("TERM");
        check(&program.end());
    }
}

#[test]
fn who_sends_slowly_does_not_go_on_with_it() {
    let desk = Desk::new();
    let session = record(&desk.dir, 0, 2000);
    let program = desk.start(&["--rate", "5rec", "--grace", "300ms"]);
    desk.faulty.wait(|seen| seen.messages > 0);
    let begun = Instant::now();
    program.signal("INT");
    check(&program.end());
    assert!(begun.elapsed() < Duration::from_secs(30));
    assert_eq!(desk.run(&[]).code, Some(0));
    desk.check_arrived(&session.records, IN_FLIGHT);
}

#[test]
fn who_finds_out_which_records_are_refused_keeps_what_is_found() {
    let desk = Desk::new();
    let session = record(&desk.dir, 0, 1000);
    let refused = |n: u64| n % 50 == 7;
    desk.faulty.refuse(move |request| {
        let n = request.timestamp.as_ref().map_or(0, |time| time.nanos as u64);
        refused(n).then(|| Status::invalid_argument("not this one"))
    });
    let program = desk.start(&["--grace", "60s"]);
    desk.faulty.wait(|seen| seen.refused > 10);
    program.signal("INT");
    let ended = program.end();
    check(&ended);
    let again = desk.run(&[]);
    assert_eq!(again.code, Some(3), "{}", again.stderr);
    let (first, second) = (ended.summary(), again.summary());
    let sum = |figure: &str| first[figure].as_u64().unwrap() + second[figure].as_u64().unwrap();
    assert_eq!(sum("records_acknowledged"), 980);
    let seen = desk.faulty.seen();
    assert_eq!(session.records.iter().filter(|record| seen.is_acknowledged(record)).count(), 980);
    assert_eq!(seen.acknowledged_twice(), 0);
    // Those of the first program are among what the second one has found dead-lettered.
    assert_eq!(second["records_dead_lettered"], 20);
}

#[test]
fn who_watches_and_has_nothing_to_do_ends_at_once() {
    let desk = Desk::new();
    for signal in ["INT", "TERM"] {
        let program = desk.watch(&LONG);
        program.tells("waiting");
        program.signal(signal);
        check(&program.end());
    }
}

#[test]
fn for_people_the_table_comes_last_too() {
    let desk = Desk::new();
    record(&desk.dir, 0, 100);
    desk.faulty.kill();
    let program = Program::start(desk.plain());
    program.notes("again");
    program.signal("INT");
    let ended = program.end();
    assert_eq!(ended.code, Some(130), "{ended:?}");
    let text = ended.lines.last().and_then(|line| line.as_str()).unwrap();
    assert!(text.contains("INTERRUPTED"), "{ended:?}");
}
