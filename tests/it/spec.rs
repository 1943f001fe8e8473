//! The specification and the code: each rule is cited where it is kept and where it is tested, numbers in the text are
//! those in the code, and rules that no vector can show are held here.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use prost::Message;
use sift_replay::format::{self, Codec, FrameHeader, Kind, RecordInfo, SealBuilder, SegmentHeader, Suffix, TimeRange};
use sift_replay::segment::{SegmentName, session_dir};
use sift_rs::ingest::v1::IngestWithConfigDataStreamRequest;
use sift_rs::ingestion_configs::v2::{CreateIngestionConfigFlowsRequest, CreateIngestionConfigRequest};
use sift_rs::runs::v2::CreateRunRequest;

use crate::support::format::golden::{header, imu, imus};
use crate::support::format::{Header, Pb, SESSION, hex, unhex};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

fn sources(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
}

/// The rules named between `open` and `close`, such as `[` and `]`.
fn named(text: &str, open: char, close: char) -> BTreeSet<String> {
    let pieces = text.split(open).skip(1).filter_map(|piece| piece.split(close).next());
    let is_rule =
        |name: &&str| name.strip_prefix("F-").or(name.strip_prefix("P-")).is_some_and(|n| n.parse::<u32>().is_ok());
    pieces.filter(is_rule).map(str::to_owned).collect()
}

fn cited(dir: &str) -> BTreeSet<String> {
    let mut files = Vec::new();
    sources(&root().join(dir), &mut files);
    let texts = files.iter().map(|path| fs::read_to_string(path).unwrap());
    texts.flat_map(|text| named(&text, '[', ']').into_iter().chain(named(&text, '"', '"'))).collect()
}

fn defined() -> BTreeSet<String> {
    let text = text("format-spec/README.md");
    let headings: Vec<_> = text.lines().filter_map(|l| l.strip_prefix("### ")?.split_once(" · ")).collect();
    let rules: BTreeSet<_> = headings.iter().map(|(number, _)| (*number).to_owned()).collect();
    assert_eq!(rules.len(), headings.len(), "a rule is defined twice");
    rules
}

#[test]
fn every_rule_is_cited_in_the_code_and_in_a_test() {
    let rules = defined();
    assert!(rules.len() >= 40, "{rules:?}");
    for dir in ["src", "tests"] {
        let cited = cited(dir);
        let missing: Vec<_> = rules.difference(&cited).collect();
        assert!(missing.is_empty(), "not cited under {dir}: {missing:?}");
        let unknown: Vec<_> = cited.difference(&rules).collect();
        assert!(unknown.is_empty(), "cited under {dir} and not in the specification: {unknown:?}");
    }
}

#[test]
fn the_texts_name_only_rules_that_there_are() {
    let rules = defined();
    for path in ["format-spec/README.md", "format-spec/vectors/README.md"] {
        let unknown: Vec<_> = named(&text(path), '[', ']').difference(&rules).cloned().collect();
        assert!(unknown.is_empty(), "{path}: {unknown:?}");
    }
}

#[test]
fn limits_in_the_text_are_those_in_the_code() {
    let text = text("format-spec/README.md");
    for (name, value) in [
        ("MAX_STORED_BYTES", u64::from(format::MAX_STORED_BYTES)),
        ("MAX_RAW_BYTES", u64::from(format::MAX_RAW_BYTES)),
        ("MAX_RECORD_BYTES", u64::from(format::MAX_RECORD_BYTES)),
        ("MAX_INDEX_ENTRIES", format::MAX_INDEX_ENTRIES as u64),
        ("MAX_SEAL_FLOWS", format::MAX_SEAL_FLOWS as u64),
        ("MAX_PBFS_CHUNK_BYTES", format::MAX_PBFS_CHUNK_BYTES),
        ("MAX_CHECKPOINT_BYTES", u64::from(format::MAX_CHECKPOINT_BYTES)),
        ("MAX_MESSAGE_PARTS", format::MAX_MESSAGE_PARTS as u64),
    ] {
        assert!(text.contains(&format!("| {value} | `{name}` |")), "{name} is {value}");
    }
    // [F-3], [F-5], [F-26], [F-39]
    for bytes in [format::MAGIC, format::SYNC_MARKER, format::JOURNAL_MAGIC] {
        let spaced: Vec<_> = bytes.iter().map(|b| format!("{b:02x}")).collect();
        assert!(text.contains(&format!("`{}`", spaced.join(" "))));
    }
    assert_eq!(&format::encode_trailer(1)[8..], b"SFR-SEAL");
}

#[test]
fn the_example_in_the_text_is_the_vector() {
    let text = text("format-spec/README.md");
    let example = text.split("```text\n").last().unwrap().split("```").next().unwrap();
    let mut bytes = Vec::new();
    for line in example.lines() {
        let (offset, rest) = line.split_once("  ").unwrap();
        assert_eq!(usize::from_str_radix(offset, 16).unwrap(), bytes.len());
        bytes.extend(unhex(&rest[..rest.len().min(47)].replace(' ', "")));
    }
    let vector = fs::read(root().join("format-spec/vectors/open-one-record.sfr")).unwrap();
    assert_eq!(hex(&bytes), hex(&vector));
}

#[test]
fn every_vector_is_listed_in_the_text() {
    let list = text("format-spec/vectors/README.md");
    for vector in crate::support::format::golden::all() {
        let row = format!("| `{}` | {} | {} |", vector.name, vector.about, vector.rules.join(", "));
        assert!(list.contains(&row), "{row}");
    }
}

/// [F-14], [F-17]: the empty range is neutral.
#[test]
fn the_empty_range_is_neutral() {
    let mut times = TimeRange::EMPTY;
    assert!(times.is_empty());
    times.merge(&TimeRange::EMPTY);
    assert_eq!((times.least, times.greatest), (i64::MAX, i64::MIN));
    times.merge(&TimeRange::at(-3));
    assert_eq!(times, TimeRange::at(-3));
}

/// [F-19], [F-22]: Sift's own types read what HEADER and SCHEMA hold, and it is all that they have.
#[test]
fn stored_requests_are_the_ones_that_sift_defines() {
    let header = Header { run: Some(("flight 7", "flight-7")), ..header(0) };
    let message = SegmentHeader::decode(&header.encode()[..]).unwrap();
    let config = CreateIngestionConfigRequest::decode(&message.ingestion_config[..]).unwrap();
    assert_eq!((config.asset_name.as_str(), config.client_key.as_str()), ("rover", "rover-v1"));
    assert_eq!(config.flows[0].channels[1].unit, "m/s^2");
    assert_eq!(config.encode_to_vec(), message.ingestion_config);
    let run = CreateRunRequest::decode(&message.run.as_ref().unwrap()[..]).unwrap();
    assert_eq!((run.name.as_str(), run.client_key.as_deref()), ("flight 7", Some("flight-7")));
    assert_eq!(&run.encode_to_vec(), message.run.as_ref().unwrap());
    let added = Pb::default().always_bytes(2, &imu().encode()).0;
    assert_eq!(CreateIngestionConfigFlowsRequest::decode(&added[..]).unwrap().encode_to_vec(), added);
}

/// [F-21]
#[test]
fn appended_ids_are_what_sift_reads_and_nothing_else_changes() {
    let suffix = Suffix::new("config", Some("run"), true);
    let bare = imus(0, 1)[0].encode();
    let before = IngestWithConfigDataStreamRequest::decode(&bare[..]).unwrap();
    let sent = [&bare[..], suffix.for_request(&bare).unwrap()].concat();
    let mut after = IngestWithConfigDataStreamRequest::decode(&sent[..]).unwrap();
    assert_eq!((after.ingestion_config_id.as_str(), after.run_id.as_str()), ("config", "run"));
    assert!(after.end_stream_on_validation_error);
    (after.ingestion_config_id, after.run_id, after.end_stream_on_validation_error) = Default::default();
    assert_eq!(after, before);
    let own = crate::support::format::Rec { ids: ["theirs", "", ""], ..imus(0, 1)[0].clone() }.encode();
    let sent = [&own[..], suffix.for_request(&own).unwrap()].concat();
    let after = IngestWithConfigDataStreamRequest::decode(&sent[..]).unwrap();
    assert_eq!((after.ingestion_config_id.as_str(), after.run_id.as_str()), ("theirs", ""));
}

proptest! {
    /// [F-36]: the appended timestamp replaces the old one as a whole, also where a part of it is zero.
    #[test]
    fn an_appended_timestamp_replaces_the_old_one(
        old in (-1_000_000i64..1_000_000, 0i32..1_000_000_000), new in (-2i64..2, 0i32..2),
    ) {
        let record = crate::support::format::Rec { time: Some(old), ..imus(0, 1)[0].clone() };
        let stamp = Pb::default().always_varint(1, new.0 as u64).always_varint(2, new.1 as u64).0;
        let shifted = Pb(record.encode()).always_bytes(3, &stamp).0;
        let time = IngestWithConfigDataStreamRequest::decode(&shifted[..]).unwrap().timestamp.unwrap();
        prop_assert_eq!((time.seconds, time.nanos), new);
        let ns = RecordInfo::parse(&shifted).unwrap().timestamp;
        prop_assert_eq!(ns, Some(new.0 * 1_000_000_000 + i64::from(new.1)));
    }
}

/// [F-25]
#[test]
fn an_index_has_at_most_4096_entries_and_a_place_for_every_seq() {
    let mut builder = SealBuilder::new(0);
    let frames = 3 * format::WRITTEN_INDEX_ENTRIES as u64 + 5;
    for i in 0..frames {
        builder.add_frame(&FrameHeader {
            kind: Kind::Data,
            codec: Codec::None,
            flags: 0,
            stored_len: 28,
            raw_len: 28,
            count: 2,
            // Every third record is missing.
            first_seq: i * 3,
            times: TimeRange::at(i as i64),
            segment_id: 1,
            offset: 300 + i * 100,
            payload_crc: 0,
        });
    }
    let index = builder.finish(SegmentHeader::default()).index;
    assert!(index.len() <= format::WRITTEN_INDEX_ENTRIES && index.len() > format::WRITTEN_INDEX_ENTRIES / 2);
    const { assert!(format::WRITTEN_INDEX_ENTRIES <= format::MAX_INDEX_ENTRIES) };
    assert_eq!(index.iter().map(|e| e.count).sum::<u64>(), frames * 2);
    for seq in (0..frames * 3).step_by(7) {
        let at = index.partition_point(|e| e.first_seq <= seq) - 1;
        let (begin, end) = (index[at].offset, index.get(at + 1).map_or(u64::MAX, |next| next.offset));
        assert!((begin..end).contains(&(300 + seq / 3 * 100)), "seq {seq}");
    }
}

/// [F-27]
#[test]
fn file_names_tell_session_and_index() {
    for (name, index, open) in [("000007.sfr", 7, false), ("12345678.sfr.open", 12_345_678, true), ("7.sfr", 7, false)]
    {
        let parsed = SegmentName::parse(&format!("{SESSION}-{name}")).unwrap();
        assert_eq!((parsed.session.to_string().as_str(), parsed.index, parsed.open), (SESSION, index, open));
    }
    for name in ["+7.sfr", "4294967296.sfr", "7.SFR", "7.sfr.tmp", ".sfr", "-7.sfr"] {
        assert_eq!(SegmentName::parse(&format!("{SESSION}-{name}")), None, "{name}");
    }
}

/// [F-28]
#[test]
fn directories_are_named_as_the_text_says() {
    let part = |text: &str| {
        let dir = session_dir(Path::new("r"), text, None);
        dir.parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned()
    };
    let long = "x".repeat(500);
    let cut = format!("{}~{:08x}", "x".repeat(111), crate::support::format::crc32(long.as_bytes()));
    for (text, name) in [
        ("rover_7-b", "rover_7-b"),
        ("v1.2", "v1.2"),
        (".v1.", "%2Ev1%2E"),
        ("..", "%2E%2E"),
        ("a/b", "a%2Fb"),
        ("\u{e9}", "%C3%A9"),
        ("", "%"),
        ("nul", "%6Eul"),
        ("Com1.txt", "%43om1.txt"),
        ("no-run", "%6Eo-run"),
        ("~", "%7E"),
        (&long, &cut),
    ] {
        assert_eq!(part(text), name, "{text}");
    }
    assert_eq!(session_dir(Path::new("r"), "a", None), Path::new("r/a/no-run"));
}
