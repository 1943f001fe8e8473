//! Records here and there in a frame.

use crate::format::Records;
use crate::segment::Batch;

/// A place among the records of a batch, which only moves on: however many places are wanted, each record is passed over
/// once.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    records: Records<'a>,
    seq: u64,
}

impl<'a> Cursor<'a> {
    /// At the first record.
    pub(super) fn new(batch: &Batch<'a>) -> Self {
        Self { records: batch.records(), seq: batch.first_seq }
    }

    /// The records from `seq` on, which isn't before those that were asked for last.
    pub(super) fn from(&mut self, seq: u64) -> Records<'a> {
        if let Some(others) = seq.checked_sub(self.seq).and_then(|passed| passed.checked_sub(1)) {
            let _ = self.records.nth(usize::try_from(others).unwrap_or(usize::MAX));
            self.seq = seq;
        }
        self.records.clone()
    }
}
