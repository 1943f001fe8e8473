//! The flows of one recorder or encoder, and ready-made requests checked against them.

use std::collections::HashMap;

use prost::Message;
use uuid::Uuid;

use super::error::{RecordError, SchemaError};
use super::flow::Flow;
use super::frame_builder::MAX_RECORDED_BYTES;
use super::request::check_fields;
use super::schema::{FlowSchema, check_details, check_flow, check_schema_bytes};
use crate::format::{FlowConfig, RecordInfo};

/// What is learnt from a ready-made request.
#[derive(Debug, PartialEq)]
pub(crate) struct CheckedRequest {
    /// The flow's place in the table.
    pub(crate) flow: usize,
    /// ns since the Unix epoch.
    pub(crate) time: i64,
    /// Whether it carries no ids.
    pub(crate) bare: bool,
    /// Values that are NaN or infinite.
    pub(crate) non_finite: u64,
}

/// The flows of one recorder or encoder.
#[derive(Debug, Clone)]
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

    /// What its flows name as theirs.
    pub(super) fn session(&self) -> Uuid {
        self.session
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

    /// The flow of this name; the one added last, if there are several.
    pub(super) fn get(&self, name: &str) -> Result<&Flow, RecordError> {
        let found = self.by_name.get(name).and_then(|flows| flows.last());
        found.ok_or_else(|| RecordError::UnknownFlow { flow: name.to_owned() })
    }

    /// The flow at this place.
    #[cfg(feature = "replay")]
    pub(super) fn at(&self, index: usize) -> Option<&Flow> {
        self.flows.get(index)
    }

    /// How many flows have this name.
    #[cfg(feature = "replay")]
    pub(super) fn of_name(&self, name: &str) -> usize {
        self.by_name.get(name).map_or(0, Vec::len)
    }

    /// Whether there is exactly this flow.
    pub(super) fn has(&self, config: &FlowConfig) -> bool {
        self.by_name.get(&config.name).is_some_and(|flows| flows.iter().any(|flow| flow.is(config)))
    }

    /// Whether a flow may be added: the one that is there if it is the same, `None` if it is new, an error if it is
    /// another one of the same name, or too much.
    pub(super) fn known(&self, flow: &FlowSchema) -> Result<Option<Flow>, SchemaError> {
        if let Ok(known) = self.get(&flow.0.name) {
            let differs = || SchemaError::FlowDiffers { flow: flow.0.name.clone() };
            return if known.is(&flow.0) { Ok(Some(known.clone())) } else { Err(differs()) };
        }
        self.check_room([&flow.0]).map(|()| None)
    }

    /// Whether HEADER can hold these flows, too.
    pub(super) fn check_room<'a>(&self, flows: impl IntoIterator<Item = &'a FlowConfig>) -> Result<(), SchemaError> {
        check_schema_bytes(self.bytes + flows.into_iter().map(Message::encoded_len).sum::<usize>())
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

/// Whether Sift would take a flow that is added by hand.
pub(super) fn check_added(flow: &FlowSchema) -> Result<(), SchemaError> {
    check_flow(&flow.0)?;
    check_details(&flow.0)
}
