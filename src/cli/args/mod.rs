//! The command line's grammar.
#![allow(rustdoc::bare_urls, reason = "these texts are help on a terminal")]

mod repair;
mod replay;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};

pub(super) use repair::RepairArgs;
pub(super) use replay::{MAX_WINDOW_BYTES, ReplayArgs};

use super::checkpoints::CheckpointsArgs;
use super::dead_letters::DeadLettersArgs;
use super::verify::VerifyArgs;

/// Replays telemetry recorded without a network into Sift: complete, once, and with proof that nothing is missing.
///
/// `sift-replay ./backups` finds the recordings below a directory, registers their schemas and runs with Sift, sends them,
/// and reports what was found, acknowledged, damaged and missing. What Sift has acknowledged is remembered: stopped and
/// started again, it sends only what is left. It never changes the recordings; --after can
/// archive or delete them when all is delivered.
#[derive(Debug, Parser)]
#[command(name = "sift-replay", version, args_conflicts_with_subcommands = true, after_help = EXIT_CODES)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Option<Command>,

    #[command(flatten)]
    pub(super) replay: ReplayArgs,

    #[command(flatten)]
    pub(super) output: OutputArgs,
}

const EXIT_CODES: &str = "\
Exit codes: 0 all delivered · 1 fatal error · 2 usage · 3 finished, but some data was damaged, missing or refused · \
4 the destination can't be reached or refuses the credentials · 130 interrupted

The API key is taken from the environment (SIFT_API_KEY), a file (--api-key-file) or a profile of sift.toml \
(--profile), never from an argument, which other users of the computer could see.

A directory whose name is that of a command is given as ./ls, for example.";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List what directories hold: sessions, backups, and files that are neither
    Ls(LsArgs),
    /// Read everything, check it, and tell what is damaged, missing, or not as it should be
    Verify(VerifyArgs),
    /// Write sound copies of recordings: what a power cut left open is sealed, damage is left out, every sound record kept
    Repair(RepairArgs),
    /// List the records that a destination refused, with the reason; or send them once more
    DeadLetters(DeadLettersArgs),
    /// Show or forget what destinations have acknowledged
    Checkpoints(CheckpointsArgs),
    /// Run a small Sift endpoint that records what it receives as segments
    Receive(ReceiveArgs),
    /// Record a simulated flight, cut it off, damage it, replay it, and check that everything adds up
    Demo(DemoArgs),
    /// Records until it is killed: the part of the demo that is cut off
    #[command(hide = true)]
    DemoVehicle(DemoVehicleArgs),
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Destination")]
pub(super) struct DestinationArgs {
    /// Sift's gRPC endpoint, such as https://grpc-api.siftstack.com
    #[arg(long, value_name = "URI", env = "SIFT_URI")]
    pub(super) uri: Option<String>,

    /// File that holds the API key and nothing else
    #[arg(long, value_name = "FILE")]
    pub(super) api_key_file: Option<PathBuf>,

    /// Profile of sift.toml in the user's configuration directory
    #[arg(long, value_name = "NAME")]
    pub(super) profile: Option<String>,

    /// PEM file with certificates to trust besides the system's
    #[arg(long, value_name = "FILE")]
    pub(super) ca_cert: Option<PathBuf>,

    /// PEM file with this client's certificate
    #[arg(long, value_name = "FILE", requires = "client_key")]
    pub(super) client_cert: Option<PathBuf>,

    /// PEM file with the key of this client's certificate
    #[arg(long, value_name = "FILE", requires = "client_cert")]
    pub(super) client_key: Option<PathBuf>,

    /// Allow plain http to another computer: the API key and the data can be read on the way
    #[arg(long)]
    pub(super) insecure: bool,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Output")]
pub(super) struct OutputArgs {
    /// Print newline-delimited JSON to stdout; the last line is the summary
    #[arg(long, global = true)]
    pub(super) json: bool,

    /// Print nothing but the result and errors
    #[arg(long, short, global = true)]
    pub(super) quiet: bool,

    /// Say more on stderr; twice for still more
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub(super) verbose: u8,
}

#[derive(Debug, Args)]
pub(super) struct LsArgs {
    /// Files and directories to look into
    #[arg(value_name = "PATH", required = true)]
    pub(super) paths: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct ReceiveArgs {
    /// Address to listen on; anything but loopback lets other computers in, without encryption
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:50051")]
    pub(super) listen: SocketAddr,

    /// Directory to record into
    #[arg(long, value_name = "DIR")]
    pub(super) into: PathBuf,

    /// File that holds the API key which clients must present; without it, none is asked for
    #[arg(long, value_name = "FILE")]
    pub(super) api_key_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// Directory for the recordings, which must be empty or not exist [default: a temporary one, removed afterwards]
    #[arg(long, value_name = "DIR")]
    pub(super) into: Option<PathBuf>,

    /// Durable records after which the first recorder is cut off
    #[arg(long, value_name = "NUMBER", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1_000..))]
    pub(super) records: u64,
}

#[derive(Debug, Args)]
pub(super) struct DemoVehicleArgs {
    #[arg(long)]
    pub(super) into: PathBuf,
}

impl Cli {
    /// This process's arguments. Prints help and version, and exits with 2 if they are wrong.
    pub(super) fn of_process() -> Self {
        Self::checked(std::env::args_os()).unwrap_or_else(|error| error.exit())
    }

    fn checked<A: Into<OsString> + Clone>(args: impl IntoIterator<Item = A>) -> Result<Self, clap::Error> {
        let cli = Self::try_parse_from(args)?;
        match cli.replay.problem() {
            Some(problem) => Err(Self::command().error(ErrorKind::ValueValidation, problem)),
            None => Ok(cli),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_is_sound() {
        Cli::command().debug_assert();
    }
}
