//! The protobuf messages inside frames. Those that Sift defines are declared here only as far as the recorder needs
//! them, on Sift's field numbers ([F-19]); a replayer hands the bytes on to Sift's own types.

use prost::Message;
use uuid::Uuid;

/// The format version that this crate writes ([F-35]).
pub const FORMAT_VERSION: u32 = 1;

/// HEADER's message ([F-18]), repeated in SEAL.
#[derive(Clone, PartialEq, Message)]
pub struct SegmentHeader {
    /// The format version.
    #[prost(uint32, tag = "1")]
    pub format_version: u32,
    /// The session's UUID, 16 bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub session_id: Vec<u8>,
    /// The segment's number in its session: 0, 1, 2, …
    #[prost(uint32, tag = "3")]
    pub segment_index: u32,
    /// Seq of the first record that the segment can hold.
    #[prost(uint64, tag = "4")]
    pub first_seq: u64,
    /// When the segment was begun: wall clock, ns since the Unix epoch.
    #[prost(sfixed64, tag = "5")]
    pub wall_clock_ns: i64,
    /// The same by a clock that never jumps, ns since the session began.
    #[prost(uint64, tag = "6")]
    pub monotonic_ns: u64,
    /// The program that records.
    #[prost(string, tag = "7")]
    pub recorder: String,
    /// Its version.
    #[prost(string, tag = "8")]
    pub recorder_version: String,
    /// The computer's name, if known.
    #[prost(string, tag = "9")]
    pub host: String,
    /// Sift's `CreateIngestionConfigRequest`, with all flows known so far; kept as bytes so that what a later
    /// version of Sift adds to it survives. Empty if no request precedes the data.
    #[prost(bytes = "vec", tag = "10")]
    pub ingestion_config: Vec<u8>,
    /// Sift's `CreateRunRequest`; absent if no run is to be attached.
    #[prost(bytes = "vec", optional, tag = "11")]
    pub run: Option<Vec<u8>>,
    /// The run's id, where one was known: it is attached as it is, and `run` isn't asked for.
    #[prost(string, optional, tag = "12")]
    pub run_id: Option<String>,
}

impl SegmentHeader {
    /// The session's id, if it is one.
    pub fn session(&self) -> Option<Uuid> {
        Uuid::from_slice(&self.session_id).ok()
    }
}

/// The id of a session's segment ([F-9]): made from both, so that a segment whose header and name are lost can still
/// be matched with its session.
pub fn segment_id(session: Uuid, index: u32) -> u64 {
    let (_, low) = session.as_u64_pair();
    low ^ u64::from(index).wrapping_mul(SEGMENT_ID_FACTOR)
}

/// The number of the session's segment that has this id; `None` if it is another session's ([F-33]).
pub fn segment_index(session: Uuid, id: u64) -> Option<u32> {
    let (_, low) = session.as_u64_pair();
    u32::try_from((id ^ low).wrapping_mul(SEGMENT_ID_INVERSE)).ok()
}

/// Odd, so that it has an inverse modulo 2⁶⁴.
const SEGMENT_ID_FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// The factor's inverse modulo 2⁶⁴.
const SEGMENT_ID_INVERSE: u64 = 0xf1de_83e1_9937_733d;

/// SCHEMA's message ([F-22]): Sift's `CreateIngestionConfigFlowsRequest` without the id.
#[derive(Clone, PartialEq, Message)]
pub struct AddedFlows {
    /// The flows added.
    #[prost(message, repeated, tag = "2")]
    pub flows: Vec<FlowConfig>,
}

/// Sift's `CreateIngestionConfigRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct IngestionConfig {
    /// The asset's name.
    #[prost(string, tag = "1")]
    pub asset_name: String,
    /// The flows.
    #[prost(message, repeated, tag = "2")]
    pub flows: Vec<FlowConfig>,
    /// The key by which Sift finds the config again.
    #[prost(string, tag = "4")]
    pub client_key: String,
}

/// Sift's `FlowConfig`.
#[derive(Clone, PartialEq, Message)]
pub struct FlowConfig {
    /// The flow's name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its channels, in the order in which records give their values.
    #[prost(message, repeated, tag = "2")]
    pub channels: Vec<ChannelConfig>,
}

/// Sift's `ChannelConfig`.
#[derive(Clone, PartialEq, Message)]
pub struct ChannelConfig {
    /// The channel's name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its unit.
    #[prost(string, tag = "2")]
    pub unit: String,
    /// What it is.
    #[prost(string, tag = "3")]
    pub description: String,
    /// Sift's number of its data type.
    #[prost(int32, tag = "4")]
    pub data_type: i32,
    /// Names of an enum channel's values.
    #[prost(message, repeated, tag = "5")]
    pub enum_types: Vec<EnumType>,
    /// Elements of a bit-field channel.
    #[prost(message, repeated, tag = "6")]
    pub bit_field_elements: Vec<BitFieldElement>,
}

/// Sift's `ChannelEnumType`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct EnumType {
    /// The value's name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The value.
    #[prost(uint32, tag = "2")]
    pub key: u32,
    /// Whether the value is to be read as signed.
    #[prost(bool, tag = "3")]
    pub is_signed: bool,
}

/// Sift's `ChannelBitFieldElement`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct BitFieldElement {
    /// The element's name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its first bit.
    #[prost(int32, tag = "2")]
    pub index: i32,
    /// How many bits it has.
    #[prost(uint32, tag = "3")]
    pub bit_count: u32,
}

/// Sift's `CreateRunRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct Run {
    /// The run's name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// What it is.
    #[prost(string, tag = "2")]
    pub description: String,
    /// Its tags.
    #[prost(string, repeated, tag = "3")]
    pub tags: Vec<String>,
    /// The key by which Sift finds the run again.
    #[prost(string, optional, tag = "8")]
    pub client_key: Option<String>,
}

/// MARK's message ([F-23]).
#[derive(Clone, PartialEq, Message)]
pub struct MarkMessage {
    /// When: wall clock, ns since the Unix epoch.
    #[prost(sfixed64, tag = "1")]
    pub wall_clock_ns: i64,
    /// What. `None` if it is something that this version doesn't know.
    #[prost(oneof = "Mark", tags = "2, 3, 4, 5, 6, 7")]
    pub mark: Option<Mark>,
}

/// A fact in time ([F-23]).
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Mark {
    /// Records were dropped.
    #[prost(message, tag = "2")]
    Dropped(Dropped),
    /// The wall clock was set.
    #[prost(message, tag = "3")]
    ClockStep(ClockStep),
    /// An operator's or a program's note.
    #[prost(string, tag = "4")]
    Note(String),
    /// A live stream had these seqs acknowledged.
    #[prost(message, tag = "5")]
    Confirmed(Confirmed),
    /// An earlier segment couldn't be written further.
    #[prost(message, tag = "6")]
    Abandoned(Abandoned),
    /// A destination refused records for good, which follow.
    #[prost(message, tag = "7")]
    Refused(Refused),
}

/// Records that were handed over and not kept.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Dropped {
    /// How many.
    #[prost(uint64, tag = "1")]
    pub records: u64,
    /// Why.
    #[prost(string, tag = "2")]
    pub reason: String,
    /// Seq of the first, if they had been given seqs (then these are missing from the session).
    #[prost(uint64, optional, tag = "3")]
    pub first_seq: Option<u64>,
}

/// A jump of the wall clock.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct ClockStep {
    /// By how much it went forward, in ns.
    #[prost(sint64, tag = "1")]
    pub step_ns: i64,
}

/// Seqs that a destination acknowledged.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Confirmed {
    /// The destination's name.
    #[prost(string, tag = "1")]
    pub destination: String,
    /// The first seq.
    #[prost(uint64, tag = "2")]
    pub first_seq: u64,
    /// The seq behind the last.
    #[prost(uint64, tag = "3")]
    pub end_seq: u64,
}

/// A segment that failed while it was written; its unsynced frames follow in the segment that has the mark.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Abandoned {
    /// The segment's number in the session.
    #[prost(uint32, tag = "1")]
    pub segment_index: u32,
    /// The error, as the operating system put it.
    #[prost(string, tag = "2")]
    pub error: String,
}

/// Records that a destination refused for good, and where they came from ([F-41]): dead letters.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Refused {
    /// The destination, and as what it was given the records.
    #[prost(string, tag = "1")]
    pub destination: String,
    /// Why, in the destination's words.
    #[prost(string, tag = "2")]
    pub reason: String,
    /// The session that the records are of, 16 bytes; empty if they are of none.
    #[prost(bytes = "vec", tag = "3")]
    pub session_id: Vec<u8>,
    /// The PBFS file that they are of: SHA-256 of its first sound chunk, 32 bytes; empty if they are of none.
    #[prost(bytes = "vec", tag = "4")]
    pub pbfs_id: Vec<u8>,
    /// Where they were read, for people.
    #[prost(string, tag = "5")]
    pub origin_path: String,
    /// Their seqs there, in the order in which they stand here (of a PBFS file: message numbers).
    #[prost(message, repeated, tag = "6")]
    pub seqs: Vec<SeqRange>,
    /// Seq of the first of them in the session that has the mark.
    #[prost(uint64, tag = "7")]
    pub first_seq: u64,
    /// How many they are.
    #[prost(uint64, tag = "8")]
    pub count: u64,
}

/// Consecutive seqs.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct SeqRange {
    /// The first.
    #[prost(uint64, tag = "1")]
    pub first: u64,
    /// The one behind the last.
    #[prost(uint64, tag = "2")]
    pub end: u64,
}

/// SEAL's message ([F-24]).
#[derive(Clone, PartialEq, Message)]
pub struct Seal {
    /// HEADER's message once more, with the flows added since: the first block of a file is the likeliest to be lost.
    #[prost(message, optional, tag = "1")]
    pub header: Option<SegmentHeader>,
    /// Records in the segment.
    #[prost(uint64, tag = "2")]
    pub records: u64,
    /// The seq behind the segment's last record.
    #[prost(uint64, tag = "3")]
    pub end_seq: u64,
    /// Least timestamp (absent if there is none).
    #[prost(sfixed64, optional, tag = "4")]
    pub least: Option<i64>,
    /// Greatest timestamp (absent if there is none).
    #[prost(sfixed64, optional, tag = "5")]
    pub greatest: Option<i64>,
    /// Records per flow.
    #[prost(message, repeated, tag = "6")]
    pub flows: Vec<SealFlow>,
    /// Where the frames are.
    #[prost(message, repeated, tag = "7")]
    pub index: Vec<IndexEntry>,
    /// Values that were NaN or infinite (Sift refuses those).
    #[prost(uint64, tag = "8")]
    pub non_finite: u64,
}

/// What a segment holds of one flow ([F-24]).
#[derive(Clone, PartialEq, Eq, Message)]
pub struct SealFlow {
    /// The flow's name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// How many records.
    #[prost(uint64, tag = "2")]
    pub records: u64,
    /// Least timestamp (absent if there is none).
    #[prost(sfixed64, optional, tag = "3")]
    pub least: Option<i64>,
    /// Greatest timestamp (absent if there is none).
    #[prost(sfixed64, optional, tag = "4")]
    pub greatest: Option<i64>,
}

/// A stretch of consecutive frames ([F-25]).
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct IndexEntry {
    /// Where the first of them begins, in bytes.
    #[prost(uint64, tag = "1")]
    pub offset: u64,
    /// Seq of their first record.
    #[prost(uint64, tag = "2")]
    pub first_seq: u64,
    /// Their records.
    #[prost(uint64, tag = "3")]
    pub count: u64,
    /// Least timestamp (absent if there is none).
    #[prost(sfixed64, optional, tag = "4")]
    pub least: Option<i64>,
    /// Greatest timestamp (absent if there is none).
    #[prost(sfixed64, optional, tag = "5")]
    pub greatest: Option<i64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_of_a_session_have_different_ids() {
        let session = Uuid::from_u128(0x0191_0000_0000_7000_8123_4567_89ab_cdef);
        assert_eq!(segment_id(session, 0), 0x8123_4567_89ab_cdef);
        assert_eq!(segment_id(session, 1), 0x8123_4567_89ab_cdef ^ 0x9e37_79b9_7f4a_7c15);
        let ids: std::collections::HashSet<_> = (0..10_000).map(|i| segment_id(session, i)).collect();
        assert_eq!(ids.len(), 10_000);
        for index in [0, 1, 77, u32::MAX] {
            assert_eq!(segment_index(session, segment_id(session, index)), Some(index));
        }
        assert_eq!(segment_index(Uuid::from_u128(5), segment_id(session, 1)), None);
    }
}
