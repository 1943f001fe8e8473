//! What the files of a session hold together: gaps, and seqs that stand in several of them.

use super::{Looked, begun, imu_with, look, look_files, name};
use crate::support::format::golden::{header, imus};
use crate::support::format::{Header, Pb, Rec, Seg, V};
use serde_json::json;

/// Three segments of two frames each.
fn session() -> [Seg; 3] {
    [0u32, 1, 2].map(|index| {
        let first = i64::from(index) * 5;
        let mut seg = Seg::new(Header { first_seq: first as u64, ..header(index) });
        seg.data(&imus(first, 2), false).data(&imus(first + 2, 3), true).seal();
        seg
    })
}

fn look_segments(segments: &[&Seg]) -> Looked {
    let files: Vec<_> = segments.iter().map(|seg| (name(seg), &seg.bytes[..])).collect();
    look_files(&files.iter().map(|(name, bytes)| (&name[..], *bytes)).collect::<Vec<_>>())
}

fn dropped(seg: &mut Seg, records: u64, first_seq: Option<u64>) {
    let mut dropped = Pb::default().varint(1, records).bytes(2, b"disk too slow");
    if let Some(first) = first_seq {
        dropped = dropped.always_varint(3, first);
    }
    seg.mark(9, Pb::default().always_bytes(2, &dropped.0), json!({}));
}

const MARK: &str = "mark Dropped(Dropped { records: 3, reason: \"disk too slow\", first_seq: Some(2) })";

/// [F-34]
#[test]
fn a_segment_that_is_missing_is_missed_by_its_seqs() {
    let [a, b, c] = &session();
    look_segments(&[a, b, c]).is_sound(15);
    look_segments(&[a, c]).finds(&["missing 5..10"]);
    look_segments(&[b, c]).finds(&["missing 0..5"]);
    look_segments(&[b]).finds(&["missing 0..5"]);
    // Nobody can tell what was to follow.
    look_segments(&[a, b]).is_sound(10);
}

#[test]
fn what_was_dropped_on_board_is_told_and_not_missed() {
    let (mut seg, mut unexplained) = (begun(), begun());
    seg.next_seq += 3;
    dropped(&mut seg, 3, Some(2));
    seg.data(&imus(5, 1), false).seal();
    let looked = look_segments(&[&seg]);
    assert_eq!(looked.found, [MARK]);
    assert!(looked.report.is_sound(), "{looked:?}");
    assert_eq!(looked.report.totals.records_dropped_on_board, 3);
    // Of two copies, the mark counts once.
    let copy = look_files(&[(&name(&seg), &seg.bytes), ("copy", &seg.bytes)]);
    assert_eq!((copy.found, copy.report.totals.records_dropped_on_board), (vec![MARK.to_owned()], 3));
    // One that explains less than there is.
    unexplained.next_seq += 4;
    dropped(&mut unexplained, 3, Some(2));
    unexplained.data(&imus(6, 1), false).seal();
    look_segments(&[&unexplained]).finds(&[MARK, "missing 5..6"]);
}

#[test]
fn gaps_are_told_ten_times_and_counted() {
    let mut seg = Seg::new(header(0));
    for _ in 0..30 {
        seg.next_seq += 1;
        seg.data(&imus(0, 1), false);
    }
    seg.seal();
    let looked = look_segments(&[&seg]);
    assert_eq!((looked.found.len(), looked.report.totals.records_missing), (11, 30));
    assert_eq!(looked.found[10], "more missing of the session: 20");
    assert!(!looked.report.is_sound());
}

#[test]
fn copies_that_are_alike_are_sound_and_count_once() {
    let [a, b, _] = &session();
    let files: [(&str, &[u8]); 4] =
        [(&name(a), &a.bytes), (&name(b), &b.bytes), ("x/one", &a.bytes), ("x/two", &a.bytes)];
    let looked = look_files(&files);
    looked.is_sound(10);
    assert_eq!((looked.report.segments, looked.report.totals.frames), (4, 2 * 4 + 4 * 4 - 8));
}

/// [F-34]: both copies are sound, and not the same: nobody can tell which was recorded.
#[test]
fn copies_that_differ_are_told_by_seq_and_files() {
    let [a, ..] = &session();
    let different = |at: usize, zstd: bool| {
        let mut records = imus(0, 5);
        records[at] = imu_with(V::F64(4711.0));
        let mut seg = Seg::new(header(0));
        // Times are those of the records.
        seg.data(&records[..2], zstd).data(&records[2..], zstd).seal();
        seg
    };
    for at in 0..5 {
        for zstd in [false, true] {
            let b = different(at, zstd);
            let looked = look_files(&[(&name(a), &a.bytes), ("z copy", &b.bytes)]);
            let (first, second) = match b.bytes.len() > a.bytes.len() {
                false => (name(a), "z copy".to_owned()),
                true => ("z copy".to_owned(), name(a)),
            };
            looked.finds(&[&format!("differs {at}..{} {second} {first}", at + 1)]);
            assert_eq!((looked.report.totals.records_found, looked.report.totals.records_differing), (5, 1));
        }
    }
}

/// A differing run is one finding; and each is told once, however many copies are alike.
#[test]
fn seqs_that_differ_side_by_side_are_told_together() {
    let plain = |records: &[Rec]| {
        let mut seg = Seg::new(header(0));
        seg.data(&records[..2], false).data(&records[2..], false).seal();
        seg
    };
    let a = plain(&imus(0, 5));
    let mut records = imus(0, 5);
    (1..4).for_each(|at| records[at] = imu_with(V::F64(at as f64)));
    let b = plain(&records);
    let looked = look_files(&[("a", &a.bytes), ("b", &a.bytes), ("c", &b.bytes)]);
    looked.finds(&["differs 1..4 c a"]);
}

/// Whoever wrote again may have cut frames elsewhere.
#[test]
fn the_same_records_in_other_frames_are_the_same() {
    let [a, ..] = &session();
    for cut in 1..5 {
        let mut b = Seg::new(header(0));
        let records = imus(0, 5);
        b.data(&records[..cut], true).data(&records[cut..], false).seal();
        look_files(&[(&name(a), &a.bytes), ("copy", &b.bytes)]).is_sound(5);
    }
    // Overlapping a little at both ends.
    let mut again = Seg::new(Header { first_seq: 3, ..header(1) });
    again.data(&imus(3, 4), false).seal();
    let mut last = Seg::new(Header { first_seq: 6, ..header(2) });
    last.data(&imus(6, 1), false).data(&[Rec { ids: ["", "", ""], ..imus(7, 1)[0].clone() }], false).seal();
    look_segments(&[a, &again, &last]).is_sound(8);
    let mut other = Seg::new(Header { first_seq: 6, ..header(2) });
    other.data(&imus(60, 1), false).seal();
    look_segments(&[a, &again, &other]).finds(&[&format!("differs 6..7 {} {}", name(&other), name(&again))]);
}

/// What a damaged copy lacks, the whole one has: it is damaged all the same.
#[test]
fn a_damaged_copy_beside_a_whole_one_loses_nothing_and_is_told() {
    let [a, ..] = &session();
    let mut bytes = a.bytes.clone();
    bytes[a.frames[1].offset + 80] ^= 1;
    for (whole, damaged) in [(name(a), "z copy".to_owned()), ("z copy".to_owned(), name(a))] {
        let looked = look_files(&[(&whole, &a.bytes), (&damaged, &bytes)]);
        looked.finds(&["damage 216 +156 payload-checksum Some(0..2)"]);
        assert_eq!((looked.report.totals.records_found, looked.report.totals.records_missing), (5, 0));
    }
}

#[test]
fn a_session_of_many_copies_is_compared_once_each() {
    let dir = tempfile::tempdir().unwrap();
    let [a, ..] = &session();
    for n in 0..50 {
        std::fs::write(dir.path().join(format!("copy {n}")), &a.bytes).unwrap();
    }
    look(dir.path()).is_sound(5);
}
