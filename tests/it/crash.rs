//! Processes that die while they record. The child is this very test binary, run again.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use sift_replay::format::{Compression, RecordInfo};
use sift_replay::record::{Recorder, RecorderOptions, SyncPolicy, Value};

use crate::support::recording::{Segment, at, counted, counter_schema, merged, read_dir};

const ROOT: &str = "SIFT_REPLAY_TEST_CRASH_ROOT";
const ROUND: &str = "SIFT_REPLAY_TEST_CRASH_ROUND";

/// The arguments that make this binary run one of the children below.
fn child(name: &str) -> [String; 4] {
    ["--exact".into(), "--ignored".into(), "--nocapture".into(), format!("crash::{name}")]
}

/// Tells the parent something, whatever the test harness does with what is printed.
fn tell(text: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("\n{text}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// What was told to be durable is there, without gaps, and as it was recorded.
fn check(dir: &Path, durable: u64) -> Vec<Segment> {
    let segments = read_dir(dir);
    let records = merged(&segments);
    assert!(records.keys().copied().eq(0..records.len() as u64), "there is a gap");
    assert!(records.len() as u64 >= durable, "{durable} were durable, {} are there", records.len());
    assert!(records.into_iter().all(|(seq, record)| record == counted(seq)));
    segments
}

/// The directory of the one session under `root`.
fn session_dir(root: &Path) -> std::path::PathBuf {
    root.join("rover").join("no-run")
}

/// Numbers of one thread of a child: more than it ever gets to.
const EACH: u64 = 1 << 40;

/// How the child of a round records: each round in another way.
fn way(round: u64) -> (RecorderOptions, u64) {
    let sync = match round % 4 {
        0 => SyncPolicy::Interval(Duration::from_millis(1)),
        1 => SyncPolicy::EveryRecord,
        2 => SyncPolicy::Bytes(1000 + round * 97 % 20_000),
        _ => SyncPolicy::OnRotation,
    };
    let options = RecorderOptions {
        sync,
        compression: if (round / 4).is_multiple_of(2) { Compression::Zstd(1) } else { Compression::None },
        frame_bytes: [4 << 10, 1, 300, 64 << 10][(round / 8 % 4) as usize],
        segment_bytes: [128 << 10, 8 << 10, 30_000][(round / 3 % 3) as usize],
        unsynced_bytes: 100_000,
        flush_interval: Duration::from_millis(1 + round % 20),
        ..Default::default()
    };
    (options, 1 + round / 5 % 3)
}

/// Whether there is a sync or a frame for every few records.
fn is_slow(options: &RecorderOptions) -> bool {
    matches!(options.sync, SyncPolicy::EveryRecord | SyncPolicy::Bytes(_)) || options.frame_bytes == 1
}

#[test]
#[ignore = "a child of `kill_9_costs_nothing_that_was_durable`"]
fn child_that_records_for_ever() {
    let (root, round) = (std::env::var(ROOT).unwrap(), std::env::var(ROUND).unwrap().parse().unwrap());
    let (options, threads) = way(round);
    let each = if is_slow(&options) { 5 } else { 200 };
    let recorder = Recorder::create(root, &counter_schema(), options).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let recorder = &recorder;
            scope.spawn(move || {
                let flow = recorder.flow("f").unwrap();
                for number in thread * EACH.. {
                    let _ = recorder.record(&flow, at(number), &[Value::Uint64(number)]).unwrap();
                    if number % each == 0 {
                        tell(&format!("durable {}", recorder.durable_seq()));
                    }
                }
            });
        }
    });
}

/// What was told to be durable is there, without gaps; it is what was recorded, each thread's in its order.
fn check_threads(dir: &Path, durable: u64) -> Vec<Segment> {
    let segments = read_dir(dir);
    let records = merged(&segments);
    assert!(records.keys().copied().eq(0..records.len() as u64), "there is a gap");
    assert!(records.len() as u64 >= durable, "{durable} were durable, {} are there", records.len());
    let mut next = BTreeMap::new();
    for (seq, record) in records {
        let number = RecordInfo::parse(&record).unwrap().timestamp.unwrap() as u64;
        assert_eq!(record, counted(number), "seq {seq}");
        let next = next.entry(number / EACH).or_insert(number / EACH * EACH);
        assert_eq!(number, *next, "seq {seq}: a thread's records are out of order, or one is lacking");
        *next += 1;
    }
    segments
}

/// `SIFT_REPLAY_KILL_ROUNDS` sets how often.
#[test]
fn kill_9_costs_nothing_that_was_durable() {
    let rounds = std::env::var("SIFT_REPLAY_KILL_ROUNDS").map_or(20, |rounds| rounds.parse().unwrap());
    let (mut most, mut sum, mut read, mut segments_read) = (0, 0, 0, 0);
    for round in 0..rounds {
        let root = tempfile::tempdir().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(child("child_that_records_for_ever"))
            .env(ROOT, root.path())
            .env(ROUND, round.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let lines_to_read = 1 + (round * 7919 + 13) % 97;
        let (mut told, mut durable) = (0, 0);
        for line in lines {
            let Ok(line) = line else { break };
            let Some(number) = line.strip_prefix("durable ") else { continue };
            // The last line may be cut off in the middle; then it tells less.
            durable = number.parse::<u64>().map_or(durable, |number| number.max(durable));
            told += 1;
            if told == lines_to_read {
                child.kill().unwrap();
            }
        }
        assert!(!child.wait().unwrap().success());
        assert!(told >= lines_to_read, "the child ended by itself");
        let segments = check_threads(&session_dir(root.path()), durable);
        assert!(segments.iter().rev().skip(1).all(|segment| !segment.name.open), "only the last one is open");
        (most, sum) = (most.max(durable), sum + durable);
        read += segments.iter().map(|segment| segment.records.len()).sum::<usize>();
        segments_read += segments.len();
    }
    assert!(most > 0, "no round got as far as a sync");
    println!("{rounds} kills; {sum} records were durable, {read} are there, in {segments_read} segments; lost: 0");
}

#[test]
#[ignore = "a child of `a_file_that_can_not_grow_is_left_for_a_new_one`"]
fn child_whose_files_can_not_grow() {
    let root = std::env::var(ROOT).unwrap();
    let options = RecorderOptions {
        sync: SyncPolicy::OnRotation,
        compression: Compression::None,
        unsynced_bytes: 20_000,
        frame_bytes: 4 << 10,
        ..Default::default()
    };
    let recorder = Recorder::create(root, &counter_schema(), options).unwrap();
    let flow = recorder.flow("f").unwrap();
    for number in 0..20_000 {
        let _ = recorder.record(&flow, at(number), &[Value::Uint64(number)]).unwrap();
    }
    recorder.flush().unwrap();
    tell(&format!("errors {}", recorder.stats().io_errors));
    tell(&format!("durable {}", recorder.durable_seq()));
    // A frame that fits into no file.
    recorder.add_flow(crate::support::recording::flow_of("b", &[sift_replay::record::DataType::Bytes])).unwrap();
    let _ = recorder.record_named("b", at(0), &[("c0", Value::Bytes(&[7; 4 << 20]))]).unwrap();
    tell(&format!("flush {}", recorder.flush().unwrap_err()));
    tell(&format!("finish {}", recorder.finish().unwrap_err()));
}

/// `RLIMIT_FSIZE` makes a write fail as a full disk does: in part, then wholly, and for real.
#[cfg(unix)]
#[test]
fn a_file_that_can_not_grow_is_left_for_a_new_one() {
    let root = tempfile::tempdir().unwrap();
    // 200 blocks of 512 bytes (some shells: of 1024).
    let run = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 200; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(child("child_whose_files_can_not_grow"))
        .env(ROOT, root.path())
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&run.stdout).into_owned();
    let told = |what: &str| {
        let line = output.lines().find_map(|line| line.strip_prefix(what));
        line.unwrap_or_else(|| panic!("no {what:?} in {output}{}", String::from_utf8_lossy(&run.stderr)))
            .trim()
            .to_owned()
    };
    assert_ne!(told("errors"), "0");
    assert_eq!(told("durable"), "20000");
    for call in ["flush", "finish"] {
        let error = told(call);
        for text in ["recording has stopped", "can't write to", ".sfr.open", "File too large", "from seq 20000 on"] {
            assert!(error.contains(text), "{error:?} doesn't say {text:?}");
        }
    }
    let segments = check(&session_dir(root.path()), 20_000);
    assert!(segments.len() > 3);
}
