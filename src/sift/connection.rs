//! One HTTP/2 connection to the destination, tried out before anything is entrusted to it.

use std::fmt;
use std::time::Duration;

use sift_rs::SiftChannel;
use sift_rs::ping::v1::PingRequest;
use sift_rs::ping::v1::ping_service_client::PingServiceClient;
use tokio::net::lookup_host;
use tokio::time::{Instant, timeout_at};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use super::connect_error::ConnectError;
use super::credentials::{Destination, Timeouts};
use super::diagnosis::{connect_failed, ping_failed};
use super::error::chain;
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
    service: Authorized,
    name: String,
    timeouts: Timeouts,
    gzip: bool,
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
            .map_err(|error| connect_failed(name, &error))?;
        let connection = Connection::over(channel, destination);
        connection.checked(deadline).await?;
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

    /// The same over a channel that the official crates made, with the key and the certificates that it has; `name` is
    /// what errors and [`destination_name`](Connection::destination_name) call it: best its URI. Nothing is sent yet:
    /// see [`check`](Connection::check).
    ///
    /// The channel is shared with whoever else has it.
    pub fn from_channel(channel: SiftChannel, name: &str, timeouts: Timeouts) -> Connection {
        Connection { service: Authorized::existing(channel), name: name.to_owned(), timeouts, gzip: false }
    }

    fn over(channel: Channel, destination: &Destination) -> Connection {
        let authorization = destination.api_key.as_ref().and_then(|key| key.authorization());
        Connection {
            service: Authorized::new(channel, authorization),
            name: destination.name().to_owned(),
            timeouts: destination.timeouts,
            gzip: false,
        }
    }

    /// Whether ingest streams compress each message with gzip on the way. For links that are slower than the
    /// compressor; of what doesn't get smaller, nothing is compressed. Default: no. Clones keep it.
    pub fn with_gzip(self, gzip: bool) -> Connection {
        Connection { gzip, ..self }
    }

    /// The destination's [`name`](Destination::name).
    pub fn destination_name(&self) -> &str {
        &self.name
    }

    pub(super) fn timeouts(&self) -> Timeouts {
        self.timeouts
    }

    pub(super) fn gzip(&self) -> bool {
        self.gzip
    }

    /// What generated clients and ingest streams send their requests through.
    pub(super) fn service(&self) -> Authorized {
        self.service.clone()
    }

    /// Pings, so that errors in endpoint and credentials show for a connection that was made by
    /// [`lazy`](Connection::lazy) or [`from_channel`](Connection::from_channel), too.
    ///
    /// # Errors
    ///
    /// A [`ConnectError`] as [`open`](Connection::open) has it, within `timeouts.connect`.
    pub async fn check(&self) -> Result<(), ConnectError> {
        self.checked(Instant::now() + self.timeouts.connect).await
    }

    async fn checked(&self, deadline: Instant) -> Result<(), ConnectError> {
        timeout_at(deadline, self.ping()).await.map_err(|_| ConnectError::Unreachable {
            name: self.name.clone(),
            doing: "waiting for the answer to a gRPC ping",
            detail: format!("no answer within {} s", self.timeouts.connect.as_secs_f64()),
        })?
    }

    async fn ping(&self) -> Result<(), ConnectError> {
        let answer = PingServiceClient::new(self.service()).ping(PingRequest {}).await;
        answer.map(|_| ()).map_err(|status| match ping_failed(&self.name, &status) {
            ConnectError::Unauthenticated { name, .. } if !self.service.has_key() => ConnectError::NoApiKey { name },
            error => error,
        })
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("name", &self.name)
            .field("timeouts", &self.timeouts)
            .field("gzip", &self.gzip)
            .finish_non_exhaustive()
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
