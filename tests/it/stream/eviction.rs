//! A live queue that is too small, a link that is too slow or dead, a disk that is behind: who waits, and what is dropped.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sift_replay::record::{OnFull, RecorderOptions};
use sift_replay::stream::{
    ChannelValue, Finished, Flow, IngestionConfigEncoder, LiveStreamingWithBackups, SiftStream, SiftStreamTrySendError,
    TimeValue, TrySendError,
};

use super::gate::{Gate, small_frames, until};
use super::support::{FLOW, assert_all, assert_each_once, message, numbers, segments, send, with_backups};
use crate::support::destination::block_on;
use crate::support::faulty::{Fate, Faulty};
use crate::support::proxy::{BOTH, Proxy, Way};

type Stream = SiftStream<IngestionConfigEncoder, LiveStreamingWithBackups>;

/// Message `n` with so many bytes of text.
fn large(n: u64, bytes: usize) -> Flow {
    let time = TimeValue::from_timestamp_nanos(1_700_000_000_000_000_000 + n as i64);
    Flow::new(FLOW, time, &[ChannelValue::new("n", n), ChannelValue::new("text", "x".repeat(bytes))])
}

async fn send_large(stream: &Stream, numbers: std::ops::Range<u64>, bytes: usize) {
    for n in numbers {
        stream.send(large(n, bytes)).await.unwrap();
    }
}

#[track_caller]
fn assert_no_files(dir: &Path) {
    assert_eq!(segments(dir), Vec::<std::path::PathBuf>::new());
}

#[test]
fn what_gave_way_in_a_queue_of_ten_goes_by_replay_and_nothing_goes_twice() {
    let (server, dir) = (Faulty::start(), tempfile::tempdir().unwrap());
    server.kill();
    block_on(async {
        let stream = with_backups(&server.uri(), dir.path())
            .ingestion_data_channel_capacity(10)
            .recorder_options(small_frames())
            .build()
            .await
            .unwrap();
        send(&stream, 0..1000).await;
        // Nothing is taken out of the queue as long as Sift can't be told what comes.
        until(|| stream.get_metrics_snapshot().old_messages_dropped_for_ingestion == 990);
        let snapshot = stream.get_metrics_snapshot();
        assert_eq!((snapshot.ingestion_channel_depth, snapshot.backups.messages_awaiting_replay), (10, 990));
        assert_eq!((snapshot.messages_received, snapshot.messages_sent_to_backup), (1000, 1000));
        server.server().revive();
        until(|| stream.get_metrics_snapshot().messages_replayed == 990);
        server.wait(|seen| numbers(seen).len() == 1000);
        assert_eq!(stream.get_metrics_snapshot().messages_sent, 10);
        assert_eq!(stream.get_metrics_snapshot().backups.messages_awaiting_replay, 0);
        let finished = stream.finish().await.unwrap();
        assert_eq!((finished.requests, finished.acknowledged, finished.on_disk), (1000, 1000, 0));
    });
    assert_each_once(&server.seen(), 1000);
    assert_no_files(dir.path());
}

#[test]
fn over_a_slow_link_all_arrives_some_live_and_some_by_replay() {
    let (server, dir) = (Faulty::start(), tempfile::tempdir().unwrap());
    let proxy = Proxy::start(server.address());
    block_on(async {
        let stream = with_backups(&proxy.uri(), dir.path())
            .ingestion_data_channel_capacity(10)
            .acknowledgement_timeout(Duration::from_secs(100))
            .finish_timeout(Duration::from_secs(100))
            .build()
            .await
            .unwrap();
        proxy.limit(Way::Up, 4 << 20);
        // More than HTTP/2 takes unasked.
        send_large(&stream, 0..150, 100 << 10).await;
        until(|| stream.get_metrics_snapshot().old_messages_dropped_for_ingestion > 0);
        proxy.pass();
        let snapshot = stream.get_metrics_snapshot();
        assert!(snapshot.ingestion_channel_depth <= 10);
        let evicted = || stream.get_metrics_snapshot().old_messages_dropped_for_ingestion;
        until(|| {
            let now = stream.get_metrics_snapshot();
            now.messages_sent + now.messages_replayed == 150 && now.messages_replayed == evicted()
        });
        let (sent, evicted) = (stream.get_metrics_snapshot().messages_sent, evicted());
        assert!(sent > 0 && evicted > 0, "{sent} live, {evicted} not");
        let finished = stream.finish().await.unwrap();
        assert_eq!((finished.requests, finished.acknowledged), (150, 150));
    });
    assert_each_once(&server.seen(), 150);
    assert_no_files(dir.path());
}

#[test]
fn the_live_queue_is_bounded_in_bytes_too_and_a_single_request_has_room() {
    let (server, dir) = (Faulty::start(), tempfile::tempdir().unwrap());
    server.kill();
    block_on(async {
        let builder = with_backups(&server.uri(), dir.path()).ingestion_data_channel_bytes(64 << 10);
        let stream = builder.recorder_options(small_frames()).build().await.unwrap();
        send_large(&stream, 0..500, 1000).await;
        until(|| {
            let now = stream.get_metrics_snapshot();
            now.old_messages_dropped_for_ingestion + now.ingestion_channel_depth == 500
        });
        let depth = stream.get_metrics_snapshot().ingestion_channel_depth;
        assert!((50..=65).contains(&depth), "{depth} of 1 kB are not 64 KiB");
        send_large(&stream, 500..501, 1 << 20).await;
        until(|| stream.get_metrics_snapshot().old_messages_dropped_for_ingestion == 500);
        assert_eq!(stream.get_metrics_snapshot().ingestion_channel_depth, 1);
        server.server().revive();
        server.wait(|seen| numbers(seen).len() == 501);
        assert_eq!(stream.finish().await.unwrap().acknowledged, 501);
    });
    assert_each_once(&server.seen(), 501);
}

/// Whatever the link does, each `send` returns: nothing of this waits for it.
async fn send_on(stream: &Stream, from: u64) {
    let sending = async {
        send(stream, from..from + 5000).await;
        send_large(stream, from + 5000..from + 5050, 10 << 10).await;
        send_large(stream, from + 5050..from + 5060, 1 << 20).await;
    };
    tokio::time::timeout(Duration::from_secs(60), sending).await.expect("a dead link blocks the caller");
}

#[test]
fn a_dead_link_never_blocks_the_caller() {
    let (server, dir) = (Faulty::start(), tempfile::tempdir().unwrap());
    let proxy = Proxy::start(server.address());
    block_on(async {
        let stream = with_backups(&proxy.uri(), dir.path())
            .ingestion_data_channel_capacity(100)
            .acknowledgement_timeout(Duration::from_millis(500))
            .checkpoint_interval(Duration::from_millis(20))
            .build()
            .await
            .unwrap();
        let deaths: [&dyn Fn(); 5] = [
            &|| proxy.hold(&BOTH),
            &|| proxy.swallow(&BOTH),
            &|| proxy.drop_answers(),
            &|| {
                proxy.refuse();
                proxy.reset_all();
            },
            &|| {
                proxy.reset_newcomers();
                proxy.reset_all();
            },
        ];
        for (round, death) in deaths.into_iter().enumerate() {
            death();
            send_on(&stream, round as u64 * 5060).await;
            proxy.pass();
        }
        server.wait(|seen| numbers(seen).len() == 5 * 5060);
        until(|| stream.get_metrics_snapshot().backups.messages_awaiting_replay == 0);
        let finished = stream.finish().await.unwrap();
        assert_eq!((finished.requests, finished.acknowledged), (5 * 5060, 5 * 5060), "{finished}");
    });
    assert_all(&server.seen(), 5 * 5060);
    assert_no_files(dir.path());
}

fn slow_disk(gate: &Gate, on_full: OnFull) -> RecorderOptions {
    RecorderOptions { storage: Arc::new(gate.clone()), on_full, buffers: 2, ..small_frames() }
}

#[test]
fn a_full_disk_queue_blocks_the_caller_until_the_disk_goes_on() {
    let (server, dir, gate) = (Faulty::start(), tempfile::tempdir().unwrap(), Gate::default());
    block_on(async {
        let stream = with_backups(&server.uri(), dir.path())
            .recorder_options(slow_disk(&gate, OnFull::Block))
            .backup_data_channel_capacity(5)
            .build()
            .await
            .unwrap();
        gate.close();
        let full = (0..).find_map(|n| match stream.try_send(message(n)) {
            Ok(()) => None,
            Err(SiftStreamTrySendError::Channel(TrySendError::Full(given))) => Some((n, given)),
            Err(error) => panic!("{error}"),
        });
        let (accepted, given) = full.unwrap();
        assert_eq!(super::gate::number(&given), accepted, "it is handed back");
        until(|| gate.is_waited_at());
        // It may take what fits into its other hand.
        let mut accepted = accepted;
        while stream.try_send(message(accepted)).is_ok() {
            accepted += 1;
        }
        assert!(accepted < 100, "{accepted} are too many for a queue of 5");
        assert!(stream.get_metrics_snapshot().backup_channel_depth <= 5 + 5);
        {
            let mut sending = std::pin::pin!(stream.send(message(accepted)));
            let waited = tokio::time::timeout(Duration::from_millis(50), &mut sending).await;
            assert!(waited.is_err(), "it doesn't wait");
            gate.open();
            tokio::time::timeout(Duration::from_secs(60), sending).await.expect("nobody wakes it").unwrap();
        }
        send(&stream, accepted + 1..500).await;
        let finished = stream.finish().await.unwrap();
        assert_eq!((finished.requests, finished.acknowledged, finished.dropped), (500, 500, 0));
    });
    assert_each_once(&server.seen(), 500);
}

#[test]
fn where_the_policy_drops_it_is_counted_and_the_rest_arrives() {
    for on_full in [OnFull::DropNewest, OnFull::DropOldest] {
        let (server, dir, gate) = (Faulty::start(), tempfile::tempdir().unwrap(), Gate::default());
        block_on(async {
            let stream = with_backups(&server.uri(), dir.path())
                .recorder_options(slow_disk(&gate, on_full))
                .backup_data_channel_capacity(5)
                .build()
                .await
                .unwrap();
            send(&stream, 0..10).await;
            gate.close();
            // Never waits, though the disk does.
            send(&stream, 10..1000).await;
            gate.open();
            let finished = stream.finish().await.unwrap();
            let Finished { requests, acknowledged, on_disk, dropped, .. } = finished;
            assert_eq!((requests, on_disk), (1000, 0), "{on_full:?}");
            assert!(dropped > 900, "{on_full:?}: {dropped}");
            assert_eq!(acknowledged + dropped, requests, "{on_full:?}");
            let arrived = numbers(&server.seen());
            assert_eq!(arrived.len() as u64, acknowledged, "{on_full:?}");
            assert!(arrived.values().all(|copies| *copies == (1, 1)));
        });
        assert_no_files(dir.path());
    }
}

#[test]
fn a_server_that_reads_nothing_holds_nobody_up() {
    let (server, dir) = (Faulty::start(), tempfile::tempdir().unwrap());
    server.next_streams([Fate::Unread]);
    block_on(async {
        let stream = with_backups(&server.uri(), dir.path())
            .ingestion_data_channel_capacity(10)
            .acknowledgement_timeout(Duration::from_millis(500))
            .checkpoint_interval(Duration::from_millis(50))
            .build()
            .await
            .unwrap();
        send_on(&stream, 0).await;
        server.wait(|seen| numbers(seen).len() == 5060);
        let finished = stream.finish().await.unwrap();
        assert_eq!((finished.requests, finished.acknowledged), (5060, 5060));
    });
    assert_all(&server.seen(), 5060);
}
