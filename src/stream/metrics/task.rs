//! A stream's numbers and log events on their way to Sift, over a stream of their own.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use sift_rs::ingest::v1::IngestWithConfigDataStreamRequest;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{
    Gauges, LOG_FLOW, METRICS_FLOW, MetricsSink, SiftStreamMetricsSnapshot, StreamMetrics, StreamScope, form,
    log_values, run, session_name,
};
use crate::record::{self, Timestamp};
use crate::replay::spawn_blocking;
use crate::stream::builder::StreamConfigBuilder;
use crate::stream::handle::{IngestionConfigEncoder, SiftStream};
use crate::stream::live_only::{LiveOnlyBuilder, LiveStreamingOnly};
use crate::stream::logging::{LOG_CAPACITY, LogEvent, LogQueue};

/// How long to wait before connecting is tried again, at first; each time twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// At most, while there is no link.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// And when Sift refuses the numbers: somebody has to do something first.
const REFUSED_PAUSE: Duration = Duration::from_secs(60);

/// How often is looked whether the stream has given up.
const LOOK: Duration = Duration::from_millis(100);

/// How long the last numbers may take to be sent.
const FINISH: Duration = Duration::from_secs(2);

/// What pulls figures that are kept elsewhere. May block.
pub(crate) type GaugesOf = Arc<dyn Fn() -> Gauges + Send + Sync>;

/// A stream's numbers, and the task that sends them.
pub(crate) struct MetricsTask {
    scope: StreamScope,
    gauges: GaugesOf,
    finishing: watch::Sender<bool>,
    task: Option<JoinHandle<()>>,
}

impl MetricsTask {
    /// Sends every `interval`, if there is one, and the log events as they come.
    pub(crate) fn start(
        base: &StreamConfigBuilder,
        interval: Option<Duration>,
        (scope, logs): (StreamScope, Option<LogQueue>),
        gauges: GaugesOf,
    ) -> Self {
        let (finishing, is_finishing) = watch::channel(false);
        let whole = scope.clone();
        let gauges: GaugesOf = Arc::new(move || Gauges { log_channel_depth: whole.depth(), ..gauges() });
        let task = interval.map(|interval| {
            let name = session_name(&base.config.asset_name, &base.config.client_key);
            let builder = base.for_metrics(form(&name, logs.is_some()));
            let (metrics, gauges) = (scope.metrics.clone(), gauges.clone());
            tokio::spawn(send(builder, interval, metrics, gauges, logs, is_finishing))
        });
        Self { scope, gauges, finishing, task }
    }

    /// Who sees what the stream logs.
    pub(crate) fn scope(&self) -> &StreamScope {
        &self.scope
    }

    pub(crate) fn metrics(&self) -> &StreamMetrics {
        &self.scope.metrics
    }

    /// Blocks as the gauges do.
    pub(crate) fn snapshot(&self) -> SiftStreamMetricsSnapshot {
        self.scope.metrics.snapshot(&(self.gauges)())
    }

    /// Sends the last numbers, if there is a link. Nothing is left of the task when it returns.
    pub(crate) async fn finish(mut self) {
        self.finishing.send_replace(true);
        let Some(task) = &mut self.task else { return };
        if tokio::time::timeout(FINISH, &mut *task).await.is_err() {
            task.abort();
            // What it holds is the stream's.
            let _ = task.await;
        }
    }
}

impl Drop for MetricsTask {
    /// Who drops a stream doesn't wait for it, and gets no last numbers.
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl fmt::Debug for MetricsTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsTask").field("scope", &self.scope).finish_non_exhaustive()
    }
}

/// Connects, whenever that becomes possible, and sends until the stream ends. Boxed: the stream that it makes has such a
/// task, too.
fn send(
    builder: LiveOnlyBuilder,
    interval: Duration,
    metrics: Arc<StreamMetrics>,
    gauges: GaugesOf,
    mut logs: Option<LogQueue>,
    finishing: watch::Receiver<bool>,
) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        let (mut ends, mut pauses, mut unsent, mut is_first) = (finishing.clone(), Pauses::new(), Vec::new(), true);
        loop {
            let built = tokio::select! {
                built = builder.clone().build() => built,
                // The first attempt may go on: also what lives shortly has last numbers.
                () = is_finishing(&mut ends), if !is_first => return,
            };
            is_first = false;
            let (began, mut is_refused) = (Instant::now(), false);
            match built.map(Sink::new) {
                Ok(Some(mut sink)) => {
                    sink.put_again(std::mem::take(&mut unsent), &metrics);
                    let until = ended(sink.stream.clone(), finishing.clone());
                    let pull = || pulled(&gauges);
                    let (sink, left) = run(sink, interval, metrics.clone(), pull, logs, until).await;
                    logs = left;
                    unsent = sink.finish(&metrics).await;
                }
                Ok(None) => return,
                Err(error) => is_refused = !error.is_transient(),
            }
            tokio::select! {
                () = tokio::time::sleep(pauses.next(began.elapsed(), is_refused)) => {}
                () = is_finishing(&mut ends) => return,
            }
        }
    })
}

/// Elsewhere: a directory is read for it.
async fn pulled(gauges: &GaugesOf) -> Gauges {
    let gauges = gauges.clone();
    match spawn_blocking(move || gauges()).await {
        Ok(pulled) => pulled,
        // It panicked, which is a bug: let it be seen.
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The runtime ends.
        Err(_) => std::future::pending().await,
    }
}

async fn is_finishing(finishing: &mut watch::Receiver<bool>) {
    // The sender outlives this; were it gone, the stream would be, too.
    let _ = finishing.wait_for(|finishing| *finishing).await;
}

/// Returns when the stream whose numbers these are ends, or some time after the one that carries them has given up.
async fn ended(carrier: Arc<SiftStream<IngestionConfigEncoder, LiveStreamingOnly>>, mut ends: watch::Receiver<bool>) {
    let given_up = async {
        while carrier.closed().is_none() {
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::select! {
        () = is_finishing(&mut ends) => {}
        () = given_up => {}
    }
}

/// Pauses between connections.
struct Pauses(Duration);

impl Pauses {
    fn new() -> Self {
        Self(FIRST_PAUSE)
    }

    /// After a connection that has lived so long. Random, so that vehicles that lost the same link don't come back at once.
    fn next(&mut self, lived: Duration, is_refused: bool) -> Duration {
        if lived > LONGEST_PAUSE {
            self.0 = FIRST_PAUSE;
        }
        let range = if is_refused { REFUSED_PAUSE } else { self.0 };
        self.0 = (self.0 * 2).min(LONGEST_PAUSE);
        range.mul_f64(0.5 + fastrand::f64() / 2.0)
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

    /// Log events that an earlier connection couldn't deliver.
    fn put_again(&mut self, unsent: Vec<IngestWithConfigDataStreamRequest>, metrics: &StreamMetrics) {
        for request in unsent {
            if self.stream.try_send_requests([request]).is_err() {
                metrics.log_dropped();
            }
        }
    }

    /// Ends the stream; returns the log events that weren't delivered, which nobody will say again. Numbers are superseded
    /// by the next ones.
    async fn finish(self, metrics: &StreamMetrics) -> Vec<IngestWithConfigDataStreamRequest> {
        let Some(stream) = Arc::into_inner(self.stream) else { return Vec::new() };
        let Err(error) = stream.finish().await else { return Vec::new() };
        let (mut logs, numbers): (Vec<_>, Vec<_>) =
            error.undelivered.into_iter().partition(|request| request.flow == LOG_FLOW);
        numbers.iter().for_each(|_| metrics.snapshot_dropped());
        let too_many = logs.len().saturating_sub(LOG_CAPACITY);
        logs.drain(..too_many).for_each(|_| metrics.log_dropped());
        logs
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_longest_and_begin_anew_after_a_connection_that_lived() {
        let (mut pauses, short) = (Pauses::new(), Duration::from_secs(1));
        for range in [250, 500, 1000, 2000, 4000, 5000, 5000] {
            let (pause, range) = (pauses.next(short, false), Duration::from_millis(range));
            assert!(range / 2 <= pause && pause <= range, "{pause:?} of {range:?}");
        }
        assert!(pauses.next(short, true) >= REFUSED_PAUSE / 2);
        assert!(pauses.next(LONGEST_PAUSE * 2, false) <= FIRST_PAUSE);
    }
}
