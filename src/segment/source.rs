//! Bytes of a file, as windows for a scanner: mapped where the file can't change any more, read where it may.

use std::fmt;
use std::io::{self, Read, SeekFrom};
use std::path::Path;

use super::map;
use super::storage::{Disk, Storage, StorageRead, open_file};

/// Bytes read at a time from files that may change.
const READ_BYTES: usize = 256 << 10;

/// A file's bytes from some position on.
pub(crate) enum Source {
    /// A sealed file, all of it at hand.
    Mapped(memmap2::Mmap),
    /// A file that may grow or shrink: mapping it would end the process when it shrinks.
    Plain { file: Box<dyn StorageRead>, buffer: Vec<u8>, begin: u64, at_end: bool },
}

impl Source {
    /// Opens `path`, to be read.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self::plain(Disk.open(path)?))
    }

    /// Maps `path`, which nobody changes any more. An empty file can't be mapped: it is opened to be read.
    pub(crate) fn map(path: &Path) -> io::Result<Self> {
        let file = open_file(path)?;
        if file.metadata()?.len() == 0 { Ok(Self::plain(Box::new(file))) } else { Ok(Self::Mapped(map::map(&file)?)) }
    }

    /// Reads `file`.
    pub(crate) fn plain(file: Box<dyn StorageRead>) -> Self {
        Self::Plain { file, buffer: Vec::new(), begin: 0, at_end: false }
    }

    /// Bytes in the file.
    pub(crate) fn len(&mut self) -> io::Result<u64> {
        match self {
            Self::Mapped(map) => Ok(map.len() as u64),
            Self::Plain { file, .. } => file.seek(SeekFrom::End(0)),
        }
    }

    /// The bytes from `position` on that are at hand, and whether the file ends with them.
    pub(crate) fn window(&self, position: u64) -> (&[u8], bool) {
        match self {
            Self::Mapped(map) => (tail(map, position), true),
            Self::Plain { buffer, begin, at_end, .. } => (tail(buffer, position.saturating_sub(*begin)), *at_end),
        }
    }

    /// Reads on until `window(position)` has at least `bytes` bytes or the file ends. Bytes before `position` are
    /// given up.
    pub(crate) fn fill(&mut self, position: u64, bytes: usize) -> io::Result<()> {
        let Self::Plain { file, buffer, begin, at_end } = self else { return Ok(()) };
        let used = usize::try_from(position.saturating_sub(*begin)).unwrap_or(usize::MAX).min(buffer.len());
        buffer.drain(..used);
        *begin += used as u64;
        if position > *begin {
            // A place that wasn't read yet.
            buffer.clear();
            *begin = position;
        }
        // In proportion to what is kept, so that a search through hostile lengths, which looks far ahead at each byte,
        // doesn't move and sum a long window for every short read ([P-3]).
        let wanted = bytes.saturating_sub(buffer.len()).max(READ_BYTES).max(buffer.len() / 4);
        file.seek(SeekFrom::Start(*begin + buffer.len() as u64))?;
        // Grows with what is there, not with what a length in the file claims.
        let read = file.take(wanted as u64).read_to_end(buffer)?;
        *at_end = read < wanted;
        Ok(())
    }

    /// Windows begin at the file's first byte again.
    pub(crate) fn rewind(&mut self) {
        if let Self::Plain { buffer, begin, at_end, .. } = self {
            buffer.clear();
            (*begin, *at_end) = (0, false);
        }
    }

    /// Fills `bytes` from `position` on, whatever the windows are; false if the file ends before.
    pub(crate) fn peek(&mut self, position: u64, bytes: &mut [u8]) -> io::Result<bool> {
        match self {
            Self::Mapped(map) => match tail(map, position).get(..bytes.len()) {
                Some(found) => bytes.copy_from_slice(found),
                None => return Ok(false),
            },
            Self::Plain { file, .. } => return read_at(file, position, bytes),
        }
        Ok(true)
    }

    /// At most `most` bytes from `position` on, whatever the windows are.
    pub(crate) fn read(&mut self, position: u64, most: u32) -> io::Result<Vec<u8>> {
        match self {
            Self::Mapped(map) => Ok(tail(map, position).iter().take(most as usize).copied().collect()),
            Self::Plain { file, .. } => {
                let mut bytes = Vec::new();
                if read_at(file, position, &mut [])? {
                    // Grows with what is there.
                    file.take(most.into()).read_to_end(&mut bytes)?;
                }
                Ok(bytes)
            }
        }
    }

    /// The file may have grown since its end was met: the next window that reaches it doesn't count as the last.
    pub(crate) fn forget_end(&mut self) {
        if let Self::Plain { at_end, .. } = self {
            *at_end = false;
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, bytes) = match self {
            Self::Mapped(map) => ("Mapped", map.len()),
            Self::Plain { buffer, .. } => ("Plain", buffer.len()),
        };
        f.debug_struct(kind).field("bytes_at_hand", &bytes).finish_non_exhaustive()
    }
}

/// Fills `bytes` from `offset` on; false if the file is too short.
fn read_at(file: &mut dyn StorageRead, offset: u64, bytes: &mut [u8]) -> io::Result<bool> {
    // No file system has a file of that size: an offset out of a hostile index.
    let seek = file.seek(SeekFrom::Start(offset)).map(|_| ());
    match seek.and_then(|()| file.read_exact(bytes)) {
        Err(e) if matches!(e.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput) => Ok(false),
        other => other.map(|()| true),
    }
}

fn tail(bytes: &[u8], from: u64) -> &[u8] {
    usize::try_from(from).ok().and_then(|from| bytes.get(from..)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_far_place_is_at_hand_after_one_reading_wherever_the_last_one_was() {
        let bytes: Vec<u8> = (0..4 * READ_BYTES as u32).map(|at| (at / 1000) as u8).collect();
        let mut source = Source::plain(Box::new(io::Cursor::new(bytes.clone())));
        for position in [0, 10, 3 * READ_BYTES + 10, 4 * READ_BYTES - 20, 4 * READ_BYTES + 5] {
            source.fill(position as u64, 20).unwrap();
            let (window, at_end) = source.window(position as u64);
            let expected = bytes.get(position..).unwrap_or_default();
            assert!(window.len() >= 20.min(expected.len()) && expected.starts_with(window), "{position}");
            assert!(!at_end || window.len() == expected.len(), "{position}");
        }
    }

    #[test]
    fn a_long_window_advances_in_long_steps() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let len = 8 << 20;
        std::fs::write(&path, vec![7; len]).unwrap();
        let mut source = Source::open(&path).unwrap();
        let (mut fills, mut position) = (0, 0);
        // A scanner that always wants half of the file behind the byte at which it stands.
        while !source.window(position).1 {
            source.fill(position, len / 2).unwrap();
            fills += 1;
            let window = source.window(position).0.len();
            assert!(window <= len / 2 + len / 8 + READ_BYTES, "{window} bytes kept");
            position += (window.saturating_sub(len / 2) + 1) as u64;
        }
        assert!(fills <= 6, "{fills} fills");
    }
}
