//! For tests: a recorder without a thread. Its writer works when it is told to, and time passes when it is told to, so that
//! the same calls make the same operations of the disk, in the same order and with the same bytes, each time.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::clock::Clock;
use super::error::RecordError;
use super::options::RecorderOptions;
use super::queue::Ticket;
use super::recorder::Recorder;
use super::schema::Schema;
use super::stats::RecorderStats;
use super::writer::Writer;

/// A clock that stands still until it is told to go on; clones show the same time.
#[derive(Debug, Clone)]
pub struct SimClock(Arc<Times>);

#[derive(Debug)]
struct Times {
    began: Instant,
    steady_ns: AtomicU64,
    /// By how much the wall clock is ahead of the steady one, in ns since the Unix epoch.
    lead_ns: AtomicI64,
}

impl SimClock {
    /// A clock that shows this wall-clock time, in ns since the Unix epoch.
    pub fn at(wall_ns: i64) -> Self {
        let (steady_ns, lead_ns) = (AtomicU64::new(0), AtomicI64::new(wall_ns));
        Self(Arc::new(Times { began: Instant::now(), steady_ns, lead_ns }))
    }

    /// Makes time pass.
    pub fn advance(&self, time: Duration) {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.0.steady_ns.fetch_add(ns, Ordering::Relaxed);
    }

    /// Sets the wall clock forward by `ns`, or back, as somebody may do at any time.
    pub fn set_forward(&self, ns: i64) {
        self.0.lead_ns.fetch_add(ns, Ordering::Relaxed);
    }

    pub(super) fn now(&self) -> Instant {
        let passed = Duration::from_nanos(self.0.steady_ns.load(Ordering::Relaxed));
        self.0.began.checked_add(passed).unwrap_or(self.0.began)
    }

    pub(super) fn wall_ns(&self) -> i64 {
        let steady_ns = i64::try_from(self.0.steady_ns.load(Ordering::Relaxed)).unwrap_or(i64::MAX);
        self.0.lead_ns.load(Ordering::Relaxed).saturating_add(steady_ns)
    }
}

/// A recorder whose writer runs on the caller's thread, step by step.
///
/// Everything that [`Recorder`] does can be called on [`recorder`](Self::recorder), except for what waits for the writer:
/// `record` and `mark` under [`OnFull::Block`](super::OnFull::Block) when the buffers are full, every record under
/// [`SyncPolicy::EveryRecord`](super::SyncPolicy::EveryRecord) (use `offer`), `flush` and `finish` (use those here).
pub struct SteppedRecorder {
    recorder: Arc<Recorder>,
    /// `None` when it has ended.
    writer: Option<Box<Writer>>,
}

impl SteppedRecorder {
    /// As [`Recorder::create`], with a session and a clock of the caller's.
    ///
    /// # Errors
    /// As there.
    pub fn create(
        root: impl AsRef<Path>,
        schema: &Schema,
        options: RecorderOptions,
        session: Uuid,
        clock: &SimClock,
    ) -> Result<Self, RecordError> {
        let clock = Clock::Sim(clock.clone());
        let (recorder, writer) = Recorder::prepare(root.as_ref(), schema, options, session, clock)?;
        Ok(Self { recorder: Arc::new(recorder), writer: Some(Box::new(writer)) })
    }

    /// The recorder.
    pub fn recorder(&self) -> &Arc<Recorder> {
        &self.recorder
    }

    /// Lets the writer do what it would do now; false if that is nothing.
    pub fn step(&mut self) -> bool {
        let Some(writer) = &mut self.writer else { return false };
        let Some(task) = writer.queue.task_now(writer.deadline()) else { return false };
        match writer.perform(task) {
            Ok(false) => return true,
            Ok(true) => writer.over(Ok(())),
            Err(error) => writer.over(Err(error)),
        }
        self.writer = None;
        true
    }

    /// Steps until there is nothing to do.
    pub fn settle(&mut self) {
        while self.step() {}
    }

    /// As [`Recorder::flush`]; the writer works until it is done.
    ///
    /// # Errors
    /// As there.
    pub fn flush(&mut self) -> Result<(), RecordError> {
        // So that there is room, and nothing waits.
        self.settle();
        let ticket: Ticket = self.recorder.queue.ask_durable()?;
        loop {
            if let Some(result) = self.recorder.queue.made_durable(ticket) {
                return result;
            }
            if !self.step() {
                return Err(RecordError::Finished);
            }
        }
    }

    /// As [`Recorder::finish`]; the writer works until it is done.
    ///
    /// # Errors
    /// As there.
    pub fn finish(&mut self) -> Result<RecorderStats, RecordError> {
        self.recorder.queue.finish();
        self.settle();
        self.recorder.outcome()
    }
}

impl fmt::Debug for SteppedRecorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SteppedRecorder").field("recorder", &self.recorder).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::record::{Channel, DataType, FlowSchema, Timestamp, Value};
    use crate::segment::SimDisk;

    #[test]
    fn an_end_that_leaves_records_behind_is_no_success() {
        let schema = Schema::new("rover", "v1").flow(FlowSchema::new("n").channel(Channel::new("n", DataType::Uint64)));
        let options = RecorderOptions { storage: Arc::new(SimDisk::default()), ..RecorderOptions::default() };
        let clock = SimClock::at(0);
        let mut stepped = SteppedRecorder::create("/", &schema, options, Uuid::nil(), &clock).unwrap();
        let flow = stepped.recorder.flow("n").unwrap();
        let _ = stepped.recorder.record(&flow, Timestamp::from_unix_ns(1), &[Value::Uint64(1)]).unwrap();
        stepped.recorder.queue.finish();
        let error = stepped.recorder.outcome().unwrap_err();
        assert!(matches!(error, RecordError::Failed { not_durable_from: 0, .. }), "{error}");
        stepped.settle();
        assert_eq!(stepped.recorder.outcome().unwrap().durable_seq, 1);
    }
}
