//! PBFS files: made ([`Plan`]), read by the text ([`oracle`]), and read by the crate ([`scan`], [`read`]).

mod oracle;

use std::io::Cursor;
use std::path::Path;

use sift_replay::format::{PbfsChunk, PbfsScanner, PbfsStep};
use sift_replay::segment::{PbfsEvent, PbfsReader};

use crate::growth::Growth;
use crate::{Arbitrary, crc32, files};

pub use oracle::oracle;

/// A stretch of a file, and what was found there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub offset: u64,
    pub len: u64,
    pub what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    Chunk(Vec<Vec<u8>>),
    Damage(&'static str),
    Torn,
}

/// What a file is made of: chunks of messages.
#[derive(Debug, Clone, Arbitrary)]
pub struct Plan {
    chunks: Vec<Vec<Content>>,
}

#[derive(Debug, Clone, Arbitrary)]
enum Content {
    Empty,
    Bytes([u8; 3]),
    Long {
        len: u16,
        byte: u8,
    },
    /// The end of the file as it is so far: chunks.
    Nested(u16),
    /// What may look like a chunk that is longer than it can be, or not.
    Length {
        len: u32,
    },
}

impl Plan {
    /// The file, and its chunks.
    pub fn write(&self) -> (Vec<u8>, Vec<Found>) {
        let (mut file, mut found) = (Vec::new(), Vec::new());
        for chunk in &self.chunks {
            let messages: Vec<Vec<u8>> = chunk.iter().map(|content| content.bytes(&file)).collect();
            let payload: Vec<u8> =
                messages.iter().flat_map(|m| [&(m.len() as u32).to_le_bytes()[..], m].concat()).collect();
            let rest = [&(payload.len() as u64).to_le_bytes()[..], &payload].concat();
            let (offset, len) = (file.len() as u64, rest.len() as u64 + 4);
            file.extend(crc32(&rest).to_le_bytes());
            file.extend(rest);
            found.push(Found { offset, len, what: What::Chunk(messages) });
        }
        (file, found)
    }
}

impl Content {
    fn bytes(&self, file: &[u8]) -> Vec<u8> {
        match self {
            Self::Empty => Vec::new(),
            Self::Bytes(bytes) => bytes.to_vec(),
            Self::Long { len, byte } => vec![*byte; usize::from(len % 3000)],
            Self::Nested(len) => file[file.len().saturating_sub(usize::from(len % 2048))..].to_vec(),
            Self::Length { len } => u64::from(*len).to_le_bytes().repeat(3),
        }
    }
}

fn own(chunk: &PbfsChunk<'_>, file: &[u8]) -> Found {
    let (at, len) = (chunk.offset as usize, chunk.bytes.len());
    assert_eq!(chunk.bytes, &file[at..at + len], "a chunk's bytes are the file's");
    assert_eq!(chunk.payload, &file[at + 12..at + len], "a chunk's payload is the file's");
    let messages: Vec<Vec<u8>> = chunk.messages().map(<[u8]>::to_vec).collect();
    assert_eq!(messages.len(), chunk.count as usize);
    Found { offset: chunk.offset, len: len as u64, what: What::Chunk(messages) }
}

/// Steps through a file that comes in pieces.
pub fn scan(file: &[u8], growth: &Growth) -> Vec<Found> {
    let (mut scanner, mut sizes) = (PbfsScanner::new(), growth.sizes(file.len()));
    let (mut seen, mut all) = (sizes.next().unwrap_or(0), Vec::new());
    loop {
        let begin = scanner.position() as usize;
        let window = &file[begin..seen.max(begin)];
        let found = match scanner.step(window, seen == file.len()) {
            PbfsStep::Chunk(chunk) => own(&chunk, file),
            PbfsStep::Damage(damage) => {
                assert_eq!(damage.seqs, None);
                Found { offset: damage.offset, len: damage.len, what: What::Damage(damage.cause.as_str()) }
            }
            PbfsStep::Torn(torn) => Found { offset: torn.offset, len: torn.len, what: What::Torn },
            PbfsStep::NeedMore(bytes) => {
                assert!(seen < file.len(), "asks for more at the end");
                let wanted = scanner.position() as usize + bytes;
                assert!(wanted > seen, "asks for {wanted} bytes, and has {seen}");
                seen = sizes.next().unwrap_or(file.len());
                continue;
            }
            PbfsStep::End => {
                assert_eq!(scanner.position(), file.len() as u64, "where the end is");
                return all;
            }
        };
        assert_eq!(scanner.position(), found.offset + found.len, "goes on behind what it found");
        all.push(found);
    }
}

/// Reads a file: from memory, or a real one.
pub fn read(file: &[u8], real: bool) -> Vec<Found> {
    let mut reader = if real {
        PbfsReader::open(&files::put("file", file)).expect("a file that can be read")
    } else {
        PbfsReader::from_reader(Path::new("memory"), Box::new(Cursor::new(file.to_vec())))
    };
    let mut all = Vec::new();
    while let Some(event) = reader.next_event().expect("reading goes on") {
        all.push(match event {
            PbfsEvent::Chunk(chunk) => own(&chunk, file),
            PbfsEvent::Damage(damage) => {
                Found { offset: damage.offset, len: damage.len, what: What::Damage(damage.cause.as_str()) }
            }
            PbfsEvent::Torn(torn) => Found { offset: torn.offset, len: torn.len, what: What::Torn },
        });
    }
    all
}

/// Gives chunks the right checksum, one behind the other as their lengths say: the `i`-th if bit `i` of `which` is set.
pub fn mend(file: &mut [u8], which: u64) {
    let (mut at, mut i) = (0, 0);
    while let Some(len) = crate::u64_at(file, at + 4) {
        let Some(end) = usize::try_from(len).ok().and_then(|len| (at + 12).checked_add(len)) else { return };
        let Some(covered) = file.get(at + 4..end) else { return };
        if which >> (i % 64) & 1 == 1 {
            let crc = crc32(covered);
            file[at..at + 4].copy_from_slice(&crc.to_le_bytes());
        }
        (at, i) = (end, i + 1);
    }
}
