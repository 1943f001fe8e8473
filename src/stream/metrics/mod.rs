//! A stream's numbers: counted as it works, looked at when somebody asks.

mod channels;
mod scope;
mod snapshot;
mod stream;
mod task;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

pub(crate) use channels::{LOG_FLOW, METRICS_FLOW, form, log_values, session_name, values};
pub(crate) use scope::StreamScope;
pub use snapshot::{BackupMetricsSnapshot, CheckpointMetricsSnapshot, SiftStreamMetricsSnapshot};
pub(crate) use stream::{MetricsSink, run};
pub(crate) use task::MetricsTask;

/// Counts what a stream does. Shared by the application's threads and the stream's tasks; nothing here waits.
#[derive(Debug)]
pub(crate) struct StreamMetrics {
    began: Instant,
    sent: Traffic,
    loaded_flows: Counter,
    acknowledged: Counter,
    evicted: Counter,
    replayed: Counter,
    dead_lettered: Counter,
    refused: Counter,
    retries: Counter,
    current_retries: Counter,
    statuses: [Counter; 18],
    logs_dropped: Counter,
    snapshots_dropped: Counter,
    checkpoints: Counter,
    failed_checkpoints: Counter,
    timed_checkpoints: Counter,
    forced_checkpoints: Counter,
    confirmed: Counter,
    /// What had been sent when the last checkpoint began.
    since: Mutex<Since>,
}

/// Why a gRPC stream ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The interval was over.
    Due,
    /// Somebody asked for a checkpoint.
    Forced,
    /// There is nothing more to carry, or it failed.
    Ended,
}

/// What others know, asked for when a snapshot is taken. All of it is over the stream's whole life, its earlier
/// sessions included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Gauges {
    /// Requests accepted from the application.
    pub(crate) received: u64,
    /// Their bytes.
    pub(crate) received_bytes: u64,
    /// Requests in the live queue.
    pub(crate) ingestion_channel_depth: u64,
    /// Requests that the recorder hasn't written yet.
    pub(crate) backup_channel_depth: u64,
    /// Log events in their queue.
    pub(crate) log_channel_depth: u64,
    /// Segments on disk.
    pub(crate) files: u64,
    /// Their bytes.
    pub(crate) disk_bytes: u64,
    /// Requests handed to the recorder.
    pub(crate) recorded: u64,
    /// Requests that a sync has covered.
    pub(crate) durable: u64,
    /// Requests that replay has yet to deliver.
    pub(crate) awaiting_replay: u64,
}

#[derive(Debug, Default)]
struct Counter(AtomicU64);

impl Counter {
    fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Requests and their bytes. In a cache line of its own: who receives and who sends don't slow each other down.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Traffic {
    requests: Counter,
    bytes: Counter,
}

impl Traffic {
    fn add(&self, requests: u64, bytes: u64) {
        self.requests.add(requests);
        self.bytes.add(bytes);
    }
}

#[derive(Debug, Clone, Copy)]
struct Since {
    began: Instant,
    requests: u64,
    bytes: u64,
}

impl StreamMetrics {
    /// Everything at zero, and the clock begins.
    pub(crate) fn new() -> Self {
        Self::at(Instant::now())
    }

    fn at(began: Instant) -> Self {
        Self {
            began,
            sent: Traffic::default(),
            loaded_flows: Counter::default(),
            acknowledged: Counter::default(),
            evicted: Counter::default(),
            replayed: Counter::default(),
            dead_lettered: Counter::default(),
            refused: Counter::default(),
            retries: Counter::default(),
            current_retries: Counter::default(),
            statuses: Default::default(),
            logs_dropped: Counter::default(),
            snapshots_dropped: Counter::default(),
            checkpoints: Counter::default(),
            failed_checkpoints: Counter::default(),
            timed_checkpoints: Counter::default(),
            forced_checkpoints: Counter::default(),
            confirmed: Counter::default(),
            since: Mutex::new(Since { began, requests: 0, bytes: 0 }),
        }
    }

    /// Sent live.
    #[inline]
    pub(crate) fn sent(&self, requests: u64, bytes: u64) {
        self.sent.add(requests, bytes);
    }

    /// Sent live and acknowledged.
    pub(crate) fn acknowledged(&self, requests: u64) {
        self.acknowledged.add(requests);
    }

    /// Taken out of the live queue for newer ones.
    pub(crate) fn evicted(&self, requests: u64) {
        self.evicted.add(requests);
    }

    /// Replayed from disk and acknowledged.
    pub(crate) fn replayed(&self, requests: u64) {
        self.replayed.add(requests);
    }

    /// Refused and kept.
    pub(crate) fn dead_lettered(&self, requests: u64) {
        self.dead_lettered.add(requests);
    }

    /// Refused and not kept.
    pub(crate) fn refused(&self, requests: u64) {
        self.refused.add(requests);
    }

    /// Another attempt after one that failed.
    pub(crate) fn retried(&self) {
        self.retries.add(1);
        self.current_retries.add(1);
    }

    /// An attempt worked.
    pub(crate) fn connected(&self) {
        self.current_retries.0.store(0, Ordering::Relaxed);
    }

    /// A gRPC stream has ended.
    pub(crate) fn status(&self, code: u8) {
        let [known @ .., unknown] = &self.statuses;
        known.get(usize::from(code)).unwrap_or(unknown).add(1);
    }

    /// A checkpoint begins: what is sent from here on belongs to the next one.
    pub(crate) fn checkpoint_began(&self) {
        self.checkpoint_began_at(Instant::now());
    }

    fn checkpoint_began_at(&self, began: Instant) {
        let mut since = self.since();
        *since = Since { began, requests: self.sent.requests.get(), bytes: self.sent.bytes.get() };
    }

    /// A checkpoint has ended, confirming so many requests, or failed.
    pub(crate) fn checkpoint<E>(&self, outcome: Result<u64, E>, cause: Cause) {
        match cause {
            Cause::Due => self.timed_checkpoints.add(1),
            Cause::Forced => self.forced_checkpoints.add(1),
            Cause::Ended => {}
        }
        match outcome {
            Ok(requests) => {
                self.confirmed.add(requests);
                self.checkpoints.add(1);
            }
            Err(_) => self.failed_checkpoints.add(1),
        }
    }

    /// So many flows more can be sent.
    pub(crate) fn loaded_flows(&self, flows: u64) {
        self.loaded_flows.add(flows);
    }

    /// A log event is lost.
    pub(crate) fn log_dropped(&self) {
        self.logs_dropped.add(1);
    }

    /// A snapshot couldn't be sent to Sift.
    pub(crate) fn snapshot_dropped(&self) {
        self.snapshots_dropped.add(1);
    }

    /// The numbers now. Each is exact; together they may be off by what happens while they are read.
    pub(crate) fn snapshot(&self, gauges: &Gauges) -> SiftStreamMetricsSnapshot {
        self.snapshot_at(gauges, Instant::now())
    }

    fn snapshot_at(&self, gauges: &Gauges, now: Instant) -> SiftStreamMetricsSnapshot {
        let elapsed_secs = now.saturating_duration_since(self.began).as_secs_f64();
        // Copied before the counters are read: they only grow, so that what was sent since then is never negative.
        let since = *self.since();
        let (messages_sent, bytes_sent) = (self.sent.requests.get(), self.sent.bytes.get());
        SiftStreamMetricsSnapshot {
            elapsed_secs,
            loaded_flows: self.loaded_flows.get(),
            messages_received: gauges.received,
            bytes_received: gauges.received_bytes,
            messages_sent,
            message_rate: per_second(messages_sent, elapsed_secs),
            bytes_sent,
            byte_rate: per_second(bytes_sent, elapsed_secs),
            messages_acknowledged: self.acknowledged.get(),
            messages_sent_to_backup: gauges.recorded,
            old_messages_dropped_for_ingestion: self.evicted.get(),
            messages_replayed: self.replayed.get(),
            messages_dead_lettered: self.dead_lettered.get(),
            messages_refused: self.refused.get(),
            cur_retry_count: self.current_retries.get(),
            total_retry_count: self.retries.get(),
            grpc_status_counts: self.statuses.each_ref().map(Counter::get),
            ingestion_channel_depth: gauges.ingestion_channel_depth,
            backup_channel_depth: gauges.backup_channel_depth,
            logs_dropped_channel_full: self.logs_dropped.get(),
            log_channel_depth: gauges.log_channel_depth,
            metrics_dropped_channel_full: self.snapshots_dropped.get(),
            checkpoint: self.checkpoints_at(now, since, messages_sent, bytes_sent),
            backups: BackupMetricsSnapshot {
                total_messages: gauges.durable,
                files_on_disk: gauges.files,
                bytes_on_disk: gauges.disk_bytes,
                messages_awaiting_replay: gauges.awaiting_replay,
            },
        }
    }

    fn checkpoints_at(&self, now: Instant, since: Since, requests: u64, bytes: u64) -> CheckpointMetricsSnapshot {
        let cur_elapsed_secs = now.saturating_duration_since(since.began).as_secs_f64();
        let cur_messages_sent = requests.saturating_sub(since.requests);
        let cur_bytes_sent = bytes.saturating_sub(since.bytes);
        CheckpointMetricsSnapshot {
            checkpoint_count: self.checkpoints.get(),
            failed_checkpoint_count: self.failed_checkpoints.get(),
            checkpoint_timer_reached_cnt: self.timed_checkpoints.get(),
            checkpoint_manually_reached_cnt: self.forced_checkpoints.get(),
            messages_confirmed: self.confirmed.get(),
            cur_elapsed_secs,
            cur_messages_sent,
            cur_message_rate: per_second(cur_messages_sent, cur_elapsed_secs),
            cur_bytes_sent,
            cur_byte_rate: per_second(cur_bytes_sent, cur_elapsed_secs),
        }
    }

    fn since(&self) -> MutexGuard<'_, Since> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Always a number: Sift refuses the others.
fn per_second(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}

#[cfg(test)]
mod tests;
