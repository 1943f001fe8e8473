//! For benchmarks (`benches/hot.rs`): what is done to each record between a file and the wire. It is nobody else's to call,
//! so they need a door; this one knows no more than records in, and messages or windows out.

use std::ops::Range;

use super::options::ReplayOptions;
use super::outgoing::{Ids, Outgoing, put_message};
use super::slots::{Closed, Slots};
use super::window::WindowBuilder;
use crate::format::{Records, Suffix};

/// The loops over records, as replaying a session has them.
#[derive(Debug)]
pub struct HotLoops {
    outgoing: Outgoing,
    windows: WindowBuilder,
}

impl HotLoops {
    /// With what is appended to each record, and windows of the default size.
    pub fn new(suffix: Suffix) -> Self {
        let outgoing = Outgoing::new(suffix, 0);
        let size = ReplayOptions::default().window_size();
        Self { windows: WindowBuilder::new(outgoing.clone(), size, Slots::unlimited()), outgoing }
    }

    /// Appends each record to `out` as a gRPC message with the ids behind it. Records that aren't bare are looked into.
    pub fn append_ids(&self, records: Records<'_>, bare: bool, out: &mut Vec<u8>) {
        match self.outgoing.fixed_tail(ids(bare)) {
            Some(tail) => records.for_each(|record| put_message(record, tail, out)),
            None => records.for_each(|record| self.outgoing.put(record, ids(bare), out)),
        }
    }

    /// Adds those records of a frame whose seqs these are to windows; returns the bytes of the windows that are full, which
    /// are gone then.
    pub fn fill_windows(&mut self, first_seq: u64, seqs: Range<u64>, records: Records<'_>, bare: bool) -> u64 {
        let mut bytes = 0;
        let (skip, count) = ((seqs.start - first_seq) as usize, (seqs.end - seqs.start) as usize);
        let records = records.skip(skip).take(count);
        let added = self.windows.add(seqs.start, records, ids(bare), |window| -> Result<(), Closed> {
            bytes += window.bytes;
            Ok(())
        });
        debug_assert_eq!(added, Ok(()), "there are slots without end");
        bytes
    }
}

fn ids(bare: bool) -> Ids {
    if bare { Ids::None } else { Ids::Unknown }
}
