//! Opening a connection: each way to fail has its own message.

use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::Status;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};

use super::raw::{Raw, RawPing, answer};
use super::support::{Fake, KEY, open, options, serve};
use crate::sift::{ConnectError, ConnectErrorKind, Connection, Destination, DestinationOptions, Fault};

async fn failure(options: &DestinationOptions) -> ConnectError {
    let destination = Destination::resolve(options).unwrap();
    let error = Connection::open(&destination).await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains(KEY));
    error
}

#[tokio::test]
async fn opening_pings_with_the_key_and_the_programs_name() {
    let fake = Fake::default();
    let address = fake.serve(None).await;
    let connection = open(address).await;
    assert_eq!(connection.destination_name(), format!("http://{address}"));
    assert!(!format!("{connection:?}").contains(KEY));
    let metadata = fake.state().metadata.clone();
    assert_eq!(metadata.get("authorization").unwrap(), &format!("Bearer {KEY}"));
    let user_agent = metadata.get("user-agent").unwrap().to_str().unwrap();
    assert!(user_agent.starts_with("sift-replay/"), "{user_agent}");
}

#[tokio::test]
async fn without_a_key_no_authorization_is_sent() {
    let fake = Fake::default();
    let address = fake.serve(None).await;
    let mut options = options(format!("http://{address}"));
    options.api_key = None;
    Connection::open(&Destination::resolve(&options).unwrap()).await.unwrap();
    assert!(fake.state().metadata.get("authorization").is_none());
}

#[tokio::test]
async fn a_closed_port_refuses() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = failure(&options(format!("http://{address}"))).await;
    assert!(matches!(error, ConnectError::Refused { .. }), "{error:?}");
    assert_eq!(error.kind(), ConnectErrorKind::Unreachable);
}

#[tokio::test]
async fn a_name_without_address_is_told_so() {
    // A label of 64 characters: no resolver needs the network to refuse it.
    let host = format!("{}.invalid", "a".repeat(64));
    let error = failure(&options(format!("https://{host}"))).await;
    assert!(matches!(error, ConnectError::Unresolved { .. }), "{error:?}");
    assert!(error.to_string().contains(&host), "{error}");
}

#[tokio::test]
async fn a_peer_that_says_nothing_is_given_up_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut options = options(format!("http://{address}"));
    options.timeouts.connect = Duration::from_millis(200);
    let error = failure(&options).await;
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains("0.2 s"), "{error}");
    drop(listener);
}

#[tokio::test]
async fn a_peer_without_http2_is_no_grpc_server() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 24];
            socket.read_exact(&mut buffer).await.unwrap();
            let answer = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
            socket.write_all(answer).await.unwrap();
            // Until the client hangs up.
            let _ = socket.read_to_end(&mut Vec::new()).await;
        }
    });
    let error = failure(&options(format!("http://{address}"))).await;
    assert!(matches!(error, ConnectError::NotGrpc { .. }), "{error:?}");
}

#[tokio::test]
async fn a_grpc_server_without_ping_is_not_sift() {
    use sift_rs::assets::v1::asset_service_server::AssetServiceServer;
    let other = AssetServiceServer::new(Fake::default());
    let address = serve(Server::builder().add_service(other)).await;
    let error = failure(&options(format!("http://{address}"))).await;
    assert!(matches!(error, ConnectError::PingUnimplemented { .. }), "{error:?}");
    assert_eq!(error.kind(), ConnectErrorKind::Unreachable);
}

#[tokio::test]
async fn a_web_servers_answer_is_told_from_a_grpc_servers() {
    for (status, body, kind) in [
        (200, &b"<html>welcome</html>"[..], ConnectErrorKind::Unreachable),
        (200, b"", ConnectErrorKind::Unreachable),
        (400, b"", ConnectErrorKind::Unreachable),
        (404, b"", ConnectErrorKind::Unreachable),
        (401, b"", ConnectErrorKind::CredentialsRefused),
    ] {
        let raw = RawPing(Raw::new(move || answer(status, &[], body, &[])));
        let address = serve(Server::builder().add_service(raw)).await;
        let error = failure(&options(format!("http://{address}"))).await;
        assert_eq!(error.kind(), kind, "{error}");
        if status == 200 || status == 400 {
            assert!(matches!(error, ConnectError::NotGrpc { .. }), "{error:?}");
        }
    }
}

#[tokio::test]
async fn malformed_status_details_do_not_break_the_client() {
    let headers = [("grpc-status", "16"), ("grpc-status-details-bin", "!!!")];
    let raw = RawPing(Raw::new(move || answer(200, &headers, b"", &[])));
    let address = serve(Server::builder().add_service(raw)).await;
    let error = failure(&options(format!("http://{address}"))).await;
    assert!(matches!(error, ConnectError::Unauthenticated { .. }), "{error:?}");
    let error = failure(&DestinationOptions { api_key: None, ..options(format!("http://{address}")) }).await;
    assert!(matches!(error, ConnectError::NoApiKey { .. }), "{error:?}");
    assert!(error.to_string().contains("SIFT_API_KEY"), "{error}");
}

#[tokio::test]
async fn an_ill_servers_internal_error_is_not_taken_for_a_wrong_endpoint() {
    let fake = Fake::default();
    let address = fake.serve(None).await;
    fake.state().ping = Some(Status::internal("database is down"));
    let error = failure(&options(format!("http://{address}"))).await;
    assert!(matches!(error, ConnectError::PingFailed { .. }), "{error:?}");
}

#[tokio::test]
async fn refused_credentials_are_told_apart_from_an_ill_server() {
    let fake = Fake::default();
    let address = fake.serve(None).await;
    for (status, kind, text) in [
        (
            Status::unauthenticated("bad\u{1b}[31m key"),
            ConnectErrorKind::CredentialsRefused,
            "does not accept the API key",
        ),
        (Status::permission_denied("no"), ConnectErrorKind::CredentialsRefused, "denies it access"),
        (Status::unavailable("down"), ConnectErrorKind::Unreachable, "try again later"),
    ] {
        fake.state().ping = Some(status);
        let error = failure(&options(format!("http://{address}"))).await;
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(text), "{error}");
        assert!(!error.to_string().contains('\u{1b}'), "control characters stay out");
    }
}

/// A certificate authority with a server's and a client's certificate, as PEM.
struct Authority {
    ca: String,
    server: (String, String),
    client: (String, String),
}

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let leaf = |name: &str| {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            let cert = params.signed_by(&key, &issuer).unwrap();
            (cert.pem(), key.serialize_pem())
        };
        Authority { server: leaf("localhost"), client: leaf("rover"), ca: issuer.pem() }
    }

    fn server_tls(&self) -> ServerTlsConfig {
        ServerTlsConfig::new().identity(Identity::from_pem(&self.server.0, &self.server.1))
    }
}

#[tokio::test]
async fn a_private_authority_is_trusted_when_given_and_only_then() {
    let authority = Authority::new();
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    std::fs::write(&ca, &authority.ca).unwrap();
    let fake = Fake::default();
    let port = fake.serve(Some(authority.server_tls())).await.port();

    let mut options = options(format!("https://localhost:{port}"));
    let error = failure(&options).await;
    assert!(matches!(error, ConnectError::TlsHandshake { .. }), "{error:?}");
    assert!(error.to_string().contains("--ca-cert"), "{error}");

    options.ca_cert = Some(ca);
    let connection = Connection::open(&Destination::resolve(&options).unwrap()).await.unwrap();
    assert_eq!(connection.destination_name(), format!("https://localhost:{port}"));

    // The certificate is localhost's, not the address's.
    options.uri = Some(format!("https://127.0.0.1:{port}"));
    let error = failure(&options).await;
    assert!(matches!(error, ConnectError::TlsHandshake { .. }), "{error:?}");
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_a_server_that_asks() {
    let authority = Authority::new();
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let tls = authority.server_tls().client_ca_root(Certificate::from_pem(&authority.ca));
    let port = Fake::default().serve(Some(tls)).await.port();

    let mut options = options(format!("https://localhost:{port}"));
    options.ca_cert = Some(write("ca.pem", &authority.ca));
    let error = failure(&options).await;
    assert_eq!(error.kind(), ConnectErrorKind::Unreachable, "{error:?}");

    options.client_cert = Some(write("client.pem", &authority.client.0));
    options.client_key = Some(write("client.key", &authority.client.1));
    Connection::open(&Destination::resolve(&options).unwrap()).await.unwrap();
}

#[tokio::test]
async fn https_to_a_plain_text_server_is_a_tls_failure() {
    let port = Fake::default().serve(None).await.port();
    let error = failure(&options(format!("https://127.0.0.1:{port}"))).await;
    assert!(matches!(error, ConnectError::TlsHandshake { .. }), "{error:?}");
}

#[tokio::test]
async fn plain_text_to_a_tls_server_is_no_grpc() {
    let tls = Authority::new().server_tls();
    let port = Fake::default().serve(Some(tls)).await.port();
    let error = failure(&options(format!("http://127.0.0.1:{port}"))).await;
    // The server answers in its own tongue and hangs up, which may be over before it is heard.
    assert!(matches!(error, ConnectError::NotGrpc { .. } | ConnectError::Closed { .. }), "{error:?}");
    assert!(error.to_string().contains("https"), "{error}");
}

/// How far a peer goes before the connection ends.
#[derive(Clone, Copy, Debug)]
enum HangsUp {
    AtOnce,
    AfterThePreface,
    AfterItsSettings,
    WithinAFrame,
    GoingAway,
}

impl HangsUp {
    async fn serve(self, socket: &mut TcpStream) {
        if matches!(self, HangsUp::AtOnce) {
            return;
        }
        socket.read_exact(&mut [0; 24]).await.unwrap();
        let sent: &[u8] = match self {
            HangsUp::AtOnce | HangsUp::AfterThePreface => &[],
            HangsUp::AfterItsSettings => &[0, 0, 0, 4, 0, 0, 0, 0, 0],
            HangsUp::WithinAFrame => &[0, 0],
            HangsUp::GoingAway => &[0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        };
        socket.write_all(sent).await.unwrap();
        let _ = socket.read(&mut [0; 1024]).await;
    }
}

#[tokio::test]
async fn a_peer_that_hangs_up_may_well_come_back() {
    use HangsUp::*;
    for how in [AtOnce, AfterThePreface, AfterItsSettings, WithinAFrame, GoingAway] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                how.serve(&mut socket).await;
            }
        });
        for scheme in ["http", "https"] {
            let error = failure(&options(format!("{scheme}://{address}"))).await;
            if scheme == "http" {
                assert!(matches!(error, ConnectError::Closed { .. }), "{how:?}: {error:?}");
                assert!(error.is_transient(), "{how:?}: {error:?}");
            }
            assert_eq!(error.kind(), ConnectErrorKind::Unreachable, "{how:?}: {error:?}");
        }
    }
}

#[tokio::test]
async fn trying_again_helps_only_where_nobody_has_to_change_anything() {
    let fake = Fake::default();
    let uri = format!("http://{}", fake.serve(None).await);
    for (status, transient) in [
        (Status::unavailable("down"), true),
        (Status::internal("database is down"), true),
        (Status::deadline_exceeded("slow"), true),
        (Status::failed_precondition("not licensed"), false),
        (Status::unauthenticated("bad key"), false),
        (Status::permission_denied("no"), false),
        (Status::unimplemented("what?"), false),
    ] {
        fake.state().ping = Some(status);
        let error = failure(&options(&uri)).await;
        assert_eq!(error.is_transient(), transient, "{error:?}");
    }
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    assert!(failure(&options(format!("http://{nobody}"))).await.is_transient());
    let nowhere = format!("https://{}.invalid", "a".repeat(64));
    assert!(failure(&options(nowhere)).await.is_transient());
    assert!(!Destination::resolve(&options("ftp://example.com")).unwrap_err().is_transient());
    let raw = RawPing(Raw::new(|| answer(200, &[], b"<html>welcome</html>", &[])));
    let web = serve(Server::builder().add_service(raw)).await;
    assert!(!failure(&options(format!("http://{web}"))).await.is_transient());
}

#[tokio::test]
async fn a_lazy_connection_connects_at_its_first_request_and_again_after_the_server_came_back() {
    // Bound, so that nobody else takes the port, and not listening yet.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    let destination = Destination::resolve(&options(format!("http://{address}"))).unwrap();
    let connection = Connection::lazy(&destination).unwrap();
    assert_eq!(connection.destination_name(), destination.name());
    let error = connection.organization().await.unwrap_err();
    assert!(matches!(error.fault(), Fault::Transient { .. }), "{error:?}");

    let fake = Fake::default();
    fake.state().me = Ok(vec!["org-1"]);
    let incoming = TcpListenerStream::new(socket.listen(16).unwrap());
    tokio::spawn(fake.router().serve_with_incoming(incoming));
    assert_eq!(connection.organization().await.unwrap().as_deref(), Some("org-1"));
    let authorization = fake.state().metadata.get("authorization").cloned();
    assert_eq!(authorization.unwrap(), &format!("Bearer {KEY}"));
}
