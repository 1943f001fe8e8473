//! One job on its way: its files are read, its windows delivered, what is acknowledged saved and counted.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use prost::Message;
use tokio::sync::mpsc;

use super::checkpoint::{Checkpoint, Done, StateError};
use super::context::{Context, DeadLetter, blocking};
use super::dead_letter::RefusedRecord;
use super::deliver::{Delivered, Delivery, RefusedMessage};
use super::findings::Findings;
use super::observe::{Origin, ReplayEvent};
use super::options::OnReject;
use super::outgoing::Outgoing;
use super::plan::Job;
use super::read::{Gone, Item, Memory, PbfsDelivered, Reading, Selector, pbfs_id, read_job};
use super::registering::{Registered, add_flows, register, target_after_registering};
use super::report::{Line, Totals, add};
use super::retiring::KeptFile;
use super::retry::Stop;
use super::target::{Subject, Target};
use super::watermark::{Reckoned, Watermark};
use super::window::Window;
use crate::catalog::Requests;
use crate::format::{AddedFlows, FlowConfig, IngestionConfig, Mark, Suffix};
use crate::segment::SegmentError;

/// Items that wait between the reading thread and the job.
const READ_AHEAD: usize = 1;

pub(super) const PBFS_AS_ANOTHER: &str = "a backup of the official library carries the ids of its asset and can't be delivered as another: replay it without \
     --asset-as";

const PBFS_HINT: &str = "Such a backup carries the ids of the server that it was made for: send it to that one";

/// A job, and what was learnt and done so far. It runs once, or again whenever its files have changed.
#[derive(Debug)]
pub(super) struct JobState {
    pub(super) job: Job,
    pub(super) line: Line,
    pub(super) memory: Memory,
    /// What is wrong with its files, and what of it is nowhere.
    pub(super) findings: Findings,
    pub(super) registered: Option<Registered>,
    /// Files archived.
    pub(super) archived: u64,
    /// Files deleted.
    pub(super) deleted: u64,
    /// Files that were to be archived or deleted, and weren't.
    pub(super) kept: BTreeMap<PathBuf, KeptFile>,
    /// For whom its checkpoints were kept when it was begun last.
    pub(super) target: Option<Target>,
    /// Whose records they were then.
    subject: Option<Subject>,
    /// Figures of what was in a PBFS file's place before.
    past: Totals,
    /// How far a PBFS file was delivered by this process.
    saved_end: u64,
    /// Whether it was ever begun.
    pub(super) has_run: bool,
    delivery: Option<Arc<Delivery>>,
    /// Flows that SCHEMA frames have added: dead letters need them, too.
    added_flows: Arc<Mutex<Vec<FlowConfig>>>,
}

impl JobState {
    pub(super) fn new(job: Job) -> Self {
        let (origin, requests) = match &job {
            Job::Session(session) => (session.id.to_string(), session.requests.as_ref()),
            Job::Pbfs(file) => (file.path.display().to_string(), None),
        };
        let line = Line {
            origin,
            asset: requests.map(|requests| requests.asset.clone()).filter(|asset| !asset.is_empty()),
            run: requests.and_then(|requests| requests.run_name.clone()),
            totals: Totals::default(),
            refusal: None,
        };
        Self {
            job,
            line,
            memory: Memory::default(),
            findings: Findings::default(),
            registered: None,
            archived: 0,
            deleted: 0,
            kept: BTreeMap::new(),
            target: None,
            subject: None,
            past: Totals::default(),
            saved_end: 0,
            has_run: false,
            delivery: None,
            added_flows: Arc::default(),
        }
    }

    /// Begins another run. What is read from its beginning again is counted anew: PBFS files always, a session's if some of
    /// it wasn't delivered. Returns the figures so far, if that is so.
    fn begin_anew(&mut self, subject: Option<Subject>) -> Option<Totals> {
        let is_first = !std::mem::replace(&mut self.has_run, true);
        let was_refused = self.line.refusal.take().is_some();
        let is_same = std::mem::replace(&mut self.subject, subject) == subject;
        if is_first || !(was_refused || matches!(self.job, Job::Pbfs(_))) {
            return None;
        }
        let totals = std::mem::take(&mut self.line.totals);
        (self.memory, self.findings) = Default::default();
        if is_same {
            return Some(totals);
        }
        // Another backup has taken its place.
        self.past.add(&totals);
        self.saved_end = 0;
        None
    }

    /// Compares with the figures before: what this process itself acknowledged in an earlier run counts as that.
    fn own(&mut self, before: Option<Totals>) {
        let Some(before) = before else { return };
        let totals = &mut self.line.totals;
        let own = totals.records_already_acknowledged.saturating_sub(before.records_already_acknowledged);
        totals.records_already_acknowledged -= own;
        totals.records_acknowledged += own;
        // It was cut short, or couldn't be read to where it was read before.
        if totals.records_found < before.records_found {
            *totals = before;
        }
    }

    /// Bytes from the beginning of a PBFS file that are delivered.
    pub(super) fn delivered_end(&self) -> u64 {
        self.saved_end.max(self.memory.delivered_end())
    }

    /// Whether another run may do better, though no file has changed as far as one can see.
    pub(super) fn wants_another_look(&self) -> bool {
        self.memory.wants_another_look() || self.findings.want_another_look()
    }

    /// Its figures: what was delivered, and, if `there`, what is wrong with its files as they are now.
    pub(super) fn line(&self, there: bool) -> Line {
        let mut line = self.line.clone();
        line.totals.add(&self.past);
        if there {
            line.totals.add(&self.findings.totals());
        }
        line.totals.bytes_sent = self.delivery.as_ref().map_or(0, |delivery| delivery.bytes_sent());
        line
    }
}

/// What a window in flight comes to, step by step.
enum Step {
    /// The destination has answered.
    Delivered(u64, Delivered),
    /// What it acknowledged is saved, or can't be.
    Saved(Vec<Delivered>, Vec<Checkpoint>, Result<(), StateError>),
}

type Steps<'a> = FuturesUnordered<Pin<Box<dyn Future<Output = Step> + Send + 'a>>>;

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
        delivered,
    };
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

/// What a window in flight needs to know.
struct Flight<'a> {
    context: &'a Context<'a>,
    job: &'a Job,
    delivery: &'a Delivery,
    subject: Option<Subject>,
    target: &'a Target,
    added_flows: Arc<Mutex<Vec<FlowConfig>>>,
}

impl Flight<'_> {
    /// Delivers a window; what is refused is durably kept when this returns.
    async fn deliver(&self, number: u64, window: Window) -> Step {
        let context = self.context;
        let _flight = tokio::select! {
            flight = context.flights.acquire() => flight,
            () = context.patience.ending() => {
                let stop = context.patience.check().err();
                return Step::Delivered(number, Delivered::stopped(window, stop.unwrap_or(Stop::Interrupted)));
            }
        };
        let mut delivered = self.delivery.deliver(context, self.job.origin(), window).await;
        let keeps = self.context.options.on_reject == OnReject::DeadLetter && self.context.state.dead_letters.is_some();
        let mut kept = Vec::new();
        for (reason, refused) in by_reason(std::mem::take(&mut delivered.refused)) {
            if !keeps {
                delivered.left_out.push((reason, refused.len() as u64));
            } else if let Err(error) = self.keep(&reason, &refused).await {
                let text = format!("dead letters can't be kept: {error}. Free some space, or name another --state-dir");
                delivered.stop = Some(Stop::Here(text));
            } else {
                kept.extend(refused);
            }
        }
        // They are kept elsewhere now.
        kept.iter_mut().for_each(|refused| refused.message.bytes.clear());
        delivered.refused = kept;
        Step::Delivered(number, delivered)
    }

    async fn keep(&self, reason: &str, refused: &[RefusedMessage]) -> Result<(), SegmentError> {
        let Some(subject) = self.subject else { return Ok(()) };
        let record = |refused: &RefusedMessage| RefusedRecord {
            seq: refused.message.seq,
            bytes: refused.message.record(&self.delivery.outgoing),
        };
        let letter = DeadLetter {
            target: self.target.clone(),
            subject,
            requests: self.job.requests().map(|requests| self.with_added_flows(requests)),
            reason: reason.to_owned(),
            records: refused.iter().map(record).collect(),
        };
        let origin = match self.job {
            Job::Session(_) => None,
            Job::Pbfs(file) => Some(&*file.path),
        };
        self.context.keep(letter, origin).await
    }

    /// The requests as they are by now: those of an open segment's HEADER lack the flows that were added since.
    fn with_added_flows(&self, requests: &Requests) -> Requests {
        let (mut requests, mut flows) = (requests.clone(), self.added_flows().clone());
        // What can't be read, or is empty because records carry their own ids ([F-19]), stays as it is.
        let config = Some(&requests.ingestion_config[..]).filter(|config| !config.is_empty());
        if let Some(config) = config.and_then(|config| IngestionConfig::decode(config).ok()) {
            flows.retain(|flow| !config.flows.contains(flow));
            // In protobuf, concatenation merges.
            requests.ingestion_config.extend(AddedFlows { flows }.encode_to_vec());
        }
        requests
    }

    fn add_flows(&self, added: &AddedFlows) {
        let mut flows = self.added_flows();
        let new: Vec<_> = added.flows.iter().filter(|flow| !flows.contains(flow)).cloned().collect();
        flows.extend(new);
    }

    fn added_flows(&self) -> MutexGuard<'_, Vec<FlowConfig>> {
        self.added_flows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn save(&self, delivered: Vec<Delivered>, checkpoints: Vec<Checkpoint>) -> Step {
        let saved = self.context.state.checkpoints.save(self.target, checkpoints.clone()).await;
        Step::Saved(delivered, checkpoints, saved)
    }
}

/// Refused records, those of one reason together, in order.
fn by_reason(mut refused: Vec<RefusedMessage>) -> BTreeMap<String, Vec<RefusedMessage>> {
    refused.sort_by_key(|refused| refused.message.seq);
    let mut groups: BTreeMap<String, Vec<RefusedMessage>> = BTreeMap::new();
    for refused in refused {
        groups.entry(refused.reason.clone()).or_default().push(refused);
    }
    groups
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
        let (sender, mut items) = mpsc::channel(READ_AHEAD);
        let thread = tokio::task::spawn_blocking(move || {
            let mut memory = memory;
            let mut sink = |item| sender.blocking_send(item).map_err(|_| Gone);
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
            Step::Delivered(number, delivered) => self.delivered(number, delivered, steps),
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
