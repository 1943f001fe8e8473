//! Builders and checks that several subjects share.

pub(crate) mod allocations;
pub(crate) mod recording;
pub(crate) mod storage;
