//! Reading only what is needed of a segment: everything that isn't done is read, whatever its SEAL says.

use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use prost::Message;
use sift_replay::catalog::{Catalog, Sealed, SeqSet, discover};
use sift_replay::format::{FRAME_HEADER_BYTES, FrameHeader, IndexEntry, Kind, Seal, decode_trailer, encode_trailer};
use sift_replay::record::Recorder;
use sift_replay::segment::{Event, SegmentReader};

use crate::replay::{count, counting, session, small_frames};

const RECORDS: u64 = 2000;

fn sealed(path: &Path) -> Sealed {
    let catalog = Catalog::build(discover(&[path.to_owned()]).unwrap());
    catalog.sessions[0].segments[0].sealed.clone().unwrap()
}

fn set(ranges: &[Range<u64>]) -> SeqSet {
    let mut set = SeqSet::new();
    for range in ranges {
        set.insert(range.clone());
    }
    set
}

/// The seqs that are read when `done` needn't be, and the bytes of their frames.
fn read(path: &Path, done: &SeqSet) -> (BTreeSet<u64>, u64) {
    let sealed = sealed(path);
    let mut reader = SegmentReader::open_plain(path).unwrap();
    let (mut seqs, mut bytes) = (BTreeSet::new(), 0);
    while sealed.skip_done(&mut reader, done).unwrap() {
        match reader.next_event().unwrap() {
            Some(Event::Records(batch)) => {
                seqs.extend(batch.first_seq..batch.end_seq());
                bytes += batch.payload.len() as u64;
            }
            Some(Event::Damage(damage)) => panic!("{damage:?}"),
            Some(_) => {}
            None => break,
        }
    }
    (seqs, bytes)
}

fn recorded(dir: &Path) -> PathBuf {
    let mut files = session(dir, &counting("k"), small_frames(), RECORDS);
    assert_eq!(files.len(), 1);
    files.remove(0)
}

#[test]
fn only_what_is_not_done_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = recorded(dir.path());
    let (all, bytes) = read(&path, &SeqSet::new());
    assert_eq!(all, (0..RECORDS).collect());
    for missing in [0..1, 700..701, RECORDS - 1..RECORDS, 500..520] {
        let done = set(&[0..missing.start, missing.end..RECORDS]);
        let (seqs, some) = read(&path, &done);
        assert!(missing.clone().all(|seq| seqs.contains(&seq)), "{missing:?}");
        assert!(some < bytes / 50, "{some} of {bytes} bytes for {missing:?}");
    }
    let (seqs, some) = read(&path, &set(&[0..100, 101..1500, 1501..RECORDS]));
    assert!(seqs.contains(&100) && seqs.contains(&1500) && some < bytes / 25);
    let everything = set(&[0..RECORDS, RECORDS..RECORDS]);
    assert_eq!(sealed(&path).first_needed(&everything), None);
    assert_eq!(sealed(&path).first_needed(&SeqSet::new()).unwrap().offset, 0);
}

/// Gives a segment an index of its own making.
fn lie(path: &Path, change: impl FnOnce(&mut Seal)) {
    let mut bytes = fs::read(path).unwrap();
    let offset = decode_trailer(bytes.last_chunk().unwrap()).unwrap();
    let at = offset as usize;
    let header = bytes[at..].first_chunk::<FRAME_HEADER_BYTES>().unwrap();
    let mut header = FrameHeader::decode(header, offset, None).unwrap();
    assert_eq!(header.kind, Kind::Seal);
    let mut seal = SegmentReader::open(path).unwrap().seal().unwrap().clone();
    change(&mut seal);
    let payload = seal.encode_to_vec();
    (header.stored_len, header.raw_len) = (payload.len() as u32, payload.len() as u32);
    header.codec = sift_replay::format::Codec::None;
    header.payload_crc = crc32fast::hash(&payload);
    bytes.truncate(at);
    bytes.extend(header.encode());
    bytes.extend(payload);
    bytes.extend(encode_trailer(offset));
    fs::write(path, bytes).unwrap();
}

#[test]
fn an_index_that_lies_loses_no_record() {
    type Lie = fn(&mut Seal);
    let lies: [(&str, Lie); 10] = [
        ("none", |seal| seal.index.clear()),
        ("offsets moved", |seal| {
            let last = seal.index.len() - 1;
            seal.index[1..last].iter_mut().for_each(|entry| entry.offset += 1);
        }),
        // These contradict themselves nowhere.
        ("silent about the beginning", |seal| {
            seal.records -= seal.index.drain(..9).map(|entry| entry.count).sum::<u64>();
        }),
        ("silent about the end", |seal| {
            let told = seal.index.len() - 9;
            seal.records -= seal.index.drain(told..).map(|entry| entry.count).sum::<u64>();
            seal.end_seq = seal.index.last().map(|entry| entry.first_seq + entry.count).unwrap();
        }),
        ("seqs moved", |seal| {
            let last = seal.index.len() - 1;
            seal.index[1..last].iter_mut().for_each(|entry| entry.first_seq += 1);
            seal.index[0].count += 1;
            seal.index[last - 1].count -= 1;
        }),
        ("each points at the next", |seal| {
            let offsets: Vec<u64> = seal.index.iter().map(|entry| entry.offset).collect();
            let last = seal.index.len() - 1;
            for (entry, next) in seal.index[1..last].iter_mut().zip(&offsets[2..]) {
                entry.offset = *next;
            }
            seal.index[last - 1].offset -= 1;
        }),
        ("backwards", |seal| seal.index.reverse()),
        ("behind the end", |seal| seal.index.iter_mut().for_each(|entry| entry.offset |= 1 << 60)),
        ("overflowing", |seal| seal.index.iter_mut().for_each(|entry| entry.count = u64::MAX)),
        ("endless", |seal| {
            let entry = |i| IndexEntry { offset: 100 + i, first_seq: i, count: 1, ..IndexEntry::default() };
            seal.index = (0..100_000).map(entry).collect();
        }),
    ];
    for (name, change) in lies {
        let dir = tempfile::tempdir().unwrap();
        let path = recorded(dir.path());
        // Where stretches begin a lie tells most.
        let begins = SegmentReader::open(&path).unwrap().seal().unwrap().index.clone();
        let begins = begins[1..].iter().step_by(7).map(|entry| entry.first_seq..entry.first_seq + 1);
        lie(&path, change);
        for missing in [3..500, 1990..RECORDS].into_iter().chain(begins) {
            let done = set(&[0..missing.start, missing.end..RECORDS]);
            let (seqs, _) = read(&path, &done);
            assert!(missing.clone().all(|seq| seqs.contains(&seq)), "{name}: {missing:?} of {} seqs", seqs.len());
        }
    }
}

#[test]
fn reading_goes_on_where_an_earlier_one_ended() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::create(dir.path(), &counting("k"), small_frames()).unwrap();
    let mut ended = 0;
    let mut seen = BTreeSet::new();
    for round in 1..4 {
        count(&recorder, 100);
        recorder.flush().unwrap();
        let path = crate::replay::files_of(&recorder).remove(0);
        let mut reader = SegmentReader::open_plain(&path).unwrap();
        assert!(ended == 0 || reader.skip_to(ended, None).unwrap());
        let before = seen.len();
        while let Some(event) = reader.next_event().unwrap() {
            if let Event::Records(batch) = event {
                assert!((batch.first_seq..batch.end_seq()).all(|seq| seen.insert(seq)), "read twice");
            }
        }
        assert_eq!((before, seen.len()), ((round - 1) * 100, round * 100));
        ended = reader.position();
        // Nothing has come since.
        assert!(SegmentReader::open_plain(&path).unwrap().skip_to(ended, None).unwrap());
        // No frame begins there.
        for offset in [0, 7, ended - 1, ended + 1, u64::MAX] {
            let mut reader = SegmentReader::open_plain(&path).unwrap();
            assert!(!reader.skip_to(offset, None).unwrap(), "{offset}");
            assert_eq!(reader.position(), 0);
        }
    }
}

#[test]
fn a_reader_at_the_end_goes_on_when_the_file_has_grown() {
    let dir = tempfile::tempdir().unwrap();
    let path = recorded(dir.path());
    let whole = fs::read(&path).unwrap();
    let half = sealed(&path).next_needed(&SeqSet::new(), whole.len() as u64 / 2).unwrap();
    fs::write(&path, &whole[..half.offset as usize]).unwrap();
    let mut reader = SegmentReader::open_plain(&path).unwrap();
    while reader.next_event().unwrap().is_some() {}
    let (offset, first_seq) = (reader.position(), half.first_seq.unwrap());
    assert_eq!(offset, half.offset);
    fs::write(&path, &whole).unwrap();
    assert!(!reader.skip_to(offset, Some(first_seq - 1)).unwrap());
    assert!(reader.skip_to(offset, Some(first_seq)).unwrap());
    let mut next = first_seq;
    while let Some(event) = reader.next_event().unwrap() {
        if let Event::Records(batch) = event {
            assert_eq!(batch.first_seq, next);
            next = batch.end_seq();
        }
    }
    assert_eq!(next, RECORDS);
}
