//! Where records are replayed to: the real receiver, with what it kept; and a server that knows only bytes.
#![allow(unreachable_pub, reason = "a test binary exports nothing")]

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use prost::Message;
use sift_replay::catalog::{Catalog, discover};
use sift_replay::receiver::{
    Receiver, ReceiverOptions, RecordingStore, Registry, SessionKey, Store, StoreError, Unobserved,
};
use sift_replay::record::RecorderOptions;
use sift_replay::replay::{Lanes, Observer, ReplayEvent, ReplayOptions, Report, State, Work, replay};
use sift_replay::segment::{Event, SegmentReader};
use sift_replay::sift::{Connection, Destination, DestinationOptions, Timeouts};
use sift_rs::assets::v1::{Asset, GetAssetResponse};
use sift_rs::ingestion_configs::v2::{
    CreateIngestionConfigRequest, CreateIngestionConfigResponse, IngestionConfig, ListIngestionConfigFlowsResponse,
    ListIngestionConfigsResponse,
};
use sift_rs::ping::v1::PingResponse;
use sift_rs::runs::v2::{CreateRunRequest, CreateRunResponse, ListRunsResponse, Run};
use tokio::net::TcpListener;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

/// Runs a test's asynchronous part.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(future)
}

/// A connection to what listens at `uri`.
pub(crate) async fn connect(uri: String) -> Connection {
    let timeouts = Timeouts { connect: Duration::from_secs(60), ..Timeouts::default() };
    let options = DestinationOptions { uri: Some(uri), timeouts, ..DestinationOptions::default() };
    Connection::open(&Destination::resolve(&options).unwrap()).await.unwrap()
}

/// What a replay told, as far as tests ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Registered { config: String, run: Option<String>, config_created: bool, run_created: bool },
    Acknowledged { records: u64, bytes: u64 },
    Refused(String),
    Missing(std::ops::Range<u64>),
    Damage(PathBuf, Option<std::ops::Range<u64>>),
    Torn(PathBuf),
    Unreadable(PathBuf),
    Mark(String),
}

#[derive(Default)]
struct Listener(Mutex<Vec<Told>>);

impl Observer for Listener {
    fn event(&self, event: &ReplayEvent<'_>) {
        let told = match event {
            ReplayEvent::Registered { registration, .. } => Told::Registered {
                config: registration.ingestion_config_id.clone(),
                run: registration.run_id.clone(),
                config_created: registration.config_created,
                run_created: registration.run_created,
            },
            ReplayEvent::Acknowledged { records, bytes, .. } => Told::Acknowledged { records: *records, bytes: *bytes },
            ReplayEvent::Refused { reason, .. } => Told::Refused((*reason).to_owned()),
            ReplayEvent::Missing { seqs, .. } => Told::Missing((*seqs).clone()),
            ReplayEvent::Damage { path, damage } => Told::Damage((*path).to_owned(), damage.seqs.clone()),
            ReplayEvent::Torn { path, .. } => Told::Torn((*path).to_owned()),
            ReplayEvent::Unreadable { path, .. } => Told::Unreadable((*path).to_owned()),
            ReplayEvent::Mark { mark, .. } => Told::Mark(format!("{mark:?}")),
            _ => return,
        };
        self.0.lock().unwrap().push(told);
    }
}

/// A replay's report, and what it told meanwhile.
pub(crate) struct Replayed {
    pub(crate) report: Report,
    pub(crate) told: Vec<Told>,
}

impl Replayed {
    pub(crate) fn missing(&self) -> Vec<std::ops::Range<u64>> {
        self.told
            .iter()
            .filter_map(|told| if let Told::Missing(seqs) = told { Some(seqs.clone()) } else { None })
            .collect()
    }

    pub(crate) fn refusals(&self) -> Vec<&str> {
        self.told.iter().filter_map(|told| if let Told::Refused(why) = told { Some(&why[..]) } else { None }).collect()
    }

    /// Bytes of each window acknowledged, in order.
    pub(crate) fn windows(&self) -> Vec<u64> {
        let bytes = |told: &Told| if let Told::Acknowledged { bytes, .. } = told { Some(*bytes) } else { None };
        self.told.iter().filter_map(bytes).collect()
    }
}

/// Replays everything at `paths`.
pub(crate) async fn replay_to(uri: String, paths: &[&Path], options: &ReplayOptions) -> Replayed {
    let paths: Vec<PathBuf> = paths.iter().map(|path| path.to_path_buf()).collect();
    let catalog = Catalog::build(discover(&paths).unwrap());
    let lanes = Lanes::single(connect(uri).await);
    let listener = Listener::default();
    let report = replay(&lanes, &State::none(), Work::once(&paths, catalog), options, &listener).await;
    Replayed { report, told: listener.0.into_inner().unwrap() }
}

/// Records, and notes under which ids.
struct Noting {
    inner: RecordingStore,
    keys: Mutex<Vec<SessionKey>>,
}

impl Store for Noting {
    fn open(
        &self,
        key: &SessionKey,
        config: &CreateIngestionConfigRequest,
        run: Option<&CreateRunRequest>,
    ) -> Result<(), StoreError> {
        let mut keys = self.keys.lock().unwrap();
        if !keys.contains(key) {
            keys.push(key.clone());
        }
        self.inner.open(key, config, run)
    }

    fn record(&self, key: &SessionKey, request: &[u8]) -> Result<(), StoreError> {
        self.inner.record(key, request)
    }

    fn flush(&self, keys: &[SessionKey]) -> Result<(), StoreError> {
        self.inner.flush(keys)
    }
}

/// The real receiver, recording into a directory of its own.
pub(crate) struct Rig {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) registry: Arc<Registry>,
    store: Arc<Noting>,
    receiver: Receiver,
}

/// One session as the receiver recorded it.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) config: CreateIngestionConfigRequest,
    pub(crate) run: Option<CreateRunRequest>,
    pub(crate) records: Vec<Vec<u8>>,
}

impl Rig {
    pub(crate) async fn start() -> Self {
        Self::with(ReceiverOptions::default()).await
    }

    pub(crate) async fn with(options: ReceiverOptions) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let inner = RecordingStore::new(dir.path(), RecorderOptions::default());
        let store = Arc::new(Noting { inner, keys: Mutex::default() });
        let registry = Arc::new(Registry::new());
        let receiver = Receiver::start(options, registry.clone(), store.clone(), Arc::new(Unobserved)).await.unwrap();
        Self { dir, registry, store, receiver }
    }

    pub(crate) fn uri(&self) -> String {
        format!("http://{}", self.receiver.local_addr())
    }

    pub(crate) async fn replay(&self, paths: &[&Path]) -> Replayed {
        self.replay_with(paths, &ReplayOptions::default()).await
    }

    pub(crate) async fn replay_with(&self, paths: &[&Path], options: &ReplayOptions) -> Replayed {
        replay_to(self.uri(), paths, options).await
    }

    /// The ids under which records came, in the order of their first coming.
    pub(crate) fn keys(&self) -> Vec<SessionKey> {
        self.store.keys.lock().unwrap().clone()
    }

    /// Requests refused in streams that went on.
    pub(crate) fn refused(&self) -> u64 {
        self.receiver.counts().requests_refused
    }

    /// Ends the receiver and reads what it kept.
    pub(crate) async fn finish(self) -> Vec<Received> {
        received(self.end().await.path())
    }

    /// Ends the receiver; what it kept is in the directory.
    pub(crate) async fn end(self) -> tempfile::TempDir {
        self.receiver.shutdown().await.unwrap();
        self.store.inner.finish().unwrap();
        self.dir
    }

    /// The same, if there is at most one session.
    pub(crate) async fn finish_records(self) -> Vec<Vec<u8>> {
        let mut sessions = self.finish().await;
        assert!(sessions.len() <= 1, "{} sessions", sessions.len());
        sessions.pop().map(|session| session.records).unwrap_or_default()
    }
}

/// What sound recordings below `dir` hold.
pub(crate) fn received(dir: &Path) -> Vec<Received> {
    let catalog = Catalog::build(discover(&[dir.to_owned()]).unwrap());
    let session = |session: &sift_replay::catalog::Session| {
        let requests = session.requests.as_ref().unwrap();
        Received {
            config: CreateIngestionConfigRequest::decode(&requests.ingestion_config[..]).unwrap(),
            run: requests.run.as_deref().map(|run| CreateRunRequest::decode(run).unwrap()),
            records: session.segments.iter().flat_map(|file| records(&file.path)).collect(),
        }
    };
    catalog.sessions.iter().map(session).collect()
}

/// The records of one segment.
pub(crate) fn records(path: &Path) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    let mut reader = SegmentReader::open(path).unwrap();
    while let Some(event) = reader.next_event().unwrap() {
        if let Event::Records(batch) = event {
            records.extend(batch.records().map(<[u8]>::to_vec));
        }
    }
    records
}

/// What a [`Raw`] server does with ingest streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Takes them, counts their bytes, acknowledges.
    Counts,
    /// The same, and keeps the bytes.
    Keeps,
    /// Acknowledges so many streams, takes the next ones, and never answers.
    Silent { after: usize },
}

/// What a [`Raw`] server saw.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) bytes: AtomicU64,
    pub(crate) streams: AtomicUsize,
    open: AtomicUsize,
    /// The most streams open at once.
    pub(crate) most_open: AtomicUsize,
    pub(crate) kept: Mutex<Vec<Vec<u8>>>,
    /// Told when a stream has come that won't be answered.
    pub(crate) silent: tokio::sync::Notify,
}

/// A server that speaks just enough to be registered with, and takes ingest streams as bytes.
pub(crate) struct Raw {
    address: std::net::SocketAddr,
    pub(crate) seen: Arc<Seen>,
    /// Its own, so that it can be ended with all its connections.
    runtime: Option<tokio::runtime::Runtime>,
}

impl Raw {
    pub(crate) fn start(mood: Mood) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let seen = Arc::new(Seen::default());
        let service = RawService { mood, seen: seen.clone() };
        runtime.spawn(async move {
            let incoming = TcpIncoming::from(TcpListener::from_std(listener).unwrap()).with_nodelay(Some(true));
            // Windows as large servers have them, connections' that fill any way here, and no waiting to fill packets with
            // window updates: what is measured is the client.
            let server = Server::builder()
                .initial_stream_window_size(4 << 20)
                .initial_connection_window_size(128 << 20)
                .serve_with_incoming(service, incoming);
            server.await.unwrap();
        });
        Self { address, seen, runtime: Some(runtime) }
    }

    pub(crate) fn uri(&self) -> String {
        format!("http://{}", self.address())
    }

    pub(crate) fn address(&self) -> std::net::SocketAddr {
        self.address
    }

    /// Ends it, and all its connections, without a word.
    pub(crate) fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.kill();
    }
}

#[derive(Clone)]
struct RawService {
    mood: Mood,
    seen: Arc<Seen>,
}

type Answer = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

impl Service<http::Request<Body>> for RawService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Answer {
        let this = self.clone();
        Box::pin(async move {
            let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
            let message = match &method[..] {
                "Ping" => PingResponse { response: "pong".to_owned() }.encode_to_vec(),
                "ListIngestionConfigs" => ListIngestionConfigsResponse::default().encode_to_vec(),
                "ListIngestionConfigFlows" => ListIngestionConfigFlowsResponse::default().encode_to_vec(),
                "ListRuns" => ListRunsResponse::default().encode_to_vec(),
                "CreateIngestionConfig" => {
                    let ingestion_config_id = RAW_CONFIG_ID.to_owned();
                    let config =
                        IngestionConfig { ingestion_config_id, asset_id: "a".to_owned(), ..Default::default() };
                    CreateIngestionConfigResponse { ingestion_config: Some(config) }.encode_to_vec()
                }
                "CreateIngestionConfigFlows" => Vec::new(),
                // The official library asks for it.
                "GetAsset" => {
                    let (asset_id, name) = ("a".to_owned(), "bench".to_owned());
                    let asset = Asset { asset_id, name, ..Default::default() };
                    GetAssetResponse { asset: Some(asset) }.encode_to_vec()
                }
                "CreateRun" => {
                    let run = Run { run_id: RAW_RUN_ID.to_owned(), ..Default::default() };
                    CreateRunResponse { run: Some(run) }.encode_to_vec()
                }
                "IngestWithConfigDataStream" => return Ok(this.ingest(request.into_body()).await),
                _ => return Ok(unimplemented()),
            };
            Ok(unary(&message))
        })
    }
}

/// The ids that a [`Raw`] server gives: as long as real ones.
pub(crate) const RAW_CONFIG_ID: &str = "3f2b8c1e-5d40-4c7a-9a63-0e8d1b7f4c25";
pub(crate) const RAW_RUN_ID: &str = "a81d6e07-92c3-4f5b-8e1a-6c40d2b9f713";

impl RawService {
    async fn ingest(&self, mut body: Body) -> http::Response<Body> {
        let open = self.seen.open.fetch_add(1, Ordering::SeqCst) + 1;
        self.seen.most_open.fetch_max(open, Ordering::SeqCst);
        let stream = self.seen.streams.fetch_add(1, Ordering::SeqCst);
        let mut kept = Vec::new();
        while let Some(Ok(frame)) = body.frame().await {
            let Some(data) = frame.data_ref() else { continue };
            self.seen.bytes.fetch_add(data.len() as u64, Ordering::Relaxed);
            if self.mood == Mood::Keeps {
                kept.extend_from_slice(data);
            }
        }
        if matches!(self.mood, Mood::Silent { after } if stream >= after) {
            self.seen.silent.notify_one();
            std::future::pending::<()>().await;
        }
        if self.mood == Mood::Keeps {
            self.seen.kept.lock().unwrap().push(kept);
        }
        self.seen.open.fetch_sub(1, Ordering::SeqCst);
        unary(&[])
    }
}

/// A gRPC answer of one message.
pub(crate) fn unary(message: &[u8]) -> http::Response<Body> {
    let mut bytes = sift_replay::sift::message_prefix(message.len() as u32).to_vec();
    bytes.extend_from_slice(message);
    let trailers = http::HeaderMap::from_iter([(
        http::HeaderName::from_static("grpc-status"),
        http::HeaderValue::from_static("0"),
    )]);
    let body = Full::new(Bytes::from(bytes)).with_trailers(async move { Some(Ok(trailers)) });
    http::Response::builder().header("content-type", "application/grpc").body(Body::new(body)).unwrap()
}

/// A gRPC answer to a call that nobody knows.
fn unimplemented() -> http::Response<Body> {
    let head = http::Response::builder().header("content-type", "application/grpc").header("grpc-status", "12");
    head.body(Body::empty()).unwrap()
}

/// Parts a stream into its messages.
pub(crate) fn messages(mut stream: &[u8]) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    while let Some((prefix, rest)) = stream.split_first_chunk::<5>() {
        assert_eq!(prefix[0], 0, "not compressed");
        let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
        messages.push(rest[..length].to_vec());
        stream = &rest[length..];
    }
    assert!(stream.is_empty());
    messages
}
