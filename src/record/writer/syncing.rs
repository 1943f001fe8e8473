//! When segments are synced, sealed and followed by the next one.

use std::sync::atomic::Ordering;
use std::time::Instant;

use super::Writer;
use crate::record::options::SyncPolicy;
use crate::segment::SegmentError;

impl Writer {
    /// When something is due that no new work announces.
    pub(in crate::record) fn deadline(&self) -> Option<Instant> {
        let sync = match self.options.sync {
            SyncPolicy::Interval(interval) => self.unsynced.since().and_then(|since| since.checked_add(interval)),
            _ => None,
        };
        let has_records = self.segment.as_ref().is_some_and(|segment| !segment.is_empty());
        let age = self.options.segment_age.filter(|_| has_records).and_then(|age| self.segment_began.checked_add(age));
        [sync, age].into_iter().flatten().min()
    }

    pub(super) fn rotate_if_due(&mut self) -> Result<(), SegmentError> {
        let Some(segment) = &self.segment else { return Ok(()) };
        let old = self.options.segment_age.is_some_and(|age| self.clock.since(self.segment_began) >= age);
        if segment.len() >= self.options.segment_bytes || (old && !segment.is_empty()) { self.seal() } else { Ok(()) }
    }

    /// Seals the open segment, if there is one. The next frame begins a new one.
    pub(super) fn seal(&mut self) -> Result<(), SegmentError> {
        let Some(segment) = &mut self.segment else { return Ok(()) };
        self.counters.syncs.fetch_add(1, Ordering::Relaxed);
        match segment.seal_in_place() {
            Ok(_) => {
                self.close();
                self.count_bytes();
                self.confirm();
                Ok(())
            }
            Err(error) => self.recover(&error),
        }
    }

    /// Ends the session.
    pub(super) fn end(&mut self) -> Result<(), SegmentError> {
        self.seal()?;
        // Had sealing failed, the segment that took its place is to be sealed too.
        self.seal()?;
        if let Some(segment) = &mut self.segment {
            return Err(SegmentError::Abandoned { path: segment.path() });
        }
        // What came behind the last rotation has been waiting for nothing else.
        self.confirm();
        Ok(())
    }

    pub(super) fn sync_is_due(&self, wanted: bool) -> bool {
        if self.unsynced.is_empty() {
            return false;
        }
        let due = match self.options.sync {
            // Whoever waits for a record says so; until then, more may join the same sync.
            SyncPolicy::EveryRecord | SyncPolicy::OnRotation => false,
            SyncPolicy::Interval(interval) => {
                self.unsynced.since().is_some_and(|since| self.clock.since(since) >= interval)
            }
            SyncPolicy::Bytes(bytes) => self.unsynced.raw_bytes() >= bytes,
        };
        wanted || due || self.unsynced.bytes() >= self.options.unsynced_bytes
    }

    pub(super) fn sync_if(&mut self, wanted: bool) -> Result<(), SegmentError> {
        self.rotate_if_due()?;
        if self.sync_is_due(wanted) {
            return self.sync();
        }
        if wanted && self.unsynced.is_empty() {
            // All of it was synced on the way.
            self.confirm();
        }
        Ok(())
    }

    pub(super) fn sync(&mut self) -> Result<(), SegmentError> {
        let Some(segment) = &mut self.segment else { return Ok(()) };
        self.counters.syncs.fetch_add(1, Ordering::Relaxed);
        match segment.sync() {
            Ok(()) => {
                self.confirm();
                Ok(())
            }
            Err(error) => self.recover(&error),
        }
    }

    /// All that was written is durable.
    pub(super) fn confirm(&mut self) {
        self.queue.set_durable(self.last_ticket, self.written_seq);
        self.queue.recycle(self.unsynced.clear());
    }
}
