//! Compression on the way: the same arrives, of fewer bytes.

use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use sift_rs::ingest::v1::ingest_with_config_data_channel_value::Type;
use sift_rs::ingest::v1::{IngestWithConfigDataChannelValue, IngestWithConfigDataStreamRequest};
use sift_rs::ingestion_configs::v2::{CreateIngestionConfigRequest, FlowConfig};
use sift_rs::ping::v1::ping_service_server::PingServiceServer;
use tonic::transport::Server;

use super::raw::{Raw, RawIngest, answer};
use super::real::{Real, counting, sift_channel};
use super::support::{Ended, Fake, KEY, channel, config, open, serve};
use crate::sift::{Connection, Fault, IngestStream, Timeouts, message_prefix, register};

const PATIENT: Duration = Duration::from_secs(30);

/// Channels of a flow, most of which stand still, as telemetry does.
const CHANNELS: u64 = 60;

fn wide() -> CreateIngestionConfigRequest {
    let channels = (0..CHANNELS).map(|number| channel(&format!("channel-{number}"), 1)).collect();
    let flows = vec![FlowConfig { name: "wide".to_owned(), channels }];
    CreateIngestionConfigRequest { flows, ..config(&[]) }
}

fn message(number: u64, config_id: &str) -> IngestWithConfigDataStreamRequest {
    let values =
        (0..CHANNELS).map(|channel| if channel < 5 { (number * channel) as f64 / 3.0 } else { channel as f64 });
    let values = values.map(|value| IngestWithConfigDataChannelValue { r#type: Some(Type::Double(value)) });
    IngestWithConfigDataStreamRequest {
        flow: "wide".to_owned(),
        ingestion_config_id: config_id.to_owned(),
        timestamp: Some(pbjson_types::Timestamp { seconds: number as i64, nanos: 1 }),
        channel_values: values.collect(),
        ..Default::default()
    }
}

fn framed(messages: impl IntoIterator<Item = IngestWithConfigDataStreamRequest>) -> Bytes {
    let mut buffer = BytesMut::new();
    for message in messages {
        buffer.put_slice(&message_prefix(message.encoded_len() as u32));
        message.encode(&mut buffer).unwrap();
    }
    buffer.freeze()
}

/// Sends them in buffers of 70; returns the length of those together.
async fn send(connection: &Connection, messages: &[IngestWithConfigDataStreamRequest]) -> u64 {
    let mut stream = IngestStream::open(connection);
    let mut bytes = 0;
    for chunk in messages.chunks(70) {
        let buffer = framed(chunk.iter().cloned());
        bytes += buffer.len() as u64;
        stream.push(buffer).await.unwrap();
    }
    stream.finish(PATIENT).await.unwrap();
    bytes
}

#[tokio::test]
async fn compressed_or_not_the_same_is_stored_and_fewer_bytes_travel() {
    let mut stored = Vec::new();
    let mut travelled = Vec::new();
    for (gzip, existing) in [(false, false), (true, false), (false, true), (true, true)] {
        let real = Real::start().await;
        let (address, count) = counting(real.address()).await;
        let connection = match existing {
            false => open(address).await,
            true => Connection::from_channel(sift_channel(address, KEY), "theirs", Timeouts::default()),
        };
        let connection = connection.with_gzip(gzip);
        let config_id = register(&connection, &wide(), None).await.unwrap().ingestion_config_id;
        let messages: Vec<_> = (0..2000).map(|number| message(number, &config_id)).collect();
        let before = count.load(Ordering::Relaxed);
        // Clones keep the property.
        let bytes = send(&connection.clone(), &messages).await;
        travelled.push((count.load(Ordering::Relaxed) - before, bytes));
        assert_eq!(real.records.all().len(), 2000);
        stored.push(real.records.all());
    }
    assert!(stored.iter().all(|records| *records == stored[0]), "compressed or not, the same is stored");
    for (gzip, (travelled, bytes)) in [false, true, false, true].into_iter().zip(travelled) {
        assert_eq!(travelled * 10 < bytes * 6, gzip, "{travelled} bytes for {bytes}");
        assert_eq!(travelled < bytes, gzip, "{travelled} bytes for {bytes}");
    }
}

#[tokio::test]
async fn what_gets_no_smaller_arrives_among_what_does() {
    let fake = Fake::default();
    fake.state().takes_gzip = true;
    let connection = fake.connect().await.with_gzip(true);
    let short = |number: usize| IngestWithConfigDataStreamRequest { flow: number.to_string(), ..Default::default() };
    let long = IngestWithConfigDataStreamRequest { flow: "x".repeat(3_000_000), ..Default::default() };
    let mut messages: Vec<_> = (0..1000).map(short).collect();
    messages.insert(500, long);
    messages.push(IngestWithConfigDataStreamRequest::default());
    send(&connection, &messages).await;
    assert!(fake.state().streams == [Ended::Complete(messages)]);
}

#[tokio::test]
async fn a_destination_without_gzip_says_so_and_the_data_is_not_to_blame() {
    let connection = Fake::default().connect().await.with_gzip(true);
    let mut stream = IngestStream::open(&connection);
    stream.push(framed([message(1, "")])).await.unwrap();
    let error = stream.finish(PATIENT).await.unwrap_err();
    assert_eq!(error.fault(), Fault::Destination, "{error}");
    assert_eq!(error.code_number(), 12);
    assert!(error.to_string().contains("gzip"), "{error}");
}

#[tokio::test]
async fn without_it_no_header_speaks_of_compression() {
    for gzip in [false, true] {
        let ok: &[_] = &[("grpc-status", "0")];
        let raw = RawIngest(Raw::looking(move |headers| {
            let encoding = headers.get("grpc-encoding").map(|value| value.to_str().unwrap());
            assert_eq!(encoding, gzip.then_some("gzip"));
            answer(200, &[], &[0, 0, 0, 0, 0], ok)
        }));
        let ping = PingServiceServer::new(Fake::default());
        let address = serve(Server::builder().add_service(ping).add_service(raw)).await;
        let connection = open(address).await.with_gzip(gzip);
        IngestStream::open(&connection).finish(PATIENT).await.unwrap();
    }
}

#[tokio::test]
async fn a_push_that_is_cancelled_while_it_compresses_leaves_nothing_behind() {
    let fake = Fake::default();
    fake.state().takes_gzip = true;
    let connection = fake.connect().await.with_gzip(true);
    let mut stream = IngestStream::open(&connection);
    let cancelled = framed((0..20_000).map(|number| message(number, "cancelled")));
    for polls in 0..8 {
        let mut push = std::pin::pin!(stream.push(cancelled.clone()));
        for _ in 0..polls {
            assert!(std::future::poll_fn(|cx| Poll::Ready(push.as_mut().poll(cx))).await.is_pending());
        }
    }
    let messages = vec![message(7, "kept")];
    stream.push(framed(messages.clone())).await.unwrap();
    stream.finish(PATIENT).await.unwrap();
    assert!(fake.state().streams == [Ended::Complete(messages)]);
}
