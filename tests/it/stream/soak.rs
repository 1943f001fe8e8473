//! Many requests over a link that is there half of the time: memory is flat, the disk bounded, and all of it arrives.
//!
//! `SIFT_STREAM_SOAK_SECS` says for how long (600 for ten minutes), `SIFT_STREAM_SOAK_RATE` how many requests a second.
//! Runs alone, in a process of its own, because it looks at all of the process's memory.

mod counting;

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sift_replay::format::Compression;
use sift_replay::record::{RecorderOptions, Timestamp, Value};
use sift_replay::stream::{DiskBackupPolicy, RollingFilePolicy, SiftStreamMetricsSnapshot};

use super::gate::{Gate, until};
use super::support::{FLOW, segments, with_backups};
use crate::support::destination::block_on;
use crate::support::faulty::Faulty;
use crate::support::proxy::{BOTH, Proxy};
use counting::Counting;

/// Bytes of one request on disk, at most, with its share of a frame's header.
const REQUEST_BYTES: u64 = 64;

const SEGMENT_BYTES: u64 = 1 << 20;

fn from_env(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().map_or(otherwise, |text| text.parse().expect(name))
}

#[test]
fn memory_is_flat_and_the_disk_bounded_and_all_arrives_over_a_link_that_comes_and_goes() {
    let test = "stream::soak::half_of_the_time";
    let mut run = Command::new(std::env::current_exe().unwrap());
    run.args(["--exact", "--ignored", "--nocapture", test]).stderr(Stdio::inherit());
    let output = run.output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && told.contains("1 passed"), "{told}");
}

/// What was seen at one time.
#[derive(Debug, Clone, Copy)]
struct Sample {
    sent: u64,
    acknowledged: u64,
    memory: u64,
    disk: u64,
}

/// Bytes of this process that are in memory.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

/// Breaks and mends the link, in turns, in a different way each time, until it is told to stop.
fn flap(proxy: &Proxy, turn: Duration, stop: &AtomicBool) {
    let deaths: [&dyn Fn(); 4] = [
        &|| {
            proxy.refuse();
            proxy.reset_all();
        },
        &|| proxy.swallow(&BOTH),
        &|| {
            proxy.reset_newcomers();
            proxy.reset_all();
        },
        &|| proxy.hold(&BOTH),
    ];
    for death in deaths.iter().cycle() {
        let waits = |time| {
            let end = Instant::now() + time;
            while Instant::now() < end && !stop.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(10));
            }
            stop.load(Ordering::SeqCst)
        };
        let stopped = waits(turn);
        if !stopped {
            death();
        }
        let stopped = stopped || waits(turn);
        proxy.pass();
        if stopped {
            return;
        }
    }
}

/// What grows without end shows in the second half.
fn assert_flat(samples: &[Sample]) {
    let (first, second) = samples.split_at(samples.len() / 2);
    let most = |samples: &[Sample]| samples.iter().map(|sample| sample.memory).max().unwrap();
    let (first, second) = (most(first), most(second));
    assert!(second < first + (24 << 20), "{} MiB, then {} MiB", first >> 20, second >> 20);
}

/// What is on disk isn't acknowledged, or wasn't a short while ago, but for what shares a segment with such.
fn assert_bounded(samples: &[Sample], behind: usize) {
    for pair in samples.windows(behind + 1) {
        let (before, now) = (pair[0], pair[behind]);
        let open = now.sent - before.acknowledged;
        let allowed = open * REQUEST_BYTES + 16 * SEGMENT_BYTES;
        assert!(now.disk < allowed, "{} KiB for {open} requests", now.disk >> 10);
    }
}

#[allow(clippy::print_stdout, reason = "whoever lets it run for long wants to know")]
fn tell(samples: &[Sample], secs: u64, total: u64, counting: &Counting, last: SiftStreamMetricsSnapshot) {
    let most = |of: fn(&Sample) -> u64| samples.iter().map(of).max().unwrap_or_default() >> 20;
    let third = samples.len() / 3;
    let thirds: Vec<_> = samples
        .chunks(third.max(1))
        .map(|part| part.iter().map(|s| s.memory).max().unwrap_or_default() >> 20)
        .collect();
    println!(
        "{total} requests in {secs} s; memory at most {thirds:?} MiB in each third; disk at most {} MiB",
        most(|s| s.disk)
    );
    println!(
        "most open: {} requests; sent twice: {}",
        samples.iter().map(|s| s.sent - s.acknowledged).max().unwrap_or_default(),
        counting.twice()
    );
    println!("{last:?}");
}

#[test]
#[ignore = "runs alone, see above"]
fn half_of_the_time() {
    let secs = from_env("SIFT_STREAM_SOAK_SECS", 3);
    let rate = from_env("SIFT_STREAM_SOAK_RATE", if cfg!(debug_assertions) { 5_000 } else { 50_000 });
    let total = secs * rate;
    let (dir, behind) = (tempfile::tempdir().unwrap(), Faulty::start());
    let counting = Counting::start(behind.uri(), total);
    let proxy = Arc::new(Proxy::start(counting.address()));
    let stop = Arc::new(AtomicBool::new(false));
    let turn = Duration::from_millis((secs * 1000 / 6).clamp(300, 3000));
    let flapping = {
        let (proxy, stop) = (proxy.clone(), stop.clone());
        std::thread::spawn(move || flap(&proxy, turn, &stop))
    };
    let policy = DiskBackupPolicy {
        backups_dir: Some(dir.path().to_owned()),
        max_backup_file_size: SEGMENT_BYTES as usize,
        rolling_file_policy: RollingFilePolicy { max_file_count: Some(20) },
        retain_backups: false,
    };
    // Through the gate only so that it is the same disk as in other tests.
    let storage = Arc::new(Gate::default());
    let options = RecorderOptions { compression: Compression::None, storage, ..RecorderOptions::default() };
    let mut samples = Vec::new();
    let last = block_on(async {
        let stream = with_backups(&proxy.uri(), dir.path())
            .recorder_options(options)
            .disk_backup_policy(policy)
            .checkpoint_interval(Duration::from_secs(1))
            .acknowledgement_timeout(Duration::from_secs(2))
            .finish_timeout(Duration::from_secs(60))
            .ingestion_data_channel_capacity(20_000)
            .build()
            .await
            .unwrap();
        let flow = stream.flow(FLOW).unwrap();
        let began = tokio::time::Instant::now();
        let (mut sent, mut sampled) = (0, 0);
        while sent < total {
            tokio::time::sleep(Duration::from_millis(5)).await;
            let due = (began.elapsed().as_millis() as u64 * rate / 1000).min(total);
            for n in sent..due {
                let time = Timestamp::from_unix_ns(counting::FIRST + n as i64);
                stream.record(&flow, time, &[Value::Uint64(n), Value::Empty]).await.unwrap();
            }
            sent = due;
            if began.elapsed().as_millis() as u64 / 250 > sampled {
                sampled = began.elapsed().as_millis() as u64 / 250;
                let acknowledged = counting.acknowledged();
                let disk = stream.get_metrics_snapshot().backups.bytes_on_disk;
                samples.push(Sample { sent, acknowledged, memory: resident(), disk });
            }
        }
        stop.store(true, Ordering::SeqCst);
        until(|| counting.acknowledged() == total);
        let last = stream.get_metrics_snapshot();
        let finished = stream.finish().await.unwrap();
        assert_eq!((finished.requests, finished.acknowledged, finished.on_disk), (total, total, 0), "{finished}");
        last
    });
    flapping.join().unwrap();
    tell(&samples, secs, total, &counting, last);
    assert_eq!((counting.acknowledged(), counting.invented()), (total, 0));
    assert_eq!(segments(dir.path()), Vec::<std::path::PathBuf>::new());
    // A turn, the time in which an acknowledgement is late, and pauses.
    assert_bounded(&samples, 4 * 8);
    if secs >= 60 {
        assert_flat(&samples);
    }
}
