//! Each fault of the line and of the server, once: afterwards everything is there, and little more than once.

use std::time::{Duration, Instant};

use tonic::Status;

use super::support::{Client, Ended, IN_FLIGHT, LANES, PER_WINDOW, Station};
use crate::support::faulty::{CallFate, Fate, rate_limited};
use crate::support::proxy::{BOTH, Way};

/// How many records each of two sessions has: far more than are in flight.
const RECORDS: u64 = 1200;

/// That it has come through: all is there, and nothing was sent again but what was to be.
#[track_caller]
fn check(station: &Station, ended: &Ended, interruptions: Option<u64>) {
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.stderr, station.faulty.seen().figures());
    assert_eq!(ended.summary()["records_acknowledged"], 2 * RECORDS);
    station.settle();
    let duplicates = station.faulty.seen().duplicates();
    // Each retry sends one window again; an interruption once costs no more than what was in flight.
    assert!(duplicates <= ended.retries() * PER_WINDOW, "{duplicates} duplicates in {} retries", ended.retries());
    if let Some(interruptions) = interruptions {
        assert!(duplicates <= interruptions * IN_FLIGHT, "{duplicates} duplicates");
    }
    station.check_complete();
}

/// The line fails at some message; when the program has noticed, it is mended.
#[track_caller]
fn line_fails(fail: impl FnOnce(&crate::support::proxy::Proxy) + Send + 'static, mend: impl FnOnce(&Station, &Client)) {
    let station = Station::sound(2, RECORDS);
    let proxy = station.proxy.clone();
    station.faulty.after(500, move || fail(&proxy));
    let client = station.start();
    assert!(client.tells("retrying"), "it doesn't notice");
    // What was noted until now is true at any time.
    mend(&station, &client);
    check(&station, &client.wait(), None);
}

fn pass(station: &Station, _: &Client) {
    station.proxy.pass();
}

#[test]
fn all_connections_are_reset_once() {
    for at in [1, 500, 1999] {
        let station = Station::sound(2, RECORDS);
        let proxy = station.proxy.clone();
        station.faulty.after(at, move || proxy.reset_all());
        let ended = station.run();
        check(&station, &ended, Some(1));
        assert!(station.proxy.counts().connections > LANES);
    }
}

#[test]
fn the_line_is_gone_for_a_while() {
    line_fails(
        |proxy| {
            proxy.refuse();
            proxy.reset_all();
        },
        pass,
    );
    line_fails(
        |proxy| {
            proxy.reset_newcomers();
            proxy.reset_all();
        },
        pass,
    );
}

#[test]
fn the_line_stalls_for_a_while_and_then_delivers_what_it_held() {
    line_fails(|proxy| proxy.hold(&BOTH), pass);
    line_fails(|proxy| proxy.hold(&[Way::Up]), pass);
    line_fails(|proxy| proxy.hold(&[Way::Down]), pass);
}

#[test]
fn acknowledgements_get_lost() {
    line_fails(|proxy| proxy.drop_answers(), pass);
    line_fails(|proxy| proxy.swallow(&BOTH), pass);
}

#[test]
fn connections_that_have_gone_deaf_are_given_up() {
    // Nobody ever says so: only the missing acknowledgement does.
    line_fails(|proxy| proxy.drop_answers(), |station, _| station.proxy.pass_new());
}

#[test]
fn connections_are_half_closed() {
    for way in BOTH {
        let station = Station::sound(2, RECORDS);
        let proxy = station.proxy.clone();
        station.faulty.after(500, move || proxy.half_close(way));
        let ended = station.run();
        check(&station, &ended, None);
    }
}

#[test]
fn connections_are_cut_behind_any_byte() {
    let mut rng = fastrand::Rng::with_seed(11);
    for way in BOTH {
        for _ in 0..4 {
            let station = Station::sound(2, RECORDS);
            let bytes = if way == Way::Up { rng.u64(2000..100_000) } else { rng.u64(500..2000) };
            let proxy = station.proxy.clone();
            station.faulty.after(1, move || proxy.cut_after(way, bytes));
            let ended = station.run();
            check(&station, &ended, Some(1));
        }
    }
}

#[test]
fn a_long_and_thin_line_is_no_fault() {
    let station = Station::sound(2, RECORDS).ack_timeout("60");
    station.proxy.delay(&BOTH, Duration::from_millis(10));
    station.proxy.limit(Way::Up, 2_000_000);
    let ended = station.run();
    check(&station, &ended, Some(0));
    assert_eq!(ended.retries(), 0);
}

/// Each attempt gives it more time. With the same time again, nothing would ever be delivered.
#[test]
fn a_destination_that_always_acknowledges_late_is_given_more_time() {
    let station = Station::sound(1, 300).ack_timeout("0.2");
    station.faulty.all_streams(Fate::Late(Duration::from_millis(700)));
    let ended = station.run();
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.stderr, station.faulty.seen().figures());
    assert!(ended.retries() > 0);
    station.check_complete();
}

#[test]
fn streams_fail_in_passing() {
    let statuses = [
        Status::unavailable("restarting"),
        Status::internal("oops"),
        Status::deadline_exceeded("too slow"),
        Status::aborted("conflict"),
        Status::unknown("?"),
    ];
    for status in statuses {
        let station = Station::sound(2, RECORDS);
        station.faulty.next_streams([
            Fate::Taken,
            Fate::Refused(status.clone()),
            Fate::RefusedAfter(5, status.clone()),
            Fate::RefusedAtEnd(status.clone()),
        ]);
        let ended = station.run();
        check(&station, &ended, None);
        assert_eq!(ended.retries(), 3);
    }
}

#[test]
fn every_third_stream_fails_all_the_time() {
    let station = Station::sound(2, RECORDS);
    station.faulty.every(3, Fate::RefusedAtEnd(Status::unavailable("busy")));
    let ended = station.run();
    check(&station, &ended, None);
}

#[test]
fn a_server_that_is_too_busy_is_given_the_time_that_it_asks_for() {
    let station = Station::sound(2, RECORDS);
    let wait = Duration::from_millis(1200);
    station.faulty.next_streams([Fate::Refused(rate_limited(wait))]);
    let begun = Instant::now();
    let ended = station.run();
    assert!(begun.elapsed() >= wait, "{:?}", begun.elapsed());
    check(&station, &ended, Some(1));
    let pauses = ended.events.iter().filter(|line| line["event"] == "retrying");
    assert!(pauses.map(|line| line["pause_seconds"].as_f64().unwrap()).any(|pause| pause >= wait.as_secs_f64()));
}

#[test]
fn a_config_that_a_server_has_just_made_may_be_unknown_to_another() {
    let station = Station::sound(2, RECORDS);
    station.faulty.next_streams(vec![Fate::Refused(Status::not_found("no such ingestion config")); 2]);
    let ended = station.run();
    check(&station, &ended, Some(1));
    assert!(station.dead_letters().is_empty());
}

#[test]
fn streams_that_are_never_answered_are_sent_again() {
    for fate in [Fate::Silent, Fate::Unread, Fate::Reset] {
        let station = Station::sound(2, RECORDS);
        station.faulty.next_streams([Fate::Taken, fate.clone(), fate]);
        let ended = station.run();
        check(&station, &ended, None);
        assert_eq!(station.faulty.seen().acknowledged_twice(), 0);
    }
}

#[test]
fn acknowledgements_that_come_too_late_do_no_harm() {
    let station = Station::sound(2, RECORDS);
    station.faulty.next_streams([Fate::Held, Fate::Held]);
    let client = station.start();
    assert!(client.tells("retrying"));
    station.faulty.release();
    check(&station, &client.wait(), None);
}

#[test]
fn the_server_dies_and_comes_back() {
    let station = Station::sound(2, RECORDS);
    station.faulty.die_after(700);
    let client = station.start();
    assert!(client.tells("retrying"));
    station.faulty.revive();
    check(&station, &client.wait(), None);
}

#[test]
fn calls_fail_in_passing_and_what_was_done_all_the_same_is_found() {
    let unavailable = || Status::unavailable("restarting");
    let methods = ["Ping", "GetMe", "ListIngestionConfigs", "CreateIngestionConfig", "ListRuns", "CreateRun"];
    for method in methods {
        for fate in [CallFate::Refused(unavailable()), CallFate::DoneBut(unavailable())] {
            let station = Station::sound(2, RECORDS);
            station.faulty.next_calls(method, 2, fate);
            let ended = station.run();
            check(&station, &ended, Some(0));
        }
    }
}

#[test]
fn a_server_that_is_not_there_yet_is_waited_for() {
    let station = Station::sound(2, RECORDS);
    station.faulty.kill();
    let client = station.start();
    assert!(client.tells("retrying"));
    station.faulty.revive();
    check(&station, &client.wait(), Some(0));
}

#[test]
fn without_progress_it_gives_up_with_all_saved_and_goes_on_when_asked_again() {
    let station = Station::sound(2, RECORDS).give_up_after("1s");
    let proxy = station.proxy.clone();
    station.faulty.after(1000, move || {
        proxy.refuse();
        proxy.reset_all();
    });
    let ended = station.run();
    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    assert!(ended.summary()["stopped"].is_string());
    let noted = ended.summary()["records_acknowledged"].as_u64().unwrap();
    assert!(noted > 0 && noted <= station.faulty.seen().acknowledged());
    station.check_checkpoints();
    station.proxy.pass();
    let ended = station.run();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let summary = ended.summary();
    assert_eq!(summary["records_already_acknowledged"], noted);
    assert_eq!(summary["records_acknowledged"], 2 * RECORDS - noted);
    station.check_complete();
}

#[test]
fn refused_credentials_stop_it_at_once_and_cost_nothing() {
    for status in [Status::unauthenticated("who are you?"), Status::permission_denied("not you")] {
        let station = Station::sound(2, RECORDS);
        let server = station.faulty.server();
        let refused = Fate::RefusedAtEnd(status.clone());
        station.faulty.after(500, move || server.all_streams(refused));
        let ended = station.run();
        assert_eq!(ended.code, Some(4), "{}", ended.stderr);
        assert!(ended.summary()["stopped"].is_string());
        assert!(station.faulty.seen().streams < RECORDS / 20, "it went on and on");
        station.check_checkpoints();
        assert!(station.dead_letters().is_empty());
        station.faulty.heal();
        let ended = station.run();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(station.faulty.seen().duplicates() <= IN_FLIGHT);
        station.check_complete();
    }
}
