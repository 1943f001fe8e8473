//! Replaying: from files to acknowledged windows.

mod dead_letter;
mod checkpoint;
mod engine;
mod lane;
mod observe;
mod options;
mod outgoing;
mod places;
mod plan;
mod rate;
mod read;
mod refusal;
mod report;
mod retry;
mod slots;
mod target;
mod watch;
mod watched;
mod window;

pub use dead_letter::{
    DEAD_LETTERS_DIR, DeadLetter, DeadLetterGroup, DeadLetterList, DeadLetterSession, DeadLetters, Refusal,
    RefusedRange, RefusedRecord, Trouble, catalog as dead_letter_catalog, list as list_dead_letters,
    origins as dead_letter_origins, read as read_dead_letters, sessions_for as dead_letters_for,
};
pub use checkpoint::{
    Checkpoint, Checkpoints, Done, Forget, Forgotten, KnownTarget, Outcome, PbfsMark, StateDirs, StateError,
};
pub use engine::{replay, replay_until};
pub use observe::{Observer, Origin, ReplayEvent};
pub use options::{After, OnReject, Rate, ReplayOptions, Rewrite, Selection};
pub use report::{Line, Report, Totals};
pub use target::{PbfsId, Subject, Target};
pub use watch::Watch;
