//! Bytes of a file, as windows for a scanner: mapped where the file can't change any more, read where it may.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use super::map;
use super::storage::NOT_REGULAR;

/// Bytes read at a time from files that may change.
const READ_BYTES: usize = 256 << 10;

/// A file's bytes from some position on.
#[derive(Debug)]
pub(crate) enum Source {
    /// A sealed file, all of it at hand.
    Mapped(memmap2::Mmap),
    /// A file that may grow or shrink: mapping it would end the process when it shrinks.
    Plain { file: File, buffer: Vec<u8>, begin: u64, at_end: bool },
}

impl Source {
    /// Opens `path`; `sealed` says that nobody changes it any more.
    pub(crate) fn open(path: &Path, sealed: bool) -> io::Result<Self> {
        let file = open_file(path)?;
        if sealed && file.metadata()?.len() > 0 {
            return Ok(Self::Mapped(map::map(&file)?));
        }
        Ok(Self::Plain { file, buffer: Vec::new(), begin: 0, at_end: false })
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
        let read = file.by_ref().take(wanted as u64).read_to_end(buffer)?;
        *at_end = read < wanted;
        Ok(())
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

    /// The file may have grown since its end was met: the next window that reaches it doesn't count as the last.
    pub(crate) fn forget_end(&mut self) {
        if let Self::Plain { at_end, .. } = self {
            *at_end = false;
        }
    }
}

/// Opens a file for reading. A pipe would wait for a writer, and a device has no end: both are refused.
pub(crate) fn open_file(path: &Path) -> io::Result<File> {
    match path.metadata()?.is_file() {
        true => File::open(path),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, NOT_REGULAR)),
    }
}

/// Fills `bytes` from `offset` on; false if the file is too short.
pub(crate) fn read_at(file: &mut File, offset: u64, bytes: &mut [u8]) -> io::Result<bool> {
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
    fn a_long_window_advances_in_long_steps() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let len = 8 << 20;
        std::fs::write(&path, vec![7; len]).unwrap();
        let mut source = Source::open(&path, false).unwrap();
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
