//! The stream with files and a link, at work.

use std::sync::Arc;
use std::time::Duration;

use sift_rs::ingestion_configs::v2::FlowConfig;
use sift_rs::runs::v2::Run;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, timeout, timeout_at};
use uuid::Uuid;

use crate::replay::Lanes;
use crate::sift::{Connection, RegisterError};
use crate::stream::error::{FinishError, Finished, StreamError};
use crate::stream::forms::RunSelector;
use crate::stream::handle::Transport;
use crate::stream::handle::sealed::Mode;
use crate::stream::intake::Intake;
use crate::stream::keeper::Phase;
use crate::stream::ledger::Ledger;
use crate::stream::leg::{Leg, Registered, expected_run};
use crate::stream::legs::{Legs, unknown_flows};
use crate::stream::metrics::{MetricsTask, SiftStreamMetricsSnapshot};
use crate::stream::pieces::Pieces;
use crate::stream::setup::Setup;

/// How long a stream that has no link tries once more when it is finished.
const LINKLESS_FINISH: Duration = Duration::from_secs(1);

/// Records, sends, and replays what wasn't confirmed.
pub struct LiveStreamingWithBackups {
    pub(super) legs: Legs,
    pub(super) setup: Arc<Setup>,
    pub(super) lanes: Arc<Lanes>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) numbers: MetricsTask,
    pub(super) live: JoinHandle<()>,
    pub(super) keeper: JoinHandle<()>,
    pub(super) signals: Signals,
    pub(super) timeouts: Patience,
}

/// How long the user of a stream waits at most.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    pub(super) finish_timeout: Duration,
    /// While Sift is asked for a run or told of flows: a link that has just died hasn't been noticed yet.
    pub(super) call_timeout: Duration,
}

/// What ends the stream's tasks.
pub(super) struct Signals {
    pub(super) pieces: Arc<Pieces>,
    pub(super) finishing: watch::Sender<bool>,
    pub(super) phase: watch::Sender<Phase>,
}

impl Drop for Signals {
    /// Who drops a stream doesn't wait for it.
    fn drop(&mut self) {
        self.pieces.close("it was dropped");
        self.finishing.send_replace(true);
        self.phase.send_if_modified(|phase| {
            let is_on = *phase == Phase::On;
            if is_on {
                *phase = Phase::Last(Instant::now());
            }
            is_on
        });
    }
}

impl LiveStreamingWithBackups {
    /// A connection, if there seems to be a link, and what Sift said to the present leg.
    fn link(&self) -> Option<(Connection, Arc<Registered>)> {
        let registered = self.legs.recording()?.leg.registered()?.clone();
        let is_up = self.ledger.trouble().is_none();
        is_up.then(|| (self.lanes.pick(None).connection.clone(), registered))
    }

    /// Asks Sift for what a new leg needs, if there is a link: what is wrong with it shows.
    async fn ask(&self, run: &RunSelector) -> Result<Option<Registered>, StreamError> {
        let Some((connection, _)) = self.link() else { return Ok(None) };
        let leg = Leg::new(Uuid::nil(), self.legs.config().clone(), Some(run.clone()), std::sync::Weak::new());
        self.unless_linkless(self.setup.register(&connection, &leg)).await
    }

    /// What fails for want of a link is done when there is one.
    async fn unless_linkless<T>(
        &self,
        call: impl Future<Output = Result<T, RegisterError>>,
    ) -> Result<Option<T>, StreamError> {
        let Ok(answer) = timeout(self.timeouts.call_timeout, call).await else { return Ok(None) };
        match answer.map_err(StreamError::from) {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if error.is_transient() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Transport for LiveStreamingWithBackups {}

impl Mode for LiveStreamingWithBackups {
    fn intake(&self) -> &dyn Intake {
        self.legs.intake()
    }

    async fn attach(&mut self, run: RunSelector) -> Result<Run, StreamError> {
        let registered = self.ask(&run).await?;
        let expected = expected_run(&run);
        let attached = registered.as_ref().and_then(|registered| registered.run.clone()).unwrap_or(expected);
        let leg = self.legs.begin(Some(run)).await?.leg;
        if let Some(registered) = registered {
            leg.set_registered(Arc::new(registered));
        }
        Ok(attached)
    }

    fn detach(&mut self) {
        let known = self.link().map(|(_, registered)| registered);
        if let (Some(recording), Some(known)) = (self.numbers.scope().within(|| self.legs.begin_without_run()), known) {
            recording.leg.set_registered(Arc::new(known.without_run()));
        }
    }

    async fn add_flows(&mut self, flows: &[FlowConfig]) -> Result<(), StreamError> {
        // What Sift refuses shows before anything is recorded, and what makes no sense before Sift is asked.
        let new = unknown_flows(self.legs.config(), flows)?;
        if let Some((connection, registered)) = self.link() {
            let told = self.unless_linkless(self.setup.add_flows(&connection, &registered, &new)).await?;
            if let (Some(()), Some(recording)) = (told, self.legs.recording()) {
                recording.leg.add_flows(new.iter().cloned(), true);
            }
        }
        self.legs.add_flows(&new).await?;
        self.numbers.metrics().loaded_flows(flows.len() as u64);
        Ok(())
    }

    fn snapshot(&self) -> SiftStreamMetricsSnapshot {
        self.numbers.snapshot()
    }

    fn closed(&self) -> Option<String> {
        self.legs.closed()
    }

    async fn finish(self) -> Result<Finished, FinishError> {
        let Self { legs, ledger, numbers, live, keeper, signals, timeouts: Patience { finish_timeout, .. }, .. } = self;
        numbers.scope().scoped(legs.disk.finish()).await;
        // From here on, only Sift is waited for.
        let until = Instant::now() + finish_timeout;
        signals.pieces.close("it was finished");
        signals.finishing.send_replace(true);
        end_by(until, live).await;
        let trouble = ledger.trouble();
        // From here on, all that isn't confirmed is the replay's.
        ledger.let_go();
        let linkless = Instant::now() + LINKLESS_FINISH;
        signals.phase.send_replace(Phase::Last(if trouble.is_some() { until.min(linkless) } else { until }));
        ended(keeper.await);
        numbers.finish().await;
        legs.disk.account(trouble.or_else(|| Some("their replay wasn't finished in time".to_owned())))
    }
}

/// Waits for the task until then. What it had on its way after that is on disk, and isn't confirmed.
async fn end_by(until: Instant, mut task: JoinHandle<()>) {
    if let Ok(joined) = timeout_at(until, &mut task).await {
        return ended(joined);
    }
    task.abort();
    ended(task.await);
}

fn ended(joined: Result<(), JoinError>) {
    match joined {
        Ok(()) => {}
        // It panicked, which is a bug: let it be seen.
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The runtime ends, or there was no time left: what is recorded is on disk.
        Err(_) => {}
    }
}
