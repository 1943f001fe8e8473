//! Streams beside each other.

use sift_replay::stream::{DiskBackupPolicy, SiftStreamBuilder, StreamError};

use super::super::observed::{in_files, recording, requests};
use super::super::support::{assert_each_once, credentials, form, send, to, with_backups};
use crate::support::destination::block_on;
use crate::support::faulty::Faulty;

#[test]
fn two_streams_with_the_same_files_are_refused_with_what_to_do() {
    let (server, dir) = (Faulty::start(), tempfile::tempdir().unwrap());
    block_on(async {
        let first = with_backups(&server.uri(), dir.path()).build().await.unwrap();
        let Err(error) = with_backups(&server.uri(), dir.path()).build().await else { panic!("it was built") };
        assert!(matches!(error, StreamError::Shared { .. }), "{error:?}");
        assert!(!error.is_transient());
        let text = error.to_string();
        for part in ["is at work on", "rover-v1", "backups_dir", "client key of its own"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(!text.contains("backups: it has locked") || text.contains("process"), "{text}");
        // The first one doesn't mind, and when it is over there is room for another.
        send(&first, 0..20).await;
        assert_eq!(first.finish().await.unwrap().acknowledged, 20);
        let second = with_backups(&server.uri(), dir.path()).build().await.unwrap();
        send(&second, 20..40).await;
        assert_eq!(second.finish().await.unwrap().acknowledged, 20);
    });
    assert_each_once(&server.seen(), 40);
}

#[test]
fn two_client_keys_share_a_directory() {
    let (server, dir) = (Faulty::start(), tempfile::tempdir().unwrap());
    block_on(async {
        // Names that would meet if they weren't made safe.
        let keys = ["rover/v1", "rover%2Fv1", "..", "ROVER/V1"];
        let mut streams = Vec::new();
        for key in keys {
            let policy = DiskBackupPolicy { backups_dir: Some(dir.path().to_owned()), ..DiskBackupPolicy::default() };
            let base = SiftStreamBuilder::new(credentials(&server.uri())).disable_tls().ingestion_config(form(key));
            let builder = base.live_with_backups().metrics_streaming_interval(None).disk_backup_policy(policy);
            streams.push(builder.build().await.unwrap());
        }
        for (number, stream) in (0..).zip(&streams) {
            send(stream, number * 10..(number + 1) * 10).await;
        }
        for stream in streams {
            assert_eq!(stream.finish().await.unwrap().acknowledged, 10);
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), keys.len());
    });
    assert_each_once(&server.seen(), 40);
}

#[test]
fn a_recording_at_work_in_the_same_directory_keeps_its_files_until_it_is_over() {
    let (server, dir) = (Faulty::start(), tempfile::tempdir().unwrap());
    block_on(async {
        let recorder = recording(to(&server.uri()), dir.path()).build().await.unwrap();
        send(&recorder, 0..50).await;
        // Written, by whichever interval.
        while recorder.get_metrics_snapshot().backups.total_messages < 50 {
            tokio::task::yield_now().await;
        }
        let stream = with_backups(&server.uri(), dir.path()).build().await.unwrap();
        send(&stream, 100..110).await;
        server.wait(|seen| seen.messages >= 10);
        assert_eq!(stream.finish().await.unwrap().acknowledged, 10);
        send(&recorder, 50..100).await;
        let finished = recorder.finish().await.unwrap();
        assert_eq!(finished.on_disk, 100);
        // What it says is true, or what isn't there is at the server.
        let seen = super::super::support::numbers(&server.seen());
        let kept = in_files(dir.path());
        for (n, request) in (0..).zip(requests(0..100)) {
            assert!(kept.contains(&request) || seen.get(&n).is_some_and(|copies| copies.0 > 0), "{n} is nowhere");
        }
    });
}
