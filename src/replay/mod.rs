//! Replaying: from files to acknowledged windows.

mod buffers;
mod checkpoint;
mod context;
#[cfg(feature = "stream")]
mod courier;
mod dead_letter;
mod deliver;
mod dry;
mod engine;
mod findings;
mod held;
#[cfg(feature = "sim")]
mod hot;
mod job;
mod lane;
mod observe;
mod options;
mod outgoing;
mod places;
mod plan;
mod rate;
mod read;
mod refusal;
mod registering;
mod report;
mod retire;
mod retiring;
mod retry;
mod scope;
mod searching;
mod slots;
mod target;
mod turns;
mod watch;
mod watched;
mod watermark;
mod window;

pub use checkpoint::{
    Checkpoint, Checkpoints, Done, Forget, Forgotten, KnownTarget, Outcome, PbfsMark, StateDirs, StateError,
};
pub use context::State;
#[cfg(feature = "stream")]
pub(crate) use courier::{Courier, Settled};
pub use dead_letter::{
    DEAD_LETTERS_DIR, DeadLetter, DeadLetterGroup, DeadLetterList, DeadLetterSession, DeadLetters, Refusal,
    RefusedRange, RefusedRecord, Retried, Trouble, WaitingLetters, catalog as dead_letter_catalog,
    list as list_dead_letters, list_where as list_dead_letters_where, origins as dead_letter_origins,
    read as read_dead_letters, retry_dead_letters, sessions_for as dead_letters_for,
    undelivered as undelivered_dead_letters, waiting_dead_letters,
};
pub use dry::dry_run;
pub use engine::{Work, replay, replay_until};
#[cfg(feature = "sim")]
#[doc(hidden)]
pub use hot::HotLoops;
pub use lane::Lanes;
pub use observe::{Observer, Origin, ReplayEvent};
pub use options::{After, OnReject, Rate, ReplayOptions, Rewrite, Selection};
#[cfg(feature = "stream")]
pub(crate) use outgoing::{Ids, Outgoing, put_message};
pub use report::{Line, Report, Totals};
pub use retire::{ArchiveError, check_archive};
#[cfg(feature = "stream")]
pub(crate) use retiring::Sweeper;
#[cfg(feature = "stream")]
pub(crate) use retry::{Attempts, Faulty, Patience};
#[cfg(feature = "stream")]
pub(crate) use scope::spawn_blocking;
pub use target::{PbfsId, Subject, Target};
pub use watch::Watch;
