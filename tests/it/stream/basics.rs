//! Each mode without faults.

use sift_replay::stream::{DiskBackupPolicy, Finished, SiftStreamBuilder};

use super::support::{assert_each_once, live_only, send, with_backups};
use crate::support::destination::block_on;
use crate::support::faulty::Faulty;

#[test]
fn each_accepted_request_of_live_only_arrives_exactly_once() {
    let server = Faulty::start();
    block_on(async {
        let stream = live_only(&server.uri()).ingestion_data_channel_capacity(64).build().await.unwrap();
        send(&stream, 0..5000).await;
        let finished = stream.finish().await.unwrap();
        assert_eq!(finished, Finished { requests: 5000, acknowledged: 5000, ..Finished::default() });
    });
    assert_each_once(&server.seen(), 5000);
}

#[test]
fn with_backups_each_request_arrives_once_and_its_files_go() {
    let (server, dir) = (Faulty::start(), tempfile::tempdir().unwrap());
    block_on(async {
        let stream = with_backups(&server.uri(), dir.path()).build().await.unwrap();
        send(&stream, 0..5000).await;
        let finished = stream.finish().await.unwrap();
        let directory = Some(dir.path().join("rover-v1"));
        assert_eq!(finished, Finished { requests: 5000, acknowledged: 5000, directory, ..Finished::default() });
    });
    assert_each_once(&server.seen(), 5000);
    assert_eq!(super::support::segments(dir.path()), Vec::<std::path::PathBuf>::new());
}

#[test]
fn without_a_link_everything_is_on_disk_and_the_next_stream_delivers_it() {
    let (server, dir) = (Faulty::start(), tempfile::tempdir().unwrap());
    server.kill();
    block_on(async {
        let stream = with_backups(&server.uri(), dir.path()).build().await.unwrap();
        send(&stream, 0..1000).await;
        let finished = stream.finish().await.unwrap();
        assert_eq!((finished.requests, finished.acknowledged, finished.on_disk), (1000, 0, 1000));
        assert!(finished.to_string().contains("1000 on disk in "), "{finished}");
        server.server().revive();
        let stream = with_backups(&server.uri(), dir.path()).build().await.unwrap();
        send(&stream, 1000..1500).await;
        let finished = stream.finish().await.unwrap();
        assert_eq!((finished.requests, finished.acknowledged), (500, 500));
    });
    assert_each_once(&server.seen(), 1500);
    assert_eq!(super::support::segments(dir.path()), Vec::<std::path::PathBuf>::new());
}

#[test]
fn recording_alone_needs_no_credentials_and_a_stream_with_a_link_delivers_it() {
    let (server, dir) = (Faulty::start(), tempfile::tempdir().unwrap());
    block_on(async {
        let policy = DiskBackupPolicy { backups_dir: Some(dir.path().to_owned()), ..DiskBackupPolicy::default() };
        let offline = SiftStreamBuilder::offline().ingestion_config(super::support::form("rover-v1"));
        let stream = offline.file_backup().disk_backup_policy(policy).build().await.unwrap();
        send(&stream, 0..1000).await;
        let finished = stream.finish().await.unwrap();
        let directory = Some(dir.path().join("rover-v1"));
        assert_eq!(finished, Finished { requests: 1000, on_disk: 1000, directory, ..Finished::default() });
        assert_eq!(server.seen().connections, 0);
        with_backups(&server.uri(), dir.path()).build().await.unwrap().finish().await.unwrap();
    });
    assert_each_once(&server.seen(), 1000);
}

#[test]
fn one_thread_is_enough() {
    let (server, dir) = (Faulty::start(), tempfile::tempdir().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = live_only(&server.uri()).ingestion_data_channel_capacity(10).build().await.unwrap();
        send(&stream, 0..500).await;
        assert_eq!(stream.finish().await.unwrap().acknowledged, 500);
        let stream = with_backups(&server.uri(), dir.path()).build().await.unwrap();
        send(&stream, 500..1000).await;
        assert_eq!(stream.finish().await.unwrap().acknowledged, 500);
    });
    assert_each_once(&server.seen(), 1000);
}
