//! Streams that only record.

use std::sync::Arc;
use std::time::Duration;

use sift_rs::ingestion_configs::v2::FlowConfig;
use sift_rs::runs::v2::Run;

use super::builder::QUEUE_REQUESTS;
use super::disk::{Disk, home_of};
use super::error::{FinishError, Finished, StreamError};
use super::forms::{IngestionConfigForm, RunSelector};
use super::handle::sealed::Mode;
use super::handle::{IngestionConfigEncoder, SiftStream, Transport};
use super::intake::Intake;
use super::leg::expected_run;
use super::legs::Legs;
use super::metrics::{SiftStreamMetricsSnapshot, StreamMetrics};
use super::policy::DiskBackupPolicy;
use crate::record::RecorderOptions;

/// The last step of a stream that only records.
pub struct FileBackupBuilder {
    form: IngestionConfigForm,
    run: Option<RunSelector>,
    disk: DiskBackupPolicy,
    recorder: RecorderOptions,
}

impl FileBackupBuilder {
    pub(super) fn new(form: IngestionConfigForm, run: Option<RunSelector>) -> Self {
        let recorder = RecorderOptions { waiting_records: QUEUE_REQUESTS as u64, ..RecorderOptions::default() };
        Self { form, run, disk: DiskBackupPolicy::default(), recorder }
    }

    /// Where files are kept, and how large. `backups_dir` must be given; files are never deleted, however many.
    pub fn disk_backup_policy(mut self, policy: DiskBackupPolicy) -> Self {
        self.disk = policy;
        self
    }

    /// How requests are recorded. Of these, `segment_bytes` is [`DiskBackupPolicy::max_backup_file_size`].
    pub fn recorder_options(mut self, options: RecorderOptions) -> Self {
        self.recorder = RecorderOptions { waiting_records: self.recorder.waiting_records, ..options };
        self
    }

    /// Requests that may wait to be written to disk; the recorder's buffers bound them, too. When there are more,
    /// [`send`](SiftStream::send) waits, or what the recorder's options ask for happens. Default: 102,400.
    pub fn backup_data_channel_capacity(mut self, capacity: usize) -> Self {
        self.recorder.waiting_records = capacity as u64;
        self
    }

    /// There is no such queue here: taken, so that programs written for the official crate compile.
    pub fn control_channel_capacity(self, _: usize) -> Self {
        self
    }

    /// A stream that never touches the network sends no numbers: taken, so that programs written for the official crate
    /// compile. [`get_metrics_snapshot`](SiftStream::get_metrics_snapshot) has them.
    pub fn metrics_streaming_interval(self, _: Option<Duration>) -> Self {
        self
    }

    /// Begins to record. Credentials aren't looked at.
    ///
    /// # Errors
    /// [`StreamError::NoDirectory`]; [`StreamError::Record`] if the flows make no sense, or nothing can be written there.
    pub async fn build(self) -> Result<SiftStream<IngestionConfigEncoder, FileBackup>, StreamError> {
        if self.disk.backups_dir.is_none() {
            return Err(StreamError::NoDirectory);
        }
        let (config, run) = (self.form.request(), self.run);
        let mut flows = IngestionConfigEncoder::default();
        flows.add(&self.form.flows)?;
        let home = home_of(&self.disk, &self.form.client_key)?;
        let options = RecorderOptions { segment_bytes: self.disk.max_backup_file_size as u64, ..self.recorder };
        let disk = Arc::new(Disk::new(home, options, None));
        let attached = run.as_ref().map(expected_run);
        let mut transport = FileBackup { metrics: StreamMetrics::new(), legs: Legs::new(disk, config) };
        transport.legs.begin(run).await?;
        transport.metrics.loaded_flows(flows.get().len() as u64);
        Ok(SiftStream::new(flows, transport, attached))
    }
}

/// Records without sending.
pub struct FileBackup {
    legs: Legs,
    metrics: StreamMetrics,
}

impl Transport for FileBackup {}

impl Mode for FileBackup {
    fn intake(&self) -> &dyn Intake {
        self.legs.intake()
    }

    async fn attach(&mut self, run: RunSelector) -> Result<Run, StreamError> {
        let attached = expected_run(&run);
        self.legs.begin(Some(run)).await?;
        Ok(attached)
    }

    fn detach(&mut self) {
        self.legs.begin_without_run();
    }

    async fn add_flows(&mut self, flows: &[FlowConfig]) -> Result<(), StreamError> {
        self.legs.add_flows(flows).await?;
        self.metrics.loaded_flows(flows.len() as u64);
        Ok(())
    }

    fn snapshot(&self) -> SiftStreamMetricsSnapshot {
        self.metrics.snapshot(&self.legs.disk.gauges())
    }

    fn closed(&self) -> Option<String> {
        self.legs.closed()
    }

    async fn finish(self) -> Result<Finished, FinishError> {
        self.legs.disk.finish().await;
        self.legs.disk.account(None)
    }
}
