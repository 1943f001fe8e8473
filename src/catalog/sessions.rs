//! Grouping segments by session: what belongs together, in which order, and what is there twice.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::discover::{FileKind, ForeignReason, Found};
use super::fingerprint::Fingerprint;
use super::requests::{Known, Preamble, Requests, merge_requests};
use super::seq_set::SeqSet;
use super::stretch::{Stretch, Stretches};
use crate::format::{MAX_INDEX_ENTRIES, TimeRange, segment_index};
use crate::segment::{SegmentError, SegmentName, SegmentReader};

/// One segment file.
#[derive(Debug, Clone)]
pub struct SegmentFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its number in the session.
    pub index: u32,
    /// Its size in bytes.
    pub bytes: u64,
    /// By what one sees that it has changed since.
    pub fingerprint: Fingerprint,
    /// What SEAL says, if the segment is sealed and its end sound.
    pub sealed: Option<Sealed>,
    /// Whether its name says that it was never sealed.
    pub open: bool,
}

/// What a segment's SEAL says of it; little, however large the segment is.
#[derive(Debug, Clone)]
pub struct Sealed {
    /// The seqs of its records.
    pub seqs: SeqSet,
    /// The seq behind the last that it had.
    pub end_seq: u64,
    /// The times of its records.
    pub times: TimeRange,
    stretches: Stretches,
}

impl Sealed {
    fn of(reader: &mut SegmentReader) -> Result<Option<Self>, SegmentError> {
        let stretches = Stretches::of(reader)?;
        let Some(seal) = reader.seal() else { return Ok(None) };
        let mut seqs = SeqSet::new();
        // [F-25] has no more.
        for entry in seal.index.iter().take(MAX_INDEX_ENTRIES) {
            seqs.insert(entry.first_seq..entry.first_seq.saturating_add(entry.count));
        }
        let times = TimeRange::from_ends(seal.least, seal.greatest);
        Ok(Some(Self { seqs, end_seq: seal.end_seq, times, stretches }))
    }

    /// The first stretch of the segment that has to be read when the records in `done` are needed no more; `None` if
    /// nothing has to.
    ///
    /// Cautious: a stretch in which seqs are missing counts as needed, unless they are in `done` as well (as dropped on
    /// board, say); and so does all of a segment whose index is of no use.
    pub fn first_needed(&self, done: &SeqSet) -> Option<Stretch> {
        self.next_needed(done, 0)
    }

    /// Like [`first_needed`](Self::first_needed), of the stretches that end behind `position` (bytes from the file's
    /// start): the one that `position` is in, if that one is needed, or else a later one.
    pub fn next_needed(&self, done: &SeqSet, position: u64) -> Option<Stretch> {
        self.stretches.next_needed(done, position)
    }

    /// Whether the stretch that `position` (bytes from the file's start) is in begins in the file as SEAL's index says, so
    /// that nothing that it doesn't tell of is behind `position`.
    ///
    /// # Errors
    /// [`SegmentError::Io`] if the file can't be read.
    pub fn holds_at(&self, reader: &mut SegmentReader, position: u64) -> Result<bool, SegmentError> {
        self.stretches.holds_at(reader, position)
    }

    /// Whether, behind the last place that SEAL's index names, nothing stands that it doesn't tell of.
    ///
    /// # Errors
    /// [`SegmentError::Io`] if the file can't be read.
    pub fn ends_as_said(&self, reader: &mut SegmentReader) -> Result<bool, SegmentError> {
        self.stretches.ends_as_said(reader)
    }

    /// Moves `reader` over what needn't be read because it is in `done`; to be called before each event. Returns false
    /// when nothing further has to be read.
    ///
    /// Where the index turns out to lie, nothing is skipped, so that no record gets lost.
    ///
    /// # Errors
    /// [`SegmentError::Io`] if the file can't be read.
    pub fn skip_done(&self, reader: &mut SegmentReader, done: &SeqSet) -> Result<bool, SegmentError> {
        let position = reader.position();
        let next = self.next_needed(done, position);
        // The places at both ends of what is skipped are looked at: what lies between has no other seqs.
        if next.as_ref().is_some_and(|next| next.offset <= position) || !self.stretches.holds_at(reader, position)? {
            return Ok(true);
        }
        let Some(next) = next else { return Ok(!self.ends_as_said(reader)?) };
        reader.skip_to(next.offset, next.first_seq)?;
        Ok(true)
    }
}

/// A backup of the official library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PbfsFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
    /// By what one sees that it has changed since.
    pub fingerprint: Fingerprint,
}

/// A session: one life of one recorder.
#[derive(Debug, Clone)]
pub struct Session {
    /// Its id.
    pub id: Uuid,
    /// Its segments by number; of copies of a segment the best one first.
    pub segments: Vec<SegmentFile>,
    /// The Sift requests that precede its data; `None` if every HEADER of the session and every copy of it is lost.
    pub requests: Option<Requests>,
}

/// A file that isn't replayed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ignored {
    /// Where it is.
    pub path: PathBuf,
    /// Why.
    pub reason: ForeignReason,
}

/// A file that should be replayed and can't.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// Where it is.
    pub path: PathBuf,
    /// Why.
    pub reason: String,
}

/// What some directories hold.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    /// Sessions, the earliest first.
    pub sessions: Vec<Session>,
    /// Backups of the official library, in the order in which they were begun.
    pub pbfs: Vec<PbfsFile>,
    /// Files that are something else.
    pub ignored: Vec<Ignored>,
    /// Files that can't be read, or whose session nothing tells.
    pub unreadable: Vec<Unreadable>,
}

impl Catalog {
    /// Looks into each segment's beginning and end, and groups them.
    pub fn build(found: Vec<Found>) -> Self {
        let mut known = Known::default();
        Self::group(found.into_iter().map(|Found { path, kind }| {
            let content = Content::of(&path, kind, &mut known);
            (path, content)
        }))
    }

    /// Groups what was looked into.
    pub(super) fn group(files: impl Iterator<Item = (PathBuf, Content)>) -> Self {
        let mut catalog = Self::default();
        let mut groups: BTreeMap<Uuid, Vec<Opened>> = BTreeMap::new();
        let mut nameless = Vec::new();
        for (path, content) in files {
            match content {
                Content::Foreign(reason) => catalog.ignored.push(Ignored { path, reason }),
                Content::Unreadable(reason) | Content::Gone(reason) => {
                    catalog.unreadable.push(Unreadable { path, reason })
                }
                Content::Pbfs(fingerprint) => {
                    catalog.pbfs.push(PbfsFile { path, bytes: fingerprint.bytes, fingerprint });
                }
                Content::Segment(opened) => match opened.session {
                    Some(session) => groups.entry(session).or_default().push(*opened),
                    None => nameless.push(*opened),
                },
            }
        }
        for opened in nameless {
            catalog.adopt(&mut groups, opened);
        }
        catalog.pbfs.sort_by_cached_key(|file| pbfs_order(&file.path));
        catalog.sessions = groups.into_iter().map(|(id, segments)| session(id, segments)).collect();
        catalog
    }

    /// [F-33]: a segment without header and name still carries its id, which fits one session only.
    fn adopt(&mut self, groups: &mut BTreeMap<Uuid, Vec<Opened>>, mut nameless: Opened) {
        for (session, segments) in groups {
            if let Some(index) = nameless.id.and_then(|id| segment_index(*session, id)) {
                nameless.file.index = index;
                segments.push(nameless);
                return;
            }
        }
        self.unreadable.push(Unreadable {
            path: nameless.file.path,
            reason: "neither its header nor its name tells its session: put it beside the session's other segments"
                .to_owned(),
        });
    }
}

/// What a file turned out to be.
#[derive(Debug, Clone)]
pub(super) enum Content {
    Foreign(ForeignReason),
    Unreadable(String),
    /// It was there, and isn't any more; with the operating system's answer.
    Gone(String),
    Pbfs(Fingerprint),
    Segment(Box<Opened>),
}

impl Content {
    /// Looks into a file of this kind.
    pub(super) fn of(path: &Path, kind: FileKind, known: &mut Known) -> Self {
        match kind {
            FileKind::Foreign(reason) => Self::Foreign(reason),
            FileKind::Unreadable(reason) => Self::Unreadable(reason),
            FileKind::Pbfs => match Fingerprint::of(path) {
                Ok(fingerprint) => Self::Pbfs(fingerprint),
                Err(error) => Self::unreadable(&SegmentError::io("read", path)(error)),
            },
            FileKind::Segment => match open(path, known) {
                Ok(Ok(opened)) => Self::Segment(Box::new(opened)),
                Ok(Err(reason)) => Self::Unreadable(reason),
                Err(error) => Self::unreadable(&error),
            },
        }
    }

    /// What can't be looked into, and why.
    pub(super) fn unreadable(error: &SegmentError) -> Self {
        let reason = match error {
            SegmentError::Io { source, .. } => source.to_string(),
            error => error.to_string(),
        };
        if error.is_not_found() { Self::Gone(reason) } else { Self::Unreadable(reason) }
    }
}

/// A segment that was looked into.
#[derive(Debug, Clone)]
pub(super) struct Opened {
    session: Option<Uuid>,
    /// The segment's id.
    id: Option<u64>,
    file: SegmentFile,
    header: Option<Preamble>,
}

/// Looks into a segment. The inner error says why it can't be replayed.
fn open(path: &Path, known: &mut Known) -> Result<Result<Opened, String>, SegmentError> {
    // Never mapped: drives are looked at again and again, and pulled at any time.
    let (mut reader, before) = SegmentReader::open_known(path)?;
    // From before it was read: a change in between shows as one that came later.
    let fingerprint = Fingerprint::from(&before);
    let identity = reader.identity();
    let (session, index, mut id) = (identity.session, identity.index.unwrap_or(0), identity.segment_id);
    let sealed = Sealed::of(&mut reader)?;
    // Any sound frame tells.
    while id.is_none() && reader.next_event()?.is_some() {
        id = reader.segment_id();
    }
    let file = SegmentFile {
        path: path.to_owned(),
        index,
        bytes: reader.bytes(),
        fingerprint,
        sealed,
        open: SegmentName::of_path(path).is_some_and(|name| name.open),
    };
    // SEAL's copy has the flows that were added since.
    let header = reader.seal().and_then(|seal| seal.header.as_ref()).or(reader.identity().header.as_ref());
    Ok(header.map(|header| Preamble::new(header, known)).transpose().map(|header| Opened { session, id, file, header }))
}

fn session(id: Uuid, mut segments: Vec<Opened>) -> Session {
    // Sealed before open, long before short: the first of several copies is the likeliest to be whole.
    segments.sort_by_key(|segment| {
        let file = &segment.file;
        (file.index, file.sealed.is_none(), std::cmp::Reverse(file.bytes), file.path.clone())
    });
    let requests = merge_requests(segments.iter().filter_map(|segment| segment.header.as_ref()));
    Session { id, segments: segments.into_iter().map(|segment| segment.file).collect(), requests }
}

/// The official library names its files `<client key>-<unix µs>`: in the order of that number, where there is one.
fn pbfs_order(path: &Path) -> (u64, PathBuf) {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let number = name.rsplit('-').next().unwrap_or_default();
    // Somebody may have added an ending; the client key may have a dot of its own.
    let number = number.split('.').next().unwrap_or_default();
    (number.parse().unwrap_or(0), path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backups_go_in_the_order_in_which_they_were_begun() {
        let mut paths: Vec<PathBuf> =
            ["b/rover-v1.2-900", "z/rover-v1.1-1000", "a/rover-2000.pbfs", "plain"].map(PathBuf::from).into();
        paths.sort_by_cached_key(|path| pbfs_order(path));
        assert_eq!(paths, ["plain", "b/rover-v1.2-900", "z/rover-v1.1-1000", "a/rover-2000.pbfs"].map(PathBuf::from));
    }
}
