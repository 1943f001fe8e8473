//! Records telemetry without a network and replays it into Sift.

#[cfg(feature = "replay")]
pub mod sift;
