//! Which records are wanted.

use crate::format::{RecordInfo, TimeRange};
use crate::replay::options::Selection;

/// Decides about records.
#[derive(Debug, Clone)]
pub(in crate::replay) struct Selector {
    from_ns: Option<i64>,
    to_ns: Option<i64>,
    flows: Vec<Vec<u8>>,
}

impl Selector {
    pub(in crate::replay) fn new(selection: &Selection) -> Self {
        let flows = selection.flows.iter().map(|flow| flow.clone().into_bytes()).collect();
        Self { from_ns: selection.from_ns, to_ns: selection.to_ns, flows }
    }

    fn has_times(&self) -> bool {
        self.from_ns.is_some() || self.to_ns.is_some()
    }

    /// Whether all records are wanted.
    pub(super) fn wants_all(&self) -> bool {
        !self.has_times() && self.flows.is_empty()
    }

    /// Whether none of the records within these times is wanted ([F-17]).
    pub(super) fn wants_none_of(&self, times: &TimeRange) -> bool {
        self.has_times() && (times.is_empty() || !self.is_before_end(times.least) || self.is_early(times.greatest))
    }

    fn is_early(&self, ns: i64) -> bool {
        self.from_ns.is_some_and(|from| ns < from)
    }

    fn is_before_end(&self, ns: i64) -> bool {
        self.to_ns.is_none_or(|to| ns < to)
    }

    /// Whether this one is wanted.
    pub(super) fn wants(&self, info: &RecordInfo<'_>) -> bool {
        let flow = self.flows.is_empty() || self.flows.iter().any(|flow| flow == info.flow);
        let time = !self.has_times() || info.timestamp.is_some_and(|ns| !self.is_early(ns) && self.is_before_end(ns));
        flow && time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_include_the_first_and_not_the_last() {
        let selector = Selector::new(&Selection { from_ns: Some(10), to_ns: Some(20), ..Selection::default() });
        let wants = |timestamp| selector.wants(&RecordInfo { timestamp, ..RecordInfo::default() });
        assert_eq!([9, 10, 19, 20].map(|ns| wants(Some(ns))), [false, true, true, false]);
        assert!(!wants(None), "a record without a time is in no range");
        let none = |least, greatest| selector.wants_none_of(&TimeRange { least, greatest });
        assert!(none(0, 9) && none(20, 30) && selector.wants_none_of(&TimeRange::EMPTY));
        assert!(!none(0, 10) && !none(19, 30) && !none(0, 30));
    }

    #[test]
    fn flows_are_named_exactly() {
        let selector = Selector::new(&Selection { flows: vec!["imu".to_owned()], ..Selection::default() });
        let wants = |flow| selector.wants(&RecordInfo { flow, ..RecordInfo::default() });
        assert!(wants(b"imu") && !wants(b"im") && !wants(b""));
        assert!(!selector.wants_all() && !selector.wants_none_of(&TimeRange::EMPTY));
        assert!(Selector::new(&Selection::default()).wants_all());
    }
}
