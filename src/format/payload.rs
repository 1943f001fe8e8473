//! Payloads on their way between memory and file: compressed, decompressed, or as they are.

use std::{fmt, io};

use zstd::zstd_safe::CParameter;

use super::error::{EncodeError, PayloadError};
use super::frame::{Codec, FRAME_HEADER_BYTES, Frame};
use super::limits::MAX_RAW_BYTES;

/// Decompresses payloads, reusing one buffer and one context.
#[derive(Default)]
pub struct PayloadDecoder {
    zstd: Option<zstd::bulk::Decompressor<'static>>,
    raw: Vec<u8>,
}

impl PayloadDecoder {
    /// The frame's payload before compression ([F-15]).
    ///
    /// # Errors
    /// [`PayloadError::Unreadable`] if this version can't; [`PayloadError::Malformed`] if the payload isn't what the
    /// header promises.
    pub fn decode<'a>(&'a mut self, frame: &Frame<'a>) -> Result<&'a [u8], PayloadError> {
        frame.header.readable()?;
        let raw_len = frame.header.raw_len as usize;
        if frame.header.codec == Codec::None {
            return if frame.stored.len() == raw_len { Ok(frame.stored) } else { Err(PayloadError::Malformed) };
        }
        // Bounded by [F-14] when the header was read.
        self.raw.clear();
        self.raw.reserve(raw_len);
        let zstd = match &mut self.zstd {
            Some(zstd) => zstd,
            None => self.zstd.insert(zstd::bulk::Decompressor::new().map_err(|_| PayloadError::Malformed)?),
        };
        match zstd.decompress_to_buffer(frame.stored, &mut self.raw) {
            Ok(len) if len == raw_len && self.raw.len() == raw_len => Ok(&self.raw),
            _ => Err(PayloadError::Malformed),
        }
    }
}

impl fmt::Debug for PayloadDecoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PayloadDecoder").field("buffer_bytes", &self.raw.capacity()).finish()
    }
}

/// How a writer compresses payloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all: for the fastest rigs.
    None,
    /// zstd at this level (−7…22; 1 is the default, negative levels are faster).
    Zstd(i32),
}

impl Default for Compression {
    fn default() -> Self {
        Self::Zstd(1)
    }
}

/// Compresses payloads behind a place left free for the frame's header, so that a frame is written in one piece.
pub struct PayloadEncoder {
    zstd: Option<zstd::bulk::Compressor<'static>>,
}

impl PayloadEncoder {
    /// An encoder for `compression`.
    ///
    /// # Errors
    /// zstd can't be set up (out of memory, or a level that it doesn't have).
    pub fn new(compression: Compression) -> Result<Self, EncodeError> {
        let zstd = match compression {
            Compression::None => None,
            Compression::Zstd(level) => Some(compressor(level).map_err(|e| EncodeError::Compress(e.to_string()))?),
        };
        Ok(Self { zstd })
    }

    /// Compresses `raw` into `out`, which then holds [`FRAME_HEADER_BYTES`] zeros and the stored payload; returns the
    /// codec. Returns [`Codec::None`] and leaves `out` empty when the payload is best stored as it is.
    ///
    /// # Errors
    /// [`EncodeError::TooLarge`] if `raw` exceeds a frame.
    pub fn compress(&mut self, raw: &[u8], out: &mut Vec<u8>) -> Result<Codec, EncodeError> {
        check_raw_len("a payload", raw.len())?;
        out.clear();
        let Some(zstd) = &mut self.zstd else { return Ok(Codec::None) };
        // The space beyond the raw length is never needed: what doesn't shrink is stored as it is.
        out.resize(FRAME_HEADER_BYTES + raw.len(), 0);
        let stored = match out.get_mut(FRAME_HEADER_BYTES..) {
            Some(place) => zstd.compress_to_buffer(raw, place),
            None => return Ok(Codec::None),
        };
        match stored {
            Ok(len) if len < raw.len() => {
                out.truncate(FRAME_HEADER_BYTES + len);
                Ok(Codec::Zstd)
            }
            _ => {
                out.clear();
                Ok(Codec::None)
            }
        }
    }
}

fn compressor(level: i32) -> io::Result<zstd::bulk::Compressor<'static>> {
    let mut zstd = zstd::bulk::Compressor::new(level)?;
    if level == 1 {
        // What two values have in common are a tag, two lengths and perhaps their highest bytes: four or five bytes, and
        // level 1 looks for six. On noise this takes a tenth less on disk, and no more time.
        zstd.set_parameter(CParameter::MinMatch(5))?;
    }
    Ok(zstd)
}

impl fmt::Debug for PayloadEncoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PayloadEncoder").field("zstd", &self.zstd.is_some()).finish()
    }
}

/// [F-14] on the writer's side.
pub(crate) fn check_raw_len(what: &'static str, bytes: usize) -> Result<u32, EncodeError> {
    match u32::try_from(bytes) {
        Ok(len) if len <= MAX_RAW_BYTES => Ok(len),
        _ => Err(EncodeError::TooLarge { what, bytes, most: MAX_RAW_BYTES }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::frame::{FrameHeader, Kind, TimeRange};

    fn header(raw_len: u32, codec: Codec) -> FrameHeader {
        FrameHeader {
            kind: Kind::Data,
            codec,
            flags: 0,
            stored_len: 0,
            raw_len,
            count: 1,
            first_seq: 0,
            times: TimeRange::EMPTY,
            segment_id: 1,
            offset: 8,
            payload_crc: 0,
        }
    }

    #[test]
    fn payloads_survive_both_codecs() {
        let raw = b"telemetry telemetry telemetry telemetry telemetry".repeat(20);
        let mut decoder = PayloadDecoder::default();
        for (compression, codec) in [(Compression::None, Codec::None), (Compression::default(), Codec::Zstd)] {
            let mut out = Vec::new();
            assert_eq!(PayloadEncoder::new(compression).unwrap().compress(&raw, &mut out), Ok(codec));
            let stored = if codec == Codec::None { &raw[..] } else { &out[FRAME_HEADER_BYTES..] };
            let raw_len = raw.len() as u32;
            assert_eq!(decoder.decode(&Frame { header: header(raw_len, codec), stored }), Ok(&raw[..]));
            // One byte more or less than stated is malformed, whichever the codec.
            for raw_len in [raw_len - 1, raw_len + 1] {
                let frame = Frame { header: header(raw_len, codec), stored };
                assert_eq!(decoder.decode(&frame), Err(PayloadError::Malformed));
            }
        }
    }

    #[test]
    fn what_does_not_shrink_is_stored_as_it_is() {
        let mut out = Vec::new();
        let codec = PayloadEncoder::new(Compression::Zstd(1)).unwrap().compress(b"\x01\x9f\x33", &mut out);
        assert_eq!(codec, Ok(Codec::None));
        assert!(out.is_empty());
        // Some of these take exactly as many bytes as before.
        let mut encoder = PayloadEncoder::new(Compression::Zstd(1)).unwrap();
        for (differ, alike) in (0..40).flat_map(|differ| (0..60).map(move |alike| (differ, alike))) {
            let raw: Vec<u8> = (0..differ).map(|i: u8| i.wrapping_mul(37)).chain((0..alike).map(|_| 7)).collect();
            match encoder.compress(&raw, &mut out).unwrap() {
                Codec::Zstd => assert!(out.len() - FRAME_HEADER_BYTES < raw.len(), "{raw:?}"),
                _ => assert!(out.is_empty()),
            }
        }
    }

    #[test]
    fn compressing_takes_room_for_the_payload_and_no_more() {
        let (raw, mut out) = (vec![7; 1 << 20], Vec::new());
        PayloadEncoder::new(Compression::default()).unwrap().compress(&raw, &mut out).unwrap();
        assert!(out.capacity() <= 2 * (FRAME_HEADER_BYTES + raw.len()), "{}", out.capacity());
    }

    #[test]
    fn no_frame_is_begun_whose_payload_readers_would_refuse() {
        let most = MAX_RAW_BYTES as usize;
        assert_eq!(check_raw_len("it", most), Ok(MAX_RAW_BYTES));
        for bytes in [most + 1, u32::MAX as usize + 1, usize::MAX] {
            let too_large = EncodeError::TooLarge { what: "it", bytes, most: MAX_RAW_BYTES };
            assert_eq!(check_raw_len("it", bytes), Err(too_large));
        }
    }
}
