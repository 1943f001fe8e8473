//! Flows that nobody registered beforehand: `cargo run --example stream_auto_register`
#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

mod common;

use common::{Destination, Outcome, settle};
use sift_replay::stream::*;

#[tokio::main]
async fn main() -> Outcome<()> {
    let (destination, backups) = (Destination::find().await?, tempfile::tempdir()?);
    let channel = |name: &str, data_type: ChannelDataType, unit: &str| ChannelConfig {
        name: name.into(),
        unit: unit.into(),
        data_type: data_type.into(),
        ..ChannelConfig::default()
    };

    // One flow is known from the beginning.
    let gps = FlowConfig {
        name: "gps".into(),
        channels: vec![
            channel("latitude", ChannelDataType::Double, "deg"),
            channel("longitude", ChannelDataType::Double, "deg"),
        ],
    };
    let stream = destination
        .builder()
        .ingestion_config(IngestionConfigForm {
            asset_name: "truck-3".into(),
            client_key: "truck-3-v1".into(),
            flows: vec![gps],
        })
        .live_with_backups()
        .disk_backup_policy(DiskBackupPolicy {
            backups_dir: Some(backups.path().to_owned()),
            ..DiskBackupPolicy::default()
        })
        .build()
        .await?;

    // One is staged: if it comes, it is registered with its units.
    let dynamics = FlowConfig {
        name: "dynamics".into(),
        channels: vec![
            channel("speed", ChannelDataType::Double, "m/s"),
            channel("heading", ChannelDataType::Float, "deg"),
        ],
    };
    let mut stream = SiftStreamAutoRegister::new(stream, vec![dynamics]);

    println!("Sending 100 messages of each of three flows: one known, one staged, one that nobody has heard of.");
    drive(&mut stream).await?;
    let engine = stream.get_flow_descriptor("engine")?;
    println!("Derived from its values: engine, with {} channels.", engine.mapping().len());

    // Values that don't fit what is known are refused, and named.
    let wrong = Flow::new("engine", TimeValue::now(), &[ChannelValue::new("rpm", "many")]);
    match stream.send(wrong).await {
        Err(error) => println!("Refused, as it should be: {error}."),
        Ok(()) => return Err("a value of the wrong type was taken".into()),
    }
    let finished = stream.finish().await?;
    settle(&finished, backups)?;
    destination.check(&["gps", "dynamics", "engine"], 300).await
}

/// Takes whatever registers flows: a test can give it one that only takes notes.
async fn drive(stream: &mut impl AutoRegisterStream) -> Outcome<()> {
    for step in 0..100_u32 {
        let t = f64::from(step);
        let gps = [ChannelValue::new("latitude", 37.7 + t / 1e4), ChannelValue::new("longitude", -122.4 + t / 1e4)];
        let dynamics = [ChannelValue::new("speed", t / 2.0), ChannelValue::new("heading", 3.5_f32)];
        let engine = [ChannelValue::new("rpm", 3000 + step), ChannelValue::new("state", "on")];
        for (flow, values) in [("gps", gps), ("dynamics", dynamics), ("engine", engine)] {
            stream.send(Flow::new(flow, TimeValue::now(), &values)).await?;
        }
    }
    Ok(())
}
