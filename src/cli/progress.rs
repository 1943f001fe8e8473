//! What a replay tells, as lines for people or as JSON.

use serde_json::{Value, json};

use super::text::{bytes, count, note, number, out, shown, shown_path};
use crate::catalog::Catalog;
use crate::format::{Damage, Mark, Torn};
use crate::replay::{Observer, Origin, ReplayEvent, Report, Totals};
use crate::segment::{SegmentError, SkipReason, Skipped};

/// Notable things, one line each, on stderr.
pub(super) struct Lines;

impl Observer for Lines {
    fn event(&self, event: &ReplayEvent<'_>) {
        match event {
            ReplayEvent::Found(catalog) => found(catalog),
            ReplayEvent::Registered { session, requests, registration } => {
                let run = requests.run_name.as_ref().map(|run| format!(", run {:?}", shown(run))).unwrap_or_default();
                let how = if registration.config_created { "created" } else { "found" };
                note(format!("session {session}: asset {:?}{run}; ingestion config {how}", shown(&requests.asset)));
            }
            ReplayEvent::Damage { path, damage } => note(format!("damaged: {}", damage_text(path, damage))),
            ReplayEvent::Torn { path, torn } => note(format!("torn: {}", torn_text(path, torn))),
            ReplayEvent::Unreadable { path, error } => note(format!("can't be read: {}", unreadable_text(path, error))),
            ReplayEvent::Skipped { path, skipped } => note(format!("skipped: {}", skipped_text(path, skipped))),
            ReplayEvent::Mark { session, mark, .. } => {
                if let Some(text) = mark_text(mark) {
                    note(format!("session {session}: {text}"));
                }
            }
            ReplayEvent::Refused { origin, reason } => note(format!("{}: {}", origin_text(origin), shown(reason))),
            ReplayEvent::Missing { session, seqs } => note(format!(
                "missing: session {session}: {} (seqs {} to {})",
                count(seqs.end - seqs.start, "record", "records"),
                seqs.start,
                seqs.end - 1
            )),
            _ => {}
        }
    }
}

fn found(catalog: &Catalog) {
    let segments: u64 = catalog.sessions.iter().map(|session| session.segments.len() as u64).sum();
    note(format!(
        "found {} in {}, {} of the official library",
        count(catalog.sessions.len() as u64, "session", "sessions"),
        count(segments, "segment", "segments"),
        count(catalog.pbfs.len() as u64, "backup", "backups")
    ));
    for file in &catalog.ignored {
        note(format!("ignored: {} ({})", shown_path(&file.path), file.reason.as_str()));
    }
    for file in &catalog.unreadable {
        note(format!("can't be read: {}: {}", shown_path(&file.path), shown(&file.reason)));
    }
}

fn damage_text(path: &std::path::Path, damage: &Damage) -> String {
    let seqs = damage.seqs.as_ref().map(|seqs| format!(", seqs {} to {}", seqs.start, seqs.end.saturating_sub(1)));
    let (path, offset, len) = (shown_path(path), damage.offset, bytes(damage.len));
    format!("{path} at byte {offset}: {len} lost{} ({})", seqs.unwrap_or_default(), damage.cause)
}

fn torn_text(path: &std::path::Path, torn: &Torn) -> String {
    let (path, offset, len) = (shown_path(path), torn.offset, bytes(torn.len));
    format!("{path} ends in what was being written from byte {offset} on ({len}): recording was cut off here")
}

fn unreadable_text(path: &std::path::Path, error: &SegmentError) -> String {
    match error {
        SegmentError::Io { source, .. } => format!("{}: {}", shown_path(path), shown(source.to_string())),
        error => format!("{}: {}", shown_path(path), shown(error.to_string())),
    }
}

fn skipped_text(path: &std::path::Path, skipped: &Skipped) -> String {
    let why = match skipped.reason {
        SkipReason::UnknownKind(kind) => format!("a frame of kind {kind}, which this version doesn't know"),
        SkipReason::Unreadable(why) => why.to_string(),
    };
    format!("{} at byte {}: {why}", shown_path(path), skipped.offset)
}

fn mark_text(mark: &Mark) -> Option<String> {
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

fn origin_text(origin: &Origin<'_>) -> String {
    match origin {
        Origin::Session(session) => format!("session {session}"),
        Origin::Pbfs(path) => shown_path(path),
    }
}

/// The closing table.
pub(super) fn print_report(report: &Report) {
    if report.stopped.is_some() && report.lines.is_empty() {
        // Nothing was looked into: zeros would say that nothing is there.
        out(format!(
            "found {} and {}",
            count(report.sessions, "session", "sessions"),
            count(report.pbfs_files, "backup", "backups of the official library")
        ));
        out(verdict(report));
        return;
    }
    let t = &report.totals;
    for line in &report.lines {
        let name = line.asset.as_ref().map(|asset| format!(" ({})", shown(asset))).unwrap_or_default();
        let of = format!("{} of {}", number(line.totals.records_acknowledged), number(line.totals.records_found));
        out(format!("{}{name}: {of} records acknowledged", shown(&line.origin)));
        if let Some(refusal) = &line.refusal {
            out(format!("  not delivered: {}", shown(refusal)));
        }
    }
    let rows = [
        ("found", count(t.records_found, "record", "records"), true),
        ("acknowledged", count(t.records_acknowledged, "record", "records"), true),
        ("already acknowledged", count(t.records_already_acknowledged, "record", "records"), true),
        ("dead-lettered", count(t.records_dead_lettered, "record", "records"), true),
        ("not delivered", count(t.records_refused, "record", "records"), t.records_refused > 0),
        ("damaged", format!("{} ({})", count(t.damaged_places, "place", "places"), bytes(t.damaged_bytes)), true),
        ("missing", count(t.records_missing, "record", "records"), true),
        ("unreadable", format!("{} of a later version", number(t.records_unreadable)), t.records_unreadable > 0),
        ("dropped on board", count(t.records_dropped_on_board, "record", "records"), t.records_dropped_on_board > 0),
        ("torn ends", format!("{} ({})", count(t.torn_files, "file", "files"), bytes(t.torn_bytes)), t.torn_files > 0),
        ("files unreadable", number(report.files_unreadable), report.files_unreadable > 0),
        ("files ignored", number(report.files_ignored), true),
        ("sent", format!("{} in {:.1} s", bytes(t.bytes_sent), report.elapsed.as_secs_f64()), true),
    ];
    out("");
    for (name, value, _) in rows.iter().filter(|(_, _, shown)| *shown) {
        out(format!("{name:<21} {value}"));
    }
    out(verdict(report));
}

fn verdict(report: &Report) -> String {
    if report.interrupted {
        return "INTERRUPTED: nothing is lost; run the same command again.".to_owned();
    }
    if let Some(stopped) = &report.stopped {
        return format!("STOPPED: {}. Nothing is lost: run the same command again.", shown(stopped));
    }
    if report.is_complete() && report.lines.is_empty() {
        "NOTHING TO REPLAY: no recording is there. Check the path; `sift-replay ls` shows what it holds.".to_owned()
    } else if report.is_complete() {
        "COMPLETE: all that was found was delivered.".to_owned()
    } else {
        "INCOMPLETE: see above.".to_owned()
    }
}

/// Everything, one JSON object a line, on stdout.
pub(super) struct JsonLines;

impl Observer for JsonLines {
    fn event(&self, event: &ReplayEvent<'_>) {
        match event {
            ReplayEvent::Found(catalog) => found_json(catalog),
            other => out(event_json(other)),
        }
    }
}

fn found_json(catalog: &Catalog) {
    for file in &catalog.ignored {
        out(json!({"event": "ignored", "path": path(&file.path), "reason": file.reason.as_str()}));
    }
    for file in &catalog.unreadable {
        out(json!({"event": "unreadable", "path": path(&file.path), "reason": file.reason}));
    }
}

fn path(path: &std::path::Path) -> String {
    path.to_string_lossy().into_owned()
}

fn seqs(seqs: Option<&std::ops::Range<u64>>) -> Value {
    seqs.map_or(Value::Null, |seqs| json!({"first": seqs.start, "end": seqs.end}))
}

fn origin_json(origin: &Origin<'_>) -> Value {
    match origin {
        Origin::Session(session) => json!({"session": session.to_string()}),
        Origin::Pbfs(file) => json!({"path": path(file)}),
    }
}

fn event_json(event: &ReplayEvent<'_>) -> Value {
    match event {
        ReplayEvent::Found(_) => Value::Null,
        ReplayEvent::Registered { session, requests, registration } => json!({
            "event": "registered", "session": session.to_string(), "asset": requests.asset, "run": requests.run_name,
            "ingestion_config_id": registration.ingestion_config_id, "run_id": registration.run_id,
            "config_created": registration.config_created, "run_created": registration.run_created,
        }),
        ReplayEvent::Damage { path: file, damage } => json!({
            "event": "damage", "path": path(file), "offset": damage.offset, "bytes": damage.len,
            "cause": damage.cause.as_str(), "seqs": seqs(damage.seqs.as_ref()),
        }),
        ReplayEvent::Torn { path: file, torn } => json!({
            "event": "torn", "path": path(file), "offset": torn.offset, "bytes": torn.len,
            "seqs": seqs(torn.seqs.as_ref()),
        }),
        ReplayEvent::Unreadable { path: file, error } => {
            json!({"event": "unreadable", "path": path(file), "reason": error.to_string()})
        }
        ReplayEvent::Skipped { path: file, skipped } => json!({
            "event": "skipped", "path": path(file), "offset": skipped.offset, "bytes": skipped.len,
            "reason": skipped_text(file, skipped), "seqs": seqs(skipped.seqs.as_ref()),
        }),
        ReplayEvent::Mark { session, wall_clock_ns, mark } => json!({
            "event": "mark", "session": session.to_string(), "wall_clock_ns": wall_clock_ns, "mark": mark_json(mark),
        }),
        ReplayEvent::Acknowledged { origin, records, bytes, .. } => json!({
            "event": "acknowledged", "origin": origin_json(origin), "records": records, "bytes": bytes,
        }),
        ReplayEvent::Refused { origin, reason } => {
            json!({"event": "refused", "origin": origin_json(origin), "reason": reason})
        }
        ReplayEvent::Missing { session, seqs: missing } => {
            json!({"event": "missing", "session": session.to_string(), "seqs": seqs(Some(missing))})
        }
        ReplayEvent::Summary(report) => summary_json(report),
        _ => Value::Null,
    }
}

fn mark_json(mark: &Mark) -> Value {
    match mark {
        Mark::Dropped(dropped) => json!({
            "kind": "dropped", "records": dropped.records, "reason": dropped.reason, "first_seq": dropped.first_seq,
        }),
        Mark::ClockStep(step) => json!({"kind": "clock-step", "step_ns": step.step_ns}),
        Mark::Note(text) => json!({"kind": "note", "text": text}),
        Mark::Confirmed(confirmed) => json!({
            "kind": "confirmed", "destination": confirmed.destination,
            "seqs": {"first": confirmed.first_seq, "end": confirmed.end_seq},
        }),
        Mark::Abandoned(abandoned) => json!({
            "kind": "abandoned", "segment_index": abandoned.segment_index, "error": abandoned.error,
        }),
        Mark::Refused(refused) => json!({
            "kind": "refused", "destination": refused.destination, "reason": refused.reason,
            "records": refused.count,
        }),
    }
}

fn totals_json(totals: &Totals) -> serde_json::Map<String, Value> {
    let t = totals;
    let fields = [
        ("records_found", t.records_found),
        ("records_acknowledged", t.records_acknowledged),
        ("records_already_acknowledged", t.records_already_acknowledged),
        ("records_dead_lettered", t.records_dead_lettered),
        ("records_refused", t.records_refused),
        ("records_missing", t.records_missing),
        ("records_unreadable", t.records_unreadable),
        ("records_dropped_on_board", t.records_dropped_on_board),
        ("damaged_places", t.damaged_places),
        ("damaged_bytes", t.damaged_bytes),
        ("torn_files", t.torn_files),
        ("torn_bytes", t.torn_bytes),
        ("bytes_sent", t.bytes_sent),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect()
}

/// The last line of a replay.
pub(super) fn summary_json(report: &Report) -> Value {
    let lines = report.lines.iter().map(|line| {
        let mut object = totals_json(&line.totals);
        object.insert("origin".to_owned(), line.origin.clone().into());
        object.insert("asset".to_owned(), line.asset.clone().into());
        object.insert("run".to_owned(), line.run.clone().into());
        object.insert("refusal".to_owned(), line.refusal.clone().into());
        Value::Object(object)
    });
    let mut summary = totals_json(&report.totals);
    for (name, value) in [
        ("event", json!("summary")),
        ("sessions", json!(report.sessions)),
        ("segments", json!(report.segments)),
        ("pbfs_files", json!(report.pbfs_files)),
        ("files_ignored", json!(report.files_ignored)),
        ("files_unreadable", json!(report.files_unreadable)),
        ("seconds", json!(report.elapsed.as_secs_f64())),
        ("complete", json!(report.is_complete())),
        ("stopped", json!(report.stopped)),
        ("interrupted", json!(report.interrupted)),
        ("origins", lines.collect()),
    ] {
        summary.insert(name.to_owned(), value);
    }
    Value::Object(summary)
}
