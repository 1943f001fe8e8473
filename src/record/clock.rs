//! The session's clocks: the wall clock, which may be set, against one that only goes on.

use std::time::{Duration, Instant};

use super::value::Timestamp;

/// By how much the wall clock must leave the steady one before it counts as set.
const STEP: Duration = Duration::from_secs(1);

/// Where a recorder takes the time from.
#[derive(Debug, Clone, Default)]
pub(super) enum Clock {
    /// The computer.
    #[default]
    System,
    /// A test, which makes time pass.
    #[cfg(feature = "sim")]
    Sim(super::stepped::SimClock),
}

impl Clock {
    /// The steady clock.
    #[inline]
    pub(super) fn now(&self) -> Instant {
        match self {
            Self::System => Instant::now(),
            #[cfg(feature = "sim")]
            Self::Sim(clock) => clock.now(),
        }
    }

    /// The wall clock, in ns since the Unix epoch.
    pub(super) fn wall_ns(&self) -> i64 {
        match self {
            Self::System => Timestamp::now().unix_ns(),
            #[cfg(feature = "sim")]
            Self::Sim(clock) => clock.wall_ns(),
        }
    }
}

/// Both clocks since the session began.
#[derive(Debug)]
pub(super) struct SessionClock {
    clock: Clock,
    began: Instant,
    began_wall: i64,
    /// By how much the wall clock was ahead of the steady one when last looked at, in ns.
    lead: i64,
}

impl SessionClock {
    pub(super) fn start(clock: Clock) -> Self {
        Self { began: clock.now(), began_wall: clock.wall_ns(), lead: 0, clock }
    }

    /// The steady clock.
    pub(super) fn now(&self) -> Instant {
        self.clock.now()
    }

    /// The wall clock, in ns since the Unix epoch.
    pub(super) fn wall_ns(&self) -> i64 {
        self.clock.wall_ns()
    }

    /// Time since `earlier`.
    pub(super) fn since(&self, earlier: Instant) -> Duration {
        self.now().saturating_duration_since(earlier)
    }

    /// Time since the session began, in ns.
    pub(super) fn steady_ns(&self) -> u64 {
        u64::try_from(self.since(self.began).as_nanos()).unwrap_or(u64::MAX)
    }

    /// By how much the wall clock was set since this was last asked, in ns; `None` if it wasn't.
    pub(super) fn step(&mut self) -> Option<i64> {
        self.step_at(self.wall_ns(), self.steady_ns())
    }

    fn step_at(&mut self, wall_ns: i64, steady_ns: u64) -> Option<i64> {
        let steady_ns = i64::try_from(steady_ns).unwrap_or(i64::MAX);
        let lead = wall_ns.saturating_sub(self.began_wall).saturating_sub(steady_ns);
        let step = lead.saturating_sub(self.lead);
        if u128::from(step.unsigned_abs()) < STEP.as_nanos() {
            return None;
        }
        self.lead = lead;
        Some(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_is_noticed_once_and_one_that_drifts_is_not() {
        let mut clock = SessionClock { clock: Clock::System, began: Instant::now(), began_wall: 1_000, lead: 0 };
        assert_eq!(clock.step_at(501_000, 500_000), None);
        assert_eq!(clock.step_at(900_601_000, 600_000), None, "0.9 s ahead");
        assert_eq!(clock.step_at(3_600_000_701_000, 700_000), Some(3_600_000_000_000));
        assert_eq!(clock.step_at(3_600_000_801_000, 800_000), None);
        assert_eq!(clock.step_at(901_000, 900_000), Some(-3_600_000_000_000));
        assert_eq!(clock.step_at(i64::MIN, u64::MAX), Some(i64::MIN), "bounded");
    }
}
