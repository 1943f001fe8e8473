//! When sending is given up: the stream says why, and each request is accounted for.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use sift_replay::stream::{FinishError, LiveOnlyBuilder, LiveStreamingOnly, RetryPolicy, SiftStreamSendError};
use tonic::Status;

use super::super::observed::{Stream, once, request_of};
use super::super::support::{live_only, message, numbers, quick, send};
use crate::support::destination::block_on;
use crate::support::faulty::{Fate, Faulty};

fn attempts(uri: &str, max_attempts: u8) -> LiveOnlyBuilder {
    live_only(uri).retry_policy(RetryPolicy { max_attempts, ..quick() })
}

/// Sends until nothing is taken any more; returns how many were.
async fn until_closed(stream: &Stream<LiveStreamingOnly>) -> u64 {
    let mut taken = 0;
    loop {
        match stream.send(message(taken)).await {
            Ok(()) => taken += 1,
            Err(SiftStreamSendError::ChannelClosed(back)) => {
                assert_eq!(back, request_of(taken));
                return taken;
            }
            Err(other) => panic!("{other}"),
        }
    }
}

/// What was handed back and what was acknowledged is together what was accepted, and nothing is both.
#[track_caller]
fn assert_accounted(server: &Faulty, failed: &FinishError, accepted: u64) {
    assert_eq!(failed.finished.requests, accepted);
    let handed_back: Vec<_> = failed.undelivered.iter().map(|back| back.timestamp.unwrap().nanos as u64).collect();
    assert!(handed_back.is_sorted(), "in order");
    let seen = numbers(&server.seen());
    let acknowledged: BTreeSet<_> = seen.iter().filter(|(_, copies)| copies.0 > 0).map(|(n, _)| *n).collect();
    let all: BTreeSet<_> = acknowledged.iter().copied().chain(handed_back.iter().copied()).collect();
    assert_eq!(all, (0..accepted).collect());
    assert_eq!(handed_back.len() + acknowledged.len(), all.len());
    assert_eq!(failed.finished.acknowledged, acknowledged.len() as u64);
}

#[test]
fn without_a_retry_policy_the_first_failure_closes_the_stream() {
    for fate in [
        Fate::Refused(Status::unavailable("not now")),
        Fate::RefusedAfter(1, Status::unavailable("not now")),
        Fate::RefusedAtEnd(Status::unavailable("not now")),
    ] {
        let server = Faulty::start();
        server.next_streams([Fate::Taken, Fate::Taken, fate]);
        block_on(async {
            let stream =
                live_only(&server.uri()).retry_policy(None).ingestion_data_channel_capacity(16).build().await.unwrap();
            let accepted = until_closed(&stream).await;
            let why = stream.closed().unwrap();
            assert!(why.contains("not now"), "{why}");
            let failed = stream.finish().await.unwrap_err();
            assert_eq!(failed.reason, why);
            assert_accounted(&server, &failed, accepted);
            assert!(failed.finished.acknowledged > 0);
        });
    }
}

#[test]
fn so_many_attempts_are_made_as_the_policy_has_and_no_more() {
    for most in [1, 2, 3, 5] {
        let server = Faulty::start();
        server.all_streams(Fate::RefusedAtEnd(Status::unavailable("not now")));
        block_on(async {
            let stream = attempts(&server.uri(), most).build().await.unwrap();
            send(&stream, 0..3).await;
            let failed = stream.finish().await.unwrap_err();
            assert_accounted(&server, &failed, 3);
            assert!(failed.reason.contains("not now"), "{failed}");
        });
        assert_eq!(server.seen().streams, u64::from(most));
        // One that succeeds is the last.
        let server = Faulty::start();
        let failing = Fate::RefusedAtEnd(Status::unavailable("not now"));
        server.next_streams(vec![failing; usize::from(most) - 1]);
        block_on(async {
            let stream = attempts(&server.uri(), most).build().await.unwrap();
            send(&stream, 0..3).await;
            assert_eq!(stream.finish().await.unwrap().acknowledged, 3);
        });
        assert_eq!(server.seen().streams, u64::from(most));
    }
}

#[test]
fn when_attempts_are_used_up_the_stream_closes_and_who_waits_gets_the_message_back() {
    let server = Faulty::start();
    server.all_streams(Fate::Held);
    block_on(async {
        let stream = attempts(&server.uri(), 3).ingestion_data_channel_capacity(4).build().await.unwrap();
        send(&stream, 0..4).await;
        let mut waiting = Box::pin(stream.send(message(4)));
        assert!(once(waiting.as_mut()).is_pending());
        server.wait(|seen| seen.held_streams > 0);
        // Refused from now on, once those that are held have gone.
        server.all_streams(Fate::Refused(Status::unavailable("not now")));
        server.kill();
        server.revive();
        match waiting.await.unwrap_err() {
            SiftStreamSendError::ChannelClosed(back) => assert_eq!(back, request_of(4)),
            other => panic!("{other}"),
        }
        let why = stream.closed().unwrap();
        assert!(why.contains("given up after"), "{why}");
        let failed = stream.finish().await.unwrap_err();
        assert_accounted(&server, &failed, 4);
    });
}

#[test]
fn a_key_that_is_revoked_closes_the_stream_at_once() {
    let server = Faulty::start();
    block_on(async {
        let stream = attempts(&server.uri(), 200).ingestion_data_channel_capacity(16).build().await.unwrap();
        server.all_streams(Fate::Refused(Status::unauthenticated("the key is revoked")));
        let accepted = until_closed(&stream).await;
        let why = stream.closed().unwrap();
        assert!(why.contains("the key is revoked"), "{why}");
        assert_accounted(&server, &stream.finish().await.unwrap_err(), accepted);
    });
    assert!(server.seen().streams < 20, "{}", server.seen().figures());
}

#[test]
fn a_server_that_is_not_there_fails_the_build_and_is_named() {
    let server = Faulty::start();
    server.kill();
    server.wait(|seen| !seen.is_listening());
    block_on(async {
        let began = Instant::now();
        let Err(error) = live_only(&server.uri()).build().await else { panic!("it was built") };
        assert!(error.is_transient(), "{error}");
        let text = error.to_string();
        assert!(text.contains(&server.address().to_string()) && text.contains("refuses connections"), "{text}");
        assert!(began.elapsed() < Duration::from_secs(30));
    });
}
