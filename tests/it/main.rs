//! Integration tests: one binary, one module per subject.
//!
//! What concerns the format, segments and the recorder is tested without any feature, too
//! (`cargo test --no-default-features`); all the rest needs `cli`.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "tests")]
#![allow(clippy::print_stdout, reason = "figures, for whoever asks with --nocapture")]

#[cfg(feature = "cli")]
mod after;
#[cfg(feature = "cli")]
mod backup;
#[cfg(feature = "cli")]
mod catalog;
#[cfg(feature = "cli")]
mod checkpoints;
#[cfg(feature = "cli")]
mod cli;
#[cfg(feature = "cli")]
mod copies;
mod crash;
mod damage;
#[cfg(feature = "cli")]
mod dead_letters;
#[cfg(feature = "cli")]
mod demo;
#[cfg(feature = "cli")]
mod exits;
#[cfg(feature = "cli")]
mod faulty;
#[cfg(feature = "cli")]
mod hostile;
mod layering;
#[cfg(feature = "cli")]
mod limits;
mod pbfs;
mod power_cuts;

#[cfg(feature = "cli")]
mod proxy;
#[cfg(all(feature = "cli", target_os = "linux"))]
mod real_disk;
#[cfg(feature = "cli")]
mod receiver;
mod record;
mod repair;
#[cfg(feature = "cli")]
mod replay;
#[cfg(feature = "cli")]
mod rescan;
#[cfg(feature = "cli")]
mod rewrite;
mod segments;
#[cfg(feature = "cli")]
mod select;
#[cfg(feature = "cli")]
mod skipping;
mod spec;
#[cfg(all(feature = "cli", feature = "stream", feature = "tracing"))]
mod stream;
mod support;
#[cfg(feature = "cli")]
mod survival;
mod vectors;
#[cfg(feature = "cli")]
mod verify;
#[cfg(feature = "cli")]
mod watch;
