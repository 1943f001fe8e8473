//! Where what a stream logs goes to, from its first moment on.

use std::sync::Arc;
use std::time::Duration;

use super::StreamMetrics;
use crate::stream::builder::StreamConfigBuilder;
use crate::stream::logging::LogQueue;
#[cfg(feature = "tracing")]
use crate::stream::telemetry::{Scope, TelemetryCapture, scoped};

/// A stream's numbers, and who sees what it logs.
#[derive(Debug, Clone)]
pub(crate) struct StreamScope {
    pub(crate) metrics: Arc<StreamMetrics>,
    #[cfg(feature = "tracing")]
    scope: Option<Scope>,
}

impl StreamScope {
    /// For a stream that is being built. The queue is there if its log events are to be sent.
    #[cfg(feature = "tracing")]
    pub(crate) fn new(base: &StreamConfigBuilder, interval: Option<Duration>) -> (Self, Option<LogQueue>) {
        let metrics = Arc::new(StreamMetrics::new());
        if interval.is_none() || !base.capture {
            let scope = base.dispatch.clone().map(Scope::Shown);
            return (Self { metrics, scope }, None);
        }
        let (capture, queue) = TelemetryCapture::new(base.dispatch.clone(), base.log_level, metrics.clone());
        (Self { metrics, scope: Some(Scope::Captured(capture)) }, Some(queue))
    }

    /// For a stream that is being built.
    #[cfg(not(feature = "tracing"))]
    pub(crate) fn new(_: &StreamConfigBuilder, _: Option<Duration>) -> (Self, Option<LogQueue>) {
        (Self { metrics: Arc::new(StreamMetrics::new()) }, None)
    }

    /// Log events that wait to be sent.
    pub(super) fn depth(&self) -> u64 {
        #[cfg(feature = "tracing")]
        if let Some(Scope::Captured(capture)) = &self.scope {
            return capture.depth();
        }
        0
    }

    /// Runs a part of the stream.
    #[cfg(feature = "tracing")]
    pub(crate) fn scoped<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        scoped(self.scope.as_ref(), future)
    }

    /// Runs a part of the stream.
    #[cfg(not(feature = "tracing"))]
    pub(crate) fn scoped<F: Future>(&self, future: F) -> F {
        future
    }

    /// Runs a part of the stream that waits for nothing.
    pub(crate) fn within<T>(&self, call: impl FnOnce() -> T) -> T {
        #[cfg(feature = "tracing")]
        if let Some(scope) = &self.scope {
            return scope.within(call);
        }
        call()
    }
}
