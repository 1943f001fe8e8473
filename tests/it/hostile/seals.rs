//! Ends of files that lie: about what is in the file, how large it is, and whose it is.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

use super::make::{Made, ordinary_config};
use super::many;
use super::place::Place;
use crate::support::format::{FrameSpec, HEADER, Pb, SEAL};

/// SEAL's message of an ordinary segment with these entries.
fn seal(made: &Made, records: u64, end_seq: u64, index: &[[u64; 3]]) -> Vec<u8> {
    let pb = Pb::default().always_bytes(1, &made.header_message(&ordinary_config()));
    let pb = pb.varint(2, records).varint(3, end_seq);
    let pb = index.iter().fold(pb, |pb, [offset, first, count]| {
        pb.always_bytes(7, &Pb::default().varint(1, *offset).varint(2, *first).varint(3, *count).0)
    });
    pb.0
}

/// [F-25], [F-26]
#[test]
fn an_index_of_impossible_places_loses_no_record() {
    let place = Place::new();
    const END: u64 = u64::MAX;
    for (session, index) in [
        vec![[END, 0, 5]],
        vec![[0, 0, END]],
        vec![[0, END, END]],
        vec![[END, END, 0]],
        vec![[u64::from(u32::MAX), 0, 5]],
        vec![[8, 0, 5]],
        vec![[1 << 63, 0, 5], [END - 1, 3, 2]],
        (0..100).map(|n| [100 - n, 100 - n, n]).collect(),
        vec![[8, 0, 5]; 5000],
    ]
    .into_iter()
    .enumerate()
    {
        let mut made = Made::ordinary(session as u32, 0);
        made.data(0, 5);
        let message = seal(&made, 5, 5, &index);
        made.seal(message);
        place.put(made.sealed_name(), &made.bytes);
    }
    let said = place.run();
    said.says("replay", 0, &["COMPLETE"]);
    assert_eq!(said.figure("records_already_acknowledged"), 45);
}

#[test]
fn very_many_index_entries_and_flows_are_of_no_use_and_do_no_harm() {
    let place = Place::new();
    let entries: Vec<_> = (0..20 * many()).map(|n| [1000 + n, n, 1]).collect();
    let mut made = Made::ordinary(1, 0);
    made.data(0, 5);
    let message = seal(&made, 5, 5, &entries);
    made.seal(message);
    place.put(made.sealed_name(), &made.bytes);
    let mut made = Made::ordinary(2, 0);
    made.data(0, 5);
    let flows = (0..20 * many()).fold(Pb(seal(&made, 5, 5, &[])), |pb, n| {
        pb.always_bytes(6, &Pb::default().bytes(1, format!("{n}").as_bytes()).varint(2, 1).0)
    });
    made.seal(flows.0);
    place.put(made.sealed_name(), &made.bytes);
    let said = place.run_few();
    said.says("replay", 0, &["COMPLETE"]);
    assert_eq!(said.figure("records_already_acknowledged"), 10);
}

#[test]
fn totals_that_no_disk_holds_are_counted_as_missing_and_add_up_without_a_panic() {
    let place = Place::new();
    for session in 0..3 {
        let mut made = Made::ordinary(session, 0);
        made.data(0, 5);
        let message = seal(&made, u64::MAX, u64::MAX, &[[8, 0, u64::MAX]]);
        made.seal(message);
        place.put(made.sealed_name(), &made.bytes);
    }
    let said = place.run();
    said.says("ls", 0, &["18,446,744,073,709,551,615"]);
    said.says("replay", 3, &["records are missing"]);
    assert_eq!(said.figure("records_already_acknowledged"), 15);
}

/// [F-26]: a trailer that points anywhere.
#[test]
fn a_trailer_that_points_nowhere_is_damage() {
    let place = Place::new();
    for (session, at) in [0, 1, 8, 1 << 32, 1 << 63, u64::MAX - 71, u64::MAX].into_iter().enumerate() {
        let mut made = Made::ordinary(session as u32, 0);
        made.data(0, 5);
        let message = seal(&made, 5, 5, &[]);
        made.seal(message);
        let end = made.bytes.len() - 16;
        made.bytes[end..end + 8].copy_from_slice(&u64::to_le_bytes(at));
        place.put(made.sealed_name(), &made.bytes);
    }
    let said = place.run();
    said.says("ls", 0, &["damaged"]).says("replay", 3, &["the trailer is wrong"]);
    assert_eq!(said.figure("records_already_acknowledged"), 35);
}

/// Files of 2⁶² bytes that take no room: their sizes add up to more than a number holds.
#[test]
fn files_larger_than_any_disk_are_listed_by_their_ends() {
    let place = Place::new();
    let mut made = 0;
    for session in 0..6 {
        let mut head = Made::ordinary(session, 0);
        head.data(0, 5);
        let message = seal(&head, 5, 5, &[]);
        let path = place.dir.join(head.sealed_name());
        std::fs::write(&path, &head.bytes).unwrap();
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        // What is the most here?
        let Some(len) = (33..63).rev().map(|bit| 1u64 << bit).find(|len| file.set_len(*len).is_ok()) else { continue };
        // A sound SEAL at its end.
        let spec = FrameSpec::new(SEAL, 5, message);
        let bytes = spec.encode(crate::support::format::segment_id(&super::make::session_id(session), 0), len);
        let trailer = [&len.to_le_bytes()[..], b"SFR-SEAL"].concat();
        if file.write_all_at(&bytes, len).is_ok() && file.write_all_at(&trailer, len + bytes.len() as u64).is_ok() {
            made += 1;
        }
    }
    if made == 0 {
        println!("left out: the file system has no files with holes");
        return;
    }
    for args in [&["ls"][..], &["ls", "--json"], &["checkpoints"]] {
        let ran = place.command(&[args, &[place.dir.to_str().unwrap()]].concat());
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(args[0] == "checkpoints" || ran.all().contains(&Made::new(0, 0).sealed_name()[..36]), "{ran:?}");
    }
}

/// [F-37]
#[test]
fn header_seal_and_name_that_contradict_each_other_are_settled() {
    let place = Place::new();
    // HEADER says 1, SEAL says 2, the name says 3, the frames are 1's, 2's, 3's.
    for frames in 1..=3 {
        for at in [0, u32::MAX] {
            let mut made = Made::new(frames, at);
            let others = [Made::new(1, 7), Made::new(2, 8)].map(|other| other.header_message(&ordinary_config()));
            made.frame(FrameSpec::new(HEADER, 0, others[0].clone())).data(0, 3);
            let message = Pb::default().always_bytes(1, &others[1]).varint(2, 3).varint(3, 3).0;
            made.seal(message);
            place.put(format!("{frames}-{at}/{}", Made::new(3, 9).sealed_name()), &made.bytes);
        }
    }
    let said = place.run();
    assert!(said.figure("records_found") >= 3);
}

/// Several sessions in one id, and one session in several.
#[test]
fn copies_that_differ_in_everything_are_one_session() {
    let place = Place::new();
    for copy in 0..20u64 {
        let mut made = Made::ordinary(1, 0);
        made.data(copy, 5);
        let message = seal(&made, copy, copy * 3, &[]);
        made.seal(message);
        place.put(format!("{copy}/{}", made.sealed_name()), &made.bytes);
    }
    let said = place.run();
    assert_eq!(said.figure("sessions"), 1);
    assert!(said.figure("records_already_acknowledged") >= 5);
}
