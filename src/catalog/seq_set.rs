//! Sets of seqs, kept as ranges: what was found, what is missing.

use std::collections::BTreeMap;
use std::ops::Range;

/// A set of seqs. Takes memory by its ranges, not by its seqs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SeqSet {
    /// Start → end, not touching each other.
    ranges: BTreeMap<u64, u64>,
    len: u64,
}

impl SeqSet {
    /// The empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many seqs are in it.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Its ranges, in order.
    pub fn ranges(&self) -> impl Iterator<Item = Range<u64>> {
        self.ranges.iter().map(|(&start, &end)| start..end)
    }

    /// Whether `seq` is in it.
    pub fn contains(&self, seq: u64) -> bool {
        self.ranges.range(..=seq).next_back().is_some_and(|(_, &end)| seq < end)
    }

    /// Adds all of `other`.
    pub fn union(&mut self, other: &Self) {
        for range in other.ranges() {
            self.insert(range);
        }
    }

    /// Its seqs that aren't in `other`.
    pub fn without(&self, other: &Self) -> Self {
        let mut rest = Self::new();
        for range in self.ranges().flat_map(|range| other.missing_in(range)) {
            rest.insert(range);
        }
        rest
    }

    /// The parts of `range` that aren't in the set, in order.
    pub fn missing_in(&self, range: Range<u64>) -> Vec<Range<u64>> {
        let mut missing = Vec::new();
        let mut at = range.start;
        let before = self.ranges.range(..=range.start).next_back();
        for (&start, &end) in before.into_iter().chain(self.ranges.range(range.start.saturating_add(1)..)) {
            if start >= range.end {
                break;
            }
            if start > at {
                missing.push(at..start);
            }
            at = at.max(end);
        }
        if at < range.end {
            missing.push(at..range.end);
        }
        missing
    }

    /// Adds a range; returns the parts of it that weren't in the set.
    pub fn insert(&mut self, range: Range<u64>) -> Vec<Range<u64>> {
        let new = self.missing_in(range.clone());
        if new.is_empty() {
            return new;
        }
        self.len += new.iter().map(|part| part.end - part.start).sum::<u64>();
        let mut merged = range;
        // Whatever touches the range becomes one with it.
        while let Some((&start, &end)) =
            self.ranges.range(..=merged.end).next_back().filter(|&(_, &end)| end >= merged.start)
        {
            self.ranges.remove(&start);
            merged = merged.start.min(start)..merged.end.max(end);
        }
        self.ranges.insert(merged.start, merged.end);
        new
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::single_range_in_vec_init, reason = "a set of one range is meant")]

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ranges_that_touch_become_one() {
        let text = |ranges: Vec<Range<u64>>| ranges.iter().map(|r| format!("{r:?}")).collect::<Vec<_>>().join(" ");
        let mut set = SeqSet::new();
        assert_eq!(text(set.insert(0..2)), "0..2");
        assert_eq!(text(set.insert(4..6)), "4..6");
        assert_eq!(text(set.insert(1..5)), "2..4");
        assert_eq!(text(set.ranges().collect()), "0..6");
        assert_eq!(text(set.insert(3..3)), "");
        assert_eq!(text(set.missing_in(0..9)), "6..9");
        assert_eq!(set.len(), 6);
    }

    proptest! {
        #[test]
        fn it_is_a_set(ranges in proptest::collection::vec((0u64..100, 0u64..20), 0..40)) {
            let (mut set, mut model) = (SeqSet::new(), std::collections::BTreeSet::new());
            for (start, len) in ranges {
                let new: Vec<u64> = set.insert(start..start + len).into_iter().flatten().collect();
                let expected: Vec<u64> = (start..start + len).filter(|&seq| model.insert(seq)).collect();
                prop_assert_eq!(new, expected);
            }
            prop_assert_eq!(set.len(), model.len() as u64);
            prop_assert_eq!(set.ranges().flatten().collect::<Vec<_>>(), model.iter().copied().collect::<Vec<_>>());
            let missing: Vec<u64> = set.missing_in(5..110).into_iter().flatten().collect();
            prop_assert_eq!(missing, (5..110).filter(|seq| !model.contains(seq)).collect::<Vec<_>>());
            for seq in 0..130 {
                prop_assert_eq!(set.contains(seq), model.contains(&seq));
            }
            let mut other = SeqSet::new();
            other.insert(30..60);
            let rest: Vec<u64> = set.without(&other).ranges().flatten().collect();
            prop_assert_eq!(rest, model.iter().copied().filter(|seq| !(30..60).contains(seq)).collect::<Vec<_>>());
            other.union(&set);
            prop_assert_eq!(other.len(), model.iter().copied().chain(30..60).collect::<std::collections::BTreeSet<_>>().len() as u64);
            let ranges: Vec<_> = set.ranges().collect();
            prop_assert!(ranges.windows(2).all(|pair| pair[0].end < pair[1].start));
        }
    }
}
