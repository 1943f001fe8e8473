//! The hot paths, each alone over prepared input: what is done per record and frame, from a value to the wire.
//!
//! `cargo bench --bench hot` times them. `cargo bench --bench hot -- --one PATH PASSES` runs one of them, so many times,
//! and nothing else: for `benches/counts`, which counts their instructions. `-- --paths` names them.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::print_stdout, reason = "benchmarks")]

#[path = "support/hot_input.rs"]
mod hot_input;
#[path = "../tests/it/support/null_storage.rs"]
mod null_storage;
#[path = "support/workload.rs"]
mod workload;

use std::fmt;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use divan::Bencher;
use divan::counter::ItemsCount;
use sift_replay::format::{
    Codec, Compression, FLAG_BARE, FRAME_HEADER_BYTES, Kind, PayloadEncoder, SegmentHeader, Suffix,
};
use sift_replay::record::Encoder;
use sift_replay::replay::HotLoops;
use sift_replay::segment::{Event, PendingFrame, SegmentWriter};

use hot_input::{INPUTS, Input, Payload, SESSION};
use null_storage::NullStorage;

/// Handles all records of the input once.
type Pass = Box<dyn FnMut()>;

/// A hot path's name, and what prepares it.
type HotPath = (&'static str, fn(&Input) -> Pass);

/// The hot paths, in the order of a record's life.
const PATHS: &[HotPath] = &[
    ("encode", encode),
    ("record", record),
    ("record-batch", record_batch),
    ("frame-none", |input| frame(input, Compression::None)),
    ("frame-zstd", |input| frame(input, Compression::Zstd(1))),
    ("scan-none", |input| scan(input, Compression::None)),
    ("scan-zstd", |input| scan(input, Compression::Zstd(1))),
    ("append-ids", |input| append_ids(input, true)),
    ("look-and-append-ids", |input| append_ids(input, false)),
    ("window", window),
];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--paths"] => cases().iter().for_each(|case| println!("{case}")),
        ["--one", name, passes] => one(name, passes.parse().expect("a number of passes")),
        _ => divan::main(),
    }
}

/// Runs one path, and prints how many records it has handled where it is counted.
fn one(name: &str, passes: usize) {
    let cases = cases();
    let case = cases.iter().find(|case| case.to_string() == name).expect("a path that `--paths` names");
    let input = Input::new(case.input);
    let mut pass = (case.path.1)(&input);
    // What is done once only (buffers grow, libraries find out about the CPU) is no cost per record.
    pass();
    counted(&mut pass, passes);
    println!("{}", input.records * passes);
}

/// `benches/counts` counts what is done in here, and knows it by its name.
#[inline(never)]
fn counted(pass: &mut Pass, passes: usize) {
    (0..passes).for_each(|_| pass());
}

/// A path over an input.
struct Case {
    path: &'static HotPath,
    input: &'static str,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.path.0, self.input)
    }
}

fn cases() -> Vec<Case> {
    PATHS.iter().flat_map(|path| INPUTS.map(|input| Case { path, input })).collect()
}

#[divan::bench(args = cases())]
fn pass(bencher: Bencher<'_, '_>, case: &Case) {
    let input = Input::new(case.input);
    let mut pass = (case.path.1)(&input);
    bencher.counter(ItemsCount::new(input.records)).bench_local(&mut pass);
}

/// A record's values to its bytes.
fn encode(input: &Input) -> Pass {
    let encoder = Encoder::new(&input.schema).expect("an encoder");
    let flow = encoder.flow("f").expect("the flow");
    let (rows, records, mut buffer) = (input.rows.clone(), input.records, Vec::new());
    Box::new(move || {
        for number in 0..records {
            encoder.encode(&flow, hot_input::time(number), &rows[number % rows.len()], &mut buffer).expect("a record");
            if buffer.len() >= 64 << 10 {
                black_box(&buffer);
                buffer.clear();
            }
        }
    })
}

/// The recorder and its writer, uncompressed, to nowhere: in one thread, so that the counts don't depend on which of the
/// two comes first (`benches/record.rs` times them side by side).
fn record(input: &Input) -> Pass {
    let mut recorder = hot_input::recorder(&input.schema, Arc::new(NullStorage), Compression::None);
    let flow = recorder.recorder().flow("f").expect("the flow");
    let (rows, records) = (input.rows.clone(), input.records);
    Box::new(move || {
        for number in 0..records {
            let recorded = recorder.recorder().record(&flow, hot_input::time(number), &rows[number % rows.len()]);
            let _ = black_box(recorded.expect("it is recorded"));
        }
        recorder.settle();
    })
}

fn record_batch(input: &Input) -> Pass {
    let mut recorder = hot_input::recorder(&input.schema, Arc::new(NullStorage), Compression::None);
    let flow = recorder.recorder().flow("f").expect("the flow");
    let (rows, records) = (input.rows.clone(), input.records);
    Box::new(move || {
        let timed: Vec<_> = (0..records).map(|n| (hot_input::time(n), &rows[n % rows.len()][..])).collect();
        for batch in timed.chunks(256) {
            recorder.recorder().record_batch(&flow, batch).expect("they are recorded");
        }
        recorder.settle();
    })
}

/// What the writer does to a frame that is full: compress, checksum, header, append.
fn frame(input: &Input, compression: Compression) -> Pass {
    let header = SegmentHeader::default();
    let mut segment = SegmentWriter::create(Arc::new(NullStorage), Path::new(""), SESSION, header).expect("a segment");
    let mut encoder = PayloadEncoder::new(compression).expect("an encoder");
    let mut compressed = Vec::new();
    let mut frames: Vec<PendingFrame> = input.payloads.iter().map(pending).collect();
    Box::new(move || {
        for frame in &mut frames {
            let raw = &frame.buffer[FRAME_HEADER_BYTES..];
            match encoder.compress(raw, &mut compressed).expect("it is compressed") {
                Codec::None => segment.write(frame).expect("it is written"),
                codec => {
                    // It is kept until it is synced, in a buffer of its size.
                    let mut stored = PendingFrame { codec, buffer: compressed.clone(), ..*frame };
                    segment.write(&mut stored).expect("it is written");
                }
            }
        }
    })
}

fn pending(payload: &Payload) -> PendingFrame {
    PendingFrame {
        kind: Kind::Data,
        codec: Codec::None,
        flags: FLAG_BARE,
        count: payload.count,
        first_seq: payload.first_seq,
        times: payload.times,
        raw_len: payload.bytes.len() as u32,
        buffer: [&[0; FRAME_HEADER_BYTES], payload.bytes].concat(),
    }
}

/// A segment's records, as replaying reads them: plainly, not mapped.
fn scan(input: &Input, compression: Compression) -> Pass {
    let (bytes, records) = (hot_input::segment(input, compression), input.records);
    Box::new(move || {
        let mut reader = hot_input::read(&bytes);
        let mut found = 0;
        while let Some(event) = reader.next_event().expect("an event") {
            if let Event::Records(batch) = event {
                found += batch.records().map(black_box).count();
            }
        }
        assert_eq!(found, records);
    })
}

/// As records of a live stream with a run get them.
fn suffix() -> Suffix {
    let (config, run) = ("5e9c1a0e-6b7a-4c0c-9d6e-0a5be3fb5c0d", "0c9b1b0e-58f3-4a56-8a0e-7d9f4f6f3a11");
    Suffix::new(config, Some(run), true)
}

/// Each record as a gRPC message with the ids behind it.
fn append_ids(input: &Input, bare: bool) -> Pass {
    let loops = HotLoops::new(suffix());
    let (payloads, mut out) = (input.payloads, Vec::with_capacity(1 << 20));
    Box::new(move || {
        for payload in payloads {
            out.clear();
            loops.append_ids(payload.records.clone(), bare, &mut out);
            black_box(&out);
        }
    })
}

/// The same into windows.
fn window(input: &Input) -> Pass {
    let (mut loops, payloads) = (HotLoops::new(suffix()), input.payloads);
    Box::new(move || {
        for payload in payloads {
            let seqs = payload.first_seq..payload.first_seq + u64::from(payload.count);
            black_box(loops.fill_windows(payload.first_seq, seqs, payload.records.clone(), true));
        }
    })
}
