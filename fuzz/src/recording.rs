//! Recorders, and what they must have recorded: operations in arbitrary order, on a disk that may fail and lose power.

use std::sync::Arc;
use std::time::Duration;

use arbitrary::Arbitrary;
use prost::Message;
use sift_replay::format::Compression;
use sift_replay::record::{
    Channel, DataType, Flow, FlowSchema, OnFull, RecordError, Recorded, RecorderOptions, Schema, SimClock,
    SteppedRecorder, SyncPolicy, Timestamp, Value,
};
use sift_replay::segment::{SimDisk, SimFault};

use crate::request::{ChannelValue, Request, Type};
use crate::segment::SESSION;

/// A recorder's life.
#[derive(Debug, Arbitrary)]
pub struct Life {
    options: Options,
    flows: Vec<Types>,
    faults: Vec<(u8, Option<u8>)>,
    dies_at: Option<u16>,
    operations: Vec<Operation>,
}

#[derive(Debug, Arbitrary)]
struct Options {
    sync: u8,
    on_full: u8,
    level: u8,
    frame_bytes: u16,
    buffers: u8,
    waiting_records: u8,
    unsynced_bytes: u16,
    segment_bytes: u16,
    segment_age_ms: Option<u8>,
}

#[derive(Debug, Arbitrary)]
struct Types(Vec<u8>);

#[derive(Debug, Arbitrary)]
enum Operation {
    Record {
        flow: u8,
        ns: i64,
        values: Vec<u64>,
        how: u8,
    },
    Request {
        flow: u8,
        ns: i64,
        values: Vec<u64>,
        ids: u8,
        more: Option<u8>,
    },
    /// A record that isn't one of its flow.
    Wrong {
        flow: u8,
        value: u64,
    },
    Many {
        flow: u8,
        count: u8,
        value: u64,
    },
    AddFlow(Types),
    Note(u8),
    Rotate,
    Flush,
    Step(u8),
    Pass {
        ms: u16,
    },
    SetClock {
        by: i64,
    },
}

/// What was recorded, and what became of it as far as the recorder has said.
pub struct Told {
    /// The records that were given a seq, encoded by prost as the recorder should have; of ready-made requests, themselves.
    pub records: Vec<Vec<u8>>,
    /// Whether a record has ids of its own.
    pub own_ids: Vec<bool>,
    /// Records that were dropped before they had a seq.
    pub dropped: u64,
    pub notes: Vec<String>,
    /// Records before this one are durable.
    pub durable: u64,
    /// Whether all of it worked, to the end.
    pub whole: bool,
    /// Whether the disk was to fail.
    pub faulty: bool,
    pub flows: Vec<String>,
}

impl Options {
    fn of(&self, disk: &SimDisk) -> RecorderOptions {
        let on_full = [OnFull::Block, OnFull::DropNewest, OnFull::DropOldest][usize::from(self.on_full % 3)];
        let sync = match self.sync % 4 {
            0 if on_full == OnFull::Block => SyncPolicy::EveryRecord,
            1 => SyncPolicy::Bytes(self.sync.into()),
            2 => SyncPolicy::OnRotation,
            _ => SyncPolicy::Interval(Duration::from_millis(u64::from(self.sync) + 1)),
        };
        RecorderOptions {
            sync,
            on_full,
            compression: if self.level % 3 == 0 { Compression::None } else { Compression::Zstd(1) },
            frame_bytes: usize::from(self.frame_bytes % 2048) + 1,
            flush_interval: Duration::from_millis(u64::from(self.level)),
            buffers: usize::from(self.buffers % 8) + 1,
            waiting_records: if self.waiting_records == 0 { u64::MAX } else { self.waiting_records.into() },
            unsynced_bytes: usize::from(self.unsynced_bytes) + 1,
            segment_bytes: u64::from(self.segment_bytes) + 1,
            segment_age: self.segment_age_ms.map(|ms| Duration::from_millis(ms.into())),
            host: "bench".to_owned(),
            storage: Arc::new(disk.clone()),
            ..RecorderOptions::default()
        }
    }
}

fn data_type(number: u8) -> DataType {
    [
        DataType::Double,
        DataType::String,
        DataType::Enum,
        DataType::BitField,
        DataType::Bool,
        DataType::Float,
        DataType::Int32,
        DataType::Uint32,
        DataType::Int64,
        DataType::Uint64,
        DataType::Bytes,
    ][usize::from(number % 11)]
}

impl Types {
    fn flow(&self, number: usize) -> FlowSchema {
        let channel = |(at, number): (usize, &u8)| {
            let channel = Channel::new(format!("channel {at}"), data_type(*number));
            match data_type(*number) {
                DataType::Enum => channel.enum_value(0, "zero"),
                DataType::BitField => channel.bits("bit", 0, 8),
                _ => channel,
            }
        };
        let flow = FlowSchema::new(format!("flow {number}"));
        self.0.iter().take(6).enumerate().map(channel).fold(flow, FlowSchema::channel)
    }
}

/// A value of a type, made of a number; sometimes none. And as prost has it.
fn value<'a>(data_type: DataType, seed: u64, text: &'a str) -> (Value<'a>, Type) {
    let short = &text[..(seed % (text.len() as u64 + 1)) as usize];
    if seed % 11 == 10 {
        return (Value::Empty, Type::Empty(Default::default()));
    }
    match data_type {
        DataType::Double => (Value::Double(f64::from_bits(seed)), Type::Double(f64::from_bits(seed))),
        DataType::String => (Value::String(short), Type::String(short.to_owned())),
        DataType::Enum => (Value::Enum(seed as u32), Type::Enum(seed as u32)),
        DataType::BitField => (Value::BitField(short.as_bytes()), Type::BitField(short.as_bytes().to_vec())),
        DataType::Bool => (Value::Bool(seed % 2 == 1), Type::Bool(seed % 2 == 1)),
        DataType::Float => (Value::Float(f32::from_bits(seed as u32)), Type::Float(f32::from_bits(seed as u32))),
        DataType::Int32 => (Value::Int32(seed as i32), Type::Int32(seed as i32)),
        DataType::Uint32 => (Value::Uint32(seed as u32), Type::Uint32(seed as u32)),
        DataType::Int64 => (Value::Int64(seed as i64), Type::Int64(seed as i64)),
        DataType::Uint64 => (Value::Uint64(seed), Type::Uint64(seed)),
        DataType::Bytes => (Value::Bytes(short.as_bytes()), Type::Bytes(short.as_bytes().to_vec())),
    }
}

const TEXT: &str = "what stands in texts, over and over, as telemetry has it: over and over, over and over, and out";

/// The values of a flow's record, and the request that they make.
fn request<'a>(flow: &Flow, ns: i64, seeds: &[u64]) -> (Vec<Value<'a>>, Request) {
    let seeds = seeds.iter().copied().chain(std::iter::repeat(3));
    let (mut values, mut channel_values) = (Vec::new(), Vec::new());
    for (at, seed) in (0..flow.channels().len()).zip(seeds) {
        let (value, of) = value(flow.channel_type(at).expect("a channel has a type"), seed, TEXT);
        values.push(value);
        channel_values.push(ChannelValue { value: Some(of) });
    }
    let mut request = Request { flow: flow.name().to_owned(), channel_values, ..Request::default() };
    let stamp = request.timestamp.get_or_insert_default();
    (stamp.seconds, stamp.nanos) = (ns.div_euclid(1_000_000_000), ns.rem_euclid(1_000_000_000) as i32);
    (values, request)
}

struct Live<'a> {
    recorder: SteppedRecorder,
    clock: &'a SimClock,
    flows: Vec<Flow>,
    told: Told,
    every_record: bool,
}

impl Life {
    /// Lives it; `None` if it couldn't even begin. With `finish`, to its end.
    pub fn live(&self, disk: &SimDisk, finish: bool) -> Option<Told> {
        for (number, short) in &self.faults {
            let fault = short.map_or(SimFault::Refused, |bytes| SimFault::Short(bytes.into()));
            disk.fail_at(usize::from(*number) + 3, fault);
        }
        if let Some(number) = self.dies_at {
            disk.die_at(number.into());
        }
        let faulty = !self.faults.is_empty() || self.dies_at.is_some();
        let flows: Vec<FlowSchema> = self.flows.iter().take(4).enumerate().map(|(i, types)| types.flow(i)).collect();
        let names: Vec<String> = flows.iter().map(|flow| flow.name().to_owned()).collect();
        let schema = flows.into_iter().fold(Schema::new("rover", "rover-v1"), Schema::flow);
        let clock = SimClock::at(1_700_000_000_000_000_000);
        let options = self.options.of(disk);
        let every_record = options.sync == SyncPolicy::EveryRecord;
        let recorder = match SteppedRecorder::create("/root", &schema, options, SESSION, &clock) {
            Ok(recorder) => recorder,
            Err(RecordError::Segment(_)) if faulty => return None,
            Err(RecordError::Schema(_)) => return None,
            Err(error) => panic!("{error}"),
        };
        let flows = names.iter().map(|name| recorder.recorder().flow(name).expect("a flow of the schema")).collect();
        let told = Told {
            records: Vec::new(),
            own_ids: Vec::new(),
            dropped: 0,
            notes: Vec::new(),
            durable: 0,
            whole: true,
            faulty,
            flows: names,
        };
        let mut live = Live { recorder, clock: &clock, flows, told, every_record };
        for operation in &self.operations {
            live.operate(operation);
            let durable = live.recorder.recorder().durable_seq();
            assert!(durable >= live.told.durable, "what is durable stays so");
            assert!(durable <= live.told.records.len() as u64, "more is durable than was recorded");
            live.told.durable = durable;
        }
        if finish {
            match live.recorder.finish() {
                Ok(stats) => {
                    assert_eq!(stats.records, live.told.records.len() as u64);
                    live.told.durable = stats.durable_seq;
                    assert_eq!(stats.durable_seq, stats.records, "what is finished is durable");
                    live.told.dropped = stats.dropped;
                }
                Err(error) => live.failed(&error),
            }
        }
        live.told.durable = live.told.durable.max(live.recorder.recorder().durable_seq());
        Some(live.told)
    }
}

impl Live<'_> {
    /// Something didn't work: that must be the disk's fault.
    fn failed(&mut self, error: &RecordError) {
        assert!(self.told.faulty, "{error}");
        assert!(
            matches!(error, RecordError::Failed { .. } | RecordError::Finished | RecordError::Segment(_)),
            "{error}"
        );
        self.told.whole = false;
    }

    fn recorded(&mut self, result: Result<Recorded, RecordError>, record: impl FnOnce() -> Vec<u8>, own_ids: bool) {
        match result {
            Ok(Recorded::Seq(seq)) => {
                assert_eq!(seq, self.told.records.len() as u64, "seqs have no gaps");
                self.told.records.push(record());
                self.told.own_ids.push(own_ids);
            }
            Ok(Recorded::Dropped) => self.told.dropped += 1,
            Err(RecordError::Full) => {}
            Err(error) => self.failed(&error),
        }
    }

    fn flow(&self, number: u8) -> Option<Flow> {
        self.flows.get(usize::from(number) % self.flows.len().max(1)).cloned()
    }

    fn record(&mut self, flow: &Flow, ns: i64, seeds: &[u64], how: u8) {
        let (values, request) = request(flow, ns, seeds);
        let (recorder, time) = (self.recorder.recorder(), Timestamp::from_unix_ns(ns));
        let result = match how % 3 {
            0 if !self.every_record => recorder.try_record(flow, time, &values),
            _ => recorder.offer(flow, time, &values),
        };
        self.recorded(result, || request.encode_to_vec(), false);
    }

    fn operate(&mut self, operation: &Operation) {
        match operation {
            Operation::Record { flow, ns, values, how } => {
                if let Some(flow) = self.flow(*flow) {
                    self.record(&flow, *ns, values, *how);
                }
            }
            Operation::Many { flow, count, value } => {
                if let Some(flow) = self.flow(*flow) {
                    for i in 0..i64::from(*count) {
                        self.record(&flow, i * 1000, &[*value], 1);
                    }
                }
            }
            Operation::Request { flow, ns, values, ids, more } => {
                let Some(flow) = self.flow(*flow) else { return };
                let (_, mut request) = request(&flow, *ns, values);
                let id = |bit: u8| if ids & bit == 0 { String::new() } else { "an id".to_owned() };
                (request.ingestion_config_id, request.run_id, request.organization_id) = (id(1), id(2), id(4));
                let mut bytes = request.encode_to_vec();
                // A field of a later version.
                bytes.extend(more.iter().flat_map(|more| [0xf8, 0x07, more % 128]));
                let result = self.recorder.recorder().offer_request(&bytes);
                self.recorded(result, || bytes, ids & 7 != 0);
            }
            Operation::Wrong { flow, value } => {
                let Some(flow) = self.flow(*flow) else { return };
                let values = vec![Value::Uint64(*value); flow.channels().len() + 1];
                let result = self.recorder.recorder().offer(&flow, Timestamp::from_unix_ns(0), &values);
                match result {
                    Err(RecordError::ValueCount { .. } | RecordError::Full) => {}
                    Ok(Recorded::Dropped) => self.told.dropped += 1,
                    Ok(recorded) => panic!("{recorded:?}"),
                    Err(error) => self.failed(&error),
                }
            }
            other => self.work(other),
        }
    }

    fn work(&mut self, operation: &Operation) {
        // So that nothing has to wait.
        if matches!(operation, Operation::AddFlow(_) | Operation::Note(_) | Operation::Rotate) {
            self.recorder.settle();
        }
        let recorder = self.recorder.recorder().clone();
        let result = match operation {
            Operation::AddFlow(types) => {
                let number = self.flows.len();
                match recorder.add_flow(types.flow(number)) {
                    Ok(flow) => {
                        self.told.flows.push(flow.name().to_owned());
                        self.flows.push(flow);
                        Ok(())
                    }
                    Err(RecordError::Schema(_)) => Ok(()),
                    Err(error) => Err(error),
                }
            }
            Operation::Note(number) => {
                let note = format!("note {number} {}", self.told.notes.len());
                recorder.note(note.clone()).map(|()| self.told.notes.push(note))
            }
            Operation::Rotate => recorder.rotate(),
            Operation::Flush => self.recorder.flush().map(|()| {
                let durable = recorder.durable_seq();
                assert_eq!(durable, self.told.records.len() as u64, "what is flushed is durable");
            }),
            Operation::Step(steps) => {
                for _ in 0..*steps {
                    self.recorder.step();
                }
                Ok(())
            }
            Operation::Pass { ms } => {
                self.clock.advance(Duration::from_millis((*ms).into()));
                Ok(())
            }
            Operation::SetClock { by } => {
                self.clock.set_forward(*by / 4);
                Ok(())
            }
            _ => Ok(()),
        };
        if let Err(error) = result {
            self.failed(&error);
        }
    }
}
