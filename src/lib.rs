#![cfg_attr(feature = "cli", doc = include_str!("../README.md"))]
//!
//! # The crate
//!
//! [`record::Recorder`] records; with the feature `replay`, `catalog` finds recordings and `replay` sends them over a
//! `sift` connection; with the feature `stream`, a `stream` does both at once; with the feature `receiver`, `receiver` is
//! an endpoint of one's own. `verify` checks all that recordings hold. [`segment`] reads and writes single files, and [`mod@format`] knows the bytes.

#[cfg(feature = "checkpoints")]
#[cfg_attr(not(feature = "replay"), allow(dead_code, reason = "the rest of `replay` uses it"))]
pub mod catalog;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
pub mod format;
#[cfg(feature = "receiver")]
pub mod receiver;
pub mod record;
#[cfg(feature = "replay")]
pub mod replay;
#[cfg(all(feature = "checkpoints", not(feature = "replay")))]
#[doc(hidden)]
#[path = "replay/offline.rs"]
pub mod replay;
pub mod segment;
#[cfg(feature = "replay")]
pub mod sift;
#[cfg(feature = "stream")]
pub mod stream;
#[cfg(feature = "replay")]
pub mod verify;

pub use record::{Recorder, RecorderOptions};
