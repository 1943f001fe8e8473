use super::*;
use std::time::Duration;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn what_is_counted_is_shown_under_its_name() {
    let began = Instant::now();
    let metrics = StreamMetrics::at(began);
    metrics.loaded_flows(1);
    metrics.loaded_flows(1);
    metrics.sent(20, 2000);
    metrics.acknowledged(4);
    metrics.evicted(5);
    metrics.replayed(6);
    metrics.dead_lettered(7);
    metrics.refused(8);
    metrics.log_dropped();
    metrics.snapshot_dropped();
    metrics.snapshot_dropped();
    let gauges = Gauges {
        received: 30,
        received_bytes: 3000,
        ingestion_channel_depth: 11,
        backup_channel_depth: 12,
        log_channel_depth: 13,
        files: 14,
        disk_bytes: 15,
        recorded: 16,
        durable: 17,
        awaiting_replay: 18,
    };
    let expected = SiftStreamMetricsSnapshot {
        elapsed_secs: 10.0,
        loaded_flows: 2,
        messages_received: 30,
        bytes_received: 3000,
        messages_sent: 20,
        message_rate: 2.0,
        bytes_sent: 2000,
        byte_rate: 200.0,
        messages_acknowledged: 4,
        messages_sent_to_backup: 16,
        old_messages_dropped_for_ingestion: 5,
        messages_replayed: 6,
        messages_dead_lettered: 7,
        messages_refused: 8,
        cur_retry_count: 0,
        total_retry_count: 0,
        grpc_status_counts: [0; 18],
        ingestion_channel_depth: 11,
        backup_channel_depth: 12,
        logs_dropped_channel_full: 1,
        log_channel_depth: 13,
        metrics_dropped_channel_full: 2,
        checkpoint: CheckpointMetricsSnapshot {
            cur_elapsed_secs: 10.0,
            cur_messages_sent: 20,
            cur_message_rate: 2.0,
            cur_bytes_sent: 2000,
            cur_byte_rate: 200.0,
            ..CheckpointMetricsSnapshot::default()
        },
        backups: BackupMetricsSnapshot {
            total_messages: 17,
            files_on_disk: 14,
            bytes_on_disk: 15,
            messages_awaiting_replay: 18,
        },
    };
    assert_eq!(metrics.snapshot_at(&gauges, began + seconds(10)), expected);
}

#[test]
fn rates_are_numbers_before_any_time_has_passed() {
    let began = Instant::now();
    let metrics = StreamMetrics::at(began);
    metrics.sent(5, 50);
    // A clock that seems to go back is no clock either.
    for now in [began, began.checked_sub(seconds(1)).unwrap_or(began)] {
        let snapshot = metrics.snapshot_at(&Gauges::default(), now);
        let checkpoint = snapshot.checkpoint;
        let rates = [snapshot.message_rate, snapshot.byte_rate, checkpoint.cur_message_rate, checkpoint.cur_byte_rate];
        assert_eq!((rates, snapshot.elapsed_secs, snapshot.messages_sent), ([0.0; 4], 0.0, 5));
    }
}

#[test]
fn a_checkpoint_begins_its_numbers_anew_and_leaves_the_totals() {
    let began = Instant::now();
    let metrics = StreamMetrics::at(began);
    metrics.sent(100, 1000);
    metrics.checkpoint_began_at(began + seconds(60));
    // What is sent while the checkpoint waits for its acknowledgement is the next one's.
    metrics.sent(30, 600);
    metrics.checkpoint(Ok::<u64, ()>(100), Cause::Due);
    let snapshot = metrics.snapshot_at(&Gauges::default(), began + seconds(90));
    assert_eq!((snapshot.messages_sent, snapshot.bytes_sent, snapshot.elapsed_secs), (130, 1600, 90.0));
    let expected = CheckpointMetricsSnapshot {
        checkpoint_count: 1,
        checkpoint_timer_reached_cnt: 1,
        messages_confirmed: 100,
        cur_elapsed_secs: 30.0,
        cur_messages_sent: 30,
        cur_message_rate: 1.0,
        cur_bytes_sent: 600,
        cur_byte_rate: 20.0,
        ..CheckpointMetricsSnapshot::default()
    };
    assert_eq!(snapshot.checkpoint, expected);
}

#[test]
fn a_failed_checkpoint_is_no_checkpoint_and_confirms_nothing() {
    let metrics = StreamMetrics::new();
    metrics.checkpoint(Err("late"), Cause::Due);
    metrics.checkpoint(Err("reset"), Cause::Ended);
    metrics.checkpoint(Err("late"), Cause::Forced);
    metrics.checkpoint(Ok::<u64, ()>(3), Cause::Forced);
    metrics.checkpoint(Ok::<u64, ()>(4), Cause::Ended);
    let shown = metrics.snapshot(&Gauges::default()).checkpoint;
    assert_eq!((shown.checkpoint_count, shown.failed_checkpoint_count, shown.messages_confirmed), (2, 3, 7));
    assert_eq!((shown.checkpoint_timer_reached_cnt, shown.checkpoint_manually_reached_cnt), (1, 2));
}

#[test]
fn success_ends_the_current_retries_not_their_total() {
    let metrics = StreamMetrics::new();
    let retries = || {
        let snapshot = metrics.snapshot(&Gauges::default());
        (snapshot.cur_retry_count, snapshot.total_retry_count)
    };
    metrics.retried();
    metrics.retried();
    assert_eq!(retries(), (2, 2));
    metrics.connected();
    assert_eq!(retries(), (0, 2));
    metrics.retried();
    assert_eq!(retries(), (1, 3));
}

#[test]
fn each_status_has_its_slot_and_those_unknown_share_one() {
    let metrics = StreamMetrics::new();
    (0..=255).for_each(|code| metrics.status(code));
    metrics.status(14);
    let mut expected = [1; 18];
    expected[14] = 2;
    expected[17] = 256 - 17;
    assert_eq!(metrics.snapshot(&Gauges::default()).grpc_status_counts, expected);
}

#[test]
fn no_count_is_lost_between_threads_and_none_ever_falls() {
    let metrics = StreamMetrics::new();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..10_000 {
                    metrics.sent(1, 10);
                }
            });
        }
        scope.spawn(|| (0..1000).for_each(|_| metrics.checkpoint_began()));
        let mut last = 0;
        for _ in 0..1000 {
            let snapshot = metrics.snapshot(&Gauges::default());
            assert!(snapshot.messages_sent >= last && snapshot.checkpoint.cur_messages_sent <= snapshot.messages_sent);
            last = snapshot.messages_sent;
        }
    });
    let snapshot = metrics.snapshot(&Gauges::default());
    assert_eq!((snapshot.messages_sent, snapshot.bytes_sent), (40_000, 400_000));
}
