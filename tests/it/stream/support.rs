//! A stream of numbered messages, and what a server has of them.
#![allow(dead_code, reason = "each subject uses some of it")]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use sift_replay::stream::{
    ChannelConfig, ChannelDataType, ChannelValue, Credentials, DiskBackupPolicy, Flow, FlowConfig,
    IngestionConfigEncoder, IngestionConfigForm, LiveOnlyBuilder, LiveWithBackupsBuilder, RetryPolicy, SiftStream,
    SiftStreamBuilder, StreamConfigBuilder, TimeValue, Transport,
};

use crate::support::faulty::Seen;

/// The flow's name, and its first channel's.
pub(crate) const FLOW: &str = "numbers";

/// Pauses that keep tests short.
pub(crate) fn quick() -> RetryPolicy {
    RetryPolicy {
        initial_backoff: Duration::from_millis(5),
        max_backoff: Duration::from_millis(100),
        backoff_multiplier: 2,
        ..RetryPolicy::default()
    }
}

pub(crate) fn channel(name: &str, data_type: ChannelDataType) -> ChannelConfig {
    ChannelConfig { name: name.to_owned(), data_type: data_type.into(), ..ChannelConfig::default() }
}

pub(crate) fn flow_config(name: &str) -> FlowConfig {
    let channels = vec![channel("n", ChannelDataType::Uint64), channel("text", ChannelDataType::String)];
    FlowConfig { name: name.to_owned(), channels }
}

pub(crate) fn form(client_key: &str) -> IngestionConfigForm {
    let (asset_name, client_key) = ("rover".to_owned(), client_key.to_owned());
    IngestionConfigForm { asset_name, client_key, flows: vec![flow_config(FLOW)] }
}

pub(crate) fn credentials(uri: &str) -> Credentials {
    Credentials::Config { uri: uri.to_owned(), apikey: "key".to_owned() }
}

/// A stream to `uri`, without numbers of its own.
pub(crate) fn to(uri: &str) -> StreamConfigBuilder {
    SiftStreamBuilder::new(credentials(uri)).disable_tls().ingestion_config(form("rover-v1"))
}

pub(crate) fn live_only(uri: &str) -> LiveOnlyBuilder {
    to(uri).live_only().metrics_streaming_interval(None).retry_policy(quick())
}

/// With files below `dir`; checkpoints only when something else calls for them.
pub(crate) fn with_backups(uri: &str, dir: &Path) -> LiveWithBackupsBuilder {
    let policy = DiskBackupPolicy { backups_dir: Some(dir.to_owned()), ..DiskBackupPolicy::default() };
    to(uri)
        .live_with_backups()
        .metrics_streaming_interval(None)
        .retry_policy(quick())
        .checkpoint_interval(Duration::from_secs(3600))
        .disk_backup_policy(policy)
}

/// Message `n`: its time tells it, too.
pub(crate) fn message(n: u64) -> Flow {
    let time = TimeValue::from_timestamp_nanos(1_700_000_000_000_000_000 + n as i64);
    Flow::new(FLOW, time, &[ChannelValue::new("n", n)])
}

pub(crate) async fn send<T: Transport>(stream: &SiftStream<IngestionConfigEncoder, T>, numbers: std::ops::Range<u64>) {
    for n in numbers {
        stream.send(message(n)).await.unwrap();
    }
}

/// How often each number was acknowledged, and received.
pub(crate) fn numbers(seen: &Seen) -> BTreeMap<u64, (u64, u64)> {
    let number = |time: i128| u64::try_from(time - 1_700_000_000_000_000_000).unwrap();
    let records = seen.records.iter().filter(|(id, _)| id.flow == FLOW);
    records.map(|(id, copies)| (number(id.time), (copies.acknowledged, copies.received))).collect()
}

/// All of `0..count`, each acknowledged, and nothing else.
#[track_caller]
pub(crate) fn assert_all(seen: &Seen, count: u64) {
    let numbers = numbers(seen);
    let missing: Vec<_> =
        (0..count).filter(|n| numbers.get(n).is_none_or(|(acknowledged, _)| *acknowledged == 0)).collect();
    assert!(missing.is_empty(), "{} missing, the first {:?}", missing.len(), &missing[..missing.len().min(5)]);
    assert_eq!(numbers.len() as u64, count, "some were invented: {:?}", numbers.last_key_value());
}

/// The same, each once.
#[track_caller]
pub(crate) fn assert_each_once(seen: &Seen, count: u64) {
    assert_all(seen, count);
    let twice = numbers(seen).into_iter().find(|(_, copies)| *copies != (1, 1));
    assert_eq!(twice, None);
}

/// The segments below a directory.
pub(crate) fn segments(dir: &Path) -> Vec<std::path::PathBuf> {
    let files = walkdir::WalkDir::new(dir).into_iter().map(|entry| entry.unwrap().into_path());
    let mut files: Vec<_> = files.filter(|path| sift_replay::segment::SegmentName::of_path(path).is_some()).collect();
    files.sort();
    files
}
