//! What was accepted and can't be made durable any more, taken apart for whoever wants it back.

use super::frame_builder::FilledFrame;
use crate::format::{Codec, FRAME_HEADER_BYTES, Frame, Kind, PayloadDecoder, Records};
use crate::segment::PendingFrame;

/// A frame that never came to be written, as it would have been without compression.
pub(super) fn uncompressed(filled: FilledFrame) -> PendingFrame {
    let FilledFrame { buffer, count, first_seq, times, flags, .. } = filled;
    let raw_len = buffer.len().saturating_sub(FRAME_HEADER_BYTES) as u32;
    PendingFrame { kind: Kind::Data, codec: Codec::None, flags, count, first_seq, times, raw_len, buffer }
}

/// The requests of these frames, each with its seq.
pub(super) fn requests(frames: Vec<PendingFrame>) -> Vec<(u64, Vec<u8>)> {
    let mut decoder = PayloadDecoder::default();
    let mut requests = Vec::with_capacity(frames.iter().map(|frame| frame.count as usize).sum());
    for mut frame in frames {
        let (first_seq, count) = (frame.first_seq, frame.count);
        // The frame was made by this very recorder: were it not what its header says, memory itself would be at fault.
        let Ok(header) = frame.place(0, 0) else { continue };
        let stored = frame.buffer.get(FRAME_HEADER_BYTES..).unwrap_or_default();
        let Ok(payload) = decoder.decode(&Frame { header, stored }) else { continue };
        let Some(records) = Records::parse(payload, count) else { continue };
        requests.extend((first_seq..).zip(records.map(<[u8]>::to_vec)));
    }
    requests
}
