//! Filled frames made ready to be written: compressed, on a second thread too when several wait, which is when compressing
//! is what recording waits for.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::unsynced::{Unseen, UnsyncedFrame};
use crate::format::{Codec, Compression, EncodeError, FRAME_HEADER_BYTES, Kind, PayloadEncoder};
use crate::record::frame_builder::FilledFrame;
use crate::record::queue::{Ticket, Work, WorkQueue};
use crate::segment::PendingFrame;

/// Bytes of frames made ready at a time: what is ready waits for the disk.
const MAX_BYTES: usize = 512 << 10;

/// Bytes of frames for which a second thread is begun, which costs as much as compressing some kilobytes.
const SHARED_BYTES: usize = 128 << 10;

/// Frames that aren't ready.
type Frames = VecDeque<(Ticket, FilledFrame)>;

/// A frame that is ready.
#[derive(Debug)]
pub(super) struct PackedFrame {
    pub(super) ticket: Ticket,
    pub(super) unsynced: UnsyncedFrame,
    /// When its first record was put in.
    pub(super) began: Option<Instant>,
    /// What it was filled in, if that isn't needed any more.
    pub(super) spare: Option<Vec<u8>>,
}

/// Makes frames ready; what comes out doesn't depend on the number of threads.
#[derive(Debug)]
pub(super) struct Packer {
    own: Press,
    /// For the second thread. `None`: there is nothing to share.
    other: Option<Press>,
}

impl Packer {
    /// `keeps_raw`: a frame's payload before compression is needed still.
    pub(super) fn new(compression: Compression, keeps_raw: bool) -> Result<Self, EncodeError> {
        let other = match compression {
            Compression::None => None,
            Compression::Zstd(_) => Some(Press::new(compression, keeps_raw)?),
        };
        Ok(Self { own: Press::new(compression, keeps_raw)?, other })
    }

    /// Makes a frame ready, and those that stand behind it at the front of `work`.
    pub(super) fn pack(&mut self, first: (Ticket, FilledFrame), work: &mut WorkQueue) -> VecDeque<PackedFrame> {
        let mut bytes = first.1.buffer.len();
        let mut frames = Frames::from([first]);
        while bytes < MAX_BYTES && matches!(work.front(), Some((_, Work::Frame(_)))) {
            if let Some((ticket, Work::Frame(filled))) = work.pop_front() {
                bytes += filled.buffer.len();
                frames.push_back((ticket, filled));
            }
        }
        match &mut self.other {
            Some(other) if frames.len() > 1 && bytes >= SHARED_BYTES => share(&mut self.own, other, frames),
            _ => self.own.all(&Mutex::new(frames)),
        }
    }
}

/// Two threads take one after the other.
fn share(own: &mut Press, other: &mut Press, frames: Frames) -> VecDeque<PackedFrame> {
    let (frames, mut packed, mut others) = (Mutex::new(frames), VecDeque::new(), VecDeque::new());
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("sift-compressor".to_owned());
        // If no thread can be had, this one does it all.
        let _ = thread.spawn_scoped(scope, || others = other.all(&frames));
        packed = own.all(&frames);
    });
    packed.append(&mut others);
    packed.make_contiguous().sort_unstable_by_key(|packed| packed.ticket);
    packed
}

/// What one thread compresses with.
#[derive(Debug)]
struct Press {
    encoder: PayloadEncoder,
    /// What is kept of a compressed frame is copied out of here, so that it takes no more than it must.
    compressed: Vec<u8>,
    keeps_raw: bool,
}

impl Press {
    fn new(compression: Compression, keeps_raw: bool) -> Result<Self, EncodeError> {
        Ok(Self { encoder: PayloadEncoder::new(compression)?, compressed: Vec::new(), keeps_raw })
    }

    fn all(&mut self, frames: &Mutex<Frames>) -> VecDeque<PackedFrame> {
        let next = || frames.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        std::iter::from_fn(next).map(|(ticket, filled)| self.pack(ticket, filled)).collect()
    }

    fn pack(&mut self, ticket: Ticket, filled: FilledFrame) -> PackedFrame {
        let FilledFrame { buffer, count, first_seq, times, flags, non_finite, tallies, began } = filled;
        let raw = buffer.get(FRAME_HEADER_BYTES..).unwrap_or_default();
        let raw_len = raw.len() as u32;
        // Only a frame too large for the format is an error, which no frame is that was filled here; writing it says so.
        let codec = self.encoder.compress(raw, &mut self.compressed).unwrap_or(Codec::None);
        let stored = if codec == Codec::None { &buffer } else { &self.compressed };
        // It stays in memory until it is synced: no more of it than it needs.
        let (buffer, raw) = if codec == Codec::None && stored.len() >= stored.capacity() / 2 {
            (buffer, None)
        } else {
            (stored.as_slice().to_vec(), Some(buffer))
        };
        let (unseen, spare) = match raw {
            Some(raw) if self.keeps_raw && codec != Codec::None => (Unseen::Apart(raw), None),
            raw if self.keeps_raw => (Unseen::AsStored, raw),
            raw => (Unseen::Nothing, raw),
        };
        let frame = PendingFrame { kind: Kind::Data, codec, flags, count, first_seq, times, raw_len, buffer };
        PackedFrame { ticket, unsynced: UnsyncedFrame { frame, tallies, non_finite, unseen }, began, spare }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::format::{Mark, TimeRange};

    /// A frame of doubles that have little in common.
    fn filled(first_seq: u64, bytes: usize) -> FilledFrame {
        let mut random = first_seq + 1;
        let mut next = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (1.0 + (random >> 12) as f64 / (1_u64 << 52) as f64).to_le_bytes()
        };
        let mut buffer = vec![0; FRAME_HEADER_BYTES];
        while buffer.len() < bytes {
            buffer.extend_from_slice(&next());
        }
        let (times, tallies) = (TimeRange::EMPTY, Vec::new());
        FilledFrame { buffer, count: 1, first_seq, times, flags: 0, non_finite: 0, tallies, began: None }
    }

    /// What comes of the frames up to the first piece of other work: tickets and frames.
    fn packed(packer: &mut Packer, mut work: WorkQueue) -> (Vec<(Ticket, PendingFrame)>, usize) {
        let Some((ticket, Work::Frame(first))) = work.pop_front() else { panic!("a frame comes first") };
        let packed = packer.pack((ticket, first), &mut work).into_iter();
        (packed.map(|packed| (packed.ticket, packed.unsynced.frame)).collect(), work.len())
    }

    #[test]
    fn two_threads_make_of_frames_what_one_does_in_the_same_order() {
        for compression in [Compression::default(), Compression::None] {
            let mut packer = Packer::new(compression, false).unwrap();
            let sizes = [64 << 10, 100, 90 << 10, 30 << 10, 64 << 10, 5000, 64 << 10];
            let frames = || (1..).zip(sizes).map(|(ticket, bytes)| (ticket, Work::Frame(filled(ticket, bytes))));
            let (together, left) = packed(&mut packer, frames().collect());
            assert_eq!((together.len(), left), (7, 0));
            for (frame, (ticket, together)) in frames().zip(together) {
                let (alone, _) = packed(&mut packer, WorkQueue::from([frame]));
                assert_eq!(alone, [(ticket, together)]);
            }
        }
    }

    #[test]
    fn no_more_is_made_ready_than_stands_before_other_work_and_than_is_allowed() {
        let mut packer = Packer::new(Compression::default(), false).unwrap();
        let frame = |ticket| (ticket, Work::Frame(filled(ticket, 64 << 10)));
        let mark = Work::Mark(Mark::Note(String::new()));
        let (before, left) = packed(&mut packer, WorkQueue::from([frame(1), frame(2), (3, mark), frame(4)]));
        assert_eq!((before.len(), left), (2, 2));
        let (some, left) = packed(&mut packer, (1..=32).map(frame).collect());
        assert_eq!(some.len() + left, 32);
        assert_eq!(some.len(), MAX_BYTES / (64 << 10));
    }
}
