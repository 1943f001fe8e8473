//! What recording takes of memory. Each of these runs alone, in a process of its own, because it counts everything that
//! the process allocates.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use sift_replay::format::Compression;
use sift_replay::record::{DataType, Recorder, RecorderOptions, Schema, SyncPolicy, Timestamp, Value};

use crate::support::allocations::during;
use crate::support::null_storage::NullStorage;
use crate::support::recording::flow_of;

/// Runs an ignored test of this file in a process of its own.
fn alone(test: &str) {
    let test = format!("record::memory::{test}");
    let run = Command::new(std::env::current_exe().unwrap()).args(["--exact", "--ignored", &test]).output().unwrap();
    let output = String::from_utf8_lossy(&run.stdout).into_owned();
    assert!(run.status.success() && output.contains("1 passed"), "{output}");
}

#[test]
fn allocations_go_with_frames_not_with_records() {
    alone("count_allocations");
}

#[test]
fn memory_is_bounded_however_well_the_data_compress() {
    alone("measure_compressible");
}

fn recorder(compression: Compression, sync: SyncPolicy) -> Recorder {
    let schema = Schema::new("rover", "k").flow(flow_of("f", &[DataType::Double; 10]));
    let options = RecorderOptions {
        sync,
        compression,
        flush_interval: Duration::from_secs(3600),
        storage: Arc::new(NullStorage),
        ..Default::default()
    };
    Recorder::create("root", &schema, options).unwrap()
}

#[test]
#[ignore = "runs alone, see `alone`"]
fn count_allocations() {
    const RECORDS: usize = 100_000;
    for compression in [Compression::None, Compression::Zstd(1)] {
        let recorder = recorder(compression, SyncPolicy::OnRotation);
        let flow = recorder.flow("f").unwrap();
        let ready =
            crate::support::recording::encoded("f", 7, &[const { crate::support::recording::Owned::Double(1.0) }; 10]);
        let (calls, _) = during(|| {
            for i in 0..RECORDS {
                let _ =
                    recorder.record(&flow, Timestamp::from_unix_ns(i as i64), &[Value::Double(i as f64); 10]).unwrap();
            }
            for _ in 0..RECORDS {
                let _ = recorder.record_request(&ready).unwrap();
            }
            recorder.flush().unwrap();
        });
        // At least 120 bytes a record; 8 allocations a frame, and a hundred to begin with.
        let frames = 2 * RECORDS * 170 / (64 << 10);
        assert!(calls < 8 * frames + 100, "{calls} allocations for {frames} frames, {} records", 2 * RECORDS);
    }
}

#[test]
#[ignore = "runs alone, see `alone`"]
fn measure_compressible() {
    let recorder = recorder(Compression::Zstd(1), SyncPolicy::OnRotation);
    let flow = recorder.flow("f").unwrap();
    let (_, peak) = during(|| {
        for _ in 0..1_500_000 {
            let _ = recorder.record(&flow, Timestamp::from_unix_ns(0), &[Value::Double(1.0); 10]).unwrap();
        }
        recorder.flush().unwrap();
    });
    // 32 buffers that wait and 32 at work, and 8 MiB that wait for a sync: about 13 MiB.
    assert!(peak < 20 << 20, "{peak} bytes");
}
