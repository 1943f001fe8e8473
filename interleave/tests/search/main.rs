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

use std::time::Instant;

use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, MaxSteps, Runner};

use self::bounded::Bounded;
use self::script::{any_session, options};
use self::session::{Op, Session, Trouble};
use sift_replay::record::{OnFull, RecorderOptions, SyncPolicy, Timeouts};

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
    let began = Instant::now();
    let sessions = Runner::new(scheduler, config).run(session);
    println!("{what}: {sessions} sessions in {:.1} s", began.elapsed().as_secs_f64());
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

/// A small session in all interleavings that have so few preemptions, with and without time-outs.
fn in_all_ways(
    what: &str,
    preemptions: u32,
    make: fn() -> RecorderOptions,
    trouble: Trouble,
    threads: &'static [&'static [Op]],
) {
    for (with, timeouts) in [("no", Timeouts::Never), ("one", Timeouts::Some(1))] {
        let what = format!("{what}, {with} time-out, {preemptions} preemptions");
        search(&what, Bounded::new(preemptions), move || {
            let session = Session::begin(make(), timeouts, trouble);
            let [own, others @ ..] = threads else { return };
            let others: Vec<_> = (2..).zip(others).map(|(number, ops)| session.thread(number, ops.to_vec())).collect();
            session.run(1, own);
            others.into_iter().for_each(|thread| thread.join().unwrap());
            session.settle();
        });
    }
}

#[test]
fn the_last_frame_is_never_left_behind() {
    let make = || options(SyncPolicy::OnRotation, OnFull::Block, 4096, 1);
    in_all_ways("record, finish", 3, make, Trouble::None, &[&[Op::Record]]);
}
