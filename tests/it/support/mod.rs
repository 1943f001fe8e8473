//! Builders and checks that several subjects share.

pub(crate) mod cli;
pub(crate) mod destination;
