//! A small Sift on a real socket that does what a test tells it to.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use sift_rs::assets::v1::Asset;
use sift_rs::assets::v1::asset_service_server::AssetServiceServer;
use sift_rs::ingest::v1::IngestWithConfigDataStreamRequest;
use sift_rs::ingest::v1::ingest_service_server::IngestServiceServer;
use sift_rs::ingestion_configs::v2::ingestion_config_service_server::IngestionConfigServiceServer;
use sift_rs::ingestion_configs::v2::{ChannelConfig, CreateIngestionConfigRequest, FlowConfig, IngestionConfig};
use sift_rs::me::v2::me_service_server::MeServiceServer;
use sift_rs::ping::v1::ping_service_server::PingServiceServer;
use sift_rs::runs::v2::run_service_server::RunServiceServer;
use sift_rs::runs::v2::{CreateRunRequest, Run};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::Status;
use tonic::codec::CompressionEncoding;
use tonic::metadata::MetadataMap;
use tonic::transport::server::Router;
use tonic::transport::{Server, ServerTlsConfig};

use crate::sift::{ApiKey, Connection, Destination, DestinationOptions, Timeouts};

pub(super) const KEY: &str = "test-key-0123456789";

/// How the fake treats an ingest stream.
#[derive(Clone, Debug, Default)]
pub(super) enum Ingest {
    #[default]
    Acknowledge,
    RefuseAfter(usize, Status),
    OkAfter(usize),
    NeverAnswer,
    NeverRead,
}

/// What became of an ingest stream.
#[derive(Debug, PartialEq)]
pub(super) enum Ended {
    Complete(Vec<IngestWithConfigDataStreamRequest>),
    Broken,
}

pub(super) struct State {
    /// Methods called, in order, without pings.
    pub(super) calls: Vec<&'static str>,
    pub(super) metadata: MetadataMap,
    pub(super) ping: Option<Status>,
    /// The organizations that GetMe names, or how it fails.
    pub(super) me: Result<Vec<&'static str>, Status>,
    /// The organization of each asset, or how listing them fails.
    pub(super) assets: Result<Vec<&'static str>, Status>,
    pub(super) configs: Vec<IngestionConfig>,
    pub(super) flows: Vec<FlowConfig>,
    pub(super) runs: Vec<Run>,
    /// The field mask of each update, and the assets as they were sent.
    pub(super) masks: Vec<Vec<String>>,
    pub(super) updated_assets: Vec<Asset>,
    /// Flows per page; 0 means all.
    pub(super) page: usize,
    /// The next that many lists show nothing, as if another client were just making it.
    pub(super) hidden_configs: usize,
    pub(super) hidden_runs: usize,
    pub(super) hidden_flows: usize,
    pub(super) ignores_filters: bool,
    pub(super) endless_pages: bool,
    pub(super) answers_without_content: bool,
    pub(super) hangs_on: Option<&'static str>,
    /// Statuses for the next calls of any method but ping.
    pub(super) failures: VecDeque<Status>,
    pub(super) ingest: Ingest,
    /// Whether a server that begins to serve takes compressed ingest streams.
    pub(super) takes_gzip: bool,
    pub(super) streams: Vec<Ended>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            calls: Vec::new(),
            metadata: MetadataMap::default(),
            ping: None,
            me: Err(Status::unimplemented("not faked")),
            assets: Ok(Vec::new()),
            configs: Vec::new(),
            flows: Vec::new(),
            runs: Vec::new(),
            masks: Vec::new(),
            updated_assets: Vec::new(),
            page: 0,
            hidden_configs: 0,
            hidden_runs: 0,
            hidden_flows: 0,
            ignores_filters: false,
            endless_pages: false,
            answers_without_content: false,
            hangs_on: None,
            failures: VecDeque::new(),
            ingest: Ingest::default(),
            takes_gzip: false,
            streams: Vec::new(),
        }
    }
}

/// The shared fake; all services look into it.
#[derive(Clone, Default)]
pub(super) struct Fake(Arc<Mutex<State>>);

impl Fake {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Notes the call and does what every method does; to be awaited first in each.
    pub(super) async fn enter<T>(&self, call: &'static str, request: &tonic::Request<T>) -> Result<(), Status> {
        let hangs = {
            let mut state = self.state();
            state.calls.push(call);
            state.metadata = request.metadata().clone();
            if let Some(status) = state.failures.pop_front() {
                return Err(status);
            }
            state.hangs_on == Some(call)
        };
        if hangs {
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    /// Serves on a loopback port of its own, until the runtime ends.
    pub(super) async fn serve(&self, tls: Option<ServerTlsConfig>) -> SocketAddr {
        let mut server = Server::builder();
        if let Some(tls) = tls {
            server = server.tls_config(tls).unwrap();
        }
        serve(self.services(server)).await
    }

    /// All services, without TLS.
    pub(super) fn router(&self) -> Router {
        self.services(Server::builder())
    }

    fn services(&self, mut server: Server) -> Router {
        let mut ingest = IngestServiceServer::new(self.clone());
        if self.state().takes_gzip {
            ingest = ingest.accept_compressed(CompressionEncoding::Gzip);
        }
        server
            .add_service(PingServiceServer::new(self.clone()))
            .add_service(MeServiceServer::new(self.clone()))
            .add_service(IngestionConfigServiceServer::new(self.clone()))
            .add_service(AssetServiceServer::new(self.clone()))
            .add_service(RunServiceServer::new(self.clone()))
            .add_service(ingest)
    }

    /// Serves, and connects to it.
    pub(super) async fn connect(&self) -> Connection {
        let address = self.serve(None).await;
        open(address).await
    }
}

pub(super) async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(router.serve_with_incoming(TcpListenerStream::new(listener)));
    address
}

pub(super) fn options(uri: impl Into<String>) -> DestinationOptions {
    DestinationOptions {
        uri: Some(uri.into()),
        api_key: Some(ApiKey::new(KEY, "test").unwrap()),
        timeouts: Timeouts { connect: Duration::from_secs(20), ..Timeouts::default() },
        ..DestinationOptions::default()
    }
}

pub(super) async fn open(address: SocketAddr) -> Connection {
    open_with(&options(format!("http://{address}"))).await
}

pub(super) async fn open_with(options: &DestinationOptions) -> Connection {
    let destination = Destination::resolve(options).unwrap();
    Connection::open(&destination).await.unwrap()
}

pub(super) fn channel(name: &str, data_type: i32) -> ChannelConfig {
    ChannelConfig { name: name.to_owned(), unit: "m".to_owned(), data_type, ..ChannelConfig::default() }
}

pub(super) fn flow(name: &str) -> FlowConfig {
    FlowConfig { name: name.to_owned(), channels: vec![channel("x", 1), channel("y", 7)] }
}

pub(super) fn config(flows: &[&str]) -> CreateIngestionConfigRequest {
    CreateIngestionConfigRequest {
        asset_name: "rover".to_owned(),
        client_key: "rover-v1".to_owned(),
        flows: flows.iter().map(|name| flow(name)).collect(),
        organization_id: String::new(),
    }
}

pub(super) fn run(client_key: Option<&str>) -> CreateRunRequest {
    CreateRunRequest {
        name: "first drive".to_owned(),
        client_key: client_key.map(str::to_owned),
        ..CreateRunRequest::default()
    }
}
