//! What happens to files: rot, bad blocks, copies that weren't finished, stale blocks of other files.

use crate::Arbitrary;

/// One thing that happens. Places and lengths are taken modulo the file's size. None of them has bytes of its own, so
/// that a fuzzer can't make up checksums with them: a forged frame is a frame.
#[derive(Debug, Clone, Arbitrary)]
pub enum Change {
    Flip {
        at: u16,
        bit: u8,
    },
    Fill {
        at: u16,
        len: u8,
        byte: u8,
    },
    /// A block of this many times 16 bytes.
    Zero {
        at: u16,
        blocks: u8,
    },
    /// Sync markers, and what else stands at beginnings.
    Marker {
        at: u16,
        which: u8,
    },
    /// A part of the file over another one.
    Copy {
        from: u16,
        to: u16,
        len: u16,
    },
    /// Bytes of another file, that stood there at the very same place.
    Stale {
        at: u16,
        len: u16,
    },
    Insert {
        at: u16,
        from: u16,
        len: u16,
    },
    Delete {
        at: u16,
        len: u16,
    },
    Cut {
        at: u16,
    },
    Repeat,
}

/// Whether every byte stays where it was.
pub fn keep_places(changes: &[Change]) -> bool {
    !changes.iter().any(|change| {
        matches!(change, Change::Insert { .. } | Change::Delete { .. } | Change::Cut { .. } | Change::Repeat)
    })
}

/// Does it all, in order, to a file that isn't empty; `stale` is the other file.
pub fn apply(changes: &[Change], bytes: &mut Vec<u8>, stale: &[u8]) {
    for change in changes {
        if !bytes.is_empty() {
            change.apply(bytes, stale);
        }
    }
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>, stale: &[u8]) {
        let size = bytes.len();
        let clip = |at: u16, len: usize| {
            let at = usize::from(at) % size;
            at..(at + len).min(size)
        };
        match *self {
            Self::Flip { at, bit } => bytes[usize::from(at) % size] ^= 1 << (bit % 8),
            Self::Fill { at, len, byte } => bytes[clip(at, len.into())].fill(byte),
            Self::Zero { at, blocks } => bytes[clip(at, usize::from(blocks) * 16)].fill(0),
            Self::Marker { at, which } => {
                let marks: [&[u8]; 5] =
                    [&crate::segment::SYNC, &crate::segment::MAGIC, b"SFR-SEAL", &[0xff; 8], &[0; 8]];
                let mark = marks[usize::from(which) % marks.len()];
                let place = clip(at, mark.len());
                bytes[place.clone()].copy_from_slice(&mark[..place.len()]);
            }
            Self::Copy { from, to, len } => {
                let (from, to) = (clip(from, len.into()), clip(to, len.into()));
                let len = from.len().min(to.len());
                bytes.copy_within(from.start..from.start + len, to.start);
            }
            Self::Stale { at, len } => {
                let place = clip(at, len.into());
                let there = stale.get(place.start..place.end.min(stale.len())).unwrap_or_default();
                bytes[place.start..place.start + there.len()].copy_from_slice(there);
            }
            Self::Insert { at, from, len } => {
                let piece = bytes[clip(from, len.into())].to_vec();
                let at = clip(at, 0).start;
                bytes.splice(at..at, piece);
            }
            Self::Delete { at, len } => drop(bytes.drain(clip(at, len.into()))),
            Self::Cut { at } => bytes.truncate(usize::from(at) % size),
            Self::Repeat if size < 1 << 17 => bytes.extend_from_within(..),
            Self::Repeat => {}
        }
    }
}
