//! Builders and checks that several subjects share.
#![allow(unreachable_pub, reason = "a test binary exports nothing")]

pub(crate) mod allocations;
pub(crate) mod backup;
pub(crate) mod cli;
pub(crate) mod desk;
pub(crate) mod destination;
pub(crate) mod faulty;
pub(crate) mod format;
pub(crate) mod null_storage;
pub(crate) mod port;
pub(crate) mod proxy;
pub(crate) mod recording;
pub(crate) mod storage;
pub(crate) mod tasks;
