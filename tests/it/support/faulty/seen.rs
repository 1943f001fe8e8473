//! What a server has seen, for ever.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use prost::Message;

use super::Request;

/// Which record: what it says, whatever ids and directives it carries.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct RecordId {
    pub(crate) flow: String,
    /// In ns since the Unix epoch; those that have none are at 0.
    pub(crate) time: i128,
    /// Of its bytes without the fields that are the transport's.
    pub(crate) hash: u64,
}

impl RecordId {
    /// # Panics
    /// If `record` isn't a request.
    pub(crate) fn of(record: &[u8]) -> Self {
        Self::parse(record).expect("a request").0
    }

    pub(super) fn parse(record: &[u8]) -> Option<(Self, Request)> {
        let request = Request::decode(record).ok()?;
        let time =
            request.timestamp.as_ref().map_or(0, |t| i128::from(t.seconds) * 1_000_000_000 + i128::from(t.nanos));
        let mut hasher = DefaultHasher::new();
        without_ids(record)?.hash(&mut hasher);
        Some((Self { flow: request.flow.clone(), time, hash: hasher.finish() }, request))
    }
}

/// A record's bytes without fields 1, 5, 6 and 7, the others as they stand.
pub(crate) fn without_ids(record: &[u8]) -> Option<Vec<u8>> {
    let (mut kept, mut rest) = (Vec::with_capacity(record.len()), record);
    while !rest.is_empty() {
        let field = rest;
        let key = varint(&mut rest)?;
        let len = match key & 7 {
            0 => {
                varint(&mut rest)?;
                0
            }
            1 => 8,
            2 => usize::try_from(varint(&mut rest)?).ok()?,
            5 => 4,
            _ => return None,
        };
        rest = rest.get(len..)?;
        if ![1, 5, 6, 7].contains(&(key >> 3)) {
            kept.extend_from_slice(&field[..field.len() - rest.len()]);
        }
    }
    Some(kept)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// How often a record came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Copies {
    /// On the wire, whatever became of the stream.
    pub(crate) received: u64,
    /// In streams that were acknowledged.
    pub(crate) acknowledged: u64,
    /// Refused.
    pub(crate) refused: u64,
    /// Under which ingestion config, run and organization; those that it doesn't carry are empty.
    pub(crate) under: BTreeSet<[String; 3]>,
}

/// What a server has seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) records: HashMap<RecordId, Copies>,
    /// Messages of ingest streams.
    pub(crate) messages: u64,
    /// Those that weren't requests.
    pub(crate) malformed: u64,
    /// Requests refused, each time that they came.
    pub(crate) refused: u64,
    /// Requests without `end_stream_on_validation_error`.
    pub(crate) undirected: u64,
    /// Ingest streams begun.
    pub(crate) streams: u64,
    /// Ingest streams that came to their end.
    pub(crate) whole_streams: u64,
    pub(crate) acknowledged_streams: u64,
    /// Ingest streams open now.
    pub(crate) open_streams: u64,
    pub(crate) most_open_streams: u64,
    /// Streams that wait to be released.
    pub(crate) held_streams: u64,
    /// Streams that will never be answered, whole or unread.
    pub(crate) silent_streams: u64,
    pub(crate) connections: u64,
    pub(crate) open_connections: u64,
    pub(crate) most_open_connections: u64,
    /// Calls by their last name.
    pub(crate) calls: BTreeMap<String, u64>,
    /// The times of the records of each connection's flow, in the order in which they came.
    pub(crate) order: BTreeMap<(u64, String), Vec<i128>>,
    /// How often it has died.
    pub(super) life: u64,
    pub(super) listening_in: Option<u64>,
}

impl Seen {
    /// How often a record came; never, if it is unknown.
    pub(crate) fn copies(&self, record: &RecordId) -> Copies {
        self.records.get(record).cloned().unwrap_or_default()
    }

    pub(crate) fn is_acknowledged(&self, record: &RecordId) -> bool {
        self.records.get(record).is_some_and(|copies| copies.acknowledged > 0)
    }

    /// Records acknowledged at least once.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.records.values().filter(|copies| copies.acknowledged > 0).count() as u64
    }

    /// How often records came that were there already, those that are refused aside.
    pub(crate) fn duplicates(&self) -> u64 {
        self.records.values().filter(|copies| copies.refused == 0).map(|copies| copies.received - 1).sum()
    }

    /// How often records were acknowledged that were so already: what a user sees twice for good.
    pub(crate) fn acknowledged_twice(&self) -> u64 {
        self.records.values().map(|copies| copies.acknowledged.saturating_sub(1)).sum()
    }

    /// Whether anybody can connect.
    pub(crate) fn is_listening(&self) -> bool {
        self.listening_in.is_some()
    }

    pub(crate) fn calls(&self, method: &str) -> u64 {
        self.calls.get(method).copied().unwrap_or(0)
    }

    /// All but the records, for messages.
    pub(crate) fn figures(&self) -> String {
        format!(
            "{} messages of {} records ({} acknowledged, {} duplicates, {} refusals), {} streams ({} whole, {} \
             acknowledged, {} open, {} held, {} silent), {} connections ({} open), calls {:?}, life {}",
            self.messages,
            self.records.len(),
            self.acknowledged(),
            self.duplicates(),
            self.refused,
            self.streams,
            self.whole_streams,
            self.acknowledged_streams,
            self.open_streams,
            self.held_streams,
            self.silent_streams,
            self.connections,
            self.open_connections,
            self.calls,
            self.life,
        )
    }
}
