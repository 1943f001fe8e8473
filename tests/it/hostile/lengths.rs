//! Lengths that nothing has.

use super::make::{Made, ordinary_config};
use super::place::Place;
use crate::support::backup::put_chunk;
use crate::support::format::{DATA, FrameSpec, HEADER, MARK, Pb, SCHEMA, SEAL};

/// Lengths at which additions and casts break.
const LENGTHS: [u64; 6] = [u32::MAX as u64, 1 << 31, 1 << 32, i64::MAX as u64, u64::MAX - 7, u64::MAX];

/// [F-14]
#[test]
fn a_frame_of_four_gib_is_damage_and_takes_no_memory() {
    for (name, change) in [
        ("stored", (|spec: &mut FrameSpec| spec.stored_len = u32::MAX) as fn(&mut FrameSpec)),
        ("raw", |spec| spec.raw_len = u32::MAX),
        ("both", |spec| (spec.stored_len, spec.raw_len) = (u32::MAX, u32::MAX)),
        ("count", |spec| spec.count = u32::MAX),
        ("the largest that is allowed", |spec| (spec.stored_len, spec.raw_len) = (64 << 20, 64 << 20)),
    ] {
        let place = Place::new();
        for kind in [HEADER, DATA, SCHEMA, MARK, SEAL] {
            let mut made = Made::new(kind.into(), 0);
            if kind != HEADER {
                made.header(&ordinary_config()).data(0, 5);
            }
            let mut spec = FrameSpec::new(kind, 5, vec![0; 40]);
            change(&mut spec);
            made.frame(spec);
            // A sound frame behind it, which must be found.
            made.data(5, 3);
            place.put(made.open_name(), &made.bytes);
        }
        let said = place.run();
        if name == "the largest that is allowed" {
            // Which only says that the file was cut off: an open file.
            said.says("ls", 0, &["torn end"]).says("replay", 0, &["-000000.sfr.open ends in what was being written"]);
        } else {
            said.says("ls", 0, &["damaged"]).says("replay", 3, &["-000000.sfr.open at byte", "lost"]);
            // The file without a HEADER has no schema.
            // Behind a SEAL nothing is read, and of that only the count is wrong.
            let behind_seal = if name == "count" { 3 } else { 0 };
            assert_eq!(said.figure("records_already_acknowledged"), 4 * 8 - behind_seal, "{name}");
        }
    }
}

/// [F-1], [F-15]
#[test]
fn a_field_longer_than_its_message_is_a_malformed_frame() {
    let place = Place::new();
    for (number, length) in LENGTHS.into_iter().enumerate() {
        for (kind, field) in [(HEADER, 10), (SCHEMA, 2), (MARK, 4), (SEAL, 7), (SEAL, 1)] {
            let mut long = Pb::default();
            long.raw_varint(field << 3 | 2);
            long.raw_varint(length);
            long.0.extend([0; 9]);
            let mut made = Made::new(number as u32 * 100 + u32::from(kind) * 10 + field as u32, 0);
            if kind == HEADER {
                made.frame(FrameSpec::new(HEADER, 0, long.0)).data(0, 3);
            } else if kind == SEAL {
                made.header(&ordinary_config()).data(0, 3).seal(long.0);
            } else {
                made.header(&ordinary_config()).frame(FrameSpec::new(kind, 0, long.0)).data(0, 3);
            }
            place.put(if kind == SEAL { made.sealed_name() } else { made.open_name() }, &made.bytes);
        }
    }
    let said = place.run();
    said.says("replay", 3, &["what it holds is malformed", "the schema of session"]);
    // All but those whose HEADER is lost: 4 files for each length, 3 records each.
    assert_eq!(said.figure("records_already_acknowledged"), LENGTHS.len() as u64 * 4 * 3);
    assert_eq!(said.figure("damaged_places"), LENGTHS.len() as u64 * 5);
}

/// [F-20], and requests within.
#[test]
fn records_with_impossible_lengths_are_not_sent() {
    let place = Place::new();
    for (number, length) in LENGTHS.into_iter().enumerate() {
        // The record's own length; its count says one.
        let mut made = Made::ordinary(number as u32, 0);
        let mut spec = FrameSpec::new(DATA, 0, [&(length as u32).to_le_bytes()[..], &[0x12; 40]].concat());
        spec.count = 1;
        made.frame(spec);
        // A field of the request: the frame isn't BARE, so that it is looked at.
        for field in [1, 2, 3, 4, 5, 7] {
            let mut request = Pb::default().always_bytes(2, b"f");
            request.raw_varint(field << 3 | 2);
            request.raw_varint(length);
            let record = [&(request.0.len() as u32).to_le_bytes()[..], &request.0].concat();
            let mut spec = FrameSpec::new(DATA, field, record);
            spec.count = 1;
            made.frame(spec);
        }
        made.data(10, 2);
        place.put(made.open_name(), &made.bytes);
    }
    let said = place.run();
    said.says("replay", 3, &["what it holds is malformed"]);
    assert_eq!(said.figure("records_already_acknowledged"), LENGTHS.len() as u64 * 2);
    assert_eq!(said.figure("damaged_places"), LENGTHS.len() as u64 * 7);
}

/// [P-1], [P-2], [P-3]
#[test]
fn a_pbfs_chunk_of_any_length_is_garbage_or_torn() {
    let mut sound = Vec::new();
    let request = super::make::record(0, 7).encode();
    put_chunk(&mut sound, &[[Pb::default().bytes(1, b"config").0, request].concat()]);
    let place = Place::new();
    for (number, length) in LENGTHS.into_iter().chain([64 << 20, (64 << 20) + 1]).enumerate() {
        // With a right checksum of what is there.
        let covered = [&length.to_le_bytes()[..], &[0; 100]].concat();
        let chunk = [&crc32fast::hash(&covered).to_le_bytes()[..], &covered].concat();
        place.put(format!("chunk-{number}"), &[&sound[..], &chunk, &sound].concat());
        place.put(format!("at-the-end-{number}"), &[&sound[..], &chunk].concat());
        // A message's length within a chunk.
        let message = [&(length as u32).to_le_bytes()[..], &[0; 50]].concat();
        let covered = [&(message.len() as u64).to_le_bytes()[..], &message].concat();
        let chunk = [&crc32fast::hash(&covered).to_le_bytes()[..], &covered].concat();
        place.put(format!("message-{number}"), &[&sound[..], &chunk, &sound].concat());
    }
    let said = place.run();
    said.says("ls", 0, &["chunk-0", "message-7", "damaged"]);
    said.says("replay", 3, &["chunk-0 at byte", "message-5 at byte"]);
}
