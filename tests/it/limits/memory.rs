//! What replaying takes of memory: the same, however much there is.

use std::path::Path;
use std::sync::atomic::Ordering;

use sift_replay::format::Compression;
use sift_replay::record::{Channel, DataType, FlowSchema, Recorder, RecorderOptions, Schema, Timestamp, Value};
use sift_replay::replay::ReplayOptions;

use crate::support::cli::{Home, Running};
use crate::support::destination::{Mood, Raw, block_on, replay_to};
use crate::support::proxy::{Proxy, Way};
use crate::support::taken::peak;

const MIB: u64 = 1 << 20;

/// The most that a replay may ever have resident, the program itself included; of which there is more if it isn't optimised.
const PEAK: u64 = if cfg!(debug_assertions) { 72 * MIB } else { 64 * MIB };

/// What the line to the server carries, in bytes a second.
const LINE: u64 = 48 * MIB;

/// A session of at least so many bytes, of small records.
fn recorded(dir: &Path, bytes: u64) -> u64 {
    let channels = (0..50).map(|n| Channel::new(format!("c{n}"), DataType::Double));
    let schema = Schema::new("rover", "key").flow(channels.fold(FlowSchema::new("f"), FlowSchema::channel));
    let options = RecorderOptions { compression: Compression::None, ..RecorderOptions::default() };
    let recorder = Recorder::create(dir, &schema, options).unwrap();
    let flow = recorder.flow("f").unwrap();
    let mut records = 0;
    // Each value has 8 bytes and its tags.
    while recorder.stats().bytes_written < bytes {
        for _ in 0..1000 {
            let row: Vec<_> = (0..50).map(|n| Value::Double(f64::from(n) + records as f64)).collect();
            let _ = recorder.record(&flow, Timestamp::from_unix_ns(records), &row[..]).unwrap();
            records += 1;
        }
    }
    recorder.finish().unwrap();
    records as u64
}

/// Replays so many bytes; returns the most memory that it ever took.
fn peak_of(bytes: u64) -> u64 {
    let home = Home::new();
    let dir = home.path().join("backups");
    let records = recorded(&dir, bytes);
    let raw = Raw::start(Mood::Counts);
    // The line is slower than the disk: as much is in memory as ever may be.
    let proxy = Proxy::start(raw.address());
    proxy.limit(Way::Up, LINE);
    // It goes on when all is delivered, so that there is time to look.
    let mut program =
        Running::start(home.command(&["--watch", "--json", "--uri", &proxy.uri(), dir.to_str().unwrap()]));
    let mut acknowledged = 0;
    while acknowledged < records {
        let line = program.json_line();
        if line["event"] == "acknowledged" {
            acknowledged += line["records"].as_u64().unwrap();
        }
    }
    let peak = peak(program.id());
    assert!(raw.seen.bytes.load(Ordering::SeqCst) >= bytes, "less was sent than there was");
    program.kill();
    println!("{} MiB replayed: {:.1} MiB at most", bytes / MIB, peak as f64 / MIB as f64);
    peak
}

#[test]
fn replaying_takes_no_more_memory_however_much_there_is() {
    let peak = peak_of(128 * MIB);
    assert!(peak <= PEAK, "{} MiB", peak / MIB);
}

/// As much as the figure is promised for.
#[test]
#[ignore = "takes 2 GiB of disk, and minutes"]
fn replaying_two_gib_takes_no_more_memory() {
    let peak = peak_of(2048 * MIB);
    assert!(peak <= PEAK, "{} MiB", peak / MIB);
}

/// A server grants 4 MiB of each stream before it has said anything of it, as many do. What is longer by a byte costs one more
/// round trip, during which nothing else of it goes.
#[test]
fn a_window_fits_into_what_a_server_takes_unasked() {
    const GRANTED: u64 = 4 * MIB;
    let dir = tempfile::tempdir().unwrap();
    recorded(dir.path(), 24 * MIB);
    let raw = Raw::start(Mood::Counts);
    let replayed = block_on(replay_to(raw.uri(), &[dir.path()], &ReplayOptions::default()));
    let windows = replayed.windows();
    assert!(replayed.report.is_complete() && windows.len() > 6, "{windows:?}");
    let longest = windows.iter().copied().max().unwrap();
    assert!((GRANTED * 9 / 10..=GRANTED).contains(&longest), "{windows:?}");
}
