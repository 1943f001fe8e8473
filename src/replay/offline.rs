//! What of replaying needs no network, for fuzzing: what is known to be delivered.
#![allow(dead_code, reason = "the rest of `replay` uses it")]

mod checkpoint;
mod options;
mod scope;
mod target;

pub use checkpoint::{
    Checkpoint, Checkpoints, Done, Forget, Forgotten, KnownTarget, Outcome, PbfsMark, StateDirs, StateError,
};
pub use options::{After, OnReject, Rate, ReplayOptions, Rewrite, Selection};
pub use target::{PbfsId, Subject, Target};
