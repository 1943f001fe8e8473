//! What is known of a job, over all of its runs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use super::added::Added;
use crate::replay::deliver::Delivery;
use crate::replay::findings::Findings;
use crate::replay::plan::Job;
use crate::replay::read::Memory;
use crate::replay::registering::Registered;
use crate::replay::report::{Line, Totals};
use crate::replay::retiring::KeptFile;
use crate::replay::target::{Subject, Target};

/// A job, and what was learnt and done so far. It runs once, or again whenever its files have changed.
#[derive(Debug)]
pub(in crate::replay) struct JobState {
    pub(in crate::replay) job: Job,
    pub(in crate::replay) line: Line,
    pub(in crate::replay) memory: Memory,
    /// What is wrong with its files, and what of it is nowhere.
    pub(in crate::replay) findings: Findings,
    pub(in crate::replay) registered: Option<Registered>,
    /// Files archived.
    pub(in crate::replay) archived: u64,
    /// Files deleted.
    pub(in crate::replay) deleted: u64,
    /// Files that were to be archived or deleted, and weren't.
    pub(in crate::replay) kept: BTreeMap<PathBuf, KeptFile>,
    /// For whom its checkpoints were kept when it was begun last.
    pub(in crate::replay) target: Option<Target>,
    /// Whose records they were then.
    subject: Option<Subject>,
    /// Figures of what was in a PBFS file's place before.
    past: Totals,
    /// How far a PBFS file was delivered by this process.
    pub(super) saved_end: u64,
    /// Whether it was ever begun.
    pub(in crate::replay) has_run: bool,
    pub(super) delivery: Option<Arc<Delivery>>,
    /// Flows that SCHEMA frames have added: dead letters need them, too.
    pub(super) added_flows: Arc<Mutex<Added>>,
}

impl JobState {
    pub(in crate::replay) fn new(job: Job) -> Self {
        let (origin, requests) = match &job {
            Job::Session(session) => (session.id.to_string(), session.requests.as_ref()),
            Job::Pbfs(file) => (file.path.display().to_string(), None),
        };
        let line = Line {
            origin,
            asset: requests.map(|requests| requests.asset.clone()).filter(|asset| !asset.is_empty()),
            run: requests.and_then(|requests| requests.run_name.clone()),
            totals: Totals::default(),
            refusal: None,
        };
        Self {
            job,
            line,
            memory: Memory::default(),
            findings: Findings::default(),
            registered: None,
            archived: 0,
            deleted: 0,
            kept: BTreeMap::new(),
            target: None,
            subject: None,
            past: Totals::default(),
            saved_end: 0,
            has_run: false,
            delivery: None,
            added_flows: Arc::default(),
        }
    }

    /// Begins another run. What is read from its beginning again is counted anew: PBFS files always, a session's if some of
    /// it wasn't delivered. Returns the figures so far, if that is so.
    pub(super) fn begin_anew(&mut self, subject: Option<Subject>) -> Option<Totals> {
        let is_first = !std::mem::replace(&mut self.has_run, true);
        let was_refused = self.line.refusal.take().is_some();
        let is_same = std::mem::replace(&mut self.subject, subject) == subject;
        if is_first || !(was_refused || matches!(self.job, Job::Pbfs(_))) {
            return None;
        }
        let totals = std::mem::take(&mut self.line.totals);
        (self.memory, self.findings) = Default::default();
        if is_same {
            return Some(totals);
        }
        // Another backup has taken its place.
        self.past.add(&totals);
        self.saved_end = 0;
        None
    }

    /// Compares with the figures before: what this process itself acknowledged in an earlier run counts as that.
    pub(super) fn own(&mut self, before: Option<Totals>) {
        let Some(before) = before else { return };
        let totals = &mut self.line.totals;
        let own = totals.records_already_acknowledged.saturating_sub(before.records_already_acknowledged);
        totals.records_already_acknowledged -= own;
        totals.records_acknowledged += own;
        // It was cut short, or couldn't be read to where it was read before.
        if totals.records_found < before.records_found {
            *totals = before;
        }
    }

    /// Bytes from the beginning of a PBFS file that are delivered.
    pub(in crate::replay) fn delivered_end(&self) -> u64 {
        self.saved_end.max(self.memory.delivered_end())
    }

    /// Whether another run may do better, though no file has changed as far as one can see.
    pub(in crate::replay) fn wants_another_look(&self) -> bool {
        self.memory.wants_another_look() || self.findings.want_another_look()
    }

    /// Its figures: what was delivered, and, if `there`, what is wrong with its files as they are now.
    pub(in crate::replay) fn line(&self, there: bool) -> Line {
        let mut line = self.line.clone();
        line.totals.add(&self.past);
        if there {
            line.totals.add(&self.findings.totals());
        }
        line.totals.bytes_sent = self.delivery.as_ref().map_or(0, |delivery| delivery.bytes_sent());
        line
    }
}
