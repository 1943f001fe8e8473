//! The command `sift-replay`.

use std::process::ExitCode;

fn main() -> ExitCode {
    sift_replay::cli::main()
}
