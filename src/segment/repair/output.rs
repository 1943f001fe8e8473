//! The frames of a mended segment, on their way into a draft.

use prost::Message;

use super::RepairError;
use super::place::Draft;
use crate::format::{
    Codec, Frame, FrameHeader, Kind, MAGIC, MAX_RAW_BYTES, Seal, TRAILER_BYTES, TimeRange, encode_trailer,
};
use crate::segment::reader::{Event, SegmentReader};

/// What frames say, whatever their places: two files with the same digest hold the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Digest(crc32fast::Hasher);

impl Digest {
    /// Takes in a frame; its payload's checksum stands for the payload. The header's own is left out: the CRC of anything
    /// followed by its CRC is always the same, so that nothing would be told apart.
    pub(super) fn frame(&mut self, header: &FrameHeader) {
        let header = FrameHeader { segment_id: 0, offset: 0, ..*header }.encode();
        self.0.update(header.split_last_chunk::<4>().map_or(&[], |(checked, _crc)| checked));
    }

    /// Takes in these bytes.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(super) fn value(&self) -> u32 {
        self.0.clone().finalize()
    }
}

/// Whether a message fits into a frame ([F-14]).
pub(super) fn fits(message: &impl Message) -> bool {
    message.encoded_len() <= MAX_RAW_BYTES as usize
}

/// A SEAL that fits into a frame: a HEADER that fills one leaves no room for its copy.
pub(super) fn trimmed(seal: Seal) -> Seal {
    if fits(&seal) { seal } else { Seal { header: None, ..seal } }
}

/// A segment that is being written.
pub(super) struct Output<'a> {
    draft: &'a mut Draft,
    segment_id: u64,
    offset: u64,
    buffer: Vec<u8>,
    digest: Digest,
}

impl<'a> Output<'a> {
    pub(super) fn begin(draft: &'a mut Draft, segment_id: u64) -> Result<Self, RepairError> {
        draft.append(&MAGIC)?;
        Ok(Self { draft, segment_id, offset: MAGIC.len() as u64, buffer: Vec::new(), digest: Digest::default() })
    }

    /// Appends a frame with its payload as it is stored; returns the header that it has here ([F-8], [F-9]).
    pub(super) fn frame(&mut self, frame: &Frame<'_>) -> Result<FrameHeader, RepairError> {
        let header = FrameHeader { segment_id: self.segment_id, offset: self.offset, ..frame.header };
        self.buffer.clear();
        self.buffer.extend_from_slice(&header.encode());
        self.buffer.extend_from_slice(frame.stored);
        self.draft.append(&self.buffer)?;
        self.offset += self.buffer.len() as u64;
        self.digest.frame(&header);
        Ok(header)
    }

    /// Appends a frame of another kind than DATA, uncompressed; `message` fits into one.
    pub(super) fn message(
        &mut self,
        kind: Kind,
        next_seq: u64,
        times: TimeRange,
        message: &[u8],
    ) -> Result<(), RepairError> {
        let len = message.len() as u32;
        let header = FrameHeader {
            kind,
            codec: Codec::None,
            flags: 0,
            stored_len: len,
            raw_len: len,
            count: 0,
            first_seq: next_seq,
            times,
            segment_id: self.segment_id,
            offset: self.offset,
            payload_crc: crc32fast::hash(message),
        };
        self.frame(&Frame { header, stored: message }).map(drop)
    }

    /// Appends SEAL and the trailer; returns the digest of all frames.
    pub(super) fn seal(mut self, seal: Seal) -> Result<u32, RepairError> {
        let at = self.offset;
        self.message(Kind::Seal, seal.end_seq, TimeRange::EMPTY, &seal.encode_to_vec())?;
        self.draft.append(&encode_trailer(at))?;
        Ok(self.digest.value())
    }
}

/// Whether a segment is whole, and its frames have this digest.
pub(super) fn is_sealed_with(mut reader: SegmentReader, digest: u32) -> Result<bool, RepairError> {
    let (mut found, mut seal_end) = (Digest::default(), 0);
    while let Some((event, frame)) = reader.next_frame()? {
        let (Some(Frame { header, .. }), false) = (frame, matches!(event, Event::Damage(_))) else { return Ok(false) };
        found.frame(&header);
        if header.kind == Kind::Seal {
            seal_end = header.offset.saturating_add(header.frame_len());
        }
    }
    let whole = seal_end.checked_add(TRAILER_BYTES as u64) == Some(reader.bytes());
    Ok(whole && found.value() == digest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::SegmentHeader;

    #[test]
    fn a_seal_that_fits_into_no_frame_goes_without_the_copy_of_header() {
        let header = SegmentHeader { ingestion_config: vec![0; MAX_RAW_BYTES as usize], ..Default::default() };
        let large = trimmed(Seal { header: Some(header), records: 5, ..Seal::default() });
        assert_eq!(large, Seal { records: 5, ..Seal::default() });
        let small = Seal { header: Some(SegmentHeader::default()), records: 5, ..Seal::default() };
        assert_eq!(trimmed(small.clone()), small);
    }

    fn digest(headers: &[FrameHeader]) -> u32 {
        let mut digest = Digest::default();
        headers.iter().for_each(|header| digest.frame(header));
        digest.value()
    }

    #[test]
    fn a_digest_tells_frames_apart_by_all_but_their_places() {
        let header = FrameHeader {
            kind: Kind::Data,
            codec: Codec::None,
            flags: 0,
            stored_len: 5,
            raw_len: 5,
            count: 1,
            first_seq: 7,
            times: TimeRange::at(9),
            segment_id: 3,
            offset: 8,
            payload_crc: 11,
        };
        let others = [
            FrameHeader { kind: Kind::Mark, ..header },
            FrameHeader { codec: Codec::Zstd, ..header },
            FrameHeader { flags: 1, ..header },
            FrameHeader { stored_len: 6, ..header },
            FrameHeader { raw_len: 6, ..header },
            FrameHeader { count: 0, ..header },
            FrameHeader { first_seq: 8, ..header },
            FrameHeader { times: TimeRange::at(10), ..header },
            FrameHeader { payload_crc: 12, ..header },
        ];
        for other in others {
            assert_ne!(digest(&[other]), digest(&[header]), "{other:?}");
            assert_ne!(digest(&[header, other]), digest(&[other, header]), "{other:?}");
        }
        assert_eq!(digest(&[FrameHeader { segment_id: 4, ..header }]), digest(&[header]));
        assert_eq!(digest(&[FrameHeader { offset: 80, ..header }]), digest(&[header]));
    }
}
