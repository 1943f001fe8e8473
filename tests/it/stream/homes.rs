//! What a stream finds in its directory: the remains of others.

use std::path::{Path, PathBuf};

use sift_replay::record::{Recorder, RecorderOptions, Schema};
use sift_replay::segment::SegmentName;

use super::gate::{OnDisk, small_frames, until};
use super::support::{FLOW, assert_all, assert_each_once, numbers, segments, send, with_backups};
use crate::support::destination::block_on;
use crate::support::faulty::Faulty;
use crate::support::recording::{Owned, encoded};

fn record(n: u64) -> Vec<u8> {
    encoded(FLOW, 1_700_000_000_000_000_000 + n as i64, &[Owned::Uint64(n), Owned::Empty])
}

fn schema(client_key: &str) -> Schema {
    use prost::Message;
    use sift_rs::ingestion_configs::v2::CreateIngestionConfigRequest;
    let form = super::support::form(client_key);
    let (asset_name, client_key, flows) = (form.asset_name, form.client_key, form.flows);
    let config = CreateIngestionConfigRequest { asset_name, client_key, flows, ..Default::default() };
    Schema::from_requests(&config.encode_to_vec(), None).unwrap()
}

/// What a recorder leaves in `home` that is killed after these records: its files as they stand, the last one open.
fn killed(home: &Path, client_key: &str, numbers: std::ops::Range<u64>, segment_bytes: u64) -> Vec<PathBuf> {
    let elsewhere = tempfile::tempdir().unwrap();
    let options = RecorderOptions { segment_bytes, ..small_frames() };
    let recorder = Recorder::create(elsewhere.path(), &schema(client_key), options).unwrap();
    for n in numbers {
        let _ = recorder.record_request(&record(n)).unwrap();
    }
    recorder.flush().unwrap();
    let dir = home.join("rover/no-run");
    std::fs::create_dir_all(&dir).unwrap();
    let mut files = Vec::new();
    for path in segments(recorder.dir()) {
        let left = dir.join(path.file_name().unwrap());
        std::fs::copy(&path, &left).unwrap();
        files.push(left);
    }
    files
}

fn none() -> Vec<PathBuf> {
    Vec::new()
}

#[test]
fn what_a_killed_recorder_left_is_replayed_and_deleted() {
    let (server, dir) = (Faulty::start(), tempfile::tempdir().unwrap());
    let home = dir.path().join("rover-v1");
    assert!(killed(&home, "rover-v1", 0..300, 2 << 10).len() > 3);
    // Cut off while it wrote.
    let torn = killed(&home, "rover-v1", 300..400, 1 << 20);
    assert!(SegmentName::of_path(&torn[0]).unwrap().open);
    let bytes = std::fs::read(&torn[0]).unwrap();
    std::fs::write(&torn[0], &bytes[..bytes.len() - 5]).unwrap();
    let kept = OnDisk::read(dir.path()).numbers;
    assert!(kept.len() < 400 && kept.len() > 380, "a frame is lost");
    block_on(async {
        let stream = with_backups(&server.uri(), dir.path()).build().await.unwrap();
        send(&stream, 400..500).await;
        server.wait(|seen| numbers(seen).len() == kept.len() + 100);
        // While the stream lives: of its own, one is open.
        until(|| segments(dir.path()).len() == 1);
        assert_eq!(stream.get_metrics_snapshot().messages_replayed, kept.len() as u64);
        let finished = stream.finish().await.unwrap();
        assert_eq!((finished.requests, finished.acknowledged), (100, 100), "of its own");
    });
    let arrived: Vec<_> = numbers(&server.seen()).into_iter().collect();
    let expected: Vec<_> = kept.into_iter().chain(400..500).map(|n| (n, (1, 1))).collect();
    assert_eq!(arrived, expected);
    assert_eq!(segments(dir.path()), none());
}

#[test]
fn a_damaged_one_is_replayed_as_far_as_it_is_sound_and_kept() {
    let (server, dir) = (Faulty::start(), tempfile::tempdir().unwrap());
    let files = killed(&dir.path().join("rover-v1"), "rover-v1", 0..300, 1 << 20);
    let mut bytes = std::fs::read(&files[0]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 100].fill(0xee);
    std::fs::write(&files[0], &bytes).unwrap();
    let sound = OnDisk::read(dir.path()).numbers;
    assert!(sound.len() < 300 && sound.len() > 250);
    for _ in 0..2 {
        block_on(async {
            let stream = with_backups(&server.uri(), dir.path()).build().await.unwrap();
            server.wait(|seen| numbers(seen).len() == sound.len());
            let finished = stream.finish().await.unwrap();
            assert_eq!((finished.requests, finished.acknowledged), (0, 0));
        });
        assert_eq!(segments(dir.path()), files);
        assert_eq!(std::fs::read(&files[0]).unwrap(), bytes, "not mended either");
    }
    let seen = numbers(&server.seen());
    assert!(sound.iter().all(|n| seen[n] == (1, 1)), "once, whoever finds it");
}

#[test]
fn what_is_anybody_elses_is_left_alone() {
    let (server, dir) = (Faulty::start(), tempfile::tempdir().unwrap());
    let mut others = killed(&dir.path().join("lander-v1"), "lander-v1", 0..100, 1 << 20);
    let home = dir.path().join("rover-v1");
    std::fs::create_dir_all(home.join("rover/no-run")).unwrap();
    for name in ["notes.txt", "rover/no-run/0.sfr", "rover/no-run/core.sfr.open", "rover/README"] {
        std::fs::write(home.join(name), b"nothing that is known here").unwrap();
        others.push(home.join(name));
    }
    let contents = || others.iter().map(|path| std::fs::read(path).unwrap()).collect::<Vec<_>>();
    let before = contents();
    block_on(async {
        let stream = with_backups(&server.uri(), dir.path()).build().await.unwrap();
        send(&stream, 0..100).await;
        assert_eq!(stream.finish().await.unwrap().acknowledged, 100);
    });
    assert_eq!(contents(), before);
    assert_each_once(&server.seen(), 100);
    let configs = server.seen().calls("CreateIngestionConfig");
    assert_eq!(configs, 1, "nobody registers the lander");
}

/// Somebody records into the same directory: nothing that he goes on with is deleted, however often it is confirmed.
#[test]
fn a_recorder_that_is_still_at_work_loses_nothing() {
    let (server, dir) = (Faulty::start(), tempfile::tempdir().unwrap());
    let home = dir.path().join("rover-v1");
    let recorder = Recorder::create(&home, &schema("rover-v1"), small_frames()).unwrap();
    let record_to = |from: u64, to: u64| {
        for n in from..to {
            let _ = recorder.record_request(&record(n)).unwrap();
        }
        recorder.flush().unwrap();
    };
    record_to(0, 100);
    for round in 1..4 {
        block_on(async {
            let stream = with_backups(&server.uri(), dir.path()).build().await.unwrap();
            server.wait(|seen| numbers(seen).len() as u64 == round * 100);
            stream.finish().await.unwrap();
        });
        record_to(round * 100, (round + 1) * 100);
    }
    recorder.finish().unwrap();
    block_on(async {
        let stream = with_backups(&server.uri(), dir.path()).build().await.unwrap();
        server.wait(|seen| numbers(seen).len() == 400);
        stream.finish().await.unwrap();
    });
    assert_all(&server.seen(), 400);
    assert_eq!(segments(dir.path()), none());
}
