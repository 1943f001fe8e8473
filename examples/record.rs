//! Records a few seconds of flight into a directory, without a network:
//! `cargo run --no-default-features --example record -- ./backups`
#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

use std::time::Duration;

use sift_replay::record::{
    Channel, DataType, FlowSchema, RecordError, Recorder, RecorderOptions, RunSchema, Schema, SyncPolicy, Timestamp,
    Value,
};

fn main() -> Result<(), RecordError> {
    let root = std::env::args().nth(1).unwrap_or_else(|| "backups".to_owned());
    let imu = FlowSchema::new("imu")
        .channel(Channel::new("accel.x", DataType::Double).unit("m/s²"))
        .channel(Channel::new("mode", DataType::Enum).enum_value(0, "idle").enum_value(1, "flying"));
    let schema = Schema::new("drone-7", "drone-7-v1").flow(imu).run(RunSchema::new("Flight 12", "drone-7-flight-12"));
    let options =
        RecorderOptions { sync: SyncPolicy::Interval(Duration::from_millis(50)), ..RecorderOptions::default() };

    let recorder = Recorder::create(&root, &schema, options)?;
    let imu = recorder.flow("imu")?;
    for step in 0..10_000 {
        let accel = (f64::from(step) / 100.0).sin();
        let _ = recorder.record(&imu, Timestamp::now(), &[Value::Double(accel), Value::Enum(1)])?;
    }
    recorder.note("landed")?;
    recorder.flush()?;
    println!("{} records are on stable storage", recorder.durable_seq());
    let stats = recorder.finish()?;
    println!("{} bytes in {} segment(s), in {}", stats.bytes_written, stats.segments, recorder.dir().display());
    Ok(())
}
