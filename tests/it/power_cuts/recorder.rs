//! The recorder without other faults than the power cut.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use sift_replay::format::Compression;
use sift_replay::record::{RecorderOptions, SyncPolicy};
use sift_replay::segment::{SimDisk, SimOp};

use super::script::{Act, Run, Watched, options};
use super::{Cuts, History, check};
use Act::{AddFlow, Flush, Note, Pass, Record, RecordAdded, Rotate, SetClock, Settle};

/// Everything that a recorder can be asked for.
pub(super) const MIXED: [Act; 22] = [
    Record(2),
    Settle,
    Record(3),
    Flush,
    Note,
    Record(1),
    Pass(60),
    Record(4),
    AddFlow,
    RecordAdded,
    Pass(200),
    Rotate,
    Record(2),
    SetClock,
    RecordAdded,
    Settle,
    Note,
    Flush,
    Rotate,
    Rotate,
    Record(5),
    Settle,
];

/// Many small frames, and segments that fill up.
const MANY: [Act; 7] = [Record(40), Settle, Record(25), Flush, Record(30), Pass(500), Record(7)];

/// Plays the script, and cuts the power at each operation of the disk; returns how many states were looked at.
fn cut(script: &[Act], make: impl Fn(&SimDisk) -> RecorderOptions, density: (usize, usize)) -> usize {
    let (disk, watched) = (SimDisk::new(), Watched::default());
    let cuts = Arc::new(Mutex::new(Cuts::default()));
    let history: Arc<Mutex<Option<Arc<Mutex<History>>>>> = Arc::default();
    let look = {
        let (watched, history, cuts) = (watched.clone(), history.clone(), cuts.clone());
        move |number: usize, image: &sift_replay::segment::SimImage| {
            let mut now = history.lock().unwrap().as_ref().map_or_else(History::default, |h| h.lock().unwrap().clone());
            now.durable = watched.get().map_or(0, |recorder| recorder.durable_seq());
            let promise = (now.durable, now.durable_notes);
            cuts.lock().unwrap().each(image, promise, density, |what, files| {
                if let Err(error) = check(files, &now) {
                    panic!("power cut before operation {number}, {what}: {error}");
                }
            });
        }
    };
    disk.watch(look.clone());
    let mut run = Run::create(make(&disk), &watched).unwrap();
    *history.lock().unwrap() = Some(run.history.clone());
    let stats = run.play(script).unwrap();
    assert_eq!((stats.durable_seq, stats.io_errors), (run.history().records.len() as u64, 0));
    look(disk.log().len(), &disk.image());
    assert_eq!(disk.violations(), Vec::<String>::new());
    let log = disk.log();
    assert!(
        [SimOp::Create, SimOp::Append, SimOp::Sync, SimOp::Rename, SimOp::SyncDir].iter().all(|op| log.contains(op))
    );
    cuts.lock().unwrap().count()
}

const POLICIES: [SyncPolicy; 4] = [
    SyncPolicy::OnRotation,
    SyncPolicy::Interval(Duration::from_millis(100)),
    SyncPolicy::Bytes(150),
    SyncPolicy::EveryRecord,
];

/// The script under each policy, with frames of these sizes.
fn cut_under_all_policies(script: &[Act], compression: Compression, sizes: &[usize], density: (usize, usize)) -> usize {
    let mut count = 0;
    for sync in POLICIES {
        for &frame_bytes in sizes {
            count += cut(script, |disk| options(sync, compression, frame_bytes, disk), density);
        }
    }
    count
}

#[track_caller]
fn at_least(least: usize, count: usize) {
    println!("{count} states of the disk after a power cut");
    assert!(count >= least, "{count} states of the disk were looked at");
}

#[test]
fn no_power_cut_costs_what_is_durable_when_every_record_is_a_frame() {
    at_least(20_000, cut_under_all_policies(&MIXED, Compression::None, &[1], (usize::MAX, 80)));
}

#[test]
fn no_power_cut_costs_what_is_durable_when_frames_hold_several_records() {
    at_least(25_000, cut_under_all_policies(&MIXED, Compression::None, &[100, 4096], (usize::MAX, 80)));
}

#[test]
fn no_power_cut_costs_what_is_durable_when_frames_are_compressed() {
    at_least(24_000, cut_under_all_policies(&MIXED, Compression::Zstd(1), &[100, 4096], (usize::MAX, 80)));
}

#[test]
fn no_power_cut_costs_what_is_durable_when_segments_fill_up() {
    let mut count = 0;
    for sync in POLICIES {
        for segment_bytes in [1, 600, 1500] {
            let make = |disk: &SimDisk| RecorderOptions { segment_bytes, ..options(sync, Compression::None, 64, disk) };
            count += cut(&MANY, make, (20, 40));
        }
    }
    at_least(20_000, count);
}
