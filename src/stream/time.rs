//! When a flow's values were taken.

use std::ops::{Deref, DerefMut};
use std::time::SystemTime;

use chrono::{DateTime, Utc};
use pbjson_types::Timestamp;

use crate::record;

const NS_PER_SECOND: i32 = 1_000_000_000;

/// A point in time, in UTC, to the nanosecond, between 1677-09-21 and 2262-04-11: what 64 bits of nanoseconds around 1970
/// can say.
///
/// Constructors that return a `Result` refuse other times. What comes another way, [`From`] or the fields reached by
/// [`DerefMut`], and lies outside, is moved to the nearest time inside when it is recorded. A leap second is the
/// second after it, as the Unix clock has it.
///
/// ```
/// use sift_replay::stream::TimeValue;
///
/// let time = TimeValue::try_from_rfc3339("2026-05-01T12:00:00.25Z")?;
/// assert_eq!(time.seconds, 1_777_636_800);
/// # Ok::<(), sift_replay::stream::TimeError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeValue(Timestamp);

/// Why something is no time that can be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// The numbers name no time, or one outside the range.
    #[error("{given} is no time between 1677-09-21 and 2262-04-11: check the unit and the clock that it comes from")]
    OutOfRange {
        /// What was given, with its unit.
        given: String,
    },
    /// The text is no RFC 3339 time.
    #[error("{given:?} is no RFC 3339 time ({reason}): write it as 2026-05-01T12:00:00.25Z")]
    NotRfc3339 {
        /// What was given.
        given: String,
        /// Where it departs.
        reason: String,
    },
}

/// Now.
impl Default for TimeValue {
    fn default() -> Self {
        Self::from_ns(record::Timestamp::from(SystemTime::now()).unix_ns())
    }
}

impl TimeValue {
    /// The wall clock's time.
    pub fn now() -> Self {
        Self::default()
    }

    /// From seconds since the Unix epoch, and ns beyond them.
    ///
    /// # Errors
    /// [`TimeError::OutOfRange`]; also if `nsecs` is a second or more, except in a minute's last second, which may be
    /// followed by a leap second.
    pub fn try_from_timestamp(secs: i64, nsecs: u32) -> Result<Self, TimeError> {
        Self::checked(DateTime::from_timestamp(secs, nsecs), || format!("{secs} s and {nsecs} ns"))
    }

    /// From ms since the Unix epoch.
    ///
    /// # Errors
    /// [`TimeError::OutOfRange`].
    pub fn try_from_timestamp_millis(millis: i64) -> Result<Self, TimeError> {
        Self::checked(DateTime::from_timestamp_millis(millis), || format!("{millis} ms"))
    }

    /// From µs since the Unix epoch.
    ///
    /// # Errors
    /// [`TimeError::OutOfRange`].
    pub fn try_from_timestamp_micros(micros: i64) -> Result<Self, TimeError> {
        Self::checked(DateTime::from_timestamp_micros(micros), || format!("{micros} µs"))
    }

    /// From ns since the Unix epoch. All are within the range.
    pub fn from_timestamp_nanos(nanos: i64) -> Self {
        Self::from_ns(nanos)
    }

    /// From text such as `2026-05-01T12:00:00.25Z` or `2026-05-01T14:00:00+02:00`.
    ///
    /// # Errors
    /// [`TimeError::NotRfc3339`], [`TimeError::OutOfRange`].
    pub fn try_from_rfc3339<S: AsRef<str>>(val: S) -> Result<Self, TimeError> {
        let given = val.as_ref();
        let time = DateTime::parse_from_rfc3339(given)
            .map_err(|e| TimeError::NotRfc3339 { given: given.to_owned(), reason: e.to_string() })?;
        Self::checked(Some(time.to_utc()), || given.to_owned())
    }

    /// The time as a recorder takes it.
    pub fn timestamp(&self) -> record::Timestamp {
        let ns = self.ns().clamp(i64::MIN.into(), i64::MAX.into());
        record::Timestamp::from_unix_ns(i64::try_from(ns).unwrap_or_default())
    }

    /// The time as a request holds it.
    pub(super) fn into_message(self) -> Timestamp {
        self.0
    }

    fn ns(&self) -> i128 {
        i128::from(self.0.seconds) * i128::from(NS_PER_SECOND) + i128::from(self.0.nanos)
    }

    fn from_ns(ns: i64) -> Self {
        let per_second = i64::from(NS_PER_SECOND);
        // A remainder below 10⁹ fits.
        let nanos = i32::try_from(ns.rem_euclid(per_second)).unwrap_or_default();
        Self(Timestamp { seconds: ns.div_euclid(per_second), nanos })
    }

    fn checked(time: Option<DateTime<Utc>>, given: impl FnOnce() -> String) -> Result<Self, TimeError> {
        let inside = time.map(Self::from).filter(|time| i64::try_from(time.ns()).is_ok());
        inside.ok_or_else(|| TimeError::OutOfRange { given: given() })
    }
}

impl From<DateTime<Utc>> for TimeValue {
    fn from(value: DateTime<Utc>) -> Self {
        let Timestamp { seconds, nanos } = value.into();
        // chrono counts a leap second as ns beyond 10⁹ of the second before, which protobuf has no room for.
        match nanos.checked_sub(NS_PER_SECOND) {
            Some(beyond @ 0..) => Self(Timestamp { seconds: seconds.saturating_add(1), nanos: beyond }),
            _ => Self(Timestamp { seconds, nanos }),
        }
    }
}

impl Deref for TimeValue {
    type Target = Timestamp;

    fn deref(&self) -> &Timestamp {
        &self.0
    }
}

impl DerefMut for TimeValue {
    fn deref_mut(&mut self) -> &mut Timestamp {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(time: &TimeValue) -> (i64, i32) {
        (time.seconds, time.nanos)
    }

    #[test]
    fn a_time_before_1970_has_nanoseconds_that_count_forward() {
        assert_eq!(parts(&TimeValue::from_timestamp_nanos(-1)), (-1, 999_999_999));
        assert_eq!(parts(&TimeValue::try_from_timestamp_millis(-1).unwrap()), (-1, 999_000_000));
        assert_eq!(parts(&TimeValue::try_from_timestamp_micros(-1).unwrap()), (-1, 999_999_000));
        assert_eq!(parts(&TimeValue::try_from_rfc3339("1969-12-31T23:59:59.5Z").unwrap()), (-1, 500_000_000));
    }

    #[test]
    fn every_nanosecond_of_64_bits_survives() {
        for ns in [i64::MIN, i64::MIN + 1, -1_000_000_000, -1, 0, 1, 999_999_999, 1_000_000_000, i64::MAX] {
            let time = TimeValue::from_timestamp_nanos(ns);
            assert_eq!(time.timestamp().unix_ns(), ns);
            assert!((0..NS_PER_SECOND).contains(&time.nanos), "{ns}: {time:?}");
        }
    }

    #[test]
    fn a_time_that_can_not_be_recorded_is_refused_with_its_unit() {
        let most = i64::MAX / 1_000_000_000;
        assert!(TimeValue::try_from_timestamp(most, 854_775_807).is_ok());
        for (refused, text) in [
            (TimeValue::try_from_timestamp(most, 854_775_808), "9223372036 s and 854775808 ns"),
            (TimeValue::try_from_timestamp(i64::MAX, 0), "9223372036854775807 s and 0 ns"),
            (TimeValue::try_from_timestamp(0, 1_000_000_000), "0 s and 1000000000 ns"),
            (TimeValue::try_from_timestamp_millis(i64::MIN), "-9223372036854775808 ms"),
            (TimeValue::try_from_timestamp_micros(i64::MAX), "9223372036854775807 µs"),
            (TimeValue::try_from_rfc3339("9999-12-31T00:00:00Z"), "9999-12-31T00:00:00Z"),
        ] {
            let text = format!(
                "{text} is no time between 1677-09-21 and 2262-04-11: check the unit and the clock that it comes from"
            );
            assert_eq!(refused.unwrap_err().to_string(), text);
        }
    }

    #[test]
    fn text_that_is_no_time_is_refused_with_the_text() {
        for text in ["", "yesterday", "2026-05-01", "2026-05-01T12:00:00", "2026-13-01T12:00:00Z"] {
            match TimeValue::try_from_rfc3339(text).unwrap_err() {
                TimeError::NotRfc3339 { given, reason } => assert!(given == text && !reason.is_empty()),
                other => panic!("{text:?}: {other}"),
            }
        }
    }

    #[test]
    fn a_leap_second_is_the_second_after_it() {
        let leap = TimeValue::try_from_rfc3339("2016-12-31T23:59:60.25Z").unwrap();
        assert_eq!(leap, TimeValue::try_from_rfc3339("2017-01-01T00:00:00.25Z").unwrap());
        assert_eq!(
            TimeValue::try_from_timestamp(59, 1_000_000_001).unwrap(),
            TimeValue::from_timestamp_nanos(60_000_000_001)
        );
    }

    #[test]
    fn what_got_in_unchecked_is_moved_to_the_nearest_time_and_never_panics() {
        let mut time = TimeValue::now();
        (time.seconds, time.nanos) = (i64::MAX, i32::MAX);
        assert_eq!(time.timestamp().unix_ns(), i64::MAX);
        (time.seconds, time.nanos) = (i64::MIN, i32::MIN);
        assert_eq!(time.timestamp().unix_ns(), i64::MIN);
        (time.seconds, time.nanos) = (1, -1);
        assert_eq!(time.timestamp().unix_ns(), 999_999_999);
        for (edge, ns) in [(DateTime::<Utc>::MIN_UTC, i64::MIN), (DateTime::<Utc>::MAX_UTC, i64::MAX)] {
            assert_eq!(TimeValue::from(edge).timestamp().unix_ns(), ns);
        }
    }

    #[test]
    fn now_is_between_before_and_after() {
        let before = record::Timestamp::now();
        let now = TimeValue::default().timestamp();
        // A clock that steps back just here proves nothing.
        assert!(before <= now || record::Timestamp::now() < before);
    }
}
