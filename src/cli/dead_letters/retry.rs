//! `sift-replay dead-letters PATH… --retry`: sends them once more.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::args::OutputArgs;
use super::super::exit::{Exit, Failure};
use super::super::progress::{observer, print_report};
use super::super::replay::{connect_failure, destination, exit_of, listen, noticed};
use super::super::runtime;
use super::super::text::{count, note, out, shown, shown_path};
use super::{DeadLettersArgs, tell};
use crate::replay::{
    Checkpoints, Lanes, Observer, ReplayEvent, ReplayOptions, Report, Retried, State, StateDirs, Target,
    retry_dead_letters, waiting_dead_letters,
};
use crate::segment::{Disk, Storage};
use crate::sift::Destination;

/// Connections at once.
const LANES: NonZeroUsize = NonZeroUsize::new(4).unwrap();

pub(super) fn run(args: &DeadLettersArgs, dirs: &StateDirs, output: &OutputArgs) -> Result<Exit, Failure> {
    let destination = destination(&args.destination)?;
    let is_own = |target: &Target| target.endpoint() == destination.name();
    // Those that others work with as well can't be locked.
    let (own, all) = (dirs.own(), dirs.all());
    let looked = Checkpoints::look(&(Arc::new(Disk) as Arc<dyn Storage>), dirs);
    for dir in all.iter().filter(|dir| !own.contains(dir)) {
        let targets = waiting_dead_letters(std::slice::from_ref(dir), &looked).map_err(Failure::fatal)?.targets;
        tell_of_others_state(
            dir,
            targets.iter().filter(|(target, _)| is_own(target)).map(|(_, letters)| letters).sum(),
        );
    }
    let waiting = waiting_dead_letters(&own, &looked).map_err(Failure::fatal)?;
    drop(looked);
    let window_bytes = args.window_bytes.and_then(|bytes| usize::try_from(bytes).ok());
    let defaults = ReplayOptions::default();
    let options = ReplayOptions { window_bytes: window_bytes.unwrap_or(defaults.window_bytes), ..defaults };
    let observer = observer(output, options.give_up_after);
    if !waiting.targets.keys().any(is_own) {
        observer.event(&ReplayEvent::Summary(&Report::default()));
        say(output, format!("no dead letters of {} wait for being sent", shown(destination.name())));
        say_others(output, &waiting.targets);
        tell(&waiting.troubles);
        return Ok(if waiting.troubles.is_empty() { Exit::Complete } else { Exit::Incomplete });
    }
    let state = State::open(Arc::new(Disk), dirs.clone()).map_err(Failure::fatal)?;
    let (retried, exit) = runtime()?.block_on(connect_and_retry(&destination, &state, &own, &options, &*observer))?;
    let Retried { report, others, troubles } = &retried;
    if !output.json {
        print(report, &destination, &args.paths);
    }
    say_others(output, others);
    tell(troubles);
    if let Some(stopped) = &report.stopped {
        note(format!("error: {}", shown(stopped)));
    }
    Ok(if exit == Exit::Complete && !troubles.is_empty() { Exit::Incomplete } else { exit })
}

async fn connect_and_retry(
    destination: &Destination,
    state: &State,
    dirs: &[PathBuf],
    options: &ReplayOptions,
    observer: &dyn Observer,
) -> Result<(Retried, Exit), Failure> {
    let mut interrupted = listen(options.grace).map_err(Failure::fatal)?;
    let lanes = tokio::select! {
        lanes = Lanes::open_patiently(destination, LANES, options, observer) => lanes.map_err(connect_failure),
        () = noticed(&mut interrupted) => Err(Failure::new(Exit::Interrupted, "interrupted")),
    };
    match lanes {
        Ok(lanes) => {
            let retried = retry_dead_letters(noticed(&mut interrupted), &lanes, state, dirs, options, observer);
            let retried = retried.await.map_err(Failure::fatal)?;
            let exit = exit_of(&retried.report);
            Ok((retried, exit))
        }
        Err(failure) => {
            // The summary comes last whatever happens.
            let interrupted = failure.exit == Exit::Interrupted;
            let report = Report { stopped: Some(failure.message), interrupted, ..Report::default() };
            observer.event(&ReplayEvent::Summary(&report));
            Ok((Retried { report, ..Retried::default() }, failure.exit))
        }
    }
}

fn print(report: &Report, destination: &Destination, paths: &[PathBuf]) {
    if report.stopped.is_none() && report.lines.is_empty() {
        let name = shown(destination.name());
        out(match report.files_deleted {
            0 => format!("no dead letters of {name} wait for being sent"),
            files => format!(
                "no dead letters of {name} wait for being sent: all were acknowledged before; {} that held them deleted",
                count(files, "file", "files")
            ),
        });
    } else {
        print_report(report, paths);
    }
}

/// Says something to people; whoever reads JSON has the summary.
fn say(output: &OutputArgs, text: String) {
    if output.json { note(text) } else { out(text) }
}

fn say_others(output: &OutputArgs, others: &BTreeMap<Target, u64>) {
    for (target, letters) in others.iter().filter(|(_, letters)| **letters > 0) {
        let letters = count(*letters, "dead letter waits", "dead letters wait");
        say(output, format!("{letters} for another destination: {}", shown(target.as_str())));
    }
}

fn tell_of_others_state(dir: &Path, letters: u64) {
    let Some(around) = dir.parent().filter(|_| letters > 0) else { return };
    note(format!(
        "{} in {}, which other backups share: to send them, give {} as the PATH",
        count(letters, "dead letter is", "dead letters are"),
        shown_path(dir),
        shown_path(around)
    ));
}
