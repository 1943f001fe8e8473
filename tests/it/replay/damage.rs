//! Recordings that something happened to: what can be read arrives, the rest is reported exactly.
#![allow(clippy::single_range_in_vec_init, reason = "one missing range is meant")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sift_replay::format::{Codec, FLAG_BARE, FRAME_HEADER_BYTES, Kind, SegmentHeader, TimeRange, put_record};
use sift_replay::segment::{Disk, PendingFrame, SegmentReader, SegmentWriter};

use super::{assert_same, counting, flight, recorded, session, small_frames, small_segments, without};
use crate::support::cli::{damage_middle_frame, frames};
use crate::support::destination::{Rig, Told, block_on};

/// Zeroes the first block of a file, as a failing medium does.
fn lose_first_block(path: &Path, bytes: usize) {
    let mut content = std::fs::read(path).unwrap();
    content[..bytes].fill(0);
    std::fs::write(path, content).unwrap();
}

/// Makes a sealed segment what a power cut leaves: without its SEAL, under its open name.
fn unseal(path: &Path) -> PathBuf {
    let content = std::fs::read(path).unwrap();
    let seal = sift_replay::format::decode_trailer(content.last_chunk().unwrap()).unwrap();
    let open = path.with_extension("sfr.open");
    std::fs::write(&open, &content[..seal as usize]).unwrap();
    std::fs::remove_file(path).unwrap();
    open
}

fn header_of(path: &Path) -> SegmentHeader {
    SegmentReader::open(path).unwrap().identity().header.clone().unwrap()
}

/// Bytes of magic and HEADER.
fn header_bytes(path: &Path) -> usize {
    frames(path)[0].0.start as usize
}

#[test]
fn a_lost_header_loses_no_record() {
    let dir = tempfile::tempdir().unwrap();
    let sealed = session(&dir.path().join("sealed"), &flight(counting("sealed")), small_frames(), 200);
    let expected_sealed = recorded(&sealed);
    lose_first_block(&sealed[0], header_bytes(&sealed[0]));
    // Without its SEAL, a segment borrows the schema from another segment of its session.
    let open = session(&dir.path().join("open"), &counting("open"), small_segments(), 200);
    let expected_open = recorded(&open);
    lose_first_block(&open[0], header_bytes(&open[0]));
    unseal(&open[0]);
    block_on(async {
        let rig = Rig::start().await;
        let replayed = rig.replay(&[dir.path()]).await;
        let totals = replayed.report.totals;
        assert_eq!((totals.records_acknowledged, totals.records_missing, totals.records_refused), (400, 0, 0));
        assert!(totals.damaged_places >= 2, "the lost headers are reported");
        let sessions = rig.finish().await;
        assert_same(&sessions[0].records, &expected_sealed);
        assert_same(&sessions[1].records, &expected_open);
    });
}

#[test]
fn a_schema_that_is_lost_everywhere_is_refused_and_its_records_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let lost = session(&dir.path().join("1"), &counting("lost"), small_frames(), 200);
    lose_first_block(&lost[0], header_bytes(&lost[0]));
    unseal(&lost[0]);
    let good = session(&dir.path().join("2"), &counting("good"), small_frames(), 50);
    block_on(async {
        let rig = Rig::start().await;
        let replayed = rig.replay(&[dir.path()]).await;
        let report = &replayed.report;
        assert_eq!((report.totals.records_refused, report.totals.records_acknowledged), (200, 50));
        let refusal = report.lines[0].refusal.as_deref().unwrap();
        assert!(refusal.contains("schema") && refusal.contains("is lost"), "{refusal}");
        assert!(!report.is_complete() && report.stopped.is_none());
        assert_same(&rig.finish_records().await, &recorded(&good));
    });
}

#[test]
fn copies_of_a_segment_count_once() {
    let dir = tempfile::tempdir().unwrap();
    let files = session(dir.path(), &counting("k"), small_segments(), 500);
    let copies = dir.path().join("copies");
    std::fs::create_dir(&copies).unwrap();
    for (n, file) in files.iter().enumerate() {
        std::fs::copy(file, copies.join(file.file_name().unwrap())).unwrap();
        std::fs::copy(file, copies.join(format!("copy of {n}"))).unwrap();
    }
    block_on(async {
        let rig = Rig::start().await;
        let replayed = rig.replay(&[dir.path()]).await;
        assert!(replayed.report.is_complete(), "{:?}", replayed.report);
        assert_eq!(replayed.report.segments, 3 * files.len() as u64);
        assert_eq!(replayed.report.totals.records_found, 500);
        assert_same(&rig.finish_records().await, &recorded(&files));
    });
}

#[test]
fn a_damaged_copy_beside_a_whole_one_costs_nothing() {
    for damaged_first in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let files = session(dir.path(), &counting("k"), small_frames(), 500);
        let mut expected = recorded(&files);
        let (first, last) = (dir.path().join("a"), dir.path().join("z"));
        for copy in [&first, &last] {
            std::fs::create_dir(copy).unwrap();
            std::fs::copy(&files[0], copy.join(files[0].file_name().unwrap())).unwrap();
        }
        std::fs::remove_file(&files[0]).unwrap();
        let damaged = if damaged_first { &first } else { &last };
        damage_middle_frame(&damaged.join(files[0].file_name().unwrap()));
        block_on(async {
            let rig = Rig::start().await;
            let replayed = rig.replay(&[dir.path()]).await;
            let totals = replayed.report.totals;
            assert_eq!((totals.records_acknowledged, totals.records_missing), (500, 0));
            let mut arrived = rig.finish_records().await;
            // What the damaged copy lacks is sent when the whole one is read.
            arrived.sort();
            expected.sort();
            assert_same(&arrived, &expected);
        });
    }
}

#[test]
fn damage_costs_the_frame_that_it_hits_and_is_reported_with_its_seqs() {
    let dir = tempfile::tempdir().unwrap();
    let files = session(dir.path(), &counting("k"), small_frames(), 500);
    let expected = recorded(&files);
    let seqs = damage_middle_frame(&files[0]);
    block_on(async {
        let rig = Rig::start().await;
        let replayed = rig.replay(&[dir.path()]).await;
        assert_eq!(replayed.missing(), std::slice::from_ref(&seqs));
        assert!(replayed.told.contains(&Told::Damage(files[0].clone(), Some(seqs.clone()))));
        assert_eq!(replayed.report.totals.damaged_places, 1);
        assert_same(&rig.finish_records().await, &without(&expected, &seqs));
    });
}

#[test]
fn a_missing_middle_segment_is_reported_seq_by_seq() {
    let dir = tempfile::tempdir().unwrap();
    let files = session(dir.path(), &counting("k"), small_segments(), 500);
    let all = recorded(&files);
    let ranges: Vec<_> = frames(&files[1]).into_iter().map(|(_, seqs)| seqs).collect();
    let lost = ranges[0].start..ranges[ranges.len() - 1].end;
    std::fs::remove_file(&files[1]).unwrap();
    block_on(async {
        let rig = Rig::start().await;
        let replayed = rig.replay(&[dir.path()]).await;
        assert_eq!(replayed.missing(), std::slice::from_ref(&lost));
        assert_eq!(replayed.report.totals.records_missing, lost.end - lost.start);
        assert!(!replayed.report.is_complete());
        assert_same(&rig.finish_records().await, &without(&all, &lost));
    });
}

#[test]
fn a_sealed_segment_that_was_cut_short_is_never_called_complete() {
    let dir = tempfile::tempdir().unwrap();
    let files = session(dir.path(), &counting("k"), small_frames(), 500);
    let (whole, places) = (std::fs::read(&files[0]).unwrap(), frames(&files[0]));
    let half = places.len() / 2;
    let between = (places[half].0.end as usize, places[half].1.end, 0);
    let within_next =
        (places[half].0.end as usize + 100, places[half].1.end, places[half + 1].1.clone().count() as u64);
    for (cut, records, missing) in [between, within_next] {
        std::fs::write(&files[0], &whole[..cut]).unwrap();
        block_on(async {
            let rig = Rig::start().await;
            let replayed = rig.replay(&[dir.path()]).await;
            let totals = replayed.report.totals;
            assert_eq!((totals.records_acknowledged, totals.damaged_places, totals.torn_files), (records, 1, 0));
            assert_eq!(totals.records_missing, missing, "as far as anything tells");
            assert!(!replayed.report.is_complete());
            rig.finish().await;
        });
    }
    // Under its open name it is what a power cut leaves: ordinary.
    std::fs::rename(&files[0], files[0].with_extension("sfr.open")).unwrap();
    block_on(async {
        let rig = Rig::start().await;
        let replayed = rig.replay(&[dir.path()]).await;
        assert_eq!((replayed.report.totals.torn_files, replayed.report.is_complete()), (1, true));
        rig.finish().await;
    });
}

/// A DATA frame of records `seqs`, uncompressed, that says `flags` of itself.
fn frame(seqs: std::ops::Range<u64>, flags: u16, record: impl Fn(u64) -> Vec<u8>) -> PendingFrame {
    let mut buffer = vec![0; FRAME_HEADER_BYTES];
    seqs.clone().for_each(|seq| put_record(&mut buffer, &record(seq)));
    PendingFrame {
        kind: Kind::Data,
        codec: Codec::None,
        flags,
        count: (seqs.end - seqs.start) as u32,
        first_seq: seqs.start,
        times: TimeRange::EMPTY,
        raw_len: (buffer.len() - FRAME_HEADER_BYTES) as u32,
        buffer,
    }
}

#[test]
fn segments_that_overlap_after_an_io_error_give_each_seq_once() {
    let dir = tempfile::tempdir().unwrap();
    let model = session(&dir.path().join("model"), &counting("k"), small_frames(), 100);
    let (records, header) = (recorded(&model), header_of(&model[0]));
    let write = |index, first_seq, frames: &[std::ops::Range<u64>], seal| {
        let header = SegmentHeader { segment_index: index, first_seq, ..header.clone() };
        let session = header.session().unwrap();
        let mut writer = SegmentWriter::create(Arc::new(Disk), &dir.path().join("it"), session, header).unwrap();
        for seqs in frames {
            writer.write(&mut frame(seqs.clone(), FLAG_BARE, |seq| records[seq as usize].clone())).unwrap();
        }
        if seal {
            writer.seal().unwrap();
        }
    };
    // The disk failed after frame 40..60 was written; what wasn't synced was written again, in other frames.
    write(0, 0, &[0..20, 20..40, 40..60], false);
    write(1, 20, &[20..30, 30..70, 70..100], true);
    block_on(async {
        let rig = Rig::start().await;
        let replayed = rig.replay(&[&dir.path().join("it")]).await;
        assert!(replayed.report.is_complete(), "{:?}", replayed.report);
        assert_eq!(replayed.report.totals.records_found, 100);
        assert_same(&rig.finish_records().await, &records);
    });
}

#[test]
fn a_record_that_is_no_message_costs_itself_alone() {
    let dir = tempfile::tempdir().unwrap();
    let model = session(&dir.path().join("model"), &counting("k"), small_frames(), 100);
    let (records, header) = (recorded(&model), header_of(&model[0]));
    let session = header.session().unwrap();
    let path = dir.path().join("it");
    let mut writer = SegmentWriter::create(Arc::new(Disk), &path, session, header).unwrap();
    let record = |seq: u64| if seq == 30 { vec![0xff; 7] } else { records[seq as usize].clone() };
    writer.write(&mut frame(0..100, 0, record)).unwrap();
    writer.seal().unwrap();
    block_on(async {
        let rig = Rig::start().await;
        let replayed = rig.replay(&[&path]).await;
        assert_eq!(replayed.missing(), std::slice::from_ref(&(30..31)));
        assert_eq!(replayed.report.totals.damaged_places, 1);
        assert_same(&rig.finish_records().await, &without(&records, &(30..31)));
    });
}

#[test]
fn records_of_a_later_version_count_once_however_many_copies_hold_them() {
    let dir = tempfile::tempdir().unwrap();
    let model = session(&dir.path().join("model"), &counting("k"), small_frames(), 100);
    let (records, header) = (recorded(&model), header_of(&model[0]));
    let (path, session) = (dir.path().join("it"), header.session().unwrap());
    let mut writer = SegmentWriter::create(Arc::new(Disk), &path, session, header).unwrap();
    let record = |seq: u64| records[seq as usize].clone();
    writer.write(&mut frame(0..40, FLAG_BARE, record)).unwrap();
    let later = PendingFrame { codec: Codec::Unknown(200), ..frame(40..60, FLAG_BARE, record) };
    writer.write(&mut { later }).unwrap();
    writer.write(&mut frame(60..100, FLAG_BARE, record)).unwrap();
    let sealed = writer.seal().unwrap();
    std::fs::copy(&sealed, path.join("copy")).unwrap();
    block_on(async {
        let rig = Rig::start().await;
        let replayed = rig.replay(&[&path]).await;
        let totals = replayed.report.totals;
        assert_eq!((totals.records_unreadable, totals.records_missing, totals.damaged_places), (20, 0, 0));
        assert!(!replayed.report.is_complete());
        assert_same(&rig.finish_records().await, &without(&records, &(40..60)));
    });
}

#[test]
fn claims_of_countless_lost_records_end_nothing() {
    let dir = tempfile::tempdir().unwrap();
    for key in ["a", "b"] {
        let model = session(&dir.path().join("model"), &counting(key), small_frames(), 10);
        let (records, header) = (recorded(&model), header_of(&model[0]));
        let session = header.session().unwrap();
        let mut writer = SegmentWriter::create(Arc::new(Disk), &dir.path().join("it"), session, header).unwrap();
        writer.write(&mut frame(0..5, FLAG_BARE, |seq| records[seq as usize].clone())).unwrap();
        writer.write(&mut frame(u64::MAX - 5..u64::MAX, FLAG_BARE, |_| records[9].clone())).unwrap();
        writer.seal().unwrap();
    }
    block_on(async {
        let rig = Rig::start().await;
        let replayed = rig.replay(&[&dir.path().join("it")]).await;
        assert_eq!(replayed.report.totals.records_acknowledged, 20);
        assert_eq!(replayed.report.totals.records_missing, u64::MAX);
        rig.finish().await;
    });
}
