//! Records telemetry without a network and replays it into Sift.

#[cfg(feature = "replay")]
pub mod catalog;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
pub mod format;
#[cfg(feature = "receiver")]
pub mod receiver;
pub mod record;
#[cfg(feature = "replay")]
pub mod replay;
pub mod segment;
#[cfg(feature = "replay")]
pub mod sift;
