//! Integration tests: one binary, one module per subject.

mod crash;
mod record;
mod support;
