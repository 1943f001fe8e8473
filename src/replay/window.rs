//! Windows: records made ready to be sent, as buffers of gRPC messages. A record is copied once, from the file into the
//! buffer, with the ids behind it; it is never decoded.

use bytes::Bytes;

use crate::format::Suffix;
use crate::sift::{MESSAGE_PREFIX_BYTES, message_prefix};

/// A contiguous run of records that is sent on one gRPC client-stream and acknowledged as one.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// Whole gRPC messages.
    pub(super) buffers: Vec<Bytes>,
    /// How many.
    pub(super) records: u64,
    /// Bytes of all buffers.
    pub(super) bytes: u64,
}

impl Window {
    /// Whether there is nothing in it.
    pub(super) fn is_empty(&self) -> bool {
        self.records == 0
    }

    fn push(&mut self, buffer: Vec<u8>, records: u64) {
        if records > 0 {
            self.records += records;
            self.bytes += buffer.len() as u64;
            self.buffers.push(buffer.into());
        }
    }
}

/// Fills windows.
#[derive(Debug)]
pub(super) struct WindowBuilder {
    suffix: Suffix,
    window_bytes: usize,
    window: Window,
}

impl WindowBuilder {
    pub(super) fn new(suffix: Suffix, window_bytes: usize) -> Self {
        Self { suffix, window_bytes, window: Window::default() }
    }

    /// Adds records that are protobuf messages, of `bytes` bytes together, none of which carries ids of its own if
    /// `bare`. Hands each window that is full to `full`: none is larger than `window_bytes` and one record, whatever a
    /// frame decompresses to.
    ///
    /// # Errors
    /// What `full` returns.
    pub(super) fn add<'a, E>(
        &mut self,
        records: impl Iterator<Item = &'a [u8]>,
        count: u32,
        bytes: usize,
        bare: bool,
        mut full: impl FnMut(Window) -> Result<(), E>,
    ) -> Result<(), E> {
        let longest = MESSAGE_PREFIX_BYTES + self.suffix.for_bare().len();
        let mut expected = bytes.saturating_add((count as usize).saturating_mul(longest));
        let mut buffer = Vec::with_capacity(expected.min(self.room()));
        let mut added = 0;
        for record in records {
            // What is no message has no ids either; the destination will say what it thinks of it.
            let suffix = match bare {
                true => self.suffix.for_bare(),
                false => self.suffix.for_request(record).unwrap_or(self.suffix.for_bare()),
            };
            // A record is bounded by a frame, which is far below 4 GiB.
            buffer.extend_from_slice(&message_prefix((record.len() + suffix.len()) as u32));
            buffer.extend_from_slice(record);
            buffer.extend_from_slice(suffix);
            added += 1;
            if buffer.len() >= self.room() {
                expected = expected.saturating_sub(buffer.len());
                self.window.push(std::mem::take(&mut buffer), std::mem::take(&mut added));
                full(self.take())?;
                buffer.reserve(expected.min(self.room()));
            }
        }
        self.window.push(buffer, added);
        Ok(())
    }

    /// Bytes that the window can still take.
    fn room(&self) -> usize {
        let used = usize::try_from(self.window.bytes).unwrap_or(usize::MAX);
        self.window_bytes.saturating_sub(used).max(1)
    }

    /// What was added so far.
    pub(super) fn take(&mut self) -> Window {
        std::mem::take(&mut self.window)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUFFIX: [u8; 3] = [0x0a, 1, b'c'];

    fn add(builder: &mut WindowBuilder, records: &[&[u8]], bare: bool) -> Vec<Window> {
        let mut windows = Vec::new();
        let bytes = records.iter().map(|record| record.len()).sum();
        let full = |window| -> Result<(), ()> {
            windows.push(window);
            Ok(())
        };
        builder.add(records.iter().copied(), records.len() as u32, bytes, bare, full).unwrap();
        windows
    }

    #[test]
    fn a_window_is_whole_messages_with_the_ids_behind_each() {
        let mut builder = WindowBuilder::new(Suffix::new("c", None, false), 43);
        assert!(add(&mut builder, &[&[0x12, 1, b'a'], &[]], true).is_empty());
        let own: &[u8] = &[0x0a, 1, b'x'];
        assert!(add(&mut builder, &[own], false).is_empty(), "not full yet");
        let windows = add(&mut builder, &[own; 2], false);
        let [window] = &windows[..] else { panic!("{windows:?}") };
        assert_eq!(window.records, 5);
        assert_eq!(
            window.buffers[0],
            [&[0, 0, 0, 0, 6, 0x12, 1, b'a'][..], &SUFFIX, &[0, 0, 0, 0, 3], &SUFFIX].concat()
        );
        assert_eq!(window.buffers[1], [&[0, 0, 0, 0, 3][..], own].concat());
        assert_eq!(window.bytes, window.buffers.iter().map(|buffer| buffer.len() as u64).sum::<u64>());
        assert!(builder.take().is_empty());
    }

    #[test]
    fn a_frame_of_countless_empty_records_makes_many_windows_not_a_large_one() {
        let records = vec![&[][..]; 100_000];
        let mut builder = WindowBuilder::new(Suffix::new("c", None, false), 1000);
        let mut windows = add(&mut builder, &records, true);
        windows.push(builder.take());
        assert_eq!(windows.iter().map(|window| window.records).sum::<u64>(), 100_000);
        for window in &windows {
            assert!(window.bytes < 1000 + 8, "{}", window.bytes);
            assert!(window.buffers.iter().map(|buffer| buffer.len()).sum::<usize>() as u64 == window.bytes);
        }
    }
}
