//! `sift-replay PATH…`: the main job.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::args::{DestinationArgs, OutputArgs, ReplayArgs};
use super::exit::{Exit, Failure};
use super::progress::{observer, print_report};
use super::text::{duration, note, shown};
use super::{Interrupts, runtime};
use crate::catalog::{Catalog, CatalogCache, discover};
use crate::replay::{
    After, Checkpoints, Lanes, Observer, ReplayEvent, ReplayOptions, Report, State, StateDirs, Work, check_archive,
    dry_run, replay_until,
};
use crate::segment::{Disk, Storage};
use crate::sift::{ApiKey, ConnectError, ConnectErrorKind, Destination, DestinationOptions};

pub(super) fn run(args: &ReplayArgs, output: &OutputArgs) -> Result<Exit, Failure> {
    let options = args.options();
    if let After::Archive(dir) = &options.after {
        check_archive(&args.paths, dir).map_err(|error| Failure::new(Exit::Usage, error))?;
        if !args.dry_run {
            make_archive(dir)?;
        }
    }
    let catalog = if args.watch {
        // What isn't there yet may come.
        CatalogCache::new().scan_existing(&args.paths)
    } else {
        Catalog::build(discover(&args.paths).map_err(Failure::fatal)?)
    };
    if !args.watch {
        check_sessions(&catalog, args)?;
    }
    let dirs = StateDirs::resolve(&args.paths, args.state_dir.as_deref());
    let observer = observer(output, options.give_up_after);
    let (report, exit) = if args.dry_run {
        let endpoint = match destination(&args.destination) {
            Ok(destination) => Some(destination.name().to_owned()),
            Err(failure) => {
                note(format!("what was delivered before isn't known here: {}", shown(&failure.message)));
                None
            }
        };
        let checkpoints = Checkpoints::look(&(Arc::new(Disk) as Arc<dyn Storage>), &dirs);
        let report = dry_run(&catalog, endpoint.as_deref(), &checkpoints, &options, &*observer);
        let exit = exit_of(&report);
        (report, exit)
    } else {
        let destination = destination(&args.destination)?;
        let state = State::open(Arc::new(Disk), dirs).map_err(Failure::fatal)?;
        let watch = args.watch.then_some(args.delivery.rescan);
        let work = Work { paths: args.paths.clone(), catalog, watch };
        runtime()?.block_on(connect_and_replay(&destination, args.lanes(), &state, work, &options, &*observer))?
    };
    if !output.json {
        print_report(&report, &args.paths);
    }
    // People have read why; a script reads it here.
    if let Some(stopped) = report.stopped.as_ref().filter(|_| output.json || output.quiet) {
        note(format!("error: {}", shown(stopped)));
    }
    Ok(exit)
}

/// Whoever names a session means one that is there.
fn check_sessions(catalog: &Catalog, args: &ReplayArgs) -> Result<(), Failure> {
    let is_there = |id| catalog.sessions.iter().any(|session| session.id == id);
    match args.selection.session.iter().find(|id| !is_there(**id)) {
        None => Ok(()),
        Some(id) => {
            let text =
                format!("session {id} isn't there, so that nothing was sent; `sift-replay ls` shows those that are");
            Err(Failure::fatal(text))
        }
    }
}

async fn connect_and_replay(
    destination: &Destination,
    lanes: NonZeroUsize,
    state: &State,
    work: Work,
    options: &ReplayOptions,
    observer: &dyn Observer,
) -> Result<(Report, Exit), Failure> {
    let mut interrupted = listen(options.grace).map_err(Failure::fatal)?;
    let lanes = tokio::select! {
        lanes = Lanes::open_patiently(destination, lanes, options, observer) => lanes.map_err(|error| {
            let given_up = options.give_up_after.filter(|_| error.is_transient());
            let mut failure = connect_failure(error);
            if let Some(after) = given_up {
                failure.message.push_str(&format!("; given up after {} without progress", duration(after)));
            }
            failure
        }),
        () = noticed(&mut interrupted) => Err(Failure::new(Exit::Interrupted, "interrupted")),
    };
    match lanes {
        Ok(lanes) => {
            let report = replay_until(noticed(&mut interrupted), &lanes, state, work, options, observer).await;
            let exit = exit_of(&report);
            Ok((report, exit))
        }
        Err(failure) => {
            // The summary comes last whatever happens.
            let interrupted = failure.exit == Exit::Interrupted;
            let report = Report { stopped: Some(failure.message), interrupted, ..Report::of(&work.catalog) };
            observer.event(&ReplayEvent::Summary(&report));
            Ok((report, failure.exit))
        }
    }
}

/// Tells, from now on, whether somebody wants the program to end. Whoever wants it once more doesn't want to wait.
pub(super) fn listen(grace: Duration) -> std::io::Result<watch::Receiver<bool>> {
    let mut interrupts = Interrupts::listen()?;
    let (sender, interrupted) = watch::channel(false);
    tokio::spawn(async move {
        interrupts.next().await;
        let seconds = grace.as_secs_f64();
        note(format!("interrupted: what is on its way has {seconds} s to be acknowledged; once more to stop at once"));
        let _ = sender.send(true);
        interrupts.next().await;
        std::process::exit(Exit::Interrupted.code().into());
    });
    Ok(interrupted)
}

/// Returns when somebody wants the program to end, or did before.
pub(super) async fn noticed(interrupted: &mut watch::Receiver<bool>) {
    if interrupted.wait_for(|interrupted| *interrupted).await.is_err() {
        // Nobody listens any more.
        std::future::pending().await
    }
}

/// Finds out now whether files can be archived, not after hours.
fn make_archive(dir: &Path) -> Result<(), Failure> {
    let wrong = |why: String| {
        let text = format!("can't archive to {}: {why}; name a directory that can be written", dir.display());
        Failure::new(Exit::Usage, text)
    };
    Disk.create_dir_all(dir).map_err(|error| wrong(error.to_string()))?;
    if dir.is_dir() { Ok(()) } else { Err(wrong("it isn't a directory".to_owned())) }
}

pub(super) fn exit_of(report: &Report) -> Exit {
    if report.interrupted {
        Exit::Interrupted
    } else if report.failed_here {
        Exit::Fatal
    } else if report.stopped.is_some() {
        Exit::Destination
    } else if report.is_complete() {
        Exit::Complete
    } else {
        Exit::Incomplete
    }
}

pub(super) fn destination(args: &DestinationArgs) -> Result<Destination, Failure> {
    let api_key = match std::env::var("SIFT_API_KEY") {
        Ok(key) => Some(ApiKey::new(&key, "SIFT_API_KEY").map_err(connect_failure)?),
        Err(std::env::VarError::NotPresent) => None,
        Err(std::env::VarError::NotUnicode(_)) => {
            return Err(Failure::new(Exit::Usage, "SIFT_API_KEY isn't text: set it to the key that Sift gave you"));
        }
    };
    let options = DestinationOptions {
        uri: args.uri.clone(),
        api_key,
        api_key_file: args.api_key_file.clone(),
        profile: args.profile.clone(),
        ca_cert: args.ca_cert.clone(),
        client_cert: args.client_cert.clone(),
        client_key: args.client_key.clone(),
        insecure: args.insecure,
        ..DestinationOptions::default()
    };
    Destination::resolve(&options).map_err(connect_failure)
}

pub(super) fn connect_failure(error: ConnectError) -> Failure {
    let exit = match error.kind() {
        ConnectErrorKind::Usage => Exit::Usage,
        ConnectErrorKind::Unreachable | ConnectErrorKind::CredentialsRefused => Exit::Destination,
    };
    Failure::new(exit, error)
}
