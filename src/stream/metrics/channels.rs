//! A stream's numbers and log events as telemetry: on one asset, two flows, the channels under the stream's own name.

use sha2::{Digest, Sha256};
use sift_rs::common::r#type::v1::ChannelDataType;
use sift_rs::ingestion_configs::v2::{ChannelConfig, FlowConfig};

use super::SiftStreamMetricsSnapshot;
use crate::record::Value;
use crate::stream::forms::IngestionConfigForm;
use crate::stream::logging::LogEvent;

/// The flow of the numbers.
pub(crate) const METRICS_FLOW: &str = "sift-stream-metrics-flow";

/// The flow of the log events.
pub(crate) const LOG_FLOW: &str = "sift-stream-logs";

/// The asset that all streams' numbers are of.
const ASSET: &str = "sift_app";

/// What the config's client key begins with.
const CLIENT_KEY: &str = "sift-stream-metrics";

/// The names of statuses, in the order of `grpc_status_counts`.
const STATUSES: [(&str, &str); 18] = [
    ("grpc_status_counts.ok", "gRPC streams that ended with OK"),
    ("grpc_status_counts.cancelled", "gRPC streams that ended with CANCELLED"),
    ("grpc_status_counts.unknown", "gRPC streams that ended with UNKNOWN"),
    ("grpc_status_counts.invalid_argument", "gRPC streams that ended with INVALID_ARGUMENT"),
    ("grpc_status_counts.deadline_exceeded", "gRPC streams that ended with DEADLINE_EXCEEDED"),
    ("grpc_status_counts.not_found", "gRPC streams that ended with NOT_FOUND"),
    ("grpc_status_counts.already_exists", "gRPC streams that ended with ALREADY_EXISTS"),
    ("grpc_status_counts.permission_denied", "gRPC streams that ended with PERMISSION_DENIED"),
    ("grpc_status_counts.resource_exhausted", "gRPC streams that ended with RESOURCE_EXHAUSTED"),
    ("grpc_status_counts.failed_precondition", "gRPC streams that ended with FAILED_PRECONDITION"),
    ("grpc_status_counts.aborted", "gRPC streams that ended with ABORTED"),
    ("grpc_status_counts.out_of_range", "gRPC streams that ended with OUT_OF_RANGE"),
    ("grpc_status_counts.unimplemented", "gRPC streams that ended with UNIMPLEMENTED"),
    ("grpc_status_counts.internal", "gRPC streams that ended with INTERNAL"),
    ("grpc_status_counts.unavailable", "gRPC streams that ended with UNAVAILABLE"),
    ("grpc_status_counts.data_loss", "gRPC streams that ended with DATA_LOSS"),
    ("grpc_status_counts.unauthenticated", "gRPC streams that ended with UNAUTHENTICATED"),
    ("grpc_status_counts.unknown_grpc_code", "gRPC streams that ended with a status that gRPC doesn't know"),
];

/// What the channels of a stream are named after. A stream has one name, whenever and wherever it runs.
pub(crate) fn session_name(asset: &str, client_key: &str) -> String {
    format!("stream.{asset}.{client_key}")
}

/// The ingestion config of a stream's numbers, with its log events or without. The same channels have the same client
/// key, others another: no config is ever changed.
pub(crate) fn form(session_name: &str, with_logs: bool) -> IngestionConfigForm {
    let metrics = rows(&SiftStreamMetricsSnapshot::default()).iter().map(|row| row.config(session_name)).collect();
    let mut flows = vec![FlowConfig { name: METRICS_FLOW.to_owned(), channels: metrics }];
    if with_logs {
        flows.push(FlowConfig { name: LOG_FLOW.to_owned(), channels: log_channels(session_name) });
    }
    IngestionConfigForm { asset_name: ASSET.to_owned(), client_key: client_key(&flows), flows }
}

/// The values of a snapshot, in the order of the channels of [`METRICS_FLOW`].
pub(crate) fn values(snapshot: &SiftStreamMetricsSnapshot) -> Vec<Value<'static>> {
    rows(snapshot).into_iter().map(|row| row.value).collect()
}

/// The values of a log event, whose `line` is [`LogEvent::line`], in the order of the channels of [`LOG_FLOW`].
pub(crate) fn log_values<'a>(event: &LogEvent, line: &'a str) -> [Value<'a>; 3] {
    [Value::String(event.level.as_str()), Value::String(event.target), Value::String(line)]
}

fn log_channels(session_name: &str) -> Vec<ChannelConfig> {
    let channel = |name, description: &str| ChannelConfig {
        name: format!("{session_name}.tracing_event.{name}"),
        description: description.to_owned(),
        data_type: ChannelDataType::String.into(),
        ..ChannelConfig::default()
    };
    vec![
        channel("level", "ERROR, WARN, INFO, DEBUG or TRACE"),
        channel("target", "The module that logged it"),
        channel("message", "What was logged, with its fields"),
    ]
}

fn client_key(flows: &[FlowConfig]) -> String {
    let mut hash = Sha256::new();
    for flow in flows {
        update(&mut hash, &flow.name);
        update(&mut hash, &flow.channels.len().to_string());
        for channel in &flow.channels {
            update(&mut hash, &channel.name);
            update(&mut hash, &channel.unit);
            update(&mut hash, &channel.data_type.to_string());
        }
    }
    let hash = hash.finalize();
    hash.iter().take(8).fold(format!("{CLIENT_KEY}-"), |key, byte| format!("{key}{byte:02x}"))
}

/// With its length, so that no two lists of texts are the same bytes.
fn update(hash: &mut Sha256, text: &str) {
    hash.update((text.len() as u64).to_le_bytes());
    hash.update(text.as_bytes());
}

/// One number of a snapshot.
struct Row {
    name: &'static str,
    unit: &'static str,
    description: &'static str,
    value: Value<'static>,
}

impl Row {
    fn config(&self, session_name: &str) -> ChannelConfig {
        let data_type = match self.value {
            Value::Double(_) => ChannelDataType::Double,
            _ => ChannelDataType::Uint64,
        };
        ChannelConfig {
            name: format!("{session_name}.{}", self.name),
            unit: self.unit.to_owned(),
            description: self.description.to_owned(),
            data_type: data_type.into(),
            ..ChannelConfig::default()
        }
    }
}

fn count(name: &'static str, value: u64, description: &'static str) -> Row {
    Row { name, unit: "", description, value: Value::Uint64(value) }
}

fn bytes(name: &'static str, value: u64, description: &'static str) -> Row {
    Row { name, unit: "B", description, value: Value::Uint64(value) }
}

fn real(name: &'static str, unit: &'static str, value: f64, description: &'static str) -> Row {
    Row { name, unit, description, value: Value::Double(value) }
}

/// All numbers of a snapshot: the one place that says which channel has which.
#[rustfmt::skip]
fn rows(snapshot: &SiftStreamMetricsSnapshot) -> Vec<Row> {
    let (s, c, b) = (snapshot, &snapshot.checkpoint, &snapshot.backups);
    let mut rows = vec![
        real("elapsed_secs", "s", s.elapsed_secs, "Since the stream was built"),
        count("loaded_flows", s.loaded_flows, "Flows that can be sent"),
        count("messages_received", s.messages_received, "Requests accepted from the application"),
        bytes("bytes_received", s.bytes_received, "Bytes of the requests accepted from the application"),
        count("messages_sent", s.messages_sent, "Requests sent live"),
        real("message_rate", "messages/s", s.message_rate, "Requests sent live, since the stream was built"),
        bytes("bytes_sent", s.bytes_sent, "Bytes sent live"),
        real("byte_rate", "B/s", s.byte_rate, "Bytes sent live, since the stream was built"),
        count("messages_acknowledged", s.messages_acknowledged, "Requests sent live and acknowledged"),
        count("messages_sent_to_backup", s.messages_sent_to_backup, "Requests handed to the recorder"),
        count("old_messages_dropped_for_ingestion", s.old_messages_dropped_for_ingestion, "Requests evicted from the live queue, to be replayed"),
        count("messages_replayed", s.messages_replayed, "Requests replayed from disk and acknowledged"),
        count("messages_dead_lettered", s.messages_dead_lettered, "Requests refused for good, kept as dead letters"),
        count("messages_refused", s.messages_refused, "Requests refused for good, kept nowhere"),
        count("cur_retry_count", s.cur_retry_count, "Attempts since the last one that worked"),
        count("total_retry_count", s.total_retry_count, "Attempts that followed one that failed"),
    ];
    rows.extend(STATUSES.iter().zip(s.grpc_status_counts).map(|((name, description), ended)| count(name, ended, description)));
    rows.extend([
        count("ingestion_channel_depth", s.ingestion_channel_depth, "Requests in the live queue"),
        count("backup_channel_depth", s.backup_channel_depth, "Requests that the recorder hasn't written yet"),
        count("logs_dropped_channel_full", s.logs_dropped_channel_full, "Log events lost because a queue was full"),
        count("log_channel_depth", s.log_channel_depth, "Log events in their queue"),
        count("metrics_dropped_channel_full", s.metrics_dropped_channel_full, "Snapshots lost because a queue was full"),
        count("checkpoint.count", c.checkpoint_count, "Checkpoints acknowledged"),
        count("checkpoint.failed_count", c.failed_checkpoint_count, "Checkpoints not acknowledged, or not in time"),
        count("checkpoint.timer_reached_count", c.checkpoint_timer_reached_cnt, "Checkpoints that were due"),
        count("checkpoint.manually_reached_count", c.checkpoint_manually_reached_cnt, "Checkpoints that were forced"),
        count("checkpoint.messages_confirmed", c.messages_confirmed, "Requests that checkpoints have confirmed"),
        real("checkpoint.cur_elapsed_secs", "s", c.cur_elapsed_secs, "Since the last checkpoint began"),
        count("checkpoint.cur_messages_sent", c.cur_messages_sent, "Requests sent live since the last checkpoint began"),
        real("checkpoint.cur_message_rate", "messages/s", c.cur_message_rate, "Requests sent live, since the last checkpoint began"),
        bytes("checkpoint.cur_bytes_sent", c.cur_bytes_sent, "Bytes sent live since the last checkpoint began"),
        real("checkpoint.cur_byte_rate", "B/s", c.cur_byte_rate, "Bytes sent live, since the last checkpoint began"),
        count("backups.total_messages", b.total_messages, "Requests that a sync has covered"),
        count("backups.files_on_disk", b.files_on_disk, "Segments on disk"),
        bytes("backups.bytes_on_disk", b.bytes_on_disk, "Bytes of the segments on disk"),
        count("backups.messages_awaiting_replay", b.messages_awaiting_replay, "Requests that replay has yet to deliver"),
    ]);
    rows
}

#[cfg(test)]
mod tests;
