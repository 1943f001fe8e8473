//! A stream's numbers at one moment, as they are handed out.

/// A stream's numbers at one moment. The names are the official crate's where the meaning is the same; what counts
/// something else, or nothing, has another name, or none.
///
/// Unlike there, the flows that have been used aren't counted: it would cost every request a look-up.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub struct SiftStreamMetricsSnapshot {
    /// Since the stream was built, in seconds.
    pub elapsed_secs: f64,
    /// Flows that can be sent: those of the ingestion config, and those added since.
    pub loaded_flows: u64,
    /// Requests that were accepted from the application.
    pub messages_received: u64,
    /// Bytes of those requests, encoded.
    pub bytes_received: u64,
    /// Requests sent live, acknowledged or not; each once: sending again, and replaying, isn't counted here.
    pub messages_sent: u64,
    /// Requests sent live per second, since the stream was built.
    pub message_rate: f64,
    /// Bytes of the requests sent live, with their ids and the five bytes that gRPC puts before each, before compression on
    /// the wire.
    pub bytes_sent: u64,
    /// Bytes sent live per second, since the stream was built.
    pub byte_rate: f64,
    /// Requests that were sent live and that Sift has acknowledged.
    pub messages_acknowledged: u64,
    /// Requests handed to the recorder.
    pub messages_sent_to_backup: u64,
    /// Requests that made room in the live queue for newer ones. They aren't lost: they are on disk, and replayed.
    pub old_messages_dropped_for_ingestion: u64,
    /// Requests that were replayed from disk and that Sift has acknowledged.
    pub messages_replayed: u64,
    /// Requests that Sift refused for good and that are kept as dead letters.
    pub messages_dead_lettered: u64,
    /// Requests that Sift refused for good and that are kept nowhere.
    pub messages_refused: u64,
    /// Attempts to send since the last one that is known to have worked.
    pub cur_retry_count: u64,
    /// Attempts to send that followed one that failed, since the stream was built.
    pub total_retry_count: u64,
    /// How many gRPC streams of requests, live and replayed, ended with each status: 0 (OK) to 16 (unauthenticated), at 17
    /// all others. Silence counts as 4 (deadline exceeded), a lost connection as 14 (unavailable).
    pub grpc_status_counts: [u64; 18],
    /// Requests in the live queue.
    pub ingestion_channel_depth: u64,
    /// Requests that the recorder hasn't written yet.
    pub backup_channel_depth: u64,
    /// Log events lost because their queue, or the stream that carries them to Sift, was full.
    pub logs_dropped_channel_full: u64,
    /// Log events in their queue.
    pub log_channel_depth: u64,
    /// Snapshots not sent to Sift because the stream that carries them was full, or failed.
    pub metrics_dropped_channel_full: u64,
    /// Checkpoints.
    pub checkpoint: CheckpointMetricsSnapshot,
    /// What is on disk; zeros for a stream without files.
    pub backups: BackupMetricsSnapshot,
}

/// A stream's checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub struct CheckpointMetricsSnapshot {
    /// Checkpoints that Sift acknowledged. The official crate counts failed ones here, too.
    pub checkpoint_count: u64,
    /// Checkpoints that Sift didn't acknowledge, or not in time; and streams that failed before theirs.
    pub failed_checkpoint_count: u64,
    /// Checkpoints that were due, failed ones included. Those that end a stream, or its part in a run, are in neither of
    /// these figures.
    pub checkpoint_timer_reached_cnt: u64,
    /// Checkpoints that were forced, because of the number of files, say, failed ones included.
    pub checkpoint_manually_reached_cnt: u64,
    /// Requests that checkpoints have confirmed.
    pub messages_confirmed: u64,
    /// Since the last checkpoint began, in seconds.
    pub cur_elapsed_secs: f64,
    /// Requests sent live since then.
    pub cur_messages_sent: u64,
    /// Requests sent live per second, since then.
    pub cur_message_rate: f64,
    /// Bytes sent live since then.
    pub cur_bytes_sent: u64,
    /// Bytes sent live per second, since then.
    pub cur_byte_rate: f64,
}

/// What a stream has on disk.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub struct BackupMetricsSnapshot {
    /// Requests that are safe on disk, or were until they were confirmed: a sync has covered them.
    pub total_messages: u64,
    /// Segments in the stream's directory now.
    pub files_on_disk: u64,
    /// Bytes of those segments.
    pub bytes_on_disk: u64,
    /// Requests that live sending has given up and that replay has yet to deliver; what earlier processes left isn't
    /// counted.
    pub messages_awaiting_replay: u64,
}
