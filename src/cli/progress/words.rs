//! What was found in files, in words.

use std::ops::Range;
use std::path::Path;

use uuid::Uuid;

use crate::cli::text::{bytes, count, shown, shown_path};
use crate::format::{Damage, Mark, Torn};
use crate::replay::Origin;
use crate::segment::{SegmentError, SkipReason, Skipped};

pub(in crate::cli) fn damage_text(path: &Path, damage: &Damage) -> String {
    let seqs = damage.seqs.as_ref().map(|seqs| format!(", seqs {} to {}", seqs.start, seqs.end.saturating_sub(1)));
    let (path, offset, len) = (shown_path(path), damage.offset, bytes(damage.len));
    format!("{path} at byte {offset}: {len} lost{} ({})", seqs.unwrap_or_default(), damage.cause)
}

pub(in crate::cli) fn torn_text(path: &Path, torn: &Torn) -> String {
    let (path, offset, len) = (shown_path(path), torn.offset, bytes(torn.len));
    format!("{path} ends in what was being written from byte {offset} on ({len}): recording was cut off here")
}

pub(in crate::cli) fn unreadable_text(path: &Path, error: &SegmentError) -> String {
    match error {
        SegmentError::Io { source, .. } => format!("{}: {}", shown_path(path), shown(source.to_string())),
        error => format!("{}: {}", shown_path(path), shown(error.to_string())),
    }
}

pub(in crate::cli) fn skipped_text(path: &Path, skipped: &Skipped) -> String {
    let why = match skipped.reason {
        SkipReason::UnknownKind(kind) => format!("a frame of kind {kind}, which this version doesn't know"),
        SkipReason::Unreadable(why) => why.to_string(),
    };
    format!("{} at byte {}: {why}", shown_path(path), skipped.offset)
}

pub(in crate::cli) fn missing_text(session: Uuid, seqs: &Range<u64>) -> String {
    let records = count(seqs.end.saturating_sub(seqs.start), "record", "records");
    format!("session {session}: {records} (seqs {} to {})", seqs.start, seqs.end.saturating_sub(1))
}

pub(in crate::cli) fn mark_text(mark: &Mark) -> Option<String> {
    match mark {
        Mark::Dropped(dropped) => {
            let records = count(dropped.records, "record was", "records were");
            Some(format!("{records} dropped on board: {}", shown(&dropped.reason)))
        }
        Mark::ClockStep(step) => Some(format!("the clock was set by {:.3} s", step.step_ns as f64 / 1e9)),
        Mark::Abandoned(abandoned) => Some(format!(
            "segment {} was given up on board ({}); what it lacked was written again",
            abandoned.segment_index,
            shown(&abandoned.error)
        )),
        Mark::Note(text) => Some(format!("note: {}", shown(text))),
        Mark::Refused(refused) => {
            let records = count(refused.count, "dead letter", "dead letters");
            Some(format!("{records}, refused by {}: {}", shown(&refused.destination), shown(&refused.reason)))
        }
        Mark::Confirmed(_) => None,
    }
}

pub(super) fn origin_text(origin: &Origin<'_>) -> String {
    match origin {
        Origin::Session(session) => format!("session {session}"),
        Origin::Pbfs(path) => shown_path(path),
    }
}
