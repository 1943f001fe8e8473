//! Going on with a backup most of which is delivered already: only the rest is read.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use prost::Message;
use sift_replay::format::{
    Codec, FLAG_BARE, FRAME_HEADER_BYTES, FrameHeader, Kind, MAGIC, SealBuilder, SegmentHeader, TimeRange,
    encode_trailer, segment_id,
};
use sift_replay::record::{Channel, DataType, FlowSchema, Recorder, RecorderOptions, Schema, Timestamp, Value};
use sift_replay::replay::{Checkpoint, Checkpoints, Outcome, StateDirs};
use sift_replay::segment::{Disk, SegmentName, SegmentReader};
use uuid::Uuid;

use crate::replay::{counting, files_of, session};
use crate::support::cli::Home;
use crate::support::destination::{Mood, Raw, block_on};
use crate::support::taken::{Reads, reads_of};

const MIB: u64 = 1 << 20;

/// Bytes of each record's text in what isn't delivered.
const TEXT: usize = 60 << 10;

/// Frames of a segment with nothing in it, and bytes and records of each frame.
const FRAMES: u64 = 16;
const FRAME: u64 = 16 * MIB;
const RECORDS_OF_FRAME: u32 = 100_000;

/// What may be read of a segment to see that nothing of it is needed: both ends, when it is found and when it is replayed.
const LOOKS: u64 = 128 << 10;

/// A sealed segment of 256 MiB, of which only heads of frames, SEAL and trailer are on the disk: its records are holes.
/// Returns the seq behind its last.
fn hollow(dir: &Path, like: &SegmentHeader, index: u32, first_seq: u64) -> u64 {
    let session = like.session().unwrap();
    let segment_index = index;
    let header = SegmentHeader { segment_index, first_seq, ..like.clone() };
    let file = File::create_new(dir.join(SegmentName { session, index, open: false }.to_string())).unwrap();
    let (mut offset, mut seq) = (MAGIC.len() as u64, first_seq);
    file.write_all_at(&MAGIC, 0).unwrap();
    let frame = |kind, offset, first_seq, payload: &[u8]| FrameHeader {
        kind,
        codec: Codec::None,
        flags: if kind == Kind::Data { FLAG_BARE } else { 0 },
        stored_len: if kind == Kind::Data { FRAME as u32 } else { payload.len() as u32 },
        raw_len: if kind == Kind::Data { FRAME as u32 } else { payload.len() as u32 },
        count: if kind == Kind::Data { RECORDS_OF_FRAME } else { 0 },
        first_seq,
        times: if kind == Kind::Data { TimeRange::at(1) } else { TimeRange::EMPTY },
        segment_id: segment_id(session, index),
        offset,
        // Of a hole, this isn't the checksum: whoever reads one takes it for damage.
        payload_crc: crc32fast::hash(payload),
    };
    let put = |header: &FrameHeader, payload: &[u8]| {
        file.write_all_at(&header.encode(), header.offset).unwrap();
        file.write_all_at(payload, header.offset + FRAME_HEADER_BYTES as u64).unwrap();
        header.offset + header.frame_len()
    };
    let message = header.encode_to_vec();
    offset = put(&frame(Kind::Header, offset, seq, &message), &message);
    let mut seal = SealBuilder::new(first_seq);
    for _ in 0..FRAMES {
        let data = frame(Kind::Data, offset, seq, b"");
        seal.add_frame(&data);
        (offset, seq) = (put(&data, b""), data.end_seq());
    }
    let seal_offset = offset;
    let message = seal.finish(header).encode_to_vec();
    offset = put(&frame(Kind::Seal, offset, seq, &message), &message);
    file.write_all_at(&encode_trailer(seal_offset), offset).unwrap();
    seq
}

/// A session of so many bytes that are worth replaying; returns its id, its last HEADER, and the seq behind its last.
fn recorded(dir: &Path, bytes: u64) -> (Uuid, SegmentHeader, u64) {
    let flow = FlowSchema::new("text").channel(Channel::new("text", DataType::String));
    let options = RecorderOptions { segment_bytes: 64 * MIB, ..RecorderOptions::default() };
    let options = RecorderOptions { compression: sift_replay::format::Compression::None, ..options };
    let recorder = Recorder::create(dir, &Schema::new("rover", "long").flow(flow), options).unwrap();
    let flow = recorder.flow("text").unwrap();
    let text = "x".repeat(TEXT);
    let records = bytes / TEXT as u64;
    for n in 0..records {
        let _ = recorder.record(&flow, Timestamp::from_unix_ns(n as i64), &[Value::String(&text)]).unwrap();
    }
    recorder.finish().unwrap();
    let last = files_of(&recorder).pop().unwrap();
    let header = SegmentReader::open(&last).unwrap().identity().header.clone().unwrap();
    (recorder.session(), header, records)
}

/// Replays a backup of which `rest` bytes aren't delivered, and `hollows` segments of 256 MiB are; returns what was read,
/// and the bytes of all its files.
fn resumed(rest: u64, hollows: u32) -> (Reads, u64) {
    let home = Home::new();
    let dir = home.path().join("backups");
    let raw = Raw::start(Mood::Counts);
    let replay = || home.command(&["--quiet", "--json", "--uri", &raw.uri(), dir.to_str().unwrap()]);
    // As what records are delivered to that server, only a journal tells.
    session(&dir, &counting("short"), RecorderOptions::default(), 10);
    reads_of(&mut replay());
    let (session, header, records) = recorded(&dir, rest);
    let segments = dir.join("rover/no-run");
    let mut end = records;
    for number in 1..=hollows {
        end = hollow(&segments, &header, header.segment_index + number, end);
    }
    {
        let state = StateDirs::resolve_in(std::slice::from_ref(&dir), None, None);
        let checkpoints = Checkpoints::open(Arc::new(Disk), state).unwrap();
        let target = checkpoints.list().remove(0).target;
        let done = Checkpoint::Session { session, seqs: records..end, outcome: Outcome::Acknowledged };
        block_on(checkpoints.save(&target, vec![done])).unwrap();
    }
    let before = raw.seen.bytes.load(Ordering::SeqCst);
    let (said, reads) = reads_of(&mut replay());
    let summary: serde_json::Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    let of = |name: &str| summary[name].as_u64().unwrap_or_else(|| panic!("{name} in {summary}"));
    assert_eq!(
        (of("records_acknowledged"), of("records_already_acknowledged")),
        (records, end - records + 10),
        "{summary}"
    );
    assert_eq!((of("damaged_places"), of("records_missing")), (0, 0), "{summary}");
    // All of the rest was sent, and nothing else.
    let sent = raw.seen.bytes.load(Ordering::SeqCst) - before;
    assert!((rest - TEXT as u64..rest + rest / 100).contains(&sent), "{sent} of {rest} bytes");
    let bytes = fs::read_dir(segments).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    (reads, bytes)
}

#[track_caller]
fn check(rest: u64, hollows: u32) {
    let (reads, bytes) = resumed(rest, hollows);
    let percent = |part: u64| part as f64 * 100.0 / bytes as f64;
    println!(
        "of {} MiB, {:.2} % not done: {:.2} % read, in {} calls",
        bytes / MIB,
        percent(rest),
        percent(reads.bytes),
        reads.calls
    );
    assert!(percent(rest) < 1.0, "more than one percent isn't done");
    assert!(reads.bytes >= rest, "{reads:?}");
    assert!(reads.bytes <= rest + rest / 50 + MIB + u64::from(hollows) * LOOKS, "{reads:?} for {rest} bytes");
}

/// The delivered part is holes: any byte of its records that was read would be damage.
#[test]
fn resuming_reads_the_one_percent_that_is_not_done() {
    check(40 * MIB, 16);
}

/// The same at full size: 1 GiB of 100 GiB.
#[test]
#[ignore = "takes a GiB of disk, and a minute"]
fn resuming_a_hundred_gib_reads_one() {
    check(1024 * MIB, 400);
}
