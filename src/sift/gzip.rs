//! gRPC's own compression: each message of a buffer by itself.

use flate2::{Compress, Compression, FlushCompress, Status};

use super::send::{MESSAGE_PREFIX_BYTES, message_prefix};

/// What the `grpc-encoding` header calls it.
pub(super) const ENCODING: &str = "gzip";

/// In the place of a prefix's zero.
const COMPRESSED: u8 = 1;

/// Magic, deflate, no flags, no time, no hints, an unknown system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// CRC-32 and length.
const TRAILER_BYTES: usize = 8;

/// Deflate takes two bytes to say nothing, so that nothing shorter than this can get smaller.
const LEAST_MESSAGE_BYTES: usize = HEADER.len() + 2 + TRAILER_BYTES;

/// A compressor with its tables, which are large and are used again for each message.
pub(super) struct Gzip(Compress);

impl Gzip {
    pub(super) fn new() -> Gzip {
        Gzip(Compress::new(Compression::default(), false))
    }

    /// Appends to `to` the first message of `messages`, compressed if that makes it smaller, and returns the messages
    /// after it. `to` never grows by more than `messages` shrinks. What is no whole message goes as it is: the
    /// destination has to see the same as without compression.
    pub(super) fn next<'a>(&mut self, messages: &'a [u8], to: &mut Vec<u8>) -> &'a [u8] {
        let Some((message, rest)) = split_message(messages) else {
            to.extend_from_slice(messages);
            return &[];
        };
        let begin = to.len();
        if !self.compress(message, to) {
            to.truncate(begin);
            to.extend_from_slice(messages.get(..messages.len() - rest.len()).unwrap_or_default());
        }
        rest
    }

    /// Whether it got smaller. If not, what was appended is of no use.
    fn compress(&mut self, message: &[u8], to: &mut Vec<u8>) -> bool {
        let Ok(length) = u32::try_from(message.len()) else { return false };
        if message.len() < LEAST_MESSAGE_BYTES {
            return false;
        }
        let begin = to.len();
        to.reserve(MESSAGE_PREFIX_BYTES + message.len());
        to.extend_from_slice(&[0; MESSAGE_PREFIX_BYTES]);
        to.extend_from_slice(&HEADER);
        self.0.reset();
        // It takes no more space than there is, and says so.
        let ended = self.0.compress_vec(message, to, FlushCompress::Finish);
        let compressed = to.len() + TRAILER_BYTES - begin - MESSAGE_PREFIX_BYTES;
        if !matches!(ended, Ok(Status::StreamEnd)) || compressed >= message.len() {
            return false;
        }
        to.extend_from_slice(&crc32fast::hash(message).to_le_bytes());
        to.extend_from_slice(&length.to_le_bytes());
        let Some(prefix) = to.get_mut(begin..begin + MESSAGE_PREFIX_BYTES) else { return false };
        // Shorter than the message, whose length fits.
        prefix.copy_from_slice(&message_prefix(u32::try_from(compressed).unwrap_or(length)));
        if let Some(flag) = prefix.first_mut() {
            *flag = COMPRESSED;
        }
        true
    }
}

/// The first message without its prefix, and what follows; `None` if it isn't whole or is compressed already.
fn split_message(messages: &[u8]) -> Option<(&[u8], &[u8])> {
    let ([0, length @ ..], rest) = messages.split_first_chunk::<MESSAGE_PREFIX_BYTES>()? else { return None };
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
}
