//! CRC-32 of any range of a window in bounded time, for searches that would otherwise sum the same bytes again and
//! again ([P-3]).

use std::ops::Range;

use crc32fast::Hasher;

use super::limits::MAX_PBFS_CHUNK_BYTES;

/// A file's bytes that are at hand.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window<'a> {
    pub(super) bytes: &'a [u8],
    /// Where in the file they begin.
    pub(super) begin: u64,
}

impl<'a> Window<'a> {
    /// The bytes from one place of the file to another; `None` if they aren't all at hand.
    pub(super) fn get(&self, range: Range<u64>) -> Option<&'a [u8]> {
        let place = |at: u64| usize::try_from(at.checked_sub(self.begin)?).ok();
        self.bytes.get(place(range.start)?..place(range.end)?)
    }
}

/// Checksums of the beginnings of a part of the file, one per block, from which that of any range within the part
/// follows by linearity. They stay true when the window moves on, so that no byte is summed again for each of many
/// damaged places.
#[derive(Debug, Default)]
pub(super) struct RangeCrc {
    /// Where in the file the part begins.
    origin: u64,
    /// CRC of the part's first `i × BLOCK` bytes, at `i`.
    blocks: Vec<u32>,
}

impl RangeCrc {
    pub(super) const BLOCK: u64 = 1024;

    /// CRC of a range of the file; `None` if it isn't at hand. From call to call the window doesn't go back.
    pub(super) fn range(&mut self, window: Window<'_>, range: Range<u64>) -> Option<u32> {
        let summed = range.end.checked_sub(range.start)?;
        if summed < 2 * Self::BLOCK {
            return window.get(range).map(Self::sum);
        }
        let known = self.origin + (self.blocks.len() as u64).saturating_sub(1) * Self::BLOCK;
        // What lies between isn't at hand any more; or the table would grow with the file.
        if self.blocks.is_empty() || known < window.begin || window.begin - self.origin > MAX_PBFS_CHUNK_BYTES {
            *self = Self { origin: window.begin, blocks: vec![0] };
        }
        let first = range.start.checked_sub(self.origin)?.div_ceil(Self::BLOCK);
        let last = range.end.checked_sub(self.origin)? / Self::BLOCK;
        let whole = self.origin + first * Self::BLOCK..self.origin + last * Self::BLOCK;
        let (head, tail) = (window.get(range.start..whole.start)?, window.get(whole.end..range.end)?);
        let (before, upto) = (self.beginning(window, first)?, self.beginning(window, last)?);
        // crc(a ++ b) = shift(crc(a), len(b)) ^ crc(b), so crc(b) is what remains without the shifted head.
        let middle = upto ^ Self::joined(before, 0, whole.end - whole.start);
        let begun = Self::joined(Self::sum(head), middle, whole.end - whole.start);
        Some(Self::joined(begun, Self::sum(tail), range.end - whole.end))
    }

    /// CRC of what has the one CRC, followed by `len` bytes that have the other.
    fn joined(one: u32, other: u32, len: u64) -> u32 {
        let mut hasher = Hasher::new_with_initial_len(one, 0);
        hasher.combine(&Hasher::new_with_initial_len(other, len));
        hasher.finalize()
    }

    fn sum(bytes: &[u8]) -> u32 {
        #[cfg(test)]
        tests::HASHED.with(|hashed| hashed.set(hashed.get() + bytes.len()));
        crc32fast::hash(bytes)
    }

    /// CRC of the part's first so many blocks.
    fn beginning(&mut self, window: Window<'_>, blocks: u64) -> Option<u32> {
        let blocks = usize::try_from(blocks).ok()?;
        while self.blocks.len() <= blocks {
            let done = self.origin + (self.blocks.len() as u64 - 1) * Self::BLOCK;
            let block = Self::sum(window.get(done..done + Self::BLOCK)?);
            self.blocks.push(Self::joined(*self.blocks.last()?, block, Self::BLOCK));
        }
        self.blocks.get(blocks).copied()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    thread_local! {
        /// Bytes that this thread has summed while looking for a chunk.
        pub(in crate::format) static HASHED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
    }

    #[test]
    fn the_table_does_not_grow_with_the_file() {
        for beyond in [1, RangeCrc::BLOCK, MAX_PBFS_CHUNK_BYTES] {
            let begin = MAX_PBFS_CHUNK_BYTES + beyond;
            // As after a long search: all blocks up to where the window begins, and one more.
            let blocks = vec![0; (begin / RangeCrc::BLOCK + 2) as usize];
            let (mut crc, bytes) = (RangeCrc { origin: 0, blocks }, [7; 5000]);
            let sum = crc.range(Window { bytes: &bytes, begin }, begin..begin + 5000);
            assert_eq!(sum, Some(crc32fast::hash(&bytes)));
            assert!(crc.blocks.len() < 10, "{}", crc.blocks.len());
        }
    }

    #[test]
    fn no_byte_is_summed_again_for_each_range_wherever_in_the_file_it_is() {
        let bytes = vec![7; 300_000];
        for part in [0, 3, 100 * MAX_PBFS_CHUNK_BYTES] {
            let mut crc = RangeCrc::default();
            HASHED.with(|hashed| hashed.set(0));
            let steps = (0..200_000).step_by(1000);
            let ends = 2 * RangeCrc::BLOCK as usize * steps.len();
            for at in steps {
                let window = Window { bytes: &bytes[at..], begin: part + at as u64 };
                assert!(crc.range(window, window.begin..window.begin + 100_000).is_some());
            }
            let summed = HASHED.with(|hashed| hashed.get());
            assert!(summed <= bytes.len() + ends, "{summed} bytes from {part}");
        }
    }

    proptest! {
        #[test]
        fn ranges_have_the_checksum_that_they_have(
            bytes in proptest::collection::vec(any::<u8>(), 1..9000), ranges: Vec<(usize, usize, usize)>,
        ) {
            let (mut crc, mut begin) = (RangeCrc::default(), 0);
            for (forward, a, b) in ranges {
                // The window moves on, by little or by much.
                begin += forward % (bytes.len() - begin) / 4;
                let window = Window { bytes: &bytes[begin..], begin: begin as u64 };
                let place = |at: usize| begin + at % (bytes.len() - begin + 1);
                let (from, to) = (place(a).min(place(b)), place(a).max(place(b)));
                let sum = crc.range(window, from as u64..to as u64);
                prop_assert_eq!(sum, Some(crc32fast::hash(&bytes[from..to])), "{}..{} from {}", from, to, begin);
                prop_assert_eq!(crc.range(window, from as u64..bytes.len() as u64 + 1), None);
            }
        }
    }
}
