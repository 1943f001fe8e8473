//! No faster than somebody allows, over all lanes.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::options::Rate;

/// Lets through so much in a second.
#[derive(Debug)]
pub(super) struct Limiter {
    rate: Option<Rate>,
    /// When the next bytes may go.
    free: Mutex<Instant>,
}

impl Limiter {
    pub(super) fn new(rate: Option<Rate>) -> Self {
        Self { rate, free: Mutex::new(Instant::now()) }
    }

    /// Returns when so many more bytes and records may go.
    pub(super) async fn pass(&self, bytes: u64, records: f64) {
        let seconds = match self.rate {
            None => return,
            Some(Rate::Bytes(rate)) => bytes as f64 / rate.get() as f64,
            Some(Rate::Records(rate)) => records / rate.get() as f64,
        };
        let cost = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
        let begin = {
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            // What wasn't used is gone: no burst after a pause.
            let begin = (*free).max(Instant::now());
            // A year is as good as for ever, and never overflows.
            *free = begin + cost.min(Duration::from_secs(365 * 86400));
            begin
        };
        sleep_until(begin).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU64;

    fn elapsed(rate: Option<Rate>, parts: &[(u64, f64)]) -> Duration {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let (limiter, began) = (Limiter::new(rate), Instant::now());
            for &(bytes, records) in parts {
                limiter.pass(bytes, records).await;
            }
            // The last part's own time.
            limiter.pass(0, 0.0).await;
            began.elapsed()
        })
    }

    #[test]
    fn a_rate_is_kept() {
        let thousand = NonZeroU64::new(1000).unwrap();
        let parts = [(500, 2000.0), (1500, 1000.0), (1000, 0.0)];
        assert_eq!(elapsed(None, &parts), Duration::ZERO);
        assert_eq!(elapsed(Some(Rate::Bytes(thousand)), &parts).as_millis() / 10, 300);
        assert_eq!(elapsed(Some(Rate::Records(thousand)), &parts).as_millis() / 10, 300);
    }
}
