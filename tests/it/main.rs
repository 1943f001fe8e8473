//! Integration tests: one binary, one module per subject.

mod crash;
mod damage;
mod pbfs;
mod record;
mod spec;
mod support;
mod vectors;
