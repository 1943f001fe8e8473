//! `sift-replay verify PATH…`: is everything there, and as it should be?

use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value, json};

use super::args::OutputArgs;
use super::exit::{Exit, Failure};
use super::progress::{found, words};
use super::text::{bytes, count, number, out, shown, shown_path};
use crate::verify::{Finding, FindingKind, Problem, Report, Subject, Totals, VerifyOptions, verify};

/// Most characters that are shown of what a file says.
const MOST_SHOWN: usize = 300;

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// Files and directories to check
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,

    /// Tell each finding, not only the first ten of a kind in each file
    #[arg(long)]
    all: bool,
}

pub(super) fn run(args: &VerifyArgs, output: &OutputArgs) -> Result<Exit, Failure> {
    let mut options = VerifyOptions::default();
    if args.all {
        options.most_told = u64::MAX;
    }
    // Here, what is found is the result.
    let mut tell = |finding: &Finding<'_>| match output {
        OutputArgs { json: true, .. } => out(finding_json(finding)),
        OutputArgs { quiet: true, .. } => {}
        _ => out(finding_text(finding)),
    };
    let report = verify(&args.paths, &options, &mut tell).map_err(Failure::fatal)?;
    if output.json {
        out(summary_json(&report));
    } else {
        texts(&report).iter().for_each(out);
    }
    Ok(if report.is_sound() { Exit::Complete } else { Exit::Incomplete })
}

fn finding_text(finding: &Finding<'_>) -> String {
    match finding {
        Finding::Ignored { path, reason } => format!("ignored: {} ({})", shown_path(path), reason.as_str()),
        Finding::Unreadable { path, reason } => format!("can't be read: {}: {}", shown_path(path), shown(reason)),
        Finding::Damage { path, damage } => format!("damaged: {}", words::damage_text(path, damage)),
        Finding::Torn { path, torn } => format!("torn: {}", words::torn_text(path, torn)),
        Finding::Skipped { path, skipped } => format!("skipped: {}", words::skipped_text(path, skipped)),
        Finding::Invalid { path, offset, seq, problem } => {
            let seq = seq.map(|seq| format!(", seq {seq}")).unwrap_or_default();
            format!("invalid: {} at byte {offset}{seq}: {}", shown_path(path), shown(reason(problem)))
        }
        Finding::NonFinite { path, flow, channel, values } => {
            let flow = flow.map_or("further flows".to_owned(), |flow| format!("flow {:?}", cut(flow)));
            let channel = channel.map(|channel| format!(", channel {:?}", cut(channel))).unwrap_or_default();
            let values = count(*values, "value is NaN or infinite", "values are NaN or infinite");
            format!("refused by Sift: {}: {}: {values}", shown_path(path), shown(flow + &channel))
        }
        Finding::Differs { session, seqs, path, other } => format!(
            "differing: {}: other bytes in {} than in {}",
            words::missing_text(*session, seqs),
            shown_path(path),
            shown_path(other)
        ),
        Finding::Mark { session, mark, .. } => {
            format!("session {session}: {}", words::mark_text(mark).unwrap_or_default())
        }
        Finding::Missing { session, seqs } => format!("missing: {}", words::missing_text(*session, seqs)),
        Finding::More { subject, kind, untold } => {
            let subject = match subject {
                Subject::File(path) => shown_path(path),
                Subject::Session(session) => format!("session {session}"),
            };
            format!("{}: {subject}: {} more (--all tells each)", kind_text(*kind), number(*untold))
        }
    }
}

fn kind_text(kind: FindingKind) -> &'static str {
    match kind {
        FindingKind::Damage => "damaged",
        FindingKind::Skipped => "skipped",
        FindingKind::Invalid => "invalid",
        FindingKind::NonFinite => "refused by Sift",
        FindingKind::Differs => "differing",
        FindingKind::Mark => "dropped on board",
        FindingKind::Missing => "missing",
    }
}

/// What is wrong, without the most of what only a hostile file makes long.
fn reason(problem: &Problem) -> String {
    cut(&problem.to_string())
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(MOST_SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

fn finding_json(finding: &Finding<'_>) -> Value {
    match finding {
        Finding::Ignored { path, reason } => found::ignored(path, *reason),
        Finding::Unreadable { path, reason } => found::unreadable(path, reason),
        Finding::Damage { path, damage } => found::damage(path, damage),
        Finding::Torn { path, torn } => found::torn(path, torn),
        Finding::Skipped { path, skipped } => found::skipped(path, skipped),
        Finding::Mark { session, wall_clock_ns, mark } => found::mark(*session, *wall_clock_ns, mark),
        Finding::Missing { session, seqs } => found::missing(*session, seqs),
        Finding::Invalid { path, offset, seq, problem } => json!({
            "event": "invalid", "path": found::path(path), "offset": offset, "seq": seq, "reason": reason(problem),
        }),
        Finding::NonFinite { path, flow, channel, values } => json!({
            "event": "non_finite", "path": found::path(path), "flow": flow.map(cut), "channel": channel.map(cut),
            "values": values,
        }),
        Finding::Differs { session, seqs, path, other } => json!({
            "event": "differs", "session": session.to_string(), "seqs": found::seqs(seqs), "path": found::path(path),
            "other": found::path(other),
        }),
        Finding::More { subject, kind, untold } => {
            let (session, path) = match subject {
                Subject::File(path) => (None, Some(found::path(path))),
                Subject::Session(session) => (Some(session.to_string()), None),
            };
            json!({"event": "more", "of": kind.as_str(), "session": session, "path": path, "untold": untold})
        }
    }
}

fn totals_json(t: &Totals) -> Map<String, Value> {
    let fields = [
        ("bytes", t.bytes),
        ("frames", t.frames),
        ("records_found", t.records_found),
        ("records_invalid", t.records_invalid),
        ("records_differing", t.records_differing),
        ("records_missing", t.records_missing),
        ("records_unreadable", t.records_unreadable),
        ("records_dropped_on_board", t.records_dropped_on_board),
        ("values_non_finite", t.values_non_finite),
        ("contradictions", t.contradictions),
        ("damaged_places", t.damaged_places),
        ("damaged_bytes", t.damaged_bytes),
        ("torn_files", t.torn_files),
        ("torn_bytes", t.torn_bytes),
        ("files_unreadable", t.files_unreadable),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect()
}

fn summary_json(report: &Report) -> Value {
    let lines = report.lines.iter().map(|line| {
        let mut object = totals_json(&line.totals);
        object.insert("origin".to_owned(), line.origin.clone().into());
        object.insert("asset".to_owned(), line.asset.clone().into());
        object.insert("run".to_owned(), line.run.clone().into());
        Value::Object(object)
    });
    let mut summary = totals_json(&report.totals);
    for (name, value) in [
        ("event", json!("summary")),
        ("sessions", json!(report.sessions)),
        ("segments", json!(report.segments)),
        ("pbfs_files", json!(report.pbfs_files)),
        ("files_ignored", json!(report.files_ignored)),
        ("seconds", json!(report.elapsed.as_secs_f64())),
        ("sound", json!(report.is_sound())),
        ("origins", lines.collect()),
    ] {
        summary.insert(name.to_owned(), value);
    }
    Value::Object(summary)
}

/// The closing table and the verdict.
fn texts(report: &Report) -> Vec<String> {
    let t = &report.totals;
    let records = |value| count(value, "record", "records");
    let rows = [
        ("sessions", format!("{} in {}", number(report.sessions), count(report.segments, "segment", "segments")), true),
        ("official backups", number(report.pbfs_files), report.pbfs_files > 0),
        ("read", format!("{} in {:.1} s", bytes(t.bytes), report.elapsed.as_secs_f64()), true),
        ("frames", number(t.frames), true),
        ("found", records(t.records_found), true),
        ("damaged", format!("{} ({})", count(t.damaged_places, "place", "places"), bytes(t.damaged_bytes)), true),
        ("missing", records(t.records_missing), true),
        ("invalid", records(t.records_invalid), true),
        ("refused by Sift", count(t.values_non_finite, "value is", "values are") + " NaN or infinite", true),
        ("contradictions", number(t.contradictions), t.contradictions > 0),
        ("differing", format!("{} in two files", records(t.records_differing)), t.records_differing > 0),
        ("unreadable", format!("{} of a later version", records(t.records_unreadable)), t.records_unreadable > 0),
        ("dropped on board", records(t.records_dropped_on_board), t.records_dropped_on_board > 0),
        ("torn ends", format!("{} ({})", count(t.torn_files, "file", "files"), bytes(t.torn_bytes)), t.torn_files > 0),
        ("files unreadable", number(t.files_unreadable), t.files_unreadable > 0),
        ("files ignored", number(report.files_ignored), true),
    ];
    let rows = rows.into_iter().filter(|(_, _, is_shown)| *is_shown);
    rows.map(|(name, value, _)| format!("{name:<21} {value}")).chain([verdict(report)]).collect()
}

fn verdict(report: &Report) -> String {
    let t = &report.totals;
    if !report.is_sound() {
        let mendable = t.damaged_places > 0 || t.contradictions > 0;
        let repair = if mendable { " `sift-replay repair` makes sound copies of what can be read." } else { "" };
        return format!("NOT SOUND: {}.{repair}", shortcomings(t));
    }
    match t.records_found {
        0 if report.sessions == 0 && report.pbfs_files == 0 => {
            "NOTHING TO VERIFY: no recording is there. Check the path; `sift-replay ls` shows what it holds.".to_owned()
        }
        0 => "SOUND: the recordings that are there hold no records.".to_owned(),
        1 => "SOUND: the one record is as it should be.".to_owned(),
        records => format!("SOUND: all {} records are as they should be.", number(records)),
    }
}

/// What is wrong, in words.
fn shortcomings(t: &Totals) -> String {
    let wanting = [
        (t.damaged_places, "place is damaged", "places are damaged"),
        (t.records_missing, "record is missing", "records are missing"),
        (t.records_invalid, "record is invalid", "records are invalid"),
        (t.values_non_finite, "value is NaN or infinite", "values are NaN or infinite"),
        (t.contradictions, "frame or name says what isn't so", "frames or names say what isn't so"),
        (t.records_differing, "record differs between two files", "records differ between two files"),
        (
            t.records_unreadable,
            "record needs a later version of this program",
            "records need a later version of this program",
        ),
        (t.files_unreadable, "file can't be read", "files can't be read"),
    ];
    let wanting = wanting.iter().filter(|(figure, ..)| *figure > 0);
    wanting.map(|(figure, one, many)| count(*figure, one, many)).collect::<Vec<_>>().join("; ")
}
