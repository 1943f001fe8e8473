//! What reading costs: segments and PBFS with the same messages, and the checksum that bounds both.
//!
//! `cargo bench --bench scan`
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "benchmarks")]

#[path = "support/workload.rs"]
mod workload;

use std::hint::black_box;
use std::path::PathBuf;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use sift_replay::format::{Compression, PbfsScanner, PbfsStep, RecordInfo, Scanner, Step};
use sift_replay::record::{Recorder, RecorderOptions, Timestamp};
use sift_replay::segment::{Event, PbfsReader, SegmentReader};

use workload::{ROWS, WORKLOADS, Workload};

fn main() {
    divan::main();
}

/// A sealed segment of the workload, in a directory that goes with it.
fn segment(workload: &Workload, compression: Compression) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let options = RecorderOptions { compression, segment_bytes: u64::MAX, ..Default::default() };
    let recorder = Recorder::create(dir.path(), &workload.schema(), options).expect("a recorder");
    let (flow, rows) = (recorder.flow("f").expect("the flow"), workload.rows());
    for number in 0..workload.records {
        let time = Timestamp::from_unix_ns(workload::time(number));
        let _ = recorder.record(&flow, time, &rows[number % ROWS]).expect("it is recorded");
    }
    recorder.finish().expect("it is finished");
    let mut files = std::fs::read_dir(recorder.dir()).expect("the directory");
    let path = files.next().expect("a file").expect("a file").path();
    (dir, path)
}

/// The same messages as the official library's backups have them: one to a chunk.
fn pbfs(workload: &Workload) -> Vec<u8> {
    let (_dir, path) = segment(workload, Compression::None);
    let mut out = Vec::new();
    read(&path, |record| {
        let mut rest = (record.len() as u64 + 4).to_le_bytes().to_vec();
        rest.extend((record.len() as u32).to_le_bytes());
        rest.extend(record);
        out.extend(crc32fast::hash(&rest).to_le_bytes());
        out.extend(rest);
    });
    out
}

/// Hands each record of a segment to `each`.
fn read(path: &std::path::Path, mut each: impl FnMut(&[u8])) -> usize {
    let mut reader = SegmentReader::open(path).expect("the segment");
    let mut records = 0;
    while let Some(event) = reader.next_event().expect("the segment") {
        if let Event::Records(batch) = event {
            for record in batch.records() {
                records += 1;
                each(record);
            }
        }
    }
    records
}

/// Reads the segment's file, mapped, record by record.
fn read_segment(bencher: Bencher<'_, '_>, workload: &Workload, compression: Compression, each: fn(&[u8])) {
    let (_dir, path) = segment(workload, compression);
    bencher.counter(ItemsCount::new(workload.records)).bench_local(|| {
        assert_eq!(read(&path, each), workload.records);
    });
}

#[divan::bench(args = WORKLOADS, sample_count = 9, sample_size = 1)]
fn read_segment_none(bencher: Bencher<'_, '_>, workload: &Workload) {
    read_segment(bencher, workload, Compression::None, |record| {
        black_box(record);
    });
}

#[divan::bench(args = WORKLOADS, sample_count = 9, sample_size = 1)]
fn read_segment_zstd1(bencher: Bencher<'_, '_>, workload: &Workload) {
    read_segment(bencher, workload, Compression::Zstd(1), |record| {
        black_box(record);
    });
}

/// With a look into each record, for its flow and time.
#[divan::bench(args = WORKLOADS, sample_count = 9, sample_size = 1)]
fn read_segment_none_and_parse(bencher: Bencher<'_, '_>, workload: &Workload) {
    read_segment(bencher, workload, Compression::None, |record| {
        black_box(RecordInfo::parse(record).is_ok());
    });
}

/// Frames only, in memory: what resuming and verifying need.
#[divan::bench(args = WORKLOADS, sample_count = 9, sample_size = 1)]
fn scan_segment_none(bencher: Bencher<'_, '_>, workload: &Workload) {
    let (_dir, path) = segment(workload, Compression::None);
    let bytes = std::fs::read(path).expect("the segment");
    bencher.counter(ItemsCount::new(workload.records)).bench_local(|| {
        let (mut scanner, mut records) = (Scanner::new(None), 0);
        loop {
            match scanner.step(&bytes[scanner.position() as usize..], true) {
                Step::Frame(frame) => records += frame.header.count as usize,
                Step::End => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(records, workload.records);
    });
}

#[divan::bench(args = WORKLOADS, sample_count = 9, sample_size = 1)]
fn scan_pbfs(bencher: Bencher<'_, '_>, workload: &Workload) {
    let bytes = pbfs(workload);
    bencher.counter(ItemsCount::new(workload.records)).bench_local(|| {
        let (mut scanner, mut messages) = (PbfsScanner::new(), 0);
        loop {
            match scanner.step(&bytes[scanner.position() as usize..], true) {
                PbfsStep::Chunk(chunk) => messages += chunk.messages().map(black_box).count(),
                PbfsStep::End => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(messages, workload.records);
    });
}

#[divan::bench(args = WORKLOADS, sample_count = 9, sample_size = 1)]
fn read_pbfs_file(bencher: Bencher<'_, '_>, workload: &Workload) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("backup");
    std::fs::write(&path, pbfs(workload)).expect("the file");
    bencher.counter(ItemsCount::new(workload.records)).bench_local(|| {
        let mut reader = PbfsReader::open(&path).expect("the file");
        let mut messages = 0;
        while let Some(event) = reader.next_event().expect("the file") {
            match event {
                sift_replay::segment::PbfsEvent::Chunk(chunk) => messages += chunk.messages().map(black_box).count(),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(messages, workload.records);
    });
}

#[divan::bench(args = [64, 100, 1 << 10, 64 << 10, 1 << 20])]
fn crc32(bencher: Bencher<'_, '_>, bytes: usize) {
    let data = vec![0xa5u8; bytes];
    bencher.counter(BytesCount::new(bytes)).bench_local(|| crc32fast::hash(black_box(&data)));
}
