//! Records telemetry without a network and replays it into Sift.

#[cfg(feature = "replay")]
pub mod catalog;
pub mod format;
pub mod record;
#[cfg(feature = "replay")]
pub mod replay;
pub mod segment;
#[cfg(feature = "replay")]
pub mod sift;
