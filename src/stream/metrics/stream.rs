//! Carries a stream's numbers and log events to where they are shown, without ever getting in its way.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::{Gauges, StreamMetrics, values};
use crate::record::Value;
use crate::stream::logging::{LOG_CAPACITY, LogEvent, LogQueue};

/// Where numbers and log events go. Neither call waits: each returns whether there was room.
pub(crate) trait MetricsSink {
    /// Takes a snapshot's values, in the order of the channels.
    fn metrics(&mut self, values: Vec<Value<'static>>) -> bool;

    /// Takes a log event.
    fn log(&mut self, event: &LogEvent) -> bool;
}

/// Sends a snapshot at once, then one each `interval`, and each log event as it comes, till `until` is done. Then what
/// is left of the log events, and a last snapshot. Hands the sink back, for the caller to end, and the log events
/// that may still come.
pub(crate) async fn run<S: MetricsSink, G: Future<Output = Gauges>>(
    mut sink: S,
    interval: Duration,
    metrics: Arc<StreamMetrics>,
    gauges: impl Fn() -> G,
    mut logs: Option<LogQueue>,
    until: impl Future,
) -> (S, Option<LogQueue>) {
    // An interval of nothing isn't one.
    let mut ticks = tokio::time::interval(interval.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tokio::pin!(until);
    loop {
        tokio::select! {
            biased;
            _ = &mut until => break,
            _ = ticks.tick() => show(&mut sink, &metrics, &gauges().await),
            event = next(&mut logs) => match event {
                Some(event) => log(&mut sink, &metrics, &event),
                None => logs = None,
            },
        }
    }
    // Bounded: whoever goes on logging doesn't keep this from ending. One event may be held back, with its repeats.
    for _ in 0..LOG_CAPACITY + 2 {
        let Some(event) = logs.as_mut().and_then(LogQueue::try_pop) else { break };
        log(&mut sink, &metrics, &event);
    }
    show(&mut sink, &metrics, &gauges().await);
    (sink, logs)
}

async fn next(logs: &mut Option<LogQueue>) -> Option<LogEvent> {
    match logs {
        Some(logs) => logs.pop().await,
        None => std::future::pending().await,
    }
}

fn show(sink: &mut impl MetricsSink, metrics: &StreamMetrics, gauges: &Gauges) {
    if !sink.metrics(values(&metrics.snapshot(gauges))) {
        metrics.snapshot_dropped();
    }
}

fn log(sink: &mut impl MetricsSink, metrics: &StreamMetrics, event: &LogEvent) {
    if !sink.log(event) {
        metrics.log_dropped();
    }
}

#[cfg(test)]
mod tests;
