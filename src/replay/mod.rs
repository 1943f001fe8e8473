//! Replaying: from files to acknowledged windows.

mod engine;
mod observe;
mod options;
mod places;
mod plan;
mod read;
mod report;
#[allow(dead_code, reason = "the engine is about to use it")]
mod retire;
mod target;
mod watch;
mod watched;
mod window;

pub use engine::{replay, replay_until};
pub use observe::{Observer, Origin, ReplayEvent};
pub use options::{After, OnReject, Rate, ReplayOptions, Rewrite, Selection};
pub use report::{Line, Report, Totals};
pub use retire::{ArchiveError, check_archive};
pub use target::{PbfsId, Subject, Target};
pub use watch::Watch;
