//! Builders and checks that several subjects share.
#![allow(unreachable_pub, reason = "a test binary exports nothing")]

pub(crate) mod allocations;
#[cfg(feature = "cli")]
pub(crate) mod backup;
#[cfg(feature = "cli")]
pub(crate) mod cli;
#[cfg(feature = "cli")]
pub(crate) mod desk;
#[cfg(feature = "cli")]
pub(crate) mod destination;
#[cfg(feature = "cli")]
pub(crate) mod faulty;
pub(crate) mod format;
pub(crate) mod null_storage;
#[cfg(feature = "cli")]
pub(crate) mod port;
#[cfg(feature = "cli")]
pub(crate) mod proxy;
pub(crate) mod random;
pub(crate) mod recording;
pub(crate) mod repairing;
pub(crate) mod sound;
pub(crate) mod storage;
#[cfg(all(feature = "cli", target_os = "linux"))]
pub(crate) mod taken;
pub(crate) mod tasks;
