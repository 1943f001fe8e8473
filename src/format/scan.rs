//! Scanning a segment without I/O: bytes in, steps out. The same scanner serves mapped files, growing files and
//! repair; it never allocates, and takes time linear in the file's size, whatever the bytes are.

use std::ops::Range;
use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::error::DamageCause;
use super::frame::{FRAME_HEADER_BYTES, Frame, FrameHeader, JOURNAL_MAGIC, Kind, MAGIC, SYNC_MARKER};
use super::seal::{TRAILER_BYTES, decode_trailer};

static MARKER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(&SYNC_MARKER));

/// A place whose bytes are lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Where it begins, in bytes from the file's start.
    pub offset: u64,
    /// How many bytes it has.
    pub len: u64,
    /// What is wrong there.
    pub cause: DamageCause,
    /// The seqs that stood there, where a sound header tells.
    pub seqs: Option<Range<u64>>,
}

/// A file's end in the middle of something: ordinary after a power cut, and not damage ([F-30]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    /// Where the unfinished part begins, in bytes from the file's start.
    pub offset: u64,
    /// How many bytes of it are there.
    pub len: u64,
    /// The seqs that it would have held, where a sound header tells.
    pub seqs: Option<Range<u64>>,
}

/// What a scanner found next. Every byte of a file belongs to exactly one of: magic, frame, damage, torn end, trailer
/// ([F-38]).
#[derive(Debug)]
pub enum Step<'a> {
    /// A sound frame.
    Frame(Frame<'a>),
    /// Lost bytes; scanning goes on behind them.
    Damage(Damage),
    /// The file ends within a frame.
    Torn(Torn),
    /// At least this many bytes from the scanner's position on are needed.
    NeedMore(usize),
    /// The end.
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Magic,
    Frames,
    Trailer { seal_offset: u64 },
    AfterSeal,
    Ended,
}

/// Finds the frames of a segment, in order ([F-30] to [F-32]): magic, frames, trailer, nothing else ([F-2]).
#[derive(Debug, Clone)]
pub struct Scanner {
    position: u64,
    segment_id: Option<u64>,
    stage: Stage,
    /// Where the present damage began, and its cause.
    lost: Option<(u64, DamageCause)>,
    next_seq: u64,
    /// Whether nothing but a trailer follows a SEAL.
    ends_at_seal: bool,
}

impl Scanner {
    /// A scanner at a segment's first byte. `segment_id`, if known, keeps frames of other segments out even where
    /// the HEADER is lost.
    pub fn new(segment_id: Option<u64>) -> Self {
        Self { position: 0, segment_id, stage: Stage::Magic, lost: None, next_seq: 0, ends_at_seal: true }
    }

    /// A scanner at a frame that is known to begin at `offset` bytes.
    pub fn at_frame(segment_id: Option<u64>, offset: u64) -> Self {
        Self { position: offset, stage: Stage::Frames, ..Self::new(segment_id) }
    }

    /// A scanner behind the magic of a journal ([F-39]), where a SEAL is a frame like any other that has no place there.
    pub fn of_journal(id: Option<u64>) -> Self {
        Self { ends_at_seal: false, ..Self::at_frame(id, JOURNAL_MAGIC.len() as u64) }
    }

    /// The byte of the file at which the next step's window must begin.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The segment's id, as soon as a sound frame has told it.
    pub fn segment_id(&self) -> Option<u64> {
        self.segment_id
    }

    /// Takes one step. `window` holds the file's bytes from [`position`](Self::position) on, as many as are at hand;
    /// `at_end` says that the file ends with them.
    pub fn step<'a>(&mut self, window: &'a [u8], at_end: bool) -> Step<'a> {
        let begin = self.position;
        loop {
            let used = usize::try_from(self.position - begin).unwrap_or(usize::MAX);
            let rest = window.get(used..).unwrap_or_default();
            let step = match self.stage {
                Stage::Magic => self.magic(rest, at_end),
                Stage::Frames if self.lost.is_some() => self.resync(rest, at_end),
                Stage::Frames => self.frame(rest, at_end),
                Stage::Trailer { seal_offset } => self.trailer(rest, at_end, seal_offset),
                Stage::AfterSeal => self.after_seal(rest, at_end),
                Stage::Ended => Some(Step::End),
            };
            if let Some(step) = step {
                return step;
            }
        }
    }

    fn magic<'a>(&mut self, rest: &'a [u8], at_end: bool) -> Option<Step<'a>> {
        let Some(magic) = rest.first_chunk::<{ MAGIC.len() }>() else {
            return Some(self.cut_off(rest, at_end, MAGIC.len(), None));
        };
        self.stage = Stage::Frames;
        self.position += MAGIC.len() as u64;
        (*magic != MAGIC).then_some(Step::Damage(Damage {
            offset: 0,
            len: MAGIC.len() as u64,
            cause: DamageCause::Magic,
            seqs: None,
        }))
    }

    /// Too few bytes: more are needed, or the file is torn here.
    fn cut_off<'a>(&mut self, rest: &[u8], at_end: bool, needed: usize, seqs: Option<Range<u64>>) -> Step<'a> {
        if !at_end {
            return Step::NeedMore(needed);
        }
        self.stage = Stage::Ended;
        if rest.is_empty() {
            return Step::End;
        }
        let torn = Torn { offset: self.position, len: rest.len() as u64, seqs };
        self.position += torn.len;
        Step::Torn(torn)
    }

    fn frame<'a>(&mut self, rest: &'a [u8], at_end: bool) -> Option<Step<'a>> {
        let Some(header) = rest.first_chunk::<FRAME_HEADER_BYTES>() else {
            let begun = rest.len().min(SYNC_MARKER.len());
            if at_end && rest.get(..begun) != SYNC_MARKER.get(..begun) {
                self.lost = Some((self.position, DamageCause::NoFrame));
                return None;
            }
            return Some(self.cut_off(rest, at_end, FRAME_HEADER_BYTES, None));
        };
        let header = match FrameHeader::decode(header, self.position, self.segment_id) {
            Ok(header) => header,
            Err(cause) => {
                self.lost = Some((self.position, cause));
                return None;
            }
        };
        let seqs = (header.count > 0).then(|| header.first_seq..header.end_seq());
        // Bounded by [F-14] when the header was read.
        let len = FRAME_HEADER_BYTES + header.stored_len as usize;
        let Some(stored) = rest.get(FRAME_HEADER_BYTES..len) else {
            return Some(self.cut_off(rest, at_end, len, seqs));
        };
        self.segment_id = Some(header.segment_id);
        // [F-31]: the header is sound, so is its length: the next frame begins right behind.
        let offset = self.position;
        self.position += len as u64;
        let damage = |cause| Some(Step::Damage(Damage { offset, len: len as u64, cause, seqs: seqs.clone() }));
        if header.kind == Kind::Seal && self.ends_at_seal {
            // Also when the payload is damaged: what follows a SEAL is the trailer, and it is sound.
            self.stage = Stage::Trailer { seal_offset: offset };
        }
        if crc32fast::hash(stored) != header.payload_crc {
            return damage(DamageCause::PayloadChecksum);
        }
        if header.kind == Kind::Data {
            // [F-34]
            if header.first_seq < self.next_seq {
                return damage(DamageCause::SeqBackwards);
            }
            self.next_seq = header.end_seq();
        }
        Some(Step::Frame(Frame { header, stored }))
    }

    /// [F-32]: looks for the next sound header that stands in its own place.
    fn resync<'a>(&mut self, rest: &'a [u8], at_end: bool) -> Option<Step<'a>> {
        let (from, cause) = self.lost?;
        // The byte where damage begins isn't where a frame does.
        let mut at = usize::from(from == self.position);
        // Bytes that can't begin a frame, whatever follows the window; a marker may stand across its end.
        let mut spent = rest.len().saturating_sub(SYNC_MARKER.len() - 1);
        while let Some(found) = rest.get(at..).and_then(|tail| MARKER.find(tail)) {
            at += found;
            let Some(header) = rest.get(at..).and_then(|tail| tail.first_chunk::<FRAME_HEADER_BYTES>()) else {
                spent = at;
                break;
            };
            let offset = self.position + at as u64;
            if FrameHeader::decode(header, offset, self.segment_id).is_ok() {
                self.position = offset;
                self.lost = None;
                return Some(Step::Damage(Damage { offset: from, len: offset - from, cause, seqs: None }));
            }
            at += 1;
        }
        if !at_end {
            self.position += spent as u64;
            return Some(Step::NeedMore(FRAME_HEADER_BYTES));
        }
        self.position += rest.len() as u64;
        self.lost = None;
        self.stage = Stage::Ended;
        Some(Step::Damage(Damage { offset: from, len: self.position - from, cause, seqs: None }))
    }

    fn trailer<'a>(&mut self, rest: &'a [u8], at_end: bool, seal_offset: u64) -> Option<Step<'a>> {
        let Some(trailer) = rest.first_chunk::<TRAILER_BYTES>() else {
            return Some(self.cut_off(rest, at_end, TRAILER_BYTES, None));
        };
        self.stage = Stage::AfterSeal;
        let offset = self.position;
        self.position += TRAILER_BYTES as u64;
        (decode_trailer(trailer) != Some(seal_offset)).then_some(Step::Damage(Damage {
            offset,
            len: TRAILER_BYTES as u64,
            cause: DamageCause::Trailer,
            seqs: None,
        }))
    }

    fn after_seal<'a>(&mut self, rest: &'a [u8], at_end: bool) -> Option<Step<'a>> {
        let (from, cause) = *self.lost.get_or_insert((self.position, DamageCause::AfterSeal));
        self.position += rest.len() as u64;
        if !at_end {
            return Some(Step::NeedMore(1));
        }
        self.lost = None;
        self.stage = Stage::Ended;
        let len = self.position - from;
        (len > 0).then_some(Step::Damage(Damage { offset: from, len, cause, seqs: None }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::frame::{Codec, TimeRange};
    use crate::format::seal::encode_trailer;

    const ID: u64 = 0x5eed;

    fn put_frame(file: &mut Vec<u8>, kind: Kind, first_seq: u64, count: u32, payload: &[u8]) {
        let header = FrameHeader {
            kind,
            codec: Codec::None,
            flags: 0,
            stored_len: payload.len() as u32,
            raw_len: payload.len() as u32,
            count,
            first_seq,
            times: TimeRange::EMPTY,
            segment_id: ID,
            offset: file.len() as u64,
            payload_crc: crc32fast::hash(payload),
        };
        file.extend(header.encode());
        file.extend(payload);
    }

    /// HEADER, three DATA frames of two records each, SEAL, trailer.
    fn segment() -> Vec<u8> {
        let mut file = MAGIC.to_vec();
        put_frame(&mut file, Kind::Header, 0, 0, b"header");
        for i in 0..3 {
            put_frame(&mut file, Kind::Data, i * 2, 2, &[i as u8; 20]);
        }
        let seal_offset = file.len() as u64;
        put_frame(&mut file, Kind::Seal, 6, 0, b"seal");
        file.extend(encode_trailer(seal_offset));
        file
    }

    /// Steps through `file` as a tailing reader does, with `growth` more bytes whenever the scanner needs some.
    fn scan(file: &[u8], segment_id: Option<u64>, growth: usize) -> Vec<String> {
        let mut scanner = Scanner::new(segment_id);
        let (mut seen, mut found, mut covered) = (0, Vec::new(), 0);
        loop {
            let begin = scanner.position() as usize;
            match scanner.step(&file[begin..seen.max(begin)], seen == file.len()) {
                Step::Frame(frame) => {
                    covered += frame.header.frame_len();
                    found.push(format!("{} {}", frame.header.kind, frame.header.first_seq));
                }
                Step::Damage(damage) => {
                    covered += damage.len;
                    found.push(format!("{} at {} +{}", damage.cause.as_str(), damage.offset, damage.len));
                }
                Step::Torn(torn) => {
                    covered += torn.len;
                    found.push(format!("torn at {} +{} {:?}", torn.offset, torn.len, torn.seqs));
                }
                Step::NeedMore(bytes) => {
                    assert!(seen < file.len(), "asks for more at the end");
                    assert!(scanner.position() as usize + bytes > seen, "asks for what it has");
                    seen = (seen + growth).min(file.len());
                }
                Step::End => break,
            }
        }
        // Every byte is accounted for: the magic and the trailer are the only ones outside of steps.
        let rest = file.len() as u64 - covered;
        assert!([0, 8, 16, 24].contains(&rest), "{rest} bytes unaccounted for");
        found
    }

    #[test]
    fn a_sound_segment_has_its_frames_whatever_the_windows() {
        let expected = ["HEADER 0", "DATA 0", "DATA 2", "DATA 4", "SEAL 6"];
        for growth in [1, 7, 100, 10_000] {
            assert_eq!(scan(&segment(), None, growth), expected);
            assert_eq!(scan(&segment(), Some(ID), growth), expected);
        }
    }

    #[test]
    fn a_frame_of_another_segment_or_place_is_never_taken() {
        assert_eq!(scan(&segment(), Some(1), 10), [format!("misplaced at 8 +{}", segment().len() - 8)]);
        let mut moved = segment();
        let first = moved[86..86 + 92].to_vec();
        let end = moved.len() - 16 - 76;
        moved.splice(end..end, first);
        let found = scan(&moved, None, 50);
        assert_eq!(found[..4], ["HEADER 0", "DATA 0", "DATA 2", "DATA 4"]);
        assert!(found[4].starts_with("misplaced at"), "{found:?}");
    }

    #[test]
    fn a_lost_header_costs_one_frame_whatever_the_windows() {
        let mut file = segment();
        let second = 86 + 92;
        file[second..second + 72].fill(0);
        for growth in [1, 64, 1000] {
            assert_eq!(
                scan(&file, None, growth),
                ["HEADER 0", "DATA 0", &format!("no-frame at {second} +92"), "DATA 4", "SEAL 6"]
            );
        }
    }

    #[test]
    fn bytes_behind_the_seal_are_reported() {
        let mut file = segment();
        file.extend(b"more");
        assert_eq!(scan(&file, None, 1).last().unwrap(), &format!("after-seal at {} +4", segment().len()));
    }

    #[test]
    fn a_damaged_seal_does_not_cost_the_trailer() {
        let mut file = segment();
        let seal = file.len() - 16 - 76;
        file[seal + 73] ^= 1;
        for growth in [1, 1000] {
            assert_eq!(scan(&file, None, growth).last().unwrap(), &format!("payload-checksum at {seal} +76"));
        }
    }

    #[test]
    fn seqs_never_go_back() {
        let mut file = MAGIC.to_vec();
        put_frame(&mut file, Kind::Data, 5, 2, &[0; 8]);
        put_frame(&mut file, Kind::Data, 6, 2, &[0; 8]);
        put_frame(&mut file, Kind::Data, 7, 2, &[0; 8]);
        assert_eq!(scan(&file, None, 9), ["DATA 5", "seq-backwards at 88 +80", "DATA 7"]);
    }

    #[test]
    fn a_torn_frame_tells_its_seqs() {
        let file = segment();
        let cut = &file[..86 + 92 + 80];
        assert_eq!(scan(cut, None, 11).last().unwrap(), "torn at 178 +80 Some(2..4)");
        assert_eq!(scan(&file[..86 + 92 + 5], None, 11).last().unwrap(), "torn at 178 +5 None");
        assert_eq!(scan(&file[..8 + 75], None, 11), ["torn at 8 +75 None"], "it holds no records");
        assert_eq!(scan(&[], None, 1), Vec::<String>::new());
    }

    /// [F-39]
    #[test]
    fn a_seal_in_a_journal_is_a_frame_like_any_other() {
        let kinds = [Kind::Checkpoint, Kind::Seal, Kind::Checkpoint];
        let mut file = JOURNAL_MAGIC.to_vec();
        kinds.into_iter().for_each(|kind| put_frame(&mut file, kind, 0, 0, b"facts"));
        let (mut scanner, mut found) = (Scanner::of_journal(Some(ID)), Vec::new());
        while let Step::Frame(frame) = scanner.step(&file[scanner.position() as usize..], true) {
            found.push(frame.header.kind);
        }
        assert_eq!((found, scanner.position()), (kinds.to_vec(), file.len() as u64));
    }
}
