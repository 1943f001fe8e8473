//! The arguments of the main job, and the options that they stand for.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::DestinationArgs;
use crate::cli::parse;
use crate::replay::{After, OnReject, Rate, ReplayOptions, Rewrite, Selection};

#[derive(Debug, Args)]
pub(in crate::cli) struct ReplayArgs {
    /// Files and directories to replay; directories are searched recursively
    #[arg(value_name = "PATH")]
    pub(in crate::cli) paths: Vec<PathBuf>,

    /// Keep running: replay what appears, grows or is plugged in later, until Ctrl-C
    #[arg(long)]
    pub(in crate::cli) watch: bool,

    /// Register nothing and send nothing: show what would be sent
    #[arg(long, conflicts_with = "watch")]
    pub(in crate::cli) dry_run: bool,

    /// Where checkpoints and dead letters are kept [default: .sift-replay beside the recordings, or the user's state
    /// directory if that can't be written]
    #[arg(long, value_name = "DIR")]
    pub(in crate::cli) state_dir: Option<PathBuf>,

    #[command(flatten)]
    pub(in crate::cli) destination: DestinationArgs,

    #[command(flatten)]
    pub(in crate::cli) delivery: DeliveryArgs,

    #[command(flatten)]
    pub(in crate::cli) selection: SelectionArgs,

    #[command(flatten)]
    pub(in crate::cli) rewrite: RewriteArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Delivery")]
pub(in crate::cli) struct DeliveryArgs {
    /// Connections to Sift at once, 1 to 64; more help where the way there is long
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(in crate::cli) lanes: u8,

    /// Send no faster than this, all lanes together: bytes a second (5MB, 800KiB) or records a second (1000rec)
    #[arg(long, value_name = "RATE", value_parser = parse::rate)]
    pub(in crate::cli) rate: Option<Rate>,

    /// Give up after so long without any progress, such as 15m or 2h; everything delivered until then is remembered
    /// [default: 15m; with --watch never]
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    pub(in crate::cli) give_up_after: Option<Duration>,

    /// How long Sift may take to acknowledge what was sent before it is sent again, with twice the time, such as 30 (seconds) or 2m
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse::duration)]
    pub(in crate::cli) ack_timeout: Duration,

    /// What to do with records that Sift refuses for good
    #[arg(long, value_name = "WHAT", default_value = "dead-letter")]
    pub(in crate::cli) on_reject: OnRejectArg,

    /// What to do with files that are wholly delivered and undamaged: keep, delete, or archive=DIR (move them there)
    #[arg(long, value_name = "WHAT", default_value = "keep", value_parser = parse::after)]
    pub(in crate::cli) after: After,

    /// How long what is on its way may take to be acknowledged when the replay is interrupted
    #[arg(long, value_name = "DURATION", hide = true, default_value = "10s", value_parser = parse::duration)]
    pub(in crate::cli) grace: Duration,

    /// How often --watch looks again though no file-system event has come
    #[arg(long, value_name = "DURATION", hide = true, default_value = "10s", value_parser = parse::duration)]
    pub(in crate::cli) rescan: Duration,

    /// Bytes after which a window is closed and acknowledged
    #[arg(long, value_name = "N", hide = true, value_parser = clap::value_parser!(u64).range(1..=MAX_WINDOW_BYTES))]
    pub(in crate::cli) window_bytes: Option<u64>,

    /// Windows that may be on their way on each lane, sent and not yet acknowledged
    #[arg(long, value_name = "N", hide = true, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(in crate::cli) windows_per_lane: Option<u16>,
}

/// Windows are kept in memory.
pub(in crate::cli) const MAX_WINDOW_BYTES: u64 = 64 << 20;

#[derive(Debug, Args)]
#[command(next_help_heading = "Selection (only what meets all of these is sent)")]
pub(in crate::cli) struct SelectionArgs {
    /// Records from this time on: 2026-03-01T12:30:00Z, 2026-03-01 (UTC if no zone is named), or Unix time in seconds or
    /// nanoseconds
    #[arg(long, value_name = "TIME", value_parser = parse::time)]
    pub(in crate::cli) from: Option<i64>,

    /// Records before this time, which is itself excluded
    #[arg(long, value_name = "TIME", value_parser = parse::time)]
    pub(in crate::cli) to: Option<i64>,

    /// Records of this flow; may be given several times
    #[arg(long, value_name = "NAME", value_parser = parse::name)]
    pub(in crate::cli) flow: Vec<String>,

    /// Sessions of this asset, as recorded; may be given several times
    #[arg(long, value_name = "NAME", value_parser = parse::name)]
    pub(in crate::cli) asset: Vec<String>,

    /// This session, as `sift-replay ls` shows it; may be given several times
    #[arg(long, value_name = "ID", value_parser = parse::session)]
    pub(in crate::cli) session: Vec<uuid::Uuid>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Rewriting (what is sent differs from what was recorded)")]
pub(in crate::cli) struct RewriteArgs {
    /// Deliver as this asset, whichever was recorded
    #[arg(long, value_name = "NAME", value_parser = parse::name)]
    pub(in crate::cli) asset_as: Option<String>,

    /// Deliver into the run of this name, whichever was recorded; it is created if there is none
    #[arg(long, value_name = "NAME", value_parser = parse::name)]
    pub(in crate::cli) run: Option<String>,

    /// Move all times, for a clock that was wrong: -1h makes them an hour earlier, +90s later
    #[arg(long, value_name = "±DURATION", allow_hyphen_values = true, value_parser = parse::shift)]
    pub(in crate::cli) shift_time: Option<i64>,
}

impl ReplayArgs {
    /// What is wrong with arguments that are each right by themselves.
    pub(super) fn problem(&self) -> Option<&'static str> {
        match (self.selection.from, self.selection.to) {
            (Some(from), Some(to)) if from >= to => {
                Some("--from must be before --to, or nothing can be selected (--to itself is excluded)")
            }
            _ => None,
        }
    }

    /// Connections at once.
    pub(in crate::cli) fn lanes(&self) -> NonZeroUsize {
        NonZeroUsize::new(self.delivery.lanes.into()).unwrap_or(NonZeroUsize::MIN)
    }

    /// How the replay is to behave.
    pub(in crate::cli) fn options(&self) -> ReplayOptions {
        let (delivery, selection, rewrite) = (&self.delivery, &self.selection, &self.rewrite);
        let defaults = ReplayOptions::default();
        let unless_watching = defaults.give_up_after.filter(|_| !self.watch);
        let window_bytes = delivery.window_bytes.and_then(|bytes| usize::try_from(bytes).ok());
        ReplayOptions {
            window_bytes: window_bytes.unwrap_or(defaults.window_bytes),
            windows_per_lane: delivery.windows_per_lane.map_or(defaults.windows_per_lane, usize::from),
            acknowledgement_timeout: delivery.ack_timeout,
            grace: delivery.grace,
            on_reject: delivery.on_reject.into(),
            give_up_after: delivery.give_up_after.or(unless_watching),
            selection: Selection {
                from_ns: selection.from,
                to_ns: selection.to,
                flows: selection.flow.clone(),
                assets: selection.asset.clone(),
                sessions: selection.session.clone(),
            },
            rewrite: Rewrite {
                asset: rewrite.asset_as.clone(),
                run: rewrite.run.clone(),
                shift_ns: rewrite.shift_time.unwrap_or_default(),
            },
            rate: delivery.rate,
            after: delivery.after.clone(),
            ..defaults
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(in crate::cli) enum OnRejectArg {
    /// Find out which they are, keep them with the reason, and go on (`sift-replay dead-letters` shows them)
    DeadLetter,
    /// Find out which they are, report them, and go on; the next replay tries them again
    Skip,
    /// Stop the session that they are in, and go on with the others
    Stop,
    /// Let Sift take the rest; what it refuses goes into its own error queue, unseen from here
    Accept,
}

impl From<OnRejectArg> for OnReject {
    fn from(arg: OnRejectArg) -> Self {
        match arg {
            OnRejectArg::DeadLetter => Self::DeadLetter,
            OnRejectArg::Skip => Self::Skip,
            OnRejectArg::Stop => Self::Stop,
            OnRejectArg::Accept => Self::Accept,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::Cli;

    fn parsed(args: &[&str]) -> Result<ReplayArgs, String> {
        let args = [&["sift-replay", "dir"], args].concat();
        Cli::checked(args).map(|cli| cli.replay).map_err(|error| error.to_string())
    }

    #[test]
    fn without_flags_the_options_are_the_defaults() {
        let args = parsed(&[]).unwrap();
        assert_eq!(args.options(), ReplayOptions::default());
        assert_eq!((args.delivery.lanes, args.watch, args.dry_run), (4, false, false));
    }

    #[test]
    fn each_flag_has_its_option() {
        let id = "01a1fb9b-598a-74a4-adfd-4736b8dcc5f3";
        let args = parsed(&[
            "--lanes",
            "64",
            "--give-up-after",
            "2h",
            "--ack-timeout",
            "7",
            "--on-reject",
            "skip",
            "--after",
            "archive=done",
            "--from",
            "2026-03-01",
            "--to",
            "2026-03-02T00:00:00Z",
            "--flow",
            "a",
            "--flow",
            "b",
            "--asset",
            "rover",
            "--session",
            id,
            "--rate",
            "5MB",
            "--asset-as",
            "other",
            "--run",
            "again",
            "--shift-time",
            "-1h",
            "--state-dir",
            "state",
            "--window-bytes",
            "100",
            "--grace",
            "3s",
        ]);
        let args = args.unwrap();
        assert_eq!((args.delivery.lanes, args.state_dir.as_deref()), (64, Some(std::path::Path::new("state"))));
        let expected = ReplayOptions {
            window_bytes: 100,
            acknowledgement_timeout: Duration::from_secs(7),
            grace: Duration::from_secs(3),
            on_reject: OnReject::Skip,
            give_up_after: Some(Duration::from_secs(7200)),
            selection: Selection {
                from_ns: Some(1_772_323_200_000_000_000),
                to_ns: Some(1_772_409_600_000_000_000),
                flows: vec!["a".to_owned(), "b".to_owned()],
                assets: vec!["rover".to_owned()],
                sessions: vec![id.parse().unwrap()],
            },
            rewrite: Rewrite {
                asset: Some("other".to_owned()),
                run: Some("again".to_owned()),
                shift_ns: -3_600_000_000_000,
            },
            rate: Some(parse::rate("5MB").unwrap()),
            after: After::Archive("done".into()),
            ..ReplayOptions::default()
        };
        assert_eq!(args.options(), expected);
        for (text, on_reject) in
            [("dead-letter", OnReject::DeadLetter), ("stop", OnReject::Stop), ("accept", OnReject::Accept)]
        {
            assert_eq!(parsed(&["--on-reject", text]).unwrap().options().on_reject, on_reject);
        }
    }

    #[test]
    fn watching_never_gives_up_unless_told_to() {
        assert_eq!(parsed(&["--watch"]).unwrap().options().give_up_after, None);
        let told = parsed(&["--watch", "--give-up-after", "1h"]).unwrap();
        assert_eq!(told.options().give_up_after, Some(Duration::from_secs(3600)));
    }

    #[test]
    fn what_does_not_go_together_is_a_usage_error() {
        for (args, part) in [
            (&["--dry-run", "--watch"][..], "--watch"),
            (&["--from", "2026-03-02", "--to", "2026-03-01"], "--from must be before --to"),
            (&["--from", "2026-03-01", "--to", "2026-03-01T00:00:00Z"], "--from must be before --to"),
            (&["--lanes", "0"], "1..=64"),
            (&["--lanes", "65"], "1..=64"),
            (&["--on-reject", "retry"], "dead-letter"),
            (&["--window-bytes", "0"], "window-bytes"),
            (&["--shift-time", "--json"], "-1h"),
            (&["--rate", "fast"], "5MB"),
            (&["--flow", ""], "rover-7"),
        ] {
            let error = parsed(args).unwrap_err();
            assert!(error.contains(part), "{args:?}: {error}");
        }
    }
}
