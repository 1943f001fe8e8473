//! Every way of sending, in each mode: what arrives is what was sent, and what isn't sent comes back.

mod full;
mod together;

use sift_replay::record::{RecordError, Timestamp, Value};
use sift_replay::stream::{
    ChannelIndex, ChannelValue, Flow, FlowBuilder, SiftStreamSendError, SiftStreamTrySendError, TimeValue, Transport,
};
use sift_rs::ingest::v1::IngestWithConfigDataStreamRequest as Request;

use super::observed::{Heard, Stream, bare, in_files, of_flow, recording, request, request_of, requests};
use super::support::{FLOW, live_only, message, to, with_backups};
use crate::support::destination::block_on;
use crate::support::faulty::Faulty;

/// A time of no special kind.
const TIME: i64 = 1_234_567_890_123_456_789;

fn flow(time: i64, values: &[ChannelValue]) -> Flow {
    Flow::new(FLOW, TimeValue::from_timestamp_nanos(time), values)
}

/// Sends in all ways; returns what must arrive, in this order.
async fn in_all_ways<T: Transport>(stream: &Stream<T>) -> Vec<Request> {
    let mut sent = Vec::new();
    // By names: whole, in another order, in part, with nothing.
    let (n, text) = (ChannelValue::new("n", 7_u64), ChannelValue::new("text", "seven"));
    stream.send(flow(TIME, &[n.clone(), text.clone()])).await.unwrap();
    stream.try_send(flow(TIME + 1, &[text.clone(), n])).unwrap();
    stream.send(flow(TIME + 2, &[text])).await.unwrap();
    stream.try_send(flow(TIME + 3, &[])).unwrap();
    sent.extend([request(TIME, Some(7), Some("seven")), request(TIME + 1, Some(7), Some("seven"))]);
    sent.extend([request(TIME + 2, None, Some("seven")), request(TIME + 3, None, None)]);
    // Times that aren't like others.
    for time in [0, -1, i64::MIN, i64::MAX] {
        stream.send(flow(time, &[])).await.unwrap();
        sent.push(request(time, None, None));
    }
    // Ready-made, one by one and together.
    stream.send(request(TIME + 4, Some(0), Some(""))).await.unwrap();
    stream.try_send(request(TIME + 5, None, Some("ä\u{0}"))).unwrap();
    sent.extend([request(TIME + 4, Some(0), Some("")), request(TIME + 5, None, Some("ä\u{0}"))]);
    stream.send_requests(requests(0..20)).await.unwrap();
    stream.try_send_requests(requests(20..40)).unwrap();
    stream.send_requests([]).await.unwrap();
    stream.try_send_requests([]).unwrap();
    sent.extend(requests(0..40));
    // Prepared, values in the channels' order.
    let prepared = stream.flow(FLOW).unwrap();
    assert_eq!(prepared.channel_names(), ["n", "text"]);
    let values = [Value::Uint64(u64::MAX), Value::String("prepared")];
    stream.record(&prepared, Timestamp::from_unix_ns(TIME + 6), &values).await.unwrap();
    stream.try_record(&prepared, Timestamp::from_unix_ns(TIME + 7), &[Value::Empty, Value::Empty]).unwrap();
    sent.extend([request(TIME + 6, Some(u64::MAX), Some("prepared")), request(TIME + 7, None, None)]);
    sent
}

/// Sends what is made channel by channel, whose time is now: three messages.
async fn now<T: Transport>(stream: &Stream<T>) {
    let descriptor = stream.get_flow_descriptor(FLOW).unwrap();
    let index: ChannelIndex = descriptor.mapping()["n"];
    let mut built = FlowBuilder::new(&descriptor);
    built.set(index, 1_u64).unwrap();
    built.set_with_key("text", "built").unwrap();
    stream.send(built).await.unwrap();
    let mut built = FlowBuilder::new(&descriptor);
    built.set_with_key("n", 2_u64).unwrap();
    stream.try_send(built).unwrap();
    stream.send(FlowBuilder::new(&descriptor)).await.unwrap();
}

#[track_caller]
fn assert_now(requests: &[Request], (from, to): (i64, i64)) {
    let expected = [(Some(1), Some("built")), (Some(2), None), (None, None)];
    assert_eq!(requests.len(), expected.len());
    for (sent, (n, text)) in requests.iter().zip(expected) {
        let time = sent.timestamp.unwrap();
        let time = time.seconds * 1_000_000_000 + i64::from(time.nanos);
        assert_eq!(*sent, request(time, n, text));
        assert!((from..=to).contains(&time), "{time} is not between {from} and {to}");
    }
}

fn clock() -> i64 {
    Timestamp::now().unix_ns()
}

#[track_caller]
fn assert_sent(came: &[Request], expected: &[Request], from: i64) {
    let (known, built) = came.split_at(expected.len());
    assert_eq!(known, expected);
    assert_now(built, (from, clock()));
}

#[test]
fn live_only_sends_what_it_is_given_in_all_ways_in_order() {
    let (server, from) = (Faulty::start(), clock());
    let heard = Heard::at(&server);
    let expected = block_on(async {
        let stream = live_only(&server.uri()).build().await.unwrap();
        let expected = in_all_ways(&stream).await;
        now(&stream).await;
        assert_eq!(stream.finish().await.unwrap().acknowledged, expected.len() as u64 + 3);
        expected
    });
    assert_sent(&heard.bare(), &expected, from);
    let ids = heard.whole().into_iter().map(|request| (request.ingestion_config_id.is_empty(), request.run_id));
    assert!(ids.into_iter().all(|id| id == (false, String::new())));
    assert_eq!(server.seen().undirected, 0);
}

#[test]
fn with_backups_sends_what_it_is_given_in_all_ways_in_order() {
    let (server, from, dir) = (Faulty::start(), clock(), tempfile::tempdir().unwrap());
    let heard = Heard::at(&server);
    let expected = block_on(async {
        let stream = with_backups(&server.uri(), dir.path()).build().await.unwrap();
        let expected = in_all_ways(&stream).await;
        now(&stream).await;
        assert_eq!(stream.finish().await.unwrap().acknowledged, expected.len() as u64 + 3);
        expected
    });
    assert_sent(&heard.bare(), &expected, from);
    assert_eq!(server.seen().undirected, 0);
}

#[test]
fn file_backup_records_what_it_is_given_in_all_ways_in_order() {
    let (from, dir) = (clock(), tempfile::tempdir().unwrap());
    // Nobody is there, and nobody is asked.
    let base = to("https://nobody.invalid");
    let expected = block_on(async {
        let stream = recording(base, dir.path()).build().await.unwrap();
        let expected = in_all_ways(&stream).await;
        now(&stream).await;
        assert_eq!(stream.finish().await.unwrap().on_disk, expected.len() as u64 + 3);
        expected
    });
    assert_sent(&in_files(dir.path()), &expected, from);
}

#[test]
fn ids_that_a_request_carries_stay_and_what_it_lacks_is_the_streams() {
    let (server, dir) = (Faulty::start(), tempfile::tempdir().unwrap());
    let heard = Heard::at(&server);
    block_on(async {
        let live = live_only(&server.uri()).build().await.unwrap();
        let backed = with_backups(&server.uri(), dir.path()).build().await.unwrap();
        let descriptor = live.get_flow_descriptor(FLOW).unwrap();
        let with_run = || Request { run_id: "a-run".to_owned(), ..request_of(0) };
        let with_config = || Request { ingestion_config_id: "a-config".to_owned(), ..request_of(1) };
        let built = || {
            let mut built = FlowBuilder::new(&descriptor);
            built.attach_run_id("b-run");
            built
        };
        live.send(with_run()).await.unwrap();
        live.send(with_config()).await.unwrap();
        live.send(built()).await.unwrap();
        live.finish().await.unwrap();
        backed.send(with_run()).await.unwrap();
        backed.send(with_config()).await.unwrap();
        backed.send(built()).await.unwrap();
        backed.finish().await.unwrap();
    });
    let ids: Vec<_> = heard.whole().into_iter().map(|request| (request.ingestion_config_id, request.run_id)).collect();
    let own = ids[0].0.clone();
    assert!(!own.is_empty() && own != "a-config");
    let expected = [(&own[..], "a-run"), ("a-config", ""), (&own[..], "b-run")];
    let expected = expected.map(|(config, run)| (config.to_owned(), run.to_owned()));
    assert_eq!(ids, [expected.clone(), expected].concat());
}

/// What doesn't fit, and what its error must name.
fn misfits() -> Vec<(Flow, &'static [&'static str])> {
    let n = ChannelValue::new("n", 1_u64);
    vec![
        (of_flow("nubmers"), &["unknown flow \"nubmers\""]),
        (flow(TIME, &[ChannelValue::new("txet", "x")]), &["\"numbers\"", "no channel \"txet\"", "n, text"]),
        (flow(TIME, &[n.clone(), ChannelValue::new("text", 1.5)]), &["\"text\"", "\"numbers\"", "string", "double"]),
        (flow(TIME, &[n.clone(), n]), &["\"n\"", "\"numbers\"", "twice"]),
    ]
}

/// Requests that don't fit, likewise.
fn odd_requests() -> Vec<(Request, &'static [&'static str])> {
    let fits = request(TIME, Some(1), Some("x"));
    let mut swapped = fits.clone();
    swapped.channel_values.reverse();
    let mut short = fits.clone();
    short.channel_values.pop();
    let unknown = Request { flow: "nubmers".to_owned(), ..fits.clone() };
    vec![
        (unknown, &["unknown flow \"nubmers\""]),
        (swapped, &["\"n\"", "\"numbers\"", "uint64", "string"]),
        (short, &["\"numbers\"", "2 channels", "1 values"]),
        (Request { timestamp: None, ..fits }, &["\"numbers\"", "no timestamp"]),
    ]
}

#[track_caller]
fn assert_names(error: &RecordError, names: &[&str]) {
    let text = error.to_string();
    assert!(names.iter().all(|name| text.contains(name)), "{text:?} doesn't name all of {names:?}");
}

/// Each is refused with an error that names it, by whatever call.
async fn refuses_misfits<T: Transport>(stream: &Stream<T>, foreign: &sift_replay::record::Flow) {
    for (flow, names) in misfits() {
        match stream.send(flow.clone()).await.unwrap_err() {
            SiftStreamSendError::EncodeError(error) => assert_names(&error, names),
            other => panic!("{other}"),
        }
        match stream.try_send(flow).unwrap_err() {
            SiftStreamTrySendError::EncodeError(error) => assert_names(&error, names),
            other => panic!("{other}"),
        }
    }
    for (request, names) in odd_requests() {
        match stream.send(request.clone()).await.unwrap_err() {
            SiftStreamSendError::EncodeError(error) => assert_names(&error, names),
            other => panic!("{other}"),
        }
        // Those before it are sent, and it comes back with those behind it.
        let batch = |from: u64| [requests(from..from + 2), vec![request.clone()], requests(90..93)].concat();
        let back = stream.send_requests(batch(50)).await.unwrap_err().into_inner();
        assert_eq!(back, batch(50)[2..]);
        let back = stream.try_send_requests(batch(52)).unwrap_err();
        assert!(back.is_closed() && !back.is_full(), "sending again is of no use");
        assert_eq!(back.into_inner(), batch(50)[2..]);
    }
    assert_names(&stream.flow("nubmers").unwrap_err(), &["unknown flow \"nubmers\""]);
    assert_names(&as_record_error(stream.get_flow_descriptor("nubmers").unwrap_err()), &["unknown flow \"nubmers\""]);
    let (flow, now) = (stream.flow(FLOW).unwrap(), Timestamp::now());
    for (values, names) in [
        (&[Value::Uint64(1)][..], &["\"numbers\"", "2 channels", "1 values"][..]),
        (&[Value::Uint64(1), Value::Bool(true)], &["\"text\"", "\"numbers\"", "string", "bool"]),
    ] {
        assert_names(&stream.record(&flow, now, values).await.unwrap_err(), names);
        assert_names(&stream.try_record(&flow, now, values).unwrap_err(), names);
    }
    let values = [Value::Empty, Value::Empty];
    assert_names(&stream.record(foreign, now, &values).await.unwrap_err(), &["\"numbers\"", "another"]);
    // A prepared flow of another stream may have other channels in the same places.
    let large = "x".repeat(17 << 20);
    let error = stream.try_record(&flow, now, &[Value::Empty, Value::String(&large)]).unwrap_err();
    assert_names(&error, &["\"numbers\"", "exceeds", "bytes"]);
    stream.send(message(100)).await.unwrap();
}

fn as_record_error(error: sift_replay::stream::StreamError) -> RecordError {
    match error {
        sift_replay::stream::StreamError::Record(error) => error,
        other => panic!("{other}"),
    }
}

/// What `refuses_misfits` sends after all.
fn what_fitted() -> Vec<Request> {
    let mut fitted: Vec<_> = std::iter::repeat_n(requests(50..54), odd_requests().len()).flatten().collect();
    fitted.push(request_of(100));
    fitted
}

#[test]
fn what_does_not_fit_is_named_and_nothing_of_it_is_sent() {
    let (server, dirs) = (Faulty::start(), [(); 2].map(|()| tempfile::tempdir().unwrap()));
    let heard = Heard::at(&server);
    block_on(async {
        let live = live_only(&server.uri()).build().await.unwrap();
        let files = recording(to(&server.uri()), dirs[0].path()).build().await.unwrap();
        let backed = with_backups(&server.uri(), dirs[1].path()).build().await.unwrap();
        refuses_misfits(&live, &files.flow(FLOW).unwrap()).await;
        refuses_misfits(&files, &live.flow(FLOW).unwrap()).await;
        assert_eq!(live.finish().await.unwrap().requests, what_fitted().len() as u64);
        assert_eq!(files.finish().await.unwrap().requests, what_fitted().len() as u64);
        assert_eq!(heard.bare(), what_fitted());
        refuses_misfits(&backed, &backed_by_another().await).await;
        assert_eq!(backed.finish().await.unwrap().requests, what_fitted().len() as u64);
    });
    assert_eq!(heard.bare(), [what_fitted(), what_fitted()].concat());
    assert_eq!(in_files(dirs[0].path()).into_iter().map(bare).collect::<Vec<_>>(), what_fitted());
}

/// A prepared flow of a stream that is over.
async fn backed_by_another() -> sift_replay::record::Flow {
    let dir = tempfile::tempdir().unwrap();
    let stream = recording(to("https://nobody.invalid"), dir.path()).build().await.unwrap();
    let flow = stream.flow(FLOW).unwrap();
    stream.finish().await.unwrap();
    flow
}

#[test]
fn a_message_is_at_the_server_at_once_and_not_only_at_the_end() {
    let (server, dir) = (Faulty::start(), tempfile::tempdir().unwrap());
    block_on(async {
        let live = live_only(&server.uri()).build().await.unwrap();
        let backed = with_backups(&server.uri(), dir.path()).build().await.unwrap();
        for n in 0..3 {
            live.send(message(2 * n)).await.unwrap();
            server.wait(|seen| seen.messages == 2 * n + 1);
            backed.send(message(2 * n + 1)).await.unwrap();
            server.wait(|seen| seen.messages == 2 * n + 2);
        }
        assert_eq!(server.seen().acknowledged(), 0);
        live.finish().await.unwrap();
        backed.finish().await.unwrap();
    });
    super::support::assert_each_once(&server.seen(), 6);
}
