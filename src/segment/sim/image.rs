//! The simulated disk at one moment, and what a power cut at that moment leaves of it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Files by path.
pub type SimFiles = BTreeMap<PathBuf, Vec<u8>>;

/// A file's bytes, whatever it is called.
#[derive(Debug, Clone, Default)]
struct FileImage {
    bytes: Arc<Vec<u8>>,
    /// A sync has confirmed so many of them.
    synced: usize,
    /// Of those, what never reaches the disk all the same: an earlier sync of it had failed.
    forgotten: Vec<Range<usize>>,
}

/// A change to a directory that isn't durable yet. It happens wholly or not at all.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Create { file: usize, path: PathBuf },
    Rename { file: usize, from: PathBuf, to: PathBuf },
    Remove { file: usize, path: PathBuf },
}

impl Change {
    /// Directories whose syncs make it durable.
    fn dirs(&self) -> Vec<PathBuf> {
        let paths = match self {
            Self::Create { path, .. } | Self::Remove { path, .. } => [Some(path), None],
            Self::Rename { from, to, .. } => [Some(from), Some(to).filter(|to| to.parent() != from.parent())],
        };
        paths.into_iter().flatten().filter_map(|path| path.parent().map(Path::to_owned)).collect()
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        let forget = |names: &mut BTreeMap<PathBuf, usize>, path: &Path, file: usize| {
            if names.get(path) == Some(&file) {
                names.remove(path);
            }
        };
        match self {
            Self::Create { file, path } => drop(names.insert(path.clone(), *file)),
            Self::Remove { file, path } => forget(names, path, *file),
            Self::Rename { file, from, to } => {
                forget(names, from, *file);
                names.insert(to.clone(), *file);
            }
        }
    }
}

/// The disk at one moment.
#[derive(Debug, Clone, Default)]
pub struct SimImage {
    files: Vec<FileImage>,
    /// Names as a running computer sees them.
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    /// What lies between the two, in order, each with the directories that are still to be synced.
    changes: Vec<(Change, Vec<PathBuf>)>,
}

/// How the disk changes.
impl SimImage {
    pub(super) fn put_durable(&mut self, path: PathBuf, bytes: Vec<u8>) {
        let synced = bytes.len();
        self.files.push(FileImage { bytes: Arc::new(bytes), synced, forgotten: Vec::new() });
        self.names.insert(path.clone(), self.files.len() - 1);
        self.durable_names.insert(path, self.files.len() - 1);
    }

    pub(super) fn create(&mut self, path: &Path) -> usize {
        self.files.push(FileImage::default());
        let file = self.files.len() - 1;
        self.change(Change::Create { file, path: path.to_owned() });
        file
    }

    pub(super) fn change(&mut self, change: Change) {
        change.apply(&mut self.names);
        let dirs = change.dirs();
        self.changes.push((change, dirs));
    }

    pub(super) fn sync_dir(&mut self, dir: &Path) {
        for (change, dirs) in &mut self.changes {
            dirs.retain(|waiting| waiting != dir);
            if dirs.is_empty() {
                change.apply(&mut self.durable_names);
            }
        }
        self.changes.retain(|(_, dirs)| !dirs.is_empty());
    }

    pub(super) fn append(&mut self, file: usize, bytes: &[u8]) {
        if let Some(file) = self.files.get_mut(file) {
            Arc::make_mut(&mut file.bytes).extend_from_slice(bytes);
        }
    }

    pub(super) fn sync(&mut self, file: usize) {
        if let Some(file) = self.files.get_mut(file) {
            file.synced = file.bytes.len();
        }
    }

    /// What a failed sync was for will never be written, whatever later ones say.
    pub(super) fn forget_unsynced(&mut self, file: usize) {
        if let Some(file) = self.files.get_mut(file) {
            let unsynced = file.synced..file.bytes.len();
            file.synced = unsynced.end;
            file.forgotten.extend(Some(unsynced).filter(|range| !range.is_empty()));
        }
    }

    pub(super) fn rot(&mut self, path: &Path, change: impl FnOnce(&mut [u8])) {
        if let Some(file) = self.file(path).and_then(|file| self.files.get_mut(file)) {
            change(Arc::<Vec<u8>>::make_mut(&mut file.bytes));
        }
    }
}

/// What a running computer sees.
impl SimImage {
    pub(super) fn file(&self, path: &Path) -> Option<usize> {
        self.names.get(path).copied()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &PathBuf> {
        self.names.keys()
    }

    pub(super) fn bytes(&self, path: &Path) -> Option<&[u8]> {
        Some(&self.files.get(self.file(path)?)?.bytes)
    }

    /// Bytes in all files.
    pub(super) fn used(&self) -> u64 {
        self.names.values().filter_map(|&file| self.files.get(file)).map(|file| file.bytes.len() as u64).sum()
    }

    /// Every file.
    pub fn all(&self) -> SimFiles {
        self.with(&self.names, |file, _| file.bytes.to_vec())
    }
}

/// What a power cut leaves.
impl SimImage {
    /// The least: what syncs have confirmed, under the names that are durable.
    pub fn least(&self) -> SimFiles {
        self.with(&self.durable_names, |file, _| {
            let mut bytes = file.bytes.get(..file.synced).unwrap_or_default().to_vec();
            file.forgotten.iter().for_each(|range| fill(&mut bytes, range.clone(), &[]));
            bytes
        })
    }

    /// How many cuts [`torn`](Self::torn) knows: bytes that are in files and not confirmed.
    pub fn torn_points(&self) -> usize {
        self.files.iter().map(|file| file.bytes.len() - file.synced).sum()
    }

    /// What is left when everything had reached the disk but the bytes from one on: the unsynced bytes of all files are
    /// numbered, and those from `point` on are gone, and so are the files that come later.
    pub fn torn(&self, point: usize) -> SimFiles {
        let mut begins = Vec::with_capacity(self.files.len());
        let mut before = 0;
        for file in &self.files {
            begins.push(before);
            before += file.bytes.len() - file.synced;
        }
        self.with(&self.names, |file, number| {
            let begin = begins.get(number).copied().unwrap_or_default();
            let kept = file.synced + point.saturating_sub(begin).min(file.bytes.len() - file.synced);
            file.bytes.get(..kept).unwrap_or_default().to_vec()
        })
    }

    /// What some power cut leaves: any of the changes to directories that weren't durable, and of bytes that weren't any
    /// part, in pieces of any size; in place of the others there are zeros, garbage, or what the medium held before. The
    /// same seed leaves the same.
    pub fn survivor(&self, seed: u64) -> SimFiles {
        let mut random = Random(seed);
        let mut names = self.durable_names.clone();
        let all = random.below(3);
        for (change, _) in &self.changes {
            if all == 0 || random.below(2) == 0 {
                change.apply(&mut names);
            }
        }
        self.with(&names, |file, _| {
            let (synced, written) = (file.synced, file.bytes.len());
            let len = match random.below(4) {
                0 => synced,
                1 => written,
                _ => synced + random.below(written - synced + 1),
            };
            let mut bytes = file.bytes.get(..len).unwrap_or_default().to_vec();
            for range in file.forgotten.iter().cloned().chain(std::iter::once(synced..len)) {
                self.tear(&mut bytes, range, &mut random);
            }
            bytes
        })
    }

    /// Takes pieces of `range` away.
    fn tear(&self, bytes: &mut [u8], range: Range<usize>, random: &mut Random) {
        // All of it is there, pieces are, or nothing is.
        let (whole, piece) = (random.below(4), [1, 7, 64, 512].get(random.below(4)).copied().unwrap_or(1));
        let mut at = range.start;
        while whole > 0 && at < range.end {
            let end = range.end.min(at + 1 + random.below(piece));
            if whole == 1 || random.below(2) == 0 {
                let garbage: Vec<u8> = match random.below(3) {
                    0 => Vec::new(),
                    1 => (at..end).map(|_| random.below(256) as u8).collect(),
                    // A block that held another file's, or this one's, bytes of the same place or another.
                    _ => {
                        let other = self.files.get(random.below(self.files.len())).map(|file| file.bytes.clone());
                        let other = other.unwrap_or_default();
                        let from = if random.below(2) == 0 { at } else { random.below(other.len() + 1) };
                        other.get(from..).unwrap_or_default().iter().copied().take(end - at).collect()
                    }
                };
                fill(bytes, at..end, &garbage);
            }
            at = end;
        }
    }

    fn with(&self, names: &BTreeMap<PathBuf, usize>, mut bytes: impl FnMut(&FileImage, usize) -> Vec<u8>) -> SimFiles {
        let files = names.iter().filter_map(|(path, &number)| Some((path, self.files.get(number)?, number)));
        files.map(|(path, file, number)| (path.clone(), bytes(file, number))).collect()
    }
}

/// Puts `garbage`, and zeros where it ends, in place of a range.
fn fill(bytes: &mut [u8], range: Range<usize>, garbage: &[u8]) {
    let end = range.end.min(bytes.len());
    for (i, byte) in bytes.get_mut(range.start.min(end)..end).into_iter().flatten().enumerate() {
        *byte = garbage.get(i).copied().unwrap_or(0);
    }
}

/// Numbers that look random, and are the same for the same seed (SplitMix64).
struct Random(u64);

impl Random {
    /// A number below `end`; 0 if there is none.
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % end.max(1) as u64) as usize
    }
}
