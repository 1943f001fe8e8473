//! `sift-replay PATH…`: the main job.

use super::args::{DestinationArgs, OutputArgs, ReplayArgs};
use super::exit::{Exit, Failure};
use super::progress::{Closing, observer, print_report};
use super::text::{note, shown};
use super::{interrupted, runtime};
use crate::catalog::{Catalog, check_paths, discover};
use crate::replay::{Observer, ReplayEvent, ReplayOptions, Report, replay_until};
use crate::sift::{ApiKey, ConnectError, ConnectErrorKind, Connection, Destination, DestinationOptions};

pub(super) fn run(args: &ReplayArgs, output: &OutputArgs) -> Result<Exit, Failure> {
    check_paths(&args.paths).map_err(Failure::fatal)?;
    let destination = destination(&args.destination)?;
    let catalog = Catalog::build(discover(&args.paths).map_err(Failure::fatal)?);
    let options = args.options();
    let observer = observer(output);
    let (report, exit) = runtime()?.block_on(connect_and_replay(&destination, &catalog, &options, &*observer))?;
    if !output.json {
        print_report(&report, Closing { paths: &args.paths, dry_run: args.dry_run });
    }
    if let Some(stopped) = &report.stopped {
        note(format!("error: {}", shown(stopped)));
    }
    Ok(exit)
}

async fn connect_and_replay(
    destination: &Destination,
    catalog: &Catalog,
    options: &ReplayOptions,
    observer: &dyn Observer,
) -> Result<(Report, Exit), Failure> {
    let lane = tokio::select! {
        lane = Connection::open(destination) => lane,
        () = interrupted() => return Err(Failure::new(Exit::Interrupted, "interrupted")),
    };
    match lane {
        Ok(lane) => {
            let report = replay_until(interrupted(), &lane, catalog, options, observer).await;
            let exit = exit_of(&report);
            Ok((report, exit))
        }
        Err(error) => {
            let failure = connect_failure(error);
            // The summary comes last whatever happens.
            let report = Report { stopped: Some(failure.message), ..Report::of(catalog) };
            observer.event(&ReplayEvent::Summary(&report));
            Ok((report, failure.exit))
        }
    }
}

fn exit_of(report: &Report) -> Exit {
    if report.interrupted {
        Exit::Interrupted
    } else if report.stopped.is_some() {
        Exit::Destination
    } else if report.is_complete() {
        Exit::Complete
    } else {
        Exit::Incomplete
    }
}

fn destination(args: &DestinationArgs) -> Result<Destination, Failure> {
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

fn connect_failure(error: ConnectError) -> Failure {
    let exit = match error.kind() {
        ConnectErrorKind::Usage => Exit::Usage,
        ConnectErrorKind::Unreachable | ConnectErrorKind::CredentialsRefused => Exit::Destination,
    };
    Failure::new(exit, error)
}
