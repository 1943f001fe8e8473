//! An executor by hand: polls a task when it was woken and not otherwise, so that a lost wake-up shows as a test that hangs.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

/// Notes that a task was woken, and wakes the thread that polls it.
pub(crate) struct Alarm {
    thread: Thread,
    rung: AtomicBool,
    /// How often, ever.
    pub(crate) times: AtomicUsize,
}

impl Alarm {
    /// One for this thread, not rung yet.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { thread: std::thread::current(), rung: AtomicBool::new(false), times: AtomicUsize::new(0) })
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.times.fetch_add(1, Ordering::SeqCst);
        self.rung.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}

/// A task of [`run`].
pub(crate) type Task<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// Runs tasks on this thread until all have ended.
pub(crate) fn run(tasks: Vec<Task<'_>>) {
    let with_alarm = |task| {
        let alarm = Alarm::new();
        alarm.rung.store(true, Ordering::SeqCst);
        (task, alarm)
    };
    let mut tasks: Vec<_> = tasks.into_iter().map(with_alarm).collect();
    while !tasks.is_empty() {
        let mut idle = true;
        tasks.retain_mut(|(task, alarm)| {
            if !alarm.rung.swap(false, Ordering::SeqCst) {
                return true;
            }
            idle = false;
            task.as_mut().poll(&mut Context::from_waker(&Waker::from(alarm.clone()))).is_pending()
        });
        if idle {
            std::thread::park();
        }
    }
}

/// Runs one future on this thread.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut output = None;
    run(vec![Box::pin(async { output = Some(future.await) })]);
    output.unwrap()
}

/// Polls a future once, with an alarm that shows whether it was woken, and drops it.
pub(crate) fn poll_once<T>(future: impl Future<Output = T>) -> (Poll<T>, Arc<Alarm>) {
    let alarm = Alarm::new();
    let polled = pin!(future).poll(&mut Context::from_waker(&Waker::from(alarm.clone())));
    (polled, alarm)
}
