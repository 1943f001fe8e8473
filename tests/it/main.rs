//! Integration tests: one binary, one module per subject.

mod catalog;
mod cli;
mod demo;
mod layering;
mod replay;
mod support;
