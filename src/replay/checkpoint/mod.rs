//! Checkpoints: what destinations have acknowledged, kept so that it survives whatever happens to this process or
//! computer ([F-39], [F-40]).
//!
//! A checkpoint is a fact, and facts only add up: journals are read in any order, any number of times, from any number
//! of places, and what is known is their union. Losing one costs sending its records again; none is ever made up.

mod compact;
mod dirs;
mod error;
mod facts;
mod journal;
mod lock;
mod store;
#[cfg(test)]
mod tests;
mod writer;

pub use dirs::StateDirs;
pub use error::StateError;
#[cfg(feature = "replay")]
pub(super) use facts::present_in;
pub use facts::{Checkpoint, Done, Forget, KnownTarget, Outcome, PbfsMark};
pub use store::{Checkpoints, Forgotten};
