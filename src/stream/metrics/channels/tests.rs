use super::*;
use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use crate::stream::logging::LogLevel;
use crate::stream::metrics::{BackupMetricsSnapshot, CheckpointMetricsSnapshot};

const NAME: &str = "stream.rover.telemetry";

/// Every number another one.
fn distinct() -> SiftStreamMetricsSnapshot {
    SiftStreamMetricsSnapshot {
        elapsed_secs: 1.0,
        loaded_flows: 2,
        messages_received: 3,
        bytes_received: 4,
        messages_sent: 5,
        message_rate: 6.0,
        bytes_sent: 7,
        byte_rate: 8.0,
        messages_acknowledged: 9,
        messages_sent_to_backup: 10,
        old_messages_dropped_for_ingestion: 11,
        messages_replayed: 12,
        messages_dead_lettered: 13,
        messages_refused: 14,
        cur_retry_count: 15,
        total_retry_count: 16,
        grpc_status_counts: std::array::from_fn(|code| 100 + code as u64),
        ingestion_channel_depth: 17,
        backup_channel_depth: 18,
        logs_dropped_channel_full: 19,
        log_channel_depth: 20,
        metrics_dropped_channel_full: 21,
        checkpoint: CheckpointMetricsSnapshot {
            checkpoint_count: 22,
            failed_checkpoint_count: 23,
            checkpoint_timer_reached_cnt: 24,
            checkpoint_manually_reached_cnt: 25,
            messages_confirmed: 26,
            cur_elapsed_secs: 27.0,
            cur_messages_sent: 28,
            cur_message_rate: 29.0,
            cur_bytes_sent: 30,
            cur_byte_rate: 31.0,
        },
        backups: BackupMetricsSnapshot {
            total_messages: 32,
            files_on_disk: 33,
            bytes_on_disk: 34,
            messages_awaiting_replay: 35,
        },
    }
}

/// Each channel of the form, beside its value.
fn channels() -> Vec<(ChannelConfig, Value<'static>)> {
    let mut form = form(NAME, false);
    assert_eq!((form.flows.len(), &form.flows[0].name[..], &form.asset_name[..]), (1, METRICS_FLOW, "sift_app"));
    let (configs, values) = (form.flows.remove(0).channels, values(&distinct()));
    assert_eq!(configs.len(), values.len());
    configs.into_iter().zip(values).collect()
}

#[test]
fn each_number_of_a_snapshot_has_a_channel_of_its_own() {
    let numbers: BTreeSet<u64> = channels()
        .iter()
        .map(|(_, value)| match value {
            Value::Double(number) => *number as u64,
            Value::Uint64(number) => *number,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(numbers, (1..=35).chain(100..118).collect());
    let names: BTreeSet<String> = channels().into_iter().map(|(config, _)| config.name).collect();
    assert_eq!(names.len(), numbers.len());
    assert!(names.iter().all(|name| name.starts_with("stream.rover.telemetry.")), "{names:?}");
}

#[test]
fn channels_have_the_names_types_and_units_of_what_they_show() {
    let channels: BTreeMap<String, (ChannelConfig, Value<'_>)> =
        channels().into_iter().map(|(config, value)| (config.name.clone(), (config, value))).collect();
    for (name, value, unit) in [
        ("elapsed_secs", Value::Double(1.0), "s"),
        ("messages_received", Value::Uint64(3), ""),
        ("message_rate", Value::Double(6.0), "messages/s"),
        ("bytes_sent", Value::Uint64(7), "B"),
        ("byte_rate", Value::Double(8.0), "B/s"),
        ("old_messages_dropped_for_ingestion", Value::Uint64(11), ""),
        ("grpc_status_counts.ok", Value::Uint64(100), ""),
        ("grpc_status_counts.unavailable", Value::Uint64(114), ""),
        ("grpc_status_counts.unauthenticated", Value::Uint64(116), ""),
        ("grpc_status_counts.unknown_grpc_code", Value::Uint64(117), ""),
        ("checkpoint.count", Value::Uint64(22), ""),
        ("checkpoint.failed_count", Value::Uint64(23), ""),
        ("checkpoint.timer_reached_count", Value::Uint64(24), ""),
        ("checkpoint.manually_reached_count", Value::Uint64(25), ""),
        ("checkpoint.cur_elapsed_secs", Value::Double(27.0), "s"),
        ("checkpoint.cur_byte_rate", Value::Double(31.0), "B/s"),
        ("backups.bytes_on_disk", Value::Uint64(34), "B"),
    ] {
        let (config, shown) = &channels[&format!("{NAME}.{name}")];
        assert_eq!((*shown, &config.unit[..]), (value, unit), "{name}");
        let data_type = match value {
            Value::Double(_) => ChannelDataType::Double,
            _ => ChannelDataType::Uint64,
        };
        assert_eq!(config.data_type, i32::from(data_type), "{name}");
        assert!(!config.description.is_empty(), "{name}");
    }
}

#[test]
fn the_same_channels_have_the_same_key_and_others_another() {
    let key = form(NAME, true).client_key;
    assert_eq!(form(NAME, true).client_key, key);
    let (kind, hash) = key.split_at("sift-stream-metrics-".len());
    assert_eq!((kind, hash.len()), ("sift-stream-metrics-", 16));
    assert_ne!(form(NAME, false).client_key, key);
    assert_ne!(form("stream.rover.other", true).client_key, key);

    // Whatever Sift won't have changed under a key changes the key.
    let flows = form(NAME, true).flows;
    let changed = |change: fn(&mut ChannelConfig)| {
        let mut flows = flows.clone();
        change(flows[0].channels.last_mut().unwrap());
        client_key(&flows)
    };
    assert_eq!(changed(|_| ()), key);
    assert_eq!(changed(|channel| channel.description.clear()), key);
    assert_ne!(changed(|channel| channel.name.push('x')), key);
    assert_ne!(changed(|channel| channel.unit.push('x')), key);
    assert_ne!(changed(|channel| channel.data_type = ChannelDataType::Int64.into()), key);
    assert_ne!(client_key(&flows[..1]), key);
}

#[test]
fn the_key_stays_the_same_from_build_to_build() {
    // Changes with the channels alone; if none was changed and this fails, streams would make configs anew.
    let mut flows = form(NAME, true).flows;
    flows.remove(0);
    assert_eq!(client_key(&flows), "sift-stream-metrics-d8f6fcffab5886ea");
}

#[test]
fn a_stream_is_named_after_its_asset_and_key() {
    assert_eq!(session_name("rover", "telemetry"), NAME);
}

#[test]
fn a_log_event_is_three_texts() {
    let form = form(NAME, true);
    let [_, logs] = &form.flows[..] else { panic!("{form:?}") };
    assert_eq!(logs.name, "sift-stream-logs");
    let names = ["level", "target", "message"].map(|name| format!("{NAME}.tracing_event.{name}"));
    assert_eq!(logs.channels.iter().map(|channel| channel.name.clone()).collect::<Vec<_>>(), names);
    assert!(logs.channels.iter().all(|channel| channel.data_type == i32::from(ChannelDataType::String)));

    let event = LogEvent {
        level: LogLevel::Error,
        target: "sift_replay::stream",
        message: "not sent".to_owned(),
        fields: vec![("error", "no route".to_owned())],
        time: SystemTime::UNIX_EPOCH,
        place: None,
        repeats: 0,
    };
    let line = event.line();
    let texts = ["ERROR", "sift_replay::stream", "not sent error=no route"];
    assert_eq!(log_values(&event, &line), texts.map(Value::String));
}
