//! What a segment has, what is lost of it, and what a mended one must therefore have.

use std::path::Path;

use prost::Message;

use super::output::{Digest, Output, fits, trimmed};
use super::schema::Schema;
use super::summary::Summary;
use super::{HeaderFrom, Loss, Losses, Repair, RepairError};
use crate::format::{
    DamageCause, Frame, FrameHeader, Kind, MAGIC, Mark, MarkMessage, PayloadDecoder, Seal, SegmentHeader,
    TRAILER_BYTES, TimeRange, segment_id, segment_index,
};
use crate::segment::identity::Identity;
use crate::segment::name::SegmentName;
use crate::segment::reader::{Event, SegmentReader};

/// What the frames that are kept come to: all but HEADER and SEAL.
struct Kept {
    summary: Summary,
    digest: Digest,
    frames: u64,
    records: u64,
}

impl Kept {
    fn new() -> Self {
        Self { summary: Summary::new(0), digest: Digest::default(), frames: 0, records: 0 }
    }

    /// Takes note of a sound frame, where it stands now.
    fn frame(&mut self, event: &Event<'_>, header: &FrameHeader) {
        self.frames += 1;
        self.digest.frame(header);
        if header.kind == Kind::Data {
            self.summary.frame(header);
        }
        if let Event::Records(batch) = event {
            self.records += u64::from(batch.count);
            self.summary.records(batch.records());
        }
    }
}

/// The SEAL that was there.
enum Sealed {
    No,
    Yes(Box<Seal>),
    /// By a later version, in a way that this one can't read.
    Later,
}

/// A segment that was read.
pub(super) struct Survey {
    identity: Identity,
    segment_id: u64,
    /// HEADER's message, as far as anybody knows it.
    header: Option<SegmentHeader>,
    from: HeaderFrom,
    /// The seq and bytes of the first frame.
    first: Option<FrameHeader>,
    kept: Kept,
    /// Flows beside those of HEADER.
    schema: Schema,
    /// Of these, those whose SCHEMA frame is lost, as a message.
    lacking: Vec<u8>,
    sealed: Sealed,
    /// Whether SEAL is the last frame and the trailer stands behind it.
    ends_well: bool,
    /// Whether a HEADER stands elsewhere than at the beginning ([F-18]).
    stray: bool,
    losses: Losses,
    unreadable: u64,
    /// Behind the last record that is known to have been there.
    end_seq: u64,
}

impl Survey {
    /// Reads all of a segment.
    pub(super) fn of(
        mut reader: SegmentReader,
        name: Option<SegmentName>,
        repair: &mut Repair<'_>,
    ) -> Result<Self, RepairError> {
        let mut survey = Self {
            identity: reader.identity().clone(),
            segment_id: 0,
            header: None,
            from: HeaderFrom::Nobody,
            first: None,
            kept: Kept::new(),
            schema: Schema::default(),
            lacking: Vec::new(),
            sealed: Sealed::No,
            ends_well: false,
            stray: false,
            losses: Losses::default(),
            unreadable: 0,
            end_seq: 0,
        };
        let named_sealed = name.is_some_and(|name| !name.open);
        let (mut decoder, mut seal_end) = (PayloadDecoder::default(), 0);
        while let Some((event, frame)) = reader.next_frame()? {
            let loss = match &event {
                Event::Damage(damage) => Loss::Damage(damage.clone()),
                Event::Torn(torn) => Loss::Torn(torn.clone()),
                _ => {
                    if let Some(frame) = frame {
                        survey.frame(event, &frame, &mut decoder);
                        if frame.header.kind == Kind::Seal {
                            seal_end = frame.header.offset.saturating_add(frame.header.frame_len());
                        }
                    }
                    continue;
                }
            };
            survey.lose(&loss, named_sealed);
            (repair.lost)(loss);
        }
        survey.ends_well = seal_end.checked_add(TRAILER_BYTES as u64) == Some(reader.bytes());
        // [F-29]: a file gets its sealed name last.
        survey.losses.cut |= named_sealed && seal_end == 0 && survey.losses.places == 0;
        survey.identity.segment_id = reader.segment_id();
        let copy = reader.seal().and_then(|seal| seal.header.clone());
        survey.settle(copy, repair);
        Ok(survey)
    }

    fn frame(&mut self, event: Event<'_>, frame: &Frame<'_>, decoder: &mut PayloadDecoder) {
        let header = frame.header;
        self.first.get_or_insert(header);
        if let Event::Skipped(_) = event {
            self.unreadable += 1;
        }
        match header.kind {
            Kind::Header if header.offset != MAGIC.len() as u64 => self.stray = true,
            Kind::Header => {
                self.from = HeaderFrom::Own;
                if let Event::Header(message) = event {
                    self.end_seq = self.end_seq.max(message.first_seq);
                    self.header = Some(message);
                }
            }
            Kind::Seal => {
                self.sealed = Sealed::Later;
                if let Event::Seal(seal) = event {
                    self.end_seq = self.end_seq.max(seal.end_seq);
                    self.sealed = Sealed::Yes(seal);
                }
            }
            _ => {
                self.kept.frame(&event, &header);
                if let (Event::Schema(_), Ok(payload)) = (&event, decoder.decode(frame)) {
                    self.schema.add(payload);
                }
            }
        }
    }

    fn lose(&mut self, loss: &Loss, named_sealed: bool) {
        self.losses.note(loss);
        let seqs = match loss {
            // What a malformed or repeated frame claims to hold is not what the session had.
            Loss::Damage(damage) if damage.cause == DamageCause::PayloadChecksum => &damage.seqs,
            // What a recorder was cut off in was never a record.
            Loss::Torn(torn) if named_sealed => {
                self.losses.cut = true;
                &torn.seqs
            }
            Loss::Damage(_) | Loss::Torn(_) => &None,
        };
        self.end_seq = self.end_seq.max(seqs.as_ref().map_or(0, |seqs| seqs.end));
    }

    /// All is read: who the segment is, and which HEADER it gets.
    fn settle(&mut self, copy: Option<SegmentHeader>, repair: &Repair<'_>) {
        let copy = match &self.sealed {
            Sealed::Yes(seal) => seal.header.clone().or(copy),
            _ => copy,
        };
        if self.from != HeaderFrom::Own {
            (self.from, self.header) = match copy.clone().filter(fits) {
                Some(copy) => (HeaderFrom::Seal, Some(copy)),
                None => match self.of_sibling(repair).filter(fits) {
                    Some(header) => (HeaderFrom::Sibling, Some(header)),
                    None => (HeaderFrom::Nobody, None),
                },
            };
        } else if self.header.is_none() {
            // It stays as it is; a later version can read it.
            self.header = copy.clone();
        }
        let added = std::mem::take(&mut self.schema);
        self.schema = Schema::of(self.header.as_ref().map_or(&[], |header| &header.ingestion_config));
        self.schema.take_in(&added);
        if let Some(copy) = copy {
            self.lacking = self.schema.lacks(&copy.ingestion_config);
        }
        // [F-9]
        self.segment_id = match (self.identity.session, self.identity.index) {
            (Some(session), Some(index)) => segment_id(session, index),
            _ => self.identity.segment_id.unwrap_or_default(),
        };
    }

    /// [F-33]: what is known of the session from another of its segments, or from a copy of this one.
    fn of_sibling(&mut self, repair: &Repair<'_>) -> Option<SegmentHeader> {
        let sibling = (repair.sibling)(&self.identity)?;
        let session = sibling.session()?;
        let index = match (self.identity.session, self.identity.index) {
            (Some(own), Some(index)) => (own == session).then_some(index),
            _ => segment_index(session, self.identity.segment_id?),
        }?;
        (self.identity.session, self.identity.index) = (Some(session), Some(index));
        if sibling.segment_index == index {
            return Some(sibling);
        }
        // When it was begun, nobody knows.
        let first_seq = self.first.map_or(0, |first| first.first_seq);
        Some(SegmentHeader { segment_index: index, first_seq, wall_clock_ns: 0, monotonic_ns: 0, ..sibling })
    }

    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    pub(super) fn segment_id(&self) -> u64 {
        self.segment_id
    }

    pub(super) fn losses(&self) -> Losses {
        self.losses
    }

    pub(super) fn records(&self) -> u64 {
        self.kept.records
    }

    pub(super) fn unreadable(&self) -> u64 {
        self.unreadable
    }

    pub(super) fn header_from(&self) -> HeaderFrom {
        self.from
    }

    /// Whether there is nothing that could be kept.
    pub(super) fn is_nothing(&self) -> bool {
        self.kept.frames == 0 && matches!(self.from, HeaderFrom::Sibling | HeaderFrom::Nobody)
    }

    /// Whether nothing can be mended.
    pub(super) fn is_sound(&self) -> bool {
        let whole = self.ends_well && !self.stray && self.losses == Losses::default();
        let agrees = match &self.sealed {
            Sealed::No => false,
            Sealed::Later => true,
            Sealed::Yes(seal) => {
                // What is made of it would be the same.
                let header = self.copy_of_header();
                let as_made = trimmed(Seal { header, ..(**seal).clone() });
                let same = match (&seal.header, &as_made.header) {
                    (Some(copy), Some(made)) => {
                        let flows = self.schema.is(&copy.ingestion_config);
                        let ingestion_config = copy.ingestion_config.clone();
                        flows && *copy == SegmentHeader { ingestion_config, ..made.clone() }
                    }
                    (copy, made) => copy.is_none() == made.is_none(),
                };
                same && seal.end_seq >= self.end_seq && self.kept.summary.agrees_with(seal)
            }
        };
        // [F-19]: without a HEADER, if nobody knows it.
        whole && agrees && matches!(self.from, HeaderFrom::Own | HeaderFrom::Nobody)
    }

    /// Writes everything ahead of SEAL.
    pub(super) fn copy(
        &self,
        path: &Path,
        mut reader: SegmentReader,
        output: &mut Output<'_>,
    ) -> Result<Summary, RepairError> {
        let mut kept = Kept::new();
        if let (HeaderFrom::Seal | HeaderFrom::Sibling, Some(header)) = (self.from, &self.header) {
            output.message(Kind::Header, header.first_seq, TimeRange::EMPTY, &header.encode_to_vec())?;
            self.put_lacking(header.first_seq, output)?;
        }
        while let Some((event, frame)) = reader.next_frame()? {
            let (Some(frame), false) = (frame, matches!(event, Event::Damage(_))) else { continue };
            match frame.header.kind {
                Kind::Header if frame.header.offset == MAGIC.len() as u64 => {
                    output.frame(&frame)?;
                    self.put_lacking(frame.header.first_seq, output)?;
                }
                Kind::Header | Kind::Seal => {}
                _ => kept.frame(&event, &output.frame(&frame)?),
            }
        }
        if kept.digest.value() != self.kept.digest.value() {
            return Err(RepairError::Changed { path: path.to_owned() });
        }
        if let Some(note) = self.note() {
            // Not the present time: who repairs twice makes the same file twice.
            let wall_clock_ns = self.header.as_ref().map_or(0, |header| header.wall_clock_ns);
            let mark = MarkMessage { wall_clock_ns, mark: Some(Mark::Note(note)) }.encode_to_vec();
            output.message(Kind::Mark, self.end_seq_with(&kept), TimeRange::at(wall_clock_ns), &mark)?;
        }
        Ok(kept.summary)
    }

    fn put_lacking(&self, next_seq: u64, output: &mut Output<'_>) -> Result<(), RepairError> {
        if self.lacking.is_empty() {
            return Ok(());
        }
        output.message(Kind::Schema, next_seq, TimeRange::EMPTY, &self.lacking)
    }

    fn end_seq_with(&self, kept: &Kept) -> u64 {
        self.end_seq.max(kept.summary.end_seq())
    }

    /// SEAL for what was copied.
    pub(super) fn seal(&self, summary: Summary) -> Seal {
        trimmed(summary.finish(self.end_seq, self.copy_of_header()))
    }

    /// HEADER once more, with the flows added since.
    fn copy_of_header(&self) -> Option<SegmentHeader> {
        let mut copy = self.header.clone()?;
        copy.ingestion_config.extend_from_slice(self.schema.added());
        copy.ingestion_config.extend_from_slice(&self.lacking);
        Some(copy)
    }

    /// What was left out, for who reads the mended segment.
    fn note(&self) -> Option<String> {
        let Losses { places, bytes, torn_bytes, cut } = self.losses;
        let mut parts = Vec::new();
        if places > 0 {
            parts.push(format!("{places} damaged places with {bytes} bytes"));
        }
        if torn_bytes > 0 {
            parts.push(format!("a torn end of {torn_bytes} bytes"));
        }
        if cut {
            parts.push("an end that was missing though the file had been sealed".to_owned());
        }
        (!parts.is_empty()).then(|| format!("repaired without {}", parts.join(" and ")))
    }
}
