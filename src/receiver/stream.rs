//! One ingest stream: its requests are checked, stored, and made durable. All of it may block.

use super::{
    error::clipped,
    ingest::Shared,
    observe::Event,
    outline::Outline,
    refused::RefusedRequest,
    schema::{Refusal, Schema},
    store::{SessionKey, StoreError},
};
use bytes::Bytes;
use std::sync::{
    Arc, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};
use tonic::Status;

/// A stream's entry in the receiver's books. While it lives, the stream counts as open; if it goes
/// without being closed, the client went away.
pub(super) struct Ticket {
    shared: Arc<Shared>,
    number: u64,
    accepted: AtomicU64,
    refused: AtomicU64,
    closed: AtomicBool,
}

impl Ticket {
    pub(super) fn new(shared: Arc<Shared>, number: u64) -> Arc<Self> {
        Arc::new(Self {
            shared,
            number,
            accepted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        })
    }

    fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Acquire)
    }

    /// Tells the observer how the stream ended.
    pub(super) fn close(&self, outcome: &Result<(), Status>) {
        self.closed.store(true, Ordering::Release);
        let (stream, accepted) = (self.number, self.accepted());
        let event = match outcome {
            Ok(()) => {
                self.shared.counters.streams_acknowledged.fetch_add(1, Ordering::Relaxed);
                let refused = self.refused.load(Ordering::Acquire);
                Event::StreamAcknowledged { stream, accepted, refused }
            }
            Err(status) => {
                self.shared.counters.streams_refused.fetch_add(1, Ordering::Relaxed);
                let reason = status.message().to_owned();
                Event::StreamRefused { stream, accepted, reason }
            }
        };
        self.shared.observer.event(&event);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.closed.load(Ordering::Acquire) {
            let (stream, accepted) = (self.number, self.accepted());
            let event = Event::StreamBroken { stream, accepted };
            self.shared.observer.event(&event);
        }
        self.shared.open_streams.send_modify(|open| *open = open.saturating_sub(1));
    }
}

/// A session that this stream has touched.
struct Session {
    key: SessionKey,
    schema: Arc<Schema>,
    /// How many flows the store knew when this stream last made sure of it.
    opened_with: Option<usize>,
}

impl Session {
    fn is(&self, outline: &Outline<'_>) -> bool {
        self.key.ingestion_config_id.as_bytes() == outline.config_id && self.key.run_id.as_bytes() == outline.run_id
    }
}

/// The state of one stream.
pub(super) struct Stream {
    ticket: Arc<Ticket>,
    sessions: Vec<Session>,
    /// The session of the latest request: the next one is likely to belong to it, too.
    latest: usize,
    index: u64,
    scratch: Vec<u8>,
}

impl Stream {
    pub(super) fn new(ticket: Arc<Ticket>) -> Self {
        Self { ticket, sessions: Vec::new(), latest: 0, index: 0, scratch: Vec::new() }
    }

    /// Takes requests in; with the `last` ones, or if one of them ends the stream, everything
    /// taken in so far is flushed.
    pub(super) fn take(&mut self, requests: &[Bytes], last: bool) -> Result<(), Status> {
        let taken = requests.iter().try_for_each(|request| self.take_one(request));
        if last || taken.is_err() { taken.and(self.flush()) } else { taken }
    }

    fn take_one(&mut self, request: &Bytes) -> Result<(), Status> {
        let index = self.index;
        self.index += 1;
        let ends_stream = |refusal: &Refusal| {
            Err(Status::invalid_argument(format!("request {index} (from 0) of the stream was refused: {refusal}")))
        };
        let outline = match Outline::of(request) {
            Ok(outline) => outline,
            Err(malformed) => return ends_stream(&malformed.into()),
        };
        match self.fit(&outline) {
            Ok(session) => self.store(session, &outline),
            Err(refusal @ Refusal::Malformed(_)) => ends_stream(&refusal),
            Err(refusal) if outline.end_stream_on_validation_error => ends_stream(&refusal),
            Err(refusal) => {
                self.refuse(index, request, &refusal);
                Ok(())
            }
        }
    }

    /// The session that the request belongs to, if the request fits it.
    fn fit(&mut self, outline: &Outline<'_>) -> Result<usize, Refusal> {
        let place = self.session(outline)?;
        let registry = &self.ticket.shared.registry;
        let Some(session) = self.sessions.get_mut(place) else {
            return Err(Refusal::UnknownConfig(String::new()));
        };
        match session.schema.check(outline) {
            Ok(()) => Ok(place),
            // The client may have added the flow since.
            Err(_) if session.schema.is_outdated() => {
                let SessionKey { ingestion_config_id, run_id } = &session.key;
                session.schema = registry.session(ingestion_config_id, run_id)?;
                session.schema.check(outline).map(|()| place)
            }
            Err(refusal) => Err(refusal),
        }
    }

    fn session(&mut self, outline: &Outline<'_>) -> Result<usize, Refusal> {
        let latest = self.sessions.get(self.latest);
        if !latest.is_some_and(|session| session.is(outline)) {
            let known = self.sessions.iter().position(|session| session.is(outline));
            self.latest = match known {
                Some(known) => known,
                None => {
                    let ingestion_config_id = String::from_utf8_lossy(outline.config_id).into_owned();
                    let run_id = String::from_utf8_lossy(outline.run_id).into_owned();
                    let registry = &self.ticket.shared.registry;
                    let schema = registry.session(&ingestion_config_id, &run_id)?;
                    self.sessions.push(Session {
                        key: SessionKey { ingestion_config_id, run_id },
                        schema,
                        opened_with: None,
                    });
                    self.sessions.len() - 1
                }
            };
        }
        Ok(self.latest)
    }

    fn store(&mut self, place: usize, outline: &Outline<'_>) -> Result<(), Status> {
        let shared = &self.ticket.shared;
        let Some(session) = self.sessions.get_mut(place) else {
            return Err(Status::internal("the stream lost a session"));
        };
        if session.opened_with.is_none_or(|known| known < session.schema.known()) {
            session.opened_with = Some(open(shared, session)?);
        }
        let stripped = outline.stripped(&mut self.scratch);
        let stripped = stripped.map_err(|malformed| Status::internal(malformed.to_string()))?;
        shared.store.record(&session.key, stripped)?;
        self.ticket.accepted.fetch_add(1, Ordering::Release);
        shared.counters.accepted.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn refuse(&self, index: u64, request: &Bytes, refusal: &Refusal) {
        let shared = &self.ticket.shared;
        let reason = refusal.to_string();
        let stream = self.ticket.number;
        self.ticket.refused.fetch_add(1, Ordering::Release);
        shared.counters.refused.fetch_add(1, Ordering::Relaxed);
        shared.observer.event(&Event::RequestRefused { stream, index, reason: reason.clone() });
        let mut queue = shared.refused.lock().unwrap_or_else(PoisonError::into_inner);
        queue.push(RefusedRequest {
            stream,
            index,
            reason,
            // A copy: the original holds on to the whole buffer that it was received in.
            request: Bytes::copy_from_slice(request),
        });
    }

    fn flush(&self) -> Result<(), Status> {
        let opened = self.sessions.iter().filter(|session| session.opened_with.is_some());
        let keys: Vec<_> = opened.map(|session| session.key.clone()).collect();
        if !keys.is_empty() {
            self.ticket.shared.store.flush(&keys)?;
        }
        Ok(())
    }
}

/// Makes sure that the store knows at least the session's flows; returns how many it knows. Other
/// streams that need the same wait meanwhile: `open` comes before the first record.
fn open(shared: &Shared, session: &Session) -> Result<usize, Status> {
    let mut opened = shared.opened.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(&known) = opened.get(&session.key)
        && known >= session.schema.known()
    {
        return Ok(known);
    }
    let Some((config, run)) = shared.registry.preamble(&session.key) else {
        let id = clipped(&session.key.ingestion_config_id);
        return Err(Status::not_found(format!("the ingestion config {id:?} is gone")));
    };
    let open = shared.store.open(&session.key, &config, run.as_ref());
    open.map_err(|error: StoreError| Status::from(error))?;
    opened.insert(session.key.clone(), config.flows.len());
    Ok(config.flows.len())
}
