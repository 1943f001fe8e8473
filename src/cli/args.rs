//! The command line's grammar.
#![allow(rustdoc::bare_urls, reason = "these texts are help on a terminal")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::checkpoints::CheckpointsArgs;
use crate::replay::OnReject;

/// Replays telemetry recorded without a network into Sift: complete, once, and with proof that nothing is missing.
///
/// `sift-replay ./backups` finds the recordings below a directory, registers their schemas and runs with Sift, sends them,
/// and reports what was found, acknowledged, damaged and missing. It never writes to the recordings.
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
pub(super) struct ReplayArgs {
    /// Files and directories to replay; directories are searched recursively
    #[arg(value_name = "PATH")]
    pub(super) paths: Vec<PathBuf>,

    #[command(flatten)]
    pub(super) destination: DestinationArgs,

    /// What to do with records that Sift refuses: stop the session that they are in, or let Sift accept the stream and
    /// put them into its own error queue
    #[arg(long, value_name = "WHAT", default_value = "stop")]
    pub(super) on_reject: OnRejectArg,

    /// Seconds after the end of a stream in which its acknowledgement must come
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub(super) ack_timeout: Duration,
}

#[derive(Debug, Args)]
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

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum OnRejectArg {
    Stop,
    Accept,
}

impl From<OnRejectArg> for OnReject {
    fn from(arg: OnRejectArg) -> Self {
        match arg {
            OnRejectArg::Stop => Self::Stop,
            OnRejectArg::Accept => Self::Accept,
        }
    }
}

#[derive(Debug, Clone, Args)]
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

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()) {
        Some(duration) if !duration.is_zero() => Ok(duration),
        _ => Err("give a positive number of seconds, such as 30 or 0.5".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_grammar_is_sound() {
        Cli::command().debug_assert();
    }
}
