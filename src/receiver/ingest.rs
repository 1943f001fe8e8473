//! `sift.ingest.v1.IngestService/IngestWithConfigDataStream`: a stream of requests, taken as bytes,
//! and acknowledged as a whole once all of it is durable.

use super::{
    observe::{Event, Observer},
    refused::RefusedQueue,
    state::Registry,
    store::{SessionKey, Store},
    stream::{Stream, Ticket},
};
use bytes::{Buf, Bytes};
use std::{
    collections::HashMap,
    future::{Future, poll_fn},
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
};
use tokio::{sync::watch, task::JoinHandle};
use tokio_stream::Stream as _;
use tonic::{
    Code, Request, Response, Status, Streaming,
    codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    server::ClientStreamingService,
};

/// A batch is handed over when it has this many requests …
const BATCH_REQUESTS: usize = 1024;
/// … or this many bytes.
const BATCH_BYTES: usize = 1024 * 1024;

/// What a receiver has taken in since it started.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) accepted: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) streams_acknowledged: AtomicU64,
    pub(super) streams_refused: AtomicU64,
}

/// What all streams share.
pub(super) struct Shared {
    pub(super) registry: Arc<Registry>,
    pub(super) store: Arc<dyn Store>,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) counters: Counters,
    pub(super) refused: Mutex<RefusedQueue>,
    /// The sessions that the store was told of, and with how many flows.
    pub(super) opened: Mutex<HashMap<SessionKey, usize>>,
    pub(super) open_streams: watch::Sender<usize>,
    /// Turns true when the streams that are still open must end.
    pub(super) abort: watch::Sender<bool>,
    most_streams: usize,
    streams: AtomicU64,
}

impl Shared {
    pub(super) fn new(
        registry: Arc<Registry>,
        store: Arc<dyn Store>,
        observer: Arc<dyn Observer>,
        most_streams: usize,
    ) -> Self {
        Self {
            registry,
            store,
            observer,
            counters: Counters::default(),
            refused: Mutex::default(),
            opened: Mutex::default(),
            open_streams: watch::Sender::new(0),
            abort: watch::Sender::new(false),
            most_streams,
            streams: AtomicU64::new(0),
        }
    }

    fn admit(self: &Arc<Self>, peer: Option<SocketAddr>) -> Result<Arc<Ticket>, Status> {
        let admitted = self.open_streams.send_if_modified(|open| {
            let room = *open < self.most_streams;
            *open += usize::from(room);
            room
        });
        if !admitted {
            return Err(Status::unavailable(format!(
                "{} streams are open, which is all that this receiver allows; end one, or try again later",
                self.most_streams
            )));
        }
        let stream = self.streams.fetch_add(1, Ordering::Relaxed) + 1;
        self.observer.event(&Event::StreamOpened { stream, peer });
        Ok(Ticket::new(Arc::clone(self), stream))
    }

    async fn serve(self: Arc<Self>, request: Request<Streaming<Bytes>>) -> Result<(), Status> {
        let ticket = self.admit(request.remote_addr())?;
        let mut abort = self.abort.subscribe();
        let stream = Stream::new(Arc::clone(&ticket));
        let outcome = tokio::select! {
            biased;
            outcome = drive(request.into_inner(), stream) => outcome,
            _ = abort.wait_for(|abort| *abort) => Err(End::Refused(Status::unavailable(
                "the receiver shuts down; nothing of this stream is acknowledged, send it again",
            ))),
        };
        let outcome = match outcome {
            // The ticket, closed by nobody, will tell that the client went away.
            Err(End::Broken(status)) => return Err(status),
            Err(End::Refused(status)) => Err(status),
            Ok(()) => Ok(()),
        };
        ticket.close(&outcome);
        outcome
    }
}

/// Why a stream was not acknowledged.
enum End {
    Refused(Status),
    /// There is nobody left to tell.
    Broken(Status),
}

impl From<Status> for End {
    fn from(status: Status) -> Self {
        Self::Refused(status)
    }
}

/// Requests on their way to a thread that may block.
#[derive(Default)]
struct Batch {
    requests: Vec<Bytes>,
    bytes: usize,
}

impl Batch {
    fn is_full(&self) -> bool {
        self.requests.len() >= BATCH_REQUESTS || self.bytes >= BATCH_BYTES
    }

    /// Waits for requests and takes all that are there, up to a full batch; true at the end of
    /// the stream. Whoever cancels this loses nothing.
    async fn gather(&mut self, requests: &mut Streaming<Bytes>) -> Result<bool, Status> {
        poll_fn(|context| {
            while !self.is_full() {
                match Pin::new(&mut *requests).poll_next(context) {
                    Poll::Ready(Some(Ok(request))) => {
                        self.bytes += request.len();
                        self.requests.push(request);
                    }
                    Poll::Ready(Some(Err(status))) => return Poll::Ready(Err(status)),
                    Poll::Ready(None) => return Poll::Ready(Ok(true)),
                    Poll::Pending if self.requests.is_empty() => return Poll::Pending,
                    Poll::Pending => break,
                }
            }
            Poll::Ready(Ok(false))
        })
        .await
    }
}

type Job = JoinHandle<(Stream, Result<(), Status>)>;

fn hand_over(mut stream: Stream, batch: Batch, last: bool) -> Job {
    tokio::task::spawn_blocking(move || {
        let taken = stream.take(&batch.requests, last);
        (stream, taken)
    })
}

async fn taken(job: &mut Job) -> Result<Stream, Status> {
    match job.await {
        Ok((stream, taken)) => taken.map(|()| stream),
        Err(error) => Err(Status::internal(format!("storing failed: {error}"))),
    }
}

/// Takes a stream in: while one batch is being stored, the next is received.
async fn drive(mut requests: Streaming<Bytes>, stream: Stream) -> Result<(), End> {
    let mut job = hand_over(stream, Batch::default(), false);
    loop {
        let mut batch = Batch::default();
        let (stream, gathered) = tokio::select! {
            biased;
            stream = taken(&mut job) => (stream?, batch.gather(&mut requests).await),
            gathered = batch.gather(&mut requests) => (taken(&mut job).await?, gathered),
        };
        let last = !matches!(gathered, Ok(false));
        job = hand_over(stream, batch, last);
        match gathered {
            Ok(false) => {}
            Ok(true) => return Ok(taken(&mut job).await.map(drop)?),
            Err(status) => {
                // What was received is worth keeping, though nobody will be told that it was kept.
                taken(&mut job).await?;
                return Err(match status.code() {
                    Code::OutOfRange | Code::ResourceExhausted | Code::Unimplemented => End::Refused(status),
                    _ => End::Broken(status),
                });
            }
        }
    }
}

/// The gRPC method.
#[derive(Clone)]
pub(super) struct IngestMethod(pub(super) Arc<Shared>);

impl ClientStreamingService<Bytes> for IngestMethod {
    type Response = ();
    type Future = Pin<Box<dyn Future<Output = Result<Response<()>, Status>> + Send>>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        let shared = Arc::clone(&self.0);
        Box::pin(async move { shared.serve(request).await.map(Response::new) })
    }
}

/// Requests as bytes; the response has no fields, so that its encoding is empty.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RawCodec;

impl Codec for RawCodec {
    type Encode = ();
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for RawCodec {
    type Item = ();
    type Error = Status;

    fn encode(&mut self, (): (), _: &mut EncodeBuf<'_>) -> Result<(), Status> {
        Ok(())
    }
}

impl Decoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, source: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(source.copy_to_bytes(source.remaining())))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(64 * 1024, 32 * 1024)
    }
}
