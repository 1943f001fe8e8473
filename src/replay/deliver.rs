//! Delivering one window: sending it, again and again while that may help, and finding out which records are refused.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use uuid::Uuid;

use super::checkpoint::{Checkpoint, Outcome};
use super::context::Context;
use super::observe::{Origin, ReplayEvent};
use super::options::OnReject;
use super::outgoing::Outgoing;
use super::refusal::{Message, Refusals, messages, seqs};
use super::retry::{Faulty, Stop};
use super::window::Window;
use crate::catalog::SeqSet;
use crate::sift::{Fault, IngestStream, SendError};

/// Groups of one window that are tested at the same time. A test is a round trip; side by side they take little more than
/// one.
const PROBES: usize = 16;

/// Attempts after which a destination is believed that refuses the first records after their ingestion config or run was
/// made: it may still be on its way to where the records arrive.
const SETTLING: u32 = 3;

/// Records refused, with none acknowledged, after which it isn't the records that are wrong.
const HOPELESS: u64 = 1000;

/// Bytes of a buffer made of single messages.
const BUFFER_BYTES: usize = 128 << 10;

/// How one job's windows are delivered.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) outgoing: Outgoing,
    refusals: Mutex<Refusals>,
    /// Refusals that aren't believed yet.
    settling: AtomicU32,
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
            settling: AtomicU32::new(if fresh { SETTLING } else { 0 }),
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
        let mut groups = None;
        if !finds_out || self.refusals().is_calm() {
            match self.send(context, origin, &window.buffers, window.records).await {
                Ok(Verdict::Acknowledged) => {
                    let acknowledged = window.seqs.clone();
                    window.buffers.clear();
                    return Delivered { acknowledged, ..Delivered::new(window) };
                }
                Ok(Verdict::Refused(reason)) if !finds_out => return stopped(window, Stop::Job(reason)),
                Ok(Verdict::Refused(reason)) => {
                    groups = Some(self.split(messages(&window), &reason));
                }
                Err(stop) => return stopped(window, stop),
            }
        }
        let groups = groups.unwrap_or_else(|| Work::new(self.refusals().groups(messages(&window), false)));
        window.buffers.clear();
        self.find_out(context, origin, window, groups).await
    }

    fn split(&self, group: Vec<Message>, reason: &str) -> Work {
        match <[Message; 1]>::try_from(group) {
            Ok([message]) => {
                self.refusals().refused(&message);
                Work { groups: Vec::new(), refused: vec![RefusedMessage { message, reason: reason.to_owned() }] }
            }
            Err(group) => Work::new(self.refusals().groups(group, true)),
        }
    }

    /// Sends group after group, until each record is acknowledged or refused alone.
    async fn find_out(&self, context: &Context<'_>, origin: Origin<'_>, window: Window, mut work: Work) -> Delivered {
        let (mut acknowledged, mut stop) = (SeqSet::new(), None);
        let mut tests = FuturesUnordered::new();
        loop {
            while stop.is_none() && tests.len() < PROBES {
                // The last first: single records show soonest how many there are.
                let Some(group) = work.groups.pop() else { break };
                tests.push(async {
                    let verdict = self.send(context, origin, &buffers(&group), group.len() as u64).await;
                    (group, verdict)
                });
            }
            match tests.next().await {
                None => break,
                Some((group, Ok(Verdict::Acknowledged))) => {
                    self.refusals().acknowledged(&group);
                    seqs(&group).into_iter().for_each(|range| drop(acknowledged.insert(range)));
                }
                Some((group, Ok(Verdict::Refused(reason)))) => {
                    let more = self.split(group, &reason);
                    if let (1.., Err(hopeless)) = (more.refused.len(), self.still_hopeful(&reason)) {
                        stop.get_or_insert(hopeless);
                    }
                    work.groups.extend(more.groups);
                    work.refused.extend(more.refused);
                }
                Some((_, Err(why))) => {
                    stop.get_or_insert(why);
                }
            }
        }
        drop(tests);
        let acknowledged = acknowledged.ranges().collect();
        Delivered { acknowledged, refused: work.refused, stop, ..Delivered::new(window) }
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

    /// Sends buffers on a stream of their own until the destination has said what it thinks of them.
    async fn send(
        &self,
        context: &Context<'_>,
        origin: Origin<'_>,
        buffers: &[Bytes],
        records: u64,
    ) -> Result<Verdict, Stop> {
        let (mut attempts, mut failed_on) = (context.patience.attempts(), None);
        loop {
            context.patience.check()?;
            let lane = context.lanes.pick(failed_on);
            let error = tokio::select! {
                sent = self.attempt(context, IngestStream::open(&lane.connection), buffers, records) => match sent {
                    Ok(()) => {
                        self.settling.store(0, Ordering::Relaxed);
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
            let tell = |attempt, pause| {
                let error = &error.to_string();
                context.observer.event(&ReplayEvent::Retrying { origin: Some(origin), error, attempt, pause });
            };
            match error.fault() {
                Fault::Data if self.is_settling() => {
                    context.patience.pause(&mut attempts, &Premature(&error), tell).await?;
                }
                Fault::Data => return Ok(Verdict::Refused(error.to_string())),
                _ => context.patience.pause(&mut attempts, &error, tell).await?,
            }
        }
    }

    async fn attempt(
        &self,
        context: &Context<'_>,
        mut stream: IngestStream,
        buffers: &[Bytes],
        records: u64,
    ) -> Result<(), SendError> {
        let bytes: usize = buffers.iter().map(Bytes::len).sum();
        for buffer in buffers {
            let share = buffer.len() as f64 / bytes as f64;
            context.limiter.pass(buffer.len() as u64, records as f64 * share).await;
            stream.push(buffer.clone()).await?;
            self.sent.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        }
        stream.finish(context.options.acknowledgement_timeout).await
    }

    fn is_settling(&self) -> bool {
        self.settling.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }
}

/// Groups to be tested, and what was refused alone.
struct Work {
    groups: Vec<Vec<Message>>,
    refused: Vec<RefusedMessage>,
}

impl Work {
    fn new(groups: Vec<Vec<Message>>) -> Self {
        Self { groups, refused: Vec::new() }
    }
}

fn stopped(mut window: Window, stop: Stop) -> Delivered {
    window.buffers.clear();
    Delivered { stop: Some(stop), ..Delivered::new(window) }
}

/// Messages as buffers worth sending.
fn buffers(group: &[Message]) -> Vec<Bytes> {
    let mut buffers = Vec::new();
    let mut buffer = BytesMut::new();
    for message in group {
        if !buffer.is_empty() && buffer.len() + message.bytes.len() > BUFFER_BYTES {
            buffers.push(buffer.split().freeze());
        }
        buffer.extend_from_slice(&message.bytes);
    }
    buffers.push(buffer.freeze());
    buffers
}
