//! Reading one PBFS file, the official library's disk backup. Readers never write. Such a file has no session, and its
//! name says nothing: who must know it again goes by a hash of its content ([P-4]).

use std::path::{Path, PathBuf};

use super::error::SegmentError;
use super::source::Source;
use super::storage::StorageRead;
use crate::format::{Damage, PBFS_HEADER_BYTES, PbfsChunk, PbfsScanner, PbfsStep, Torn};

/// How far into a file a sound chunk is looked for, in bytes, before it is taken for something else: a little more than
/// one chunk may have, so that a damaged first chunk doesn't hide a backup.
pub const SNIFF_BYTES: u64 = 72 << 20;

/// What a PBFS file holds next.
#[derive(Debug)]
pub enum PbfsEvent<'a> {
    /// A sound chunk.
    Chunk(PbfsChunk<'a>),
    /// Lost bytes.
    Damage(Damage),
    /// The file ends within a chunk.
    Torn(Torn),
}

/// Reads one PBFS file from beginning to end.
#[derive(Debug)]
pub struct PbfsReader {
    path: PathBuf,
    source: Source,
    scanner: PbfsScanner,
    /// Where reading ends at the latest, in bytes.
    limit: u64,
}

impl PbfsReader {
    /// Opens the file at `path`.
    ///
    /// # Errors
    /// [`SegmentError::Io`].
    pub fn open(path: &Path) -> Result<Self, SegmentError> {
        // Nothing tells whether such a file is finished, so it is never mapped.
        Ok(Self::over(path, Source::open(path).map_err(SegmentError::io("read", path))?.0))
    }

    /// Reads a file that is open already; errors call it `path`.
    pub fn from_reader(path: &Path, file: Box<dyn StorageRead>) -> Self {
        Self::over(path, Source::plain(file))
    }

    fn over(path: &Path, source: Source) -> Self {
        Self { path: path.to_owned(), source, scanner: PbfsScanner::new(), limit: u64::MAX }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the next event begins, in bytes from the file's start.
    pub fn position(&self) -> u64 {
        self.scanner.position()
    }

    /// The next event; `None` at the end.
    ///
    /// # Errors
    /// [`SegmentError::Io`] if the file can't be read.
    pub fn next_event(&mut self) -> Result<Option<PbfsEvent<'_>>, SegmentError> {
        let (offset, len, count) = loop {
            let position = self.scanner.position();
            if position >= self.limit {
                return Ok(None);
            }
            let (window, at_end) = self.source.window(position);
            match self.scanner.step(window, at_end) {
                PbfsStep::NeedMore(bytes) => {
                    let position = self.scanner.position();
                    let read = self.source.fill(position, bytes);
                    read.map_err(SegmentError::io("read", &self.path))?;
                }
                PbfsStep::End => return Ok(None),
                PbfsStep::Damage(damage) => return Ok(Some(PbfsEvent::Damage(damage))),
                PbfsStep::Torn(torn) => return Ok(Some(PbfsEvent::Torn(torn))),
                // Only the place is kept, so that the borrow of the window ends here.
                PbfsStep::Chunk(chunk) => break (chunk.offset, chunk.payload.len(), chunk.count),
            }
        };
        let bytes = self.source.window(offset).0.get(..PBFS_HEADER_BYTES + len).unwrap_or_default();
        let payload = bytes.get(PBFS_HEADER_BYTES..).unwrap_or_default();
        Ok(Some(PbfsEvent::Chunk(PbfsChunk { offset, count, payload, bytes })))
    }
}

/// Whether the file at `path` is PBFS: a sound chunk begins within its first [`SNIFF_BYTES`].
///
/// # Errors
/// [`SegmentError::Io`] if it can't be read.
pub fn is_pbfs(path: &Path) -> Result<bool, SegmentError> {
    let mut reader = PbfsReader { limit: SNIFF_BYTES, ..PbfsReader::open(path)? };
    while let Some(event) = reader.next_event()? {
        if matches!(event, PbfsEvent::Chunk(_)) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{Seek, SeekFrom, Write};

    /// Writes a chunk of so many bytes whose checksum holds and whose message exceeds it.
    fn malformed(file: &mut File, len: u64) {
        let zeros = vec![0; len as usize - PBFS_HEADER_BYTES - 4];
        let begin = [&(len - PBFS_HEADER_BYTES as u64).to_le_bytes()[..], &[0xff; 4]].concat();
        let mut crc = crc32fast::Hasher::new();
        crc.update(&begin);
        crc.update(&zeros);
        file.write_all(&crc.finalize().to_le_bytes()).unwrap();
        file.write_all(&begin).unwrap();
        file.seek(SeekFrom::Current(zeros.len() as i64)).unwrap();
    }

    #[test]
    fn a_chunk_that_begins_beyond_what_is_looked_at_is_not_looked_for() {
        let dir = tempfile::tempdir().unwrap();
        for (at, expected) in [(SNIFF_BYTES - 1, true), (SNIFF_BYTES, false)] {
            let path = dir.path().join(at.to_string());
            let mut file = File::create(&path).unwrap();
            malformed(&mut file, SNIFF_BYTES / 2);
            malformed(&mut file, at - SNIFF_BYTES / 2);
            let empty = [0; 8];
            file.write_all(&[&crc32fast::hash(&empty).to_le_bytes()[..], &empty].concat()).unwrap();
            assert_eq!(is_pbfs(&path).unwrap(), expected);
        }
    }
}
