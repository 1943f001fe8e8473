//! What a segment's reader and writer say of it besides its events: who it is, how large it is, what no frame told.

use std::fs;
use std::sync::Arc;

use serde_json::{Value, json};
use sift_replay::format::{FRAME_HEADER_BYTES, Kind, SegmentHeader, TimeRange};
use sift_replay::segment::{Disk, Event, PendingFrame, SegmentReader, SegmentWriter};
use uuid::Uuid;

use crate::support::format::find::read;
use crate::support::format::golden::{header, imus};
use crate::support::format::{FrameSpec, SESSION, Seg, damage};

/// Writes the bytes under the sealed name of the session's segment `index`, and reads them: the index that the reader
/// finds, and the events.
fn read_as(index: u32, bytes: &[u8]) -> (Value, Vec<Value>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(format!("{SESSION}-{index:06}.sfr"));
    fs::write(&path, bytes).unwrap();
    let (identity, _, events) = read(&path);
    (identity["index"].clone(), events)
}

/// [F-37]
#[test]
fn where_header_seal_and_name_all_differ_most_frames_decide_and_the_first_of_equals() {
    let (stale, mut full, mut empty) = (Seg::new(header(1)), Seg::new(header(2)), Seg::new(header(2)));
    full.data(&imus(0, 2), false).data(&imus(2, 1), false).seal();
    empty.seal();
    let begin = stale.bytes.len();
    let misplaced = damage(8, begin - 8, "misplaced", None);

    full.bytes[..begin].copy_from_slice(&stale.bytes);
    let mut expected = full.events();
    expected[0] = misplaced;
    assert_eq!(read_as(3, &full.bytes), (json!(2), expected), "SEAL's, which the records have too");

    let end = empty.bytes.len();
    empty.bytes[..begin].copy_from_slice(&stale.bytes);
    let seal = damage(begin, end - begin, "misplaced", None);
    assert_eq!(read_as(3, &empty.bytes), (json!(1), vec![stale.events()[0].clone(), seal]), "HEADER's");

    // Only the name says what most frames say.
    let (mut foreign, mut own) = (Seg::new(header(2)), Seg::new(header(3)));
    foreign.data(&imus(0, 2), false).data(&imus(2, 1), false).seal();
    own.data(&imus(0, 2), false).data(&imus(2, 1), false).seal();
    let seal_at = own.frames[3].offset;
    own.bytes[..begin].copy_from_slice(&stale.bytes);
    own.bytes[seal_at..].copy_from_slice(&foreign.bytes[seal_at..]);
    assert_eq!(read_as(3, &own.bytes).0, json!(3), "the name's");
}

#[test]
fn a_frame_without_records_is_skipped_and_damaged_without_seqs() {
    let mut seg = Seg::new(header(0));
    seg.frame(FrameSpec::new(99, 0, b"later".to_vec()), json!({}));
    let mut critical = FrameSpec::new(super::support::format::MARK, 0, Vec::new());
    critical.flags = 0x0100;
    seg.frame(critical, json!({}));
    // No message.
    seg.frame(FrameSpec::new(super::support::format::MARK, 0, vec![0xff]), json!({}));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(format!("{SESSION}-000000.sfr.open"));
    fs::write(&path, &seg.bytes).unwrap();
    let mut reader = SegmentReader::open(&path).unwrap();
    let mut places = Vec::new();
    while let Some(event) = reader.next_event().unwrap() {
        let (offset, len, seqs) = match event {
            Event::Skipped(skipped) => (skipped.offset, skipped.len, skipped.seqs),
            Event::Damage(damage) => (damage.offset, damage.len, damage.seqs),
            Event::Header(_) => continue,
            other => panic!("{other:?}"),
        };
        assert_eq!(seqs, None, "{offset}");
        places.push((offset as usize, len as usize));
        assert_eq!(reader.position(), offset + len);
    }
    assert_eq!(places, seg.frames[1..].iter().map(|frame| (frame.offset, frame.len)).collect::<Vec<_>>());
}

#[test]
fn a_batch_ends_where_the_next_begins() {
    let mut seg = Seg::new(header(0));
    seg.data(&imus(0, 2), false).data(&imus(2, 7), true).data(&imus(9, 1), false).seal();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(format!("{SESSION}-000000.sfr"));
    fs::write(&path, &seg.bytes).unwrap();
    let mut reader = SegmentReader::open(&path).unwrap();
    assert_eq!((reader.path(), reader.bytes()), (&*path, seg.bytes.len() as u64));
    assert_eq!((reader.position(), reader.segment_id()), (0, Some(seg.id())));
    assert_eq!(reader.seal().map(|seal| (seal.records, seal.end_seq)), Some((10, 10)));
    let mut next = 0;
    while let Some(event) = reader.next_event().unwrap() {
        if let Event::Records(batch) = event {
            assert_eq!((batch.first_seq, batch.records().count()), (next, batch.count as usize));
            next = batch.end_seq();
        }
    }
    assert_eq!((next, reader.position()), (10, seg.bytes.len() as u64));
}

#[test]
fn a_writer_knows_its_place_its_size_and_whether_it_has_records() {
    let (dir, session) = (tempfile::tempdir().unwrap(), Uuid::from_u128(7));
    let header = SegmentHeader { segment_index: 4, first_seq: 5, ..SegmentHeader::default() };
    let mut writer = SegmentWriter::create(Arc::new(Disk), dir.path(), session, header).unwrap();
    let open = dir.path().join(format!("{session}-000004.sfr.open"));
    let size = || fs::metadata(&open).unwrap().len();
    assert_eq!((writer.index(), writer.path(), writer.len()), (4, open.clone(), size()));
    let mut note = PendingFrame::message(Kind::Mark, 5, TimeRange::at(9), &SegmentHeader::default()).unwrap();
    writer.write(&mut note).unwrap();
    assert!(writer.is_empty(), "a mark is no record");
    let payload = [&[1, 0, 0, 0, b'a'][..], &[1, 0, 0, 0, b'b']].concat();
    let mut data = PendingFrame { kind: Kind::Data, count: 2, raw_len: payload.len() as u32, ..note };
    data.buffer.truncate(FRAME_HEADER_BYTES);
    data.buffer.extend(payload);
    assert_eq!(data.end_seq(), 7);
    writer.write(&mut data).unwrap();
    assert!(!writer.is_empty());
    assert_eq!(writer.len(), size());
    let sealed = writer.seal().unwrap();
    let seal = SegmentReader::open(&sealed).unwrap().seal().cloned().unwrap();
    assert_eq!((seal.records, seal.end_seq, seal.index.len()), (2, 7, 1));
    assert_eq!((seal.index[0].first_seq, seal.least, seal.greatest), (5, Some(9), Some(9)));
}
