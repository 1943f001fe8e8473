//! Streams without files, when things go wrong: nothing is lost, and what can't be delivered comes back.

mod giving_up;

use std::time::Duration;

use sift_replay::stream::{Finished, LiveOnlyBuilder, RetryPolicy};
use tonic::Status;

use super::observed::{Stream, request_of};
use super::support::{assert_all, assert_each_once, live_only, message, numbers, quick, send};
use crate::support::destination::block_on;
use crate::support::faulty::{Fate, Faulty, Seen, rate_limited};
use crate::support::proxy::{BOTH, Proxy, Way};

/// Never gives up within a test; finds out soon that nobody answers.
fn stubborn(uri: &str) -> LiveOnlyBuilder {
    let retry = RetryPolicy { max_attempts: u8::MAX, ..quick() };
    live_only(uri)
        .retry_policy(retry)
        .ingestion_data_channel_capacity(40)
        .acknowledgement_timeout(Duration::from_millis(300))
}

async fn finish<T: sift_replay::stream::Transport>(stream: Stream<T>, requests: u64) {
    let finished = stream.finish().await.unwrap();
    assert_eq!(finished, Finished { requests, acknowledged: requests, ..Finished::default() });
}

/// Each once for good, however often it came.
#[track_caller]
fn assert_acknowledged_once(seen: &Seen, count: u64) {
    assert_all(seen, count);
    let twice = numbers(seen).into_iter().find(|(_, (acknowledged, _))| *acknowledged != 1);
    assert_eq!(twice, None);
}

#[test]
fn streams_that_fail_in_whatever_way_are_sent_again_and_nothing_is_acknowledged_twice() {
    for fate in [
        Fate::Refused(Status::unavailable("not now")),
        Fate::RefusedAfter(3, Status::aborted("never mind")),
        Fate::RefusedAtEnd(Status::internal("something")),
        Fate::Reset,
        Fate::Refused(rate_limited(Duration::from_millis(1))),
        Fate::RefusedAfter(1, Status::deadline_exceeded("late")),
    ] {
        let server = Faulty::start();
        server.every(3, fate.clone());
        block_on(async {
            let stream = stubborn(&server.uri()).build().await.unwrap();
            send(&stream, 0..200).await;
            assert_eq!(stream.closed(), None);
            finish(stream, 200).await;
        });
        assert!(
            server.seen().duplicates() > 0 || matches!(fate, Fate::Refused(_)),
            "{fate:?}: {}",
            server.seen().figures()
        );
        assert_acknowledged_once(&server.seen(), 200);
    }
}

#[test]
fn streams_that_are_swallowed_or_stuck_are_sent_again_on_another_connection() {
    for fate in [Fate::Silent, Fate::Unread] {
        let server = Faulty::start();
        server.next_streams([Fate::Taken, fate.clone(), Fate::Taken, fate]);
        block_on(async {
            let stream = stubborn(&server.uri()).build().await.unwrap();
            send(&stream, 0..200).await;
            finish(stream, 200).await;
        });
        assert_acknowledged_once(&server.seen(), 200);
        assert!(server.seen().connections > 2, "{}", server.seen().figures());
    }
}

#[test]
fn connections_that_are_reset_again_and_again_lose_nothing() {
    let server = Faulty::start();
    let proxy = std::sync::Arc::new(Proxy::start(server.address()));
    for at in [0, 30, 31, 90, 150, 300] {
        let proxy = proxy.clone();
        server.after(at.max(1), move || proxy.reset_all());
    }
    block_on(async {
        let stream = stubborn(&proxy.uri()).build().await.unwrap();
        send(&stream, 0..400).await;
        finish(stream, 400).await;
    });
    assert_all(&server.seen(), 400);
    // On its way was at most what the queue holds, each time.
    assert!(server.seen().duplicates() <= 6 * 40, "{}", server.seen().figures());
}

#[test]
fn a_line_that_swallows_everything_or_all_answers_is_left() {
    let server = Faulty::start();
    let proxy = std::sync::Arc::new(Proxy::start(server.address()));
    let trigger = proxy.clone();
    // Who is connected never hears again; who connects anew does.
    server.after(50, move || {
        trigger.swallow(&BOTH);
        trigger.pass_new();
    });
    let trigger = proxy.clone();
    server.after(150, move || {
        trigger.drop_answers();
        trigger.pass_new();
    });
    block_on(async {
        let stream = stubborn(&proxy.uri()).build().await.unwrap();
        send(&stream, 0..500).await;
        finish(stream, 500).await;
    });
    assert_all(&server.seen(), 500);
}

#[test]
fn a_line_that_stands_still_for_a_while_delivers_everything_afterwards() {
    let server = Faulty::start();
    let proxy = std::sync::Arc::new(Proxy::start(server.address()));
    // Nothing goes on until something is held.
    let (trigger, healer) = (proxy.clone(), proxy.clone());
    let (held, is_held) = std::sync::mpsc::channel();
    server.after(50, move || {
        trigger.hold(&[Way::Up]);
        held.send(()).unwrap();
    });
    let healer = std::thread::spawn(move || {
        is_held.recv().unwrap();
        healer.wait(|counts| counts.taken(Way::Up) > counts.passed(Way::Up));
        healer.pass();
    });
    block_on(async {
        let stream = stubborn(&proxy.uri()).build().await.unwrap();
        send(&stream, 0..500).await;
        finish(stream, 500).await;
    });
    healer.join().unwrap();
    assert_all(&server.seen(), 500);
}

#[test]
fn a_server_that_dies_and_comes_back_gets_everything() {
    let server = Faulty::start();
    server.die_after(70);
    let dead = server.server();
    let undertaker = std::thread::spawn(move || {
        for deaths in 1..=3_u64 {
            dead.wait_unless(|_| false, || dead.is_dead());
            // As long as it takes that nobody listens: connecting is refused meanwhile.
            dead.wait(|seen| !seen.is_listening());
            dead.revive();
            if deaths < 3 {
                dead.die_after(40);
            }
        }
    });
    block_on(async {
        let stream = stubborn(&server.uri()).build().await.unwrap();
        send(&stream, 0..400).await;
        finish(stream, 400).await;
    });
    undertaker.join().unwrap();
    assert_all(&server.seen(), 400);
}

#[test]
fn refused_requests_are_handed_back_with_the_reason_and_all_others_arrive() {
    let server = Faulty::start();
    let odd = |n: u64| n % 37 == 5 || (100..103).contains(&n);
    server.refuse(move |request| {
        let n = request.timestamp.unwrap().nanos as u64;
        odd(n).then(|| Status::invalid_argument(format!("the value is odd: {n}")))
    });
    block_on(async {
        let stream = stubborn(&server.uri()).build().await.unwrap();
        send(&stream, 0..300).await;
        assert_eq!(stream.closed(), None, "the stream goes on");
        let failed = stream.finish().await.unwrap_err();
        let refused: Vec<_> = (0..300).filter(|n| odd(*n)).collect();
        assert_eq!(failed.undelivered, refused.iter().map(|n| request_of(*n)).collect::<Vec<_>>());
        let count = refused.len() as u64;
        assert_eq!(failed.finished.acknowledged, 300 - count);
        let text = failed.to_string();
        assert!(text.starts_with(&format!("{count} of 300 requests are neither acknowledged nor on disk")), "{text}");
        assert!(text.contains(&format!("Sift refuses {count} of them")) && text.contains("the value is odd"), "{text}");
    });
    for (n, (acknowledged, _)) in numbers(&server.seen()) {
        assert_eq!(acknowledged, u64::from(!odd(n)), "{n}");
    }
}

#[test]
fn a_refusal_and_a_broken_stream_show_without_anything_more_being_sent() {
    let server = Faulty::start();
    let proxy = Proxy::start(server.address());
    block_on(async {
        let stream = live_only(&proxy.uri()).build().await.unwrap();
        stream.send(message(0)).await.unwrap();
        server.wait(|seen| seen.messages == 1);
        // It is on its way, and will never be acknowledged there. Nobody sends anything behind it.
        proxy.reset_all();
        server.wait(|seen| seen.acknowledged() == 1);
        server.next_streams([Fate::RefusedAfter(1, Status::unavailable("not now"))]);
        stream.send(message(1)).await.unwrap();
        server.wait(|seen| seen.acknowledged() == 2);
        finish(stream, 2).await;
    });
    assert_acknowledged_once(&server.seen(), 2);
}

#[test]
fn a_connection_that_died_while_nothing_was_sent_is_replaced() {
    let server = Faulty::start();
    let proxy = Proxy::start(server.address());
    block_on(async {
        let stream = stubborn(&proxy.uri()).build().await.unwrap();
        send(&stream, 0..10).await;
        server.wait(|seen| seen.messages == 10);
        proxy.reset_all();
        send(&stream, 10..20).await;
        server.wait(|seen| seen.acknowledged() >= 10);
        // Nobody tells that the line is dead.
        proxy.swallow(&BOTH);
        proxy.pass_new();
        send(&stream, 20..30).await;
        finish(stream, 30).await;
    });
    assert_all(&server.seen(), 30);
}

#[test]
fn a_stream_that_is_dropped_still_sends_what_it_took() {
    let server = Faulty::start();
    block_on(async {
        let stream = live_only(&server.uri()).build().await.unwrap();
        send(&stream, 0..500).await;
        drop(stream);
        server.wait(|seen| seen.acknowledged() == 500);
    });
    assert_each_once(&server.seen(), 500);
}

#[test]
fn a_stream_that_sent_nothing_ends_well_whatever_became_of_the_server() {
    let server = Faulty::start();
    block_on(async {
        let (one, other) =
            (live_only(&server.uri()).build().await.unwrap(), live_only(&server.uri()).build().await.unwrap());
        finish(one, 0).await;
        server.kill();
        finish(other, 0).await;
    });
    assert_eq!(server.seen().streams, 0);
}
