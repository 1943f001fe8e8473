//! Where the examples send to: Sift, if `SIFT_URI` and `SIFT_API_KEY` are set; otherwise an endpoint in this process, which
//! records what it gets into a temporary directory.
#![allow(clippy::print_stdout, reason = "an example talks to its reader")]
#![allow(dead_code, unreachable_pub, reason = "each example uses some of it, and exports nothing")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use sift_replay::catalog::{Catalog, discover};
use sift_replay::receiver::{Receiver, ReceiverOptions, RecordingStore, Registry, Unobserved};
use sift_replay::record::RecorderOptions;
use sift_replay::segment::{Event, SegmentReader};
use sift_replay::stream::{Credentials, Finished, SiftStreamBuilder};
use sift_rs::ingest::v1::IngestWithConfigDataStreamRequest;
use tempfile::TempDir;

/// What an example comes to; what went wrong is printed as its own words say it.
pub type Outcome<T> = Result<T, Failure>;

/// Why an example failed.
pub struct Failure(String);

impl<E: std::fmt::Display> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

impl std::fmt::Debug for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where to send to.
pub enum Destination {
    Sift(Credentials),
    Embedded(Box<Endpoint>),
}

impl Destination {
    pub async fn find() -> Outcome<Self> {
        if let (Ok(uri), Ok(apikey)) = (std::env::var("SIFT_URI"), std::env::var("SIFT_API_KEY")) {
            println!("Sending to {uri}.");
            return Ok(Self::Sift(Credentials::Config { uri, apikey }));
        }
        println!("Sending to an endpoint in this process; with SIFT_URI and SIFT_API_KEY set, it would be Sift.");
        Ok(Self::Embedded(Box::new(Endpoint::start().await?)))
    }

    pub fn builder(&self) -> SiftStreamBuilder {
        match self {
            Self::Sift(credentials) => SiftStreamBuilder::new(credentials.clone()),
            Self::Embedded(endpoint) => endpoint.builder(),
        }
    }

    /// Whether `count` requests of `flows` have arrived, as far as can be told from here.
    pub async fn check(self, flows: &[&str], count: usize) -> Outcome<()> {
        let Self::Embedded(endpoint) = self else { return Ok(()) };
        let arrived = endpoint.end().await?;
        let arrived = arrived.iter().filter(|request| flows.contains(&request.flow.as_str())).count();
        println!("The endpoint has {arrived} requests of {}.", flows.join(", "));
        if arrived == count { Ok(()) } else { Err(format!("{count} should have arrived").into()) }
    }
}

/// Says how a stream ended. What isn't acknowledged stays in its directory.
pub fn settle(finished: &Finished, backups: TempDir) -> Outcome<()> {
    println!("The stream has ended: {finished}.");
    if finished.acknowledged == finished.requests {
        return Ok(());
    }
    Err(format!("not everything is acknowledged: try `sift-replay {}`", backups.keep().display()).into())
}

/// An endpoint in this process. Its link can be cut, and restored.
pub struct Endpoint {
    dir: TempDir,
    registry: Arc<Registry>,
    store: Arc<RecordingStore>,
    options: ReceiverOptions,
    receiver: Option<Receiver>,
}

impl Endpoint {
    pub async fn start() -> Outcome<Self> {
        let (dir, registry) = (tempfile::tempdir()?, Arc::new(Registry::new()));
        let store = Arc::new(RecordingStore::new(dir.path(), RecorderOptions::default()));
        let options = ReceiverOptions { shutdown_grace: Duration::ZERO, ..ReceiverOptions::default() };
        let mut endpoint = Self { dir, registry, store, options, receiver: None };
        endpoint.restore().await?;
        Ok(endpoint)
    }

    pub fn builder(&self) -> SiftStreamBuilder {
        let uri = format!("http://{}", self.options.listen);
        SiftStreamBuilder::new(Credentials::Config { uri, apikey: "any".into() }).disable_tls()
    }

    pub async fn cut(&mut self) -> Outcome<()> {
        if let Some(receiver) = self.receiver.take() {
            receiver.shutdown().await?;
        }
        Ok(())
    }

    pub async fn restore(&mut self) -> Outcome<()> {
        let (options, registry) = (self.options.clone(), self.registry.clone());
        let receiver = Receiver::start(options, registry, self.store.clone(), Arc::new(Unobserved)).await?;
        self.options.listen = receiver.local_addr();
        self.receiver = Some(receiver);
        Ok(())
    }

    /// Ends it; what it has received.
    pub async fn end(mut self) -> Outcome<Vec<IngestWithConfigDataStreamRequest>> {
        self.cut().await?;
        self.store.finish()?;
        requests(self.dir.path())
    }
}

/// What is recorded below a directory.
pub fn requests(dir: &Path) -> Outcome<Vec<IngestWithConfigDataStreamRequest>> {
    let mut requests = Vec::new();
    let catalog = Catalog::build(discover(&[dir.to_owned()])?);
    for file in catalog.sessions.iter().flat_map(|session| &session.segments) {
        let mut reader = SegmentReader::open(&file.path)?;
        while let Some(event) = reader.next_event()? {
            if let Event::Records(batch) = event {
                for record in batch.records() {
                    requests.push(IngestWithConfigDataStreamRequest::decode(record)?);
                }
            }
        }
    }
    Ok(requests)
}
