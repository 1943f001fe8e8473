//! What became of each file, for people and as JSON.

use std::path::Path;

use serde_json::json;

use super::super::args::OutputArgs;
use super::super::exit::Exit;
use super::super::progress::{found, words};
use super::super::text::{Table, bytes, count, note, number, out, shown, shown_path};
use crate::catalog::ForeignReason;
use crate::segment::{Condition, HeaderFrom, Loss, Repaired};

#[derive(Default)]
struct Totals {
    files: u64,
    sound: u64,
    mended: u64,
    failed: u64,
    ignored: u64,
    records: u64,
    damaged_places: u64,
    damaged_bytes: u64,
    torn_bytes: u64,
    schemas_lost: u64,
    /// Files whose end is missing.
    cut: u64,
}

/// Tells what happens to files.
pub(super) struct Teller {
    json: bool,
    quiet: bool,
    table: Table,
    totals: Totals,
}

impl Teller {
    pub(super) fn new(output: &OutputArgs) -> Self {
        let table = Table::new(&["file", "was", ">records", "left out", "now"]);
        Self { json: output.json, quiet: output.quiet, table, totals: Totals::default() }
    }

    pub(super) fn ignored(&mut self, path: &Path, reason: ForeignReason) {
        self.totals.ignored += 1;
        if self.json {
            out(found::ignored(path, reason));
        } else if !self.quiet {
            note(format!("ignored: {} ({})", shown_path(path), reason.as_str()));
        }
    }

    pub(super) fn failed(&mut self, path: &Path, reason: &str) {
        self.totals.files += 1;
        self.totals.failed += 1;
        if self.json {
            out(json!({"event": "failed", "path": found::path(path), "reason": reason}));
        } else {
            note(format!("not repaired: {}: {}", shown_path(path), shown(reason)));
        }
    }

    /// Something of a file isn't in its copy.
    pub(super) fn lost(&self, path: &Path, loss: &Loss) {
        if self.json {
            out(match loss {
                Loss::Damage(damage) => found::damage(path, damage),
                Loss::Torn(torn) => found::torn(path, torn),
            });
        } else if !self.quiet {
            note(match loss {
                Loss::Damage(damage) => format!("damaged: {}", words::damage_text(path, damage)),
                Loss::Torn(torn) => format!("torn: {}", words::torn_text(path, torn)),
            });
        }
    }

    pub(super) fn repaired(&mut self, path: &Path, repaired: &Repaired) {
        let (losses, totals) = (&repaired.losses, &mut self.totals);
        totals.files += 1;
        match repaired.condition {
            Condition::Sound => totals.sound += 1,
            Condition::Unsealed | Condition::Damaged => totals.mended += 1,
            Condition::Nothing => {}
        }
        totals.cut += u64::from(losses.cut);
        totals.schemas_lost += u64::from(lost_schema(repaired));
        for (total, more) in [
            (&mut totals.records, repaired.records),
            (&mut totals.damaged_places, losses.places),
            (&mut totals.damaged_bytes, losses.bytes),
            (&mut totals.torn_bytes, losses.torn_bytes),
        ] {
            *total = total.saturating_add(more);
        }
        if self.json {
            out(repaired_json(path, repaired));
            return;
        }
        let mut now = repaired.path.as_deref().map(shown_path).unwrap_or_default();
        if repaired.already_there && repaired.original.is_none() && repaired.path.as_deref() != Some(path) {
            now.push_str(" (was there already)");
        }
        let row = [shown_path(path), was(repaired).to_owned(), number(repaired.records), left_out(repaired), now];
        self.table.row(row);
        if let Some(text) = to_do(path, repaired) {
            note(text);
        }
    }

    /// Says what it comes to.
    pub(super) fn end(&self) -> Exit {
        let t = &self.totals;
        let exit =
            if t.failed + t.damaged_places + t.cut + t.schemas_lost > 0 { Exit::Incomplete } else { Exit::Complete };
        if self.json {
            out(json!({
                "event": "summary", "files": t.files, "files_sound": t.sound, "files_mended": t.mended,
                "files_failed": t.failed, "files_ignored": t.ignored, "records": t.records,
                "damaged_places": t.damaged_places, "damaged_bytes": t.damaged_bytes, "torn_bytes": t.torn_bytes,
                "files_cut": t.cut, "schemas_lost": t.schemas_lost,
            }));
            return exit;
        }
        self.table.print();
        let (files, records) = (count(t.files, "file", "files"), count(t.records, "record", "records"));
        let (sound, mended, failed) = (number(t.sound), number(t.mended), number(t.failed));
        out(format!(
            "{files}: {sound} sound, {mended} mended, {failed} not repaired; {records} are in sound files now"
        ));
        if t.damaged_places > 0 {
            let places = count(t.damaged_places, "damaged place", "damaged places");
            out(format!("left out: {places} with {}; the originals still have them", bytes(t.damaged_bytes)));
        }
        exit
    }
}

fn lost_schema(repaired: &Repaired) -> bool {
    repaired.header == HeaderFrom::Nobody && repaired.condition != Condition::Nothing
}

fn was(repaired: &Repaired) -> &'static str {
    match repaired.condition {
        Condition::Sound => "sound",
        Condition::Unsealed => "not finished",
        Condition::Damaged if repaired.losses.places == 0 && repaired.losses.cut => "cut short",
        Condition::Damaged => "damaged",
        Condition::Nothing => "without anything sound",
    }
}

fn left_out(repaired: &Repaired) -> String {
    let losses = &repaired.losses;
    let mut parts = Vec::new();
    if losses.places > 0 {
        let places = count(losses.places, "damaged place", "damaged places");
        parts.push(format!("{places} ({})", bytes(losses.bytes)));
    }
    if losses.torn_bytes > 0 {
        parts.push(format!("torn end ({})", bytes(losses.torn_bytes)));
    }
    parts.join(", ")
}

/// What is left to do about a file.
fn to_do(path: &Path, repaired: &Repaired) -> Option<String> {
    let path = shown_path(path);
    if lost_schema(repaired) {
        return Some(format!(
            "{path}: its schema is lost. Its records are kept; repair or replay it together with another segment of its \
             session"
        ));
    }
    if repaired.losses.cut {
        return Some(format!("{path}: its end is missing, though it was finished once: copy it from its source again"));
    }
    (repaired.unreadable > 0).then(|| {
        let frames = count(repaired.unreadable, "frame", "frames");
        format!("{path}: {frames} of a later version kept as written: a later sift-replay can read that")
    })
}

fn repaired_json(path: &Path, repaired: &Repaired) -> serde_json::Value {
    let losses = &repaired.losses;
    let condition = match repaired.condition {
        Condition::Sound => "sound",
        Condition::Unsealed => "unsealed",
        Condition::Damaged => "damaged",
        Condition::Nothing => "nothing",
    };
    let header = match repaired.header {
        HeaderFrom::Own => "own",
        HeaderFrom::Seal => "seal",
        HeaderFrom::Sibling => "sibling",
        HeaderFrom::Nobody => "lost",
    };
    json!({
        "event": "repaired", "path": found::path(path), "condition": condition,
        "to": repaired.path.as_deref().map(found::path), "already_there": repaired.already_there,
        "original": repaired.original.as_deref().map(found::path), "records": repaired.records,
        "damaged_places": losses.places, "damaged_bytes": losses.bytes, "torn_bytes": losses.torn_bytes,
        "cut": losses.cut, "frames_unreadable": repaired.unreadable, "header": header,
    })
}
