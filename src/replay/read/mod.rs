//! Reading a job's files in order and filling windows: blocking, on a thread of its own.

mod again;
mod cursor;
#[cfg(test)]
mod held_tests;
mod pbfs;
mod select;
mod session;

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

pub(super) use again::read_again;
pub(super) use pbfs::pbfs_id;
pub(super) use select::Selector;

use super::checkpoint::{Done, PbfsMark};
use super::options::WindowSize;
use super::outgoing::Outgoing;
use super::plan::Job;
use super::report::Totals;
use super::slots::{Closed, Slots};
use super::window::{Window, WindowBuilder};
use crate::catalog::{Fingerprint, SegmentFile, SeqSet};
use crate::format::{AddedFlows, Damage, MarkMessage, Torn};
use crate::segment::{SegmentError, Skipped};

/// What reading yields, in order.
#[derive(Debug)]
pub(super) enum Item {
    /// What follows is of this file.
    File {
        path: PathBuf,
        /// It is read from its beginning: what was found in it before counts no more.
        anew: bool,
    },
    /// To be sent and acknowledged.
    Window(Window),
    /// Records that needn't be sent.
    Passed(Passed),
    /// To be registered before what follows is sent.
    Flows(AddedFlows),
    Damage(PathBuf, Damage),
    Torn(PathBuf, Torn),
    /// A frame of a later version, and how many of its records weren't met before.
    Skipped(PathBuf, Skipped, u64),
    Mark(MarkMessage),
    /// The file can't be read on.
    Failed(PathBuf, SegmentError),
    /// The session is read: what of it is nowhere.
    Missing(Vec<Range<u64>>),
}

/// Records that needn't be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Passed {
    /// Acknowledged before.
    pub(super) acknowledged: u64,
    /// Dead-lettered before.
    pub(super) dead_lettered: u64,
    /// Not asked for.
    pub(super) not_selected: u64,
    /// Bytes of the files that they stand in.
    pub(super) read: u64,
}

impl Passed {
    /// Adds them to figures.
    pub(super) fn count(&self, totals: &mut Totals) {
        totals.records_found += self.records();
        totals.records_already_acknowledged += self.acknowledged;
        totals.records_dead_lettered += self.dead_lettered;
        totals.records_not_selected += self.not_selected;
    }

    /// How many.
    pub(super) fn records(&self) -> u64 {
        self.acknowledged + self.dead_lettered + self.not_selected
    }
}

/// The other side doesn't listen any more.
#[derive(Debug)]
pub(super) struct Gone;

impl From<Closed> for Gone {
    fn from(_: Closed) -> Self {
        Self
    }
}

/// Where items go.
pub(super) trait Sink {
    fn send(&mut self, item: Item) -> Result<(), Gone>;
}

impl<F: FnMut(Item) -> Result<(), Gone>> Sink for F {
    fn send(&mut self, item: Item) -> Result<(), Gone> {
        self(item)
    }
}

/// What is to be read, and how.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) job: Job,
    pub(super) outgoing: Outgoing,
    pub(super) window_size: WindowSize,
    pub(super) slots: Slots,
    pub(super) selector: Selector,
    /// What of a session is delivered.
    pub(super) done: Done,
    /// What of it isn't for the replay now.
    pub(super) held: SeqSet,
    /// What of a PBFS file is delivered.
    pub(super) delivered: Vec<PbfsDelivered>,
}

/// How far a PBFS file is delivered, as far as this selection goes.
#[derive(Debug)]
pub(super) struct PbfsDelivered {
    /// What was selected.
    pub(super) selector: Selector,
    /// How far.
    pub(super) marks: Vec<PbfsMark>,
    /// Which of the dead letters that the marks count were delivered since, by the numbers of their messages.
    pub(super) since: SeqSet,
    /// Whether it is this very replay's target: only then is the file done so far.
    pub(super) own: bool,
}

/// What reading a job has learnt so far. When its files have grown, reading goes on from here.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Seqs that were read, each of which is sent once.
    read: SeqSet,
    /// Seqs whose absence is explained: dropped on board, or in frames of a later version.
    explained: SeqSet,
    /// The seq behind the last one that the session is known to have had.
    end: u64,
    /// Hashes of marks that were told of: copies, and segments written again after an I/O error, repeat them.
    marks: HashSet<[u8; 32]>,
    /// Segments of which a whole, sealed copy was read.
    complete: HashSet<u32>,
    files: HashMap<PathBuf, FileMemory>,
    /// Bytes from the beginning of a PBFS file that an earlier replay has delivered.
    delivered_end: u64,
}

/// How long a file must have been as it is for another look to be of no use: file systems round the times of files, FAT
/// to two seconds, so that the last bytes of a copy may come without another size or time.
const SETTLED: Duration = Duration::from_secs(3);

/// What is known of a file that was read.
#[derive(Debug)]
struct FileMemory {
    /// Its number in the session.
    index: u32,
    /// As it was when reading began.
    fingerprint: Fingerprint,
    /// How far it was read without anything unusual but an unfinished end, in bytes.
    sound: u64,
    /// Whether it was read to its end, and all of it was sound.
    whole: bool,
    /// When it was read first with this fingerprint.
    since: Instant,
    /// Whether it is as it was read: it was left alone for long enough before.
    settled: bool,
}

impl FileMemory {
    /// Of a file whose reading began at `began`, and that was known like this before.
    fn new(known: Option<&Self>, fingerprint: Fingerprint, began: (Instant, SystemTime)) -> Self {
        let since = known.filter(|known| known.fingerprint == fingerprint).map_or(began.0, |known| known.since);
        let settled = began.0.duration_since(since) >= SETTLED || fingerprint.is_settled(began.1);
        Self { index: 0, fingerprint, sound: 0, whole: false, since, settled }
    }

    /// Whether a file with this fingerprint holds nothing that wasn't read.
    fn is_all_of(&self, fingerprint: &Fingerprint) -> bool {
        self.fingerprint == *fingerprint && (self.whole || self.settled)
    }
}

impl Memory {
    /// Bytes from the beginning of a PBFS file that an earlier replay has delivered.
    pub(super) fn delivered_end(&self) -> u64 {
        self.delivered_end
    }

    /// Whether all files of a job were read as they were found.
    pub(super) fn was_read(&self, job: &Job) -> bool {
        let was_read = |(path, fingerprint): (PathBuf, Fingerprint)| {
            self.files.get(&path).is_some_and(|file| file.fingerprint == fingerprint)
        };
        job.files().into_iter().all(was_read)
    }

    /// Whether all that a segment held was read elsewhere, where it was renamed or copied to.
    pub(super) fn has_another(&self, file: &SegmentFile) -> bool {
        let holds_as_much = |(path, other): (&PathBuf, &FileMemory)| {
            *path != file.path && other.index == file.index && other.fingerprint.bytes >= file.bytes
        };
        self.complete.contains(&file.index) || self.files.iter().any(holds_as_much)
    }

    /// Whether a file may have been changed in a way that its fingerprint doesn't tell, and is worth another look by now.
    pub(super) fn wants_another_look(&self) -> bool {
        self.files.values().any(|file| !file.whole && !file.settled && file.since.elapsed() >= SETTLED)
    }
}

/// Reads what of a job wasn't read before.
pub(super) fn read_job(reading: Reading, memory: &mut Memory, sink: &mut dyn Sink) -> Result<(), Gone> {
    let Reading { job, outgoing, window_size, slots, selector, done, held, delivered } = reading;
    let windows = WindowBuilder::new(outgoing, window_size, slots);
    match &job {
        Job::Session(session) => {
            session::SessionRead::new(windows, &selector, &done, &held, memory, sink).session(session)
        }
        Job::Pbfs(file) => pbfs::read(file, &delivered, windows, &selector, memory, sink),
    }
}

fn send_rest(windows: &mut WindowBuilder, sink: &mut dyn Sink) -> Result<(), Gone> {
    let window = windows.take();
    if window.is_empty() { Ok(()) } else { sink.send(Item::Window(window)) }
}
