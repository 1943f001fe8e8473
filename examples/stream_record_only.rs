//! The same interface without any network: records, and shows what is in the files.
//! `cargo run --example stream_record_only -- ./backups`, then `sift-replay ./backups` where there is a link.
#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

mod common;

use std::path::PathBuf;

use common::{Outcome, requests};
use sift_replay::record::{RecorderOptions, SyncPolicy};
use sift_replay::stream::*;

#[tokio::main]
async fn main() -> Outcome<()> {
    let scratch = tempfile::tempdir()?;
    let given = std::env::args().nth(1).map(PathBuf::from);
    let backups = given.clone().unwrap_or_else(|| scratch.path().to_owned());

    let channel = |name: &str, data_type: ChannelDataType| ChannelConfig {
        name: name.into(),
        data_type: data_type.into(),
        ..ChannelConfig::default()
    };
    let config = IngestionConfigForm {
        asset_name: "drone-7".into(),
        client_key: "drone-7-v1".into(),
        flows: vec![FlowConfig {
            name: "imu".into(),
            channels: vec![channel("accel.x", ChannelDataType::Double), channel("gyro.x", ChannelDataType::Float)],
        }],
    };

    // Nobody asks for these: a stream that only records never touches the network.
    let credentials = Credentials::Config { uri: "https://nobody.invalid".into(), apikey: "none".into() };
    let stream = SiftStreamBuilder::new(credentials)
        .ingestion_config(config)
        .attach_run(RunForm { name: "Flight 12".into(), client_key: "drone-7-flight-12".into(), ..RunForm::default() })
        .file_backup()
        .disk_backup_policy(DiskBackupPolicy { backups_dir: Some(backups.clone()), ..DiskBackupPolicy::default() })
        // `send` returns when the message is on stable storage. The default syncs every 100 ms instead.
        .recorder_options(RecorderOptions { sync: SyncPolicy::EveryRecord, ..RecorderOptions::default() })
        .build()
        .await?;

    println!("Recording 200 messages, each of which survives a power cut when `send` returns.");
    for step in 0..200 {
        let values = [ChannelValue::new("accel.x", f64::from(step)), ChannelValue::new("gyro.x", 0.5_f32)];
        stream.send(Flow::new("imu", TimeValue::now(), &values)).await?;
    }

    // A misspelt channel is told at once, and nothing of the message is recorded.
    let misspelt = Flow::new("imu", TimeValue::now(), &[ChannelValue::new("acel.x", 9.81)]);
    match stream.send(misspelt).await {
        Err(SiftStreamSendError::EncodeError(error)) => println!("Refused, as it should be: {error}."),
        other => return Err(format!("a misspelt channel was taken: {other:?}").into()),
    }

    let finished = stream.finish().await?;
    println!("The stream has ended: {finished}.");
    let recorded = requests(&backups)?.len();
    println!("The files have {recorded} messages.");
    match given {
        Some(given) => println!("To deliver them: sift-replay {}", given.display()),
        None => println!("They are removed now; give a directory as an argument, and they stay."),
    }
    if recorded >= 200 && finished.on_disk == 200 { Ok(()) } else { Err("200 should have been recorded".into()) }
}
