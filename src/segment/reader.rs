//! Reading one segment, whatever its state: sealed, open, torn, damaged. Readers never write.

use std::fs::Metadata;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::error::SegmentError;
use super::identity::{Identity, identify, read_header, read_seal, settle};
use super::name::SegmentName;
use super::source::Source;
use super::storage::StorageRead;
use crate::format::{
    AddedFlows, Bounded, Damage, DamageCause, FLAG_BARE, FRAME_HEADER_BYTES, Frame, FrameHeader, Kind, MAGIC,
    MarkMessage, PayloadDecoder, PayloadError, Records, SYNC_MARKER, Scanner, Seal, SegmentHeader, Step, TimeRange,
    Torn, Unreadable, segment_id,
};

/// The records of one DATA frame.
#[derive(Debug, Clone)]
pub struct Batch<'a> {
    /// Where the frame begins, in bytes from the file's start.
    pub offset: u64,
    /// Seq of the first record.
    pub first_seq: u64,
    /// How many records.
    pub count: u32,
    /// Whether no record carries ids of its own ([F-21]).
    pub bare: bool,
    /// Their times.
    pub times: TimeRange,
    /// Their bytes: each a little-endian u32 length and the request ([F-20]).
    pub payload: &'a [u8],
    records: Records<'a>,
}

impl<'a> Batch<'a> {
    /// The requests, in order; the first has seq [`first_seq`](Self::first_seq).
    pub fn records(&self) -> Records<'a> {
        self.records.clone()
    }

    /// The seq behind the last record.
    pub fn end_seq(&self) -> u64 {
        self.first_seq + u64::from(self.count)
    }
}

/// A sound frame that this version can't make use of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Where the frame begins, in bytes from the file's start.
    pub offset: u64,
    /// Its bytes in the file.
    pub len: u64,
    /// Why it is skipped.
    pub reason: SkipReason,
    /// The seqs of its records, if it has any.
    pub seqs: Option<Range<u64>>,
}

/// Why a sound frame is skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SkipReason {
    /// A kind of a later version ([F-11]).
    UnknownKind(u8),
    /// A codec or critical flag of a later version ([F-12], [F-13]).
    Unreadable(Unreadable),
}

/// What a segment holds next.
#[derive(Debug)]
pub enum Event<'a> {
    /// HEADER.
    Header(SegmentHeader),
    /// Records.
    Records(Batch<'a>),
    /// Flows added.
    Schema(AddedFlows),
    /// A fact in time.
    Mark(MarkMessage),
    /// SEAL.
    Seal(Box<Seal>),
    /// A sound frame of a later version.
    Skipped(Skipped),
    /// Lost bytes.
    Damage(Damage),
    /// The file ends within a frame.
    Torn(Torn),
}

/// An event, and the frame that it was made of, if it was made of one.
pub(crate) type EventOfFrame<'a> = (Event<'a>, Option<Frame<'a>>);

/// Reads one segment from beginning to end.
#[derive(Debug)]
pub struct SegmentReader {
    path: PathBuf,
    source: Source,
    scanner: Scanner,
    decoder: PayloadDecoder,
    identity: Identity,
    seal: Option<Box<Seal>>,
    /// Where the SEAL frame begins; behind every other frame.
    seal_offset: u64,
    bytes: u64,
    /// The seq behind the last record that was read.
    end_seq: u64,
}

impl SegmentReader {
    /// Opens the segment at `path` and finds out who it is.
    ///
    /// # Errors
    /// [`SegmentError::Io`]. Damage isn't an error.
    pub fn open(path: &Path) -> Result<Self, SegmentError> {
        Self::open_as(path, true)
    }

    /// Like [`open`](Self::open), but never maps the file: for drives that may be pulled while it is read, which
    /// would end the process if it were mapped.
    ///
    /// # Errors
    /// [`SegmentError::Io`]. Damage isn't an error.
    pub fn open_plain(path: &Path) -> Result<Self, SegmentError> {
        Self::open_as(path, false)
    }

    /// Like [`open_plain`](Self::open_plain); also what the file system said of the file just before it was opened.
    pub(crate) fn open_known(path: &Path) -> Result<(Self, Metadata), SegmentError> {
        let (source, metadata) = Source::open(path).map_err(SegmentError::io("read", path))?;
        let reader = Self::over(path, source, metadata.len()).map_err(SegmentError::io("read", path))?;
        Ok((reader, metadata))
    }

    fn open_as(path: &Path, may_map: bool) -> Result<Self, SegmentError> {
        let (mut reader, _) = Self::open_known(path)?;
        // Only a file that its writer has finished with is mapped.
        if may_map && reader.seal.is_some() && SegmentName::of_path(path).is_some_and(|name| !name.open) {
            reader.source = Source::map(path).map_err(SegmentError::io("read", path))?;
        }
        Ok(reader)
    }

    /// Reads a segment that is open already; its name, and what errors call it, are `path`'s.
    ///
    /// # Errors
    /// [`SegmentError::Io`]. Damage isn't an error.
    pub fn from_reader(path: &Path, file: Box<dyn StorageRead>) -> Result<Self, SegmentError> {
        let mut source = Source::plain(file);
        source.len().and_then(|bytes| Self::over(path, source, bytes)).map_err(SegmentError::io("read", path))
    }

    /// Finds out who a segment of so many bytes is.
    fn over(path: &Path, mut source: Source, bytes: u64) -> io::Result<Self> {
        source.read_edges(bytes)?;
        let mut header = read_header(&mut source)?;
        let mut seal = read_seal(&mut source, bytes)?;
        let name = SegmentName::of_path(path);
        let ids = [
            header.as_ref().map(|(_, frame)| frame.segment_id),
            seal.as_ref().map(|(_, frame)| frame.segment_id),
            name.map(|name| segment_id(name.session, name.index)),
        ];
        // [F-37]: a HEADER or SEAL that stale bytes of another segment left in this file's place says nothing of it, nor
        // does another segment's name.
        let id = settle(&mut source, ids)?;
        header = header.filter(|(_, frame)| id == Some(frame.segment_id));
        seal = seal.filter(|(_, frame)| id == Some(frame.segment_id));
        let name = name.filter(|name| id == Some(segment_id(name.session, name.index)));
        let identity = identify(header, seal.as_ref(), name, id);
        let seal_offset = seal.as_ref().map_or(u64::MAX, |(_, frame)| frame.offset);
        Ok(Self {
            path: path.to_owned(),
            source,
            scanner: Scanner::new(identity.segment_id),
            decoder: PayloadDecoder::default(),
            identity,
            seal: seal.map(|(seal, _)| Box::new(seal)),
            seal_offset,
            bytes,
            end_seq: 0,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Who the segment is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The segment's id, as soon as anything has told it.
    pub fn segment_id(&self) -> Option<u64> {
        self.scanner.segment_id()
    }

    /// The SEAL that the trailer points at, found without scanning; `None` if there is none.
    pub fn seal(&self) -> Option<&Seal> {
        self.seal.as_deref()
    }

    /// The file's size in bytes when it was opened.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Where the next event begins, in bytes from the file's start.
    pub fn position(&self) -> u64 {
        self.scanner.position()
    }

    /// The header of the frame that begins at `offset` bytes, if a sound one of this segment does. Reading isn't moved.
    ///
    /// # Errors
    /// [`SegmentError::Io`] if the file can't be read.
    pub fn frame_at(&mut self, offset: u64) -> Result<Option<FrameHeader>, SegmentError> {
        let mut bytes = [0; FRAME_HEADER_BYTES];
        if !self.source.peek(offset, &mut bytes).map_err(SegmentError::io("read", &self.path))? {
            return Ok(None);
        }
        Ok(FrameHeader::decode(&bytes, offset, self.segment_id()).ok())
    }

    /// Goes on at `offset` bytes, where a frame is known to begin: a stretch of SEAL's index, whose first DATA frame has
    /// `first_seq`; or, with `None`, where an earlier reading of this segment ended ([`position`](Self::position), or
    /// the beginning of what was torn). What lies before is neither read nor reported.
    ///
    /// Returns whether it is so. If there is no such frame (an index may lie, a file be damaged or replaced), nothing is
    /// skipped: reading goes on where it was.
    ///
    /// # Errors
    /// [`SegmentError::Io`] if the file can't be read.
    pub fn skip_to(&mut self, offset: u64, first_seq: Option<u64>) -> Result<bool, SegmentError> {
        // Behind SEAL nothing is a frame ([F-2]).
        if offset < self.position().max(MAGIC.len() as u64) || self.position() > self.seal_offset {
            return Ok(false);
        }
        self.source.forget_edges();
        let frame = self.frame_at(offset)?;
        let fits = match (first_seq, &frame) {
            // [F-34]: seqs never go back, so that none behind `first_seq` stands in what is skipped.
            (Some(seq), Some(frame)) => {
                frame.kind == Kind::Data && frame.first_seq == seq && seq >= self.end_seq && offset < self.seal_offset
            }
            (None, Some(_)) => offset <= self.seal_offset,
            (None, None) => self.ends_at(offset)?,
            (Some(_), None) => false,
        };
        if fits {
            self.scanner = Scanner::at_frame(self.segment_id(), offset);
            self.source.forget_end();
        }
        Ok(fits)
    }

    /// Whether the file ends at `offset`, or in the middle of a frame's header that begins there.
    fn ends_at(&mut self, offset: u64) -> Result<bool, SegmentError> {
        let (mut byte, mut header) = ([0; 1], [0; FRAME_HEADER_BYTES]);
        let mut peek = |at, bytes: &mut [u8]| self.source.peek(at, bytes).map_err(SegmentError::io("read", &self.path));
        if !peek(offset.saturating_sub(1), &mut byte)? || peek(offset, &mut header)? {
            return Ok(false);
        }
        Ok(!peek(offset, &mut byte)? || SYNC_MARKER.first_chunk() == Some(&byte))
    }

    /// The next event; `None` at the end.
    ///
    /// # Errors
    /// [`SegmentError::Io`] if the file can't be read.
    pub fn next_event(&mut self) -> Result<Option<Event<'_>>, SegmentError> {
        Ok(self.next_frame()?.map(|(event, _)| event))
    }

    /// The next event, and the frame that it was made of, as it stands in the file, also if its payload is malformed.
    ///
    /// # Errors
    /// [`SegmentError::Io`] if the file can't be read.
    pub(crate) fn next_frame(&mut self) -> Result<Option<EventOfFrame<'_>>, SegmentError> {
        // From here on, the file as it is.
        self.source.forget_edges();
        let header = loop {
            let position = self.scanner.position();
            self.source.prepare(position).map_err(SegmentError::io("read", &self.path))?;
            let (window, at_end) = self.source.window(position);
            match self.scanner.step(window, at_end) {
                Step::NeedMore(bytes) => {
                    let position = self.scanner.position();
                    let read = self.source.fill(position, bytes);
                    read.map_err(SegmentError::io("read", &self.path))?;
                }
                Step::End => return Ok(None),
                Step::Damage(damage) => return Ok(Some((Event::Damage(damage), None))),
                Step::Torn(torn) => return Ok(Some((Event::Torn(torn), None))),
                // Only the place is kept, so that the borrow of the window ends here.
                Step::Frame(frame) => break frame.header,
            }
        };
        self.identity.segment_id.get_or_insert(header.segment_id);
        if header.kind == Kind::Data {
            self.end_seq = header.end_seq();
        }
        let window = self.source.window(header.offset).0;
        let frame = window.get(..FRAME_HEADER_BYTES + header.stored_len as usize);
        let stored = frame.and_then(|frame| frame.get(FRAME_HEADER_BYTES..)).unwrap_or_default();
        let frame = Frame { header, stored };
        Ok(Some((event(&mut self.decoder, frame), Some(frame))))
    }
}

fn event<'a>(decoder: &'a mut PayloadDecoder, frame: Frame<'a>) -> Event<'a> {
    let header = frame.header;
    let seqs = (header.count > 0).then(|| header.first_seq..header.end_seq());
    let skipped =
        |reason| Event::Skipped(Skipped { offset: header.offset, len: header.frame_len(), reason, seqs: seqs.clone() });
    // [F-40]: CHECKPOINT has no place in a segment.
    if let Kind::Unknown(_) | Kind::Checkpoint = header.kind {
        return skipped(SkipReason::UnknownKind(header.kind.to_byte()));
    }
    let malformed = Event::Damage(Damage {
        offset: header.offset,
        len: header.frame_len(),
        cause: DamageCause::Malformed,
        seqs: seqs.clone(),
    });
    let payload = match decoder.decode(&frame) {
        Ok(payload) => payload,
        Err(PayloadError::Unreadable(why)) => return skipped(SkipReason::Unreadable(why)),
        Err(PayloadError::Malformed) => return malformed,
    };
    let event = match header.kind {
        Kind::Header => SegmentHeader::decode_bounded(payload).map(Event::Header),
        Kind::Schema => AddedFlows::decode_bounded(payload).map(Event::Schema),
        Kind::Mark => MarkMessage::decode_bounded(payload).map(Event::Mark),
        Kind::Seal => Seal::decode_bounded(payload).map(|seal| Event::Seal(Box::new(seal))),
        Kind::Data => Records::parse(payload, header.count).map(|records| {
            Event::Records(Batch {
                offset: header.offset,
                first_seq: header.first_seq,
                count: header.count,
                bare: header.flags & FLAG_BARE != 0,
                times: header.times,
                payload,
                records,
            })
        }),
        Kind::Checkpoint | Kind::Unknown(_) => None,
    };
    event.unwrap_or(malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::{Disk, SegmentWriter};
    use std::fs;
    use std::sync::Arc;
    use uuid::Uuid;

    #[test]
    fn only_what_its_writer_has_finished_with_is_mapped() {
        let (dir, session) = (tempfile::tempdir().unwrap(), Uuid::from_u128(7));
        let name = |index, open| dir.path().join(SegmentName { session, index, open }.to_string());
        let header = |segment_index| SegmentHeader { segment_index, ..SegmentHeader::default() };
        let create = |index| SegmentWriter::create(Arc::new(Disk), dir.path(), session, header(index)).unwrap();
        let open = create(0).path();
        let sealed = create(1).seal().unwrap();
        // Renamed by somebody, or cut short: whoever did that may do more.
        let (renamed, nameless, cut) = (name(1, true), dir.path().join("copy"), name(0, false));
        for (from, to) in [(&sealed, &renamed), (&sealed, &nameless), (&open, &cut)] {
            fs::copy(from, to).unwrap();
        }
        let mapped = |reader: SegmentReader| matches!(reader.source, Source::Mapped(_));
        assert!(mapped(SegmentReader::open(&sealed).unwrap()));
        assert!(!mapped(SegmentReader::open_plain(&sealed).unwrap()));
        for path in [&open, &renamed, &nameless, &cut] {
            assert!(!mapped(SegmentReader::open(path).unwrap()), "{path:?}");
        }
    }
}
