//! The recorder: telemetry to segment files, without a network, whatever happens to the power.

mod batch;
#[cfg(feature = "replay")]
mod checker;
mod clock;
mod data_type;
mod encoder;
mod error;
mod flow;
mod flow_table;
mod frame_builder;
mod given;
mod lost;
mod options;
mod queue;
mod recorder;
mod request;
mod schema;
#[cfg(feature = "replay")]
mod shape;
mod stats;
#[cfg(feature = "sim")]
mod stepped;
mod sync;
mod tap;
mod value;
mod writer;

#[cfg(feature = "replay")]
pub(crate) use checker::{Checker, check_alone, non_finite_places};
pub use data_type::DataType;
pub use encoder::Encoder;
pub use error::{RecordError, SchemaError};
pub use flow::Flow;
pub use frame_builder::MAX_RECORDED_BYTES;
pub use options::{OnFull, RecorderOptions, SyncPolicy};
pub use recorder::{Recorded, Recorder};
pub use schema::{Channel, FlowSchema, RunSchema, Schema};
pub use stats::RecorderStats;
#[cfg(feature = "sim")]
pub use stepped::{SimClock, SteppedRecorder};
#[cfg(feature = "interleave")]
pub use sync::{Timeouts, set_time};
pub use tap::{Tap, TappedFrame};
pub use value::{Timestamp, Value};
