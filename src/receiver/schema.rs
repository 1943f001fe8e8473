//! What the requests of an ingestion config must look like, and whether one does.

use super::{
    error::clipped,
    outline::{ChannelValue, Outline, Timestamp},
};
use crate::format::WireError;
use sift_rs::{common::r#type::v1::ChannelDataType, ingestion_configs::v2::FlowConfig};
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Protobuf's own range: years 0001 to 9999.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// Why a request does not fit its ingestion config.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("{0}")]
    Malformed(#[from] WireError),
    #[error("the ingestion config {0:?} does not exist here")]
    UnknownConfig(String),
    #[error("the run {0:?} does not exist here")]
    UnknownRun(String),
    #[error("flow {0:?} does not exist in its ingestion config")]
    UnknownFlow(String),
    #[error("flow {0:?}: the request has no timestamp")]
    NoTimestamp(String),
    #[error("flow {flow:?}: the timestamp ({seconds} s, {nanos} ns) is out of range")]
    BadTimestamp { flow: String, seconds: i64, nanos: i64 },
    #[error("flow {flow:?}: it has {expected} channels, the request has {found} values")]
    WrongCount { flow: String, expected: usize, found: usize },
    #[error("flow {flow:?}, channel {channel:?}: {problem}")]
    Value { flow: String, channel: String, problem: ValueProblem },
}

/// What is wrong with one value.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub(super) enum ValueProblem {
    #[error("the value is of type {found}, the channel of type {expected}")]
    WrongType { expected: &'static str, found: &'static str },
    #[error("there is no value (a channel without news sends `empty`)")]
    Missing,
    #[error("{0} is not a finite number")]
    NotFinite(f64),
    #[error("the string is not UTF-8")]
    NotUtf8,
    #[error("the bit field has {found} bytes, its elements need {needed}")]
    ShortBitField { needed: usize, found: usize },
}

#[derive(Debug)]
struct ChannelShape {
    name: String,
    data_type: ChannelDataType,
    /// For bit fields: how many bytes their elements need.
    bytes: usize,
}

/// One flow, as far as validation needs it.
#[derive(Debug)]
pub(super) struct FlowShape {
    name: String,
    channels: Vec<ChannelShape>,
}

impl FlowShape {
    pub(super) fn of(flow: &FlowConfig) -> Self {
        let channels = flow.channels.iter().map(|channel| ChannelShape {
            name: channel.name.clone(),
            data_type: channel.data_type(),
            bytes: channel
                .bit_field_elements
                .iter()
                .map(|element| u64::from(element.bit_count) + u64::from(element.index.max(0).cast_unsigned()))
                .max()
                .map_or(0, |bits| usize::try_from(bits.div_ceil(8)).unwrap_or(usize::MAX)),
        });
        Self { name: flow.name.clone(), channels: channels.collect() }
    }

    fn check(&self, outline: &Outline<'_>) -> Result<(), Refusal> {
        if outline.values != self.channels.len() {
            return Err(Refusal::WrongCount {
                flow: clipped(&self.name),
                expected: self.channels.len(),
                found: outline.values,
            });
        }
        for (channel, value) in self.channels.iter().zip(outline.channel_values()) {
            channel.check(value?).map_err(|problem| Refusal::Value {
                flow: clipped(&self.name),
                channel: clipped(&channel.name),
                problem,
            })?;
        }
        Ok(())
    }
}

impl ChannelShape {
    fn check(&self, value: Option<ChannelValue<'_>>) -> Result<(), ValueProblem> {
        use ChannelDataType as Type;
        let value = value.ok_or(ValueProblem::Missing)?;
        match (self.data_type, value) {
            (_, ChannelValue::Empty)
            | (Type::Bool, ChannelValue::Bool)
            | (Type::Int32, ChannelValue::Int32)
            | (Type::Uint32, ChannelValue::Uint32)
            | (Type::Int64, ChannelValue::Int64)
            | (Type::Uint64, ChannelValue::Uint64)
            | (Type::Enum, ChannelValue::Enum)
            | (Type::Bytes, ChannelValue::Bytes) => Ok(()),
            (Type::Double, ChannelValue::Double(number)) => finite(number),
            (Type::Float, ChannelValue::Float(number)) => finite(f64::from(number)),
            (Type::String, ChannelValue::String(bytes)) => match std::str::from_utf8(bytes) {
                Ok(_) => Ok(()),
                Err(_) => Err(ValueProblem::NotUtf8),
            },
            (Type::BitField, ChannelValue::BitField(bytes)) if bytes.len() < self.bytes => {
                Err(ValueProblem::ShortBitField { needed: self.bytes, found: bytes.len() })
            }
            (Type::BitField, ChannelValue::BitField(_)) => Ok(()),
            (expected, found) => {
                Err(ValueProblem::WrongType { expected: name_of_type(expected), found: name_of_value(found) })
            }
        }
    }
}

fn finite(number: f64) -> Result<(), ValueProblem> {
    if number.is_finite() { Ok(()) } else { Err(ValueProblem::NotFinite(number)) }
}

fn name_of_type(data_type: ChannelDataType) -> &'static str {
    match data_type {
        ChannelDataType::Unspecified => "unspecified",
        ChannelDataType::Double => "double",
        ChannelDataType::String => "string",
        ChannelDataType::Enum => "enum",
        ChannelDataType::BitField => "bit field",
        ChannelDataType::Bool => "bool",
        ChannelDataType::Float => "float",
        ChannelDataType::Int32 => "int32",
        ChannelDataType::Uint32 => "uint32",
        ChannelDataType::Int64 => "int64",
        ChannelDataType::Uint64 => "uint64",
        ChannelDataType::Bytes => "bytes",
    }
}

fn name_of_value(value: ChannelValue<'_>) -> &'static str {
    match value {
        ChannelValue::String(_) => "string",
        ChannelValue::Double(_) => "double",
        ChannelValue::Float(_) => "float",
        ChannelValue::Bool => "bool",
        ChannelValue::Int32 => "int32",
        ChannelValue::Uint32 => "uint32",
        ChannelValue::Int64 => "int64",
        ChannelValue::Uint64 => "uint64",
        ChannelValue::BitField(_) => "bit field",
        ChannelValue::Enum => "enum",
        ChannelValue::Empty => "empty",
        ChannelValue::Bytes => "bytes",
    }
}

/// The flows of one ingestion config at one time.
#[derive(Debug)]
pub(super) struct Schema {
    /// Several flows may share a name.
    flows: HashMap<Box<[u8]>, Vec<Arc<FlowShape>>>,
    /// How many flows this schema knows, and how many the config has by now.
    known: usize,
    latest: Arc<AtomicUsize>,
}

impl Schema {
    /// `latest` is where the config's owner counts its flows.
    pub(super) fn new(shapes: &[Arc<FlowShape>], latest: Arc<AtomicUsize>) -> Self {
        let mut flows: HashMap<Box<[u8]>, Vec<_>> = HashMap::with_capacity(shapes.len());
        for shape in shapes {
            let name = shape.name.as_bytes().into();
            flows.entry(name).or_default().push(Arc::clone(shape));
        }
        Self { flows, known: shapes.len(), latest }
    }

    /// How many flows this schema knows.
    pub(super) fn known(&self) -> usize {
        self.known
    }

    /// Whether the config has got flows that this schema doesn't know.
    pub(super) fn is_outdated(&self) -> bool {
        self.latest.load(Ordering::Acquire) > self.known
    }

    /// Whether the request fits one of the flows of its name. If none: why it doesn't fit the
    /// first one that has as many channels as the request has values.
    pub(super) fn check(&self, outline: &Outline<'_>) -> Result<(), Refusal> {
        let flow = || clipped(&String::from_utf8_lossy(outline.flow));
        let Some(candidates) = self.flows.get(outline.flow) else {
            return Err(Refusal::UnknownFlow(flow()));
        };
        let Some(Timestamp { seconds, nanos }) = outline.timestamp else {
            return Err(Refusal::NoTimestamp(flow()));
        };
        if !SECONDS.contains(&seconds) || !(0..1_000_000_000).contains(&nanos) {
            return Err(Refusal::BadTimestamp { flow: flow(), seconds, nanos });
        }
        let mut refusal = None;
        for candidate in candidates {
            match candidate.check(outline) {
                Ok(()) => return Ok(()),
                Err(worse) if matches!(refusal, Some(Refusal::Value { .. })) => drop(worse),
                Err(better) => refusal = Some(better),
            }
        }
        Err(refusal.unwrap_or_else(|| Refusal::UnknownFlow(flow())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;
    use sift_rs::{
        common::r#type::v1::ChannelBitFieldElement,
        ingest::v1::{
            IngestWithConfigDataChannelValue, IngestWithConfigDataStreamRequest,
            ingest_with_config_data_channel_value::Type,
        },
        ingestion_configs::v2::ChannelConfig,
    };

    fn schema(flows: &[(&str, &[ChannelDataType])]) -> Schema {
        let shapes: Vec<_> = flows
            .iter()
            .map(|(name, types)| {
                let channels = types.iter().enumerate().map(|(n, &data_type)| ChannelConfig {
                    name: format!("c{n}"),
                    data_type: data_type.into(),
                    bit_field_elements: vec![ChannelBitFieldElement { name: "e".into(), index: 4, bit_count: 5 }],
                    ..Default::default()
                });
                Arc::new(FlowShape::of(&FlowConfig { name: (*name).into(), channels: channels.collect() }))
            })
            .collect();
        let count = Arc::new(AtomicUsize::new(shapes.len()));
        Schema::new(&shapes, count)
    }

    fn check(schema: &Schema, flow: &str, values: &[Option<Type>]) -> Result<(), String> {
        let bytes = IngestWithConfigDataStreamRequest {
            flow: flow.into(),
            timestamp: Some(pbjson_types::Timestamp::default()),
            channel_values: values
                .iter()
                .map(|value| IngestWithConfigDataChannelValue { r#type: value.clone() })
                .collect(),
            ..Default::default()
        }
        .encode_to_vec();
        let outline = Outline::of(&bytes).unwrap();
        schema.check(&outline).map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn every_type_fits_its_channel_and_no_other_one_and_empty_fits_all() {
        use ChannelDataType as Data;
        let pairs = [
            (Data::Double, Type::Double(0.0)),
            (Data::String, Type::String(String::new())),
            (Data::Enum, Type::Enum(77)),
            (Data::BitField, Type::BitField(vec![1, 2])),
            (Data::Bool, Type::Bool(false)),
            (Data::Float, Type::Float(-0.0)),
            (Data::Int32, Type::Int32(-1)),
            (Data::Uint32, Type::Uint32(u32::MAX)),
            (Data::Int64, Type::Int64(i64::MIN)),
            (Data::Uint64, Type::Uint64(0)),
            (Data::Bytes, Type::Bytes(vec![])),
        ];
        for (data_type, own) in &pairs {
            let schema = schema(&[("f", &[*data_type])]);
            let empty = Type::Empty(pbjson_types::Empty {});
            assert_eq!(check(&schema, "f", &[Some(empty)]), Ok(()));
            for (_, value) in &pairs {
                let fits = check(&schema, "f", &[Some(value.clone())]);
                assert_eq!(fits.is_ok(), value == own, "{data_type:?} {value:?} {fits:?}");
            }
        }
    }

    #[test]
    fn refusals_name_flow_channel_and_problem() {
        use ChannelDataType as Data;
        let schema = schema(&[("f", &[Data::Bool, Data::Double, Data::BitField])]);
        let bool = Some(Type::Bool(true));
        let bits = Some(Type::BitField(vec![0, 0]));
        let cases = [
            (vec![bool.clone()], "flow \"f\": it has 3 channels, the request has 1 values"),
            (
                vec![bool.clone(), Some(Type::Float(1.0)), bits.clone()],
                "flow \"f\", channel \"c1\": the value is of type float, the channel of type double",
            ),
            (
                vec![bool.clone(), Some(Type::Double(f64::NAN)), bits.clone()],
                "flow \"f\", channel \"c1\": NaN is not a finite number",
            ),
            (
                vec![bool.clone(), Some(Type::Double(f64::NEG_INFINITY)), bits.clone()],
                "flow \"f\", channel \"c1\": -inf is not a finite number",
            ),
            (vec![bool.clone(), None, bits], "flow \"f\", channel \"c1\": there is no value"),
            (
                vec![bool, Some(Type::Double(1.0)), Some(Type::BitField(vec![0]))],
                "flow \"f\", channel \"c2\": the bit field has 1 bytes, its elements need 2",
            ),
        ];
        for (values, expected) in cases {
            let refusal = check(&schema, "f", &values).unwrap_err();
            assert!(refusal.starts_with(expected), "{refusal}");
        }
        let refusal = check(&schema, "g", &[]).unwrap_err();
        assert_eq!(refusal, "flow \"g\" does not exist in its ingestion config");
    }

    #[test]
    fn of_flows_that_share_a_name_any_may_fit_and_the_nearest_one_is_named() {
        use ChannelDataType as Data;
        let schema = schema(&[("f", &[Data::Bool]), ("f", &[Data::Int32, Data::Bool])]);
        let (int, bool) = (Some(Type::Int32(1)), Some(Type::Bool(true)));
        assert_eq!(check(&schema, "f", std::slice::from_ref(&bool)), Ok(()));
        assert_eq!(check(&schema, "f", &[int.clone(), bool.clone()]), Ok(()));
        let refusal = check(&schema, "f", &[bool, int]).unwrap_err();
        assert!(refusal.contains("channel \"c0\""), "{refusal}");
    }

    #[test]
    fn timestamps_must_be_there_and_in_range() {
        let schema = schema(&[("f", &[])]);
        let flow = [0x12, 1, b'f'];
        let check = |rest: &[u8]| {
            let bytes = [&flow, rest].concat();
            schema.check(&Outline::of(&bytes).unwrap())
        };
        assert_eq!(check(&[0x1a, 0]), Ok(()));
        assert_eq!(check(&[]), Err(Refusal::NoTimestamp("f".into())));
        let nanos = check(&[0x1a, 6, 0x10, 0x80, 0x94, 0xeb, 0xdc, 0x03]);
        assert!(matches!(nanos, Err(Refusal::BadTimestamp { nanos: 1_000_000_000, .. })));
    }

    #[test]
    fn a_string_must_be_utf8() {
        let schema = schema(&[("f", &[ChannelDataType::String])]);
        let bytes = [0x12, 1, b'f', 0x1a, 0, 0x22, 3, 0x0a, 1, 0xff];
        let refusal = schema.check(&Outline::of(&bytes).unwrap()).unwrap_err();
        assert!(refusal.to_string().ends_with("the string is not UTF-8"));
    }
}
