//! What a replay tells: as lines and bars for people, or as JSON.

mod bars;
pub(super) mod found;
mod json;
mod lines;
mod meter;
mod report;
mod state;
pub(super) mod words;

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::args::OutputArgs;
use super::text::note;
use crate::replay::{Observer, ReplayEvent};

use bars::Bars;
pub(super) use json::{JsonLines, summary_json};
use lines::Lines;
pub(super) use report::print_report;
use state::Progress;

/// How often bars are drawn.
const DRAWN_EVERY: Duration = Duration::from_millis(200);

/// How often a line tells the progress where there are no bars.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// Whoever tells a replay's progress, as the arguments want it.
///
/// `give_up_after`: how long the replay tries without progress.
pub(super) fn observer(output: &OutputArgs, give_up_after: Option<Duration>) -> Box<dyn Observer> {
    match output {
        OutputArgs { json: true, .. } => Box::new(JsonLines),
        OutputArgs { quiet: true, .. } => Box::new(()),
        _ => Box::new(People::new(give_up_after)),
    }
}

/// Tells people, on stderr: notable things as lines; the progress as bars if it is a terminal, else now and then as a
/// line.
struct People {
    shared: Arc<Mutex<Shared>>,
    ticker: Mutex<Option<Ticker>>,
}

struct Shared {
    lines: Lines,
    progress: Progress,
    bars: Option<Bars>,
}

impl Shared {
    fn tick(&mut self, now: Instant) {
        match &mut self.bars {
            Some(bars) => bars.draw(&self.progress.view(now)),
            None => self.progress.line(now).into_iter().for_each(note),
        }
    }
}

impl People {
    fn new(give_up_after: Option<Duration>) -> Self {
        let lines = Lines::new(give_up_after);
        let shared = Shared { lines, progress: Progress::new(Instant::now()), bars: Bars::new() };
        let every = if shared.bars.is_some() { DRAWN_EVERY } else { TOLD_EVERY };
        let shared = Arc::new(Mutex::new(shared));
        let ticker = Mutex::new(Ticker::start(Arc::clone(&shared), every));
        Self { shared, ticker }
    }
}

impl Observer for People {
    fn event(&self, event: &ReplayEvent<'_>) {
        let now = Instant::now();
        if matches!(event, ReplayEvent::Summary(_)) {
            // First, so that nothing is drawn behind the end.
            drop(self.ticker.lock().unwrap_or_else(PoisonError::into_inner).take());
            lock(&self.shared).bars = None;
        }
        let mut shared = lock(&self.shared);
        shared.progress.event(event, now);
        let texts = shared.lines.texts(event, now);
        drop(shared);
        texts.into_iter().for_each(note);
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A thread that tells the progress as time goes by; it ends when this is dropped.
struct Ticker {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    /// `None` where no thread can be had: a replay works without, too.
    fn start(shared: Arc<Mutex<Shared>>, every: Duration) -> Option<Self> {
        let (stop, stopped) = channel::<()>();
        let tick = move || {
            while stopped.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                lock(&shared).tick(Instant::now());
            }
        };
        let thread = std::thread::Builder::new().name("progress".to_owned()).spawn(tick).ok()?;
        Some(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It can only have panicked, which has been told.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::Report;

    #[test]
    fn nothing_is_drawn_behind_the_summary() {
        let people = People::new(None);
        people.event(&ReplayEvent::Waiting);
        for _ in 0..2 {
            people.event(&ReplayEvent::Summary(&Report::default()));
            assert!(people.ticker.lock().unwrap().is_none());
            assert!(lock(&people.shared).bars.is_none());
            assert_eq!(Arc::strong_count(&people.shared), 1, "the thread has ended");
        }
    }

    #[test]
    fn an_observer_that_is_dropped_early_takes_its_thread_along() {
        let people = People::new(None);
        let shared = Arc::downgrade(&people.shared);
        drop(people);
        assert!(shared.upgrade().is_none());
    }
}
