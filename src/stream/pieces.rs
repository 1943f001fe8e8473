//! What waits to be sent: pieces, each a run of records of one leg, in a queue that is bounded in requests and in bytes.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::sync::Notify;
use uuid::Uuid;

use super::leg::Leg;
use crate::record::RecordError;

/// Bytes after which a piece is full.
const PIECE_BYTES: usize = 64 << 10;

/// Room that a piece has beyond that, so that the record that fills it rarely makes it grow.
const SLACK_BYTES: usize = 4 << 10;

/// Bytes before each record: its length.
const PREFIX_BYTES: usize = 4;

/// Records of one leg with consecutive seqs.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    pub(super) leg: Arc<Leg>,
    pub(super) first_seq: u64,
    pub(super) count: u64,
    /// Whether no record has ids of its own.
    pub(super) bare: bool,
    /// The number of the segment that they are in, if they are on disk.
    pub(super) segment: u32,
    /// Records as in a DATA frame: each its length (u32, little-endian) and its bytes.
    payload: Vec<u8>,
    /// Where the first one begins.
    from: usize,
}

impl Piece {
    pub(super) fn new(leg: Arc<Leg>, first_seq: u64, count: u64, bare: bool, payload: Vec<u8>) -> Self {
        Self { leg, first_seq, count, bare, segment: 0, payload, from: 0 }
    }

    pub(super) fn in_segment(self, segment: u32) -> Self {
        Self { segment, ..self }
    }

    pub(super) fn seqs(&self) -> Range<u64> {
        self.first_seq..self.first_seq + self.count
    }

    pub(super) fn bytes(&self) -> usize {
        self.payload.len() - self.from
    }

    /// Its records, in order.
    pub(super) fn records(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.payload.get(self.from..).unwrap_or_default();
        std::iter::from_fn(move || {
            let (record, behind) = split_record(rest)?;
            rest = behind;
            Some(record)
        })
    }

    /// Gives up the oldest `count` records; returns their seqs.
    fn drop_oldest(&mut self, count: u64) -> Range<u64> {
        let count = count.min(self.count);
        for _ in 0..count {
            let rest = self.payload.get(self.from..).unwrap_or_default();
            self.from += split_record(rest).map_or(rest.len(), |(record, _)| PREFIX_BYTES + record.len());
        }
        let seqs = self.first_seq..self.first_seq + count;
        (self.first_seq, self.count) = (seqs.end, self.count - count);
        seqs
    }
}

/// The first record, and what is behind it.
fn split_record(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<PREFIX_BYTES>()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

/// How much may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Capacity {
    pub(super) requests: u64,
    pub(super) bytes: usize,
}

/// A queue of pieces, taken by one sender.
#[derive(Debug)]
pub(super) struct Pieces {
    capacity: Capacity,
    state: Mutex<State>,
    /// Something came, or the queue was closed.
    news: Notify,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Piece>,
    /// In the queue.
    requests: u64,
    bytes: usize,
    /// Taken from it, and still in memory.
    unsettled_requests: u64,
    unsettled_bytes: usize,
    /// Seq of the next record that is offered.
    next_seq: u64,
    /// Bytes of all that were.
    offered_bytes: u64,
    /// Why nothing is taken in any more.
    closed: Option<String>,
    /// Those who wait for room.
    wakers: Vec<Waker>,
}

/// Why a record wasn't taken in.
#[derive(Debug)]
pub(super) enum OfferError {
    Full,
    Closed,
    Record(RecordError),
}

impl Pieces {
    pub(super) fn new(capacity: Capacity) -> Self {
        // A queue that holds nothing passes nothing on.
        let capacity = Capacity { requests: capacity.requests.max(1), bytes: capacity.bytes.max(1) };
        Self { capacity, state: Mutex::default(), news: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that holds the lock panics; were it to, the state would still be whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Requests that wait.
    pub(super) fn depth(&self) -> u64 {
        self.lock().requests
    }

    /// Requests that were offered and taken in, ever, and their bytes.
    pub(super) fn received(&self) -> (u64, u64) {
        let state = self.lock();
        (state.next_seq, state.offered_bytes)
    }

    /// Puts a piece in. Where there is no room, the oldest requests give way; returns whose they were.
    pub(super) fn push(&self, piece: Piece) -> Vec<(Uuid, Range<u64>)> {
        let mut state = self.lock();
        if state.closed.is_some() {
            return vec![(piece.leg.id, piece.seqs())];
        }
        state.requests += piece.count;
        state.bytes += piece.bytes();
        state.queue.push_back(piece);
        let mut evicted: Vec<(Uuid, Range<u64>)> = Vec::new();
        while let Some((leg, seqs)) = state.evict(self.capacity) {
            match evicted.last_mut() {
                Some((last, range)) if *last == leg && range.end == seqs.start => range.end = seqs.end,
                _ => evicted.push((leg, seqs)),
            }
        }
        drop(state);
        self.news.notify_one();
        evicted
    }

    /// Takes in one record, which `encode` appends to a buffer (saying whether it is bare); returns its seq. Counts against
    /// the capacity until it is [`settled`](Self::settle).
    pub(super) fn offer(
        &self,
        leg: &Arc<Leg>,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<bool, RecordError>,
    ) -> Result<u64, OfferError> {
        let mut guard = self.lock();
        let state = &mut *guard;
        if state.closed.is_some() {
            return Err(OfferError::Closed);
        }
        if !state.has_room(self.capacity) {
            return Err(OfferError::Full);
        }
        let seq = state.next_seq;
        let Some(piece) = state.open_piece(leg) else { return Err(OfferError::Full) };
        // Whoever waits takes whole pieces: it is enough to tell of each one's beginning.
        let (is_new, start) = (piece.count == 0, piece.payload.len());
        piece.payload.extend_from_slice(&[0; PREFIX_BYTES]);
        let bare = match encode(&mut piece.payload) {
            Ok(bare) => bare,
            Err(error) => {
                piece.payload.truncate(start);
                if is_new {
                    state.queue.pop_back();
                }
                return Err(OfferError::Record(error));
            }
        };
        let length = piece.payload.len() - start - PREFIX_BYTES;
        if let Some(prefix) = piece.payload.get_mut(start..).and_then(<[u8]>::first_chunk_mut) {
            *prefix = (length as u32).to_le_bytes();
        }
        piece.bare &= bare;
        piece.count += 1;
        state.next_seq += 1;
        state.offered_bytes += length as u64;
        state.requests += 1;
        state.bytes += PREFIX_BYTES + length;
        drop(guard);
        if is_new {
            self.news.notify_one();
        }
        Ok(seq)
    }

    /// The oldest piece; waits for one. `None` when the queue is closed and empty. Nothing is lost if it is dropped.
    pub(super) async fn next(&self) -> Option<Piece> {
        loop {
            // Before it is looked at, so that no news is missed.
            let news = self.news.notified();
            {
                let mut state = self.lock();
                if let Some(piece) = state.queue.pop_front() {
                    state.requests -= piece.count;
                    state.bytes -= piece.bytes();
                    state.unsettled_requests += piece.count;
                    state.unsettled_bytes += piece.bytes();
                    return Some(piece);
                }
                if state.closed.is_some() {
                    return None;
                }
            }
            news.await;
        }
    }

    /// So much of what was taken out is in memory no longer.
    pub(super) fn settle(&self, requests: u64, bytes: usize) {
        let mut state = self.lock();
        state.unsettled_requests = state.unsettled_requests.saturating_sub(requests);
        state.unsettled_bytes = state.unsettled_bytes.saturating_sub(bytes);
        wake(state);
    }

    /// Takes nothing in any more. What is in it can be taken out. The first reason stays.
    pub(super) fn close(&self, reason: &str) {
        let mut state = self.lock();
        state.closed.get_or_insert_with(|| reason.to_owned());
        wake(state);
        self.news.notify_one();
    }

    /// Why nothing is taken in any more.
    pub(super) fn closed(&self) -> Option<String> {
        self.lock().closed.clone()
    }

    /// Empties it.
    pub(super) fn drain(&self) -> Vec<Piece> {
        let mut state = self.lock();
        (state.requests, state.bytes) = (0, 0);
        let drained = state.queue.drain(..).collect();
        wake(state);
        drained
    }

    /// Ready when an offer may be taken in, or never will be.
    pub(super) fn poll_room(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.closed.is_some() || state.has_room(self.capacity) {
            return Poll::Ready(());
        }
        if !state.wakers.iter().any(|waker| waker.will_wake(context.waker())) {
            state.wakers.push(context.waker().clone());
        }
        Poll::Pending
    }
}

impl State {
    fn has_room(&self, capacity: Capacity) -> bool {
        self.requests + self.unsettled_requests < capacity.requests
            && self.bytes + self.unsettled_bytes < capacity.bytes
    }

    /// The piece that is being filled, or a new one: the last in the queue.
    fn open_piece(&mut self, leg: &Arc<Leg>) -> Option<&mut Piece> {
        let fits = |last: &Piece| Arc::ptr_eq(&last.leg, leg) && last.bytes() < PIECE_BYTES;
        if !self.queue.back().is_some_and(fits) {
            let payload = Vec::with_capacity(PIECE_BYTES + SLACK_BYTES);
            self.queue.push_back(Piece::new(leg.clone(), self.next_seq, 0, true, payload));
        }
        self.queue.back_mut()
    }

    /// Gives up some of the oldest requests, as long as there are too many; a single one always has room.
    fn evict(&mut self, capacity: Capacity) -> Option<(Uuid, Range<u64>)> {
        let too_many = self.requests.saturating_sub(capacity.requests);
        let too_large = self.bytes > capacity.bytes && self.requests > 1;
        if too_many == 0 && !too_large {
            return None;
        }
        let front = self.queue.front_mut()?;
        let before = front.bytes();
        let (leg, seqs) = (front.leg.id, front.drop_oldest(too_many.max(1)));
        self.bytes -= before - front.bytes();
        self.requests -= seqs.end - seqs.start;
        if front.count == 0 {
            self.queue.pop_front();
        }
        Some((leg, seqs))
    }
}

/// Wakes all who wait for room; without the lock, since a waker may do anything.
fn wake(mut state: MutexGuard<'_, State>) {
    let wakers = std::mem::take(&mut state.wakers);
    drop(state);
    wakers.into_iter().for_each(Waker::wake);
}

#[cfg(test)]
mod tests;
