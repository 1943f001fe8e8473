//! Tells when directories should be looked at again: after file-system events, and now and then in any case.
//!
//! Events are hints, never facts: they may be lost, late, or about nothing. Whoever is woken looks for himself. So all
//! that has to hold is that a change which comes after a look leads to another look, at once if an event tells of it, by
//! the rescan if none does.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::scope::spawn_blocking;
use super::watched::Watched;

/// How long it must have been quiet after an event: whoever writes one file often writes the next.
const QUIET: Duration = Duration::from_millis(250);

/// How long an event waits at most: files may grow all the time.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// The longest time between rescans.
const LONGEST_RESCAN: Duration = Duration::from_secs(24 * 60 * 60);

/// Watches directories and files, whether they are there or not.
#[derive(Debug)]
pub struct Watch {
    watched: Arc<Mutex<Watched>>,
    events: mpsc::Receiver<()>,
    rescan: Duration,
    /// When the directories are looked at in any case.
    rescan_at: Instant,
    /// When all watches are set anew, because any of them may have got lost.
    renew_at: Instant,
    /// The first and the last event that nobody was told of.
    pending: Option<(Instant, Instant)>,
    /// Watches being set.
    setting: Option<JoinHandle<()>>,
}

impl Watch {
    /// The default of [`new`](Self::new)'s `rescan`.
    pub const RESCAN: Duration = Duration::from_secs(10);

    /// Watches `paths`; from now on no change is missed. After `rescan` without events they are to be looked at all the
    /// same: not all that happens makes an event (a drive mounted, a file written by another computer).
    pub fn new(paths: &[PathBuf], rescan: Duration) -> Self {
        // One place: many events are one reason to look again.
        let (sender, events) = mpsc::channel(1);
        let mut watched = Watched::new(paths.to_vec(), sender);
        watched.set(true);
        // Neither without a pause nor beyond what a clock can count.
        let rescan = rescan.clamp(Duration::from_millis(1), LONGEST_RESCAN);
        let now = Instant::now();
        Self {
            watched: Arc::new(Mutex::new(watched)),
            events,
            rescan,
            rescan_at: now + rescan,
            renew_at: now + rescan,
            pending: None,
            setting: None,
        }
    }

    /// Returns when it is time to look again: after a change that came since the last return (or the beginning), when
    /// it has been quiet for 250 ms or after 2 s; or when the time for a rescan has come. Nothing is lost if it is
    /// dropped and called again.
    pub async fn changed(&mut self) {
        while self.setting.is_none() {
            let due = match self.pending {
                Some((first, last)) => (last + QUIET).min(first + LONGEST_WAIT),
                None => self.rescan_at,
            };
            tokio::select! {
                biased;
                () = sleep_until(due.min(self.rescan_at)) => self.set_watches(),
                Some(()) = self.events.recv() => {
                    let now = Instant::now();
                    self.pending = Some((self.pending.map_or(now, |(first, _)| first), now));
                }
            }
        }
        if let Some(setting) = &mut self.setting {
            // Should it have failed, the rescan remains.
            let _ = setting.await;
        }
        self.setting = None;
        self.rescan_at = Instant::now() + self.rescan;
    }

    /// Watches what has come meanwhile, before anybody looks: what comes after the look makes an event.
    fn set_watches(&mut self) {
        let now = Instant::now();
        let anew = now >= self.renew_at;
        if anew {
            self.renew_at = now + self.rescan;
        }
        self.pending = None;
        let watched = self.watched.clone();
        // Directories are read, perhaps of a drive that is asleep.
        self.setting = Some(spawn_blocking(move || watched.blocking_lock().set(anew)));
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::path::Path;

    use super::*;

    /// Long enough for a change to be seen by an event, and for a test to fail if it isn't.
    const NEVER: Duration = Duration::from_secs(3600);

    fn watch(path: &Path) -> Watch {
        Watch::new(&[path.to_owned()], NEVER)
    }

    #[track_caller]
    fn block_on(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime
            .block_on(async { tokio::time::timeout(Duration::from_secs(60), test).await.expect("nobody was woken") });
    }

    #[test]
    fn each_way_in_which_files_come_change_and_go_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("below")).unwrap();
        fs::write(dir.path().join("elsewhere"), "x").unwrap();
        block_on(async {
            let mut watch = watch(&root);
            fs::write(root.join("created"), "x").unwrap();
            watch.changed().await;
            fs::OpenOptions::new().append(true).open(root.join("created")).unwrap().write_all(b"y").unwrap();
            watch.changed().await;
            fs::rename(dir.path().join("elsewhere"), root.join("below/renamed")).unwrap();
            watch.changed().await;
            fs::rename(root.join("below/renamed"), root.join("renamed")).unwrap();
            watch.changed().await;
            fs::remove_file(root.join("renamed")).unwrap();
            watch.changed().await;
        });
    }

    #[test]
    fn a_directory_that_comes_later_is_watched_to_its_depth() {
        let dir = tempfile::tempdir().unwrap();
        block_on(async {
            let mut watch = watch(dir.path());
            let deep = dir.path().join("a/b/c");
            fs::create_dir_all(&deep).unwrap();
            fs::write(deep.join("first"), "x").unwrap();
            watch.changed().await;
            fs::write(deep.join("second"), "x").unwrap();
            watch.changed().await;
            // Another one of that name, on many file systems with the same number.
            fs::remove_dir_all(dir.path().join("a")).unwrap();
            watch.changed().await;
            fs::create_dir_all(&deep).unwrap();
            watch.changed().await;
            fs::write(deep.join("third"), "x").unwrap();
            watch.changed().await;
            // Gone and back within one return.
            fs::remove_dir_all(dir.path().join("a")).unwrap();
            fs::create_dir_all(&deep).unwrap();
            watch.changed().await;
            fs::write(deep.join("fourth"), "x").unwrap();
            watch.changed().await;
        });
    }

    #[test]
    fn a_path_that_comes_later_goes_and_comes_again_is_seen_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("not/yet/there");
        block_on(async {
            let mut watch = watch(&path);
            for _ in 0..2 {
                fs::create_dir(dir.path().join("not")).unwrap();
                watch.changed().await;
                fs::create_dir_all(&path).unwrap();
                watch.changed().await;
                fs::write(path.join("file"), "x").unwrap();
                watch.changed().await;
                fs::remove_dir_all(dir.path().join("not")).unwrap();
                watch.changed().await;
            }
        });
    }

    #[test]
    fn a_single_file_is_watched_though_it_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        block_on(async {
            let mut watch = watch(&path);
            for content in ["a", "b"] {
                fs::write(dir.path().join("new"), content).unwrap();
                fs::rename(dir.path().join("new"), &path).unwrap();
                watch.changed().await;
                fs::write(&path, "longer").unwrap();
                watch.changed().await;
            }
        });
    }

    #[test]
    fn where_nothing_happens_the_rescan_wakes() {
        let dir = tempfile::tempdir().unwrap();
        block_on(async {
            let paths = [dir.path().to_owned(), dir.path().join("nowhere")];
            let mut watch = Watch::new(&paths, Duration::from_millis(20));
            for _ in 0..3 {
                watch.changed().await;
            }
            Watch::new(&[], Duration::ZERO).changed().await;
            let mut long = Watch::new(&paths, Duration::MAX);
            fs::write(dir.path().join("file"), "x").unwrap();
            long.changed().await;
        });
    }

    #[test]
    fn whoever_gives_up_waiting_loses_no_event() {
        let dir = tempfile::tempdir().unwrap();
        block_on(async {
            let mut watch = watch(dir.path());
            fs::write(dir.path().join("file"), "x").unwrap();
            // Dropped again and again: while the event comes, while it waits, while watches are set.
            while tokio::time::timeout(Duration::from_millis(1), watch.changed()).await.is_err() {}
            let mut dropped_before = self::watch(dir.path());
            drop(tokio::time::timeout(Duration::ZERO, dropped_before.changed()).await);
            fs::write(dir.path().join("other"), "x").unwrap();
            dropped_before.changed().await;
        });
    }

    #[test]
    fn files_that_grow_all_the_time_are_looked_at_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        block_on(async {
            let mut watch = watch(dir.path());
            let mut file = fs::File::create(dir.path().join("file")).unwrap();
            let growing = async {
                loop {
                    file.write_all(b"more").unwrap();
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::select! {
                () = watch.changed() => {}
                () = growing => {}
            }
        });
    }

    #[test]
    fn nothing_of_it_outlives_it() {
        let dir = tempfile::tempdir().unwrap();
        block_on(async {
            let Watch { watched, mut events, .. } = watch(dir.path());
            drop(watched);
            // The watcher's thread holds a sender until it ends.
            while events.recv().await.is_some() {}
        });
    }
}
