//! How a replay behaves.

use std::time::Duration;

/// What to do with records that the destination refuses for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnReject {
    /// Stop the session (or file) that they are in, and report what wasn't delivered.
    #[default]
    Stop,
    /// Let the destination take the rest: what doesn't fit goes to its own error queue, unseen from here.
    Accept,
}

/// How a replay behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayOptions {
    /// Bytes after which a window is closed and acknowledged. Default: 4 MiB.
    pub window_bytes: usize,
    /// Time after a window's end in which its acknowledgement must come. Default: 30 s.
    pub acknowledgement_timeout: Duration,
    /// What to do with records that the destination refuses. Default: stop.
    pub on_reject: OnReject,
}

impl Default for ReplayOptions {
    fn default() -> Self {
        Self { window_bytes: 4 << 20, acknowledgement_timeout: Duration::from_secs(30), on_reject: OnReject::default() }
    }
}
