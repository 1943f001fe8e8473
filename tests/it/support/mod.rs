//! Builders and checks that several subjects share.
#![allow(unreachable_pub, reason = "a test binary exports nothing")]

pub mod cli;
pub mod destination;
