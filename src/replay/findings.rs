//! What is wrong with a job's files as they are now.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::observe::{Observer, Origin, ReplayEvent};
use super::read::Item;
use super::report::{Totals, add};
use crate::format::{Damage, DamageCause, Torn};

/// What is wrong with one file.
#[derive(Debug, Default)]
struct File {
    damaged_places: u64,
    damaged_bytes: u64,
    torn: Option<Torn>,
    /// Its end is missing, though its name says that it was finished.
    cut: Option<Damage>,
    /// It couldn't be read to its end.
    failed: bool,
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
                self.failed(&path);
                observer.event(&ReplayEvent::Unreadable { path: &path, error: &error });
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
            *file = File::default();
        }
        (file.torn, file.cut, file.failed) = (None, None, false);
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
        true
    }

    /// Likewise.
    fn torn(&mut self, path: &Path, torn: &Torn, watching: bool) -> bool {
        self.files.entry(path.to_owned()).or_default().torn = Some(torn.clone());
        !watching
    }

    pub(super) fn failed(&mut self, path: &Path) {
        self.files.entry(path.to_owned()).or_default().failed = true;
    }

    /// Files that are there no more aren't unreadable.
    pub(super) fn retain(&mut self, is_there: impl Fn(&Path) -> bool) {
        self.files.retain(|path, file| !file.failed || is_there(path));
    }

    /// How many files couldn't be read to their end.
    pub(super) fn unreadable(&self) -> u64 {
        self.files.values().filter(|file| file.failed).count() as u64
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
        }
        if let Origin::Session(session) = origin {
            self.missing.iter().for_each(|seqs| observer.event(&ReplayEvent::Missing { session, seqs }));
        }
    }
}
