//! The simulated flight: what each record holds follows from its number alone, so that what arrives can be compared
//! with what must have been recorded.

use sift_rs::ingest::v1::ingest_with_config_data_channel_value::Type;
use sift_rs::ingest::v1::{IngestWithConfigDataChannelValue, IngestWithConfigDataStreamRequest};

use crate::record::{Channel, DataType, Flow, FlowSchema, RecordError, Recorder, RunSchema, Schema, Timestamp, Value};

/// When the flight began, in ns since the Unix epoch.
const BEGAN: i64 = 1_750_000_000_000_000_000;

/// Time between two records, in ns: ten thousand records a second of flight.
const STEP: i64 = 100_000;

const PHASES: [&str; 4] = ["ground", "climb", "cruise", "descent"];

/// The flows, by number.
const FLOWS: [&str; 4] = ["imu", "gps", "power", "status"];

/// The schema of the flight's part `run`.
pub(super) fn schema(run: &str) -> Schema {
    let double = |name: &str, unit: &str| Channel::new(name, DataType::Double).unit(unit);
    let imu = ["accel.x", "accel.y", "accel.z"]
        .into_iter()
        .fold(FlowSchema::new("imu"), |flow, name| flow.channel(double(name, "m/s²")));
    let imu = ["gyro.x", "gyro.y", "gyro.z"].into_iter().fold(imu, |flow, name| flow.channel(double(name, "rad/s")));
    let gps = FlowSchema::new("gps")
        .channel(double("latitude", "°"))
        .channel(double("longitude", "°"))
        .channel(Channel::new("altitude", DataType::Float).unit("m").description("above the ellipsoid"))
        .channel(Channel::new("satellites", DataType::Uint32));
    let power = FlowSchema::new("power")
        .channel(Channel::new("voltage", DataType::Float).unit("V"))
        .channel(Channel::new("charge", DataType::Int32).unit("mAh"))
        .channel(Channel::new("breakers", DataType::BitField).bits("main", 0, 1).bits("payload", 1, 3));
    let phase = PHASES
        .iter()
        .zip(0..)
        .fold(Channel::new("phase", DataType::Enum), |phase, (name, key)| phase.enum_value(key, *name));
    let status = FlowSchema::new("status")
        .channel(phase)
        .channel(Channel::new("armed", DataType::Bool))
        .channel(Channel::new("message", DataType::String));
    let key = format!("sift-replay-demo-{}", run.to_lowercase().replace(' ', "-"));
    let schema = Schema::new("demo-drone", "sift-replay-demo-v1").run(RunSchema::new(run, key).tag("demo"));
    [imu, gps, power, status].into_iter().fold(schema, Schema::flow)
}

/// The flows of one recorder, in order.
pub(super) fn flows(recorder: &Recorder) -> Result<Vec<Flow>, RecordError> {
    FLOWS.iter().map(|name| recorder.flow(name)).collect()
}

/// Which flow record `n` belongs to: mostly the IMU.
fn flow_of(n: u64) -> usize {
    match n % 100 {
        0 => 3,
        1..10 => 1,
        10..20 => 2,
        _ => 0,
    }
}

fn time_of(n: u64) -> i64 {
    BEGAN.saturating_add((n as i64).saturating_mul(STEP))
}

/// A number between −1 and 1 that looks like a sensor's.
fn wave(n: u64, channel: u64) -> f64 {
    let noise = (n ^ channel << 40).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48;
    let slow = (n as f64 / (500.0 + channel as f64 * 130.0)).sin();
    // As a 16-bit converter gives it.
    ((slow * 0.9 + noise as f64 / 65536.0 * 0.1) * 32768.0).round() / 32768.0
}

fn message(n: u64) -> String {
    format!("step {n}: {}", if n.is_multiple_of(300) { "all systems nominal" } else { "…" })
}

/// Records record `n`.
pub(super) fn record(recorder: &Recorder, flows: &[Flow], n: u64) -> Result<(), RecordError> {
    let time = Timestamp::from_unix_ns(time_of(n));
    let at = flow_of(n);
    let Some(flow) = flows.get(at) else { return Ok(()) };
    let recorded = match at {
        0 => recorder.record(
            flow,
            time,
            &std::array::from_fn::<_, 6, _>(|channel| Value::Double(wave(n, channel as u64))),
        ),
        1 => recorder.record(
            flow,
            time,
            &[
                Value::Double(47.0 + wave(n, 7) / 100.0),
                Value::Double(11.0 + wave(n, 8) / 100.0),
                Value::Float((500.0 + wave(n, 9) * 100.0) as f32),
                Value::Uint32((8 + n % 7) as u32),
            ],
        ),
        2 => recorder.record(
            flow,
            time,
            &[
                Value::Float((24.0 + wave(n, 10)) as f32),
                Value::Int32(5000 - (n / 1000) as i32),
                Value::BitField(&[(n % 16) as u8]),
            ],
        ),
        _ => {
            let text = message(n);
            let phase = Value::Enum((n / 50_000 % PHASES.len() as u64) as u32);
            recorder.record(flow, time, &[phase, Value::Bool(n % 200 < 100), Value::String(&text)])
        }
    };
    recorded.map(|_| ())
}

/// The request that record `n` must be, by way of Sift's own types and prost: another encoder than the recorder's.
pub(super) fn expected(n: u64) -> IngestWithConfigDataStreamRequest {
    let at = flow_of(n);
    let values = match at {
        0 => (0..6).map(|channel| Type::Double(wave(n, channel))).collect(),
        1 => vec![
            Type::Double(47.0 + wave(n, 7) / 100.0),
            Type::Double(11.0 + wave(n, 8) / 100.0),
            Type::Float((500.0 + wave(n, 9) * 100.0) as f32),
            Type::Uint32((8 + n % 7) as u32),
        ],
        2 => vec![
            Type::Float((24.0 + wave(n, 10)) as f32),
            Type::Int32(5000 - (n / 1000) as i32),
            Type::BitField(vec![(n % 16) as u8]),
        ],
        _ => vec![
            Type::Enum((n / 50_000 % PHASES.len() as u64) as u32),
            Type::Bool(n % 200 < 100),
            Type::String(message(n)),
        ],
    };
    let (seconds, nanos) = (time_of(n).div_euclid(1_000_000_000), time_of(n).rem_euclid(1_000_000_000) as i32);
    IngestWithConfigDataStreamRequest {
        flow: FLOWS.get(at).map(ToString::to_string).unwrap_or_default(),
        timestamp: Some(pbjson_types::Timestamp { seconds, nanos }),
        channel_values: values
            .into_iter()
            .map(|value| IngestWithConfigDataChannelValue { r#type: Some(value) })
            .collect(),
        ..Default::default()
    }
}
