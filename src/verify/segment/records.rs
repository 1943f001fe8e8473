//! Checking the records of a segment's frames.

use super::SegmentCheck;
use crate::format::{RecordInfo, TimeRange};
use crate::record::{RecordError, check_alone};
use crate::segment::Batch;
use crate::verify::finding::Problem;
use crate::verify::report::add;
use crate::verify::schema::Schema;

/// What a record says of itself.
struct Learnt {
    time: Option<i64>,
    bare: bool,
}

/// What the records of one frame say together.
struct Together {
    times: TimeRange,
    /// The first that carries ids of its own.
    with_ids: Option<u64>,
    /// Whether all of them could be read.
    all: bool,
}

impl SegmentCheck<'_, '_, '_> {
    pub(super) fn records(&mut self, batch: &Batch<'_>) {
        self.hold(batch);
        self.expected.frame(batch);
        self.look_for_schema(batch.offset);
        let mut together = Together { times: TimeRange::EMPTY, with_ids: None, all: true };
        for (seq, record) in (batch.first_seq..batch.end_seq()).zip(batch.records()) {
            match self.record(record) {
                Ok(learnt) => together.add(seq, &learnt),
                Err(problem) => self.wrong(batch.offset, seq, record, &problem, &mut together),
            }
        }
        // [F-21]
        if let (true, Some(seq)) = (batch.bare, together.with_ids) {
            self.contradicts(batch.offset, Some(seq), &Problem::NotBare);
        }
        // [F-17]
        if together.all && together.times != batch.times {
            let (stated, found) = (batch.times, together.times);
            self.contradicts(batch.offset, None, &Problem::Times { stated, found });
        }
    }

    /// Takes note of the seqs ([F-34]).
    fn hold(&mut self, batch: &Batch<'_>) {
        let seqs = batch.first_seq..batch.end_seq();
        if seqs.start < self.first_seq {
            self.contradicts(batch.offset, None, &Problem::Frame("holds seqs below the first one that HEADER states"));
        }
        self.state.end = self.state.end.max(seqs.end);
        if seqs.is_empty() {
            return;
        }
        let span = &mut self.held.span;
        *span = if span.is_empty() { seqs.clone() } else { span.start..seqs.end };
        self.state.hold(seqs, &mut self.held.again);
    }

    fn look_for_schema(&mut self, offset: u64) {
        if matches!(self.schema, Schema::Unknown) {
            self.schema_may_be_lost();
        }
        if matches!(self.schema, Schema::Lost) && !std::mem::replace(&mut self.lacks_schema, true) {
            self.contradicts(offset, None, &Problem::SchemaLost);
        }
    }

    #[inline]
    fn record(&mut self, record: &[u8]) -> Result<Learnt, Problem> {
        let Schema::Flows(checker) = &mut self.schema else { return self.record_alone(record) };
        let checked = match checker.check(record) {
            Ok(checked) => checked,
            Err(error) => return self.failed(record, error),
        };
        self.expected.record(checked.flow, checked.time);
        if checked.non_finite > 0 {
            self.refused.add(checked.flow, record, checked.non_finite);
        }
        Ok(Learnt { time: Some(checked.time), bare: checked.bare })
    }

    /// A record that can't be checked against any schema.
    fn record_alone(&mut self, record: &[u8]) -> Result<Learnt, Problem> {
        let checked = check_alone(record)?;
        self.expected.record_alone(checked.info.flow, checked.time);
        if checked.non_finite > 0 {
            self.refused.add_alone(checked.info.flow, checked.non_finite);
        }
        if matches!(self.schema, Schema::OwnIds) && !checked.info.has_config_id {
            return Err(Problem::NoConfig);
        }
        Ok(Learnt { time: Some(checked.time), bare: checked.info.is_bare() })
    }

    /// A record of a flow that this version can't check may be right all the same.
    #[cold]
    fn failed(&mut self, record: &[u8], error: RecordError) -> Result<Learnt, Problem> {
        let flow = RecordInfo::parse(record).map(|info| info.flow).unwrap_or_default();
        match &self.schema {
            Schema::Flows(checker) if checker.is_unusable(flow) => self.record_alone(record),
            _ => Err(error.into()),
        }
    }

    #[cold]
    fn wrong(&mut self, offset: u64, seq: u64, record: &[u8], problem: &Problem, together: &mut Together) {
        self.vague = true;
        add(&mut self.state.totals.records_invalid, 1);
        self.invalid(offset, Some(seq), problem);
        match RecordInfo::parse(record) {
            Ok(info) => together.add(seq, &Learnt { time: info.timestamp, bare: info.is_bare() }),
            Err(_) => together.all = false,
        }
    }
}

impl Together {
    #[inline]
    fn add(&mut self, seq: u64, learnt: &Learnt) {
        if let Some(time) = learnt.time {
            self.times.include(time);
        }
        if !learnt.bare && self.with_ids.is_none() {
            self.with_ids = Some(seq);
        }
    }
}
