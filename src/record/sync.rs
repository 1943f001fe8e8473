//! What the recorder's threads meet by. It is std's, except in the package `tests/interleave/`, which searches interleavings
//! (`tests/README.md`): there each use is a place where any other thread may come in between.

#[cfg(feature = "interleave")]
mod checked;

#[cfg(feature = "interleave")]
pub(super) use self::checked::{
    AtomicBool, AtomicU64, Condvar, JoinHandle, Mutex, MutexGuard, OnceLock, ThreadBuilder,
};
#[cfg(feature = "interleave")]
pub use self::checked::{Timeouts, set_time};
#[cfg(not(feature = "interleave"))]
pub(super) use std::{
    sync::{
        Condvar, Mutex, MutexGuard, OnceLock,
        atomic::{AtomicBool, AtomicU64},
    },
    thread::{Builder as ThreadBuilder, JoinHandle},
};
