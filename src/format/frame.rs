//! The frame: a fixed header, and a payload of the stated length.

use std::fmt;

use super::error::{DamageCause, Unreadable};
use super::limits::{MAX_RAW_BYTES, MAX_STORED_BYTES, RECORD_PREFIX_BYTES};

/// The first bytes of every segment ([F-3]). A byte above 127 and both line ends show a transfer in text mode.
pub const MAGIC: [u8; 8] = *b"\x89SFR\r\n\x1a\n";

/// The first bytes of every checkpoint journal ([F-39]): another than a segment's.
pub const JOURNAL_MAGIC: [u8; 8] = *b"\x89SFJ\r\n\x1a\n";

/// The first bytes of every frame ([F-5]): random, so that telemetry hardly ever holds them.
pub const SYNC_MARKER: [u8; 8] = [0xd7, 0x1c, 0x4a, 0xe9, 0x85, 0x3b, 0xf2, 0x60];

/// Bytes of a frame's header ([F-4]).
pub const FRAME_HEADER_BYTES: usize = 72;

/// Bytes of the header that its checksum covers ([F-6]).
const CHECKED_BYTES: usize = FRAME_HEADER_BYTES - 4;

/// Flag ([F-13]): no record of the frame carries ids of its own, so that a replayer needn't look.
pub const FLAG_BARE: u16 = 0x0001;

/// The flags that a reader must know to read the frame ([F-13]).
const CRITICAL_FLAGS: u16 = 0xff00;

/// What a frame holds ([F-10]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// What the segment is, and the Sift requests that must precede its data.
    Header,
    /// Records.
    Data,
    /// Flows added since the HEADER.
    Schema,
    /// A fact in time.
    Mark,
    /// The end: totals and an index.
    Seal,
    /// What destinations have acknowledged; in journals only ([F-40]).
    Checkpoint,
    /// A kind that this version doesn't know: skipped, and counted ([F-11]).
    Unknown(u8),
}

impl Kind {
    /// The kind's number in the file.
    pub fn to_byte(self) -> u8 {
        match self {
            Self::Header => 1,
            Self::Data => 2,
            Self::Schema => 3,
            Self::Mark => 4,
            Self::Seal => 5,
            Self::Checkpoint => 6,
            Self::Unknown(byte) => byte,
        }
    }

    /// The kind with this number.
    pub fn from_byte(byte: u8) -> Self {
        match byte {
            1 => Self::Header,
            2 => Self::Data,
            3 => Self::Schema,
            4 => Self::Mark,
            5 => Self::Seal,
            6 => Self::Checkpoint,
            other => Self::Unknown(other),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => f.write_str("HEADER"),
            Self::Data => f.write_str("DATA"),
            Self::Schema => f.write_str("SCHEMA"),
            Self::Mark => f.write_str("MARK"),
            Self::Seal => f.write_str("SEAL"),
            Self::Checkpoint => f.write_str("CHECKPOINT"),
            Self::Unknown(byte) => write!(f, "unknown kind {byte}"),
        }
    }
}

/// How a frame's payload is stored ([F-12]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// As it is.
    None,
    /// One zstd frame.
    Zstd,
    /// A codec that this version doesn't know (2 is reserved for encrypted payloads).
    Unknown(u8),
}

impl Codec {
    /// The codec's number in the file.
    pub fn to_byte(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Zstd => 1,
            Self::Unknown(byte) => byte,
        }
    }

    /// The codec with this number.
    pub fn from_byte(byte: u8) -> Self {
        match byte {
            0 => Self::None,
            1 => Self::Zstd,
            other => Self::Unknown(other),
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Zstd => f.write_str("zstd"),
            Self::Unknown(byte) => write!(f, "codec {byte}"),
        }
    }
}

/// Least and greatest timestamp of some records, in ns since the Unix epoch ([F-17]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeRange {
    /// The least.
    pub least: i64,
    /// The greatest; less than `least` if there is no timestamp at all.
    pub greatest: i64,
}

impl TimeRange {
    /// No timestamp.
    pub const EMPTY: Self = Self { least: i64::MAX, greatest: i64::MIN };

    /// Exactly this timestamp.
    pub fn at(time: i64) -> Self {
        Self { least: time, greatest: time }
    }

    /// Whether there is no timestamp.
    pub fn is_empty(&self) -> bool {
        self.least > self.greatest
    }

    /// Widens the range to hold `time`.
    #[inline]
    pub fn include(&mut self, time: i64) {
        self.least = self.least.min(time);
        self.greatest = self.greatest.max(time);
    }

    /// Widens the range to hold all of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.least = self.least.min(other.least);
        self.greatest = self.greatest.max(other.greatest);
    }
}

/// A frame's header ([F-4]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// What the frame holds.
    pub kind: Kind,
    /// How its payload is stored.
    pub codec: Codec,
    /// Flags: the low byte may be ignored, the high byte is critical.
    pub flags: u16,
    /// Bytes of the payload as stored.
    pub stored_len: u32,
    /// Bytes of the payload before compression.
    pub raw_len: u32,
    /// Records in the frame.
    pub count: u32,
    /// Seq of the first record; for other kinds than DATA the seq of the next record to come ([F-16]).
    pub first_seq: u64,
    /// Times of the records; of a MARK, when it was made; otherwise empty.
    pub times: TimeRange,
    /// The segment that the frame belongs to ([F-9]).
    pub segment_id: u64,
    /// Where in the file the frame begins, in bytes.
    pub offset: u64,
    /// CRC-32 of the stored payload ([F-7]).
    pub payload_crc: u32,
}

impl FrameHeader {
    /// The seq behind the frame's last record.
    pub fn end_seq(&self) -> u64 {
        // Decoding refuses headers for which this would overflow.
        self.first_seq.saturating_add(u64::from(self.count))
    }

    /// Bytes of the whole frame in the file.
    pub fn frame_len(&self) -> u64 {
        FRAME_HEADER_BYTES as u64 + u64::from(self.stored_len)
    }

    /// The header's bytes, with its checksum.
    pub fn encode(&self) -> [u8; FRAME_HEADER_BYTES] {
        let mut out = [0u8; FRAME_HEADER_BYTES];
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            if let Some(place) = out.get_mut(at..at + bytes.len()) {
                place.copy_from_slice(bytes);
            }
            at += bytes.len();
        };
        put(&SYNC_MARKER);
        put(&[self.kind.to_byte(), self.codec.to_byte()]);
        put(&self.flags.to_le_bytes());
        put(&self.stored_len.to_le_bytes());
        put(&self.raw_len.to_le_bytes());
        put(&self.count.to_le_bytes());
        put(&self.first_seq.to_le_bytes());
        put(&self.times.least.to_le_bytes());
        put(&self.times.greatest.to_le_bytes());
        put(&self.segment_id.to_le_bytes());
        put(&self.offset.to_le_bytes());
        put(&self.payload_crc.to_le_bytes());
        debug_assert_eq!(at, CHECKED_BYTES);
        let crc = out.first_chunk::<CHECKED_BYTES>().map_or(0, |checked| crc32fast::hash(checked));
        if let Some(place) = out.last_chunk_mut::<4>() {
            *place = crc.to_le_bytes();
        }
        out
    }

    /// Reads the header that stands at `offset` of a segment. `segment_id` is `None` as long as nothing sound has
    /// told which segment this is ([F-33]).
    ///
    /// # Errors
    /// Why it isn't a sound header of that place.
    pub fn decode(bytes: &[u8; FRAME_HEADER_BYTES], offset: u64, segment_id: Option<u64>) -> Result<Self, DamageCause> {
        let (checked, crc) = bytes.split_last_chunk::<4>().ok_or(DamageCause::NoFrame)?;
        if !checked.starts_with(&SYNC_MARKER) {
            return Err(DamageCause::NoFrame);
        }
        if crc32fast::hash(checked) != u32::from_le_bytes(*crc) {
            return Err(DamageCause::HeaderChecksum);
        }
        let header = Self::fields(checked).ok_or(DamageCause::HeaderChecksum)?;
        if header.offset != offset || segment_id.is_some_and(|id| id != header.segment_id) {
            return Err(DamageCause::Misplaced);
        }
        header.check_limits()?;
        Ok(header)
    }

    fn fields(checked: &[u8]) -> Option<Self> {
        let mut rest = checked.get(SYNC_MARKER.len()..)?;
        let kind = Kind::from_byte(u8::from_le_bytes(take(&mut rest)?));
        let codec = Codec::from_byte(u8::from_le_bytes(take(&mut rest)?));
        Some(Self {
            kind,
            codec,
            flags: u16::from_le_bytes(take(&mut rest)?),
            stored_len: u32::from_le_bytes(take(&mut rest)?),
            raw_len: u32::from_le_bytes(take(&mut rest)?),
            count: u32::from_le_bytes(take(&mut rest)?),
            first_seq: u64::from_le_bytes(take(&mut rest)?),
            times: TimeRange {
                least: i64::from_le_bytes(take(&mut rest)?),
                greatest: i64::from_le_bytes(take(&mut rest)?),
            },
            segment_id: u64::from_le_bytes(take(&mut rest)?),
            offset: u64::from_le_bytes(take(&mut rest)?),
            payload_crc: u32::from_le_bytes(take(&mut rest)?),
        })
    }

    /// [F-14]: nothing that a header states may exceed what a frame may have.
    fn check_limits(&self) -> Result<(), DamageCause> {
        let most_records = self.raw_len / RECORD_PREFIX_BYTES as u32;
        let sound = self.stored_len <= MAX_STORED_BYTES
            && self.raw_len <= MAX_RAW_BYTES
            && (self.kind != Kind::Data || self.count <= most_records)
            && self.first_seq.checked_add(u64::from(self.count)).is_some()
            && self.offset.checked_add(self.frame_len()).is_some();
        if sound { Ok(()) } else { Err(DamageCause::Limits) }
    }

    /// Whether this version can read the frame's payload ([F-12], [F-13]).
    ///
    /// # Errors
    /// What this version doesn't know.
    pub fn readable(&self) -> Result<(), Unreadable> {
        if let Codec::Unknown(byte) = self.codec {
            return Err(Unreadable::Codec(byte));
        }
        match self.flags & CRITICAL_FLAGS {
            0 => Ok(()),
            unknown => Err(Unreadable::CriticalFlags(unknown)),
        }
    }
}

/// The next `N` bytes of `rest`.
#[inline]
pub(crate) fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

/// A frame whose header and payload are both sound.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// The header.
    pub header: FrameHeader,
    /// The payload as stored.
    pub stored: &'a [u8],
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> FrameHeader {
        FrameHeader {
            kind: Kind::Data,
            codec: Codec::Zstd,
            flags: FLAG_BARE,
            stored_len: 3,
            raw_len: 400,
            count: 2,
            first_seq: 7,
            times: TimeRange { least: -5, greatest: 9 },
            segment_id: 0x0102_0304_0506_0708,
            offset: 8,
            payload_crc: 0xdead_beef,
        }
    }

    #[test]
    fn a_header_reads_back() {
        let bytes = header().encode();
        assert_eq!(FrameHeader::decode(&bytes, 8, None), Ok(header()));
        assert_eq!(FrameHeader::decode(&bytes, 8, Some(header().segment_id)), Ok(header()));
    }

    #[test]
    fn every_flipped_bit_of_a_header_is_seen() {
        let bytes = header().encode();
        for bit in 0..FRAME_HEADER_BYTES * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(FrameHeader::decode(&flipped, 8, None).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_frame_of_another_place_or_segment_is_misplaced() {
        let bytes = header().encode();
        assert_eq!(FrameHeader::decode(&bytes, 9, None), Err(DamageCause::Misplaced));
        assert_eq!(FrameHeader::decode(&bytes, 8, Some(1)), Err(DamageCause::Misplaced));
    }

    #[test]
    fn impossible_lengths_are_refused_though_their_checksum_holds() {
        let long = FrameHeader { stored_len: MAX_STORED_BYTES + 1, ..header() };
        let bomb = FrameHeader { raw_len: u32::MAX, ..header() };
        let many = FrameHeader { count: 101, ..header() };
        let last = FrameHeader { first_seq: u64::MAX, ..header() };
        let far = FrameHeader { offset: u64::MAX - 10, ..header() };
        for bad in [long, bomb, many, last, far] {
            assert_eq!(FrameHeader::decode(&bad.encode(), bad.offset, None), Err(DamageCause::Limits), "{bad:?}");
        }
    }

    #[test]
    fn unknown_codecs_and_critical_flags_are_unreadable_not_damaged() {
        let codec = FrameHeader { codec: Codec::Unknown(2), ..header() };
        let flags = FrameHeader { flags: 0x0100, ..header() };
        let ignorable = FrameHeader { flags: 0x00fe, ..header() };
        assert_eq!(codec.readable(), Err(Unreadable::Codec(2)));
        assert_eq!(flags.readable(), Err(Unreadable::CriticalFlags(0x0100)));
        assert_eq!(ignorable.readable(), Ok(()));
        assert!(FrameHeader::decode(&codec.encode(), 8, None).is_ok());
    }
}
