//! Which schema holds for a record: HEADER's, with the flows added ahead of it; and what stands in where these are lost.

use serde_json::json;

use super::{FIRST, begun, imu_with, look_as, look_at, look_files, name};
use crate::support::format::golden::{chan, header, imu, imus};
use crate::support::format::{Flow, FrameSpec, HEADER, Header, Rec, SCHEMA, SESSION, Seg, V};

fn motor() -> Flow {
    Flow { name: "motor", channels: vec![chan("rpm", "1/min", 7)] }
}

fn rpm(n: i32) -> Rec {
    Rec::new("motor", 1_700_000_009, n, vec![V::I32(n)])
}

const NO_FLOW: &str = "the record is of flow \"motor\", which no schema ahead of it has";

/// [F-22]
#[test]
fn a_flow_holds_from_its_schema_frame_on_and_not_before() {
    let mut seg = begun();
    let at = seg.bytes.len();
    seg.data(&[rpm(1)], false).schema(vec![motor()]).data(&[rpm(2)], false).seal();
    look_at(&seg).finds(&[&format!("invalid {at} seq 2: {NO_FLOW}")]);
}

/// [F-22]: a lost SCHEMA frame costs no record; SEAL has the flows, or another segment.
#[test]
fn a_lost_schema_frame_costs_no_record() {
    let mut seg = begun();
    seg.schema(vec![motor()]).data(&[rpm(2)], false).seal();
    let schema = seg.frames[2].clone();
    for (within, cause) in [(3, "no-frame"), (20, "header-checksum"), (73, "payload-checksum")] {
        let mut bytes = seg.bytes.clone();
        bytes[schema.offset + within] ^= 1;
        look_as(&name(&seg), &bytes).finds(&[&format!("damage {} +{} {cause} None", schema.offset, schema.len)]);
    }
    // Of a later version.
    let mut seg = begun();
    let message = crate::support::format::Pb::default().always_bytes(2, &motor().encode()).0;
    seg.frame(FrameSpec { flags: 0x0100, ..FrameSpec::new(SCHEMA, 2, message) }, json!({ "event": "skipped" }));
    seg.header.flows.push(motor());
    seg.data(&[rpm(2)], false).seal();
    let looked = look_at(&seg);
    assert_eq!(looked.found.len(), 1, "{looked:?}");
    assert!(looked.found[0].starts_with("skipped ") && looked.report.is_sound(), "{looked:?}");
    // Damage that can't have been a SCHEMA frame makes nothing hold that didn't.
    let mut seg = begun();
    let at = seg.bytes.len();
    seg.data(&[rpm(1)], false).schema(vec![motor()]).data(&[rpm(2)], false).seal();
    let mut bytes = seg.bytes.clone();
    bytes[FIRST + 80] ^= 1;
    look_as(&name(&seg), &bytes).finds(&[
        &format!("damage {FIRST} +156 payload-checksum Some(0..2)"),
        &format!("invalid {at} seq 2: {NO_FLOW}"),
        "missing 0..2",
    ]);
}

/// [F-33]: where HEADER is lost, SEAL's copy holds, or another segment's.
#[test]
fn where_header_is_lost_another_copy_of_the_schema_holds() {
    let lost = |seg: &Seg| {
        let mut bytes = seg.bytes.clone();
        bytes[90] ^= 1;
        bytes
    };
    let (mut sealed, mut open) = (begun(), begun());
    sealed.data(&[imu_with(V::Bool(true))], false).seal();
    open.data(&[imu_with(V::Bool(true))], false);
    let damage = "damage 8 +208 payload-checksum None";
    let wrong = |at: usize| {
        format!("invalid {at} seq 2: channel \"x\" of flow \"imu\" takes double, and the record has a bool")
    };
    let at = FIRST + 156;
    look_as(&name(&sealed), &lost(&sealed)).finds(&[damage, &wrong(at)]);
    // Alone, an open segment can only be looked at for requests.
    look_as(&name(&open), &lost(&open)).finds(&[
        damage,
        &format!("invalid {FIRST}: the schema is lost: verify it together with another segment of the session"),
    ]);
    let mut sibling = Seg::new(Header { first_seq: 3, ..header(1) });
    sibling.data(&imus(3, 1), false).seal();
    look_files(&[(&name(&open), &lost(&open)), (&name(&sibling), &sibling.bytes)]).finds(&[damage, &wrong(at)]);
}

/// [F-2]
#[test]
fn a_file_that_never_had_a_header_is_told_of() {
    let mut seg = Seg::new(header(0));
    // As if HEADER had never been: everything moves to its place.
    seg.bytes.truncate(8);
    seg.frames.clear();
    seg.data(&imus(0, 2), false).data(&imus(2, 1), false);
    look_at(&seg).finds(&[
        "invalid 8: the file doesn't begin with HEADER",
        "invalid 8: the schema is lost: verify it together with another segment of the session",
    ]);
    seg.seal();
    let looked = look_at(&seg);
    looked.finds(&["invalid 8: the file doesn't begin with HEADER"]);
}

/// [F-18], [F-9]
#[test]
fn a_header_that_contradicts_its_frames_is_told() {
    let with = |message: Vec<u8>, first_seq: u64| {
        let mut seg = Seg::new(header(0));
        seg.bytes.truncate(8);
        seg.frames.clear();
        seg.next_seq = first_seq;
        seg.frame(FrameSpec::new(HEADER, first_seq, message), json!({ "event": "header" }));
        seg.data(&imus(0, 1), false);
        seg
    };
    let first = Header { first_seq: 1, ..header(0) }.encode();
    look_at(&with(first.clone(), 0)).finds(&[
        "invalid 8: HEADER states another first seq than its frame",
        &format!("invalid {}: the frame holds seqs below the first one that HEADER states", 8 + 72 + first.len()),
    ]);
    let other = Header { index: 5, ..header(0) }.encode();
    // By its name and its frames' id it is segment 0.
    let looked = look_at(&with(other, 0));
    assert!(
        looked.found.contains(&"invalid 8: HEADER states another session or segment than the frames are of".to_owned()),
        "{looked:?}"
    );
    assert!(!looked.report.is_sound());
}

/// [F-37]
#[test]
fn a_file_with_another_segments_name_is_told_what_its_name_should_be() {
    let mut seg = begun();
    seg.seal();
    let told = format!("invalid 8: the file has another segment's name: rename it to {SESSION}-000000.sfr");
    look_as(&format!("{SESSION}-000007.sfr"), &seg.bytes).finds(&[&told]);
    look_as("01935f6e-1b2c-7000-8123-000000000000-000000.sfr", &seg.bytes).finds(&[&told]);
    // A name that isn't a segment's claims nothing.
    look_as("copy of the first one", &seg.bytes).is_sound(2);
}

#[test]
fn a_schema_that_can_not_be_read_or_that_sift_refuses_is_told() {
    // A number where the config has the asset's name; in HEADER it is the format version.
    let unreadable = Header { unknown: vec![0x08, 1], ..header(0) };
    let mut seg = Seg::new(unreadable);
    seg.data(&imus(0, 1), false).seal();
    let looked = look_at(&seg);
    assert!(looked.found[0].starts_with("invalid 8: the schema can't be read: "), "{looked:?}");
    assert!(looked.found.len() == 1 && !looked.report.is_sound(), "{looked:?}");

    let twice = Flow { name: "twice", channels: vec![chan("a", "", 1), chan("a", "", 1)] };
    let later = Flow { name: "later", channels: vec![chan("a", "", 99)] };
    let mut seg = Seg::new(Header { flows: vec![imu(), later, twice], ..header(0) });
    // Of such a flow, anything that is a request may be right.
    seg.data(&[imus(0, 1), vec![Rec::new("later", 1, 0, vec![V::Bool(true)])]].concat(), false);
    let at = seg.bytes.len();
    seg.data(&[Rec { time: None, ..Rec::new("later", 1, 0, vec![]) }], false).seal();
    look_at(&seg).finds(&[
        "invalid 8: a flow of the schema: channel \"a\" of flow \"later\" has no known data type (99)",
        "invalid 8: a flow of the schema: flow \"twice\" has two channels named \"a\"",
        &format!("invalid {at} seq 2: the record of flow \"later\" has no timestamp"),
    ]);
}

/// Sift keeps flows of one name apart by their channels: a record is of the one that it fits.
#[test]
fn a_record_may_be_of_any_flow_of_its_name() {
    let other = Flow { name: "imu", channels: vec![chan("x", "", 5)] };
    let mut seg = Seg::new(Header { flows: vec![imu(), other], ..header(0) });
    seg.data(&[imus(0, 1), vec![Rec { values: vec![V::Bool(true)], ..imus(1, 1)[0].clone() }]].concat(), false).seal();
    look_at(&seg).is_sound(2);
}

/// Each may have to be tried for each record: a file that claims any number mustn't choose how long that takes.
#[test]
fn flows_of_one_name_are_bounded() {
    let channels = |n: usize| (0..n).map(|at| chan(String::leak(format!("c{at}")), "", 1)).collect();
    let flows = (0..100).map(|n| Flow { name: "imu", channels: channels(n) });
    let mut seg = Seg::new(Header { flows: flows.collect(), ..header(0) });
    // Of one that there is no room for, anything that is a request may be right.
    seg.data(&[imus(0, 1), vec![Rec { values: vec![V::F64(0.0); 90], ..imus(1, 1)[0].clone() }]].concat(), false);
    let looked = look_at(&seg);
    assert_eq!(looked.found[0], "invalid 8: a flow of the schema: two flows are named \"imu\"");
    assert_eq!(looked.report.totals.contradictions, 100 - 64);
    assert_eq!(looked.report.totals.records_invalid, 0, "{looked:?}");
}

/// [F-19]: without requests ahead of the data, each record names its config.
#[test]
fn a_session_without_requests_needs_ids_in_each_record() {
    let own = |i| Rec { ids: ["cfg-1", "", ""], ..imus(i, 1)[0].clone() };
    let mut seg = Seg::new(Header { flows: Vec::new(), without_requests: true, ..header(0) });
    let at = seg.bytes.len();
    seg.data(&[own(0), own(1)], false).seal();
    look_at(&seg).is_sound(2);
    let mut seg = Seg::new(Header { flows: Vec::new(), without_requests: true, ..header(0) });
    seg.data(&[vec![own(0)], imus(1, 1)].concat(), false);
    look_at(&seg)
        .finds(&[&format!("invalid {at} seq 1: the record names no ingestion config, and the file tells of none")]);
}
