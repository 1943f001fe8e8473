//! Dead letters: kept before anything rests on it, read back with reason and origin, shown by the program [F-41].
#![allow(clippy::single_range_in_vec_init, reason = "one range is meant")]

mod faults;
mod program;
mod retry;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sift_replay::catalog::{Requests, discover};
use sift_replay::format::{FlowConfig, IngestionConfig, Mark, SegmentHeader};
use sift_replay::record::DataType;
use sift_replay::replay::{
    DEAD_LETTERS_DIR, DeadLetters, PbfsId, Refusal, RefusedRecord, Subject, Target, Trouble, dead_letter_catalog,
    dead_letter_origins, dead_letters_for, list_dead_letters, read_dead_letters,
};
use sift_replay::segment::Disk;

use crate::support::recording::{Owned, Segment, counted, counter_schema, encoded};

const SESSION: Subject = Subject::Session(uuid::Uuid::from_u128(0x0193_5f6e_1b2c_7000_8123_4567_89ab_cdef));
const PBFS: Subject = Subject::Pbfs(PbfsId([0x22; 32]));

fn target() -> Target {
    Target::from_text("https://sift.example:443 organization=\"o\"")
}

/// The requests of a session of [`counter_schema`], as the catalog would have them.
fn requests() -> Requests {
    let dir = tempfile::tempdir().unwrap();
    let recorder = sift_replay::record::Recorder::create(
        dir.path(),
        &counter_schema().run(sift_replay::record::RunSchema::new("flight 7", "flight-7")),
        sift_replay::record::RecorderOptions::default(),
    );
    recorder.unwrap().finish().unwrap();
    let catalog = sift_replay::catalog::Catalog::build(discover(&[dir.path().to_owned()]).unwrap());
    catalog.sessions[0].requests.clone().unwrap()
}

fn record(seq: u64) -> RefusedRecord {
    RefusedRecord { seq, bytes: counted(seq) }
}

fn records(seqs: impl IntoIterator<Item = u64>) -> Vec<RefusedRecord> {
    seqs.into_iter().map(record).collect()
}

/// A dead letter as it is read.
#[derive(Debug, Clone, PartialEq)]
struct Letter {
    refusal: Option<Refusal>,
    seq: Option<u64>,
    bytes: Vec<u8>,
    flow: String,
    time_ns: Option<i64>,
}

/// All dead letters below a state directory, each with its place, and what was in the way.
fn read(state: &Path) -> (BTreeMap<(uuid::Uuid, u64), Letter>, Vec<Trouble>) {
    let (mut letters, mut troubles) = (BTreeMap::new(), Vec::new());
    let catalog = dead_letter_catalog(&[state.to_owned()]).unwrap();
    troubles.extend(catalog.unreadable.into_iter().map(|file| Trouble { path: file.path, what: file.reason }));
    for session in catalog.sessions {
        troubles.extend(read_dead_letters(&session, &mut |letter| {
            let read = Letter {
                refusal: letter.refusal.cloned(),
                seq: letter.seq,
                bytes: letter.bytes.to_vec(),
                flow: letter.flow.clone().into_owned(),
                time_ns: letter.time_ns,
            };
            assert!(letters.insert((session.id, letter.letter), read).is_none(), "{letter:?} twice");
            ControlFlow::Continue(())
        }));
    }
    (letters, troubles)
}

fn on_disk(state: &Path) -> DeadLetters {
    DeadLetters::new(Arc::new(Disk), state)
}

fn files(state: &Path) -> Vec<PathBuf> {
    let found = discover(&[state.join(DEAD_LETTERS_DIR)]).unwrap();
    found.into_iter().map(|found| found.path).collect()
}

#[test]
fn what_was_refused_is_read_back_with_its_reason_and_its_origin() {
    let dir = tempfile::tempdir().unwrap();
    // As it is beside the backups, in a directory that discovery passes over.
    let state = dir.path().join(".sift-replay");
    let mut letters = on_disk(&state);
    letters.add(&target(), &SESSION, None, None, "no record at all", &[]).unwrap();
    assert!(!state.exists(), "nothing is made before the first refusal");
    let (origin, requests) = (Path::new("/media/card/rover"), requests());
    let add = |letters: &mut DeadLetters, reason: &str, seqs: &[u64]| {
        let records = records(seqs.iter().copied());
        letters.add(&target(), &SESSION, Some(origin), Some(&requests), reason, &records).unwrap();
    };
    add(&mut letters, "out of range", &[3, 4, 900]);
    let before = Segment::read(&files(&state)[0]);
    assert_eq!(before.records.len(), 3, "at once, though the segment isn't sealed");
    add(&mut letters, "too old", &[0]);
    add(&mut letters, "out of range", &[5]);
    let path = letters.finish(&target(), &SESSION).unwrap().unwrap();
    assert_eq!(letters.finish(&target(), &SESSION).unwrap(), None);
    assert_eq!(files(&state).first(), Some(&path));
    assert_eq!(files(&state).len(), 1);
    assert!(path.starts_with(state.join("dead-letters/rover/flight%207")), "{}", path.display());

    // A segment as any other, of a session of its own, that holds all that its records need at Sift.
    let segment = Segment::read(&path);
    segment.check_seal();
    let header = segment.header.clone().unwrap();
    assert_eq!((header.recorder.as_str(), header.segment_index, header.first_seq), ("sift-replay", 0, 0));
    assert_ne!(Subject::Session(header.session().unwrap()), SESSION);
    assert_eq!(header.ingestion_config, *requests.ingestion_config);
    assert_eq!(header.run.as_deref(), requests.run.as_deref());
    let kept = segment.records.iter().map(|(_, record)| record.clone());
    assert_eq!(kept.collect::<Vec<_>>(), [3, 4, 900, 0, 5].map(counted));
    assert!(segment.frames.iter().all(|(.., bare)| *bare), "[F-21]");

    let list = list_dead_letters(std::slice::from_ref(&state)).unwrap();
    assert_eq!(list.troubles, []);
    let [session] = &list.sessions[..] else { panic!("{list:?}") };
    assert_eq!((session.asset.as_deref(), session.run.as_deref()), (Some("rover"), Some("flight 7")));
    let groups = session.groups.iter().map(|group| {
        let refusal = group.refusal.as_ref().unwrap();
        assert_eq!((&refusal.target, refusal.subject), (&target(), Some(SESSION)));
        assert_eq!(refusal.origin_path, "/media/card/rover");
        assert_eq!(group.flows, BTreeMap::from([("f".to_owned(), group.records)]));
        assert!(!group.refused.is_empty());
        (refusal.reason.as_str(), group.seqs.ranges().collect::<Vec<_>>(), (group.times.least, group.times.greatest))
    });
    let expected = [("out of range", vec![3..6, 900..901], (3, 900)), ("too old", vec![0..1], (0, 0))];
    assert_eq!(groups.collect::<Vec<_>>(), expected);

    let seqs: Vec<_> = read(&state).0.into_values().map(|letter| (letter.seq.unwrap(), letter.bytes)).collect();
    assert_eq!(seqs, [3, 4, 900, 0, 5].map(|seq| (seq, counted(seq))));

    // What a retry needs.
    assert_eq!(dead_letters_for(std::slice::from_ref(&state), &target()).unwrap(), files(&state));
    let elsewhere = Target::from_text("https://sift.example:443");
    assert!(dead_letters_for(&[state], &elsewhere).unwrap().is_empty(), "a target is more than its endpoint");
    let origins = dead_letter_origins(&path).unwrap();
    let of = |letters: std::ops::Range<u64>| origins.iter().flat_map(|origin| origin.of(&letters)).collect::<Vec<_>>();
    assert!(origins.iter().all(|origin| origin.subject == SESSION && origin.target == target()));
    assert_eq!(of(0..5), [3..5, 900..901, 0..1, 5..6]);
    assert_eq!(of(1..4), [4..5, 900..901, 0..1]);
}

/// [F-19], [F-41]
#[test]
fn dead_letters_of_a_pbfs_file_need_no_requests() {
    let dir = tempfile::tempdir().unwrap();
    let mut letters = on_disk(dir.path());
    let mut own = counted(17);
    sift_replay::format::put_bytes_field(&mut own, 1, b"config");
    let refused = RefusedRecord { seq: 17, bytes: own };
    letters
        .add(&target(), &PBFS, Some(Path::new("rover-1")), None, "unknown config", std::slice::from_ref(&refused))
        .unwrap();
    let path = letters.finish(&target(), &PBFS).unwrap().unwrap();
    let segment = Segment::read(&path);
    let header: SegmentHeader = segment.header.clone().unwrap();
    assert_eq!((header.ingestion_config.len(), header.run), (0, None));
    assert!(!segment.frames[0].4, "a record with ids of its own isn't BARE");
    let Some(Mark::Refused(mark)) = segment.marks.first() else { panic!("{:?}", segment.marks) };
    assert_eq!((&mark.session_id[..], &mark.pbfs_id[..], mark.count), (&[][..], &[0x22; 32][..], 1));
    let list = list_dead_letters(&[dir.path().to_owned()]).unwrap();
    assert_eq!((&list.sessions[0].asset, &list.sessions[0].run), (&None, &None));
    assert_eq!(list.sessions[0].groups[0].refusal.as_ref().unwrap().subject, Some(PBFS));
    assert_eq!(dead_letter_origins(&path).unwrap()[0].subject, PBFS);
    let letter = read(dir.path()).0.into_values().next().unwrap();
    assert_eq!((letter.seq, letter.bytes), (Some(17), refused.bytes));
}

#[test]
fn targets_and_origins_have_segments_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let (mut letters, requests) = (on_disk(dir.path()), requests());
    let other = Target::from_text("elsewhere");
    for round in 0..3 {
        for (target, subject) in [(&target(), &SESSION), (&other, &SESSION), (&target(), &PBFS)] {
            letters.add(target, subject, None, Some(&requests), "no", &records([round])).unwrap();
        }
    }
    letters.finish_all().unwrap();
    let files = files(dir.path());
    assert_eq!(files.len(), 3);
    assert!(files.iter().all(|path| Segment::read(path).seal.is_some_and(|seal| seal.records == 3)));
    assert_eq!(dead_letters_for(&[dir.path().to_owned()], &target()).unwrap().len(), 2);
    assert_eq!(dead_letters_for(&[dir.path().to_owned()], &other).unwrap().len(), 1);
}

/// An origin that is followed while it grows may get flows that the first HEADER hasn't.
#[test]
fn flows_that_were_added_since_are_in_the_header_of_the_next_segment() {
    use prost::Message;
    let dir = tempfile::tempdir().unwrap();
    let (mut letters, mut requests) = (on_disk(dir.path()), requests());
    letters.add(&target(), &SESSION, None, Some(&requests), "no", &records([1])).unwrap();
    let late = FlowConfig { name: "late".to_owned(), channels: Vec::new() };
    let added = IngestionConfig { flows: vec![late], ..IngestionConfig::default() };
    requests.ingestion_config = [&requests.ingestion_config[..], &added.encode_to_vec()].concat().into();
    for seq in [2, 3] {
        letters.add(&target(), &SESSION, None, Some(&requests), "no", &records([seq])).unwrap();
    }
    letters.finish_all().unwrap();
    let segments: Vec<_> = files(dir.path()).iter().map(|path| Segment::read(path)).collect();
    let names = |segment: &Segment| segment.flows().into_iter().map(|flow| flow.name).collect::<Vec<_>>();
    assert_eq!(segments.iter().map(names).collect::<Vec<_>>(), [vec!["f"], vec!["f", "late"]]);
    assert_eq!(segments.iter().map(|segment| segment.records.len()).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(segments[1].header.as_ref().unwrap().first_seq, 1);
    segments.iter().for_each(Segment::check_seal);
    let catalog = dead_letter_catalog(&[dir.path().to_owned()]).unwrap();
    assert_eq!(catalog.sessions.len(), 1);
    assert_eq!(catalog.sessions[0].requests.as_ref().unwrap().ingestion_config, requests.ingestion_config);
}

#[test]
fn frames_are_bounded_whatever_the_sizes_of_records_and_texts() {
    let dir = tempfile::tempdir().unwrap();
    let (mut letters, requests) = (on_disk(dir.path()), requests());
    let text = |bytes: usize| encoded("f", 1, &[Owned::Text("\u{20ac}".repeat(bytes / 3))]);
    let sizes = [10, 200 << 10, 100 << 10, 3 << 20, 10, 255 << 10, 0];
    let mut all: Vec<_> =
        (0u64..).zip(sizes).map(|(seq, bytes)| RefusedRecord { seq: seq * 2, bytes: text(bytes) }).collect();
    // Not even a message, not even a byte; and so many that their marks alone would be large.
    all.push(RefusedRecord { seq: 100, bytes: vec![0xff; 50] });
    all.push(RefusedRecord { seq: 102, bytes: Vec::new() });
    all.extend((0..70_000).map(|seq| RefusedRecord { seq: 1000 + seq * 2, bytes: counted(7) }));
    let reason = "x".to_owned() + &"\u{20ac}".repeat(100_000);
    let origin = PathBuf::from("y".repeat(100_000));
    letters.add(&target(), &SESSION, Some(&origin), Some(&requests), &reason, &all).unwrap();
    let path = letters.finish(&target(), &SESSION).unwrap().unwrap();
    let segment = Segment::read(&path);
    assert_eq!(segment.trouble, Vec::<String>::new());
    for mark in &segment.marks {
        let Mark::Refused(mark) = mark else { panic!("{mark:?}") };
        assert!(mark.reason.len() == 4096 && reason.starts_with(&mark.reason));
        assert_eq!(mark.origin_path.len(), 4096);
        assert!(mark.seqs.len() <= 16 << 10);
    }
    let mut at = 0;
    for (_, _, count, _, _) in &segment.frames {
        let bytes: usize = all[at..at + *count as usize].iter().map(|record| record.bytes.len() + 4).sum();
        assert!(bytes <= 256 << 10 || *count == 1, "{count} records of {bytes} bytes");
        at += *count as usize;
    }
    let (letters, troubles) = read(dir.path());
    assert_eq!(troubles, []);
    let back: Vec<_> = letters.into_values().map(|l| RefusedRecord { seq: l.seq.unwrap(), bytes: l.bytes }).collect();
    assert!(back == all);
}

#[test]
fn a_record_beyond_a_frame_is_an_error_that_leaves_the_rest_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (mut letters, requests) = (on_disk(dir.path()), requests());
    let mut add = |records: &[RefusedRecord]| letters.add(&target(), &SESSION, None, Some(&requests), "no", records);
    add(&records([1])).unwrap();
    let huge = RefusedRecord { seq: 2, bytes: vec![0; 64 << 20] };
    let error = add(&[record(3), huge]).unwrap_err();
    assert!(error.to_string().contains("at most 67108860 fit"), "{error}");
    add(&records([4])).unwrap();
    assert_eq!(files(dir.path()).len(), 1);
    let seqs: Vec<_> = read(dir.path()).0.into_values().map(|letter| letter.seq.unwrap()).collect();
    assert_eq!(seqs, [1, 4]);
}

/// [F-24]: what SEAL counts is what there is.
#[test]
fn the_seal_counts_flows_times_and_values_that_are_not_finite() {
    let dir = tempfile::tempdir().unwrap();
    let (mut letters, requests) = (on_disk(dir.path()), requests());
    let values = [Owned::Double(f64::NAN), Owned::Float(f32::INFINITY), Owned::Double(1.0), Owned::Empty];
    let timeless = sift_rs::ingest::v1::IngestWithConfigDataStreamRequest {
        flow: "g".to_owned(),
        ..sift_rs::ingest::v1::IngestWithConfigDataStreamRequest::default()
    };
    let all = [
        RefusedRecord { seq: 0, bytes: encoded("f", 50, &values) },
        RefusedRecord { seq: 1, bytes: encoded("g", -3, &[]) },
        RefusedRecord { seq: 2, bytes: prost::Message::encode_to_vec(&timeless) },
    ];
    letters.add(&target(), &SESSION, None, Some(&requests), "not finite", &all).unwrap();
    let seal = Segment::read(&letters.finish(&target(), &SESSION).unwrap().unwrap()).seal.unwrap();
    assert_eq!((seal.records, seal.non_finite, seal.least, seal.greatest), (3, 2, Some(-3), Some(50)));
    let flows: BTreeMap<_, _> =
        seal.flows.iter().map(|f| (f.name.as_str(), (f.records, f.least, f.greatest))).collect();
    assert_eq!(flows, BTreeMap::from([("f", (1, Some(50), Some(50))), ("g", (2, Some(-3), Some(-3)))]));
}

/// The record of a flow of all types, and the config that names its channels.
fn all_types() -> (Requests, RefusedRecord) {
    let schema = crate::support::recording::flow_of("all", &DataType::ALL);
    let dir = tempfile::tempdir().unwrap();
    let schema = sift_replay::record::Schema::new("rover", "rover-v2").flow(schema);
    sift_replay::record::Recorder::create(dir.path(), &schema, sift_replay::record::RecorderOptions::default())
        .unwrap()
        .finish()
        .unwrap();
    let catalog = sift_replay::catalog::Catalog::build(discover(&[dir.path().to_owned()]).unwrap());
    let requests = catalog.sessions[0].requests.clone().unwrap();
    let values = [
        Owned::Double(f64::NAN),
        Owned::Text("\u{e9}\"\n".to_owned()),
        Owned::Enum(7),
        Owned::BitField(vec![0xff, 0x0f]),
        Owned::Bool(true),
        Owned::Float(0.1),
        Owned::Int32(-5),
        Owned::Uint32(u32::MAX),
        Owned::Int64(i64::MIN),
        // The schema says uint64.
        Owned::Double(2.5),
        Owned::Bytes(vec![0, 255]),
    ];
    (requests, RefusedRecord { seq: 41, bytes: encoded("all", 1_700_000_000_000_000_005, &values) })
}
