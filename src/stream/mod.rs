//! Streams that send telemetry while they record it, or without recording it.

mod auto_register;
mod descriptor;
mod flow;
mod flow_builder;
mod forms;
mod key_label;
mod logging;
mod metrics;
#[cfg(test)]
mod parity_tests;
mod policy;
mod send_error;
#[cfg(feature = "tracing")]
mod telemetry;
mod time;
mod value;

pub use auto_register::{AutoRegisterSendError, DeriveError};
pub use descriptor::{ChannelIndex, FlowDescriptor, FlowDescriptorBuilder};
pub use flow::Flow;
pub use flow_builder::{FlowBuilder, FlowBuilderError};
pub use forms::{IngestionConfigForm, RunForm, RunSelector};
pub use policy::{DiskBackupPolicy, RetryPolicy, RollingFilePolicy};
pub use send_error::{SendError, SiftStreamSendError, SiftStreamTrySendError, TrySendError};
pub use sift_rs::common::r#type::v1::ChannelDataType;
pub use sift_rs::ingestion_configs::v2::{ChannelConfig, FlowConfig};
pub use sift_rs::metadata::v1::MetadataValue;
pub use sift_rs::{Credentials, SiftChannel};
pub use time::{TimeError, TimeValue};
pub use value::{ChannelBytes, ChannelEnum, ChannelValue, Value};
