//! The golden vectors of `format-spec/vectors`: read in every way, and made anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sift_replay::format::{Compression, FLAG_BARE, PayloadEncoder, SegmentHeader};

use crate::support::format::find::{check_coverage, read, scan};
use crate::support::format::{DATA, MAGIC, SCHEMA, SYNC, Seg, crc32, golden, hex, sha256, unhex};

fn dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("format-spec/vectors")
}

fn stems(extension: &str) -> BTreeSet<String> {
    let files = fs::read_dir(dir()).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|e| e == extension));
    files.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

fn committed(name: &str) -> (Vec<u8>, Value) {
    let bytes = fs::read(dir().join(format!("{name}.sfr"))).unwrap();
    let json = fs::read_to_string(dir().join(format!("{name}.json"))).unwrap();
    (bytes, serde_json::from_str(&json).unwrap())
}

/// What depends on how well a zstd of some version compresses.
fn without_places(mut value: Value) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(map) => {
                map.retain(|key, _| !["offset", "len", "bytes", "damaged_bytes"].contains(&key.as_str()));
                map.values_mut().for_each(strip);
            }
            Value::Array(list) => list.iter_mut().for_each(strip),
            _ => {}
        }
    }
    value["sha256"] = Value::Null;
    strip(&mut value);
    value
}

/// With `UPDATE_VECTORS=1`, vectors that don't exist yet are written. None is ever written over: they are the
/// contract with files already in the field [F-35].
#[test]
fn vectors_are_what_they_were() {
    let mut names = BTreeSet::new();
    for vector in golden::all() {
        assert!(names.insert(vector.name.to_owned()), "{} twice", vector.name);
        let (sfr, json) = (dir().join(format!("{}.sfr", vector.name)), dir().join(format!("{}.json", vector.name)));
        if std::env::var_os("UPDATE_VECTORS").is_some() && !sfr.exists() && !json.exists() {
            fs::write(&sfr, &vector.bytes).unwrap();
            fs::write(&json, serde_json::to_string_pretty(&vector.json()).unwrap() + "\n").unwrap();
        }
        let (bytes, expected) = committed(vector.name);
        if vector.compressed {
            assert_eq!(without_places(vector.json()), without_places(expected), "{}", vector.name);
        } else {
            assert!(vector.bytes == bytes, "{} is made differently now", vector.name);
            assert_eq!(vector.json(), expected, "{}", vector.name);
        }
    }
    assert_eq!(names, stems("sfr"), "every vector is one that the generator knows");
}

#[test]
fn every_vector_has_its_findings_and_there_are_many() {
    assert_eq!(stems("sfr"), stems("json"));
    assert!(stems("sfr").len() >= 24);
}

/// Writes `bytes` under `name`, reads the file, and compares.
fn check_file(name: &str, bytes: &[u8], expected: &Value) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    fs::write(&path, bytes).unwrap();
    let (identity, sealed, events) = read(&path);
    let about = &expected["vector"];
    assert_eq!(json!(events), expected["events"], "{about} as {name}");
    assert_eq!(identity, expected["identity"], "{about} as {name}");
    assert_eq!(sealed, expected["sealed"], "{about} as {name}");
}

#[test]
fn readers_find_in_every_vector_what_it_says() {
    for name in stems("sfr") {
        let (bytes, expected) = committed(&name);
        assert_eq!(expected["bytes"], json!(bytes.len()), "{name}");
        assert_eq!(expected["sha256"], sha256(&bytes), "{name}");
        // Under the open name a file is read, under the sealed one it is mapped if its SEAL is found.
        match expected["file_name"].as_str() {
            Some(file_name) => {
                let stem = file_name.split(".sfr").next().unwrap();
                check_file(&format!("{stem}.sfr"), &bytes, &expected);
                check_file(&format!("{stem}.sfr.open"), &bytes, &expected);
            }
            None => check_file("unnamed", &bytes, &expected),
        }
        let id = expected["identity"]["segment_id"].as_str().map(|id| u64::from_str_radix(id, 16).unwrap());
        for growth in [1, 7, 64, 1000, usize::MAX] {
            let events = scan(&bytes, id, growth);
            assert_eq!(json!(events), expected["events"], "{name} in steps of {growth}");
            check_coverage(&bytes, &events);
        }
    }
}

/// A reader written from the text alone, with every byte tried as a frame's first; for what stands where. `(kind or
/// "lost", offset, length)`.
fn by_the_text(file: &[u8], id: u64) -> Vec<(String, usize, usize)> {
    let u32_at = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
    let u64_at = |at: usize| u64::from_le_bytes(file[at..at + 8].try_into().unwrap());
    // [F-4], [F-5], [F-6], [F-8], [F-14]
    let sound_header = |at: usize| {
        at + 72 <= file.len()
            && file[at..at + 8] == SYNC
            && crc32(&file[at..at + 68]) == u32_at(at + 68)
            && u64_at(at + 48) == id
            && u64_at(at + 56) == at as u64
            && u32_at(at + 12) <= 67_108_864
            && u32_at(at + 16) <= 67_108_864
            && (file[at + 8] != DATA || u32_at(at + 20) <= u32_at(at + 16) / 4)
            && u64_at(at + 24).checked_add(u32_at(at + 20).into()).is_some()
    };
    let (mut at, mut found, mut next_seq) = (8, Vec::new(), 0);
    if file.len() < 8 {
        return if file.is_empty() { found } else { vec![("torn".to_owned(), 0, file.len())] };
    }
    if file[..8] != MAGIC {
        found.push(("damage".to_owned(), 0, 8));
    }
    while at < file.len() {
        if !sound_header(at) {
            let cut = file.len() - at < 72 && SYNC.starts_with(&file[at..file.len().min(at + 8)]);
            let next = (at + 1..file.len()).find(|&next| sound_header(next)).unwrap_or(file.len());
            found.push((if cut { "torn" } else { "damage" }.to_owned(), at, next - at));
            at = next;
            continue;
        }
        let len = 72 + u32_at(at + 12) as usize;
        if at + len > file.len() {
            found.push(("torn".to_owned(), at, file.len() - at));
            break;
        }
        let (kind, stored, raw_len) = (file[at + 8], &file[at + 72..at + len], u32_at(at + 16) as usize);
        let raw = match file[at + 9] {
            0 => Some(stored.to_vec()),
            _ => zstd::stream::decode_all(stored).ok(),
        };
        let word = if crc32(stored) != u32_at(at + 64) || kind == DATA && u64_at(at + 24) < next_seq {
            "damage"
        } else if kind > 5 || file[at + 9] > 1 || file[at + 11] != 0 {
            "skipped"
        } else if raw.as_ref().is_none_or(|raw| raw.len() != raw_len)
            || kind == SCHEMA && raw.as_ref().is_some_and(|raw| count_fields(raw) > 1_048_576)
            || kind == DATA && count_records(&raw.unwrap()) != Some(u32_at(at + 20))
        {
            "damage"
        } else {
            ["header", "records", "schema", "mark", "seal"][kind as usize - 1]
        };
        if kind == DATA && crc32(stored) == u32_at(at + 64) && u64_at(at + 24) >= next_seq {
            next_seq = u64_at(at + 24) + u64::from(u32_at(at + 20));
        }
        found.push((word.to_owned(), at, len));
        at += len;
        if kind == 5 {
            let trailer = [&((at - len) as u64).to_le_bytes()[..], b"SFR-SEAL"].concat();
            let rest = &file[at..];
            if !rest.is_empty() && rest.len() < 16 {
                found.push(("torn".to_owned(), at, rest.len()));
            } else if !rest.is_empty() && rest[..16] != trailer {
                found.push(("damage".to_owned(), at, 16));
            }
            if rest.len() > 16 {
                found.push(("damage".to_owned(), at + 16, rest.len() - 16));
            }
            break;
        }
    }
    found
}

/// [F-14]: of SCHEMA, whose fields are flows; what is in those isn't counted here.
fn count_fields(mut raw: &[u8]) -> u32 {
    let mut count = 0;
    while let [_, rest @ ..] = raw {
        let bytes = rest.iter().take_while(|byte| **byte > 0x7f).count() + 1;
        let len = (0..bytes).fold(0, |len, i| len | usize::from(rest[i] & 0x7f) << (7 * i));
        raw = &rest[bytes + len..];
        count += 1;
    }
    count
}

/// [F-20]
fn count_records(mut raw: &[u8]) -> Option<u32> {
    let mut count = 0;
    while !raw.is_empty() {
        let len = u32::from_le_bytes(raw.get(..4)?.try_into().unwrap()) as usize;
        raw = raw.get(4..)?.get(len..)?;
        count += 1;
    }
    Some(count)
}

#[test]
fn a_reader_written_from_the_text_alone_agrees() {
    for name in stems("sfr") {
        let (bytes, expected) = committed(&name);
        let id = expected["identity"]["segment_id"].as_str().unwrap_or("8123456789abcdef");
        let mut id = u64::from_str_radix(id, 16).unwrap();
        if expected["identity"]["segment_id"].is_null() {
            // [F-33]: the frames tell it.
            id = u64::from_le_bytes(bytes[8 + 48..8 + 56].try_into().unwrap());
        }
        let found = by_the_text(&bytes, id);
        let events = expected["events"].as_array().unwrap().iter();
        let events: Vec<_> = events
            .map(|e| {
                let number = |key: &str| e[key].as_u64().unwrap() as usize;
                (e["event"].as_str().unwrap().to_owned(), number("offset"), number("len"))
            })
            .collect();
        assert_eq!(found, events, "{name}");
    }
}

/// [F-6]: the check value that every description of this CRC gives.
#[test]
fn the_checksum_is_the_one_that_the_text_names() {
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    assert_eq!(crc32fast::hash(b"123456789"), 0xcbf4_3926);
}

/// The writer and the text agree [F-2], [F-4], [F-18], [F-24], [F-29].
#[test]
fn the_writer_writes_what_the_text_says() {
    use prost::Message;
    use sift_replay::format::{Codec, FRAME_HEADER_BYTES, Kind, Tally, TimeRange};
    use sift_replay::segment::{Disk, PendingFrame, SegmentWriter};

    let (mut seg, dir) = (Seg::new(golden::header(3)), tempfile::tempdir().unwrap());
    let header = SegmentHeader::decode(&golden::header(3).encode()[..]).unwrap();
    let session = header.session().unwrap();
    let mut writer = SegmentWriter::create(std::sync::Arc::new(Disk), dir.path(), session, header).unwrap();
    for i in 0..3 {
        let records = golden::imus(i * 2, 2);
        let (spec, _) = seg.data_spec(&records, false);
        let mut buffer = Vec::new();
        let codec = PayloadEncoder::new(Compression::None).unwrap().compress(&spec.stored, &mut buffer).unwrap();
        assert_eq!(codec, Codec::None);
        buffer = [&[0; FRAME_HEADER_BYTES][..], &spec.stored].concat();
        let times = TimeRange { least: spec.times.0, greatest: spec.times.1 };
        let (count, first_seq, raw_len) = (spec.count, spec.first_seq, spec.raw_len);
        let (kind, flags) = (Kind::Data, FLAG_BARE);
        writer.write(&mut PendingFrame { kind, codec, flags, count, first_seq, times, raw_len, buffer }).unwrap();
        let mut tally = Tally::ZERO;
        records.iter().for_each(|record| tally.add(record.ns().unwrap()));
        writer.add_flow("imu", &tally);
        seg.data(&records, false);
    }
    seg.seal();
    let open = writer.path();
    assert!(open.to_str().unwrap().ends_with("-000003.sfr.open"), "[F-27]");
    let sealed = writer.seal().unwrap();
    assert!(!open.exists() && sealed.to_str().unwrap().ends_with("-000003.sfr"), "[F-27]");
    assert_eq!(hex(&fs::read(sealed).unwrap()), hex(&seg.bytes));
}

/// [F-34]: after an I/O error, frames whose sync failed are written again; each seq counts once, whichever copy is read.
#[test]
fn seqs_in_two_segments_of_a_session_count_once() {
    let mut session: BTreeMap<u64, String> = BTreeMap::new();
    let mut twice = Vec::new();
    for name in ["open-three-frames", "written-again"] {
        let (bytes, expected) = committed(name);
        let id = u64::from_str_radix(expected["identity"]["segment_id"].as_str().unwrap(), 16).unwrap();
        for event in scan(&bytes, Some(id), 50).iter().filter(|e| e["event"] == "records") {
            for (seq, record) in (event["first_seq"].as_u64().unwrap()..).zip(event["records"].as_array().unwrap()) {
                let record = record["hex"].as_str().unwrap().to_owned();
                match session.insert(seq, record.clone()) {
                    Some(first) => {
                        assert_eq!(first, record, "seq {seq}");
                        twice.push(seq);
                    }
                    None => assert_eq!(unhex(&record).len() * 2, record.len()),
                }
            }
        }
    }
    assert_eq!(twice, [3, 4]);
    assert_eq!(session.keys().copied().collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
}

/// [F-33]: where HEADER, SEAL and the name are lost, the frames still tell the segment's id, by which its session can be
/// found [F-9].
#[test]
fn a_nameless_segment_without_a_header_tells_its_id() {
    use sift_replay::segment::SegmentReader;

    let (bytes, dir) = (committed("header-lost-nameless").0, tempfile::tempdir().unwrap());
    let path = dir.path().join("copy of something");
    fs::write(&path, bytes).unwrap();
    let mut reader = SegmentReader::open(&path).unwrap();
    assert_eq!(reader.identity().segment_id, None);
    while reader.next_event().unwrap().is_some() {}
    assert_eq!(reader.identity().segment_id, Some(golden::plain().id()));
    assert_eq!(reader.identity().session, None);
}
