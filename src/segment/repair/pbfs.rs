//! Mending a PBFS file: a sound copy of it, or a segment of the same messages.

use std::path::Path;

use prost::Message;
use uuid::Uuid;

use super::output::{Digest, Output, fits, is_sealed_with, trimmed};
use super::place::{Place, Placed, without_suffix};
use super::summary::Summary;
use super::{Condition, HeaderFrom, Loss, Losses, MENDED_SUFFIX, Repair, RepairError, RepairTo, Repaired};
use crate::format::{
    Codec, Compression, EncodeError, FLAG_BARE, FRAME_HEADER_BYTES, Frame, FrameHeader, Kind, MAX_RAW_BYTES,
    PayloadEncoder, RECORD_PREFIX_BYTES, RecordInfo, Records, SegmentHeader, TimeRange, check_raw_len, put_record,
    segment_id,
};
use crate::segment::error::SegmentError;
use crate::segment::name::SegmentName;
use crate::segment::pbfs::{PbfsEvent, PbfsReader};
use crate::segment::reader::SegmentReader;

/// Bytes of messages in a frame, but for a message that alone has more.
const FRAME_BYTES: usize = 64 << 10;

/// A PBFS file that was read.
#[derive(Default)]
struct Survey {
    losses: Losses,
    /// Sound chunks.
    chunks: u64,
    messages: u64,
    digest: Digest,
}

impl Survey {
    fn of(path: &Path, repair: &mut Repair<'_>) -> Result<Self, RepairError> {
        let (mut survey, mut reader) = (Self::default(), open(path, repair)?);
        while let Some(event) = reader.next_event()? {
            let loss = match event {
                PbfsEvent::Chunk(chunk) => {
                    survey.chunks += 1;
                    survey.messages += u64::from(chunk.count);
                    survey.digest.bytes(chunk.bytes);
                    continue;
                }
                PbfsEvent::Damage(damage) => Loss::Damage(damage),
                PbfsEvent::Torn(torn) => Loss::Torn(torn),
            };
            survey.losses.note(&loss);
            (repair.lost)(loss);
        }
        Ok(survey)
    }

    /// Nothing can be lost of a file that was cut off while it was written but what is torn.
    fn condition(&self) -> Condition {
        match self.losses {
            Losses { places: 0, torn_bytes: 0, .. } => Condition::Sound,
            _ if self.chunks == 0 => Condition::Nothing,
            Losses { places: 0, .. } => Condition::Unsealed,
            _ => Condition::Damaged,
        }
    }

    fn repaired(&self, condition: Condition, placed: Option<Placed>) -> Repaired {
        let (path, already_there, original) = match placed {
            Some(Placed { path, already_there, original }) => (Some(path), already_there, original),
            None => (None, false, None),
        };
        let (losses, header) = (self.losses, HeaderFrom::Own);
        Repaired { condition, path, already_there, original, records: self.messages, losses, unreadable: 0, header }
    }
}

fn open(path: &Path, repair: &Repair<'_>) -> Result<PbfsReader, RepairError> {
    let file = repair.storage.open(path).map_err(SegmentError::io("read", path))?;
    Ok(PbfsReader::from_reader(path, file))
}

/// Makes a sound PBFS file of the one at `path`: every sound chunk of it, byte for byte.
///
/// Nothing tells whether somebody is still writing such a file.
///
/// # Errors
/// [`RepairError`]; then the file is as it was. Damage isn't an error.
pub fn repair_pbfs(path: &Path, repair: &mut Repair<'_>) -> Result<Repaired, RepairError> {
    let survey = Survey::of(path, repair)?;
    let own = path.file_name().unwrap_or_default().to_owned();
    let names = without_suffix(path, MENDED_SUFFIX).into_iter().chain([own]).collect();
    let place = Place::new(repair.storage, path, repair.to, names);
    let condition = survey.condition();
    if condition == Condition::Nothing {
        return Ok(survey.repaired(condition, None));
    }
    if condition == Condition::Sound {
        return Ok(survey.repaired(condition, Some(place.keep()?)));
    }
    let placed = place.make(
        |draft| {
            let (mut reader, mut digest) = (open(path, repair)?, Digest::default());
            while let Some(event) = reader.next_event()? {
                if let PbfsEvent::Chunk(chunk) = event {
                    digest.bytes(chunk.bytes);
                    draft.append(chunk.bytes)?;
                }
            }
            unchanged(path, &survey, &digest)
        },
        |copy, ()| {
            let (mut reader, mut digest) = (open(copy, repair)?, Digest::default());
            while let Some(event) = reader.next_event()? {
                let PbfsEvent::Chunk(chunk) = event else { return Ok(false) };
                digest.bytes(chunk.bytes);
            }
            Ok(digest.value() == survey.digest.value())
        },
    )?;
    Ok(survey.repaired(condition, Some(placed)))
}

fn unchanged(path: &Path, survey: &Survey, now: &Digest) -> Result<(), RepairError> {
    if now.value() == survey.digest.value() { Ok(()) } else { Err(RepairError::Changed { path: path.to_owned() }) }
}

/// Makes a segment of the PBFS file at `path`, in `dir`: the messages of its sound chunks, in order and byte for byte, are
/// its records, with seqs from 0; ids that they carry stay ([F-21]).
///
/// `header` says of which session the segment is, and which requests precede it; its seq and index are set. Whoever
/// wants the same file to become the same segment whenever it is repaired derives the session from the file.
///
/// # Errors
/// [`RepairError`]; then the file is as it was. Damage isn't an error.
pub fn pbfs_to_segment(
    path: &Path,
    dir: &Path,
    session: Uuid,
    header: SegmentHeader,
    repair: &mut Repair<'_>,
) -> Result<Repaired, RepairError> {
    let survey = Survey::of(path, repair)?;
    if survey.chunks == 0 {
        return Ok(survey.repaired(Condition::Nothing, None));
    }
    let session_id = session.as_bytes().to_vec();
    let header = SegmentHeader { session_id, segment_index: 0, first_seq: 0, ..header };
    if !fits(&header) {
        let error = EncodeError::TooLarge { what: "the schema", bytes: header.encoded_len(), most: MAX_RAW_BYTES };
        return Err(encode(error));
    }
    let name = SegmentName { session, index: 0, open: false }.to_string();
    let place = Place::new(repair.storage, path, RepairTo::Dir(dir), vec![name.into()]);
    let placed = place.make(
        |draft| {
            let mut output = Output::begin(draft, segment_id(session, 0))?;
            output.message(Kind::Header, 0, TimeRange::EMPTY, &header.encode_to_vec())?;
            let (mut frames, mut reader) = (Frames::new(output)?, open(path, repair)?);
            let mut digest = Digest::default();
            while let Some(event) = reader.next_event()? {
                if let PbfsEvent::Chunk(chunk) = event {
                    digest.bytes(chunk.bytes);
                    chunk.messages().try_for_each(|message| frames.record(message))?;
                }
            }
            unchanged(path, &survey, &digest)?;
            frames.finish(header)
        },
        |copy, digest| {
            let file = repair.storage.open(copy).map_err(SegmentError::io("read", copy))?;
            is_sealed_with(SegmentReader::from_reader(copy, file)?, digest)
        },
    )?;
    Ok(survey.repaired(survey.condition(), Some(placed)))
}

/// DATA frames in the making.
struct Frames<'a> {
    output: Output<'a>,
    summary: Summary,
    encoder: PayloadEncoder,
    raw: Vec<u8>,
    stored: Vec<u8>,
    count: u32,
    bare: bool,
    times: TimeRange,
}

impl<'a> Frames<'a> {
    fn new(output: Output<'a>) -> Result<Self, RepairError> {
        let encoder = PayloadEncoder::new(Compression::default()).map_err(encode)?;
        let (raw, stored, summary) = (Vec::new(), Vec::new(), Summary::new(0));
        Ok(Self { output, summary, encoder, raw, stored, count: 0, bare: true, times: TimeRange::EMPTY })
    }

    fn record(&mut self, message: &[u8]) -> Result<(), RepairError> {
        if self.count > 0 && self.raw.len() + RECORD_PREFIX_BYTES + message.len() > FRAME_BYTES {
            self.frame()?;
        }
        put_record(&mut self.raw, message);
        self.count += 1;
        let info = RecordInfo::parse(message);
        self.bare &= info.as_ref().is_ok_and(RecordInfo::is_bare);
        if let Some(time) = info.ok().and_then(|info| info.timestamp) {
            self.times.include(time);
        }
        Ok(())
    }

    fn frame(&mut self) -> Result<(), RepairError> {
        let Some(records) = Records::parse(&self.raw, self.count).filter(|_| self.count > 0) else { return Ok(()) };
        let codec = self.encoder.compress(&self.raw, &mut self.stored).map_err(encode)?;
        let stored = match codec {
            Codec::None => &self.raw,
            _ => self.stored.get(FRAME_HEADER_BYTES..).unwrap_or_default(),
        };
        let (first_seq, count, times) = (self.summary.end_seq(), self.count, self.times);
        let header = FrameHeader {
            kind: Kind::Data,
            codec,
            flags: if self.bare { FLAG_BARE } else { 0 },
            stored_len: check_raw_len("a payload", stored.len()).map_err(encode)?,
            raw_len: check_raw_len("a payload", self.raw.len()).map_err(encode)?,
            count,
            first_seq,
            times,
            segment_id: 0,
            offset: 0,
            payload_crc: crc32fast::hash(stored),
        };
        let header = self.output.frame(&Frame { header, stored })?;
        self.summary.frame(&header);
        self.summary.records(records);
        self.raw.clear();
        (self.count, self.bare, self.times) = (0, true, TimeRange::EMPTY);
        Ok(())
    }

    fn finish(mut self, header: SegmentHeader) -> Result<u32, RepairError> {
        self.frame()?;
        self.output.seal(trimmed(self.summary.finish(0, Some(header))))
    }
}

fn encode(error: EncodeError) -> RepairError {
    RepairError::Write(error.into())
}
