//! A link that comes and goes, and nothing is lost: `cargo run --example stream_flaky_link`
#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

mod common;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use common::{Endpoint, Outcome, settle};
use sift_replay::stream::*;

type Stream = SiftStream<IngestionConfigEncoder, LiveStreamingWithBackups>;

const ROUNDS: u64 = 3;
const MESSAGES: u64 = 400;

#[tokio::main]
async fn main() -> Outcome<()> {
    let (mut endpoint, backups) = (Endpoint::start().await?, tempfile::tempdir()?);
    endpoint.cut().await?;
    println!("There is no link. The stream starts all the same.");
    let channel =
        ChannelConfig { name: "number".into(), data_type: ChannelDataType::Uint64.into(), ..ChannelConfig::default() };
    let stream = endpoint
        .builder()
        .ingestion_config(IngestionConfigForm {
            asset_name: "buoy".into(),
            client_key: "buoy-v1".into(),
            flows: vec![FlowConfig { name: "waves".into(), channels: vec![channel] }],
        })
        .live_with_backups()
        .disk_backup_policy(DiskBackupPolicy {
            backups_dir: Some(backups.path().to_owned()),
            ..DiskBackupPolicy::default()
        })
        .checkpoint_interval(Duration::from_millis(300))
        // For an example that ends soon.
        .retry_policy(RetryPolicy { max_backoff: Duration::from_millis(300), ..RetryPolicy::default() })
        .ingestion_data_channel_capacity(100)
        .build()
        .await?;

    let mut next = 0;
    for round in 1..=ROUNDS {
        send(&stream, &mut next, &format!("Round {round}, without a link")).await?;
        endpoint.restore().await?;
        send(&stream, &mut next, &format!("Round {round}, with a link")).await?;
        if round < ROUNDS {
            endpoint.cut().await?;
        }
    }
    let finished = stream.finish().await?;
    settle(&finished, backups)?;

    let mut copies = BTreeMap::<i64, u64>::new();
    // The stream's own numbers arrive, too.
    for request in endpoint.end().await?.into_iter().filter(|request| request.flow == "waves") {
        let time = request.timestamp.unwrap_or_default();
        *copies.entry(time.seconds).or_default() += 1;
    }
    let repeated = copies.values().filter(|copies| **copies > 1).count();
    println!("Of {next} messages, {} have arrived, {repeated} of them more than once.", copies.len());
    if copies.len() as u64 == next { Ok(()) } else { Err(format!("{next} should have arrived").into()) }
}

/// Message `n` has the time of `n` seconds after the epoch.
async fn send(stream: &Stream, next: &mut u64, what: &str) -> Outcome<()> {
    let mut longest = Duration::ZERO;
    for _ in 0..MESSAGES {
        let time = TimeValue::try_from_timestamp(i64::try_from(*next)?, 0)?;
        let began = Instant::now();
        stream.send(Flow::new("waves", time, &[ChannelValue::new("number", *next)])).await?;
        longest = longest.max(began.elapsed());
        *next += 1;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let numbers = stream.get_metrics_snapshot();
    println!(
        "{what}: {MESSAGES} messages, none of which took longer than {longest:.1?} to send. So far {} were acknowledged \
         live, {} gave way to newer ones, {} went by replay; {} wait for it.",
        numbers.messages_acknowledged,
        numbers.old_messages_dropped_for_ingestion,
        numbers.messages_replayed,
        numbers.backups.messages_awaiting_replay,
    );
    Ok(())
}
