//! What a Refused mark says of the records behind it ([F-41]).

use std::ops::Range;

use uuid::Uuid;

use super::super::checkpoint::present_in;
use super::super::target::{PbfsId, Subject, Target};
use super::bounded;
use crate::catalog::SeqSet;
use crate::format::{Refused, SeqRange};

/// Why records are here, and where they came from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refusal {
    /// Who refused them, and as what they were delivered.
    pub target: Target,
    /// Whose they are; `None` if the mark doesn't tell.
    pub subject: Option<Subject>,
    /// Where they were read; empty if that wasn't noted.
    pub origin_path: String,
    /// What the destination said.
    pub reason: String,
}

/// Dead letters that stand one behind the other, and the records that they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedRange {
    /// Who refused them.
    pub target: Target,
    /// Whose they are.
    pub subject: Subject,
    /// Their seqs in the dead letters' own session.
    pub letters: Range<u64>,
    /// Their seqs in the session that they came from, in order (of a PBFS file: message numbers).
    pub seqs: Vec<Range<u64>>,
}

impl RefusedRange {
    /// The origin's seqs of those of the dead letters that are in `letters`.
    pub fn of(&self, letters: &Range<u64>) -> Vec<Range<u64>> {
        let skip = letters.start.saturating_sub(self.letters.start);
        let end = letters.end.min(self.letters.end);
        let take = end.saturating_sub(letters.start.max(self.letters.start));
        slice(&self.seqs, skip, take)
    }

    /// Those of the dead letters whose seqs in their origin are in `seqs`.
    pub(in crate::replay) fn letters_of(&self, seqs: &SeqSet) -> Vec<Range<u64>> {
        let (mut letters, mut first) = (Vec::new(), self.letters.start);
        for range in &self.seqs {
            let place = |seq: u64| first.saturating_add(seq - range.start);
            letters.extend(present_in(seqs, range.clone()).iter().map(|some| place(some.start)..place(some.end)));
            first = place(range.end);
        }
        letters
    }
}

/// `take` seqs of these ranges, behind the first `skip`.
fn slice(ranges: &[Range<u64>], mut skip: u64, mut take: u64) -> Vec<Range<u64>> {
    let mut out = Vec::new();
    for range in ranges {
        let len = range.end.saturating_sub(range.start);
        let first = range.start.saturating_add(skip.min(len));
        let some = take.min(len - skip.min(len));
        if some > 0 {
            out.push(first..first.saturating_add(some));
        }
        skip = skip.saturating_sub(len);
        take -= some;
        if take == 0 {
            break;
        }
    }
    out
}

/// The seqs of records as ranges, in the records' order.
pub(super) fn ranges_of(seqs: impl Iterator<Item = u64>) -> Vec<SeqRange> {
    let mut ranges: Vec<SeqRange> = Vec::new();
    for seq in seqs {
        let end = seq.saturating_add(1);
        match ranges.last_mut() {
            Some(last) if last.end == seq => last.end = end,
            _ => ranges.push(SeqRange { first: seq, end }),
        }
    }
    ranges
}

/// A mark, made ready to be asked about single records. What it claims was written by anyone: nothing of it is counted
/// or allocated.
#[derive(Debug)]
pub(super) struct Explanation {
    pub(super) refusal: Refusal,
    /// When it was written, in ns since the Unix epoch.
    pub(super) refused_ns: i64,
    /// The dead letters that it is about.
    pub(super) letters: Range<u64>,
    seqs: Vec<Range<u64>>,
    /// How many seqs stand ahead of each range.
    ahead: Vec<u64>,
}

impl Explanation {
    pub(super) fn new(refused_ns: i64, mark: Refused) -> Self {
        let Refused { destination, reason, session_id, pbfs_id, origin_path, seqs, first_seq, count } = mark;
        let session = Uuid::from_slice(&session_id).ok().map(Subject::Session);
        let pbfs = || <[u8; 32]>::try_from(pbfs_id).ok().map(|id| Subject::Pbfs(PbfsId(id)));
        let seqs: Vec<_> = seqs.iter().filter(|range| range.first < range.end).map(|r| r.first..r.end).collect();
        let ahead = seqs.iter().scan(0u64, |sum, range| {
            let ahead = *sum;
            *sum = sum.saturating_add(range.end - range.start);
            Some(ahead)
        });
        Self {
            refusal: Refusal {
                target: Target::from_text(&destination),
                subject: session.or_else(pbfs),
                origin_path: bounded(&origin_path).to_owned(),
                reason: bounded(&reason).to_owned(),
            },
            refused_ns,
            letters: first_seq..first_seq.saturating_add(count),
            ahead: ahead.collect(),
            seqs,
        }
    }

    /// The seq in its origin of the dead letter `letter`.
    pub(super) fn origin_seq(&self, letter: u64) -> Option<u64> {
        let place = letter.checked_sub(self.letters.start).filter(|_| letter < self.letters.end)?;
        let at = self.ahead.partition_point(|&ahead| ahead <= place).checked_sub(1)?;
        let (range, ahead) = (self.seqs.get(at)?, self.ahead.get(at)?);
        range.start.checked_add(place - ahead).filter(|seq| *seq < range.end)
    }

    /// What it says of those of these dead letters that it is about and whose origin it knows.
    pub(super) fn range(&self, letters: &Range<u64>) -> Option<RefusedRange> {
        let letters = letters.start.max(self.letters.start)..letters.end.min(self.letters.end);
        let count = letters.end.checked_sub(letters.start).filter(|count| *count > 0)?;
        let seqs = slice(&self.seqs, letters.start - self.letters.start, count);
        let known: u64 = seqs.iter().map(|range| range.end - range.start).sum();
        let letters = letters.start..letters.start + known;
        let subject = self.refusal.subject?;
        (known > 0).then(|| RefusedRange { target: self.refusal.target.clone(), subject, letters, seqs })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::single_range_in_vec_init, reason = "one range is meant")]

    use super::*;
    use proptest::prelude::*;

    fn mark(seqs: &[(u64, u64)], first_seq: u64, count: u64) -> Refused {
        let seqs = seqs.iter().map(|&(first, end)| SeqRange { first, end }).collect();
        Refused { session_id: vec![7; 16], seqs, first_seq, count, ..Refused::default() }
    }

    #[test]
    fn seqs_become_ranges_in_the_records_order() {
        let ranges = ranges_of([3, 4, 9, 5, 6, u64::MAX].into_iter());
        let pairs: Vec<_> = ranges.iter().map(|range| (range.first, range.end)).collect();
        assert_eq!(pairs, [(3, 5), (9, 10), (5, 7), (u64::MAX, u64::MAX)]);
    }

    #[test]
    fn a_dead_letter_is_found_in_its_origin_and_so_are_some_of_many() {
        let explanation = Explanation::new(0, mark(&[(3, 5), (900, 901), (1, 3)], 10, 5));
        let origins: Vec<_> = (9..16).map(|letter| explanation.origin_seq(letter)).collect();
        assert_eq!(origins, [None, Some(3), Some(4), Some(900), Some(1), Some(2), None]);
        let range = explanation.range(&(0..100)).unwrap();
        assert_eq!((range.letters.clone(), &range.seqs[..]), (10..15, &[3..5, 900..901, 1..3][..]));
        assert_eq!(range.of(&(11..14)), [4..5, 900..901, 1..2]);
        assert_eq!(range.of(&(0..11)), [3..4]);
        assert_eq!(range.of(&(14..99)), [2..3]);
        assert_eq!(range.of(&(15..99)), []);
    }

    #[test]
    fn a_mark_that_says_less_than_it_claims_explains_no_more_than_it_says() {
        let explanation = Explanation::new(0, mark(&[(3, 5)], 10, 7));
        assert_eq!(explanation.origin_seq(12), None);
        assert_eq!(explanation.range(&(10..17)).unwrap().letters, 10..12);
        assert_eq!(explanation.range(&(12..17)), None);
        let nobody = Refused { session_id: vec![7; 15], pbfs_id: vec![1; 33], ..mark(&[(0, 1)], 0, 1) };
        assert_eq!(Explanation::new(0, nobody).range(&(0..1)), None);
    }

    proptest! {
        #[test]
        fn hostile_marks_end_without_a_panic(
            seqs in proptest::collection::vec(any::<(u64, u64)>(), 0..8), first: u64, count: u64, start: u64, end: u64,
        ) {
            let explanation = Explanation::new(0, mark(&seqs, first, count));
            for letter in [0, first, first.saturating_add(count), start, end, u64::MAX] {
                let _ = explanation.origin_seq(letter);
            }
            for letters in [start..end, 0..u64::MAX, first..u64::MAX] {
                if let Some(range) = explanation.range(&letters) {
                    prop_assert_eq!(explanation.origin_seq(range.letters.start), Some(range.seqs[0].start));
                    let _ = range.of(&(start..end));
                }
            }
        }

        #[test]
        fn ranges_and_single_seqs_agree(seqs in proptest::collection::vec(0u64..30, 1..20), skip in 0u64..25, take in 0u64..25) {
            let ranges: Vec<_> = ranges_of(seqs.iter().copied()).iter().map(|r| r.first..r.end).collect();
            let range = RefusedRange {
                target: Target::from_text("t"),
                subject: Subject::Session(Uuid::nil()),
                letters: 100..100 + seqs.len() as u64,
                seqs: ranges.clone(),
            };
            let mut wanted = SeqSet::new();
            wanted.insert(skip..skip + take);
            let letters: Vec<u64> = range.letters_of(&wanted).into_iter().flatten().collect();
            let of_wanted = (100u64..).zip(&seqs).filter(|(_, seq)| wanted.contains(**seq)).map(|(letter, _)| letter);
            prop_assert_eq!(letters, of_wanted.collect::<Vec<_>>());
            let sliced: Vec<u64> = slice(&ranges, skip, take).into_iter().flatten().collect();
            let expected: Vec<u64> = seqs.iter().copied().skip(skip as usize).take(take as usize).collect();
            prop_assert_eq!(sliced, expected);
        }
    }
}
