//! A stream's process is killed with SIGKILL at any moment, while the line fails, again and again. The child is this very
//! test binary, run again.
//!
//! `SIFT_REPLAY_KILL_ROUNDS` sets the number of kills, `SIFT_REPLAY_KILL_SEED` the seed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sift_replay::record::{RecorderOptions, SyncPolicy};
use sift_replay::stream::DiskBackupPolicy;

use super::line::Line;
use super::oracle::{disturb, number};
use super::support::{message, numbers, quick, segments, to};
use crate::support::destination::block_on;
use crate::support::faulty::RecordId;

const URI: &str = "SIFT_REPLAY_TEST_STREAM_URI";
const DIR: &str = "SIFT_REPLAY_TEST_STREAM_DIR";
const TOLD: &str = "SIFT_REPLAY_TEST_STREAM_TOLD";
const FIRST: &str = "SIFT_REPLAY_TEST_STREAM_FIRST";
const COUNT: &str = "SIFT_REPLAY_TEST_STREAM_COUNT";
const HOW: &str = "SIFT_REPLAY_TEST_STREAM_HOW";

/// Tasks of a child that send.
const SENDERS: u64 = 4;

/// Numbers of one child: more than it ever gets to.
const EACH: u64 = 1_000_000;

/// Longest that a child may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a child records, and what becomes of its files.
#[derive(Clone, Copy, PartialEq)]
enum How {
    /// Synced before `send` returns; files stay.
    Synced,
    /// As it is by default; files go.
    Default,
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap()
}

#[test]
#[ignore = "a child of the tests below"]
fn child_that_sends() {
    let (first, count): (u64, u64) = (variable(FIRST).parse().unwrap(), variable(COUNT).parse().unwrap());
    let is_synced = variable(HOW) == "synced";
    block_on(async {
        let policy = DiskBackupPolicy {
            backups_dir: Some(PathBuf::from(variable(DIR))),
            max_backup_file_size: 8 << 10,
            retain_backups: is_synced,
            ..DiskBackupPolicy::default()
        };
        let recorder = RecorderOptions {
            sync: if is_synced { SyncPolicy::EveryRecord } else { RecorderOptions::default().sync },
            flush_interval: Duration::from_millis(5),
            ..RecorderOptions::default()
        };
        let builder = to(&variable(URI))
            .connect_timeout(Duration::from_millis(200))
            .live_with_backups()
            .metrics_streaming_interval(None)
            .retry_policy(quick())
            .checkpoint_interval(Duration::from_millis(20))
            .acknowledgement_timeout(Duration::from_millis(300))
            .recorder_options(recorder)
            .disk_backup_policy(policy)
            .finish_timeout(PATIENCE);
        let stream = Arc::new(builder.build().await.unwrap());
        let mut tasks = Vec::new();
        for sender in 0..SENDERS {
            let (stream, told) = (stream.clone(), variable(TOLD));
            tasks.push(tokio::spawn(async move {
                let mut told = std::fs::OpenOptions::new().append(true).create(true).open(told).unwrap();
                for n in (first + sender..first + count).step_by(SENDERS as usize) {
                    stream.send(message(n)).await.unwrap();
                    // One write: whole, or not there.
                    told.write_all(&n.to_le_bytes()).unwrap();
                    if !is_synced {
                        tokio::time::sleep(Duration::from_micros(300)).await;
                    }
                }
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        let stream = Arc::into_inner(stream).unwrap();
        let finished = stream.finish().await.unwrap();
        assert_eq!((finished.requests, finished.acknowledged), (count, count), "{finished}");
    });
}

fn spawn(line: &Line, how: How, told: &Path, first: u64, count: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "--nocapture", "stream::kill::child_that_sends"])
        .env(URI, line.proxy.uri())
        .env(DIR, line.dir.path())
        .env(TOLD, told)
        .env(FIRST, first.to_string())
        .env(COUNT, count.to_string())
        .env(HOW, if how == How::Synced { "synced" } else { "default" })
        .env("RUST_BACKTRACE", "0")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What children have told of: numbers for which `send` returned.
fn told(path: &Path) -> Vec<u64> {
    let bytes = std::fs::read(path).unwrap_or_default();
    bytes.chunks_exact(8).map(|number| u64::from_le_bytes(number.try_into().unwrap())).collect()
}

/// Kills one child after the other, then lets one come to its end; returns what had to arrive.
fn kill_again_and_again(line: &Line, how: How) -> BTreeSet<u64> {
    let mut rng = fastrand::Rng::with_seed(number("SIFT_REPLAY_KILL_SEED", 7));
    let file = line.dir.path().join("told");
    let mut durable = BTreeSet::new();
    let rounds = number("SIFT_REPLAY_KILL_ROUNDS", if how == How::Synced { 50 } else { 15 });
    let mut done: BTreeMap<RecordId, u64> = BTreeMap::new();
    for round in 0..rounds {
        let first = round * EACH;
        if rng.u32(..3) == 0 {
            // Already down when it starts.
            disturb(&mut rng, &line.server.server(), &line.proxy);
        }
        let child = Arc::new(Mutex::new(spawn(line, how, &file, first, EACH)));
        let kill = {
            let child = child.clone();
            move || drop(child.lock().unwrap_or_else(PoisonError::into_inner).kill())
        };
        if rng.bool() {
            let (server, proxy, mut rng) = (Arc::downgrade(&line.server.server()), line.proxy.clone(), rng.fork());
            line.server.after(rng.u64(0..200), move || {
                if let Some(server) = server.upgrade() {
                    disturb(&mut rng, &server, &proxy);
                }
            });
        }
        if rng.bool() {
            line.server.after(rng.u64(0..400), kill.clone());
        }
        // If the server doesn't get so far, the recording does.
        let (begun, wanted) = (Instant::now(), told(&file).len() + rng.usize(0..300));
        let mut ended = false;
        while told(&file).len() <= wanted && !ended {
            assert!(begun.elapsed() < PATIENCE, "it doesn't get on");
            ended = child.lock().unwrap_or_else(PoisonError::into_inner).try_wait().unwrap().is_some();
            std::thread::sleep(Duration::from_millis(1));
        }
        kill();
        let status = child.lock().unwrap_or_else(PoisonError::into_inner).wait().unwrap();
        if status.code().is_some() {
            let mut text = String::new();
            let mut child = child.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = std::io::Read::read_to_string(child.stderr.as_mut().unwrap(), &mut text);
            panic!("round {round}: it ended by itself: {status}\n{text}");
        }
        line.peace();
        line.settle();
        if how == How::Synced {
            durable = told(&file).into_iter().collect();
            // What was confirmed before doesn't come again, and what is confirmed now was acknowledged.
            line.check_checkpoints();
            line.check_done(&mut done);
        } else {
            let number = |record: &Vec<u8>| (RecordId::of(record).time - 1_700_000_000_000_000_000) as u64;
            durable.extend(line.records().values().map(number));
        }
    }
    let first = rounds * EACH;
    let output = spawn(line, how, &file, first, 100).wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    line.settle();
    durable.extend(first..first + 100);
    let seen = line.server.seen();
    if how == How::Synced {
        line.check_done(&mut done);
    }
    // Nothing that a sender hadn't come to: of each child, what was told of and what each sender was about.
    let mut last: BTreeMap<u64, u64> = BTreeMap::new();
    last.extend(told(&file).iter().map(|n| (n / EACH * SENDERS + n % SENDERS, *n)));
    for n in numbers(&seen).keys() {
        let (child, sender) = (n / EACH * EACH, n % SENDERS);
        let next = last.get(&(n / EACH * SENDERS + sender)).map_or(child + sender, |last| last + SENDERS);
        assert!(*n <= next, "{n} was never sent");
    }
    assert_eq!(seen.malformed, 0);
    durable
}

#[track_caller]
fn check_all(line: &Line, durable: &BTreeSet<u64>) {
    let (numbers, seen) = (numbers(&line.server.seen()), line.server.seen());
    let missing: Vec<_> = durable.iter().filter(|n| numbers.get(n).is_none_or(|copies| copies.0 == 0)).collect();
    assert!(missing.is_empty(), "{} missing, the first {:?}: {}", missing.len(), missing[0], seen.figures());
    assert!(durable.len() > 1000, "{} say nothing", durable.len());
}

#[test]
fn killed_at_fifty_random_moments_it_delivers_all_for_which_send_returned() {
    let line = Line::start();
    let durable = kill_again_and_again(&line, How::Synced);
    check_all(&line, &durable);
    line.check_checkpoints();
}

#[test]
fn killed_with_the_usual_policy_it_delivers_all_that_was_in_the_files() {
    let line = Line::start();
    let durable = kill_again_and_again(&line, How::Default);
    check_all(&line, &durable);
    assert_eq!(segments(&line.home()), Vec::<PathBuf>::new());
}
