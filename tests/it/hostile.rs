//! Files that somebody made to do harm: the program ends within bounded time and memory, says in a line which file it is
//! and what is wrong with it, and prints nothing that a terminal would obey.
//!
//! `SIFT_REPLAY_HOSTILE_MANY=1000000` makes what is many a million.
#![cfg(unix)]

mod bombs;
mod journals;
mod lengths;
mod make;
mod many;
mod names;
mod place;
mod schemas;
mod seals;
mod trees;

/// How many frames, chunks, gaps are many.
fn many() -> u64 {
    std::env::var("SIFT_REPLAY_HOSTILE_MANY").map_or(10_000, |many| many.parse().unwrap())
}
