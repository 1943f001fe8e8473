use super::*;

fn event(line: u32, message: &str) -> LogEvent {
    LogEvent {
        level: LogLevel::Warn,
        target: "sift_replay::tests",
        message: message.to_owned(),
        fields: Vec::new(),
        time: SystemTime::UNIX_EPOCH,
        place: Some(("tests.rs", line)),
        repeats: 0,
    }
}

fn queue() -> (LogSender, LogQueue, Arc<StreamMetrics>) {
    let metrics = Arc::new(StreamMetrics::new());
    let (sender, queue) = log_queue(metrics.clone());
    (sender, queue, metrics)
}

fn dropped(metrics: &StreamMetrics) -> u64 {
    metrics.snapshot(&Default::default()).logs_dropped_channel_full
}

/// All that is there, as message and repeats.
fn drain(queue: &mut LogQueue) -> Vec<(String, u64)> {
    std::iter::from_fn(|| queue.try_pop()).map(|event| (event.message, event.repeats)).collect()
}

#[track_caller]
fn check(came: &[(u32, &str)], out: &[(&str, u64)]) {
    let (sender, mut queue, metrics) = queue();
    came.iter().for_each(|&(line, message)| sender.push(event(line, message)));
    let out: Vec<_> = out.iter().map(|&(message, repeats)| (message.to_owned(), repeats)).collect();
    assert_eq!(drain(&mut queue), out);
    assert_eq!(drain(&mut queue), []);
    // Nothing vanishes: what isn't handed out is counted.
    assert_eq!(out.iter().map(|(_, repeats)| 1 + repeats).sum::<u64>(), came.len() as u64);
    assert_eq!(dropped(&metrics), 0);
}

#[test]
fn levels_are_ordered_by_how_much_they_let_through() {
    use LogLevel::*;
    assert!([Error, Warn, Info, Debug, Trace].is_sorted());
    assert_eq!(LogLevel::default(), Info);
    for (level, tracing, text) in [
        (Error, tracing::Level::ERROR, "ERROR"),
        (Warn, tracing::Level::WARN, "WARN"),
        (Info, tracing::Level::INFO, "INFO"),
        (Debug, tracing::Level::DEBUG, "DEBUG"),
        (Trace, tracing::Level::TRACE, "TRACE"),
    ] {
        assert_eq!(LogLevel::from(&tracing), level);
        assert_eq!((level.as_str(), level.to_string()), (text, text.to_owned()));
    }
    assert_eq!(format!("[{:>5}]", Warn), "[ WARN]");
}

#[test]
fn repeats_of_one_place_become_one_event_with_their_number() {
    check(&[], &[]);
    check(&[(1, "a")], &[("a", 0)]);
    check(&[(1, "a"), (2, "b"), (1, "c")], &[("a", 0), ("b", 0), ("c", 0)]);
    check(&[(1, "a"), (1, "b")], &[("a", 0), ("b", 0)]);
    check(&[(1, "a"), (1, "b"), (1, "c"), (1, "d")], &[("a", 0), ("d", 2)]);
    check(&[(1, "a"), (1, "b"), (1, "c"), (2, "d"), (2, "e")], &[("a", 0), ("c", 1), ("d", 0), ("e", 0)]);
}

#[test]
fn what_has_no_place_is_no_repeat() {
    let (sender, mut queue, _) = queue();
    for message in ["a", "b", "c"] {
        sender.push(LogEvent { place: None, ..event(0, message) });
    }
    assert_eq!(drain(&mut queue), ["a", "b", "c"].map(|message| (message.to_owned(), 0)));
}

#[test]
fn a_full_queue_drops_the_newest_and_counts_it() {
    let (sender, mut queue, metrics) = queue();
    for line in 0..LOG_CAPACITY as u32 + 3 {
        sender.push(event(line, &line.to_string()));
    }
    assert_eq!((sender.depth(), dropped(&metrics)), (LOG_CAPACITY as u64, 3));
    let out = drain(&mut queue);
    assert_eq!((out.len(), &out[0].0[..], &out[LOG_CAPACITY - 1].0[..]), (LOG_CAPACITY, "0", "511"));
    assert_eq!(sender.depth(), 0);
    // There is room again.
    sender.push(event(0, "again"));
    assert_eq!((drain(&mut queue).len(), dropped(&metrics)), (1, 3));
}

#[test]
fn events_that_nobody_will_take_are_counted() {
    let (sender, queue, metrics) = queue();
    drop(queue);
    sender.push(event(1, "a"));
    assert_eq!(dropped(&metrics), 1);
}

#[test]
fn a_line_has_the_message_its_fields_and_how_many_more_there_were() {
    let fields = vec![("error", "no route".to_owned()), ("attempt", "3".to_owned())];
    let mut event = LogEvent { fields, ..event(1, "not sent") };
    assert_eq!(event.line(), "not sent error=no route attempt=3");
    event.repeats = 7;
    assert_eq!(event.line(), "not sent error=no route attempt=3 (and 7 more like it, not shown)");
    event.message.clear();
    event.repeats = 0;
    assert_eq!(event.line(), "error=no route attempt=3");
}

#[tokio::test(start_paused = true)]
async fn repeats_are_held_back_for_ten_seconds_and_no_longer() {
    let (sender, mut queue, _) = queue();
    sender.push(event(1, "first"));
    assert_eq!(queue.pop().await.unwrap().message, "first");
    let began = Instant::now();
    sender.push(event(1, "second"));
    sender.push(event(1, "third"));
    let third = queue.pop().await.unwrap();
    assert_eq!((&third.message[..], third.repeats, began.elapsed().as_secs()), ("third", 1, 10));

    // Still the same place: held back anew, from when it came, however often it comes.
    let began = Instant::now();
    let late = tokio::spawn({
        let sender = sender.clone();
        async move {
            for message in ["fourth", "fifth", "sixth"] {
                tokio::time::sleep(Duration::from_secs(4)).await;
                sender.push(event(1, message));
            }
        }
    });
    let sixth = queue.pop().await.unwrap();
    assert_eq!((&sixth.message[..], sixth.repeats, began.elapsed().as_secs()), ("sixth", 2, 14));
    late.await.unwrap();

    // Something else ends it at once, and comes next.
    let began = Instant::now();
    sender.push(event(1, "seventh"));
    sender.push(event(2, "eighth"));
    for message in ["seventh", "eighth"] {
        assert_eq!(queue.pop().await.unwrap().message, message);
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn what_is_held_back_is_handed_out_before_the_end() {
    let (sender, mut queue, _) = queue();
    for message in ["first", "second"] {
        sender.push(event(1, message));
    }
    drop(sender);
    assert_eq!(queue.pop().await.unwrap().message, "first");
    assert_eq!(queue.pop().await.unwrap().message, "second");
    assert_eq!(queue.pop().await, None);
    assert_eq!(queue.pop().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_pop_that_is_given_up_loses_nothing() {
    let (sender, mut queue, _) = queue();
    for (line, message) in [(1, "a"), (1, "b"), (1, "c"), (2, "d")] {
        assert!(tokio::time::timeout(Duration::from_millis(1), queue.pop()).await.is_err());
        sender.push(event(line, message));
        if message == "a" {
            assert_eq!(queue.pop().await.unwrap().message, "a");
        }
    }
    assert_eq!(drain(&mut queue), [("c".to_owned(), 1), ("d".to_owned(), 0)]);
}
