//! Where a stream's requests go in: the recorder, or the queue of a stream without files.

use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::task::{Context, Poll};

use super::leg::Leg;
use super::pieces::{OfferError, Pieces};
use crate::catalog::SeqSet;
use crate::record::{self, Encoder, RecordError, Recorded, Recorder, SyncPolicy, Timestamp};

/// Takes requests in, and never waits.
pub trait Intake: Send + Sync {
    /// The flow of this name.
    fn flow(&self, name: &str) -> Result<record::Flow, RecordError>;

    /// Takes in values, one for each of the flow's channels; `None` if they were dropped, as the recorder's options ask
    /// for.
    fn offer(
        &self,
        flow: &record::Flow,
        time: Timestamp,
        values: &[record::Value<'_>],
    ) -> Result<Option<u64>, RecordError>;

    /// Takes in a request that is encoded already.
    fn offer_request(&self, request: &[u8]) -> Result<Option<u64>, RecordError>;

    /// Whether such a request fits the schema.
    fn check(&self, request: &[u8]) -> Result<(), RecordError>;

    /// Ready when there may be room, or there never will be.
    fn poll_room(&self, context: &mut Context<'_>) -> Poll<()>;

    /// Ready when the request is as safe as was asked for.
    fn poll_safe(&self, seq: u64, context: &mut Context<'_>) -> Poll<Result<(), RecordError>>;

    /// The request that couldn't be made safe was handed back to who sent it.
    fn returned(&self, _seq: u64) {}
}

/// Into a recorder.
pub(super) struct RecorderIntake {
    pub(super) recorder: Arc<Recorder>,
    waits_for_sync: bool,
    /// Handed back to who sent it.
    returned: Arc<Mutex<SeqSet>>,
}

impl RecorderIntake {
    pub(super) fn new(recorder: Arc<Recorder>, sync: SyncPolicy, returned: Arc<Mutex<SeqSet>>) -> Self {
        Self { recorder, waits_for_sync: sync == SyncPolicy::EveryRecord, returned }
    }
}

fn seq(recorded: Recorded) -> Option<u64> {
    match recorded {
        Recorded::Seq(seq) => Some(seq),
        Recorded::Dropped => None,
    }
}

impl Intake for RecorderIntake {
    fn flow(&self, name: &str) -> Result<record::Flow, RecordError> {
        self.recorder.flow(name)
    }

    fn offer(
        &self,
        flow: &record::Flow,
        time: Timestamp,
        values: &[record::Value<'_>],
    ) -> Result<Option<u64>, RecordError> {
        self.recorder.offer(flow, time, values).map(seq)
    }

    fn offer_request(&self, request: &[u8]) -> Result<Option<u64>, RecordError> {
        self.recorder.offer_request(request).map(seq)
    }

    fn check(&self, request: &[u8]) -> Result<(), RecordError> {
        self.recorder.check_request(request)
    }

    fn poll_room(&self, context: &mut Context<'_>) -> Poll<()> {
        self.recorder.poll_room(context)
    }

    fn poll_safe(&self, seq: u64, context: &mut Context<'_>) -> Poll<Result<(), RecordError>> {
        if self.waits_for_sync { self.recorder.poll_durable(seq, context) } else { Poll::Ready(Ok(())) }
    }

    fn returned(&self, seq: u64) {
        self.returned.lock().unwrap_or_else(PoisonError::into_inner).insert(seq..seq + 1);
    }
}

/// Nowhere: the stream is closed.
pub(super) struct Closed;

impl Intake for Closed {
    fn flow(&self, _: &str) -> Result<record::Flow, RecordError> {
        Err(RecordError::Finished)
    }

    fn offer(&self, _: &record::Flow, _: Timestamp, _: &[record::Value<'_>]) -> Result<Option<u64>, RecordError> {
        Err(RecordError::Finished)
    }

    fn offer_request(&self, _: &[u8]) -> Result<Option<u64>, RecordError> {
        Err(RecordError::Finished)
    }

    fn check(&self, _: &[u8]) -> Result<(), RecordError> {
        Err(RecordError::Finished)
    }

    fn poll_room(&self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    fn poll_safe(&self, _: u64, _: &mut Context<'_>) -> Poll<Result<(), RecordError>> {
        Poll::Ready(Err(RecordError::Finished))
    }
}

/// Into a queue.
pub(super) struct QueueIntake {
    pub(super) pieces: Arc<Pieces>,
    encoder: RwLock<(Encoder, Arc<Leg>)>,
}

impl QueueIntake {
    pub(super) fn new(pieces: Arc<Pieces>, encoder: Encoder, leg: Arc<Leg>) -> Self {
        Self { pieces, encoder: RwLock::new((encoder, leg)) }
    }

    fn encoder(&self) -> RwLockReadGuard<'_, (Encoder, Arc<Leg>)> {
        self.encoder.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// To add flows, or to begin another leg.
    pub(super) fn change(&self) -> RwLockWriteGuard<'_, (Encoder, Arc<Leg>)> {
        self.encoder.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn refused(error: OfferError) -> RecordError {
    match error {
        OfferError::Full => RecordError::Full,
        OfferError::Closed => RecordError::Finished,
        OfferError::Record(error) => error,
    }
}

impl Intake for QueueIntake {
    fn flow(&self, name: &str) -> Result<record::Flow, RecordError> {
        self.encoder().0.flow(name)
    }

    fn offer(
        &self,
        flow: &record::Flow,
        time: Timestamp,
        values: &[record::Value<'_>],
    ) -> Result<Option<u64>, RecordError> {
        let (encoder, leg) = &*self.encoder();
        let offered = self.pieces.offer(leg, |out| encoder.encode(flow, time, values, out).map(|()| true));
        offered.map(Some).map_err(refused)
    }

    fn offer_request(&self, request: &[u8]) -> Result<Option<u64>, RecordError> {
        let (encoder, leg) = &*self.encoder();
        let bare = encoder.check(request)?;
        let put = |out: &mut Vec<u8>| {
            out.extend_from_slice(request);
            Ok(bare)
        };
        self.pieces.offer(leg, put).map(Some).map_err(refused)
    }

    fn check(&self, request: &[u8]) -> Result<(), RecordError> {
        self.encoder().0.check(request).map(drop)
    }

    fn poll_room(&self, context: &mut Context<'_>) -> Poll<()> {
        self.pieces.poll_room(context)
    }

    fn poll_safe(&self, _: u64, _: &mut Context<'_>) -> Poll<Result<(), RecordError>> {
        Poll::Ready(Ok(()))
    }
}
