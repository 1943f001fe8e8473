//! Windows: records made ready to be sent, as buffers of gRPC messages. A record is copied once, from the file into the
//! buffer, with the ids behind it; it is never decoded.

use bytes::Bytes;

use crate::format::Suffix;
use crate::sift::message_prefix;

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

/// Bytes after which a buffer is full. Small frames and chunks share one: what HTTP/2 costs, it costs per buffer.
const BUFFER_BYTES: usize = 128 << 10;

/// Room that a buffer has beyond that, so that the record that fills it rarely makes it grow.
const SLACK_BYTES: usize = 4 << 10;

/// Fills windows.
#[derive(Debug)]
pub(super) struct WindowBuilder {
    suffix: Suffix,
    window_bytes: usize,
    buffer_bytes: usize,
    window: Window,
    /// What comes next in the window.
    buffer: Vec<u8>,
    buffered: u64,
}

impl WindowBuilder {
    pub(super) fn new(suffix: Suffix, window_bytes: usize) -> Self {
        let buffer_bytes = window_bytes.clamp(1, BUFFER_BYTES);
        Self { suffix, window_bytes, buffer_bytes, window: Window::default(), buffer: Vec::new(), buffered: 0 }
    }

    /// Adds records that are protobuf messages, none of which carries ids of its own if `bare`. Hands each window that
    /// is full to `full`: none is larger than `window_bytes` and one record, whatever a frame decompresses to.
    ///
    /// # Errors
    /// What `full` returns.
    pub(super) fn add<'a, E>(
        &mut self,
        records: impl Iterator<Item = &'a [u8]>,
        bare: bool,
        mut full: impl FnMut(Window) -> Result<(), E>,
    ) -> Result<(), E> {
        for record in records {
            // What is no message has no ids either; the destination will say what it thinks of it.
            let suffix = match bare {
                true => self.suffix.for_bare(),
                false => self.suffix.for_request(record).unwrap_or(self.suffix.for_bare()),
            };
            if self.buffer.capacity() == 0 {
                self.buffer.reserve(self.buffer_bytes + SLACK_BYTES);
            }
            // A record is bounded by a frame, which is far below 4 GiB.
            self.buffer.extend_from_slice(&message_prefix((record.len() + suffix.len()) as u32));
            self.buffer.extend_from_slice(record);
            self.buffer.extend_from_slice(suffix);
            self.buffered += 1;
            let window_bytes = self.window.bytes.saturating_add(self.buffer.len() as u64);
            if window_bytes >= self.window_bytes as u64 {
                full(self.take())?;
            } else if self.buffer.len() >= self.buffer_bytes {
                self.close_buffer();
            }
        }
        Ok(())
    }

    fn close_buffer(&mut self) {
        self.window.push(std::mem::take(&mut self.buffer), std::mem::take(&mut self.buffered));
    }

    /// What was added so far.
    pub(super) fn take(&mut self) -> Window {
        self.close_buffer();
        std::mem::take(&mut self.window)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUFFIX: [u8; 3] = [0x0a, 1, b'c'];

    fn add(builder: &mut WindowBuilder, records: &[&[u8]], bare: bool) -> Vec<Window> {
        let mut windows = Vec::new();
        let full = |window| -> Result<(), ()> {
            windows.push(window);
            Ok(())
        };
        builder.add(records.iter().copied(), bare, full).unwrap();
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
        assert!(builder.take().is_empty());
    }

    #[test]
    fn small_frames_share_a_buffer() {
        let mut builder = WindowBuilder::new(Suffix::new("c", None, false), 4 << 20);
        for _ in 0..10_000 {
            assert!(add(&mut builder, &[&[0x12, 1, b'a'], &[]], true).is_empty());
        }
        let window = builder.take();
        assert_eq!((window.records, window.bytes), (20_000, 190_000));
        assert_eq!(window.buffers.len(), 2);
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
