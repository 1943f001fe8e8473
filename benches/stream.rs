//! Sending live over a real socket, to a server that only counts bytes: from the first call to the end of `finish`.
//!
//! `cargo bench --bench stream`; W1, W2, W3 are one flow of 10, 200 and 1 doubles, sent as values of a prepared flow;
//! `by_name` sends W1 as messages that name flow and channels.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "benchmarks")]
#![allow(missing_docs, reason = "a benchmark exports nothing")]

use divan::Bencher;
use divan::counter::ItemsCount;
use sift_replay::record::{RecorderOptions, Timestamp, Value};
use sift_replay::stream::{
    ChannelConfig, ChannelDataType, ChannelValue, Credentials, DiskBackupPolicy, Flow, FlowConfig,
    IngestionConfigEncoder, IngestionConfigForm, SiftStream, SiftStreamBuilder, StreamConfigBuilder, TimeValue,
    Transport,
};

#[allow(dead_code, reason = "shared with the tests, which use all of it")]
#[path = "../tests/it/support/destination.rs"]
mod destination;

use destination::{Mood, Raw};

fn main() {
    divan::main();
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Workload {
    W1,
    W2,
    W3,
}

use Workload::{W1, W2, W3};

impl Workload {
    fn channels(self) -> usize {
        match self {
            W1 => 10,
            W2 => 200,
            W3 => 1,
        }
    }

    fn requests(self) -> u64 {
        match self {
            W1 => 1_000_000,
            W2 => 60_000,
            W3 => 2_000_000,
        }
    }
}

fn to(server: &Raw, workload: Workload) -> StreamConfigBuilder {
    let channel = |n| ChannelConfig {
        name: format!("channel-{n}"),
        data_type: ChannelDataType::Double.into(),
        ..ChannelConfig::default()
    };
    let channels = (0..workload.channels()).map(channel).collect();
    let flows = vec![FlowConfig { name: "flow".to_owned(), channels }];
    let (asset_name, client_key) = ("bench".to_owned(), format!("bench-{workload:?}"));
    let credentials = Credentials::Config { uri: server.uri(), apikey: "key".to_owned() };
    let form = IngestionConfigForm { asset_name, client_key, flows };
    SiftStreamBuilder::new(credentials).disable_tls().ingestion_config(form)
}

async fn send<T: Transport>(stream: SiftStream<IngestionConfigEncoder, T>, workload: Workload) -> u64 {
    let flow = stream.flow("flow").unwrap();
    let mut values = vec![Value::Double(0.0); workload.channels()];
    for n in 0..workload.requests() {
        for (channel, value) in values.iter_mut().enumerate() {
            *value = Value::Double(n as f64 + channel as f64 / 1000.0);
        }
        let time = Timestamp::from_unix_ns(1_700_000_000_000_000_000 + n as i64 * 1000);
        stream.record(&flow, time, &values).await.unwrap();
    }
    let finished = stream.finish().await.unwrap();
    finished.acknowledged.max(finished.on_disk)
}

fn run<F: Future<Output = u64> + Send + 'static>(bencher: Bencher<'_, '_>, requests: u64, sends: impl Fn() -> F) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    bencher.counter(ItemsCount::new(requests)).bench_local(|| {
        // On a worker, as in an application.
        assert_eq!(runtime.block_on(runtime.spawn(sends())).unwrap(), requests);
    });
}

#[divan::bench(args = [W1, W2, W3], sample_count = 5, sample_size = 1)]
fn live_only(bencher: Bencher<'_, '_>, workload: Workload) {
    let server = Raw::start(Mood::Counts);
    run(bencher, workload.requests(), || {
        let building = to(&server, workload).live_only().metrics_streaming_interval(None).build();
        async move { send(building.await.unwrap(), workload).await }
    });
}

#[divan::bench(args = [W1, W2, W3], sample_count = 5, sample_size = 1)]
fn live_with_backups(bencher: Bencher<'_, '_>, workload: Workload) {
    let server = Raw::start(Mood::Counts);
    run(bencher, workload.requests(), || {
        let dir = tempfile::tempdir().unwrap();
        let policy = DiskBackupPolicy { backups_dir: Some(dir.path().to_owned()), ..DiskBackupPolicy::default() };
        let builder = to(&server, workload).live_with_backups().metrics_streaming_interval(None);
        let building = builder.disk_backup_policy(policy).build();
        async move {
            let sent = send(building.await.unwrap(), workload).await;
            drop(dir);
            sent
        }
    });
}

#[divan::bench(args = [W1, W2, W3], sample_count = 5, sample_size = 1)]
fn file_backup(bencher: Bencher<'_, '_>, workload: Workload) {
    let server = Raw::start(Mood::Counts);
    run(bencher, workload.requests(), || {
        let dir = tempfile::tempdir().unwrap();
        let policy = DiskBackupPolicy { backups_dir: Some(dir.path().to_owned()), ..DiskBackupPolicy::default() };
        let builder = to(&server, workload).file_backup().recorder_options(RecorderOptions::default());
        let building = builder.disk_backup_policy(policy).build();
        async move {
            let sent = send(building.await.unwrap(), workload).await;
            drop(dir);
            sent
        }
    });
}

#[divan::bench(args = [W1], sample_count = 5, sample_size = 1)]
fn live_only_by_name(bencher: Bencher<'_, '_>, workload: Workload) {
    let server = Raw::start(Mood::Counts);
    run(bencher, workload.requests(), || {
        let building = to(&server, workload).live_only().metrics_streaming_interval(None).build();
        async move {
            let stream = building.await.unwrap();
            let names: Vec<_> = (0..workload.channels()).map(|n| format!("channel-{n}")).collect();
            for n in 0..workload.requests() {
                let values: Vec<_> = names.iter().map(|name| ChannelValue::new(name, n as f64)).collect();
                stream.send(Flow::new("flow", TimeValue::from_timestamp_nanos(n as i64), &values)).await.unwrap();
            }
            stream.finish().await.unwrap().acknowledged
        }
    });
}
