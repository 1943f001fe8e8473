//! The fast path: whole buffers of gRPC-framed messages as the body of one client-stream.
//!
//! The generated client would take each message apart from its neighbours, copy and frame it anew;
//! the channel below it takes any HTTP body. So the caller frames the messages once, in the buffer
//! in which it assembles them, and nothing is allocated or copied per message here. With gzip, each
//! buffer is copied once, by the compressor.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use http::header::{CONTENT_TYPE, TE};
use http_body::{Body as HttpBody, Frame};
use http_body_util::BodyExt;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::{Code, Status};

use super::connection::Connection;
use super::error::{SendError, Shown, chain};
use super::gzip::{self, Gzip};
use super::transport::Authorized;

/// Bytes before each message in a buffer: a zero (not compressed) and the message's length.
pub const MESSAGE_PREFIX_BYTES: usize = 5;

const INGEST_PATH: &str = "/sift.ingest.v1.IngestService/IngestWithConfigDataStream";

/// Buffers that wait between [`IngestStream::push`] and HTTP/2. Enough that the connection never
/// waits for the caller, few enough that memory stays bounded by a handful of buffers.
const QUEUED_BUFFERS: usize = 4;

/// Buffers are handed to HTTP/2 in slices of this size, so that a slow link shows progress long before
/// a large buffer has gone.
const SLICE_BYTES: usize = 128 * 1024;

/// The real answer is one empty message.
const MAX_RESPONSE_BYTES: usize = 64 * 1024;

/// The prefix of a message of `length` bytes, to be put right before it.
#[inline]
pub fn message_prefix(length: u32) -> [u8; MESSAGE_PREFIX_BYTES] {
    let [a, b, c, d] = length.to_be_bytes();
    [0, a, b, c, d]
}

type Outcome = Pin<Box<dyn Future<Output = Result<(), SendError>> + Send>>;

/// One client-stream of `IngestWithConfigDataStream`, acknowledged as a whole by [`finish`].
///
/// Dropping it unfinished resets the stream: the destination sees a broken request, never a complete
/// one.
///
/// [`finish`]: IngestStream::finish
pub struct IngestStream {
    pieces: mpsc::Sender<Piece>,
    progress: watch::Receiver<Progress>,
    /// The answer; `None` once it has come.
    outcome: Option<Outcome>,
    /// Nothing more is pushed.
    ended: bool,
    stall: Duration,
    gzip: Option<Gzip>,
}

enum Piece {
    Buffer(Bytes),
    End,
}

/// How far HTTP/2 has taken what was pushed.
#[derive(Clone, Copy, Default, PartialEq)]
struct Progress {
    slices: u64,
    /// Everything was taken, including the end.
    drained: bool,
}

impl IngestStream {
    /// Begins a stream. Nothing is sent before the first [`push`](IngestStream::push).
    pub fn open(connection: &Connection) -> IngestStream {
        let (pieces, received) = mpsc::channel(QUEUED_BUFFERS);
        let (report, progress) = watch::channel(Progress::default());
        let body = PiecesBody { pieces: received, current: Bytes::new(), progress: report, ended: false };
        let outcome = request(connection.service(), Body::new(body), connection.gzip());
        IngestStream {
            pieces,
            progress,
            outcome: Some(Box::pin(outcome)),
            ended: false,
            stall: connection.timeouts().stall,
            gzip: connection.gzip().then(Gzip::new),
        }
    }

    /// Queues a buffer of whole gRPC-framed messages; waits while the queue is full.
    ///
    /// Cancelling it leaves the buffer unqueued and the stream usable.
    ///
    /// # Errors
    ///
    /// Any [`SendError`]: the destination ended the stream early (with its status), the connection
    /// failed, or nothing was taken within the stall timeout. The stream is then over, and none of it
    /// is acknowledged.
    pub async fn push(&mut self, buffer: Bytes) -> Result<(), SendError> {
        // An empty DATA frame means nothing, and some servers count them as an attack.
        if buffer.is_empty() {
            return Ok(());
        }
        let outcome = self.outcome.as_mut().ok_or(SendError::Ended)?;
        let error = tokio::select! {
            biased;
            ended = &mut *outcome => early(ended),
            place = unless_stalled(self.stall, &self.progress, self.pieces.reserve()) => match place {
                Ok(Ok(place)) => {
                    let buffer = match &mut self.gzip {
                        Some(gzip) => compressed(gzip, &buffer).await,
                        None => buffer,
                    };
                    place.send(Piece::Buffer(buffer));
                    return Ok(());
                }
                // The body is gone, so the answer, or the error, is about to come.
                Ok(Err(_)) => match unless_stalled(self.stall, &self.progress, outcome).await {
                    Ok(ended) => early(ended),
                    Err(stalled) => stalled,
                },
                Err(stalled) => stalled,
            },
        };
        self.outcome = None;
        Err(error)
    }

    /// Waits until the stream fails, as long as there is nothing to push: a destination may refuse it, or the connection
    /// break, at any time. Cancelling it leaves the stream usable.
    pub async fn failed(&mut self) -> SendError {
        let Some(outcome) = self.outcome.as_mut() else { return SendError::Ended };
        let error = early(outcome.await);
        self.outcome = None;
        error
    }

    /// Ends the stream: returns when everything was handed to the connection, or the answer has come before. Nothing may be
    /// pushed after it.
    ///
    /// # Errors
    ///
    /// [`SendError::Stalled`]; what the answer is, [`finish`](IngestStream::finish) tells.
    pub async fn end(&mut self) -> Result<(), SendError> {
        let outcome = self.outcome.as_mut().ok_or(SendError::Ended)?;
        let (pieces, mut drained) = (self.pieces.clone(), self.progress.clone());
        let handing_over = async {
            // Both fail only when the body is gone: then the outcome says why.
            let _ = pieces.send(Piece::End).await;
            let _ = drained.wait_for(|progress| progress.drained).await;
        };
        let answered = tokio::select! {
            biased;
            answered = &mut *outcome => Some(answered),
            done = unless_stalled(self.stall, &self.progress, handing_over) => {
                done?;
                None
            }
        };
        if let Some(answered) = answered {
            *outcome = Box::pin(std::future::ready(answered));
        }
        self.ended = true;
        Ok(())
    }

    /// Ends the stream and waits for its acknowledgement, at most `acknowledgement_timeout` after
    /// everything was handed to the connection.
    ///
    /// # Errors
    ///
    /// Any [`SendError`]; only `Ok` means that the destination has acknowledged the whole stream. With
    /// [`SendError::AcknowledgementTimeout`] and [`SendError::Transport`] it may have taken the data
    /// all the same.
    pub async fn finish(mut self, acknowledgement_timeout: Duration) -> Result<(), SendError> {
        if !self.ended {
            self.end().await?;
        }
        let outcome = self.outcome.take().ok_or(SendError::Ended)?;
        let answered = timeout(acknowledgement_timeout, outcome)
            .await
            .map_err(|_| SendError::AcknowledgementTimeout { waited: acknowledgement_timeout })?;
        // An OK to a stream that was not yet sent wholly acknowledges nothing.
        match answered {
            Ok(()) if !self.progress.borrow().drained => Err(SendError::EndedEarly),
            answered => answered,
        }
    }
}

/// Awaits `future` as long as HTTP/2 takes at least a slice in each `stall`.
async fn unless_stalled<T>(
    stall: Duration,
    progress: &watch::Receiver<Progress>,
    future: impl Future<Output = T>,
) -> Result<T, SendError> {
    let mut future = std::pin::pin!(future);
    loop {
        let before = *progress.borrow();
        if let Ok(output) = timeout(stall, future.as_mut()).await {
            return Ok(output);
        }
        if *progress.borrow() == before {
            return Err(SendError::Stalled { waited: stall });
        }
    }
}

/// The same messages, compressed. Lets other tasks run in between.
async fn compressed(gzip: &mut Gzip, messages: &[u8]) -> Bytes {
    let mut compressed = Vec::with_capacity(messages.len());
    let (mut rest, mut worked) = (messages, 0);
    while !rest.is_empty() {
        let after = gzip.next(rest, &mut compressed);
        worked += rest.len() - after.len();
        rest = after;
        if worked >= SLICE_BYTES {
            worked = 0;
            tokio::task::yield_now().await;
        }
    }
    Bytes::from(compressed)
}

fn early(outcome: Result<(), SendError>) -> SendError {
    outcome.err().unwrap_or(SendError::EndedEarly)
}

/// Sends the request and reads the whole answer.
async fn request(mut service: Authorized, body: Body, gzip: bool) -> Result<(), SendError> {
    let transport = |error: tonic::transport::Error| SendError::Transport { detail: chain(&error) };
    let mut request = http::Request::new(body);
    *request.method_mut() = http::Method::POST;
    *request.version_mut() = http::Version::HTTP_2;
    *request.uri_mut() = http::Uri::from_static(INGEST_PATH);
    let headers = request.headers_mut();
    headers.insert(TE, HeaderValue::from_static("trailers"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    if gzip {
        headers.insert("grpc-encoding", HeaderValue::from_static(gzip::ENCODING));
    }

    std::future::poll_fn(|cx| service.poll_ready(cx)).await.map_err(transport)?;
    let response = service.call(request).await.map_err(transport)?;
    read_answer(response).await
}

async fn read_answer(response: http::Response<Body>) -> Result<(), SendError> {
    let (head, mut body) = response.into_parts();
    if let Some(status) = Status::from_header_map(&head.headers) {
        return match status.code() {
            Code::Ok => Err(SendError::NoResponse),
            _ => Err(SendError::Refused(status)),
        };
    }
    if head.status != http::StatusCode::OK {
        return Err(SendError::HttpStatus { status: head.status.as_u16() });
    }
    let mut received = 0_usize;
    while let Some(frame) = body.frame().await {
        // Not `Refused`: this status was made on this side, of a reset or a lost connection.
        let frame = frame.map_err(|status| SendError::Transport { detail: Shown(&status).to_string() })?;
        if let Some(data) = frame.data_ref() {
            received = received.saturating_add(data.len());
            if received > MAX_RESPONSE_BYTES {
                return Err(SendError::OversizedResponse { limit: MAX_RESPONSE_BYTES });
            }
        } else if let Some(trailers) = frame.trailers_ref() {
            return match Status::from_header_map(trailers) {
                None => Err(SendError::NoStatus),
                Some(status) if status.code() != Code::Ok => Err(SendError::Refused(status)),
                Some(_) if received < MESSAGE_PREFIX_BYTES => Err(SendError::NoResponse),
                Some(_) => Ok(()),
            };
        }
    }
    Err(SendError::NoStatus)
}

/// The request body: the buffers as they come.
struct PiecesBody {
    pieces: mpsc::Receiver<Piece>,
    /// What is left of the buffer that is being handed over.
    current: Bytes,
    progress: watch::Sender<Progress>,
    ended: bool,
}

impl HttpBody for PiecesBody {
    type Data = Bytes;
    type Error = Abandoned;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Abandoned>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if self.current.is_empty() {
            match ready!(self.pieces.poll_recv(cx)) {
                Some(Piece::Buffer(buffer)) => self.current = buffer,
                Some(Piece::End) => {
                    self.ended = true;
                    self.progress.send_modify(|progress| progress.drained = true);
                    return Poll::Ready(None);
                }
                // An orderly end here would make the destination take a part for the whole.
                None => {
                    self.ended = true;
                    return Poll::Ready(Some(Err(Abandoned)));
                }
            }
        }
        let length = self.current.len().min(SLICE_BYTES);
        let slice = self.current.split_to(length);
        self.progress.send_modify(|progress| progress.slices += 1);
        Poll::Ready(Some(Ok(Frame::data(slice))))
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

/// The stream was dropped before it was finished.
#[derive(Debug, thiserror::Error)]
#[error("the ingest stream was abandoned")]
struct Abandoned;
