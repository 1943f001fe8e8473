//! Checking records that a file holds against the schema that it holds, by the recorder's own rules. Nobody may have
//! checked that schema.

use std::collections::HashSet;

use uuid::Uuid;

use super::error::{RecordError, SchemaError};
use super::flow::Flow;
use super::flow_table::{CheckedRequest, FlowTable};
use super::frame_builder::MAX_RECORDED_BYTES;
use super::request::{check_fields, request_value};
use super::schema::check_flow;
use super::shape::Shapes;
use crate::format::{Fields, FlowConfig, RecordInfo, WireError, WireValue, field};

/// Most flows of one name, which Sift keeps apart by their channels. Each may have to be tried for a record, and a file
/// may claim any number.
const MAX_OF_ONE_NAME: usize = 64;

/// Most names that are kept of flows that can't be used.
const MAX_UNUSABLE: usize = 4096;

/// The flows that records may be of.
#[derive(Debug, Clone)]
pub(crate) struct Checker {
    flows: FlowTable,
    shapes: Shapes,
    /// Names of flows that this version can't check records against.
    unusable: HashSet<String>,
}

impl Checker {
    /// No flow yet.
    pub(crate) fn new() -> Self {
        Self { flows: FlowTable::new(Uuid::nil(), &[]), shapes: Shapes::default(), unusable: HashSet::new() }
    }

    /// Adds a flow; one that is there already changes nothing.
    ///
    /// # Errors
    /// What a recorder would have refused. Records of such a flow can't be checked ([`is_unusable`](Self::is_unusable)).
    pub(crate) fn add(&mut self, flow: &FlowConfig) -> Result<(), SchemaError> {
        if self.flows.has(flow) {
            return Ok(());
        }
        let checked = check_flow(flow).and_then(|()| self.flows.check_room([flow])).and_then(|()| {
            match self.flows.of_name(&flow.name) {
                MAX_OF_ONE_NAME.. => Err(SchemaError::RepeatedFlow { flow: flow.name.clone() }),
                _ => Ok(()),
            }
        });
        match checked {
            Ok(()) => {
                self.flows.add(flow);
                // Records may be of the new one.
                self.shapes = Shapes::default();
            }
            // Beyond what a schema may have, not even names are kept.
            Err(SchemaError::TooLarge { .. }) => {}
            Err(_) if self.unusable.len() >= MAX_UNUSABLE => {}
            Err(_) => drop(self.unusable.insert(flow.name.clone())),
        }
        checked
    }

    /// The flow at this place.
    pub(crate) fn flow(&self, index: usize) -> Option<&Flow> {
        self.flows.at(index)
    }

    /// Whether the schema has a flow of this name that records can't be checked against.
    pub(crate) fn is_unusable(&self, name: &[u8]) -> bool {
        !self.unusable.is_empty() && std::str::from_utf8(name).is_ok_and(|name| self.unusable.contains(name))
    }

    #[cfg(test)]
    pub(super) fn shapes(&self) -> &Shapes {
        &self.shapes
    }

    /// Checks a record.
    ///
    /// # Errors
    /// What a recorder would have refused.
    #[inline]
    pub(crate) fn check(&mut self, request: &[u8]) -> Result<CheckedRequest, RecordError> {
        if let Some(checked) = self.shapes.find(request) {
            return Ok(checked);
        }
        let checked = self.flows.check_request(request)?;
        self.shapes.add(request, &checked);
        Ok(checked)
    }
}

/// What is learnt of a record whose schema nobody knows.
#[derive(Debug)]
pub(crate) struct CheckedAlone<'a> {
    /// Its flow, its ids.
    pub(crate) info: RecordInfo<'a>,
    /// ns since the Unix epoch.
    pub(crate) time: i64,
    /// Values that are NaN or infinite.
    pub(crate) non_finite: u64,
}

/// Checks a record as far as that can be done without its schema.
///
/// # Errors
/// What a recorder would have refused, whatever the schema.
pub(crate) fn check_alone(request: &[u8]) -> Result<CheckedAlone<'_>, RecordError> {
    let info = RecordInfo::parse(request)?;
    check_fields(request)?;
    let flow = || String::from_utf8_lossy(info.flow).into_owned();
    if request.len() > MAX_RECORDED_BYTES {
        return Err(RecordError::TooLarge { flow: flow(), most: MAX_RECORDED_BYTES });
    }
    let Some(time) = info.timestamp else { return Err(RecordError::NoTimestamp { flow: flow() }) };
    let mut non_finite = 0;
    for value in values(request) {
        non_finite += u64::from(request_value(value?)?.is_non_finite());
    }
    Ok(CheckedAlone { info, time, non_finite })
}

/// The places, among a sound request's values, of those that are NaN or infinite.
pub(crate) fn non_finite_places(request: &[u8]) -> impl Iterator<Item = usize> {
    let is_non_finite =
        |value: Result<&[u8], WireError>| value.and_then(request_value).is_ok_and(|value| value.is_non_finite());
    values(request).enumerate().filter(move |(_, value)| is_non_finite(*value)).map(|(at, _)| at)
}

fn values(request: &[u8]) -> impl Iterator<Item = Result<&[u8], WireError>> {
    Fields::new(request).filter_map(|next| match next {
        Ok(next) => match (next.number, next.value) {
            (field::CHANNEL_VALUES, WireValue::Bytes(value)) => Some(Ok(value)),
            _ => None,
        },
        Err(error) => Some(Err(error)),
    })
}
