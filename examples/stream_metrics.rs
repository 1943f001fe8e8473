//! A stream's own numbers, looked at and sent along: `cargo run --example stream_metrics`
#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

mod common;

use std::time::Duration;

use common::{Destination, Outcome};
use sift_replay::stream::*;

#[tokio::main]
async fn main() -> Outcome<()> {
    let destination = Destination::find().await?;
    let channel = ChannelConfig {
        name: "voltage".into(),
        unit: "V".into(),
        data_type: ChannelDataType::Double.into(),
        ..ChannelConfig::default()
    };
    let stream = destination
        .builder()
        .ingestion_config(IngestionConfigForm {
            asset_name: "bench-1".into(),
            client_key: "bench-1-v1".into(),
            flows: vec![FlowConfig { name: "supply".into(), channels: vec![channel] }],
        })
        .live_only()
        .ingestion_data_channel_capacity(5000)
        // As the asset `sift_app`, over a connection of their own. `None` sends none.
        .metrics_streaming_interval(Some(Duration::from_millis(100)))
        .build()
        .await?;

    let supply = stream.flow("supply")?;
    for second in 1..=3 {
        for step in 0..10_000 {
            // The fastest way: no names, nothing allocated. Waits when there is no room.
            stream.record(&supply, TimeValue::now().timestamp(), &[f64::from(step).into()]).await?;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        let numbers = stream.get_metrics_snapshot();
        println!(
            "{second}: {} requests taken in, {:.0} a second sent, {} acknowledged, {} in the queue, {} retries",
            numbers.messages_received,
            numbers.message_rate,
            numbers.messages_acknowledged,
            numbers.ingestion_channel_depth,
            numbers.total_retry_count,
        );
    }

    let finished = stream.finish().await?;
    println!("The stream has ended: {finished}.");
    if let Destination::Embedded(endpoint) = destination {
        let arrived = endpoint.end().await?;
        let (data, other): (Vec<_>, Vec<_>) = arrived.into_iter().partition(|request| request.flow == "supply");
        println!("The endpoint has {} requests, and the stream's own numbers in {} more.", data.len(), other.len());
        if data.len() != 30_000 || other.is_empty() {
            return Err("30,000 should have arrived, and some numbers".into());
        }
    }
    Ok(())
}
