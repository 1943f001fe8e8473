//! Replaying: from files to acknowledged windows.

mod checkpoint;
mod engine;
mod observe;
mod options;
mod plan;
mod read;
mod report;
mod target;
mod window;

pub use checkpoint::{
    Checkpoint, Checkpoints, Done, Forget, Forgotten, KnownTarget, Outcome, PbfsMark, StateDirs, StateError,
};
pub use engine::{replay, replay_until};
pub use observe::{Observer, Origin, ReplayEvent};
pub use options::{After, OnReject, Rate, ReplayOptions, Rewrite, Selection};
pub use report::{Line, Report, Totals};
pub use target::{PbfsId, Subject, Target};
