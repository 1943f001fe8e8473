//! Passing over what needn't be read.

use super::SessionRead;
use crate::catalog::SegmentFile;
use crate::format::Kind;
use crate::replay::checkpoint::present_in;
use crate::replay::read::{Gone, Passed};
use crate::segment::{SegmentError, SegmentReader};

impl SessionRead<'_> {
    /// Passes over frames of a segment that is being written whose headers say that nothing of them is wanted: of these,
    /// the payload isn't looked at.
    pub(super) fn pass_frames(&mut self, file: &SegmentFile, reader: &mut SegmentReader) -> Result<(), SegmentError> {
        if !self.is_held || file.sealed.is_some() {
            return Ok(());
        }
        while let Some(frame) = reader.frame_at(reader.position())? {
            let (seqs, behind) = (frame.first_seq..frame.end_seq(), frame.offset.saturating_add(frame.frame_len()));
            let unwanted = frame.kind == Kind::Data && self.delivered.missing_in(seqs.clone()).is_empty();
            if !unwanted || !reader.skip_to(behind, None)? {
                break;
            }
            self.memory.end = self.memory.end.max(seqs.end);
            self.memory.read.insert(seqs);
        }
        Ok(())
    }

    /// Passes over what needn't be read of a sealed segment. Returns where the stretch ends that must be read now; `None`
    /// if nothing must.
    pub(super) fn skip(
        &mut self,
        file: &SegmentFile,
        reader: &mut SegmentReader,
    ) -> Result<Result<Option<u64>, SegmentError>, Gone> {
        let Some(sealed) = &file.sealed else { return Ok(Ok(Some(u64::MAX))) };
        let position = reader.position();
        if self.selector.wants_none_of(&sealed.times) && position <= crate::format::MAGIC.len() as u64 {
            // Only what has a time is told by `times`; what has none isn't wanted either.
            let mut passed = Passed::default();
            for new in sealed.seqs.ranges().flat_map(|seqs| self.memory.read.missing_in(seqs)).collect::<Vec<_>>() {
                present_in(&self.delivered, new.clone())
                    .into_iter()
                    .for_each(|seqs| self.pass_delivered(seqs, &mut passed));
                for seqs in self.delivered.missing_in(new) {
                    passed.not_selected += seqs.end - seqs.start;
                    self.memory.read.insert(seqs);
                }
            }
            self.memory.end = self.memory.end.max(sealed.end_seq);
            self.whole = false;
            self.account(file.bytes);
            self.pass(passed)?;
            return Ok(Ok(None));
        }
        let next = sealed.next_needed(&self.delivered, position);
        if let Some(stretch) = next.as_ref().filter(|stretch| stretch.offset <= position) {
            return Ok(Ok(Some(stretch.end)));
        }
        // The places at both ends of what is skipped are looked at: what lies between has no other seqs.
        let holds = sealed.holds_at(reader, position);
        match holds.and_then(|holds| Ok(holds && (next.is_some() || sealed.ends_as_said(reader)?))) {
            Ok(true) => {}
            // The index isn't what it should be: everything is read.
            Ok(false) => return Ok(Ok(Some(u64::MAX))),
            Err(error) => return Ok(Err(error)),
        }
        let skipped_to = match &next {
            Some(stretch) => match reader.skip_to(stretch.offset, stretch.first_seq) {
                Ok(true) => stretch.offset,
                Ok(false) => return Ok(Ok(Some(u64::MAX))),
                Err(error) => return Ok(Err(error)),
            },
            None => file.bytes,
        };
        // What lies between is delivered.
        let until = next.as_ref().map_or(sealed.end_seq, |stretch| stretch.seqs.start);
        let mut passed = Passed::default();
        for seqs in sealed.seqs.ranges().map(|seqs| seqs.start..seqs.end.min(until)) {
            for new in self.memory.read.missing_in(seqs) {
                present_in(&self.delivered, new).into_iter().for_each(|seqs| self.pass_delivered(seqs, &mut passed));
            }
        }
        self.memory.end = self.memory.end.max(until);
        self.account(skipped_to);
        self.pass(passed)?;
        Ok(Ok(next.map(|stretch| stretch.end)))
    }
}
