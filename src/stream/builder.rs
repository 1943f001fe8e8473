//! Building a stream, step by step: each step offers what makes sense next.

use std::sync::Arc;
use std::time::Duration;

use sift_rs::ingestion_configs::v2::CreateIngestionConfigRequest;
use sift_rs::metadata::v1::MetadataValue;
use sift_rs::{Credentials, RateLimitPolicy, SiftChannel};

use super::error::StreamError;
use super::file_backup::FileBackupBuilder;
use super::forms::{IngestionConfigForm, RunForm, RunSelector};
use super::live_only::LiveOnlyBuilder;
use super::live_with_backups::LiveWithBackupsBuilder;
use super::logging::LogLevel;
use super::offline::OfflineStreamBuilder;
use super::policy::RetryPolicy;
use super::setup::{Link, Setup};
use crate::replay::{OnReject, ReplayOptions};
use crate::sift::Timeouts;

/// Requests that a queue holds, if nothing else is asked for: as many as the official crate's.
pub(super) const QUEUE_REQUESTS: usize = 102_400;

/// Bytes that a queue holds at most, unless it is a single request.
pub(super) const QUEUE_BYTES: usize = 32 << 20;

/// How often a stream's numbers are sent, if nothing else is asked for.
pub const DEFAULT_METRICS_STREAMING_INTERVAL: Duration = Duration::from_millis(500);

/// Snapshots and log events that may wait to be acknowledged: some minutes' worth.
const METRICS_REQUESTS: usize = 2048;

/// Their bytes.
const METRICS_BYTES: usize = 4 << 20;

/// What an existing channel is called, if nobody says where it leads.
const EXISTING_CHANNEL: &str = "existing-channel";

/// The first step: how Sift is reached.
#[derive(Clone)]
pub struct SiftStreamBuilder {
    access: Access,
    tls: bool,
    endpoint_name: String,
}

#[derive(Clone)]
enum Access {
    Credentials(Credentials),
    Channel(SiftChannel),
}

impl SiftStreamBuilder {
    /// With credentials: each lane gets a connection of its own.
    pub fn new(credentials: Credentials) -> Self {
        Self { access: Access::Credentials(credentials), tls: true, endpoint_name: EXISTING_CHANNEL.to_owned() }
    }

    /// Over a channel that is there. All lanes share it, so that replayed data competes with live data; and it can't be
    /// connected anew when it is stuck: credentials are better.
    pub fn from_channel(channel: SiftChannel) -> Self {
        Self { access: Access::Channel(channel), tls: true, endpoint_name: EXISTING_CHANNEL.to_owned() }
    }

    /// Without credentials: such a stream can only record.
    pub fn offline() -> OfflineStreamBuilder {
        OfflineStreamBuilder::default()
    }

    /// Says where an existing channel leads, such as `https://api.siftstack.com:443`: what is confirmed is noted for the
    /// endpoint, and this is how `sift-replay --uri …` finds it. Without it, the channel has a name of its own.
    pub fn endpoint_name(mut self, uri: &str) -> Self {
        self.endpoint_name = uri.to_owned();
        self
    }

    /// Without TLS: for tests. The key and the data can be read on the way. Does nothing to an existing channel.
    pub fn disable_tls(mut self) -> Self {
        self.tls = false;
        self
    }

    /// Answers of up to 50 MiB are read, whatever is said: taken, so that programs written for the official crate compile.
    pub fn max_decoding_message_size(self, _: usize) -> Self {
        self
    }

    /// The asset, the client key and the flows.
    pub fn ingestion_config(self, form: IngestionConfigForm) -> StreamConfigBuilder {
        StreamConfigBuilder {
            first: self,
            config: form,
            asset_tags: None,
            asset_metadata: None,
            run: None,
            run_id: None,
            log_level: LogLevel::default(),
            rate_limits: RateLimitPolicy::default(),
            #[cfg(feature = "tracing")]
            dispatch: None,
            connect_timeout: Timeouts::default().connect.min(CONNECT_TIMEOUT),
            on_reject: OnReject::default(),
            capture: true,
        }
    }
}

/// A stream doesn't hold up a program's start for longer than this.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

impl From<Credentials> for SiftStreamBuilder {
    fn from(credentials: Credentials) -> Self {
        Self::new(credentials)
    }
}

impl From<SiftChannel> for SiftStreamBuilder {
    fn from(channel: SiftChannel) -> Self {
        Self::from_channel(channel)
    }
}

/// The second step: what the stream is about; then one of the modes.
#[derive(Clone)]
pub struct StreamConfigBuilder {
    first: SiftStreamBuilder,
    pub(super) config: IngestionConfigForm,
    asset_tags: Option<Vec<String>>,
    asset_metadata: Option<Vec<MetadataValue>>,
    run: Option<RunForm>,
    run_id: Option<String>,
    #[cfg_attr(not(feature = "tracing"), allow(dead_code, reason = "only log events have levels"))]
    pub(super) log_level: LogLevel,
    rate_limits: RateLimitPolicy,
    #[cfg(feature = "tracing")]
    pub(super) dispatch: Option<tracing::Dispatch>,
    pub(super) connect_timeout: Duration,
    on_reject: OnReject,
    /// Whether log events are captured.
    #[cfg_attr(not(feature = "tracing"), allow(dead_code, reason = "nothing is captured without the feature"))]
    pub(super) capture: bool,
}

impl StreamConfigBuilder {
    /// Attaches the run of this form, which is found or created. A run's id wins over a form.
    pub fn attach_run(mut self, run: RunForm) -> Self {
        self.run = Some(run);
        self
    }

    /// Attaches the run with this id.
    pub fn attach_run_id(mut self, run_id: &str) -> Self {
        self.run_id = Some(run_id.to_owned());
        self
    }

    /// Sets the asset's tags; an empty list takes them all away. Default: they are left alone.
    pub fn add_asset_tags(mut self, tags: Vec<String>) -> Self {
        self.asset_tags = Some(tags);
        self
    }

    /// Sets the asset's metadata; an empty list takes it all away. Default: it is left alone.
    pub fn add_asset_metadata(mut self, metadata: Vec<MetadataValue>) -> Self {
        self.asset_metadata = Some(metadata);
        self
    }

    /// The least severe level of the stream's own log events that go to Sift, where they do. What the application's
    /// subscriber shows isn't changed. Default: info.
    pub fn log_level_filter(mut self, level: LogLevel) -> Self {
        self.log_level = level;
        self
    }

    /// Whether calls that register something wait when Sift limits their rate. Default: they do, a few times, as long as
    /// Sift asks for, at most 10 s each.
    pub fn rate_limit_policy(mut self, policy: RateLimitPolicy) -> Self {
        self.rate_limits = policy;
        self
    }

    /// The subscriber that the stream's log events go on to. Default: the one in force when the stream is built, or, if
    /// there is none, the first that is set later.
    ///
    /// It sees what it would see without any capture. Within the stream's own tasks, though, a
    /// [`Dispatch`](tracing::Dispatch) can't be downcast to it: there, another subscriber stands in front of it. And a
    /// program that sets no subscriber at all, but gets events as `log` records, by `tracing`'s feature `log`, gets them
    /// no longer, because `tracing` hands none on once anybody subscribes: such a program sets a subscriber, or has no
    /// events captured, with a
    /// [`metrics_streaming_interval`](LiveOnlyBuilder::metrics_streaming_interval) of `None` or without this crate's
    /// feature `tracing`.
    #[cfg(feature = "tracing")]
    pub fn with_scoped_dispatch_base(mut self, dispatch: tracing::Dispatch) -> Self {
        self.dispatch = Some(dispatch);
        self
    }

    /// How long connecting may take, name look-up, TLS and the first answer together. A stream with files that isn't strict
    /// waits for a link no longer than that, and as long again for Sift to register what it is about, before it starts
    /// without. Default: 5 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// What becomes of requests that Sift refuses. Default: Sift is told to refuse what doesn't fit, so that it is seen
    /// here: a stream with files keeps it as dead letters, one without hands it back at its end.
    /// [`OnReject::Accept`] lets Sift take it into its own error queue, unseen, as the official crate does.
    pub fn on_reject(mut self, on_reject: OnReject) -> Self {
        self.on_reject = on_reject;
        self
    }

    /// Nothing on disk: a bounded queue, a gRPC stream, retries.
    /// [`send`](super::SiftStream::send) waits while the queue is full. What was sent and isn't acknowledged stays in
    /// memory, and counts against the queue's capacity.
    pub fn live_only(self) -> LiveOnlyBuilder {
        LiveOnlyBuilder::new(self)
    }

    /// Everything is recorded first, and sent as it comes. What isn't confirmed goes by replay, from disk: nothing is lost
    /// by a dead link, a killed process, or a power cut. Starts without a link, too.
    pub fn live_with_backups(self) -> LiveWithBackupsBuilder {
        LiveWithBackupsBuilder::new(self)
    }

    /// Records only: never touches the network, nor looks at the credentials. Who has none begins with
    /// [`SiftStreamBuilder::offline`].
    pub fn file_backup(self) -> FileBackupBuilder {
        let run = self.run();
        FileBackupBuilder::new(self.config, run)
    }

    pub(super) fn request(&self) -> CreateIngestionConfigRequest {
        self.config.request()
    }

    pub(super) fn run(&self) -> Option<RunSelector> {
        let by_id = self.run_id.clone().map(RunSelector::ById);
        by_id.or_else(|| self.run.clone().map(RunSelector::ByForm))
    }

    /// The same asset's metrics go over a connection of their own.
    pub(super) fn for_metrics(&self, config: IngestionConfigForm) -> LiveOnlyBuilder {
        let first = SiftStreamBuilder {
            access: self.first.access.clone(),
            tls: self.first.tls,
            endpoint_name: self.first.endpoint_name.clone(),
        };
        let mut step = first.ingestion_config(config);
        (step.connect_timeout, step.capture) = (self.connect_timeout, false);
        // Whoever waits for it tries again.
        step.rate_limits = RateLimitPolicy::ReturnError;
        #[cfg(feature = "tracing")]
        {
            step.dispatch = self.dispatch.clone();
        }
        LiveOnlyBuilder::new(step)
            .metrics_streaming_interval(None)
            .ingestion_data_channel_capacity(METRICS_REQUESTS)
            .ingestion_data_channel_bytes(METRICS_BYTES)
            .abandoned_when_dropped()
    }

    pub(super) fn setup(&self, acknowledgement_timeout: Duration) -> Result<Arc<Setup>, StreamError> {
        let defaults = Timeouts::default();
        let timeouts = Timeouts {
            connect: self.connect_timeout,
            request: defaults.request.min(REQUEST_TIMEOUT),
            // What is stuck for so long wouldn't be acknowledged in time either.
            stall: acknowledgement_timeout,
        };
        let link = match &self.first.access {
            Access::Credentials(credentials) => Link::of(credentials, self.first.tls, timeouts)?,
            Access::Channel(channel) => Link::shared(channel.clone(), &self.first.endpoint_name, timeouts),
        };
        let attempts = if matches!(self.rate_limits, RateLimitPolicy::ReturnError) { 1 } else { CONTROL_ATTEMPTS };
        let mut setup = Setup::new(link, self.on_reject, attempts);
        (setup.asset_tags, setup.asset_metadata) = (self.asset_tags.clone(), self.asset_metadata.clone());
        Ok(Arc::new(setup))
    }

    /// How the replay engine's parts try again.
    pub(super) fn retries(&self, policy: &RetryPolicy, acknowledgement_timeout: Duration) -> ReplayOptions {
        ReplayOptions {
            acknowledgement_timeout,
            on_reject: self.on_reject,
            give_up_after: None,
            most_attempts: None,
            first_pause: policy.initial_backoff,
            pause_factor: policy.backoff_multiplier,
            longest_pause: policy.max_backoff,
            grace: GRACE,
            ..ReplayOptions::default()
        }
    }
}

/// For each call that registers something.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Attempts at such a call while a stream is built.
const CONTROL_ATTEMPTS: u32 = 5;

/// For windows that are on their way when a replay is interrupted.
const GRACE: Duration = Duration::from_secs(2);
