//! Finding the records that a destination refuses, in few round trips: group testing. Groups are as large as the gaps
//! between refused records were lately (adaptive run-length coding asks the same questions), and a refused group is halved.
//! The records of a flow that is refused as a whole are tested alone, so that they don't hold up the others.

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

/// Refused records over whose gaps the mean is taken: few enough to follow what is refused now.
const LATELY: f64 = 8.0;

/// Of a group of this share of the mean gap about every second is refused: the test that tells most.
const TELLING: f64 = 0.7;

/// Flows that are kept apart at most: names come from files.
const MAX_FLOWS: usize = 10_000;

/// Messages that are worth a search of their own: cutting finer only adds requests.
const WORTH_A_SEARCH: usize = 64;

/// Tests of a flow before it may be taken for refused as a whole, and after which older ones count half.
const ENOUGH: (u32, u32) = (4, 64);

/// What a job's refusals were like so far.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    /// Records from one that is refused to the next, lately; `None` before the first.
    mean_gap: Option<f64>,
    /// Records acknowledged since the last that was refused.
    since: u64,
    flows: HashMap<Arc<[u8]>, Flow>,
}

/// Tests of a flow's records, alone or in groups.
#[derive(Debug, Clone, Copy, Default)]
struct Flow {
    tested: u32,
    refused: u32,
}

impl Refusals {
    /// Whether a window of so many records is likely to be taken as it is.
    pub(super) fn expects_none(&self, records: u64) -> bool {
        self.mean_gap.is_none_or(|mean| mean.max(self.since as f64) >= records as f64)
    }

    /// A whole window was acknowledged.
    pub(super) fn window(&mut self, records: u64) {
        self.since = self.since.saturating_add(records);
    }

    /// How many records to test together after `run` of them were taken.
    fn size(&self, run: u64) -> usize {
        let run = run.max(self.since);
        self.mean_gap.map_or(usize::MAX, |mean| (mean.max(run as f64) * TELLING) as usize).max(1)
    }

    fn acknowledged(&mut self, group: &[Message]) {
        self.since = self.since.saturating_add(group.len() as u64);
        group.iter().for_each(|message| self.tested(message, 0));
    }

    /// `run`: messages taken since the last one that was refused, unless this one was expected to be.
    fn refused(&mut self, message: &Message, run: Option<u64>) {
        self.tested(message, 1);
        let Some(run) = run else { return };
        let gap = (run.max(std::mem::take(&mut self.since)) + 1) as f64;
        self.mean_gap = Some(self.mean_gap.map_or(gap, |mean| mean + (gap - mean) / LATELY));
    }

    fn tested(&mut self, message: &Message, refused: u32) {
        // Flows of which nothing is refused needn't be known.
        if refused > 0 && self.flows.len() < MAX_FLOWS && !self.flows.contains_key(&message.flow) {
            self.flows.insert(message.flow.clone(), Flow::default());
        }
        let Some(flow) = self.flows.get_mut(&message.flow) else { return };
        if flow.tested >= ENOUGH.1 {
            *flow = Flow { tested: flow.tested / 2, refused: flow.refused / 2 };
        }
        flow.tested += 1;
        flow.refused += refused;
    }

    fn is_refused_as_a_whole(&self, flow: &[u8]) -> bool {
        self.flows.get(flow).is_some_and(|flow| flow.tested >= ENOUGH.0 && flow.refused * 2 > flow.tested)
    }

    /// Searches that together find out about these messages; so many may go on side by side.
    pub(super) fn searches(&self, messages: Vec<Message>, side_by_side: usize) -> Vec<Search> {
        let (alone, mixed): (Vec<_>, Vec<_>) =
            messages.into_iter().partition(|message| self.is_refused_as_a_whole(&message.flow));
        let cut = |messages: Vec<Message>, alone| {
            let each = messages.len().div_ceil(side_by_side).max(if alone { 1 } else { WORTH_A_SEARCH });
            let chunks: Vec<Search> = messages.chunks(each).map(|chunk| Search::new(chunk.to_vec(), alone)).collect();
            chunks
        };
        let mut searches = cut(mixed, false);
        searches.extend(cut(alone, true));
        searches
    }
}

/// Finds the refused among some messages, one test after the other.
#[derive(Debug)]
pub(super) struct Search {
    messages: Vec<Message>,
    /// From here on each is tested by itself: hardly any will be taken.
    alone_from: usize,
    /// Those before are settled.
    at: usize,
    /// Somewhere before this one is one that is refused.
    refused_before: Option<usize>,
    /// Messages taken since the last one that was refused.
    run: u64,
    /// Seqs of those that were taken.
    pub(super) acknowledged: Vec<Range<u64>>,
}

impl Search {
    fn new(messages: Vec<Message>, alone: bool) -> Self {
        let alone_from = if alone { 0 } else { messages.len() };
        Self { messages, alone_from, at: 0, refused_before: None, run: 0, acknowledged: Vec::new() }
    }

    /// The group that is to be tested next; `None` if all is known.
    pub(super) fn next(&self, refusals: &Refusals) -> Option<&[Message]> {
        let size = match self.refused_before {
            _ if self.at >= self.messages.len() => return None,
            _ if self.at >= self.alone_from => 1,
            Some(end) => ((end - self.at) / 2).max(1),
            None => refusals.size(self.run).min(self.alone_from - self.at),
        };
        self.messages.get(self.at..self.at + size)
    }

    /// The first `size` of those left were taken.
    pub(super) fn taken(&mut self, size: usize, refusals: &mut Refusals) {
        let group = self.messages.get(self.at..self.at + size).unwrap_or_default();
        refusals.acknowledged(group);
        self.acknowledged.extend(seqs(group));
        self.at += size;
        self.run += size as u64;
        // If nothing is left of a refused group, what was wrong with it is gone.
        self.refused_before = self.refused_before.filter(|end| self.at < *end);
    }

    /// The first `size` of those left were refused. Returns the message if that was one alone.
    pub(super) fn refused(&mut self, size: usize, refusals: &mut Refusals) -> Option<Message> {
        if size > 1 {
            self.refused_before = Some(self.at + size);
            return None;
        }
        let message = self.messages.get(self.at)?.clone();
        let is_expected = self.at >= self.alone_from;
        refusals.refused(&message, (!is_expected).then_some(self.run));
        (self.at, self.run, self.refused_before) = (self.at + 1, 0, None);
        if !is_expected && refusals.is_refused_as_a_whole(&message.flow) {
            self.set_apart(refusals);
        }
        Some(message)
    }

    /// Moves messages of flows that are refused as a whole behind the others.
    fn set_apart(&mut self, refusals: &Refusals) {
        let Some(left) = self.messages.get_mut(self.at..self.alone_from) else { return };
        // It keeps the order within both parts.
        left.sort_by_key(|message| refusals.is_refused_as_a_whole(&message.flow));
        self.alone_from = self.at + left.partition_point(|message| !refusals.is_refused_as_a_whole(&message.flow));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(seq: u64, flow: u8) -> Message {
        Message { seq, bytes: Bytes::new(), flow: Arc::from([flow]) }
    }

    /// Delivers windows as `deliver` does, one request at a time; returns how many requests that took, and what was
    /// refused.
    fn requests(total: u64, window: u64, flow: impl Fn(u64) -> u8, bad: impl Fn(u64) -> bool) -> (u64, Vec<u64>) {
        let mut refusals = Refusals::default();
        let (mut requests, mut found, mut taken) = (0, Vec::new(), 0);
        for from in (0..total).step_by(window as usize) {
            let window: Vec<_> = (from..(from + window).min(total)).map(|seq| message(seq, flow(seq))).collect();
            if refusals.expects_none(window.len() as u64) {
                requests += 1;
                if !window.iter().any(|message| bad(message.seq)) {
                    refusals.window(window.len() as u64);
                    taken += window.len();
                    continue;
                }
            }
            for mut search in refusals.searches(window, 16) {
                while let Some(group) = search.next(&refusals) {
                    requests += 1;
                    let size = group.len();
                    if group.iter().any(|message| bad(message.seq)) {
                        found.extend(search.refused(size, &mut refusals).map(|message| message.seq));
                    } else {
                        search.taken(size, &mut refusals);
                    }
                }
                taken += search.acknowledged.iter().map(|range| (range.end - range.start) as usize).sum::<usize>();
            }
        }
        found.sort_unstable();
        assert_eq!(taken + found.len(), total as usize);
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
        // Whoever knew the share beforehand would need about 8 questions for each.
        assert!(each < 10.0, "{requests} requests, {each} each");
    }

    #[test]
    fn a_stretch_of_refused_records_takes_about_one_request_each() {
        let ten_thousand = 400_000..410_000;
        let (requests, found) = requests(1_000_000, 30_000, |_| 0, |seq| ten_thousand.contains(&seq));
        assert!(requests < found.len() as u64 * 11 / 10, "{requests}");
    }

    #[test]
    fn a_flow_that_is_refused_does_not_hold_up_the_others() {
        let flow = |seq| (seq % 10) as u8;
        let (requests, found) = requests(300_000, 30_000, flow, |seq| seq % 10 == 3);
        assert_eq!(found.len(), 30_000);
        assert!(requests < 31_000, "{requests}");
    }

    #[test]
    fn a_single_refused_record_is_found_by_halving() {
        let (requests, _) = requests(300_000, 30_000, |_| 0, |seq| seq == 77_777);
        assert!(requests < 10 + 2 * 16, "{requests}");
    }

    #[test]
    fn records_that_recover_are_taken_together_again() {
        let (requests, _) = requests(300_000, 10_000, |_| 0, |seq| seq < 5_000);
        assert!(requests < 5_000 + 500, "{requests}");
    }

    #[test]
    fn a_refusal_that_none_of_the_group_repeats_refuses_nothing() {
        let mut refusals = Refusals::default();
        let mut searches = refusals.searches((0..8).map(|seq| message(seq, 0)).collect(), 1);
        let search = &mut searches[0];
        assert_eq!(search.next(&refusals).map(<[_]>::len), Some(8));
        assert!(search.refused(8, &mut refusals).is_none());
        for size in [4, 2, 1, 1] {
            assert_eq!(search.next(&refusals).map(<[_]>::len), Some(size));
            search.taken(size, &mut refusals);
        }
        assert!(search.next(&refusals).is_none());
        assert_eq!(search.acknowledged.iter().map(|range| range.end - range.start).sum::<u64>(), 8);
    }

    #[test]
    fn seqs_of_messages_are_ranges() {
        let messages: Vec<_> = [1, 2, 3, 7, 9, 10].map(|seq| message(seq, 0)).into();
        assert_eq!(seqs(&messages), [1..4, 7..8, 9..11]);
    }
}
