//! Reading dead letters. Nothing here writes, and nothing trusts what it reads.

use std::borrow::Cow;
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::super::target::Target;
use super::dir_in;
use super::group::{DeadLetterGroup, Groups};
use super::origin::{Explanation, Refusal, RefusedRange};
use crate::catalog::{Catalog, DiscoverError, SeqSet, Session, discover};
use crate::format::{Mark, RecordInfo};
use crate::segment::{Batch, Event, SegmentError, SegmentName, SegmentReader, SkipReason, Skipped};

/// One dead letter.
#[derive(Debug)]
pub struct DeadLetter<'a> {
    /// Its seq in the dead letters' own session.
    pub letter: u64,
    /// The request, as it was recorded.
    pub bytes: &'a [u8],
    /// The flow's name; empty if the request tells none.
    pub flow: Cow<'a, str>,
    /// The request's time, in ns since the Unix epoch.
    pub time_ns: Option<i64>,
    /// Why it is here; `None` if no mark explains it.
    pub refusal: Option<&'a Refusal>,
    /// When it was refused, in ns since the Unix epoch.
    pub refused_ns: Option<i64>,
    /// Its seq in the session that it came from (of a PBFS file: its message number).
    pub seq: Option<u64>,
}

/// Something in the way of reading dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The file.
    pub path: PathBuf,
    /// What, and where in the file.
    pub what: String,
}

/// A session of dead letters.
#[derive(Debug, Clone)]
pub struct DeadLetterSession {
    /// Its id.
    pub session: Uuid,
    /// Its files.
    pub files: Vec<PathBuf>,
    /// The asset's name, where known.
    pub asset: Option<String>,
    /// The run's name.
    pub run: Option<String>,
    /// Its dead letters.
    pub groups: Vec<DeadLetterGroup>,
}

/// What there is of dead letters.
#[derive(Debug, Clone, Default)]
pub struct DeadLetterList {
    /// Sessions, the earliest first.
    pub sessions: Vec<DeadLetterSession>,
    /// What couldn't be read.
    pub troubles: Vec<Trouble>,
}

/// The dead letters' sessions and files in some state directories. One that doesn't exist or has none is empty.
///
/// # Errors
/// [`DiscoverError`] if a directory is there and can't be looked into.
pub fn catalog(state_dirs: &[PathBuf]) -> Result<Catalog, DiscoverError> {
    let dirs: Vec<_> = state_dirs.iter().map(|dir| dir_in(dir)).filter(|dir| dir.is_dir()).collect();
    Ok(Catalog::build(discover(&dirs)?))
}

/// What dead letters there are in some state directories.
///
/// # Errors
/// [`DiscoverError`] if a directory is there and can't be looked into. All else that is in the way is in the list.
pub fn list(state_dirs: &[PathBuf]) -> Result<DeadLetterList, DiscoverError> {
    list_where(state_dirs, &|_, _| true)
}

/// The same for those that `keep` says yes to, given the session of dead letters that each is in: some may have been
/// delivered since.
///
/// # Errors
/// As [`list`].
pub fn list_where(
    state_dirs: &[PathBuf],
    keep: &dyn Fn(Uuid, &DeadLetter<'_>) -> bool,
) -> Result<DeadLetterList, DiscoverError> {
    let found = catalog(state_dirs)?;
    let mut list = DeadLetterList::default();
    for file in found.unreadable {
        list.troubles.push(Trouble { path: file.path, what: file.reason });
    }
    for session in &found.sessions {
        let mut groups = Groups::default();
        let troubles = read(session, &mut |letter| {
            if keep(session.id, &letter) {
                groups.add(&letter);
            }
            ControlFlow::Continue(())
        });
        list.troubles.extend(troubles);
        // [F-19]: an empty config belongs to nobody's asset.
        let requests = session.requests.as_ref().filter(|requests| !requests.ingestion_config.is_empty());
        list.sessions.push(DeadLetterSession {
            session: session.id,
            files: session.segments.iter().map(|file| file.path.clone()).collect(),
            asset: requests.map(|requests| requests.asset.clone()),
            run: requests.and_then(|requests| requests.run_name.clone()),
            groups: groups.groups,
        });
    }
    Ok(list)
}

/// Hands each dead letter of a session to `visit`, in order, each once, until it breaks. Returns what was in the way.
pub fn read(session: &Session, visit: &mut dyn FnMut(DeadLetter<'_>) -> ControlFlow<()>) -> Vec<Trouble> {
    let (mut seen, mut troubles) = (SeqSet::new(), Vec::new());
    for file in &session.segments {
        let mut each = |part: Part<'_>| match part {
            Part::Trouble(what) => {
                troubles.push(Trouble { path: file.path.clone(), what });
                ControlFlow::Continue(())
            }
            // [F-34]: a dead letter may stand in two segments, and in copies of one.
            Part::Letters(batch, explanation) => seen
                .insert(batch.first_seq..batch.end_seq())
                .into_iter()
                .try_for_each(|new| visit_batch(batch, new, explanation, visit)),
        };
        match read_segment(&file.path, &mut each) {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(())) => break,
            Err(error) => troubles.push(Trouble { path: file.path.clone(), what: error.to_string() }),
        }
    }
    troubles
}

/// The segment files that hold dead letters which this target refused.
///
/// # Errors
/// [`DiscoverError`] if a directory is there and can't be looked into. Files that can't be read are left out:
/// [`list`] tells of them.
pub fn sessions_for(state_dirs: &[PathBuf], target: &Target) -> Result<Vec<PathBuf>, DiscoverError> {
    let sessions = catalog(state_dirs)?.sessions;
    let files = sessions.into_iter().flat_map(|session| session.segments).map(|file| file.path);
    Ok(files.filter(|path| names_target(path, target)).collect())
}

fn names_target(path: &Path, target: &Target) -> bool {
    let mut found = false;
    // What was found before an error counts.
    let _ = read_segment(path, &mut |part| match part {
        Part::Letters(_, Some(explanation)) if explanation.refusal.target == *target => {
            found = true;
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    });
    found
}

/// Which records the dead letters of a segment file are, as far as its marks tell, in order. Dead letters that are
/// missing here are of unknown origin.
///
/// # Errors
/// [`SegmentError::Io`] if the file can't be read.
pub fn origins(path: &Path) -> Result<Vec<RefusedRange>, SegmentError> {
    let mut origins = Vec::new();
    let _ = read_segment(path, &mut |part| {
        if let Part::Letters(batch, Some(explanation)) = part {
            origins.extend(explanation.range(&(batch.first_seq..batch.end_seq())));
        }
        ControlFlow::Continue(())
    })?;
    Ok(origins)
}

/// What a segment holds next.
pub(super) enum Part<'a> {
    /// Dead letters, and the last mark ahead of them.
    Letters(&'a Batch<'a>, Option<&'a Explanation>),
    Trouble(String),
}

/// Reads one segment. Only the last mark is remembered ([F-41]).
pub(super) fn read_segment(
    path: &Path,
    each: &mut dyn FnMut(Part<'_>) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, SegmentError> {
    let mut reader = SegmentReader::open(path)?;
    // [F-30]: what is named sealed was whole once.
    let named_sealed = SegmentName::of_path(path).is_some_and(|name| !name.open);
    let (mut explanation, mut sealed, mut whole) = (None, false, true);
    while let Some(event) = reader.next_event()? {
        let trouble = match event {
            Event::Records(batch) => {
                if each(Part::Letters(&batch, explanation.as_ref())).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                continue;
            }
            Event::Mark(message) => {
                if let Some(Mark::Refused(mark)) = message.mark {
                    explanation = Some(Explanation::new(message.wall_clock_ns, mark));
                }
                continue;
            }
            Event::Seal(_) => {
                sealed = true;
                continue;
            }
            Event::Damage(damage) => {
                format!("{} lost at byte {}: {}", bytes_text(damage.len), damage.offset, damage.cause)
            }
            Event::Torn(torn) if named_sealed => format!("it was cut short at byte {}", torn.offset),
            Event::Skipped(skipped) => skipped_text(&skipped),
            // What wasn't durable when its writer was cut off was no dead letter yet.
            Event::Torn(_) | Event::Header(_) | Event::Schema(_) => continue,
        };
        whole = false;
        if each(Part::Trouble(trouble)).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    if named_sealed && whole && !sealed {
        return Ok(each(Part::Trouble(format!("it was cut short at byte {}", reader.position()))));
    }
    Ok(ControlFlow::Continue(()))
}

fn skipped_text(skipped: &Skipped) -> String {
    let why = match skipped.reason {
        SkipReason::UnknownKind(kind) => format!("a frame of kind {kind}: read it with a newer version"),
        SkipReason::Unreadable(why) => why.to_string(),
    };
    format!("at byte {}: {why}", skipped.offset)
}

fn bytes_text(bytes: u64) -> String {
    if bytes == 1 { "1 byte".to_owned() } else { format!("{bytes} bytes") }
}

/// Hands over those of a batch whose seqs are in `letters`.
fn visit_batch(
    batch: &Batch<'_>,
    letters: Range<u64>,
    explanation: Option<&Explanation>,
    visit: &mut dyn FnMut(DeadLetter<'_>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let skip = usize::try_from(letters.start - batch.first_seq).unwrap_or(usize::MAX);
    for (letter, bytes) in letters.zip(batch.records().skip(skip)) {
        let info = RecordInfo::parse(bytes).unwrap_or_default();
        let why = explanation.filter(|why| why.letters.contains(&letter));
        visit(DeadLetter {
            letter,
            bytes,
            flow: String::from_utf8_lossy(info.flow),
            time_ns: info.timestamp,
            refusal: why.map(|why| &why.refusal),
            refused_ns: why.map(|why| why.refused_ns),
            seq: why.and_then(|why| why.origin_seq(letter)),
        })?;
    }
    ControlFlow::Continue(())
}
