//! A reader of segments, written from `format-spec/README.md` ("A reader's algorithm") alone: over bytes in memory, each
//! byte tried as a frame's first. It is as slow as it is simple.

use std::str::FromStr;

use sift_replay::format::{AddedFlows, Bounded, MarkMessage, Seal, SegmentHeader};
use uuid::Uuid;

use super::{Found, HEADER_BYTES, MAGIC, Place, SYNC, Skipped, Stands, What, id_of};
use crate::{crc32, u32_at, u64_at};

const MOST_BYTES: u32 = 67_108_864;

/// A sound header [F-4].
#[derive(Debug, Clone, Copy)]
pub struct Header {
    pub kind: u8,
    pub codec: u8,
    flags: u16,
    stored: u32,
    pub raw: u32,
    count: u32,
    first_seq: u64,
    times: (i64, i64),
    pub id: u64,
    crc: u32,
}

impl Header {
    fn seqs(&self) -> Option<(u64, u64)> {
        (self.count > 0).then(|| (self.first_seq, self.first_seq + u64::from(self.count)))
    }

    fn len(&self) -> usize {
        HEADER_BYTES + self.stored as usize
    }
}

/// [F-8]: the header at this place, or why there is none [F-32].
fn header_at(file: &[u8], at: usize, id: Option<u64>) -> Result<Header, &'static str> {
    if file.get(at..at + 8) != Some(&SYNC[..]) {
        return Err("no-frame");
    }
    let fields = || -> Option<(Header, u64, u32)> {
        let header = Header {
            kind: *file.get(at + 8)?,
            codec: *file.get(at + 9)?,
            flags: u16::from_le_bytes(file.get(at + 10..at + 12)?.try_into().ok()?),
            stored: u32_at(file, at + 12)?,
            raw: u32_at(file, at + 16)?,
            count: u32_at(file, at + 20)?,
            first_seq: u64_at(file, at + 24)?,
            times: (u64_at(file, at + 32)? as i64, u64_at(file, at + 40)? as i64),
            id: u64_at(file, at + 48)?,
            crc: u32_at(file, at + 64)?,
        };
        Some((header, u64_at(file, at + 56)?, u32_at(file, at + 68)?))
    };
    let (header, offset, crc) = fields().ok_or("no-frame")?;
    if crc32(&file[at..at + 68]) != crc {
        return Err("header-checksum");
    }
    if offset != at as u64 || id.is_some_and(|id| id != header.id) {
        return Err("misplaced");
    }
    let possible = header.stored <= MOST_BYTES
        && header.raw <= MOST_BYTES
        && (header.kind != 2 || header.count <= header.raw / 4)
        && header.first_seq.checked_add(header.count.into()).is_some();
    if possible { Ok(header) } else { Err("limits") }
}

/// What stands where, from `at` on [F-30], [F-31], [F-32], [F-34]; `ends` says that nothing follows a SEAL but a trailer
/// [F-26], as is so in segments, and not in journals [F-39].
pub fn places(file: &[u8], mut at: usize, mut id: Option<u64>, ends: bool) -> Vec<(Place, Option<Header>)> {
    let (mut found, mut next_seq) = (Vec::new(), 0);
    let place = |at: usize, end: usize, what| Place { offset: at as u64, len: (end - at) as u64, what };
    while at < file.len() {
        let rest = &file[at..];
        if rest.len() < HEADER_BYTES && SYNC.starts_with(&rest[..rest.len().min(8)]) {
            found.push((place(at, file.len(), Stands::Torn { seqs: None }), None));
            return found;
        }
        let header = match header_at(file, at, id) {
            Ok(header) => header,
            Err(cause) => {
                let next = (at + 1..file.len()).find(|&next| header_at(file, next, id).is_ok()).unwrap_or(file.len());
                found.push((place(at, next, Stands::Damage { cause, seqs: None }), None));
                at = next;
                continue;
            }
        };
        let (seqs, end) = (header.seqs(), at + header.len());
        if end > file.len() {
            found.push((place(at, file.len(), Stands::Torn { seqs }), Some(header)));
            return found;
        }
        id = Some(header.id);
        let what = if crc32(&file[at + HEADER_BYTES..end]) != header.crc {
            Stands::Damage { cause: "payload-checksum", seqs }
        } else if header.kind == 2 && header.first_seq < next_seq {
            Stands::Damage { cause: "seq-backwards", seqs }
        } else {
            Stands::Frame
        };
        if header.kind == 2 && what == Stands::Frame {
            next_seq = header.first_seq + u64::from(header.count);
        }
        found.push((place(at, end, what), Some(header)));
        if header.kind == 5 && ends {
            behind_seal(file, at, end, &mut found);
            return found;
        }
        at = end;
    }
    found
}

/// [F-26]
fn behind_seal(file: &[u8], seal: usize, at: usize, found: &mut Vec<(Place, Option<Header>)>) {
    let rest = file.len() - at;
    let mut push = |at: usize, len: usize, what| found.push((Place { offset: at as u64, len: len as u64, what }, None));
    match rest {
        0 => {}
        1..16 => push(at, rest, Stands::Torn { seqs: None }),
        _ => {
            if file[at..at + 16] != [&(seal as u64).to_le_bytes()[..], b"SFR-SEAL"].concat() {
                push(at, 16, Stands::Damage { cause: "trailer", seqs: None });
            }
            if rest > 16 {
                push(at + 16, rest - 16, Stands::Damage { cause: "after-seal", seqs: None });
            }
        }
    }
}

/// All of a segment: what stands where.
pub fn scan(file: &[u8], id: Option<u64>) -> Vec<(Place, Option<Header>)> {
    if file.len() < 8 {
        let torn = Place { offset: 0, len: file.len() as u64, what: Stands::Torn { seqs: None } };
        return if file.is_empty() { Vec::new() } else { vec![(torn, None)] };
    }
    let mut found = Vec::new();
    if !file.starts_with(&MAGIC) {
        let what = Stands::Damage { cause: "magic", seqs: None };
        found.push((Place { offset: 0, len: 8, what }, None));
    }
    found.extend(places(file, 8, id, true));
    found
}

/// A frame's payload before compression [F-12], [F-13], [F-15]; or what is the matter with the frame.
pub fn payload(file: &[u8], offset: u64, header: &Header) -> Result<Vec<u8>, What> {
    let begin = offset as usize + HEADER_BYTES;
    let stored = &file[begin..begin + header.stored as usize];
    let malformed = What::Damage { cause: "malformed", seqs: header.seqs() };
    let skipped = |reason| What::Skipped { reason, seqs: header.seqs() };
    if header.codec > 1 {
        return Err(skipped(Skipped::Codec(header.codec)));
    }
    if header.flags & 0xff00 != 0 {
        return Err(skipped(Skipped::Flags(header.flags & 0xff00)));
    }
    let raw = if header.codec == 0 {
        stored.to_vec()
    } else {
        zstd::bulk::decompress(stored, header.raw as usize).map_err(|_| malformed.clone())?
    };
    if raw.len() == header.raw as usize { Ok(raw) } else { Err(malformed) }
}

/// [F-20]
fn records(raw: &[u8], count: u32) -> Option<Vec<Vec<u8>>> {
    let (mut at, mut records) = (0, Vec::new());
    while at < raw.len() {
        let len = u32_at(raw, at)? as usize;
        records.push(raw.get(at + 4..at + 4 + len)?.to_vec());
        at += 4 + len;
    }
    (records.len() == count as usize).then_some(records)
}

fn open(file: &[u8], offset: u64, header: &Header) -> What {
    if !(1..=5).contains(&header.kind) {
        return What::Skipped { reason: Skipped::Kind(header.kind), seqs: header.seqs() };
    }
    let raw = match payload(file, offset, header) {
        Ok(raw) => raw,
        Err(what) => return what,
    };
    let what = match header.kind {
        1 => SegmentHeader::decode_bounded(&raw).map(What::Header),
        2 => records(&raw, header.count).map(|records| What::Records {
            first_seq: header.first_seq,
            bare: header.flags & 1 == 1,
            times: header.times,
            records,
        }),
        3 => AddedFlows::decode_bounded(&raw).map(What::Schema),
        4 => MarkMessage::decode_bounded(&raw).map(What::Mark),
        _ => Seal::decode_bounded(&raw).map(|seal| What::Seal(Box::new(seal))),
    };
    what.unwrap_or(What::Damage { cause: "malformed", seqs: header.seqs() })
}

/// All of a segment: what is found in it.
pub fn read(file: &[u8], id: Option<u64>) -> Vec<Found> {
    found(file, scan(file, id))
}

/// What is found in a segment from `at` on, where a frame begins.
pub fn read_from(file: &[u8], at: usize, id: Option<u64>) -> Vec<Found> {
    found(file, places(file, at, id, true))
}

fn found(file: &[u8], places: Vec<(Place, Option<Header>)>) -> Vec<Found> {
    let found = places.into_iter().map(|(Place { offset, len, what }, header)| {
        let what = match (what, header) {
            (Stands::Frame, Some(header)) => open(file, offset, &header),
            (Stands::Damage { cause, seqs }, _) => What::Damage { cause, seqs },
            (Stands::Torn { seqs }, _) => What::Torn { seqs },
            (Stands::Frame, None) => unreachable!("a frame has a header"),
        };
        Found { offset, len, what }
    });
    found.collect()
}

/// Who a segment is [F-33], [F-37].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Who {
    pub header: Option<SegmentHeader>,
    pub session: Option<Uuid>,
    pub index: Option<u32>,
    pub id: Option<u64>,
    pub seal: Option<Seal>,
}

fn message_at<M: Bounded>(file: &[u8], at: usize, kind: u8) -> Option<(M, u64)> {
    let header = header_at(file, at, None).ok().filter(|header| header.kind == kind)?;
    let stored = file.get(at + HEADER_BYTES..at + header.len())?;
    if crc32(stored) != header.crc {
        return None;
    }
    let raw = payload(file, at as u64, &header).ok()?;
    Some((M::decode_bounded(&raw)?, header.id))
}

/// [F-27]
fn parse_name(name: &str) -> Option<(Uuid, u32)> {
    let stem = name.strip_suffix(".sfr").or_else(|| name.strip_suffix(".sfr.open"))?;
    let (session, index) = (stem.get(..36)?, stem.get(36..)?.strip_prefix('-')?);
    let digits = !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit());
    Some((Uuid::from_str(session).ok()?, index.parse().ok().filter(|_| digits)?))
}

/// Finds out who the segment of this name is.
pub fn identify(name: &str, file: &[u8]) -> Who {
    let header = message_at::<SegmentHeader>(file, 8, 1);
    let trailer = file.len().checked_sub(16).filter(|&at| file[at + 8..] == *b"SFR-SEAL");
    let seal_at = trailer.and_then(|at| Some((at, usize::try_from(u64_at(file, at)?).ok()?)));
    let seal = seal_at.filter(|&(end, at)| at < end).and_then(|(_, at)| message_at::<Seal>(file, at, 5));
    let named = parse_name(name);
    let named_id = named.map(|(session, index)| id_of(session, index));
    let claims = [header.as_ref().map(|(_, id)| *id), seal.as_ref().map(|(_, id)| *id), named_id];
    let frames = |id| scan(file, Some(id)).iter().filter(|(place, _)| place.what == Stands::Frame).count();
    let mut best: Option<(u64, usize)> = None;
    for id in claims.into_iter().flatten() {
        let frames = frames(id);
        if best.is_none_or(|(_, most)| frames > most) {
            best = Some((id, frames));
        }
    }
    let id = best.map(|(id, _)| id);
    let header = header.filter(|(_, its)| Some(*its) == id).map(|(header, _)| header);
    let seal = seal.filter(|(_, its)| Some(*its) == id).map(|(seal, _)| seal);
    let header = header.or_else(|| seal.as_ref()?.header.clone());
    let named = named.filter(|_| named_id == id);
    let (session, index) = match &header {
        Some(header) => (Uuid::from_slice(&header.session_id).ok(), Some(header.segment_index)),
        None => (named.map(|(session, _)| session), named.map(|(_, index)| index)),
    };
    Who { header, session, index, id, seal }
}
