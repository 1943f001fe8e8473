//! Requests encoded without being recorded.

use uuid::Uuid;

use super::error::RecordError;
use super::flow::Flow;
use super::flow_table::{FlowTable, check_added};
use super::schema::{FlowSchema, Schema};
use super::value::{Timestamp, Value};

/// Makes of values the requests that a [`Recorder`](super::Recorder) would record, byte for byte, and leaves them to the
/// caller. The requests carry no ids.
#[derive(Debug)]
pub struct Encoder {
    flows: FlowTable,
}

impl Encoder {
    /// An encoder for the schema's flows. The schema is checked as if it were to be recorded.
    ///
    /// # Errors
    /// [`RecordError::Schema`] for what Sift would refuse.
    pub fn new(schema: &Schema) -> Result<Self, RecordError> {
        schema.check()?;
        Ok(Self { flows: FlowTable::new(Uuid::now_v7(), schema.flows()) })
    }

    /// The flow of this name; ask for it once, not per request.
    ///
    /// # Errors
    /// [`RecordError::UnknownFlow`].
    pub fn flow(&self, name: &str) -> Result<Flow, RecordError> {
        self.flows.get(name).cloned()
    }

    /// Adds a flow, and returns it. Adding the same flow again returns the one that is there.
    ///
    /// # Errors
    /// [`RecordError::Schema`], also if a flow of that name has other channels.
    pub fn add_flow(&mut self, flow: FlowSchema) -> Result<Flow, RecordError> {
        check_added(&flow)?;
        Ok(match self.flows.known(&flow)? {
            Some(known) => known,
            None => self.flows.add(&flow.0),
        })
    }

    /// Appends the request that gives one value for each of the flow's channels to `out`; an error leaves `out` as it
    /// was.
    ///
    /// # Errors
    /// [`RecordError::ValueCount`], [`RecordError::ValueType`], [`RecordError::ForeignFlow`],
    /// [`RecordError::TooLarge`].
    #[inline]
    pub fn encode(
        &self,
        flow: &Flow,
        time: Timestamp,
        values: &[Value<'_>],
        out: &mut Vec<u8>,
    ) -> Result<(), RecordError> {
        flow.belongs_to(self.flows.session())?;
        let start = out.len();
        let encoded = flow.encode(time, values, out);
        if encoded.is_err() {
            out.truncate(start);
        }
        encoded.map(drop)
    }

    /// Checks a ready-made `IngestWithConfigDataStreamRequest`, encoded, against the schema. Returns whether it is bare,
    /// that is, without ids of its own.
    ///
    /// # Errors
    /// [`RecordError::UnknownFlow`], [`RecordError::Request`], [`RecordError::NoTimestamp`],
    /// [`RecordError::ValueCount`], [`RecordError::ValueType`], [`RecordError::TooLarge`].
    pub fn check(&self, request: &[u8]) -> Result<bool, RecordError> {
        self.flows.check_request(request).map(|checked| checked.bare)
    }
}
