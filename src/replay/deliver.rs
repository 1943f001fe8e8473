//! Delivering one window: sending it, again and again while that may help, and finding out which records are refused.
//!
//! What can be read once more doesn't stay in memory when it was sent: so that the windows that wait to be acknowledged may be
//! many, however long the way is.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use uuid::Uuid;

use super::checkpoint::{Checkpoint, Outcome};
use super::context::{Context, blocking};
use super::observe::{Origin, ReplayEvent};
use super::options::OnReject;
use super::outgoing::Outgoing;
use super::read::read_again;
use super::refusal::{Message, Refusals, Search, messages};
use super::retry::{Faulty, Stop};
use super::slots::Place;
use super::window::Window;
use crate::catalog::SeqSet;
use crate::sift::{Fault, IngestStream, SendError};

/// Groups of one window that are tested at the same time, about. A test is a round trip; side by side they take little more than
/// one.
const PROBES: usize = 16;

/// Attempts at a window after which a destination is believed that refuses the first records after their ingestion config
/// or run was made: it may still be on its way to where the records arrive.
const SETTLING: u32 = 3;

/// A window whose acknowledgement doesn't come in time is given twice the time at the next attempt, up to so many times what
/// was asked for: else a destination that is merely slow would be sent the same windows for ever.
const SLOWEST: u32 = 16;

/// Records refused, with none acknowledged, after which it isn't the records that are wrong.
const HOPELESS: u64 = 1000;

/// Bytes of a buffer made of single messages.
const BUFFER_BYTES: usize = 128 << 10;

/// How one job's windows are delivered.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) outgoing: Outgoing,
    refusals: Mutex<Refusals>,
    /// Whether refusals may be premature: the ingestion config or the run was made just now, and nothing acknowledged yet.
    settling: AtomicBool,
    /// Records refused while none was acknowledged; [`u64::MAX`] as soon as one was.
    hopeless: AtomicU64,
    sent: AtomicU64,
}

/// A record that the destination refuses.
#[derive(Debug)]
pub(super) struct RefusedMessage {
    pub(super) message: Message,
    pub(super) reason: String,
}

/// What became of a window.
#[derive(Debug)]
pub(super) struct Delivered {
    pub(super) window: Window,
    pub(super) acknowledged: Vec<Range<u64>>,
    pub(super) refused: Vec<RefusedMessage>,
    /// Why records were refused that aren't kept, and how many.
    pub(super) left_out: Vec<(String, u64)>,
    /// Why the rest isn't delivered.
    pub(super) stop: Option<Stop>,
}

impl Delivered {
    fn new(window: Window) -> Self {
        Self { window, acknowledged: Vec::new(), refused: Vec::new(), left_out: Vec::new(), stop: None }
    }

    /// None of it is delivered.
    pub(super) fn stopped(mut window: Window, stop: Stop) -> Self {
        window.give_up_messages();
        Self { stop: Some(stop), ..Self::new(window) }
    }

    pub(super) fn acknowledged_records(&self) -> u64 {
        self.acknowledged.iter().map(|range| range.end - range.start).sum()
    }

    /// What is neither acknowledged nor kept as a dead letter.
    pub(super) fn undelivered(&self) -> u64 {
        self.window.records.saturating_sub(self.acknowledged_records()).saturating_sub(self.refused.len() as u64)
    }

    /// Whether all of it is acknowledged or kept as a dead letter.
    pub(super) fn is_settled(&self) -> bool {
        self.undelivered() == 0
    }

    /// What a session's checkpoints are to say of it.
    pub(super) fn checkpoints(&self, session: Uuid) -> Vec<Checkpoint> {
        let checkpoint = |outcome| move |seqs| Checkpoint::Session { session, seqs, outcome };
        let acknowledged = self.acknowledged.iter().cloned().map(checkpoint(Outcome::Acknowledged));
        let mut dead_lettered = SeqSet::new();
        for refused in &self.refused {
            dead_lettered.insert(refused.message.seq..refused.message.seq + 1);
        }
        let dead_lettered: Vec<_> = dead_lettered.ranges().map(checkpoint(Outcome::DeadLettered)).collect();
        acknowledged.chain(dead_lettered).collect()
    }
}

/// The destination's verdict.
enum Verdict {
    Acknowledged,
    Refused(String),
}

/// A refusal that may be premature.
struct Premature<'a>(&'a SendError);

impl std::fmt::Display for Premature<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl Faulty for Premature<'_> {
    fn fault(&self) -> Fault {
        Fault::Transient { retry_after: None }
    }
}

impl Delivery {
    /// `fresh`: the ingestion config or the run was made just now. `hopeful`: some of the job's records were acknowledged
    /// before.
    pub(super) fn new(outgoing: Outgoing, fresh: bool, hopeful: bool) -> Self {
        Self {
            outgoing,
            refusals: Mutex::default(),
            settling: AtomicBool::new(fresh),
            hopeless: AtomicU64::new(if hopeful { u64::MAX } else { 0 }),
            sent: AtomicU64::new(0),
        }
    }

    /// Bytes that were sent, also those in vain.
    pub(super) fn bytes_sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    fn refusals(&self) -> MutexGuard<'_, Refusals> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Delivers a window, or as much of it as can be.
    pub(super) async fn deliver(&self, context: &Context<'_>, origin: Origin<'_>, mut window: Window) -> Delivered {
        let finds_out = matches!(context.options.on_reject, OnReject::DeadLetter | OnReject::Skip);
        let expects_none = self.refusals().expects_none(window.records);
        if !finds_out || expects_none {
            match self.send(context, origin, &mut window).await {
                Ok(Verdict::Acknowledged) => {
                    self.refusals().window(window.records);
                    window.give_up_messages();
                    let acknowledged = window.seqs.clone();
                    return Delivered { acknowledged, ..Delivered::new(window) };
                }
                Ok(Verdict::Refused(reason)) if !finds_out => return Delivered::stopped(window, Stop::Job(reason)),
                Ok(Verdict::Refused(_)) => {}
                Err(stop) => return Delivered::stopped(window, stop),
            }
        }
        // From here on it stays in memory, as the messages that are tested.
        match self.load(context, origin, &mut window).await {
            Ok(load) => (window.buffers, window.slot) = (load.buffers, load.slot.or(window.slot)),
            Err(stop) => return Delivered::stopped(window, stop),
        }
        let searches = self.refusals().searches(messages(&window), PROBES);
        window.buffers.clear();
        self.find_out(context, origin, window, searches).await
    }

    /// Goes on with searches side by side, until each record is acknowledged or refused alone.
    async fn find_out(
        &self,
        context: &Context<'_>,
        origin: Origin<'_>,
        window: Window,
        searches: Vec<Search>,
    ) -> Delivered {
        let (mut acknowledged, mut delivered) = (SeqSet::new(), Delivered::new(window));
        let mut waiting = searches.into_iter();
        let first = waiting.by_ref().take(PROBES);
        let mut running: FuturesUnordered<_> = first.map(|search| self.search(context, origin, search)).collect();
        while let Some(found) = running.next().await {
            found.search.acknowledged.into_iter().for_each(|range| drop(acknowledged.insert(range)));
            delivered.refused.extend(found.refused);
            match found.stop {
                Some(stop) => drop(delivered.stop.get_or_insert(stop)),
                None if delivered.stop.is_none() => {
                    running.extend(waiting.next().map(|search| self.search(context, origin, search)));
                }
                None => {}
            }
        }
        delivered.acknowledged = acknowledged.ranges().collect();
        delivered
    }

    /// Sends group after group.
    async fn search(&self, context: &Context<'_>, origin: Origin<'_>, search: Search) -> Found {
        let mut found = Found { search, refused: Vec::new(), stop: None };
        loop {
            let Some((mut group, size)) = self.next_of(&found.search) else { return found };
            match self.send(context, origin, &mut group).await {
                Ok(Verdict::Acknowledged) => found.search.taken(size, &mut self.refusals()),
                Ok(Verdict::Refused(reason)) => {
                    let refused = found.search.refused(size, &mut self.refusals());
                    if refused.is_some() {
                        found.stop = self.still_hopeful(&reason).err();
                    }
                    found.refused.extend(refused.map(|message| RefusedMessage { message, reason }));
                }
                Err(stop) => found.stop = Some(stop),
            }
            if found.stop.is_some() {
                return found;
            }
        }
    }

    fn next_of(&self, search: &Search) -> Option<(Window, usize)> {
        search.next(&self.refusals()).map(|group| (window(group), group.len()))
    }

    /// When nothing at all is taken, it isn't the records that are wrong.
    fn still_hopeful(&self, reason: &str) -> Result<(), Stop> {
        let count = |refused: u64| (refused != u64::MAX).then(|| refused + 1);
        match self.hopeless.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count) {
            Ok(before) if before + 1 >= HOPELESS => Err(Stop::Job(format!(
                "each of the first {HOPELESS} records was refused, so that it is hardly the records: {reason}"
            ))),
            _ => Ok(()),
        }
    }

    /// The window's messages. If it has none any more, they are read once more, again and again while that may help: a drive
    /// that was pulled may come back.
    async fn load(&self, context: &Context<'_>, origin: Origin<'_>, window: &mut Window) -> Result<Load, Stop> {
        let Some(places) = window.places.as_ref() else {
            return Ok(Load { buffers: window.buffers.clone(), slot: None });
        };
        if !window.buffers.is_empty() {
            return Ok(Load { buffers: std::mem::take(&mut window.buffers), slot: window.slot.take() });
        }
        let mut attempts = context.patience.attempts();
        loop {
            context.patience.check()?;
            let reading = async {
                let slot = context.slots.take_again().await;
                let (places, seqs) = (places.clone(), window.seqs.clone());
                let (outgoing, slots) = (self.outgoing.clone(), context.slots.clone());
                blocking(move || read_again(&places, &seqs, outgoing, slots, slot)).await
            };
            let error = tokio::select! {
                read = reading => match read {
                    Ok(Window { buffers, slot, .. }) => return Ok(Load { buffers, slot }),
                    Err(error) => error,
                },
                () = context.patience.ending() => continue,
            };
            let tell = |attempt, pause| {
                let error = &error.to_string();
                context.observer.event(&ReplayEvent::Retrying { origin: Some(origin), error, attempt, pause });
            };
            context.patience.pause(&mut attempts, &error, tell).await?;
        }
    }

    /// Sends a window on a stream of its own until the destination has said what it thinks of it.
    async fn send(&self, context: &Context<'_>, origin: Origin<'_>, window: &mut Window) -> Result<Verdict, Stop> {
        let (mut attempts, mut failed_on, mut doubts) = (context.patience.attempts(), None, SETTLING);
        let mut in_time = context.options.acknowledgement_timeout;
        loop {
            context.patience.check()?;
            let load = self.load(context, origin, window).await?;
            tokio::select! {
                () = admit(context, window, load.buffers.first()) => {}
                // It hasn't begun, and isn't to any more.
                () = context.patience.ending() => continue,
            }
            let lane = context.lanes.pick(failed_on);
            let error = tokio::select! {
                sent = self.attempt(context, IngestStream::open(&lane.connection), window, load, in_time) => match sent {
                    Ok(()) => {
                        self.settling.store(false, Ordering::Relaxed);
                        self.hopeless.store(u64::MAX, Ordering::Relaxed);
                        context.patience.progressed();
                        return Ok(Verdict::Acknowledged);
                    }
                    Err(error) => error,
                },
                stop = context.patience.failed() => return Err(stop),
            };
            failed_on = Some(lane.number());
            if matches!(error, SendError::Stalled { .. } | SendError::AcknowledgementTimeout { .. }) {
                lane.renew();
            }
            drop(lane);
            if matches!(error, SendError::AcknowledgementTimeout { .. }) {
                in_time = (in_time * 2).min(context.options.acknowledgement_timeout * SLOWEST);
            }
            let tell = |attempt, pause| {
                let error = &error.to_string();
                context.observer.event(&ReplayEvent::Retrying { origin: Some(origin), error, attempt, pause });
            };
            match error.fault() {
                Fault::Data if doubts > 0 && self.settling.load(Ordering::Relaxed) => {
                    doubts -= 1;
                    context.patience.pause(&mut attempts, &Premature(&error), tell).await?;
                }
                Fault::Data => {
                    // Whoever has asked so often has waited long enough, for all.
                    self.settling.store(false, Ordering::Relaxed);
                    return Ok(Verdict::Refused(error.to_string()));
                }
                _ => context.patience.pause(&mut attempts, &error, tell).await?,
            }
        }
    }

    async fn attempt(
        &self,
        context: &Context<'_>,
        stream: IngestStream,
        window: &Window,
        load: Load,
        in_time: Duration,
    ) -> Result<(), SendError> {
        let ended = self.push(context, stream, window, load, in_time).await;
        let code = ended.as_ref().err().map_or(0, SendError::code_number);
        context.observer.stream_ended(code);
        ended
    }

    async fn push(
        &self,
        context: &Context<'_>,
        mut stream: IngestStream,
        window: &Window,
        load: Load,
        in_time: Duration,
    ) -> Result<(), SendError> {
        // Each is given up as soon as it is sent.
        for (number, buffer) in load.buffers.into_iter().enumerate() {
            if number > 0 {
                admit(context, window, Some(&buffer)).await;
            }
            let bytes = buffer.len() as u64;
            stream.push(buffer).await?;
            self.sent.fetch_add(bytes, Ordering::Relaxed);
        }
        stream.end().await?;
        // The next window may have it.
        drop(load.slot);
        stream.finish(in_time).await
    }
}

/// A window's messages, for one attempt; and their place in memory, if they are gone after it.
struct Load {
    buffers: Vec<Bytes>,
    slot: Option<Place>,
}

/// Waits until the rate allows one of a window's buffers.
async fn admit(context: &Context<'_>, window: &Window, buffer: Option<&Bytes>) {
    let bytes = buffer.map_or(0, Bytes::len);
    context.limiter.pass(bytes as u64, window.records as f64 * bytes as f64 / window.bytes.max(1) as f64).await;
}

/// What a search has come to.
struct Found {
    search: Search,
    refused: Vec<RefusedMessage>,
    /// Why it didn't come to its end.
    stop: Option<Stop>,
}

/// Messages as a window of their own, in buffers worth sending.
fn window(group: &[Message]) -> Window {
    let (mut buffers, mut buffer, mut bytes) = (Vec::new(), BytesMut::new(), 0);
    for message in group {
        if !buffer.is_empty() && buffer.len() + message.bytes.len() > BUFFER_BYTES {
            buffers.push(buffer.split().freeze());
        }
        buffer.extend_from_slice(&message.bytes);
        bytes += message.bytes.len() as u64;
    }
    buffers.push(buffer.freeze());
    Window { buffers, records: group.len() as u64, bytes, ..Window::default() }
}
