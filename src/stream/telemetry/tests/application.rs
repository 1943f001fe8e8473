//! What the application sees, behind a capture and beside it.

use super::*;

/// Two layers whose filters differ.
fn layered(seen: &Seen) -> Dispatch {
    let narrow = seen.clone().with_filter(LevelFilter::WARN);
    let wide = seen.clone().with_filter(filter_fn(|metadata| !metadata.target().starts_with("h2")));
    Dispatch::new(Registry::default().with(narrow).with(wide))
}

/// One layer, filtered by itself: the registry lets through what it is asked about, the layer doesn't.
fn one_layer(seen: &Seen) -> Dispatch {
    Dispatch::new(Registry::default().with(seen.clone().with_filter(EnvFilter::new("warn,sift_replay::a=off"))))
}

/// Panics if a base is shown anything else, or anything more, or less, behind a capture.
fn compare(name: &str, base: Dispatch, seen: &Seen) -> usize {
    tracing::dispatcher::with_default(&base, || {
        // What subscribers before this one were interested in may still be cached.
        tracing::callsite::rebuild_interest_cache();
        work();
    });
    let without = seen.take();
    let (capture, mut queue, _) = capture(Some(base.clone()), LogLevel::Info);
    for round in 0..3 {
        capture.within(work);
        assert_eq!(seen.take(), without, "{name}, round {round}");
        assert_eq!(lines(&mut queue), CAPTURED, "{name}, round {round}");
    }
    drop(capture);
    tracing::dispatcher::with_default(&base, work);
    assert_eq!(seen.take(), without, "{name}, afterwards");
    without.len()
}

fn compare_all() {
    let filters = ["off", "error", "warn", "info", "trace", "info,h2=trace,sift_replay=off", "error,[outer]=trace"];
    let shown = filters.map(|filter| {
        let seen = Seen::default();
        compare(filter, seen.filtered(filter), &seen)
    });
    assert!(shown[0] == 0 && shown[1..5].is_sorted_by(|a, b| 0 < *a && a < b), "{shown:?}");
    assert!(shown[5..].iter().all(|&count| count > shown[1]), "{shown:?}");
    for (name, make) in [("layered", layered as fn(&Seen) -> _), ("one layer", one_layer)] {
        let seen = Seen::default();
        assert!(compare(name, make(&seen), &seen) > shown[1]);
    }
}

#[test]
fn an_application_sees_what_it_would_see_without_a_capture() {
    alone(module_path!(), "an_application_sees_what_it_would_see_without_a_capture", || {
        compare_all();
        // And beside somebody who wants everything, so that everybody is asked each time.
        let _other = Seen::default().filtered("trace");
        compare_all();
    });
}

/// Says once and for all what it wants, and counts how often it is asked nevertheless.
#[derive(Clone, Default)]
struct Strict {
    seen: Seen,
    asked: Arc<Mutex<u32>>,
}

impl Subscriber for Strict {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if *metadata.level() <= tracing::Level::WARN { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *self.asked.lock().unwrap() += 1;
        *metadata.level() <= tracing::Level::WARN
    }

    fn event(&self, event: &Event<'_>) {
        self.seen.put(captured(event).line());
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[test]
fn a_subscriber_that_has_said_what_it_wants_is_not_asked_about_what_is_captured() {
    let strict = Strict::default();
    let (capture, mut queue, _) = capture(Some(Dispatch::new(strict.clone())), LogLevel::Info);
    for _ in 0..3 {
        capture.within(|| {
            warn!(target: "sift_replay::x", "shown");
            info!(target: "sift_replay::x", "captured");
        });
        assert_eq!(lines(&mut queue), ["WARN shown", "INFO captured"]);
        assert_eq!(strict.seen.take(), ["shown"]);
    }
    assert_eq!(*strict.asked.lock().unwrap(), 0);
}

#[test]
fn a_global_subscriber_is_found_also_if_it_comes_later() {
    alone(module_path!(), "a_global_subscriber_is_found_also_if_it_comes_later", || {
        let (seen, runtime) = (Seen::default(), tokio::runtime::Builder::new_current_thread().build().unwrap());
        let (capture, mut queue, _) = capture(None, LogLevel::Info);
        let (go, gone) = tokio::sync::oneshot::channel();
        let task = scoped(Some(&Scope::Captured(capture.clone())), async move {
            work();
            gone.await.unwrap();
            work();
        });
        runtime.block_on(async {
            let task = tokio::spawn(task);
            tokio::task::yield_now().await;
            assert_eq!(lines(&mut queue), CAPTURED);
            tracing::dispatcher::set_global_default(seen.filtered("warn")).unwrap();
            assert_eq!(seen.take(), Vec::<String>::new());
            go.send(()).unwrap();
            task.await.unwrap();
        });
        assert_eq!(lines(&mut queue), CAPTURED);
        let in_scope = seen.take();
        work();
        assert_eq!(seen.take(), in_scope);
        assert!(!in_scope.is_empty());
        // A stream that is built now finds it at once.
        let (late, mut queue, _) = self::capture(None, LogLevel::Error);
        late.within(work);
        assert_eq!((seen.take(), lines(&mut queue).len()), (in_scope, 2));
    });
}

#[test]
fn a_level_nobody_else_wants_costs_the_application_none_of_its_own() {
    alone(module_path!(), "a_level_nobody_else_wants_costs_the_application_none_of_its_own", || {
        let seen = Seen::default();
        tracing::dispatcher::set_global_default(seen.filtered("warn")).unwrap();
        assert_eq!(LevelFilter::current(), LevelFilter::WARN);
        let (_capture, _queue, _) = capture(None, LogLevel::Debug);
        assert_eq!(LevelFilter::current(), LevelFilter::DEBUG);
        let (_capture, _queue, _) = self::capture(None, LogLevel::Error);
        assert_eq!(LevelFilter::current(), LevelFilter::DEBUG);
        work();
        assert!(seen.take().iter().all(|line| !line.starts_with("INFO") && !line.starts_with("DEBUG")));
    });
}

#[test]
fn spans_follow_their_tasks_into_the_scope_and_out_of_it() {
    alone(module_path!(), "spans_follow_their_tasks_into_the_scope_and_out_of_it", || {
        let seen = Seen::default();
        tracing::dispatcher::set_global_default(seen.filtered("info")).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let task = || async {
            let inner = async { info!(target: "app", "spawned") };
            let inner = inner.instrument(tracing::info_span!(target: "app", "work")).in_current_span();
            tokio::spawn(inner).await.unwrap();
        };
        let application = || tracing::info_span!(target: "app", "application");
        runtime.block_on(task().instrument(application()));
        let without = seen.take();
        for name in ["work", "application"] {
            assert!(without.contains(&format!("close {name}")), "{without:?}");
        }
        let (capture, _queue, _) = capture(None, LogLevel::Info);
        runtime.block_on(scoped(Some(&Scope::Captured(capture.clone())), task().instrument(application())));
        assert_eq!(seen.take(), without);
    });
}
