//! Streams without files: a queue, a gRPC stream, retries.

use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use sift_rs::ingestion_configs::v2::FlowConfig;
use sift_rs::runs::v2::Run;
use tokio::task::{AbortHandle, JoinHandle};
use uuid::Uuid;

use super::builder::{DEFAULT_METRICS_STREAMING_INTERVAL, QUEUE_BYTES, QUEUE_REQUESTS, StreamConfigBuilder};
use super::error::{FinishError, Finished, StreamError};
use super::forms::RunSelector;
use super::handle::sealed::Mode;
use super::handle::{IngestionConfigEncoder, SiftStream, Transport};
use super::intake::{Intake, QueueIntake};
use super::leg::{Leg, expected_run, schema};
use super::legs::unknown_flows;
use super::logging::LogQueue;
use super::metrics::{Gauges, MetricsTask, SiftStreamMetricsSnapshot, StreamScope};
use super::pieces::{Capacity, Pieces};
use super::policy::RetryPolicy;
use super::sender::{Sender, SenderOptions, Sent};
use super::setup::Setup;
use crate::record::{Encoder, FlowSchema, RecordError};
use crate::replay::{Lanes, ReplayOptions};

/// Time after a gRPC stream's end in which its acknowledgement must come.
pub(super) const ACKNOWLEDGEMENT_TIMEOUT: Duration = Duration::from_secs(10);

/// The last step of a stream without files.
#[derive(Clone)]
pub struct LiveOnlyBuilder {
    base: StreamConfigBuilder,
    gzip: bool,
    metrics_interval: Option<Duration>,
    capacity: Capacity,
    retry: Option<RetryPolicy>,
    acknowledgement_timeout: Duration,
    abandoned_when_dropped: bool,
}

impl LiveOnlyBuilder {
    pub(super) fn new(base: StreamConfigBuilder) -> Self {
        Self {
            base,
            gzip: false,
            metrics_interval: Some(DEFAULT_METRICS_STREAMING_INTERVAL),
            capacity: Capacity { requests: QUEUE_REQUESTS as u64, bytes: QUEUE_BYTES },
            retry: Some(RetryPolicy::default()),
            acknowledgement_timeout: ACKNOWLEDGEMENT_TIMEOUT,
            abandoned_when_dropped: false,
        }
    }

    /// Whether requests are compressed with gzip on the wire: for thin links. gRPC compresses each request alone, so that
    /// only large ones gain: hundreds of bytes and more. Default: no.
    pub fn enable_compression_for_ingestion(mut self, enable: bool) -> Self {
        self.gzip = enable;
        self
    }

    /// How often the stream's numbers (and its log events, with the feature `tracing`) are sent to Sift, as the asset
    /// `sift_app`, over a connection of their own; `None`: never. Default: 500 ms.
    pub fn metrics_streaming_interval(mut self, interval: Option<Duration>) -> Self {
        self.metrics_interval = interval;
        self
    }

    /// Requests that may wait to be sent or acknowledged. Default: 102,400.
    pub fn ingestion_data_channel_capacity(mut self, capacity: usize) -> Self {
        self.capacity.requests = capacity as u64;
        self
    }

    /// Bytes of these requests; a single one may be larger. Default: 32 MiB.
    pub fn ingestion_data_channel_bytes(mut self, bytes: usize) -> Self {
        self.capacity.bytes = bytes;
        self
    }

    /// There is no such queue here: taken, so that programs written for the official crate compile.
    pub fn control_channel_capacity(self, _: usize) -> Self {
        self
    }

    /// How what failed is sent again; `None`: it isn't, and the stream closes at the first failure. Default: see
    /// [`RetryPolicy`]. When it is given up, the stream closes; [`finish`](SiftStream::finish) hands back what isn't
    /// acknowledged.
    pub fn retry_policy(mut self, policy: impl Into<Option<RetryPolicy>>) -> Self {
        self.retry = policy.into();
        self
    }

    /// Time after a gRPC stream's end in which its acknowledgement must come; and time in which a stuck connection must
    /// take something. Default: 10 s.
    pub fn acknowledgement_timeout(mut self, timeout: Duration) -> Self {
        self.acknowledgement_timeout = timeout;
        self
    }

    /// Nobody wants what such a stream hasn't sent when it is dropped.
    pub(super) fn abandoned_when_dropped(mut self) -> Self {
        self.abandoned_when_dropped = true;
        self
    }

    /// Connects, registers, and starts. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`StreamError`]: Sift can't be reached, or refuses the credentials, the ingestion config or the run.
    pub async fn build(self) -> Result<SiftStream<IngestionConfigEncoder, LiveStreamingOnly>, StreamError> {
        let (scope, logs) = StreamScope::new(&self.base, self.metrics_interval);
        scope.scoped(self.build_in(scope.clone(), logs)).await
    }

    async fn build_in(
        self,
        scope: StreamScope,
        logs: Option<LogQueue>,
    ) -> Result<SiftStream<IngestionConfigEncoder, LiveStreamingOnly>, StreamError> {
        let setup = self.base.setup(self.acknowledgement_timeout)?;
        let leg = Arc::new(Leg::new(Uuid::now_v7(), self.base.request(), self.base.run(), std::sync::Weak::new()));
        let encoder = Encoder::new(&schema(&leg.config, leg.run.as_ref()).map_err(RecordError::from)?)?;
        let mut flows = IngestionConfigEncoder::default();
        flows.add(&self.base.config.flows)?;
        let connection = setup.persist(|| setup.link.check()).await?;
        let registered = setup.persist(|| setup.register(&connection, &leg)).await?;
        let (run, fresh) = (registered.run.clone(), registered.fresh);
        leg.set_registered(Arc::new(registered));
        let metrics = scope.metrics.clone();
        metrics.loaded_flows(flows.get().len() as u64);
        let (pieces, lanes) = (Arc::new(Pieces::new(self.capacity)), Arc::new(setup.link.lane(self.gzip)?));
        let sender = Sender {
            setup: setup.clone(),
            lanes: lanes.clone(),
            pieces: pieces.clone(),
            metrics: metrics.clone(),
            options: self.sender_options(),
            fresh,
        };
        let watched = pieces.clone();
        let gauges = move || Gauges {
            ingestion_channel_depth: watched.depth(),
            received: watched.received().0,
            received_bytes: watched.received().1,
            ..Gauges::default()
        };
        let task = tokio::spawn(scope.scoped(sender.run()));
        let numbers = MetricsTask::start(&self.base, self.metrics_interval, (scope, logs), Arc::new(gauges));
        let guard = Guard(pieces.clone(), self.abandoned_when_dropped.then(|| task.abort_handle()));
        let intake = QueueIntake::new(pieces, encoder, leg);
        let transport = LiveStreamingOnly { intake, setup, lanes, numbers, task, _guard: guard };
        Ok(SiftStream::new(flows, transport, run))
    }

    fn sender_options(&self) -> SenderOptions {
        let retry = self.retry.as_ref().filter(|policy| policy.max_attempts > 1);
        let retry = retry.map(|policy| ReplayOptions {
            // The first attempt is the stream's own.
            most_attempts: Some(u32::from(policy.max_attempts) - 1),
            attempts_made: 1,
            ..self.base.retries(policy, self.acknowledgement_timeout)
        });
        SenderOptions { retry, ..SenderOptions::new(self.capacity, self.acknowledgement_timeout) }
    }
}

/// Sends without recording.
pub struct LiveStreamingOnly {
    intake: QueueIntake,
    setup: Arc<Setup>,
    lanes: Arc<Lanes>,
    numbers: MetricsTask,
    task: JoinHandle<Sent>,
    _guard: Guard,
}

/// Ends the sender when the stream is dropped.
struct Guard(Arc<Pieces>, Option<AbortHandle>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.close("it was dropped");
        if let Some(task) = &self.1 {
            task.abort();
        }
    }
}

impl Transport for LiveStreamingOnly {}

impl Mode for LiveStreamingOnly {
    fn intake(&self) -> &dyn Intake {
        &self.intake
    }

    async fn attach(&mut self, run: RunSelector) -> Result<Run, StreamError> {
        let asked = expected_run(&run);
        let (config, id) = {
            let current = self.intake.change();
            (current.1.whole_config(), current.1.id)
        };
        let leg = Leg::new(id, config, Some(run), std::sync::Weak::new());
        let connection = self.lanes.pick(None).connection.clone();
        let registered = self.setup.persist(|| self.setup.register(&connection, &leg)).await?;
        let run = leg.set_registered(Arc::new(registered)).run.clone();
        self.intake.change().1 = Arc::new(leg);
        Ok(run.unwrap_or(asked))
    }

    fn detach(&mut self) {
        let mut current = self.intake.change();
        let leg = current.1.without_run();
        current.1 = Arc::new(leg);
    }

    async fn add_flows(&mut self, flows: &[FlowConfig]) -> Result<(), StreamError> {
        let leg = self.intake.change().1.clone();
        // What makes no sense shows before Sift is asked.
        let new = unknown_flows(&leg.whole_config(), flows)?;
        let connection = self.lanes.pick(None).connection.clone();
        if let Some(registered) = leg.registered().cloned() {
            let (setup, connection) = (&self.setup, &connection);
            setup.persist(|| setup.add_flows(connection, &registered, &new)).await?;
        }
        let mut current = self.intake.change();
        for flow in &new {
            current.0.add_flow(FlowSchema::from_request(&flow.encode_to_vec()).map_err(RecordError::from)?)?;
        }
        self.numbers.metrics().loaded_flows(new.len() as u64);
        leg.add_flows(new, true);
        Ok(())
    }

    fn snapshot(&self) -> SiftStreamMetricsSnapshot {
        self.numbers.snapshot()
    }

    fn closed(&self) -> Option<String> {
        self.intake.pieces.closed()
    }

    async fn finish(self) -> Result<Finished, FinishError> {
        self.intake.pieces.close("it was finished");
        let requests = self.intake.pieces.received().0;
        let sent = match self.task.await {
            Ok(sent) => sent,
            // It panicked, which is a bug: let it be seen.
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Sent { stop: Some("the runtime has ended".to_owned()), ..Sent::default() },
        };
        self.numbers.finish().await;
        let finished = Finished { requests, acknowledged: sent.acknowledged, ..Finished::default() };
        if finished.acknowledged == requests {
            return Ok(finished);
        }
        let refusal = sent.why_refused.map(|why| format!("Sift refuses {} of them: {why}", sent.refused));
        let reason = [sent.stop, refusal].into_iter().flatten().collect::<Vec<_>>().join("; ");
        let undelivered = sent.handed_back.into_iter().map(|(_, request)| request).collect();
        Err(FinishError { reason, finished: Box::new(finished), undelivered })
    }
}
