//! The file system's watches: which directories they are on, and which of their events count.
//!
//! On Linux each directory is watched by itself rather than by notify's recursion, which gives up at the first directory
//! that it may not read (`lost+found` on every ext4 drive) and watches the replayer's own journals.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use notify::event::{AccessKind, AccessMode, EventKind, MetadataKind, ModifyKind};
use notify::{Config, ErrorKind, Event, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use walkdir::WalkDir;

use super::places::resolve;
use crate::catalog::{Fingerprint, STATE_DIR};

/// Whether directories are watched one by one.
const ONE_BY_ONE: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// How often directories are looked for at most, as long as new ones are found.
const MOST_ROUNDS: usize = 8;

/// A directory's device and number, where there are such.
type DirId = Option<(u64, u64)>;

/// Directories that are watched.
type Dirs = Arc<Mutex<HashMap<PathBuf, DirId>>>;

/// Watches on all directories at and below some paths.
#[derive(Debug)]
pub(super) struct Watched {
    paths: Vec<PathBuf>,
    /// Where `paths` led when the watcher was made.
    roots: Vec<PathBuf>,
    sender: mpsc::Sender<()>,
    watcher: Option<RecommendedWatcher>,
    dirs: Dirs,
    /// Whether it was said that not all can be watched.
    warned: bool,
}

impl Watched {
    /// Nothing is watched yet. `sender` hears of each event that counts, unless it is full.
    pub(super) fn new(paths: Vec<PathBuf>, sender: mpsc::Sender<()>) -> Self {
        Self { paths, roots: Vec::new(), sender, watcher: None, dirs: Dirs::default(), warned: false }
    }

    /// Watches each directory that isn't watched yet; `anew`: as if none were.
    pub(super) fn set(&mut self, anew: bool) {
        let roots: Vec<PathBuf> = self.paths.iter().filter_map(|path| resolve(path).ok()).collect();
        if anew || self.watcher.is_none() || roots != self.roots {
            self.watcher = None;
            self.roots.clone_from(&roots);
            // A map of its own: the old watcher may still be busy with an event.
            self.dirs = Dirs::default();
            let handler = Handler { roots: roots.clone(), dirs: self.dirs.clone(), sender: self.sender.clone() };
            let config = Config::default().with_follow_symlinks(false);
            match RecommendedWatcher::new(move |event| handler.handle(event), config) {
                Ok(watcher) => self.watcher = Some(watcher),
                Err(error) => return self.warn(&error),
            }
        }
        // A directory that is made in one that isn't watched yet makes no event.
        for _ in 0..MOST_ROUNDS {
            if !self.set_new(&roots) {
                return;
            }
        }
        let _ = self.sender.try_send(());
    }

    /// Returns whether there was a new directory.
    fn set_new(&mut self, roots: &[PathBuf]) -> bool {
        let Some(watcher) = &mut self.watcher else { return false };
        let mut failed = None;
        let mut new = false;
        for (dir, mode) in directories(roots) {
            // Read before the watch is set: should the directory be replaced in between, that shows the next time.
            let Ok(id) = Fingerprint::of(&dir).map(|fingerprint| fingerprint.id) else { continue };
            let before = locked(&self.dirs).insert(dir.clone(), id);
            if before == Some(id) {
                continue;
            }
            if before.is_some() {
                // It may have gone on its own.
                let _ = watcher.unwatch(&dir);
            }
            match watcher.watch(&dir, mode) {
                Ok(()) => new = true,
                Err(error) if matches!(error.kind, ErrorKind::PathNotFound) => {
                    locked(&self.dirs).remove(&dir);
                }
                // It stays noted, so that it isn't tried again before all are set anew.
                Err(error) => failed = Some(error),
            }
        }
        if let Some(error) = failed {
            self.warn(&error);
        }
        new
    }

    fn warn(&mut self, error: &notify::Error) {
        warn(error, &mut self.warned);
    }
}

/// Says once that not all can be watched.
fn warn(error: &notify::Error, warned: &mut bool) {
    if std::mem::replace(warned, true) {
        return;
    }
    let hint = match &error.kind {
        ErrorKind::MaxFilesWatch => {
            ": the system allows too few watches; raise fs.inotify.max_user_watches (sysctl) for changes to be seen at once"
        }
        ErrorKind::Io(io) if io.raw_os_error() == Some(24) => {
            ": too many files or watchers are open; raise fs.inotify.max_user_instances (sysctl) or the limit on open files"
        }
        _ => "",
    };
    tracing::warn!(
        "can't watch every directory ({error}){hint}. What happens there is seen by the regular rescan only"
    );
}

fn locked(dirs: &Dirs) -> std::sync::MutexGuard<'_, HashMap<PathBuf, DirId>> {
    dirs.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The directories to watch, each once.
fn directories(roots: &[PathBuf]) -> Vec<(PathBuf, RecursiveMode)> {
    let mut dirs: Vec<(PathBuf, RecursiveMode)> = Vec::new();
    for root in roots {
        if !root.is_dir() {
            // A file, or nothing yet: whatever happens to it happens in the directory where it is or will be.
            let parent = root.ancestors().skip(1).find(|dir| dir.is_dir());
            dirs.extend(parent.map(|dir| (dir.to_owned(), RecursiveMode::NonRecursive)));
        } else if ONE_BY_ONE {
            let walk = WalkDir::new(root).into_iter();
            let walk = walk.filter_entry(|entry| {
                entry.file_type().is_dir() && (entry.depth() == 0 || entry.file_name() != STATE_DIR)
            });
            // What can't be read can't be searched either.
            dirs.extend(walk.flatten().map(|entry| (entry.into_path(), RecursiveMode::NonRecursive)));
        } else {
            dirs.push((root.clone(), RecursiveMode::Recursive));
        }
    }
    // A directory of which all is watched needn't be watched by itself.
    dirs.sort_by_key(|(dir, mode)| (dir.clone(), *mode == RecursiveMode::NonRecursive));
    dirs.dedup_by(|(dir, _), (kept, _)| dir == kept);
    dirs
}

/// What hears of events, on the watcher's own thread.
struct Handler {
    roots: Vec<PathBuf>,
    dirs: Dirs,
    sender: mpsc::Sender<()>,
}

impl Handler {
    fn handle(&self, event: notify::Result<Event>) {
        let counts = match &event {
            Ok(event) => {
                self.forget(event);
                counts(event, &self.roots)
            }
            // Something was lost.
            Err(_) => true,
        };
        if counts {
            // If it is full, somebody is about to look anyway.
            let _ = self.sender.try_send(());
        }
    }

    /// A directory that goes takes its watch along; another one of that name, even of that number, needs its own.
    fn forget(&self, event: &Event) {
        if matches!(event.kind, EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_))) {
            let mut dirs = locked(&self.dirs);
            for path in &event.paths {
                if dirs.remove(path).is_some() {
                    dirs.retain(|dir, _| !dir.starts_with(path));
                }
            }
        }
    }
}

/// Whether `event` may mean that something at or below `roots` has changed: not that it was looked at, and not what the
/// replayer keeps for itself.
fn counts(event: &Event, roots: &[PathBuf]) -> bool {
    let looks = match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => false,
        EventKind::Access(_) | EventKind::Modify(ModifyKind::Metadata(MetadataKind::AccessTime)) => true,
        _ => false,
    };
    let concerns = |path: &Path| {
        roots.iter().any(|root| match path.strip_prefix(root) {
            Ok(below) => below.components().all(|part| part.as_os_str() != STATE_DIR),
            // A directory on the way to a root.
            Err(_) => root.starts_with(path),
        })
    };
    !looks && (event.need_rescan() || event.paths.is_empty() || event.paths.iter().any(|path| concerns(path)))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn watched(root: &Path) -> (Watched, mpsc::Receiver<()>) {
        let (sender, events) = mpsc::channel(1000);
        let mut watched = Watched::new(vec![root.to_owned()], sender);
        watched.set(true);
        (watched, events)
    }

    /// Whether no event of `work` counts.
    fn is_quiet(root: &Path, work: impl FnOnce()) -> bool {
        let (_watched, mut events) = watched(root);
        work();
        // Events come in order: a directory made is exactly one, the last.
        fs::create_dir(root.join("the end")).unwrap();
        assert!(events.blocking_recv().is_some());
        let quiet = events.try_recv().is_err();
        fs::remove_dir(root.join("the end")).unwrap();
        quiet
    }

    /// Returns when an event of `work` has come.
    #[track_caller]
    fn assert_wakes(root: &Path, work: impl FnOnce()) {
        let (_watched, mut events) = watched(root);
        work();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let event = async { tokio::time::timeout(std::time::Duration::from_secs(60), events.recv()).await };
        assert_eq!(runtime.block_on(event), Ok(Some(())));
    }

    #[test]
    fn neither_reading_nor_the_journals_count() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/.sift-replay")).unwrap();
        fs::write(dir.path().join("a/file"), "x").unwrap();
        let quiet = is_quiet(dir.path(), || {
            for i in 0..50 {
                assert_eq!(fs::read(dir.path().join("a/file")).unwrap(), b"x");
                assert_eq!(fs::read_dir(dir.path().join("a")).unwrap().count(), 2);
                fs::write(dir.path().join("a/.sift-replay").join(i.to_string()), "journal").unwrap();
            }
            fs::create_dir_all(dir.path().join(".sift-replay/dead-letters")).unwrap();
            fs::write(dir.path().join(".sift-replay/dead-letters/file"), "x").unwrap();
            fs::remove_dir_all(dir.path().join(".sift-replay")).unwrap();
        });
        assert!(quiet);
        assert_wakes(dir.path(), || fs::write(dir.path().join("a/other"), "x").unwrap());
        // Unless it is them that were asked for.
        let journals = dir.path().join("a/.sift-replay");
        assert_wakes(&journals, || fs::write(journals.join("other"), "x").unwrap());
    }

    #[test]
    fn beside_a_path_that_is_not_there_nothing_counts() {
        let root = Path::new("/mnt/usb/backups");
        let roots = [root.to_owned()];
        let event = |kind, path: &str| Event::new(kind).add_path(path.into());
        let create = EventKind::Create(notify::event::CreateKind::Any);
        for (path, expected) in [
            ("/mnt/usb", true),
            ("/mnt/usb/backups", true),
            ("/mnt/usb/backups/file", true),
            ("/mnt/usb/backups2", false),
            ("/mnt/other", false),
            ("/mnt/usb/backups/.sift-replay/journal", false),
        ] {
            assert_eq!(counts(&event(create, path), &roots), expected, "{path}");
        }
        assert!(counts(&Event::new(EventKind::Other).set_flag(notify::event::Flag::Rescan), &roots));
    }

    #[cfg(unix)]
    #[test]
    fn a_directory_that_may_not_be_read_hides_no_other() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        for name in ["a", "lost+found", "z"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        fs::set_permissions(dir.path().join("lost+found"), fs::Permissions::from_mode(0o000)).unwrap();
        assert_wakes(dir.path(), || fs::write(dir.path().join("z/file"), "x").unwrap());
        fs::set_permissions(dir.path().join("lost+found"), fs::Permissions::from_mode(0o700)).unwrap();
    }
}
