//! Flows as the hot path needs them: names and types looked up once, the unchanging bytes encoded once.

use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;

use super::data_type::DataType;
use super::error::RecordError;
use super::frame_builder::{FrameBuilder, MAX_RECORDED_BYTES};
use super::given::Given;
use super::request::request_value;
use super::value::{DOUBLE, Timestamp, Value, put_double};
use crate::format::{Fields, FlowConfig, RECORD_PREFIX_BYTES, WireValue, field, put_bytes_field};

/// A flow of one [`Recorder`](super::Recorder) or [`Encoder`](super::Encoder). Cheap to clone; ask
/// [`Recorder::flow`](super::Recorder::flow) for it once, not per record.
#[derive(Debug, Clone)]
pub struct Flow(Arc<FlowInner>);

/// Bytes in which what begins a record of most flows fits.
const HEAD_ROOM: usize = 48;

/// Fewest channels that are worth it.
const MIN_DOUBLES: usize = 4;

/// Most channels that are encoded [at once](put_doubles): a record of them is far from being too large.
const MAX_DOUBLES: usize = 64 << 10;

#[derive(Debug)]
struct FlowInner {
    session: Uuid,
    index: usize,
    name: String,
    config: FlowConfig,
    channels: Vec<String>,
    /// The channels' places by their names.
    places: HashMap<String, usize>,
    types: Vec<DataType>,
    /// Room for the record's length and the request's flow field, in a place of [`HEAD_ROOM`] bytes at least: a copy of that
    /// size is a few instructions.
    head: Vec<u8>,
    head_len: usize,
    /// If all channels are doubles, the values' bytes but for the doubles themselves; otherwise nothing.
    doubles: Vec<u8>,
}

impl Flow {
    pub(super) fn new(session: Uuid, index: usize, config: &FlowConfig) -> Self {
        let mut head = vec![0; RECORD_PREFIX_BYTES];
        put_bytes_field(&mut head, field::FLOW, config.name.as_bytes());
        let head_len = head.len();
        head.resize(head_len.max(HEAD_ROOM), 0);
        // The schema was checked: each type is known.
        let types: Vec<_> = config.channels.iter().filter_map(|c| DataType::from_number(c.data_type)).collect();
        let all_doubles = types.iter().all(|data_type| *data_type == DataType::Double);
        let doubles = if all_doubles && (MIN_DOUBLES..=MAX_DOUBLES).contains(&types.len()) {
            DOUBLE.repeat(types.len())
        } else {
            Vec::new()
        };
        Self(Arc::new(FlowInner {
            session,
            index,
            name: config.name.clone(),
            config: config.clone(),
            channels: config.channels.iter().map(|channel| channel.name.clone()).collect(),
            places: config.channels.iter().enumerate().map(|(at, channel)| (channel.name.clone(), at)).collect(),
            types,
            head,
            head_len,
            doubles,
        }))
    }

    /// The flow's name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its channels' names, in the order in which records give their values.
    pub fn channels(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.channels.iter().map(String::as_str)
    }

    /// Its channels' names, in the order in which records give their values.
    pub fn channel_names(&self) -> &[String] {
        &self.0.channels
    }

    /// The place of a channel's value among a record's.
    pub fn channel_index(&self, name: &str) -> Option<usize> {
        self.0.places.get(name).copied()
    }

    /// The type of the channel at this place.
    pub fn channel_type(&self, index: usize) -> Option<DataType> {
        self.0.types.get(index).copied()
    }

    /// Whether it was made of this very config.
    pub(super) fn is(&self, config: &FlowConfig) -> bool {
        self.0.config == *config
    }

    pub(super) fn index(&self) -> usize {
        self.0.index
    }

    #[inline]
    pub(super) fn belongs_to(&self, session: Uuid) -> Result<(), RecordError> {
        if self.0.session == session { Ok(()) } else { Err(RecordError::ForeignFlow { flow: self.0.name.clone() }) }
    }

    /// Appends one request to `out`; returns how many of its values are NaN or infinite. An error may leave a part of
    /// the request behind.
    #[inline]
    pub(super) fn encode(&self, time: Timestamp, values: &[Value<'_>], out: &mut Vec<u8>) -> Result<u64, RecordError> {
        let start = out.len();
        let name = self.0.head.get(RECORD_PREFIX_BYTES..).unwrap_or_default();
        put_start::<{ HEAD_ROOM - RECORD_PREFIX_BYTES }>(name, self.0.head_len - RECORD_PREFIX_BYTES, out);
        self.put_rest(start, time, values, out)
    }

    /// Appends what stands behind the name to a request that began at `start`.
    #[inline(always)]
    fn put_rest(
        &self,
        start: usize,
        time: Timestamp,
        values: &[Value<'_>],
        out: &mut Vec<u8>,
    ) -> Result<u64, RecordError> {
        let flow = &*self.0;
        if values.len() != flow.types.len() {
            let (expected, given) = (flow.types.len(), values.len());
            return Err(RecordError::ValueCount { flow: flow.name.clone(), expected, given });
        }
        time.put(out);
        if let ([DataType::Double], [Value::Double(value)]) = (&flow.types[..], values) {
            put_double(*value, out);
            return Ok(u64::from(!value.is_finite()));
        }
        if let Some(non_finite) = put_doubles(&flow.doubles, values, out) {
            return Ok(non_finite);
        }
        self.put_values(start, values, out)
    }

    /// Appends values of any types.
    #[inline(never)]
    fn put_values(&self, start: usize, values: &[Value<'_>], out: &mut Vec<u8>) -> Result<u64, RecordError> {
        let flow = &*self.0;
        let mut non_finite = 0;
        for (at, (value, data_type)) in values.iter().zip(&flow.types).enumerate() {
            if !value.fits(*data_type) {
                return Err(self.wrong_type(at, *data_type, value));
            }
            if out.len() - start + value.variable_len() > MAX_RECORDED_BYTES {
                return Err(self.too_large());
            }
            non_finite += u64::from(value.is_non_finite());
            value.put(out);
        }
        if out.len() - start > MAX_RECORDED_BYTES {
            return Err(self.too_large());
        }
        Ok(non_finite)
    }

    /// Encodes one record into the frame; on an error the frame is as it was.
    #[inline(always)]
    pub(super) fn put(
        &self,
        frame: &mut FrameBuilder,
        time: Timestamp,
        values: &[Value<'_>],
    ) -> Result<(), RecordError> {
        let flow = &*self.0;
        let mut record = frame.begin(|out| put_start::<HEAD_ROOM>(&flow.head, flow.head_len, out));
        let start = record.start();
        let non_finite = self.put_rest(start, time, values, record.bytes())?;
        record.commit(flow.index, Some(time.unix_ns()), true, non_finite);
        Ok(())
    }

    #[cold]
    fn wrong_type(&self, at: usize, expected: DataType, value: &Value<'_>) -> RecordError {
        let channel = self.0.channels.get(at).cloned().unwrap_or_default();
        RecordError::ValueType { flow: self.0.name.clone(), channel, expected, given: value.type_name() }
    }

    #[cold]
    fn too_large(&self) -> RecordError {
        RecordError::TooLarge { flow: self.0.name.clone(), most: MAX_RECORDED_BYTES }
    }

    /// Puts values given by their channels' names into the channels' order, for
    /// [`Recorder::record`](super::Recorder::record); channels not named are [`Value::Empty`]. What `out` held is gone:
    /// only its room is used again. Quickest when the names come in the channels' order.
    ///
    /// # Errors
    /// [`RecordError::UnknownChannel`], [`RecordError::RepeatedChannel`]: `out` is empty then.
    pub fn arrange<'n, 'a>(
        &self,
        named: impl IntoIterator<Item = (&'n str, Value<'a>)>,
        out: &mut Vec<Value<'a>>,
    ) -> Result<(), RecordError> {
        let flow = &*self.0;
        out.clear();
        out.resize(flow.channels.len(), Value::Empty);
        let mut given = Given::new(flow.channels.len());
        let mut next = 0;
        for (name, value) in named {
            let expected = flow.channels.get(next).is_some_and(|channel| channel == name);
            let at = if expected { Some(next) } else { self.channel_index(name) };
            let Some((at, place)) = at.and_then(|at| Some((at, out.get_mut(at)?))) else {
                out.clear();
                return Err(self.unknown_channel(name));
            };
            if !given.set(at) {
                out.clear();
                return Err(RecordError::RepeatedChannel { flow: flow.name.clone(), channel: name.to_owned() });
            }
            *place = value;
            next = at + 1;
        }
        Ok(())
    }

    #[cold]
    fn unknown_channel(&self, name: &str) -> RecordError {
        let known = self.0.channels.join(", ");
        RecordError::UnknownChannel { flow: self.0.name.clone(), channel: name.to_owned(), known }
    }

    /// Checks a ready-made request's values against the channels; returns how many are NaN or infinite.
    pub(super) fn check_request(&self, request: &[u8]) -> Result<u64, RecordError> {
        let (mut given, mut non_finite) = (0, 0);
        for next in Fields::new(request) {
            let next = next?;
            let (field::CHANNEL_VALUES, WireValue::Bytes(message)) = (next.number, next.value) else { continue };
            let value = request_value(message)?;
            if let Some(expected) = self.0.types.get(given)
                && !value.fits(*expected)
            {
                return Err(self.wrong_type(given, *expected, &value));
            }
            non_finite += u64::from(value.is_non_finite());
            given += 1;
        }
        if given != self.0.types.len() {
            return Err(RecordError::ValueCount { flow: self.0.name.clone(), expected: self.0.types.len(), given });
        }
        Ok(non_finite)
    }
}

/// Appends the first `len` of these bytes, and `ROOM` at first, if there are as many: that takes a few instructions.
#[inline(always)]
fn put_start<const ROOM: usize>(bytes: &[u8], len: usize, out: &mut Vec<u8>) {
    match bytes.first_chunk::<ROOM>() {
        Some(room) if len <= ROOM => {
            let end = out.len() + len;
            out.extend_from_slice(room);
            out.truncate(end);
        }
        _ => out.extend_from_slice(bytes.get(..len).unwrap_or(bytes)),
    }
}

/// Appends doubles by their `template`: all lengths and tags at once, and then the values into their places. Returns how many
/// are NaN or infinite; `None`, with `out` as it was, if that is no way to put these values.
#[inline]
fn put_doubles(template: &[u8], values: &[Value<'_>], out: &mut Vec<u8>) -> Option<u64> {
    if template.is_empty() {
        return None;
    }
    let start = out.len();
    out.extend_from_slice(template);
    let mut non_finite = 0;
    for (place, value) in out.get_mut(start..)?.chunks_exact_mut(DOUBLE.len()).zip(values) {
        let (Value::Double(value), Some(place)) = (value, place.last_chunk_mut()) else {
            out.truncate(start);
            return None;
        };
        *place = value.to_le_bytes();
        non_finite += u64::from(!value.is_finite());
    }
    Some(non_finite)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;
    use sift_rs::ingest::v1::ingest_with_config_data_channel_value::Type;
    use sift_rs::ingest::v1::{IngestWithConfigDataChannelValue, IngestWithConfigDataStreamRequest as Request};

    use super::super::encoder::Encoder;
    use super::super::schema::{Channel, FlowSchema, Schema};
    use super::*;

    fn encoder(flow: &str, types: &[DataType]) -> (Encoder, Flow) {
        let channels =
            types.iter().enumerate().map(|(at, data_type)| Channel::new(format!("channel {at}"), *data_type));
        let schema = Schema::new("asset", "key").flow(channels.fold(FlowSchema::new(flow), FlowSchema::channel));
        let encoder = Encoder::new(&schema).unwrap();
        let flow = encoder.flow(flow).unwrap();
        (encoder, flow)
    }

    fn encoded(flow: &str, ns: i64, values: &[Option<f64>]) -> Vec<u8> {
        let of = |value: &Option<f64>| match value {
            Some(value) => Type::Double(*value),
            None => Type::Empty(pbjson_types::Empty {}),
        };
        let value = |value| IngestWithConfigDataChannelValue { r#type: Some(of(value)) };
        let (seconds, nanos) = (ns.div_euclid(1_000_000_000), ns.rem_euclid(1_000_000_000) as i32);
        Request {
            flow: flow.to_owned(),
            timestamp: Some(pbjson_types::Timestamp { seconds, nanos }),
            channel_values: values.iter().map(value).collect(),
            ..Request::default()
        }
        .encode_to_vec()
    }

    fn time() -> impl Strategy<Value = i64> {
        prop_oneof![
            any::<i64>(),
            Just(0),
            Just(1),
            Just(-1),
            Just(i64::MIN),
            Just(i64::MAX),
            (-10_i64..10).prop_map(|seconds| seconds * 1_000_000_000),
            1_500_000_000_000_000_000_i64..2_500_000_000_000_000_000,
        ]
    }

    proptest! {
        #[test]
        fn doubles_are_encoded_as_prost_has_it_however_many(
            name in "[a-z]{1,70}",
            ns in time(),
            values in prop::collection::vec(prop::option::weighted(0.97, any::<f64>()), 1..40),
        ) {
            let (encoder, flow) = encoder(&name, &vec![DataType::Double; values.len()]);
            let given: Vec<_> = values.iter().map(|value| value.map_or(super::Value::Empty, super::Value::Double)).collect();
            let mut out = vec![7; 3];
            encoder.encode(&flow, Timestamp::from_unix_ns(ns), &given, &mut out).unwrap();
            prop_assert_eq!(&out[3..], &encoded(&name, ns, &values)[..]);
            let non_finite = values.iter().flatten().filter(|value| !value.is_finite()).count() as u64;
            prop_assert_eq!(flow.encode(Timestamp::from_unix_ns(ns), &given, &mut out).unwrap(), non_finite);
        }
    }

    #[test]
    fn a_value_of_another_type_leaves_nothing_behind_wherever_it_stands() {
        for (count, at) in [(3, 2), (4, 0), (4, 3), (20, 19)] {
            let (encoder, flow) = encoder("flow", &vec![DataType::Double; count]);
            let mut values = vec![super::Value::Double(1.0); count];
            values[at] = super::Value::Float(1.0);
            let mut out = vec![7; 3];
            let wrong = encoder.encode(&flow, Timestamp::from_unix_ns(1), &values, &mut out).unwrap_err();
            let channel_at = format!("channel {at}");
            assert!(
                matches!(&wrong, RecordError::ValueType { channel, .. } if *channel == channel_at),
                "{count} {at}: {wrong}"
            );
            assert_eq!(out, [7; 3]);
        }
    }
}
