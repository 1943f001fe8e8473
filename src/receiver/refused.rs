//! Requests that were refused without ending their stream: the counterpart of Sift's error queue.

use bytes::Bytes;
use std::collections::VecDeque;

/// How many refused requests are kept.
const MOST_REQUESTS: usize = 1000;
/// How many bytes of refused requests are kept.
const MOST_BYTES: usize = 16 * 1024 * 1024;

/// A request that did not fit its ingestion config, in a stream that went on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedRequest {
    /// The stream's number, as in [`Event`](super::Event).
    pub stream: u64,
    /// The request's place in the stream, counted from 0.
    pub index: u64,
    /// Why it was refused.
    pub reason: String,
    /// The request as it was received.
    pub request: Bytes,
}

/// The latest refused requests; older ones give way, and are counted.
#[derive(Debug, Default)]
pub(super) struct RefusedQueue {
    requests: VecDeque<RefusedRequest>,
    bytes: usize,
    forgotten: u64,
}

impl RefusedQueue {
    pub(super) fn push(&mut self, refused: RefusedRequest) {
        self.bytes += refused.request.len();
        self.requests.push_back(refused);
        while self.requests.len() > MOST_REQUESTS || self.bytes > MOST_BYTES {
            let Some(oldest) = self.requests.pop_front() else {
                break;
            };
            self.bytes -= oldest.request.len();
            self.forgotten += 1;
        }
    }

    /// The requests kept, oldest first, and how many were forgotten before them.
    pub(super) fn snapshot(&self) -> (Vec<RefusedRequest>, u64) {
        (self.requests.iter().cloned().collect(), self.forgotten)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(index: u64, bytes: usize) -> RefusedRequest {
        RefusedRequest { stream: 1, index, reason: "why".into(), request: vec![0; bytes].into() }
    }

    #[test]
    fn the_queue_is_bounded_and_counts_what_it_forgets() {
        let mut queue = RefusedQueue::default();
        (0..1003).for_each(|index| queue.push(refused(index, 10)));
        let (kept, forgotten) = queue.snapshot();
        assert_eq!((kept.len(), kept[0].index, forgotten), (1000, 3, 3));
        queue.push(refused(2000, MOST_BYTES - 15));
        let (kept, forgotten) = queue.snapshot();
        assert_eq!((kept.len(), kept[0].index, forgotten), (2, 1002, 1002));
    }
}
