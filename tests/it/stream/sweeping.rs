//! What is delivered goes, whatever the replay is waiting for.

use std::time::{Duration, Instant};

use sift_replay::stream::{DiskBackupPolicy, RunForm, RunSelector};

use super::support::{assert_all, segments, send, to, with_backups};
use crate::support::destination::block_on;
use crate::support::faulty::{Fate, Faulty};

#[test]
fn confirmed_segments_go_while_a_replay_of_earlier_ones_waits() {
    let (server, dir) = (Faulty::start(), tempfile::tempdir().unwrap());
    let policy = DiskBackupPolicy {
        backups_dir: Some(dir.path().to_owned()),
        max_backup_file_size: 4096,
        ..DiskBackupPolicy::default()
    };
    block_on(async {
        let earlier = to(&server.uri()).file_backup().disk_backup_policy(policy.clone()).build().await.unwrap();
        send(&earlier, 0..500).await;
        earlier.finish().await.unwrap();
        let earlier = segments(dir.path());
        // Only the replay of what was there sends before anything is sent.
        server.next_streams([Fate::Held]);
        let stream = with_backups(&server.uri(), dir.path())
            .disk_backup_policy(policy)
            .checkpoint_interval(Duration::from_millis(50))
            .acknowledgement_timeout(Duration::from_secs(3600))
            .build()
            .await
            .unwrap();
        server.wait(|seen| seen.held_streams == 1);
        send(&stream, 500..5000).await;
        server.wait(|seen| seen.acknowledged() == 4500);
        let began = Instant::now();
        let is_swept = || {
            let left = segments(dir.path());
            left.iter().filter(|path| !earlier.contains(path)).count() <= 1
        };
        while !is_swept() {
            assert!(began.elapsed() < Duration::from_secs(30), "{:?}", segments(dir.path()));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(earlier.iter().all(|path| path.exists()), "what isn't acknowledged stays");
        server.release();
        let finished = stream.finish().await.unwrap();
        assert_eq!((finished.requests, finished.acknowledged), (4500, 4500));
    });
    assert_all(&server.seen(), 5000);
    assert_eq!(segments(dir.path()), Vec::<std::path::PathBuf>::new());
}

#[test]
fn runs_that_are_over_and_confirmed_still_count() {
    let (server, dir) = (Faulty::start(), tempfile::tempdir().unwrap());
    block_on(async {
        let builder = with_backups(&server.uri(), dir.path()).checkpoint_interval(Duration::from_millis(10));
        let mut stream = builder.build().await.unwrap();
        for leg in 0..10 {
            send(&stream, leg * 50..(leg + 1) * 50).await;
            let shown = loop {
                let shown = stream.get_metrics_snapshot();
                if shown.messages_acknowledged == (leg + 1) * 50 {
                    break shown;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            };
            assert_eq!(shown.messages_received, (leg + 1) * 50);
            let (name, client_key) = (format!("run {leg}"), format!("run-{leg}"));
            stream.attach_run(RunSelector::ByForm(RunForm { name, client_key, ..RunForm::default() })).await.unwrap();
        }
        let finished = stream.finish().await.unwrap();
        assert_eq!((finished.requests, finished.acknowledged), (500, 500));
    });
    assert_all(&server.seen(), 500);
    assert_eq!(segments(dir.path()), Vec::<std::path::PathBuf>::new());
}
