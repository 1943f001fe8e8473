//! What became of requests: each that was accepted is in one of the figures.

use std::path::PathBuf;

use prost::Message;
use sift_rs::ingest::v1::IngestWithConfigDataStreamRequest;

use super::error::{FinishError, Finished};
use super::metrics::Gauges;
use crate::catalog::SeqSet;
use crate::record::{OnFull, RecorderStats};
use crate::replay::Done;

/// The figures of some legs, together.
#[derive(Debug, Default)]
pub(super) struct Account {
    finished: Finished,
    /// Neither acknowledged nor on disk.
    undelivered: Vec<IngestWithConfigDataStreamRequest>,
    /// Those of them that can't be handed back, because they can't be read: a bug, but not one to hide.
    unreadable: u64,
    recorded: u64,
    durable: u64,
    bytes: u64,
}

/// Of what was dropped, what had a seq: only the oldest were given one before.
pub(super) fn dropped_with_seqs(stats: &RecorderStats, on_full: OnFull) -> u64 {
    if on_full == OnFull::DropOldest { stats.dropped } else { 0 }
}

/// Requests that a recorder was given and didn't refuse.
pub(super) fn accepted(stats: &RecorderStats, on_full: OnFull) -> u64 {
    stats.records + stats.dropped - dropped_with_seqs(stats, on_full)
}

impl Account {
    /// Of one leg whose recorder has ended: what it lost, and what went back to who sent it.
    pub(super) fn of(
        stats: &RecorderStats,
        done: &Done,
        lost: &[(u64, Vec<u8>)],
        returned: &SeqSet,
        on_full: OnFull,
    ) -> Self {
        let all_done = done.all();
        // Of what is lost, some may have been acknowledged before the disk failed.
        let returned = returned.without(&all_done);
        let lost = lost.iter().filter(|(seq, _)| !all_done.contains(*seq) && !returned.contains(*seq));
        let lost: Vec<_> = lost.map(|(_, bytes)| IngestWithConfigDataStreamRequest::decode(&bytes[..]).ok()).collect();
        // Those that went back weren't accepted.
        let requests = accepted(stats, on_full) - returned.len();
        let acknowledged = done.acknowledged.len();
        let finished = Finished {
            requests,
            acknowledged,
            dead_lettered: all_done.len() - acknowledged,
            on_disk: requests.saturating_sub(all_done.len() + lost.len() as u64 + stats.dropped),
            dropped: stats.dropped,
            ..Finished::default()
        };
        let unreadable = lost.iter().filter(|request| request.is_none()).count() as u64;
        let (recorded, durable, bytes) = (stats.records, stats.durable_seq, stats.recorded_bytes);
        Self { finished, undelivered: lost.into_iter().flatten().collect(), unreadable, recorded, durable, bytes }
    }

    /// Whether nothing will change any more, and nothing is to be handed back.
    pub(super) fn is_settled(&self) -> bool {
        self.finished.on_disk == 0 && self.undelivered.is_empty() && self.unreadable == 0
    }

    pub(super) fn add(&mut self, other: Self) {
        let (sum, more) = (&mut self.finished, other.finished);
        sum.requests += more.requests;
        sum.acknowledged += more.acknowledged;
        sum.dead_lettered += more.dead_lettered;
        sum.on_disk += more.on_disk;
        sum.dropped += more.dropped;
        self.undelivered.extend(other.undelivered);
        self.unreadable += other.unreadable;
        self.recorded += other.recorded;
        self.durable += other.durable;
        self.bytes += other.bytes;
    }

    /// As figures of a stream that goes on.
    pub(super) fn gauges(&self) -> Gauges {
        Gauges {
            received: self.finished.requests,
            received_bytes: self.bytes,
            recorded: self.recorded,
            durable: self.durable,
            ..Gauges::default()
        }
    }

    /// What a stream says at its end; `reason`: why something is on disk alone.
    pub(super) fn finish(self, directory: PathBuf, reason: Option<String>) -> Result<Finished, FinishError> {
        let Self { finished, undelivered, unreadable, .. } = self;
        let reason = reason.filter(|_| finished.on_disk > 0);
        let finished = Finished { directory: Some(directory), reason, ..finished };
        if undelivered.is_empty() && unreadable == 0 {
            return Ok(finished);
        }
        let reason = match unreadable {
            0 => "recording has failed: see the log".to_owned(),
            some => format!("recording has failed: see the log; {some} of them can't be read any more"),
        };
        Err(FinishError { reason, finished: Box::new(finished), undelivered })
    }
}
