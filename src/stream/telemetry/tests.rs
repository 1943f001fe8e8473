mod application;

use super::*;
use std::process::Command;

use tracing::{Instrument, Span, debug, error, info, trace, warn};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::{self, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Registry};

use crate::stream::metrics::Gauges;

/// An application's layer that writes down all that it is shown.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<String>>>);

impl Seen {
    fn put(&self, what: String) {
        self.0.lock().unwrap().push(what);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    /// With this filter in front.
    fn filtered(&self, filter: &str) -> Dispatch {
        Dispatch::new(Registry::default().with(self.clone()).with(EnvFilter::new(filter)))
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Seen {
    fn on_event(&self, event: &Event<'_>, context: layer::Context<'_, S>) {
        let shown = captured(event);
        let spans = context.event_scope(event).into_iter().flatten().map(|span| span.name());
        self.put(format!("{} {}: {} in {:?}", shown.level, shown.target, shown.line(), spans.collect::<Vec<_>>()));
    }

    fn on_new_span(&self, span: &Attributes<'_>, id: &Id, context: layer::Context<'_, S>) {
        let parent = context.span(id).and_then(|span| span.parent()).map(|span| span.name());
        self.put(format!("new {} in {parent:?}", span.metadata().name()));
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: layer::Context<'_, S>) {
        let mut text = Text::default();
        values.record(&mut text);
        self.put(format!("{}: {:?}", context.span(id).unwrap().name(), text.fields));
    }

    fn on_follows_from(&self, id: &Id, follows: &Id, context: layer::Context<'_, S>) {
        let name = |id| context.span(id).unwrap().name();
        self.put(format!("{} follows {}", name(id), name(follows)));
    }

    fn on_enter(&self, id: &Id, context: layer::Context<'_, S>) {
        self.put(format!("enter {}", context.span(id).unwrap().name()));
    }

    fn on_exit(&self, id: &Id, context: layer::Context<'_, S>) {
        self.put(format!("exit {}", context.span(id).unwrap().name()));
    }

    fn on_close(&self, id: Id, context: layer::Context<'_, S>) {
        self.put(format!("close {}", context.span(&id).unwrap().name()));
    }
}

fn capture(base: Option<Dispatch>, level: LogLevel) -> (TelemetryCapture, LogQueue, Arc<StreamMetrics>) {
    let metrics = Arc::new(StreamMetrics::new());
    let (capture, queue) = TelemetryCapture::new(base, level, metrics.clone());
    (capture, queue, metrics)
}

fn lines(queue: &mut LogQueue) -> Vec<String> {
    std::iter::from_fn(|| queue.raw()).map(|event| format!("{} {}", event.level, event.line())).collect()
}

/// Runs a test in a process of its own: what `tracing` caches, and its global default, are the whole process's.
fn alone(module: &str, name: &str, test: impl FnOnce()) {
    const ALONE: &str = "SIFT_REPLAY_TEST_ALONE";
    if std::env::var(ALONE).is_ok_and(|which| which == name) {
        return test();
    }
    let name_in_full = format!("{}::{name}", module.split_once("::").unwrap().1);
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &name_in_full, "--nocapture", "--test-threads=1"])
        .env(ALONE, name)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&child.stdout) + String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success() && text.contains("1 passed"), "{text}");
}

/// Everything that can be done with events and spans; our events and those of others.
fn work() {
    error!(target: "sift_replay::a", n = 1, "e");
    warn!(target: "sift_replay::a", n = 2, "w");
    info!(target: "sift_replay::a", n = 3, "i");
    debug!(target: "sift_replay::a", n = 4, "d");
    trace!(target: "sift_replay::a", n = 5, "t");
    error!(target: "h2::a", n = 1, "e");
    warn!(target: "h2::a", n = 2, "w");
    info!(target: "h2::a", n = 3, "i");
    debug!(target: "h2::a", n = 4, "d");
    trace!(target: "h2::a", n = 5, "t");
    let outer = tracing::warn_span!(target: "h2::b", "outer", bytes = tracing::field::Empty);
    outer.record("bytes", 7);
    outer.in_scope(|| {
        info!(target: "sift_replay", "within");
        let inner = tracing::info_span!("inner");
        inner.follows_from(&outer);
        let entered = inner.clone().entered();
        info!(target: "h2::b", "deep");
        info!(target: "sift_replay::b", parent: &outer, "not so deep");
        let current = Span::current();
        drop((entered, inner));
        current.in_scope(|| debug!(target: "sift_replay::b", "again"));
        let root = tracing::error_span!(target: "sift_replay::c", parent: None, "root");
        root.in_scope(|| trace!(target: "h2::b", "deep in the root"));
    });
    // What a subscriber with filters per layer answered last mustn't stick.
    error!(target: "h2::c", "last");
    error!(target: "sift_replay::c", "last");
}

/// What [`work`] logs of ours at INFO and above.
const CAPTURED: [&str; 6] =
    ["ERROR e n=1", "WARN w n=2", "INFO i n=3", "INFO within", "INFO not so deep", "ERROR last"];

#[test]
fn without_any_subscriber_events_are_captured_all_the_same() {
    alone(module_path!(), "without_any_subscriber_events_are_captured_all_the_same", || {
        // Also those whose call sites another thread comes by first, outside of the scope.
        let (capture, mut queue, _) = capture(None, LogLevel::Info);
        capture.within(|| ());
        std::thread::spawn(work).join().unwrap();
        capture.within(work);
        std::thread::scope(|scope| scope.spawn(|| capture.within(work)).join().unwrap());
        work();
        assert_eq!(lines(&mut queue), [CAPTURED, CAPTURED].concat());
    });
}

#[test]
fn each_level_captures_itself_and_what_matters_more() {
    for (level, count) in
        [(LogLevel::Error, 2), (LogLevel::Warn, 3), (LogLevel::Info, 6), (LogLevel::Debug, 8), (LogLevel::Trace, 9)]
    {
        let (capture, mut queue, _) = capture(Some(Dispatch::none()), level);
        capture.within(work);
        assert_eq!(lines(&mut queue).len(), count, "{level}");
    }
}

#[test]
fn only_this_crate_is_captured() {
    let (capture, mut queue, _) = capture(Some(Seen::default().filtered("trace")), LogLevel::Trace);
    capture.within(|| {
        error!(target: "sift_replay", "the crate");
        error!(target: "sift_replay::stream", "a module");
        error!("this very module");
        error!(target: "sift_replay_tools", "another crate");
        error!(target: "sift_repla", "another crate");
        error!(target: "sift_stream::sift_replay", "another crate");
        error!(target: "", "nobody");
    });
    assert_eq!(lines(&mut queue), ["ERROR the crate", "ERROR a module", "ERROR this very module"]);
}

#[test]
fn what_is_captured_is_what_was_logged() {
    let (capture, mut queue, _) = capture(Some(Dispatch::none()), LogLevel::Info);
    let error = std::io::Error::other("no route");
    capture.within(|| warn!(target: "sift_replay::x", %error, attempt = 3, asset = "rover", "not {}", "sent"));
    let event = queue.raw().unwrap();
    let fields = [("error", "no route"), ("attempt", "3"), ("asset", "rover")];
    assert_eq!(event.fields, fields.map(|(name, value)| (name, value.to_owned())));
    assert_eq!((event.level, event.target, &event.message[..]), (LogLevel::Warn, "sift_replay::x", "not sent"));
    let (file, _) = event.place.unwrap();
    assert!(file.ends_with("tests.rs"), "{file}");
    assert_eq!(queue.raw(), None);
}

#[test]
fn text_without_end_is_cut_off() {
    let (capture, mut queue, _) = capture(Some(Dispatch::none()), LogLevel::Info);
    let long = "ü".repeat(MOST_TEXT);
    let fits = "x".repeat(MOST_TEXT);
    capture.within(|| info!(target: "sift_replay::x", %long, fits, "x{long}"));
    let event = queue.raw().unwrap();
    assert_eq!(event.message, format!("x{}…", "ü".repeat(MOST_TEXT / 2 - 1)));
    assert_eq!(event.fields[0].1, format!("{}…", "ü".repeat(MOST_TEXT / 2)));
    assert_eq!(event.fields[1].1, fits);
}

#[test]
fn events_that_find_no_room_are_counted_and_shown_all_the_same() {
    let seen = Seen::default();
    let (capture, mut queue, metrics) = capture(Some(seen.filtered("info")), LogLevel::Info);
    let full = crate::stream::logging::LOG_CAPACITY;
    capture.within(|| (0..full + 5).for_each(|n| info!(target: "sift_replay::x", n, "more")));
    assert_eq!((capture.depth(), seen.take().len()), (full as u64, full + 5));
    assert_eq!(metrics.snapshot(&Gauges::default()).logs_dropped_channel_full, 5);
    assert_eq!(lines(&mut queue).len(), full);
}

#[test]
fn two_streams_capture_each_its_own_and_from_every_thread() {
    let seen = Seen::default();
    let base = seen.filtered("warn");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(3).build().unwrap();
    let mut streams: Vec<_> = (0..2).map(|_| capture(Some(base.clone()), LogLevel::Info)).collect();
    runtime.block_on(async {
        let tasks: Vec<_> = (0..40)
            .map(|task| {
                let stream = task % 2;
                let work = async move {
                    for _ in 0..10 {
                        info!(target: "sift_replay::x", "of stream {stream}");
                        info!(target: "h2::x", "not captured");
                        tokio::task::yield_now().await;
                    }
                    warn!(target: "sift_replay::x", "end {task}");
                };
                tokio::spawn(scoped(Some(&Scope::Captured(streams[stream].0.clone())), work))
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
    for (stream, (_, queue, _)) in streams.iter_mut().enumerate() {
        let mut lines = lines(queue);
        lines.sort_unstable();
        let mut expected = vec![format!("INFO of stream {stream}"); 200];
        expected.extend((0..20).map(|task| format!("WARN end {}", task * 2 + stream)));
        expected.sort_unstable();
        assert_eq!(lines, expected);
    }
    // And the application has seen each of the warnings once, and nothing else.
    let mut seen = seen.take();
    seen.sort_unstable();
    let mut expected: Vec<_> = (0..40).map(|task| format!("WARN sift_replay::x: end {task} in []")).collect();
    expected.sort_unstable();
    assert_eq!(seen, expected);
}

#[test]
fn a_stream_within_a_stream_is_captured_by_itself_alone() {
    let seen = Seen::default();
    let (outer, mut outers, _) = capture(Some(seen.filtered("info")), LogLevel::Info);
    outer.within(|| {
        let (inner, mut inners, _) = capture(None, LogLevel::Info);
        inner.within(|| info!(target: "sift_replay::x", "inner"));
        info!(target: "sift_replay::x", "outer");
        assert_eq!(lines(&mut inners), ["INFO inner"]);
    });
    assert_eq!(lines(&mut outers), ["INFO outer"]);
    let shown = ["inner", "outer"].map(|which| format!("INFO sift_replay::x: {which} in []"));
    assert_eq!(seen.take(), shown);
}

#[test]
fn without_a_capture_a_future_just_runs() {
    let seen = Seen::default();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let work = scoped(None, async {
        tokio::task::yield_now().await;
        info!(target: "sift_replay::x", "shown");
        7
    });
    let result = tracing::dispatcher::with_default(&seen.filtered("info"), || runtime.block_on(work));
    assert_eq!((result, seen.take()), (7, vec!["INFO sift_replay::x: shown in []".to_owned()]));
}
