//! The workloads W1, W2 and W3: one flow of doubles each.
#![allow(dead_code)]

use std::fmt;

use sift_replay::record::{Channel, DataType, FlowSchema, Schema, Value};
use sift_rs::ingest::v1::ingest_with_config_data_channel_value::Type;
use sift_rs::ingest::v1::{IngestWithConfigDataChannelValue, IngestWithConfigDataStreamRequest};

/// Rows of values that are prepared; records take them in turn.
pub(crate) const ROWS: usize = 1024;

/// How much is recorded, and how wide it is.
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) channels: usize,
    pub(crate) records: usize,
}

pub(crate) const WORKLOADS: &[Workload] = &[
    Workload { name: "W1 10 doubles", channels: 10, records: 2_000_000 },
    Workload { name: "W2 200 doubles", channels: 200, records: 200_000 },
    Workload { name: "W3 1 double", channels: 1, records: 4_000_000 },
];

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// The time of a record, in ns since the Unix epoch: 1 kHz with a little jitter.
pub(crate) fn time(number: usize) -> i64 {
    1_750_000_000_000_000_000 + number as i64 * 1_000_000 + (number as i64 * 7919) % 1009
}

impl Workload {
    pub(crate) fn schema(&self) -> Schema {
        let channels = (0..self.channels).map(|i| Channel::new(format!("channel {i}"), DataType::Double));
        Schema::new("rover", "rover-v1").flow(channels.fold(FlowSchema::new("f"), FlowSchema::channel))
    }

    /// Slow waves with a few bits of noise, as from sensors of 16 bits.
    pub(crate) fn plain_rows(&self) -> Vec<Vec<f64>> {
        let value = |row: usize, channel: usize| {
            let wave = (row as f64 * 0.01 + channel as f64).sin() * 20_000.0;
            let noise = (row * 2_654_435_761 + channel * 40_503) % 13;
            (wave + noise as f64).round() / 16.0
        };
        (0..ROWS).map(|row| (0..self.channels).map(|channel| value(row, channel)).collect()).collect()
    }

    pub(crate) fn rows(&self) -> Vec<Vec<Value<'static>>> {
        self.plain_rows().into_iter().map(|row| row.into_iter().map(Value::Double).collect()).collect()
    }
}

/// Sift's own message for a record.
pub(crate) fn message(number: usize, row: &[f64]) -> IngestWithConfigDataStreamRequest {
    let time = time(number);
    IngestWithConfigDataStreamRequest {
        flow: "f".to_owned(),
        timestamp: Some(pbjson_types::Timestamp {
            seconds: time / 1_000_000_000,
            nanos: (time % 1_000_000_000) as i32,
        }),
        channel_values: row
            .iter()
            .map(|value| IngestWithConfigDataChannelValue { r#type: Some(Type::Double(*value)) })
            .collect(),
        ..Default::default()
    }
}
