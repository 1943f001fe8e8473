//! What the numbers say after traffic that is known.

use std::time::Duration;

use prost::Message;
use sift_replay::stream::{
    DiskBackupPolicy, RollingFilePolicy, RunForm, RunSelector, SiftStreamBuilder, SiftStreamMetricsSnapshot,
};
use tonic::Status;

use super::{Kept, Watcher};
use crate::stream::support::{
    FLOW, assert_all, assert_each_once, credentials, flow_config, form, live_only, message, segments, send, to,
    with_backups,
};
use crate::support::destination::block_on;
use crate::support::faulty::{Fate, Faulty, Request};
use crate::support::proxy::Proxy;

fn number(request: &Request) -> u64 {
    request.timestamp.unwrap().nanos as u64
}

fn run(name: &str) -> RunSelector {
    let (name, client_key) = (name.to_owned(), name.to_owned());
    RunSelector::ByForm(RunForm { name, client_key, description: None, tags: None, metadata: None })
}

/// Bytes of these messages as the application's requests.
fn bare_bytes(kept: &Kept) -> u64 {
    let bare = |request: &Request| Request {
        ingestion_config_id: String::new(),
        run_id: String::new(),
        organization_id: String::new(),
        end_stream_on_validation_error: false,
        ..request.clone()
    };
    kept.flow(FLOW).iter().map(|request| bare(request).encoded_len() as u64).sum()
}

fn statuses(snapshot: &SiftStreamMetricsSnapshot) -> Vec<(usize, u64)> {
    snapshot.grpc_status_counts.into_iter().enumerate().filter(|(_, count)| *count > 0).collect()
}

#[test]
fn live_only_counts_requests_bytes_and_streams_exactly() {
    let server = Faulty::start();
    let kept = Kept::of(&server);
    block_on(async {
        // So few that each gRPC stream is closed at once.
        let stream = live_only(&server.uri()).ingestion_data_channel_capacity(4).build().await.unwrap();
        let mut watcher = Watcher::default();
        for n in 0..1000 {
            stream.send(message(n)).await.unwrap();
            watcher.look(&stream);
        }
        let shown = watcher.wait(&stream, |shown| shown.messages_acknowledged == 1000).await;
        assert_eq!((shown.loaded_flows, shown.messages_received, shown.messages_sent), (1, 1000, 1000));
        assert_eq!((shown.bytes_received, shown.bytes_sent), (bare_bytes(&kept), kept.bytes(FLOW)));
        assert_eq!(statuses(&shown), [(0, server.seen().acknowledged_streams)]);
        assert_eq!((shown.ingestion_channel_depth, shown.total_retry_count, shown.messages_refused), (0, 0, 0));
        assert!(shown.message_rate > 0.0 && shown.byte_rate > shown.message_rate);
        assert_eq!((shown.messages_sent_to_backup, shown.backups), (0, Default::default()));
        stream.finish().await.unwrap();
    });
    assert_each_once(&server.seen(), 1000);
}

#[test]
fn live_only_counts_each_refusal_and_each_new_attempt() {
    let server = Faulty::start();
    server.next_streams((0..2).map(|_| Fate::RefusedAtEnd(Status::unavailable("not now"))));
    let kept = Kept::refusing(&server, |request| (number(request) == 5).then(|| Status::invalid_argument("no fives")));
    block_on(async {
        let mut stream = live_only(&server.uri()).ingestion_data_channel_capacity(4).build().await.unwrap();
        let mut watcher = Watcher::default();
        send(&stream, 0..20).await;
        let settled = |shown: &SiftStreamMetricsSnapshot| shown.messages_acknowledged + shown.messages_refused == 20;
        let shown = watcher.wait(&stream, settled).await;
        assert_eq!((shown.messages_refused, shown.messages_received, shown.messages_sent), (1, 20, 20));
        let [ok, invalid, unavailable] = [0, 3, 14].map(|code| shown.grpc_status_counts[code]);
        assert_eq!((ok, unavailable, shown.total_retry_count), (server.seen().acknowledged_streams, 2, 2));
        // At first, as the search goes on, and once alone.
        assert_eq!((invalid, shown.cur_retry_count), (server.seen().refused, 0));
        assert_eq!(statuses(&shown).len(), 3, "{shown:?}");
        stream.add_new_flows(&[flow_config("more")]).await.unwrap();
        assert_eq!(watcher.look(&stream).loaded_flows, 2);
        let error = stream.finish().await.unwrap_err();
        assert_eq!(error.undelivered.iter().map(number).collect::<Vec<_>>(), [5]);
    });
    assert!(kept.flow(FLOW).len() > 20);
}

#[test]
fn with_backups_the_figures_of_all_legs_are_summed_and_nothing_is_counted_twice() {
    let (server, dir) = (Faulty::start(), tempfile::tempdir().unwrap());
    let kept = Kept::of(&server);
    block_on(async {
        let mut stream = with_backups(&server.uri(), dir.path()).build().await.unwrap();
        let mut watcher = Watcher::default();
        send(&stream, 0..500).await;
        let is_quiet = |shown: &SiftStreamMetricsSnapshot| shown.backups.total_messages == 500;
        let shown = watcher.wait(&stream, |shown| shown.messages_sent == 500 && is_quiet(shown)).await;
        let depths = (shown.ingestion_channel_depth, shown.backup_channel_depth);
        assert_eq!((shown.messages_received, shown.messages_sent_to_backup, depths), (500, 500, (0, 0)));
        assert_eq!((shown.messages_acknowledged, shown.checkpoint.checkpoint_count), (0, 0));
        let files = segments(dir.path());
        assert_eq!((files.len(), shown.backups.files_on_disk), (1, 1));
        assert_eq!(shown.backups.bytes_on_disk, files[0].metadata().unwrap().len());
        assert_eq!(shown.checkpoint.cur_messages_sent, 500);

        stream.attach_run(run("first")).await.unwrap();
        send(&stream, 500..800).await;
        let confirmed = |count| move |shown: &SiftStreamMetricsSnapshot| shown.checkpoint.messages_confirmed == count;
        let shown = watcher.wait(&stream, confirmed(500)).await;
        assert_eq!((shown.messages_received, shown.messages_acknowledged), (800, 500));
        watcher.wait(&stream, |shown| shown.messages_sent == 800).await;

        // The next leg's stream is refused at its end: what it carried goes by replay.
        server.next_streams([Fate::RefusedAtEnd(Status::unavailable("not now"))]);
        stream.detach_run();
        send(&stream, 800..1000).await;
        let shown = watcher.wait(&stream, |shown| shown.messages_sent == 1000).await;
        kept.wait(FLOW, |requests| requests.len() == 1000).await;
        assert_eq!((shown.bytes_received, shown.bytes_sent), (bare_bytes(&kept), kept.bytes(FLOW)));
        stream.attach_run(run("second")).await.unwrap();
        send(&stream, 1000..1001).await;
        let shown = watcher.wait(&stream, |shown| shown.messages_replayed == 200).await;
        let shown = match shown.backups.messages_awaiting_replay {
            0 => shown,
            _ => watcher.wait(&stream, |shown| shown.backups.messages_awaiting_replay == 0).await,
        };
        assert_eq!((shown.messages_received, shown.messages_sent_to_backup), (1001, 1001));
        assert_eq!(shown.messages_acknowledged, 800, "the replayed ones count as replayed");
        let checkpoint = shown.checkpoint;
        assert_eq!((checkpoint.checkpoint_count, checkpoint.failed_checkpoint_count), (2, 1));
        // None was due, and nobody asked for one.
        assert_eq!((checkpoint.checkpoint_timer_reached_cnt, checkpoint.checkpoint_manually_reached_cnt), (0, 0));
        assert_eq!(statuses(&shown), [(0, server.seen().acknowledged_streams), (14, 1)]);
        assert_eq!((shown.loaded_flows, shown.old_messages_dropped_for_ingestion), (1, 0));
        stream.finish().await.unwrap();
    });
    assert_all(&server.seen(), 1001);
}

#[test]
fn checkpoints_that_are_due_and_those_that_files_force_are_told_apart() {
    let (server, dirs) = (Faulty::start(), [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()]);
    block_on(async {
        let due = with_backups(&server.uri(), dirs[0].path()).checkpoint_interval(Duration::from_millis(20));
        let stream = due.build().await.unwrap();
        let mut watcher = Watcher::default();
        send(&stream, 0..10).await;
        let shown = watcher.wait(&stream, |shown| shown.checkpoint.messages_confirmed == 10).await;
        assert_eq!(shown.checkpoint.checkpoint_timer_reached_cnt, shown.checkpoint.checkpoint_count);
        assert_eq!(shown.checkpoint.checkpoint_manually_reached_cnt, 0);
        // A checkpoint later, what it has carried since is counted anew.
        assert_eq!((shown.messages_sent, shown.checkpoint.cur_messages_sent), (10, 0));
        stream.finish().await.unwrap();

        let policy = DiskBackupPolicy {
            backups_dir: Some(dirs[1].path().to_owned()),
            max_backup_file_size: 1024,
            rolling_file_policy: RollingFilePolicy { max_file_count: Some(2) },
            ..DiskBackupPolicy::default()
        };
        let forced = with_backups(&server.uri(), dirs[1].path()).disk_backup_policy(policy);
        let (stream, mut watcher, mut n) = (forced.build().await.unwrap(), Watcher::default(), 10);
        while watcher.look(&stream).checkpoint.checkpoint_manually_reached_cnt < 2 {
            send(&stream, n..n + 100).await;
            n += 100;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(watcher.look(&stream).checkpoint.checkpoint_timer_reached_cnt, 0);
        stream.finish().await.unwrap();
        assert_all(&server.seen(), n);
    });
}

#[test]
fn what_is_evicted_while_the_link_is_down_awaits_replay_and_is_counted_when_it_came() {
    let (server, dir) = (Faulty::start(), tempfile::tempdir().unwrap());
    server.kill();
    block_on(async {
        let builder = with_backups(&server.uri(), dir.path()).ingestion_data_channel_capacity(10);
        let (stream, mut watcher) = (builder.build().await.unwrap(), Watcher::default());
        send(&stream, 0..100).await;
        let shown = watcher.wait(&stream, |shown| shown.old_messages_dropped_for_ingestion == 90).await;
        assert_eq!((shown.ingestion_channel_depth, shown.messages_sent, shown.messages_acknowledged), (10, 0, 0));
        assert_eq!(shown.backups.messages_awaiting_replay, 90);
        let shown = watcher.wait(&stream, |shown| shown.cur_retry_count >= 3).await;
        assert!(shown.total_retry_count >= shown.cur_retry_count);
        server.server().revive();
        let shown = watcher.wait(&stream, |shown| shown.messages_replayed == 90 && shown.messages_sent == 10).await;
        assert_eq!((shown.ingestion_channel_depth, shown.cur_retry_count), (0, 0));
        watcher.wait(&stream, |shown| shown.backups.messages_awaiting_replay == 0).await;
        let finished = stream.finish().await.unwrap();
        assert_eq!((finished.requests, finished.acknowledged), (100, 100));
    });
    assert_each_once(&server.seen(), 100);
}

#[test]
fn while_a_server_refuses_every_stream_the_current_retries_only_grow() {
    let (server, dir) = (Faulty::start(), tempfile::tempdir().unwrap());
    server.all_streams(Fate::Refused(Status::unavailable("not now")));
    block_on(async {
        let (stream, mut watcher) =
            (with_backups(&server.uri(), dir.path()).build().await.unwrap(), Watcher::default());
        let (mut n, mut before) = (0, 0);
        while before < 5 {
            send(&stream, n..n + 1).await;
            n += 1;
            let now = watcher.look(&stream).cur_retry_count;
            assert!(now >= before, "{now} after {before}");
            before = now;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let shown = watcher.look(&stream);
        assert_eq!(shown.grpc_status_counts[0], 0);
        assert!(shown.grpc_status_counts[14] >= 5, "{shown:?}");
        server.heal();
        stream.finish().await.unwrap();
        assert_all(&server.seen(), n);
    });
}

#[test]
fn dead_letters_are_counted_and_are_no_files_of_the_stream() {
    let (server, dir) = (Faulty::start(), tempfile::tempdir().unwrap());
    Kept::refusing(&server, |request| (number(request) == 7).then(|| Status::invalid_argument("no sevens")));
    block_on(async {
        let builder = with_backups(&server.uri(), dir.path()).checkpoint_interval(Duration::from_millis(20));
        let (stream, mut watcher) = (builder.build().await.unwrap(), Watcher::default());
        send(&stream, 0..100).await;
        let shown = watcher.wait(&stream, |shown| shown.messages_dead_lettered == 1).await;
        assert_eq!((shown.messages_refused, shown.messages_received), (0, 100));
        let all = |shown: &SiftStreamMetricsSnapshot| shown.messages_acknowledged + shown.messages_replayed == 99;
        let shown = watcher.wait(&stream, |shown| all(shown) && shown.backups.messages_awaiting_replay == 0).await;
        assert!(shown.checkpoint.failed_checkpoint_count >= 1 && shown.grpc_status_counts[3] >= 1);
        assert_eq!(shown.grpc_status_counts[3], server.seen().refused);
        let state = |path: &std::path::PathBuf| path.components().any(|part| part.as_os_str() == ".sift-replay");
        let (dead, files): (Vec<_>, Vec<_>) = segments(dir.path()).into_iter().partition(state);
        assert!(!dead.is_empty());
        assert_eq!(stream.get_metrics_snapshot().backups.files_on_disk, files.len() as u64);
        let finished = stream.finish().await.unwrap();
        assert_eq!((finished.acknowledged, finished.dead_lettered), (99, 1));
    });
}

#[test]
fn who_only_records_counts_what_is_on_disk_and_connects_to_nobody() {
    let (proxy, dir) = (Proxy::start(([127, 0, 0, 1], 1).into()), tempfile::tempdir().unwrap());
    block_on(async {
        let policy = DiskBackupPolicy { backups_dir: Some(dir.path().to_owned()), ..DiskBackupPolicy::default() };
        let builder =
            SiftStreamBuilder::new(credentials(&proxy.uri())).disable_tls().ingestion_config(form("rover-v1"));
        let builder = builder.file_backup().disk_backup_policy(policy);
        let builder = builder.metrics_streaming_interval(Some(Duration::from_millis(1)));
        let (mut stream, mut watcher) = (builder.build().await.unwrap(), Watcher::default());
        send(&stream, 0..300).await;
        stream.attach_run(run("first")).await.unwrap();
        send(&stream, 300..500).await;
        let shown = watcher.wait(&stream, |shown| shown.backups.total_messages == 500).await;
        assert_eq!((shown.messages_received, shown.messages_sent_to_backup, shown.messages_sent), (500, 500, 0));
        assert_eq!((shown.loaded_flows, shown.backup_channel_depth, statuses(&shown)), (1, 0, vec![]));
        assert_eq!(shown.backups.messages_awaiting_replay, 0);
        // As much as one that sends is given for the same messages.
        let server = Faulty::start();
        let other = to(&server.uri()).live_only().metrics_streaming_interval(None).build().await.unwrap();
        send(&other, 0..500).await;
        assert_eq!(shown.bytes_received, other.get_metrics_snapshot().bytes_received);
        other.finish().await.unwrap();
        stream.finish().await.unwrap();
        let sizes = segments(dir.path()).iter().map(|path| path.metadata().unwrap().len()).sum::<u64>();
        assert!(sizes > 0 && segments(dir.path()).len() == 2);
    });
    assert_eq!(proxy.counts().connections, 0);
}
