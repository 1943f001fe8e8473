//! The command line: it parses, calls the layers below, prints, and chooses the exit code.

mod args;
mod checkpoints;
mod dead_letters;
mod demo;
mod exit;
mod ls;
mod parse;
mod progress;
mod receive;
mod repair;
mod replay;
mod text;
mod verify;

use std::process::ExitCode;

use clap::CommandFactory;

use args::{Cli, Command, OutputArgs};
use exit::{Exit, Failure};

/// Runs the program with this process's arguments.
pub fn main() -> ExitCode {
    let cli = Cli::of_process();
    log(&cli.output);
    let result = match cli.command {
        None if cli.replay.paths.is_empty() => {
            let _ = Cli::command().print_help();
            Err(Failure::new(Exit::Usage, "say what to replay: sift-replay PATH…"))
        }
        None => replay::run(&cli.replay, &cli.output),
        Some(Command::Ls(args)) => ls::run(&args, &cli.output),
        Some(Command::Verify(args)) => verify::run(&args, &cli.output),
        Some(Command::Repair(args)) => repair::run(&args, &cli.output),
        Some(Command::DeadLetters(args)) => dead_letters::run(&args, &cli.output),
        Some(Command::Checkpoints(args)) => checkpoints::run(&args, &cli.output),
        Some(Command::Receive(args)) => receive::run(&args, &cli.output),
        Some(Command::Demo(args)) => demo::run(&args, &cli.output),
        Some(Command::DemoVehicle(args)) => demo::vehicle(&args),
    };
    result
        .unwrap_or_else(|failure| {
            text::note(format!("error: {}", text::shown(&failure.message)));
            failure.exit
        })
        .into()
}

/// Diagnostics of the layers below, on stderr.
fn log(output: &OutputArgs) {
    let default = match output.verbose {
        _ if output.quiet => "off",
        0 => "sift_replay=warn",
        1 => "sift_replay=debug",
        _ => "debug",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("SIFT_REPLAY_LOG").unwrap_or_else(|_| default.into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| text::Diagnostics).without_time().init();
}

/// An async runtime for one command.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::fatal(format!("can't start threads: {error}")))
}

/// Returns when somebody wants the program to end: Ctrl-C, or SIGTERM.
async fn interrupted() {
    if let Ok(mut interrupts) = Interrupts::listen() {
        interrupts.next().await;
    } else {
        let _ = tokio::signal::ctrl_c().await;
    }
}

/// Wishes that the program end: Ctrl-C, and SIGTERM. None is missed once somebody listens.
struct Interrupts {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(windows)]
    interrupt: tokio::signal::windows::CtrlC,
}

#[cfg(unix)]
impl Interrupts {
    fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(windows)]
impl Interrupts {
    fn listen() -> std::io::Result<Self> {
        Ok(Self { interrupt: tokio::signal::windows::ctrl_c()? })
    }

    async fn next(&mut self) {
        self.interrupt.recv().await;
    }
}
