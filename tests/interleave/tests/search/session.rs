//! One session, by several threads: what each did, and what it was told.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use shuttle::future::block_on;
use sift_replay::format::AddedFlows;
use uuid::Uuid;

use sift_replay::record::{
    Channel, DataType, Flow, FlowSchema, OnFull, RecordError, Recorded, Recorder, RecorderOptions, RecorderStats,
    Schema, SimClock, SyncPolicy, Tap, TappedFrame, Timeouts, Timestamp, Value, set_time,
};
use sift_replay::segment::{SimDisk, SimFault};

/// What a thread does.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Op {
    Record,
    TryRecord,
    /// Offers until there is room, and waits for that as a task does.
    Offer,
    /// Asks for room once, and gives the wait up.
    GlanceAtRoom,
    Batch(i64),
    Flush,
    /// Waits as a task does until what this thread recorded last is durable.
    AwaitDurable,
    /// Asks for it once, and gives the wait up.
    GlanceAtDurable,
    /// Waits as a task does for a record that there never is: until the end.
    AwaitEnd,
    Note,
    AddFlow,
    Rotate,
    /// Time passes.
    Pass(Duration),
    /// Finishes, and goes on all the same.
    Finish,
}

/// What goes wrong with the disk, and at which operation after the first segment is there.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Trouble {
    None,
    Fails(usize, SimFault),
    FailsTwice(usize, usize),
    Dies(usize),
}

/// What was promised. (Its own locks are never held while another thread may come in between.)
#[derive(Debug, Default)]
pub(crate) struct Promises {
    /// The seqs that were returned, each with what was recorded, by its time.
    pub(crate) acked: Vec<(u64, i64)>,
    /// Recorded, with a seq that wasn't returned.
    pub(crate) recorded: Vec<i64>,
    /// Recorded or not: the call failed only afterwards, or told no more than a number.
    pub(crate) unsure: Vec<i64>,
    pub(crate) dropped: u64,
    /// Dropped or recorded: the call failed later.
    pub(crate) maybe_dropped: u64,
    pub(crate) notes: usize,
    /// What was handed back as lost, once somebody has asked.
    pub(crate) lost: Option<Vec<(u64, Vec<u8>)>>,
    pub(crate) finished: Option<Result<RecorderStats, RecordError>>,
}

#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) disk: SimDisk,
    pub(crate) trouble: Trouble,
    /// Records may be dropped though they have a seq.
    pub(crate) drops_oldest: bool,
    every_record: bool,
    flow: Flow,
    clock: SimClock,
    /// What the tap was shown, if there is one.
    pub(crate) shown: Option<Arc<Shown>>,
    promises: Arc<Mutex<Promises>>,
}

/// A tap that notes of each frame the seq of the first record, and the one behind the last.
#[derive(Debug, Default)]
pub(crate) struct Shown(pub(crate) Mutex<Vec<(u64, u64)>>);

impl Tap for Shown {
    fn frame(&self, frame: &TappedFrame<'_>) {
        self.0.lock().unwrap().push((frame.first_seq, frame.first_seq + u64::from(frame.count)));
    }

    fn flows(&self, _: &AddedFlows) {}
}

impl Session {
    pub(crate) fn begin(mut options: RecorderOptions, timeouts: Timeouts, trouble: Trouble, tapped: bool) -> Self {
        let shown = tapped.then(Arc::<Shown>::default);
        options.tap = shown.clone().map(|shown| shown as Arc<dyn Tap>);
        let (clock, disk) = (SimClock::at(0), SimDisk::new());
        set_time(&clock, timeouts);
        options.storage = Arc::new(disk.clone());
        let drops_oldest = options.on_full == OnFull::DropOldest;
        let schema = Schema::new("rover", "v1").flow(number_flow("n"));
        let every_record = options.sync == SyncPolicy::EveryRecord;
        let recorder = Recorder::create_at("/".as_ref(), &schema, options, Uuid::nil(), &clock).unwrap();
        let flow = recorder.flow("n").unwrap();
        // The first segment is there, and nothing else to be written.
        let from = disk.log().len();
        match trouble {
            Trouble::None => {}
            Trouble::Fails(after, fault) => disk.fail_at(from + after, fault),
            Trouble::FailsTwice(after, then) => {
                disk.fail_at(from + after, SimFault::Refused);
                disk.fail_at(from + after + then, SimFault::Refused);
            }
            Trouble::Dies(after) => disk.die_at(from + after),
        }
        let promises = Arc::default();
        Self { recorder: Arc::new(recorder), disk, trouble, drops_oldest, every_record, flow, clock, shown, promises }
    }

    pub(crate) fn promises(&self) -> MutexGuard<'_, Promises> {
        self.promises.lock().unwrap()
    }

    /// A thread that does all this in order, unless recording ends before. `number`: whose it is, from 1.
    pub(crate) fn thread(&self, number: i64, ops: Vec<Op>) -> shuttle::thread::JoinHandle<()> {
        let session = self.clone();
        shuttle::thread::spawn(move || session.run(number, &ops))
    }

    /// The same on this thread.
    pub(crate) fn run(&self, number: i64, ops: &[Op]) {
        let mut hand = Hand { session: self, next: number * 1000, own: Vec::new(), in_batches: Vec::new(), last: None };
        for op in ops {
            match hand.perform(*op) {
                Ok(()) | Err(RecordError::Full) => {}
                Err(RecordError::Finished) => return,
                Err(error @ RecordError::Failed { .. }) => return self.failed(&error, &hand.own),
                Err(error) => panic!("{op:?}: {error}"),
            }
        }
    }

    /// Ends the session; what it came to must be called for just once.
    pub(crate) fn finish(&self) {
        let outcome = self.recorder.finish();
        let mut promises = self.promises();
        match outcome {
            Err(RecordError::Finished) => assert!(promises.finished.is_some(), "finished, and nobody was told how"),
            outcome => assert!(promises.finished.replace(outcome).is_none(), "finished twice"),
        }
    }

    /// Whoever learns first that recording has failed asks what is lost; all that it recorded is among that, or durable.
    fn failed(&self, error: &RecordError, own: &[(u64, i64)]) {
        assert!(!matches!(self.trouble, Trouble::None | Trouble::Fails(..)), "one fault is borne: {error}");
        if self.promises().lost.is_some() {
            return;
        }
        self.promises().lost = Some(Vec::new());
        let lost = self.recorder.take_lost();
        let durable = self.recorder.durable_seq();
        for (seq, _) in own.iter().filter(|(seq, _)| *seq >= durable && !self.drops_oldest) {
            assert!(lost.iter().any(|(at, _)| at == seq), "{seq} is neither durable nor lost");
        }
        self.promises().lost.get_or_insert_default().extend(lost);
    }
}

/// The only channel is a number.
fn number_flow(name: &str) -> FlowSchema {
    FlowSchema::new(name).channel(Channel::new("n", DataType::Uint64))
}

struct Eager {
    recorder: Arc<Recorder>,
    waker: Waker,
}

impl Wake for Eager {
    fn wake(self: Arc<Self>) {
        let _ = self.recorder.stats();
        let _ = self.recorder.poll_durable(0, &mut Context::from_waker(Waker::noop()));
        self.waker.wake_by_ref();
    }
}

/// A thread's.
struct Hand<'a> {
    session: &'a Session,
    /// The time of the next record, which is like no other's.
    next: i64,
    /// The records of this thread whose seqs it knows.
    own: Vec<(u64, i64)>,
    /// Those of which it knows only that they are recorded.
    in_batches: Vec<i64>,
    last: Option<u64>,
}

impl Hand<'_> {
    fn next_time(&mut self) -> Timestamp {
        self.next += 1;
        Timestamp::from_unix_ns(self.next)
    }

    fn perform(&mut self, op: Op) -> Result<(), RecordError> {
        let Session { recorder, flow, .. } = self.session;
        let values: &[Value<'_>] = &[Value::Uint64(7)];
        match op {
            Op::Record => {
                let time = self.next_time();
                self.told(recorder.record(flow, time, values), true)
            }
            Op::TryRecord => {
                let time = self.next_time();
                self.told(recorder.try_record(flow, time, values), true)
            }
            Op::Offer => {
                let time = self.next_time();
                loop {
                    match recorder.offer(flow, time, values) {
                        Err(RecordError::Full) => self.wait(|context| recorder.poll_room(context)),
                        result => break self.told(result, false),
                    }
                }
            }
            Op::GlanceAtRoom => {
                let _ = recorder.poll_room(&mut Context::from_waker(Waker::noop()));
                Ok(())
            }
            Op::Batch(rows) => self.batch(rows, values),
            Op::Flush => recorder.flush().map(|()| self.all_durable(u64::MAX)),
            Op::AwaitDurable => self.await_durable(),
            Op::AwaitEnd => {
                let waited = self.wait(|context| recorder.poll_durable(u64::MAX, context));
                waited.map(|()| panic!("what isn't there is durable"))
            }
            Op::GlanceAtDurable => {
                let last = self.last.unwrap_or_default();
                match recorder.poll_durable(last, &mut Context::from_waker(Waker::noop())) {
                    Poll::Ready(result) => result.map(|()| self.all_durable(last)),
                    Poll::Pending => Ok(()),
                }
            }
            Op::Note => {
                recorder.note("n")?;
                self.session.promises().notes += 1;
                Ok(())
            }
            Op::AddFlow => recorder.add_flow(number_flow("m")).map(drop),
            Op::Rotate => recorder.rotate(),
            Op::Pass(time) => {
                self.session.clock.advance(time);
                Ok(())
            }
            Op::Finish => {
                self.session.finish();
                Ok(())
            }
        }
    }

    /// Waits as a task does whose waker looks at the recorder at once, as one may that runs what it wakes.
    fn wait<T>(&self, mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> T {
        let mut eager = None;
        block_on(poll_fn(move |context| {
            let eager = eager.get_or_insert_with(|| {
                let (recorder, waker) = (self.session.recorder.clone(), context.waker().clone());
                Waker::from(Arc::new(Eager { recorder, waker }))
            });
            poll(&mut Context::from_waker(eager))
        }))
    }

    /// What became of the record that was made last. `waits`: it is durable then, if all are to be.
    fn told(&mut self, result: Result<Recorded, RecordError>, waits: bool) -> Result<(), RecordError> {
        let id = self.next;
        let mut promises = self.session.promises();
        match result {
            Ok(Recorded::Seq(seq)) => {
                promises.acked.push((seq, id));
                drop(promises);
                assert!(self.last.is_none_or(|last| last < seq), "seqs go up");
                self.own.push((seq, id));
                self.last = Some(seq);
                if waits && self.session.every_record {
                    self.all_durable(seq);
                }
                Ok(())
            }
            Ok(Recorded::Dropped) => {
                promises.dropped += 1;
                Ok(())
            }
            Err(error) => {
                if matches!(error, RecordError::Failed { .. }) {
                    promises.unsure.push(id);
                }
                Err(error)
            }
        }
    }

    fn batch(&mut self, rows: i64, values: &[Value<'_>]) -> Result<(), RecordError> {
        let ids: Vec<_> = (0..rows).map(|_| self.next_time().unix_ns()).collect();
        let made: Vec<_> = ids.iter().map(|id| (Timestamp::from_unix_ns(*id), values)).collect();
        let result = self.session.recorder.record_batch(&self.session.flow, &made);
        let mut promises = self.session.promises();
        match result {
            Ok(recorded) if recorded == ids.len() as u64 => {
                promises.recorded.extend(&ids);
                drop(promises);
                self.in_batches.extend(ids);
                if self.session.every_record {
                    self.all_durable(u64::MAX);
                }
            }
            Ok(recorded) => {
                promises.dropped += ids.len() as u64 - recorded;
                promises.unsure.extend(ids);
            }
            Err(RecordError::Row { at, source }) => {
                promises.maybe_dropped += at as u64;
                promises.unsure.extend(&ids[..at]);
                return Err(*source);
            }
            Err(error) => {
                promises.unsure.extend(ids);
                return Err(error);
            }
        }
        Ok(())
    }

    fn await_durable(&mut self) -> Result<(), RecordError> {
        let Some(last) = self.last else { return Ok(()) };
        self.wait(|context| self.session.recorder.poll_durable(last, context))?;
        self.all_durable(last);
        Ok(())
    }

    /// What this thread recorded, up to that seq, is what no power cut takes any more.
    fn all_durable(&self, up_to: u64) {
        let least = crate::evidence::Evidence::of(&self.session.disk.image().least());
        for (seq, id) in self.own.iter().filter(|(seq, _)| *seq <= up_to) {
            assert!(self.session.recorder.durable_seq() > *seq, "{seq} isn't durable");
            let is_dropped = self.session.drops_oldest && least.has_dropped(*seq);
            assert!(is_dropped || least.records.get(seq) == Some(id), "{seq} was to be on the disk: {least:?}");
        }
        if up_to == u64::MAX && !self.session.drops_oldest {
            let ids: BTreeSet<_> = least.records.values().collect();
            assert!(self.in_batches.iter().all(|id| ids.contains(id)), "{:?}: {least:?}", self.in_batches);
        }
    }
}
