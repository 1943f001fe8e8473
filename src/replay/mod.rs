//! Replaying: from files to acknowledged windows.

mod engine;
mod lane;
mod observe;
mod options;
mod outgoing;
mod plan;
mod rate;
mod read;
mod refusal;
mod report;
mod retry;
mod slots;
mod target;
mod window;

pub use engine::{replay, replay_until};
pub use observe::{Observer, Origin, ReplayEvent};
pub use options::{After, OnReject, Rate, ReplayOptions, Rewrite, Selection};
pub use report::{Line, Report, Totals};
pub use target::{PbfsId, Subject, Target};
