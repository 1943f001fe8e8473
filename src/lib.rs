//! Records telemetry without a network and replays it into Sift.

#[cfg(feature = "receiver")]
pub mod receiver;
