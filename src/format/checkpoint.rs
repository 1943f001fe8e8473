//! The message of CHECKPOINT frames ([F-40]): facts about what destinations have acknowledged.

use prost::Message;

use super::message::SeqRange;

/// CHECKPOINT's message.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct CheckpointMessage {
    /// Facts by target; one may stand in several.
    #[prost(message, repeated, tag = "1")]
    pub targets: Vec<TargetFacts>,
}

/// What a target has acknowledged.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct TargetFacts {
    /// The target: the destination's name, and behind a space what else distinguishes it.
    #[prost(string, tag = "1")]
    pub target: String,
    /// Of sessions.
    #[prost(message, repeated, tag = "2")]
    pub sessions: Vec<SessionFacts>,
    /// Of PBFS files.
    #[prost(message, repeated, tag = "3")]
    pub pbfs: Vec<PbfsFacts>,
}

/// Seqs of a session that are done.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct SessionFacts {
    /// The session's UUID, 16 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub session_id: Vec<u8>,
    /// Acknowledged by the destination.
    #[prost(message, repeated, tag = "2")]
    pub acknowledged: Vec<SeqRange>,
    /// Refused by it, and kept in a dead letter.
    #[prost(message, repeated, tag = "3")]
    pub dead_lettered: Vec<SeqRange>,
}

/// How far PBFS files that begin alike are done.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct PbfsFacts {
    /// SHA-256 of their first sound chunk, 32 bytes ([P-4]).
    #[prost(bytes = "vec", tag = "1")]
    pub id: Vec<u8>,
    /// How far which of them is done.
    #[prost(message, repeated, tag = "2")]
    pub marks: Vec<PbfsFactsMark>,
    /// Messages, by number, that were refused and acknowledged later, from their dead letters.
    #[prost(message, repeated, tag = "3")]
    pub delivered: Vec<SeqRange>,
}

/// The beginning of a PBFS file is done.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct PbfsFactsMark {
    /// So many bytes of it.
    #[prost(uint64, tag = "1")]
    pub end: u64,
    /// Their SHA-256, 32 bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub hash: Vec<u8>,
    /// Messages in them.
    #[prost(uint64, tag = "3")]
    pub messages: u64,
    /// How many of those are dead letters.
    #[prost(uint64, tag = "4")]
    pub dead_lettered: u64,
}
