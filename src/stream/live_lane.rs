//! The live lane: sends what is recorded as it comes, on a connection of its own. It keeps nothing: what isn't confirmed
//! is on disk, and goes by replay.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::ledger::Ledger;
use super::leg::{Leg, Registered};
use super::metrics::Cause;
use super::pieces::{Piece, Pieces};
use super::policy::Later;
use super::setup::Setup;
use crate::catalog::SeqSet;
use crate::replay::{Attempts, Faulty, Lanes, Patience, ReplayOptions};
use crate::sift::{Fault, IngestStream, RegisterError, SendError};

/// Streams whose acknowledgements are waited for, at most: with more, checkpoints wait.
const MAX_CLOSING: usize = 4;

/// How long a call that is under way has when the stream ends.
const LAST_CALL: Duration = Duration::from_secs(2);

/// The longest pause after something was refused.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);

/// How a live lane behaves.
#[derive(Debug, Clone)]
pub(super) struct LiveOptions {
    pub(super) checkpoint_interval: Duration,
    pub(super) acknowledgement_timeout: Duration,
    /// Segments that hold what was sent since the last checkpoint, at which one is forced.
    pub(super) max_files: Option<u64>,
    /// For its pauses.
    pub(super) retry: ReplayOptions,
}

/// Sends what waits in a queue.
pub(super) struct LiveLane {
    pub(super) setup: Arc<Setup>,
    pub(super) lanes: Arc<Lanes>,
    pub(super) pieces: Arc<Pieces>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) options: LiveOptions,
    /// Somebody wants a checkpoint now.
    pub(super) forced: Arc<Notify>,
    /// Whether the stream ends: then only what is on its way is waited for.
    pub(super) finishing: watch::Receiver<bool>,
}

/// What a gRPC stream has carried.
struct Carried {
    leg: Arc<Leg>,
    registered: Arc<Registered>,
    seqs: SeqSet,
}

struct Open {
    ingest: IngestStream,
    carried: Carried,
    began: Instant,
}

/// A piece made ready.
struct Outbox {
    leg: Arc<Leg>,
    first_seq: u64,
    count: u64,
    segment: u32,
    buffer: Bytes,
}

/// Why a stream that was closed isn't confirmed.
type Failure = Option<SendError>;
type Closing = FuturesUnordered<Pin<Box<dyn Future<Output = Failure> + Send>>>;

/// Why sending stopped.
enum End {
    /// Everything was sent.
    Over,
    Failed(SendError),
    /// Sift must be told something first.
    Untold,
}

/// The state of a live lane at work.
struct Sending {
    lane: LiveLane,
    closing: Closing,
    open: Option<Open>,
    outbox: Option<Outbox>,
    /// Taken from the queue, and not made ready yet.
    next: Option<Piece>,
    checkpoint_at: Instant,
    /// The segment of what was sent last, and of what had been at the last checkpoint.
    sent_in: u32,
    confirmed_in: u32,
}

impl LiveLane {
    /// Works until the queue is closed and empty, or the stream ends without a link. `leg` is registered at once.
    pub(super) async fn run(self, leg: Arc<Leg>) {
        let interval = self.options.checkpoint_interval;
        let mut sending = Sending {
            lane: self,
            closing: Closing::new(),
            open: None,
            outbox: None,
            next: None,
            checkpoint_at: Instant::now() + interval,
            sent_in: 0,
            confirmed_in: 0,
        };
        sending.run(leg).await;
        sending.end().await;
    }
}

impl Sending {
    async fn run(&mut self, mut leg: Arc<Leg>) {
        let patience = Patience::new(&self.lane.options.retry);
        // What is refused says nothing about the link, and the replay finds out what it was: the others needn't wait for
        // long; but a destination that refuses everything isn't asked all the time.
        let shortly = self.lane.options.retry.longest_pause.min(REFUSED_PAUSE);
        let refusals = Patience::new(&ReplayOptions { longest_pause: shortly, ..self.lane.options.retry.clone() });
        let (mut attempts, mut refused) = (patience.attempts(), refusals.attempts());
        loop {
            if let Err(error) = self.register(&leg).await {
                self.lane.ledger.set_trouble(Some(error.to_string()));
                if error.is_transient() {
                    // A connection that has gone deaf doesn't say so.
                    self.lane.lanes.pick(None).renew();
                }
                if !self.pause(&patience, &mut attempts, &error).await {
                    return;
                }
                continue;
            }
            let began = Instant::now();
            match self.send(&leg).await {
                End::Over => return,
                End::Untold => {}
                End::Failed(error) => {
                    if began.elapsed() > self.lane.options.retry.longest_pause {
                        (attempts, refused) = (patience.attempts(), refusals.attempts());
                    }
                    self.failed(&error);
                    let goes_on = if error.fault() == Fault::Data {
                        self.pause(&refusals, &mut refused, &error).await
                    } else {
                        self.lane.ledger.set_trouble(Some(error.to_string()));
                        self.pause(&patience, &mut attempts, &error).await
                    };
                    if !goes_on {
                        return;
                    }
                }
            }
            let waiting = self.outbox.as_ref().map(|outbox| &outbox.leg).or(self.next.as_ref().map(|piece| &piece.leg));
            leg = waiting.cloned().unwrap_or(leg);
        }
    }

    /// Tells Sift what must precede the leg's records, unless it knows.
    async fn register(&mut self, leg: &Arc<Leg>) -> Result<(), RegisterError> {
        let (setup, connection) = (self.lane.setup.clone(), self.lane.lanes.pick(None).connection.clone());
        let is_known = leg.registered().is_some() && leg.untold().is_empty();
        let mut finishing = self.lane.finishing.clone();
        let call = async {
            match leg.registered() {
                Some(registered) => setup.tell_flows(&connection, leg, registered).await,
                None => setup.register(&connection, leg).await.map(|registered| {
                    leg.set_registered(Arc::new(registered));
                }),
            }
        };
        let mut call = std::pin::pin!(call);
        let mut too_late = std::pin::pin!(async {
            // The sender outlives this; were it gone, the stream would be, too.
            let _ = finishing.wait_for(|finishing| *finishing).await;
            sleep(LAST_CALL).await;
        });
        loop {
            tokio::select! {
                biased;
                called = &mut call => {
                    // Where nobody was asked, nothing is known of the link.
                    if called.is_ok() && !is_known {
                        self.lane.ledger.set_trouble(None);
                        self.lane.ledger.metrics.connected();
                    }
                    return called;
                }
                Some(failure) = self.closing.next() => self.closed(&failure),
                () = &mut too_late => {
                    return Err(RegisterError::Timeout { call: "registering at the end of the stream", waited: LAST_CALL });
                }
            }
        }
    }

    /// Waits before trying again; false if the stream ends meanwhile.
    async fn pause(&mut self, patience: &Patience, attempts: &mut Attempts, error: &dyn Faulty) -> bool {
        self.lane.ledger.metrics.retried();
        let mut finishing = self.lane.finishing.clone();
        let tell = |attempt, pause| match attempt {
            1 => tracing::warn!(%error, ?pause, "the live stream is down; what is recorded goes to disk"),
            _ => tracing::info!(%error, attempt, ?pause, "the live stream is still down"),
        };
        let later = Later(error);
        let mut pause = std::pin::pin!(patience.pause(attempts, &later, tell));
        loop {
            tokio::select! {
                biased;
                _ = finishing.wait_for(|finishing| *finishing) => return false,
                Some(failure) = self.closing.next() => self.closed(&failure),
                _ = &mut pause => return true,
            }
        }
    }

    /// Sends until something fails or there is nothing more.
    async fn send(&mut self, leg: &Arc<Leg>) -> End {
        let Some(registered) = leg.registered().cloned() else { return End::Untold };
        if registered.fresh {
            self.lane.ledger.state.held().unsettle();
        }
        loop {
            if let Some(piece) = self.next.take() {
                if !Arc::ptr_eq(&piece.leg, leg) || !leg.untold().is_empty() {
                    // The stream goes on if only flows were added.
                    if !Arc::ptr_eq(&piece.leg, leg) {
                        self.close(Cause::Ended);
                    }
                    self.next = Some(piece);
                    return End::Untold;
                }
                self.outbox = Some(Outbox::new(piece, &registered));
            }
            if self.outbox.is_some() && self.open.is_none() {
                self.open = Some(self.begin(leg, &registered));
            }
            let (pieces, forced) = (self.lane.pieces.clone(), self.lane.forced.clone());
            let carries = self.open.as_ref().is_some_and(|open| !open.carried.seqs.is_empty());
            let may_close = carries && self.closing.len() < MAX_CLOSING;
            tokio::select! {
                biased;
                Some(failure) = self.closing.next() => self.closed(&failure),
                () = forced.notified(), if may_close => self.close(Cause::Forced),
                () = sleep_until(self.checkpoint_at), if may_close => self.close(Cause::Due),
                pushed = push(&mut self.open, &self.outbox) => match pushed {
                    Ok(()) => self.pushed(),
                    Err(error) => return End::Failed(error),
                },
                piece = pieces.next(), if self.outbox.is_none() => match piece {
                    Some(piece) => self.next = Some(piece),
                    None => {
                        self.close(Cause::Ended);
                        return End::Over;
                    }
                },
            }
        }
    }

    /// A stream that was closed has come to its end.
    fn closed(&self, failure: &Failure) {
        match failure {
            None => {
                self.lane.ledger.set_trouble(None);
                self.lane.ledger.metrics.connected();
            }
            // Its data, or the credentials: not the connection.
            Some(SendError::Refused(_)) => {}
            Some(_) => self.lane.lanes.pick(None).renew(),
        }
    }

    fn begin(&mut self, leg: &Arc<Leg>, registered: &Arc<Registered>) -> Open {
        if self.checkpoint_at <= Instant::now() {
            self.checkpoint_at = Instant::now() + self.lane.options.checkpoint_interval;
        }
        let ingest = IngestStream::open(&self.lane.lanes.pick(None).connection);
        let carried = Carried { leg: leg.clone(), registered: registered.clone(), seqs: SeqSet::new() };
        Open { ingest, carried, began: Instant::now() }
    }

    fn pushed(&mut self) {
        let (Some(outbox), Some(open)) = (self.outbox.take(), &mut self.open) else { return };
        open.carried.seqs.insert(outbox.first_seq..outbox.first_seq + outbox.count);
        self.lane.ledger.metrics.sent(outbox.count, outbox.buffer.len() as u64);
        if open.began.elapsed() > self.lane.options.retry.longest_pause {
            self.lane.ledger.metrics.connected();
        }
        self.sent_in = outbox.segment;
        // Another leg's recorder begins anew.
        self.confirmed_in = self.confirmed_in.min(self.sent_in);
        let Some(most) = self.lane.options.max_files else { return };
        let begun = u64::from(self.sent_in - self.confirmed_in);
        // The segment that was open at the last checkpoint is there, too. What the recorder is ahead by counts when it is
        // sent: no checkpoint before that lets it go.
        if begun > 0 && begun + 1 >= most {
            self.confirmed_in = self.sent_in;
            self.lane.forced.notify_one();
        }
    }

    /// Ends the gRPC stream; the next one begins with the next records.
    fn close(&mut self, cause: Cause) {
        self.checkpoint_at = Instant::now() + self.lane.options.checkpoint_interval;
        let Some(Open { ingest, carried, .. }) = self.open.take() else { return };
        self.confirmed_in = self.sent_in;
        let (ledger, timeout) = (self.lane.ledger.clone(), self.lane.options.acknowledgement_timeout);
        ledger.metrics.checkpoint_began();
        self.closing.push(Box::pin(async move {
            let (finished, requests) = (ingest.finish(timeout).await, carried.seqs.len());
            ledger.metrics.status(finished.as_ref().err().map_or(0, SendError::code_number));
            match finished {
                Ok(()) => match ledger.confirm(&carried.leg, &carried.registered.target, &carried.seqs).await {
                    Ok(()) => {
                        tracing::info!(requests, forced = cause == Cause::Forced, "checkpoint");
                        ledger.metrics.connected();
                        ledger.metrics.checkpoint(Ok::<_, ()>(requests), cause);
                    }
                    Err(error) => {
                        tracing::error!(%error, requests, "acknowledged, and it can't be noted: it will be sent again");
                        ledger.metrics.checkpoint(Err(()), cause);
                        ledger.release(carried.leg.id, carried.seqs.ranges());
                    }
                },
                Err(error) => {
                    tracing::warn!(%error, requests, "a checkpoint failed; its records are replayed from disk");
                    ledger.metrics.checkpoint(Err(()), cause);
                    ledger.release(carried.leg.id, carried.seqs.ranges());
                    return Some(error);
                }
            }
            None
        }));
    }

    /// The open stream has failed.
    fn failed(&mut self, error: &SendError) {
        let ledger = &self.lane.ledger;
        ledger.metrics.status(error.code_number());
        if let Some(Open { carried, began, .. }) = self.open.take() {
            let (requests, after) = (carried.seqs.len(), began.elapsed());
            tracing::warn!(%error, requests, ?after, "the live stream has failed; its records are replayed from disk");
            ledger.metrics.checkpoint(Err(()), Cause::Ended);
            ledger.release(carried.leg.id, carried.seqs.ranges());
        }
        if !matches!(error, SendError::Refused(_)) {
            self.lane.lanes.pick(None).renew();
        }
    }

    /// What is on its way may be acknowledged; all else is on disk, for the replay.
    async fn end(mut self) {
        self.close(Cause::Ended);
        while let Some(failure) = self.closing.next().await {
            self.closed(&failure);
        }
        let ledger = &self.lane.ledger;
        if let Some(outbox) = self.outbox.take() {
            ledger.release(outbox.leg.id, std::iter::once(outbox.first_seq..outbox.first_seq + outbox.count));
        }
        for piece in self.next.take().into_iter().chain(self.lane.pieces.drain()) {
            ledger.release(piece.leg.id, std::iter::once(piece.seqs()));
        }
    }
}

impl Outbox {
    fn new(piece: Piece, registered: &Registered) -> Self {
        let buffer = registered.messages(&piece);
        Self { first_seq: piece.first_seq, count: piece.count, segment: piece.segment, buffer, leg: piece.leg }
    }
}

/// Pushes what is ready; where nothing is, returns only when the stream fails. Nothing is lost if it is dropped.
async fn push(open: &mut Option<Open>, outbox: &Option<Outbox>) -> Result<(), SendError> {
    match (open, outbox) {
        (Some(open), Some(outbox)) => open.ingest.push(outbox.buffer.clone()).await,
        (Some(open), None) => Err(open.ingest.failed().await),
        _ => std::future::pending().await,
    }
}
