//! Runs the plan: registers, sends window after window, waits for each acknowledgement, and reports.

use std::time::Instant;

use thiserror::Error;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::observe::{Observer, Origin, ReplayEvent};
use super::options::{OnReject, ReplayOptions};
use super::plan::{Job, plan, sift_requests};
use super::read::{Gone, Item, read_job};
use super::report::{Line, Report, Totals, add};
use super::window::Window;
use crate::catalog::{Catalog, Session};
use crate::format::{Mark, Suffix};
use crate::sift::{Connection, Fault, IngestStream, RegisterError, Registration, SendError, add_flows, register};

/// Items that wait between the reading thread and the lane: one window is read while the one before is sent.
const READ_AHEAD: usize = 1;

const PBFS_HINT: &str = "Such a backup carries the ids of the server that it was made for: send it to that one";

/// Why delivering stopped.
#[derive(Debug, Error)]
enum Stop {
    /// This job alone: its data or its schema is refused.
    #[error("{0}")]
    Job(String),
    /// Everything: the destination can't be reached, or refuses the credentials.
    #[error("{0}")]
    All(String),
}

impl Stop {
    fn new(fault: &Fault, error: &dyn std::fmt::Display) -> Self {
        match fault {
            Fault::Data => Self::Job(error.to_string()),
            Fault::Transient { .. } | Fault::Destination => Self::All(error.to_string()),
        }
    }
}

impl From<SendError> for Stop {
    fn from(error: SendError) -> Self {
        Self::new(&error.fault(), &error)
    }
}

impl From<RegisterError> for Stop {
    fn from(error: RegisterError) -> Self {
        Self::new(&error.fault(), &error)
    }
}

/// Replays all that `catalog` holds over `lane`, and reports. What can't be delivered is in the report: nothing is an
/// error here.
pub async fn replay(lane: &Connection, catalog: &Catalog, options: &ReplayOptions, observer: &dyn Observer) -> Report {
    replay_until(std::future::pending(), lane, catalog, options, observer).await
}

/// Like [`replay`], but gives up when `interrupted` is ready: the window on its way doesn't count as delivered, and what
/// wasn't read is in no figure.
pub async fn replay_until(
    interrupted: impl Future<Output = ()>,
    lane: &Connection,
    catalog: &Catalog,
    options: &ReplayOptions,
    observer: &dyn Observer,
) -> Report {
    let began = Instant::now();
    observer.event(&ReplayEvent::Found(catalog));
    let mut report = Report::of(catalog);
    tokio::select! {
        () = run_jobs(lane, catalog, options, observer, &mut report) => {}
        () = interrupted => {
            report.interrupted = true;
            report.stopped = Some("interrupted".to_owned());
        }
    }
    report.elapsed = began.elapsed();
    report.sum();
    observer.event(&ReplayEvent::Summary(&report));
    report
}

async fn run_jobs(
    lane: &Connection,
    catalog: &Catalog,
    options: &ReplayOptions,
    observer: &dyn Observer,
    report: &mut Report,
) {
    for job in plan(catalog) {
        let Report { lines, stopped, files_unreadable, .. } = report;
        lines.push(line(&job));
        let Some(line) = lines.last_mut() else { return };
        JobRun { lane, options, observer, job, line, files_unreadable, stopped }.run().await;
    }
}

/// One job on its way.
struct JobRun<'a> {
    lane: &'a Connection,
    options: &'a ReplayOptions,
    observer: &'a dyn Observer,
    job: Job,
    /// The job's figures, and why it isn't delivered any further.
    line: &'a mut Line,
    /// Files that couldn't be read to their end.
    files_unreadable: &'a mut u64,
    /// Why nothing is delivered any further.
    stopped: &'a mut Option<String>,
}

impl JobRun<'_> {
    async fn run(mut self) {
        let end_stream = self.options.on_reject != OnReject::Accept;
        let mut registration = None;
        let suffix = match self.job.clone() {
            Job::Pbfs(_) => {
                self.line.refusal.clone_from(self.stopped);
                Suffix::without_ids(end_stream)
            }
            Job::Session(session) => match self.register(&session).await {
                Ok(registered) => {
                    let (config, run) = (&registered.ingestion_config_id, registered.run_id.as_deref());
                    let suffix = Suffix::new(config, run, end_stream);
                    registration = Some(registered);
                    suffix
                }
                Err(stop) => {
                    self.stop(stop);
                    Suffix::default()
                }
            },
        };
        // Read to the end whatever happens, so that what isn't delivered is counted too.
        let (sender, mut items) = mpsc::channel(READ_AHEAD);
        let (job, window_bytes) = (self.job.clone(), self.options.window_bytes);
        let reading = tokio::task::spawn_blocking(move || {
            let mut sink = |item| sender.blocking_send(item).map_err(|_| Gone);
            // Nobody hangs up early.
            let _ = read_job(&job, suffix, window_bytes, &mut sink);
        });
        while let Some(item) = items.recv().await {
            self.item(item, registration.as_ref()).await;
        }
        if let Err(error) = reading.await {
            // A bug, but not one to hide: what it cost isn't known.
            *self.files_unreadable += 1;
            self.stop(Stop::Job(format!("reading ended unexpectedly: {error}")));
        }
    }

    async fn register(&self, session: &Session) -> Result<Registration, Stop> {
        if let Some(stopped) = &*self.stopped {
            return Err(Stop::All(stopped.clone()));
        }
        let lost = |why| Stop::Job(format!("the schema of session {} {why}", session.id));
        let requests = session
            .requests
            .as_ref()
            .ok_or_else(|| lost("is lost: replay it together with another segment of the session".to_owned()))?;
        let (config, run) = sift_requests(requests).map_err(|error| lost(format!("can't be read: {error}")))?;
        let registration = register(self.lane, &config, run.as_ref()).await?;
        let event = ReplayEvent::Registered { session: session.id, requests, registration: &registration };
        self.observer.event(&event);
        Ok(registration)
    }

    async fn item(&mut self, item: Item, registration: Option<&Registration>) {
        match item {
            Item::Window(window) => self.window(window).await,
            Item::Flows(added) => {
                if let (Some(registration), true) = (registration, self.delivers()) {
                    let flows = sift_flows(&added);
                    if let Err(error) = add_flows(self.lane, &registration.ingestion_config_id, &flows).await {
                        self.stop(error.into());
                    }
                }
            }
            Item::Damage(path, damage) => {
                self.line.totals.damaged_places += 1;
                self.line.totals.damaged_bytes += damage.len;
                self.observer.event(&ReplayEvent::Damage { path: &path, damage: &damage });
            }
            Item::Torn(path, torn) => {
                self.line.totals.torn_files += 1;
                self.line.totals.torn_bytes += torn.len;
                self.observer.event(&ReplayEvent::Torn { path: &path, torn: &torn });
            }
            Item::Skipped(path, skipped, records) => {
                add(&mut self.line.totals.records_unreadable, records);
                self.observer.event(&ReplayEvent::Skipped { path: &path, skipped: &skipped });
            }
            Item::Mark(message) => {
                let (Some(mark), Some(session)) = (&message.mark, self.session()) else { return };
                if let Mark::Dropped(dropped) = mark {
                    add(&mut self.line.totals.records_dropped_on_board, dropped.records);
                }
                let wall_clock_ns = message.wall_clock_ns;
                self.observer.event(&ReplayEvent::Mark { session, wall_clock_ns, mark });
            }
            // What can be read elsewhere is worth delivering all the same.
            Item::Failed(path, error) => {
                *self.files_unreadable += 1;
                self.observer.event(&ReplayEvent::Unreadable { path: &path, error: &error });
            }
            Item::Missing(ranges) => {
                let Some(session) = self.session() else { return };
                for seqs in &ranges {
                    add(&mut self.line.totals.records_missing, seqs.end - seqs.start);
                    self.observer.event(&ReplayEvent::Missing { session, seqs });
                }
            }
        }
    }

    async fn window(&mut self, window: Window) {
        self.line.totals.records_found += window.records;
        if !self.delivers() {
            self.line.totals.records_refused += window.records;
            return;
        }
        self.line.totals.bytes_sent += window.bytes;
        match deliver(self.lane, &window, self.options).await {
            Ok(()) => self.acknowledged(&window),
            Err(error) => {
                self.line.totals.records_refused += window.records;
                self.stop(error.into());
            }
        }
    }

    /// The one place where records count as delivered.
    fn acknowledged(&mut self, window: &Window) {
        self.line.totals.records_acknowledged += window.records;
        let (records, bytes) = (window.records, window.bytes);
        self.observer.event(&ReplayEvent::Acknowledged { origin: origin(&self.job), records, bytes, read: 0 });
    }

    fn delivers(&self) -> bool {
        self.line.refusal.is_none() && self.stopped.is_none()
    }

    fn stop(&mut self, stop: Stop) {
        let reason = match (&self.job, &stop) {
            (Job::Pbfs(_), Stop::Job(reason)) => format!("{reason}. {PBFS_HINT}"),
            _ => stop.to_string(),
        };
        self.observer.event(&ReplayEvent::Refused { origin: origin(&self.job), reason: &reason });
        if matches!(stop, Stop::All(_)) {
            self.stopped.get_or_insert(reason.clone());
        }
        self.line.refusal.get_or_insert(reason);
    }

    fn session(&self) -> Option<Uuid> {
        match &self.job {
            Job::Session(session) => Some(session.id),
            Job::Pbfs(_) => None,
        }
    }
}

fn line(job: &Job) -> Line {
    let (origin, requests) = match job {
        Job::Session(session) => (session.id.to_string(), session.requests.as_ref()),
        Job::Pbfs(path) => (path.display().to_string(), None),
    };
    Line {
        origin,
        asset: requests.map(|requests| requests.asset.clone()),
        run: requests.and_then(|requests| requests.run_name.clone()),
        totals: Totals::default(),
        refusal: None,
    }
}

fn origin(job: &Job) -> Origin<'_> {
    match job {
        Job::Session(session) => Origin::Session(session.id),
        Job::Pbfs(path) => Origin::Pbfs(path),
    }
}

/// Sends one window on a client-stream of its own; returns when it is acknowledged.
async fn deliver(lane: &Connection, window: &Window, options: &ReplayOptions) -> Result<(), SendError> {
    let mut stream = IngestStream::open(lane);
    for buffer in &window.buffers {
        stream.push(buffer.clone()).await?;
    }
    stream.finish(options.acknowledgement_timeout).await
}

/// Flows as Sift's own type.
fn sift_flows(added: &crate::format::AddedFlows) -> Vec<sift_rs::ingestion_configs::v2::FlowConfig> {
    use prost::Message;
    let bytes = added.encode_to_vec();
    let request = sift_rs::ingestion_configs::v2::CreateIngestionConfigFlowsRequest::decode(&bytes[..]);
    // Both types have the same fields, so that what one encodes the other decodes.
    request.map(|request| request.flows).unwrap_or_default()
}
