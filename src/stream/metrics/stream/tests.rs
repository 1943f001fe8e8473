use super::*;
use std::future::{Ready, ready};
use std::sync::Mutex;
use std::time::SystemTime;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::stream::logging::{LogLevel, LogSender, log_queue};
use crate::stream::metrics::SiftStreamMetricsSnapshot;

/// Keeps what comes, and when, as long as there is room.
#[derive(Clone)]
struct Recording {
    room: usize,
    began: Instant,
    came: Arc<Mutex<Vec<(u128, Came)>>>,
}

#[derive(Debug, Clone, PartialEq)]
enum Came {
    Metrics(Vec<Value<'static>>),
    Log(String),
}

impl Recording {
    fn new(room: usize) -> Self {
        Self { room, began: Instant::now(), came: Arc::default() }
    }

    fn take(&self, one: Came) -> bool {
        let mut came = self.came.lock().unwrap();
        came.push((self.began.elapsed().as_millis(), one));
        came.len() <= self.room
    }

    /// When snapshots came, in ms.
    fn ticks(&self) -> Vec<u128> {
        let came = self.came.lock().unwrap();
        came.iter().filter(|(_, one)| matches!(one, Came::Metrics(_))).map(|(at, _)| *at).collect()
    }

    fn logs(&self) -> Vec<(u128, String)> {
        let came = self.came.lock().unwrap();
        let log = |(at, one): &(u128, Came)| match one {
            Came::Log(line) => Some((*at, line.clone())),
            Came::Metrics(_) => None,
        };
        came.iter().filter_map(log).collect()
    }
}

impl MetricsSink for Recording {
    fn metrics(&mut self, values: Vec<Value<'static>>) -> bool {
        self.take(Came::Metrics(values))
    }

    fn log(&mut self, event: &LogEvent) -> bool {
        self.take(Came::Log(event.line()))
    }
}

fn push(sender: &LogSender, line: u32) {
    sender.push(LogEvent {
        level: LogLevel::Info,
        target: "sift_replay::tests",
        message: format!("line {line}"),
        fields: Vec::new(),
        time: SystemTime::UNIX_EPOCH,
        place: Some(("tests.rs", line)),
        repeats: 0,
    });
}

fn nothing() -> Ready<Gauges> {
    ready(Gauges::default())
}

fn after(ms: u64) -> impl Future {
    tokio::time::sleep(Duration::from_millis(ms))
}

fn snapshot(metrics: &StreamMetrics) -> SiftStreamMetricsSnapshot {
    metrics.snapshot(&Gauges::default())
}

const HALF: Duration = Duration::from_millis(500);

#[tokio::test(start_paused = true)]
async fn a_snapshot_comes_at_once_then_each_interval_then_at_the_end() {
    let (sink, metrics) = (Recording::new(100), Arc::new(StreamMetrics::new()));
    let (sink, _) = run(sink, HALF, metrics.clone(), nothing, None, after(1700)).await;
    assert_eq!(sink.ticks(), [0, 500, 1000, 1500, 1700]);
    assert_eq!(snapshot(&metrics).metrics_dropped_channel_full, 0);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_has_ended_already_still_shows_its_last_numbers() {
    let metrics = Arc::new(StreamMetrics::new());
    let gauges = || ready(Gauges { received: 7, received_bytes: 70, files: 3, ..Gauges::default() });
    let (sink, _) = run(Recording::new(100), HALF, metrics, gauges, None, ready(())).await;
    let came = sink.came.lock().unwrap();
    let [(0, Came::Metrics(values))] = &came[..] else { panic!("{came:?}") };
    assert!(values.contains(&Value::Uint64(70)) && values.contains(&Value::Uint64(3)), "{values:?}");
}

#[tokio::test(start_paused = true)]
async fn an_interval_of_nothing_is_no_endless_loop() {
    let metrics = Arc::new(StreamMetrics::new());
    let (sink, _) = run(Recording::new(100), Duration::ZERO, metrics, nothing, None, after(5)).await;
    assert!((2..=7).contains(&sink.ticks().len()), "{:?}", sink.ticks());
}

#[tokio::test(start_paused = true)]
async fn log_events_go_out_as_they_come_and_all_before_the_end() {
    let metrics = Arc::new(StreamMetrics::new());
    let (sender, queue) = log_queue(metrics.clone());
    let sink = Recording::new(100);
    let (end, ended) = oneshot::channel::<()>();
    let running = tokio::spawn(run(sink.clone(), HALF, metrics.clone(), nothing, Some(queue), ended));
    after(100).await;
    push(&sender, 1);
    after(100).await;
    push(&sender, 2);
    // Held back for more to come, and still there at the end.
    push(&sender, 2);
    after(50).await;
    // None of these is seen before the end.
    (3..6).for_each(|line| push(&sender, line));
    end.send(()).unwrap();
    running.await.unwrap();
    let expected = [(100, 1), (200, 2), (250, 2), (250, 3), (250, 4), (250, 5)];
    assert_eq!(sink.logs(), expected.map(|(at, line)| (at, format!("line {line}"))));
    assert_eq!(sink.ticks(), [0, 250]);
    let (_, last) = sink.came.lock().unwrap().last().cloned().unwrap();
    assert!(matches!(last, Came::Metrics(_)), "the last snapshot comes last");
}

#[tokio::test(start_paused = true)]
async fn numbers_go_on_when_nobody_logs_any_more() {
    let metrics = Arc::new(StreamMetrics::new());
    let (sender, queue) = log_queue(metrics.clone());
    push(&sender, 1);
    drop(sender);
    let (sink, _) = run(Recording::new(100), HALF, metrics, nothing, Some(queue), after(700)).await;
    assert_eq!((sink.ticks(), sink.logs().len()), (vec![0, 500, 700], 1));
}

#[tokio::test(start_paused = true)]
async fn what_finds_no_room_is_counted_and_waited_for_by_nobody() {
    let metrics = Arc::new(StreamMetrics::new());
    let (sender, queue) = log_queue(metrics.clone());
    (1..=5).for_each(|line| push(&sender, line));
    let (sink, _) = run(Recording::new(0), HALF, metrics.clone(), nothing, Some(queue), after(700)).await;
    assert_eq!(sink.began.elapsed().as_millis(), 700);
    let shown = snapshot(&metrics);
    assert_eq!((shown.metrics_dropped_channel_full, shown.logs_dropped_channel_full), (3, 5));
}

#[tokio::test(start_paused = true)]
async fn who_logs_without_end_keeps_nothing_from_ending() {
    /// Logs whenever it is given something logged.
    struct Echo(LogSender, u32);
    impl MetricsSink for Echo {
        fn metrics(&mut self, _: Vec<Value<'static>>) -> bool {
            true
        }
        fn log(&mut self, _: &LogEvent) -> bool {
            self.1 += 1;
            push(&self.0, self.1);
            true
        }
    }
    let metrics = Arc::new(StreamMetrics::new());
    let (sender, queue) = log_queue(metrics.clone());
    push(&sender, 0);
    let (echo, _) = run(Echo(sender, 0), HALF, metrics, nothing, Some(queue), ready(())).await;
    assert_eq!(echo.1 as usize, LOG_CAPACITY + 2);
}
