//! Mending a segment: one reading to see what it is and what it lacks, a second one that copies what is sound.

use std::ffi::OsString;
use std::path::Path;

use super::output::{Output, is_sealed_with};
use super::place::{Place, Placed, with_suffix, without_suffix};
use super::survey::Survey;
use super::{Condition, HeaderFrom, MENDED_SUFFIX, Repair, RepairError, RepairTo, Repaired};
use crate::segment::error::SegmentError;
use crate::segment::identity::Identity;
use crate::segment::name::{SEALED_SUFFIX, SegmentName};
use crate::segment::reader::SegmentReader;
use crate::segment::storage::{FileLock, LockKind};

/// Makes a sound file of the segment at `path`: sealed, undamaged, with every sound record of it.
///
/// A segment that has lost its HEADER and every copy of it gets none, and its SEAL has no copy either: an invented one would
/// say of its records what nobody knows ([F-19]). It can be replayed together with another segment of its session.
///
/// # Errors
/// [`RepairError`]; then the file is as it was. Damage isn't an error.
pub fn repair_segment(path: &Path, repair: &mut Repair<'_>) -> Result<Repaired, RepairError> {
    let name = SegmentName::of_path(path);
    let _held = hold(path, name, repair)?;
    let survey = Survey::of(open(path, repair)?, name, repair)?;
    let sound = survey.is_sound() && !name.is_some_and(|name| name.open);
    let place = Place::new(repair.storage, path, repair.to, names(path, name, survey.identity()));
    if sound {
        return Ok(repaired(&survey, Condition::Sound, Some(place.keep()?)));
    }
    if survey.is_nothing() {
        return Ok(repaired(&survey, Condition::Nothing, None));
    }
    let placed = place.make(
        |draft| {
            let mut output = Output::begin(draft, survey.segment_id())?;
            let summary = survey.copy(path, open(path, repair)?, &mut output)?;
            output.seal(survey.seal(summary))
        },
        |copy, digest| is_sealed_with(open(copy, repair)?, digest),
    )?;
    let losses = survey.losses();
    let lost = losses.places > 0 || losses.cut || survey.header_from() == HeaderFrom::Nobody;
    let condition = if lost { Condition::Damaged } else { Condition::Unsealed };
    Ok(repaired(&survey, condition, Some(placed)))
}

fn open(path: &Path, repair: &Repair<'_>) -> Result<SegmentReader, RepairError> {
    let file = repair.storage.open(path).map_err(SegmentError::io("read", path))?;
    Ok(SegmentReader::from_reader(path, file)?)
}

/// A recorder holds a lock on the segment that it writes.
fn hold(path: &Path, name: Option<SegmentName>, repair: &Repair<'_>) -> Result<Option<FileLock>, RepairError> {
    if !name.is_some_and(|name| name.open) {
        return Ok(None);
    }
    // On Windows a recorder holds none, for nobody could read what is locked.
    let lock = if cfg!(unix) {
        repair.storage.lock(path, LockKind::Exclusive)
    } else {
        Err(std::io::ErrorKind::Unsupported.into())
    };
    match lock {
        Ok(Some(lock)) => Ok(Some(lock)),
        Ok(None) => Err(RepairError::Busy { path: path.to_owned() }),
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => {
            Err(RepairError::Read(SegmentError::io("read", path)(source)))
        }
        // A copy of a file that is being written does no harm.
        Err(_) if repair.to != RepairTo::InPlace => Ok(None),
        Err(source) => Err(RepairError::Unlockable { path: path.to_owned(), source }),
    }
}

/// The names that a repaired segment may have, the best first. A file that has a segment's name gets its own one ([F-37]);
/// any other keeps what somebody has called it.
fn names(path: &Path, name: Option<SegmentName>, identity: &Identity) -> Vec<OsString> {
    let own = path.file_name().unwrap_or_default().to_owned();
    if let Some(waited_for) = without_suffix(path, MENDED_SUFFIX) {
        return vec![waited_for, own];
    }
    let Some(name) = name else { return vec![own] };
    // A HEADER may hold no session; then it is still no open segment any more.
    let (session, index) = identity.session.zip(identity.index).unwrap_or((name.session, name.index));
    let should = OsString::from(SegmentName { session, index, open: false }.to_string());
    // What was copied while it was open, and again when it was sealed, stands there twice.
    let other = if name.open { with_suffix(own, SEALED_SUFFIX) } else { own };
    if other == should { vec![should] } else { vec![should, other] }
}

fn repaired(survey: &Survey, condition: Condition, placed: Option<Placed>) -> Repaired {
    let (path, already_there, original) = match placed {
        Some(Placed { path, already_there, original }) => (Some(path), already_there, original),
        None => (None, false, None),
    };
    Repaired {
        condition,
        path,
        already_there,
        original,
        records: survey.records(),
        losses: survey.losses(),
        unreadable: survey.unreadable(),
        header: survey.header_from(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_repaired_has_no_open_name_whatever_its_header_says() {
        let path = Path::new("01935f6e-1b2c-7000-8123-456789abcdef-000003.sfr.open");
        let sealed = OsString::from("01935f6e-1b2c-7000-8123-456789abcdef-000003.sfr");
        let unknown = Identity { index: Some(0), segment_id: Some(5), ..Identity::default() };
        assert_eq!(names(path, SegmentName::of_path(path), &unknown).first(), Some(&sealed));
        assert_eq!(names(Path::new("copy"), None, &unknown), [OsString::from("copy")]);
    }
}
