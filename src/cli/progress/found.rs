//! What was found in files, as JSON.

use std::ops::Range;
use std::path::Path;

use serde_json::{Value, json};
use uuid::Uuid;

use super::words::skipped_text;
use crate::catalog::ForeignReason;
use crate::format::{Damage, Mark, Torn};
use crate::segment::Skipped;

pub(in crate::cli) fn ignored(file: &Path, reason: ForeignReason) -> Value {
    json!({"event": "ignored", "path": path(file), "reason": reason.as_str()})
}

pub(in crate::cli) fn unreadable(file: &Path, reason: &str) -> Value {
    json!({"event": "unreadable", "path": path(file), "reason": reason})
}

pub(in crate::cli) fn damage(file: &Path, damage: &Damage) -> Value {
    json!({
        "event": "damage", "path": path(file), "offset": damage.offset, "bytes": damage.len,
        "cause": damage.cause.as_str(), "seqs": damage.seqs.as_ref().map(seqs),
    })
}

pub(in crate::cli) fn torn(file: &Path, torn: &Torn) -> Value {
    json!({
        "event": "torn", "path": path(file), "offset": torn.offset, "bytes": torn.len,
        "seqs": torn.seqs.as_ref().map(seqs),
    })
}

pub(in crate::cli) fn skipped(file: &Path, skipped: &Skipped) -> Value {
    json!({
        "event": "skipped", "path": path(file), "offset": skipped.offset, "bytes": skipped.len,
        "reason": skipped_text(file, skipped), "seqs": skipped.seqs.as_ref().map(seqs),
    })
}

pub(in crate::cli) fn mark(session: Uuid, wall_clock_ns: i64, mark: &Mark) -> Value {
    json!({
        "event": "mark", "session": session.to_string(), "wall_clock_ns": wall_clock_ns, "mark": mark_json(mark),
    })
}

pub(in crate::cli) fn missing(session: Uuid, missing: &Range<u64>) -> Value {
    json!({"event": "missing", "session": session.to_string(), "seqs": seqs(missing)})
}

pub(in crate::cli) fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

pub(in crate::cli) fn seqs(seqs: &Range<u64>) -> Value {
    json!({"first": seqs.start, "end": seqs.end})
}

fn mark_json(mark: &Mark) -> Value {
    match mark {
        Mark::Dropped(dropped) => json!({
            "kind": "dropped", "records": dropped.records, "reason": dropped.reason, "first_seq": dropped.first_seq,
        }),
        Mark::ClockStep(step) => json!({"kind": "clock-step", "step_ns": step.step_ns}),
        Mark::Note(text) => json!({"kind": "note", "text": text}),
        Mark::Refused(refused) => json!({
            "kind": "refused", "destination": refused.destination, "reason": refused.reason,
            "records": refused.count,
        }),
        Mark::Confirmed(confirmed) => json!({
            "kind": "confirmed", "destination": confirmed.destination,
            "seqs": {"first": confirmed.first_seq, "end": confirmed.end_seq},
        }),
        Mark::Abandoned(abandoned) => json!({
            "kind": "abandoned", "segment_index": abandoned.segment_index, "error": abandoned.error,
        }),
    }
}
