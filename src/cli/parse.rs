//! Values of arguments: text in, or a message that shows a right one.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, NaiveDateTime};

use crate::replay::{After, Rate};

/// No value that makes sense is longer; names and paths aren't parsed here.
const MAX_CHARS: usize = 64;

/// Longer waits than this are mistakes, and times that far ahead can't be computed everywhere.
const LONGEST: Duration = Duration::from_secs(3650 * 24 * 60 * 60);

/// Units of time in ns; the first that fits is taken.
const TIME_UNITS: [(&str, u128); 9] = [
    ("", 1_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
    ("m", 60_000_000_000),
    ("min", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

/// Units of bytes.
const BYTE_UNITS: [(&str, u128); 9] = [
    ("", 1),
    ("B", 1),
    ("kB", 1000),
    ("KB", 1000),
    ("KiB", 1 << 10),
    ("MB", 1_000_000),
    ("MiB", 1 << 20),
    ("GB", 1_000_000_000),
    ("GiB", 1 << 30),
];

/// A decimal number with a unit, as so many of the smallest: exact, without the detour over floating point. What is
/// smaller still is cut off.
fn scaled(text: &str, units: &[(&str, u128)]) -> Option<u128> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    let unit = unit.trim_start();
    let (_, scale) = units.iter().find(|(name, _)| *name == unit)?;
    let (whole, fraction) = match number.split_once('.') {
        Some((whole, fraction)) if !whole.is_empty() && !fraction.is_empty() => (whole, fraction),
        Some(_) => return None,
        None => (number, ""),
    };
    // Beyond this no unit has decimals left.
    let fraction = fraction.get(..18).unwrap_or(fraction);
    let digits: u128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let part = digits.checked_mul(*scale)? / 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    whole.parse::<u128>().ok()?.checked_mul(*scale)?.checked_add(part)
}

fn trimmed(text: &str) -> Option<&str> {
    let text = text.trim();
    (!text.is_empty() && text.len() <= MAX_CHARS).then_some(text)
}

/// A length of time: `30`, `30s`, `500ms`, `1.5h`, `2d`. Never zero.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let ns = trimmed(text)
        .and_then(|text| scaled(text, &TIME_UNITS))
        .ok_or("give a length of time, such as 30 (seconds), 30s, 500ms, 15m, 1.5h or 2d")?;
    match u64::try_from(ns).map(Duration::from_nanos) {
        Ok(duration) if duration.is_zero() => Err("it must be longer than nothing, such as 500ms or 30s".to_owned()),
        Ok(duration) if duration <= LONGEST => Ok(duration),
        _ => Err("at most ten years, such as 3650d".to_owned()),
    }
}

/// A shift of time, in ns: `-1h`, `+90s`, `2.5`.
pub(super) fn shift(text: &str) -> Result<i64, String> {
    let text = text.trim();
    let (negative, rest) = match (text.strip_prefix('-'), text.strip_prefix('+')) {
        (Some(rest), _) => (true, rest),
        (_, Some(rest)) => (false, rest),
        _ => (false, text),
    };
    let signed = rest.starts_with(|c: char| c.is_ascii_digit());
    let ns = trimmed(rest).filter(|_| signed).and_then(|rest| scaled(rest, &TIME_UNITS)).ok_or(
        "give how far to move times: -1h is an hour earlier, +90s a minute and a half later; units are ms, s, m, h, d",
    )?;
    let ns = i64::try_from(ns).map_err(|_| "at most 106751d, about 292 years, either way".to_owned())?;
    Ok(if negative { -ns } else { ns })
}

/// A point in time, in ns since the Unix epoch: RFC 3339 (UTC if it names no zone), a date, or a Unix time.
pub(super) fn time(text: &str) -> Result<i64, String> {
    const HINT: &str = "give a time such as 2026-03-01T12:30:00Z, 2026-03-01T12:30:00+01:00, 2026-03-01 12:30 (UTC) or \
        2026-03-01 (its beginning in UTC), or Unix time: 9 to 11 digits are seconds, 18 or 19 nanoseconds";
    let text = trimmed(text).ok_or(HINT)?;
    if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return unix_time(text).ok_or_else(|| HINT.to_owned());
    }
    let zoned = DateTime::parse_from_rfc3339(text).map(|time| time.naive_utc());
    let naive = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"];
    let time = zoned
        .ok()
        .or_else(|| naive.iter().find_map(|format| NaiveDateTime::parse_from_str(text, format).ok()))
        .or_else(|| NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0))
        .ok_or(HINT)?;
    let ns = time.and_utc().timestamp_nanos_opt();
    ns.ok_or_else(|| "it is outside of what 64 bits of nanoseconds can say: the years 1678 to 2261".to_owned())
}

/// Shorter numbers are rather years or dates, those between rather milli- or microseconds: a guess could select nothing,
/// or everything.
fn unix_time(text: &str) -> Option<i64> {
    let digits = text.split('.').next()?.len();
    let decimals = text.contains('.');
    match digits {
        9..=11 => i64::try_from(scaled(text, &TIME_UNITS)?).ok(),
        18 | 19 if !decimals => text.parse().ok(),
        _ => None,
    }
}

/// How fast at most: `5MB`, `800KiB`, `1000rec`.
pub(super) fn rate(text: &str) -> Result<Rate, String> {
    const HINT: &str = "give bytes a second, such as 5MB, 1.5GB or 800KiB, or records a second, such as 1000rec";
    let text = trimmed(text).ok_or(HINT)?;
    let text = text.strip_suffix("/s").unwrap_or(text);
    let (figure, records) = match scaled(text, &[("rec", 1)]) {
        Some(figure) => (figure, true),
        None => (scaled(text, &BYTE_UNITS).ok_or(HINT)?, false),
    };
    let figure = u64::try_from(figure).ok().and_then(NonZeroU64::new).ok_or(HINT)?;
    Ok(if records { Rate::Records(figure) } else { Rate::Bytes(figure) })
}

/// What happens to files that are wholly delivered.
pub(super) fn after(text: &str) -> Result<After, String> {
    match text.split_once('=') {
        None if text == "keep" => Ok(After::Keep),
        None if text == "delete" => Ok(After::Delete),
        Some(("archive", dir)) if !dir.is_empty() => Ok(After::Archive(PathBuf::from(dir))),
        _ => Err("give keep, delete, or archive=DIR with the directory that files are moved into".to_owned()),
    }
}

/// A name of something at the destination or in a recording.
pub(super) fn name(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("it is empty; give a name, such as rover-7".to_owned()),
        _ => Ok(text.to_owned()),
    }
}

/// A session's id.
pub(super) fn session(text: &str) -> Result<uuid::Uuid, String> {
    let hint = "give a session's id as `sift-replay ls` shows it, such as 01a1fb9b-598a-74a4-adfd-4736b8dcc5f3";
    uuid::Uuid::try_parse(text.trim()).map_err(|_| hint.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_exactly() {
        for (text, ns) in [
            ("30", 30_000_000_000),
            ("30s", 30_000_000_000),
            (" 30 s ", 30_000_000_000),
            ("0.5", 500_000_000),
            ("500ms", 500_000_000),
            ("1.5h", 5_400_000_000_000),
            ("15m", 900_000_000_000),
            ("15min", 900_000_000_000),
            ("2d", 172_800_000_000_000),
            ("0.1s", 100_000_000),
            ("1ns", 1),
            ("0.000000001", 1),
            ("1.00000000000000000000000000000000001s", 1_000_000_000),
            ("3650d", 3650 * 86_400_000_000_000),
        ] {
            assert_eq!(duration(text).unwrap(), Duration::from_nanos(ns), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_answered_with_one() {
        let huge = "9".repeat(60);
        let long = "1".repeat(100);
        for text in [
            "",
            " ",
            "s",
            "-1",
            "-1h",
            "+1h",
            "1e3",
            "1,5h",
            "1.h",
            ".5h",
            "1.2.3",
            "0x10",
            "1 0s",
            "1hour",
            "1H",
            "inf",
            "NaN",
            "٣s",
            "1h30m",
            "½h",
            &huge,
            &long,
            "3651d",
            "18446744073709551616",
            "0",
            "0s",
            "0.0000000001",
        ] {
            let error = duration(text).unwrap_err();
            assert!(["30s", "3650d"].iter().any(|right| error.contains(right)), "{text}: {error}");
        }
    }

    #[test]
    fn shifts_have_a_sign_or_none() {
        for (text, ns) in [
            ("-1h", -3_600_000_000_000),
            ("+1h", 3_600_000_000_000),
            ("1h", 3_600_000_000_000),
            ("-0.5", -500_000_000),
            ("0", 0),
            ("-20000d", -1_728_000_000_000_000_000),
            ("9223372036854775807ns", i64::MAX),
            ("-9223372036854775807ns", -i64::MAX),
        ] {
            assert_eq!(shift(text).unwrap(), ns, "{text}");
        }
        for text in
            ["", "-", "+", "--1h", "-+1h", "+-1h", "- 1h", "an hour", "--json", "9223372036854775808ns", "-200000d"]
        {
            let error = shift(text).unwrap_err();
            assert!(error.contains("-1h") || error.contains("106751d"), "{text}: {error}");
        }
    }

    #[test]
    fn times_are_read_in_each_way_that_people_write_them() {
        const NOON: i64 = 1_772_368_200_000_000_000;
        for (text, ns) in [
            ("2026-03-01T12:30:00Z", NOON),
            ("2026-03-01t12:30:00z", NOON),
            ("2026-03-01T13:30:00+01:00", NOON),
            ("2026-03-01 12:30:00Z", NOON),
            ("2026-03-01T12:30:00", NOON),
            ("2026-03-01 12:30:00", NOON),
            ("2026-03-01 12:30", NOON),
            ("2026-03-01T12:30", NOON),
            ("2026-03-01T12:30:00.000000001Z", NOON + 1),
            ("2026-03-01 12:30:00.25", NOON + 250_000_000),
            ("2026-03-01", NOON - 45_000_000_000_000),
            ("1772368200", NOON),
            ("1772368200.25", NOON + 250_000_000),
            ("1772368200000000001", NOON + 1),
            ("100000000", 100_000_000_000_000_000),
            ("1969-12-31T23:59:59Z", -1_000_000_000),
        ] {
            assert_eq!(time(text).unwrap(), ns, "{text}");
        }
    }

    #[test]
    fn a_time_that_could_mean_two_things_is_asked_back() {
        for text in [
            "",
            "now",
            "yesterday",
            "2026",
            "20260301",
            "1772368200000",
            "1772368200000000",
            "-1772368200",
            "1772368200Z",
            "1772368200000000000.5",
            "9999999999999999999",
            "99999999999999999999",
            ".",
            "1.2.3",
            "12:30",
            "2026-13-01",
            "2026-02-30",
            "01.03.2026",
            "2026-03-01T25:00:00Z",
            "2026-03-01T12:30:00+99:00",
            "9999-01-01",
            "0001-01-01",
            "99999999999",
        ] {
            let error = time(text).unwrap_err();
            assert!(error.contains("2026-03-01T12:30:00Z") || error.contains("1678"), "{text}: {error}");
        }
    }

    #[test]
    fn rates_are_bytes_or_records() {
        let bytes = |figure| Rate::Bytes(NonZeroU64::new(figure).unwrap());
        let records = |figure| Rate::Records(NonZeroU64::new(figure).unwrap());
        for (text, expected) in [
            ("5MB", bytes(5_000_000)),
            ("5 MB/s", bytes(5_000_000)),
            ("800KiB", bytes(819_200)),
            ("1.5GB", bytes(1_500_000_000)),
            ("1", bytes(1)),
            ("2kB", bytes(2000)),
            ("1000rec", records(1000)),
            ("1000rec/s", records(1000)),
            ("18446744073709551615", bytes(u64::MAX)),
        ] {
            assert_eq!(rate(text).unwrap(), expected, "{text}");
        }
        for text in [
            "",
            "0",
            "0rec",
            "0.1",
            "0.5rec",
            "-5MB",
            "5Mb",
            "5mb",
            "5Mbit",
            "MB",
            "rec",
            "5 apples",
            "1e6",
            "/s",
            "18446744073709551616",
            "99999999999999999999GiB",
        ] {
            let error = rate(text).unwrap_err();
            assert!(error.contains("5MB") && error.contains("1000rec"), "{text}: {error}");
        }
    }

    #[test]
    fn files_are_kept_archived_or_deleted() {
        assert_eq!(after("keep").unwrap(), After::Keep);
        assert_eq!(after("delete").unwrap(), After::Delete);
        assert_eq!(after("archive=a=b").unwrap(), After::Archive("a=b".into()));
        for text in ["", "archive", "archive=", "Delete", "delete=x", "keep=", "move=x"] {
            assert!(after(text).unwrap_err().contains("archive=DIR"), "{text}");
        }
    }

    #[test]
    fn names_and_ids_are_something() {
        assert_eq!(name(" a b").unwrap(), " a b");
        assert!(name(" ").is_err());
        let id = "01a1fb9b-598a-74a4-adfd-4736b8dcc5f3";
        assert_eq!(session(id).unwrap().to_string(), id);
        assert!(session("01a1fb9b").unwrap_err().contains("sift-replay ls"));
    }
}
