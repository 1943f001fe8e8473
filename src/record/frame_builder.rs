//! The frame that is being filled: records are encoded straight into its buffer.

use std::time::Instant;

use super::clock::Clock;
use crate::format::{FLAG_BARE, FRAME_HEADER_BYTES, RECORD_PREFIX_BYTES, Tally, TimeRange};

/// Most bytes of one record. What Sift takes in one message is less; the format's own limit is higher.
pub const MAX_RECORDED_BYTES: usize = 16 << 20;

/// Room that a buffer has beyond a full frame, so that the record that fills it rarely makes it grow.
const SLACK_BYTES: usize = 4 << 10;

/// Bytes that a frame's buffer is made with.
pub(super) fn buffer_bytes(frame_bytes: usize) -> usize {
    FRAME_HEADER_BYTES + frame_bytes + SLACK_BYTES
}

/// A frame being filled. Its buffer has room for the header in front, so that it is written in one piece.
#[derive(Debug)]
pub(super) struct FrameBuilder {
    buffer: Vec<u8>,
    count: u32,
    first_seq: u64,
    bare: bool,
    non_finite: u64,
    /// By flow index.
    tallies: Vec<Tally>,
    /// Flows that have records in this frame.
    touched: Vec<u32>,
    began: Option<Instant>,
    clock: Clock,
}

/// A full frame on its way to the writer.
#[derive(Debug)]
pub(super) struct FilledFrame {
    /// Room for the header, and the payload.
    pub(super) buffer: Vec<u8>,
    pub(super) count: u32,
    pub(super) first_seq: u64,
    pub(super) times: TimeRange,
    pub(super) flags: u16,
    pub(super) non_finite: u64,
    pub(super) tallies: Vec<(u32, Tally)>,
    /// When its first record was put in.
    pub(super) began: Option<Instant>,
}

impl FilledFrame {
    /// Bytes of its records, without their lengths.
    pub(super) fn record_bytes(&self) -> u64 {
        record_bytes(self.buffer.len() - FRAME_HEADER_BYTES, self.count)
    }
}

fn record_bytes(payload: usize, count: u32) -> u64 {
    (payload as u64).saturating_sub(u64::from(count) * RECORD_PREFIX_BYTES as u64)
}

impl FrameBuilder {
    pub(super) fn new(frame_bytes: usize, clock: Clock) -> Self {
        let mut builder = Self {
            buffer: Vec::new(),
            count: 0,
            first_seq: 0,
            bare: true,
            non_finite: 0,
            tallies: Vec::new(),
            touched: Vec::new(),
            began: None,
            clock,
        };
        builder.reset(0, Vec::new(), frame_bytes);
        builder
    }

    fn reset(&mut self, first_seq: u64, mut buffer: Vec<u8>, frame_bytes: usize) {
        buffer.clear();
        buffer.reserve(buffer_bytes(frame_bytes));
        buffer.resize(FRAME_HEADER_BYTES, 0);
        self.buffer = buffer;
        self.count = 0;
        self.first_seq = first_seq;
        self.bare = true;
        self.non_finite = 0;
        self.began = None;
    }

    /// Bytes of the payload so far.
    pub(super) fn len(&self) -> usize {
        self.buffer.len() - FRAME_HEADER_BYTES
    }

    /// Bytes of the records so far, without their lengths.
    pub(super) fn record_bytes(&self) -> u64 {
        record_bytes(self.len(), self.count)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// When the first record was put in.
    pub(super) fn began(&self) -> Option<Instant> {
        self.began
    }

    /// Values so far that were NaN or infinite.
    pub(super) fn non_finite(&self) -> u64 {
        self.non_finite
    }

    /// The seq of the first record, there or to come.
    pub(super) fn first_seq(&self) -> u64 {
        self.first_seq
    }

    /// Records so far.
    #[inline]
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// Makes room for flows that were added.
    pub(super) fn set_flow_count(&mut self, flows: usize) {
        self.tallies.resize(flows, Tally::ZERO);
    }

    /// Begins a record; it counts when committed, and leaves no trace otherwise. `head` puts room for its length, and may put
    /// what comes behind that at once.
    #[inline(always)]
    pub(super) fn begin(&mut self, head: impl FnOnce(&mut Vec<u8>)) -> OpenRecord<'_> {
        let start = self.buffer.len();
        head(&mut self.buffer);
        OpenRecord { frame: self, start, committed: false }
    }

    /// Takes the filled frame out and begins the next one with `buffer`.
    pub(super) fn take(&mut self, buffer: Vec<u8>, frame_bytes: usize) -> FilledFrame {
        let (mut tallies, mut times) = (Vec::with_capacity(self.touched.len()), TimeRange::EMPTY);
        for flow in self.touched.drain(..) {
            if let Some(tally) = self.tallies.get_mut(flow as usize) {
                times.merge(&tally.times);
                tallies.push((flow, std::mem::replace(tally, Tally::ZERO)));
            }
        }
        let filled = FilledFrame {
            buffer: std::mem::take(&mut self.buffer),
            count: self.count,
            first_seq: self.first_seq,
            times,
            flags: if self.bare { FLAG_BARE } else { 0 },
            non_finite: self.non_finite,
            tallies,
            began: self.began,
        };
        self.reset(filled.first_seq + u64::from(filled.count), buffer, frame_bytes);
        filled
    }
}

/// A record that is being encoded.
pub(super) struct OpenRecord<'a> {
    frame: &'a mut FrameBuilder,
    start: usize,
    committed: bool,
}

impl OpenRecord<'_> {
    /// The buffer to append to.
    #[inline]
    pub(super) fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.frame.buffer
    }

    /// Where the record begins, behind its length.
    #[inline]
    pub(super) fn start(&self) -> usize {
        self.start + RECORD_PREFIX_BYTES
    }

    /// Bytes of the record so far.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.frame.buffer.len() - self.start - RECORD_PREFIX_BYTES
    }

    /// Counts the record.
    #[inline]
    pub(super) fn commit(mut self, flow: usize, time: Option<i64>, bare: bool, non_finite: u64) {
        let len = self.len() as u32;
        let frame = &mut *self.frame;
        if let Some(prefix) = frame.buffer.get_mut(self.start..).and_then(<[u8]>::first_chunk_mut) {
            *prefix = len.to_le_bytes();
        }
        if frame.count == 0 {
            frame.began = Some(frame.clock.now());
        }
        frame.count += 1;
        frame.bare &= bare;
        frame.non_finite += non_finite;
        if let Some(tally) = frame.tallies.get_mut(flow) {
            if tally.records == 0 {
                frame.touched.push(flow as u32);
            }
            tally.records += 1;
            if let Some(time) = time {
                tally.times.include(time);
            }
        }
        self.committed = true;
    }
}

impl Drop for OpenRecord<'_> {
    #[inline]
    fn drop(&mut self) {
        if !self.committed {
            self.frame.buffer.truncate(self.start);
        }
    }
}
