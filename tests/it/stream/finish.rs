//! `finish` tells the truth: each accepted request is in exactly one of its figures, and what is nowhere is handed back.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prost::Message;
use sift_replay::record::{OnFull, RecorderOptions, SyncPolicy};
use sift_replay::stream::{
    DiskBackupPolicy, Encodeable, FinishError, Finished, IngestionConfigEncoder, LiveWithBackupsBuilder, RetryPolicy,
    RunForm, RunSelector, SiftStream, Transport,
};
use sift_rs::ingest::v1::IngestWithConfigDataStreamRequest;

use super::gate::{Gate, OnDisk, number, small_frames, until};
use super::support::{assert_all, assert_each_once, message, numbers, segments, send, to, with_backups};
use crate::support::destination::block_on;
use crate::support::faulty::{Fate, Faulty};
use crate::support::proxy::{BOTH, Proxy};

fn run(name: &str) -> RunSelector {
    let (name, client_key) = (name.to_owned(), format!("{name}-key"));
    RunSelector::ByForm(RunForm { name, client_key, description: None, tags: None, metadata: None })
}

/// What was sent as message `n`.
fn sent(n: u64) -> IngestWithConfigDataStreamRequest {
    let flow = super::support::flow_config(super::support::FLOW);
    let descriptor = sift_replay::stream::FlowDescriptor::try_from(("", &flow)).unwrap();
    message(n).into_request(&|_| Some(descriptor.clone()))
}

/// The figures add up, and those that are missing in them are handed back: each once, as they were sent.
#[track_caller]
fn assert_adds_up(result: &Result<Finished, FinishError>, accepted: u64) -> Vec<u64> {
    let (finished, undelivered) = match result {
        Ok(finished) => (finished, &[][..]),
        Err(error) => {
            assert!(!error.undelivered.is_empty() && !error.reason.is_empty());
            let text = error.to_string();
            assert!(text.starts_with(&format!("{} of {accepted} requests", error.undelivered.len())), "{text}");
            (&*error.finished, &error.undelivered[..])
        }
    };
    let Finished { requests, acknowledged, dead_lettered, on_disk, dropped, .. } = *finished;
    assert_eq!(requests, accepted, "{finished:?}");
    let sum = acknowledged + dead_lettered + on_disk + dropped + undelivered.len() as u64;
    assert_eq!(sum, requests, "{finished:?} and {} handed back", undelivered.len());
    let handed_back: Vec<_> = undelivered.iter().map(number).collect();
    assert!(handed_back.is_sorted_by(|a, b| a < b), "each once, in order: {handed_back:?}");
    for request in undelivered {
        assert_eq!(request.encode_to_vec(), sent(number(request)).encode_to_vec(), "bit for bit");
    }
    handed_back
}

#[test]
fn without_a_link_it_says_how_many_are_where_and_why_within_its_time() {
    for death in 0..3 {
        let (server, dir) = (Faulty::start(), tempfile::tempdir().unwrap());
        let proxy = Proxy::start(server.address());
        block_on(async {
            let dir = dir.path();
            let stream = with_backups(&proxy.uri(), dir)
                .acknowledgement_timeout(Duration::from_secs(60))
                .finish_timeout(Duration::from_millis(300))
                .build()
                .await
                .unwrap();
            send(&stream, 0..100).await;
            server.wait(|seen| numbers(seen).len() == 100);
            match death {
                0 => proxy.hold(&BOTH),
                1 => proxy.swallow(&BOTH),
                _ => {
                    proxy.refuse();
                    proxy.reset_all();
                }
            }
            send(&stream, 100..500).await;
            let began = Instant::now();
            let finished = stream.finish().await;
            // The time that it was given, the replay's last ones on their way, and a slow computer.
            assert!(began.elapsed() < Duration::from_secs(15), "{:?} for {death}", began.elapsed());
            assert_adds_up(&finished, 500);
            let finished = finished.unwrap();
            assert_eq!((finished.acknowledged, finished.on_disk), (0, 500), "{death}");
            let (home, text) = (dir.join("rover-v1"), finished.to_string());
            assert_eq!(finished.directory.as_ref(), Some(&home));
            assert!(finished.reason.as_ref().is_some_and(|reason| !reason.is_empty()));
            assert!(text.contains("500 on disk in ") && text.contains(home.to_str().unwrap()), "{text}");
            assert_eq!(OnDisk::read(&home).numbers.len(), 500);
        });
    }
}

#[test]
fn a_silent_server_does_not_hold_up_the_end() {
    let (server, dir) = (Faulty::start(), tempfile::tempdir().unwrap());
    server.all_streams(Fate::Silent);
    block_on(async {
        let stream = with_backups(&server.uri(), dir.path())
            .acknowledgement_timeout(Duration::from_secs(60))
            .finish_timeout(Duration::from_millis(300))
            .build()
            .await
            .unwrap();
        send(&stream, 0..100).await;
        server.wait(|seen| numbers(seen).len() == 100);
        let began = Instant::now();
        let finished = stream.finish().await;
        assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
        assert_adds_up(&finished, 100);
        let finished = finished.unwrap();
        assert_eq!((finished.acknowledged, finished.on_disk), (0, 100));
        assert!(finished.reason.is_some());
        server.heal();
        let stream = with_backups(&server.uri(), dir.path()).build().await.unwrap();
        until(|| stream.get_metrics_snapshot().messages_replayed == 100);
        assert_eq!(stream.finish().await.unwrap().requests, 0);
    });
    assert_all(&server.seen(), 100);
    assert_eq!(segments(dir.path()), Vec::<std::path::PathBuf>::new());
}

/// The live lane is told to wait so long that it never tries again; the replay comes at the end.
#[test]
fn what_only_the_replay_has_delivered_counts_as_acknowledged() {
    let (server, dir) = (Faulty::start(), tempfile::tempdir().unwrap());
    server.kill();
    block_on(async {
        let hour = Duration::from_secs(3600);
        let stream = with_backups(&server.uri(), dir.path())
            .retry_policy(RetryPolicy { initial_backoff: hour, max_backoff: hour, ..RetryPolicy::default() })
            .build()
            .await
            .unwrap();
        send(&stream, 0..100).await;
        until(|| stream.get_metrics_snapshot().total_retry_count > 0);
        server.server().revive();
        let finished = stream.finish().await;
        assert_adds_up(&finished, 100);
        let finished = finished.unwrap();
        let there = OnDisk::read(dir.path()).numbers.len() as u64;
        assert_eq!((finished.acknowledged, finished.on_disk), (100 - there, there), "{finished}");
    });
}

fn dying(gate: &Gate, Death { on_full, sync, .. }: Death) -> RecorderOptions {
    RecorderOptions { storage: Arc::new(gate.clone()), on_full, sync, buffers: 4, ..small_frames() }
}

/// One way in which a disk dies.
#[derive(Debug, Clone, Copy)]
struct Death {
    /// Writes and syncs that still work.
    after: usize,
    legs: u64,
    on_full: OnFull,
    sync: SyncPolicy,
}

/// Sends until it is told that nothing is accepted any more; returns how many were.
async fn send_as_long_as_it_goes<T: Transport>(
    stream: &mut SiftStream<IngestionConfigEncoder, T>,
    death: Death,
) -> u64 {
    let mut next = 0;
    for leg in 0..death.legs {
        if leg > 0 {
            let attached = leg % 2 == 1;
            if attached && stream.attach_run(run(&format!("leg {leg}"))).await.is_err() {
                break;
            }
            if !attached {
                stream.detach_run();
            }
        }
        for _ in 0..60 {
            if stream.try_send(message(next)).is_err() && stream.send(message(next)).await.is_err() {
                return next;
            }
            next += 1;
            if next % 20 == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }
    next
}

async fn die(builder: impl AsyncFn(&Path, &Gate, RecorderOptions) -> Outcome, death: Death, server: &Faulty) {
    let (dir, gate) = (tempfile::tempdir().unwrap(), Gate::default());
    let Outcome { accepted, result } = builder(dir.path(), &gate, dying(&gate, death)).await;
    let handed_back = assert_adds_up(&result, accepted);
    let finished = match &result {
        Ok(finished) => finished.clone(),
        Err(error) => (*error.finished).clone(),
    };
    let there = OnDisk::read(dir.path()).numbers;
    let seen = numbers(&server.seen());
    let acknowledged = |n: u64| seen.get(&n).is_some_and(|(acknowledged, _)| *acknowledged > 0);
    let nowhere = (0..accepted).filter(|n| !there.contains(n) && !acknowledged(*n) && !handed_back.contains(n));
    assert_eq!(nowhere.count() as u64, finished.dropped, "{death:?}: {finished:?}");
}

struct Outcome {
    accepted: u64,
    result: Result<Finished, FinishError>,
}

/// With every server its own numbers, so that none is taken for another's.
fn each_death(work: impl AsyncFn(Death, &Faulty)) {
    let mut case = 0;
    for on_full in [OnFull::Block, OnFull::DropNewest, OnFull::DropOldest] {
        for after in [1, 2, 3, 5, 8, 20, 50] {
            for linked in [true, false] {
                case += 1;
                let sync = match case % 3 {
                    0 if on_full == OnFull::Block => SyncPolicy::EveryRecord,
                    1 => SyncPolicy::Interval(Duration::from_millis(1)),
                    _ => SyncPolicy::OnRotation,
                };
                let death = Death { after, legs: 1 + case % 3, on_full, sync };
                let server = Faulty::start();
                if !linked {
                    server.kill();
                }
                block_on(work(death, &server));
            }
        }
    }
}

fn hurried(server: &Faulty, dir: &Path) -> LiveWithBackupsBuilder {
    with_backups(&server.uri(), dir)
        .finish_timeout(Duration::from_millis(200))
        .acknowledgement_timeout(Duration::from_millis(200))
}

#[test]
fn whenever_the_disk_dies_what_is_neither_durable_nor_acknowledged_is_handed_back() {
    let failed = std::cell::Cell::new(0);
    each_death(async |death, server| {
        let build = async |dir: &Path, gate: &Gate, options: RecorderOptions| {
            let builder = hurried(server, dir).recorder_options(options).backup_data_channel_capacity(20);
            let mut stream = builder.build().await.unwrap();
            gate.die_after(death.after);
            let accepted = send_as_long_as_it_goes(&mut stream, death).await;
            let result = stream.finish().await;
            failed.set(failed.get() + u64::from(result.is_err()));
            Outcome { accepted, result }
        };
        die(build, death, server).await;
    });
    assert!(failed.get() > 10, "{} of the disks have died", failed.get());
}

#[test]
fn file_backup_hands_back_what_its_disk_has_not() {
    let failed = std::cell::Cell::new(0);
    each_death(async |death, server| {
        let build = async |dir: &Path, gate: &Gate, options: RecorderOptions| {
            let policy = DiskBackupPolicy { backups_dir: Some(dir.to_owned()), ..DiskBackupPolicy::default() };
            let builder = to(&server.uri()).file_backup().disk_backup_policy(policy).recorder_options(options);
            let mut stream = builder.backup_data_channel_capacity(20).build().await.unwrap();
            gate.die_after(death.after);
            let accepted = send_as_long_as_it_goes(&mut stream, death).await;
            let result = stream.finish().await;
            failed.set(failed.get() + u64::from(result.is_err()));
            Outcome { accepted, result }
        };
        die(build, death, server).await;
        assert_eq!(server.seen().connections, 0, "it never touches the network");
    });
    assert!(failed.get() > 10, "{} of the disks have died", failed.get());
}

#[test]
fn over_several_runs_all_is_acknowledged_in_its_own() {
    let (server, dir) = (Faulty::start(), tempfile::tempdir().unwrap());
    block_on(async {
        let mut stream = with_backups(&server.uri(), dir.path()).build().await.unwrap();
        for leg in 0..5 {
            send(&stream, leg * 100..(leg + 1) * 100).await;
            match leg % 2 {
                0 => stream.attach_run(run(&format!("leg {leg}"))).await.unwrap(),
                _ => stream.detach_run(),
            }
        }
        let finished = stream.finish().await;
        assert_adds_up(&finished, 500);
        assert_eq!(finished.unwrap().acknowledged, 500);
    });
    let seen = server.seen();
    assert_each_once(&seen, 500);
    let runs = |from: u64| {
        let time = |n: u64| 1_700_000_000_000_000_000 + i128::from(n);
        let of = seen.records.iter().filter(move |(id, _)| (time(from)..time(from + 100)).contains(&id.time));
        let ids: std::collections::BTreeSet<_> =
            of.flat_map(|(_, copies)| &copies.under).map(|ids| ids[1].clone()).collect();
        assert_eq!(ids.len(), 1, "{ids:?}");
        ids.into_iter().next().unwrap()
    };
    assert_eq!((runs(0), runs(200), runs(400)), Default::default());
    assert!(!runs(100).is_empty() && !runs(300).is_empty() && runs(100) != runs(300));
    assert_eq!(segments(dir.path()), Vec::<std::path::PathBuf>::new());
}

#[test]
fn what_is_refused_is_kept_and_counted() {
    let (server, dir) = (Faulty::start(), tempfile::tempdir().unwrap());
    server.refuse(|request| {
        (number(request) % 100 == 7).then(|| tonic::Status::invalid_argument("no number may end in 7"))
    });
    block_on(async {
        let stream = with_backups(&server.uri(), dir.path()).build().await.unwrap();
        send(&stream, 0..500).await;
        let finished = stream.finish().await;
        assert_adds_up(&finished, 500);
        let finished = finished.unwrap();
        assert_eq!((finished.acknowledged, finished.dead_lettered, finished.on_disk), (495, 5, 0));
    });
}

#[test]
fn file_backup_says_that_all_is_on_disk_and_the_next_stream_delivers_it() {
    let (server, dir) = (Faulty::start(), tempfile::tempdir().unwrap());
    block_on(async {
        let policy = DiskBackupPolicy { backups_dir: Some(dir.path().to_owned()), ..DiskBackupPolicy::default() };
        let mut stream = to(&server.uri()).file_backup().disk_backup_policy(policy).build().await.unwrap();
        send(&stream, 0..100).await;
        stream.attach_run(run("the first")).await.unwrap();
        send(&stream, 100..200).await;
        stream.detach_run();
        send(&stream, 200..300).await;
        let finished = stream.finish().await;
        assert_adds_up(&finished, 300);
        let directory = Some(dir.path().join("rover-v1"));
        assert_eq!(finished.unwrap(), Finished { requests: 300, on_disk: 300, directory, ..Finished::default() });
        assert_eq!(server.seen().connections, 0);
        let stream = with_backups(&server.uri(), dir.path()).build().await.unwrap();
        until(|| stream.get_metrics_snapshot().messages_replayed == 300);
        assert_eq!(stream.finish().await.unwrap().requests, 0);
    });
    assert_each_once(&server.seen(), 300);
    assert_eq!(segments(dir.path()), Vec::<std::path::PathBuf>::new());
}

#[test]
fn a_stream_that_is_dropped_loses_nothing() {
    let (server, dir) = (Faulty::start(), tempfile::tempdir().unwrap());
    for round in 0..6 {
        if round == 3 {
            server.kill();
        }
        block_on(async {
            let mut builder = with_backups(&server.uri(), dir.path());
            // The one before may still be at its last acknowledgement.
            let stream = loop {
                match builder.build().await {
                    Ok(stream) => break stream,
                    Err(sift_replay::stream::StreamError::Shared { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
                builder = with_backups(&server.uri(), dir.path());
            };
            send(&stream, round * 100..(round + 1) * 100).await;
            drop(stream);
        });
    }
    server.server().revive();
    block_on(async {
        let stream = with_backups(&server.uri(), dir.path()).build().await.unwrap();
        server.wait(|seen| numbers(seen).len() == 600);
        stream.finish().await.unwrap();
    });
    assert_all(&server.seen(), 600);
    assert_eq!(segments(dir.path()), Vec::<std::path::PathBuf>::new());
}
