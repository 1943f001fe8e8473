//! What was written and isn't durable yet: kept, to be written again if the disk fails ([F-34]).

use std::time::Instant;

use crate::format::{FLAG_BARE, FRAME_HEADER_BYTES, Kind, Tally};
use crate::record::tap::{Tap, TappedFrame};
use crate::segment::{PendingFrame, SegmentError, SegmentWriter};

/// A frame's payload before compression, until the tap has seen it.
#[derive(Debug)]
pub(super) enum Unseen {
    /// There is nothing to be seen.
    Nothing,
    /// It is what the frame stores.
    AsStored,
    /// It stands in a buffer of its own, behind room for a header.
    Apart(Vec<u8>),
}

/// A frame that was written and isn't durable yet.
#[derive(Debug)]
pub(super) struct UnsyncedFrame {
    pub(super) frame: PendingFrame,
    pub(super) tallies: Vec<(u32, Tally)>,
    pub(super) non_finite: u64,
    pub(super) unseen: Unseen,
}

impl UnsyncedFrame {
    /// A frame that isn't DATA.
    pub(super) fn message(frame: PendingFrame) -> Self {
        Self { frame, tallies: Vec::new(), non_finite: 0, unseen: Unseen::Nothing }
    }

    /// Writes the frame and what SEAL must know of it.
    pub(super) fn put(&mut self, segment: &mut SegmentWriter, flow_names: &[String]) -> Result<(), SegmentError> {
        segment.write(&mut self.frame)?;
        for (flow, tally) in &self.tallies {
            if let Some(name) = flow_names.get(*flow as usize) {
                segment.add_flow(name, tally);
            }
        }
        segment.add_non_finite(self.non_finite);
        Ok(())
    }

    /// Shows the frame, written to this segment, to the tap, once. Returns the buffer that was kept for that.
    fn show(&mut self, tap: &dyn Tap, segment: u32) -> Option<Vec<u8>> {
        let unseen = std::mem::replace(&mut self.unseen, Unseen::Nothing);
        let raw = match &unseen {
            Unseen::Nothing => return None,
            Unseen::AsStored => &self.frame.buffer,
            Unseen::Apart(buffer) => buffer,
        };
        tap.frame(&TappedFrame {
            first_seq: self.frame.first_seq,
            segment,
            count: self.frame.count,
            bare: self.frame.flags & FLAG_BARE != 0,
            payload: raw.get(FRAME_HEADER_BYTES..).unwrap_or_default(),
        });
        match unseen {
            Unseen::Apart(buffer) => Some(buffer),
            Unseen::Nothing | Unseen::AsStored => None,
        }
    }
}

/// All of them, in the order in which they were written.
#[derive(Debug, Default)]
pub(super) struct Unsynced {
    frames: Vec<UnsyncedFrame>,
    /// Bytes that they take in memory.
    bytes: usize,
    /// Their bytes before compression.
    raw_bytes: u64,
    since: Option<Instant>,
}

impl Unsynced {
    /// Adds a frame that isn't durable since `since`: when its first record was put in, or now.
    pub(super) fn push(&mut self, frame: UnsyncedFrame, since: Instant) {
        self.bytes += frame.frame.buffer.len();
        self.raw_bytes += u64::from(frame.frame.raw_len);
        self.since.get_or_insert(since);
        self.frames.push(frame);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn raw_bytes(&self) -> u64 {
        self.raw_bytes
    }

    /// Since when something isn't durable.
    pub(super) fn since(&self) -> Option<Instant> {
        self.since
    }

    pub(super) fn first_seq(&self) -> Option<u64> {
        self.frames.first().map(|unsynced| unsynced.frame.first_seq)
    }

    pub(super) fn last_mut(&mut self) -> Option<&mut UnsyncedFrame> {
        self.frames.last_mut()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut UnsyncedFrame> {
        self.frames.iter_mut()
    }

    /// Shows the tap what it hasn't seen: the last frame at most. Returns the buffer that was kept for that.
    pub(super) fn show(&mut self, tap: &dyn Tap, segment: u32) -> Option<Vec<u8>> {
        self.frames.last_mut().and_then(|last| last.show(tap, segment))
    }

    /// Forgets SCHEMA frames; the last frame stays whatever it is if it is to be `kept`.
    pub(super) fn forget_schemas(&mut self, last_kept: bool) {
        let kept_from = self.frames.len().saturating_sub(usize::from(last_kept));
        let mut at = 0;
        self.frames.retain(|unsynced| {
            at += 1;
            unsynced.frame.kind != Kind::Schema || at > kept_from
        });
    }

    /// All are durable: returns their buffers.
    pub(super) fn clear(&mut self) -> impl Iterator<Item = Vec<u8>> {
        self.bytes = 0;
        self.raw_bytes = 0;
        self.since = None;
        self.frames.drain(..).map(|unsynced| unsynced.frame.buffer)
    }

    /// The DATA frames among them, which will never be durable.
    pub(super) fn take_data(&mut self) -> Vec<PendingFrame> {
        let frames = std::mem::take(&mut self.frames).into_iter().map(|unsynced| unsynced.frame);
        frames.filter(|frame| frame.kind == Kind::Data).collect()
    }
}
