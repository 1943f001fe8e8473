//! Bytes of a file, as windows for a scanner: mapped where the file can't change any more, read where it may.

use std::borrow::Cow;
use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Read, SeekFrom};
use std::path::Path;

use super::map;
use super::storage::{StorageRead, open_file, open_known};

/// Bytes read at a time from files that may change.
const READ_BYTES: usize = 256 << 10;

/// How much of a file's beginning and end is read before anything is looked for there: most HEADERs with the head of the
/// frame behind them, and most SEALs with their trailer. What is longer is read by itself.
const HEAD_BYTES: u64 = 4 << 10;
const TAIL_BYTES: u64 = 24 << 10;

/// How much of an end is read when it turns out to be longer: all SEALs that don't hold a large schema.
const LONG_TAIL_BYTES: u64 = 64 << 10;

/// A file's bytes from some position on.
pub(crate) enum Source {
    /// A sealed file, all of it at hand.
    Mapped(map::Map),
    /// A file that may grow or shrink: mapping it would end the process when it shrinks.
    Plain { file: Opened, buffer: Vec<u8>, begin: u64, at_end: bool, edges: Vec<Edge> },
}

/// What is read plainly.
pub(crate) enum Opened {
    /// A file of the computer's: any place of it takes one call.
    File(File),
    /// Anything else.
    Other(Box<dyn StorageRead>),
}

/// A file's beginning or end, in memory.
#[derive(Debug)]
pub(crate) struct Edge {
    begin: u64,
    bytes: Vec<u8>,
}

impl Source {
    /// Opens `path`, to be read; also what the file system said of it just before.
    pub(crate) fn open(path: &Path) -> io::Result<(Self, Metadata)> {
        let (file, metadata) = open_known(path)?;
        Ok((Self::of(Opened::File(file)), metadata))
    }

    /// Maps `path`, which nobody changes any more. An empty file can't be mapped: it is opened to be read.
    pub(crate) fn map(path: &Path) -> io::Result<Self> {
        let file = open_file(path)?;
        if file.metadata()?.len() == 0 { Ok(Self::of(Opened::File(file))) } else { Ok(Self::Mapped(map::map(&file)?)) }
    }

    /// Reads `file`.
    pub(crate) fn plain(file: Box<dyn StorageRead>) -> Self {
        Self::of(Opened::Other(file))
    }

    fn of(file: Opened) -> Self {
        Self::Plain { file, buffer: Vec::new(), begin: 0, at_end: false, edges: Vec::new() }
    }

    /// Bytes in the file.
    pub(crate) fn len(&mut self) -> io::Result<u64> {
        match self {
            Self::Mapped(map) => Ok(map.len() as u64),
            Self::Plain { file, .. } => file.reader().seek(SeekFrom::End(0)),
        }
    }

    /// Reads the beginning and the end of a file of `len` bytes, where [`peek`](Self::peek) and [`read`](Self::read) find
    /// them until [`forget_edges`](Self::forget_edges): what a segment is stands there, in several places.
    pub(crate) fn read_edges(&mut self, len: u64) -> io::Result<()> {
        let Self::Plain { file, edges, .. } = self else { return Ok(()) };
        let tail = len.saturating_sub(TAIL_BYTES);
        edges.clear();
        let mut add = |begin, end| -> io::Result<()> {
            edges.push(Edge { begin, bytes: file.read(begin, end - begin)? });
            Ok(())
        };
        // In one piece, if nothing lies between.
        if tail <= HEAD_BYTES {
            return add(0, len);
        }
        add(0, HEAD_BYTES)?;
        add(tail, len)
    }

    /// What is to be looked at next is all that stands from `position` to the file's end: if the end that was read is
    /// shorter, and this isn't long, it is completed.
    pub(crate) fn lengthen_tail(&mut self, position: u64) -> io::Result<()> {
        let Self::Plain { file, edges, .. } = self else { return Ok(()) };
        let Some(tail) = edges.last_mut() else { return Ok(()) };
        let end = tail.begin + tail.bytes.len() as u64;
        if position < tail.begin && end - position <= LONG_TAIL_BYTES {
            let mut bytes = file.read(position, tail.begin - position)?;
            if bytes.len() as u64 == tail.begin - position {
                bytes.append(&mut tail.bytes);
                *tail = Edge { begin: position, bytes };
            }
        }
        Ok(())
    }

    /// The file is looked at as it is now.
    pub(crate) fn forget_edges(&mut self) {
        if let Self::Plain { edges, .. } = self {
            edges.clear();
        }
    }

    /// The bytes from `position` on that are at hand, and whether the file ends with them.
    pub(crate) fn window(&self, position: u64) -> (&[u8], bool) {
        match self {
            Self::Mapped(map) => (tail(map, position), true),
            Self::Plain { buffer, begin, at_end, .. } => (tail(buffer, position.saturating_sub(*begin)), *at_end),
        }
    }

    /// Makes what stands from `position` on ready to be looked at, if it is mapped.
    #[inline]
    pub(crate) fn prepare(&mut self, position: u64) -> io::Result<()> {
        if let Self::Mapped(map) = self { map.prepare(position) } else { Ok(()) }
    }

    /// Reads on until `window(position)` has at least `bytes` bytes or the file ends. Bytes before `position` are
    /// given up.
    pub(crate) fn fill(&mut self, position: u64, bytes: usize) -> io::Result<()> {
        let Self::Plain { file, buffer, begin, at_end, .. } = self else { return Ok(()) };
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
        let file = file.reader();
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
            Self::Plain { file, edges, .. } => match at_edge(edges, position, bytes.len() as u64) {
                Some(found) => bytes.copy_from_slice(found),
                None => return Ok(file.read_at(position, bytes)? == bytes.len()),
            },
        }
        Ok(true)
    }

    /// At most `most` bytes from `position` on, whatever the windows are.
    pub(crate) fn read(&mut self, position: u64, most: u32) -> io::Result<Cow<'_, [u8]>> {
        match self {
            Self::Mapped(map) => {
                let bytes = tail(map, position);
                Ok(Cow::Borrowed(bytes.get(..most as usize).unwrap_or(bytes)))
            }
            Self::Plain { file, edges, .. } => match at_edge(edges, position, most.into()) {
                Some(found) => Ok(Cow::Borrowed(found)),
                None => Ok(Cow::Owned(file.read(position, most.into())?)),
            },
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

impl Opened {
    fn reader(&mut self) -> &mut dyn StorageRead {
        match self {
            Self::File(file) => file,
            Self::Other(file) => file,
        }
    }

    /// At most `most` bytes from `position` on.
    fn read(&mut self, position: u64, most: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        loop {
            let begin = bytes.len();
            // Grows with what is there.
            let more = (most - begin as u64).min(READ_BYTES as u64) as usize;
            bytes.resize(begin + more, 0);
            let place = bytes.get_mut(begin..).unwrap_or_default();
            let read = self.read_at(position.saturating_add(begin as u64), place)?;
            bytes.truncate(begin + read);
            if read < more || bytes.len() as u64 == most {
                return Ok(bytes);
            }
        }
    }

    /// Fills `bytes` from `position` on; returns how many there were.
    fn read_at(&mut self, position: u64, mut bytes: &mut [u8]) -> io::Result<usize> {
        let wanted = bytes.len();
        while !bytes.is_empty() {
            match self.read_some(position.saturating_add((wanted - bytes.len()) as u64), bytes) {
                Ok(0) => break,
                Ok(read) => bytes = bytes.get_mut(read..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // No file system has a file of that size: an offset out of a hostile index.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => break,
                Err(error) => return Err(error),
            }
        }
        Ok(wanted - bytes.len())
    }

    fn read_some(&mut self, position: u64, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            #[cfg(unix)]
            Self::File(file) => std::os::unix::fs::FileExt::read_at(file, bytes, position),
            #[cfg(windows)]
            Self::File(file) => std::os::windows::fs::FileExt::seek_read(file, bytes, position),
            #[allow(unreachable_patterns, reason = "all of them, where a file has no places to be read at")]
            _ => {
                let file = self.reader();
                file.seek(SeekFrom::Start(position))?;
                file.read(bytes)
            }
        }
    }
}

/// So many bytes from `position` on, if they are at an edge.
fn at_edge(edges: &[Edge], position: u64, len: u64) -> Option<&[u8]> {
    edges.iter().find_map(|edge| {
        let from = usize::try_from(position.checked_sub(edge.begin)?).ok()?;
        edge.bytes.get(from..from.checked_add(usize::try_from(len).ok()?)?)
    })
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
    fn what_is_read_at_the_edges_is_what_is_in_the_file() {
        let (head, tail, long) = (HEAD_BYTES, TAIL_BYTES, LONG_TAIL_BYTES);
        for len in [0, 1, head - 1, head, head + 1, head + tail, head + tail + 1, 3 * long] {
            let bytes: Vec<u8> = (0..len).map(|at| (at / 100) as u8).collect();
            let ends = [0, head, len.saturating_sub(tail), len.saturating_sub(long), len, u64::MAX];
            let places: Vec<u64> =
                ends.into_iter().flat_map(|end| [end.saturating_sub(1), end, end.saturating_add(1)]).collect();
            for longer in ends.into_iter().filter(|&end| end < len).map(Some).chain([None]) {
                let mut source = Source::plain(Box::new(io::Cursor::new(bytes.clone())));
                source.read_edges(len).unwrap();
                longer.iter().for_each(|&from| source.lengthen_tail(from).unwrap());
                for &place in &places {
                    for most in [0, 1, 64, tail as u32, 4 * long as u32] {
                        let from = (place.min(len)) as usize;
                        let there = &bytes[from..bytes.len().min(from + most as usize)];
                        assert_eq!(source.read(place, most).unwrap(), there, "{most} at {place} of {len}");
                        let mut read = vec![0; most as usize];
                        let all = source.peek(place, &mut read).unwrap();
                        assert_eq!(all, there.len() == read.len(), "{most} at {place} of {len}");
                        assert!(!all || read == there, "{most} at {place} of {len}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_file_that_is_shorter_than_it_was_has_an_end_all_the_same() {
        let mut source = Source::plain(Box::new(io::Cursor::new(vec![7; 100])));
        source.read_edges(1 << 20).unwrap();
        source.lengthen_tail((1 << 20) - LONG_TAIL_BYTES).unwrap();
        assert_eq!(source.read(90, 20).unwrap(), &[7; 10][..]);
        assert!(!source.peek((1 << 20) - 16, &mut [0; 16]).unwrap());
        assert!(source.peek(84, &mut [0; 16]).unwrap());
    }

    #[test]
    fn a_long_window_advances_in_long_steps() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let len = 8 << 20;
        std::fs::write(&path, vec![7; len]).unwrap();
        let mut source = Source::open(&path).unwrap().0;
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
