//! `sift-replay checkpoints PATH…`: what is known to be delivered, and forgetting it.

use std::io::{BufRead, IsTerminal};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};
use uuid::Uuid;

use super::args::OutputArgs;
use super::exit::{Exit, Failure};
use super::text::{Table, bytes, count, note, number, out, shown, shown_path};
use crate::catalog::SeqSet;
use crate::replay::{Checkpoints, Done, Forget, Forgotten, KnownTarget, PbfsId, PbfsMark, StateDirs};
use crate::segment::{Disk, Storage};
use crate::sift::Destination;

/// Ranges of a session that are shown to people.
const SHOWN_RANGES: usize = 4;

#[derive(Debug, Args)]
pub(super) struct CheckpointsArgs {
    /// Files and directories whose checkpoints are meant
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,

    /// The directory that checkpoints are kept in, if it was given when replaying
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,

    /// Only this session
    #[arg(long, value_name = "ID")]
    session: Option<Uuid>,

    /// Only this destination, as which asset or run whatever was delivered
    #[arg(long, value_name = "URI")]
    destination: Option<String>,

    /// Forget what is shown, so that it is sent again; with --session, --destination, or --all
    #[arg(long)]
    reset: bool,

    /// Forget everything, whichever backup it is about
    #[arg(long, requires = "reset", conflicts_with_all = ["session", "destination"])]
    all: bool,

    /// Don't ask
    #[arg(long, requires = "reset")]
    yes: bool,
}

pub(super) fn run(args: &CheckpointsArgs, output: &OutputArgs) -> Result<Exit, Failure> {
    let endpoint = args.destination.as_deref().map(Destination::name_of).transpose();
    let what = Forget { session: args.session, endpoint: endpoint.map_err(|error| Failure::new(Exit::Usage, error))? };
    if args.reset && !args.all && what == Forget::default() {
        return Err(Failure::new(Exit::Usage, "say what to forget: --session ID, --destination URI, or --all"));
    }
    let storage: Arc<dyn Storage> = Arc::new(Disk);
    let dirs = StateDirs::resolve(&args.paths, args.state_dir.as_deref());
    let seen = Checkpoints::look(&storage, &dirs);
    let meant = meant(seen.list(), &what);
    if !args.reset {
        show(&meant, &seen, output);
        return Ok(Exit::Complete);
    }
    if meant.is_empty() {
        if output.json {
            out(reset_json(&Forgotten::default(), &meant));
        } else {
            note("nothing of that kind is known: there is nothing to forget");
        }
        return Ok(Exit::Complete);
    }
    if !args.yes {
        ask(&meant)?;
    }
    // What was said meanwhile by whoever was at work before the locks were had is forgotten, too.
    let checkpoints = Checkpoints::open(storage, dirs).map_err(Failure::fatal)?;
    let forgotten = checkpoints.reset(&what).map_err(Failure::fatal)?;
    if output.json {
        out(reset_json(&forgotten, &meant));
    } else {
        show_reset(&forgotten, &meant);
    }
    Ok(if forgotten.kept.is_empty() { Exit::Complete } else { Exit::Incomplete })
}

/// What of the list meets what was asked for.
fn meant(list: Vec<KnownTarget>, what: &Forget) -> Vec<KnownTarget> {
    let of_endpoint = |known: &KnownTarget| what.endpoint.as_deref().is_none_or(|it| it == known.target.endpoint());
    let mut meant: Vec<_> = list.into_iter().filter(of_endpoint).collect();
    if let Some(session) = what.session {
        for known in &mut meant {
            known.sessions.retain(|(id, _)| *id == session);
            known.pbfs.clear();
        }
    }
    meant.retain(|known| !known.sessions.is_empty() || !known.pbfs.is_empty());
    meant
}

/// Asks on a terminal; nobody else is asked, so that no script hangs.
fn ask(meant: &[KnownTarget]) -> Result<(), Failure> {
    let sums = Sums::of(meant);
    let question = format!(
        "forget that {} of {} and {} were delivered to {}, so that they are sent again?",
        count(sums.records(), "record", "records"),
        count(sums.sessions, "session", "sessions"),
        count(sums.pbfs, "PBFS backup", "PBFS backups"),
        meant.iter().map(|known| shown(known.target.as_str())).collect::<Vec<_>>().join(", "),
    );
    if !std::io::stdin().is_terminal() {
        let message = format!("{question} Nobody is there to ask: say --yes if so");
        return Err(Failure::new(Exit::Usage, message));
    }
    note(format!("{question} [y/N]"));
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    match read {
        Ok(_) if matches!(answer.trim(), "y" | "Y" | "yes") => Ok(()),
        Ok(_) => Err(Failure::fatal("nothing was forgotten")),
        Err(error) => Err(Failure::fatal(format!("can't read the answer: {error}; nothing was forgotten"))),
    }
}

/// Acknowledged, and dead letters that weren't acknowledged since.
fn counts(done: &Done) -> (u64, u64) {
    (done.acknowledged.len(), done.dead_lettered.without(&done.acknowledged).len())
}

/// Of all marks of a PBFS file (or of files that begin alike), the farthest.
fn farthest(marks: &[PbfsMark]) -> Option<&PbfsMark> {
    marks.last()
}

#[derive(Default)]
struct Sums {
    sessions: u64,
    pbfs: u64,
    acknowledged: u64,
    dead_lettered: u64,
}

impl Sums {
    fn of(list: &[KnownTarget]) -> Self {
        let mut sums = Self::default();
        for known in list {
            sums.sessions += known.sessions.len() as u64;
            sums.pbfs += known.pbfs.len() as u64;
            let sessions = known.sessions.iter().map(|(_, done)| counts(done));
            let marks = known.pbfs.iter().filter_map(|(_, marks)| farthest(marks));
            let marks = marks.map(|mark| (mark.messages.saturating_sub(mark.dead_lettered), mark.dead_lettered));
            for (acknowledged, dead_lettered) in sessions.chain(marks) {
                sums.acknowledged = sums.acknowledged.saturating_add(acknowledged);
                sums.dead_lettered = sums.dead_lettered.saturating_add(dead_lettered);
            }
        }
        sums
    }

    fn records(&self) -> u64 {
        self.acknowledged.saturating_add(self.dead_lettered)
    }
}

fn show(meant: &[KnownTarget], seen: &Checkpoints, output: &OutputArgs) {
    if output.json {
        for known in meant {
            known.sessions.iter().for_each(|(session, done)| out(session_json(known, *session, done)));
            known.pbfs.iter().for_each(|(id, marks)| out(pbfs_json(known, *id, marks)));
        }
        out(summary_json(meant, seen));
        return;
    }
    for known in meant {
        out(format!("delivered to {}", shown(known.target.as_str())));
        let mut table = Table::new(&["  session or file", ">acknowledged", ">dead letters", "which"]);
        for (session, done) in &known.sessions {
            let (acknowledged, dead) = counts(done);
            table.row([format!("  {session}"), number(acknowledged), number(dead), ranges_text(&done.all())]);
        }
        for (id, marks) in &known.pbfs {
            let Some(mark) = farthest(marks) else { continue };
            let id: String = id.to_string().chars().take(16).collect();
            let which = format!("the first {} ({})", bytes(mark.end), count(marks.len() as u64, "mark", "marks"));
            let acknowledged = mark.messages.saturating_sub(mark.dead_lettered);
            table.row([format!("  PBFS {id}…"), number(acknowledged), number(mark.dead_lettered), which]);
        }
        table.print();
    }
    if meant.is_empty() {
        note("nothing is known to be delivered");
    }
    for dir in seen.found() {
        note(format!("known from: {}", shown_path(dir)));
    }
}

/// The first few ranges of a set, as first and last seq.
fn ranges_text(set: &SeqSet) -> String {
    let range = |range: std::ops::Range<u64>| match range.end - range.start {
        1 => number(range.start),
        _ => format!("{} to {}", number(range.start), number(range.end - 1)),
    };
    let mut texts: Vec<_> = set.ranges().take(SHOWN_RANGES).map(range).collect();
    let more = set.ranges().count().saturating_sub(SHOWN_RANGES);
    if more > 0 {
        texts.push(format!("and {} more", count(more as u64, "range", "ranges")));
    }
    texts.join(" · ")
}

fn show_reset(forgotten: &Forgotten, meant: &[KnownTarget]) {
    let sums = Sums::of(meant);
    out(format!("forgotten: {}, which will be sent again", count(sums.records(), "record", "records")));
    for dir in &forgotten.cleared {
        note(format!("cleared: {}", shown_path(dir)));
    }
    for (path, reason) in &forgotten.kept {
        note(format!("may still be known from {}: {}", shown_path(path), shown(reason)));
    }
}

fn ranges_json(set: &SeqSet) -> Value {
    set.ranges().map(|range| json!([range.start, range.end])).collect()
}

fn session_json(known: &KnownTarget, session: Uuid, done: &Done) -> Value {
    let (acknowledged, dead_lettered) = counts(done);
    json!({
        "event": "session", "target": known.target.as_str(), "destination": known.target.endpoint(),
        "session": session.to_string(), "records_acknowledged": acknowledged, "records_dead_lettered": dead_lettered,
        "acknowledged": ranges_json(&done.acknowledged), "dead_lettered": ranges_json(&done.dead_lettered),
    })
}

fn pbfs_json(known: &KnownTarget, id: PbfsId, marks: &[PbfsMark]) -> Value {
    let hex = |hash: &[u8]| hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mark = |mark: &PbfsMark| {
        json!({
            "end": mark.end, "sha256": hex(&mark.hash), "messages": mark.messages, "dead_lettered": mark.dead_lettered,
        })
    };
    json!({
        "event": "pbfs", "target": known.target.as_str(), "destination": known.target.endpoint(), "id": id.to_string(),
        "marks": marks.iter().map(mark).collect::<Vec<_>>(),
    })
}

fn summary_json(meant: &[KnownTarget], seen: &Checkpoints) -> Value {
    let sums = Sums::of(meant);
    let dirs: Vec<_> = seen.found().iter().map(|dir| dir.to_string_lossy()).collect();
    json!({
        "event": "summary", "targets": meant.len(), "sessions": sums.sessions, "pbfs_files": sums.pbfs,
        "records_acknowledged": sums.acknowledged, "records_dead_lettered": sums.dead_lettered, "state_dirs": dirs,
    })
}

fn reset_json(forgotten: &Forgotten, meant: &[KnownTarget]) -> Value {
    let sums = Sums::of(meant);
    let kept = forgotten.kept.iter().map(|(path, reason)| json!({"path": path.to_string_lossy(), "reason": reason}));
    let cleared = forgotten.cleared.iter().map(|dir| dir.to_string_lossy());
    json!({
        "event": "summary", "reset": true, "sessions": sums.sessions, "pbfs_files": sums.pbfs,
        "records_forgotten": sums.records(), "cleared": cleared.collect::<Vec<_>>(), "kept": kept.collect::<Vec<_>>(),
    })
}
