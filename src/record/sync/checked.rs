//! A checker's threads and locks: shuttle's, which switches from thread to thread wherever one of these is used, with waits that
//! end too early or for no reason, as the real ones may, and shuttle's own never do.

#![allow(clippy::unwrap_used, reason = "for tests")]

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{LockResult, OnceLock as StdOnceLock};
use std::time::Duration;

pub(in crate::record) use shuttle::sync::atomic::{AtomicBool, AtomicU64};
pub(in crate::record) use shuttle::thread::{Builder as ThreadBuilder, JoinHandle};

use shuttle::rand::RngCore;
use uuid::Uuid;

use crate::record::clock::Clock;
use crate::record::{RecordError, Recorder, RecorderOptions, Schema, SimClock};

/// When waits end that nobody ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timeouts {
    /// Never: whoever isn't woken sleeps for ever, and that is found.
    Never,
    /// At any moment: a time-out that comes late or early, and now and then a wait that ends without a reason.
    Always,
    /// So many of them at any moment, or fewer; the others never.
    Some(u32),
}

thread_local! {
    /// All threads of a session are one of the system's, so that this is the session's.
    static TIME: RefCell<Option<(SimClock, Timeouts)>> = const { RefCell::new(None) };
}

/// Begins a session that goes by this clock.
pub fn set_time(clock: &SimClock, timeouts: Timeouts) {
    TIME.set(Some((clock.clone(), timeouts)));
}

/// One of so many ways, which whoever searches chooses. An exhaustive search knows no more than two.
fn chance(of: u64) -> u64 {
    shuttle::rand::thread_rng().next_u64() % of
}

/// Whether a wait that has a time-out, of so long, or else `None`, ends by itself.
fn ends_by_itself(timeout: Option<Duration>) -> bool {
    TIME.with_borrow_mut(|time| match (time, timeout) {
        (Some((_, Timeouts::Always)), Some(_)) => true,
        (Some((_, Timeouts::Always)), None) => chance(8) == 0,
        (Some((_, Timeouts::Some(left))), Some(_)) if *left > 0 && chance(2) == 1 => {
            *left -= 1;
            true
        }
        _ => false,
    })
}

/// A wait has ended by itself: because the time has come, or not.
fn pass(timeout: Duration) {
    TIME.with_borrow(|time| match time {
        Some((clock, Timeouts::Always)) if chance(2) == 1 => clock.advance(timeout),
        Some((clock, Timeouts::Some(_))) => clock.advance(timeout),
        _ => {}
    });
}

#[derive(Debug, Default)]
pub(in crate::record) struct Mutex<T>(shuttle::sync::Mutex<T>);

#[derive(Debug)]
pub(in crate::record) struct MutexGuard<'a, T> {
    guard: shuttle::sync::MutexGuard<'a, T>,
    of: &'a Mutex<T>,
}

impl<T> Mutex<T> {
    pub(in crate::record) fn new(value: T) -> Self {
        Self(shuttle::sync::Mutex::new(value))
    }

    pub(in crate::record) fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        // Nothing that is poisoned is looked at again: the first panic ends the search.
        Ok(MutexGuard { guard: self.0.lock().unwrap(), of: self })
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

#[derive(Debug, Default)]
pub(in crate::record) struct Condvar(shuttle::sync::Condvar);

impl Condvar {
    pub(in crate::record) fn new() -> Self {
        Self::default()
    }

    pub(in crate::record) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        if ends_by_itself(None) {
            return at_any_moment(guard);
        }
        let MutexGuard { guard, of } = guard;
        Ok(MutexGuard { guard: self.0.wait(guard).unwrap(), of })
    }

    pub(in crate::record) fn wait_timeout<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        timeout: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, ())> {
        if !ends_by_itself(Some(timeout)) {
            let MutexGuard { guard, of } = guard;
            return Ok((MutexGuard { guard: self.0.wait(guard).unwrap(), of }, ()));
        }
        let guard = at_any_moment(guard);
        pass(timeout);
        guard.map(|guard| (guard, ())).map_err(|_| unreachable!("nothing is poisoned"))
    }

    pub(in crate::record) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(in crate::record) fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// Unlocked for as long as others run. (Who notifies one meanwhile means this one: a condition with time-outs has no more
/// than one who waits.)
fn at_any_moment<T>(guard: MutexGuard<'_, T>) -> LockResult<MutexGuard<'_, T>> {
    let of = guard.of;
    drop(guard);
    shuttle::thread::yield_now();
    of.lock()
}

/// Like std's, each use of which is a moment of its own.
#[derive(Debug)]
pub(in crate::record) struct OnceLock<T>(StdOnceLock<T>, AtomicBool);

impl<T> OnceLock<T> {
    pub(in crate::record) fn new() -> Self {
        Self(StdOnceLock::new(), AtomicBool::new(false))
    }

    pub(in crate::record) fn get(&self) -> Option<&T> {
        self.1.load(Ordering::Acquire);
        self.0.get()
    }

    pub(in crate::record) fn set(&self, value: T) -> Result<(), T> {
        self.1.store(true, Ordering::Release);
        self.0.set(value)
    }
}

impl Recorder {
    /// As [`create`](Self::create), with a session and a clock of the caller's.
    ///
    /// # Errors
    /// As there.
    pub fn create_at(
        root: &Path,
        schema: &Schema,
        options: RecorderOptions,
        session: Uuid,
        clock: &SimClock,
    ) -> Result<Self, RecordError> {
        let (recorder, writer) = Self::prepare(root, schema, options, session, Clock::Sim(clock.clone()))?;
        recorder.start(writer)?;
        Ok(recorder)
    }
}
