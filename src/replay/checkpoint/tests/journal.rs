//! [F-39], [F-40]: journals in whatever state they are.

use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::format::{
    CheckpointMessage, Codec, FrameHeader, JOURNAL_MAGIC, Kind, MAX_CHECKPOINT_BYTES, PbfsFacts, SeqRange,
    SessionFacts, TargetFacts, TimeRange, segment_id,
};
use crate::replay::checkpoint::facts::Facts;
use crate::replay::checkpoint::journal::read;

const NAME: &str = "01935f6e-1b2c-7000-8123-456789abcdef";

fn path() -> PathBuf {
    PathBuf::from(format!("{NAME}.sfj"))
}

fn put(journal: &mut Vec<u8>, kind: Kind, codec: Codec, raw_len: u32, payload: &[u8]) {
    let header = FrameHeader {
        kind,
        codec,
        flags: 0,
        stored_len: payload.len() as u32,
        raw_len,
        count: 0,
        first_seq: 0,
        times: TimeRange::EMPTY,
        segment_id: segment_id(NAME.parse().unwrap(), 0),
        offset: journal.len() as u64,
        payload_crc: crc32fast::hash(payload),
    };
    journal.extend(header.encode());
    journal.extend(payload);
}

fn put_facts(journal: &mut Vec<u8>, facts: &[(Target, Checkpoint)]) {
    for frame in super::super::journal::frames(facts.iter().map(|(target, fact)| (target, fact.clone()))).unwrap() {
        put(journal, Kind::Checkpoint, Codec::None, frame.raw_len, &frame.buffer[72..]);
    }
}

/// Three frames, and what is in each.
fn journal() -> (Vec<u8>, Vec<(std::ops::Range<usize>, Facts)>) {
    let (a, b) = (target("https://a:443"), target("https://b:443"));
    let groups = [
        vec![(a.clone(), acknowledged(0..5)), (a.clone(), dead(7..9)), (b.clone(), acknowledged(0..100))],
        vec![(b.clone(), mark(1000, 4)), (b.clone(), delivered(3..5)), (b, mark(2000, 5))],
        vec![(a, acknowledged(20..u64::MAX))],
    ];
    let (mut bytes, mut frames) = (JOURNAL_MAGIC.to_vec(), Vec::new());
    for group in groups {
        let (begin, mut facts) = (bytes.len(), Facts::default());
        put_facts(&mut bytes, &group);
        group.iter().for_each(|(target, fact)| facts.add(target, fact));
        frames.push((begin..bytes.len(), facts));
    }
    (bytes, frames)
}

fn union<'a>(facts: impl IntoIterator<Item = &'a Facts>) -> Facts {
    let mut all = Facts::default();
    facts.into_iter().for_each(|facts| all.union(facts));
    all
}

fn read_all(bytes: &[u8]) -> (Facts, bool) {
    let mut facts = Facts::default();
    let known = read(&path(), bytes, &mut facts);
    (facts, known)
}

#[test]
fn a_cut_costs_what_stood_behind_it_and_nothing_else() {
    let (bytes, frames) = journal();
    for cut in 0..=bytes.len() {
        let whole = frames.iter().filter(|(place, _)| place.end <= cut).map(|(_, facts)| facts);
        assert_eq!(read_all(&bytes[..cut]), (union(whole), true), "cut at {cut}");
    }
}

#[test]
fn a_flipped_byte_costs_the_frame_that_it_touches_and_invents_nothing() {
    let (bytes, frames) = journal();
    for at in 0..bytes.len() {
        for flip in [1, 0x80, 0xff] {
            let mut flipped = bytes.clone();
            flipped[at] ^= flip;
            let untouched = frames.iter().filter(|(place, _)| !place.contains(&at)).map(|(_, facts)| facts);
            assert_eq!(read_all(&flipped).0, union(untouched), "{at} flipped by {flip}");
        }
    }
}

#[test]
fn a_block_of_zeros_costs_the_frames_that_it_touches() {
    let (bytes, frames) = journal();
    for begin in 0..bytes.len() {
        let mut holed = bytes.clone();
        let hole = begin..(begin + 50).min(bytes.len());
        holed[hole.clone()].fill(0);
        let touches = |place: &std::ops::Range<usize>| place.start < hole.end && hole.start < place.end;
        let untouched = frames.iter().filter(|(place, _)| !touches(place)).map(|(_, facts)| facts);
        let read = read_all(&holed).0;
        // Bytes that were zero already are no damage.
        assert_eq!(union([&read, &union(untouched.clone())]), read, "zeros from {begin}");
        assert_eq!(union(frames.iter().map(|(_, facts)| facts).chain([&read])), read_all(&bytes).0);
    }
}

#[test]
fn a_frame_that_has_no_place_here_costs_nothing_behind_it() {
    for kind in [Kind::Header, Kind::Data, Kind::Schema, Kind::Mark, Kind::Seal] {
        for damaged in [false, true] {
            let mut bytes = JOURNAL_MAGIC.to_vec();
            put(&mut bytes, kind, Codec::None, 4, b"none");
            if damaged {
                *bytes.last_mut().unwrap() ^= 1;
            }
            put_facts(&mut bytes, &[(target("https://a:443"), acknowledged(3..9))]);
            let mut expected = Facts::default();
            expected.add(&target("https://a:443"), &acknowledged(3..9));
            assert_eq!(read_all(&bytes), (expected, true), "{kind}, damaged: {damaged}");
        }
    }
}

#[test]
fn frames_of_another_journal_are_not_taken_for_this_ones() {
    let (bytes, frames) = journal();
    let mut facts = Facts::default();
    read(&PathBuf::from("01935f6e-1b2c-7000-8123-456789abcdee.sfj"), &bytes, &mut facts);
    assert!(facts.is_empty());
    // A name that says nothing doesn't contradict.
    read(&PathBuf::from("copy of a journal.sfj"), &bytes, &mut facts);
    assert_eq!(facts, union(frames.iter().map(|(_, facts)| facts)));
}

#[test]
fn what_a_later_version_adds_is_skipped_and_not_thrown_away() {
    let (bytes, frames) = journal();
    let all = union(frames.iter().map(|(_, facts)| facts));
    let mut later = bytes.clone();
    put(&mut later, Kind::Unknown(77), Codec::None, 3, b"abc");
    assert_eq!(read_all(&later), (all.clone(), false));
    let mut encrypted = bytes.clone();
    put(&mut encrypted, Kind::Checkpoint, Codec::Unknown(2), 3, b"abc");
    assert_eq!(read_all(&encrypted), (all.clone(), false));
    let mut field = bytes;
    put(&mut field, Kind::Checkpoint, Codec::None, 2, &[15 << 3, 1]);
    assert_eq!(read_all(&field), (all, false));
}

#[test]
fn a_message_that_breaks_a_rule_tells_nothing_at_all() {
    let sound = SessionFacts {
        session_id: SESSION.as_bytes().to_vec(),
        acknowledged: vec![SeqRange { first: 0, end: 5 }],
        dead_lettered: Vec::new(),
    };
    let of = |session: SessionFacts, pbfs: Vec<PbfsFacts>| CheckpointMessage {
        targets: vec![TargetFacts { target: "x".to_owned(), sessions: vec![sound.clone(), session], pbfs }],
    };
    let of_target = |target: String| CheckpointMessage {
        targets: vec![TargetFacts { target, sessions: vec![sound.clone()], pbfs: Vec::new() }],
    };
    let range = |first, end| SessionFacts { dead_lettered: vec![SeqRange { first, end }], ..sound.clone() };
    let short_id = PbfsFacts { id: vec![1; 31], ..PbfsFacts::default() };
    let empty = PbfsFacts { id: vec![1; 32], delivered: vec![SeqRange { first: 3, end: 3 }], ..PbfsFacts::default() };
    for message in [
        of(SessionFacts { session_id: vec![1; 15], ..sound.clone() }, Vec::new()),
        of(range(5, 5), Vec::new()),
        of(range(6, 5), Vec::new()),
        of(sound.clone(), vec![short_id]),
        of(sound.clone(), vec![empty]),
        of_target("x".repeat((128 << 10) + 1)),
        of(sound.clone(), vec![PbfsFacts { id: vec![1; 32], marks: vec![Default::default()], ..PbfsFacts::default() }]),
    ] {
        let mut bytes = JOURNAL_MAGIC.to_vec();
        let payload = message.encode_to_vec();
        put(&mut bytes, Kind::Checkpoint, Codec::None, payload.len() as u32, &payload);
        assert_eq!(read_all(&bytes), (Facts::default(), true), "{message:?}");
    }
}

#[test]
fn a_journal_that_nobody_could_write_again_does_not_stop_a_replay() {
    let place = Place::new();
    let session = SessionFacts {
        session_id: SESSION.as_bytes().to_vec(),
        acknowledged: vec![SeqRange { first: 0, end: 5 }],
        dead_lettered: Vec::new(),
    };
    let target = TargetFacts { target: "x".repeat(200 << 10), sessions: vec![session], pbfs: Vec::new() };
    let payload = CheckpointMessage { targets: vec![target] }.encode_to_vec();
    let mut bytes = JOURNAL_MAGIC.to_vec();
    put(&mut bytes, Kind::Checkpoint, Codec::None, payload.len() as u32, &payload);
    let journals = place.backups().join(".sift-replay/checkpoints");
    std::fs::create_dir_all(&journals).unwrap();
    std::fs::write(journals.join(path()), bytes).unwrap();
    let checkpoints = place.open(&place.backups()).unwrap();
    assert!(checkpoints.primary().unwrap().starts_with(place.backups()), "kept beside the backups, as ever");
    save(&checkpoints, &super::target("https://a:443"), vec![acknowledged(0..1)]);
}

#[test]
fn a_frame_is_bounded_before_it_is_decoded() {
    // A zstd bomb, and a plain frame one byte too large.
    let raw = vec![0; 32 << 20];
    let mut bytes = JOURNAL_MAGIC.to_vec();
    put(&mut bytes, Kind::Checkpoint, Codec::Zstd, raw.len() as u32, &zstd::bulk::compress(&raw, 1).unwrap());
    let (long, _) = (vec![0x0a; MAX_CHECKPOINT_BYTES as usize + 1], ());
    put(&mut bytes, Kind::Checkpoint, Codec::None, long.len() as u32, &long);
    put(&mut bytes, Kind::Data, Codec::None, 0, b"");
    put(&mut bytes, Kind::Seal, Codec::None, 0, b"");
    assert_eq!(read_all(&bytes), (Facts::default(), true));
}

#[test]
fn many_facts_take_many_frames_and_each_is_within_the_bound() {
    let long = Target::from_text(&"x".repeat(128 << 10));
    let mut facts = Facts::default();
    for i in 0..20_000u64 {
        facts.add(&target("https://a:443"), &acknowledged(i * 2..i * 2 + 1));
        if i % 1000 == 0 {
            facts.add(&long, &mark(i, 1));
        }
    }
    let frames = super::super::journal::frames(facts.iter()).unwrap();
    assert!(frames.len() > 3);
    let mut bytes = JOURNAL_MAGIC.to_vec();
    for frame in frames {
        assert!(frame.raw_len <= MAX_CHECKPOINT_BYTES);
        put(&mut bytes, frame.kind, frame.codec, frame.raw_len, &frame.buffer[72..]);
    }
    assert_eq!(read_all(&bytes), (facts, true));
}

/// [F-40]: what a longer frame holds, nobody would read again.
#[test]
fn facts_of_any_kind_and_any_target_go_into_frames_that_are_read_again() {
    let (a, long) = (target("https://a:443"), |i: u64| Target::from_text(&format!("{i}{}", "x".repeat(100 << 10))));
    let kinds: [Vec<(Target, Checkpoint)>; 3] = [
        (0..10_000).map(|i| (a.clone(), mark(u64::MAX - i, 1))).collect(),
        (0..20_000).map(|i| (a.clone(), delivered(u64::MAX - 2 * i - 1..u64::MAX - 2 * i))).collect(),
        (0..20).map(|i| (long(i), acknowledged(0..1))).collect(),
    ];
    for kind in kinds {
        let mut facts = Facts::default();
        kind.iter().for_each(|(target, fact)| facts.add(target, fact));
        let mut bytes = JOURNAL_MAGIC.to_vec();
        put_facts(&mut bytes, &kind);
        assert!(read_all(&bytes) == (facts, true), "{:?}", kind[0].1);
    }
}

/// [F-40]
#[test]
fn a_frame_of_the_greatest_length_is_read_and_a_longer_one_is_not() {
    let most = MAX_CHECKPOINT_BYTES as usize;
    // Facts about half the length, and one more target that fills it.
    let facts: Vec<_> = (0..5_000u64).map(|i| (target("https://a:443"), acknowledged(i * 2..i * 2 + 1))).collect();
    let message = |fill: usize| {
        let session = |at: u64| SessionFacts {
            session_id: SESSION.as_bytes().to_vec(),
            acknowledged: vec![SeqRange { first: at, end: at + 1 }],
            dead_lettered: Vec::new(),
        };
        let of = |text: String, at| TargetFacts { target: text, sessions: vec![session(at)], pbfs: Vec::new() };
        CheckpointMessage { targets: vec![of("x".repeat(128 << 10), 1), of("y".repeat(fill), 2)] }.encode_to_vec()
    };
    let fill = most - message(64 << 10).len() + (64 << 10);
    assert_eq!(message(fill).len(), most);
    for (payload, known) in [(message(fill), 2), (message(fill + 1), 0)] {
        let mut bytes = JOURNAL_MAGIC.to_vec();
        put(&mut bytes, Kind::Checkpoint, Codec::None, payload.len() as u32, &payload);
        put_facts(&mut bytes, &facts);
        assert_eq!(read_all(&bytes).0.list().len(), known + 1, "{} bytes", payload.len());
    }
}

/// [F-39]
#[test]
fn a_journal_that_a_later_version_wrote_into_is_read_and_stays() {
    let place = Place::new();
    let (mut bytes, frames) = journal();
    put(&mut bytes, Kind::Unknown(77), Codec::None, 3, b"abc");
    let journals = place.backups().join(".sift-replay/checkpoints");
    std::fs::create_dir_all(&journals).unwrap();
    std::fs::write(journals.join(path()), &bytes).unwrap();
    for _ in 0..2 {
        let checkpoints = place.open(&place.backups()).unwrap();
        assert_eq!(checkpoints.list(), union(frames.iter().map(|(_, facts)| facts)).list());
        assert_eq!(std::fs::read(journals.join(path())).unwrap(), bytes);
        let kept = checkpoints.reset(&Forget { session: Some(Uuid::nil()), endpoint: None }).unwrap().kept;
        assert!(kept.iter().any(|(kept, _)| *kept == journals.join(path())), "{kept:?}");
    }
}

proptest! {
    #[test]
    fn hostile_payloads_end_nothing(payload in proptest::collection::vec(any::<u8>(), 0..400), tags in any::<bool>()) {
        // Tags of fields that there are lead deeper.
        let tag = |byte: u8| if tags && byte < 0xc0 { [0x0a, 0x12, 0x1a, 0x08][usize::from(byte % 4)] } else { byte };
        let payload: Vec<u8> = payload.into_iter().map(tag).collect();
        let mut bytes = JOURNAL_MAGIC.to_vec();
        put(&mut bytes, Kind::Checkpoint, Codec::None, payload.len() as u32, &payload);
        read_all(&bytes);
        read_all(&payload);
    }
}
