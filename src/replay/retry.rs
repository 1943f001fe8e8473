//! Trying again: pauses that grow and differ, until there was no progress for too long, or nobody wants to go on.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::Instant;

use super::options::ReplayOptions;
use crate::sift::{ConnectError, Fault, RegisterError, SendError};

/// Why something isn't delivered.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
pub(crate) enum Stop {
    /// This job alone: its data or its schema is refused.
    #[error("{0}")]
    Job(String),
    /// Everything: the destination can't be reached, or refuses the credentials.
    #[error("{0}")]
    All(String),
    /// Everything: what was delivered can't be kept in mind on this computer.
    #[error("{0}")]
    Here(String),
    /// Somebody interrupted the replay.
    #[error("interrupted")]
    Interrupted,
}

/// Whether the replay goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Course {
    /// It does.
    On,
    /// Nothing new is begun; what is on its way may be acknowledged.
    Winding,
    /// It has failed, and why.
    Failed(Stop),
}

/// The replay's course, and how long it is without progress; shared by all that try.
#[derive(Debug)]
pub(crate) struct Patience {
    give_up_after: Option<Duration>,
    most_attempts: Option<u32>,
    attempts_made: u32,
    first_pause: Duration,
    longest_pause: Duration,
    pause_factor: u8,
    progressed: Mutex<Instant>,
    course: watch::Sender<Course>,
}

/// Attempts at one thing.
pub(crate) struct Attempts {
    failed: u32,
    /// When the first one failed.
    since: Option<Instant>,
    ranges: backon::ExponentialBackoff,
}

/// An error that says whether trying again may help.
pub(crate) trait Faulty: std::fmt::Display + Sync {
    fn fault(&self) -> Fault;
}

impl Faulty for SendError {
    fn fault(&self) -> Fault {
        self.fault()
    }
}

impl Faulty for ConnectError {
    fn fault(&self) -> Fault {
        if self.is_transient() { Fault::Transient { retry_after: None } } else { Fault::Destination }
    }
}

impl Faulty for RegisterError {
    fn fault(&self) -> Fault {
        self.fault()
    }
}

impl Patience {
    pub(crate) fn new(options: &ReplayOptions) -> Self {
        Self {
            give_up_after: options.give_up_after,
            most_attempts: options.most_attempts,
            attempts_made: options.attempts_made,
            pause_factor: options.pause_factor,
            first_pause: options.first_pause,
            longest_pause: options.longest_pause,
            progressed: Mutex::new(Instant::now()),
            course: watch::channel(Course::On).0,
        }
    }

    /// Something went well: the time without progress begins anew.
    pub(crate) fn progressed(&self) {
        *self.progressed.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Whether new work may be begun.
    pub(crate) fn check(&self) -> Result<(), Stop> {
        match &*self.course.borrow() {
            Course::On => Ok(()),
            Course::Winding => Err(Stop::Interrupted),
            Course::Failed(stop) => Err(stop.clone()),
        }
    }

    /// Nothing new is begun from now on.
    pub(crate) fn wind_up(&self) {
        self.course.send_if_modified(|course| {
            let on = *course == Course::On;
            if on {
                *course = Course::Winding;
            }
            on
        });
    }

    /// Everything ends; the first reason stays.
    pub(crate) fn fail(&self, stop: Stop) {
        self.course.send_if_modified(|course| {
            let first = !matches!(course, Course::Failed(_));
            if first {
                *course = Course::Failed(stop);
            }
            first
        });
    }

    /// Why everything ended.
    pub(crate) fn failure(&self) -> Option<Stop> {
        match &*self.course.borrow() {
            Course::Failed(stop) => Some(stop.clone()),
            _ => None,
        }
    }

    /// Returns when everything has failed, and why.
    pub(crate) async fn failed(&self) -> Stop {
        let mut course = self.course.subscribe();
        // The sender lives as long as this.
        let _ = course.wait_for(|course| matches!(course, Course::Failed(_))).await;
        self.failure().unwrap_or(Stop::Interrupted)
    }

    /// Returns when nothing new is to be begun.
    pub(crate) async fn ending(&self) {
        let mut course = self.course.subscribe();
        // The sender lives as long as this.
        let _ = course.wait_for(|course| *course != Course::On).await;
    }

    /// Returns so long after somebody has interrupted the replay.
    pub(crate) async fn grace_over(&self, grace: Duration) {
        let mut course = self.course.subscribe();
        // The sender lives as long as this.
        let _ = course.wait_for(|course| *course == Course::Winding).await;
        tokio::time::sleep(grace).await;
    }

    pub(crate) fn attempts(&self) -> Attempts {
        let ranges = ExponentialBuilder::default()
            .with_min_delay(self.first_pause)
            .with_max_delay(self.longest_pause)
            .with_factor(f32::from(self.pause_factor.max(1)))
            .without_max_times()
            .build();
        Attempts { failed: 0, since: None, ranges }
    }

    /// Waits before the next attempt, having told of it: a random time from the whole range (full jitter), but not less
    /// than what the server asks for, within reason.
    ///
    /// # Errors
    /// Trying again is of no use, or nobody wants it.
    pub(crate) async fn pause(
        &self,
        attempts: &mut Attempts,
        error: &dyn Faulty,
        tell: impl FnOnce(u32, Duration),
    ) -> Result<(), Stop> {
        let retry_after = match error.fault() {
            Fault::Data => return Err(Stop::Job(error.to_string())),
            Fault::Destination => return Err(Stop::All(error.to_string())),
            Fault::Transient { retry_after } => retry_after.unwrap_or_default(),
        };
        self.check()?;
        let progressed = *self.progressed.lock().unwrap_or_else(PoisonError::into_inner);
        // What takes long until it fails for the first time (a large window on a slow line) is tried again all the same.
        let waited = progressed.max(*attempts.since.get_or_insert_with(Instant::now)).elapsed();
        let left = self.give_up_after.map(|most| most.saturating_sub(waited));
        if left == Some(Duration::ZERO) {
            return Err(Stop::All(self.given_up(error)));
        }
        // The one that has just failed counts, too.
        if let Some(most) = self.most_attempts.filter(|most| attempts.failed.saturating_add(1) >= *most) {
            let attempts = most.max(1).saturating_add(self.attempts_made);
            let attempts = if attempts == 1 { "1 attempt".to_owned() } else { format!("{attempts} attempts") };
            return Err(Stop::All(format!("{error}; given up after {attempts}")));
        }
        let range = attempts.ranges.next().unwrap_or(self.longest_pause);
        let pause = range.mul_f64(fastrand::f64()).max(retry_after).min(self.longest_pause.max(range));
        let pause = left.map_or(pause, |left| pause.min(left));
        attempts.failed = attempts.failed.saturating_add(1);
        tell(attempts.failed, pause);
        tokio::select! {
            () = tokio::time::sleep(pause) => Ok(()),
            () = self.ending() => self.check(),
        }
    }

    fn given_up(&self, error: &dyn Faulty) -> String {
        match self.give_up_after {
            Some(most) if !most.is_zero() => format!("{error}; given up after {} without progress", text(most)),
            _ => error.to_string(),
        }
    }
}

/// A duration for people.
fn text(duration: Duration) -> String {
    match duration.as_secs_f64() {
        seconds if seconds < 120.0 => format!("{seconds} s"),
        seconds => format!("{} min", (seconds / 60.0).round()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Error(Fault);

    impl std::fmt::Display for Error {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("no luck")
        }
    }

    impl Faulty for Error {
        fn fault(&self) -> Fault {
            self.0
        }
    }

    const AGAIN: Error = Error(Fault::Transient { retry_after: None });

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(future)
    }

    fn patience(give_up_after: Option<Duration>) -> Patience {
        Patience::new(&ReplayOptions { give_up_after, ..ReplayOptions::default() })
    }

    #[test]
    fn pauses_grow_to_their_limit_and_differ() {
        run(async {
            let patience = patience(None);
            let (mut attempts, mut pauses) = (patience.attempts(), Vec::new());
            for attempt in 1..=200 {
                let tell = |failed, pause| {
                    assert_eq!(failed, attempt);
                    pauses.push(pause);
                };
                patience.pause(&mut attempts, &AGAIN, tell).await.unwrap();
            }
            assert!(pauses[0] <= Duration::from_millis(200));
            assert!(pauses[1] <= Duration::from_millis(400));
            assert!(pauses.iter().all(|pause| *pause <= Duration::from_secs(30)));
            // The whole range is used: full jitter.
            let late = &pauses[20..];
            assert!(late.iter().any(|pause| *pause < Duration::from_secs(6)));
            assert!(late.iter().any(|pause| *pause > Duration::from_secs(24)));
        });
    }

    #[test]
    fn a_server_that_asks_for_time_gets_it_within_reason() {
        run(async {
            let patience = patience(None);
            for (asked, given) in [(7, 7), (100_000, 30)] {
                let error = Error(Fault::Transient { retry_after: Some(Duration::from_secs(asked)) });
                let mut told = Duration::ZERO;
                patience.pause(&mut patience.attempts(), &error, |_, pause| told = pause).await.unwrap();
                assert_eq!(told, Duration::from_secs(given));
            }
        });
    }

    #[test]
    fn it_is_given_up_after_the_time_without_progress_not_before() {
        run(async {
            let patience = patience(Some(Duration::from_secs(900)));
            let began = Instant::now();
            let mut attempts = patience.attempts();
            while began.elapsed() < Duration::from_secs(600) {
                patience.pause(&mut attempts, &AGAIN, |_, _| ()).await.unwrap();
            }
            patience.progressed();
            let progressed = Instant::now();
            let given_up = loop {
                if let Err(stop) = patience.pause(&mut attempts, &AGAIN, |_, _| ()).await {
                    break stop;
                }
            };
            assert_eq!(progressed.elapsed().as_secs(), 900);
            assert_eq!(given_up, Stop::All("no luck; given up after 15 min without progress".to_owned()));
        });
    }

    #[test]
    fn it_is_given_up_after_so_many_attempts_and_pauses_grow_as_asked_for() {
        run(async {
            let options = ReplayOptions {
                most_attempts: Some(4),
                first_pause: Duration::from_millis(1),
                pause_factor: 100,
                longest_pause: Duration::from_secs(10),
                give_up_after: None,
                ..ReplayOptions::default()
            };
            let patience = Patience::new(&options);
            let (mut attempts, mut told) = (patience.attempts(), 0);
            let given_up = loop {
                if let Err(stop) = patience.pause(&mut attempts, &AGAIN, |failed, _| told = failed).await {
                    break stop;
                }
            };
            assert_eq!(told, 3);
            assert_eq!(given_up, Stop::All("no luck; given up after 4 attempts".to_owned()));
            let once = Patience::new(&ReplayOptions { most_attempts: Some(1), ..options });
            let stop = once.pause(&mut once.attempts(), &AGAIN, |_, _| panic!("no pause")).await;
            assert_eq!(stop, Err(Stop::All("no luck; given up after 1 attempt".to_owned())));
        });
    }

    #[test]
    fn what_time_does_not_mend_is_not_tried_again() {
        run(async {
            let patience = patience(None);
            let tell = |_, _| panic!("no pause");
            let stop = patience.pause(&mut patience.attempts(), &Error(Fault::Data), tell).await;
            assert_eq!(stop, Err(Stop::Job("no luck".to_owned())));
            let stop = patience.pause(&mut patience.attempts(), &Error(Fault::Destination), tell).await;
            assert_eq!(stop, Err(Stop::All("no luck".to_owned())));
        });
    }

    #[test]
    fn a_pause_ends_when_everything_does_and_the_first_reason_stays() {
        run(async {
            let patience = patience(None);
            let mut attempts = patience.attempts();
            let (stop, ()) = tokio::join!(patience.pause(&mut attempts, &AGAIN, |_, _| ()), async {
                patience.wind_up();
            });
            assert_eq!(stop, Err(Stop::Interrupted));
            patience.fail(Stop::All("first".to_owned()));
            patience.fail(Stop::Here("second".to_owned()));
            patience.wind_up();
            assert_eq!(patience.check(), Err(Stop::All("first".to_owned())));
            assert_eq!(patience.failed().await, Stop::All("first".to_owned()));
        });
    }
}
