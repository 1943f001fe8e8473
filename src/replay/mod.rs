//! Replaying: from files to acknowledged windows.

mod dead_letter;
mod engine;
mod observe;
mod options;
mod plan;
mod read;
mod report;
mod target;
mod window;

pub use dead_letter::{
    DEAD_LETTERS_DIR, DeadLetter, DeadLetterGroup, DeadLetterList, DeadLetterSession, DeadLetters, Refusal,
    RefusedRange, RefusedRecord, Trouble, catalog as dead_letter_catalog, list as list_dead_letters,
    list_where as list_dead_letters_where, origins as dead_letter_origins, read as read_dead_letters,
    sessions_for as dead_letters_for,
};
pub use engine::{replay, replay_until};
pub use observe::{Observer, Origin, ReplayEvent};
pub use options::{After, OnReject, Rate, ReplayOptions, Rewrite, Selection};
pub use report::{Line, Report, Totals};
pub use target::{PbfsId, Subject, Target};
