//! Integration tests: one binary, one module per subject.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "tests")]

mod backup;
mod catalog;
mod cli;
mod crash;
mod damage;
mod demo;
mod faulty;
mod layering;
mod pbfs;
mod proxy;
mod record;
mod replay;
mod spec;
mod support;
mod vectors;
