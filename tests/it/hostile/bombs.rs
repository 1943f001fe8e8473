//! Few bytes that decompress to many, or that are little text and many objects.

use super::make::{Made, compressed, config, flow, ordinary_config};
use super::place::Place;
use crate::support::format::{DATA, FrameSpec, HEADER, MARK, Pb, SCHEMA, SEAL};

/// The largest payload.
const LARGEST: usize = 64 << 20;

/// Bytes of messages that are nothing but parts of two bytes: eight times as many parts as a message may have.
const PARTS: usize = 16 << 20;

/// Bombs of a kind that are in one file: more than fit into memory together with what a message of them takes.
const EACH: u64 = 4;

/// [F-15]
#[test]
fn a_payload_that_decompresses_to_more_than_it_says_is_malformed() {
    let place = Place::new();
    for (session, stated) in [0, 1, 1000, LARGEST as u32].into_iter().enumerate() {
        let mut made = Made::ordinary(session as u32, 0);
        for kind in [DATA, MARK, SCHEMA] {
            let mut spec = compressed(FrameSpec::new(kind, 0, vec![0; 2 * LARGEST]));
            spec.raw_len = stated;
            made.frame(spec);
        }
        made.data(0, 3);
        place.put(made.open_name(), &made.bytes);
    }
    let said = place.run_few();
    said.says("replay", 3, &["what it holds is malformed", ".sfr.open at byte"]);
    assert_eq!(said.figure("records_already_acknowledged"), 12);
    assert_eq!(said.figure("damaged_places"), 12);
}

/// [F-38]: one frame is in memory, not all.
#[test]
fn many_bombs_in_one_file_are_one_bomb_at_a_time() {
    let mut made = Made::ordinary(1, 0);
    // As many empty records as fit.
    let empty = LARGEST / 4;
    let mut spec = compressed(FrameSpec::new(DATA, 0, vec![0; LARGEST]));
    spec.count = empty as u32 + 1;
    made.frame(spec);
    // One record that is no message.
    for seq in 0..EACH {
        let mut raw = vec![0; LARGEST];
        raw[..4].copy_from_slice(&(LARGEST as u32 - 4).to_le_bytes());
        let mut spec = compressed(FrameSpec::new(DATA, seq, raw));
        spec.count = 1;
        made.frame(spec);
    }
    made.data(EACH, 3);
    let place = Place::with(&made.open_name(), &made.bytes);
    let said = place.run_few();
    said.says("replay", 3, &["at byte", "lost", "what it holds is malformed"]);
    assert_eq!(said.figure("records_already_acknowledged"), 3);
}

/// What is sent must be a sound request, however large.
#[test]
fn the_largest_records_are_delivered_one_after_the_other_or_refused() {
    let mut made = Made::new(1, 0);
    made.header(&config("rover", [&flow("f", [&Pb::default().bytes(1, b"c").varint(4, 2).0])]));
    for seq in 0..3u64 {
        // Sound, but for its size: a string of 60 MiB.
        let text = vec![b'a' + seq as u8; 60 << 20];
        let value = Pb::default().always_bytes(1, &text);
        let time = Pb::default().varint(1, 1_700_000_000 + seq);
        let request = Pb::default().always_bytes(2, b"f").always_bytes(3, &time.0).always_bytes(4, &value.0).0;
        let mut spec =
            compressed(FrameSpec::new(DATA, seq, [&(request.len() as u32).to_le_bytes()[..], &request].concat()));
        (spec.count, spec.flags) = (1, 1);
        made.frame(spec);
    }
    let place = Place::with(&made.open_name(), &made.bytes);
    let said = place.run_few();
    // The receiver takes no message of that size; whoever does gets them.
    said.says("replay", 3, &["refused and kept as dead letters"]);
    assert_eq!(said.figure("records_found"), 3);
}

/// Of two bytes on the wire, a message in memory can have a hundred times as many.
#[test]
fn messages_of_millions_of_parts_are_malformed() {
    let parts = |field: u32| {
        let mut part = Pb::default();
        part = part.always_bytes(field, b"");
        compressed_payload(part.0.repeat(PARTS / 2))
    };
    let place = Place::new();
    let mut schema = Made::ordinary(1, 0);
    schema.frame(FrameSpec { kind: SCHEMA, ..parts(2) }).data(0, 3);
    place.put(schema.open_name(), &schema.bytes);
    let mut mark = Made::ordinary(2, 0);
    // Refused, with seqs.
    let raw = Pb::default().always_bytes(7, &Pb::default().always_bytes(6, b"").0.repeat((PARTS - 20) / 2)).0;
    mark.frame(FrameSpec { kind: MARK, ..compressed_payload(raw) }).data(0, 3);
    place.put(mark.open_name(), &mark.bytes);
    for (session, field) in [(3, 6), (4, 7)] {
        let mut seal = Made::ordinary(session, 0);
        seal.data(0, 3).seal_as(FrameSpec { kind: SEAL, ..parts(field) });
        place.put(seal.sealed_name(), &seal.bytes);
    }
    // Channels in one flow, and tags of a run.
    let mut header = Made::new(5, 0);
    let channels = Pb::default().always_bytes(2, b"").0.repeat((PARTS - 100) / 2);
    let message = header.header_message(&Pb::default().bytes(1, b"rover").always_bytes(2, &channels).0);
    header.frame(FrameSpec { kind: HEADER, ..compressed_payload(message) }).data(0, 3);
    place.put(header.open_name(), &header.bytes);
    let mut run = Made::new(6, 0);
    let tags = Pb::default().always_bytes(3, b"").0.repeat((PARTS - 200) / 2);
    let message = Pb(run.header_message(&ordinary_config())).always_bytes(11, &tags).0;
    run.frame(FrameSpec { kind: HEADER, ..compressed_payload(message) }).data(0, 3);
    place.put(run.open_name(), &run.bytes);
    let said = place.run_few();
    said.says("ls", 0, &["schema lost"]);
    said.says("replay", 3, &["what it holds is malformed"]);
    // Of all whose schema isn't one of them.
    assert_eq!(said.figure("records_already_acknowledged"), 12);
    assert_eq!(said.figure("records_refused"), 6);
}

fn compressed_payload(raw: Vec<u8>) -> FrameSpec {
    compressed(FrameSpec::new(MARK, 0, raw))
}

/// The catalog keeps schemas; those of many files together are bounded, too.
#[test]
fn headers_of_63_mib_in_many_files_are_not_kept_together() {
    let mut place = Place::new();
    // Two sessions at a time are registered, besides what is kept; each with a few copies of its schema on the way.
    place.memory *= 2;
    // One more than there is room for.
    for session in 0..5 {
        let mut made = Made::new(session, 0);
        // Each is another one.
        let mut description = vec![b'x'; 63 << 20];
        description[..4].copy_from_slice(&session.to_be_bytes().map(|byte| byte + b'0'));
        let large = Pb::default().bytes(1, b"c").bytes(3, &description).varint(4, 10).0;
        let message = made.header_message(&config(&format!("rover-{session}"), [&flow("f", [&large])]));
        made.frame(FrameSpec { kind: HEADER, ..compressed_payload(message) }).data(0, 3);
        place.put(made.open_name(), &made.bytes);
    }
    let destination = super::place::Destination::start();
    let dir = place.dir.to_str().unwrap();
    for (args, code) in [(&["ls", dir][..], 0), (&["--uri", &destination.uri, dir], 3)] {
        let ran = place.command(args);
        assert_eq!(ran.code, Some(code), "{}", &ran.stderr[..1000.min(ran.stderr.len())]);
        assert!(ran.stderr.contains("000000000004-000000.sfr.open: its schema has 6606"), "{}", ran.stderr);
        assert!(ran.stderr.contains("replay it on its own") && ran.all().contains("rover-3"), "{}", ran.stderr);
    }
}

/// [F-23]: marks are told; they aren't kept, and none is a page long.
#[test]
fn notes_of_64_mib_take_no_memory_and_one_line() {
    let mut made = Made::ordinary(1, 0);
    for seq in 0..EACH {
        let mut text = vec![b'n'; LARGEST - 100];
        text[0] = b'A' + seq as u8;
        made.frame(FrameSpec { kind: MARK, ..compressed_payload(Pb::default().always_bytes(4, &text).0) });
    }
    made.frame(FrameSpec::new(MARK, 0, Pb::default().always_bytes(4, "é\u{1b}[2J\u{202e}\n".as_bytes()).0));
    made.data(0, 3);
    let place = Place::with(&made.open_name(), &made.bytes);
    // JSON has them whole.
    let destination = super::place::Destination::start();
    let ran = place.command(&["--uri", &destination.uri, place.dir.to_str().unwrap()]);
    assert_eq!(ran.code, Some(0), "{}", &ran.stderr[..1000.min(ran.stderr.len())]);
    for part in ["note: Annnn", "note: Dnnnn", r"\u{1b}[2J\u{202e}\n"] {
        assert!(ran.stderr.contains(part), "{part}: {}", &ran.stderr[..1000.min(ran.stderr.len())]);
    }
    assert!(ran.stderr.len() < 100_000 && !ran.stderr.contains('\u{1b}'));
}

/// A file of nothing but compressed zeros, and an honest one beside it: that one is delivered.
#[test]
fn a_bomb_beside_an_honest_file_costs_nothing_of_that() {
    let place = Place::new();
    let mut bomb = Made::new(1, 0);
    for seq in 0..2 {
        let mut spec = compressed(FrameSpec::new(DATA, seq, vec![0; LARGEST]));
        spec.count = 1;
        bomb.frame(spec);
    }
    place.put(bomb.open_name(), &bomb.bytes);
    let mut honest = Made::ordinary(2, 0);
    honest.data(0, 7);
    place.put(honest.open_name(), &honest.bytes);
    let said = place.run_few();
    said.says("replay", 3, &["what it holds is malformed"]);
    assert_eq!(said.figure("records_already_acknowledged"), 7);
}
