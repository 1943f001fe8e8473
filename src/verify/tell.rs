//! Telling what was found: the first few of each kind, and how many more there were.

use super::Observer;
use super::finding::{Finding, FindingKind, Subject};

/// Tells, and keeps to itself what is too much to tell.
pub(super) struct Teller<'a> {
    most: u64,
    observer: &'a mut Observer<'a>,
}

/// How much was found of each kind in one file or session.
#[derive(Debug, Default)]
pub(super) struct Told([u64; FindingKind::ALL.len()]);

impl<'a> Teller<'a> {
    pub(super) fn new(most: u64, observer: &'a mut Observer<'a>) -> Self {
        Self { most, observer }
    }

    /// Tells what there can be only one of.
    pub(super) fn once(&mut self, finding: &Finding<'_>) {
        (self.observer)(finding);
    }

    /// Tells what there can be many of.
    pub(super) fn tell(&mut self, told: &mut Told, kind: FindingKind, finding: &Finding<'_>) {
        let Some(found) = told.0.get_mut(kind as usize) else { return };
        *found = found.saturating_add(1);
        if *found <= self.most {
            (self.observer)(finding);
        }
    }

    /// Tells how much wasn't told of a file or session.
    pub(super) fn rest(&mut self, told: &Told, subject: Subject<'_>) {
        for (kind, found) in FindingKind::ALL.into_iter().zip(told.0) {
            let untold = found.saturating_sub(self.most);
            if untold > 0 {
                (self.observer)(&Finding::More { subject, kind, untold });
            }
        }
    }
}
