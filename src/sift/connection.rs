//! One HTTP/2 connection to the destination, tried out before anything is entrusted to it.

use std::fmt;
use std::io;
use std::time::Duration;

use http::HeaderValue;
use sift_rs::ping::v1::PingRequest;
use sift_rs::ping::v1::ping_service_client::PingServiceClient;
use tokio::net::lookup_host;
use tokio::time::{Instant, timeout_at};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Status};

use super::classify::classify;
use super::connect_error::ConnectError;
use super::credentials::{Destination, Timeouts};
use super::error::{Shown, chain};
use super::transport::Authorized;

/// Long enough not to be taken for an attack by proxies, short enough to notice a dead peer within a
/// minute.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// A connection of its own to a destination. Clones share the same HTTP/2 connection; open another
/// one for more throughput.
///
/// When the connection is lost, requests under way fail and the next request connects anew.
#[derive(Clone)]
pub struct Connection {
    channel: Channel,
    authorization: Option<HeaderValue>,
    name: String,
    timeouts: Timeouts,
}

impl Connection {
    /// Connects and pings, so that a wrong endpoint or refused credentials show here, not in the
    /// middle of a replay.
    ///
    /// # Errors
    ///
    /// A [`ConnectError`] whose [`kind`](ConnectError::kind) tells wrong options, an unreachable
    /// destination, and refused credentials apart. It comes within `timeouts.connect`.
    pub async fn open(destination: &Destination) -> Result<Connection, ConnectError> {
        let name = destination.name();
        let deadline = Instant::now() + destination.timeouts.connect;
        let late = |doing| ConnectError::Unreachable {
            name: name.to_owned(),
            doing,
            detail: format!("no answer within {} s", destination.timeouts.connect.as_secs_f64()),
        };
        timeout_at(deadline, resolve(destination)).await.map_err(|_| late("looking up its address"))??;
        let endpoint = endpoint(destination)?;
        let channel = timeout_at(deadline, endpoint.connect())
            .await
            .map_err(|_| late("connecting"))?
            .map_err(|error| connect_failed(destination, &error))?;
        let connection = Connection::over(channel, destination);
        timeout_at(deadline, connection.ping()).await.map_err(|_| late("waiting for the answer to a gRPC ping"))??;
        tracing::debug!(destination = name, "connected");
        Ok(connection)
    }

    /// A connection that is made by its first request: for further lanes to a destination that [`open`] has tried out,
    /// and in place of a connection that is stuck. Must be called within a tokio runtime.
    ///
    /// [`open`]: Connection::open
    ///
    /// # Errors
    ///
    /// [`ConnectError::TlsSetup`] or [`ConnectError::InvalidUri`]: nothing has been sent.
    pub fn lazy(destination: &Destination) -> Result<Connection, ConnectError> {
        Ok(Connection::over(endpoint(destination)?.connect_lazy(), destination))
    }

    fn over(channel: Channel, destination: &Destination) -> Connection {
        Connection {
            channel,
            authorization: destination.api_key.as_ref().and_then(|key| key.authorization()),
            name: destination.name().to_owned(),
            timeouts: destination.timeouts,
        }
    }

    /// The destination's [`name`](Destination::name).
    pub fn destination_name(&self) -> &str {
        &self.name
    }

    pub(super) fn timeouts(&self) -> Timeouts {
        self.timeouts
    }

    /// What generated clients and ingest streams send their requests through.
    pub(super) fn service(&self) -> Authorized {
        Authorized::new(self.channel.clone(), self.authorization.clone())
    }

    async fn ping(&self) -> Result<(), ConnectError> {
        PingServiceClient::new(self.service()).ping(PingRequest {}).await.map(|_| ()).map_err(
            |status| match ping_failed(&self.name, &status) {
                ConnectError::Unauthenticated { name, .. } if self.authorization.is_none() => {
                    ConnectError::NoApiKey { name }
                }
                error => error,
            },
        )
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("name", &self.name).field("timeouts", &self.timeouts).finish_non_exhaustive()
    }
}

fn endpoint(destination: &Destination) -> Result<Endpoint, ConnectError> {
    let name = destination.name();
    let malformed = |_| ConnectError::InvalidUri { uri: name.to_owned(), problem: "its host or port is malformed" };
    // HTTP/2 windows are left alone: those that limit an upload are the server's.
    let endpoint = Endpoint::from_shared(name.to_owned())
        .map_err(malformed)?
        .user_agent(concat!("sift-replay/", env!("CARGO_PKG_VERSION")))
        .map_err(malformed)?
        .connect_timeout(destination.timeouts.connect)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true);
    if !destination.address.tls {
        return Ok(endpoint);
    }
    let mut tls = ClientTlsConfig::new().timeout(destination.timeouts.connect);
    if let Some(pem) = &destination.tls.ca_cert {
        tls = tls.ca_certificate(Certificate::from_pem(pem));
    }
    if let Some((cert, key)) = &destination.tls.identity {
        tls = tls.identity(Identity::from_pem(cert, key));
    }
    // A machine without any system roots is an error to tonic, though the bundled ones would do.
    endpoint
        .clone()
        .tls_config(tls.clone().with_enabled_roots())
        .or_else(|error| {
            tracing::debug!(error = chain(&error), "no system certificates; using the bundled ones");
            endpoint.tls_config(tls.with_webpki_roots())
        })
        .map_err(|error| ConnectError::TlsSetup { name: name.to_owned(), detail: chain(&error) })
}

/// Looks the host up ahead of the connection, only to tell this failure from the others.
async fn resolve(destination: &Destination) -> Result<(), ConnectError> {
    let host = destination.address.host.as_str();
    let unresolved = |detail: String| ConnectError::Unresolved {
        name: destination.name().to_owned(),
        host: host.to_owned(),
        detail,
    };
    let mut addresses =
        lookup_host((host, destination.address.port)).await.map_err(|error| unresolved(error.to_string()))?;
    match addresses.next() {
        Some(_) => Ok(()),
        None => Err(unresolved("it has none".to_owned())),
    }
}

fn connect_failed(destination: &Destination, error: &tonic::transport::Error) -> ConnectError {
    let name = destination.name().to_owned();
    let detail = chain(error);
    match io_error_kind(error) {
        Some(io::ErrorKind::ConnectionRefused) => ConnectError::Refused { name },
        Some(
            io::ErrorKind::TimedOut
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::AddrNotAvailable
            | io::ErrorKind::PermissionDenied,
        ) => ConnectError::Unreachable { name, doing: "connecting", detail },
        Some(kind) if is_cut_off(kind) => ConnectError::Closed { name, detail },
        _ if destination.address.tls => ConnectError::TlsHandshake { name, detail },
        _ => ConnectError::Unreachable { name, doing: "connecting", detail },
    }
}

fn io_error_kind(error: &(dyn std::error::Error + 'static)) -> Option<io::ErrorKind> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Some(error.kind());
        }
        cause = error.source();
    }
    None
}

/// Whether the other side hung up, or something between did: not what a server says that is the wrong one.
fn is_cut_off(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::NotConnected
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof
    )
}

fn ping_failed(name: &str, status: &Status) -> ConnectError {
    let (name, detail) = (name.to_owned(), Shown(status).to_string());
    // Only a status that was made on this side has a source: HTTP/2 itself failed.
    if let Some(cause) = std::error::Error::source(status) {
        return match io_error_kind(cause) {
            // What TLS says after the handshake, such as that it wants the client's certificate.
            Some(io::ErrorKind::InvalidData) => ConnectError::TlsHandshake { name, detail },
            Some(_) => ConnectError::Closed { name, detail },
            None if went_away(status) => ConnectError::Closed { name, detail },
            None => ConnectError::NotGrpc { name, detail },
        };
    }
    match status.code() {
        Code::Unauthenticated => ConnectError::Unauthenticated { name, detail },
        Code::PermissionDenied => ConnectError::PermissionDenied { name, detail },
        Code::Unimplemented => ConnectError::PingUnimplemented { name, detail },
        Code::Unknown | Code::Internal if not_grpc(status) => ConnectError::NotGrpc { name, detail },
        _ => ConnectError::PingFailed { name, detail, fault: classify(status) },
    }
}

/// Whether a peer that speaks HTTP/2 ended the connection in good order, or it was gone before the request was sent.
fn went_away(status: &Status) -> bool {
    matches!(status.code(), Code::Cancelled | Code::Unavailable)
        || Shown(status).to_string().contains("not a result of an error")
}

/// Whether tonic made this status of an answer that isn't gRPC's. It leaves no other trace than its
/// words; if they change, the error is only less exact.
fn not_grpc(status: &Status) -> bool {
    ["grpc-status", "protocol error"].iter().any(|words| status.message().contains(words))
}
