//! `sift-replay dead-letters PATH…`: what a destination refused for good, and why; and its way back.

mod export;
mod retry;

use std::collections::HashSet;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};

use super::args::{DestinationArgs, MAX_WINDOW_BYTES, OutputArgs};
use super::exit::{Exit, Failure};
use super::text::{Table, count, note, number, out, shown, shown_path, time};
use crate::catalog::check_paths;
use crate::format::TimeRange;
use crate::replay::{
    Checkpoints, DeadLetter, DeadLetterGroup, DeadLetterSession, Refusal, StateDirs, Subject, Trouble,
    list_dead_letters_where, undelivered_dead_letters,
};
use crate::segment::{Disk, Storage};

/// Characters of a reason or a path that a table shows.
const MAX_CELL_CHARS: usize = 80;

/// Ranges of seqs that a table shows.
const MAX_CELL_RANGES: usize = 3;

#[derive(Debug, Args)]
pub(super) struct DeadLettersArgs {
    /// The files and directories that were replayed; their dead letters are found wherever a replay keeps them
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,

    /// Look into this state directory alone
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,

    /// Print each dead letter as a line of JSON. Values have their channel's name, where the recording tells it; 64-bit
    /// numbers and times (ns since 1970) are strings, as are NaN, Infinity and -Infinity; bytes and bit fields are in hex.
    /// What that doesn't show wholly has its bytes, in hex, as "request"
    #[arg(long)]
    export: bool,

    /// Send those that this destination has refused once more, as what they were sent then. What is accepted counts as
    /// acknowledged from then on, and its files are deleted; what is refused again stays
    #[arg(long, conflicts_with = "export")]
    retry: bool,

    /// Bytes after which a window is closed and acknowledged
    #[arg(long, value_name = "N", hide = true, requires = "retry", value_parser = clap::value_parser!(u64).range(1..=MAX_WINDOW_BYTES))]
    window_bytes: Option<u64>,

    #[command(flatten)]
    destination: DestinationArgs,
}

pub(super) fn run(args: &DeadLettersArgs, output: &OutputArgs) -> Result<Exit, Failure> {
    check_paths(&args.paths).map_err(Failure::fatal)?;
    let dirs = StateDirs::resolve(&args.paths, args.state_dir.as_deref());
    if args.retry {
        return retry::run(args, &dirs, output);
    }
    let checkpoints = Checkpoints::look(&(Arc::new(Disk) as Arc<dyn Storage>), &dirs);
    let (waits, dirs) = (undelivered_dead_letters(&checkpoints), dirs.all());
    let troubles = if args.export { export::run(&dirs, &waits, output)? } else { print_list(&dirs, &waits, output)? };
    tell(&troubles);
    Ok(if troubles.is_empty() { Exit::Complete } else { Exit::Incomplete })
}

/// Whether a dead letter, of this session, is still to be delivered.
type Waits<'a> = &'a dyn Fn(uuid::Uuid, &DeadLetter<'_>) -> bool;

fn tell(troubles: &[Trouble]) {
    for Trouble { path, what } in troubles {
        note(format!("can't be read: {}: {}", shown_path(path), shown(what)));
    }
}

fn print_list(dirs: &[PathBuf], waits: Waits<'_>, output: &OutputArgs) -> Result<Vec<Trouble>, Failure> {
    let list = list_dead_letters_where(dirs, waits).map_err(Failure::fatal)?;
    let groups = || list.sessions.iter().flat_map(|session| session.groups.iter().map(move |group| (session, group)));
    let records: u64 = groups().map(|(_, group)| group.records).sum();
    let sessions = list.sessions.iter().filter(|session| !session.groups.is_empty()).count();
    if output.json {
        groups().for_each(|(session, group)| out(group_json(session, group)));
        for Trouble { path, what } in &list.troubles {
            out(json!({"event": "trouble", "path": path.to_string_lossy(), "what": what}));
        }
        out(json!({
            "event": "summary", "records": records, "groups": groups().count(), "sessions": sessions,
            "troubles": list.troubles.len(),
        }));
        return Ok(list.troubles);
    }
    if records == 0 {
        out("no dead letters");
        return Ok(list.troubles);
    }
    let targets = groups().filter_map(|(_, group)| Some(&group.refusal.as_ref()?.target)).collect::<HashSet<_>>();
    // Who refused them goes without saying where there is only one.
    let several = targets.len() > 1;
    let mut heading = vec!["refused", "asset", "run", "flow", ">records", "reason", "origin"];
    heading.extend(several.then_some("destination"));
    let mut table = Table::new(&heading);
    groups().for_each(|(session, group)| rows(&mut table, session, group, several));
    table.print();
    out(format!(
        "{} in {}",
        count(records, "dead letter", "dead letters"),
        count(sessions as u64, "session", "sessions")
    ));
    Ok(list.troubles)
}

/// A row for each flow.
fn rows(table: &mut Table, session: &DeadLetterSession, group: &DeadLetterGroup, destinations: bool) {
    let refused = if group.refused.is_empty() { "?".to_owned() } else { time(group.refused.least) };
    let asset = session.asset.as_deref().map_or_else(|| "?".to_owned(), cell);
    let run = session.run.as_deref().map(cell).unwrap_or_default();
    let reason = match &group.refusal {
        _ if group.mixed => "(various)".to_owned(),
        Some(refusal) => cell(&refusal.reason),
        None => "(lost)".to_owned(),
    };
    let mut tail = vec![reason, origin_text(group)];
    if destinations {
        let target = group.refusal.as_ref().filter(|_| !group.mixed).map(|refusal| cell(refusal.target.as_str()));
        tail.push(target.unwrap_or_else(|| "?".to_owned()));
    }
    let flows = group.flows.iter().map(|(flow, records)| (cell(flow), *records));
    let others = (group.other_flows > 0).then(|| ("(others)".to_owned(), group.other_flows));
    for (flow, records) in flows.chain(others) {
        let head = [refused.clone(), asset.clone(), run.clone(), flow, number(records)];
        table.row(head.into_iter().chain(tail.iter().cloned()));
    }
}

/// A text that somebody else chose, short enough for a table.
fn cell(text: &str) -> String {
    let shown = shown(text);
    match shown.char_indices().nth(MAX_CELL_CHARS) {
        None => shown,
        Some((end, _)) => format!("{}\u{2026}", shown.get(..end).unwrap_or_default()),
    }
}

fn origin_text(group: &DeadLetterGroup) -> String {
    let Some(Refusal { subject, origin_path, .. }) = group.refusal.as_ref().filter(|_| !group.mixed) else {
        return "?".to_owned();
    };
    let (whose, unit) = match subject {
        Some(Subject::Session(session)) => (format!("session {session}"), "seq"),
        Some(Subject::Pbfs(_)) if !origin_path.is_empty() => (cell(origin_path), "message"),
        Some(pbfs) => (pbfs.to_string(), "message"),
        None => return "?".to_owned(),
    };
    let mut ranges: Vec<_> = group.seqs.ranges().take(MAX_CELL_RANGES).map(|range| range_text(&range)).collect();
    if group.seqs.ranges().nth(MAX_CELL_RANGES).is_some() {
        ranges.push("\u{2026}".to_owned());
    }
    format!("{whose}, {unit} {}", ranges.join(", "))
}

fn range_text(range: &Range<u64>) -> String {
    let last = range.end.saturating_sub(1);
    if range.start == last { last.to_string() } else { format!("{}\u{2013}{last}", range.start) }
}

fn group_json(session: &DeadLetterSession, group: &DeadLetterGroup) -> Value {
    let refusal = group.refusal.as_ref().filter(|_| !group.mixed);
    let ends = |times: &TimeRange| (!times.is_empty()).then_some((times.least, times.greatest)).unzip();
    let ((refused_first, refused_last), (first, last)) = (ends(&group.refused), ends(&group.times));
    let seqs = group.seqs.ranges().map(|range| json!({"first": range.start, "end": range.end}));
    json!({
        "event": "dead-letters", "session": session.session.to_string(),
        "files": session.files.iter().map(|file| file.to_string_lossy()).collect::<Vec<_>>(),
        "destination": refusal.map(|refusal| refusal.target.as_str()), "origin": origin_json(refusal),
        "origin_path": origin_path(refusal), "asset": session.asset, "run": session.run,
        "reason": refusal.map(|refusal| &refusal.reason), "mixed": group.mixed,
        "records": group.records, "seqs": seqs.collect::<Vec<_>>(), "flows": group.flows,
        "records_of_other_flows": group.other_flows, "refused_first_ns": refused_first,
        "refused_last_ns": refused_last, "first_ns": first, "last_ns": last,
    })
}

fn origin_json(refusal: Option<&Refusal>) -> Value {
    match refusal.and_then(|refusal| refusal.subject) {
        Some(Subject::Session(session)) => json!({"session": session.to_string()}),
        Some(Subject::Pbfs(id)) => json!({"pbfs": id.to_string()}),
        None => Value::Null,
    }
}

fn origin_path(refusal: Option<&Refusal>) -> Option<&str> {
    refusal.map(|refusal| refusal.origin_path.as_str()).filter(|path| !path.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_short_and_command_no_terminal() {
        assert_eq!(cell("a\u{1b}[2J"), "a\\u{1b}[2J");
        let long = cell(&"\u{20ac}".repeat(500));
        assert_eq!(long.chars().count(), MAX_CELL_CHARS + 1);
        assert_eq!((range_text(&(3..4)), range_text(&(3..6))), ("3".to_owned(), "3\u{2013}5".to_owned()));
    }
}
