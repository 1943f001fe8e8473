//! Where checkpoints and dead letters are kept.

use std::collections::HashSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use walkdir::WalkDir;

use crate::catalog::STATE_DIR;

/// Directory below the user's state directory.
const USER_DIR: &str = "sift-replay";

/// Below that: what is known of every backup, wherever it was.
const SHARED: &str = "shared";

/// Below that: state directories of places that can't be written, each below a path like the one that it stands for.
const ELSEWHERE: &str = "paths";

/// How deep below a path state directories are looked for, and among how many files and directories.
const MAX_DEPTH: usize = 64;
const MAX_ENTRIES: usize = 1_000_000;

/// The state directories of some paths: where what is known of them is read, and where it is kept.
///
/// Beside the backups, so that it travels with them: `.sift-replay` in each directory that is replayed (or in which the
/// file is that is replayed). Where that can't be written, a directory below the user's state directory stands for it.
/// Besides, everything goes to one directory there that all backups share, so that a backup which comes back without
/// its `.sift-replay` is still known on this computer.
#[derive(Debug, Clone)]
pub struct StateDirs {
    asked: Vec<Asked>,
    shared: Option<PathBuf>,
}

/// One of the paths.
#[derive(Debug, Clone)]
struct Asked {
    path: PathBuf,
    /// Where its state is kept: in the first of these that can be written.
    candidates: Vec<PathBuf>,
    /// Directories around which other state directories are looked for: the one that is replayed, and what stands for
    /// it below the user's state directory.
    roots: Vec<PathBuf>,
}

/// State directories of other places that overlap with those that were asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Around {
    /// Of places within.
    pub(super) below: Vec<PathBuf>,
    /// Of places around.
    pub(super) above: Vec<PathBuf>,
}

impl StateDirs {
    /// The state directories of `paths`, in this user's environment; only `state_dir`, if one is given.
    pub fn resolve(paths: &[PathBuf], state_dir: Option<&Path>) -> Self {
        let user = dirs::state_dir().or_else(dirs::data_local_dir);
        Self::resolve_in(paths, state_dir, user.as_deref())
    }

    /// The same with another state directory of the user, or none.
    pub fn resolve_in(paths: &[PathBuf], state_dir: Option<&Path>, user: Option<&Path>) -> Self {
        if let Some(dir) = state_dir {
            let (path, dir) = (paths.first().cloned().unwrap_or_default(), real(dir));
            return Self { asked: vec![Asked { path, candidates: vec![dir], roots: Vec::new() }], shared: None };
        }
        let user = user.map(|user| real(user).join(USER_DIR));
        let asked = paths.iter().map(|path| Asked::new(path, user.as_deref())).collect();
        Self { asked, shared: user.map(|user| user.join(SHARED)) }
    }

    /// All directories in which something may be known, whether they exist or not: those where it is kept, others that
    /// are found below and above the paths, and the shared one. Looks for them now.
    pub fn all(&self) -> Vec<PathBuf> {
        self.all_with(self.around())
    }

    /// Those of them that nobody else can be at work in while [`State::open`](crate::replay::State::open) has locked
    /// them: those around the paths aren't among them, for they are shared with others.
    pub fn own(&self) -> Vec<PathBuf> {
        let Around { below, .. } = self.around();
        let own = Self { asked: self.asked.clone(), shared: None };
        own.all_with(Around { below, above: Vec::new() })
    }

    /// [`all`](Self::all), with others that were looked for already.
    pub(super) fn all_with(&self, around: Around) -> Vec<PathBuf> {
        let kept = self.asked.iter().flat_map(|asked| asked.candidates.clone());
        let mut all: Vec<_> = kept.chain(around.below).chain(around.above).chain(self.shared.clone()).collect();
        let mut seen = HashSet::new();
        all.retain(|dir| seen.insert(real(dir)));
        all
    }

    /// Each path, and the directories for its state, the best first.
    pub(super) fn candidates(&self) -> impl Iterator<Item = (&Path, &[PathBuf])> {
        self.asked.iter().map(|asked| (&*asked.path, &*asked.candidates))
    }

    pub(super) fn shared(&self) -> Option<&Path> {
        self.shared.as_deref()
    }

    /// State directories that exist below and above the paths.
    pub(super) fn around(&self) -> Around {
        let mut around = Around::default();
        for root in self.asked.iter().flat_map(|asked| &asked.roots) {
            below(root, MAX_ENTRIES, &mut around.below);
            let above = root.ancestors().skip(1).map(|dir| dir.join(STATE_DIR)).filter(|dir| is_trusted(dir, root));
            around.above.extend(above);
        }
        for dirs in [&mut around.below, &mut around.above] {
            dirs.sort();
            dirs.dedup();
        }
        around
    }
}

impl Asked {
    fn new(path: &Path, user: Option<&Path>) -> Self {
        let mut dir = real(path);
        if dir.is_file()
            && let Some(parent) = dir.parent()
        {
            dir = parent.to_owned();
        }
        let elsewhere = user.map(|user| stand_in(user, &dir));
        let roots: Vec<_> = [Some(dir.clone()), elsewhere].into_iter().flatten().collect();
        // A directory that isn't there yet must not be made: whoever mounts a drive there wants it empty.
        let kept = roots.iter().enumerate().filter(|&(at, root)| at > 0 || root.is_dir());
        let candidates = kept.map(|(_, root)| root.join(STATE_DIR)).collect();
        Self { path: path.to_owned(), candidates, roots }
    }
}

/// An absolute path without links, as far as it exists.
pub(super) fn real(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    for existing in absolute.ancestors() {
        let Ok(mut real) = existing.canonicalize() else { continue };
        for part in absolute.strip_prefix(existing).unwrap_or(Path::new("")).components() {
            match part {
                Component::ParentDir => drop(real.pop()),
                Component::CurDir => {}
                part => real.push(part),
            }
        }
        return real;
    }
    absolute
}

/// What stands for a directory below the user's: a path that is like it, so that what lies below and above it does so
/// there, too.
fn stand_in(user: &Path, dir: &Path) -> PathBuf {
    let mut out = user.join(ELSEWHERE);
    for part in dir.components() {
        match part {
            Component::Normal(part) => out.push(part),
            // Of a drive's letter or a server's name, what every file system takes.
            Component::Prefix(prefix) => {
                let text = prefix.as_os_str().to_string_lossy();
                out.push(text.replace(|c: char| !c.is_ascii_alphanumeric(), "_"));
            }
            Component::RootDir | Component::CurDir | Component::ParentDir => {}
        }
    }
    out
}

/// State directories below `root`, without its own, among so many files and directories at most.
pub(super) fn below(root: &Path, most: usize, found: &mut Vec<PathBuf>) {
    let mut walk = WalkDir::new(root).min_depth(1).max_depth(MAX_DEPTH).into_iter();
    let mut entries = 0;
    while let Some(entry) = walk.next() {
        entries += 1;
        if entries > most {
            tracing::warn!(
                "more than {most} files are below {}: state directories further down aren't looked for",
                root.display()
            );
            return;
        }
        // What can't be read is reported by whoever looks for recordings.
        let Ok(entry) = entry else { continue };
        if entry.file_type().is_dir() && entry.file_name() == STATE_DIR {
            walk.skip_current_dir();
            if entry.depth() > 1 {
                found.push(entry.into_path());
            }
        }
    }
}

/// Whether a state directory above `root` is there and its owner is that of `root`, or the system's: in a directory
/// that everybody can write to, anybody could claim that everything has arrived.
#[cfg(unix)]
fn is_trusted(dir: &Path, root: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let owner = |path: &Path| fs::metadata(path).ok().map(|metadata| metadata.uid());
    let nearest = root.ancestors().find_map(owner);
    dir.is_dir() && fs::metadata(dir).is_ok_and(|dir| dir.uid() == 0 || Some(dir.uid()) == nearest)
}

#[cfg(not(unix))]
fn is_trusted(dir: &Path, _root: &Path) -> bool {
    fs::metadata(dir).is_ok_and(|dir| dir.is_dir())
}
