//! What recording costs: through the recorder, to a disk and to nowhere, beside the bare loops that bound it.
//!
//! `cargo bench --bench record`
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "benchmarks")]

#[path = "../tests/it/support/null_storage.rs"]
mod null_storage;
#[path = "support/workload.rs"]
mod workload;

use std::hint::black_box;
use std::sync::Arc;

use divan::Bencher;
use divan::counter::ItemsCount;
use prost::Message;
use sift_replay::format::{Compression, put_bytes_field, put_varint_field};
use sift_replay::record::{Recorder, RecorderOptions, Timestamp};
use sift_replay::segment::{Disk, Storage};

use null_storage::NullStorage;
use workload::{ROWS, WORKLOADS, Workload};

fn main() {
    divan::main();
}

/// A whole session: created, recorded, finished (all of it durable).
fn session(bencher: Bencher<'_, '_>, workload: &Workload, storage: Arc<dyn Storage>, compression: Compression) {
    let rows = workload.rows();
    bencher
        .counter(ItemsCount::new(workload.records))
        .with_inputs(|| tempfile::tempdir().expect("a temporary directory"))
        .bench_local_refs(|dir| {
            let options = RecorderOptions { compression, storage: storage.clone(), ..Default::default() };
            let recorder = Recorder::create(dir.path(), &workload.schema(), options).expect("a recorder");
            let flow = recorder.flow("f").expect("the flow");
            for number in 0..workload.records {
                let time = Timestamp::from_unix_ns(workload::time(number));
                let _ = recorder.record(&flow, time, &rows[number % ROWS]).expect("it is recorded");
            }
            recorder.finish().expect("it is finished")
        });
}

#[divan::bench(args = WORKLOADS, sample_count = 9, sample_size = 1)]
fn disk_none(bencher: Bencher<'_, '_>, workload: &Workload) {
    session(bencher, workload, Arc::new(Disk), Compression::None);
}

#[divan::bench(args = WORKLOADS, sample_count = 9, sample_size = 1)]
fn disk_zstd1(bencher: Bencher<'_, '_>, workload: &Workload) {
    session(bencher, workload, Arc::new(Disk), Compression::Zstd(1));
}

#[divan::bench(args = WORKLOADS, sample_count = 9, sample_size = 1)]
fn disk_zstd_minus3(bencher: Bencher<'_, '_>, workload: &Workload) {
    session(bencher, workload, Arc::new(Disk), Compression::Zstd(-3));
}

#[divan::bench(args = WORKLOADS, sample_count = 9, sample_size = 1)]
fn null_none(bencher: Bencher<'_, '_>, workload: &Workload) {
    session(bencher, workload, Arc::new(NullStorage), Compression::None);
}

#[divan::bench(args = WORKLOADS, sample_count = 9, sample_size = 1)]
fn null_zstd1(bencher: Bencher<'_, '_>, workload: &Workload) {
    session(bencher, workload, Arc::new(NullStorage), Compression::Zstd(1));
}

/// Encodes one record of doubles behind its length, as a recorder must at the least.
fn encode(out: &mut Vec<u8>, name: &[u8], number: usize, row: &[f64]) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(name);
    let time = workload::time(number);
    let at = out.len();
    out.extend_from_slice(&[0x1a, 0]);
    put_varint_field(out, 1, (time / 1_000_000_000) as u64);
    put_varint_field(out, 2, (time % 1_000_000_000) as u64);
    out[at + 1] = (out.len() - at - 2) as u8;
    for value in row {
        let mut bytes = [0x22, 9, 0x11, 0, 0, 0, 0, 0, 0, 0, 0];
        bytes[3..].copy_from_slice(&value.to_le_bytes());
        out.extend_from_slice(&bytes);
    }
    let len = (out.len() - start - 4) as u32;
    out[start..start + 4].copy_from_slice(&len.to_le_bytes());
}

/// Encodes all records into a buffer of 64 KiB, over and over; `full` gets each full buffer.
fn bare(bencher: Bencher<'_, '_>, workload: &Workload, full: impl Fn(&[u8])) {
    let rows = workload.plain_rows();
    let mut name = Vec::new();
    put_bytes_field(&mut name, 2, b"f");
    bencher.counter(ItemsCount::new(workload.records)).bench_local(|| {
        let mut buffer = Vec::with_capacity(72 << 10);
        for number in 0..workload.records {
            encode(&mut buffer, &name, number, &rows[number % ROWS]);
            if buffer.len() >= 64 << 10 {
                full(&buffer);
                buffer.clear();
            }
        }
        full(&buffer);
    });
}

#[divan::bench(args = WORKLOADS, sample_count = 9, sample_size = 1)]
fn bare_encode(bencher: Bencher<'_, '_>, workload: &Workload) {
    bare(bencher, workload, |buffer| {
        black_box(buffer);
    });
}

#[divan::bench(args = WORKLOADS, sample_count = 9, sample_size = 1)]
fn bare_encode_crc(bencher: Bencher<'_, '_>, workload: &Workload) {
    bare(bencher, workload, |buffer| {
        black_box(crc32fast::hash(buffer));
    });
}

/// Messages that are built already: what the official library has to do at the least.
#[divan::bench(args = WORKLOADS, sample_count = 9, sample_size = 1)]
fn prost_encode_built_messages(bencher: Bencher<'_, '_>, workload: &Workload) {
    let rows = workload.plain_rows();
    let messages: Vec<_> = rows.iter().enumerate().map(|(number, row)| workload::message(number, row)).collect();
    bencher.counter(ItemsCount::new(workload.records)).bench_local(|| {
        let mut buffer = Vec::with_capacity(72 << 10);
        for number in 0..workload.records {
            messages[number % ROWS].encode(&mut buffer).expect("there is room");
            if buffer.len() >= 64 << 10 {
                black_box(&buffer);
                buffer.clear();
            }
        }
    });
}
