//! Streams that send telemetry while they record it, without recording it, or that only record.
//!
//! Begin with [`SiftStreamBuilder`]: credentials, then what the stream is about, then one of three modes.
//!
//! * [`live_with_backups`](StreamConfigBuilder::live_with_backups): everything is recorded first, and sent as it comes.
//!   What Sift hasn't acknowledged goes by replay, from disk. It needs no link to start, and the caller never waits for one.
//! * [`live_only`](StreamConfigBuilder::live_only): nothing on disk; `send` waits while the queue is full.
//! * [`file_backup`](StreamConfigBuilder::file_backup): records, and never touches the network.
//!
//! ```no_run
//! use sift_replay::stream::*;
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let credentials = Credentials::Config { uri: std::env::var("SIFT_URI")?, apikey: std::env::var("SIFT_API_KEY")? };
//! let angle = ChannelConfig {
//!     name: "angle".into(),
//!     unit: "deg".into(),
//!     data_type: ChannelDataType::Double.into(),
//!     ..Default::default()
//! };
//! let mut stream = SiftStreamBuilder::new(credentials)
//!     .ingestion_config(IngestionConfigForm {
//!         asset_name: "rover".into(),
//!         client_key: "rover-v1".into(),
//!         flows: vec![FlowConfig { name: "arm".into(), channels: vec![angle] }],
//!     })
//!     .live_with_backups()
//!     .disk_backup_policy(DiskBackupPolicy { backups_dir: Some("backups".into()), ..Default::default() })
//!     .build()
//!     .await?;
//!
//! // By names. A misspelt one is an error that names it.
//! stream.send(Flow::new("arm", TimeValue::now(), &[ChannelValue::new("angle", 1.5)])).await?;
//!
//! // By indices, into a run.
//! let run = RunForm { name: "Drive 7".into(), client_key: "rover-drive-7".into(), ..Default::default() };
//! stream.attach_run(RunSelector::ByForm(run)).await?;
//! let arm = stream.get_flow_descriptor("arm")?;
//! let mut message = FlowBuilder::new(&arm);
//! message.set(arm.mapping()["angle"], 1.75)?;
//! stream.try_send(message)?;
//!
//! // Says what was acknowledged, and what is on disk.
//! println!("{}", stream.finish().await?);
//! # Ok(())
//! # }
//! ```
//!
//! [`record`](SiftStream::record) is the fastest way in. [`SiftStreamAutoRegister`] registers flows as they come.
//!
//! # What survives what
//!
//! Of requests for which `send` has returned:
//!
//! | | `live_with_backups` | `file_backup` | `live_only` |
//! | --- | --- | --- | --- |
//! | no link at the start | all are recorded, and sent when there is one | needs none | `build` fails |
//! | the link goes and comes | all: what the queue has no room for goes by replay | needs none | all, as long as the [`RetryPolicy`] tries again |
//! | the link stays away | all are on disk when `finish` returns | needs none | [`finish`](SiftStream::finish) hands them back |
//! | Sift refuses some | they become dead letters | seen when they are replayed | `finish` hands them back, the first 1000 |
//! | the process dies, or the power | all but those not yet durable: none, with [`SyncPolicy::EveryRecord`](crate::record::SyncPolicy), else those of the last 100 ms | likewise | only those that Sift has acknowledged |
//! | the disk fails | those neither durable nor acknowledged are handed back by `finish` | likewise | needs none |
//! | the stream is dropped, not finished | all are on disk | likewise | those are sent that the runtime lives for |
//!
//! What a stream with files leaves unconfirmed is delivered by the next one of the same client key and directory, or by
//! `sift-replay` with that directory: they share what they note of acknowledgements. After a fault a request may arrive
//! twice, if Sift had taken it and its acknowledgement was lost; never without one.
//!
//! Files are in `<backups_dir>/<client key>/`, which a stream must have to itself. Requests that go by several gRPC streams
//! at once may be stored in another order than they were sent in: their times tell.
//!
//! # Names
//!
//! Names are those of the official crate, `sift_stream` 0.14, so that its users change their `use` lines; the README says
//! what differs.

mod account;
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
pub use builder::{DEFAULT_METRICS_STREAMING_INTERVAL, SiftStreamBuilder, StreamConfigBuilder};
pub use descriptor::{ChannelIndex, FlowDescriptor, FlowDescriptorBuilder};
pub use encodeable::Encodeable;
pub use error::{FinishError, Finished, StreamError};
pub use file_backup::{FileBackup, FileBackupBuilder};
pub use flow::Flow;
pub use flow_builder::{FlowBuilder, FlowBuilderError};
pub use forms::{IngestionConfigForm, RunForm, RunSelector};
pub use handle::{IngestionConfigEncoder, SiftStream, Transport};
pub use live_only::{LiveOnlyBuilder, LiveStreamingOnly};
pub use live_with_backups::{DEFAULT_CHECKPOINT_INTERVAL, LiveStreamingWithBackups, LiveWithBackupsBuilder};
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
