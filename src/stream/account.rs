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

#[cfg(test)]
mod tests {
    #![allow(clippy::single_range_in_vec_init, reason = "a set of one range is meant")]

    use super::*;
    use proptest::prelude::*;

    fn set(ranges: &[std::ops::Range<u64>]) -> SeqSet {
        let mut set = SeqSet::new();
        ranges.iter().for_each(|range| drop(set.insert(range.clone())));
        set
    }

    fn lost(seqs: std::ops::Range<u64>) -> Vec<(u64, Vec<u8>)> {
        let request = |seq: u64| IngestWithConfigDataStreamRequest { flow: seq.to_string(), ..Default::default() };
        seqs.map(|seq| (seq, request(seq).encode_to_vec())).collect()
    }

    #[test]
    fn each_request_is_in_one_figure_and_what_is_nowhere_is_handed_back() {
        let stats = RecorderStats { records: 100, dropped: 7, durable_seq: 90, ..RecorderStats::default() };
        let done = Done { acknowledged: set(&[0..40, 92..94]), dead_lettered: set(&[40..45]) };
        // Of what the disk lost, two were acknowledged, and one went back to who sent it.
        let account = Account::of(&stats, &done, &lost(90..100), &set(&[99..100]), OnFull::DropNewest);
        assert!(!account.is_settled());
        let error = account.finish(PathBuf::from("home"), Some("no link".to_owned())).unwrap_err();
        let Finished { requests, acknowledged, dead_lettered, on_disk, dropped, .. } = *error.finished;
        assert_eq!((requests, acknowledged, dead_lettered, on_disk, dropped), (106, 42, 5, 45, 7));
        let flows: Vec<_> = error.undelivered.iter().map(|request| &request.flow[..]).collect();
        assert_eq!(flows, ["90", "91", "94", "95", "96", "97", "98"]);
        assert_eq!(acknowledged + dead_lettered + on_disk + dropped + flows.len() as u64, requests);
    }

    #[test]
    fn what_gave_way_as_the_oldest_had_its_seqs() {
        let stats = RecorderStats { records: 100, dropped: 30, durable_seq: 100, ..RecorderStats::default() };
        let account = Account::of(&stats, &Done::default(), &[], &SeqSet::new(), OnFull::DropOldest);
        let finished = account.finish(PathBuf::new(), None).unwrap();
        assert_eq!((finished.requests, finished.on_disk, finished.dropped), (100, 70, 30));
    }

    #[test]
    fn a_leg_is_settled_when_nothing_is_left_to_be_done_or_handed_back() {
        let stats = RecorderStats { records: 10, durable_seq: 10, ..RecorderStats::default() };
        let of = |done: &Done, lost: &[_]| Account::of(&stats, done, lost, &SeqSet::new(), OnFull::Block);
        let all = Done { acknowledged: set(&[0..9]), dead_lettered: set(&[9..10]) };
        let some = Done { acknowledged: set(&[0..9]), ..Done::default() };
        assert!(of(&all, &[]).is_settled() && !of(&some, &[]).is_settled());
        assert!(!of(&some, &lost(9..10)).is_settled());
        // What can't be read isn't passed over in silence.
        let unreadable = of(&some, &[(9, vec![0xff])]);
        assert!(!unreadable.is_settled());
        assert!(unreadable.finish(PathBuf::new(), None).unwrap_err().reason.contains("1 of them can't be read"));
    }

    proptest! {
        #[test]
        fn figures_add_up_over_any_legs(legs in proptest::collection::vec((0u64..50, 0u64..50, 0u64..50, 0u64..9), 0..6)) {
            let mut all = Account::default();
            for (records, acknowledged, durable, dropped) in &legs {
                let (done, durable) = ((*acknowledged).min(*records), (*durable).min(*records));
                let stats = RecorderStats {
                    records: *records,
                    durable_seq: durable,
                    dropped: *dropped,
                    ..RecorderStats::default()
                };
                let done = Done { acknowledged: set(&[0..done]), ..Done::default() };
                all.add(Account::of(&stats, &done, &lost(durable..*records), &SeqSet::new(), OnFull::DropNewest));
            }
            let gauges = all.gauges();
            let (finished, handed_back) = match all.finish(PathBuf::new(), None) {
                Ok(finished) => (finished, 0),
                Err(error) => (*error.finished, error.undelivered.len() as u64),
            };
            let Finished { requests, acknowledged, dead_lettered, on_disk, dropped, .. } = finished;
            prop_assert_eq!(acknowledged + dead_lettered + on_disk + dropped + handed_back, requests);
            prop_assert_eq!(requests, legs.iter().map(|(records, _, _, dropped)| records + dropped).sum::<u64>());
            prop_assert_eq!(gauges.received, requests);
        }
    }
}
