//! Recordings, replayed over real sockets into the real receiver: what arrives is what was recorded.

mod again;
mod damage;
mod delivery;
mod engine;
mod faults;
mod lanes;
#[cfg(target_os = "linux")]
mod memory;
mod pbfs;
mod schema;

use std::path::{Path, PathBuf};

use sift_replay::record::{
    Channel, DataType, FlowSchema, Recorded, Recorder, RecorderOptions, RunSchema, Schema, Timestamp, Value,
};

/// One flow, `n`, of one unsigned number.
pub(crate) fn counting(client_key: &str) -> Schema {
    Schema::new("rover", client_key).flow(FlowSchema::new("n").channel(Channel::new("n", DataType::Uint64)))
}

pub(crate) fn flight(schema: Schema) -> Schema {
    schema.run(RunSchema::new("Flight 7", "flight-7").tag("test"))
}

/// Small frames, so that little data has many.
pub(crate) fn small_frames() -> RecorderOptions {
    RecorderOptions { frame_bytes: 256, ..RecorderOptions::default() }
}

pub(crate) fn small_segments() -> RecorderOptions {
    RecorderOptions { segment_bytes: 2000, ..small_frames() }
}

/// Records `count` numbers.
pub(crate) fn count(recorder: &Recorder, count: u64) {
    let flow = recorder.flow("n").unwrap();
    let from = recorder.stats().records;
    for n in from..from + count {
        let time = Timestamp::from_unix_ns(1_700_000_000_000_000_000 + n as i64);
        assert_eq!(recorder.record(&flow, time, &[Value::Uint64(n)]).unwrap(), Recorded::Seq(n));
    }
}

/// A finished session of `records` numbers; its segments in order.
pub(crate) fn session(dir: &Path, schema: &Schema, options: RecorderOptions, records: u64) -> Vec<PathBuf> {
    let recorder = Recorder::create(dir, schema, options).unwrap();
    count(&recorder, records);
    recorder.finish().unwrap();
    files_of(&recorder)
}

pub(crate) fn files_of(recorder: &Recorder) -> Vec<PathBuf> {
    let prefix = recorder.session().to_string();
    let entries = std::fs::read_dir(recorder.dir()).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        entries.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(&prefix)).collect();
    files.sort();
    files
}

/// The records of sound segments, in order.
pub(crate) fn recorded(segments: &[PathBuf]) -> Vec<Vec<u8>> {
    segments.iter().flat_map(|path| crate::support::destination::records(path)).collect()
}

/// Compares without printing megabytes.
#[track_caller]
pub(crate) fn assert_same(arrived: &[Vec<u8>], expected: &[Vec<u8>]) {
    assert_eq!(arrived.len(), expected.len(), "number of records");
    if let Some(at) = (0..arrived.len()).find(|&at| arrived[at] != expected[at]) {
        panic!("record {at}: {:x?} instead of {:x?}", arrived[at], expected[at]);
    }
}

/// Records without those of some seqs.
pub(crate) fn without(records: &[Vec<u8>], seqs: &std::ops::Range<u64>) -> Vec<Vec<u8>> {
    let kept = records.iter().zip(0..).filter(|(_, seq)| !seqs.contains(seq));
    kept.map(|(record, _)| record.clone()).collect()
}
