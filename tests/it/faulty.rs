//! The faulty server itself, before anything is believed that was tested with it.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use sift_replay::record::Schema;
use sift_replay::replay::{OnReject, ReplayOptions};
use sift_replay::sift::{Connection, Fault, IngestStream, SendError, message_prefix};
use sift_rs::me::v2::GetMeRequest;
use sift_rs::me::v2::me_service_client::MeServiceClient;
use sift_rs::ping::v1::PingRequest;
use sift_rs::ping::v1::ping_service_client::PingServiceClient;
use sift_rs::users::v2::GetUserRequest;
use sift_rs::users::v2::user_service_client::UserServiceClient;
use tonic::{Code, Status};

use crate::replay::{counting, flight, recorded, session, small_frames, small_segments};
use crate::support::destination::{block_on, connect, replay_to};
use crate::support::faulty::{CallFate, Fate, Faulty, ORGANIZATION, RecordId, rate_limited};
use crate::support::proxy::Proxy;
use crate::support::recording::{Owned, encoded};

const AGAIN: Fault = Fault::Transient { retry_after: None };

/// The record of this number; the last field says that a refusal ends the stream.
fn record(number: u64) -> Vec<u8> {
    [encoded("f", number as i64, &[Owned::Uint64(number)]), vec![0x30, 1]].concat()
}

fn id(number: u64) -> RecordId {
    RecordId::of(&record(number))
}

fn buffer(records: impl IntoIterator<Item = Vec<u8>>) -> Bytes {
    let framed = |record: Vec<u8>| [&message_prefix(record.len() as u32)[..], &record].concat();
    records.into_iter().flat_map(framed).collect()
}

/// Sends these records on one stream.
async fn send(lane: &Connection, numbers: Range<u64>) -> Result<(), SendError> {
    let mut stream = IngestStream::open(lane);
    stream.push(buffer(numbers.map(record))).await?;
    stream.finish(Duration::from_secs(60)).await
}

/// That of `numbers` each was received and acknowledged so often.
#[track_caller]
fn check(faulty: &Faulty, numbers: Range<u64>, received: u64, acknowledged: u64) {
    let seen = faulty.seen();
    for number in numbers {
        let copies = seen.copies(&id(number));
        assert_eq!((copies.received, copies.acknowledged), (received, acknowledged), "record {number}");
    }
}

#[test]
fn every_record_is_remembered_once_under_its_ids_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let files = session(dir.path(), &flight(counting("k")), small_segments(), 500);
    let expected = recorded(&files);
    block_on(async {
        let faulty = Faulty::start();
        // One window at a time, or their records mix on the way.
        let options = ReplayOptions { window_bytes: 5000, windows_per_lane: 1, ..ReplayOptions::default() };
        let replayed = replay_to(faulty.uri(), &[dir.path()], &options).await;
        assert!(replayed.report.is_complete(), "{:?}", replayed.report);
        let seen = faulty.seen();
        assert_eq!((seen.messages, seen.records.len(), seen.acknowledged()), (500, 500, 500));
        assert_eq!((seen.duplicates(), seen.refused, seen.undirected, seen.malformed), (0, 0, 0, 0));
        assert!(seen.streams > 5 && seen.streams == seen.acknowledged_streams, "{}", seen.figures());
        assert_eq!((seen.connections, seen.most_open_streams), (1, 1));
        let registered = replayed.told.iter().find_map(|told| match told {
            crate::support::destination::Told::Registered { config, run: Some(run), .. } => {
                Some([config.clone(), run.clone(), String::new()])
            }
            _ => None,
        });
        for record in &expected {
            assert_eq!(seen.copies(&RecordId::of(record)).under, [registered.clone().unwrap()].into());
        }
        let times: Vec<i128> = expected.iter().map(|record| RecordId::of(record).time).collect();
        assert_eq!(seen.order.values().collect::<Vec<_>>(), [&times]);
    });
}

#[test]
fn ids_and_directives_make_no_other_record_and_anything_else_does() {
    let plain = encoded("f", 7, &[Owned::Text("x".to_owned())]);
    let id = RecordId::of(&plain);
    assert_eq!((&id.flow[..], id.time), ("f", 7));
    let ids: &[u8] = &[0x0a, 1, b'c', 0x2a, 1, b'r', 0x30, 1, 0x3a, 1, b'o'];
    assert_eq!(RecordId::of(&[&plain, ids].concat()), id);
    assert_eq!(RecordId::of(&[ids, &plain[..]].concat()), id);
    for other in [encoded("g", 7, &[]), encoded("f", 8, &[]), encoded("f", 7, &[Owned::Text("y".to_owned())])] {
        assert_ne!(RecordId::of(&other), id);
    }
}

#[test]
fn each_fate_is_what_it_says_and_only_ok_acknowledges() {
    let again = |error: SendError| assert_eq!(error.fault(), AGAIN, "{error}");
    block_on(async {
        let faulty = Faulty::start();
        let lane = connect(faulty.uri()).await;
        let statuses = [
            (Status::unavailable("x"), AGAIN),
            (Status::internal("x"), AGAIN),
            (Status::deadline_exceeded("x"), AGAIN),
            (Status::aborted("x"), AGAIN),
            (
                rate_limited(Duration::from_millis(1500)),
                Fault::Transient { retry_after: Some(Duration::from_millis(1500)) },
            ),
            (Status::resource_exhausted("x"), Fault::Data),
            (Status::not_found("no such config yet"), Fault::Data),
            (Status::unauthenticated("x"), Fault::Destination),
            (Status::permission_denied("x"), Fault::Destination),
        ];
        let mut next = 0..10;
        for (status, fault) in statuses {
            for (fate, received) in [
                (Fate::Refused(status.clone()), 0),
                (Fate::RefusedAfter(4, status.clone()), 4),
                (Fate::RefusedAtEnd(status.clone()), 10),
            ] {
                faulty.next_streams([fate.clone()]);
                let error = send(&lane, next.clone()).await.unwrap_err();
                assert!(matches!(&error, SendError::Refused(s) if s.code() == status.code()), "{fate:?}: {error}");
                assert_eq!(error.fault(), fault, "{fate:?}");
                check(&faulty, next.start..next.start + received, 1, 0);
                check(&faulty, next.start + received..next.end, 0, 0);
                next = next.end..next.end + 10;
            }
        }
        faulty.next_streams([Fate::Reset, Fate::Early]);
        let error = send(&lane, 1000..1010).await.unwrap_err();
        assert!(matches!(error, SendError::Transport { .. }), "{error}");
        again(error);
        check(&faulty, 1000..1010, 1, 0);
        // Whether OK comes before all is sent is up to the two: the client may even believe it.
        let _ = send(&lane, 1010..1020).await;
        check(&faulty, 1010..1011, 1, 0);
        check(&faulty, 1011..1020, 0, 0);
        faulty.next_streams([Fate::Late(Duration::from_millis(20))]);
        let begun = std::time::Instant::now();
        send(&lane, 1020..1030).await.unwrap();
        assert!(begun.elapsed() >= Duration::from_millis(20));
        check(&faulty, 1020..1030, 1, 1);
    });
}

#[test]
fn silent_streams_are_never_answered_and_held_ones_when_released() {
    block_on(async {
        let faulty = Faulty::start();
        let lane = connect(faulty.uri()).await;
        for (fate, received) in [(Fate::Silent, 1), (Fate::Unread, 0)] {
            faulty.next_streams([fate]);
            let mut stream = IngestStream::open(&lane);
            stream.push(buffer((0..5).map(record))).await.unwrap();
            let error = stream.finish(Duration::from_millis(50)).await.unwrap_err();
            assert!(matches!(error, SendError::AcknowledgementTimeout { .. }), "{error}");
            faulty.wait(|seen| seen.open_streams == 0);
            check(&faulty, 0..5, 1, 0);
            assert_eq!(faulty.seen().messages, 5 * received.max(1));
        }
        faulty.all_streams(Fate::Held);
        let sending = [0..5, 5..10].map(|numbers| {
            let lane = lane.clone();
            tokio::spawn(async move { send(&lane, numbers).await })
        });
        faulty.wait(|seen| seen.held_streams == 2);
        check(&faulty, 0..5, 2, 0);
        assert_eq!(faulty.seen().most_open_streams, 2);
        faulty.heal();
        for sending in sending {
            sending.await.unwrap().unwrap();
        }
        check(&faulty, 0..5, 2, 1);
        check(&faulty, 5..10, 1, 1);
        assert_eq!((faulty.seen().duplicates(), faulty.seen().acknowledged_twice()), (5, 0));
        send(&lane, 0..5).await.unwrap();
        assert_eq!((faulty.seen().duplicates(), faulty.seen().acknowledged_twice()), (10, 5));
    });
}

#[test]
fn every_third_stream_fails() {
    block_on(async {
        let faulty = Faulty::start();
        let lane = connect(faulty.uri()).await;
        faulty.every(3, Fate::Refused(Status::unavailable("x")));
        let mut failed = Vec::new();
        for n in 1..=9 {
            if send(&lane, n..n + 1).await.is_err() {
                failed.push(n);
            }
        }
        assert_eq!(failed, [3, 6, 9]);
    });
}

#[test]
fn a_refused_record_ends_its_stream_and_those_before_it_are_kept_unacknowledged() {
    block_on(async {
        let faulty = Faulty::start();
        let lane = connect(faulty.uri()).await;
        faulty.refuse(|request| {
            let refused = request.timestamp.as_ref()?.nanos == 3;
            refused.then(|| Status::invalid_argument("three is refused"))
        });
        let error = send(&lane, 0..6).await.unwrap_err();
        assert!(error.to_string().contains("three is refused") && error.fault() == Fault::Data, "{error}");
        check(&faulty, 0..4, 1, 0);
        check(&faulty, 4..6, 0, 0);
        // Without the directive it goes to the error queue, and the rest is acknowledged.
        let mut stream = IngestStream::open(&lane);
        let undirected = (0..6).map(|n| encoded("f", n as i64, &[Owned::Uint64(n)]));
        stream.push(buffer(undirected)).await.unwrap();
        stream.finish(Duration::from_secs(60)).await.unwrap();
        check(&faulty, 0..3, 2, 1);
        check(&faulty, 3..4, 2, 0);
        check(&faulty, 4..6, 1, 1);
        assert_eq!((faulty.seen().refused, faulty.seen().undirected), (2, 6));
    });
}

#[test]
fn a_stream_that_breaks_off_is_never_acknowledged() {
    block_on(async {
        let faulty = Faulty::start();
        let lane = connect(faulty.uri()).await;
        let mut stream = IngestStream::open(&lane);
        stream.push(buffer((0..5).map(record))).await.unwrap();
        faulty.wait(|seen| seen.messages == 5);
        drop(stream);
        faulty.wait(|seen| seen.open_streams == 0);
        // A FIN in the middle is no end either.
        let proxy = Proxy::start(faulty.address());
        let lane = connect(proxy.uri()).await;
        let mut stream = IngestStream::open(&lane);
        stream.push(buffer((5..10).map(record))).await.unwrap();
        faulty.wait(|seen| seen.messages == 10);
        proxy.half_close(crate::support::proxy::Way::Up);
        faulty.wait(|seen| seen.open_streams == 0);
        check(&faulty, 0..10, 1, 0);
        assert_eq!((faulty.seen().whole_streams, faulty.seen().acknowledged_streams), (0, 0));
    });
}

#[test]
fn it_dies_at_exactly_that_message_and_comes_back_with_its_memory() {
    block_on(async {
        let faulty = Faulty::start();
        let lane = connect(faulty.uri()).await;
        send(&lane, 0..5).await.unwrap();
        faulty.die_after(3);
        let error = send(&lane, 5..10).await.unwrap_err();
        assert!(matches!(error, SendError::Transport { .. }), "{error}");
        assert!(faulty.is_dead());
        faulty.wait(|seen| seen.open_connections == 0 && !seen.is_listening());
        let refused = std::net::TcpStream::connect(faulty.address()).map(drop).map_err(|error| error.kind());
        assert_eq!(refused, Err(std::io::ErrorKind::ConnectionRefused));
        check(&faulty, 0..5, 1, 1);
        check(&faulty, 5..8, 1, 0);
        check(&faulty, 8..10, 0, 0);
        faulty.revive();
        // The lane connects anew by itself; its first attempt may meet the old connection's end.
        while let Err(error) = send(&lane, 5..10).await {
            assert_eq!(error.fault(), AGAIN, "{error}");
        }
        let seen = faulty.seen();
        assert!((5..10).all(|n| seen.is_acknowledged(&id(n))), "{}", seen.figures());
        assert!(seen.connections >= 2);
    });
}

#[test]
fn a_trigger_is_pulled_at_its_message() {
    block_on(async {
        let faulty = Faulty::start();
        let proxy = std::sync::Arc::new(Proxy::start(faulty.address()));
        let lane = connect(proxy.uri()).await;
        let (pulled, at) = std::sync::mpsc::channel();
        let (server, link) = (faulty.server(), proxy.clone());
        faulty.after(7, move || {
            link.reset_all();
            pulled.send(server.seen().messages).unwrap();
        });
        let error = send(&lane, 0..1000).await.unwrap_err();
        assert_eq!(error.fault(), AGAIN, "{error}");
        // What was in the server's socket by then may still be taken, to the end.
        assert_eq!(at.recv().unwrap(), 7);
    });
}

#[test]
fn what_exists_already_and_what_is_done_but_unanswered_is_found() {
    let dir = tempfile::tempdir().unwrap();
    session(dir.path(), &flight(counting("k")), small_frames(), 50);
    block_on(async {
        let faulty = Faulty::start();
        let exists = || CallFate::DoneBut(Status::already_exists("somebody was faster"));
        faulty.next_calls("CreateIngestionConfig", 1, exists());
        faulty.next_calls("CreateRun", 1, exists());
        let replayed = replay_to(faulty.uri(), &[dir.path()], &ReplayOptions::default()).await;
        assert!(replayed.report.is_complete(), "{:?}", replayed.report);
        let seen = faulty.seen();
        assert_eq!((seen.calls("CreateIngestionConfig"), seen.calls("CreateRun")), (1, 1));
        assert_eq!((seen.calls("ListIngestionConfigs"), seen.calls("ListRuns")), (2, 2));
        assert_eq!(seen.acknowledged(), 50);
    });
}

#[test]
fn calls_fail_as_often_as_they_are_told_and_unknown_ones_are_unimplemented() {
    block_on(async {
        let faulty = Faulty::start();
        let channel = tonic::transport::Endpoint::from_shared(faulty.uri()).unwrap().connect().await.unwrap();
        let mut ping = PingServiceClient::new(channel.clone());
        faulty.next_calls("Ping", 2, CallFate::Refused(Status::unavailable("x")));
        for _ in 0..2 {
            assert_eq!(ping.ping(PingRequest {}).await.unwrap_err().code(), Code::Unavailable);
        }
        ping.ping(PingRequest {}).await.unwrap();
        let mut me = MeServiceClient::new(channel.clone());
        let answer = me.get_me(GetMeRequest {}).await.unwrap().into_inner();
        assert_eq!(answer.organizations[0].organization_id, ORGANIZATION);
        faulty.organization(Some("other"));
        faulty.heal();
        let answer = me.get_me(GetMeRequest {}).await.unwrap().into_inner();
        assert_eq!(answer.organizations[0].organization_id, "other");
        faulty.organization(None);
        assert_eq!(me.get_me(GetMeRequest {}).await.unwrap_err().code(), Code::Unimplemented);
        let unknown = UserServiceClient::new(channel).get_user(GetUserRequest::default()).await;
        assert_eq!(unknown.unwrap_err().code(), Code::Unimplemented);
        assert_eq!(faulty.seen().calls("GetUser"), 1);
    });
}

#[test]
fn a_flow_that_differs_is_there_for_the_asking() {
    use sift_replay::record::{Channel, DataType, FlowSchema, RecorderOptions};
    let (other, mine) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let schema =
        Schema::new("rover", "k").flow(FlowSchema::new("n").channel(Channel::new("n", DataType::Uint64).unit("km/h")));
    session(other.path(), &schema, RecorderOptions::default(), 1);
    session(mine.path(), &counting("k"), RecorderOptions::default(), 5);
    block_on(async {
        let faulty = Faulty::start();
        replay_to(faulty.uri(), &[other.path()], &ReplayOptions::default()).await;
        let options = ReplayOptions { on_reject: OnReject::Stop, ..ReplayOptions::default() };
        let replayed = replay_to(faulty.uri(), &[mine.path()], &options).await;
        assert!(replayed.refusals()[0].contains("km/h"), "{:?}", replayed.refusals());
        assert_eq!(faulty.seen().acknowledged(), 1);
    });
}
