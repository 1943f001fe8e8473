//! Reading the records of a window once more, because it must be sent once more and isn't in memory any more.

use std::ops::Range;
use std::path::PathBuf;

use thiserror::Error;

use super::cursor::Cursor;
use crate::replay::outgoing::{Ids, Outgoing};
use crate::replay::retry::Faulty;
use crate::replay::slots::{Closed, Place, Slots};
use crate::replay::window::{Finished, StandsAt, Window, WindowBuilder};
use crate::segment::{Event, SegmentError, SegmentReader};
use crate::sift::Fault;

/// Why a window can't be sent once more.
#[derive(Debug, Error)]
pub(in crate::replay) enum AgainError {
    /// The file can't be read now.
    #[error("{0}, of which records must be sent once more")]
    Unreadable(#[from] SegmentError),
    /// It can, and the records aren't where they were.
    #[error(
        "{} has changed while it was replayed, so that records of it that must be sent once more can't be read: leave it \
         alone, and replay it again",
        .0.display()
    )]
    Changed(PathBuf),
}

impl Faulty for AgainError {
    fn fault(&self) -> Fault {
        match self {
            // A drive may come back.
            Self::Unreadable(_) => Fault::Transient { retry_after: None },
            Self::Changed(_) => Fault::Data,
        }
    }
}

/// A window with the messages of these records, as they were made of them before, in this slot.
pub(in crate::replay) fn read_again(
    places: &[StandsAt],
    seqs: &[Range<u64>],
    outgoing: Outgoing,
    slots: Slots,
    slot: Place,
) -> Result<Window, AgainError> {
    let mut windows = WindowBuilder::single(outgoing, slots, slot);
    for (number, place) in places.iter().enumerate() {
        let end = places.get(number + 1).map_or(seqs.len(), |next| next.first_range);
        let seqs = seqs.get(place.first_range..end).unwrap_or_default();
        read_place(&place.file, place.offset, seqs, &mut windows)?;
    }
    Ok(windows.take())
}

/// Adds the records of a file that have these seqs, from the frame at `offset` on.
fn read_place(
    file: &Finished,
    offset: u64,
    seqs: &[Range<u64>],
    windows: &mut WindowBuilder,
) -> Result<(), AgainError> {
    let changed = || AgainError::Changed(file.path.clone());
    let mut reader = SegmentReader::open_plain(&file.path)?;
    // Another drive may hold another segment under the same name.
    if reader.segment_id() != Some(file.segment_id) || !reader.skip_to(offset, None)? {
        return Err(changed());
    }
    let mut ranges = seqs.iter().cloned();
    let mut wanted = ranges.next();
    while let Some(seqs) = &mut wanted {
        let batch = match reader.next_event()? {
            Some(Event::Records(batch)) if batch.first_seq <= seqs.start => batch,
            // Whatever else stands there was told when it was read first.
            Some(event) if !matches!(event, Event::Records(_)) => continue,
            _ => return Err(changed()),
        };
        // Several ranges may stand in one frame, and one in several.
        let mut cursor = Cursor::new(&batch);
        while let Some(seqs) = wanted.as_mut().filter(|seqs| seqs.start < batch.end_seq()) {
            let end = seqs.end.min(batch.end_seq());
            let records = cursor.from(seqs.start).take((end - seqs.start) as usize);
            let added = windows.add(seqs.start, records, Ids::of(&batch), |_| Ok::<(), Closed>(()));
            debug_assert_eq!(added, Ok(()), "it has its slot, and is never full");
            seqs.start = end;
            if seqs.is_empty() {
                wanted = ranges.next();
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
