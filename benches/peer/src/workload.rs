//! What is recorded and sent: one flow of doubles, wider or narrower, of noise or of what sensors say.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use sift_replay::record::{Channel, DataType, FlowSchema, Schema, Value};
use sift_rs::ingest::v1::ingest_with_config_data_channel_value::Type;
use sift_rs::ingest::v1::{IngestWithConfigDataChannelValue, IngestWithConfigDataStreamRequest};

use crate::destination::RAW_CONFIG_ID;

pub(crate) const FLOW: &str = "flow";

/// Rows of values that are made beforehand; records take them in turn, so that making them costs nothing.
const ROWS: usize = 1024;

/// One flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum, Serialize, Deserialize)]
pub(crate) enum Workload {
    /// 10 doubles of random bits (within one order of magnitude).
    W1,
    /// 200 of them.
    W2,
    /// One of them.
    W3,
    /// A plausible signal of 10 doubles: slow waves with a few bits of noise, as from sensors of 16 bits; counters; states.
    Signal,
}

impl Workload {
    pub(crate) fn channels(self) -> usize {
        match self {
            Self::W1 | Self::Signal => 10,
            Self::W2 => 200,
            Self::W3 => 1,
        }
    }

    /// How many records are worth a second or so of the faster contestants.
    pub(crate) fn records(self, scale: f64) -> u64 {
        let records = match self {
            Self::W1 | Self::Signal => 2_000_000.0,
            Self::W2 => 120_000.0,
            Self::W3 => 4_000_000.0,
        };
        (records * scale).max(1.0) as u64
    }

    /// The rows of values.
    pub(crate) fn rows(self) -> Vec<Vec<f64>> {
        let mut random = fastrand::Rng::with_seed(7);
        match self {
            Self::Signal => {
                (0..ROWS).map(|row| (0..10).map(|channel| signal(row, channel, &mut random)).collect()).collect()
            }
            _ => (0..ROWS).map(|_| (0..self.channels()).map(|_| random.f64() + 1.0).collect()).collect(),
        }
    }

    pub(crate) fn values(self) -> Vec<Vec<Value<'static>>> {
        self.rows().into_iter().map(|row| row.into_iter().map(Value::Double).collect()).collect()
    }

    pub(crate) fn schema(self) -> Schema {
        let channels = (0..self.channels()).map(|n| Channel::new(channel(n), DataType::Double));
        Schema::new("bench", format!("bench-{self:?}")).flow(channels.fold(FlowSchema::new(FLOW), FlowSchema::channel))
    }

    /// The same with what a replay puts behind each: the ids that the server gives.
    pub(crate) fn messages_with_ids(self) -> Vec<IngestWithConfigDataStreamRequest> {
        let with_ids = |message| IngestWithConfigDataStreamRequest {
            ingestion_config_id: RAW_CONFIG_ID.to_owned(),
            end_stream_on_validation_error: true,
            ..message
        };
        self.messages().into_iter().map(with_ids).collect()
    }

    /// Built messages, without ids.
    pub(crate) fn messages(self) -> Vec<IngestWithConfigDataStreamRequest> {
        let message = |(number, row): (usize, &Vec<f64>)| {
            let time = time(number as u64);
            let value = |value: &f64| IngestWithConfigDataChannelValue { r#type: Some(Type::Double(*value)) };
            IngestWithConfigDataStreamRequest {
                flow: FLOW.to_owned(),
                timestamp: Some(pbjson_types::Timestamp {
                    seconds: time / 1_000_000_000,
                    nanos: (time % 1_000_000_000) as i32,
                }),
                channel_values: row.iter().map(value).collect(),
                ..Default::default()
            }
        };
        self.rows().iter().enumerate().map(message).collect()
    }
}

/// The value of a channel of the plausible signal.
fn signal(row: usize, channel: usize, random: &mut fastrand::Rng) -> f64 {
    match channel {
        // Readings of 16 bits, scaled.
        0..6 => {
            let wave = (row as f64 * 0.003 * (channel + 1) as f64).sin() * 20_000.0;
            (wave + f64::from(random.u8(0..8))).round() * 0.0625
        }
        6 | 7 => (row * (channel - 5)) as f64,
        _ => ((row / (100 * (channel - 6))) % 4) as f64,
    }
}

pub(crate) fn channel(number: usize) -> String {
    format!("channel-{number}")
}

/// The time of a record, in ns since the Unix epoch: 1 kHz, with a little jitter.
pub(crate) fn time(number: u64) -> i64 {
    1_750_000_000_000_000_000 + number as i64 * 1_000_000 + (number as i64 * 7919) % 1009
}

/// The row of a record.
pub(crate) fn row<T>(rows: &[T], number: u64) -> &T {
    &rows[(number % ROWS as u64) as usize]
}
