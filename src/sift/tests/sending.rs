//! Ingest streams: what counts as acknowledged, and what each failure looks like.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use sift_rs::ingest::v1::IngestWithConfigDataStreamRequest;
use sift_rs::ping::v1::ping_service_server::PingServiceServer;
use tokio::net::{TcpListener, TcpStream};
use tonic::body::Body;
use tonic::transport::Server;
use tonic::{Code, Status};

use super::raw::{Raw, RawIngest, answer};
use super::support::{Ended, Fake, Ingest, KEY, open, open_with, options, serve};
use crate::sift::{Connection, Fault, IngestStream, MESSAGE_PREFIX_BYTES, SendError, message_prefix};

const PATIENT: Duration = Duration::from_secs(30);
const AGAIN: Fault = Fault::Transient { retry_after: None };

fn message(number: usize) -> IngestWithConfigDataStreamRequest {
    IngestWithConfigDataStreamRequest { flow: format!("flow-{number}"), ..Default::default() }
}

fn framed(messages: &[IngestWithConfigDataStreamRequest]) -> Bytes {
    let mut buffer = BytesMut::new();
    for message in messages {
        buffer.put_slice(&message_prefix(message.encoded_len() as u32));
        message.encode(&mut buffer).unwrap();
    }
    buffer.freeze()
}

/// A buffer of 64 KiB that is one large message.
fn large() -> Bytes {
    framed(&[IngestWithConfigDataStreamRequest { flow: "x".repeat(65_536), ..Default::default() }])
}

/// Pushes until the stream fails.
async fn push_until_refused(stream: &mut IngestStream) -> SendError {
    loop {
        if let Err(error) = stream.push(large()).await {
            return error;
        }
    }
}

#[test]
fn a_message_has_five_bytes_before_it() {
    assert_eq!(message_prefix(0x0102_0304), [0, 1, 2, 3, 4]);
    assert_eq!(MESSAGE_PREFIX_BYTES, 5);
}

#[tokio::test]
async fn what_was_pushed_arrives_in_order_and_is_acknowledged() {
    let fake = Fake::default();
    let connection = fake.connect().await;
    let messages: Vec<_> = (0..5000).map(message).collect();
    let mut stream = IngestStream::open(&connection);
    for chunk in messages.chunks(70) {
        stream.push(framed(chunk)).await.unwrap();
        stream.push(Bytes::new()).await.unwrap();
    }
    stream.finish(PATIENT).await.unwrap();
    let state = fake.state();
    assert!(state.streams == [Ended::Complete(messages)]);
    assert_eq!(state.metadata.get("authorization").unwrap(), &format!("Bearer {KEY}"));
}

#[tokio::test]
async fn a_buffer_far_larger_than_any_window_arrives_whole() {
    let fake = Fake::default();
    let messages: Vec<_> = (0..200_000).map(message).collect();
    let mut stream = IngestStream::open(&fake.connect().await);
    let buffer = framed(&messages);
    assert!(buffer.len() > 3_000_000);
    stream.push(buffer).await.unwrap();
    stream.finish(PATIENT).await.unwrap();
    assert!(fake.state().streams == [Ended::Complete(messages)]);
}

#[tokio::test]
async fn several_streams_share_a_connection() {
    let fake = Fake::default();
    let connection = fake.connect().await;
    let mut streams: Vec<_> = (0..5).map(|_| IngestStream::open(&connection)).collect();
    for (number, stream) in streams.iter_mut().enumerate() {
        stream.push(framed(&[message(number)])).await.unwrap();
    }
    for stream in streams {
        stream.finish(PATIENT).await.unwrap();
    }
    assert_eq!(fake.state().streams.len(), 5);
}

#[tokio::test]
async fn an_empty_stream_is_acknowledged_too() {
    let fake = Fake::default();
    let stream = IngestStream::open(&fake.connect().await);
    stream.finish(PATIENT).await.unwrap();
    assert!(fake.state().streams == [Ended::Complete(Vec::new())]);
}

#[tokio::test]
async fn a_refusal_in_the_middle_reaches_the_next_push() {
    let fake = Fake::default();
    let refusal = Status::invalid_argument("flow \"x\" is unknown");
    fake.state().ingest = Ingest::RefuseAfter(3, refusal);
    let mut stream = IngestStream::open(&fake.connect().await);
    let error = push_until_refused(&mut stream).await;
    assert_eq!(error.fault(), Fault::Data);
    assert!(matches!(&error, SendError::Refused(status) if status.code() == Code::InvalidArgument), "{error:?}");
    assert!(error.to_string().contains("is unknown"), "{error}");

    let again = stream.push(large()).await.unwrap_err();
    assert!(matches!(again, SendError::Ended), "{again:?}");
    let again = stream.finish(PATIENT).await.unwrap_err();
    assert!(matches!(again, SendError::Ended), "{again:?}");
}

#[tokio::test]
async fn a_refusal_at_the_end_is_told_by_finish() {
    let fake = Fake::default();
    fake.state().failures.push_back(Status::unauthenticated("who?"));
    let mut stream = IngestStream::open(&fake.connect().await);
    stream.push(framed(&[message(0)])).await.unwrap();
    let error = stream.finish(PATIENT).await.unwrap_err();
    assert_eq!(error.fault(), Fault::Destination, "{error:?}");
}

#[tokio::test]
async fn no_answer_is_no_acknowledgement() {
    let fake = Fake::default();
    fake.state().ingest = Ingest::NeverAnswer;
    let mut stream = IngestStream::open(&fake.connect().await);
    stream.push(framed(&[message(0)])).await.unwrap();
    let error = stream.finish(Duration::from_millis(50)).await.unwrap_err();
    assert!(matches!(error, SendError::AcknowledgementTimeout { waited } if waited.as_millis() == 50), "{error:?}");
    assert_eq!(error.fault(), AGAIN);
}

#[tokio::test]
async fn an_ok_before_the_end_acknowledges_nothing() {
    let fake = Fake::default();
    fake.state().ingest = Ingest::OkAfter(2);
    let mut stream = IngestStream::open(&fake.connect().await);
    let error = push_until_refused(&mut stream).await;
    assert!(matches!(error, SendError::EndedEarly), "{error:?}");
    assert_eq!(error.fault(), AGAIN);
}

#[tokio::test]
async fn a_server_that_takes_nothing_does_not_hold_the_sender_forever() {
    let fake = Fake::default();
    fake.state().ingest = Ingest::NeverRead;
    let address = fake.serve(None).await;
    let mut options = options(format!("http://{address}"));
    options.timeouts.stall = Duration::from_millis(100);
    let connection = open_with(&options).await;

    let mut stream = IngestStream::open(&connection);
    let error = push_until_refused(&mut stream).await;
    assert!(matches!(error, SendError::Stalled { .. }), "{error:?}");
    assert_eq!(error.fault(), AGAIN);
}

#[tokio::test]
async fn a_dropped_stream_is_never_taken_for_a_complete_one() {
    let fake = Fake::default();
    let connection = fake.connect().await;
    let mut stream = IngestStream::open(&connection);
    stream.push(framed(&[message(0)])).await.unwrap();
    // The server has begun to read before the stream is dropped.
    while fake.state().calls.is_empty() {
        tokio::task::yield_now().await;
    }
    drop(stream);
    while fake.state().streams.is_empty() {
        tokio::task::yield_now().await;
    }
    assert!(fake.state().streams == [Ended::Broken]);

    // The connection itself is sound.
    let mut stream = IngestStream::open(&connection);
    stream.push(framed(&[message(1)])).await.unwrap();
    stream.finish(PATIENT).await.unwrap();
}

#[tokio::test]
async fn a_cut_connection_is_transient_and_the_next_stream_connects_anew() {
    let fake = Fake::default();
    let server = fake.serve(None).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let cut = Arc::new(tokio::sync::Notify::new());
    let cutter = cut.clone();
    tokio::spawn(async move {
        loop {
            let (mut inside, _) = listener.accept().await.unwrap();
            let mut outside = TcpStream::connect(server).await.unwrap();
            let cutter = cutter.clone();
            tokio::spawn(async move {
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut inside, &mut outside) => {}
                    () = cutter.notified() => {}
                }
            });
        }
    });
    let connection = open(address).await;
    let mut stream = IngestStream::open(&connection);
    stream.push(framed(&[message(0)])).await.unwrap();
    cut.notify_one();
    let error = push_until_refused(&mut stream).await;
    assert!(matches!(error, SendError::Transport { .. }), "{error:?}");
    assert_eq!(error.fault(), AGAIN);

    let mut stream = IngestStream::open(&connection);
    stream.push(framed(&[message(1)])).await.unwrap();
    stream.finish(PATIENT).await.unwrap();
}

/// The outcome of a one-message stream that gets this answer.
async fn outcome_of(answer: impl Fn() -> http::Response<Body> + Send + Sync + 'static) -> Result<(), SendError> {
    let router =
        Server::builder().add_service(PingServiceServer::new(Fake::default())).add_service(RawIngest(Raw::new(answer)));
    let connection: Connection = open(serve(router).await).await;
    let mut stream = IngestStream::open(&connection);
    stream.push(framed(&[message(0)])).await?;
    stream.finish(PATIENT).await
}

const EMPTY_MESSAGE: &[u8] = &[0; MESSAGE_PREFIX_BYTES];

#[tokio::test]
async fn only_a_whole_answer_with_status_ok_acknowledges() {
    outcome_of(|| answer(200, &[], EMPTY_MESSAGE, &[("grpc-status", "0")])).await.unwrap();

    let error = outcome_of(|| answer(200, &[], EMPTY_MESSAGE, &[])).await.unwrap_err();
    assert!(matches!(error, SendError::NoStatus), "{error:?}");
    assert_eq!(error.fault(), AGAIN);

    let error = outcome_of(|| answer(200, &[], b"", &[("grpc-status", "0")])).await.unwrap_err();
    assert!(matches!(error, SendError::NoResponse), "{error:?}");

    let error = outcome_of(|| answer(200, &[("grpc-status", "0")], b"", &[])).await.unwrap_err();
    assert!(matches!(error, SendError::NoResponse), "{error:?}");

    let error = outcome_of(|| answer(200, &[], &[0; 100_000], &[("grpc-status", "0")])).await.unwrap_err();
    assert!(matches!(error, SendError::OversizedResponse { .. }), "{error:?}");
}

#[tokio::test]
async fn a_status_is_found_in_headers_and_in_trailers() {
    let headers = [("grpc-status", "9"), ("grpc-message", "caf%C3%A9%0A")];
    let error = outcome_of(move || answer(200, &headers, b"", &[])).await.unwrap_err();
    assert_eq!(error.fault(), Fault::Data);
    assert!(error.to_string().contains("café\\n"), "{error}");

    let error = outcome_of(|| answer(200, &[], b"", &[("grpc-status", "14")])).await.unwrap_err();
    assert!(matches!(&error, SendError::Refused(status) if status.code() == Code::Unavailable), "{error:?}");
    assert_eq!(error.fault(), AGAIN);
}

#[tokio::test]
async fn malformed_status_details_do_no_harm() {
    const BAD: (&str, &str) = ("grpc-status-details-bin", "!!!");
    let headers = [("grpc-status", "8"), BAD];
    let error = outcome_of(move || answer(200, &headers, b"", &[])).await.unwrap_err();
    assert_eq!(error.fault(), Fault::Data, "{error:?}");

    let error = outcome_of(|| answer(200, &[], b"", &[("grpc-status", "8"), BAD])).await.unwrap_err();
    assert_eq!(error.fault(), Fault::Data, "{error:?}");
}

#[tokio::test]
async fn a_proxys_answer_is_told_from_the_destinations() {
    for (status, fault) in [(503, AGAIN), (429, AGAIN), (404, Fault::Destination)] {
        let error = outcome_of(move || answer(status, &[], b"sorry", &[])).await.unwrap_err();
        assert!(matches!(error, SendError::HttpStatus { status: found } if found == status), "{error:?}");
        assert_eq!(error.fault(), fault);
        assert!(error.to_string().contains(&status.to_string()), "{error}");
    }
}
