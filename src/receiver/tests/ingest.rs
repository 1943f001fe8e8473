//! Ingest streams.

use super::support::{Call, Memory, Rig, flow, request, rig, rig_with, stored};
use crate::receiver::{Event, ReceiverOptions, SessionKey, StoreError};
use prost::Message;
use sift_rs::{
    common::r#type::v1::ChannelDataType as Data,
    ingest::v1::{
        IngestWithConfigDataStreamRequest, ingest_service_client::IngestServiceClient,
        ingest_with_config_data_channel_value::Type,
    },
    ping::v1::{PingRequest, ping_service_client::PingServiceClient},
};
use std::{future::Future, pin::pin, time::Duration};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, codec::CompressionEncoding, transport::Endpoint};

const ALL: [Data; 11] = [
    Data::Double,
    Data::String,
    Data::Enum,
    Data::BitField,
    Data::Bool,
    Data::Float,
    Data::Int32,
    Data::Uint32,
    Data::Int64,
    Data::Uint64,
    Data::Bytes,
];

fn one_of_each() -> [Type; 11] {
    [
        Type::Double(-0.0),
        Type::String("°C".into()),
        Type::Enum(7),
        Type::BitField(vec![1, 2, 3]),
        Type::Bool(true),
        Type::Float(f32::MIN_POSITIVE),
        Type::Int32(i32::MIN),
        Type::Uint32(u32::MAX),
        Type::Int64(-1),
        Type::Uint64(u64::MAX),
        Type::Bytes(vec![0, 255]),
    ]
}

fn number(config_id: &str, value: f64) -> IngestWithConfigDataStreamRequest {
    request(config_id, "f", 1, [Type::Double(value)])
}

async fn rig_with_config() -> (Rig, String) {
    let rig = rig().await;
    let id = rig.config("k", vec![flow("f", &[Data::Double])]).await;
    (rig, id)
}

#[tokio::test]
async fn every_type_is_stored_bit_for_bit_under_its_config_and_run() {
    let rig = rig().await;
    let config_id = rig.config("k", vec![flow("all", &ALL)]).await;
    let run_id = rig.run("flight 7", "r").await;
    let mut first = request(&config_id, "all", -5, one_of_each());
    first.run_id.clone_from(&run_id);
    first.organization_id = "organization".into();
    first.end_stream_on_validation_error = true;
    let mut second = first.clone();
    second.channel_values[3].r#type = Some(Type::Empty(pbjson_types::Empty {}));
    rig.send(vec![first.clone(), second.clone()]).await.unwrap();

    let key = SessionKey { ingestion_config_id: config_id, run_id: run_id.clone() };
    let expected = [
        Call::Open(key.clone(), vec!["all".into()], Some("flight 7".into())),
        Call::Record(key.clone(), stored(&first)),
        Call::Record(key.clone(), stored(&second)),
        Call::Flush(vec![key]),
    ];
    assert_eq!(rig.store.calls(), expected);
    assert_eq!(rig.registry.run(&run_id).unwrap().asset_ids.len(), 1);
}

#[tokio::test]
async fn a_stream_is_acknowledged_only_after_the_flush() {
    let (store, mut entered, release) = Memory::gated();
    let mut rig = rig_with(store, ReceiverOptions::default()).await;
    let id = rig.config("k", vec![flow("f", &[Data::Double])]).await;
    let mut ping = PingServiceClient::new(rig.channel.clone());
    {
        let mut answer = pin!(rig.send(vec![number(&id, 1.0)]));
        tokio::select! {
            biased;
            answer = &mut answer => panic!("acknowledged before the flush: {answer:?}"),
            _ = entered.recv() => {}
        }
        // On the same connection, an acknowledgement sent by now would overtake this.
        ping.ping(PingRequest {}).await.unwrap();
        let early = std::future::poll_fn(|context| std::task::Poll::Ready(answer.as_mut().poll(context).is_ready()));
        assert!(!early.await, "acknowledged before the flush");
        assert_eq!(rig.receiver.counts().streams_acknowledged, 0);
        release.send(()).unwrap();
        answer.await.unwrap();
    }
    let event = rig.event(|event| matches!(event, Event::StreamAcknowledged { .. })).await;
    let expected = Event::StreamAcknowledged { stream: 1, accepted: 1, refused: 0 };
    assert_eq!(event, expected);
}

#[tokio::test]
async fn a_request_that_does_not_fit_ends_its_stream_with_the_reason_if_it_asks_for_that() {
    let (rig, id) = rig_with_config().await;
    let mut no_time = number(&id, 1.0);
    no_time.timestamp = None;
    let mut no_run = number(&id, 1.0);
    no_run.run_id = "nobody".into();
    let cases = [
        (number("nothing", 1.0), "the ingestion config \"nothing\" does not exist here"),
        (no_run, "the run \"nobody\" does not exist here"),
        (request(&id, "g", 1, []), "flow \"g\" does not exist in its ingestion config"),
        (request(&id, "f", 1, []), "flow \"f\": it has 1 channels, the request has 0 values"),
        (no_time, "flow \"f\": the request has no timestamp"),
        (
            request(&id, "f", 1, [Type::Float(1.0)]),
            "flow \"f\", channel \"channel-0\": the value is of type float, the channel of type double",
        ),
        (number(&id, f64::NAN), "flow \"f\", channel \"channel-0\": NaN is not a finite number"),
        (number(&id, f64::INFINITY), "channel \"channel-0\": inf is not a finite number"),
    ];
    for (mut bad, why) in cases {
        bad.end_stream_on_validation_error = true;
        let before = rig.store.calls().len();
        let status = rig.send(vec![number(&id, 1.0), bad, number(&id, 2.0)]).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        let place = "request 1 (from 0) of the stream was refused: ";
        assert!(status.message().starts_with(place), "{status}");
        assert!(status.message().contains(why), "{status}");
        // What came before is stored and flushed, though not acknowledged.
        let calls = rig.store.calls();
        let new: Vec<_> = calls[before..].iter().filter(|call| !matches!(call, Call::Open(..))).collect();
        assert!(matches!(new[..], [Call::Record(..), Call::Flush(_)]), "{new:?}");
    }
    assert_eq!(rig.receiver.counts().streams_acknowledged, 0);
    assert_eq!(rig.receiver.counts().streams_refused, 8);
}

#[tokio::test]
async fn otherwise_it_is_counted_and_kept_and_the_stream_goes_on() {
    let (rig, id) = rig_with_config().await;
    let bad = number(&id, f64::NAN);
    let good = [number(&id, 1.0), number(&id, 2.0)];
    rig.send(vec![good[0].clone(), bad.clone(), good[1].clone()]).await.unwrap();
    assert_eq!(rig.store.records(), good.each_ref().map(stored));
    let (refused, forgotten) = rig.receiver.refused();
    assert_eq!((refused.len(), forgotten), (1, 0));
    assert_eq!((refused[0].stream, refused[0].index), (1, 1));
    assert!(refused[0].reason.contains("NaN"), "{}", refused[0].reason);
    assert_eq!(refused[0].request, bad.encode_to_vec());
    let counts = rig.receiver.counts();
    assert_eq!((counts.requests_accepted, counts.requests_refused), (2, 1));
    assert_eq!(counts.streams_acknowledged, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_streams_at_once_each_keep_their_order_and_lose_nothing() {
    const STREAMS: usize = 6;
    const REQUESTS: i64 = 3000;
    let (rig, id) = rig_with_config().await;
    let streams: Vec<_> = (0..STREAMS)
        .map(|stream| {
            // Half of them share a connection, the others have their own.
            let channel = match stream % 2 {
                0 => rig.channel.clone(),
                _ => Endpoint::from_shared(rig.uri()).unwrap().connect_lazy(),
            };
            let id = id.clone();
            tokio::spawn(async move {
                #[expect(clippy::cast_precision_loss)]
                let requests = (0..REQUESTS).map(move |n| request(&id, "f", n, [Type::Double(stream as f64)]));
                let mut client = IngestServiceClient::new(channel);
                let requests = tokio_stream::iter(requests);
                client.ingest_with_config_data_stream(requests).await.unwrap();
            })
        })
        .collect();
    for stream in streams {
        stream.await.unwrap();
    }
    let mut next = [0i64; STREAMS];
    for record in rig.store.records() {
        let record = IngestWithConfigDataStreamRequest::decode(record.as_slice()).unwrap();
        let Some(Type::Double(stream)) = record.channel_values[0].r#type else {
            panic!("another type came back");
        };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let next = &mut next[stream as usize];
        assert_eq!(record.timestamp.unwrap().seconds, *next);
        *next += 1;
    }
    assert_eq!(next, [REQUESTS; STREAMS]);
    let opens = rig.store.calls().into_iter().filter(|call| matches!(call, Call::Open(..)));
    assert_eq!(opens.count(), 1);
}

#[tokio::test]
async fn flows_added_while_a_stream_is_open_reach_the_store_before_their_records() {
    let (mut rig, id) = rig_with_config().await;
    let (requests, received) = tokio::sync::mpsc::channel(8);
    let mut client = rig.ingest();
    let stream =
        tokio::spawn(async move { client.ingest_with_config_data_stream(ReceiverStream::new(received)).await });
    // The refusal that this causes tells that the stream has got its schema.
    requests.send(number(&id, 1.0)).await.unwrap();
    requests.send(request(&id, "g", 1, [])).await.unwrap();
    rig.event(|event| matches!(event, Event::RequestRefused { index: 1, .. })).await;
    rig.add_flow(&id, flow("g", &[Data::Bool])).await.unwrap();
    requests.send(request(&id, "g", 1, [Type::Bool(true)])).await.unwrap();
    drop(requests);
    stream.await.unwrap().unwrap();
    let shape: Vec<_> = rig
        .store
        .calls()
        .into_iter()
        .map(|call| match call {
            Call::Open(_, flows, _) => format!("open {}", flows.join(" ")),
            Call::Record(..) => "record".to_owned(),
            Call::Flush(_) => "flush".to_owned(),
        })
        .collect();
    assert_eq!(shape, ["open f", "record", "open f g", "record", "flush"]);
}

#[tokio::test]
async fn of_duplicated_ids_the_last_one_counts_and_none_is_stored() {
    let (rig, id) = rig_with_config().await;
    let good = number(&id, 1.0);
    let mut wrong = good.clone();
    wrong.ingestion_config_id = "nothing".into();
    wrong.run_id = "nobody".into();
    wrong.end_stream_on_validation_error = true;
    // Appended, as a replayer does: the right config id, no run, and the flag.
    let mut appended = wrong.encode_to_vec();
    appended.extend([0x0a, 36]);
    appended.extend(id.as_bytes());
    appended.extend([0x2a, 0]);
    rig.send_bytes(vec![appended]).await.unwrap();
    assert_eq!(rig.store.records(), [stored(&good)]);
}

#[tokio::test]
async fn bytes_that_are_no_message_end_the_stream() {
    let (rig, id) = rig_with_config().await;
    let requests = vec![number(&id, 1.0).encode_to_vec(), vec![0x12, 200, 1, 2]];
    let status = rig.send_bytes(requests).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let expected = "request 1 (from 0) of the stream was refused: not a protobuf message: a field longer than its message at byte 3";
    assert_eq!(status.message(), expected);
}

#[tokio::test]
async fn a_client_that_goes_away_gets_no_acknowledgement_but_its_data_is_kept() {
    let (mut rig, id) = rig_with_config().await;
    let (requests, received) = tokio::sync::mpsc::channel(8);
    // A runtime of its own, which goes away with all of its sockets.
    let client = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let endpoint = Endpoint::from_shared(rig.uri()).unwrap();
    client.spawn(async move {
        let mut client = IngestServiceClient::new(endpoint.connect_lazy());
        client.ingest_with_config_data_stream(ReceiverStream::new(received)).await
    });
    requests.send(number(&id, 1.0)).await.unwrap();
    requests.send(number(&id, f64::NAN)).await.unwrap();
    rig.event(|event| matches!(event, Event::RequestRefused { .. })).await;
    client.shutdown_background();
    let event = rig.event(|event| matches!(event, Event::StreamBroken { .. })).await;
    let expected = Event::StreamBroken { stream: 1, accepted: 1 };
    assert_eq!(event, expected);
    assert_eq!(rig.store.records().len(), 1);
    assert_eq!(rig.receiver.counts().streams_acknowledged, 0);
}

#[tokio::test]
async fn shutting_down_ends_open_streams_without_acknowledging_them() {
    let options = ReceiverOptions { shutdown_grace: Duration::ZERO, ..Default::default() };
    let mut rig = rig_with(Memory::default(), options).await;
    let id = rig.config("k", vec![flow("f", &[Data::Double])]).await;
    let (requests, received) = tokio::sync::mpsc::channel(8);
    let mut client = rig.ingest();
    let stream =
        tokio::spawn(async move { client.ingest_with_config_data_stream(ReceiverStream::new(received)).await });
    requests.send(number(&id, 1.0)).await.unwrap();
    rig.event(|event| matches!(event, Event::StreamOpened { .. })).await;
    let uri = rig.uri();
    let counts = rig.receiver.shutdown().await.unwrap();
    assert_eq!((counts.streams_acknowledged, counts.streams_refused), (0, 1));
    let status = stream.await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("nothing of this stream is acknowledged"), "{status}");
    assert!(Endpoint::from_shared(uri).unwrap().connect().await.is_err());
}

#[tokio::test]
async fn shutting_down_lets_streams_end_within_the_grace_period() {
    let options = ReceiverOptions { shutdown_grace: Duration::from_secs(3600), ..Default::default() };
    let (store, mut entered, release) = Memory::gated();
    let rig = rig_with(store, options).await;
    let id = rig.config("k", vec![flow("f", &[Data::Double])]).await;
    let mut client = rig.ingest();
    let stream = tokio::spawn(async move {
        let requests = tokio_stream::iter([number(&id, 1.0)]);
        client.ingest_with_config_data_stream(requests).await
    });
    entered.recv().await.unwrap();
    let shutdown = tokio::spawn(rig.receiver.shutdown());
    release.send(()).unwrap();
    stream.await.unwrap().unwrap();
    let counts = shutdown.await.unwrap().unwrap();
    assert_eq!(counts.streams_acknowledged, 1);
}

#[tokio::test]
async fn what_could_not_be_made_durable_is_not_acknowledged() {
    for (error, code) in [
        (StoreError::Failed("the disk is gone".into()), Code::Internal),
        (StoreError::Full("0 bytes left".into()), Code::Unavailable),
        (StoreError::Closed, Code::Unavailable),
    ] {
        let why = error.to_string();
        let rig = rig_with(Memory::failing(error), ReceiverOptions::default()).await;
        let id = rig.config("k", vec![flow("f", &[Data::Double])]).await;
        let status = rig.send(vec![number(&id, 1.0)]).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (code, why.as_str()));
    }
}

#[tokio::test]
async fn compressed_requests_are_understood() {
    let (rig, id) = rig_with_config().await;
    let mut client = rig.ingest().send_compressed(CompressionEncoding::Gzip);
    let good = number(&id, 1.0);
    let requests = tokio_stream::iter([good.clone()]);
    client.ingest_with_config_data_stream(requests).await.unwrap();
    assert_eq!(rig.store.records(), [stored(&good)]);
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused() {
    let options = ReceiverOptions { max_message_bytes: 1000, ..Default::default() };
    let rig = rig_with(Memory::default(), options).await;
    let id = rig.config("k", vec![flow("f", &[Data::Bytes])]).await;
    let large = request(&id, "f", 1, [Type::Bytes(vec![0; 2000])]);
    let status = rig.send(vec![large]).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange);
    assert!(rig.store.records().is_empty());
}

#[tokio::test]
async fn no_more_streams_are_open_than_allowed() {
    let options = ReceiverOptions { max_streams: 1, ..Default::default() };
    let (store, mut entered, release) = Memory::gated();
    let rig = rig_with(store, options).await;
    let id = rig.config("k", vec![flow("f", &[Data::Double])]).await;
    let first = rig.send(vec![number(&id, 1.0)]);
    let second = async {
        entered.recv().await.unwrap();
        let status = rig.send(vec![number(&id, 2.0)]).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        assert!(status.message().starts_with("1 streams are open"), "{status}");
        release.send(()).unwrap();
    };
    let (first, ()) = tokio::join!(first, second);
    first.unwrap();
    assert_eq!(rig.store.records().len(), 1);
}

#[tokio::test]
async fn a_stream_without_requests_is_acknowledged() {
    let (rig, _) = rig_with_config().await;
    rig.send(vec![]).await.unwrap();
    assert_eq!(rig.store.calls(), []);
}
