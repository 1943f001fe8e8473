//! Streams telemetry of a robotic arm into a run; everything is on disk until Sift has acknowledged it:
//! `cargo run --example stream_quick_start`
#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

mod common;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::{Destination, Outcome, settle};
use sift_replay::stream::*;
use sift_rs::metadata;

#[tokio::main]
async fn main() -> Outcome<()> {
    let (destination, backups) = (Destination::find().await?, tempfile::tempdir()?);

    // What there is to be measured. The key is how Sift finds the config again: another one for other channels.
    let config = IngestionConfigForm {
        asset_name: "MarsRover0".into(),
        client_key: "mars-rover0-v1".into(),
        flows: vec![FlowConfig {
            name: "robotic-arm".into(),
            channels: vec![
                ChannelConfig {
                    name: "joint-angle".into(),
                    description: "measures the angle of the arm's joint".into(),
                    unit: "degrees".into(),
                    data_type: ChannelDataType::Double.into(),
                    ..ChannelConfig::default()
                },
                ChannelConfig {
                    name: "stuck".into(),
                    data_type: ChannelDataType::Bool.into(),
                    ..ChannelConfig::default()
                },
            ],
        }],
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let run = RunForm {
        name: format!("MarsRover0 {now}"),
        client_key: format!("mars-rover0-{now}"),
        description: Some("an example".into()),
        tags: Some(vec!["simulation".into()]),
        metadata: Some(metadata![("is_simulation", true), ("location", "desk")]),
    };

    let stream = destination
        .builder()
        .ingestion_config(config)
        .attach_run(run)
        .live_with_backups()
        .disk_backup_policy(DiskBackupPolicy {
            backups_dir: Some(backups.path().to_owned()),
            ..DiskBackupPolicy::default()
        })
        .build()
        .await?;
    if let Some(run) = stream.run() {
        println!("The run is {:?}.", run.name);
    }

    println!("Sending 500 messages by names; those without `stuck` leave it empty.");
    for step in 0..500 {
        let angle = ChannelValue::new("joint-angle", f64::from(step).sin());
        stream.send(Flow::new("robotic-arm", TimeValue::now(), &[angle])).await?;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    println!("Sending 500 more by prepared indices, without waiting for anything.");
    let arm = stream.get_flow_descriptor("robotic-arm")?;
    let (angle, stuck) = (arm.mapping()["joint-angle"], arm.mapping()["stuck"]);
    for step in 500..1000 {
        let mut message = FlowBuilder::new(&arm);
        message.set(angle, f64::from(step).sin())?;
        message.set(stuck, step == 777)?;
        stream.try_send(message)?;
    }

    let finished = stream.finish().await?;
    settle(&finished, backups)?;
    destination.check(&["robotic-arm"], 1000).await
}
