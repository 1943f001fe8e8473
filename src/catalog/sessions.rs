//! Grouping segments by session: what belongs together, in which order, and what is there twice.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use prost::Message;
use uuid::Uuid;

use super::discover::{FileKind, ForeignReason, Found};
use super::seq_set::SeqSet;
use crate::format::{FlowConfig, IngestionConfig, Run, Seal, SegmentHeader, TimeRange, segment_index};
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
}

impl Sealed {
    fn of(seal: &Seal) -> Self {
        let mut seqs = SeqSet::new();
        for entry in &seal.index {
            seqs.insert(entry.first_seq..entry.first_seq.saturating_add(entry.count));
        }
        Self { seqs, end_seq: seal.end_seq, times: TimeRange::from_ends(seal.least, seal.greatest) }
    }
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

/// The Sift requests that precede a session's data, encoded ([F-19]).
#[derive(Debug, Clone, PartialEq)]
pub struct Requests {
    /// `CreateIngestionConfigRequest`, with all flows that any segment names.
    pub ingestion_config: Vec<u8>,
    /// `CreateRunRequest`.
    pub run: Option<Vec<u8>>,
    /// The asset's name.
    pub asset: String,
    /// The run's name.
    pub run_name: Option<String>,
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
    pub pbfs: Vec<PathBuf>,
    /// Files that are something else.
    pub ignored: Vec<Ignored>,
    /// Files that can't be read, or whose session nothing tells.
    pub unreadable: Vec<Unreadable>,
}

impl Catalog {
    /// Looks into each segment's beginning and end, and groups them.
    pub fn build(found: Vec<Found>) -> Self {
        let mut catalog = Self::default();
        let mut groups: BTreeMap<Uuid, Vec<Opened>> = BTreeMap::new();
        let mut nameless = Vec::new();
        let mut known = HashSet::new();
        for Found { path, kind } in found {
            match kind {
                FileKind::Foreign(reason) => catalog.ignored.push(Ignored { path, reason }),
                FileKind::Unreadable(reason) => catalog.unreadable.push(Unreadable { path, reason }),
                FileKind::Pbfs => catalog.pbfs.push(path),
                FileKind::Segment => match open(&path, &mut known) {
                    Ok(Opened { session: Some(session), opened, id }) => {
                        groups.entry(session).or_default().push(Opened { session: Some(session), opened, id });
                    }
                    Ok(opened) => nameless.push(opened),
                    Err(error) => catalog.unreadable.push(Unreadable { path, reason: error.to_string() }),
                },
            }
        }
        for opened in nameless {
            catalog.adopt(&mut groups, opened);
        }
        catalog.pbfs.sort_by_cached_key(|path| pbfs_order(path));
        catalog.sessions = groups.into_iter().map(|(id, segments)| session(id, segments)).collect();
        catalog
    }

    /// [F-33]: a segment without header and name still carries its id, which fits one session only.
    fn adopt(&mut self, groups: &mut BTreeMap<Uuid, Vec<Opened>>, mut nameless: Opened) {
        for (session, segments) in groups {
            if let Some(index) = nameless.id.and_then(|id| segment_index(*session, id)) {
                nameless.opened.file.index = index;
                segments.push(nameless);
                return;
            }
        }
        self.unreadable.push(Unreadable {
            path: nameless.opened.file.path,
            reason: "neither its header nor its name tells its session: put it beside the session's other segments"
                .to_owned(),
        });
    }
}

/// A segment that was looked into.
struct Opened {
    session: Option<Uuid>,
    /// The segment's id.
    id: Option<u64>,
    opened: OpenedFile,
}

struct OpenedFile {
    file: SegmentFile,
    header: Option<Preamble>,
}

/// The requests that a header holds. Most segments hold the same: it is in memory once.
struct Preamble {
    ingestion_config: Arc<[u8]>,
    run: Option<Arc<[u8]>>,
}

impl Preamble {
    fn new(header: &SegmentHeader, known: &mut HashSet<Arc<[u8]>>) -> Self {
        let mut once = |bytes: &[u8]| match known.get(bytes) {
            Some(known) => known.clone(),
            None => {
                let new: Arc<[u8]> = bytes.into();
                known.insert(new.clone());
                new
            }
        };
        Self { ingestion_config: once(&header.ingestion_config), run: header.run.as_deref().map(once) }
    }
}

fn open(path: &Path, known: &mut HashSet<Arc<[u8]>>) -> Result<Opened, SegmentError> {
    let mut reader = SegmentReader::open(path)?;
    let identity = reader.identity().clone();
    let mut id = identity.segment_id;
    // Any sound frame tells.
    while id.is_none() && reader.next_event()?.is_some() {
        id = reader.segment_id();
    }
    let file = SegmentFile {
        path: path.to_owned(),
        index: identity.index.unwrap_or(0),
        bytes: reader.bytes(),
        sealed: reader.seal().map(Sealed::of),
        open: SegmentName::of_path(path).is_some_and(|name| name.open),
    };
    // SEAL's copy has the flows that were added since.
    let header = reader.seal().and_then(|seal| seal.header.as_ref()).or(identity.header.as_ref());
    let header = header.map(|header| Preamble::new(header, known));
    Ok(Opened { session: identity.session, id, opened: OpenedFile { file, header } })
}

fn session(id: Uuid, mut segments: Vec<Opened>) -> Session {
    // Sealed before open, long before short: the first of several copies is the likeliest to be whole.
    segments.sort_by_key(|segment| {
        let file = &segment.opened.file;
        (file.index, file.sealed.is_none(), std::cmp::Reverse(file.bytes), file.path.clone())
    });
    let requests = merge_requests(segments.iter().filter_map(|segment| segment.opened.header.as_ref()));
    Session { id, segments: segments.into_iter().map(|segment| segment.opened.file).collect(), requests }
}

/// The first header's requests, with the flows that later ones add.
fn merge_requests<'a>(headers: impl Iterator<Item = &'a Preamble>) -> Option<Requests> {
    let mut merged: Option<Requests> = None;
    let mut known: Vec<FlowConfig> = Vec::new();
    let mut last: &[u8] = &[];
    for header in headers {
        // Most segments repeat what the one before them says.
        if std::mem::replace(&mut last, &header.ingestion_config) == &*header.ingestion_config && merged.is_some() {
            continue;
        }
        let Ok(config) = IngestionConfig::decode(&header.ingestion_config[..]) else { continue };
        let new: Vec<FlowConfig> = config.flows.iter().filter(|flow| !known.contains(flow)).cloned().collect();
        match &mut merged {
            None => {
                let run = header.run.as_deref().and_then(|run| Run::decode(run).ok());
                merged = Some(Requests {
                    ingestion_config: header.ingestion_config.to_vec(),
                    run: header.run.as_deref().map(<[u8]>::to_vec),
                    asset: config.asset_name,
                    run_name: run.map(|run| run.name),
                });
            }
            // In protobuf, concatenation merges.
            Some(merged) => {
                let added = IngestionConfig { flows: new.clone(), ..Default::default() };
                merged.ingestion_config.extend(added.encode_to_vec());
            }
        }
        known.extend(new);
    }
    merged
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
