//! What is done to a record on its way out: ids and directives are appended, and perhaps another time.

use std::borrow::Cow;

use crate::format::{Fields, RecordInfo, Suffix, field, put_timestamp};
use crate::segment::Batch;
use crate::sift::message_prefix;

/// Which ids a record has of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ids {
    /// None ([F-21], BARE).
    None,
    /// It has them.
    Own,
    /// It must be looked at.
    Unknown,
}

impl Ids {
    /// Of the records of a frame.
    pub(crate) fn of(batch: &Batch<'_>) -> Self {
        if batch.bare { Self::None } else { Self::Unknown }
    }
}

/// What is appended to each record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Outgoing {
    suffix: Suffix,
    /// Times are moved by so many ns.
    shift_ns: i64,
}

impl Outgoing {
    pub(crate) fn new(suffix: Suffix, shift_ns: i64) -> Self {
        Self { suffix, shift_ns }
    }

    /// Appends the record as a gRPC message, with what goes behind it.
    #[inline]
    pub(crate) fn put(&self, record: &[u8], ids: Ids, out: &mut Vec<u8>) {
        put_message(record, &self.tail(record, ids), out);
    }

    /// What goes behind each record, if that is the same for all of them.
    #[inline]
    pub(crate) fn fixed_tail(&self, ids: Ids) -> Option<&[u8]> {
        match ids {
            Ids::None if self.shift_ns == 0 => Some(self.suffix.for_bare()),
            Ids::Own if self.shift_ns == 0 => Some(self.suffix.for_own_ids()),
            _ => None,
        }
    }

    /// What goes behind this record.
    #[inline]
    fn tail(&self, record: &[u8], ids: Ids) -> Cow<'_, [u8]> {
        let suffix = match ids {
            Ids::None => self.suffix.for_bare(),
            Ids::Own => self.suffix.for_own_ids(),
            // What is no message has no ids either; the destination will say what it thinks of it.
            Ids::Unknown => self.suffix.for_request(record).unwrap_or(self.suffix.for_bare()),
        };
        if self.shift_ns == 0 { Cow::Borrowed(suffix) } else { self.shifted(record, suffix) }
    }

    /// [F-36].
    fn shifted<'a>(&self, record: &[u8], suffix: &'a [u8]) -> Cow<'a, [u8]> {
        let Some(ns) = RecordInfo::parse(record).ok().and_then(|info| info.timestamp) else {
            return Cow::Borrowed(suffix);
        };
        let mut tail = Vec::with_capacity(suffix.len() + 24);
        put_timestamp(&mut tail, ns.saturating_add(self.shift_ns));
        tail.extend_from_slice(suffix);
        Cow::Owned(tail)
    }

    /// The record as it was read, of the message that was made of it.
    pub(crate) fn original<'a>(&self, message: &'a [u8]) -> &'a [u8] {
        let suffixes = [self.suffix.for_bare(), self.suffix.for_own_run(), self.suffix.for_own_ids()];
        let mut records = suffixes.into_iter().filter_map(|suffix| {
            let rest = message.strip_suffix(suffix)?;
            // A record that has a time may have got another one, last of all.
            let last = Fields::new(rest).filter_map(Result::ok).last();
            let timed = last.filter(|last| self.shift_ns != 0 && last.number == field::TIMESTAMP);
            let record = timed.and_then(|last| rest.get(..last.start));
            [record, Some(rest)].into_iter().flatten().find(|record| self.made(record, suffix, message))
        });
        records.next().unwrap_or(message)
    }

    /// Whether this is what becomes of the record.
    fn made(&self, record: &[u8], suffix: &[u8], message: &[u8]) -> bool {
        let tail = if self.shift_ns == 0 { Cow::Borrowed(suffix) } else { self.shifted(record, suffix) };
        message.strip_prefix(record) == Some(&*tail)
    }
}

/// Appends the record and its tail as one gRPC message.
#[inline]
pub(crate) fn put_message(record: &[u8], tail: &[u8], out: &mut Vec<u8>) {
    // A record is bounded by a frame, which is far below 4 GiB.
    out.extend_from_slice(&message_prefix((record.len() + tail.len()) as u32));
    out.extend_from_slice(record);
    out.extend_from_slice(tail);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::put_bytes_field;

    fn records() -> [(Vec<u8>, Ids); 4] {
        let mut timed = vec![0x12, 1, b'a'];
        put_timestamp(&mut timed, 5_000_000_007);
        let mut own = timed.clone();
        put_bytes_field(&mut own, field::INGESTION_CONFIG_ID, b"theirs");
        [(timed, Ids::None), (own.clone(), Ids::Unknown), (own, Ids::Own), (vec![0x12, 1, b'b'], Ids::None)]
    }

    #[test]
    fn the_original_is_found_again() {
        for shift_ns in [0, 1, -3_600_000_000_000] {
            let suffix = Suffix::new("config", Some("run"), true).with_run_for_all("other");
            let outgoing = Outgoing::new(suffix, shift_ns);
            for (record, ids) in records() {
                let message = [&record[..], &outgoing.tail(&record, ids)].concat();
                assert!(message.len() > record.len());
                assert_eq!(outgoing.original(&message), record, "{shift_ns} {ids:?}");
            }
        }
    }

    #[test]
    fn what_a_record_has_of_its_own_is_not_taken_for_what_was_appended() {
        // Its time is none that could be moved, and stands last.
        let mut timeless = vec![0x12, 1, b'a'];
        put_bytes_field(&mut timeless, field::TIMESTAMP, &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]);
        // Its time is, by chance, the one that it gets.
        let mut twice = vec![0x12, 1, b'a'];
        put_timestamp(&mut twice, 0);
        put_timestamp(&mut twice, 1_000_000_000);
        for shift_ns in [0, 1_000_000_000] {
            for suffix in [Suffix::new("c", Some("r"), true), Suffix::without_ids(false), Suffix::without_ids(true)] {
                let outgoing = Outgoing::new(suffix, shift_ns);
                for record in [&timeless, &twice, &Vec::new()] {
                    let message = [&record[..], &outgoing.tail(record, Ids::None)].concat();
                    assert_eq!(outgoing.original(&message), *record, "{shift_ns}");
                }
            }
        }
    }

    #[test]
    fn times_are_moved_and_stay_within_their_bounds() {
        let time = |record: &[u8], shift_ns| {
            let outgoing = Outgoing::new(Suffix::default(), shift_ns);
            let message = [record, &outgoing.tail(record, Ids::None)].concat();
            RecordInfo::parse(&message).unwrap().timestamp
        };
        let [(timed, _), _, _, (timeless, _)] = records();
        assert_eq!(time(&timed, -6_000_000_000), Some(-999_999_993));
        assert_eq!(time(&timed, i64::MAX), Some(i64::MAX));
        assert_eq!(time(&timeless, 7), None);
    }
}
