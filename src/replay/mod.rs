//! Replaying: from files to acknowledged windows.

mod engine;
mod observe;
mod options;
mod plan;
mod read;
mod report;
mod window;

pub use engine::{replay, replay_until};
pub use observe::{Observer, Origin, ReplayEvent};
pub use options::{OnReject, ReplayOptions};
pub use report::{Line, Report, Totals};
