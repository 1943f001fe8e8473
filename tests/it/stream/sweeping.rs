//! What is delivered goes, whatever the replay is waiting for.

use std::time::{Duration, Instant};

use sift_replay::stream::DiskBackupPolicy;

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
