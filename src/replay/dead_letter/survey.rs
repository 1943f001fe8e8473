//! What there is to be retried: dead letters by session, with where they came from, and what of them is delivered.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::{ControlFlow, Range};
use std::path::PathBuf;

use super::super::checkpoint::{Checkpoint, Checkpoints, Outcome, StateError, present_in};
use super::super::target::{Parts, Subject, Target};
use super::origin::RefusedRange;
use super::read::{Part, Trouble, catalog, read_segment};
use crate::catalog::{DiscoverError, Fingerprint, SegmentFile, SeqSet, Session};

/// A file of dead letters.
#[derive(Debug)]
pub(super) struct LetterFile {
    pub(super) path: PathBuf,
    pub(super) fingerprint: Fingerprint,
    /// It was never sealed: whoever wrote it was cut off.
    pub(super) open: bool,
    /// What was in the way of reading it.
    pub(super) troubles: Vec<Trouble>,
    /// The dead letters in it, by their seqs in their own session.
    pub(super) letters: SeqSet,
}

/// A session of dead letters.
#[derive(Debug)]
pub(super) struct LetterSession {
    pub(super) session: Session,
    pub(super) files: Vec<LetterFile>,
    pub(super) origins: Vec<RefusedRange>,
    /// Who refused them, as the marks have it; `None` if nothing tells.
    pub(super) refused_by: Option<Target>,
    /// Whom they are delivered to, and as what.
    pub(super) target: Target,
    pub(super) parts: Parts,
}

/// What there is in some state directories.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub(super) sessions: Vec<LetterSession>,
    pub(super) troubles: Vec<Trouble>,
}

/// Looks at all dead letters in some state directories.
pub(super) fn survey(state_dirs: &[PathBuf]) -> Result<Survey, DiscoverError> {
    let found = catalog(state_dirs)?;
    let mut survey = Survey::default();
    survey.troubles.extend(found.unreadable.into_iter().map(|file| Trouble { path: file.path, what: file.reason }));
    for session in found.sessions {
        match look_at(session) {
            Ok(session) => survey.sessions.push(session),
            Err(trouble) => survey.troubles.push(trouble),
        }
    }
    Ok(survey)
}

fn look_at(session: Session) -> Result<LetterSession, Trouble> {
    let (mut targets, mut origins) = (BTreeSet::new(), Vec::new());
    let files: Vec<_> = session.segments.iter().map(|file| look_at_file(file, &mut targets, &mut origins)).collect();
    let trouble = |what: String| {
        let path = session.segments.first().map(|file| file.path.clone()).unwrap_or_default();
        let by_hand = "replay the file itself (`sift-replay FILE`) to send them to a destination of your choice";
        Trouble { path, what: format!("{what}: {by_hand}") }
    };
    let refused_by = targets.pop_first();
    if let (Some(one), Some(other)) = (&refused_by, targets.first()) {
        return Err(trouble(format!("its dead letters were refused by several destinations ({one}; {other})")));
    }
    let is_empty = files.iter().all(|file| file.letters.is_empty());
    let parts = match &refused_by {
        Some(target) => target.parts().ok_or_else(|| {
            trouble(format!("it can't be told as what its dead letters were to be delivered ({target})"))
        })?,
        None if is_empty => Parts::default(),
        None => return Err(trouble("no mark tells who refused its dead letters".to_owned())),
    };
    let endpoint = refused_by.as_ref().map(Target::endpoint).unwrap_or_default();
    let target = Target::new(endpoint, parts.organization.as_deref(), &parts.rewrite);
    Ok(LetterSession { session, files, origins, refused_by, target, parts })
}

fn look_at_file(file: &SegmentFile, targets: &mut BTreeSet<Target>, origins: &mut Vec<RefusedRange>) -> LetterFile {
    let (mut letters, mut troubles) = (SeqSet::new(), Vec::new());
    let trouble = |what| Trouble { path: file.path.clone(), what };
    let read = read_segment(&file.path, &mut |part| {
        match part {
            Part::Letters(batch, explanation) => {
                let seqs = batch.first_seq..batch.end_seq();
                letters.insert(seqs.clone());
                if let Some(why) =
                    explanation.filter(|why| why.letters.start < seqs.end && seqs.start < why.letters.end)
                {
                    targets.insert(why.refusal.target.clone());
                    origins.extend(why.range(&seqs));
                }
            }
            Part::Trouble(what) => troubles.push(trouble(what)),
        }
        ControlFlow::Continue(())
    });
    troubles.extend(read.err().map(|error| trouble(error.to_string())));
    LetterFile { path: file.path.clone(), fingerprint: file.fingerprint, open: file.open, troubles, letters }
}

impl LetterSession {
    /// Those that aren't delivered.
    pub(super) fn pending(&self, checkpoints: &Checkpoints) -> SeqSet {
        let mut all = SeqSet::new();
        self.files.iter().for_each(|file| all.union(&file.letters));
        all.without(&self.delivered(checkpoints))
    }

    /// What was in the way of reading them.
    pub(super) fn troubles(&self) -> impl Iterator<Item = Trouble> {
        self.files.iter().flat_map(|file| file.troubles.clone())
    }

    /// Those that are, and perhaps others that aren't there any more.
    pub(super) fn delivered(&self, checkpoints: &Checkpoints) -> SeqSet {
        checkpoints.done(&self.target, self.session.id).acknowledged
    }
}

/// Records by whose they are.
pub(super) type Records = HashMap<(Target, Subject), SeqSet>;

/// Of these dead letters, which records the destination has acknowledged.
struct Acknowledged<'a> {
    checkpoints: &'a Checkpoints,
    known: Records,
}

impl Acknowledged<'_> {
    fn of(&mut self, origin: &RefusedRange) -> &mut SeqSet {
        let checkpoints = self.checkpoints;
        self.known.entry((origin.target.clone(), origin.subject)).or_insert_with(|| match origin.subject {
            Subject::Session(session) => checkpoints.done(&origin.target, session).acknowledged,
            Subject::Pbfs(id) => checkpoints.pbfs_delivered(&origin.target, id),
        })
    }
}

/// Makes the checkpoints of dead letters and of the records that they are agree: what one says is acknowledged is so for
/// the other. Each is durable when this returns.
///
/// # Errors
/// [`StateError`].
pub(super) async fn reconcile(checkpoints: &Checkpoints, sessions: &[&LetterSession]) -> Result<(), StateError> {
    let mut acknowledged = Acknowledged { checkpoints, known: Records::new() };
    let mut facts: BTreeMap<Target, Vec<Checkpoint>> = BTreeMap::new();
    for session in sessions {
        let delivered = session.delivered(checkpoints);
        for origin in &session.origins {
            let seqs = present_in(&delivered, origin.letters.clone());
            for seqs in seqs.iter().flat_map(|letters| origin.of(letters)) {
                let new = acknowledged.of(origin).insert(seqs);
                facts
                    .entry(origin.target.clone())
                    .or_default()
                    .extend(new.into_iter().map(|new| fact(origin.subject, new)));
            }
        }
    }
    // Of some letters there are two: whoever wrote the first was killed before it had noted that.
    for session in sessions {
        let mut delivered = session.delivered(checkpoints);
        for origin in &session.origins {
            for letters in origin.letters_of(acknowledged.of(origin)) {
                let new = delivered.insert(letters).into_iter();
                let fact = |new| fact(Subject::Session(session.session.id), new);
                facts.entry(session.target.clone()).or_default().extend(new.map(fact));
            }
        }
    }
    for (target, facts) in facts {
        checkpoints.save(&target, facts).await?;
    }
    Ok(())
}

fn fact(subject: Subject, seqs: Range<u64>) -> Checkpoint {
    match subject {
        Subject::Session(session) => Checkpoint::Session { session, seqs, outcome: Outcome::Acknowledged },
        Subject::Pbfs(id) => Checkpoint::PbfsDelivered { id, messages: seqs },
    }
}

/// Takes from `left` the sessions of which no two have a record in common: each record is to be sent once.
pub(super) fn next_round<'a>(left: &mut Vec<&'a LetterSession>, checkpoints: &Checkpoints) -> Vec<&'a LetterSession> {
    let (mut round, mut later, mut taken) = (Vec::new(), Vec::new(), Records::new());
    for session in left.drain(..) {
        let pending = session.pending(checkpoints);
        if pending.is_empty() {
            continue;
        }
        let mut own: Vec<(&RefusedRange, Range<u64>)> = Vec::new();
        for origin in &session.origins {
            let letters = present_in(&pending, origin.letters.clone());
            own.extend(letters.iter().flat_map(|letters| origin.of(letters)).map(|seqs| (origin, seqs)));
        }
        let key = |origin: &RefusedRange| (origin.target.clone(), origin.subject);
        let is_taken = |(origin, seqs): &(&RefusedRange, Range<u64>)| {
            taken.get(&key(origin)).is_some_and(|taken| !present_in(taken, seqs.clone()).is_empty())
        };
        if own.iter().any(is_taken) {
            later.push(session);
            continue;
        }
        for (origin, seqs) in own {
            taken.entry(key(origin)).or_default().insert(seqs);
        }
        round.push(session);
    }
    *left = later;
    round
}
