//! CRC-32 of any range of a window in bounded time, for searches that would otherwise sum the same bytes again and
//! again ([P-3]).

use crc32fast::Hasher;

use super::limits::MAX_PBFS_CHUNK_BYTES;

/// Checksums of the beginnings of a part of a window, one per block, from which that of any range within the part
/// follows by linearity.
#[derive(Debug, Default)]
pub(super) struct RangeCrc {
    /// Where in the window the part begins.
    origin: usize,
    /// CRC of the part's first `i × BLOCK` bytes, at `i`.
    blocks: Vec<u32>,
}

impl RangeCrc {
    pub(super) const BLOCK: usize = 1024;

    /// CRC of `window[from..to]`; `None` if that isn't within the window. From call to call the window is the same and
    /// `from` never goes back.
    pub(super) fn range(&mut self, window: &[u8], from: usize, to: usize) -> Option<u32> {
        if from.checked_sub(self.origin)? as u64 > MAX_PBFS_CHUNK_BYTES {
            // So that the table stays bounded.
            *self = Self { origin: from, blocks: Vec::new() };
        }
        let part = window.get(self.origin..)?;
        let (from, to) = (from - self.origin, to.checked_sub(self.origin)?);
        let (head, whole) = (self.beginning(part, from)?, self.beginning(part, to)?);
        // crc(a ++ b) = shift(crc(a), len(b)) ^ crc(b), so crc(b) is what remains without the shifted head.
        let mut shifted = Hasher::new_with_initial_len(head, from as u64);
        shifted.combine(&Hasher::new_with_initial_len(0, to.checked_sub(from)? as u64));
        Some(whole ^ shifted.finalize())
    }

    /// CRC of the part's first `len` bytes.
    fn beginning(&mut self, part: &[u8], len: usize) -> Option<u32> {
        if self.blocks.is_empty() {
            self.blocks.push(0);
        }
        while self.blocks.len() <= len / Self::BLOCK {
            let done = (self.blocks.len() - 1) * Self::BLOCK;
            let mut crc = Hasher::new_with_initial(*self.blocks.last()?);
            crc.update(part.get(done..done + Self::BLOCK)?);
            #[cfg(test)]
            tests::HASHED.with(|hashed| hashed.set(hashed.get() + Self::BLOCK));
            self.blocks.push(crc.finalize());
        }
        let mut crc = Hasher::new_with_initial(*self.blocks.get(len / Self::BLOCK)?);
        crc.update(part.get(len / Self::BLOCK * Self::BLOCK..len)?);
        #[cfg(test)]
        tests::HASHED.with(|hashed| hashed.set(hashed.get() + len % Self::BLOCK));
        Some(crc.finalize())
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

    proptest! {
        #[test]
        fn ranges_have_the_checksum_that_they_have(
            bytes in proptest::collection::vec(any::<u8>(), 1..5000), a: usize, b: usize, origin: usize,
        ) {
            let (a, b) = (a % bytes.len(), b % bytes.len());
            let (from, to) = (a.min(b), a.max(b));
            let mut crc = RangeCrc { origin: origin % (from + 1), blocks: Vec::new() };
            prop_assert_eq!(crc.range(&bytes, from, to), Some(crc32fast::hash(&bytes[from..to])));
            prop_assert_eq!(crc.range(&bytes, from, bytes.len() + 1), None);
        }
    }
}
