//! The programs.

use std::path::PathBuf;

use sift_rs::metadata;

/// Nanoseconds since the epoch of a program's first message.
pub(super) const BEGIN: i64 = 1_700_000_000_123_456_789;

/// Each program once for each crate.
macro_rules! in_both_crates {
    ($($items:tt)*) => {
        #[allow(unused_imports, unused_mut, reason = "streams of this crate may be shared")]
        pub(super) mod official {
            use super::*;
            use ::sift_stream::backup::disk::RollingFilePolicy;
            use ::sift_stream::stream::mode::ingestion_config::IngestionConfigEncoder;
            use ::sift_stream::stream::run::RunSelector;
            use ::sift_stream::*;
            $($items)*
        }
        #[allow(unused_imports, unused_mut, reason = "streams of this crate may be shared")]
        pub(super) mod ours {
            use super::*;
            use ::sift_replay::stream::backup::disk::RollingFilePolicy;
            use ::sift_replay::stream::stream::mode::ingestion_config::IngestionConfigEncoder;
            use ::sift_replay::stream::stream::run::RunSelector;
            use ::sift_replay::stream::*;
            $($items)*
        }
    };
}

/// What programs import by module paths.
macro_rules! by_paths {
    ($name:ident: $($root:tt)*) => {
        #[allow(unused_imports, reason = "that they are there is what is tested")]
        mod $name {
            use $($root)*::backup::{DiskBackupPolicy, disk};
            use $($root)*::backup::disk::{DiskBackupPolicy as OnDisk, RollingFilePolicy};
            use $($root)*::logging::LogLevel;
            use $($root)*::metrics::{BackupMetricsSnapshot, CheckpointMetricsSnapshot, SiftStreamMetricsSnapshot};
            use $($root)*::stream::auto_register::{AutoRegisterSendError, AutoRegisterStream, SiftStreamAutoRegister};
            use $($root)*::stream::builder::{FileBackupBuilder, IngestionConfigForm, LiveOnlyBuilder};
            use $($root)*::stream::builder::{LiveWithBackupsBuilder, RunForm, SiftStreamBuilder, StreamConfigBuilder};
            use $($root)*::stream::channel::{ChannelBytes, ChannelEnum, ChannelValue, Value};
            use $($root)*::stream::mode::file_backup::FileBackup;
            use $($root)*::stream::mode::ingestion_config::{Flow, IngestionConfigEncoder};
            use $($root)*::stream::mode::live_only::LiveStreamingOnly;
            use $($root)*::stream::mode::live_with_backups::LiveStreamingWithBackups;
            use $($root)*::stream::retry::RetryPolicy;
            use $($root)*::stream::run::RunSelector;
            use $($root)*::stream::send_error::{SendError, SiftStreamSendError, SiftStreamTrySendError, TrySendError};
            use $($root)*::stream::time::TimeValue;
            use $($root)*::stream::{Encodeable, SendError as Unsent, SiftStream, Transport};
        }
    };
}

by_paths!(official_paths: ::sift_stream);
by_paths!(our_paths: ::sift_replay::stream);

in_both_crates! {
    fn credentials(uri: String) -> Credentials {
        Credentials::Config { uri, apikey: "key".to_owned() }
    }

    fn channel(name: &str, data_type: ChannelDataType) -> ChannelConfig {
        let (description, unit) = (format!("what {name} says"), "deg".to_owned());
        ChannelConfig { name: name.to_owned(), description, unit, data_type: data_type.into(), ..Default::default() }
    }

    fn arm() -> FlowConfig {
        let channels = vec![channel("angle", ChannelDataType::Double), channel("stuck", ChannelDataType::Bool)];
        FlowConfig { name: "arm".to_owned(), channels }
    }

    fn form() -> IngestionConfigForm {
        IngestionConfigForm { asset_name: "rover".into(), client_key: "rover-v1".into(), flows: vec![arm()] }
    }

    fn run_form(name: &str) -> RunForm {
        let metadata = metadata![("test_number", 5.0), ("is_simulation", true), ("location", "desk")];
        RunForm {
            name: name.to_owned(),
            client_key: format!("{name}-key"),
            description: Some("a simulated run".into()),
            tags: Some(vec!["simulation".into()]),
            metadata: Some(metadata),
        }
    }

    fn at(step: i64) -> TimeValue {
        TimeValue::from_timestamp_nanos(BEGIN + step * 1_000_000)
    }

    /// Some leave a channel out, or name them in another order.
    fn message(step: i64) -> Flow {
        let (angle, stuck) = (ChannelValue::new("angle", (step as f64).sin()), ChannelValue::new("stuck", step % 7 == 0));
        match step % 3 {
            0 => Flow::new("arm", at(step), &[angle, stuck]),
            1 => Flow::new("arm", at(step), &[stuck, angle]),
            _ => Flow::new("arm", at(step), &[angle]),
        }
    }

    fn disk(dir: PathBuf) -> DiskBackupPolicy {
        let rolling_file_policy = RollingFilePolicy { max_file_count: Some(50) };
        DiskBackupPolicy { backups_dir: Some(dir), rolling_file_policy, ..DiskBackupPolicy::default() }
    }

    /// The official quick start: a run with metadata, messages by names, ready-made requests.
    pub(in super::super) async fn quick_start(uri: String, dir: PathBuf) -> Result<(), Box<dyn std::error::Error>> {
        let mut stream = SiftStreamBuilder::new(credentials(uri))
            .disable_tls()
            .ingestion_config(form())
            .attach_run(run_form("flight"))
            .add_asset_tags(vec!["rover".into(), "mars".into()])
            .add_asset_metadata(metadata![("wheels", 6.0)])
            .log_level_filter(LogLevel::Warn)
            .live_with_backups()
            .disk_backup_policy(disk(dir))
            .checkpoint_interval(std::time::Duration::from_secs(60))
            .retry_policy(RetryPolicy::default())
            .metrics_streaming_interval(None)
            .build()
            .await?;
        for step in 0..200 {
            stream.send(message(step)).await?;
        }
        let descriptor = stream.get_flow_descriptor("arm")?;
        let run_id = stream.run().ok_or("no run")?.run_id.clone();
        for step in 200..400 {
            let mut builder = FlowBuilder::new(&descriptor);
            builder.attach_run_id(&run_id);
            builder.set_with_key("angle", (step as f64).cos())?;
            stream.try_send_requests(vec![builder.request(at(step))])?;
        }
        stream.finish().await?;
        Ok(())
    }

    /// Nothing but files.
    pub(in super::super) async fn backups_only(uri: String, dir: PathBuf) -> Result<(), Box<dyn std::error::Error>> {
        let mut stream = SiftStreamBuilder::new(credentials(uri))
            .disable_tls()
            .ingestion_config(form())
            .attach_run(run_form("bench"))
            .file_backup()
            .disk_backup_policy(disk(dir))
            .backup_data_channel_capacity(1000)
            .control_channel_capacity(10)
            .metrics_streaming_interval(None)
            .build()
            .await?;
        for step in 0..300 {
            stream.send(message(step)).await?;
        }
        let descriptor = stream.get_flow_descriptor("arm")?;
        let run_id = stream.run().ok_or("no run")?.run_id.clone();
        let requests = (300..400).map(|step| {
            let mut builder = FlowBuilder::new(&descriptor);
            builder.attach_run_id(&run_id);
            builder.set(descriptor.mapping()["angle"], step as f64).map(|()| builder.request(at(step)))
        });
        stream.send_requests(requests.collect::<Result<Vec<_>, _>>()?).await?;
        stream.finish().await?;
        Ok(())
    }

    /// One flow registered beforehand, one staged, one derived from its values; one that doesn't fit what is staged.
    pub(in super::super) async fn auto_register(uri: String, dir: PathBuf) -> Result<(), Box<dyn std::error::Error>> {
        let stream = SiftStreamBuilder::new(credentials(uri))
            .disable_tls()
            .ingestion_config(form())
            .attach_run(run_form("drive"))
            .live_with_backups()
            .disk_backup_policy(disk(dir))
            .metrics_streaming_interval(None)
            .build()
            .await?;
        let speed = vec![channel("speed", ChannelDataType::Double), channel("heading", ChannelDataType::Float)];
        let mut stream =
            SiftStreamAutoRegister::new(stream, vec![FlowConfig { name: "wheels".into(), channels: speed }]);
        let wrong = Flow::new("wheels", at(0), &[ChannelValue::new("speed", "fast"), ChannelValue::new("x", 1)]);
        assert!(matches!(stream.send(wrong).await, Err(AutoRegisterSendError::StagedConfigMismatch(_))));
        assert!(stream.get_flow_descriptor("wheels").is_err(), "not registered yet");
        drive(&mut stream).await?;
        assert_eq!(stream.get_flow_descriptor("wheels")?.mapping().len(), 2);
        stream.finish().await?;
        Ok(())
    }

    /// What programs write that are tested without a stream.
    async fn drive(stream: &mut impl AutoRegisterStream) -> Result<(), Box<dyn std::error::Error>> {
        for step in 0..100 {
            let speed = [ChannelValue::new("heading", step as f32), ChannelValue::new("speed", step as f64)];
            let engine = [ChannelValue::new("rpm", 3000_u32 + step as u32), ChannelValue::new("state", "on")];
            stream.send(message(step)).await?;
            stream.send(Flow::new("wheels", at(step), &speed)).await?;
            stream.send(Flow::new("engine", at(step), &engine)).await?;
        }
        Ok(())
    }

    /// Nothing on disk; runs come and go, flows are added.
    pub(in super::super) async fn live_only(uri: String, _: PathBuf) -> Result<(), Box<dyn std::error::Error>> {
        let mut stream = SiftStreamBuilder::new(credentials(uri))
            .disable_tls()
            .ingestion_config(form())
            .rate_limit_policy(RateLimitPolicy::default())
            .live_only()
            .enable_compression_for_ingestion(true)
            .retry_policy(None)
            .metrics_streaming_interval(None)
            .build()
            .await?;
        assert!(stream.run().is_none());
        for step in 0..100 {
            stream.send(message(step)).await?;
        }
        stream.attach_run(RunSelector::ByForm(run_form("first"))).await?;
        let first = stream.run().ok_or("no run")?.clone();
        for step in 100..200 {
            stream.send(message(step)).await?;
        }
        stream.attach_run(RunSelector::ByForm(run_form("second"))).await?;
        stream.add_new_flows(&[FlowConfig { name: "leg".into(), ..arm() }]).await?;
        assert_eq!(stream.get_flows().len(), 2);
        for step in 200..300 {
            stream.send(Flow { flow_name: "leg".into(), ..message(step) }).await?;
        }
        stream.detach_run();
        for step in 300..400 {
            stream.send(message(step)).await?;
        }
        stream.attach_run(RunSelector::ById(first.run_id.clone())).await?;
        assert_eq!(stream.run().map(|run| (&run.name, &run.run_id)), Some((&first.name, &first.run_id)));
        for step in 400..500 {
            stream.send(message(step)).await?;
        }
        stream.finish().await?;
        Ok(())
    }

    /// Never waits, but for room when there is none.
    pub(in super::super) async fn never_waits(uri: String, _: PathBuf) -> Result<(), Box<dyn std::error::Error>> {
        let mut stream = SiftStreamBuilder::new(credentials(uri))
            .disable_tls()
            .max_decoding_message_size(64 << 20)
            .ingestion_config(form())
            .attach_run(run_form("hurry"))
            .live_only()
            .ingestion_data_channel_capacity(16)
            .control_channel_capacity(16)
            .metrics_streaming_interval(None)
            .build()
            .await?;
        for step in 0..2000 {
            match stream.try_send(message(step)) {
                Ok(()) => {}
                Err(SiftStreamTrySendError::Channel(TrySendError::Full(request))) => {
                    stream.send_requests(vec![request]).await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        stream.finish().await?;
        Ok(())
    }

    /// Ready-made requests that name no run, while one is attached.
    pub(in super::super) async fn ready_made(uri: String) -> Result<(), Box<dyn std::error::Error>> {
        let mut stream = SiftStreamBuilder::new(credentials(uri))
            .disable_tls()
            .ingestion_config(form())
            .attach_run(run_form("flight"))
            .live_only()
            .metrics_streaming_interval(None)
            .build()
            .await?;
        let descriptor = stream.get_flow_descriptor("arm")?;
        let requests = (0..10).map(|step| FlowBuilder::new(&descriptor).request(at(step)));
        stream.send_requests(requests.collect::<Vec<_>>()).await?;
        stream.finish().await?;
        Ok(())
    }

    /// Sends what doesn't fit among what does, and tells the errors.
    pub(in super::super) async fn misspelt(uri: String) -> Result<Vec<String>, Box<dyn std::error::Error>> {
        let mut stream = SiftStreamBuilder::new(credentials(uri))
            .disable_tls()
            .ingestion_config(form())
            .live_only()
            .metrics_streaming_interval(None)
            .build()
            .await?;
        let mut told = Vec::new();
        for (step, name, value) in [(0, "angel", Value::from(1.5)), (1, "angle", "steep".into()), (2, "angle", 2.5.into())] {
            let flow = Flow::new("arm", at(step), &[ChannelValue::new("stuck", true), ChannelValue::new(name, value)]);
            match stream.try_send(flow) {
                Ok(()) => {}
                Err(SiftStreamTrySendError::EncodeError(error)) => told.push(error.to_string()),
                Err(error) => return Err(error.into()),
            }
        }
        if let Err(SiftStreamSendError::EncodeError(error)) = stream.send(Flow { flow_name: "leg".into(), ..message(3) }).await {
            told.push(error.to_string());
        }
        stream.finish().await?;
        Ok(told)
    }
}
