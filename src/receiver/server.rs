//! The server: a socket, and who answers which call.

use super::{
    auth::Auth,
    error::ReceiverError,
    ingest::{IngestMethod, RawCodec, Shared},
    observe::Observer,
    refused::RefusedRequest,
    service::Api,
    state::Registry,
    store::Store,
};
use crate::record::MAX_RECORDED_BYTES;
use sift_rs::{
    assets::v1::asset_service_server::AssetServiceServer,
    ingestion_configs::v2::ingestion_config_service_server::IngestionConfigServiceServer,
    me::v2::me_service_server::MeServiceServer, ping::v1::ping_service_server::PingServiceServer,
    runs::v2::run_service_server::RunServiceServer,
};
use std::{
    convert::Infallible,
    fmt,
    future::Future,
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::{Arc, PoisonError, atomic::Ordering},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    net::TcpListener,
    sync::{oneshot, watch},
    task::JoinHandle,
};
use tokio_stream::{StreamExt, wrappers::TcpListenerStream};
use tonic::{Status, body::Body, codec::CompressionEncoding, codegen::Service, server::Grpc, transport::Server};

/// What a client may have on its way to us, unread: per stream, in bytes.
const STREAM_WINDOW: u32 = 4 * 1024 * 1024;
/// The same per connection.
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
/// Calls at once per connection.
const CALLS_PER_CONNECTION: u32 = 1024;
/// A client that has been silent for this long is asked whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// How long connections may take to close when all streams have ended.
const LINGER: Duration = Duration::from_secs(1);

const INGEST: &str = "/sift.ingest.v1.IngestService/IngestWithConfigDataStream";

/// How a receiver listens.
#[derive(Clone)]
pub struct ReceiverOptions {
    /// Where to listen; port 0 means any free one. Default: a free port of 127.0.0.1, so that
    /// nobody else can reach it.
    pub listen: SocketAddr,
    /// If given, calls must carry it as `authorization: Bearer KEY`. Default: none.
    pub api_key: Option<String>,
    /// The largest message, in bytes, after decompression. Default: 16 MiB, the most that a
    /// recorder takes ([`MAX_RECORDED_BYTES`]): what is larger is refused for good, not failed.
    pub max_message_bytes: usize,
    /// How many ingest streams may be open at once. Each may hold some batches of 1 MiB (or one
    /// message, if larger) in memory. Default: 256.
    pub max_streams: usize,
    /// How long open streams may take to end when the receiver shuts down. Default: 5 s.
    pub shutdown_grace: Duration,
}

impl Default for ReceiverOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            api_key: None,
            max_message_bytes: MAX_RECORDED_BYTES,
            max_streams: 256,
            shutdown_grace: Duration::from_secs(5),
        }
    }
}

/// Never shows the key.
impl fmt::Debug for ReceiverOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceiverOptions")
            .field("listen", &self.listen)
            .field("api_key", &self.api_key.as_ref().map(|_| "(hidden)"))
            .field("max_message_bytes", &self.max_message_bytes)
            .field("max_streams", &self.max_streams)
            .field("shutdown_grace", &self.shutdown_grace)
            .finish()
    }
}

/// What a receiver has taken in since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceiverCounts {
    /// Requests stored. Those of streams that have not been acknowledged are among them.
    pub requests_accepted: u64,
    /// Requests refused in streams that went on.
    pub requests_refused: u64,
    /// Streams acknowledged.
    pub streams_acknowledged: u64,
    /// Streams ended with an error.
    pub streams_refused: u64,
}

/// A gRPC server that speaks what clients need to ingest into Sift, on a real socket.
///
/// Dropping it stops it, too, but without waiting for anything; see [`Receiver::shutdown`].
pub struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: oneshot::Sender<()>,
    server: JoinHandle<Result<(), tonic::transport::Error>>,
    grace: Duration,
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Receiver {
    /// Listens, and serves in a task of the current tokio runtime.
    ///
    /// `registry` is empty, or holds what an earlier life of the receiver left.
    ///
    /// # Errors
    /// If the address can't be listened on, or the API key is not one that clients can send.
    pub async fn start(
        options: ReceiverOptions,
        registry: Arc<Registry>,
        store: Arc<dyn Store>,
        observer: Arc<dyn Observer>,
    ) -> Result<Self, ReceiverError> {
        let auth = Auth::new(options.api_key.as_deref())?;
        let listen = |source| ReceiverError::Listen { address: options.listen, source };
        let listener = TcpListener::bind(options.listen).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let api = Api::new(Arc::clone(&registry), Arc::clone(&observer));
        let shared = Arc::new(Shared::new(registry, store, observer, options.max_streams));
        let dispatch = Dispatch::new(auth, api, Arc::clone(&shared), options.max_message_bytes);
        let (stop, stopped) = oneshot::channel::<()>();
        let incoming = TcpListenerStream::new(listener).map(|connection| {
            // Acknowledgements are small and should not wait for company.
            connection.inspect(|socket| drop(socket.set_nodelay(true)))
        });
        let server = Server::builder()
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_concurrent_streams(CALLS_PER_CONNECTION)
            .http2_keepalive_interval(Some(KEEPALIVE))
            .serve_with_incoming_shutdown(dispatch, incoming, async {
                // An error means that the receiver was dropped: the same thing.
                drop(stopped.await);
            });
        Ok(Self { address, shared, stop, server: tokio::spawn(server), grace: options.shutdown_grace })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// What it has taken in so far.
    pub fn counts(&self) -> ReceiverCounts {
        counts(&self.shared)
    }

    /// The latest requests that were refused in streams that went on (at most 1000, and at most
    /// 16 MiB), oldest first, and how many more there were before them.
    pub fn refused(&self) -> (Vec<RefusedRequest>, u64) {
        let queue = self.shared.refused.lock();
        queue.unwrap_or_else(PoisonError::into_inner).snapshot()
    }

    /// Stops: accepts no more connections, gives the streams that are open the grace period to
    /// end, then ends them with an error, so that they are not acknowledged. When this returns,
    /// the store is not called any more, unless one of its calls takes longer than a second to
    /// return.
    ///
    /// # Errors
    /// If the server had failed.
    pub async fn shutdown(self) -> Result<ReceiverCounts, ReceiverError> {
        let _ = self.stop.send(());
        let mut open = self.shared.open_streams.subscribe();
        if !none_open(&mut open, self.grace).await {
            self.shared.abort.send_replace(true);
            none_open(&mut open, LINGER).await;
        }
        let mut server = self.server;
        let served = match tokio::time::timeout(LINGER, &mut server).await {
            Ok(Ok(served)) => served.map_err(|error| ReceiverError::Serve(error.to_string())),
            Ok(Err(error)) => Err(ReceiverError::Serve(error.to_string())),
            Err(_) => {
                // Clients that don't let go of their connections can't hold us up.
                server.abort();
                Ok(())
            }
        };
        served.map(|()| counts(&self.shared))
    }
}

/// Waits until no stream is open, but not for longer than `within`; whether that is so then.
async fn none_open(open: &mut watch::Receiver<usize>, within: Duration) -> bool {
    let none = async { open.wait_for(|open| *open == 0).await.is_ok() };
    tokio::time::timeout(within, none).await.unwrap_or(false)
}

fn counts(shared: &Shared) -> ReceiverCounts {
    let counters = &shared.counters;
    ReceiverCounts {
        requests_accepted: counters.accepted.load(Ordering::Relaxed),
        requests_refused: counters.refused.load(Ordering::Relaxed),
        streams_acknowledged: counters.streams_acknowledged.load(Ordering::Relaxed),
        streams_refused: counters.streams_refused.load(Ordering::Relaxed),
    }
}

/// Finds who answers a call.
#[derive(Clone)]
struct Dispatch {
    auth: Auth,
    ping: PingServiceServer<Api>,
    me: MeServiceServer<Api>,
    configs: IngestionConfigServiceServer<Api>,
    assets: AssetServiceServer<Api>,
    runs: RunServiceServer<Api>,
    ingest: IngestMethod,
    max_message_bytes: usize,
}

impl Dispatch {
    fn new(auth: Auth, api: Api, shared: Arc<Shared>, max_message_bytes: usize) -> Self {
        let gzip = CompressionEncoding::Gzip;
        let api = Arc::new(api);
        let configs = IngestionConfigServiceServer::from_arc(Arc::clone(&api));
        Self {
            auth,
            ping: PingServiceServer::from_arc(Arc::clone(&api)).accept_compressed(gzip),
            me: MeServiceServer::from_arc(Arc::clone(&api)).accept_compressed(gzip),
            configs: configs.accept_compressed(gzip).max_decoding_message_size(max_message_bytes),
            assets: AssetServiceServer::from_arc(Arc::clone(&api)).accept_compressed(gzip),
            runs: RunServiceServer::from_arc(api).accept_compressed(gzip),
            ingest: IngestMethod(shared),
            max_message_bytes,
        }
    }
}

type Answer = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

fn answer(status: Status) -> Answer {
    Box::pin(async move { Ok(status.into_http()) })
}

impl Service<http::Request<Body>> for Dispatch {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Answer {
        if let Err(status) = self.auth.check(request.headers()) {
            return answer(status);
        }
        let path = request.uri().path();
        let service = path.split('/').nth(1).unwrap_or_default();
        match service {
            "sift.ping.v1.PingService" => self.ping.call(request),
            "sift.me.v2.MeService" => self.me.call(request),
            "sift.ingestion_configs.v2.IngestionConfigService" => self.configs.call(request),
            "sift.assets.v1.AssetService" => self.assets.call(request),
            "sift.runs.v2.RunService" => self.runs.call(request),
            _ if path == INGEST => {
                let method = self.ingest.clone();
                let mut grpc = Grpc::new(RawCodec)
                    .accept_compressed(CompressionEncoding::Gzip)
                    .max_decoding_message_size(self.max_message_bytes);
                Box::pin(async move { Ok(grpc.client_streaming(method, request).await) })
            }
            _ => answer(Status::unimplemented(format!(
                "this receiver does not speak {}; it speaks Ping, MeService v2, IngestionConfigService v2, AssetService v1, RunService v2 and IngestWithConfigDataStream, which is what ingesting takes",
                super::error::clipped(path)
            ))),
        }
    }
}
