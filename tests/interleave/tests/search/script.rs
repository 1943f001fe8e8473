//! Sessions made up at random: how the recorder behaves, what its threads do, and what goes wrong.

use std::time::Duration;

use crate::choice::{below, flip, one_of};
use crate::session::{Op, Session, Trouble};
use sift_replay::format::Compression;
use sift_replay::record::{OnFull, RecorderOptions, SyncPolicy, Timeouts};
use sift_replay::segment::SimFault;

const TICK: Duration = Duration::from_millis(100);

/// Options without anything that makes this computer's, and small.
pub(crate) fn options(sync: SyncPolicy, on_full: OnFull, frame_bytes: usize, buffers: usize) -> RecorderOptions {
    RecorderOptions {
        sync,
        on_full,
        frame_bytes,
        buffers,
        flush_interval: TICK,
        compression: Compression::None,
        host: String::new(),
        ..RecorderOptions::default()
    }
}

fn any_options() -> RecorderOptions {
    let sync = one_of(&[
        SyncPolicy::EveryRecord,
        SyncPolicy::Interval(TICK),
        SyncPolicy::Bytes(40),
        SyncPolicy::OnRotation,
        SyncPolicy::OnRotation,
    ]);
    let on_full = match sync {
        SyncPolicy::EveryRecord => OnFull::Block,
        _ => one_of(&[OnFull::Block, OnFull::DropNewest, OnFull::DropOldest]),
    };
    // A record has some 20 bytes: a frame holds one, two, or all.
    RecorderOptions {
        waiting_records: one_of(&[u64::MAX, u64::MAX, 1, 2, 3]),
        unsynced_bytes: one_of(&[8 << 20, 8 << 20, 1]),
        segment_bytes: one_of(&[1 << 20, 1 << 20, 1 << 20, 1]),
        segment_age: one_of(&[None, None, Some(TICK)]),
        ..options(sync, on_full, one_of(&[1, 30, 4096]), one_of(&[1, 2, 8]))
    }
}

fn any_op(sync: SyncPolicy, timeouts: Timeouts) -> Op {
    loop {
        let op = match below(24) {
            0..6 => Op::Record,
            6 => Op::TryRecord,
            7..10 => Op::Offer,
            10 => Op::GlanceAtRoom,
            11 => Op::Batch(1 + below(4) as i64),
            12..15 => Op::Flush,
            15..18 => Op::AwaitDurable,
            18 => Op::GlanceAtDurable,
            19 => Op::Note,
            20 => Op::AddFlow,
            21 => Op::Rotate,
            22 => Op::Pass(TICK / 2),
            _ => Op::Pass(TICK),
        };
        // Such a wait is for the interval's own sync, which is a matter of time.
        let needs_time = matches!((op, sync), (Op::AwaitDurable, SyncPolicy::Interval(_)));
        if !needs_time || timeouts == Timeouts::Always {
            return op;
        }
    }
}

fn any_trouble() -> Trouble {
    let fault = if flip() { SimFault::Refused } else { SimFault::Short(below(60) as usize) };
    match below(8) {
        0 | 1 => Trouble::Fails(below(20) as usize, fault),
        2 => Trouble::FailsTwice(below(12) as usize, 1 + below(8) as usize),
        3 => Trouble::Dies(below(20) as usize),
        _ => Trouble::None,
    }
}

/// A session of one to three threads that do anything, finished by one of them, by another meanwhile, or when all are done.
pub(crate) fn any_session(timeouts: Timeouts) {
    let options = any_options();
    let sync = options.sync;
    let session = Session::begin(options, timeouts, any_trouble(), below(4) == 0);
    let mut threads: Vec<Vec<Op>> =
        (0..1 + below(3)).map(|_| (0..1 + below(6)).map(|_| any_op(sync, timeouts)).collect()).collect();
    match below(4) {
        0 => threads.extend([vec![Op::Finish], vec![Op::Record, Op::AwaitEnd]].into_iter().take(1 + below(2) as usize)),
        1 => {
            let at = below(threads.len() as u64) as usize;
            threads[at].push(Op::Finish);
        }
        _ => {}
    }
    let threads: Vec<_> = (1..).zip(threads).map(|(number, ops)| session.thread(number, ops)).collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    session.settle();
}
