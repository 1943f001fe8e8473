//! One segment, whatever state it is in.

use std::path::{Path, PathBuf};

use sift_replay::format::SegmentHeader;
use sift_replay::segment::{Condition, HeaderFrom};

use crate::support::format::golden;
use crate::support::repairing::{File, Shape, alone, check, check_again, name, one, record, small};

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
fn vector_sibling(_: &sift_replay::segment::Identity) -> Option<SegmentHeader> {
    use prost::Message;
    Some(SegmentHeader::decode(&golden::header(0).encode()[..]).unwrap())
}

#[test]
fn every_vector_is_repaired_to_a_sound_segment_that_holds_all_that_was_sound() {
    for file in vectors() {
        println!("{}", file.path.display());
        let went = check(&file, &alone);
        check_again(&file, &went, &alone);
        let went = check(&file, &vector_sibling);
        check_again(&file, &went, &vector_sibling);
    }
}
