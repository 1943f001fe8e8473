//! Flows as the hot path needs them: names and types looked up once, the unchanging bytes encoded once.

use std::collections::HashMap;
use std::sync::Arc;

use prost::Message;
use uuid::Uuid;

use super::data_type::DataType;
use super::error::RecordError;
use super::frame_builder::{FrameBuilder, MAX_RECORDED_BYTES};
use super::request::{check_fields, request_value};
use super::value::{Timestamp, Value};
use crate::format::{Fields, FlowConfig, RecordInfo, WireValue, field, put_bytes_field};

/// A flow of one recorder. Cheap to clone; ask [`Recorder::flow`](super::Recorder::flow) for it once, not per record.
#[derive(Debug, Clone)]
pub struct Flow(Arc<FlowInner>);

#[derive(Debug)]
struct FlowInner {
    session: Uuid,
    index: usize,
    name: String,
    config: FlowConfig,
    channels: Vec<String>,
    types: Vec<DataType>,
    /// The request's flow field.
    encoded_name: Vec<u8>,
}

impl Flow {
    fn new(session: Uuid, index: usize, config: &FlowConfig) -> Self {
        let mut encoded_name = Vec::new();
        put_bytes_field(&mut encoded_name, field::FLOW, config.name.as_bytes());
        Self(Arc::new(FlowInner {
            session,
            index,
            name: config.name.clone(),
            config: config.clone(),
            channels: config.channels.iter().map(|channel| channel.name.clone()).collect(),
            // The schema was checked: each type is known.
            types: config.channels.iter().filter_map(|c| DataType::from_number(c.data_type)).collect(),
            encoded_name,
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

    /// Whether it was made of this very config.
    pub(super) fn is(&self, config: &FlowConfig) -> bool {
        self.0.config == *config
    }

    pub(super) fn index(&self) -> usize {
        self.0.index
    }

    pub(super) fn belongs_to(&self, session: Uuid) -> Result<(), RecordError> {
        if self.0.session == session { Ok(()) } else { Err(RecordError::ForeignFlow { flow: self.0.name.clone() }) }
    }

    /// Encodes one record into the frame; on an error the frame is as it was.
    #[inline]
    pub(super) fn put(
        &self,
        frame: &mut FrameBuilder,
        time: Timestamp,
        values: &[Value<'_>],
    ) -> Result<(), RecordError> {
        let flow = &*self.0;
        if values.len() != flow.types.len() {
            let (expected, given) = (flow.types.len(), values.len());
            return Err(RecordError::ValueCount { flow: flow.name.clone(), expected, given });
        }
        let mut record = frame.begin();
        record.bytes().extend_from_slice(&flow.encoded_name);
        time.put(record.bytes());
        let mut non_finite = 0;
        for (at, (value, data_type)) in values.iter().zip(&flow.types).enumerate() {
            if !value.fits(*data_type) {
                return Err(self.wrong_type(at, *data_type, value));
            }
            if record.len() + value.variable_len() > MAX_RECORDED_BYTES {
                return Err(self.too_large());
            }
            non_finite += u64::from(value.is_non_finite());
            value.put(record.bytes());
        }
        if record.len() > MAX_RECORDED_BYTES {
            return Err(self.too_large());
        }
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

    /// The values in the channels' order; those not named are empty.
    pub(super) fn arrange<'a>(&self, named: &[(&str, Value<'a>)]) -> Result<Vec<Value<'a>>, RecordError> {
        let mut values = vec![None; self.0.channels.len()];
        for (name, value) in named {
            let at = self.0.channels.iter().position(|channel| channel == name);
            let Some(place) = at.and_then(|at| values.get_mut(at)) else {
                let known = self.0.channels.join(", ");
                let (flow, channel) = (self.0.name.clone(), (*name).to_owned());
                return Err(RecordError::UnknownChannel { flow, channel, known });
            };
            if place.replace(*value).is_some() {
                return Err(RecordError::RepeatedChannel { flow: self.0.name.clone(), channel: (*name).to_owned() });
            }
        }
        Ok(values.into_iter().map(|value| value.unwrap_or(Value::Empty)).collect())
    }

    /// Checks a ready-made request's values against the channels; returns how many are NaN or infinite.
    fn check_request(&self, request: &[u8]) -> Result<u64, RecordError> {
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

/// What the recorder learns from a ready-made request.
#[derive(Debug)]
pub(super) struct CheckedRequest {
    pub(super) flow: usize,
    pub(super) time: i64,
    pub(super) bare: bool,
    pub(super) non_finite: u64,
}

/// The flows of one recorder.
#[derive(Debug)]
pub(super) struct FlowTable {
    session: Uuid,
    flows: Vec<Flow>,
    /// Sift keeps several flows of one name apart by their channels.
    by_name: HashMap<String, Vec<Flow>>,
    /// Bytes of all their configs, encoded.
    bytes: usize,
}

impl FlowTable {
    pub(super) fn new(session: Uuid, flows: &[FlowConfig]) -> Self {
        let mut table = Self { session, flows: Vec::new(), by_name: HashMap::new(), bytes: 0 };
        flows.iter().for_each(|flow| {
            table.add(flow);
        });
        table
    }

    pub(super) fn add(&mut self, config: &FlowConfig) -> Flow {
        let flow = Flow::new(self.session, self.flows.len(), config);
        self.bytes += config.encoded_len();
        self.flows.push(flow.clone());
        self.by_name.entry(config.name.clone()).or_default().push(flow.clone());
        flow
    }

    pub(super) fn len(&self) -> usize {
        self.flows.len()
    }

    /// Bytes of all their configs, encoded.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The flow of this name; the one added last, if there are several.
    pub(super) fn get(&self, name: &str) -> Result<&Flow, RecordError> {
        let found = self.by_name.get(name).and_then(|flows| flows.last());
        found.ok_or_else(|| RecordError::UnknownFlow { flow: name.to_owned() })
    }

    /// Whether there is exactly this flow.
    pub(super) fn has(&self, config: &FlowConfig) -> bool {
        self.by_name.get(&config.name).is_some_and(|flows| flows.iter().any(|flow| flow.is(config)))
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.flows.iter().map(|flow| flow.name().to_owned()).collect()
    }

    /// Checks a ready-made request against the schema, whether it carries ids of its own or not.
    pub(super) fn check_request(&self, request: &[u8]) -> Result<CheckedRequest, RecordError> {
        let info = RecordInfo::parse(request)?;
        check_fields(request)?;
        let name = String::from_utf8_lossy(info.flow);
        if request.len() > MAX_RECORDED_BYTES {
            return Err(RecordError::TooLarge { flow: name.into_owned(), most: MAX_RECORDED_BYTES });
        }
        let Some(time) = info.timestamp else {
            return Err(RecordError::NoTimestamp { flow: name.into_owned() });
        };
        let candidates = match self.by_name.get(&*name) {
            Some(candidates) => &candidates[..],
            None => return Err(RecordError::UnknownFlow { flow: name.into_owned() }),
        };
        let mut error = None;
        for flow in candidates.iter().rev() {
            match flow.check_request(request) {
                Ok(non_finite) => {
                    return Ok(CheckedRequest { flow: flow.index(), time, bare: info.is_bare(), non_finite });
                }
                Err(e) => error = error.or(Some(e)),
            }
        }
        Err(error.unwrap_or(RecordError::UnknownFlow { flow: name.into_owned() }))
    }
}
