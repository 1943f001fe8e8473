//! One segment, whatever state it is in.

use std::path::{Path, PathBuf};

use prost::Message;
use sift_replay::format::{Codec, FrameHeader, IngestionConfig, Kind, Seal, SegmentHeader, TimeRange, encode_trailer};
use sift_replay::segment::{Condition, HeaderFrom, Identity, RepairError, RepairTo, SimDisk, SimFiles};

use crate::support::format::golden;
use crate::support::repairing::{
    File, Shape, Sibling, alone, check, check_again, name, one, out, record, repair_on, repaired, small,
};
use crate::support::sound::check_sound;

/// Every vector, under the sealed and the open name.
fn vectors() -> Vec<File> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("format-spec/vectors");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "sfr") {
            continue;
        }
        let json = std::fs::read_to_string(path.with_extension("json")).unwrap();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        match json["file_name"].as_str() {
            Some(name) => {
                let stem = name.split(".sfr").next().unwrap();
                for suffix in ["sfr", "sfr.open"] {
                    files.push(File { path: PathBuf::from(format!("in/{stem}.{suffix}")), bytes: bytes.clone() });
                }
            }
            None => files.push(File { path: "in/unnamed".into(), bytes }),
        }
    }
    assert!(files.len() > 80);
    files
}

/// The header that a sibling of the vectors' segments has.
fn vector_sibling(_: &Identity) -> Option<SegmentHeader> {
    Some(SegmentHeader::decode(&golden::header(0).encode()[..]).unwrap())
}

/// [F-42]
#[test]
fn every_vector_is_repaired_to_a_sound_segment_that_holds_all_that_was_sound() {
    for file in vectors() {
        for sibling in [alone, vector_sibling] {
            let went = check(&file, &sibling);
            check_again(&file, &went, &sibling);
        }
    }
}

#[test]
fn what_is_sound_is_copied_byte_for_byte_and_what_is_open_is_sealed() {
    for file in small() {
        let went = check(&file, &alone);
        let open = file.path.extension().is_some_and(|extension| extension == "open");
        assert_eq!(went.repaired.condition, if open { Condition::Unsealed } else { Condition::Sound });
        assert_eq!(went.repaired.path, Some(out().join(name(&file.path, false).file_name().unwrap())));
        check_again(&file, &went, &alone);
    }
    // Sealing what was open comes to what the recorder would have sealed.
    let [sealed, open] = one(Shape::SMALL);
    assert_eq!(check(&open, &alone).bytes, sealed.bytes);
}

/// Flips a bit of the payload of the frame at `offset`.
fn flipped(file: &File, offset: u64) -> File {
    let mut bytes = file.bytes.clone();
    bytes[offset as usize + 75] ^= 1;
    file.with(bytes)
}

/// [F-24]: the last records of a session would be missed by nobody.
#[test]
fn records_that_are_lost_at_the_end_stay_missing() {
    let [sealed, open] = one(Shape::SMALL);
    let (found, end) = (sealed.find(), sealed.find().records.last().unwrap().0 + 1);
    for file in [sealed, open] {
        let went = check(&flipped(&file, *found.offsets.last().unwrap()), &alone);
        let mended = check_sound(went.repaired.path.as_ref().unwrap(), &went.bytes);
        assert_eq!(mended.seal.unwrap().end_seq, end);
        assert_eq!(mended.records.last().unwrap().0, end - 4);
        let note = mended.frames.last().unwrap().note().unwrap();
        assert!(note.starts_with("repaired without 1 damaged places with "), "{note}");
        // All that a mark has is known by who repairs it again.
        let marked = mended.frames.last().unwrap().header;
        assert_eq!(marked.times, TimeRange::at(mended.header.unwrap().wall_clock_ns));
    }
}

/// [F-29], [F-30]: what a recorder was cut off in was never a record; what was sealed was whole.
#[test]
fn of_a_cut_end_records_are_missing_only_where_there_was_a_seal() {
    for file in one(Shape::SMALL) {
        let (found, sealed) = (file.find(), file.path.extension().is_some_and(|extension| extension == "sfr"));
        let (last, at) = (found.frames.last().unwrap().header, *found.offsets.last().unwrap() as usize);
        assert_eq!(last.kind, Kind::Data);
        // Within the last frame, and ahead of it.
        for torn in [80, 0] {
            let went = check(&file.with(file.bytes[..at + torn].to_vec()), &alone);
            assert_eq!((went.repaired.losses.cut, went.repaired.losses.torn_bytes), (sealed, torn as u64));
            let mended = check_sound(went.repaired.path.as_ref().unwrap(), &went.bytes);
            let end = if sealed && torn > 0 { last.end_seq() } else { last.first_seq };
            assert_eq!(mended.seal.unwrap().end_seq, end);
            let note = mended.frames.last().unwrap().note().unwrap_or_default();
            assert_eq!(note.contains("a torn end of 80 bytes"), torn > 0, "{note}");
            assert_eq!(note.contains("an end that was missing though the file had been sealed"), sealed, "{note}");
        }
    }
}

/// Changes the headers of frames.
fn with_headers(file: &File, change: impl Fn(&mut FrameHeader)) -> File {
    let (mut bytes, mut at) = (file.bytes.clone(), 8);
    while let Some(place) = bytes[at..].first_chunk_mut::<72>() {
        let mut header = FrameHeader::decode(place, at as u64, None).unwrap();
        change(&mut header);
        *place = header.encode();
        at += header.frame_len() as usize;
    }
    file.with(bytes)
}

/// [F-24]: what a frame claims that no writer has made is not what the session had.
#[test]
fn records_that_a_malformed_frame_claims_are_not_missing() {
    let [_, open] = one(Shape::SMALL);
    let last = open.find().frames.last().unwrap().header;
    let malformed = with_headers(&open, |header| {
        header.count += if header.first_seq == last.first_seq && header.kind == Kind::Data { 9 } else { 0 };
    });
    let went = check(&malformed, &alone);
    assert_eq!((went.repaired.condition, went.lost.len()), (Condition::Damaged, 1));
    let mended = check_sound(went.repaired.path.as_ref().unwrap(), &went.bytes);
    assert_eq!(mended.seal.unwrap().end_seq, last.first_seq);
}

/// [F-11]
#[test]
fn frames_of_later_versions_are_kept_and_counted() {
    let [sealed, _] = one(Shape::SMALL);
    let later = [7, 8, 7].map(|kind| (Kind::Unknown(kind), b"later".to_vec()));
    let went = check(&flipped(&resealed(&sealed, &later, |_| {}), sealed.find().offsets[0]), &alone);
    assert_eq!((went.repaired.condition, went.repaired.unreadable), (Condition::Damaged, 3));
}

/// [F-9]: all its frames agree in an id, and HEADER doesn't lead to it.
#[test]
fn a_segment_with_another_id_than_it_should_have_gets_its_own() {
    let [sealed, _] = one(Shape::SMALL);
    let (found, other) = (sealed.find(), with_headers(&sealed, |header| header.segment_id ^= 1));
    let went = check(&flipped(&other, found.offsets[0]), &alone);
    assert_eq!(check_sound(went.repaired.path.as_ref().unwrap(), &went.bytes).id, found.id);
}

/// [F-33], [F-37]
#[test]
fn a_renamed_segment_without_a_header_gets_it_from_another_of_its_own_session() {
    let [sealed, _] = one(Shape::SMALL);
    let mut lost = resealed(&sealed, &[], |seal| seal.header = None);
    lost.bytes[8..100].fill(0);
    lost.path = "root/01935f6e-1b2c-7000-8123-456789abcdef-000003.sfr".into();
    let went = check(&lost, &|_: &Identity| sealed.find().header);
    assert_eq!((went.repaired.header, went.repaired.condition), (HeaderFrom::Sibling, Condition::Damaged));
    assert_eq!(went.repaired.path, Some(out().join(sealed.path.file_name().unwrap())));
}

/// [F-22], [F-24]
#[test]
fn flows_whose_schema_frame_is_lost_come_back_from_seal() {
    let [sealed, open] = one(Shape::SMALL);
    let found = sealed.find();
    let at = found.frames.iter().position(|frame| frame.header.kind == Kind::Schema).unwrap();
    let flows = |file: &File| {
        let went = check(&flipped(file, found.offsets[at]), &alone);
        let copy = check_sound(went.repaired.path.as_ref().unwrap(), &went.bytes).seal.unwrap().header.unwrap();
        let config = IngestionConfig::decode(&copy.ingestion_config[..]).unwrap();
        config.flows.into_iter().map(|flow| flow.name).collect::<Vec<_>>()
    };
    assert_eq!(flows(&sealed), ["f", "late"]);
    assert_eq!(flows(&open), ["f"], "nobody tells of the other one");
}

/// [F-33]
#[test]
fn a_lost_header_comes_from_seal_or_from_another_segment_or_from_nobody() {
    let (files, _) = record(Shape { frames: 8, frames_per_segment: 3, ..Shape::SMALL });
    let [first, second, _] = &files[..] else { panic!("{} files", files.len()) };
    let without_header = |file: &File, seal: bool| {
        let mut bytes = file.bytes.clone();
        bytes[8..100].fill(0);
        if !seal {
            let len = bytes.len();
            bytes[len - 16..].fill(0);
            let found = file.find();
            let behind = found.offsets.last().unwrap() + found.frames.last().unwrap().header.frame_len();
            bytes[behind as usize..].fill(0);
        }
        file.with(bytes)
    };
    let lent = first.find().header.unwrap();
    let sibling = |_: &Identity| Some(lent.clone());
    let own = second.find().header.unwrap();

    let went = check(&without_header(second, true), &sibling);
    assert_eq!(went.repaired.header, HeaderFrom::Seal);
    check_again(&without_header(second, true), &went, &sibling);
    // Where SEAL stands, the trailer says; without it, it is found all the same.
    let mut trailer = without_header(second, true);
    let end = trailer.bytes.len();
    trailer.bytes[end - 16..].fill(0);
    let again = check(&trailer, &sibling);
    assert_eq!(again.repaired.header, HeaderFrom::Seal);

    for path in [second.path.clone(), "root/no name".into()] {
        let lost = File { path, ..without_header(second, false) };
        let went = check(&lost, &sibling);
        assert_eq!(went.repaired.header, HeaderFrom::Sibling);
        let header = check_sound(went.repaired.path.as_ref().unwrap(), &went.bytes).header.unwrap();
        // What only the segment itself could tell isn't invented.
        let expected = SegmentHeader { segment_index: 1, wall_clock_ns: 0, monotonic_ns: 0, ..lent.clone() };
        assert_eq!(header, SegmentHeader { first_seq: second.find().records[0].0, ..expected });
        check_again(&lost, &went, &sibling);
        // A copy of the same segment knows more.
        let copy = |_: &Identity| Some(own.clone());
        let went = check(&lost, &copy);
        assert_eq!(check_sound(went.repaired.path.as_ref().unwrap(), &went.bytes).header, Some(own.clone()));
    }

    let other = record(Shape::SMALL).0.remove(0).find().header.unwrap();
    let strangers: [Sibling<'_>; 2] = [&alone, &|_: &Identity| Some(other.clone())];
    for sibling in strangers {
        let lost = without_header(second, false);
        let went = check(&lost, sibling);
        assert_eq!((went.repaired.header, went.repaired.condition), (HeaderFrom::Nobody, Condition::Damaged));
        check_again(&lost, &went, sibling);
        // It still is what it was: whoever finds it beside the others knows which segment it is.
        let mended = check_sound(went.repaired.path.as_ref().unwrap(), &went.bytes);
        assert_eq!(mended.id, second.find().id);
    }
}

/// Replaces the SEAL of a sealed segment, and puts frames ahead of it.
fn resealed(file: &File, ahead: &[(Kind, Vec<u8>)], change: impl FnOnce(&mut Seal)) -> File {
    let found = file.find();
    let behind = found.offsets.last().unwrap() + found.frames.last().unwrap().header.frame_len();
    let mut bytes = file.bytes[..behind as usize].to_vec();
    let mut seal = found.seal.unwrap();
    change(&mut seal);
    let mut seal_at = 0;
    for (kind, payload) in ahead.iter().cloned().chain([(Kind::Seal, seal.encode_to_vec())]) {
        seal_at = bytes.len() as u64;
        let header = FrameHeader {
            kind,
            codec: Codec::None,
            flags: 0,
            stored_len: payload.len() as u32,
            raw_len: payload.len() as u32,
            count: 0,
            first_seq: seal.end_seq,
            times: TimeRange::EMPTY,
            segment_id: found.id.unwrap(),
            offset: seal_at,
            payload_crc: crc32fast::hash(&payload),
        };
        bytes.extend(header.encode());
        bytes.extend(payload);
    }
    bytes.extend(encode_trailer(seal_at));
    file.with(bytes)
}

/// [F-24], [F-18]: though every checksum holds.
#[test]
fn a_seal_that_lies_and_a_header_where_none_belongs_are_not_kept() {
    let [sealed, _] = one(Shape::SMALL);
    assert_eq!(resealed(&sealed, &[], |_| {}).bytes, sealed.bytes);
    let lies: [fn(&mut Seal); 10] = [
        |seal| seal.records += 1,
        |seal| seal.end_seq -= 1,
        |seal| seal.least = None,
        |seal| seal.greatest = Some(9),
        |seal| seal.non_finite += 1,
        |seal| seal.flows[0].records -= 1,
        |seal| seal.flows.clear(),
        |seal| seal.index[1].offset += 1,
        |seal| seal.header = None,
        |seal| seal.header.as_mut().unwrap().host.push('x'),
    ];
    for (number, lie) in lies.into_iter().enumerate() {
        let went = check(&resealed(&sealed, &[], lie), &alone);
        assert_eq!(went.repaired.condition, Condition::Unsealed, "lie {number}");
        assert!(went.bytes == sealed.bytes, "lie {number}");
    }
    // Flows that SEAL alone has are kept.
    let more = |seal: &mut Seal| {
        let config = IngestionConfig { flows: vec![Default::default()], ..Default::default() };
        seal.header.as_mut().unwrap().ingestion_config.extend(config.encode_to_vec());
    };
    let went = check(&resealed(&sealed, &[], more), &alone);
    let mended = check_sound(went.repaired.path.as_ref().unwrap(), &went.bytes);
    assert_eq!(mended.frames[0].header.kind, Kind::Schema);
    // In which order SEAL has them says nothing.
    let turned = |seal: &mut Seal| {
        let copy = &mut seal.header.as_mut().unwrap().ingestion_config;
        let mut config = IngestionConfig::decode(&copy[..]).unwrap();
        config.flows.reverse();
        *copy = config.encode_to_vec();
    };
    let turned = resealed(&sealed, &[], turned);
    assert!(turned.bytes != sealed.bytes);
    assert_eq!(check(&turned, &alone).repaired.condition, Condition::Sound);
    // Records that the last SEAL promises and nobody has are missing from then on.
    let went = check(&resealed(&sealed, &[], |seal| seal.end_seq += 5), &alone);
    assert_eq!(went.repaired.condition, Condition::Sound, "that is no lie: it tells of a loss");

    let header = sealed.find().header.unwrap().encode_to_vec();
    let went = check(&resealed(&sealed, &[(Kind::Header, header)], |_| {}), &alone);
    assert!(went.bytes == sealed.bytes, "a second HEADER is left out");
}

/// [F-37]
#[test]
fn a_segment_gets_the_name_that_is_its_own() {
    let [sealed, open] = one(Shape::SMALL);
    let damaged = flipped(&sealed, sealed.find().offsets[0]);
    let wrong = "root/01935f6e-1b2c-7000-8123-456789abcdef-000003.sfr";
    let own = sealed.path.file_name().unwrap();
    for (path, name) in [(wrong, own), ("root/copy of it.sfr", "copy of it.sfr".as_ref()), ("root/x", "x".as_ref())] {
        for file in [&damaged, &sealed] {
            let went = check(&File { path: path.into(), ..file.clone() }, &alone);
            assert_eq!(went.repaired.path, Some(out().join(name)));
        }
    }
    assert_eq!(check(&open, &alone).repaired.path, Some(out().join(own)));
}

fn disk_of(files: &[&File]) -> SimDisk {
    SimDisk::of(files.iter().map(|file| (file.path.clone(), file.bytes.clone())).collect::<SimFiles>())
}

/// A card was copied while it was recorded to, and again later.
#[test]
fn a_segment_that_is_there_open_and_sealed_is_repaired_twice() {
    let [sealed, open] = one(Shape::SMALL);
    let sealed = flipped(&sealed, sealed.find().offsets[0]);
    let own = sealed.path.file_name().unwrap().to_str().unwrap();
    let dir = sealed.path.parent().unwrap();
    for in_place in [false, true] {
        let disk = disk_of(&[&sealed, &open]);
        let out = out();
        let (to, into) = if in_place { (RepairTo::InPlace, dir) } else { (RepairTo::Dir(&out), &*out) };
        for _ in 0..2 {
            for (file, name) in [(&sealed, own.to_owned()), (&open, format!("{own}.open.sfr"))] {
                if disk.image().all().contains_key(&file.path) {
                    let went = repair_on(&disk, &file.path, to, &alone).unwrap();
                    assert_eq!(went.repaired.path, Some(into.join(name)));
                }
            }
        }
        let files = disk.image().all();
        assert_eq!(files.len(), 4, "{:?}", files.keys());
        assert_eq!(
            check_sound(&into.join("other"), &files[&into.join(format!("{own}.open.sfr"))]).records,
            open.find().records
        );
    }
}

#[test]
fn what_is_there_is_never_replaced() {
    let [sealed, _] = one(Shape::SMALL);
    let damaged = flipped(&sealed, sealed.find().offsets[0]);
    let target = out().join(sealed.path.file_name().unwrap());
    for file in [&sealed, &damaged] {
        let disk = disk_of(&[file, &File { path: target.clone(), bytes: b"mine".to_vec() }]);
        let before = disk.image().all();
        match repair_on(&disk, &file.path, RepairTo::Dir(&out()), &alone) {
            Err(error @ RepairError::Taken { .. }) => {
                assert!(error.to_string().contains(target.to_str().unwrap()), "{error}");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(disk.image().all(), before);
    }
    // In place: an original of an earlier repair stays, too.
    let aside = |number: &str| PathBuf::from(format!("{}{number}.damaged", sealed.path.display()));
    let disk = disk_of(&[&damaged, &File { path: aside(""), bytes: b"older".to_vec() }]);
    let went = repair_on(&disk, &damaged.path, RepairTo::InPlace, &alone).unwrap();
    assert_eq!(went.repaired.original, Some(aside(".2")));
    let files = disk.image().all();
    assert_eq!((files.len(), &files[&aside("")][..], &files[&aside(".2")]), (3, &b"older"[..], &damaged.bytes));
}

#[test]
fn nothing_is_made_of_what_has_nothing_sound() {
    for bytes in [&b""[..], &b"\x89SFR"[..], &[0; 5000], &b"\x89SFR\r\n\x1a\nnoise"[..]] {
        for file in small() {
            let file = file.with(bytes.to_vec());
            let went = repaired(&file, &alone);
            assert_eq!((went.repaired.condition, &went.repaired.path), (Condition::Nothing, &None));
            let disk = disk_of(&[&file]);
            repair_on(&disk, &file.path, RepairTo::InPlace, &alone).unwrap();
            assert_eq!((disk.log().len(), disk.image().all().len()), (0, 1), "nothing is done in place");
        }
    }
}
