//! Rows that are there together, recorded together: what a call costs is shared.

use super::error::RecordError;
use super::flow::Flow;
use super::queue::Patience;
use super::recorder::Recorder;
use super::value::{Timestamp, Value};

impl Recorder {
    /// Records rows of one flow in order, as [`record`](Self::record) does one: for samples that come in bursts, such as those
    /// of a sensor that buffers them. Returns how many have a seq; the others were dropped, as
    /// [`OnFull::DropNewest`](super::OnFull::DropNewest) has it. Rows of other threads may come in between. With
    /// [`SyncPolicy::EveryRecord`](super::SyncPolicy::EveryRecord), all rows share a sync.
    ///
    /// # Errors
    /// [`RecordError::Row`], which says at which row and why, as [`record`](Self::record) would: the rows before it are
    /// recorded, and none behind it. [`RecordError::Failed`] also if the rows are recorded, and can't be made durable.
    pub fn record_batch(&self, flow: &Flow, rows: &[(Timestamp, &[Value<'_>])]) -> Result<u64, RecordError> {
        flow.belongs_to(self.session())?;
        let (mut recorded, mut last) = (0, None);
        let put = self.put_rows(flow, rows, &mut recorded, &mut last);
        if let Some(ticket) = last.filter(|_| self.every_record) {
            self.queue.wait_durable(ticket)?;
        }
        put.map(|()| recorded)
    }

    fn put_rows(
        &self,
        flow: &Flow,
        rows: &[(Timestamp, &[Value<'_>])],
        recorded: &mut u64,
        last: &mut Option<u64>,
    ) -> Result<(), RecordError> {
        let mut at = 0;
        let of_row = |at| move |source| RecordError::Row { at, source: Box::new(source) };
        while let Some(rest) = rows.get(at..).filter(|rest| !rest.is_empty()) {
            let Some(mut filling) = self.queue.admit(Patience::AsOnFull).map_err(of_row(at))? else {
                at += 1;
                continue;
            };
            for (time, values) in rest {
                flow.put(&mut filling.frame, *time, values).map_err(of_row(at))?;
                let (_, ticket) = self.queue.recorded(&mut filling);
                (*last, *recorded, at) = (Some(ticket), *recorded + 1, at + 1);
                // Whoever else records comes in between frames at least.
                if filling.frame.is_empty() || self.queue.is_full(&filling) {
                    break;
                }
            }
        }
        Ok(())
    }
}
