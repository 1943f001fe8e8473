//! Arguments of `sift-replay repair`.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub(in crate::cli) struct RepairArgs {
    /// Files and directories to repair
    #[arg(value_name = "PATH", required = true)]
    pub(in crate::cli) paths: Vec<PathBuf>,

    /// Directory for sound copies of all recordings, each below its own path; what is there already stays as it is
    #[arg(long, value_name = "DIR", required_unless_present = "in_place", conflicts_with = "in_place")]
    pub(in crate::cli) to: Option<PathBuf>,

    /// Put sound copies in the place of what isn't sound; the originals stay beside them as `.damaged`. With --yes
    #[arg(long)]
    pub(in crate::cli) in_place: bool,

    /// Do it
    #[arg(long, requires = "in_place")]
    pub(in crate::cli) yes: bool,

    /// Make segments of the official library's backups, with the schema in this file: a segment, or Sift's
    /// CreateIngestionConfigRequest as JSON or protobuf
    #[arg(long, value_name = "FILE", requires = "to")]
    pub(in crate::cli) schema: Option<PathBuf>,
}
