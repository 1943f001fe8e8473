//! Integration tests: one binary, one module per subject.

mod catalog;
mod cli;
mod crash;
mod damage;
mod demo;
mod layering;
mod pbfs;
mod record;
mod replay;
mod spec;
mod support;
mod vectors;
