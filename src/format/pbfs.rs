//! PBFS, the format of the official library's disk backups: chunks, one after the other. Read only.
//!
//! A chunk is a CRC-32 (4 bytes) of all that follows in it, the length of its messages (8 bytes), and messages, each
//! behind its length (4 bytes) ([P-1]). There is no marker to resynchronise on, so after damage each byte is tried
//! as a chunk's first; [`RangeCrc`] keeps that linear in the file's size, whatever the bytes are ([P-3]).

use super::error::DamageCause;
use super::frame::take;
use super::limits::MAX_PBFS_CHUNK_BYTES;
use super::range_crc::{RangeCrc, Window};
use super::record::Records;
use super::scan::{Damage, Torn};

/// Bytes of a chunk before its messages.
pub const PBFS_HEADER_BYTES: usize = 12;

/// A sound chunk.
#[derive(Debug, Clone)]
pub struct PbfsChunk<'a> {
    /// Where it begins, in bytes from the file's start.
    pub offset: u64,
    /// How many messages it holds; may be none.
    pub count: u32,
    /// The messages, in order, each behind its length: laid out like a DATA payload.
    pub payload: &'a [u8],
    /// All of it, header included.
    pub bytes: &'a [u8],
}

impl<'a> PbfsChunk<'a> {
    /// The messages.
    pub fn messages(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        // The count was taken from this very payload.
        Records::parse(self.payload, self.count).into_iter().flatten()
    }
}

/// What a scanner found next.
#[derive(Debug)]
pub enum PbfsStep<'a> {
    /// A sound chunk.
    Chunk(PbfsChunk<'a>),
    /// Lost bytes; scanning goes on behind them.
    Damage(Damage),
    /// The file ends within a chunk.
    Torn(Torn),
    /// At least this many bytes from the scanner's position on are needed.
    NeedMore(usize),
    /// The end.
    End,
}

/// Finds the chunks of a PBFS file, in order.
#[derive(Debug, Default)]
pub struct PbfsScanner {
    position: u64,
    lost: Option<Lost>,
    crc: RangeCrc,
}

/// A search for the next sound chunk.
#[derive(Debug, Clone, Copy)]
struct Lost {
    from: u64,
    cause: DamageCause,
    /// Whether the first chunk lost may simply be unfinished.
    torn: bool,
}

/// A chunk's beginning, judged.
enum Judged<'a> {
    Sound {
        payload: &'a [u8],
        count: u32,
    },
    /// The checksum holds, so does the length; what is inside doesn't.
    Malformed {
        len: usize,
    },
    /// More bytes are needed: this many.
    Beyond(usize),
    /// The checksum doesn't hold; the length is possible, and all of it is at hand.
    BadChecksum {
        len: usize,
    },
    BadLength,
}

impl PbfsScanner {
    /// A scanner at a file's first byte.
    pub fn new() -> Self {
        Self::default()
    }

    /// The byte of the file at which the next step's window must begin.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Takes one step. `window` holds the file's bytes from [`position`](Self::position) on, as many as are at hand;
    /// `at_end` says that the file ends with them.
    pub fn step<'a>(&mut self, window: &'a [u8], at_end: bool) -> PbfsStep<'a> {
        let window = Window { bytes: window, begin: self.position };
        match self.lost.take() {
            Some(lost) => self.resync(lost, window, at_end),
            None => self.chunk(window, at_end),
        }
    }

    fn chunk<'a>(&mut self, window: Window<'a>, at_end: bool) -> PbfsStep<'a> {
        let from = self.position;
        if window.bytes.is_empty() {
            return if at_end { PbfsStep::End } else { PbfsStep::NeedMore(PBFS_HEADER_BYTES) };
        }
        let damage = |len: usize, cause| Damage { offset: from, len: len as u64, cause, seqs: None };
        let lost = match self.judge(window, 0) {
            Judged::Sound { payload, count } => {
                let bytes = window.bytes.get(..PBFS_HEADER_BYTES + payload.len()).unwrap_or_default();
                self.position += bytes.len() as u64;
                return PbfsStep::Chunk(PbfsChunk { offset: from, count, payload, bytes });
            }
            Judged::Malformed { len } => {
                self.position += len as u64;
                return PbfsStep::Damage(damage(len, DamageCause::Malformed));
            }
            Judged::Beyond(needed) if !at_end => return PbfsStep::NeedMore(needed),
            Judged::Beyond(_) => Lost { from, cause: DamageCause::ChunkLength, torn: true },
            Judged::BadLength => Lost { from, cause: DamageCause::ChunkLength, torn: false },
            Judged::BadChecksum { len } => {
                // [P-3]: where the length still holds, the next chunk stands behind it; a chunk within a message isn't
                // one. Judged only when all of the next chunk is at hand, so that the answer doesn't depend on the window.
                let cause = DamageCause::ChunkChecksum;
                match self.judge(window, len) {
                    Judged::Beyond(needed) if !at_end => return PbfsStep::NeedMore(len.saturating_add(needed)),
                    Judged::Sound { .. } | Judged::Malformed { .. } => {
                        self.position += len as u64;
                        return PbfsStep::Damage(damage(len, cause));
                    }
                    _ if len == window.bytes.len() => {
                        self.position += len as u64;
                        return PbfsStep::Damage(damage(len, cause));
                    }
                    _ => Lost { from, cause, torn: false },
                }
            }
        };
        self.resync(lost, window, at_end)
    }

    /// [P-3]: tries each byte as a chunk's first.
    fn resync<'a>(&mut self, lost: Lost, window: Window<'a>, at_end: bool) -> PbfsStep<'a> {
        let mut at = usize::from(lost.from == self.position);
        while let Some(tail) = window.bytes.get(at..).filter(|tail| !tail.is_empty()) {
            match plausible_len(tail) {
                Some(len) if len > tail.len() && !at_end => {
                    self.position += at as u64;
                    self.lost = Some(lost);
                    return PbfsStep::NeedMore(len);
                }
                // A chunk whose checksum holds is a chunk, also when what it holds is malformed.
                Some(len)
                    if len <= tail.len()
                        && matches!(self.judge(window, at), Judged::Sound { .. } | Judged::Malformed { .. }) =>
                {
                    self.position += at as u64;
                    let len = self.position - lost.from;
                    return PbfsStep::Damage(Damage { offset: lost.from, len, cause: lost.cause, seqs: None });
                }
                _ => at += 1,
            }
        }
        self.position += window.bytes.len() as u64;
        if !at_end {
            self.lost = Some(lost);
            return PbfsStep::NeedMore(PBFS_HEADER_BYTES);
        }
        let (offset, len) = (lost.from, self.position - lost.from);
        if lost.torn {
            PbfsStep::Torn(Torn { offset, len, seqs: None })
        } else {
            PbfsStep::Damage(Damage { offset, len, cause: lost.cause, seqs: None })
        }
    }

    /// Judges what stands at `at` of the window. Its checksum is derived: hostile bytes may have many beginnings of long
    /// chunks, and summing each would be quadratic.
    fn judge<'a>(&mut self, window: Window<'a>, at: usize) -> Judged<'a> {
        let mut rest = window.bytes.get(at..).unwrap_or_default();
        let (Some(stored_crc), Some(len)) =
            (take(&mut rest).map(u32::from_le_bytes), take(&mut rest).map(u64::from_le_bytes))
        else {
            return Judged::Beyond(PBFS_HEADER_BYTES);
        };
        // [P-2]: before anything is computed with it.
        if len > MAX_PBFS_CHUNK_BYTES {
            return Judged::BadLength;
        }
        let whole = PBFS_HEADER_BYTES + len as usize;
        let Some(payload) = rest.get(..len as usize) else { return Judged::Beyond(whole) };
        let begin = window.begin + at as u64;
        if self.crc.range(window, begin + 4..begin + whole as u64) != Some(stored_crc) {
            return Judged::BadChecksum { len: whole };
        }
        match count_messages(payload) {
            Some(count) => Judged::Sound { payload, count },
            None => Judged::Malformed { len: whole },
        }
    }
}

/// Bytes of the whole chunk that `bytes` would begin with, as far as that is possible; at least a header's if
/// `bytes` is too short to tell.
fn plausible_len(bytes: &[u8]) -> Option<usize> {
    let mut rest = bytes.get(4..).unwrap_or_default();
    let Some(len) = take(&mut rest).map(u64::from_le_bytes) else { return Some(PBFS_HEADER_BYTES) };
    if len > MAX_PBFS_CHUNK_BYTES {
        return None;
    }
    // A first message must fit, which settles nearly every false start without a checksum.
    if len > 0 {
        match take(&mut rest).map(u32::from_le_bytes) {
            Some(first) if len < 4 || u64::from(first) > len - 4 => return None,
            _ => {}
        }
    }
    Some(PBFS_HEADER_BYTES + len as usize)
}

fn count_messages(payload: &[u8]) -> Option<u32> {
    let mut rest = payload;
    let mut count = 0u32;
    while !rest.is_empty() {
        let len = u32::from_le_bytes(take(&mut rest)?);
        rest = rest.get(len as usize..)?;
        count = count.checked_add(1)?;
    }
    Some(count)
}

#[cfg(test)]
mod tests;
