//! Buffers that are filled again and again: to give their memory back and to take fresh pages costs as much as to copy
//! records into them.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// Most bytes of a buffer that is kept: one that a huge record has made grow isn't.
const MAX_KEPT_BYTES: usize = 1 << 20;

/// Buffers to be filled; clones share them. There are never more than were in use at a time.
#[derive(Debug, Clone, Default)]
pub(super) struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

impl Buffers {
    /// An empty one with room for so many bytes.
    pub(super) fn take(&self, bytes: usize) -> Vec<u8> {
        let mut buffer = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        buffer.reserve(bytes);
        buffer
    }

    /// What it was filled with; when nobody needs that any more, the buffer is taken back.
    pub(super) fn filled(&self, buffer: Vec<u8>) -> Bytes {
        Bytes::from_owner(Filled { buffer, buffers: self.clone() })
    }

    fn give_back(&self, mut buffer: Vec<u8>) {
        if buffer.capacity() <= MAX_KEPT_BYTES {
            buffer.clear();
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
        }
    }
}

struct Filled {
    buffer: Vec<u8>,
    buffers: Buffers,
}

impl AsRef<[u8]> for Filled {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Filled {
    fn drop(&mut self) {
        self.buffers.give_back(std::mem::take(&mut self.buffer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_when_nobody_needs_what_it_held() {
        let buffers = Buffers::default();
        let mut buffer = buffers.take(1000);
        buffer.extend_from_slice(b"what it holds");
        let place = buffer.as_ptr();
        let bytes = buffers.filled(buffer);
        let part = bytes.slice(5..7);
        drop(bytes);
        let other = buffers.take(1000);
        assert_ne!(other.as_ptr(), place, "a part of it is needed still");
        assert_eq!(&part[..], b"it");
        drop(part);
        let again = buffers.take(1000);
        assert_eq!((again.as_ptr(), again.len()), (place, 0));
    }

    #[test]
    fn a_huge_one_is_not_kept() {
        let buffers = Buffers::default();
        drop(buffers.filled(buffers.take(MAX_KEPT_BYTES + 1)));
        assert!(buffers.take(1).capacity() < MAX_KEPT_BYTES);
    }
}
