//! Finding out who a segment is: what HEADER, SEAL and name say, and which of them is right.

use std::io;

use uuid::Uuid;

use super::name::SegmentName;
use super::source::Source;
use crate::format::{
    Bounded, FRAME_HEADER_BYTES, Frame, FrameHeader, Kind, MAGIC, PayloadDecoder, Scanner, Seal, SegmentHeader, Step,
    TRAILER_BYTES, decode_trailer, segment_id,
};

/// Who a segment is, as far as anything in it or its name tells ([F-33]).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Identity {
    /// HEADER's message, or SEAL's copy of it; `None` if both are lost.
    pub header: Option<SegmentHeader>,
    /// The session.
    pub session: Option<Uuid>,
    /// The segment's number in the session.
    pub index: Option<u32>,
    /// The segment's id, which all its frames carry; learnt from the first sound frame if nothing else tells it.
    pub segment_id: Option<u64>,
}

impl Identity {
    fn of(header: SegmentHeader, frame: &FrameHeader) -> Self {
        Self {
            session: header.session(),
            index: Some(header.segment_index),
            segment_id: Some(frame.segment_id),
            header: Some(header),
        }
    }
}

/// [F-37]: the segment's id where HEADER, SEAL and name may disagree: the one that most sound frames carry.
pub(super) fn settle(source: &mut Source, ids: [Option<u64>; 3]) -> io::Result<Option<u64>> {
    let mut claims: Vec<u64> = Vec::new();
    for id in ids.into_iter().flatten() {
        if !claims.contains(&id) {
            claims.push(id);
        }
    }
    if claims.len() < 2 {
        return Ok(claims.first().copied());
    }
    let mut best: Option<(u64, u64)> = None;
    for id in claims {
        let frames = count_frames(source, id)?;
        if best.is_none_or(|(_, most)| frames > most) {
            best = Some((id, frames));
        }
    }
    Ok(best.map(|(id, _)| id))
}

/// How many sound frames of the segment `id` the file has.
fn count_frames(source: &mut Source, id: u64) -> io::Result<u64> {
    source.rewind();
    let mut scanner = Scanner::new(Some(id));
    let mut frames = 0;
    loop {
        let (window, at_end) = source.window(scanner.position());
        match scanner.step(window, at_end) {
            Step::NeedMore(bytes) => source.fill(scanner.position(), bytes)?,
            Step::End => {
                source.rewind();
                return Ok(frames);
            }
            Step::Frame(_) => frames += 1,
            Step::Damage(_) | Step::Torn(_) => {}
        }
    }
}

/// [F-33]: HEADER, else SEAL's copy, else the name; all of the segment that has this id. Without them, the id is all.
pub(super) fn identify(
    header: Option<(SegmentHeader, FrameHeader)>,
    seal: Option<&(Seal, FrameHeader)>,
    name: Option<SegmentName>,
    id: Option<u64>,
) -> Identity {
    if let Some((header, frame)) = header {
        return Identity::of(header, &frame);
    }
    if let Some((Seal { header: Some(header), .. }, frame)) = seal {
        return Identity::of(header.clone(), frame);
    }
    match name {
        Some(name) => Identity {
            header: None,
            session: Some(name.session),
            index: Some(name.index),
            segment_id: Some(segment_id(name.session, name.index)),
        },
        None => Identity { segment_id: id, ..Identity::default() },
    }
}

/// The HEADER frame, if it is sound.
pub(super) fn read_header(source: &mut Source) -> io::Result<Option<(SegmentHeader, FrameHeader)>> {
    read_frame(source, MAGIC.len() as u64, Kind::Header)
}

/// The SEAL frame that the trailer points at ([F-26]), if both are sound.
pub(super) fn read_seal(source: &mut Source, bytes: u64) -> io::Result<Option<(Seal, FrameHeader)>> {
    let mut trailer = [0; TRAILER_BYTES];
    let Some(at) = bytes.checked_sub(TRAILER_BYTES as u64) else { return Ok(None) };
    if !source.peek(at, &mut trailer)? {
        return Ok(None);
    }
    let Some(offset) = decode_trailer(&trailer).filter(|&offset| offset < at) else { return Ok(None) };
    source.lengthen_tail(offset)?;
    read_frame(source, offset, Kind::Seal)
}

/// The message of the frame of this kind at `offset`, if there is a sound one.
fn read_frame<M: Bounded>(source: &mut Source, offset: u64, kind: Kind) -> io::Result<Option<(M, FrameHeader)>> {
    let mut bytes = [0; FRAME_HEADER_BYTES];
    if !source.peek(offset, &mut bytes)? {
        return Ok(None);
    }
    let Some(header) = FrameHeader::decode(&bytes, offset, None).ok().filter(|header| header.kind == kind) else {
        return Ok(None);
    };
    // Bounded by [F-14] when the header was read.
    let stored = source.read(offset + FRAME_HEADER_BYTES as u64, header.stored_len)?;
    if stored.len() != header.stored_len as usize || crc32fast::hash(&stored) != header.payload_crc {
        return Ok(None);
    }
    let mut decoder = PayloadDecoder::default();
    let message = decoder.decode(&Frame { header, stored: &stored }).ok().and_then(M::decode_bounded);
    Ok(message.map(|message| (message, header)))
}
