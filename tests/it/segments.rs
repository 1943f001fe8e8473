//! What a segment's reader and writer say of it besides its events: who it is, how large it is, what no frame told.

use std::fs;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use sift_replay::format::{FRAME_HEADER_BYTES, Kind, Scanner, SegmentHeader, Step, TimeRange};
use sift_replay::segment::{
    Disk, Event, LockKind, PbfsEvent, PbfsReader, PendingFrame, SegmentReader, SegmentWriter, Storage,
};
use uuid::Uuid;

use crate::support::format::find::read;
use crate::support::format::golden::{header, imus};
use crate::support::format::{FrameSpec, SEAL, SESSION, SYNC, Seg, crc32, damage};
use crate::support::null_storage::NullStorage;

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
    // The name is another one, or SEAL's.
    for name in [3, 2] {
        let found = read_as(name, &full.bytes);
        assert_eq!(found, (json!(2), expected.clone()), "SEAL's, which the records have too");
    }

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

/// [F-37]: where HEADER is lost and SEAL has no copy of it (it was too large, or lost before), SEAL's place in most frames'
/// segment is known all the same.
#[test]
fn a_segment_without_header_is_not_lost_because_somebody_gave_it_the_name_of_another() {
    let mut seg = Seg::new(header(1));
    seg.data(&imus(0, 2), false).data(&imus(2, 1), false);
    let seal_at = seg.bytes.len() as u64;
    // Three records, up to seq 3.
    seg.frame(FrameSpec::new(SEAL, 3, vec![0x10, 3, 0x18, 3]), json!({}));
    seg.bytes.extend(seal_at.to_le_bytes());
    seg.bytes.extend(b"SFR-SEAL");
    let lost = seg.frames[0].lost("no-frame");
    seg.bytes[8..80].fill(0);
    let dir = tempfile::tempdir().unwrap();
    for (name, index) in [("-000001.sfr", json!(1)), ("-000003.sfr", json!(null)), (" copy", json!(null))] {
        let path = dir.path().join(format!("{SESSION}{name}"));
        fs::write(&path, &seg.bytes).unwrap();
        let (identity, _, events) = read(&path);
        assert_eq!(identity["segment_id"], format!("{:016x}", seg.id()), "{name}");
        assert_eq!((&identity["index"], identity["session"].is_null()), (&index, index.is_null()), "{name}");
        assert_eq!(events[..3], [lost.clone(), seg.events()[1].clone(), seg.events()[2].clone()], "{name}");
        assert_eq!((events.len(), &events[3]["event"]), (4, &json!("seal")), "{name}");
    }
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

#[test]
fn a_scanner_that_begins_at_a_frame_finds_it_and_all_that_follows() {
    let mut seg = Seg::new(header(0));
    seg.data(&imus(0, 2), false).data(&imus(2, 7), true).data(&imus(9, 1), false).seal();
    for (first, frame) in seg.frames.iter().enumerate() {
        let mut scanner = Scanner::at_frame(Some(seg.id()), frame.offset as u64);
        let mut found = Vec::new();
        loop {
            let window = &seg.bytes[scanner.position() as usize..];
            match scanner.step(window, true) {
                Step::Frame(frame) => found.push(frame.header.offset as usize),
                Step::End => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(found, seg.frames[first..].iter().map(|frame| frame.offset).collect::<Vec<_>>());
        assert_eq!(scanner.segment_id(), Some(seg.id()));
    }
}

fn reader(bytes: &[u8]) -> SegmentReader {
    let path = Path::new("in memory");
    SegmentReader::from_reader(path, Box::new(Cursor::new(bytes.to_vec()))).unwrap()
}

/// The first seq of the records that come next; nothing if none do.
fn next_seq(reader: &mut SegmentReader) -> Option<u64> {
    loop {
        match reader.next_event().unwrap()? {
            Event::Records(batch) => return Some(batch.first_seq),
            Event::Damage(damage) => panic!("{damage:?}"),
            _ => {}
        }
    }
}

/// [F-25], [F-34]
#[test]
fn skipping_goes_to_records_that_stand_there_and_nowhere_else() {
    let mut seg = Seg::new(header(0));
    seg.data(&imus(0, 2), false).data(&imus(2, 7), true).data(&imus(9, 1), false).seal();
    let (at, end) = (|i: usize| seg.frames[i].offset as u64, seg.bytes.len() as u64);
    for (i, seq) in [(1, 0), (2, 2), (3, 9)] {
        let mut reader = reader(&seg.bytes);
        assert_eq!(reader.frame_at(at(i)).unwrap().map(|frame| frame.first_seq), Some(seq));
        assert!(reader.skip_to(at(i), Some(seq)).unwrap());
        assert_eq!(next_seq(&mut reader), Some(seq));
    }
    // What isn't so moves nothing: another seq, no frame, no records, before the first frame, SEAL, behind it.
    for (offset, seq) in [
        (at(2), 9),
        (at(2), 0),
        (at(2) + 1, 2),
        (at(0), 0),
        (0, 0),
        (at(4), 10),
        (end - 16, 10),
        (end, 10),
        (end + 9, 10),
    ] {
        let mut reader = reader(&seg.bytes);
        assert!(!reader.skip_to(offset, Some(seq)).unwrap(), "{offset}");
        assert_eq!(next_seq(&mut reader), Some(0), "{offset}");
    }
    let mut back = reader(&seg.bytes);
    assert_eq!((next_seq(&mut back), next_seq(&mut back)), (Some(0), Some(2)));
    assert!(!back.skip_to(at(1), Some(0)).unwrap(), "back");
    assert!(back.skip_to(at(3), Some(9)).unwrap());
    assert_eq!((next_seq(&mut back), next_seq(&mut back)), (Some(9), None));
    assert!(!back.skip_to(end, None).unwrap(), "behind SEAL nothing is a frame");

    // Records that repeat what was read aren't skipped to: they are damage.
    let mut repeats = Seg::new(header(0));
    repeats.data(&imus(0, 5), false);
    repeats.next_seq = 3;
    repeats.data(&imus(3, 9), false);
    let mut reader = reader(&repeats.bytes);
    assert_eq!(next_seq(&mut reader), Some(0));
    assert!(!reader.skip_to(repeats.frames[2].offset as u64, Some(3)).unwrap());
}

#[test]
fn reading_goes_on_where_it_ended_unless_something_else_is_there_now() {
    let mut seg = Seg::new(header(0));
    seg.data(&imus(0, 2), false).data(&imus(2, 7), true);
    let (end, last) = (seg.bytes.len(), seg.frames[2].offset);
    let goes_on = |bytes: &[u8], offset: usize| reader(bytes).skip_to(offset as u64, None).unwrap();
    assert!(goes_on(&seg.bytes, last) && goes_on(&seg.bytes, end));
    assert!(!goes_on(&seg.bytes, end + 1), "the file is shorter");
    assert!(!goes_on(&seg.bytes, last + 1), "no frame begins there");
    let torn = [&seg.bytes[..], &SYNC[..5]].concat();
    assert!(goes_on(&torn, end), "a frame has been begun");
    let foreign = [&seg.bytes[..], b"else"].concat();
    assert!(!goes_on(&foreign, end));
    let zeros = [&seg.bytes[..], &[0; 100]].concat();
    assert!(!goes_on(&zeros, end));
    // At SEAL, and behind the trailer, but not at the trailer.
    seg.seal();
    assert!(goes_on(&seg.bytes, end) && goes_on(&seg.bytes, seg.bytes.len()));
    assert!(!goes_on(&seg.bytes, seg.bytes.len() - 16));
    let mut at_seal = reader(&seg.bytes);
    while at_seal.position() < end as u64 {
        at_seal.next_event().unwrap();
    }
    assert!(at_seal.skip_to(end as u64, None).unwrap(), "where it stands");
}

#[test]
fn a_pbfs_reader_knows_where_it_stands() {
    let chunk = |message: &[u8]| {
        let mut rest = (message.len() as u64 + 4).to_le_bytes().to_vec();
        rest.extend((message.len() as u32).to_le_bytes());
        rest.extend(message);
        [&crc32(&rest).to_le_bytes()[..], &rest].concat()
    };
    let chunks = [chunk(b"one"), chunk(b"seventeen"), chunk(b"")];
    let mut reader = PbfsReader::from_reader(Path::new("in memory"), Box::new(Cursor::new(chunks.concat())));
    let mut at = 0;
    for chunk in &chunks {
        assert_eq!(reader.position(), at);
        match reader.next_event().unwrap() {
            Some(PbfsEvent::Chunk(found)) => assert_eq!((found.offset, found.bytes), (at, &chunk[..])),
            other => panic!("{other:?}"),
        }
        at += chunk.len() as u64;
    }
    assert_eq!(reader.position(), at);
    assert!(reader.next_event().unwrap().is_none());
}

/// A segment of the session, as its recorder writes it: `frames` DATA frames of one record of `bytes` bytes each.
fn write_long(dir: &Path, session: Uuid, frames: u64, bytes: usize) -> SegmentWriter {
    let header = SegmentHeader { session_id: session.as_bytes().to_vec(), ..SegmentHeader::default() };
    let mut writer = SegmentWriter::create(Arc::new(Disk), dir, session, header).unwrap();
    for seq in 0..frames {
        writer.write(&mut long_frame(seq, bytes)).unwrap();
    }
    writer
}

fn long_frame(seq: u64, bytes: usize) -> PendingFrame {
    let mut frame = PendingFrame::message(Kind::Data, seq, TimeRange::EMPTY, &SegmentHeader::default()).unwrap();
    frame.buffer.extend((bytes as u32).to_le_bytes());
    frame.buffer.extend((0..bytes).map(|i| (i as u64 * 7 + seq) as u8));
    (frame.count, frame.raw_len) = (1, bytes as u32 + 4);
    frame
}

fn check_long(reader: &mut SegmentReader, seqs: std::ops::Range<u64>, bytes: usize) {
    for seq in seqs {
        let batch = loop {
            match reader.next_event().unwrap() {
                Some(Event::Records(batch)) => break batch,
                Some(Event::Header(_)) => {}
                other => panic!("{seq}: {other:?}"),
            }
        };
        assert_eq!(batch.first_seq, seq);
        let expected: Vec<u8> = (0..bytes).map(|i| (i as u64 * 7 + seq) as u8).collect();
        assert!(batch.records().eq([&expected[..]]), "{seq}");
    }
}

#[test]
fn files_and_frames_larger_than_what_is_read_at_a_time_are_read_wholly() {
    for (frames, bytes) in [(40, 50_000), (3, 700_000)] {
        let (dir, session) = (tempfile::tempdir().unwrap(), Uuid::from_u128(7));
        let open = write_long(dir.path(), session, frames, bytes).path();
        // [F-37]: renamed, so that all of it is looked at before it is read.
        let renamed = dir.path().join(format!("{}-000000.sfr.open", Uuid::from_u128(8)));
        for path in [&open, &renamed] {
            let mut reader = SegmentReader::open(path).unwrap();
            assert_eq!(reader.identity().session, Some(session));
            check_long(&mut reader, 0..frames, bytes);
            assert!(reader.next_event().unwrap().is_none());
            if path == &open {
                fs::rename(&open, &renamed).unwrap();
            }
        }
    }
}

#[test]
fn a_segment_that_has_grown_is_read_on_where_its_end_was() {
    let (dir, session) = (tempfile::tempdir().unwrap(), Uuid::from_u128(7));
    let mut writer = write_long(dir.path(), session, 2, 100);
    let mut reader = SegmentReader::open(&writer.path()).unwrap();
    check_long(&mut reader, 0..2, 100);
    for seq in 2..5 {
        assert!(reader.next_event().unwrap().is_none());
        writer.write(&mut long_frame(seq, 100)).unwrap();
        assert!(reader.skip_to(reader.position(), None).unwrap());
        check_long(&mut reader, seq..seq + 1, 100);
    }
}

/// A drive that was pulled.
struct Pulled(Cursor<Vec<u8>>);

impl Read for Pulled {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::NotConnected.into())
    }
}

impl Seek for Pulled {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

#[test]
fn a_drive_that_is_pulled_is_an_error_and_not_a_short_file() {
    let mut seg = Seg::new(header(0));
    seg.data(&imus(0, 2), false).seal();
    let file = Pulled(Cursor::new(seg.bytes));
    assert!(SegmentReader::from_reader(Path::new("pulled"), Box::new(file)).is_err());
}

#[test]
fn a_storage_that_says_nothing_of_locks_locks_nothing_and_syncs_nobody_elses_files() {
    let storage = NullStorage;
    let path = Path::new("file");
    assert!(storage.lock(path, LockKind::Exclusive).unwrap().is_some());
    assert!(storage.create(path).unwrap().lock().unwrap());
    assert_eq!(storage.sync_file(path).unwrap_err().kind(), io::ErrorKind::Unsupported);
}
