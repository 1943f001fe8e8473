//! What tests record, and what they read back.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use prost::Message;
use sift_replay::format::{
    AddedFlows, FlowConfig, Frame, IngestionConfig, Kind, Mark, PayloadDecoder, Records, Scanner, Seal, SegmentHeader,
    Step, TimeRange,
};
use sift_replay::record::{Channel, DataType, FlowSchema, Schema, Timestamp, Value};
use sift_replay::segment::{Event, SegmentName, SegmentReader};
use sift_rs::ingest::v1::ingest_with_config_data_channel_value::Type;
use sift_rs::ingest::v1::{IngestWithConfigDataChannelValue, IngestWithConfigDataStreamRequest};

/// A value that owns its text or bytes, to be kept until it is compared.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Owned {
    Double(f64),
    Text(String),
    Enum(u32),
    BitField(Vec<u8>),
    Bool(bool),
    Float(f32),
    Int32(i32),
    Uint32(u32),
    Int64(i64),
    Uint64(u64),
    Bytes(Vec<u8>),
    Empty,
}

impl Owned {
    pub(crate) fn value(&self) -> Value<'_> {
        match self {
            Self::Double(v) => Value::Double(*v),
            Self::Text(v) => Value::String(v),
            Self::Enum(v) => Value::Enum(*v),
            Self::BitField(v) => Value::BitField(v),
            Self::Bool(v) => Value::Bool(*v),
            Self::Float(v) => Value::Float(*v),
            Self::Int32(v) => Value::Int32(*v),
            Self::Uint32(v) => Value::Uint32(*v),
            Self::Int64(v) => Value::Int64(*v),
            Self::Uint64(v) => Value::Uint64(*v),
            Self::Bytes(v) => Value::Bytes(v),
            Self::Empty => Value::Empty,
        }
    }

    fn sift(&self) -> Type {
        match self.clone() {
            Self::Double(v) => Type::Double(v),
            Self::Text(v) => Type::String(v),
            Self::Enum(v) => Type::Enum(v),
            Self::BitField(v) => Type::BitField(v),
            Self::Bool(v) => Type::Bool(v),
            Self::Float(v) => Type::Float(v),
            Self::Int32(v) => Type::Int32(v),
            Self::Uint32(v) => Type::Uint32(v),
            Self::Int64(v) => Type::Int64(v),
            Self::Uint64(v) => Type::Uint64(v),
            Self::Bytes(v) => Type::Bytes(v),
            Self::Empty => Type::Empty(pbjson_types::Empty {}),
        }
    }

    pub(crate) fn is_non_finite(&self) -> bool {
        matches!(self, Self::Double(v) if !v.is_finite()) || matches!(self, Self::Float(v) if !v.is_finite())
    }
}

/// Sift's own message for a record.
pub(crate) fn request(flow: &str, time: i64, values: &[Owned]) -> IngestWithConfigDataStreamRequest {
    IngestWithConfigDataStreamRequest {
        flow: flow.to_owned(),
        timestamp: Some(pbjson_types::Timestamp {
            seconds: time.div_euclid(1_000_000_000),
            nanos: time.rem_euclid(1_000_000_000) as i32,
        }),
        channel_values: values
            .iter()
            .map(|value| IngestWithConfigDataChannelValue { r#type: Some(value.sift()) })
            .collect(),
        ..Default::default()
    }
}

/// What a record must be, byte for byte: as prost encodes Sift's own message.
pub(crate) fn encoded(flow: &str, time: i64, values: &[Owned]) -> Vec<u8> {
    request(flow, time, values).encode_to_vec()
}

/// A flow with these channel types; its channels are named `c0`, `c1`, ….
pub(crate) fn flow_of(name: &str, types: &[DataType]) -> FlowSchema {
    let channels = types.iter().enumerate();
    channels.fold(FlowSchema::new(name), |flow, (i, t)| flow.channel(Channel::new(format!("c{i}"), *t)))
}

/// One flow, `f`, of one `uint64` channel.
pub(crate) fn counter_schema() -> Schema {
    Schema::new("rover", "rover-v1").flow(flow_of("f", &[DataType::Uint64]))
}

/// The record of [`counter_schema`] with this number.
pub(crate) fn counted(number: u64) -> Vec<u8> {
    encoded("f", number as i64, &[Owned::Uint64(number)])
}

/// Its time.
pub(crate) fn at(number: u64) -> Timestamp {
    Timestamp::from_unix_ns(number as i64)
}

/// What was read of one segment.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    pub(crate) name: SegmentName,
    pub(crate) header: Option<SegmentHeader>,
    /// Every record with its seq.
    pub(crate) records: Vec<(u64, Vec<u8>)>,
    /// Offset, first seq, count, times and the BARE flag of each DATA frame.
    pub(crate) frames: Vec<(u64, u64, u32, TimeRange, bool)>,
    pub(crate) marks: Vec<Mark>,
    pub(crate) schemas: Vec<AddedFlows>,
    pub(crate) seal: Option<Seal>,
    /// Whether the trailer finds it without scanning.
    pub(crate) found_by_trailer: bool,
    /// Damage and torn ends, as text.
    pub(crate) trouble: Vec<String>,
}

impl Segment {
    pub(crate) fn read(path: &Path) -> Self {
        let mut reader = SegmentReader::open(path).unwrap();
        let mut segment = Self {
            path: path.to_owned(),
            name: SegmentName::of_path(path).unwrap(),
            header: None,
            records: Vec::new(),
            frames: Vec::new(),
            marks: Vec::new(),
            schemas: Vec::new(),
            seal: None,
            found_by_trailer: reader.seal().is_some(),
            trouble: Vec::new(),
        };
        while let Some(event) = reader.next_event().unwrap() {
            match event {
                Event::Header(header) => segment.header = Some(header),
                Event::Records(batch) => {
                    segment.frames.push((batch.offset, batch.first_seq, batch.count, batch.times, batch.bare));
                    segment.records.extend((batch.first_seq..).zip(batch.records().map(<[u8]>::to_vec)));
                }
                Event::Schema(added) => segment.schemas.push(added),
                Event::Mark(message) => segment.marks.extend(message.mark),
                Event::Seal(seal) => segment.seal = Some(*seal),
                other => segment.trouble.push(format!("{other:?}")),
            }
        }
        assert!(reader.seal().is_none_or(|seal| Some(seal) == segment.seal.as_ref()), "the trailer points elsewhere");
        segment
    }

    pub(crate) fn notes(&self) -> Vec<&str> {
        self.marks
            .iter()
            .filter_map(|mark| if let Mark::Note(note) = mark { Some(note.as_str()) } else { None })
            .collect()
    }

    /// That a sealed segment's SEAL says what the frames say.
    pub(crate) fn check_seal(&self) {
        let seal = self.seal.as_ref().unwrap_or_else(|| panic!("{} isn't sealed", self.path.display()));
        assert!(!self.name.open, "{}", self.path.display());
        assert!(self.found_by_trailer, "the trailer doesn't find the SEAL");
        assert!(self.trouble.is_empty(), "{:?}", self.trouble);
        let header = self.header.as_ref().unwrap();
        assert_eq!(seal.header.as_ref().unwrap().session_id, header.session_id);
        assert_eq!(seal.records, self.records.len() as u64);
        assert_eq!(seal.end_seq, self.records.last().map_or(header.first_seq, |(seq, _)| seq + 1));
        let mut flows: BTreeMap<String, (u64, TimeRange)> = BTreeMap::new();
        let (mut times, mut non_finite) = (TimeRange::EMPTY, 0);
        for (_, record) in &self.records {
            let request = IngestWithConfigDataStreamRequest::decode(&record[..]).unwrap();
            let stamp = request.timestamp.unwrap();
            let time = i64::try_from(i128::from(stamp.seconds) * 1_000_000_000 + i128::from(stamp.nanos)).unwrap();
            times.include(time);
            let flow = flows.entry(request.flow).or_insert((0, TimeRange::EMPTY));
            flow.0 += 1;
            flow.1.include(time);
            non_finite += request
                .channel_values
                .iter()
                .filter(|value| match value.r#type {
                    Some(Type::Double(v)) => !v.is_finite(),
                    Some(Type::Float(v)) => !v.is_finite(),
                    _ => false,
                })
                .count() as u64;
        }
        assert_eq!(TimeRange::from_ends(seal.least, seal.greatest), times);
        assert_eq!(seal.non_finite, non_finite);
        let sealed: BTreeMap<_, _> = seal
            .flows
            .iter()
            .map(|flow| (flow.name.clone(), (flow.records, TimeRange::from_ends(flow.least, flow.greatest))))
            .collect();
        assert_eq!(sealed, flows);
        // As long as it isn't halved, the index has one entry per frame.
        let index: Vec<_> = seal
            .index
            .iter()
            .map(|e| (e.offset, e.first_seq, e.count as u32, TimeRange::from_ends(e.least, e.greatest)))
            .collect();
        let frames: Vec<_> =
            self.frames.iter().map(|&(offset, seq, count, times, _)| (offset, seq, count, times)).collect();
        assert_eq!(index, frames);
    }

    /// The flows that HEADER and SCHEMA frames give, one after the other, as a replayer learns them.
    pub(crate) fn flows(&self) -> Vec<FlowConfig> {
        let header = self.header.as_ref().unwrap();
        let mut flows = IngestionConfig::decode(&header.ingestion_config[..]).unwrap().flows;
        flows.extend(self.schemas.iter().flat_map(|added| added.flows.clone()));
        flows
    }
}

/// All segments in `dir`, in order.
pub(crate) fn read_dir(dir: &Path) -> Vec<Segment> {
    let mut names: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| SegmentName::of_path(path).is_some())
        .collect();
    names.sort_by_key(|path| SegmentName::of_path(path).unwrap());
    names.iter().map(|path| Segment::read(path)).collect()
}

/// The records of a session by seq: whatever stands in several segments must be the same in all of them.
pub(crate) fn merged(segments: &[Segment]) -> BTreeMap<u64, Vec<u8>> {
    let mut records = BTreeMap::new();
    for (seq, record) in segments.iter().flat_map(|segment| &segment.records) {
        let first = records.entry(*seq).or_insert_with(|| record.clone());
        assert_eq!(first, record, "seq {seq} stands twice with different records");
    }
    records
}

/// The records in a segment's bytes, without a file.
pub(crate) fn records_in(bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let (mut scanner, mut decoder, mut found) = (Scanner::new(None), PayloadDecoder::default(), Vec::new());
    loop {
        let from = usize::try_from(scanner.position()).unwrap();
        match scanner.step(&bytes[from.min(bytes.len())..], true) {
            Step::Frame(frame) if frame.header.kind == Kind::Data => {
                let Frame { header, .. } = frame;
                let payload = decoder.decode(&frame).unwrap();
                let records = Records::parse(payload, header.count).unwrap();
                found.extend((header.first_seq..).zip(records.map(<[u8]>::to_vec)));
            }
            Step::End => return found,
            Step::NeedMore(_) => panic!("all bytes are there"),
            _ => {}
        }
    }
}
