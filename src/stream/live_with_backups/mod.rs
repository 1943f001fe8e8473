//! Streams with files and a link: everything is recorded first, sent as it comes, and replayed where that failed.

mod transport;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sift_rs::ingestion_configs::v2::CreateIngestionConfigRequest;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use uuid::Uuid;

use crate::record::{Encoder, RecordError, RecorderOptions};
use crate::replay::{After, ReplayOptions, State};
use crate::sift::RegisterError;
use crate::stream::builder::{DEFAULT_METRICS_STREAMING_INTERVAL, QUEUE_BYTES, QUEUE_REQUESTS, StreamConfigBuilder};
use crate::stream::disk::{Disk, Live, home_of, open_state};
use crate::stream::error::StreamError;
use crate::stream::forms::RunSelector;
use crate::stream::handle::{IngestionConfigEncoder, SiftStream};
use crate::stream::keeper::{Keeper, Phase};
use crate::stream::ledger::Ledger;
use crate::stream::leg::{Leg, Registered, expected_run, schema};
use crate::stream::legs::Legs;
use crate::stream::live_lane::{LiveLane, LiveOptions};
use crate::stream::live_only::ACKNOWLEDGEMENT_TIMEOUT;
use crate::stream::logging::LogQueue;
use crate::stream::metrics::{Gauges, MetricsTask, StreamScope};
use crate::stream::pieces::{Capacity, Pieces};
use crate::stream::policy::{DiskBackupPolicy, RetryPolicy};
use crate::stream::setup::Setup;

pub use transport::LiveStreamingWithBackups;
use transport::{Patience, Signals};

/// How often the gRPC stream is acknowledged, if nothing else is asked for.
pub const DEFAULT_CHECKPOINT_INTERVAL: Duration = Duration::from_secs(60);

/// Time after which a frame that isn't full is written and sent: live data mustn't be late.
const LIVE_FLUSH: Duration = Duration::from_millis(20);

/// The last step of a stream with files and a link.
pub struct LiveWithBackupsBuilder {
    base: StreamConfigBuilder,
    checkpoint_interval: Duration,
    retry: RetryPolicy,
    disk: DiskBackupPolicy,
    recorder: RecorderOptions,
    gzip: bool,
    metrics_interval: Option<Duration>,
    capacity: Capacity,
    acknowledgement_timeout: Duration,
    finish_timeout: Duration,
    strict: bool,
}

impl LiveWithBackupsBuilder {
    pub(super) fn new(base: StreamConfigBuilder) -> Self {
        Self {
            base,
            checkpoint_interval: DEFAULT_CHECKPOINT_INTERVAL,
            retry: RetryPolicy::default(),
            disk: DiskBackupPolicy::default(),
            recorder: RecorderOptions {
                flush_interval: LIVE_FLUSH,
                waiting_records: QUEUE_REQUESTS as u64,
                ..RecorderOptions::default()
            },
            gzip: false,
            metrics_interval: Some(DEFAULT_METRICS_STREAMING_INTERVAL),
            capacity: Capacity { requests: QUEUE_REQUESTS as u64, bytes: QUEUE_BYTES },
            acknowledgement_timeout: ACKNOWLEDGEMENT_TIMEOUT,
            finish_timeout: Duration::from_secs(10),
            strict: false,
        }
    }

    /// How often the gRPC stream is closed and acknowledged, so that what it carried is confirmed and its files can go.
    /// Default: 60 s.
    pub fn checkpoint_interval(mut self, interval: Duration) -> Self {
        self.checkpoint_interval = interval;
        self
    }

    /// The pauses before something that failed is tried again. Attempts aren't limited: what isn't delivered is on disk.
    /// Default: see [`RetryPolicy`].
    pub fn retry_policy(mut self, policy: RetryPolicy) -> Self {
        self.retry = policy;
        self
    }

    /// Where files are kept, how large, how many and how long. Default: see [`DiskBackupPolicy`].
    pub fn disk_backup_policy(mut self, policy: DiskBackupPolicy) -> Self {
        self.disk = policy;
        self
    }

    /// How requests are recorded: when they are synced ([`SyncPolicy`](crate::record::SyncPolicy)), what happens when the
    /// disk is behind ([`OnFull`](crate::record::OnFull)), how they are compressed. Of these, `segment_bytes` is
    /// [`DiskBackupPolicy::max_backup_file_size`], and `tap` the stream's own. Default: as [`RecorderOptions`], but frames
    /// are written, and sent, after 20 ms, full or not.
    pub fn recorder_options(mut self, options: RecorderOptions) -> Self {
        self.recorder = RecorderOptions { waiting_records: self.recorder.waiting_records, ..options };
        self
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

    /// Requests that may wait to be sent live. When there are more, the oldest give way, and go by replay. Default: 102,400.
    pub fn ingestion_data_channel_capacity(mut self, capacity: usize) -> Self {
        self.capacity.requests = capacity as u64;
        self
    }

    /// Bytes of these requests; a single one may be larger. Default: 32 MiB.
    pub fn ingestion_data_channel_bytes(mut self, bytes: usize) -> Self {
        self.capacity.bytes = bytes;
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

    /// Time after a gRPC stream's end in which its acknowledgement must come; later it is a failed checkpoint. Default:
    /// 10 s.
    pub fn acknowledgement_timeout(mut self, timeout: Duration) -> Self {
        self.acknowledgement_timeout = timeout;
        self
    }

    /// How long [`finish`](SiftStream::finish) waits for what isn't confirmed, once all is on disk: for what is in the live
    /// queue, acknowledgements on their way, and the replay of the rest (which, without a link, has 1 s at most). Default:
    /// 10 s.
    pub fn finish_timeout(mut self, timeout: Duration) -> Self {
        self.finish_timeout = timeout;
        self
    }

    /// Whether building fails when there is no link. Default: no: the stream records, and registers as soon as there is one.
    pub fn strict(mut self, strict: bool) -> Self {
        self.strict = strict;
        self
    }

    /// Starts. Waits for a link as long as [`connect_timeout`](StreamConfigBuilder::connect_timeout) allows. Sessions that
    /// an earlier process has left unconfirmed are replayed in the background. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`StreamError`]: nothing can be recorded; another stream or replay is at work on the same files; with a link, Sift
    /// refuses the credentials, the ingestion config or the run; if strict, that there is none.
    pub async fn build(self) -> Result<SiftStream<IngestionConfigEncoder, LiveStreamingWithBackups>, StreamError> {
        let (scope, logs) = StreamScope::new(&self.base, self.metrics_interval);
        scope.scoped(self.build_in(scope.clone(), logs)).await
    }

    async fn build_in(
        self,
        scope: StreamScope,
        logs: Option<LogQueue>,
    ) -> Result<SiftStream<IngestionConfigEncoder, LiveStreamingWithBackups>, StreamError> {
        let setup = self.base.setup(self.acknowledgement_timeout)?;
        let (config, run) = (self.base.request(), self.base.run());
        // What makes no sense shows before anything is made.
        Encoder::new(&schema(&config, run.as_ref()).map_err(RecordError::from)?)?;
        let mut flows = IngestionConfigEncoder::default();
        flows.add(&self.base.config.flows)?;
        let home = home_of(&self.disk, &self.base.config.client_key)?;
        let state = open_state(&home).await?;
        let linked = self.first_link(&setup, &config, run.as_ref()).await?;
        let attached = linked.as_ref().and_then(|registered| registered.run.clone());
        let attached = attached.or_else(|| run.as_ref().map(expected_run));
        let transport = self.start(setup, (home, state), (config, run), linked, (scope, logs)).await?;
        transport.numbers.metrics().loaded_flows(flows.get().len() as u64);
        Ok(SiftStream::new(flows, transport, attached))
    }

    /// Registers, if there is a link.
    async fn first_link(
        &self,
        setup: &Arc<Setup>,
        config: &CreateIngestionConfigRequest,
        run: Option<&RunSelector>,
    ) -> Result<Option<Registered>, StreamError> {
        let leg = Leg::new(Uuid::nil(), config.clone(), run.cloned(), std::sync::Weak::new());
        let linked = async {
            let connection = setup.link.check().await?;
            Ok::<_, StreamError>(setup.persist(|| setup.register(&connection, &leg)).await?)
        };
        let linked = if self.strict {
            linked.await
        } else {
            // It can be done later: whoever answers the ping and then falls silent holds up no program.
            let waited = self.base.connect_timeout;
            let late = |_| RegisterError::Timeout { call: "registering at the start of the stream", waited };
            timeout(waited, linked).await.unwrap_or_else(|elapsed| Err(late(elapsed).into()))
        };
        match linked {
            Ok(registered) => Ok(Some(registered)),
            Err(error) if error.is_transient() && !self.strict => {
                tracing::warn!(%error, "there is no link; recording begins without one");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    async fn start(
        self,
        setup: Arc<Setup>,
        (home, state): (PathBuf, State),
        (config, run): (CreateIngestionConfigRequest, Option<RunSelector>),
        linked: Option<Registered>,
        (scope, logs): (StreamScope, Option<LogQueue>),
    ) -> Result<LiveStreamingWithBackups, StreamError> {
        let ledger = Arc::new(Ledger::new(setup.link.name().to_owned(), state, scope.metrics.clone()));
        let pieces = Arc::new(Pieces::new(self.capacity));
        let options = RecorderOptions { segment_bytes: self.disk.max_backup_file_size as u64, ..self.recorder.clone() };
        let live = Live { pieces: pieces.clone(), ledger: ledger.clone() };
        let disk = Arc::new(Disk::new(home.clone(), options, Some(live)));
        let (lanes, own_lanes) = (Arc::new(setup.link.lane(self.gzip)?), setup.link.lane(self.gzip)?);
        let mut legs = Legs::new(disk.clone(), config);
        let leg = legs.begin(run).await?.leg;
        if let Some(registered) = linked {
            leg.set_registered(Arc::new(registered));
        }
        let (finishing, is_finishing) = watch::channel(false);
        let (phase, in_phase) = watch::channel(Phase::On);
        let retry = self.base.retries(&self.retry, self.acknowledgement_timeout);
        let lane = LiveLane {
            setup: setup.clone(),
            lanes: lanes.clone(),
            pieces: pieces.clone(),
            ledger: ledger.clone(),
            options: LiveOptions {
                checkpoint_interval: self.checkpoint_interval,
                acknowledgement_timeout: self.acknowledgement_timeout,
                max_files: self.disk.rolling_file_policy.max_file_count.map(|most| most.max(1) as u64),
                retry: retry.clone(),
            },
            forced: Arc::new(Notify::new()),
            finishing: is_finishing,
        };
        let after = if self.disk.retain_backups { After::Keep } else { After::Delete };
        let keeper = Keeper {
            home: home.clone(),
            ledger: ledger.clone(),
            lanes: own_lanes,
            options: ReplayOptions { after, after_unsealed: true, ..retry },
            phase: in_phase,
        };
        let gauges = gauges(disk, pieces.clone());
        let live = tokio::spawn(scope.scoped(lane.run(leg)));
        let keeper = tokio::spawn(scope.scoped(keeper.run()));
        let numbers = MetricsTask::start(&self.base, self.metrics_interval, (scope, logs), Arc::new(gauges));
        let signals = Signals { pieces, finishing, phase };
        let (finish_timeout, call_timeout) = (self.finish_timeout, self.base.connect_timeout);
        let timeouts = Patience { finish_timeout, call_timeout };
        Ok(LiveStreamingWithBackups { legs, setup, lanes, ledger, numbers, live, keeper, signals, timeouts })
    }
}

fn gauges(disk: Arc<Disk>, pieces: Arc<Pieces>) -> impl Fn() -> Gauges + Send + Sync + 'static {
    move || Gauges { ingestion_channel_depth: pieces.depth(), ..disk.gauges() }
}
