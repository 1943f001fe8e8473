//! Streams that send telemetry while they record it, or without recording it.

mod auto_register;
mod builder;
mod descriptor;
mod disk;
mod encodeable;
mod error;
mod file_backup;
mod flow;
mod flow_builder;
mod forms;
mod handle;
mod intake;
mod keeper;
mod key_label;
mod ledger;
mod leg;
mod legs;
mod live_lane;
mod live_only;
mod live_with_backups;
#[doc(hidden)]
pub mod logging;
#[doc(hidden)]
pub mod metrics;
mod offline;
#[cfg(test)]
mod parity_tests;
mod paths;
mod pieces;
mod policy;
mod send_error;
mod sender;
mod setup;
#[cfg(feature = "tracing")]
mod telemetry;
mod time;
mod value;

pub use auto_register::{AutoRegisterSendError, AutoRegisterStream, DeriveError, SiftStreamAutoRegister};
pub use builder::{SiftStreamBuilder, StreamConfigBuilder};
pub use descriptor::{ChannelIndex, FlowDescriptor, FlowDescriptorBuilder};
pub use encodeable::Encodeable;
pub use error::{FinishError, Finished, StreamError};
pub use file_backup::{FileBackup, FileBackupBuilder};
pub use flow::Flow;
pub use flow_builder::{FlowBuilder, FlowBuilderError};
pub use forms::{IngestionConfigForm, RunForm, RunSelector};
pub use handle::{IngestionConfigEncoder, SiftStream, Transport};
pub use live_only::{LiveOnlyBuilder, LiveStreamingOnly};
pub use live_with_backups::{LiveStreamingWithBackups, LiveWithBackupsBuilder};
pub use logging::LogLevel;
pub use metrics::{BackupMetricsSnapshot, CheckpointMetricsSnapshot, SiftStreamMetricsSnapshot};
pub use offline::{OfflineConfigBuilder, OfflineStreamBuilder};
#[doc(hidden)]
pub use paths::stream::{mode, run};
#[doc(hidden)]
pub use paths::{backup, stream};
pub use policy::{DiskBackupPolicy, RetryPolicy, RollingFilePolicy};
pub use send_error::{SendError, SiftStreamSendError, SiftStreamTrySendError, TrySendError};
pub use sift_rs::common::r#type::v1::ChannelDataType;
pub use sift_rs::ingestion_configs::v2::{ChannelConfig, FlowConfig};
pub use sift_rs::metadata::v1::MetadataValue;
pub use sift_rs::{Credentials, RateLimitPolicy, SiftChannel};
pub use time::{TimeError, TimeValue};
pub use value::{ChannelBytes, ChannelEnum, ChannelValue, Value};
