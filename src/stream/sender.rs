//! The lane of a stream without files: sends what comes, keeps it in memory until it is acknowledged, and has what
//! failed delivered again.

use std::collections::HashSet;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use prost::Message;
use sift_rs::ingest::v1::IngestWithConfigDataStreamRequest;
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use super::leg::{Leg, Registered};
use super::metrics::StreamMetrics;
use super::pieces::{Piece, Pieces};
use super::setup::Setup;
use crate::catalog::SeqSet;
use crate::replay::{Courier, Faulty, Lanes, Observer, Patience, ReplayEvent, ReplayOptions, Settled, State};
use crate::sift::{Fault, IngestStream, MESSAGE_PREFIX_BYTES, RegisterError, SendError};

/// gRPC streams on their way to be acknowledged, at most.
const MAX_CLOSING: usize = 4;

/// Bytes after which a gRPC stream is closed, so that what it carried needn't be kept.
const WINDOW_BYTES: usize = 4 << 20;

/// Time after which it is closed, however little it carried.
const WINDOW_AGE: Duration = Duration::from_secs(10);

/// Requests that Sift refused, kept to be handed back at the end; more are counted.
pub(super) const MOST_REFUSED: usize = 1000;

/// How a sender behaves.
#[derive(Debug, Clone)]
pub(super) struct SenderOptions {
    /// `None`: what fails once has failed.
    pub(super) retry: Option<ReplayOptions>,
    pub(super) acknowledgement_timeout: Duration,
    /// Requests after which a gRPC stream is closed.
    pub(super) window_requests: u64,
    /// Bytes, likewise.
    pub(super) window_bytes: usize,
}

impl SenderOptions {
    /// For a queue of this size: no window takes so much of it that nothing can come in meanwhile.
    pub(super) fn new(capacity: super::pieces::Capacity, acknowledgement_timeout: Duration) -> Self {
        Self {
            retry: None,
            acknowledgement_timeout,
            window_requests: (capacity.requests / 4).max(1),
            window_bytes: (capacity.bytes / 4).clamp(1, WINDOW_BYTES),
        }
    }
}

/// Sends what waits in a queue.
pub(super) struct Sender {
    pub(super) setup: Arc<Setup>,
    pub(super) lanes: Arc<Lanes>,
    pub(super) pieces: Arc<Pieces>,
    pub(super) metrics: Arc<StreamMetrics>,
    pub(super) options: SenderOptions,
    /// Whether the ingestion config or the run was made just now: refusals may be premature.
    pub(super) fresh: bool,
}

/// What a sender came to.
#[derive(Debug, Default)]
pub(super) struct Sent {
    pub(super) acknowledged: u64,
    pub(super) refused: u64,
    /// Refused requests, as many as are kept.
    pub(super) handed_back: Vec<(u64, IngestWithConfigDataStreamRequest)>,
    /// Why the last refused one was.
    pub(super) why_refused: Option<String>,
    /// Why it ended before everything was sent.
    pub(super) stop: Option<String>,
}

/// What a gRPC stream has carried.
struct Window {
    leg: Arc<Leg>,
    registered: Arc<Registered>,
    seqs: Range<u64>,
    buffers: Vec<Bytes>,
    /// As they count in the queue.
    queued_bytes: usize,
}

struct Open {
    ingest: IngestStream,
    window: Window,
    began: Instant,
}

type Closing<'a> = FuturesUnordered<Pin<Box<dyn Future<Output = (Window, Settled)> + Send + 'a>>>;

struct Listener(Arc<StreamMetrics>);

impl Observer for Listener {
    fn stream_ended(&self, code: u8) {
        self.0.status(code);
    }

    fn event(&self, event: &ReplayEvent<'_>) {
        if let ReplayEvent::Retrying { error, attempt, pause, .. } = event {
            tracing::info!(error, attempt, ?pause, "sending failed, and is tried again");
            self.0.retried();
        }
    }
}

impl Sender {
    /// Works until the queue is closed and empty, or sending has failed for good: then the queue is closed.
    pub(super) async fn run(self) -> Sent {
        let (state, listener) = (State::none(), Listener(self.metrics.clone()));
        let options = self.options.retry.clone().unwrap_or_default();
        let courier = Courier::new(&self.lanes, &state, &options, &listener, self.fresh);
        let mut work = Work {
            sender: &self,
            courier: &courier,
            closing: Closing::new(),
            open: None,
            sent: Sent::default(),
            refused_kept: 0,
        };
        let left = work.run().await;
        let mut sent = work.end(left).await;
        sent.handed_back.sort_by_key(|(seq, _)| *seq);
        sent
    }
}

struct Work<'a> {
    sender: &'a Sender,
    courier: &'a Courier<'a>,
    closing: Closing<'a>,
    open: Option<Open>,
    sent: Sent,
    /// Refused requests that are kept.
    refused_kept: usize,
}

/// A piece made ready.
struct Outbox {
    piece: Piece,
    registered: Arc<Registered>,
    buffer: Bytes,
}

impl<'a> Work<'a> {
    /// Returns what was taken out of the queue and not sent.
    async fn run(&mut self) -> Option<Piece> {
        let pieces = &self.sender.pieces;
        let (mut outbox, mut failing): (Option<Outbox>, bool) = (None, false);
        loop {
            if self.sent.stop.is_some() {
                return outbox.map(|outbox| outbox.piece);
            }
            failing &= !self.closing.is_empty();
            if !failing && outbox.is_some() && self.open.is_none() && self.closing.len() < MAX_CLOSING {
                self.open = outbox.as_ref().map(|outbox| self.begin(outbox));
            }
            let due = self.open.as_ref().map_or_else(Instant::now, |open| open.began + WINDOW_AGE);
            let has_open = self.open.is_some();
            tokio::select! {
                biased;
                Some((window, settled)) = self.closing.next() => self.settled(&window, settled),
                () = sleep_until(due), if has_open => self.close(),
                pushed = push(&mut self.open, &outbox) => match pushed {
                    Ok(()) => {
                        if let Some(outbox) = outbox.take() {
                            self.pushed(outbox);
                        }
                    }
                    Err(error) => {
                        failing = true;
                        self.failed(error);
                    }
                },
                piece = pieces.next(), if outbox.is_none() && !failing => match piece {
                    None => return None,
                    Some(piece) => match self.ready(piece).await {
                        Ok(ready) => outbox = Some(ready),
                        Err((piece, error)) => {
                            self.stop(error.to_string());
                            return Some(piece);
                        }
                    },
                },
            }
        }
    }

    /// Makes a piece ready; another leg's goes to another gRPC stream.
    async fn ready(&mut self, piece: Piece) -> Result<Outbox, (Piece, RegisterError)> {
        if self.open.as_ref().is_some_and(|open| !Arc::ptr_eq(&open.window.leg, &piece.leg)) {
            self.close();
        }
        let setup = &self.sender.setup;
        let registered = match piece.leg.registered() {
            Some(registered) => registered.clone(),
            None => {
                let connection = self.sender.lanes.pick(None).connection.clone();
                let (connection, leg) = (&connection, &piece.leg);
                match setup.persist(|| setup.register(connection, leg)).await {
                    Ok(registered) => leg.set_registered(Arc::new(registered)).clone(),
                    Err(error) => return Err((piece, error)),
                }
            }
        };
        let buffer = registered.messages(&piece);
        Ok(Outbox { piece, registered, buffer })
    }

    fn begin(&self, outbox: &Outbox) -> Open {
        let first = outbox.piece.first_seq;
        let window = Window {
            leg: outbox.piece.leg.clone(),
            registered: outbox.registered.clone(),
            seqs: first..first,
            buffers: Vec::new(),
            queued_bytes: 0,
        };
        let ingest = IngestStream::open(&self.sender.lanes.pick(None).connection);
        Open { ingest, window, began: Instant::now() }
    }

    fn pushed(&mut self, outbox: Outbox) {
        let Some(open) = &mut self.open else { return };
        self.sender.metrics.sent(outbox.piece.count, outbox.buffer.len() as u64);
        open.window.seqs.end = outbox.piece.seqs().end;
        open.window.queued_bytes += outbox.piece.bytes();
        open.window.buffers.push(outbox.buffer);
        let (requests, bytes) = (open.window.seqs.end - open.window.seqs.start, open.window.queued_bytes);
        if requests >= self.sender.options.window_requests || bytes >= self.sender.options.window_bytes {
            self.close();
        }
    }

    /// Ends the gRPC stream and waits for its acknowledgement, beside what comes next.
    fn close(&mut self) {
        let Some(Open { ingest, window, .. }) = self.open.take() else { return };
        let (courier, sender) = (self.courier, self.sender);
        self.closing.push(Box::pin(async move {
            let settled = match ingest.finish(sender.options.acknowledgement_timeout).await {
                Ok(()) => {
                    sender.metrics.status(0);
                    Settled { acknowledged: vec![window.seqs.clone()], ..Settled::default() }
                }
                Err(error) => sender.again(courier, &window, error).await,
            };
            (window, settled)
        }));
    }

    /// The open gRPC stream has failed.
    fn failed(&mut self, error: SendError) {
        let Some(Open { window, .. }) = self.open.take() else { return };
        let (courier, sender) = (self.courier, self.sender);
        self.closing.push(Box::pin(async move {
            let settled = sender.again(courier, &window, error).await;
            (window, settled)
        }));
    }

    /// Accounts for a window.
    fn settled(&mut self, window: &Window, settled: Settled) {
        let metrics = &self.sender.metrics;
        let acknowledged: u64 = settled.acknowledged.iter().map(|seqs| seqs.end - seqs.start).sum();
        self.sent.acknowledged += acknowledged;
        metrics.acknowledged(acknowledged);
        if settled.stop.is_none() {
            metrics.connected();
        }
        if let Some((_, reason)) = settled.refused.last() {
            tracing::warn!(requests = settled.refused.len(), reason, "Sift refuses requests");
            self.sent.why_refused = Some(reason.clone());
        }
        metrics.refused(settled.refused.len() as u64);
        self.sent.refused += settled.refused.len() as u64;
        let mut gone = SeqSet::new();
        settled.acknowledged.into_iter().for_each(|seqs| drop(gone.insert(seqs)));
        let refused = settled.refused.iter().map(|(seq, _)| *seq);
        let room = MOST_REFUSED.saturating_sub(self.refused_kept);
        let kept: HashSet<u64> = refused.clone().take(room).collect();
        self.refused_kept += kept.len();
        refused.for_each(|seq| drop(gone.insert(seq..seq + 1)));
        let is_stopped = settled.stop.is_some();
        // Requests are decoded only where some are handed back.
        if is_stopped || !kept.is_empty() {
            let is_handed_back = |seq| kept.contains(&seq) || (is_stopped && !gone.contains(seq));
            self.sent.handed_back.extend(window.requests().filter(|(seq, _)| is_handed_back(*seq)));
        }
        if let Some(stop) = settled.stop {
            // Before there is room again: nobody is to send what won't be delivered.
            self.stop(stop);
        }
        self.sender.pieces.settle(window.seqs.end - window.seqs.start, window.queued_bytes);
    }

    /// Sending is given up: nothing more is taken in, whatever else is still on its way. The first reason stays.
    fn stop(&mut self, reason: String) {
        let reason = self.sent.stop.get_or_insert(reason);
        self.sender.pieces.close(reason);
    }

    /// Waits for what is on its way; what isn't delivered is handed back.
    async fn end(mut self, left: Option<Piece>) -> Sent {
        if self.sent.stop.is_none() {
            self.close();
        }
        if let Some(Open { window, .. }) = self.open.take() {
            self.sent.handed_back.extend(window.requests());
        }
        while let Some((window, settled)) = self.closing.next().await {
            self.settled(&window, settled);
        }
        for piece in left.into_iter().chain(self.sender.pieces.drain()) {
            let requests = piece.records().filter_map(|record| IngestWithConfigDataStreamRequest::decode(record).ok());
            self.sent.handed_back.extend(piece.seqs().zip(requests));
        }
        self.sent
    }
}

impl Sender {
    /// Delivers a window once more, after `error`, if that may help.
    async fn again(&self, courier: &Courier<'_>, window: &Window, error: SendError) -> Settled {
        self.metrics.status(error.code_number());
        let stopped = |stop: String| Settled { stop: Some(stop), ..Settled::default() };
        let Some(options) = &self.options.retry else { return stopped(error.to_string()) };
        if !matches!(error, SendError::Refused(_)) {
            self.lanes.pick(None).renew();
        }
        if error.fault() != Fault::Data {
            // Attempts are counted where they are made.
            let patience = Patience::new(&ReplayOptions { most_attempts: None, ..options.clone() });
            let tell = |attempt, pause| {
                tracing::warn!(%error, attempt, ?pause, "the stream has failed; what it carried is sent again");
                self.metrics.retried();
            };
            if let Err(stop) = patience.pause(&mut patience.attempts(), &error as &dyn Faulty, tell).await {
                return stopped(stop.to_string());
            }
        }
        let id: Uuid = window.leg.id;
        courier.deliver(id, window.seqs.clone(), window.buffers.clone()).await
    }
}

impl Window {
    /// What it carries, as it was given to the stream.
    fn requests(&self) -> impl Iterator<Item = (u64, IngestWithConfigDataStreamRequest)> {
        let messages = self.buffers.iter().flat_map(|buffer| split(buffer));
        self.seqs.clone().zip(messages).filter_map(|(seq, message)| {
            let record = self.registered.outgoing.original(message);
            Some((seq, IngestWithConfigDataStreamRequest::decode(record).ok()?))
        })
    }
}

/// The messages of a buffer, without their prefixes.
fn split(mut buffer: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (prefix, rest) = buffer.split_first_chunk::<MESSAGE_PREFIX_BYTES>()?;
        let [_, length @ ..] = *prefix;
        let (message, behind) = rest.split_at_checked(u32::from_be_bytes(length) as usize)?;
        buffer = behind;
        Some(message)
    })
}

/// Pushes what is ready; where nothing is, notices that the gRPC stream fails. Nothing is lost if it is dropped.
async fn push(open: &mut Option<Open>, outbox: &Option<Outbox>) -> Result<(), SendError> {
    match (open, outbox) {
        (Some(open), Some(outbox)) => open.ingest.push(outbox.buffer.clone()).await,
        (Some(open), None) => Err(open.ingest.failed().await),
        (None, _) => std::future::pending().await,
    }
}
