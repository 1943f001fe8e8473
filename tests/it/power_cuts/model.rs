//! Anything that programs, disks and people may do, in any order, against a model of the recorder that knows nothing of
//! files: what counts as durable is there, after any power cut, and what an earlier recorder left is left alone.

use std::time::Duration;

use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use sift_replay::format::Compression;
use sift_replay::record::{RecordError, RecorderOptions, SyncPolicy};
use sift_replay::segment::{SimDisk, SimFault, SimFiles};
use uuid::Uuid;

use super::check;
use super::script::{Act, Run, SESSION, Watched, options};

/// How a recorder is set up.
#[derive(Debug, Clone, Copy)]
struct Setup {
    sync: SyncPolicy,
    compression: Compression,
    frame_bytes: usize,
    segment_bytes: u64,
    buffers: usize,
}

impl Setup {
    fn options(&self, disk: &SimDisk) -> RecorderOptions {
        let Self { segment_bytes, buffers, .. } = *self;
        let options = options(self.sync, self.compression, self.frame_bytes, disk);
        RecorderOptions { segment_bytes, buffers, unsynced_bytes: 700, ..options }
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Act(Act),
    /// The operation so many from now on goes wrong.
    Fail(usize, SimFault),
    /// From now on so many bytes fit.
    Room(u64),
    /// The power goes, and comes back; another recorder begins.
    PowerCut(u64),
}

/// What the model knows: how many records there are, and how many of them must be durable.
#[derive(Debug, Clone)]
struct Model {
    setup: Setup,
    records: u64,
    flushed: u64,
    has_added: bool,
    /// Something may go wrong: then calls may fail.
    faulty: bool,
}

impl ReferenceStateMachine for Model {
    type State = Self;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Self> {
        let sync = prop_oneof![
            Just(SyncPolicy::OnRotation),
            Just(SyncPolicy::EveryRecord),
            (1u64..300).prop_map(|ms| SyncPolicy::Interval(Duration::from_millis(ms))),
            (1u64..400).prop_map(SyncPolicy::Bytes),
        ];
        let compression = prop_oneof![Just(Compression::None), Just(Compression::Zstd(1))];
        let sizes = (prop_oneof![Just(1usize), 20usize..400], 1u64..3000, 1usize..5);
        (sync, compression, sizes)
            .prop_map(|(sync, compression, (frame_bytes, segment_bytes, buffers))| {
                let setup = Setup { sync, compression, frame_bytes, segment_bytes, buffers };
                Self { setup, records: 0, flushed: 0, has_added: false, faulty: false }
            })
            .boxed()
    }

    fn transitions(_: &Self) -> BoxedStrategy<Step> {
        let fault = prop_oneof![Just(SimFault::Refused), (0usize..200).prop_map(SimFault::Short)];
        prop_oneof![
            6 => (1usize..6).prop_map(|records| Step::Act(Act::Record(records))),
            2 => Just(Step::Act(Act::RecordAdded)),
            2 => Just(Step::Act(Act::Note)),
            1 => Just(Step::Act(Act::AddFlow)),
            1 => Just(Step::Act(Act::Rotate)),
            2 => Just(Step::Act(Act::Flush)),
            3 => Just(Step::Act(Act::Settle)),
            3 => (1u64..400).prop_map(|ms| Step::Act(Act::Pass(ms))),
            1 => Just(Step::Act(Act::SetClock)),
            1 => (0usize..12, fault).prop_map(|(ahead, fault)| Step::Fail(ahead, fault)),
            1 => (0u64..3000).prop_map(Step::Room),
            2 => any::<u64>().prop_map(Step::PowerCut),
        ]
        .boxed()
    }

    fn preconditions(state: &Self, step: &Step) -> bool {
        !matches!(step, Step::Act(Act::RecordAdded)) || state.has_added
    }

    fn apply(mut state: Self, step: &Step) -> Self {
        match step {
            Step::Act(Act::Record(records)) => state.records += *records as u64,
            Step::Act(Act::RecordAdded) => state.records += 1,
            Step::Act(Act::AddFlow) => state.has_added = true,
            Step::Act(Act::Flush) => state.flushed = state.records,
            Step::Act(_) => {}
            Step::Fail(..) | Step::Room(_) => state.faulty = true,
            Step::PowerCut(_) => {
                let setup = state.setup;
                state = Self { setup, records: 0, flushed: 0, has_added: false, faulty: false };
            }
        }
        state
    }
}

/// The recorder, and what earlier ones have left.
struct System {
    disk: SimDisk,
    run: Run,
    left: SimFiles,
    sessions: u128,
    /// The recorder has stopped for good, and said so.
    stopped: bool,
}

impl System {
    fn begin(disk: SimDisk, setup: &Setup, left: SimFiles, sessions: u128) -> Self {
        // Another time, and other random bits: what stale blocks hold of another session isn't this one's ([F-9]).
        let session = Uuid::from_u128(SESSION.as_u128() + (sessions << 64) + sessions * 0x0101_0101_0101_0101);
        let run = Run::begin(setup.options(&disk), &Watched::default(), session).expect("a sound disk");
        Self { disk, run, left, sessions, stopped: false }
    }

    /// The files of this session, among all.
    fn own(&self, files: SimFiles) -> SimFiles {
        files.into_iter().filter(|(path, _)| !self.left.contains_key(path)).collect()
    }

    fn check(&self, files: SimFiles, what: &str) {
        for (path, bytes) in &self.left {
            assert_eq!(files.get(path), Some(bytes), "{what}: {} isn't this session's", path.display());
        }
        check(&self.own(files), &self.run.history()).unwrap_or_else(|error| panic!("{what}: {error}"));
    }
}

struct RecorderTest;

impl StateMachineTest for RecorderTest {
    type SystemUnderTest = System;
    type Reference = Model;

    fn init_test(model: &Model) -> System {
        System::begin(SimDisk::new(), &model.setup, SimFiles::new(), 0)
    }

    fn apply(mut system: System, model: &Model, step: Step) -> System {
        match step {
            Step::Act(act) => match system.run.act(act) {
                Ok(()) => assert!(!system.stopped || matches!(act, Act::Settle | Act::Pass(_) | Act::SetClock)),
                Err(RecordError::Failed { not_durable_from, .. }) => {
                    assert!(model.faulty, "nothing had gone wrong");
                    assert_eq!(not_durable_from, system.run.history().durable);
                    system.stopped = true;
                }
                // The flow that wasn't added because the recorder had stopped.
                Err(RecordError::UnknownFlow { .. }) => assert!(system.stopped),
                Err(error) => panic!("{act:?}: {error}"),
            },
            Step::Fail(ahead, fault) => system.disk.fail_at(system.disk.log().len() + ahead, fault),
            Step::Room(bytes) => {
                let used: usize = system.disk.image().all().values().map(Vec::len).sum();
                system.disk.set_capacity(Some(used as u64 + bytes));
            }
            Step::PowerCut(seed) => {
                let files = system.disk.image().survivor(seed);
                system.check(files.clone(), &format!("power cut with seed {seed}"));
                return System::begin(SimDisk::of(files.clone()), &model.setup, files, system.sessions + 1);
            }
        }
        system
    }

    fn check_invariants(system: &System, model: &Model) {
        let history = system.run.history();
        if !system.stopped {
            assert_eq!(history.records.len() as u64, model.records);
            assert!(history.durable >= model.flushed, "{} durable, {} flushed", history.durable, model.flushed);
        }
        assert_eq!(system.disk.violations(), Vec::<String>::new());
        let image = system.disk.image();
        system.check(image.all(), "what a running computer sees");
        system.check(image.least(), "what a power cut leaves at least");
    }
}

fn config() -> ProptestConfig {
    let cases = 150 * super::factor() as u32;
    ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 2000, ..ProptestConfig::default() }
}

prop_state_machine! {
    #![proptest_config(config())]

    #[test]
    fn whatever_happens_what_is_durable_is_read_back_and_nothing_else_is_invented(sequential 1..60 => RecorderTest);
}
