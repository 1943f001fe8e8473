//! Integration tests: one binary, one module per subject.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "tests")]

mod catalog;
mod cli;
mod crash;
mod damage;
mod demo;
mod layering;
mod pbfs;
mod record;
mod replay;
mod rescan;
mod skipping;
mod spec;
mod support;
mod vectors;
