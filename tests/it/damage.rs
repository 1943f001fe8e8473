//! Whatever happens to a small segment, what is read from it was recorded, and every byte of it is accounted for.

mod sweep;

use std::collections::HashMap;
use std::fs;
use std::ops::Range;

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::format::find::{check_coverage, read, scan};
use crate::support::format::golden::{header, imus};
use crate::support::format::{MAGIC, SEAL, SESSION, SYNC, Seg, damage, torn};

/// HEADER, four DATA frames (two compressed), a mark between them, and SEAL if wanted.
fn segment(sealed: bool) -> Seg {
    let mut seg = Seg::new(header(3));
    seg.data(&imus(0, 2), false).data(&imus(2, 9), true);
    seg.mark(7, super::support::format::Pb::default().always_bytes(4, b"note"), json!({ "note": "note" }));
    seg.data(&imus(11, 1), false).data(&imus(12, 9), true);
    if sealed {
        seg.seal();
    }
    seg
}

fn both() -> [(Seg, bool); 2] {
    [(segment(false), false), (segment(true), true)]
}

/// Every record that the segment has, by its seq.
fn recorded(seg: &Seg) -> HashMap<u64, String> {
    records(&seg.events()).collect()
}

fn records(events: &[Value]) -> impl Iterator<Item = (u64, String)> + '_ {
    events.iter().filter(|e| e["event"] == "records").flat_map(|e| {
        let records = e["records"].as_array().unwrap().iter().map(|r| r["sha256"].as_str().unwrap().to_owned());
        (e["first_seq"].as_u64().unwrap()..).zip(records)
    })
}

fn range(seg: &Seg, i: usize) -> Range<usize> {
    seg.frames[i].offset..seg.frames[i].offset + seg.frames[i].len
}

/// Reads the bytes with the file reader, under the open and the sealed name.
fn check_files(bytes: &[u8], expected: &[Value]) {
    let dir = tempfile::tempdir().unwrap();
    for suffix in ["sfr", "sfr.open"] {
        let path = dir.path().join(format!("{SESSION}-000003.{suffix}"));
        fs::write(&path, bytes).unwrap();
        assert_eq!(read(&path).2, expected, "{suffix}");
    }
}

/// [F-30]
#[test]
fn every_prefix_reads_back_the_frames_that_are_whole() {
    for (seg, sealed) in both() {
        for cut in 0..=seg.bytes.len() {
            let bytes = &seg.bytes[..cut];
            let whole = (0..seg.frames.len()).take_while(|&i| range(&seg, i).end <= cut).count();
            let mut expected = seg.events();
            expected.truncate(whole);
            let begin = if cut < 8 { 0 } else { whole.checked_sub(1).map_or(8, |last| range(&seg, last).end) };
            if cut > begin && !(sealed && cut == seg.bytes.len()) {
                // A whole header tells which seqs the torn frame would have had.
                let seqs = seg.frames.get(whole).filter(|f| cut >= f.offset + 72).and_then(|f| f.seqs);
                expected.push(torn(begin, cut - begin, seqs));
            }
            let events = scan(bytes, Some(seg.id()), usize::MAX);
            assert_eq!(events, expected, "cut at {cut}");
            assert_eq!(scan(bytes, None, usize::MAX), expected, "cut at {cut}, id unknown");
            check_coverage(bytes, &events);
            if cut % 5 == 0 {
                check_files(bytes, &expected);
            }
        }
    }
}

/// What flipping a bit of the byte at `at` costs: exactly the frame that it hits.
fn expect_flipped(seg: &Seg, at: usize) -> Vec<Value> {
    let (mut events, end) = (seg.events(), seg.bytes.len());
    if at < MAGIC.len() {
        events.insert(0, damage(0, 8, "magic", None));
        return events;
    }
    let Some(hit) = (0..seg.frames.len()).find(|&i| range(seg, i).contains(&at)) else {
        events.push(damage(end - 16, 16, "trailer", None));
        return events;
    };
    let frame = &seg.frames[hit];
    events[hit] = match at - frame.offset {
        72.. => frame.lost("payload-checksum"),
        // The trailer is found by SEAL alone.
        within if seg.bytes[frame.offset + 8] == SEAL => damage(frame.offset, end - frame.offset, cause(within), None),
        within => damage(frame.offset, frame.len, cause(within), None),
    };
    events
}

fn cause(within: usize) -> &'static str {
    if within < SYNC.len() { "no-frame" } else { "header-checksum" }
}

/// [F-5], [F-6], [F-7], [F-31], [F-32]
#[test]
fn every_flipped_byte_costs_the_frame_that_it_hits() {
    for (seg, _) in both() {
        for at in 0..seg.bytes.len() {
            let expected = expect_flipped(&seg, at);
            for mask in [0x01, 0xff] {
                let mut bytes = seg.bytes.clone();
                bytes[at] ^= mask;
                for id in [None, Some(seg.id())] {
                    let events = scan(&bytes, id, usize::MAX);
                    assert_eq!(events, expected, "byte {at} ^ {mask:#04x}, id {id:?}");
                    check_coverage(&bytes, &events);
                }
                if at % 7 == 0 {
                    check_files(&bytes, &expected);
                }
            }
        }
    }
}

/// Frames that no change touches are read back, in order, and nothing else [F-31], [F-32].
fn check_untouched(seg: &Seg, bytes: &[u8], what: &str) {
    let events = scan(bytes, Some(seg.id()), usize::MAX);
    check_coverage(bytes, &events);
    let same = |i: usize| bytes[range(seg, i)] == seg.bytes[range(seg, i)];
    let expected: Vec<_> = (0..seg.frames.len()).filter(|&i| same(i)).map(|i| seg.events()[i].clone()).collect();
    let found: Vec<_> = events.into_iter().filter(|e| e["event"] != "damage" && e["event"] != "torn").collect();
    assert_eq!(found, expected, "{what}");
}

#[test]
fn every_zeroed_block_costs_the_frames_that_it_touches() {
    for (seg, _) in both() {
        for block in [64, 200] {
            for at in (0..seg.bytes.len()).step_by(block) {
                let mut bytes = seg.bytes.clone();
                let end = (at + block).min(bytes.len());
                bytes[at..end].fill(0);
                check_untouched(&seg, &bytes, &format!("zeros at {at}"));
            }
        }
    }
}

#[derive(Debug, Clone)]
enum Change {
    Overwrite(usize, Vec<u8>),
    /// Bytes of the file itself, written over another place.
    Copy(usize, usize, usize),
    Insert(usize, Vec<u8>),
    Delete(usize, usize),
    Cut(usize),
}

impl Change {
    /// Whether every byte stays where it was.
    fn keeps_places(&self) -> bool {
        matches!(self, Self::Overwrite(..) | Self::Copy(..))
    }

    fn apply(&self, bytes: &mut Vec<u8>) {
        let len = bytes.len().max(1);
        let clip = |at: usize, n: usize| at % len..(at % len).saturating_add(n).min(len);
        match self {
            _ if bytes.is_empty() => {}
            Self::Overwrite(at, new) => {
                let place = clip(*at, new.len());
                bytes[place.clone()].copy_from_slice(&new[..place.len()]);
            }
            Self::Copy(from, to, n) => {
                let (from, to) = (clip(*from, *n), clip(*to, *n));
                let n = from.len().min(to.len());
                bytes.copy_within(from.start..from.start + n, to.start);
            }
            Self::Insert(at, new) => {
                bytes.splice(at % len..at % len, new.iter().copied());
            }
            Self::Delete(at, n) => {
                bytes.drain(clip(*at, *n));
            }
            Self::Cut(at) => bytes.truncate(at % len),
        }
    }
}

fn overwrites() -> impl Strategy<Value = Change> {
    prop_oneof![
        (any::<usize>(), prop::collection::vec(any::<u8>(), 1..100)).prop_map(|(at, new)| Change::Overwrite(at, new)),
        // Sync markers, and magics, where none belong.
        any::<usize>().prop_map(|at| Change::Overwrite(at, [SYNC, SYNC].concat())),
        any::<usize>().prop_map(|at| Change::Overwrite(at, MAGIC.to_vec())),
        (any::<usize>(), any::<usize>(), 1usize..400).prop_map(|(from, to, n)| Change::Copy(from, to, n)),
    ]
}

fn changes() -> impl Strategy<Value = Change> {
    prop_oneof![
        overwrites(),
        (any::<usize>(), prop::collection::vec(any::<u8>(), 1..100)).prop_map(|(at, new)| Change::Insert(at, new)),
        (any::<usize>(), 1usize..300).prop_map(|(at, n)| Change::Delete(at, n)),
        any::<usize>().prop_map(Change::Cut),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// [F-8], [F-34]: whatever is done to a file, nothing is invented, altered, read twice or out of order.
    #[test]
    fn nothing_is_read_that_was_not_recorded(
        sealed: bool, knows_id: bool, changes in prop::collection::vec(changes(), 1..5), growth in 1usize..2000,
    ) {
        let seg = segment(sealed);
        let mut bytes = seg.bytes.clone();
        changes.iter().for_each(|change| change.apply(&mut bytes));
        let id = knows_id.then(|| seg.id());
        let events = scan(&bytes, id, usize::MAX);
        check_coverage(&bytes, &events);
        prop_assert_eq!(&scan(&bytes, id, growth), &events, "in steps of {}", growth);
        let recorded = recorded(&seg);
        let mut next = 0;
        for (seq, sha256) in records(&events) {
            prop_assert_eq!(recorded.get(&seq), Some(&sha256), "seq {}", seq);
            prop_assert!(seq >= next, "seq {} after {}", seq, next);
            next = seq + 1;
        }
        if changes.iter().all(Change::keeps_places) {
            check_untouched(&seg, &bytes, "overwritten");
        }
    }

    #[test]
    fn any_bytes_are_accounted_for(bytes in prop::collection::vec(any::<u8>(), 0..2000), magic: bool) {
        let bytes = if magic { [&MAGIC[..], &bytes].concat() } else { bytes };
        let events = scan(&bytes, None, usize::MAX);
        check_coverage(&bytes, &events);
        prop_assert_eq!(records(&events).count(), 0);
    }
}
