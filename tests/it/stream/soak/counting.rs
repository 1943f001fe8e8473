//! A server that counts numbered requests in bits, so that its own memory doesn't grow.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use http_body_util::BodyExt;
use prost::Message;
use sift_rs::ingest::v1::IngestWithConfigDataStreamRequest;
use tokio::net::TcpListener;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};

use crate::support::destination::unary;

/// The time of number 0.
pub(super) const FIRST: i64 = 1_700_000_000_000_000_000;

/// What was acknowledged.
struct Bits {
    bits: Vec<AtomicU64>,
    /// How many there may be.
    total: u64,
    acknowledged: AtomicU64,
    twice: AtomicU64,
    invented: AtomicU64,
}

impl Bits {
    fn add(&self, number: u64) {
        if number >= self.total {
            self.invented.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let bit = 1 << (number % 64);
        let before = self.bits[(number / 64) as usize].fetch_or(bit, Ordering::Relaxed);
        let counter = if before & bit == 0 { &self.acknowledged } else { &self.twice };
        counter.fetch_add(1, Ordering::SeqCst);
    }
}

pub(super) struct Counting {
    bits: Arc<Bits>,
    address: SocketAddr,
    _runtime: tokio::runtime::Runtime,
}

impl Counting {
    /// Counts what is ingested; all else is for the server at `behind`.
    pub(super) fn start(behind: String, total: u64) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let bits = Arc::new(Bits {
            bits: (0..total.div_ceil(64)).map(|_| AtomicU64::new(0)).collect(),
            total,
            acknowledged: AtomicU64::new(0),
            twice: AtomicU64::new(0),
            invented: AtomicU64::new(0),
        });
        let shared = bits.clone();
        runtime.spawn(async move {
            let behind = Endpoint::from_shared(behind).unwrap().connect_lazy();
            let incoming = TcpIncoming::from(TcpListener::from_std(listener).unwrap()).with_nodelay(Some(true));
            Server::builder().serve_with_incoming(Front { bits: shared, behind }, incoming).await.unwrap();
        });
        Self { bits, address, _runtime: runtime }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Numbers that were acknowledged.
    pub(super) fn acknowledged(&self) -> u64 {
        self.bits.acknowledged.load(Ordering::SeqCst)
    }

    /// How often one was that had been.
    pub(super) fn twice(&self) -> u64 {
        self.bits.twice.load(Ordering::SeqCst)
    }

    /// Requests that nobody has sent.
    pub(super) fn invented(&self) -> u64 {
        self.bits.invented.load(Ordering::SeqCst)
    }
}

#[derive(Clone)]
struct Front {
    bits: Arc<Bits>,
    behind: Channel,
}

type Answer = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

impl Service<http::Request<Body>> for Front {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Answer {
        let mut this = self.clone();
        Box::pin(async move {
            if request.uri().path() == "/sift.ingest.v1.IngestService/IngestWithConfigDataStream" {
                return Ok(this.ingest(request.into_body()).await);
            }
            std::future::poll_fn(|context| this.behind.poll_ready(context)).await.unwrap();
            Ok(this.behind.call(request).await.unwrap())
        })
    }
}

impl Front {
    async fn ingest(&self, mut body: Body) -> http::Response<Body> {
        let (mut rest, mut numbers) = (BytesMut::new(), Vec::<std::ops::Range<u64>>::new());
        while let Some(frame) = body.frame().await {
            // Who has gone can't be told anything, and nothing of it counts.
            let Ok(frame) = frame else { return tonic::Status::cancelled("the client has gone").into_http() };
            let Some(data) = frame.data_ref() else { continue };
            rest.extend_from_slice(data);
            while let Some(message) = next_message(&mut rest) {
                let number = self.number(&message);
                match numbers.last_mut() {
                    Some(last) if last.end == number => last.end += 1,
                    _ => numbers.push(number..number + 1),
                }
            }
        }
        numbers.into_iter().flatten().for_each(|number| self.bits.add(number));
        unary(&[])
    }

    /// The number that both its time and its first channel tell; otherwise one that was never sent.
    fn number(&self, message: &[u8]) -> u64 {
        use sift_rs::ingest::v1::ingest_with_config_data_channel_value::Type;
        let request = IngestWithConfigDataStreamRequest::decode(message).unwrap();
        let time = request.timestamp.unwrap();
        let number = (time.seconds * 1_000_000_000 + i64::from(time.nanos) - FIRST) as u64;
        let told = request.channel_values.first().and_then(|value| value.r#type.clone());
        if told == Some(Type::Uint64(number)) { number } else { u64::MAX - 1 }
    }
}

fn next_message(rest: &mut BytesMut) -> Option<BytesMut> {
    let prefix = rest.first_chunk::<5>()?;
    let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
    if rest.len() < 5 + length {
        return None;
    }
    rest.advance(5);
    Some(rest.split_to(length))
}
