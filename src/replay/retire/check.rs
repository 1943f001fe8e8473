//! Making sure that a file may go.

use std::io;

use super::{Content, Delivered, Kept, RetireError};
use crate::catalog::{Fingerprint, SeqSet};
use crate::segment::{Event, PbfsEvent, PbfsReader, SegmentError, SegmentName, SegmentReader};

/// Why the file must stay; `None` if it may go.
pub(super) fn reason_to_keep(delivered: &Delivered<'_>) -> Result<Option<Kept>, RetireError> {
    let is_open = SegmentName::of_path(delivered.file).is_some_and(|name| name.open);
    let abandoned = is_open && delivered.abandoned;
    if matches!(delivered.content, Content::Segment(_)) && is_open && !abandoned {
        return Ok(Some(Kept::Open));
    }
    // What would be removed is the link.
    if delivered.file.is_symlink() {
        return Ok(Some(Kept::Link));
    }
    if let Some(kept) = changed(delivered)? {
        return Ok(Some(kept));
    }
    // All of it is read once more, whatever is known of it: what goes is gone.
    let kept = match delivered.content {
        Content::Segment(done) => check_segment(delivered, done, abandoned)?,
        Content::Pbfs(done) => check_pbfs(delivered, done)?,
    };
    // While it was read.
    if kept.is_some() { Ok(kept) } else { changed(delivered) }
}

/// Whether the file is another one than what was delivered.
pub(super) fn changed(delivered: &Delivered<'_>) -> Result<Option<Kept>, RetireError> {
    match Fingerprint::of(delivered.file) {
        Ok(now) => Ok((now != *delivered.expected).then_some(Kept::Changed)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Some(Kept::Gone)),
        Err(error) => Err(SegmentError::io("look at", delivered.file)(error).into()),
    }
}

fn check_segment(delivered: &Delivered<'_>, done: &SeqSet, abandoned: bool) -> Result<Option<Kept>, RetireError> {
    let mut reader = SegmentReader::open_plain(delivered.file)?;
    let mut sealed = false;
    while let Some(event) = reader.next_event()? {
        let kept = match event {
            Event::Records(batch) => {
                let missing = done.missing_in(batch.first_seq..batch.end_seq());
                missing.into_iter().next().map(|seqs| Kept::NotDelivered { seqs })
            }
            Event::Damage(damage) => Some(Kept::Damaged { offset: damage.offset }),
            // What a recorder was cut off in was never a record.
            Event::Torn(_) if abandoned => None,
            Event::Torn(torn) => Some(Kept::Torn { offset: torn.offset }),
            Event::Skipped(skipped) => Some(Kept::Unreadable { offset: skipped.offset }),
            Event::Seal(_) => {
                sealed = true;
                None
            }
            Event::Header(_) | Event::Schema(_) | Event::Mark(_) => None,
        };
        if kept.is_some() {
            return Ok(kept);
        }
    }
    Ok((!sealed && !abandoned).then_some(Kept::NotSealed))
}

fn check_pbfs(delivered: &Delivered<'_>, done: u64) -> Result<Option<Kept>, RetireError> {
    let mut reader = PbfsReader::open(delivered.file)?;
    while let Some(event) = reader.next_event()? {
        match event {
            PbfsEvent::Chunk(_) => {}
            PbfsEvent::Damage(damage) => return Ok(Some(Kept::Damaged { offset: damage.offset })),
            PbfsEvent::Torn(torn) => return Ok(Some(Kept::Torn { offset: torn.offset })),
        }
    }
    Ok((reader.position() > done).then_some(Kept::RestNotDelivered { offset: done }))
}
