//! The crate's ways of reading a segment.

use std::io::Cursor;
use std::ops::Range;
use std::path::Path;

use sift_replay::format::{Scanner, Step, Unreadable};
use sift_replay::segment::{Event, SegmentReader, SkipReason};

use super::oracle::Who;
use super::{Place, Skipped, Stands, What};
use crate::files;
use crate::growth::Growth;

fn pair(seqs: Option<Range<u64>>) -> Option<(u64, u64)> {
    seqs.map(|seqs| (seqs.start, seqs.end))
}

/// Steps through a file that comes in pieces, as one that is followed while it grows.
pub fn scan(file: &[u8], id: Option<u64>, growth: &Growth) -> Vec<Place> {
    let (mut scanner, mut sizes) = (Scanner::new(id), growth.sizes(file.len()));
    let (mut seen, mut found) = (sizes.next().unwrap_or(0), Vec::new());
    loop {
        let begin = scanner.position() as usize;
        let window = &file[begin..seen.max(begin)];
        let (offset, len, what) = match scanner.step(window, seen == file.len()) {
            Step::Frame(frame) => {
                let at = frame.header.offset as usize;
                assert_eq!(frame.stored, &file[at + 72..at + frame.header.frame_len() as usize]);
                (frame.header.offset, frame.header.frame_len(), Stands::Frame)
            }
            Step::Damage(damage) => {
                let what = Stands::Damage { cause: damage.cause.as_str(), seqs: pair(damage.seqs) };
                (damage.offset, damage.len, what)
            }
            Step::Torn(torn) => (torn.offset, torn.len, Stands::Torn { seqs: pair(torn.seqs) }),
            Step::NeedMore(bytes) => {
                assert!(seen < file.len(), "asks for more at the end");
                let wanted = scanner.position() as usize + bytes;
                assert!(wanted > seen, "asks for {wanted} bytes, and has {seen}");
                seen = sizes.next().unwrap_or(file.len());
                continue;
            }
            Step::End => {
                assert_eq!(scanner.position(), file.len() as u64, "where the end is");
                return found;
            }
        };
        assert_eq!(scanner.position(), offset + len, "goes on behind what it found");
        found.push(Place { offset, len, what });
    }
}

/// How a file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Mapped, if its name and its SEAL say that nobody changes it.
    File,
    Plain,
    Memory,
}

/// Reads a segment of that name: who it is, and what is in it, each with the place behind it.
pub fn read(name: &str, file: &[u8], way: Way) -> (Who, Vec<(u64, What)>) {
    let mut reader = match way {
        Way::File => SegmentReader::open(&files::put(name, file)),
        Way::Plain => SegmentReader::open_plain(&files::put(name, file)),
        Way::Memory => SegmentReader::from_reader(Path::new(name), Box::new(Cursor::new(file.to_vec()))),
    }
    .expect("a file that can be read");
    let identity = reader.identity().clone();
    let who = Who {
        header: identity.header,
        session: identity.session,
        index: identity.index,
        id: identity.segment_id,
        seal: reader.seal().cloned(),
    };
    let mut found = Vec::new();
    while let Some(event) = reader.next_event().expect("reading goes on") {
        let what = own(event);
        found.push((reader.position(), what));
    }
    assert_eq!(reader.position(), file.len() as u64, "where the end is");
    (who, found)
}

/// An event of its own.
pub fn own(event: Event<'_>) -> What {
    match event {
        Event::Header(header) => What::Header(header),
        Event::Records(batch) => What::Records {
            first_seq: batch.first_seq,
            bare: batch.bare,
            times: (batch.times.least, batch.times.greatest),
            records: batch.records().map(<[u8]>::to_vec).collect(),
        },
        Event::Schema(flows) => What::Schema(flows),
        Event::Mark(mark) => What::Mark(mark),
        Event::Seal(seal) => What::Seal(seal),
        Event::Skipped(skipped) => {
            let reason = match skipped.reason {
                SkipReason::UnknownKind(kind) => Skipped::Kind(kind),
                SkipReason::Unreadable(Unreadable::Codec(codec)) => Skipped::Codec(codec),
                SkipReason::Unreadable(Unreadable::CriticalFlags(flags)) => Skipped::Flags(flags),
            };
            What::Skipped { reason, seqs: pair(skipped.seqs) }
        }
        Event::Damage(damage) => What::Damage { cause: damage.cause.as_str(), seqs: pair(damage.seqs) },
        Event::Torn(torn) => What::Torn { seqs: pair(torn.seqs) },
    }
}
