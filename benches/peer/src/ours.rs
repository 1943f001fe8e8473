//! This library's ways.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use sift_replay::catalog::{Catalog, discover};
use sift_replay::format::Compression;
use sift_replay::record::{Recorder, RecorderOptions, Timestamp};
use sift_replay::replay::{Lanes, ReplayOptions, State, StateDirs, Work};
use sift_replay::segment::{Disk, Storage};
use sift_replay::sift::{Destination, DestinationOptions};
use sift_replay::stream::{
    ChannelConfig, ChannelDataType, Credentials, DiskBackupPolicy, FlowConfig, IngestionConfigEncoder,
    IngestionConfigForm, SiftStream, SiftStreamBuilder, StreamConfigBuilder, Transport,
};
use sift_replay::verify::VerifyOptions;

use crate::contestant::Job;
use crate::measure::{Measured, here, paced};
use crate::null_storage::NullStorage;
use crate::stalling::Stalling;
use crate::workload::{FLOW, channel, row, time};

/// Connections of a replay, as the program has it.
pub(crate) const LANES: usize = 4;

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime")
}

/// Where the recorder writes.
pub(crate) enum Output {
    Disk,
    Zstd(i32),
    Null,
}

/// Records so many at a time.
pub(crate) fn record(job: &Job, output: Output, batch: u64) -> Measured {
    let rows = job.workload.values();
    let mut options = RecorderOptions { compression: Compression::None, ..RecorderOptions::default() };
    match output {
        Output::Disk => {}
        Output::Zstd(level) => options.compression = Compression::Zstd(level),
        Output::Null => options.storage = Arc::new(NullStorage),
    }
    here(&job.dir, || {
        let recorder = Recorder::create(&job.dir, &job.workload.schema(), options).expect("a recorder");
        let flow = recorder.flow(FLOW).expect("the flow");
        let timed = |number| (Timestamp::from_unix_ns(time(number)), &row(&rows, number)[..]);
        if batch == 1 {
            for (time, values) in (0..job.records).map(timed) {
                let _ = recorder.record(&flow, time, values).expect("it is recorded");
            }
        } else {
            let mut rows = Vec::new();
            for number in (0..job.records).step_by(batch as usize) {
                rows.clear();
                rows.extend((number..job.records.min(number + batch)).map(timed));
                recorder.record_batch(&flow, &rows).expect("they are recorded");
            }
        }
        recorder.finish().expect("it is finished");
        job.records
    })
}

/// Calls that are timed, a second.
pub(crate) const CALLS_PER_SECOND: u64 = 50_000;

pub(crate) fn record_calls(job: &Job, stalling: bool) -> Measured {
    let rows = job.workload.values();
    let storage: Arc<dyn Storage> = if stalling { Arc::new(Stalling::new()) } else { Arc::new(Disk) };
    let options = RecorderOptions { compression: Compression::None, storage, ..RecorderOptions::default() };
    let mut calls = None;
    let measured = here(&job.dir, || {
        let recorder = Recorder::create(&job.dir, &job.workload.schema(), options).expect("a recorder");
        let flow = recorder.flow(FLOW).expect("the flow");
        calls = Some(paced(job.records, CALLS_PER_SECOND, |number| {
            let time = Timestamp::from_unix_ns(time(number));
            let _ = recorder.record(&flow, time, &row(&rows, number)[..]).expect("it is recorded");
        }));
        recorder.finish().expect("it is finished");
        job.records
    });
    Measured { calls, ..measured }
}

pub(crate) fn replay(job: &Job) -> Measured {
    here(Path::new(""), || {
        let lanes = NonZeroUsize::new(LANES).expect("some");
        replay_all(&job.dir, &job.uri, lanes, &ReplayOptions::default(), job.records);
        job.records
    })
}

/// Replays all that is in `dir`, as `sift-replay DIR` does.
pub(crate) fn replay_all(dir: &Path, uri: &str, lanes: NonZeroUsize, options: &ReplayOptions, records: u64) {
    let runtime = runtime();
    let state_dir = tempfile::tempdir().expect("a directory");
    let to = DestinationOptions { uri: Some(uri.to_owned()), ..DestinationOptions::default() };
    let destination = Destination::resolve(&to).expect("a destination");
    let paths = [dir.to_owned()];
    let lanes = runtime.block_on(Lanes::open(&destination, lanes)).expect("lanes");
    let state = State::open(Arc::new(Disk), StateDirs::resolve(&paths, Some(state_dir.path()))).expect("state");
    let work = Work::once(&paths, Catalog::build(discover(&paths).expect("it is there")));
    let report = runtime.block_on(sift_replay::replay::replay(&lanes, &state, work, options, &()));
    assert_eq!(report.totals.records_acknowledged, records, "{report:?}");
}

pub(crate) fn verify(job: &Job) -> Measured {
    here(&job.dir, || {
        let paths = [job.dir.clone()];
        let report = sift_replay::verify::verify(&paths, &VerifyOptions::default(), &mut |_| ()).expect("it is there");
        assert!(report.is_sound(), "{report:?}");
        crate::measure::bytes_below(&job.dir)
    })
}

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

async fn send<T: Transport>(stream: SiftStream<IngestionConfigEncoder, T>, job: Job) {
    let rows = job.workload.values();
    let flow = stream.flow(FLOW).expect("the flow");
    for number in 0..job.records {
        let time = Timestamp::from_unix_ns(time(number));
        stream.record(&flow, time, &row(&rows, number)[..]).await.expect("it is sent");
    }
    let finished = stream.finish().await.expect("it is finished");
    assert_eq!(finished.acknowledged, job.records, "{finished}");
}

pub(crate) fn live_only(job: &Job) -> Measured {
    let runtime = runtime();
    here(&job.dir, || {
        let (building, inner) = (form(job).live_only().metrics_streaming_interval(None).build(), job.clone());
        // On a worker, as in an application.
        let sending = runtime.spawn(async move { send(building.await.expect("a stream"), inner).await });
        runtime.block_on(sending).expect("it doesn't panic");
        job.records
    })
}

pub(crate) fn live_with_backups(job: &Job, compression: Compression) -> Measured {
    let runtime = runtime();
    let recorder = RecorderOptions { compression, ..RecorderOptions::default() };
    let policy = DiskBackupPolicy { backups_dir: Some(job.dir.clone()), ..DiskBackupPolicy::default() };
    here(&job.dir, || {
        let builder = form(job)
            .live_with_backups()
            .metrics_streaming_interval(None)
            .disk_backup_policy(policy)
            .recorder_options(recorder);
        let (building, inner) = (builder.build(), job.clone());
        let sending = runtime.spawn(async move { send(building.await.expect("a stream"), inner).await });
        runtime.block_on(sending).expect("it doesn't panic");
        job.records
    })
}
