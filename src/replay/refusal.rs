//! Finding the records that a destination refuses, in few round trips: group testing. A refused group is halved, or cut
//! finer where many records were refused lately; the records of a flow that is refused as a whole are tested alone, so that
//! they don't hold up the others.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::outgoing::Outgoing;
use super::window::Window;
use crate::format::RecordInfo;
use crate::sift::MESSAGE_PREFIX_BYTES;

/// One message of a window, on its own.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) seq: u64,
    /// With its gRPC prefix.
    pub(super) bytes: Bytes,
    pub(super) flow: Arc<[u8]>,
}

impl Message {
    /// The record as it was read.
    pub(super) fn record(&self, outgoing: &Outgoing) -> Vec<u8> {
        outgoing.original(self.bytes.get(MESSAGE_PREFIX_BYTES..).unwrap_or_default()).to_vec()
    }
}

/// The messages of a window, each with its flow.
pub(super) fn messages(window: &Window) -> Vec<Message> {
    let mut flows: HashMap<Bytes, Arc<[u8]>> = HashMap::new();
    let message = |(seq, bytes): (u64, Bytes)| {
        let record = bytes.get(MESSAGE_PREFIX_BYTES..).unwrap_or_default();
        let name = RecordInfo::parse(record).map(|info| info.flow).unwrap_or_default();
        let flow = match flows.get(name) {
            Some(flow) => flow.clone(),
            None => flows.entry(Bytes::copy_from_slice(name)).or_insert_with(|| name.into()).clone(),
        };
        Message { seq, bytes, flow }
    };
    window.messages().map(message).collect()
}

/// The seqs of messages in order.
pub(super) fn seqs(messages: &[Message]) -> Vec<Range<u64>> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for message in messages {
        match ranges.last_mut() {
            Some(last) if last.end == message.seq => last.end += 1,
            _ => ranges.push(message.seq..message.seq + 1),
        }
    }
    ranges
}

/// How many of the records tested lately were refused.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    tested: f64,
    refused: f64,
}

/// Records after which older ones count half: what is refused changes with the data.
const LATELY: f64 = 4096.0;

impl Tally {
    fn add(&mut self, tested: usize, refused: usize) {
        if self.tested > LATELY {
            self.tested /= 2.0;
            self.refused /= 2.0;
        }
        self.tested += tested as f64;
        self.refused += refused as f64;
    }

    fn share(&self) -> f64 {
        if self.tested > 0.0 { self.refused / self.tested } else { 0.0 }
    }
}

/// Flows that are kept apart at most: names come from files.
const MAX_FLOWS: usize = 10_000;

/// Tests of a flow before it may be taken for refused as a whole.
const ENOUGH: f64 = 4.0;

/// What share of a job's records is refused, by flow.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    flows: HashMap<Arc<[u8]>, Tally>,
    others: Tally,
}

impl Refusals {
    /// These were acknowledged together.
    pub(super) fn acknowledged(&mut self, messages: &[Message]) {
        messages.iter().for_each(|message| self.tested(message, 0));
    }

    /// This one was refused alone.
    pub(super) fn refused(&mut self, message: &Message) {
        self.tested(message, 1);
    }

    fn tested(&mut self, message: &Message, refused: usize) {
        let known = self.flows.contains_key(&message.flow);
        if known || self.flows.len() < MAX_FLOWS {
            self.flows.entry(message.flow.clone()).or_default().add(1, refused);
        }
        if !self.is_refused_as_a_whole(&message.flow) {
            self.others.add(1, refused);
        }
    }

    /// Nothing was refused lately, so that looking at each message isn't worth while.
    pub(super) fn is_calm(&self) -> bool {
        self.others.refused < 0.5 && self.flows.values().all(|tally| tally.refused < 0.5)
    }

    fn is_refused_as_a_whole(&self, flow: &[u8]) -> bool {
        self.flows.get(flow).is_some_and(|tally| tally.tested >= ENOUGH && tally.share() > 0.5)
    }

    /// Groups to be tested, given what is known so far. `refused`: they were refused as one group, so that one group is
    /// not an answer.
    pub(super) fn groups(&self, messages: Vec<Message>, refused: bool) -> Vec<Vec<Message>> {
        let (alone, mixed): (Vec<_>, Vec<_>) =
            messages.into_iter().partition(|message| self.is_refused_as_a_whole(&message.flow));
        let mut groups: Vec<Vec<Message>> = Vec::new();
        if !mixed.is_empty() {
            // Of a group of this size about every second is refused: a test that tells most.
            let share = self.others.share();
            let telling = if share > 0.0 { (0.7 / share) as usize } else { usize::MAX };
            let most = if refused && alone.is_empty() { mixed.len().div_ceil(2) } else { mixed.len() };
            groups.extend(mixed.chunks(telling.clamp(1, most.max(1))).map(<[Message]>::to_vec));
        }
        groups.extend(alone.into_iter().map(|message| vec![message]));
        groups
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(seq: u64, flow: u8) -> Message {
        Message { seq, bytes: Bytes::new(), flow: Arc::from([flow]) }
    }

    /// Delivers windows as `deliver` does, one request at a time; returns (requests, refused).
    fn requests(total: u64, window: u64, flow: impl Fn(u64) -> u8, bad: impl Fn(u64) -> bool) -> (u64, Vec<u64>) {
        let mut refusals = Refusals::default();
        let (mut requests, mut found, mut seen) = (0, Vec::new(), 0);
        for from in (0..total).step_by(window as usize) {
            let window: Vec<_> = (from..(from + window).min(total)).map(|seq| message(seq, flow(seq))).collect();
            let mut work = if refusals.is_calm() { vec![window] } else { refusals.groups(window, false) };
            while let Some(group) = work.pop() {
                requests += 1;
                if !group.iter().any(|message| bad(message.seq)) {
                    refusals.acknowledged(&group);
                    seen += group.len() as u64;
                } else if let [one] = &group[..] {
                    refusals.refused(one);
                    found.push(one.seq);
                } else {
                    let sizes = group.len();
                    let groups = refusals.groups(group, true);
                    assert!(groups.len() > 1, "{sizes}");
                    work.extend(groups);
                }
            }
        }
        found.sort_unstable();
        assert_eq!(seen + found.len() as u64, total);
        assert_eq!(found, (0..total).filter(|&seq| bad(seq)).collect::<Vec<_>>());
        (requests, found)
    }

    fn scattered(seq: u64) -> bool {
        let mut x = seq.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        x ^= x >> 29;
        x = x.wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (x >> 32).is_multiple_of(100)
    }

    #[test]
    fn ten_thousand_refused_among_a_million_take_few_requests_each() {
        let (requests, found) = requests(1_000_000, 30_000, |_| 0, scattered);
        assert!((9_000..11_000).contains(&found.len()), "{}", found.len());
        let each = requests as f64 / found.len() as f64;
        // Knowing the share beforehand, group testing needs about 8 questions for each.
        assert!(each < 12.0, "{requests} requests, {each} each");
    }

    #[test]
    fn a_stretch_of_refused_records_takes_about_one_request_each() {
        let ten_thousand = 400_000..410_000;
        let (requests, found) = requests(1_000_000, 30_000, |_| 0, |seq| ten_thousand.contains(&seq));
        assert!(requests < found.len() as u64 * 3 / 2, "{requests}");
    }

    #[test]
    fn a_flow_that_is_refused_does_not_hold_up_the_others() {
        let flow = |seq| (seq % 10) as u8;
        let (requests, found) = requests(300_000, 30_000, flow, |seq| seq % 10 == 3);
        assert_eq!(found.len(), 30_000);
        assert!(requests < 33_000, "{requests}");
    }

    #[test]
    fn a_single_refused_record_is_found_by_halving() {
        let (requests, _) = requests(300_000, 30_000, |_| 0, |seq| seq == 77_777);
        assert!(requests < 10 + 2 * 16, "{requests}");
    }

    #[test]
    fn a_flow_that_recovers_is_taken_together_again() {
        let (requests, _) = requests(300_000, 10_000, |_| 0, |seq| seq < 5_000);
        assert!(requests < 5_000 + 1_500, "{requests}");
    }

    #[test]
    fn seqs_of_messages_are_ranges() {
        let messages: Vec<_> = [1, 2, 3, 7, 9, 10].map(|seq| message(seq, 0)).into();
        assert_eq!(seqs(&messages), [1..4, 7..8, 9..11]);
    }
}
