//! How the numbers reach Sift.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use sift_replay::stream::{DiskBackupPolicy, IngestionConfigEncoder, LiveWithBackupsBuilder, SiftStream, Transport};
use tonic::Status;

use super::{Kept, METRICS, PATIENCE, by_name, channels};
use crate::stream::support::{FLOW, assert_all, assert_each_once, live_only, quick, send, to, with_backups};
use crate::support::destination::block_on;
use crate::support::faulty::{Fate, Faulty, Server};
use crate::support::proxy::Proxy;

const OFTEN: Option<Duration> = Some(Duration::from_millis(10));

/// A stream whose numbers are sent all the time.
fn busy(uri: &str, dir: &Path) -> LiveWithBackupsBuilder {
    with_backups(uri, dir).metrics_streaming_interval(OFTEN)
}

/// The connections over which records of a flow came.
fn connections(server: &Server, flow: &str) -> BTreeSet<u64> {
    let seen = server.seen();
    seen.order.keys().filter(|(_, of)| of == flow).map(|(connection, _)| *connection).collect()
}

#[test]
fn by_default_snapshots_come_twice_a_second_and_the_last_one_says_it_all() {
    let server = Faulty::start();
    let kept = Kept::of(&server);
    block_on(async {
        let stream = to(&server.uri()).live_only().build().await.unwrap();
        let first = kept.wait(METRICS, |requests| !requests.is_empty()).await.remove(0);
        let channels = channels(&server, &first).await;
        assert!(channels.iter().all(|name| name.starts_with("stream.rover.rover-v1.")), "{channels:?}");
        assert_eq!(by_name(&channels, &first)["messages_received"], 0.0);
        send(&stream, 0..1000).await;
        let shown = kept.wait(METRICS, |requests| requests.len() >= 4).await;
        let times: Vec<_> = shown.iter().map(|request| by_name(&channels, request)["elapsed_secs"]).collect();
        // Never too often, however slow the machine; and each takes its time after the one before.
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] > 0.2), "{times:?}");
        let received = stream.get_metrics_snapshot().bytes_received;
        stream.finish().await.unwrap();
        let last = by_name(&channels, kept.flow(METRICS).last().unwrap());
        let figures = ["messages_received", "messages_sent", "messages_acknowledged", "bytes_received", "loaded_flows"];
        assert_eq!(figures.map(|name| last[name]), [1000.0, 1000.0, 1000.0, received as f64, 1.0]);
        assert!(last["grpc_status_counts.ok"] >= 1.0 && last["byte_rate"] > 0.0);
    });
    assert_each_once(&server.seen(), 1000);
}

#[test]
fn at_a_given_interval_they_come_as_often_over_a_connection_of_their_own() {
    let (server, dir) = (Faulty::start(), tempfile::tempdir().unwrap());
    let kept = Kept::of(&server);
    block_on(async {
        let stream =
            busy(&server.uri(), dir.path()).checkpoint_interval(Duration::from_millis(20)).build().await.unwrap();
        send(&stream, 0..100).await;
        let requests = kept.wait(METRICS, |requests| requests.len() >= 30).await;
        let channels = channels(&server, &requests[0]).await;
        let elapsed = requests.iter().map(|request| by_name(&channels, request)["elapsed_secs"]);
        let times: Vec<_> = elapsed.collect();
        let least = times.windows(2).map(|pair| pair[1] - pair[0]).fold(f64::MAX, f64::min);
        assert!((0.0..0.25).contains(&least), "{times:?}");
        stream.finish().await.unwrap();
        let last = by_name(&channels, kept.flow(METRICS).last().unwrap());
        let figures =
            ["messages_received", "messages_acknowledged", "checkpoint.messages_confirmed", "backups.files_on_disk"];
        assert_eq!(figures.map(|name| last[name]), [100.0, 100.0, 100.0, 0.0]);
    });
    let (data, metrics) = (connections(&server, FLOW), connections(&server, METRICS));
    assert!(!data.is_empty() && metrics.len() == 1 && data.is_disjoint(&metrics), "{data:?} {metrics:?}");
}

#[test]
fn without_an_interval_nothing_is_sent_and_nothing_registered() {
    let (server, dir) = (Faulty::start(), tempfile::tempdir().unwrap());
    block_on(async {
        let stream = with_backups(&server.uri(), dir.path()).build().await.unwrap();
        send(&stream, 0..100).await;
        stream.finish().await.unwrap();
        let stream = live_only(&server.uri()).build().await.unwrap();
        send(&stream, 100..200).await;
        stream.finish().await.unwrap();
    });
    let seen = server.seen();
    assert_eq!(seen.records.keys().filter(|id| id.flow != FLOW).count(), 0);
    assert_eq!(seen.calls("CreateIngestionConfig"), 1);
}

/// The stream works as ever, and its end takes no longer than the metrics' part of it may: 2 s.
async fn works<T: Transport>(stream: SiftStream<IngestionConfigEncoder, T>) {
    send(&stream, 0..1000).await;
    let begun = Instant::now();
    let finished = stream.finish().await.unwrap();
    assert_eq!((finished.requests, finished.acknowledged), (1000, 1000));
    // Far below what an acknowledgement may take, or a connection be stuck: 10 s.
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}

#[test]
fn data_is_not_affected_by_a_metrics_connection_that_is_stuck() {
    for files in [false, true] {
        let (server, dir) = (Faulty::start(), tempfile::tempdir().unwrap());
        // The first stream is that of the numbers: there is no data yet.
        server.next_streams([Fate::Unread]);
        block_on(async {
            if files {
                let stream = busy(&server.uri(), dir.path()).build().await.unwrap();
                server.wait(|seen| seen.silent_streams == 1);
                works(stream).await;
                // Nothing is left that holds the files.
                with_backups(&server.uri(), dir.path()).build().await.unwrap().finish().await.unwrap();
            } else {
                let stream = live_only(&server.uri()).metrics_streaming_interval(OFTEN).build().await.unwrap();
                server.wait(|seen| seen.silent_streams == 1);
                works(stream).await;
            }
        });
        assert_each_once(&server.seen(), 1000);
        // The connection that is given up, and all others.
        server.wait(|seen| seen.open_connections == 0);
    }
}

#[test]
fn data_is_not_affected_by_numbers_that_are_refused_and_they_come_when_they_are_taken() {
    let (server, dir) = (Faulty::start(), tempfile::tempdir().unwrap());
    let kept = Kept::refusing(&server, |request| {
        (request.flow == METRICS).then(|| Status::permission_denied("not with this key"))
    });
    block_on(async {
        let stream = busy(&server.uri(), dir.path()).build().await.unwrap();
        // Each of these has failed for good, and the next one came over a new connection.
        let begun = Instant::now();
        while connections(&server, METRICS).len() < 3 {
            assert!(begun.elapsed() < PATIENCE);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let acknowledged = || {
            let seen = server.seen();
            seen.records.iter().any(|(id, copies)| id.flow == METRICS && copies.acknowledged > 0)
        };
        assert!(!kept.flow(METRICS).is_empty() && !acknowledged());
        let kept = Kept::of(&server);
        kept.wait(METRICS, |requests| requests.len() >= 2).await;
        works(stream).await;
        assert!(acknowledged());
    });
    assert_each_once(&server.seen(), 1000);
}

#[test]
fn numbers_are_not_affected_by_data_that_gets_nowhere() {
    let (server, dir) = (Faulty::start(), tempfile::tempdir().unwrap());
    let kept = Kept::refusing(&server, |request| (request.flow == FLOW).then(|| Status::unavailable("not now")));
    block_on(async {
        let builder = busy(&server.uri(), dir.path()).checkpoint_interval(Duration::from_millis(20));
        let stream = builder.build().await.unwrap();
        send(&stream, 0..100).await;
        let channels = channels(&server, &kept.wait(METRICS, |requests| !requests.is_empty()).await[0]).await;
        let retries = |request: &_| by_name(&channels, request)["total_retry_count"] >= 5.0;
        let requests = kept.wait(METRICS, |requests| requests.last().is_some_and(retries)).await;
        let last = by_name(&channels, requests.last().unwrap());
        assert!(last["grpc_status_counts.unavailable"] >= 5.0 && last["messages_acknowledged"] == 0.0);
        let figures = ["messages_received", "grpc_status_counts.ok", "messages_replayed"].map(|name| last[name]);
        assert_eq!(figures, [100.0, 0.0, 0.0]);
        assert_eq!(connections(&server, METRICS).len(), 1);
        server.heal();
        stream.finish().await.unwrap();
    });
    assert_all(&server.seen(), 100);
}

#[test]
fn numbers_come_as_soon_as_there_is_a_link() {
    let (server, dir) = (Faulty::start(), tempfile::tempdir().unwrap());
    let kept = Kept::of(&server);
    server.kill();
    block_on(async {
        let stream = busy(&server.uri(), dir.path()).build().await.unwrap();
        send(&stream, 0..10).await;
        server.server().revive();
        let requests = kept.wait(METRICS, |requests| requests.len() >= 3).await;
        let channels = channels(&server, &requests[0]).await;
        assert_eq!(by_name(&channels, &requests[2])["messages_received"], 10.0);
        // And after it was lost.
        server.kill();
        server.server().revive();
        let before = kept.flow(METRICS).len();
        kept.wait(METRICS, |requests| requests.len() > before + 2).await;
        stream.finish().await.unwrap();
        let last = by_name(&channels, kept.flow(METRICS).last().unwrap());
        assert_eq!(last["messages_acknowledged"] + last["messages_replayed"], 10.0);
    });
    assert_all(&server.seen(), 10);
}

#[test]
fn without_a_link_the_end_is_not_held_up_by_the_numbers_and_a_dropped_stream_lets_its_files_go() {
    let (server, dir) = (Faulty::start(), tempfile::tempdir().unwrap());
    let proxy = Proxy::start(server.address());
    block_on(async {
        // Whoever connects hears nothing at all: the numbers are on their way to be connected for ever.
        proxy.hold(&crate::support::proxy::BOTH);
        let build = || {
            let policy = DiskBackupPolicy { backups_dir: Some(dir.path().to_owned()), ..DiskBackupPolicy::default() };
            let builder = to(&proxy.uri()).connect_timeout(Duration::from_millis(300)).live_with_backups();
            builder.disk_backup_policy(policy).retry_policy(quick()).metrics_streaming_interval(OFTEN)
        };
        let stream = build().build().await.unwrap();
        send(&stream, 0..10).await;
        let begun = Instant::now();
        let finished = stream.finish().await.unwrap();
        assert_eq!(finished.on_disk, 10);
        assert!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());
        // Dropped, it lets go of its files in the background.
        let stream = build().build().await.unwrap();
        drop(stream);
        let begun = Instant::now();
        let stream = loop {
            match build().build().await {
                Ok(stream) => break stream,
                Err(error) => assert!(begun.elapsed() < PATIENCE, "{error}"),
            }
        };
        proxy.pass();
        send(&stream, 10..20).await;
        let begun = Instant::now();
        while server.seen().acknowledged() < 10 {
            assert!(begun.elapsed() < PATIENCE);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        stream.finish().await.unwrap();
    });
    assert_all(&server.seen(), 20);
}
