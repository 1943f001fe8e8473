//! How fast something goes, of late.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What is older doesn't count.
const WINDOW: Duration = Duration::from_secs(10);

/// What is nearer together counts as one.
const GRAIN: Duration = Duration::from_millis(200);

/// A shorter time says nothing about speed.
const LEAST: Duration = Duration::from_secs(1);

/// An amount of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Amount {
    pub(super) records: u64,
    /// Sent.
    pub(super) bytes: u64,
    /// Of the files.
    pub(super) read: u64,
}

impl Amount {
    pub(super) fn add(&mut self, more: Self) {
        self.records = self.records.saturating_add(more.records);
        self.bytes = self.bytes.saturating_add(more.bytes);
        self.read = self.read.saturating_add(more.read);
    }
}

/// Work a second.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Speed {
    pub(super) records: f64,
    pub(super) bytes: f64,
    pub(super) read: f64,
}

/// Measures over the last ten seconds; its memory doesn't grow with the work.
#[derive(Debug)]
pub(super) struct Meter {
    since: Instant,
    samples: VecDeque<(Instant, Amount)>,
}

impl Meter {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, samples: VecDeque::new() }
    }

    pub(super) fn add(&mut self, amount: Amount, now: Instant) {
        while self.samples.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) > WINDOW) {
            self.samples.pop_front();
        }
        match self.samples.back_mut() {
            Some((at, sum)) if now.saturating_duration_since(*at) < GRAIN => sum.add(amount),
            _ => self.samples.push_back((now, amount)),
        }
    }

    pub(super) fn speed(&self, now: Instant) -> Speed {
        let mut sum = Amount::default();
        for (at, amount) in &self.samples {
            if now.saturating_duration_since(*at) <= WINDOW {
                sum.add(*amount);
            }
        }
        let seconds = now.saturating_duration_since(self.since).clamp(LEAST, WINDOW).as_secs_f64();
        let of = |figure: u64| figure as f64 / seconds;
        Speed { records: of(sum.records), bytes: of(sum.bytes), read: of(sum.read) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amount(records: u64) -> Amount {
        Amount { records, bytes: 10 * records, read: 5 * records }
    }

    #[test]
    fn the_last_ten_seconds_count() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut meter = Meter::new(start);
        assert_eq!(meter.speed(at(0)), Speed::default());
        meter.add(amount(100), at(0));
        assert_eq!(meter.speed(at(10)).records, 100.0, "less than a second counts as one");
        assert_eq!(meter.speed(at(4000)), Speed { records: 25.0, bytes: 250.0, read: 125.0 });
        for second in 5..20 {
            meter.add(amount(100), at(second * 1000));
        }
        assert_eq!(meter.speed(at(19_500)).records, 100.0);
        assert_eq!(meter.speed(at(60_000)), Speed::default(), "what stalls comes to rest");
    }

    #[test]
    fn its_memory_is_bounded() {
        let start = Instant::now();
        let mut meter = Meter::new(start);
        for ms in 0..100_000 {
            meter.add(amount(1), start + Duration::from_millis(ms));
        }
        assert!(meter.samples.len() <= 52, "{}", meter.samples.len());
    }
}
