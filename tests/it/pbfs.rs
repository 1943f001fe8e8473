//! The official library's backup files: real samples, sound and damaged [P-1].

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use prost::Message;
use serde_json::{Value, json};
use sift_replay::format::{DamageCause, PbfsScanner, PbfsStep, RecordInfo};
use sift_replay::segment::{PbfsEvent, PbfsReader, is_pbfs};
use sift_rs::ingest::v1::IngestWithConfigDataStreamRequest;

use crate::support::format::{crc32, sha256};

fn dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/pbfs")
}

fn manifest() -> BTreeMap<String, Value> {
    let text = fs::read_to_string(dir().join("manifest.json")).unwrap();
    serde_json::from_value(serde_json::from_str::<Value>(&text).unwrap()["files"].clone()).unwrap()
}

fn sample(name: &str) -> Vec<u8> {
    fs::read(dir().join(name)).unwrap()
}

/// What a file has: its messages, and what else: `(what, offset, length)`.
#[derive(Debug, Default, PartialEq)]
struct Found {
    messages: Vec<Vec<u8>>,
    lost: Vec<(String, u64, u64)>,
}

fn read(path: &Path) -> Found {
    let (mut reader, mut found) = (PbfsReader::open(path).unwrap(), Found::default());
    while let Some(event) = reader.next_event().unwrap() {
        match event {
            PbfsEvent::Chunk(chunk) => found.messages.extend(chunk.messages().map(<[u8]>::to_vec)),
            PbfsEvent::Damage(d) => found.lost.push((d.cause.as_str().to_owned(), d.offset, d.len)),
            PbfsEvent::Torn(t) => found.lost.push(("torn".to_owned(), t.offset, t.len)),
        }
    }
    found
}

/// The same by the scanner, with `growth` more bytes whenever it asks. Every byte is accounted for.
fn scan(file: &[u8], growth: usize) -> Found {
    let (mut scanner, mut found) = (PbfsScanner::new(), Found::default());
    let (mut seen, mut covered) = (0usize, 0u64);
    loop {
        let begin = scanner.position() as usize;
        let (what, offset, len) = match scanner.step(&file[begin..seen.max(begin)], seen == file.len()) {
            PbfsStep::NeedMore(bytes) => {
                assert!(seen < file.len() && scanner.position() as usize + bytes > seen);
                seen = seen.saturating_add(growth).min(file.len());
                continue;
            }
            PbfsStep::End => break,
            PbfsStep::Chunk(chunk) => {
                assert_eq!(chunk.offset, covered);
                covered += 12 + chunk.payload.len() as u64;
                found.messages.extend(chunk.messages().map(<[u8]>::to_vec));
                continue;
            }
            PbfsStep::Damage(d) => (d.cause.as_str(), d.offset, d.len),
            PbfsStep::Torn(t) => ("torn", t.offset, t.len),
        };
        assert_eq!(offset, covered);
        covered += len;
        found.lost.push((what.to_owned(), offset, len));
    }
    assert_eq!(covered, file.len() as u64, "every byte is accounted for");
    found
}

fn requests(messages: &[Vec<u8>]) -> Vec<IngestWithConfigDataStreamRequest> {
    messages.iter().map(|m| IngestWithConfigDataStreamRequest::decode(&m[..]).unwrap()).collect()
}

/// Counts, times and flows as the manifest has them.
fn check_summary(name: &str, messages: &[Vec<u8>], file: &Value) {
    let (mut flows, mut runs, mut values) = (BTreeMap::new(), BTreeMap::new(), 0usize);
    let mut times = Vec::new();
    for (request, bytes) in requests(messages).iter().zip(messages) {
        *flows.entry(request.flow.clone()).or_insert(0) += 1;
        *runs.entry(request.run_id.clone()).or_insert(0) += 1;
        values += request.channel_values.len();
        let time = request.timestamp.unwrap();
        times.push((time.seconds, time.nanos));
        let ns = RecordInfo::parse(bytes).unwrap().timestamp;
        assert_eq!(ns, Some(time.seconds * 1_000_000_000 + i64::from(time.nanos)), "{name}");
    }
    assert_eq!((json!(flows), json!(runs)), (file["per_flow"].clone(), file["per_run_id"].clone()), "{name}");
    assert_eq!(json!(values), file["channel_values"], "{name}");
    let time = |t: Option<&(i64, i32)>| t.map(|(s, n)| json!({ "seconds": s, "nanos": n })).unwrap_or(Value::Null);
    assert_eq!(time(times.iter().min()), file["min_timestamp"], "{name}");
    assert_eq!(time(times.iter().max()), file["max_timestamp"], "{name}");
}

#[test]
fn every_sample_has_exactly_the_messages_of_the_manifest() {
    // The manifest was made by a reader that stops at damage; these have sound messages behind it.
    let all = BTreeMap::from([
        ("c3_flipped_byte.pbfs", 499),
        ("c4_chunk_len_u64max.pbfs", 369),
        ("c6_msg_len_too_big_crc_ok.pbfs", 369),
    ]);
    let files = manifest();
    assert_eq!(files.len(), 9);
    for (name, file) in &files {
        let bytes = sample(name);
        assert_eq!(file["file_sha256"], sha256(&bytes), "{name}");
        let found = read(&dir().join(name));
        let listed = file["messages"].as_u64().unwrap() as usize;
        assert_eq!(found.messages.len(), all.get(name.as_str()).copied().unwrap_or(listed), "{name}");
        let hashes: Vec<_> = found.messages.iter().map(|m| sha256(m)).collect();
        assert_eq!(json!(hashes[..listed]), file["message_sha256"], "{name}");
        // Prost writes each message as the library did, so that the manifest's hashes are those of the raw bytes.
        for (request, raw) in requests(&found.messages).iter().zip(&found.messages) {
            assert_eq!(&request.encode_to_vec(), raw, "{name}");
        }
        let concatenated = found.messages[..listed].concat();
        assert_eq!(file["sha256_of_all_message_bytes_concatenated"], sha256(&concatenated), "{name}");
        check_summary(name, &found.messages[..listed], file);
        for growth in [977, usize::MAX] {
            assert_eq!(scan(&bytes, growth), found, "{name} in steps of {growth}");
        }
        assert_eq!(is_pbfs(&dir().join(name)).unwrap(), !found.messages.is_empty(), "{name}");
    }
}

/// The messages behind the damage are those of the sample that was damaged.
#[test]
fn damage_in_a_sample_costs_one_chunk_and_is_reported() {
    for (name, whole, without, lost) in [
        ("c3_flipped_byte.pbfs", "s2_all_types_run.pbfs", 250, "chunk-checksum"),
        ("c4_chunk_len_u64max.pbfs", "s3_flows_interleaved_no_run.pbfs", 100, "chunk-length"),
        ("c6_msg_len_too_big_crc_ok.pbfs", "s3_flows_interleaved_no_run.pbfs", 100, "malformed"),
    ] {
        let (found, mut expected) = (read(&dir().join(name)), read(&dir().join(whole)));
        assert_eq!(expected.lost, [], "{whole}");
        let message = expected.messages.remove(without);
        assert!(found.messages == expected.messages, "{name}");
        // Where the chunk stands: 16 bytes of framing each, one message to a chunk.
        let offset: usize = expected.messages[..without].iter().map(|m| 16 + m.len()).sum();
        assert_eq!(found.lost, [(lost.to_owned(), offset as u64, 16 + message.len() as u64)], "{name}");
    }
}

#[test]
fn torn_and_empty_samples_are_no_news() {
    assert_eq!(read(&dir().join("c1_truncated_in_message.pbfs")).lost, [("torn".to_owned(), 65_780, 51)]);
    assert_eq!(read(&dir().join("c2_truncated_in_header.pbfs")).lost, [("torn".to_owned(), 65_780, 5)]);
    assert_eq!(read(&dir().join("c8_empty.pbfs")), Found::default());
}

/// [P-3]
#[test]
fn any_flipped_byte_costs_at_most_its_chunk() {
    let file = sample("s3_flows_interleaved_no_run.pbfs");
    let whole = scan(&file, usize::MAX);
    let mut ends = whole.messages.iter().scan(0, |end, m| {
        *end += 16 + m.len();
        Some(*end)
    });
    let (mut chunk, mut end) = (0, ends.next().unwrap());
    for at in (0..file.len()).step_by(97) {
        while at >= end {
            (chunk, end) = (chunk + 1, ends.next().unwrap());
        }
        for mask in [0x01, 0xff] {
            let mut flipped = file.clone();
            flipped[at] ^= mask;
            let found = scan(&flipped, usize::MAX);
            let begin = end - 16 - whole.messages[chunk].len();
            let (before, behind) = (&whole.messages[..chunk], &whole.messages[chunk + 1..]);
            assert!(found.messages == [before, behind].concat(), "byte {at}");
            let places: Vec<_> = found.lost.iter().map(|(_, offset, len)| (*offset as usize, *len as usize)).collect();
            assert_eq!(places, [(begin, end - begin)], "byte {at}");
        }
    }
}

/// [P-1]: a chunk of these messages.
pub(crate) fn chunk(messages: &[&[u8]]) -> Vec<u8> {
    let payload: Vec<u8> = messages.iter().flat_map(|m| [&(m.len() as u32).to_le_bytes()[..], m].concat()).collect();
    let rest = [&(payload.len() as u64).to_le_bytes()[..], &payload].concat();
    [&crc32(&rest).to_le_bytes()[..], &rest].concat()
}

/// [P-1], [P-3]: the layout, made by hand; and a chunk within a message is never taken for one, whatever the windows.
#[test]
fn a_chunk_in_a_message_of_a_damaged_chunk_is_not_taken_for_one() {
    let inner = chunk(&[b"inner"]);
    let mut file = chunk(&[b"a", &inner, b"c"]);
    file[16] ^= 1;
    let outer = file.len() as u64;
    let cases: [&[&[u8]]; 3] = [&[], &[b"d"], &[b"d", b"", b"e"]];
    for behind in cases {
        let file = [&file[..], &chunk(behind)].concat();
        for growth in [1, 5, 30, usize::MAX] {
            let found = scan(&file, growth);
            assert_eq!(found.messages, behind, "in steps of {growth}");
            assert_eq!(found.lost, [("chunk-checksum".to_owned(), 0, outer)], "in steps of {growth}");
        }
    }
}

/// [P-2]
#[test]
fn a_chunk_of_more_than_64_mib_is_garbage() {
    let mut file = vec![0; 4];
    file.extend((64u64 * 1024 * 1024 + 1).to_le_bytes());
    file.extend(chunk(&[b"next"]));
    let found = scan(&file, usize::MAX);
    assert_eq!(found.messages, [b"next"]);
    assert_eq!(found.lost, [(DamageCause::ChunkLength.as_str().to_owned(), 0, 12)]);
}

/// [P-4]: name and place say nothing about such a file, its content says all.
#[test]
fn a_renamed_copy_has_the_same_content_and_reads_alike() {
    let (from, dir) = (self::dir().join("s1_single_message_no_run.pbfs"), tempfile::tempdir().unwrap());
    let to = dir.path().join("client-1700000000000000");
    fs::copy(&from, &to).unwrap();
    assert_eq!(sha256(&fs::read(&from).unwrap()), sha256(&fs::read(&to).unwrap()));
    assert_eq!(read(&from), read(&to));
    assert!(is_pbfs(&to).unwrap());
}
