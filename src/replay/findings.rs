//! What is wrong with a job's files as they are now.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::observe::{Observer, Origin, ReplayEvent};
use super::read::Item;
use super::report::{Totals, add};
use crate::format::{Damage, DamageCause, Torn};
use crate::segment::SegmentError;

/// How long a file that can't be read is left alone.
const RETRY: Duration = Duration::from_secs(5);

/// Why a file couldn't be read to its end.
#[derive(Debug)]
struct Failure {
    /// `None` if it isn't the file's fault.
    error: Option<SegmentError>,
    at: Instant,
}

/// What is wrong with one file.
#[derive(Debug, Default)]
struct File {
    damaged_places: u64,
    damaged_bytes: u64,
    torn: Option<Torn>,
    /// Its end is missing, though its name says that it was finished.
    cut: Option<Damage>,
    /// It couldn't be read to its end.
    failed: Option<Failure>,
    /// What was told of it while it was watched: it isn't told again whenever the file is read again.
    told: Told,
}

#[derive(Debug, Default)]
struct Told {
    /// The end of the damage, in bytes.
    damaged_to: u64,
    failure: Option<String>,
}

/// What is wrong with a job's files as they are now, and what of it is nowhere. Files change while they are watched: what
/// looks like damage may be a copy on its way.
#[derive(Debug, Default)]
pub(super) struct Findings {
    files: BTreeMap<PathBuf, File>,
    missing: Vec<Range<u64>>,
}

impl Findings {
    /// Takes note of what reading has found out about files, and tells.
    pub(super) fn note(&mut self, item: Item, origin: Origin<'_>, watching: bool, observer: &dyn Observer) {
        match item {
            Item::File { path, anew } => self.file(&path, anew),
            Item::Damage(path, damage) => {
                if self.damage(&path, &damage, watching) {
                    observer.event(&ReplayEvent::Damage { path: &path, damage: &damage });
                }
            }
            Item::Torn(path, torn) => {
                if self.torn(&path, &torn, watching) {
                    observer.event(&ReplayEvent::Torn { path: &path, torn: &torn });
                }
            }
            // What can be read elsewhere is worth delivering all the same.
            Item::Failed(path, error) => {
                if self.failed(&path, &error, watching) {
                    observer.event(&ReplayEvent::Unreadable { path: &path, error: &error });
                }
                self.fails(&path, Some(error));
            }
            Item::Missing(ranges) => {
                if let (Origin::Session(session), false) = (origin, watching) {
                    ranges.iter().for_each(|seqs| observer.event(&ReplayEvent::Missing { session, seqs }));
                }
                self.missing = ranges;
            }
            // They tell of records.
            Item::Window(_) | Item::Passed(_) | Item::Flows(_) | Item::Skipped(..) | Item::Mark(_) => {}
        }
    }

    /// A file is read: from its beginning, or on from where it ended.
    fn file(&mut self, path: &Path, anew: bool) {
        let file = self.files.entry(path.to_owned()).or_default();
        if anew {
            *file = File { told: std::mem::take(&mut file.told), ..File::default() };
        }
        (file.torn, file.cut, file.failed) = (None, None, None);
    }

    /// Takes note. Returns whether to tell now, or later because the file may be on its way.
    fn damage(&mut self, path: &Path, damage: &Damage, watching: bool) -> bool {
        let file = self.files.entry(path.to_owned()).or_default();
        if damage.cause == DamageCause::Trailer {
            file.cut = Some(damage.clone());
            return !watching;
        }
        add(&mut file.damaged_places, 1);
        add(&mut file.damaged_bytes, damage.len);
        let before = file.told.damaged_to;
        file.told.damaged_to = before.max(damage.offset.saturating_add(damage.len));
        !watching || before < file.told.damaged_to
    }

    /// Likewise.
    fn torn(&mut self, path: &Path, torn: &Torn, watching: bool) -> bool {
        self.files.entry(path.to_owned()).or_default().torn = Some(torn.clone());
        !watching
    }

    /// Whether to tell now: not later, because the file may have been renamed, and not again.
    fn failed(&mut self, path: &Path, error: &SegmentError, watching: bool) -> bool {
        let told = &mut self.files.entry(path.to_owned()).or_default().told.failure;
        !watching || (!error.is_not_found() && told.replace(error.to_string()) != Some(error.to_string()))
    }

    /// A file can't be read to its end.
    pub(super) fn fails(&mut self, path: &Path, error: Option<SegmentError>) {
        self.files.entry(path.to_owned()).or_default().failed = Some(Failure { error, at: Instant::now() });
    }

    /// Whatever was wrong with a file doesn't matter any more: all of it was read elsewhere.
    pub(super) fn forget(&mut self, path: &Path) {
        self.files.remove(path);
    }

    /// Whether a file that couldn't be read is worth another attempt: it is there again, or it was left alone for a while.
    pub(super) fn want_another_look(&self) -> bool {
        self.files.iter().any(|(path, file)| {
            let again = |failure: &Failure| {
                failure.error.as_ref().is_some_and(SegmentError::is_not_found) || failure.at.elapsed() >= RETRY
            };
            file.failed.as_ref().is_some_and(again) && path.symlink_metadata().is_ok()
        })
    }

    /// How many files couldn't be read to their end.
    pub(super) fn unreadable(&self) -> u64 {
        self.files.values().filter(|file| file.failed.is_some()).count() as u64
    }

    pub(super) fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for file in self.files.values() {
            add(&mut totals.damaged_places, file.damaged_places + u64::from(file.cut.is_some()));
            add(&mut totals.damaged_bytes, file.damaged_bytes);
            add(&mut totals.damaged_bytes, file.cut.as_ref().map_or(0, |cut| cut.len));
            add(&mut totals.torn_files, u64::from(file.torn.is_some()));
            add(&mut totals.torn_bytes, file.torn.as_ref().map_or(0, |torn| torn.len));
        }
        for seqs in &self.missing {
            add(&mut totals.records_missing, seqs.end - seqs.start);
        }
        totals
    }

    /// Tells what wasn't told while the files were watched.
    pub(super) fn tell(&self, origin: Origin<'_>, observer: &dyn Observer) {
        for (path, file) in &self.files {
            if let Some(damage) = &file.cut {
                observer.event(&ReplayEvent::Damage { path, damage });
            }
            if let Some(torn) = &file.torn {
                observer.event(&ReplayEvent::Torn { path, torn });
            }
            if let Some(error) = file.failed.as_ref().and_then(|failure| failure.error.as_ref())
                && file.told.failure.is_none()
            {
                observer.event(&ReplayEvent::Unreadable { path, error });
            }
        }
        if let Origin::Session(session) = origin {
            self.missing.iter().for_each(|seqs| observer.event(&ReplayEvent::Missing { session, seqs }));
        }
    }
}
