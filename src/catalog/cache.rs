//! Scanning the same directories again and again, looking only into files that have changed.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::discover::{DiscoverError, Listed, Vanished, check_paths, list, read_kind};
use super::fingerprint::Fingerprint;
use super::requests::Known;
use super::sessions::{Catalog, Content};

/// What earlier scans found out. Memory in proportion to the files that are there.
#[derive(Debug, Default)]
pub struct CatalogCache {
    files: HashMap<PathBuf, Remembered>,
    known: Known,
}

/// A file that was looked into.
#[derive(Debug)]
struct Remembered {
    fingerprint: Fingerprint,
    content: Content,
}

impl CatalogCache {
    /// Nothing is known yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// What `paths` hold now. A file is looked into only if its size, its time or its place on the disk isn't what it
    /// was, or if it was written to so shortly before it was looked into that these don't tell.
    ///
    /// # Errors
    /// [`DiscoverError`] if one of `paths` itself isn't there.
    pub fn scan(&mut self, paths: &[PathBuf]) -> Result<Catalog, DiscoverError> {
        check_paths(paths)?;
        Ok(self.scan_as(paths, Vanished::Listed))
    }

    /// Like [`scan`](Self::scan), but what isn't there, or vanishes on the way, is no error: it may come (again).
    pub fn scan_existing(&mut self, paths: &[PathBuf]) -> Catalog {
        self.scan_as(paths, Vanished::PassedOver)
    }

    fn scan_as(&mut self, paths: &[PathBuf], vanished: Vanished) -> Catalog {
        let mut before = std::mem::take(&mut self.files);
        let mut now: Vec<(PathBuf, Content)> = Vec::new();
        for listed in list(paths, vanished) {
            match listed {
                Listed::Other(found) => {
                    let content = Content::of(&found.path, found.kind, &mut self.known);
                    now.push((found.path, content));
                }
                Listed::File(path) => {
                    let remembered = before.remove(&path);
                    let content = self.file(&path, remembered);
                    // Also if it is there again: then the next scan sees what has come.
                    if vanished == Vanished::Listed || !matches!(content, Content::Gone(_)) {
                        now.push((path, content));
                    }
                }
            }
        }
        drop(before);
        self.known.forget_unused();
        Catalog::group(now.into_iter())
    }

    /// What the file at `path` is: as remembered if it is the same still, else by looking into it.
    fn file(&mut self, path: &Path, remembered: Option<Remembered>) -> Content {
        // Taken before the file is read, so that a change meanwhile shows the next time.
        let began = SystemTime::now();
        let fingerprint = Fingerprint::of(path).ok();
        if let Some(remembered) = remembered.filter(|remembered| Some(remembered.fingerprint) == fingerprint) {
            let content = remembered.content.clone();
            self.files.insert(path.to_owned(), remembered);
            return content;
        }
        let content = match read_kind(path) {
            Ok(kind) => Content::of(path, kind, &mut self.known),
            Err(error) => Content::unreadable(&error),
        };
        if let Some(fingerprint) = fingerprint
            && fingerprint.is_settled(began)
            // What can't be read now may be readable later, without any other change.
            && !matches!(content, Content::Unreadable(_) | Content::Gone(_))
        {
            self.files.insert(path.to_owned(), Remembered { fingerprint, content: content.clone() });
        }
        content
    }
}
