//! A stream's numbers and log events on their way to Sift, over a stream of their own.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{
    Gauges, LOG_FLOW, METRICS_FLOW, MetricsSink, SiftStreamMetricsSnapshot, StreamMetrics, form, log_values, run,
    session_name,
};
use crate::record::{self, Timestamp};
use crate::stream::builder::StreamConfigBuilder;
use crate::stream::handle::{IngestionConfigEncoder, SiftStream};
use crate::stream::live_only::{LiveOnlyBuilder, LiveStreamingOnly};
use crate::stream::logging::{LogEvent, LogQueue};
#[cfg(feature = "tracing")]
use crate::stream::telemetry::{TelemetryCapture, scoped};

/// How long to wait before connecting is tried again.
const RECONNECT: Duration = Duration::from_secs(5);

/// How long the last numbers may take to be sent.
const FINISH: Duration = Duration::from_secs(2);

/// What pulls figures that are kept elsewhere.
pub(crate) type GaugesOf = Arc<dyn Fn() -> Gauges + Send + Sync>;

/// A stream's numbers, and the task that sends them.
pub(crate) struct MetricsTask {
    metrics: Arc<StreamMetrics>,
    gauges: GaugesOf,
    #[cfg(feature = "tracing")]
    capture: Option<TelemetryCapture>,
    finishing: watch::Sender<bool>,
    task: Option<JoinHandle<()>>,
}

impl MetricsTask {
    /// Sends every `interval`, if there is one.
    pub(crate) fn start(
        base: &StreamConfigBuilder,
        interval: Option<Duration>,
        metrics: Arc<StreamMetrics>,
        gauges: GaugesOf,
    ) -> Self {
        let (finishing, is_finishing) = watch::channel(false);
        let mut started = Self {
            metrics,
            gauges,
            #[cfg(feature = "tracing")]
            capture: None,
            finishing,
            task: None,
        };
        let Some(interval) = interval else { return started };
        let logs = started.capture(base);
        let name = session_name(&base.config.asset_name, &base.config.client_key);
        let builder = base.for_metrics(form(&name, logs.is_some()));
        let (metrics, gauges) = (started.metrics.clone(), started.gauges_of());
        started.task = Some(tokio::spawn(send(builder, interval, metrics, gauges, logs, is_finishing)));
        started
    }

    #[cfg(feature = "tracing")]
    fn capture(&mut self, base: &StreamConfigBuilder) -> Option<LogQueue> {
        if !base.capture {
            return None;
        }
        let (capture, queue) = TelemetryCapture::new(base.dispatch.clone(), base.log_level, self.metrics.clone());
        self.capture = Some(capture);
        Some(queue)
    }

    #[cfg(not(feature = "tracing"))]
    fn capture(&mut self, _: &StreamConfigBuilder) -> Option<LogQueue> {
        None
    }

    pub(crate) fn metrics(&self) -> &StreamMetrics {
        &self.metrics
    }

    fn gauges_of(&self) -> GaugesOf {
        #[cfg(feature = "tracing")]
        if let Some(capture) = self.capture.clone() {
            let gauges = self.gauges.clone();
            return Arc::new(move || Gauges { log_channel_depth: capture.depth(), ..gauges() });
        }
        self.gauges.clone()
    }

    pub(crate) fn snapshot(&self) -> SiftStreamMetricsSnapshot {
        self.metrics.snapshot(&self.gauges_of()())
    }

    /// Runs a task of the stream, and captures what it logs.
    #[cfg(feature = "tracing")]
    pub(crate) fn scoped<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        scoped(self.capture.as_ref(), future)
    }

    /// Runs a task of the stream.
    #[cfg(not(feature = "tracing"))]
    pub(crate) fn scoped<F: Future>(&self, future: F) -> F {
        future
    }

    /// Sends the last numbers, if there is a link.
    pub(crate) async fn finish(mut self) {
        self.finishing.send_replace(true);
        if let Some(task) = self.task.take() {
            let mut task = task;
            if tokio::time::timeout(FINISH, &mut task).await.is_err() {
                task.abort();
            }
        }
    }
}

impl Drop for MetricsTask {
    fn drop(&mut self) {
        self.finishing.send_replace(true);
    }
}

impl fmt::Debug for MetricsTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsTask").field("metrics", &self.metrics).finish_non_exhaustive()
    }
}

/// Connects, whenever that becomes possible, and sends until the stream ends. Boxed: the stream that it makes has such a
/// task, too.
fn send(
    builder: LiveOnlyBuilder,
    interval: Duration,
    metrics: Arc<StreamMetrics>,
    gauges: GaugesOf,
    logs: Option<LogQueue>,
    mut finishing: watch::Receiver<bool>,
) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        let mut logs = logs;
        let mut ends = finishing.clone();
        loop {
            let built = tokio::select! {
                built = builder.clone().build() => built,
                // The sender outlives this; were it gone, the stream would be, too.
                _ = ends.wait_for(|ends| *ends) => return,
            };
            if let Some(sink) = built.ok().and_then(Sink::new) {
                let closed = sink.stream.clone();
                let until = async {
                    tokio::select! {
                        _ = ends.wait_for(|ends| *ends) => {}
                        () = is_closed(&closed) => {}
                    }
                };
                let (sink, left) = run(sink, interval, metrics.clone(), || gauges(), logs, until).await;
                logs = left;
                drop(closed);
                if let Some(stream) = Arc::into_inner(sink.stream) {
                    // It would be sent again with the next numbers, and counts for nobody.
                    let _ = stream.finish().await;
                }
            }
            tokio::select! {
                () = tokio::time::sleep(RECONNECT) => {}
                _ = finishing.wait_for(|ends| *ends) => return,
            }
        }
    })
}

/// Returns some time after a stream has given up.
async fn is_closed(stream: &SiftStream<IngestionConfigEncoder, LiveStreamingOnly>) {
    while stream.closed().is_none() {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Into a stream.
struct Sink {
    stream: Arc<SiftStream<IngestionConfigEncoder, LiveStreamingOnly>>,
    metrics: record::Flow,
    log: Option<record::Flow>,
}

impl Sink {
    fn new(stream: SiftStream<IngestionConfigEncoder, LiveStreamingOnly>) -> Option<Self> {
        let (metrics, log) = (stream.flow(METRICS_FLOW).ok()?, stream.flow(LOG_FLOW).ok());
        Some(Self { stream: Arc::new(stream), metrics, log })
    }
}

impl MetricsSink for Sink {
    fn metrics(&mut self, values: Vec<record::Value<'static>>) -> bool {
        self.stream.try_record(&self.metrics, Timestamp::now(), &values).is_ok()
    }

    fn log(&mut self, event: &LogEvent) -> bool {
        let Some(flow) = &self.log else { return true };
        let line = event.line();
        self.stream.try_record(flow, Timestamp::from(event.time), &log_values(event, &line)).is_ok()
    }
}
