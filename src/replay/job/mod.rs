//! One job on its way: its files are read, its windows delivered, what is acknowledged saved and counted.

mod added;
mod flight;
mod state;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;

use flight::{Flight, Step, Steps};
pub(super) use state::JobState;

use crate::catalog::SeqSet;
use crate::format::{Mark, Suffix};
use crate::replay::checkpoint::{Checkpoint, Done};
use crate::replay::context::{Context, blocking};
use crate::replay::deliver::{Delivered, Delivery};
use crate::replay::observe::{Origin, ReplayEvent};
use crate::replay::options::OnReject;
use crate::replay::outgoing::Outgoing;
use crate::replay::plan::Job;
use crate::replay::read::{Gone, Item, Memory, PbfsDelivered, Reading, Selector, pbfs_id, read_job};
use crate::replay::registering::{Registered, add_flows, register, target_after_registering};
use crate::replay::report::add;
use crate::replay::retry::Stop;
use crate::replay::scope::spawn_blocking;
use crate::replay::target::{Subject, Target};
use crate::replay::watermark::{Reckoned, Watermark};
use crate::segment::SegmentError;

/// Items that wait between the reading thread and the job.
const READ_AHEAD: usize = 1;

pub(super) const PBFS_AS_ANOTHER: &str = "a backup of the official library carries the ids of its asset and can't be \
     delivered as another: replay it without --asset-as";

const PBFS_HINT: &str = "Such a backup carries the ids of the server that it was made for: send it to that one";

/// Runs a job: reads what is new, and delivers what isn't delivered.
pub(super) async fn run(context: &Context<'_>, mut state: JobState) -> JobState {
    let job = state.job.clone();
    let asset = state.line.asset.as_deref();
    context.observer.event(&ReplayEvent::Started { origin: job.origin(), asset, bytes: job.bytes() });
    let subject = match subject(&job).await {
        Ok(subject) => subject,
        Err((_, error)) if error.is_not_found() && state.memory.was_read(&job) => return state,
        Err((path, error)) => {
            state.findings.note(Item::Failed(path, error), job.origin(), context.watching, context.observer);
            return state;
        }
    };
    let totals_before = state.begin_anew(subject);
    let _turn = match subject {
        Some(Subject::Pbfs(id)) => Some(context.pbfs_turns.take(id).await),
        _ => None,
    };
    let (outgoing, fresh, stop) = match outgoing(context, &mut state, &job).await {
        Ok((outgoing, fresh)) => (outgoing, fresh, None),
        Err(stop) => (Outgoing::default(), false, Some(stop)),
    };
    // A mark says that a file is done up to some place, so that what a selection leaves out makes it another target.
    let target = match &job {
        Job::Pbfs(_) => context.target().of(&context.options.selection),
        Job::Session(_) => context.target().clone(),
    };
    state.target = Some(target.clone());
    // Before what is done: a record that is let go of in between was acknowledged, and noted, before that.
    let held = match subject {
        Some(Subject::Session(session)) => context.state.held.of(session),
        _ => SeqSet::new(),
    };
    let (done, delivered) = delivered_before(context, &target, subject);
    let has_marks = delivered.iter().flat_map(|known| &known.marks).any(|mark| mark.messages > mark.dead_lettered);
    let hopeful = !done.acknowledged.is_empty() || context.options.despite_refusals || has_marks;
    let reading = Reading {
        job: job.clone(),
        outgoing: outgoing.clone(),
        window_size: context.options.window_size(),
        slots: context.slots.clone(),
        selector: Selector::new(&context.options.selection),
        done,
        held,
        delivered,
    };
    let fresh = fresh || context.state.held.is_unsettled();
    let delivery = match &state.delivery {
        Some(delivery) if delivery.outgoing == outgoing => delivery.clone(),
        _ => Arc::new(Delivery::new(outgoing, fresh, hopeful)),
    };
    state.delivery = Some(delivery.clone());
    let added_flows = state.added_flows.clone();
    let flight = Flight { context, job: &job, delivery: &delivery, subject, target: &target, added_flows };
    let memory = std::mem::take(&mut state.memory);
    let mut run =
        JobRun { flight: &flight, state: &mut state, windows: 0, watermark: Watermark::default(), ended: false };
    if let Some(stop) = stop {
        run.stop(stop);
    }
    let memory = run.read(reading, memory).await;
    state.memory = memory;
    state.own(totals_before);
    if let Some(subject) = subject {
        context.close_letters(&target, subject).await;
    }
    state
}

/// Whose records they are; `None` for a backup without a single sound chunk.
async fn subject(job: &Job) -> Result<Option<Subject>, (PathBuf, SegmentError)> {
    match job {
        Job::Session(session) => Ok(Some(Subject::Session(session.id))),
        Job::Pbfs(file) => {
            let path = file.path.clone();
            let id = blocking(move || pbfs_id(&path)).await;
            id.map(|id| id.map(Subject::Pbfs)).map_err(|error| (file.path.clone(), error))
        }
    }
}

/// What of a job's records needn't be sent: what went to its target, and of a PBFS file also what went to the same place
/// when something else was selected.
fn delivered_before(context: &Context<'_>, target: &Target, subject: Option<Subject>) -> (Done, Vec<PbfsDelivered>) {
    let checkpoints = &context.state.checkpoints;
    match subject {
        Some(Subject::Session(session)) => (checkpoints.done(target, session), Vec::new()),
        Some(Subject::Pbfs(id)) => {
            let such = |known: &Target| Some((known.part_of(context.target())?, known == target));
            let known = checkpoints.pbfs_marks_for(such, id).into_iter();
            let known = known.map(|((selection, own), marks, since)| {
                let selector = Selector::new(&selection);
                PbfsDelivered { selector, marks, since, own }
            });
            (Done::default(), known.collect())
        }
        None => Default::default(),
    }
}

/// What is appended to the job's records; registers what precedes them. The second part is whether that was made just now.
async fn outgoing(context: &Context<'_>, state: &mut JobState, job: &Job) -> Result<(Outgoing, bool), Stop> {
    let end_stream = context.options.on_reject != OnReject::Accept;
    let (suffix, fresh) = match job {
        Job::Pbfs(_) if context.options.rewrite.asset.is_some() => {
            return Err(Stop::Job(PBFS_AS_ANOTHER.to_owned()));
        }
        Job::Pbfs(_) => (Suffix::without_ids(end_stream), false),
        Job::Session(session) => match register(context, &mut state.registered, session).await? {
            None => (Suffix::without_ids(end_stream), false),
            Some(registered) => {
                target_after_registering(context).await?;
                let run_id = context.run_id.as_deref().or(registered.run_id.as_deref());
                let fresh = registered.config_created || registered.run_created;
                (Suffix::new(&registered.ingestion_config_id, run_id, end_stream), fresh)
            }
        },
    };
    let suffix = match &context.run_id {
        Some(run_id) => suffix.with_run_for_all(run_id),
        None => suffix,
    };
    Ok((Outgoing::new(suffix, context.options.rewrite.shift_ns), fresh))
}

/// One run of a job.
struct JobRun<'a> {
    flight: &'a Flight<'a>,
    state: &'a mut JobState,
    /// Windows so far.
    windows: u64,
    watermark: Watermark,
    /// Whether the replay ends, so that nothing more is begun.
    ended: bool,
}

impl<'a> JobRun<'a> {
    /// Reads to the end whatever happens, so that what isn't delivered is counted too; but not when somebody interrupts.
    async fn read(&mut self, reading: Reading, memory: Memory) -> Memory {
        let ((sender, mut items), slots) = (mpsc::channel(READ_AHEAD), reading.slots.clone());
        let thread = spawn_blocking(move || {
            let mut memory = memory;
            let mut sink = |mut item| {
                if let Item::Window(window) = &mut item {
                    window.flight = Some(slots.take_flight()?);
                }
                sender.blocking_send(item).map_err(|_| Gone)
            };
            // Whoever hangs up knows why.
            let _ = read_job(reading, &mut memory, &mut sink);
            memory
        });
        let (flight, context) = (self.flight, self.flight.context);
        let mut steps: Steps<'a> = FuturesUnordered::new();
        loop {
            tokio::select! {
                biased;
                Some(step) = steps.next() => self.step(step, &steps),
                () = context.patience.ending(), if !self.ended => {
                    self.ended = true;
                    match context.patience.check() {
                        Err(Stop::Interrupted) => break,
                        Err(stop) => self.stop(stop),
                        Ok(()) => {}
                    }
                }
                item = items.recv() => match item {
                    None => break,
                    Some(Item::Window(window)) => {
                        self.state.line.totals.records_found += window.records;
                        if self.delivers() {
                            steps.push(Box::pin(flight.deliver(self.windows, window)));
                            self.windows += 1;
                        } else {
                            add(&mut self.state.line.totals.records_refused, window.records);
                        }
                    }
                    Some(Item::Flows(added)) => {
                        flight.add_flows(&added);
                        let registered = self.state.registered.as_ref().filter(|_| self.delivers());
                        let Some(config) = registered.map(Registered::config_id) else { continue };
                        let mut adding = std::pin::pin!(add_flows(context, flight.job.origin(), config, added));
                        let added = loop {
                            tokio::select! {
                                Some(step) = steps.next() => self.step(step, &steps),
                                added = &mut adding => break added,
                            }
                        };
                        added.unwrap_or_else(|stop| self.stop(stop));
                    }
                    Some(item) => self.item(item),
                },
            }
        }
        drop(items);
        let rest = async {
            while let Some(step) = steps.next().await {
                self.step(step, &steps);
            }
        };
        tokio::select! {
            () = rest => {}
            // What isn't acknowledged by then is sent again by the next replay.
            () = context.patience.grace_over(context.options.grace) => {}
        }
        drop(steps);
        for delivered in self.watermark.rest() {
            self.acknowledged(&delivered);
        }
        self.memory_of(thread).await
    }

    async fn memory_of(&mut self, thread: tokio::task::JoinHandle<Memory>) -> Memory {
        thread.await.unwrap_or_else(|error| {
            // A bug, but not one to hide: what it cost isn't known.
            self.flight.job.files().iter().for_each(|(path, _)| self.state.findings.fails(path, None));
            self.stop(Stop::Job(format!("reading ended unexpectedly: {error}")));
            Memory::default()
        })
    }

    fn step(&mut self, step: Step, steps: &Steps<'a>) {
        match step {
            Step::Delivered(number, delivered) => self.delivered(number, *delivered, steps),
            Step::Saved(windows, checkpoints, saved) => {
                windows.iter().for_each(|delivered| self.acknowledged(delivered));
                match (saved, checkpoints.last()) {
                    (Err(error), _) => self.stop(Stop::Here(error.to_string())),
                    (Ok(()), Some(Checkpoint::Pbfs { mark, .. })) => {
                        self.state.saved_end = self.state.saved_end.max(mark.end);
                    }
                    _ => {}
                }
            }
        }
    }

    fn delivered(&mut self, number: u64, mut delivered: Delivered, steps: &Steps<'a>) {
        let stop = delivered.stop.take();
        if stop != Some(Stop::Interrupted) {
            add(&mut self.state.line.totals.records_refused, delivered.undelivered());
        }
        for (reason, records) in &delivered.left_out {
            let reason = format!("{} refused: {reason}", count(*records));
            self.tell(&ReplayEvent::Refused { origin: self.flight.job.origin(), reason: &reason });
        }
        if let Some(stop) = stop {
            self.stop(stop);
        }
        if !delivered.acknowledged.is_empty() {
            self.flight.context.state.held.has_settled();
        }
        let flight = self.flight;
        match flight.subject {
            Some(Subject::Pbfs(id)) => {
                let Reckoned { marked, unmarked } = self.watermark.add(number, delivered);
                unmarked.iter().for_each(|delivered| self.acknowledged(delivered));
                if let Some((windows, mark)) = marked {
                    steps.push(Box::pin(flight.save(windows, vec![Checkpoint::Pbfs { id, mark }])));
                }
            }
            Some(Subject::Session(session)) => {
                let checkpoints = delivered.checkpoints(session);
                if !checkpoints.is_empty() {
                    steps.push(Box::pin(flight.save(vec![delivered], checkpoints)));
                }
            }
            None => self.acknowledged(&delivered),
        }
    }

    /// The one place where records count as delivered.
    fn acknowledged(&mut self, delivered: &Delivered) {
        let origin = self.flight.job.origin();
        let totals = &mut self.state.line.totals;
        let records = delivered.acknowledged_records();
        if records == 0 && delivered.refused.is_empty() {
            // Windows of a PBFS file come in order, those that weren't delivered, too.
            return;
        }
        totals.records_acknowledged += records;
        totals.records_dead_lettered += delivered.refused.len() as u64;
        let (bytes, read) = (delivered.window.bytes, delivered.window.read);
        self.tell(&ReplayEvent::Acknowledged { origin, records, bytes, read });
        let mut reasons: BTreeMap<&str, u64> = BTreeMap::new();
        for refused in &delivered.refused {
            *reasons.entry(&refused.reason).or_default() += 1;
        }
        for (reason, records) in reasons {
            self.tell(&ReplayEvent::DeadLettered { origin, records, reason });
        }
    }

    fn item(&mut self, item: Item) {
        let origin = self.flight.job.origin();
        let (observer, watching) = (self.flight.context.observer, self.flight.context.watching);
        let JobState { line, findings, .. } = &mut *self.state;
        let totals = &mut line.totals;
        match item {
            Item::Window(_) | Item::Flows(_) => {}
            Item::Passed(passed) => {
                passed.count(totals);
                let (records, read) = (passed.records(), passed.read);
                observer.event(&ReplayEvent::Passed { origin, records, read });
            }
            Item::Skipped(path, skipped, records) => {
                add(&mut totals.records_unreadable, records);
                observer.event(&ReplayEvent::Skipped { path: &path, skipped: &skipped });
            }
            Item::Mark(message) => {
                let (Some(mark), Origin::Session(session)) = (&message.mark, origin) else { return };
                if let Mark::Dropped(dropped) = mark {
                    add(&mut totals.records_dropped_on_board, dropped.records);
                }
                observer.event(&ReplayEvent::Mark { session, wall_clock_ns: message.wall_clock_ns, mark });
            }
            other => findings.note(other, origin, watching, observer),
        }
    }

    fn delivers(&self) -> bool {
        self.state.line.refusal.is_none() && self.flight.context.patience.check().is_ok()
    }

    fn stop(&mut self, stop: Stop) {
        let reason = match (self.flight.job, &stop) {
            (_, Stop::Interrupted) => return,
            (Job::Pbfs(_), Stop::Job(reason)) if reason != PBFS_AS_ANOTHER => format!("{reason}. {PBFS_HINT}"),
            _ => stop.to_string(),
        };
        if matches!(stop, Stop::All(_) | Stop::Here(_)) {
            self.flight.context.patience.fail(stop);
        }
        if self.state.line.refusal.is_none() {
            self.tell(&ReplayEvent::Refused { origin: self.flight.job.origin(), reason: &reason });
            self.state.line.refusal = Some(reason);
        }
    }

    fn tell(&self, event: &ReplayEvent<'_>) {
        self.flight.context.observer.event(event);
    }
}

fn count(records: u64) -> String {
    if records == 1 { "1 record".to_owned() } else { format!("{records} records") }
}
