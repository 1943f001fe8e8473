//! Checkpoint journals: made ([`Journal`]), and read by the text ([`oracle`]).

use std::collections::BTreeMap;
use std::ops::Range;

use arbitrary::Arbitrary;
use prost::Message;
use sift_replay::format::{CheckpointMessage, PbfsFacts, PbfsFactsMark, SeqRange, SessionFacts, TargetFacts};
use sift_replay::replay::{Checkpoint, Checkpoints, Outcome, PbfsId, PbfsMark, Target};
use uuid::Uuid;

use crate::crc32;
use crate::segment::{SYNC, Stands, id_of, oracle as frames};

/// [F-39]
const MAGIC: [u8; 8] = *b"\x89SFJ\r\n\x1a\n";

/// [F-14]
const MOST_BYTES: usize = 262_144;

/// [F-40]
const MOST_TARGET_BYTES: usize = 131_072;

/// Ranges, in order, that don't touch.
type Ranges = Vec<Range<u64>>;

/// All that is known [F-40].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known(BTreeMap<String, OfTarget>);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct OfTarget {
    /// Acknowledged, and dead-lettered.
    sessions: BTreeMap<Uuid, (Ranges, Ranges)>,
    /// Messages and dead letters by end and hash.
    pbfs: BTreeMap<[u8; 32], BTreeMap<(u64, [u8; 32]), (u64, u64)>>,
    delivered: BTreeMap<[u8; 32], Ranges>,
}

fn insert(ranges: &mut Ranges, range: Range<u64>) {
    ranges.push(range);
    ranges.sort_by_key(|range| (range.start, range.end));
    let mut merged: Ranges = Vec::new();
    for range in ranges.drain(..) {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    *ranges = merged;
}

impl Known {
    /// Adds a fact.
    pub fn add(&mut self, target: &str, fact: &Checkpoint) {
        let known = self.0.entry(target.to_owned()).or_default();
        match fact {
            Checkpoint::Session { session, seqs, outcome } => {
                let (acknowledged, dead) = known.sessions.entry(*session).or_default();
                let ranges = if *outcome == Outcome::Acknowledged { acknowledged } else { dead };
                insert(ranges, seqs.clone());
            }
            Checkpoint::Pbfs { id, mark } => {
                let marks = known.pbfs.entry(id.0).or_default().entry((mark.end, mark.hash)).or_default();
                *marks = (marks.0.max(mark.messages), marks.1.max(mark.dead_lettered));
            }
            Checkpoint::PbfsDelivered { id, messages } => {
                insert(known.delivered.entry(id.0).or_default(), messages.clone());
            }
        }
    }

    /// Fails unless these are the very same facts.
    pub fn compare(&self, checkpoints: &Checkpoints) {
        let list = checkpoints.list();
        let targets: Vec<&str> = list.iter().map(|known| known.target.as_str()).collect();
        assert_eq!(targets, self.0.keys().map(String::as_str).collect::<Vec<_>>(), "whose facts are known");
        for (found, (name, known)) in list.iter().zip(&self.0) {
            let sessions = found.sessions.iter().map(|(session, done)| {
                (*session, (done.acknowledged.ranges().collect(), done.dead_lettered.ranges().collect()))
            });
            assert_eq!(sessions.collect::<BTreeMap<Uuid, (Ranges, Ranges)>>(), known.sessions, "{name}");
            assert_eq!(
                found.pbfs.iter().map(|(id, _)| id.0).collect::<Vec<_>>(),
                known.pbfs.keys().copied().collect::<Vec<_>>()
            );
            let target = Target::from_text(name);
            for id in known.pbfs.keys().chain(known.delivered.keys()) {
                let marks = checkpoints.pbfs_marks(&target, PbfsId(*id));
                let marks = marks.iter().map(|mark| ((mark.end, mark.hash), (mark.messages, mark.dead_lettered)));
                assert_eq!(marks.collect::<BTreeMap<_, _>>(), known.pbfs.get(id).cloned().unwrap_or_default());
                let delivered: Ranges = checkpoints.pbfs_delivered(&target, PbfsId(*id)).ranges().collect();
                assert_eq!(delivered, known.delivered.get(id).cloned().unwrap_or_default());
            }
        }
    }
}

/// The facts of a message, wholly or not at all [F-40].
fn facts_of(message: &CheckpointMessage) -> Option<Vec<(String, Checkpoint)>> {
    let mut facts = Vec::new();
    let range = |range: &SeqRange| (range.first < range.end).then_some(range.first..range.end);
    for TargetFacts { target, sessions, pbfs } in &message.targets {
        if target.len() > MOST_TARGET_BYTES {
            return None;
        }
        for SessionFacts { session_id, acknowledged, dead_lettered } in sessions {
            let session = Uuid::from_bytes(session_id[..].try_into().ok()?);
            for (ranges, outcome) in [(acknowledged, Outcome::Acknowledged), (dead_lettered, Outcome::DeadLettered)] {
                for seqs in ranges.iter().map(range) {
                    facts.push((target.clone(), Checkpoint::Session { session, seqs: seqs?, outcome }));
                }
            }
        }
        for PbfsFacts { id, marks, delivered } in pbfs {
            let id = PbfsId(id[..].try_into().ok()?);
            for PbfsFactsMark { end, hash, messages, dead_lettered } in marks {
                let hash = hash[..].try_into().ok()?;
                let mark = PbfsMark { end: *end, hash, messages: *messages, dead_lettered: *dead_lettered };
                facts.push((target.clone(), Checkpoint::Pbfs { id, mark }));
            }
            for messages in delivered.iter().map(range) {
                facts.push((target.clone(), Checkpoint::PbfsDelivered { id, messages: messages? }));
            }
        }
    }
    Some(facts)
}

/// Reads a journal whose name tells this id, by the text [F-39], [F-40]; adds its facts. Returns whether it holds only what is
/// known today, so that it may be replaced.
pub fn oracle(file: &[u8], id: Option<u64>, known: &mut Known) -> bool {
    if file.len() < 8 {
        return true;
    }
    let mut whole = true;
    for (place, header) in frames::places(file, 8, id, false) {
        let (Stands::Frame, Some(header)) = (place.what, header) else { continue };
        match header.kind {
            6 => {}
            1..=5 => continue,
            _ => {
                whole = false;
                continue;
            }
        }
        if header.raw as usize > MOST_BYTES || header.codec == 1 {
            continue;
        }
        let payload = match frames::payload(file, place.offset, &header) {
            Ok(payload) => payload,
            Err(what) => {
                whole &= !matches!(what, crate::segment::What::Skipped { .. });
                continue;
            }
        };
        let Ok(message) = CheckpointMessage::decode(&payload[..]) else { continue };
        let Some(facts) = facts_of(&message) else { continue };
        facts.iter().for_each(|(target, fact)| known.add(target, fact));
        // What is longer has fields of a later version.
        whole &= message.encoded_len() == payload.len();
    }
    whole
}

/// What a journal is made of.
#[derive(Debug, Clone, Arbitrary)]
pub struct Journal {
    frames: Vec<Frame>,
}

#[derive(Debug, Clone, Arbitrary)]
enum Frame {
    Facts {
        zstd: bool,
        facts: Vec<Fact>,
    },
    /// Breaks a rule of [F-40].
    Broken {
        which: u8,
        facts: Vec<Fact>,
    },
    /// Has a field of a later version.
    Later {
        facts: Vec<Fact>,
    },
    Other {
        kind: u8,
        codec: u8,
        flags: u16,
    },
    /// A fact about a target with a long name, several times.
    Long {
        kib: u8,
        times: u8,
        fact: Fact,
    },
}

/// A fact, small enough that many of them meet.
#[derive(Debug, Clone, Arbitrary)]
pub struct Fact {
    target: u8,
    of: u8,
    first: u16,
    len: u16,
    far: bool,
    kind: u8,
}

/// Where facts are about.
pub fn target(number: u8) -> Target {
    let suffix = if number & 4 == 0 { "" } else { " organization=\"org\"" };
    Target::from_text(&format!("https://{}:443{suffix}", ["a", "b", "ab", ""][usize::from(number % 4)]))
}

impl Fact {
    /// The fact, and whose it is.
    pub fn checkpoint(&self) -> (Target, Checkpoint) {
        let first = u64::from(self.first) + if self.far { u64::MAX - 0x2_0000 } else { 0 };
        let range = first..first + u64::from(self.len) + 1;
        let id = PbfsId([self.of % 3; 32]);
        let checkpoint = match self.kind % 4 {
            0 | 1 => {
                let outcome = if self.kind % 4 == 0 { Outcome::Acknowledged } else { Outcome::DeadLettered };
                Checkpoint::Session { session: Uuid::from_u128((self.of % 3).into()), seqs: range, outcome }
            }
            2 => Checkpoint::PbfsDelivered { id, messages: range },
            _ => {
                let (messages, dead_lettered) = (self.len.into(), u64::from(self.len) / 3);
                Checkpoint::Pbfs { id, mark: PbfsMark { end: first, hash: [self.of; 32], messages, dead_lettered } }
            }
        };
        (target(self.target), checkpoint)
    }
}

fn message(facts: &[Fact]) -> CheckpointMessage {
    let of = |(target, fact): (Target, Checkpoint)| {
        let mut facts = TargetFacts { target: target.as_str().to_owned(), ..TargetFacts::default() };
        match fact {
            Checkpoint::Session { session, seqs, outcome } => {
                let mut of = SessionFacts { session_id: session.as_bytes().to_vec(), ..SessionFacts::default() };
                let ranges =
                    if outcome == Outcome::Acknowledged { &mut of.acknowledged } else { &mut of.dead_lettered };
                ranges.push(SeqRange { first: seqs.start, end: seqs.end });
                facts.sessions.push(of);
            }
            Checkpoint::Pbfs { id, mark: PbfsMark { end, hash, messages, dead_lettered } } => {
                let marks = vec![PbfsFactsMark { end, hash: hash.to_vec(), messages, dead_lettered }];
                facts.pbfs.push(PbfsFacts { id: id.0.to_vec(), marks, delivered: Vec::new() });
            }
            Checkpoint::PbfsDelivered { id, messages } => {
                let delivered = vec![SeqRange { first: messages.start, end: messages.end }];
                facts.pbfs.push(PbfsFacts { id: id.0.to_vec(), marks: Vec::new(), delivered });
            }
        }
        facts
    };
    CheckpointMessage { targets: facts.iter().map(Fact::checkpoint).map(of).collect() }
}

impl Journal {
    /// The journal with this UUID, and what is to be known of it.
    pub fn write(&self, uuid: Uuid) -> (Vec<u8>, Known) {
        let (mut file, mut known) = (MAGIC.to_vec(), Known::default());
        let mut put = |kind: u8, codec: u8, flags: u16, raw_len: usize, stored: &[u8]| {
            let mut header = SYNC.to_vec();
            header.extend([kind, codec]);
            header.extend(flags.to_le_bytes());
            header.extend((stored.len() as u32).to_le_bytes());
            header.extend((raw_len as u32).to_le_bytes());
            header.extend([0; 4 + 8]);
            header.extend(i64::MAX.to_le_bytes());
            header.extend(i64::MIN.to_le_bytes());
            header.extend(id_of(uuid, 0).to_le_bytes());
            header.extend((file.len() as u64).to_le_bytes());
            header.extend(crc32(stored).to_le_bytes());
            header.extend(crc32(&header).to_le_bytes());
            file.extend(header);
            file.extend(stored);
        };
        let pack = |raw: &[u8]| zstd::bulk::compress(raw, 1).expect("zstd");
        for frame in &self.frames {
            match frame {
                Frame::Facts { zstd, facts } => {
                    let raw = message(facts).encode_to_vec();
                    let stored = if *zstd { pack(&raw) } else { raw.clone() };
                    put(6, (*zstd).into(), 0, raw.len(), &stored);
                    for (target, fact) in facts.iter().filter(|_| !zstd).map(Fact::checkpoint) {
                        known.add(target.as_str(), &fact);
                    }
                }
                Frame::Broken { which, facts } => {
                    let mut message = message(facts);
                    message.targets.push(broken(*which));
                    let raw = message.encode_to_vec();
                    put(6, 0, 0, raw.len(), &raw);
                }
                Frame::Later { facts } => {
                    let mut raw = message(facts).encode_to_vec();
                    raw.extend([0x7a, 1, b'x']);
                    put(6, 0, 0, raw.len(), &raw);
                    for (target, fact) in facts.iter().map(Fact::checkpoint) {
                        known.add(target.as_str(), &fact);
                    }
                }
                Frame::Other { kind, codec, flags } => {
                    let unreadable = if *kind == 6 { (*codec).max(2) } else { *codec };
                    put(*kind, unreadable, *flags, 16, &[0x0a; 16]);
                }
                Frame::Long { kib, times, fact } => {
                    let mut message = message(std::slice::from_ref(fact));
                    let name = "x".repeat(usize::from(*kib) * 1200);
                    message.targets.iter_mut().for_each(|target| target.target.clone_from(&name));
                    let times = usize::from(times % 3) + 1;
                    message.targets = std::iter::repeat_n(message.targets, times).flatten().collect();
                    let raw = message.encode_to_vec();
                    put(6, 0, 0, raw.len(), &raw);
                    if name.len() <= MOST_TARGET_BYTES && raw.len() <= MOST_BYTES {
                        known.add(&name, &fact.checkpoint().1);
                    }
                }
            }
        }
        (file, known)
    }
}

fn broken(which: u8) -> TargetFacts {
    let (empty, odd) = (vec![SeqRange { first: 5, end: 5 }], vec![7; 15]);
    let (mut session, mut pbfs) = (SessionFacts::default(), PbfsFacts::default());
    (session.session_id, pbfs.id) = (vec![7; 16], vec![7; 32]);
    match which % 6 {
        0 => session.acknowledged = empty,
        1 => session.dead_lettered = vec![SeqRange { first: 6, end: 5 }],
        2 => session.session_id = odd,
        3 => pbfs.delivered = empty,
        4 => pbfs.id = odd,
        _ => pbfs.marks = vec![PbfsFactsMark { hash: odd, ..PbfsFactsMark::default() }],
    }
    TargetFacts { target: "https://broken:443".to_owned(), sessions: vec![session], pbfs: vec![pbfs] }
}
