//! The closing table and the verdict.

use std::path::PathBuf;

use crate::cli::text::{bytes, count, number, out, shown};
use crate::replay::{Report, Totals};

/// Prints the closing table. `paths` are those that were given.
pub(in crate::cli) fn print_report(report: &Report, paths: &[PathBuf]) {
    texts(report, paths).iter().for_each(out);
}

fn texts(report: &Report, paths: &[PathBuf]) -> Vec<String> {
    let mut texts = Vec::new();
    if report.stopped.is_some() && report.lines.is_empty() {
        // Nothing was looked into: zeros would say that nothing is there.
        texts.push(format!(
            "found {} and {}",
            count(report.sessions, "session", "sessions"),
            count(report.pbfs_files, "backup", "backups of the official library")
        ));
        texts.push(verdict(report));
        return texts;
    }
    for line in &report.lines {
        let name = line.asset.as_ref().map(|asset| format!(" ({})", shown(asset))).unwrap_or_default();
        let t = &line.totals;
        let delivered = t.records_acknowledged.saturating_add(t.records_already_acknowledged);
        let what = if report.dry_run { "acknowledged before" } else { "acknowledged" };
        let of = format!("{} of {}", number(delivered), count(t.records_found, "record", "records"));
        texts.push(format!("{}{name}: {of} {what}", shown(&line.origin)));
        if let Some(refusal) = &line.refusal {
            texts.push(format!("  not delivered: {}", shown(refusal)));
        }
    }
    texts.push(String::new());
    for (name, value, _) in rows(report, paths).into_iter().filter(|(_, _, is_shown)| *is_shown) {
        texts.push(format!("{name:<21} {value}"));
    }
    texts.push(verdict(report));
    texts
}

fn rows(report: &Report, paths: &[PathBuf]) -> Vec<(&'static str, String, bool)> {
    let t = &report.totals;
    let records = |value| count(value, "record", "records");
    let files = |value| count(value, "file", "files");
    let sending = !report.dry_run;
    vec![
        ("found", records(t.records_found), true),
        ("would be sent", records(to_send(t)), report.dry_run),
        ("acknowledged", records(t.records_acknowledged), sending),
        ("already acknowledged", format!("{}, not sent again", records(t.records_already_acknowledged)), true),
        ("dead-lettered", dead_letters(t, paths), true),
        ("not selected", records(t.records_not_selected), t.records_not_selected > 0),
        ("files not selected", number(report.files_not_selected), report.files_not_selected > 0),
        (if sending { "not delivered" } else { "can't be sent" }, records(t.records_refused), t.records_refused > 0),
        ("damaged", format!("{} ({})", count(t.damaged_places, "place", "places"), bytes(t.damaged_bytes)), true),
        ("missing", records(t.records_missing), true),
        ("unreadable", format!("{} of a later version", records(t.records_unreadable)), t.records_unreadable > 0),
        ("dropped on board", records(t.records_dropped_on_board), t.records_dropped_on_board > 0),
        ("torn ends", format!("{} ({})", files(t.torn_files), bytes(t.torn_bytes)), t.torn_files > 0),
        ("files unreadable", number(report.files_unreadable), report.files_unreadable > 0),
        ("files ignored", number(report.files_ignored), true),
        ("files archived", number(report.files_archived), report.files_archived > 0),
        ("files deleted", number(report.files_deleted), report.files_deleted > 0),
        ("sent", format!("{} in {:.1} s", bytes(t.bytes_sent), report.elapsed.as_secs_f64()), sending),
    ]
}

fn to_send(t: &Totals) -> u64 {
    t.records_found
        .saturating_sub(t.records_already_acknowledged)
        .saturating_sub(t.records_dead_lettered)
        .saturating_sub(t.records_not_selected)
        .saturating_sub(t.records_refused)
}

fn dead_letters(t: &Totals, paths: &[PathBuf]) -> String {
    let records = count(t.records_dead_lettered, "record", "records");
    match t.records_dead_lettered {
        0 => records,
        _ => format!("{records}: `sift-replay dead-letters{}` shows them and why", arguments(paths)),
    }
}

/// The paths as they can be given to a shell.
fn arguments(paths: &[PathBuf]) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+,:@%=\\".contains(c);
    let mut arguments = String::new();
    for path in paths {
        let path = shown(path.to_string_lossy());
        arguments.push(' ');
        match !path.is_empty() && path.chars().all(plain) {
            true => arguments.push_str(&path),
            false => arguments.push_str(&format!("'{}'", path.replace('\'', r"'\''"))),
        }
    }
    arguments
}

fn verdict(report: &Report) -> String {
    if report.interrupted {
        return "INTERRUPTED: what is acknowledged is remembered, and nothing is lost. Run the same command again for \
                the rest."
            .to_owned();
    }
    if let Some(stopped) = &report.stopped {
        let stopped = shown(stopped);
        let stopped = stopped.trim_end_matches('.');
        return format!(
            "STOPPED: {stopped}. Nothing is lost: run the same command again when that is mended, and it goes on \
             where it was."
        );
    }
    if report.dry_run {
        return dry_verdict(report);
    }
    if !report.is_complete() {
        return format!("INCOMPLETE: {}. All the rest is delivered.", shortcomings(report));
    }
    let t = &report.totals;
    let all = if selects(report) { "all that was selected" } else { "all that was found" };
    match (asked(t), t.records_acknowledged) {
        (0, _) if selects(report) => NOTHING_SELECTED.to_owned(),
        (0, _) if report.sessions == 0 && report.pbfs_files == 0 => {
            "NOTHING TO REPLAY: no recording is there. Check the path; `sift-replay ls` shows what it holds.".to_owned()
        }
        (0, _) => "NOTHING TO REPLAY: the recordings that are there hold no records.".to_owned(),
        (_, 0) => format!("COMPLETE: {all} had been delivered before."),
        _ => format!("COMPLETE: {all} is delivered."),
    }
}

const NOTHING_SELECTED: &str = "NOTHING SELECTED: recordings are there, and none of their records is what was asked for. \
                                `sift-replay ls` shows sessions, assets and times.";

/// Whether something wasn't asked for.
fn selects(report: &Report) -> bool {
    report.totals.records_not_selected > 0 || report.files_not_selected > 0
}

/// Records that were asked for.
fn asked(t: &Totals) -> u64 {
    t.records_found.saturating_sub(t.records_not_selected)
}

fn dry_verdict(report: &Report) -> String {
    let wanting = shortcomings(report);
    match wanting.is_empty() {
        false => format!("DRY RUN: nothing was sent. But {wanting}."),
        true if asked(&report.totals) == 0 && selects(report) => {
            format!("DRY RUN: nothing was sent. {NOTHING_SELECTED}")
        }
        true => "DRY RUN: nothing was sent.".to_owned(),
    }
}

/// What is wanting, in words.
fn shortcomings(report: &Report) -> String {
    let t = &report.totals;
    let refused = match report.dry_run {
        false => (t.records_refused, "record was not delivered", "records were not delivered"),
        true => (t.records_refused, "record can't be sent", "records can't be sent"),
    };
    let wanting = [
        refused,
        (
            t.records_dead_lettered,
            "record was refused and kept as a dead letter",
            "records were refused and kept as dead letters",
        ),
        (t.records_missing, "record is missing", "records are missing"),
        (t.damaged_places, "place is damaged", "places are damaged"),
        (
            t.records_unreadable,
            "record needs a later version of this program",
            "records need a later version of this program",
        ),
        (report.files_unreadable, "file can't be read", "files can't be read"),
    ];
    let wanting: Vec<_> = wanting
        .iter()
        .filter(|(figure, ..)| *figure > 0)
        .map(|(figure, one, many)| count(*figure, one, many))
        .collect();
    wanting.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::Line;

    fn report(totals: Totals) -> Report {
        let line =
            Line { origin: "s\x1b".to_owned(), asset: Some("rover".to_owned()), run: None, totals, refusal: None };
        Report { sessions: 1, segments: 1, lines: vec![line], totals, ..Report::default() }
    }

    fn last(report: &Report) -> String {
        texts(report, &[]).pop().unwrap()
    }

    #[test]
    fn each_end_has_its_verdict() {
        let all = Totals { records_found: 3, records_acknowledged: 3, ..Totals::default() };
        let before = Totals { records_found: 3, records_already_acknowledged: 3, ..Totals::default() };
        assert_eq!(last(&report(all)), "COMPLETE: all that was found is delivered.");
        assert_eq!(last(&report(before)), "COMPLETE: all that was found had been delivered before.");
        assert!(last(&Report::default()).starts_with("NOTHING TO REPLAY: no recording is there"));
        assert!(last(&Report { sessions: 2, ..Report::default() }).contains("hold no records"));
        assert!(last(&Report { files_not_selected: 1, ..Report::default() }).starts_with("NOTHING SELECTED"));
        let none = Totals { records_found: 3, records_not_selected: 3, ..Totals::default() };
        assert!(last(&report(none)).starts_with("NOTHING SELECTED"));
        assert!(last(&Report { dry_run: true, ..report(none) }).contains("NOTHING SELECTED"));
        let some = Totals { records_found: 4, records_not_selected: 1, ..all };
        assert_eq!(last(&report(some)), "COMPLETE: all that was selected is delivered.");
        let some = Totals { records_found: 4, records_not_selected: 1, ..before };
        assert_eq!(last(&report(some)), "COMPLETE: all that was selected had been delivered before.");
        let interrupted = Report { interrupted: true, stopped: Some("interrupted".to_owned()), ..report(all) };
        assert!(last(&interrupted).starts_with("INTERRUPTED"));
        let stopped = Report { stopped: Some("no such key.".to_owned()), ..Report::default() };
        assert!(last(&stopped).starts_with("STOPPED: no such key. Nothing is lost"), "{}", last(&stopped));
        assert_eq!(texts(&stopped, &[]).len(), 2, "no zeros that nobody counted");
        let wanting = Totals { records_missing: 1, damaged_places: 2, records_dead_lettered: 1000, ..all };
        assert_eq!(
            last(&report(wanting)),
            "INCOMPLETE: 1,000 records were refused and kept as dead letters; 1 record is missing; 2 places are \
             damaged. All the rest is delivered."
        );
    }

    #[test]
    fn a_dry_run_tells_what_would_be_sent() {
        let totals = Totals {
            records_found: 10,
            records_already_acknowledged: 4,
            records_dead_lettered: 1,
            ..Totals::default()
        };
        let texts = texts(&Report { dry_run: true, ..report(totals) }, &[]);
        assert!(texts.contains(&"would be sent         5 records".to_owned()), "{texts:#?}");
        assert!(texts.iter().all(|text| !text.starts_with("sent") && !text.starts_with("acknowledged")), "{texts:#?}");
        assert_eq!(
            texts.last().unwrap(),
            "DRY RUN: nothing was sent. But 1 record was refused and kept as a dead letter."
        );
    }

    #[test]
    fn what_was_done_before_and_what_was_retired_is_in_the_table() {
        let totals = Totals {
            records_found: 10,
            records_acknowledged: 5,
            records_already_acknowledged: 4,
            records_dead_lettered: 1,
            ..Totals::default()
        };
        let report = Report { files_archived: 2, ..report(totals) };
        let paths = [PathBuf::from("./backups"), PathBuf::from("it's there")];
        let texts = texts(&report, &paths);
        assert_eq!(texts[0], "s\\u{1b} (rover): 9 of 10 records acknowledged");
        for row in [
            "already acknowledged  4 records, not sent again",
            r"dead-lettered         1 record: `sift-replay dead-letters ./backups 'it'\''s there'` shows them and why",
            "files archived        2",
        ] {
            assert!(texts.contains(&row.to_owned()), "{row}: {texts:#?}");
        }
        assert!(texts.iter().all(|text| !text.starts_with("files deleted")), "{texts:#?}");
    }
}
