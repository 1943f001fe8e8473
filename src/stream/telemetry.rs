//! Captures what a stream's own tasks log, and shows the application's subscriber what it would see anyway.
//!
//! The tasks run in a scope of their own, whose subscriber is a [`Tee`]: spans, and events of other crates, it hands on
//! as they are. Events of this crate it puts into a queue, and hands them on if the application's subscriber wants
//! them. Three things about `tracing` make that less simple than it sounds:
//!
//! * Whether a call site is of interest is cached, for all subscribers together. So the tee says of an event that only
//!   it wants "ask each time", and remembers what the application's subscriber said, which is asked only if it wished
//!   to be: subscribers with filters per layer keep between question and event what they answered.
//! * So is the highest level that anybody wants. The tee names its own alone: the application's subscriber is asked
//!   itself.
//! * While there is but one subscriber, the cache holds what the current thread's scope says, which need not be ours.
//!   Hence the [`Anchor`]: with it, there are never less than two.
//!
//! Two things differ for the application while a stream captures. Within the stream's tasks a `Dispatch` can't be
//! downcast to the application's subscriber. And one that has no subscriber, but gets events by way of `tracing`'s
//! feature `log`, gets them no longer: `tracing` stops that, for the whole process and for ever, as soon as anybody
//! subscribes. Nothing here can tell whether that feature is on, so the builder's documentation says how to avoid it.

use std::collections::HashMap;
use std::fmt::{self, Write};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::task::{Context, Poll};
use std::time::SystemTime;

use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{Interest, NoSubscriber};
use tracing::{Dispatch, Event, Metadata, Subscriber};
use tracing_core::span::Current;

use super::logging::{LogEvent, LogLevel, LogQueue, LogSender, log_queue};
use super::metrics::StreamMetrics;

/// What the targets of this crate's events begin with.
const CRATE: &str = env!("CARGO_CRATE_NAME");

/// Bytes of a message, and of each field's value, that are kept: they may name what came from outside.
const MOST_TEXT: usize = 4096;

/// Captures what is logged in the futures that it is given to. Its clones capture into the same queue.
#[derive(Debug, Clone)]
pub(crate) struct TelemetryCapture(Arc<Capture>);

#[derive(Debug)]
struct Capture {
    sink: LogSender,
    level: LogLevel,
    /// In front of the application's subscriber, once there is one.
    tee: OnceLock<Dispatch>,
    /// In front of none, before.
    alone: Mutex<Option<Dispatch>>,
}

impl TelemetryCapture {
    /// Captures this crate's events of this level and above. `base` is the application's subscriber; without it, the
    /// one in force here, or, if there is none yet, the first that is found in force where a future is polled.
    pub(crate) fn new(base: Option<Dispatch>, level: LogLevel, metrics: Arc<StreamMetrics>) -> (Self, LogQueue) {
        let (sink, queue) = log_queue(metrics);
        let capture = Capture { sink, level, tee: OnceLock::new(), alone: Mutex::new(None) };
        if let Some(base) = application(base.unwrap_or_default()) {
            capture.tee.get_or_init(|| capture.tee(base));
        }
        (Self(Arc::new(capture)), queue)
    }

    /// Events in the queue.
    pub(crate) fn depth(&self) -> u64 {
        self.0.sink.depth()
    }

    /// Calls a function, and captures what it logs.
    pub(crate) fn within<T>(&self, call: impl FnOnce() -> T) -> T {
        tracing::dispatcher::with_default(&self.0.dispatch(), call)
    }
}

impl Capture {
    fn dispatch(&self) -> Dispatch {
        if let Some(tee) = self.tee.get() {
            return tee.clone();
        }
        let mut alone = self.alone.lock().unwrap_or_else(PoisonError::into_inner);
        match application(Dispatch::default()) {
            Some(base) => {
                *alone = None;
                self.tee.get_or_init(|| self.tee(base)).clone()
            }
            None => alone.get_or_insert_with(|| self.tee(Dispatch::none())).clone(),
        }
    }

    fn tee(&self, base: Dispatch) -> Dispatch {
        let wants = Wants { base, level: self.level };
        let anchor = Dispatch::new(Anchor(wants.clone()));
        Dispatch::new(Tee { wants, sink: self.sink.clone(), shown: RwLock::default(), _anchor: anchor })
    }
}

/// The application's own subscriber, if it has one: not that of another stream's capture, whose events are its own.
fn application(dispatch: Dispatch) -> Option<Dispatch> {
    let dispatch = match dispatch.downcast_ref::<Tee>() {
        Some(tee) => tee.wants.base.clone(),
        None => dispatch,
    };
    (!dispatch.is::<NoSubscriber>()).then_some(dispatch)
}

/// Who sees what a stream logs.
#[derive(Debug, Clone)]
pub(crate) enum Scope {
    /// Sift, and the application.
    Captured(TelemetryCapture),
    /// This subscriber alone.
    Shown(Dispatch),
}

impl Scope {
    /// Calls a function in it.
    pub(crate) fn within<T>(&self, call: impl FnOnce() -> T) -> T {
        match self {
            Self::Captured(capture) => capture.within(call),
            Self::Shown(dispatch) => tracing::dispatcher::with_default(dispatch, call),
        }
    }
}

/// Runs a future in a scope; without one, it just runs.
pub(crate) fn scoped<F: Future>(scope: Option<&Scope>, future: F) -> Scoped<F> {
    Scoped { scope: scope.cloned(), future: Box::pin(future) }
}

/// See [`scoped`].
#[derive(Debug)]
pub(crate) struct Scoped<F> {
    scope: Option<Scope>,
    future: Pin<Box<F>>,
}

impl<F: Future> Future for Scoped<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        match &this.scope {
            Some(scope) => scope.within(|| this.future.as_mut().poll(context)),
            None => this.future.as_mut().poll(context),
        }
    }
}

/// What is to be captured, and in front of whom.
#[derive(Debug, Clone)]
struct Wants {
    base: Dispatch,
    level: LogLevel,
}

impl Wants {
    fn captured(&self, metadata: &Metadata<'_>) -> bool {
        let ours = |target: &str| {
            target.strip_prefix(CRATE).is_some_and(|module| module.is_empty() || module.starts_with("::"))
        };
        metadata.is_event() && LogLevel::from(metadata.level()) <= self.level && ours(metadata.target())
    }

    /// How the base answers, and how we do.
    fn interest(&self, metadata: &'static Metadata<'static>) -> (Interest, Interest) {
        let base = self.base.register_callsite(metadata);
        let both = if self.captured(metadata) && !base.is_always() { Interest::sometimes() } else { base.clone() };
        (base, both)
    }

    fn most(&self) -> LevelFilter {
        match self.level {
            LogLevel::Error => LevelFilter::ERROR,
            LogLevel::Warn => LevelFilter::WARN,
            LogLevel::Info => LevelFilter::INFO,
            LogLevel::Debug => LevelFilter::DEBUG,
            LogLevel::Trace => LevelFilter::TRACE,
        }
    }
}

/// Whether the base is shown the events of a call site.
#[derive(Debug, Clone, Copy)]
enum Shown {
    Always,
    IfAsked,
    Never,
}

/// In front of the application's subscriber: captures, and hands on.
struct Tee {
    wants: Wants,
    sink: LogSender,
    /// What the base said of the call sites whose events are captured.
    shown: RwLock<HashMap<Identifier, Shown>>,
    _anchor: Dispatch,
}

impl Tee {
    fn shown(&self, metadata: &'static Metadata<'static>) -> bool {
        let shown = self.shown.read().unwrap_or_else(PoisonError::into_inner);
        let shown = shown.get(&metadata.callsite()).copied();
        match shown {
            Some(Shown::Always) => true,
            Some(Shown::Never) => false,
            // None: another thread is just registering the call site.
            Some(Shown::IfAsked) | None => self.wants.base.enabled(metadata),
        }
    }
}

impl Subscriber for Tee {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        let (base, interest) = self.wants.interest(metadata);
        if self.wants.captured(metadata) {
            let shown = match base {
                base if base.is_always() => Shown::Always,
                base if base.is_never() => Shown::Never,
                _ => Shown::IfAsked,
            };
            self.shown.write().unwrap_or_else(PoisonError::into_inner).insert(metadata.callsite(), shown);
        }
        interest
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.wants.most())
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.wants.captured(metadata) || self.wants.base.enabled(metadata)
    }

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        if !self.wants.captured(metadata) {
            return self.wants.base.event(event);
        }
        if self.shown(metadata) {
            self.wants.base.event(event);
        }
        self.sink.push(captured(event));
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        self.wants.base.new_span(span)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        self.wants.base.record(span, values);
    }

    fn record_follows_from(&self, span: &Id, follows: &Id) {
        self.wants.base.record_follows_from(span, follows);
    }

    fn enter(&self, span: &Id) {
        self.wants.base.enter(span);
    }

    fn exit(&self, span: &Id) {
        self.wants.base.exit(span);
    }

    fn clone_span(&self, span: &Id) -> Id {
        self.wants.base.clone_span(span)
    }

    fn try_close(&self, span: Id) -> bool {
        self.wants.base.try_close(span)
    }

    #[allow(deprecated, reason = "handed on, not called")]
    fn drop_span(&self, span: Id) {
        self.wants.base.drop_span(span);
    }

    fn current_span(&self) -> Current {
        self.wants.base.current_span()
    }
}

/// Says what its tee says, and is never in force: it is there to be counted.
struct Anchor(Wants);

impl Subscriber for Anchor {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        self.0.interest(metadata).1
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::OFF)
    }

    fn enabled(&self, _: &Metadata<'_>) -> bool {
        false
    }

    fn event(&self, _: &Event<'_>) {}

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(u64::MAX)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

fn captured(event: &Event<'_>) -> LogEvent {
    let metadata = event.metadata();
    let mut text = Text::default();
    event.record(&mut text);
    LogEvent {
        level: metadata.level().into(),
        target: metadata.target(),
        message: text.message,
        fields: text.fields,
        time: SystemTime::now(),
        place: metadata.file().zip(metadata.line()),
        repeats: 0,
    }
}

#[derive(Default)]
struct Text {
    message: String,
    fields: Vec<(&'static str, String)>,
}

impl Text {
    fn put(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        let mut text = Bounded(String::new());
        // What doesn't fit is cut off.
        let _ = text.write_fmt(value);
        match field.name() {
            "message" => self.message = text.0,
            name => self.fields.push((name, text.0)),
        }
    }
}

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format_args!("{value:?}"));
    }
}

/// Text that ends with `…` when it is full.
struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = MOST_TEXT.saturating_sub(self.0.len());
        if text.len() <= room {
            self.0.push_str(text);
            return Ok(());
        }
        let fits = (0..=room).rev().find_map(|end| text.get(..end));
        self.0.push_str(fits.unwrap_or_default());
        self.0.push('…');
        Err(fmt::Error)
    }
}

// With `cli` comes a subscriber as applications have them.
#[cfg(test)]
#[cfg(feature = "cli")]
mod tests;
