//! Everything that a replay tells, as JSON: one object a line. The table in the README lists what is emitted here.

use serde_json::{Value, json};

use super::found::{self, path};
use crate::catalog::Catalog;
use crate::cli::text::out;
use crate::replay::{Observer, Origin, ReplayEvent, Report, Totals};

/// Everything, one JSON object a line, on stdout.
pub(in crate::cli) struct JsonLines;

impl Observer for JsonLines {
    fn event(&self, event: &ReplayEvent<'_>) {
        match event {
            ReplayEvent::Found(catalog) => found_json(catalog).iter().for_each(out),
            other => out(event_json(other)),
        }
    }
}

fn found_json(catalog: &Catalog) -> Vec<Value> {
    let segments: usize = catalog.sessions.iter().map(|session| session.segments.len()).sum();
    let found = json!({
        "event": "found", "sessions": catalog.sessions.len(), "segments": segments, "pbfs_files": catalog.pbfs.len(),
    });
    let ignored = catalog.ignored.iter().map(|file| found::ignored(&file.path, file.reason));
    let unreadable = catalog.unreadable.iter().map(|file| found::unreadable(&file.path, &file.reason));
    [found].into_iter().chain(ignored).chain(unreadable).collect()
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
        ReplayEvent::Started { origin, asset, bytes } => json!({
            "event": "started", "origin": origin_json(origin), "asset": asset, "bytes": bytes,
        }),
        ReplayEvent::Registered { session, requests, registration } => json!({
            "event": "registered", "session": session.to_string(), "asset": requests.asset, "run": requests.run_name,
            "ingestion_config_id": registration.ingestion_config_id, "run_id": registration.run_id,
            "config_created": registration.config_created, "run_created": registration.run_created,
        }),
        ReplayEvent::Damage { path, damage } => found::damage(path, damage),
        ReplayEvent::Torn { path, torn } => found::torn(path, torn),
        ReplayEvent::Unreadable { path, error } => found::unreadable(path, &error.to_string()),
        ReplayEvent::Skipped { path, skipped } => found::skipped(path, skipped),
        ReplayEvent::Mark { session, wall_clock_ns, mark } => found::mark(*session, *wall_clock_ns, mark),
        ReplayEvent::Acknowledged { origin, records, bytes, read } => json!({
            "event": "acknowledged", "origin": origin_json(origin), "records": records, "bytes": bytes, "read": read,
        }),
        ReplayEvent::Passed { origin, records, read } => json!({
            "event": "passed", "origin": origin_json(origin), "records": records, "read": read,
        }),
        ReplayEvent::Retrying { origin, error, attempt, pause } => json!({
            "event": "retrying", "origin": origin.as_ref().map(origin_json), "error": error, "attempt": attempt,
            "pause_seconds": pause.as_secs_f64(),
        }),
        ReplayEvent::DeadLettered { origin, records, reason } => json!({
            "event": "dead_lettered", "origin": origin_json(origin), "records": records, "reason": reason,
        }),
        ReplayEvent::Retired { path: file, archived } => {
            json!({"event": "retired", "path": path(file), "archived": archived.map(path)})
        }
        ReplayEvent::Kept { path: file, reason } => json!({"event": "kept", "path": path(file), "reason": reason}),
        ReplayEvent::Waiting => json!({"event": "waiting"}),
        ReplayEvent::Refused { origin, reason } => {
            json!({"event": "refused", "origin": origin_json(origin), "reason": reason})
        }
        ReplayEvent::Missing { session, seqs } => found::missing(*session, seqs),
        ReplayEvent::Summary(report) => summary_json(report),
    }
}

fn totals_json(totals: &Totals) -> serde_json::Map<String, Value> {
    let t = totals;
    let fields = [
        ("records_found", t.records_found),
        ("records_acknowledged", t.records_acknowledged),
        ("records_already_acknowledged", t.records_already_acknowledged),
        ("records_dead_lettered", t.records_dead_lettered),
        ("records_not_selected", t.records_not_selected),
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
pub(in crate::cli) fn summary_json(report: &Report) -> Value {
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
        ("files_not_selected", json!(report.files_not_selected)),
        ("files_unreadable", json!(report.files_unreadable)),
        ("files_archived", json!(report.files_archived)),
        ("files_deleted", json!(report.files_deleted)),
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

#[cfg(test)]
mod tests;
