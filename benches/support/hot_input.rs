//! What the hot paths are run over: the same bytes each time, on any machine.

use std::path::Path;
use std::sync::Arc;

use sift_replay::format::{Compression, RECORD_PREFIX_BYTES, Records, TimeRange};
use sift_replay::record::{
    Channel, DataType, Encoder, FlowSchema, RecorderOptions, Schema, SimClock, SteppedRecorder, Timestamp, Value,
};
use sift_replay::segment::{Event, SegmentReader, SimDisk, Storage};
use uuid::Uuid;

use crate::workload::{self, ROWS, WORKLOADS};

pub(crate) const SESSION: Uuid = Uuid::from_u128(0x0197_7420_dc00_7000_8000_0000_0000_0001);

/// W1: 10 doubles, W2: 200 doubles, W3: one double; and a flow of a channel of each type, and an empty one.
pub(crate) const INPUTS: [&str; 4] = ["W1", "W2", "W3", "mixed"];

/// Bytes that a pass handles: eight full frames, so that what is done per segment is little beside them.
const PASS_BYTES: usize = 512 << 10;

pub(crate) struct Input {
    pub(crate) schema: Schema,
    /// Records take them in turn.
    pub(crate) rows: Arc<[Vec<Value<'static>>]>,
    /// How many a pass handles.
    pub(crate) records: usize,
    /// The same records, as frames have them. They are never freed, so that they can be looked into beforehand.
    pub(crate) payloads: &'static [Payload],
}

/// A frame's records.
pub(crate) struct Payload {
    pub(crate) first_seq: u64,
    pub(crate) count: u32,
    pub(crate) times: TimeRange,
    pub(crate) bytes: &'static [u8],
    pub(crate) records: Records<'static>,
}

impl Input {
    pub(crate) fn new(name: &str) -> Self {
        let (schema, rows) = match WORKLOADS.iter().find(|workload| workload.name.starts_with(name)) {
            Some(workload) => (workload.schema(), workload.rows()),
            None => (mixed_schema(), (0..ROWS).map(mixed_row).collect()),
        };
        let records = PASS_BYTES / (RECORD_PREFIX_BYTES + encoded_bytes(&schema, &rows[0]));
        let mut input = Self { schema, rows: rows.into(), records, payloads: &[] };
        input.payloads = payloads(&segment(&input, Compression::None));
        input
    }
}

fn encoded_bytes(schema: &Schema, row: &[Value<'_>]) -> usize {
    let (encoder, mut out) = (Encoder::new(schema).expect("an encoder"), Vec::new());
    encoder.encode(&encoder.flow("f").expect("the flow"), time(0), row, &mut out).expect("a record");
    out.len()
}

pub(crate) fn time(number: usize) -> Timestamp {
    Timestamp::from_unix_ns(workload::time(number))
}

fn mixed_schema() -> Schema {
    let channels = DataType::ALL.into_iter().chain([DataType::Int64]).enumerate().map(|(number, data_type)| {
        let channel = Channel::new(format!("channel {number}"), data_type);
        match data_type {
            DataType::Enum => channel.enum_value(0, "idle").enum_value(1, "driving").enum_value(300, "lost"),
            DataType::BitField => channel.bits("lamp", 0, 4).bits("horn", 4, 4),
            _ => channel,
        }
    });
    Schema::new("rover", "rover-v1").flow(channels.fold(FlowSchema::new("f"), FlowSchema::channel))
}

/// Numbers are short and long in turn, so that varints of every length are among them.
fn mixed_row(row: usize) -> Vec<Value<'static>> {
    let number = (row as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (row % 60);
    let value = |data_type| match data_type {
        DataType::Double => Value::Double(row as f64 / 16.0),
        DataType::String => {
            Value::String(["", "ready", "obstacle ahead", "following the wall on the left-hand side"][row % 4])
        }
        DataType::Enum => Value::Enum([0, 1, 300][row % 3]),
        DataType::BitField => Value::BitField(&[0x5a]),
        DataType::Bool => Value::Bool(row.is_multiple_of(2)),
        DataType::Float => Value::Float(row as f32 / 16.0),
        DataType::Int32 => Value::Int32(number as i32),
        DataType::Uint32 => Value::Uint32(number as u32),
        DataType::Int64 => Value::Int64(number as i64),
        DataType::Uint64 => Value::Uint64(number),
        DataType::Bytes => Value::Bytes(&[7; 24]),
    };
    DataType::ALL.into_iter().map(value).chain([Value::Empty]).collect()
}

/// A recorder whose writer works when it is told to, and for which no time passes.
pub(crate) fn recorder(schema: &Schema, storage: Arc<dyn Storage>, compression: Compression) -> SteppedRecorder {
    // Syncs come by bytes, every other pass, since they don't come by time.
    let options =
        RecorderOptions { storage, compression, unsynced_bytes: 1 << 20, host: String::new(), ..Default::default() };
    let clock = SimClock::at(workload::time(0));
    SteppedRecorder::create("root", schema, options, SESSION, &clock).expect("a recorder")
}

/// A sealed segment that holds a pass's records.
pub(crate) fn segment(input: &Input, compression: Compression) -> Arc<[u8]> {
    let disk = SimDisk::new();
    let mut recorder = recorder(&input.schema, Arc::new(disk.clone()), compression);
    let flow = recorder.recorder().flow("f").expect("the flow");
    for number in 0..input.records {
        let recorded = recorder.recorder().record(&flow, time(number), &input.rows[number % ROWS]);
        let _ = recorded.expect("it is recorded");
    }
    recorder.finish().expect("it is finished");
    let mut files = disk.image().all().into_values();
    let segment = files.next().expect("a segment");
    assert!(files.next().is_none(), "one segment");
    segment.into()
}

pub(crate) fn read(segment: &Arc<[u8]>) -> SegmentReader {
    let file = std::io::Cursor::new(segment.clone());
    SegmentReader::from_reader(Path::new("segment"), Box::new(file)).expect("a segment")
}

fn payloads(segment: &Arc<[u8]>) -> &'static [Payload] {
    let (mut reader, mut payloads) = (read(segment), Vec::new());
    while let Some(event) = reader.next_event().expect("an event") {
        if let Event::Records(batch) = event {
            let (first_seq, count, times) = (batch.first_seq, batch.count, batch.times);
            let bytes: &'static [u8] = batch.payload.to_vec().leak();
            let records = Records::parse(bytes, count).expect("records");
            payloads.push(Payload { first_seq, count, times, bytes, records });
        }
    }
    payloads.leak()
}
