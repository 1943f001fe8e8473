//! Scripted workloads for a recorder on a simulated disk.

use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use sift_replay::format::Compression;
use sift_replay::record::{
    DataType, RecordError, Recorded, Recorder, RecorderOptions, RecorderStats, SimClock, SteppedRecorder, SyncPolicy,
    Value,
};
use sift_replay::segment::SimDisk;
use uuid::Uuid;

use super::History;
use crate::support::recording::{Owned, at, counter_schema, encoded, flow_of};

/// One thing that a program does, or that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// So many records of the first flow.
    Record(usize),
    /// One of the flow that [`Act::AddFlow`] adds.
    RecordAdded,
    Note,
    AddFlow,
    Rotate,
    Flush,
    /// The writer gets to work.
    Settle,
    /// So many milliseconds pass, and the writer gets to work.
    Pass(u64),
    /// Somebody sets the wall clock.
    SetClock,
}

/// A recorder on a simulated disk, and what was done with it.
pub(crate) struct Run {
    pub(crate) history: Arc<Mutex<History>>,
    pub(crate) recorder: SteppedRecorder,
    clock: SimClock,
    /// Few buffers: what isn't a record would wait for room.
    tight: bool,
}

/// The recorder, for whoever watches the disk while it works.
pub(crate) type Watched = Arc<OnceLock<Arc<Recorder>>>;

pub(crate) const SESSION: Uuid = Uuid::from_u128(0x0193_5f6e_1b2c_7000_8123_4567_89ab_cdef);

/// Options under which time and bytes matter, but nothing else.
pub(crate) fn options(
    sync: SyncPolicy,
    compression: Compression,
    frame_bytes: usize,
    disk: &SimDisk,
) -> RecorderOptions {
    RecorderOptions {
        sync,
        compression,
        frame_bytes,
        program: "test".to_owned(),
        program_version: String::new(),
        host: String::new(),
        storage: Arc::new(disk.clone()),
        ..Default::default()
    }
}

impl Run {
    pub(crate) fn create(options: RecorderOptions, watched: &Watched) -> Result<Self, RecordError> {
        Self::begin(options, watched, SESSION)
    }

    /// The same with another session.
    pub(crate) fn begin(options: RecorderOptions, watched: &Watched, session: Uuid) -> Result<Self, RecordError> {
        let (clock, tight) = (SimClock::at(1_700_000_000_000_000_000), options.buffers < 8);
        let recorder = SteppedRecorder::create(Path::new("root"), &counter_schema(), options, session, &clock)?;
        assert!(watched.set(recorder.recorder().clone()).is_ok(), "one recorder at a time");
        Ok(Self { history: Arc::default(), recorder, clock, tight })
    }

    /// Records under the next seq; the writer makes room where there is none.
    fn record(&mut self, flow: &str, value: u64) -> Result<(), RecordError> {
        let handle = self.recorder.recorder().flow(flow)?;
        loop {
            // Noted before: it may be on the disk as soon as it is handed over.
            self.history.lock().unwrap().records.push(encoded(flow, value as i64, &[Owned::Uint64(value)]));
            match self.recorder.recorder().offer(&handle, at(value), &[Value::Uint64(value)]) {
                Ok(Recorded::Seq(seq)) => {
                    assert_eq!(seq as usize + 1, self.history.lock().unwrap().records.len());
                    return Ok(());
                }
                other => {
                    self.history.lock().unwrap().records.pop();
                    match other {
                        Err(RecordError::Full) if self.recorder.step() => {}
                        Err(error) => return Err(error),
                        Ok(recorded) => panic!("{recorded:?}, though nothing may be dropped"),
                    }
                }
            }
        }
    }

    pub(crate) fn act(&mut self, act: Act) -> Result<(), RecordError> {
        let count = self.history.lock().unwrap().records.len() as u64;
        if self.tight && matches!(act, Act::Note | Act::AddFlow | Act::Rotate) {
            self.recorder.settle();
        }
        match act {
            Act::Record(records) => (0..records as u64).try_for_each(|i| self.record("f", count + i))?,
            Act::RecordAdded => self.record("late", count)?,
            Act::Note => {
                let note = format!("note {}", self.history.lock().unwrap().notes.len());
                self.history.lock().unwrap().notes.push(note.clone());
                self.recorder.recorder().note(note)?;
            }
            Act::AddFlow => drop(self.recorder.recorder().add_flow(flow_of("late", &[DataType::Uint64]))?),
            Act::Rotate => self.recorder.recorder().rotate()?,
            Act::Flush => {
                self.recorder.flush()?;
                assert_eq!(self.recorder.recorder().durable_seq(), count, "flush returned");
                let mut history = self.history.lock().unwrap();
                history.durable_notes = history.notes.len();
            }
            Act::Settle => self.recorder.settle(),
            Act::Pass(ms) => {
                self.clock.advance(Duration::from_millis(ms));
                self.recorder.settle();
            }
            Act::SetClock => self.clock.set_forward(3_600_000_000_000),
        }
        Ok(())
    }

    /// All of it, and the end.
    pub(crate) fn play(&mut self, script: &[Act]) -> Result<RecorderStats, RecordError> {
        script.iter().try_for_each(|act| self.act(*act))?;
        let stats = self.recorder.finish()?;
        let mut history = self.history.lock().unwrap();
        history.durable_notes = history.notes.len();
        Ok(stats)
    }

    /// What was done, and what counts as durable.
    pub(crate) fn history(&self) -> History {
        let durable = self.recorder.recorder().durable_seq();
        History { durable, ..self.history.lock().unwrap().clone() }
    }
}
