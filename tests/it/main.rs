//! Integration tests: one binary, one module per subject.

mod damage;
mod pbfs;
mod spec;
mod support;
mod vectors;
