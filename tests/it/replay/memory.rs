//! What replaying takes of memory.

use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sift_replay::record::{Channel, DataType, FlowSchema, Recorder, RecorderOptions, Schema, Timestamp, Value};

use crate::support::cli::{Home, Running};
use crate::support::destination::{Mood, Raw};

/// Bytes of each record's text.
const TEXT: usize = 60 << 10;

/// Records of each of the sessions: 120 MB.
const RECORDS: u64 = 2000;

fn peak(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib << 10
}

/// The server takes everything and acknowledges nothing: at some time all is in memory that ever will be.
#[test]
fn memory_is_bounded_by_the_windows_not_by_the_files() {
    let home = Home::new();
    let dir = home.path().join("backups");
    for key in ["a", "b", "c"] {
        let flow = FlowSchema::new("text").channel(Channel::new("text", DataType::String));
        let recorder =
            Recorder::create(&dir, &Schema::new("rover", key).flow(flow), RecorderOptions::default()).unwrap();
        let flow = recorder.flow("text").unwrap();
        let text = "x".repeat(TEXT);
        for n in 0..RECORDS {
            let _ = recorder.record(&flow, Timestamp::from_unix_ns(n as i64), &[Value::String(&text)]).unwrap();
        }
        recorder.finish().unwrap();
    }
    let lanes = 4;
    let raw = Raw::start(Mood::Silent { after: 9 });
    let args = ["--quiet", "--ack-timeout", "600", "--uri", &raw.uri(), dir.to_str().unwrap()];
    let running = Running::start(home.command(&args));
    // All windows that may be on their way are; each of them has at least 4 MiB.
    let windows = 9 + 2 * lanes;
    while raw.seen.streams.load(Ordering::SeqCst) < windows
        || raw.seen.bytes.load(Ordering::SeqCst) < (windows as u64) * (4 << 20)
    {
        std::thread::sleep(Duration::from_millis(20));
    }
    let peak = peak(running.id());
    // 32 MiB of windows, and the program itself.
    assert!(peak < 72 << 20, "{} MiB", peak >> 20);
    assert!(peak > 32 << 20, "{} MiB is less than the windows alone: the test is wrong", peak >> 20);
    let killed = Command::new("kill").arg("-KILL").arg(running.id().to_string()).status().unwrap();
    assert!(killed.success());
}
