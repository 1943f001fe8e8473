//! Why something can't be recorded.

use std::sync::Arc;

use thiserror::Error;

use super::data_type::DataType;
use crate::format::{EncodeError, WireError};
use crate::segment::SegmentError;

/// Why something can't be recorded. After any of these except [`RecordError::Failed`], the recorder works on, and
/// nothing of the refused record was written.
#[derive(Debug, Clone, Error)]
pub enum RecordError {
    /// The schema has no such flow.
    #[error(
        "unknown flow {flow:?}: add it to the schema, or while recording with `add_flow` (a stream's: `add_new_flows`)"
    )]
    UnknownFlow {
        /// The name asked for.
        flow: String,
    },
    /// The flow has no such channel.
    #[error("flow {flow:?} has no channel {channel:?}; it has {known}")]
    UnknownChannel {
        /// The flow.
        flow: String,
        /// The name asked for.
        channel: String,
        /// The channels that it has.
        known: String,
    },
    /// A channel was given twice in one record.
    #[error("channel {channel:?} of flow {flow:?} is given twice in one record")]
    RepeatedChannel {
        /// The flow.
        flow: String,
        /// The channel.
        channel: String,
    },
    /// The flow handle was made by another recorder or encoder.
    #[error("flow {flow:?} belongs to another recorder or encoder: ask this one for its own with `flow`")]
    ForeignFlow {
        /// The flow.
        flow: String,
    },
    /// Too many or too few values.
    #[error(
        "flow {flow:?} has {expected} channels, and {given} values were given; use `Value::Empty` for missing ones"
    )]
    ValueCount {
        /// The flow.
        flow: String,
        /// Its channels.
        expected: usize,
        /// The values given.
        given: usize,
    },
    /// A value of another type than its channel's.
    #[error("channel {channel:?} of flow {flow:?} takes {expected}, and {given} was given")]
    ValueType {
        /// The flow.
        flow: String,
        /// The channel.
        channel: String,
        /// The channel's type.
        expected: DataType,
        /// The type of the value given.
        given: &'static str,
    },
    /// The record is larger than [`MAX_RECORDED_BYTES`](super::MAX_RECORDED_BYTES).
    #[error("a record of flow {flow:?} exceeds {most} bytes: split it")]
    TooLarge {
        /// The flow.
        flow: String,
        /// The bound in bytes.
        most: usize,
    },
    /// A row of a [batch](super::Recorder::record_batch) can't be recorded; those before it are.
    #[error("row {at} of the batch isn't recorded, nor what comes behind it: {source}")]
    Row {
        /// Its place among the rows, from 0.
        at: usize,
        /// Why.
        source: Box<RecordError>,
    },
    /// A mark that is larger than any note should be.
    #[error("a mark has {bytes} bytes, and at most {most} are possible: shorten it")]
    MarkTooLarge {
        /// Its size.
        bytes: usize,
        /// The bound in bytes.
        most: usize,
    },
    /// A ready-made request isn't one.
    #[error("the request can't be read: {0}")]
    Request(#[from] WireError),
    /// A ready-made request has no timestamp.
    #[error("the request of flow {flow:?} has no timestamp: Sift would refuse it")]
    NoTimestamp {
        /// The flow.
        flow: String,
    },
    /// The schema isn't one that Sift would take.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// Options that contradict each other.
    #[error("{0}")]
    Options(&'static str),
    /// There is no room: the writer is behind. Only from the calls that never wait.
    #[error("all buffers are in use: the disk is slower than what is recorded")]
    Full,
    /// The recorder was finished.
    #[error("the recorder is finished; make a new one")]
    Finished,
    /// The segment can't be created.
    #[error(transparent)]
    Segment(Arc<SegmentError>),
    /// Writing failed twice, on the segment and on the new one that should take its place. Nothing is recorded any more;
    /// [`Recorder::take_lost`](super::Recorder::take_lost) hands back what isn't durable.
    #[error(
        "recording has stopped: {source}; records from seq {not_durable_from} on are not durable: {}make a new recorder",
        if source.is_out_of_space() { "make room on the disk, then " } else { "" }
    )]
    Failed {
        /// The second error.
        source: Arc<SegmentError>,
        /// The first seq that isn't durable.
        not_durable_from: u64,
    },
}

impl From<SegmentError> for RecordError {
    fn from(error: SegmentError) -> Self {
        Self::Segment(Arc::new(error))
    }
}

impl From<EncodeError> for RecordError {
    fn from(error: EncodeError) -> Self {
        SegmentError::from(error).into()
    }
}

/// Why Sift would refuse a schema.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SchemaError {
    /// A name or key that must be there is empty.
    #[error("{what} is empty")]
    Empty {
        /// Which.
        what: String,
    },
    /// Two flows of one name.
    #[error("two flows are named {flow:?}")]
    RepeatedFlow {
        /// The name.
        flow: String,
    },
    /// Two channels of one name in a flow.
    #[error("flow {flow:?} has two channels named {channel:?}")]
    RepeatedChannel {
        /// The flow.
        flow: String,
        /// The name.
        channel: String,
    },
    /// A channel without a data type that this version knows.
    #[error("channel {channel:?} of flow {flow:?} has no known data type ({number})")]
    DataType {
        /// The flow.
        flow: String,
        /// The channel.
        channel: String,
        /// Sift's number for the type.
        number: i32,
    },
    /// Enum names or bit-field elements on a channel of another type.
    #[error("channel {channel:?} of flow {flow:?} is {data_type}, and can't have {what}")]
    Misfit {
        /// The flow.
        flow: String,
        /// The channel.
        channel: String,
        /// Its type.
        data_type: DataType,
        /// What it can't have.
        what: &'static str,
    },
    /// A flow of that name exists and is another one.
    #[error("flow {flow:?} exists with other channels: give the new one another name")]
    FlowDiffers {
        /// The flow.
        flow: String,
    },
    /// The flows with all their channels are more than a segment's header can hold.
    #[error("the schema's flows and run take {bytes} bytes, and at most {most} are possible: make several recordings")]
    TooLarge {
        /// Bytes of all flows, encoded.
        bytes: usize,
        /// The bound in bytes.
        most: usize,
    },
    /// A ready-made request isn't one.
    #[error("the request that should give the schema can't be read: {0}")]
    Request(String),
}
