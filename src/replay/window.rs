//! Windows: records made ready to be sent, as buffers of gRPC messages. A record is copied once, from the file into the
//! buffer, with the ids behind it; it is never decoded.

use bytes::Bytes;

use crate::format::{Suffix, WireError};
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

    /// Adds records, of `bytes` bytes together, none of which carries ids of its own if `bare`. Returns the window if
    /// it is full now.
    ///
    /// # Errors
    /// A record isn't a protobuf message; none of these records is added.
    pub(super) fn add<'a>(
        &mut self,
        records: impl Iterator<Item = &'a [u8]>,
        count: u32,
        bytes: usize,
        bare: bool,
    ) -> Result<Option<Window>, WireError> {
        let longest_suffix = self.suffix.for_bare().len();
        let mut buffer = Vec::with_capacity(bytes + count as usize * (MESSAGE_PREFIX_BYTES + longest_suffix));
        let mut added = 0;
        for record in records {
            let suffix = if bare { self.suffix.for_bare() } else { self.suffix.for_request(record)? };
            // A record is bounded by a frame, which is far below 4 GiB.
            buffer.extend_from_slice(&message_prefix((record.len() + suffix.len()) as u32));
            buffer.extend_from_slice(record);
            buffer.extend_from_slice(suffix);
            added += 1;
        }
        self.window.push(buffer, added);
        Ok((self.window.bytes as usize >= self.window_bytes).then(|| self.take()))
    }

    /// What was added so far.
    pub(super) fn take(&mut self) -> Window {
        std::mem::take(&mut self.window)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_whole_messages_with_the_ids_behind_each() {
        let mut builder = WindowBuilder::new(Suffix::new("c", None, false), 30);
        let records: [&[u8]; 2] = [&[0x12, 1, b'a'], &[]];
        assert!(builder.add(records.into_iter(), 2, 3, true).unwrap().is_none());
        let own: &[u8] = &[0x0a, 1, b'x'];
        let window = builder.add([own].into_iter(), 1, 3, false).unwrap();
        assert!(window.is_none(), "not full yet");
        let window = builder.add([own; 2].into_iter(), 2, 6, false).unwrap().unwrap();
        assert_eq!(window.records, 5);
        assert_eq!(
            window.buffers[0],
            [&[0, 0, 0, 0, 6, 0x12, 1, b'a', 0x0a, 1, b'c'][..], &[0, 0, 0, 0, 3, 0x0a, 1, b'c']].concat()
        );
        assert_eq!(window.buffers[1], [&[0, 0, 0, 0, 3][..], own].concat());
        assert_eq!(window.bytes, window.buffers.iter().map(|buffer| buffer.len() as u64).sum::<u64>());
        assert!(builder.take().is_empty());
    }

    #[test]
    fn what_is_no_message_is_not_sent() {
        let mut builder = WindowBuilder::new(Suffix::new("c", None, false), 1);
        let records: [&[u8]; 2] = [&[0x12, 1, b'a'], &[0x12, 9]];
        assert!(builder.add(records.into_iter(), 2, 5, false).is_err());
        assert!(builder.take().is_empty());
    }
}
