//! Log events on their way out: bounded, and repeats collapsed.

#![cfg_attr(not(feature = "tracing"), allow(dead_code, reason = "only captured with the feature `tracing`"))]

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::metrics::StreamMetrics;

/// Log events that may wait; more are dropped, and counted.
pub(crate) const LOG_CAPACITY: usize = 512;

/// How long repeats are held back for more to come.
const HOLD: Duration = Duration::from_secs(10);

/// How much a log event matters; the least comes last. As a filter it lets through itself and all that is less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(u8)]
pub enum LogLevel {
    /// Something failed for good.
    Error = 1,
    /// Something failed, or is odd; the stream goes on.
    Warn = 2,
    /// What happens.
    #[default]
    Info = 3,
    /// How it happens.
    Debug = 4,
    /// Every step of it.
    Trace = 5,
}

impl LogLevel {
    /// In capitals: `ERROR`, `WARN`, `INFO`, `DEBUG` or `TRACE`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "ERROR",
            Self::Warn => "WARN",
            Self::Info => "INFO",
            Self::Debug => "DEBUG",
            Self::Trace => "TRACE",
        }
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl From<&tracing::Level> for LogLevel {
    fn from(level: &tracing::Level) -> Self {
        match *level {
            tracing::Level::ERROR => Self::Error,
            tracing::Level::WARN => Self::Warn,
            tracing::Level::INFO => Self::Info,
            tracing::Level::DEBUG => Self::Debug,
            tracing::Level::TRACE => Self::Trace,
        }
    }
}

/// Something that was logged.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LogEvent {
    pub(crate) level: LogLevel,
    /// The module, as a rule.
    pub(crate) target: &'static str,
    pub(crate) message: String,
    /// Names and values.
    pub(crate) fields: Vec<(&'static str, String)>,
    pub(crate) time: SystemTime,
    /// The file and line that logged it, if known.
    pub(crate) place: Option<(&'static str, u32)>,
    /// How many more of its place, before it, aren't shown.
    pub(crate) repeats: u64,
}

impl LogEvent {
    /// The message with its fields, and how often it was repeated.
    pub(crate) fn line(&self) -> String {
        let mut line = self.message.clone();
        for (name, value) in &self.fields {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(name);
            line.push('=');
            line.push_str(value);
        }
        if self.repeats > 0 {
            line.push_str(&format!(" (and {} more like it, not shown)", self.repeats));
        }
        line
    }
}

/// A queue of log events: the end where they are put in, and the end where they are taken out.
pub(crate) fn log_queue(metrics: Arc<StreamMetrics>) -> (LogSender, LogQueue) {
    let (sender, receiver) = mpsc::channel(LOG_CAPACITY);
    let queue = LogQueue { receiver, last: None, held: None, due: Instant::now(), next: None };
    (LogSender { sender, metrics }, queue)
}

/// Where log events are put in.
#[derive(Debug, Clone)]
pub(crate) struct LogSender {
    sender: mpsc::Sender<LogEvent>,
    metrics: Arc<StreamMetrics>,
}

impl LogSender {
    /// Never waits: what finds no room is lost, and counted.
    pub(crate) fn push(&self, event: LogEvent) {
        if self.sender.try_send(event).is_err() {
            self.metrics.log_dropped();
        }
    }

    /// Events that wait.
    pub(crate) fn depth(&self) -> u64 {
        (self.sender.max_capacity() - self.sender.capacity()) as u64
    }
}

/// Where log events are taken out. Of those that follow one another from the same place, the first is handed out at
/// once, and of the others only the last, with their number: when something else comes, or after ten seconds.
#[derive(Debug)]
pub(crate) struct LogQueue {
    receiver: mpsc::Receiver<LogEvent>,
    /// Where the last one came from.
    last: Option<(&'static str, u32)>,
    /// The last repeat, held back till `due`.
    held: Option<LogEvent>,
    due: Instant,
    /// What comes after what was held back.
    next: Option<LogEvent>,
}

impl LogQueue {
    /// The next one; `None` when there will be none. Nothing is lost when the future is dropped.
    pub(crate) async fn pop(&mut self) -> Option<LogEvent> {
        loop {
            if let Some(next) = self.next.take() {
                return Some(next);
            }
            let event = match self.held {
                None => self.receiver.recv().await,
                Some(_) => match timeout_at(self.due, self.receiver.recv()).await {
                    Ok(event) => event,
                    Err(_) => return self.held.take(),
                },
            };
            match event {
                Some(event) => {
                    if let Some(event) = self.collapse(event) {
                        return Some(event);
                    }
                }
                None => return self.held.take(),
            }
        }
    }

    /// The next one, if one is there; repeats aren't held back any longer.
    pub(crate) fn try_pop(&mut self) -> Option<LogEvent> {
        if let Some(next) = self.next.take() {
            return Some(next);
        }
        while let Ok(event) = self.receiver.try_recv() {
            if let Some(event) = self.collapse(event) {
                return Some(event);
            }
        }
        self.held.take()
    }

    /// The next one as it was put in.
    #[cfg(all(test, feature = "cli", feature = "tracing"))]
    pub(super) fn raw(&mut self) -> Option<LogEvent> {
        self.receiver.try_recv().ok()
    }

    /// What to hand out now that this one has come: nothing, it, or what was held back and then it.
    fn collapse(&mut self, mut event: LogEvent) -> Option<LogEvent> {
        if event.place.is_some() && event.place == self.last {
            match &self.held {
                Some(held) => event.repeats = held.repeats.saturating_add(1),
                None => self.due = Instant::now() + HOLD,
            }
            self.held = Some(event);
            return None;
        }
        self.last = event.place;
        match self.held.take() {
            Some(held) => {
                self.next = Some(event);
                Some(held)
            }
            None => Some(event),
        }
    }
}

#[cfg(test)]
mod tests;
