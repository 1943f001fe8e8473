//! Facts in memory: what is done, by target and subject.

use std::collections::BTreeMap;
use std::ops::Range;

use uuid::Uuid;

use crate::catalog::SeqSet;
use crate::replay::target::{PbfsId, Target};

/// What became of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// The destination has acknowledged them.
    Acknowledged,
    /// The destination refuses them for good; they are kept as dead letters.
    DeadLettered,
}

/// The beginning of a PBFS file is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PbfsMark {
    /// The first so many bytes.
    pub end: u64,
    /// Their SHA-256.
    pub hash: [u8; 32],
    /// Messages in them.
    pub messages: u64,
    /// How many of those are dead letters.
    pub dead_lettered: u64,
}

impl PbfsMark {
    /// The same, of whose dead letters these messages were acknowledged since.
    pub fn without(&self, delivered: &SeqSet) -> Self {
        let still = |left: u64, range: Range<u64>| left.saturating_sub(range.end - range.start);
        let before = present_in(delivered, 0..self.messages).into_iter();
        Self { dead_lettered: before.fold(self.dead_lettered, still), ..*self }
    }
}

/// The parts of `range` that are in the set.
pub(in crate::replay) fn present_in(set: &SeqSet, range: Range<u64>) -> Vec<Range<u64>> {
    let mut present = Vec::new();
    let mut at = range.start;
    for missing in set.missing_in(range.clone()) {
        if at < missing.start {
            present.push(at..missing.start);
        }
        at = missing.end;
    }
    if at < range.end {
        present.push(at..range.end);
    }
    present
}

/// A fact that must not be forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checkpoint {
    /// Seqs of a session are done.
    Session {
        /// The session.
        session: Uuid,
        /// Which seqs.
        seqs: Range<u64>,
        /// How they ended.
        outcome: Outcome,
    },
    /// The beginning of a PBFS file is done.
    Pbfs {
        /// The file, or all that begin alike.
        id: PbfsId,
        /// How far.
        mark: PbfsMark,
    },
    /// Messages of a PBFS file that were dead letters are acknowledged after all.
    PbfsDelivered {
        /// The file, or all that begin alike.
        id: PbfsId,
        /// The messages' numbers.
        messages: Range<u64>,
    },
}

/// What of a session is done. A seq may be in both sets: a dead letter that was acknowledged later.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Done {
    /// Acknowledged.
    pub acknowledged: SeqSet,
    /// Kept as dead letters.
    pub dead_lettered: SeqSet,
}

impl Done {
    /// Both.
    pub fn all(&self) -> SeqSet {
        let mut all = self.acknowledged.clone();
        all.union(&self.dead_lettered);
        all
    }

    fn union(&mut self, other: &Self) {
        self.acknowledged.union(&other.acknowledged);
        self.dead_lettered.union(&other.dead_lettered);
    }

    fn outcomes(&self) -> [(&SeqSet, Outcome); 2] {
        [(&self.acknowledged, Outcome::Acknowledged), (&self.dead_lettered, Outcome::DeadLettered)]
    }
}

/// All that is known of one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownTarget {
    /// The target.
    pub target: Target,
    /// Its sessions.
    pub sessions: Vec<(Uuid, Done)>,
    /// Its PBFS files, with marks ascending by their ends; dead letters that were acknowledged since aren't counted.
    pub pbfs: Vec<(PbfsId, Vec<PbfsMark>)>,
}

/// What to forget: whatever meets all that is given; everything if nothing is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forget {
    /// Only of this session.
    pub session: Option<Uuid>,
    /// Only at this endpoint (a destination's [`name`](crate::sift::Destination::name)): all of its targets.
    pub endpoint: Option<String>,
}

/// Messages and dead letters by end and hash.
type Marks = BTreeMap<(u64, [u8; 32]), (u64, u64)>;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct TargetDone {
    sessions: BTreeMap<Uuid, Done>,
    pbfs: BTreeMap<PbfsId, Marks>,
    delivered: BTreeMap<PbfsId, SeqSet>,
}

impl TargetDone {
    /// Marks without the dead letters that were acknowledged since.
    fn marks_now(&self, id: PbfsId, known: &Marks) -> Vec<PbfsMark> {
        let none = SeqSet::new();
        let delivered = self.delivered.get(&id).unwrap_or(&none);
        marks(known).iter().map(|mark| mark.without(delivered)).collect()
    }

    fn is_empty(&self) -> bool {
        self.sessions.is_empty() && self.pbfs.is_empty() && self.delivered.is_empty()
    }
}

/// A set of facts. Ranges that touch are one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Facts {
    targets: BTreeMap<Target, TargetDone>,
}

impl Facts {
    pub(super) fn add(&mut self, target: &Target, checkpoint: &Checkpoint) {
        if !self.targets.contains_key(target) {
            self.targets.insert(target.clone(), TargetDone::default());
        }
        let Some(known) = self.targets.get_mut(target) else { return };
        match checkpoint {
            Checkpoint::Session { session, seqs, outcome } => {
                let done = known.sessions.entry(*session).or_default();
                match outcome {
                    Outcome::Acknowledged => done.acknowledged.insert(seqs.clone()),
                    Outcome::DeadLettered => done.dead_lettered.insert(seqs.clone()),
                };
            }
            Checkpoint::Pbfs { id, mark } => {
                let marks = known.pbfs.entry(*id).or_default();
                let counts = marks.entry((mark.end, mark.hash)).or_default();
                *counts = (counts.0.max(mark.messages), counts.1.max(mark.dead_lettered));
            }
            Checkpoint::PbfsDelivered { id, messages } => {
                known.delivered.entry(*id).or_default().insert(messages.clone());
            }
        }
    }

    pub(super) fn union(&mut self, other: &Self) {
        for (target, checkpoint) in other.iter() {
            self.add(target, &checkpoint);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// Returns whether anything was forgotten.
    pub(super) fn forget(&mut self, what: &Forget) -> bool {
        let before = self.clone();
        for (target, known) in &mut self.targets {
            if what.endpoint.as_deref().is_some_and(|endpoint| endpoint != target.endpoint()) {
                continue;
            }
            match what.session {
                Some(session) => drop(known.sessions.remove(&session)),
                None => *known = TargetDone::default(),
            }
        }
        self.targets.retain(|_, known| !known.is_empty());
        *self != before
    }

    pub(super) fn done(&self, target: &Target, session: Uuid) -> Done {
        self.targets.get(target).and_then(|known| known.sessions.get(&session)).cloned().unwrap_or_default()
    }

    /// Over all targets of an endpoint.
    pub(super) fn known(&self, endpoint: &str, session: Uuid) -> Done {
        self.done_for(|target| target.endpoint() == endpoint, session)
    }

    /// What is done of a session for targets such as these.
    pub(super) fn done_for(&self, such: impl Fn(&Target) -> bool, session: Uuid) -> Done {
        let mut all = Done::default();
        for (_, known) in self.targets.iter().filter(|(target, _)| such(target)) {
            known.sessions.get(&session).into_iter().for_each(|done| all.union(done));
        }
        all
    }

    /// The marks of a PBFS file, of each target of which there are some, with what `such` makes of the target.
    pub(super) fn pbfs_marks_for<T>(
        &self,
        such: impl Fn(&Target) -> Option<T>,
        id: PbfsId,
    ) -> Vec<(T, Vec<PbfsMark>, SeqSet)> {
        let of = |(target, known): (&Target, &TargetDone)| {
            let since = known.delivered.get(&id).cloned().unwrap_or_default();
            Some((such(target)?, marks(known.pbfs.get(&id)?), since))
        };
        self.targets.iter().filter_map(of).collect()
    }

    pub(super) fn pbfs_marks(&self, target: &Target, id: PbfsId) -> Vec<PbfsMark> {
        self.targets.get(target).and_then(|known| known.pbfs.get(&id)).map(marks).unwrap_or_default()
    }

    pub(super) fn pbfs_delivered(&self, target: &Target, id: PbfsId) -> SeqSet {
        self.targets.get(target).and_then(|known| known.delivered.get(&id)).cloned().unwrap_or_default()
    }

    pub(super) fn list(&self) -> Vec<KnownTarget> {
        let known = self.targets.iter().map(|(target, known)| KnownTarget {
            target: target.clone(),
            sessions: known.sessions.iter().map(|(session, done)| (*session, done.clone())).collect(),
            pbfs: known.pbfs.iter().map(|(id, marks)| (*id, known.marks_now(*id, marks))).collect(),
        });
        known.collect()
    }

    /// Every fact, one range or mark each.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Target, Checkpoint)> {
        self.targets.iter().flat_map(|(target, known)| {
            let sessions = known.sessions.iter().flat_map(|(&session, done)| {
                done.outcomes().into_iter().flat_map(move |(set, outcome)| {
                    set.ranges().map(move |seqs| Checkpoint::Session { session, seqs, outcome })
                })
            });
            let pbfs = known
                .pbfs
                .iter()
                .flat_map(|(&id, known)| marks(known).into_iter().map(move |mark| Checkpoint::Pbfs { id, mark }));
            let delivered = known.delivered.iter().flat_map(|(&id, delivered)| {
                delivered.ranges().map(move |messages| Checkpoint::PbfsDelivered { id, messages })
            });
            sessions.chain(pbfs).chain(delivered).map(move |checkpoint| (target, checkpoint))
        })
    }
}

fn marks(known: &Marks) -> Vec<PbfsMark> {
    let mark = |(&(end, hash), &(messages, dead_lettered))| PbfsMark { end, hash, messages, dead_lettered };
    known.iter().map(mark).collect()
}
