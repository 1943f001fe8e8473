//! Integration tests: one binary, one module per subject.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "tests")]

mod after;
mod backup;
mod catalog;
mod checkpoints;
mod cli;
mod copies;
mod crash;
mod damage;
mod dead_letters;
mod demo;
mod exits;
mod faulty;
mod hostile;
mod layering;
mod pbfs;
mod proxy;
mod receiver;
mod record;
mod replay;
mod rescan;
mod rewrite;
mod select;
mod skipping;
mod spec;
mod stream;
mod support;
mod survival;
mod vectors;
mod watch;
