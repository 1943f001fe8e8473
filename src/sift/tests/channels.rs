//! Connections that weren't tried out when they were made: over an existing channel, or lazy.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use sift_rs::ingest::v1::ingest_with_config_data_channel_value::Type;
use sift_rs::ingest::v1::{IngestWithConfigDataChannelValue, IngestWithConfigDataStreamRequest};
use sift_rs::{Credentials, SiftChannelBuilder};
use tokio::net::{TcpListener, TcpSocket};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic::{Code, Status};

use super::raw::{Raw, RawPing, answer};
use super::real::{Real, sift_channel};
use super::support::{Ended, Fake, KEY, config, options, run, serve};
use crate::sift::{
    ConnectError, ConnectErrorKind, Connection, Destination, DestinationOptions, Fault, IngestStream, RegisterError,
    SendError, Timeouts, message_prefix, register,
};

const PATIENT: Duration = Duration::from_secs(30);

fn timeouts() -> Timeouts {
    Timeouts { connect: Duration::from_secs(20), ..Timeouts::default() }
}

fn framed(message: &IngestWithConfigDataStreamRequest) -> Bytes {
    let mut buffer = BytesMut::new();
    buffer.put_slice(&message_prefix(message.encoded_len() as u32));
    message.encode(&mut buffer).unwrap();
    buffer.freeze()
}

fn lazy(options: &DestinationOptions) -> Connection {
    Connection::lazy(&Destination::resolve(options).unwrap()).unwrap()
}

#[tokio::test]
async fn an_existing_channel_does_all_that_a_connection_does() {
    let real = Real::start().await;
    let connection = Connection::from_channel(sift_channel(real.address(), KEY), "the rover's", timeouts());
    assert_eq!(connection.destination_name(), "the rover's");
    assert!(!format!("{connection:?}").contains(KEY));
    connection.check().await.unwrap();
    assert!(connection.organization().await.unwrap().is_some());
    let registration = register(&connection, &config(&["a"]), Some(&run(Some("k")))).await.unwrap();
    assert!(registration.config_created && registration.run_created);
    let values = [Type::Double(0.5), Type::Int32(7)];
    let stored = IngestWithConfigDataStreamRequest {
        flow: "a".to_owned(),
        timestamp: Some(pbjson_types::Timestamp { seconds: 1, nanos: 1 }),
        channel_values: values.map(|value| IngestWithConfigDataChannelValue { r#type: Some(value) }).to_vec(),
        ..Default::default()
    };
    let message = IngestWithConfigDataStreamRequest {
        ingestion_config_id: registration.ingestion_config_id,
        run_id: registration.run_id.unwrap(),
        ..stored.clone()
    };
    let mut stream = IngestStream::open(&connection.clone());
    stream.push(framed(&message)).await.unwrap();
    stream.finish(PATIENT).await.unwrap();
    assert_eq!(real.records.all(), [stored.encode_to_vec()]);
    assert_eq!(real.receiver.counts().streams_acknowledged, 1);
}

#[tokio::test]
async fn an_existing_channels_streams_carry_its_key_and_what_was_pushed() {
    let fake = Fake::default();
    let channel = sift_channel(fake.serve(None).await, "their-key");
    let connection = Connection::from_channel(channel, "theirs", timeouts());
    let messages: Vec<_> = (0..3000)
        .map(|n| IngestWithConfigDataStreamRequest { flow: format!("flow-{n}"), ..Default::default() })
        .collect();
    let mut stream = IngestStream::open(&connection);
    for message in &messages {
        stream.push(framed(message)).await.unwrap();
    }
    stream.finish(PATIENT).await.unwrap();
    let state = fake.state();
    assert!(state.streams == [Ended::Complete(messages)]);
    assert_eq!(state.metadata.get("authorization").unwrap(), "Bearer their-key");
}

#[tokio::test]
async fn a_stream_over_an_existing_channel_that_is_dropped_is_no_complete_one() {
    let fake = Fake::default();
    let connection = Connection::from_channel(sift_channel(fake.serve(None).await, KEY), "theirs", timeouts());
    let mut stream = IngestStream::open(&connection);
    // Until the server has begun to read.
    while fake.state().calls.is_empty() {
        stream.push(framed(&IngestWithConfigDataStreamRequest::default())).await.unwrap();
        tokio::task::yield_now().await;
    }
    drop(stream);
    let ended = async {
        while fake.state().streams.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENT, ended).await.unwrap();
    assert!(fake.state().streams == [Ended::Broken]);
}

#[tokio::test]
async fn refused_credentials_of_an_existing_channel_show_when_it_is_checked() {
    let real = Real::start().await;
    for key in ["wrong", ""] {
        let connection = Connection::from_channel(sift_channel(real.address(), key), "theirs", timeouts());
        let error = connection.check().await.unwrap_err();
        assert!(matches!(error, ConnectError::Unauthenticated { .. }), "{error:?}");
        assert_eq!((error.kind(), error.fault()), (ConnectErrorKind::CredentialsRefused, Fault::Destination));
        assert!(error.to_string().starts_with("theirs "), "{error}");
    }
}

#[tokio::test]
async fn a_key_that_cant_travel_is_never_the_datas_fault() {
    let real = Real::start().await;
    let connection = Connection::from_channel(sift_channel(real.address(), "two\nlines"), "theirs", timeouts());
    let error = connection.check().await.unwrap_err();
    assert_eq!(error.kind(), ConnectErrorKind::CredentialsRefused, "{error:?}");
    assert!(!error.to_string().contains("two"), "{error}");
    let error = register(&connection, &config(&["a"]), None).await.unwrap_err();
    assert_eq!(error.fault(), Fault::Destination, "{error:?}");
    let mut stream = IngestStream::open(&connection);
    let error = stream.push(framed(&IngestWithConfigDataStreamRequest::default())).await.unwrap_err();
    assert_eq!((error.fault(), error.code_number()), (Fault::Destination, 16), "{error:?}");
}

#[tokio::test]
async fn a_destinations_own_invalid_argument_stays_the_datas_fault() {
    let fake = Fake::default();
    let connection = Connection::from_channel(sift_channel(fake.serve(None).await, KEY), "theirs", timeouts());
    fake.state().failures.push_back(Status::invalid_argument("no such flow"));
    let stream = IngestStream::open(&connection);
    let error = stream.finish(PATIENT).await.unwrap_err();
    assert!(matches!(&error, SendError::Refused(status) if status.code() == Code::InvalidArgument), "{error:?}");
    assert_eq!((error.fault(), error.code_number()), (Fault::Data, 3));
}

#[tokio::test]
async fn malformed_status_details_do_not_break_an_existing_channel() {
    let headers = [("grpc-status", "16"), ("grpc-status-details-bin", "!!!")];
    let raw = RawPing(Raw::new(move || answer(200, &headers, b"", &[])));
    let address = serve(Server::builder().add_service(raw)).await;
    let error = Connection::from_channel(sift_channel(address, KEY), "x", timeouts()).check().await.unwrap_err();
    assert!(matches!(error, ConnectError::Unauthenticated { .. }), "{error:?}");
}

#[tokio::test]
async fn a_check_tells_why_there_is_no_connection_as_opening_one_does() {
    // Bound, so that nobody else takes the port, and not listening.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    let connection = lazy(&options(format!("http://{address}")));
    let existing = Connection::from_channel(sift_channel(address, KEY), "theirs", timeouts());
    for connection in [&connection, &existing] {
        let error = connection.check().await.unwrap_err();
        assert!(matches!(error, ConnectError::Refused { .. }), "{error:?}");
        assert!(error.is_transient() && error.to_string().contains(connection.destination_name()), "{error}");
        assert_eq!(error.fault(), Fault::Transient { retry_after: None });
    }
    // And the same connections serve once somebody listens.
    let incoming = TcpListenerStream::new(socket.listen(16).unwrap());
    tokio::spawn(Fake::default().router().serve_with_incoming(incoming));
    connection.check().await.unwrap();
    existing.check().await.unwrap();

    let host = format!("{}.invalid", "a".repeat(64));
    let lazy = lazy(&DestinationOptions { insecure: true, ..options(format!("http://{host}")) });
    let credentials = Credentials::Config { uri: format!("http://{host}:1"), apikey: KEY.to_owned() };
    let channel = SiftChannelBuilder::new(credentials).use_tls(false).build().unwrap();
    let existing = Connection::from_channel(channel, "theirs", timeouts());
    for (connection, named) in [(lazy, host.as_str()), (existing, "theirs")] {
        let error = connection.check().await.unwrap_err();
        assert!(matches!(&error, ConnectError::Unresolved { host, .. } if host == named), "{error:?}");
        assert!(error.is_transient());
    }
}

#[tokio::test]
async fn a_check_tells_tls_from_plain_text() {
    let plain = Fake::default().serve(None).await.port();
    let error = lazy(&options(format!("https://127.0.0.1:{plain}"))).check().await.unwrap_err();
    assert!(matches!(error, ConnectError::TlsHandshake { .. }), "{error:?}");

    let key = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let identity = Identity::from_pem(key.cert.pem(), key.signing_key.serialize_pem());
    let tls = Fake::default().serve(Some(ServerTlsConfig::new().identity(identity))).await.port();
    let error = lazy(&options(format!("https://localhost:{tls}"))).check().await.unwrap_err();
    assert!(matches!(error, ConnectError::TlsHandshake { .. }), "{error:?}");
    assert!(error.to_string().contains("--ca-cert") && !error.is_transient(), "{error}");
    let error = lazy(&options(format!("http://127.0.0.1:{tls}"))).check().await.unwrap_err();
    assert!(matches!(error, ConnectError::NotGrpc { .. } | ConnectError::Closed { .. }), "{error:?}");
}

#[tokio::test]
async fn a_check_of_a_silent_peer_ends_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let hurried = Timeouts { connect: Duration::from_millis(200), ..timeouts() };
    let lazy = lazy(&DestinationOptions { timeouts: hurried, ..options(format!("http://{address}")) });
    let existing = Connection::from_channel(sift_channel(address, KEY), "theirs", hurried);
    for connection in [lazy, existing] {
        let error = connection.check().await.unwrap_err();
        assert!(matches!(error, ConnectError::Unreachable { .. }), "{error:?}");
        assert!(error.to_string().contains("0.2 s"), "{error}");
        assert!(error.is_transient());
    }
    drop(listener);
}

#[tokio::test]
async fn without_a_connection_registering_fails_for_now() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let channel = sift_channel(socket.local_addr().unwrap(), KEY);
    let connection = Connection::from_channel(channel, "theirs", timeouts());
    let error = register(&connection, &config(&["a"]), None).await.unwrap_err();
    assert!(matches!(&error, RegisterError::Call { .. }) && error.is_transient(), "{error:?}");
    let error = IngestStream::open(&connection).finish(PATIENT).await.unwrap_err();
    assert_eq!((error.fault(), error.code_number()), (Fault::Transient { retry_after: None }, 14), "{error:?}");
}
