//! Lanes: connections of their own, over which windows go side by side.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::observe::{Observer, ReplayEvent};
use super::options::ReplayOptions;
use super::retry::Patience;
use crate::sift::{ConnectError, Connection, Destination};

/// The lanes of a replay; at least one.
#[derive(Debug)]
pub struct Lanes {
    first: Lane,
    others: Vec<Lane>,
    /// Where looking for the next lane begins.
    next: AtomicUsize,
    /// For a lane that is to be connected anew.
    destination: Option<Destination>,
    gzip: bool,
}

#[derive(Debug)]
struct Lane {
    connection: Mutex<Connection>,
    /// Streams open on it.
    streams: AtomicUsize,
}

/// A lane, for one stream.
#[derive(Debug)]
pub(crate) struct OnLane<'a> {
    lanes: &'a Lanes,
    number: usize,
    pub(crate) connection: Connection,
}

impl Drop for OnLane<'_> {
    fn drop(&mut self) {
        self.lanes.lane(self.number).streams.fetch_sub(1, Ordering::Relaxed);
    }
}

impl OnLane<'_> {
    pub(super) fn number(&self) -> usize {
        self.number
    }

    /// The connection seems wedged: streams to come get a new one.
    pub(crate) fn renew(&self) {
        let Some(destination) = &self.lanes.destination else { return };
        match Connection::lazy(destination) {
            Ok(connection) => *self.lanes.lane(self.number).connection() = connection.with_gzip(self.lanes.gzip),
            Err(error) => tracing::warn!(%error, "a lane keeps its old connection"),
        }
    }
}

impl Lane {
    fn new(connection: Connection) -> Self {
        Self { connection: Mutex::new(connection), streams: AtomicUsize::new(0) }
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lanes {
    /// So many lanes to a destination. The first connection is tried out with a ping; the others connect when they are
    /// needed.
    ///
    /// # Errors
    /// A [`ConnectError`], as [`Connection::open`] has it.
    pub async fn open(destination: &Destination, lanes: NonZeroUsize) -> Result<Self, ConnectError> {
        let mut opened = Self::single(Connection::open(destination).await?);
        for _ in 1..lanes.get() {
            opened.others.push(Lane::new(Connection::lazy(destination)?));
        }
        opened.destination = Some(destination.clone());
        Ok(opened)
    }

    /// Like [`open`](Self::open), but tries again while that may help, until the options' time to give up has passed.
    ///
    /// # Errors
    /// Likewise: the last one.
    pub async fn open_patiently(
        destination: &Destination,
        lanes: NonZeroUsize,
        options: &ReplayOptions,
        observer: &dyn Observer,
    ) -> Result<Self, ConnectError> {
        let patience = Patience::new(options);
        let mut attempts = patience.attempts();
        loop {
            let error = match Self::open(destination, lanes).await {
                Ok(lanes) => return Ok(lanes),
                Err(error) => error,
            };
            let tell = |attempt, pause| {
                observer.event(&ReplayEvent::Retrying { origin: None, error: &error.to_string(), attempt, pause });
            };
            if patience.pause(&mut attempts, &error, tell).await.is_err() {
                return Err(error);
            }
        }
    }

    /// One lane that connects when it is needed; `gzip`: its streams are compressed. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// As [`Connection::lazy`] has it.
    #[cfg(feature = "stream")]
    pub(crate) fn lazy(destination: &Destination, gzip: bool) -> Result<Self, ConnectError> {
        let lanes = Self::single(Connection::lazy(destination)?.with_gzip(gzip));
        Ok(Self { destination: Some(destination.clone()), gzip, ..lanes })
    }

    /// One lane over an open connection.
    pub fn single(connection: Connection) -> Self {
        Self {
            first: Lane::new(connection),
            others: Vec::new(),
            next: AtomicUsize::new(0),
            destination: None,
            gzip: false,
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        1 + self.others.len()
    }

    /// The destination's name.
    pub fn destination_name(&self) -> String {
        self.first.connection().destination_name().to_owned()
    }

    /// The lane with the fewest streams; of several, each in turn. If there is a choice, not `but`, which has just failed.
    pub(crate) fn pick(&self, but: Option<usize>) -> OnLane<'_> {
        let count = self.count();
        let from = self.next.fetch_add(1, Ordering::Relaxed);
        let order = (0..count).map(|i| from.wrapping_add(i) % count);
        let streams = |number: &usize| self.lane(*number).streams.load(Ordering::Relaxed);
        let number = order.filter(|number| count == 1 || Some(*number) != but).min_by_key(streams).unwrap_or(0);
        let lane = self.lane(number);
        lane.streams.fetch_add(1, Ordering::Relaxed);
        OnLane { lanes: self, number, connection: lane.connection().clone() }
    }

    fn lane(&self, number: usize) -> &Lane {
        number.checked_sub(1).and_then(|number| self.others.get(number)).unwrap_or(&self.first)
    }
}
