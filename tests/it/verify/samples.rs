//! The golden vectors and the official library's files: exactly what is known to be in them is found.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Looked, look, look_as};
use crate::support::backup::put_chunk;
use crate::support::recording::{Owned, request};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn vectors() -> Vec<(Value, Vec<u8>)> {
    let mut paths: Vec<_> =
        fs::read_dir(root().join("format-spec/vectors")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    let read = |path: &PathBuf| {
        let json = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        (json, fs::read(path.with_extension("sfr")).unwrap())
    };
    paths.iter().map(read).collect()
}

/// What a vector's JSON says of bytes that aren't sound frames of this version.
fn lost(vector: &Value) -> Vec<String> {
    let number = |event: &Value, key: &str| event[key].as_u64().unwrap();
    let mut lost = Vec::new();
    for event in vector["events"].as_array().unwrap() {
        let seqs = event["seqs"].as_array().map(|seqs| seqs[0].as_u64().unwrap()..seqs[1].as_u64().unwrap());
        let place = || format!("{} +{}", number(event, "offset"), number(event, "len"));
        match event["event"].as_str().unwrap() {
            "damage" => lost.push(format!("damage {} {} {seqs:?}", place(), event["cause"].as_str().unwrap())),
            "torn" => lost.push(format!("torn {} {seqs:?}", place())),
            "skipped" => {
                let value = number(event, "value");
                let reason = match event["reason"].as_str().unwrap() {
                    "unknown-kind" => format!("kind {value}"),
                    "codec" => format!("codec {value} is unknown to this version: read it with a newer one"),
                    _ => format!("critical flags {value:#06x} are unknown to this version: read it with a newer one"),
                };
                lost.push(format!("skipped {} {reason} {seqs:?}", place()));
            }
            _ => {}
        }
    }
    lost
}

/// What is wrong with the records of a vector, though its frames are sound.
fn invalid(vector: &str) -> &'static [&'static str] {
    match vector {
        "channel-types" => {
            &["invalid 340 seq 4: channel \"string\" of flow \"all\" takes string, and the record has a double"]
        }
        "timestamps" => &[
            "invalid 216 seq 0: the record of flow \"imu\" has no timestamp",
            "invalid 319 seq 2: the record of flow \"imu\" has no timestamp",
        ],
        "nested" => &["invalid 644 seq 5: channel \"x\" of flow \"imu\" takes double, and the record has bytes"],
        "header-lost-open" | "spliced-header-open" => {
            &["invalid 218: the schema is lost: verify it together with another segment of the session"]
        }
        _ => &[],
    }
}

fn of_kind(looked: &Looked, kinds: &[&str]) -> Vec<String> {
    let is = |found: &&String| kinds.iter().any(|kind| found.starts_with(kind));
    looked.found.iter().filter(is).cloned().collect()
}

const KINDS: [&str; 4] = ["damage", "torn", "skipped", "unreadable"];

#[test]
fn of_every_vector_exactly_what_its_json_says_is_found() {
    let mut sound = 0;
    for (vector, bytes) in vectors() {
        let about = vector["vector"].as_str().unwrap();
        let Some(file_name) = vector["file_name"].as_str() else {
            assert_eq!(about, "header-lost-nameless");
            let looked = look_as("unnamed", &bytes);
            assert!(looked.found[0].starts_with("unreadable unnamed neither its header nor its name"), "{looked:?}");
            assert!(!looked.report.is_sound());
            continue;
        };
        let open = file_name.trim_end_matches(".open").to_owned() + ".open";
        let looked = look_as(&open, &bytes);
        assert_eq!(of_kind(&looked, &KINDS), lost(&vector), "{about}");
        assert_eq!(of_kind(&looked, &["invalid", "non-finite", "differs"]), invalid(about), "{about}");
        let t = looked.report.totals;
        if !bytes.is_empty() {
            assert_eq!(t.records_found, vector["totals"]["records"].as_u64().unwrap(), "{about}");
            assert_eq!(t.damaged_bytes, vector["totals"]["damaged_bytes"].as_u64().unwrap(), "{about}");
            assert_eq!(t.torn_bytes, vector["totals"]["torn_bytes"].as_u64().unwrap(), "{about}");
            assert_eq!(t.records_unreadable, vector["totals"]["skipped_records"].as_u64().unwrap(), "{about}");
        }
        let faults = t.damaged_places + t.records_missing + t.records_unreadable + t.records_invalid + t.contradictions;
        assert_eq!(looked.report.is_sound(), faults == 0, "{about}: {looked:?}");
        sound += u64::from(faults == 0);
        let missing = of_kind(&looked, &["missing"]);
        match about {
            "written-again" => assert_eq!(missing, ["missing 0..3"]),
            _ => assert!(missing.is_empty() || t.damaged_places > 0, "{about}: {missing:?}"),
        }
        // Under its sealed name, a file without SEAL and trailer was cut short [F-30].
        let sealed = look_as(open.trim_end_matches(".open"), &bytes);
        if vector["sealed"] == true {
            assert_eq!(sealed.found, looked.found, "{about}");
        } else {
            assert!(!sealed.report.is_sound() && sealed.report.totals.torn_files == 0, "{about}: {sealed:?}");
        }
    }
    assert!(sound > 20, "{sound}");
}

/// [F-34]
#[test]
fn two_segments_that_hold_the_same_seqs_are_sound_together() {
    let vectors = root().join("format-spec/vectors");
    let read = |name: &str| fs::read(vectors.join(name)).unwrap();
    let (open, again) = (read("open-three-frames.sfr"), read("written-again.sfr"));
    let name = |index, suffix| format!("01935f6e-1b2c-7000-8123-456789abcdef-{index:06}.{suffix}");
    super::look_files(&[(&name(3, "sfr.open"), &open), (&name(4, "sfr"), &again)]).is_sound(6);
}

fn pbfs(name: &str) -> Looked {
    look(&root().join("tests/data/pbfs").join(name))
}

#[test]
fn of_the_official_samples_exactly_what_is_known_is_found() {
    pbfs("s1_single_message_no_run.pbfs").is_sound(1);
    pbfs("s3_flows_interleaved_no_run.pbfs").is_sound(370);
    // It holds such values on purpose.
    pbfs("s2_all_types_run.pbfs").finds(&["non-finite Some(\"all_types\") None 215"]);
    let torn_and_non_finite = |torn: &str| [torn.to_owned(), "non-finite Some(\"all_types\") None 143".to_owned()];
    for (name, torn) in
        [("c1_truncated_in_message.pbfs", "torn 65780 +51 None"), ("c2_truncated_in_header.pbfs", "torn 65780 +5 None")]
    {
        let looked = pbfs(name);
        assert_eq!(looked.found, torn_and_non_finite(torn));
        let t = looked.report.totals;
        assert_eq!((t.records_found, t.torn_files, t.damaged_places), (333, 1, 0), "{looked:?}");
    }
    for (name, cause, messages) in [
        ("c3_flipped_byte.pbfs", "chunk-checksum", 499),
        ("c4_chunk_len_u64max.pbfs", "chunk-length", 369),
        ("c6_msg_len_too_big_crc_ok.pbfs", "malformed", 369),
    ] {
        let looked = pbfs(name);
        // The first of them is made of the sample that has values which aren't finite.
        assert_eq!(looked.found.len(), if messages == 499 { 2 } else { 1 }, "{looked:?}");
        assert!(looked.found[0].starts_with("damage "), "{looked:?}");
        assert!(looked.found[0].contains(cause), "{looked:?}");
        assert!(!looked.report.is_sound() && looked.report.totals.records_found == messages, "{looked:?}");
    }
    assert_eq!(pbfs("c8_empty.pbfs").found, ["ignored c8_empty.pbfs empty"]);
}

/// A chunk whose checksum holds says nothing of what is in it.
#[test]
fn messages_of_a_pbfs_file_that_sift_would_refuse_are_told_by_their_number() {
    use prost::Message;
    let good = |n: u64| {
        let mut request = request("p", n as i64, &[Owned::Uint64(n)]);
        request.ingestion_config_id = "theirs".to_owned();
        request
    };
    let mut nan = good(4);
    nan.channel_values = request("p", 4, &[Owned::Double(f64::NAN), Owned::Float(f32::INFINITY)]).channel_values;
    let mut timeless = good(2);
    timeless.timestamp = None;
    let nobodys = request("p", 5, &[]);
    let mut file = Vec::new();
    put_chunk(&mut file, &[good(0).encode_to_vec(), vec![0xff; 7]]);
    let second = file.len();
    put_chunk(&mut file, &[timeless, good(3), nan, nobodys].map(|request| request.encode_to_vec()));
    look_as("theirs-1", &file).finds(&[
        "invalid 0 seq 1: the record is no request: a cut-off number at its byte 7",
        &format!("invalid {second} seq 2: the record of flow \"p\" has no timestamp"),
        &format!("invalid {second} seq 5: the record names no ingestion config, and the file tells of none"),
        "non-finite Some(\"p\") None 2",
    ]);
}

#[test]
fn a_message_that_no_recorder_would_take_for_its_size_is_told() {
    let mut message = crate::support::format::golden::imus(0, 1)[0].encode();
    message.extend(crate::support::format::Pb::default().always_bytes(99, &vec![0; 16 << 20]).0);
    let mut file = Vec::new();
    put_chunk(&mut file, &[message]);
    let told = format!("invalid 0 seq 0: the record of flow \"imu\" exceeds {} bytes", 16 << 20);
    look_as("theirs-1", &file).finds(&[&told]);
}

/// Nothing tells whether such a file was finished.
#[test]
fn a_torn_pbfs_file_is_no_fault() {
    use prost::Message;
    let mut request = request("p", 1, &[Owned::Uint64(1)]);
    request.ingestion_config_id = "theirs".to_owned();
    let mut file = Vec::new();
    put_chunk(&mut file, &[request.encode_to_vec()]);
    let whole = file.len();
    put_chunk(&mut file, &[request.encode_to_vec()]);
    file.pop();
    let looked = look_as("theirs-1", &file);
    assert_eq!(looked.found, [format!("torn {whole} +{} None", whole - 1)]);
    assert!(looked.report.is_sound(), "{looked:?}");
}

/// Nothing of the replayer's own is looked into.
#[test]
fn the_state_beside_the_recordings_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let journals = root().join("format-spec/vectors/journals");
    let state = dir.path().join(".sift-replay");
    fs::create_dir(&state).unwrap();
    for entry in fs::read_dir(journals).unwrap() {
        let path: &Path = &entry.unwrap().path();
        fs::copy(path, state.join(path.file_name().unwrap())).unwrap();
    }
    look(dir.path()).is_sound(0);
}
