//! Checkpoints: what is confirmed is noted, and goes; nothing else does.
#![allow(clippy::single_range_in_vec_init, reason = "a set of one range is meant")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sift_replay::replay::{Checkpoints, StateDirs};
use sift_replay::segment::{Disk, Storage};
use sift_replay::stream::{DiskBackupPolicy, LiveWithBackupsBuilder, RollingFilePolicy};

use super::gate::{OnDisk, assert_nothing_unconfirmed_is_gone, indices, small_frames, until};
use super::support::{assert_all, assert_each_once, numbers, segments, send, with_backups};
use crate::support::destination::block_on;
use crate::support::faulty::{Fate, Faulty};

/// As long as nothing has gone wrong with the test.
const FOREVER: Duration = Duration::from_secs(3600);

/// Small segments, few of them, or a short interval.
fn policy(dir: &Path, max_file_count: Option<usize>, retain_backups: bool) -> DiskBackupPolicy {
    DiskBackupPolicy {
        backups_dir: Some(dir.to_owned()),
        max_backup_file_size: 2 << 10,
        rolling_file_policy: RollingFilePolicy { max_file_count },
        retain_backups,
    }
}

fn patient(server: &Faulty, dir: &Path) -> LiveWithBackupsBuilder {
    with_backups(&server.uri(), dir)
        .recorder_options(small_frames())
        .acknowledgement_timeout(FOREVER)
        .disk_backup_policy(policy(dir, None, false))
}

/// What the journal has of the stream's only session, as ranges.
fn journal(home: &Path, endpoint: &str) -> Vec<std::ops::Range<u64>> {
    let storage: Arc<dyn Storage> = Arc::new(Disk);
    let known = Checkpoints::look(&storage, &StateDirs::resolve_in(&[home.to_owned()], None, None));
    let list = known.list();
    assert_eq!(list.len(), 1, "one destination");
    assert_eq!(list[0].target.endpoint(), endpoint);
    assert_eq!(list[0].sessions.len(), 1);
    list[0].sessions[0].1.acknowledged.ranges().collect()
}

#[test]
fn sending_goes_on_while_an_acknowledgement_is_awaited_and_then_it_is_marked_and_noted() {
    let (server, dir) = (Faulty::start(), tempfile::tempdir().unwrap());
    server.next_streams([Fate::Held]);
    block_on(async {
        let stream = patient(&server, dir.path())
            .disk_backup_policy(policy(dir.path(), None, true))
            .checkpoint_interval(Duration::from_millis(50))
            .build()
            .await
            .unwrap();
        send(&stream, 0..100).await;
        server.wait(|seen| seen.held_streams == 1);
        let held: Vec<_> = numbers(&server.seen()).into_keys().collect();
        // It is closed and isn't answered: what is sent now goes through another one, and is confirmed.
        send(&stream, 100..200).await;
        server.wait(|seen| numbers(seen).len() == 200);
        until(|| stream.get_metrics_snapshot().checkpoint.messages_confirmed == 200 - held.len() as u64);
        assert_eq!(server.seen().held_streams, 1);
        let home = dir.path().join("rover-v1");
        let noted = journal(&home, &server.uri());
        assert!(noted.iter().all(|seqs| held.iter().all(|n| !seqs.contains(n))), "{noted:?} of {held:?}");
        server.release();
        until(|| stream.get_metrics_snapshot().checkpoint.messages_confirmed == 200);
        // The mark comes after the note.
        until(|| {
            OnDisk::read(dir.path()).confirmed.iter().map(|mark| mark.end_seq - mark.first_seq).sum::<u64>() == 200
        });
        assert_eq!(journal(&home, &server.uri()), [0..200]);
        let finished = stream.finish().await.unwrap();
        assert_eq!((finished.requests, finished.acknowledged, finished.on_disk), (200, 200, 0));
    });
    assert_each_once(&server.seen(), 200);
    let there = OnDisk::read(dir.path());
    assert!(there.files > 3 && there.numbers.len() == 200, "all segments stay");
    assert!(there.confirmed.iter().all(|mark| mark.destination.starts_with(&server.uri())));
    let mut marked: Vec<_> = there.confirmed.iter().map(|mark| (mark.first_seq, mark.end_seq)).collect();
    marked.sort_unstable();
    assert!(marked.windows(2).all(|pair| pair[0].1 == pair[1].0), "each seq is marked once: {marked:?}");
}

#[test]
fn only_segments_all_of_whose_records_are_confirmed_are_deleted() {
    let (server, dir) = (Faulty::start(), tempfile::tempdir().unwrap());
    // One is acknowledged, and four aren't: more don't wait at a time.
    server.next_streams([Fate::Taken, Fate::Held, Fate::Held, Fate::Held, Fate::Held]);
    block_on(async {
        let few = policy(dir.path(), Some(3), false);
        let stream = patient(&server, dir.path()).disk_backup_policy(few).build().await.unwrap();
        let mut sent = 0;
        while server.seen().held_streams < 4 {
            send(&stream, sent..sent + 20).await;
            sent += 20;
            assert_nothing_unconfirmed_is_gone(dir.path(), &server, 0);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let snapshot = stream.get_metrics_snapshot().checkpoint;
        assert_eq!((snapshot.checkpoint_count, snapshot.checkpoint_manually_reached_cnt), (1, 1));
        assert_eq!(snapshot.checkpoint_timer_reached_cnt, 0);
        // The first segments are confirmed and go; of all the others, none does.
        let confirmed = snapshot.messages_confirmed;
        until(|| !indices(dir.path()).contains(&0));
        server.wait(|seen| numbers(seen).len() as u64 == sent);
        until(|| OnDisk::read(dir.path()).numbers.last() == Some(&(sent - 1)));
        let there = OnDisk::read(dir.path()).numbers;
        assert!((confirmed..sent).all(|n| there.contains(&n)), "an unconfirmed one has gone");
        let left = indices(dir.path());
        assert!(left.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{left:?}");
        server.release();
        let finished = stream.finish().await.unwrap();
        assert_eq!((finished.requests, finished.acknowledged), (sent, sent));
        assert_each_once(&server.seen(), sent);
    });
    assert_eq!(segments(dir.path()), Vec::<std::path::PathBuf>::new());
}

#[test]
fn confirmed_segments_stay_if_they_are_to_be_retained() {
    let (server, dir) = (Faulty::start(), tempfile::tempdir().unwrap());
    block_on(async {
        let stream =
            patient(&server, dir.path()).disk_backup_policy(policy(dir.path(), Some(2), true)).build().await.unwrap();
        send(&stream, 0..1000).await;
        let finished = stream.finish().await.unwrap();
        assert_eq!((finished.acknowledged, finished.on_disk), (1000, 0));
        // The next one has nothing to do with them.
        let retained = policy(dir.path(), None, true);
        let stream = patient(&server, dir.path()).disk_backup_policy(retained).build().await.unwrap();
        assert_eq!(stream.finish().await.unwrap().requests, 0);
    });
    assert_each_once(&server.seen(), 1000);
    assert_eq!(OnDisk::read(dir.path()).numbers.len(), 1000);
}

#[test]
fn a_late_acknowledgement_is_a_failed_checkpoint_and_all_of_it_is_replayed() {
    let (server, dir) = (Faulty::start(), tempfile::tempdir().unwrap());
    // The first one is never answered, and the others not before they are looked at.
    server.next_streams([Fate::Silent]);
    server.all_streams(Fate::Held);
    block_on(async {
        let stream = patient(&server, dir.path())
            .acknowledgement_timeout(Duration::from_secs(1))
            .disk_backup_policy(policy(dir.path(), Some(2), false))
            .build()
            .await
            .unwrap();
        let mut sent = 0;
        while server.seen().silent_streams == 0 {
            send(&stream, sent..sent + 5).await;
            sent += 5;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        until(|| stream.get_metrics_snapshot().checkpoint.failed_checkpoint_count > 0);
        until(|| stream.get_metrics_snapshot().backups.messages_awaiting_replay > 0);
        server.wait(|seen| seen.held_streams > 0);
        let snapshot = stream.get_metrics_snapshot();
        assert_eq!((snapshot.checkpoint.checkpoint_count, snapshot.checkpoint.messages_confirmed), (0, 0));
        assert_eq!((snapshot.messages_acknowledged, snapshot.messages_replayed), (0, 0));
        assert_eq!(OnDisk::read(dir.path()).numbers.len() as u64, sent, "nothing is deleted");
        server.heal();
        until(|| stream.get_metrics_snapshot().messages_replayed > 0);
        let finished = stream.finish().await.unwrap();
        assert_eq!((finished.requests, finished.acknowledged), (sent, sent));
        assert_all(&server.seen(), sent);
    });
    assert_eq!(segments(dir.path()), Vec::<std::path::PathBuf>::new());
}

#[test]
fn the_number_of_files_never_drops_data_also_when_the_link_is_down() {
    let (server, dir) = (Faulty::start(), tempfile::tempdir().unwrap());
    server.kill();
    block_on(async {
        let stream =
            patient(&server, dir.path()).disk_backup_policy(policy(dir.path(), Some(2), false)).build().await.unwrap();
        send(&stream, 0..1000).await;
        until(|| OnDisk::read(dir.path()).numbers.len() == 1000);
        let snapshot = stream.get_metrics_snapshot();
        assert!(snapshot.backups.files_on_disk > 10 && snapshot.backups.bytes_on_disk > 10 << 10, "{snapshot:?}");
        assert_eq!(snapshot.backups.files_on_disk, segments(dir.path()).len() as u64);
        assert_eq!(snapshot.checkpoint.checkpoint_manually_reached_cnt, 0, "there is nothing to confirm");
        server.server().revive();
        server.wait(|seen| numbers(seen).len() == 1000);
        let finished = stream.finish().await.unwrap();
        assert_eq!((finished.requests, finished.acknowledged), (1000, 1000));
    });
    assert_each_once(&server.seen(), 1000);
    assert_eq!(segments(dir.path()), Vec::<std::path::PathBuf>::new());
}

#[test]
fn files_are_never_more_than_allowed_for_long_while_there_is_a_link() {
    let (server, dir) = (Faulty::start(), tempfile::tempdir().unwrap());
    block_on(async {
        let stream =
            patient(&server, dir.path()).disk_backup_policy(policy(dir.path(), Some(3), false)).build().await.unwrap();
        let mut sent = 0;
        for _ in 0..5 {
            send(&stream, sent..sent + 200).await;
            sent += 200;
            until(|| segments(dir.path()).len() <= 3);
        }
        let checkpoints = stream.get_metrics_snapshot().checkpoint;
        assert!(checkpoints.checkpoint_manually_reached_cnt > 0, "{checkpoints:?}");
        assert_eq!(checkpoints.checkpoint_timer_reached_cnt, 0);
        assert_eq!(stream.finish().await.unwrap().acknowledged, sent);
        assert_each_once(&server.seen(), sent);
    });
}

#[test]
fn nothing_is_confirmed_of_nothing_and_marks_do_not_come_for_ever() {
    let (server, dir) = (Faulty::start(), tempfile::tempdir().unwrap());
    block_on(async {
        let stream = patient(&server, dir.path())
            .checkpoint_interval(Duration::from_millis(5))
            .disk_backup_policy(policy(dir.path(), Some(1), false))
            .build()
            .await
            .unwrap();
        let idle = |time| tokio::time::sleep(Duration::from_millis(time));
        idle(100).await;
        assert_eq!((server.seen().streams, OnDisk::read(dir.path()).confirmed.len()), (0, 0));
        send(&stream, 0..300).await;
        let confirmed = || stream.get_metrics_snapshot().checkpoint.messages_confirmed;
        until(|| confirmed() == 300 && segments(dir.path()).len() == 1);
        idle(50).await;
        let before =
            (server.seen().streams, stream.get_metrics_snapshot().checkpoint.checkpoint_count, indices(dir.path()));
        idle(200).await;
        let after =
            (server.seen().streams, stream.get_metrics_snapshot().checkpoint.checkpoint_count, indices(dir.path()));
        assert_eq!(before, after);
        assert_eq!(after.1, stream.get_metrics_snapshot().grpc_status_counts[0], "each stream was one checkpoint");
        stream.finish().await.unwrap();
    });
    assert_each_once(&server.seen(), 300);
}
