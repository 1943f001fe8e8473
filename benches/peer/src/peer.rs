//! The official library's ways: the fastest that its public interface has.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use sift_pbfs::BackupsDecoder;
use sift_rs::ingest::v1::IngestWithConfigDataStreamRequest as Request;
use sift_rs::ingest::v1::ingest_service_client::IngestServiceClient;
use sift_stream::stream::Transport;
use sift_stream::{
    ChannelConfig, ChannelDataType, ChannelIndex, Credentials, DiskBackupPolicy, FlowBuilder, FlowConfig,
    IngestionConfigEncoder, IngestionConfigForm, SiftStream, SiftStreamBuilder, StreamConfigBuilder, TimeValue,
};

use crate::contestant::{BATCH, Job};
use crate::measure::{Measured, here};
use crate::ours::runtime;
use crate::workload::{FLOW, channel, row, time};

fn form(job: &Job) -> StreamConfigBuilder {
    let channel =
        |n| ChannelConfig { name: channel(n), data_type: ChannelDataType::Double.into(), ..ChannelConfig::default() };
    let channels = (0..job.workload.channels()).map(channel).collect();
    let flows = vec![FlowConfig { name: FLOW.to_owned(), channels }];
    let client_key = format!("bench-{:?}", job.workload);
    let credentials = Credentials::Config { uri: job.uri.clone(), apikey: "key".to_owned() };
    let form = IngestionConfigForm { asset_name: "bench".to_owned(), client_key, flows };
    SiftStreamBuilder::new(credentials).disable_tls().ingestion_config(form)
}

async fn send<T>(mut stream: SiftStream<IngestionConfigEncoder, T>, job: Job)
where
    T: Transport<Encoder = IngestionConfigEncoder, Message = Request>,
{
    let rows = job.workload.rows();
    let descriptor = stream.get_flow_descriptor(FLOW).expect("the flow");
    let indexes: Vec<ChannelIndex> = (0..job.workload.channels()).map(|n| descriptor.mapping()[&channel(n)]).collect();
    let request = |number| {
        let mut builder = FlowBuilder::new(&descriptor);
        for (index, value) in indexes.iter().zip(row(&rows, number)) {
            builder.set(*index, *value).expect("it fits");
        }
        builder.request(TimeValue::from_timestamp_nanos(time(number)))
    };
    let mut number = 0;
    while number < job.records {
        let end = (number + BATCH).min(job.records);
        stream.send_requests((number..end).map(request).collect::<Vec<_>>()).await.expect("it is sent");
        number = end;
    }
    stream.finish().await.expect("it is finished");
}

fn policy(dir: &Path) -> DiskBackupPolicy {
    DiskBackupPolicy { backups_dir: Some(dir.to_owned()), ..DiskBackupPolicy::default() }
}

pub(crate) fn record(job: &Job) -> Measured {
    let runtime = runtime();
    here(&job.dir, || {
        let builder = form(job).file_backup().metrics_streaming_interval(None).disk_backup_policy(policy(&job.dir));
        let (building, inner) = (builder.build(), job.clone());
        let sending = runtime.spawn(async move { send(building.await.expect("a stream"), inner).await });
        runtime.block_on(sending).expect("it doesn't panic");
        job.records
    })
}

pub(crate) fn live_only(job: &Job) -> Measured {
    let runtime = runtime();
    here(&job.dir, || {
        let (building, inner) = (form(job).live_only().metrics_streaming_interval(None).build(), job.clone());
        let sending = runtime.spawn(async move { send(building.await.expect("a stream"), inner).await });
        runtime.block_on(sending).expect("it doesn't panic");
        job.records
    })
}

pub(crate) fn live_with_backups(job: &Job) -> Measured {
    let runtime = runtime();
    here(&job.dir, || {
        let builder = form(job).live_with_backups().metrics_streaming_interval(None);
        let (building, inner) = (builder.disk_backup_policy(policy(&job.dir)).build(), job.clone());
        let sending = runtime.spawn(async move { send(building.await.expect("a stream"), inner).await });
        runtime.block_on(sending).expect("it doesn't panic");
        job.records
    })
}

/// Its decoder and the generated client. (The official program reads all of a file before it sends any of it; this
/// doesn't, to its advantage.)
pub(crate) fn replay(job: &Job) -> Measured {
    let runtime = runtime();
    let files = files_below(&job.dir);
    let empty = tempfile::tempdir().expect("a directory");
    here(empty.path(), || {
        runtime.block_on(async {
            let channel = tonic::transport::Channel::from_shared(job.uri.clone()).expect("an address");
            let mut client = IngestServiceClient::new(channel.connect().await.expect("a connection"));
            let mut records = 0;
            for file in &files {
                let decoder = BackupsDecoder::<Request, _>::new(BufReader::new(File::open(file).expect("it is there")));
                let counted = decoder.map(|request| request.expect("it is sound"));
                let (sender, received) = tokio::sync::mpsc::channel(1024);
                let reading = tokio::task::spawn_blocking(move || {
                    let mut read = 0_u64;
                    for request in counted {
                        sender.blocking_send(request).expect("it is wanted");
                        read += 1;
                    }
                    read
                });
                let stream = tokio_stream::wrappers::ReceiverStream::new(received);
                client.ingest_with_config_data_stream(stream).await.expect("it is acknowledged");
                records += reading.await.expect("it doesn't panic");
            }
            assert_eq!(records, job.records);
        });
        job.records
    })
}

pub(crate) fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).expect("it is there").flatten() {
        match entry.path() {
            path if path.is_dir() => files.extend(files_below(&path)),
            path => files.push(path),
        }
    }
    files.sort();
    files
}
