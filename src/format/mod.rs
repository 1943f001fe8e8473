//! The file format: bytes to frames and back, without I/O. `format-spec/README.md` specifies it; the rules' numbers
//! (`[F-1]`, …; `[P-1]`, … for PBFS) are cited where they are kept.
//!
//! All integers are little-endian and all messages protobuf ([F-1]). Every byte here may come from a damaged or
//! hostile file: nothing panics, and no length is believed before it is bounded.

mod checkpoint;
mod error;
mod frame;
mod limits;
mod message;
mod parts;
mod payload;
mod pbfs;
mod range_crc;
mod record;
mod scan;
mod seal;
mod values;
mod wire;

pub use checkpoint::{CheckpointMessage, PbfsFacts, PbfsFactsMark, SessionFacts, TargetFacts};
pub use error::{DamageCause, EncodeError, PayloadError, Unreadable, WireError, WireProblem};
pub use frame::{
    Codec, FLAG_BARE, FRAME_HEADER_BYTES, Frame, FrameHeader, JOURNAL_MAGIC, Kind, MAGIC, SYNC_MARKER, TimeRange,
};
pub use limits::{
    MAX_CHECKPOINT_BYTES, MAX_INDEX_ENTRIES, MAX_MESSAGE_PARTS, MAX_PBFS_CHUNK_BYTES, MAX_RAW_BYTES, MAX_RECORD_BYTES,
    MAX_SEAL_FLOWS, MAX_STORED_BYTES, RECORD_PREFIX_BYTES, WRITTEN_INDEX_ENTRIES,
};
pub use message::{
    Abandoned, AddedFlows, BitFieldElement, ChannelConfig, ClockStep, Confirmed, Dropped, EnumType, FORMAT_VERSION,
    FlowConfig, IndexEntry, IngestionConfig, Mark, MarkMessage, Refused, Run, Seal, SealFlow, SegmentHeader, SeqRange,
    segment_id, segment_index,
};
pub use parts::Bounded;
pub(crate) use payload::check_raw_len;
pub use payload::{Compression, PayloadDecoder, PayloadEncoder};
pub use pbfs::{PBFS_HEADER_BYTES, PbfsChunk, PbfsScanner, PbfsStep};
pub(crate) use record::field;
#[cfg(feature = "replay")]
pub(crate) use record::unix_ns;
pub use record::{RecordInfo, Records, Suffix, put_record, put_timestamp};
pub use scan::{Damage, Scanner, Step, Torn};
pub use seal::{SealBuilder, TRAILER_BYTES, Tally, decode_trailer, encode_trailer};
pub use values::non_finite_values;
pub(crate) use wire::varint_word;
pub use wire::{Field, Fields, WireValue, put_bytes_field, put_varint, put_varint_field, varint_len};
