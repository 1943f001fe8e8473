//! Dead letters counted by where they came from and why they are here.

use std::collections::BTreeMap;

use super::origin::Refusal;
use super::read::DeadLetter;
use crate::catalog::SeqSet;
use crate::format::TimeRange;

/// Groups of a session that are told apart. A reason that names each record makes as many groups as there are records.
const MAX_GROUPS: usize = 10_000;

/// Flows of a group that are counted by name.
const MAX_FLOWS: usize = 4096;

/// Dead letters that came from the same place for the same reason.
#[derive(Debug, Clone)]
pub struct DeadLetterGroup {
    /// Why they are here; `None` for those that no mark explains.
    pub refusal: Option<Refusal>,
    /// Further reasons are counted in this group: there are too many to tell apart.
    pub mixed: bool,
    /// When they were refused, in ns since the Unix epoch.
    pub refused: TimeRange,
    /// How many.
    pub records: u64,
    /// Their seqs in the session that they came from (of a PBFS file: message numbers), as far as known.
    pub seqs: SeqSet,
    /// Their times.
    pub times: TimeRange,
    /// How many of each flow.
    pub flows: BTreeMap<String, u64>,
    /// How many of further flows.
    pub other_flows: u64,
}

/// Groups, as they come.
#[derive(Default)]
pub(super) struct Groups {
    pub(super) groups: Vec<DeadLetterGroup>,
    places: BTreeMap<Option<Refusal>, usize>,
    /// Where the last one was counted: the next is mostly of the same group.
    last: usize,
}

impl Groups {
    /// Counts one.
    pub(super) fn add(&mut self, letter: &DeadLetter<'_>) {
        let is_last = self.groups.get(self.last).is_some_and(|group| group.refusal.as_ref() == letter.refusal);
        if !is_last {
            self.last = self.place_of(letter.refusal);
        }
        if let Some(group) = self.groups.get_mut(self.last) {
            group.add(letter);
        }
    }

    fn place_of(&mut self, refusal: Option<&Refusal>) -> usize {
        let key = refusal.cloned();
        if let Some(&place) = self.places.get(&key) {
            return place;
        }
        if self.groups.len() <= MAX_GROUPS {
            let mixed = self.groups.len() == MAX_GROUPS;
            self.groups.push(DeadLetterGroup::new(key.clone(), mixed));
            self.places.insert(key, self.groups.len() - 1);
        }
        // All that come when there are too many share the last one.
        self.groups.len() - 1
    }
}

impl DeadLetterGroup {
    fn new(refusal: Option<Refusal>, mixed: bool) -> Self {
        Self {
            refusal,
            mixed,
            refused: TimeRange::EMPTY,
            records: 0,
            seqs: SeqSet::new(),
            times: TimeRange::EMPTY,
            flows: BTreeMap::new(),
            other_flows: 0,
        }
    }

    fn add(&mut self, letter: &DeadLetter<'_>) {
        self.records += 1;
        self.refused.merge(&letter.refused_ns.map_or(TimeRange::EMPTY, TimeRange::at));
        self.times.merge(&letter.time_ns.map_or(TimeRange::EMPTY, TimeRange::at));
        if let Some(seq) = letter.seq {
            self.seqs.insert(seq..seq.saturating_add(1));
        }
        if let Some(records) = self.flows.get_mut(&*letter.flow) {
            *records += 1;
        } else if self.flows.len() < MAX_FLOWS {
            self.flows.insert(letter.flow.clone().into_owned(), 1);
        } else {
            self.other_flows += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::super::super::target::Target;
    use super::*;

    #[test]
    fn too_many_reasons_share_a_group_and_too_many_flows_a_number() {
        let (mut groups, records) = (Groups::default(), MAX_GROUPS as u64 + 500);
        for round in 0..2 {
            for number in 0..records {
                let refusal = Refusal {
                    target: Target::from_text("t"),
                    subject: None,
                    origin_path: String::new(),
                    reason: format!("record {number} doesn't fit"),
                };
                groups.add(&DeadLetter {
                    letter: round * records + number,
                    bytes: &[],
                    flow: Cow::Owned(format!("flow {number}")),
                    time_ns: None,
                    refusal: Some(&refusal),
                    refused_ns: Some(round as i64),
                    seq: None,
                });
            }
        }
        let groups = groups.groups;
        assert_eq!(groups.len(), MAX_GROUPS + 1);
        assert!(
            groups.iter().take(MAX_GROUPS).all(|group| group.records == 2 && !group.mixed && group.flows.len() == 1)
        );
        let last = groups.last().unwrap();
        assert_eq!((last.mixed, last.records, last.refused.greatest), (true, 1000, 1));
        let mut group = DeadLetterGroup::new(None, false);
        for number in 0..MAX_FLOWS + 7 {
            let flow = Cow::Owned(number.to_string());
            let (time_ns, refusal, refused_ns, seq) = (None, None, None, None);
            group.add(&DeadLetter { letter: 0, bytes: &[], flow, time_ns, refusal, refused_ns, seq });
        }
        assert_eq!((group.flows.len(), group.other_flows, group.records), (MAX_FLOWS, 7, MAX_FLOWS as u64 + 7));
    }
}
