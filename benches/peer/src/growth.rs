//! How cost grows: with records, channels, segments and lanes.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use sift_replay::catalog::{Catalog, discover};
use sift_replay::format::Compression;
use sift_replay::record::{Channel, DataType, FlowSchema, Recorder, RecorderOptions, Schema, Timestamp, Value};
use sift_replay::replay::ReplayOptions;

use crate::null_storage::NullStorage;
use crate::ours::{LANES, replay_all};
use crate::plot::{Panel, svg};
use crate::workload::{channel, time};

/// One thing that grows, and what it costs.
struct Growth {
    title: &'static str,
    /// What is counted, and what each line shows.
    over: &'static str,
    unit: &'static str,
    lines: &'static [&'static str],
    points: Vec<(u64, Vec<f64>)>,
}

/// Where it is measured, and to whom it replays.
pub(crate) struct Ground<'a> {
    pub(crate) dir: &'a Path,
    pub(crate) uri: String,
    /// The largest power of ten of what grows without bounds.
    pub(crate) most: u32,
}

/// Measures all of it; returns tables in Markdown, and a plot.
pub(crate) fn measure(ground: &Ground<'_>) -> (String, String) {
    let growths = [records(ground), channels(ground), segments(ground), lanes(ground), windows(ground), frames(ground)];
    let tables: Vec<_> = growths.iter().map(table).collect();
    let panels: Vec<_> = growths.iter().map(panel).collect();
    (tables.join("\n"), svg(&panels))
}

fn schema(channels: usize) -> Schema {
    let channels = (0..channels).map(|n| Channel::new(channel(n), DataType::Double));
    Schema::new("bench", "growth").flow(channels.fold(FlowSchema::new("flow"), FlowSchema::channel))
}

/// Records so many records, in so many segments; returns what it took, in s.
fn record(dir: &Path, channels: usize, records: u64, segments: u64, options: RecorderOptions) -> f64 {
    let rows: Vec<Vec<Value<'_>>> =
        (0..64).map(|row| (0..channels).map(|n| Value::Double(1.0 + (row * n) as f64)).collect()).collect();
    let began = Instant::now();
    let recorder = Recorder::create(dir, &schema(channels), options).expect("a recorder");
    let flow = recorder.flow("flow").expect("the flow");
    let each = records.div_ceil(segments);
    for number in 0..records {
        if number > 0 && number % each == 0 {
            recorder.rotate().expect("it goes on");
        }
        let row = &rows[(number % rows.len() as u64) as usize];
        let _ = recorder.record(&flow, Timestamp::from_unix_ns(time(number)), row).expect("it is recorded");
    }
    recorder.finish().expect("it is finished");
    began.elapsed().as_secs_f64()
}

fn uncompressed() -> RecorderOptions {
    RecorderOptions { compression: Compression::None, ..RecorderOptions::default() }
}

/// Replays a directory; returns what it took, in s.
fn replay(ground: &Ground<'_>, dir: &Path, lanes: usize, options: &ReplayOptions, records: u64) -> f64 {
    let began = Instant::now();
    replay_all(dir, &ground.uri, NonZeroUsize::new(lanes).expect("some"), options, records);
    began.elapsed().as_secs_f64()
}

/// Records into a directory and replays that; what both took, in s.
fn record_and_replay(ground: &Ground<'_>, channels: usize, records: u64, lanes: usize) -> (f64, f64) {
    let dir = tempfile::tempdir_in(ground.dir).expect("a directory");
    let recorded = record(dir.path(), channels, records, 1, uncompressed());
    (recorded, replay(ground, dir.path(), lanes, &ReplayOptions::default(), records))
}

/// Ten, a hundred, …: powers of ten.
fn powers(exponents: std::ops::RangeInclusive<u32>) -> impl Iterator<Item = u64> {
    exponents.map(|exponent| 10_u64.pow(exponent))
}

fn records(ground: &Ground<'_>) -> Growth {
    let point = |records: u64| {
        let to_nowhere = RecorderOptions { storage: Arc::new(NullStorage), ..uncompressed() };
        let dropped = record(ground.dir, 1, records, 1, to_nowhere);
        let (recorded, replayed) = record_and_replay(ground, 1, records, LANES);
        (records, [dropped, recorded, replayed].map(|seconds| seconds * 1e9 / records as f64).to_vec())
    };
    Growth {
        title: "Records of one double",
        over: "records",
        unit: "ns/record",
        lines: &["record, dropped", "record", "replay"],
        points: powers(4..=ground.most).map(point).collect(),
    }
}

fn channels(ground: &Ground<'_>) -> Growth {
    let point = |channels: u64| {
        // About as many values each time.
        let records = 20_000_000 / channels;
        let (recorded, replayed) = record_and_replay(ground, channels as usize, records, LANES);
        let values = (records * channels) as f64;
        (channels, [recorded, replayed].map(|seconds| seconds * 1e9 / values).to_vec())
    };
    Growth {
        title: "Channels of a flow",
        over: "channels",
        unit: "ns/value",
        lines: &["record", "replay"],
        points: powers(0..=4).map(point).collect(),
    }
}

fn segments(ground: &Ground<'_>) -> Growth {
    const RECORDS: u64 = 1_000_000;
    let point = |segments: u64| {
        let dir = tempfile::tempdir_in(ground.dir).expect("a directory");
        let recorded = record(dir.path(), 10, RECORDS, segments, uncompressed());
        let began = Instant::now();
        let catalog = Catalog::build(discover(&[dir.path().to_owned()]).expect("it is there"));
        assert_eq!(catalog.sessions[0].segments.len() as u64, segments);
        let found = began.elapsed().as_secs_f64();
        let replayed = replay(ground, dir.path(), LANES, &ReplayOptions::default(), RECORDS);
        (segments, [recorded, found, replayed].map(|seconds| seconds * 1e3).to_vec())
    };
    Growth {
        title: "Segments that hold a million records of 10 doubles",
        over: "segments",
        unit: "ms in all",
        lines: &["record", "find and catalogue", "replay"],
        points: powers(0..=4).map(point).collect(),
    }
}

fn lanes(ground: &Ground<'_>) -> Growth {
    const RECORDS: u64 = 3_000_000;
    let point = |lanes: u64| {
        let (_, replayed) = record_and_replay(ground, 10, RECORDS, lanes as usize);
        (lanes, vec![replayed * 1e9 / RECORDS as f64])
    };
    Growth {
        title: "Lanes (10 doubles; server and replay share the processors)",
        over: "lanes",
        unit: "ns/record",
        lines: &["replay"],
        points: [1, 2, 4, 8, 16].into_iter().map(point).collect(),
    }
}

fn windows(ground: &Ground<'_>) -> Growth {
    const RECORDS: u64 = 3_000_000;
    let dir = tempfile::tempdir_in(ground.dir).expect("a directory");
    record(dir.path(), 10, RECORDS, 1, uncompressed());
    let point = |kib: u64| {
        let options = ReplayOptions { window_bytes: (kib as usize) << 10, ..ReplayOptions::default() };
        let replayed = replay(ground, dir.path(), LANES, &options, RECORDS);
        (kib, vec![replayed * 1e9 / RECORDS as f64])
    };
    Growth {
        title: "Windows of a replay (10 doubles)",
        over: "KiB of a window",
        unit: "ns/record",
        lines: &["replay"],
        points: [64, 256, 1024, 4096, 16384].into_iter().map(point).collect(),
    }
}

fn frames(ground: &Ground<'_>) -> Growth {
    const RECORDS: u64 = 3_000_000;
    let point = |kib: u64| {
        let cost = |options: RecorderOptions| {
            let dir = tempfile::tempdir_in(ground.dir).expect("a directory");
            let options = RecorderOptions { frame_bytes: (kib as usize) << 10, ..options };
            record(dir.path(), 10, RECORDS, 1, options) * 1e9 / RECORDS as f64
        };
        let to_nowhere = RecorderOptions { storage: Arc::new(NullStorage), ..uncompressed() };
        (kib, vec![cost(to_nowhere), cost(uncompressed())])
    };
    Growth {
        title: "Frames (10 doubles)",
        over: "KiB of a frame",
        unit: "ns/record",
        lines: &["record, dropped", "record"],
        points: [4, 16, 64, 256, 1024].into_iter().map(point).collect(),
    }
}

fn table(growth: &Growth) -> String {
    let mut text = format!("{}, {}:\n\n| {} |", growth.title, growth.unit, growth.over);
    growth.lines.iter().for_each(|line| text += &format!(" {line} |"));
    text += "\n| --- |";
    growth.lines.iter().for_each(|_| text += " --- |");
    for (count, costs) in &growth.points {
        text += &format!("\n| {count} |");
        costs.iter().for_each(|cost| text += &format!(" {cost:.1} |"));
    }
    text + "\n"
}

fn panel(growth: &Growth) -> Panel {
    let line = |at: usize| growth.points.iter().map(|(count, costs)| (*count as f64, costs[at])).collect();
    Panel {
        title: format!("{}: {}", growth.title, growth.unit),
        lines: growth.lines.iter().enumerate().map(|(at, name)| ((*name).to_owned(), line(at))).collect(),
    }
}
