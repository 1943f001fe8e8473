//! gRPC's own compression: each message of a buffer by itself.

use flate2::{Compress, Compression, FlushCompress, Status};

use super::send::{MESSAGE_PREFIX_BYTES, message_prefix};

/// What the `grpc-encoding` header calls it.
pub(super) const ENCODING: &str = "gzip";

/// In the place of a prefix's zero.
const COMPRESSED: u8 = 1;

/// Magic, deflate, no flags, no time, no hints, an unknown system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// Messages of a few hundred bytes get hardly smaller above this, and those of a few thousand take three times as long.
const LEVEL: u32 = 3;

/// CRC-32 and length.
const TRAILER_BYTES: usize = 8;

/// Deflate takes two bytes to say nothing, so that nothing shorter than this can get smaller.
const LEAST_MESSAGE_BYTES: usize = HEADER.len() + 2 + TRAILER_BYTES;

/// A compressor with its tables, which are large and are used again for each message.
pub(super) struct Gzip(Compress);

impl Gzip {
    pub(super) fn new() -> Gzip {
        Gzip(Compress::new(Compression::new(LEVEL), false))
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

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;
    use proptest::prelude::*;

    use super::*;

    fn framed(messages: &[Vec<u8>]) -> Vec<u8> {
        let mut buffer = Vec::new();
        for message in messages {
            buffer.extend_from_slice(&message_prefix(u32::try_from(message.len()).unwrap()));
            buffer.extend_from_slice(message);
        }
        buffer
    }

    fn compressed(gzip: &mut Gzip, mut rest: &[u8]) -> Vec<u8> {
        let mut to = Vec::with_capacity(rest.len());
        let (place, room) = (to.as_ptr(), to.capacity());
        while !rest.is_empty() {
            let before = to.len() + rest.len();
            rest = gzip.next(rest, &mut to);
            assert!(to.len() + rest.len() <= before);
        }
        assert_eq!((to.as_ptr(), to.capacity()), (place, room), "one allocation per buffer");
        to
    }

    /// The messages, and how many of them came compressed.
    fn read(mut buffer: &[u8]) -> (Vec<Vec<u8>>, usize) {
        let (mut messages, mut small) = (Vec::new(), 0);
        while let Some(([flag, length @ ..], rest)) = buffer.split_first_chunk::<MESSAGE_PREFIX_BYTES>() {
            let (body, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
            buffer = rest;
            let mut message = Vec::new();
            match flag {
                0 => message.extend_from_slice(body),
                1 => {
                    let mut decoder = GzDecoder::new(body);
                    decoder.read_to_end(&mut message).unwrap();
                    assert!(decoder.into_inner().is_empty(), "nothing after the trailer");
                    assert!(body.len() < message.len());
                    small += 1;
                }
                other => panic!("flag {other}"),
            }
            messages.push(message);
        }
        assert!(buffer.is_empty());
        (messages, small)
    }

    /// Bytes that deflate can make nothing of.
    fn noise(length: usize) -> Vec<u8> {
        let mut random = fastrand::Rng::with_seed(7);
        std::iter::repeat_with(|| random.u8(..)).take(length).collect()
    }

    #[test]
    fn only_what_gets_smaller_is_compressed() {
        let messages = vec![vec![], vec![7; 20], vec![7; 1000], noise(1000), vec![7; 100_000], noise(19), vec![1; 21]];
        let buffer = framed(&messages);
        let mut gzip = Gzip::new();
        for _ in 0..3 {
            let compressed = compressed(&mut gzip, &buffer);
            let (read, small) = read(&compressed);
            assert!(read == messages);
            assert!((2..=3).contains(&small), "{small}");
            assert!(compressed.len() < 2500, "{}", compressed.len());
        }
    }

    #[test]
    fn noise_costs_no_byte() {
        let buffer = framed(&[noise(300), noise(70_000), noise(25)]);
        assert!(compressed(&mut Gzip::new(), &buffer) == buffer);
    }

    #[test]
    fn what_is_no_whole_message_goes_as_it_is() {
        let mut gzip = Gzip::new();
        let whole = framed(&[vec![7; 1000]]);
        let flagged = [&[1_u8, 0, 0, 0, 2, 9, 9][..], &whole].concat();
        for broken in [&whole[..whole.len() - 1], &whole[..5], &whole[..3], &[0, 0xff, 0xff, 0xff, 0xff, 1], &flagged] {
            assert!(compressed(&mut gzip, broken) == broken);
        }
        let cut = [&whole[..], &whole[..500]].concat();
        let compressed = compressed(&mut gzip, &cut);
        assert!(compressed.len() < 600 && compressed.ends_with(&whole[..500]));
    }

    proptest! {
        #[test]
        fn whatever_is_compressed_is_the_same_afterwards(
            messages in prop::collection::vec(
                prop_oneof![
                    prop::collection::vec(any::<u8>(), 0..200),
                    prop::collection::vec(0_u8..3, 0..2000),
                    (any::<u8>(), 0_usize..40_000).prop_map(|(byte, length)| vec![byte; length]),
                ],
                0..20,
            ),
        ) {
            let buffer = framed(&messages);
            prop_assert!(read(&compressed(&mut Gzip::new(), &buffer)).0 == messages);
        }
    }
}
