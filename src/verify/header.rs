//! What HEADER and the other frames that hold no records say, held against the rules.

use super::finding::Problem;
use crate::format::{FrameHeader, Kind, MAGIC, SegmentHeader, TimeRange, segment_id};
use crate::segment::SegmentName;

/// What is wrong with a HEADER ([F-18]), read from `frame` of a file of this name.
pub(super) fn check(header: &SegmentHeader, frame: &FrameHeader, name: Option<SegmentName>) -> Vec<Problem> {
    let mut problems = Vec::new();
    if frame.offset != MAGIC.len() as u64 {
        // It tells nothing.
        return vec![Problem::Header("stands within the file, where none belongs")];
    }
    if header.format_version == 0 {
        problems.push(Problem::Header("states no format version"));
    }
    if header.first_seq != frame.first_seq {
        problems.push(Problem::Header("states another first seq than its frame"));
    }
    let Some(session) = header.session() else {
        problems.push(Problem::Header("doesn't hold the session's id"));
        return problems;
    };
    if frame.segment_id != segment_id(session, header.segment_index) {
        problems.push(Problem::Header("states another session or segment than the frames are of"));
    }
    let should = SegmentName { session, index: header.segment_index, open: name.is_some_and(|name| name.open) };
    if name.is_some_and(|name| name != should) {
        problems.push(Problem::Name { should: should.to_string() });
    }
    problems
}

/// What is wrong with the header of a frame that holds no records ([F-4], [F-17]). `wall_clock_ns`: the mark's.
pub(super) fn check_frame(frame: &FrameHeader, wall_clock_ns: Option<i64>) -> Option<Problem> {
    let times = wall_clock_ns.map_or(TimeRange::EMPTY, TimeRange::at);
    if frame.count != 0 {
        Some(Problem::Frame("states records, and its kind has none"))
    } else if frame.times != times {
        Some(match frame.kind {
            Kind::Mark => Problem::Frame("states other times than its mark"),
            _ => Problem::Frame("states times, and its kind has none"),
        })
    } else {
        None
    }
}
