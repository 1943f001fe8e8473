//! Windows: records made ready to be sent, as buffers of gRPC messages. A record is copied once, from the file into the
//! buffer, with what is appended behind it; it is never decoded.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::options::WindowSize;
use super::outgoing::{Ids, Outgoing, put_message};
use super::slots::{Place, Slots};
use crate::sift::MESSAGE_PREFIX_BYTES;

/// A contiguous run of records that is sent on one gRPC client-stream and acknowledged as one.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// Whole gRPC messages. Empty: they were sent, or failed to be, and are to be read once more.
    pub(super) buffers: Vec<Bytes>,
    /// How many.
    pub(super) records: u64,
    /// Bytes of all buffers.
    pub(super) bytes: u64,
    /// Which records of the session; or which messages of the file, counted over its sound chunks. In order.
    pub(super) seqs: Vec<Range<u64>>,
    /// Bytes of the files that the records were read from.
    pub(super) read: u64,
    /// For a PBFS file: how far it is done when this window and all before it are.
    pub(super) reached: Option<Reached>,
    /// Where its records stand, so that they can be read once more, in the order of `seqs`. `None`: they can't, and stay in
    /// memory until they are settled.
    pub(super) places: Option<Vec<StandsAt>>,
    /// The place of its messages in memory; given up when nobody needs them here any more.
    pub(super) slot: Option<Place>,
    /// Its place among the windows on their way.
    pub(super) flight: Option<Place>,
}

/// A segment that nobody writes to any more.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Finished {
    pub(super) path: PathBuf,
    /// As its frames have it.
    pub(super) segment_id: u64,
}

/// Where some of a window's records stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StandsAt {
    pub(super) file: Arc<Finished>,
    /// Where the frame with the first of them begins, in bytes.
    pub(super) offset: u64,
    /// Which of the window's ranges of seqs is the first that stands there.
    pub(super) first_range: usize,
}

/// How far into a PBFS file a window reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reached {
    /// Bytes from the file's start.
    pub(super) end: u64,
    /// Their SHA-256.
    pub(super) hash: [u8; 32],
    /// Messages in them.
    pub(super) messages: u64,
    /// How many of those were dead letters before.
    pub(super) dead_lettered: u64,
}

impl Window {
    /// Nobody needs its messages here any more.
    pub(super) fn give_up_messages(&mut self) {
        self.buffers.clear();
        self.slot = None;
    }

    /// Whether there is nothing in it.
    pub(super) fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Its messages with their prefixes, each with its seq, in order.
    pub(super) fn messages(&self) -> impl Iterator<Item = (u64, Bytes)> {
        let seqs = self.seqs.iter().cloned().flatten();
        seqs.zip(self.buffers.iter().flat_map(|buffer| Messages(buffer.clone())))
    }

    fn push(&mut self, buffer: Bytes, records: u64) {
        self.records += records;
        self.bytes += buffer.len() as u64;
        self.buffers.push(buffer);
    }

    /// Without a place, none of it can be read once more.
    fn extend_seqs(&mut self, seqs: Range<u64>, stands_at: Option<&Frame>) {
        if seqs.is_empty() {
            return;
        }
        match (&mut self.places, stands_at) {
            (Some(places), Some(at)) => {
                // Within a file, seqs never go back.
                let goes_on = places.last().is_some_and(|last| Arc::ptr_eq(&last.file, &at.file));
                if !goes_on {
                    let (file, first_range) = (at.file.clone(), self.seqs.len());
                    places.push(StandsAt { file, offset: at.offset, first_range });
                    self.seqs.push(seqs);
                    return;
                }
            }
            (places, _) => *places = None,
        }
        match self.seqs.last_mut() {
            Some(last) if last.end == seqs.start => last.end = seqs.end,
            _ => self.seqs.push(seqs),
        }
    }
}

/// A frame in a file.
#[derive(Debug)]
struct Frame {
    file: Arc<Finished>,
    offset: u64,
}

/// The messages of a buffer, with their prefixes. Nothing is copied.
struct Messages(Bytes);

impl Iterator for Messages {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let (_, length) = self.0.first_chunk::<MESSAGE_PREFIX_BYTES>()?.split_first()?;
        let length = u32::from_be_bytes(length.try_into().ok()?) as usize;
        // The buffer was made here, of whole messages.
        Some(self.0.split_to((MESSAGE_PREFIX_BYTES + length).min(self.0.len())))
    }
}

/// Bytes after which a buffer is full. Small frames and chunks share one: what HTTP/2 costs, it costs per buffer.
const BUFFER_BYTES: usize = 128 << 10;

/// Room that a buffer has beyond that, so that the record that fills it rarely makes it grow.
const SLACK_BYTES: usize = 4 << 10;

/// Ranges of seqs after which a window is full: where only some of the records are wanted, each may be a range, and windows
/// that wait to be acknowledged keep little but those.
const MAX_RANGES: usize = 4096;

/// Fills windows. Blocking: a window is begun only when there is a slot for it.
#[derive(Debug)]
pub(super) struct WindowBuilder {
    outgoing: Outgoing,
    size: WindowSize,
    max_ranges: usize,
    buffer_bytes: usize,
    slots: Slots,
    window: Window,
    stands_at: Option<Frame>,
    /// What comes next in the window.
    buffer: Vec<u8>,
    buffered: u64,
    /// Bytes read since the last window was closed.
    read: u64,
}

impl WindowBuilder {
    pub(super) fn new(outgoing: Outgoing, size: WindowSize, slots: Slots) -> Self {
        let buffer_bytes = size.bytes.clamp(1, BUFFER_BYTES);
        Self {
            outgoing,
            size,
            max_ranges: MAX_RANGES,
            buffer_bytes,
            slots,
            window: begin(),
            stands_at: None,
            buffer: Vec::new(),
            buffered: 0,
            read: 0,
        }
    }

    /// One window in this slot, whatever its size.
    pub(super) fn single(outgoing: Outgoing, slots: Slots, slot: Place) -> Self {
        let size = WindowSize { bytes: usize::MAX, records: u64::MAX };
        let mut single = Self { max_ranges: usize::MAX, ..Self::new(outgoing, size, slots) };
        single.window.slot = Some(slot);
        single
    }

    /// Where what comes next stands: the file, if it can be read once more, and the offset of the frame in it.
    #[inline]
    pub(super) fn stands_at(&mut self, file: Option<&Arc<Finished>>, offset: u64) {
        self.stands_at = file.map(|file| Frame { file: file.clone(), offset });
    }

    /// Where the places come from.
    #[inline]
    pub(super) fn slots(&self) -> &Slots {
        &self.slots
    }

    /// Notes that so many bytes of a file were read for what comes next.
    pub(super) fn has_read(&mut self, bytes: u64) {
        self.read += bytes;
    }

    /// Adds records that are protobuf messages; the first has the seq `first_seq`. Hands each window that is full to
    /// `full`: none is larger than its size and one record, whatever a frame decompresses to.
    ///
    /// # Errors
    /// What `full` returns; [`Closed`](super::slots::Closed) if no more windows are wanted.
    pub(super) fn add<'a, E: From<super::slots::Closed>>(
        &mut self,
        first_seq: u64,
        records: impl Iterator<Item = &'a [u8]>,
        ids: Ids,
        mut full: impl FnMut(Window) -> Result<(), E>,
    ) -> Result<(), E> {
        let (mut from, mut seq) = (first_seq, first_seq);
        for record in records {
            if self.buffer.capacity() == 0 {
                if self.window.slot.is_none() {
                    self.window.slot = Some(self.slots.take()?);
                }
                self.buffer = self.slots.buffers().take(self.buffer_bytes + SLACK_BYTES);
            }
            match self.outgoing.fixed_tail(ids) {
                Some(tail) => put_message(record, tail, &mut self.buffer),
                None => self.outgoing.put(record, ids, &mut self.buffer),
            }
            self.buffered += 1;
            seq += 1;
            let window_bytes = self.window.bytes.saturating_add(self.buffer.len() as u64);
            let records = self.window.records + self.buffered;
            if window_bytes >= self.size.bytes as u64 || records >= self.size.records {
                self.window.extend_seqs(from..seq, self.stands_at.as_ref());
                from = seq;
                full(self.take())?;
            } else if self.buffer.len() >= self.buffer_bytes {
                self.close_buffer();
            }
        }
        self.window.extend_seqs(from..seq, self.stands_at.as_ref());
        if self.window.seqs.len() >= self.max_ranges { full(self.take()) } else { Ok(()) }
    }

    fn close_buffer(&mut self) {
        if self.buffered == 0 {
            return;
        }
        let buffer = std::mem::take(&mut self.buffer);
        let buffer = self.slots.buffers().filled(buffer);
        self.window.push(buffer, std::mem::take(&mut self.buffered));
    }

    /// What was added so far.
    pub(super) fn take(&mut self) -> Window {
        self.close_buffer();
        let mut window = std::mem::replace(&mut self.window, begin());
        window.read = std::mem::take(&mut self.read);
        window
    }

    /// Whether nothing was added since the last window.
    pub(super) fn is_empty(&self) -> bool {
        self.window.is_empty() && self.buffered == 0
    }

    /// Bytes that were read and belong to no window.
    pub(super) fn take_read(&mut self) -> u64 {
        if self.is_empty() { std::mem::take(&mut self.read) } else { 0 }
    }
}

/// A window with nothing in it yet.
fn begin() -> Window {
    Window { places: Some(Vec::new()), ..Window::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Suffix;
    use crate::replay::slots::Closed;

    const SUFFIX: [u8; 3] = [0x0a, 1, b'c'];

    fn builder(window_bytes: usize) -> WindowBuilder {
        let outgoing = Outgoing::new(Suffix::new("c", None, false), 0);
        WindowBuilder::new(outgoing, WindowSize { bytes: window_bytes, records: u64::MAX }, Slots::unlimited())
    }

    fn add(builder: &mut WindowBuilder, first_seq: u64, records: &[&[u8]], ids: Ids) -> Vec<Window> {
        let mut windows = Vec::new();
        let full = |window| -> Result<(), Closed> {
            windows.push(window);
            Ok(())
        };
        builder.add(first_seq, records.iter().copied(), ids, full).unwrap();
        windows
    }

    #[test]
    fn a_window_is_whole_messages_with_the_ids_behind_each() {
        let mut builder = builder(43);
        assert!(add(&mut builder, 7, &[&[0x12, 1, b'a'], &[]], Ids::None).is_empty());
        let own: &[u8] = &[0x0a, 1, b'x'];
        assert!(add(&mut builder, 9, &[own], Ids::Unknown).is_empty(), "not full yet");
        let windows = add(&mut builder, 20, &[own; 2], Ids::Unknown);
        let [window] = &windows[..] else { panic!("{windows:?}") };
        assert_eq!(window.records, 5);
        assert_eq!(window.seqs, [7..10, 20..22]);
        let messages: [&[u8]; 9] = [
            &[0, 0, 0, 0, 6, 0x12, 1, b'a'],
            &SUFFIX,
            &[0, 0, 0, 0, 3],
            &SUFFIX,
            &[0, 0, 0, 0, 3],
            own,
            &[0, 0, 0, 0, 3],
            own,
            &[0, 0, 0, 0, 3],
        ];
        assert_eq!(window.buffers.concat(), [&messages.concat()[..], own].concat());
        assert_eq!(window.bytes, window.buffers.iter().map(|buffer| buffer.len() as u64).sum::<u64>());
        let parts: Vec<_> = window.messages().map(|(seq, message)| (seq, message.len())).collect();
        assert_eq!(parts, [(7, 11), (8, 8), (9, 8), (20, 8), (21, 8)]);
        assert!(builder.take().is_empty());
    }

    #[test]
    fn small_frames_share_a_buffer() {
        let mut builder = builder(4 << 20);
        for i in 0..10_000 {
            assert!(add(&mut builder, 2 * i, &[&[0x12, 1, b'a'], &[]], Ids::None).is_empty());
        }
        let window = builder.take();
        assert_eq!((window.records, window.bytes), (20_000, 190_000));
        assert_eq!(window.buffers.len(), 2);
        assert_eq!(window.seqs.len(), 1);
        assert_eq!(window.messages().count(), 20_000);
    }

    #[test]
    fn a_window_is_full_of_records_too() {
        let mut builder = builder(4 << 20);
        builder.size.records = 2;
        let mut windows = add(&mut builder, 0, &[&[][..]; 3], Ids::None);
        windows.extend(add(&mut builder, 3, &[&[][..]; 2], Ids::None));
        assert_eq!(windows.iter().map(|window| window.seqs.clone()).collect::<Vec<_>>().concat(), [0..2, 2..4]);
        assert_eq!(builder.take().records, 1);
    }

    #[test]
    fn a_frame_of_countless_empty_records_makes_many_windows_not_a_large_one() {
        let records = vec![&[][..]; 100_000];
        let mut builder = builder(1000);
        let mut windows = add(&mut builder, 0, &records, Ids::None);
        windows.extend(Some(builder.take()).filter(|rest| !rest.is_empty()));
        assert_eq!(windows.iter().map(|window| window.records).sum::<u64>(), 100_000);
        let mut next = 0;
        for window in &windows {
            assert!(window.bytes < 1000 + 8, "{}", window.bytes);
            assert!(window.buffers.iter().map(|buffer| buffer.len()).sum::<usize>() as u64 == window.bytes);
            let [seqs] = &window.seqs[..] else { panic!("{:?}", window.seqs) };
            assert_eq!((seqs.start, seqs.end - seqs.start), (next, window.records));
            next = seqs.end;
        }
    }
}
