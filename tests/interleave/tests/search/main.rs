//! The recorder under a checker that decides which thread goes on, at each use of a lock, a condition, or what is shared: the
//! real recorder and writer, on a disk in memory. A search is the same each time; what fails says how to see it again.
//!
//! Two searches: sessions made up at random, under random schedules; and some small sessions in all interleavings that have
//! few preemptions. Both find whoever sleeps for ever, since where time-outs never come, none may be needed.

mod bounded;
mod choice;
mod evidence;
mod script;
mod session;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, MaxSteps, Runner};

use self::bounded::Bounded;
use self::script::{any_session, options};
use self::session::{Op, Session, Trouble};
use sift_replay::record::{OnFull, SyncPolicy, Timeouts};

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// Runs all sessions that the scheduler has, and says how many those were.
fn search(what: &str, scheduler: impl Scheduler + 'static, session: impl Fn() + Send + Sync + 'static) {
    let mut config = Config::new();
    config.stack_size = 1 << 18;
    // A session that goes round in circles is one that hangs.
    config.max_steps = MaxSteps::FailAfter(50_000);
    config.silence_warnings = true;
    config.ungraceful_shutdown_config.immediately_return_on_panic = true;
    let sessions = Arc::new(AtomicUsize::new(0));
    let told = Told { what: what.to_owned(), began: Instant::now(), sessions: sessions.clone() };
    Runner::new(scheduler, config).run(move || {
        sessions.fetch_add(1, Ordering::Relaxed);
        session();
    });
    drop(told);
}

/// Tells how many sessions there were, also when one fails.
struct Told {
    what: String,
    began: Instant,
    sessions: Arc<AtomicUsize>,
}

impl Drop for Told {
    fn drop(&mut self) {
        let (sessions, seconds) = (self.sessions.load(Ordering::Relaxed), self.began.elapsed().as_secs_f64());
        let how = if std::thread::panicking() { ": THE LAST ONE FAILED" } else { "" };
        println!("{}: {sessions} sessions in {seconds:.1} s{how}", self.what);
    }
}

fn at_random(what: &str, timeouts: Timeouts) {
    let sessions = usize::try_from(10_000 * setting("SIFT_REPLAY_INTERLEAVE_FACTOR", 1)).unwrap();
    let seed = setting("SIFT_REPLAY_INTERLEAVE_SEED", 1);
    let any = move || any_session(timeouts);
    search(&format!("{what}, any thread at any time"), RandomScheduler::new_from_seed(seed, sessions), any);
    search(&format!("{what}, one before the other"), PctScheduler::new_from_seed(seed, 3, sessions), any);
}

#[test]
fn nothing_is_lost_and_nobody_sleeps_for_ever_though_no_time_out_ever_comes() {
    at_random("without time-outs", Timeouts::Never);
}

#[test]
fn nothing_is_lost_and_nobody_sleeps_for_ever_though_time_outs_come_at_any_moment() {
    at_random("with time-outs", Timeouts::Always);
}

/// A small session in all interleavings that have so few preemptions, with no time-out, and with one at any moment or none.
/// The first thread is the one that finishes when all are done.
fn in_all_ways(preemptions: u32, small: Small) {
    let preemptions = preemptions + setting("SIFT_REPLAY_INTERLEAVE_PREEMPTIONS", 0) as u32;
    for (with, timeouts) in [("no", Timeouts::Never), ("one", Timeouts::Some(1))] {
        let what = format!("{}, {preemptions} preemptions, {with} time-out", small.what);
        search(&what, Bounded::new(preemptions), move || {
            let Small { sync, on_full, frame_bytes, trouble, threads, .. } = small;
            let session = Session::begin(options(sync, on_full, frame_bytes, 1), timeouts, trouble, false);
            let [own, others @ ..] = threads else { panic!("nobody does anything") };
            let others = (2..).zip(others).map(|(number, ops)| session.thread(number, ops.to_vec()));
            let others: Vec<_> = others.collect();
            session.run(1, own);
            others.into_iter().for_each(|thread| thread.join().unwrap());
            session.settle();
        });
    }
}

struct Small {
    what: &'static str,
    sync: SyncPolicy,
    on_full: OnFull,
    /// 1: each record is a frame. [`LARGE`]: all of them are one, unless somebody waits for it.
    frame_bytes: usize,
    trouble: Trouble,
    threads: &'static [&'static [Op]],
}

const LARGE: usize = 4096;

impl Small {
    const PLAIN: Self = Self {
        what: "",
        sync: SyncPolicy::OnRotation,
        on_full: OnFull::Block,
        frame_bytes: LARGE,
        trouble: Trouble::None,
        threads: &[],
    };
}

#[test]
fn the_last_frame_is_never_left_behind() {
    in_all_ways(3, Small { what: "record, finish", threads: &[&[Op::Record]], ..Small::PLAIN });
    in_all_ways(
        2,
        Small {
            what: "record while another finishes",
            threads: &[&[Op::Finish], &[Op::Record, Op::Record]],
            ..Small::PLAIN
        },
    );
}

#[test]
fn who_flushes_is_always_woken() {
    in_all_ways(3, Small { what: "record, flush", threads: &[&[Op::Record, Op::Flush]], ..Small::PLAIN });
    const TWO: &[&[Op]] = &[&[Op::Record, Op::Flush], &[Op::Record, Op::Flush]];
    in_all_ways(2, Small { what: "two flush", threads: TWO, ..Small::PLAIN });
    const ENDED: &[&[Op]] = &[&[Op::Finish], &[Op::Record, Op::Flush]];
    in_all_ways(2, Small { what: "flush while another finishes", threads: ENDED, ..Small::PLAIN });
}

#[test]
fn who_waits_for_a_record_is_always_woken() {
    let every = Small { sync: SyncPolicy::EveryRecord, ..Small::PLAIN };
    const TWO: &[&[Op]] = &[&[Op::Record], &[Op::Record]];
    in_all_ways(2, Small { what: "two records, each durable", threads: TWO, ..every });
    const TASKS: &[&[Op]] = &[&[Op::Record, Op::AwaitDurable], &[Op::Record, Op::AwaitDurable]];
    in_all_ways(2, Small { what: "two tasks wait for theirs", threads: TASKS, ..Small::PLAIN });
    const ENDED: &[&[Op]] = &[&[Op::Finish], &[Op::Record, Op::AwaitDurable]];
    in_all_ways(2, Small { what: "a task waits while another finishes", threads: ENDED, ..Small::PLAIN });
}

#[test]
fn who_waits_for_a_record_that_never_comes_is_woken_at_the_end() {
    const NONE: &[&[Op]] = &[&[Op::Record, Op::Finish], &[Op::AwaitEnd]];
    for trouble in [Trouble::None, Trouble::Dies(0)] {
        in_all_ways(2, Small { what: "waits for what never comes", trouble, threads: NONE, ..Small::PLAIN });
    }
}

#[test]
fn who_waits_for_room_is_always_woken() {
    let small = Small { frame_bytes: 1, ..Small::PLAIN };
    const ONE: &[&[Op]] = &[&[Op::Record, Op::Record, Op::Record]];
    in_all_ways(3, Small { what: "three frames, room for one", threads: ONE, ..small });
    const TWO: &[&[Op]] = &[&[Op::Record, Op::Record], &[Op::Record, Op::Record]];
    in_all_ways(2, Small { what: "two threads, room for one frame", threads: TWO, ..small });
    const TASKS: &[&[Op]] = &[&[Op::Offer, Op::Offer], &[Op::Offer, Op::Offer]];
    in_all_ways(2, Small { what: "two tasks, room for one frame", threads: TASKS, ..small });
    const ENDED: &[&[Op]] = &[&[Op::Finish], &[Op::Offer, Op::Offer, Op::Record, Op::Record]];
    in_all_ways(2, Small { what: "waits for room while another finishes", threads: ENDED, ..small });
}

#[test]
fn what_is_dropped_is_told_to_the_last() {
    const TWO: &[&[Op]] = &[&[Op::Record, Op::Record, Op::Record], &[Op::Record]];
    for on_full in [OnFull::DropNewest, OnFull::DropOldest] {
        in_all_ways(
            2,
            Small { what: "more than there is room for", on_full, frame_bytes: 1, threads: TWO, ..Small::PLAIN },
        );
    }
}

#[test]
fn when_the_disk_dies_all_is_handed_back_and_nobody_waits() {
    const THREADS: &[&[Op]] = &[&[Op::Record, Op::Flush], &[Op::Record, Op::Record, Op::AwaitDurable]];
    for frame_bytes in [1, LARGE] {
        let trouble = Trouble::Dies(0);
        in_all_ways(2, Small { what: "the disk dies", frame_bytes, trouble, threads: THREADS, ..Small::PLAIN });
    }
}
