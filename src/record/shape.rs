//! Shapes: what was found out about one record holds for each other that differs from it only where any bytes would do.
//! Nearly all records of a flow do, and comparing is several times as fast as reading.

use std::ops::Range;

use super::flow_table::CheckedRequest;
use crate::format::{Field, Fields, WireError, WireValue, field, unix_ns};

/// Records of more bytes have no shape.
const MAX_BYTES: usize = 16 << 10;

/// Most shapes that are known at once. A time alone makes several, its parts being of different lengths.
const MAX_SHAPES: usize = 16;

/// Records that may have been like none before, however few were.
const LEARNING: u64 = 64;

/// Any bits will do.
const FREE: u8 = 0;

/// A varint's byte: any bits, as long as it goes on, or ends, as it did.
const VARINT: u8 = 0x80;

/// The highest bits of a double's exponent, and of a float's, in the byte with the sign: all of them are set if it is NaN or
/// infinite.
const EXPONENT: u8 = 0x7f;

/// A sound record, and where another one may differ.
#[derive(Debug, Clone)]
struct Shape {
    flow: usize,
    bare: bool,
    bytes: usize,
    /// How it is compared, piece by piece; the last two overlap where its length isn't a multiple of theirs.
    pieces: Vec<Piece>,
    seconds: Varint,
    nanos: Varint,
    /// Where numbers begin that may be NaN or infinite.
    doubles: Vec<usize>,
    floats: Vec<usize>,
}

/// Bytes that are compared at once: as many as a register of any processor has.
const PIECE_BYTES: usize = 16;

/// How a few bytes are compared.
#[derive(Debug, Clone, Copy)]
struct Piece {
    /// The bits that are compared.
    mask: [u8; PIECE_BYTES],
    fixed: [u8; PIECE_BYTES],
    /// How far each byte's compared bits may be from the fixed ones: 0 where they must be as they were, less than all of an
    /// exponent.
    most: [u8; PIECE_BYTES],
}

/// A varint of the time; none if that part of the time is 0.
#[derive(Debug, Clone, Copy, Default)]
struct Varint {
    at: usize,
    /// The bits that count of the eight bytes from there.
    mask: u64,
}

/// Where a record may differ from another one, while that is found out.
struct Draft {
    mask: Vec<u8>,
    most: Vec<u8>,
}

/// The shapes of what was checked lately.
#[derive(Debug, Clone, Default)]
pub(super) struct Shapes {
    known: Vec<Shape>,
    /// The one that was met last.
    last: usize,
    /// The one that gives way to the next.
    oldest: usize,
    met: u64,
    learnt: u64,
}

impl Shapes {
    /// What checking this record would find, if one like it was sound.
    #[inline]
    pub(super) fn find(&mut self, record: &[u8]) -> Option<CheckedRequest> {
        let last = self.known.get(self.last)?;
        if last.fits(record) {
            self.met += 1;
            return last.learn(record, 0);
        }
        self.find_other(record)
    }

    fn find_other(&mut self, record: &[u8]) -> Option<CheckedRequest> {
        let mut found = self.known.get(self.last)?;
        if !found.fits_but_for_numbers(record) {
            self.last = self.known.iter().position(|shape| shape.fits_but_for_numbers(record))?;
            found = self.known.get(self.last)?;
        }
        self.met += 1;
        found.learn(record, found.non_finite(record)?)
    }

    /// Takes note of a sound record. Where hardly any two are alike, it soon doesn't.
    pub(super) fn add(&mut self, record: &[u8], checked: &CheckedRequest) {
        if record.len() > MAX_BYTES || self.learnt > LEARNING + self.met {
            return;
        }
        let Ok(Some(shape)) = Shape::of(record, checked) else { return };
        self.learnt += 1;
        if self.known.len() < MAX_SHAPES {
            self.known.push(shape);
        } else if let Some(place) = self.known.get_mut(self.oldest) {
            *place = shape;
            self.oldest = (self.oldest + 1) % MAX_SHAPES;
        }
    }
}

impl Shape {
    /// That of a sound record; none if its time stands in several pieces, or is out of the ordinary.
    fn of(record: &[u8], checked: &CheckedRequest) -> Result<Option<Self>, WireError> {
        let mut draft = Draft { mask: vec![0xff; record.len()], most: vec![0; record.len()] };
        let mut shape = Self {
            flow: checked.flow,
            bare: checked.bare,
            bytes: record.len(),
            pieces: Vec::new(),
            seconds: Varint::default(),
            nanos: Varint::default(),
            doubles: Vec::new(),
            floats: Vec::new(),
        };
        let mut times = 0;
        for next in Fields::new(record) {
            let next = next?;
            let WireValue::Bytes(content) = next.value else { continue };
            let at = next.end - content.len();
            match next.number {
                field::TIMESTAMP => {
                    times += 1;
                    if times > 1 || !shape.time(&mut draft, content, at)? {
                        return Ok(None);
                    }
                }
                field::CHANNEL_VALUES => shape.value(&mut draft, content, at)?,
                _ => {}
            }
        }
        shape.pieces = draft.pieces(record);
        Ok(Some(shape))
    }

    /// Takes in a time whose content begins at `at`; returns whether each part stands there once at most, and isn't too long.
    fn time(&mut self, draft: &mut Draft, content: &[u8], at: usize) -> Result<bool, WireError> {
        for part in Fields::new(content) {
            let part = part?;
            let place = match part.number {
                1 => &mut self.seconds,
                2 => &mut self.nanos,
                _ => continue,
            };
            let range = number(&part, content, at);
            let Some(varint) = Varint::at(&range).filter(|_| place.mask == 0) else { return Ok(false) };
            *place = varint;
            free_varint(&mut draft.mask, range);
        }
        Ok(true)
    }

    /// Takes in a value whose content begins at `at`. Where it has several parts, or is text, none of it is free.
    fn value(&mut self, draft: &mut Draft, content: &[u8], at: usize) -> Result<(), WireError> {
        let mut parts = Fields::new(content);
        let (Some(part), None) = (parts.next(), parts.next()) else { return Ok(()) };
        let part = part?;
        let range = match (part.number, part.value) {
            (2, WireValue::Fixed64(_)) => {
                self.doubles.push(at + part.end - 8);
                at + part.end - 8..at + part.end
            }
            (3, WireValue::Fixed32(_)) => {
                self.floats.push(at + part.end - 4);
                at + part.end - 4..at + part.end
            }
            (9 | 12, WireValue::Bytes(bytes)) => at + part.end - bytes.len()..at + part.end,
            (4..=8 | 10, WireValue::Varint(_)) => {
                free_varint(&mut draft.mask, number(&part, content, at));
                return Ok(());
            }
            _ => return Ok(()),
        };
        let last = range.end - 1;
        if let Some(mask) = draft.mask.get_mut(range) {
            mask.fill(FREE);
        }
        if let (2 | 3, Some(mask), Some(most)) = (part.number, draft.mask.get_mut(last), draft.most.get_mut(last)) {
            (*mask, *most) = (EXPONENT, EXPONENT - 1);
        }
        Ok(())
    }

    /// Whether the record is of this shape, and no number of it may be NaN or infinite.
    #[inline]
    fn fits(&self, record: &[u8]) -> bool {
        self.compare::<true>(record) == Some([0; PIECE_BYTES])
    }

    /// Whether the record is of this shape, whatever its numbers.
    fn fits_but_for_numbers(&self, record: &[u8]) -> bool {
        self.compare::<false>(record) == Some([0; PIECE_BYTES])
    }

    /// What the comparison of all pieces comes to; `None` if the record has another length.
    #[inline(always)]
    fn compare<const NUMBERS: bool>(&self, record: &[u8]) -> Option<[u8; PIECE_BYTES]> {
        if record.len() != self.bytes {
            return None;
        }
        // Without a way out in between, whole registers are compared.
        let far = [0; PIECE_BYTES];
        let (Some((last, pieces)), Some(end)) = (self.pieces.split_last(), record.last_chunk()) else {
            return Some(self.pieces.first()?.far::<NUMBERS>(&padded(record), far));
        };
        let pieces = pieces.iter().zip(record.as_chunks().0);
        let far = pieces.fold(far, |far, (piece, bytes)| piece.far::<NUMBERS>(bytes, far));
        Some(last.far::<NUMBERS>(end, far))
    }

    /// What a record of this shape says of itself.
    #[inline(always)]
    fn learn(&self, record: &[u8], non_finite: u64) -> Option<CheckedRequest> {
        let (seconds, nanos) = (self.seconds.of(record)?, self.nanos.of(record)?);
        let time = unix_ns(seconds as i64, nanos as i32);
        Some(CheckedRequest { flow: self.flow, time, bare: self.bare, non_finite })
    }

    /// Numbers of a record of this shape that are NaN or infinite.
    #[cold]
    fn non_finite(&self, record: &[u8]) -> Option<u64> {
        let mut non_finite = 0;
        for at in &self.doubles {
            let bits = u64::from_le_bytes(*record.get(*at..)?.first_chunk()?);
            non_finite += u64::from(!f64::from_bits(bits).is_finite());
        }
        for at in &self.floats {
            let bits = u32::from_le_bytes(*record.get(*at..)?.first_chunk()?);
            non_finite += u64::from(!f32::from_bits(bits).is_finite());
        }
        Some(non_finite)
    }
}

impl Piece {
    /// Adds, to what was found `before`, the bytes that differ by more than they may; those of numbers may always if they
    /// don't count.
    #[inline(always)]
    fn far<const NUMBERS: bool>(&self, bytes: &[u8; PIECE_BYTES], before: [u8; PIECE_BYTES]) -> [u8; PIECE_BYTES] {
        let mut far = before;
        let limits = self.mask.iter().zip(self.fixed.iter().zip(&self.most));
        for ((far, byte), (mask, (fixed, most))) in far.iter_mut().zip(bytes).zip(limits) {
            let difference = (byte & mask) ^ fixed;
            *far |= match NUMBERS {
                true => difference.saturating_sub(*most),
                false if *most == 0 => difference,
                false => 0,
            };
        }
        far
    }
}

impl Draft {
    /// How to compare others with this record: pieces from its beginning, and the last one up to its end.
    fn pieces(&self, record: &[u8]) -> Vec<Piece> {
        let starts = (0..record.len().saturating_sub(PIECE_BYTES)).step_by(PIECE_BYTES);
        let starts = starts.chain([record.len().saturating_sub(PIECE_BYTES)]);
        let piece = |start| {
            let of = |bytes: &[u8]| padded(bytes.get(start..).unwrap_or_default());
            let (mask, most, mut fixed) = (of(&self.mask), of(&self.most), of(record));
            for (fixed, (mask, most)) in fixed.iter_mut().zip(mask.iter().zip(&most)) {
                *fixed = if *most == 0 { *fixed & mask } else { 0 };
            }
            Piece { mask, fixed, most }
        };
        starts.map(piece).collect()
    }
}

/// The first bytes, with zeros behind them if there are fewer.
fn padded(bytes: &[u8]) -> [u8; PIECE_BYTES] {
    let mut padded = [0; PIECE_BYTES];
    padded.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    padded
}

/// Where the varint of a field stands, whose message begins at `at`.
fn number(part: &Field<'_>, message: &[u8], at: usize) -> Range<usize> {
    let field = message.get(part.start..part.end).unwrap_or_default();
    // The tag is one, too.
    let tag = field.iter().take_while(|byte| **byte >= VARINT).count() + 1;
    at + part.start + tag..at + part.end
}

fn free_varint(mask: &mut [u8], range: Range<usize>) {
    for (index, byte) in mask.get_mut(range).unwrap_or_default().iter_mut().enumerate() {
        // The tenth byte holds one bit, and not any.
        if index < 9 {
            *byte = VARINT;
        }
    }
}

impl Varint {
    /// One that stands in this range; `None` if that is longer than a word.
    fn at(range: &Range<usize>) -> Option<Self> {
        let len = range.end.checked_sub(range.start).filter(|len| (1..=8).contains(len))?;
        Some(Self { at: range.start, mask: (u64::MAX >> (64 - 8 * len)) & 0x7f7f_7f7f_7f7f_7f7f })
    }

    /// Its value in a record: the bytes' seven bits, moved together in pairs, then pairs of pairs, and so on.
    #[inline(always)]
    fn of(self, record: &[u8]) -> Option<u64> {
        let rest = record.get(self.at..)?;
        let word = match rest.first_chunk() {
            Some(word) => u64::from_le_bytes(*word),
            None => rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
        };
        let bytes = word & self.mask;
        let pairs = bytes & 0x007f_007f_007f_007f | (bytes & 0x7f00_7f00_7f00_7f00) >> 1;
        let fours = pairs & 0x0000_3fff_0000_3fff | (pairs & 0x3fff_0000_3fff_0000) >> 2;
        Some(fours & 0x0fff_ffff | (fours & 0x0fff_ffff_0000_0000) >> 4)
    }
}

#[cfg(test)]
mod tests;
