//! What replaying takes of memory.

use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sift_replay::record::{Channel, DataType, FlowSchema, Recorder, RecorderOptions, Schema, Timestamp, Value};
use sift_replay::replay::ReplayOptions;

use crate::support::cli::{Home, Running};
use crate::support::destination::{Mood, Raw};
use crate::support::taken::peak;

/// Bytes of each record's text.
const TEXT: usize = 60 << 10;

/// Records of each of the sessions: 120 MB.
const RECORDS: u64 = 2000;

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
    // All windows that may be on their way are; each of them is full. They are several times what may be in memory.
    let windows = 9 + 16 * lanes;
    let full = ReplayOptions::default().window_bytes as u64;
    while raw.seen.streams.load(Ordering::SeqCst) < windows
        || raw.seen.bytes.load(Ordering::SeqCst) < (windows as u64) * full
    {
        std::thread::sleep(Duration::from_millis(20));
    }
    let peak = peak(running.id());
    // 30 MiB of windows, and the program itself.
    assert!(peak < 72 << 20, "{} MiB", peak >> 20);
    assert!(peak > 2 * lanes as u64 * full, "{} MiB is less than the windows alone: the test is wrong", peak >> 20);
    let killed = Command::new("kill").arg("-KILL").arg(running.id().to_string()).status().unwrap();
    assert!(killed.success());
}
