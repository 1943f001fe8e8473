//! Streams that send telemetry while they record it, or without recording it.

mod auto_register;
mod descriptor;
mod error;
mod flow;
mod forms;
mod keeper;
mod ledger;
mod leg;
mod live_lane;
mod logging;
mod metrics;
mod pieces;
mod policy;
mod send_error;
mod sender;
mod setup;
#[cfg(feature = "tracing")]
mod telemetry;
mod time;
mod value;

pub use descriptor::{ChannelIndex, FlowBuilder, FlowBuilderError, FlowDescriptor, FlowDescriptorBuilder};
pub use error::{FinishError, Finished, StreamError};
pub use flow::Flow;
pub use forms::{IngestionConfigForm, RunForm, RunSelector};
pub use logging::LogLevel;
pub use metrics::{BackupMetricsSnapshot, CheckpointMetricsSnapshot, SiftStreamMetricsSnapshot};
pub use policy::{DiskBackupPolicy, RetryPolicy, RollingFilePolicy};
pub use send_error::{SendError, SiftStreamSendError, SiftStreamTrySendError, TrySendError};
pub use sift_rs::common::r#type::v1::ChannelDataType;
pub use sift_rs::ingestion_configs::v2::{ChannelConfig, FlowConfig};
pub use sift_rs::metadata::v1::MetadataValue;
pub use sift_rs::{Credentials, SiftChannel};
pub use time::{TimeError, TimeValue};
pub use value::{ChannelBytes, ChannelEnum, ChannelValue, Value};
