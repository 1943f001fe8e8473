//! A stream's log events: what reaches Sift, and what the application sees of them.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sift_replay::replay::{Checkpoint, Checkpoints, Outcome, Rewrite, StateDirs, Target};
use sift_replay::stream::{DiskBackupPolicy, LiveWithBackupsBuilder, LogLevel, RetryPolicy, StreamConfigBuilder};
use sift_rs::ingest::v1::ingest_with_config_data_channel_value::Type;
use tonic::Status;
use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Event, Metadata, Subscriber};

use super::metrics::{Kept, LOGS, METRICS, Watcher, channels};
use super::support::{FLOW, assert_all, quick, send, to};
use crate::support::destination::block_on;
use crate::support::faulty::{Faulty, Request};
use crate::support::storage::{Fault, FaultyStorage};

/// What became a log event: level, target, and the message with its fields.
type Line = (String, String, String);

fn line(request: &Request) -> Line {
    let text = |number: usize| match &request.channel_values[number].r#type {
        Some(Type::String(text)) => text.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(request.channel_values.len(), 3);
    (text(0), text(1), text(2))
}

fn lines(kept: &Kept) -> Vec<Line> {
    kept.flow(LOGS).iter().map(line).collect()
}

/// Waits for an event whose message begins so; returns it.
async fn wait(kept: &Kept, begins: &str) -> Line {
    let is_such = |request: &Request| line(request).2.starts_with(begins);
    let requests = kept.wait(LOGS, |requests| requests.iter().any(is_such)).await;
    line(requests.iter().find(|request| is_such(request)).unwrap())
}

/// An application's subscriber, that writes down what it sees.
#[derive(Clone, Default)]
struct Application(Arc<Mutex<Vec<(String, String)>>>);

impl Application {
    fn dispatch(&self) -> Dispatch {
        Dispatch::new(self.clone())
    }

    /// What it has seen of the stream itself, and not of the one that carries the numbers.
    fn seen(&self) -> Vec<(String, String)> {
        let seen = self.0.lock().unwrap();
        seen.iter().filter(|(_, text)| !text.contains("sift_app")).cloned().collect()
    }
}

impl Subscriber for Application {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("sift_replay") && *metadata.level() <= tracing::Level::INFO
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = String::new();
        event.record(&mut |field: &tracing::field::Field, value: &dyn std::fmt::Debug| {
            text.push_str(&format!("{field}={value:?} "));
        });
        self.0.lock().unwrap().push((event.metadata().level().to_string(), text));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// To a server, without anybody who sees its events.
fn unseen(uri: &str) -> StreamConfigBuilder {
    to(uri).with_scoped_dispatch_base(Dispatch::none())
}

fn with_files(base: StreamConfigBuilder, dir: &Path) -> LiveWithBackupsBuilder {
    let policy = DiskBackupPolicy { backups_dir: Some(dir.to_owned()), ..DiskBackupPolicy::default() };
    base.live_with_backups()
        .disk_backup_policy(policy)
        .retry_policy(quick())
        .checkpoint_interval(Duration::from_millis(20))
        .metrics_streaming_interval(Some(Duration::from_millis(10)))
}

#[test]
fn what_happens_to_a_stream_is_told_to_sift_by_level_target_and_message() {
    let (server, dir) = (Faulty::start(), tempfile::tempdir().unwrap());
    let kept = Kept::refusing(&server, |request| {
        let is_seven = request.flow == FLOW && request.timestamp.unwrap().nanos == 7;
        is_seven.then(|| Status::invalid_argument("no sevens"))
    });
    block_on(async {
        let stream = with_files(unseen(&server.uri()), dir.path()).build().await.unwrap();
        // From the stream's first moment on.
        let registered = wait(&kept, "registered with").await;
        assert_eq!((&registered.0[..], &registered.1[..]), ("INFO", "sift_replay::stream::setup"));
        assert!(registered.2.contains("asset=rover"), "{registered:?}");
        let names = channels(&server, &kept.flow(LOGS)[0]).await;
        let expected = ["level", "target", "message"].map(|name| format!("stream.rover.rover-v1.tracing_event.{name}"));
        assert_eq!(names, expected);
        send(&stream, 0..5).await;
        let checkpoint = wait(&kept, "checkpoint requests=").await;
        assert_eq!((&checkpoint.0[..], &checkpoint.1[..]), ("INFO", "sift_replay::stream::live_lane"));
        send(&stream, 5..10).await;
        let failed = wait(&kept, "the live stream has failed").await;
        assert!(failed.0 == "WARN" && failed.2.contains("no sevens"), "{failed:?}");
        let dead = wait(&kept, "Sift refuses records; they are kept as dead letters").await;
        assert!(dead.0 == "WARN" && dead.2.contains("records=1"), "{dead:?}");
        let finished = stream.finish().await.unwrap();
        assert_eq!((finished.acknowledged, finished.dead_lettered), (9, 1));
    });
    // The stream that carries them isn't spoken of.
    assert!(lines(&kept).iter().all(|line| !line.2.contains("sift_app")), "{:?}", lines(&kept));
}

#[test]
fn what_is_logged_while_the_link_is_down_is_told_when_it_is_back() {
    let (server, dir) = (Faulty::start(), tempfile::tempdir().unwrap());
    let kept = Kept::of(&server);
    server.kill();
    block_on(async {
        let stream = with_files(unseen(&server.uri()), dir.path()).build().await.unwrap();
        send(&stream, 0..10).await;
        let mut watcher = Watcher::default();
        watcher.wait(&stream, |shown| shown.total_retry_count >= 3).await;
        server.server().revive();
        // Said while the stream was built.
        assert_eq!(wait(&kept, "there is no link; recording begins without one").await.0, "WARN");
        let down = wait(&kept, "the live stream is down").await;
        assert!(down.0 == "WARN" && down.2.contains("pause="), "{down:?}");
        wait(&kept, "registered with").await;
        wait(&kept, "checkpoint requests=").await;
        stream.finish().await.unwrap();
    });
    assert_all(&server.seen(), 10);
}

#[test]
fn only_what_the_filter_lets_through_is_told() {
    let server = Faulty::start();
    for (level, expected) in [(LogLevel::Error, false), (LogLevel::Warn, false), (LogLevel::Info, true)] {
        let kept = Kept::of(&server);
        block_on(async {
            let builder = unseen(&server.uri()).log_level_filter(level).live_only();
            let stream = builder.metrics_streaming_interval(Some(Duration::from_millis(10))).build().await.unwrap();
            send(&stream, 0..10).await;
            stream.finish().await.unwrap();
        });
        assert_eq!(lines(&kept).iter().any(|line| line.0 == "INFO"), expected, "{level}");
        assert!(lines(&kept).iter().all(|line| line.0 != "DEBUG"));
        assert!(!kept.flow(METRICS).is_empty());
    }
}

#[test]
fn an_application_sees_the_same_whether_its_events_are_told_to_sift_or_not() {
    let seen = [None, Some(Duration::from_millis(10))].map(|interval| {
        let (server, application) = (Faulty::start(), Application::default());
        let kept = Kept::refusing(&server, |request| {
            let is_five = request.flow == FLOW && request.timestamp.unwrap().nanos == 5;
            is_five.then(|| Status::invalid_argument("no fives"))
        });
        block_on(async {
            let builder = to(&server.uri()).with_scoped_dispatch_base(application.dispatch()).live_only();
            let builder = builder.retry_policy(RetryPolicy { max_attempts: 20, ..quick() });
            let stream = builder.metrics_streaming_interval(interval).build().await.unwrap();
            send(&stream, 0..10).await;
            assert_eq!(stream.finish().await.unwrap_err().undelivered.len(), 1);
        });
        assert_eq!(kept.flow(LOGS).is_empty(), interval.is_none());
        let port = server.address().to_string();
        let mut seen = application.seen();
        for (level, text) in &mut seen {
            *text = text.replace(&port, "PORT");
            // How often is asked while Sift may be about to learn of the config is chance.
            if text.contains("pause=") {
                (*level, *text) = (level.clone(), "tried again".to_owned());
            }
        }
        seen.dedup();
        seen
    });
    assert_eq!(seen[0], seen[1]);
    let has = |text: &str| seen[0].iter().any(|(_, line)| line.contains(text));
    assert!(has("registered with") && has("Sift refuses requests"), "{:?}", seen[0]);
}

#[test]
fn of_more_than_there_is_room_for_the_rest_is_counted() {
    let (server, dir) = (Faulty::start(), tempfile::tempdir().unwrap());
    let kept = Kept::of(&server);
    server.kill();
    block_on(async {
        let hectic = RetryPolicy {
            initial_backoff: Duration::from_micros(100),
            max_backoff: Duration::from_micros(100),
            backoff_multiplier: 1,
            ..RetryPolicy::default()
        };
        let builder = with_files(unseen(&server.uri()), dir.path()).retry_policy(hectic);
        let (stream, mut watcher) = (builder.build().await.unwrap(), Watcher::default());
        send(&stream, 0..10).await;
        let full = watcher.wait(&stream, |shown| shown.logs_dropped_channel_full >= 5).await;
        assert_eq!(full.log_channel_depth, 512);
        assert_eq!(full.metrics_dropped_channel_full, 0);
        server.server().revive();
        let told = wait(&kept, "the live stream is still down").await;
        assert_eq!(told.0, "INFO");
        watcher.wait(&stream, |shown| shown.log_channel_depth == 0).await;
        // Something else, so that repeats aren't held back any longer.
        send(&stream, 10..20).await;
        // Hundreds of them are told in two: the first, and the last with their number.
        kept.wait(LOGS, |requests| requests.iter().any(|request| line(request).2.contains("more like it"))).await;
        assert!(lines(&kept).len() < 100, "{}", lines(&kept).len());
        stream.finish().await.unwrap();
    });
    assert_all(&server.seen(), 20);
}

#[test]
fn what_the_carrying_stream_goes_through_is_not_told() {
    let (server, dir, application) = (Faulty::start(), tempfile::tempdir().unwrap(), Application::default());
    let kept =
        Kept::refusing(&server, |request| (request.flow == METRICS).then(|| Status::unavailable("no numbers now")));
    block_on(async {
        let base =
            to(&server.uri()).with_scoped_dispatch_base(application.dispatch()).log_level_filter(LogLevel::Trace);
        let stream = with_files(base, dir.path()).build().await.unwrap();
        send(&stream, 0..10).await;
        let said = || application.0.lock().unwrap().iter().filter(|(_, text)| text.contains("no numbers now")).count();
        kept.wait(METRICS, |_| said() >= 3).await;
        let kept = Kept::of(&server);
        wait(&kept, "checkpoint requests=").await;
        stream.finish().await.unwrap();
        // The application sees it, and Sift doesn't: else each attempt to tell would be one more thing to tell.
        let told = lines(&kept);
        assert!(!told.is_empty() && told.iter().all(|line| !line.2.contains("no numbers now")), "{told:?}");
        assert!(told.iter().all(|line| !line.2.contains("sift_app")), "{told:?}");
    });
    assert_all(&server.seen(), 10);
}

#[test]
fn what_other_threads_do_for_a_stream_is_seen_by_who_sees_the_stream() {
    let (dir, storage, application) = (tempfile::tempdir().unwrap(), FaultyStorage::new(), Application::default());
    let dirs = StateDirs::resolve_in(&[dir.path().to_owned()], None, None);
    // Its thread begins before anybody looks.
    let checkpoints = Checkpoints::open(Arc::new(storage.clone()), dirs).unwrap();
    let target = Target::new("https://sift.example:443", Some("org"), &Rewrite::default());
    let save = |seqs| {
        let checkpoint = Checkpoint::Session { session: uuid::Uuid::nil(), seqs, outcome: Outcome::Acknowledged };
        // The sync fails; a new file is begun.
        storage.fail_at(storage.log().len() + 1, Fault::Half);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(checkpoints.save(&target, vec![checkpoint])).unwrap();
    };
    tracing::dispatcher::with_default(&application.dispatch(), || save(0..1));
    save(1..2);
    let seen = application.seen();
    assert!(seen.len() == 1 && seen[0].0 == "WARN" && seen[0].1.contains("a new file is begun"), "{seen:?}");
}
