//! What may be wrong with bytes.

use thiserror::Error;

/// Why the bytes at a place aren't a sound frame of that place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DamageCause {
    /// The first eight bytes aren't the magic ([F-3]); the frames behind it are looked for all the same.
    #[error("the file doesn't begin with the segment magic")]
    Magic,
    /// No sync marker where a frame should begin ([F-5]).
    #[error("no frame begins here")]
    NoFrame,
    /// The header's checksum doesn't hold ([F-6]).
    #[error("the frame header's checksum is wrong")]
    HeaderChecksum,
    /// The header is sound but belongs to another segment, or to another place of this one ([F-8]).
    #[error("the frame belongs to another segment or place")]
    Misplaced,
    /// The header is sound but states a length or a number that no frame may have ([F-14]).
    #[error("the frame header states an impossible length or number")]
    Limits,
    /// The payload's checksum doesn't hold ([F-7]).
    #[error("the frame payload's checksum is wrong")]
    PayloadChecksum,
    /// The payload is what was written, but not what its kind prescribes ([F-15], [F-20]).
    #[error("what it holds is malformed")]
    Malformed,
    /// The frame's seqs go back behind those of an earlier frame ([F-34]).
    #[error("the frame repeats seqs of an earlier one")]
    SeqBackwards,
    /// The trailer behind the SEAL frame is wrong ([F-26]).
    #[error("the trailer is wrong")]
    Trailer,
    /// There are bytes behind the end of a sealed segment ([F-26]).
    #[error("bytes follow the end of the sealed segment")]
    AfterSeal,
    /// A PBFS chunk states a length that it can't have ([P-2]).
    #[error("the chunk's length is impossible")]
    ChunkLength,
    /// A PBFS chunk's checksum doesn't hold ([P-1]).
    #[error("the chunk's checksum is wrong")]
    ChunkChecksum,
}

impl DamageCause {
    /// A short stable word for machine-readable output, such as `header-checksum`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Magic => "magic",
            Self::NoFrame => "no-frame",
            Self::HeaderChecksum => "header-checksum",
            Self::Misplaced => "misplaced",
            Self::Limits => "limits",
            Self::PayloadChecksum => "payload-checksum",
            Self::Malformed => "malformed",
            Self::SeqBackwards => "seq-backwards",
            Self::Trailer => "trailer",
            Self::AfterSeal => "after-seal",
            Self::ChunkLength => "chunk-length",
            Self::ChunkChecksum => "chunk-checksum",
        }
    }
}

/// Why a sound frame can't be read by this version ([F-12], [F-13]). That isn't damage: a newer version may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Unreadable {
    /// A codec that this version doesn't know.
    #[error("codec {0} is unknown to this version: read it with a newer one")]
    Codec(u8),
    /// A critical flag that this version doesn't know.
    #[error("critical flags {0:#06x} are unknown to this version: read it with a newer one")]
    CriticalFlags(u16),
}

/// Why a frame's payload can't be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PayloadError {
    /// Not readable by this version.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// Not what the header promises: zstd fails, or yields another length than stated ([F-15]).
    #[error("the frame's content is malformed")]
    Malformed,
}

/// A protobuf message that isn't one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not a protobuf message: {problem} at byte {at}")]
pub struct WireError {
    /// Where in the message, in bytes from its start.
    pub at: usize,
    /// What is wrong there.
    pub problem: WireProblem,
}

/// What makes bytes no protobuf message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum WireProblem {
    /// The message ends within a number.
    #[error("a cut-off number")]
    CutOff,
    /// A varint that no `u64` holds.
    #[error("a number of more than 64 bits")]
    TooManyBits,
    /// A tag beyond what protobuf allows.
    #[error("a field number that is too large")]
    FieldNumber,
    /// Field numbers begin at 1.
    #[error("field number 0")]
    FieldZero,
    /// A text that isn't UTF-8.
    #[error("a text that isn't UTF-8")]
    NotText,
    /// A length that reaches beyond the end of the message.
    #[error("a field longer than its message")]
    TooLong,
    /// A wire type that doesn't exist, or a group: those aren't part of proto3.
    #[error("a wire type that no field of this message has")]
    UnknownWireType,
    /// A field that the reader knows, but not with this wire type.
    #[error("a known field with another wire type")]
    OtherWireType,
}

/// A request that can't be stored as a record, or a message of the format that can't be encoded.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EncodeError {
    /// Larger than a frame may be ([F-14]).
    #[error("{what} has {bytes} bytes, and at most {most} fit into a frame")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size in bytes.
        bytes: usize,
        /// The bound in bytes.
        most: u32,
    },
    /// zstd failed.
    #[error("zstd can't compress: {0}")]
    Compress(String),
}
