//! Segments checked ahead, on all processors. Where there is nothing to tell of a segment, it doesn't matter who checks it and
//! after which others; where there is, it is checked once more, in its turn.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Scope, available_parallelism};

use super::finding::Finding;
use super::report::Totals;
use super::segment::{self, Held};
use super::session::State;
use super::tell::Teller;
use crate::catalog::{Catalog, SeqSet, Session};

/// What a segment holds of which there is nothing to tell.
#[derive(Debug)]
pub(super) struct Clean {
    pub(super) totals: Totals,
    /// The seqs that it holds.
    pub(super) read: SeqSet,
    /// The end of the seqs that it tells of.
    pub(super) end: u64,
    /// From the first to the last of its seqs.
    pub(super) span: Range<u64>,
}

/// What was checked ahead, to be taken in the order of the catalogue.
pub(super) struct Ahead {
    checked: Receiver<(usize, Option<Clean>)>,
    /// Those that came before their turn.
    early: HashMap<usize, Option<Clean>>,
    next: usize,
}

impl Ahead {
    /// Begins to check all segments of a catalogue.
    pub(super) fn of<'scope, 'a: 'scope>(catalog: &'a Catalog, scope: &'scope Scope<'scope, '_>) -> Self {
        let of_session = |session: &'a Session| session.segments.iter().map(move |file| (session, &*file.path));
        let segments: Vec<(&Session, &Path)> = catalog.sessions.iter().flat_map(of_session).collect();
        let processors = available_parallelism().map_or(1, NonZeroUsize::get).min(segments.len());
        let (sender, checked) = channel();
        // A single one would do nothing that can't be done at once.
        if processors > 1 {
            let work = std::sync::Arc::new((segments, AtomicUsize::new(0)));
            for _ in 0..processors {
                let (work, sender) = (work.clone(), sender.clone());
                scope.spawn(move || check_all(&work.0, &work.1, &sender));
            }
        }
        Self { checked, early: HashMap::new(), next: 0 }
    }

    /// What was found of the next segment, if there was nothing to tell.
    pub(super) fn next(&mut self) -> Option<Clean> {
        let place = self.next;
        self.next += 1;
        loop {
            if let Some(found) = self.early.remove(&place) {
                return found;
            }
            // When nobody checks ahead any more, it wasn't.
            let (at, found) = self.checked.recv().ok()?;
            self.early.insert(at, found);
        }
    }
}

fn check_all(segments: &[(&Session, &Path)], next: &AtomicUsize, sender: &Sender<(usize, Option<Clean>)>) {
    loop {
        let place = next.fetch_add(1, Ordering::Relaxed);
        let Some((session, path)) = segments.get(place) else { return };
        if sender.send((place, check(session, path))).is_err() {
            return;
        }
    }
}

/// Checks a segment as if there were no others.
fn check(session: &Session, path: &Path) -> Option<Clean> {
    let (mut state, mut told) = (State::new(session), false);
    let mut observer = |_: &Finding<'_>| told = true;
    let Held { span, again } = segment::check(path, &mut state, &mut Teller::new(1, &mut observer));
    let State { totals, read, end, .. } = state;
    (!told && again.is_empty()).then_some(Clean { totals, read, end, span })
}
