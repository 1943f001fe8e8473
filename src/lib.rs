//! Records telemetry without a network and replays it into Sift.

pub mod format;
pub mod record;
pub mod segment;
