//! Records: how they stand in a DATA payload, what can be learnt from one without decoding it, and what is appended
//! to one when it is sent.

use super::error::WireError;
use super::frame::take;
use super::wire::{Field, Fields, WireValue, put_bytes_field, put_varint_field};

/// Field numbers of `IngestWithConfigDataStreamRequest`.
pub(crate) mod field {
    pub(crate) const INGESTION_CONFIG_ID: u32 = 1;
    pub(crate) const FLOW: u32 = 2;
    pub(crate) const TIMESTAMP: u32 = 3;
    pub(crate) const CHANNEL_VALUES: u32 = 4;
    pub(crate) const RUN_ID: u32 = 5;
    pub(crate) const END_STREAM_ON_VALIDATION_ERROR: u32 = 6;
    pub(crate) const ORGANIZATION_ID: u32 = 7;
}

/// Nanoseconds in a second.
const NS: i64 = 1_000_000_000;

/// The records of a DATA payload ([F-20]).
#[derive(Debug, Clone)]
pub struct Records<'a> {
    rest: &'a [u8],
}

impl<'a> Records<'a> {
    /// The records of `payload`, or `None` unless it is exactly `count` records.
    pub fn parse(payload: &'a [u8], count: u32) -> Option<Self> {
        let mut check = Self { rest: payload };
        let mut found = 0u32;
        while !check.rest.is_empty() {
            check.take_record()?;
            found = found.checked_add(1)?;
        }
        (found == count).then_some(Self { rest: payload })
    }

    #[inline]
    fn take_record(&mut self) -> Option<&'a [u8]> {
        let len = u32::from_le_bytes(take(&mut self.rest)?);
        let (record, rest) = self.rest.split_at_checked(len as usize)?;
        self.rest = rest;
        Some(record)
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        self.take_record()
    }
}

/// A timestamp in ns since the Unix epoch, bounded to what an `i64` holds ([F-17]).
#[inline]
pub(crate) fn unix_ns(seconds: i64, nanos: i32) -> i64 {
    if let Some(ns) = seconds.checked_mul(NS).and_then(|ns| ns.checked_add(nanos.into())) {
        return ns;
    }
    let ns = i128::from(seconds) * i128::from(NS) + i128::from(nanos);
    ns.clamp(i64::MIN.into(), i64::MAX.into()) as i64
}

/// What a request says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RecordInfo<'a> {
    /// The flow's name; empty if the request has none.
    pub flow: &'a [u8],
    /// ns since the Unix epoch, within what an `i64` can hold; `None` if the request has no timestamp.
    pub timestamp: Option<i64>,
    /// Whether it carries an ingestion config's id.
    pub has_config_id: bool,
    /// Whether it carries a run's id.
    pub has_run_id: bool,
    /// Whether it carries an organization's id.
    pub has_organization_id: bool,
}

impl<'a> RecordInfo<'a> {
    /// Reads a request's top level; where a field stands twice, the last one counts, as protobuf merges. Timestamps are
    /// merged part by part ([F-36]), and bounded to what an `i64` holds ([F-17]).
    ///
    /// # Errors
    /// The bytes aren't a protobuf message.
    pub fn parse(request: &'a [u8]) -> Result<Self, WireError> {
        let mut info = Self::default();
        let mut time = None;
        for next in Fields::new(request) {
            let next = next?;
            match (next.number, next.value) {
                (field::FLOW, WireValue::Bytes(flow)) => info.flow = flow,
                (field::TIMESTAMP, WireValue::Bytes(stamp)) => {
                    let (seconds, nanos) = time.get_or_insert((0i64, 0i32));
                    for part in Fields::new(stamp) {
                        match part.map_err(|error| next.outward(error))? {
                            Field { number: 1, value: WireValue::Varint(value), .. } => *seconds = value as i64,
                            // An int32, of which every protobuf library takes the low 32 bits.
                            Field { number: 2, value: WireValue::Varint(value), .. } => *nanos = value as i32,
                            _ => {}
                        }
                    }
                }
                (field::INGESTION_CONFIG_ID, WireValue::Bytes(id)) => info.has_config_id = !id.is_empty(),
                (field::RUN_ID, WireValue::Bytes(id)) => info.has_run_id = !id.is_empty(),
                (field::ORGANIZATION_ID, WireValue::Bytes(id)) => info.has_organization_id = !id.is_empty(),
                _ => {}
            }
        }
        info.timestamp = time.map(|(seconds, nanos)| unix_ns(seconds, nanos));
        Ok(info)
    }

    /// Whether the request carries no id at all ([F-21]).
    pub fn is_bare(&self) -> bool {
        !(self.has_config_id || self.has_run_id || self.has_organization_id)
    }
}

/// What a replayer appends to each request ([F-21]): in protobuf, concatenation merges and the last scalar wins, so
/// that a request needn't be decoded to be sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Suffix {
    bare: Vec<u8>,
    own_run: Vec<u8>,
    own_ids: Vec<u8>,
}

impl Suffix {
    /// What is appended to requests of a session that has this ingestion config and run.
    pub fn new(ingestion_config_id: &str, run_id: Option<&str>, end_stream_on_validation_error: bool) -> Self {
        let mut directive = Vec::new();
        if end_stream_on_validation_error {
            put_varint_field(&mut directive, field::END_STREAM_ON_VALIDATION_ERROR, 1);
        }
        let mut bare = Vec::new();
        put_bytes_field(&mut bare, field::INGESTION_CONFIG_ID, ingestion_config_id.as_bytes());
        let own_run = [&bare[..], &directive].concat();
        if let Some(run_id) = run_id {
            put_bytes_field(&mut bare, field::RUN_ID, run_id.as_bytes());
        }
        bare.extend_from_slice(&directive);
        Self { bare, own_run, own_ids: directive }
    }

    /// What is appended to requests that all carry ids of their own.
    pub fn without_ids(end_stream_on_validation_error: bool) -> Self {
        let mut suffix = Self::new("", None, end_stream_on_validation_error);
        suffix.bare.clone_from(&suffix.own_ids);
        suffix.own_run.clone_from(&suffix.own_ids);
        suffix
    }

    /// Attaches requests to this run that carry ids of their own, too.
    pub fn with_run_for_all(mut self, run_id: &str) -> Self {
        put_bytes_field(&mut self.own_run, field::RUN_ID, run_id.as_bytes());
        put_bytes_field(&mut self.own_ids, field::RUN_ID, run_id.as_bytes());
        self
    }

    /// For a request without ids.
    #[inline]
    pub fn for_bare(&self) -> &[u8] {
        &self.bare
    }

    /// For this request: without the ids if it carries an ingestion config's id of its own, without the run's if it
    /// carries one of those.
    ///
    /// # Errors
    /// The request isn't a protobuf message.
    pub fn for_request(&self, request: &[u8]) -> Result<&[u8], WireError> {
        let info = RecordInfo::parse(request)?;
        Ok(match info {
            RecordInfo { has_config_id: true, .. } => &self.own_ids,
            RecordInfo { has_run_id: true, .. } => &self.own_run,
            _ => &self.bare,
        })
    }

    /// For a request that carries a run's id of its own, and no ingestion config's.
    #[inline]
    pub fn for_own_run(&self) -> &[u8] {
        &self.own_run
    }

    /// For a request that carries ids of its own.
    #[inline]
    pub fn for_own_ids(&self) -> &[u8] {
        &self.own_ids
    }
}

/// Appends a timestamp, which replaces the one that the request has: both parts are written, also when they are zero,
/// because protobuf merges them one by one ([F-36]). `ns` since the Unix epoch.
pub fn put_timestamp(request: &mut Vec<u8>, ns: i64) {
    let (seconds, nanos) = (ns.div_euclid(NS), ns.rem_euclid(NS));
    let mut stamp = Vec::with_capacity(18);
    put_varint_field(&mut stamp, 1, seconds as u64);
    put_varint_field(&mut stamp, 2, nanos as u64);
    put_bytes_field(request, field::TIMESTAMP, &stamp);
}

/// Appends one record ([F-20]).
#[inline]
pub fn put_record(payload: &mut Vec<u8>, request: &[u8]) {
    payload.extend_from_slice(&(request.len() as u32).to_le_bytes());
    payload.extend_from_slice(request);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::wire::put_varint;

    fn request(seconds: i64, nanos: i32) -> Vec<u8> {
        let mut stamp = Vec::new();
        put_varint_field(&mut stamp, 1, seconds as u64);
        put_varint_field(&mut stamp, 2, nanos as u64);
        let mut out = Vec::new();
        put_bytes_field(&mut out, field::FLOW, b"imu");
        put_bytes_field(&mut out, field::TIMESTAMP, &stamp);
        out
    }

    #[test]
    fn records_are_all_or_nothing() {
        let mut payload = Vec::new();
        put_record(&mut payload, b"abc");
        put_record(&mut payload, b"");
        let records: Vec<_> = Records::parse(&payload, 2).unwrap().collect();
        assert_eq!(records, [&b"abc"[..], b""]);
        assert!(Records::parse(&payload, 1).is_none());
        assert!(Records::parse(&payload, 3).is_none());
        assert!(Records::parse(&payload[..payload.len() - 1], 2).is_none());
        assert!(Records::parse(&[0xff; 8], 1).is_none());
    }

    #[test]
    fn a_request_tells_its_flow_and_time() {
        let plain = request(1_700_000_000, 5);
        let info = RecordInfo::parse(&plain).unwrap();
        assert_eq!((info.flow, info.timestamp), (&b"imu"[..], Some(1_700_000_000_000_000_005)));
        assert!(info.is_bare());
        // Before the epoch, as real files have it.
        assert_eq!(RecordInfo::parse(&request(-5, 250_000_000)).unwrap().timestamp, Some(-4_750_000_000));
        // Beyond what an i64 of nanoseconds holds: bounded, not wrapped.
        assert_eq!(RecordInfo::parse(&request(i64::MAX, 0)).unwrap().timestamp, Some(i64::MAX));
        assert_eq!(RecordInfo::parse(b"").unwrap().timestamp, None);
        // The least that an i64 holds is 145,224,192 ns after this second.
        let least = request(-9_223_372_037, 145_224_192);
        assert_eq!(RecordInfo::parse(&least).unwrap().timestamp, Some(i64::MIN));
        assert_eq!(RecordInfo::parse(&request(-9_223_372_037, 145_224_195)).unwrap().timestamp, Some(i64::MIN + 3));
    }

    #[test]
    fn a_second_timestamp_merges_into_the_first() {
        let mut twice = request(7, 9);
        let mut stamp = vec![0x08];
        put_varint(&mut stamp, 8);
        put_bytes_field(&mut twice, field::TIMESTAMP, &stamp);
        assert_eq!(RecordInfo::parse(&twice).unwrap().timestamp, Some(8_000_000_009));
        // What a later version adds to it is neither of its parts.
        put_bytes_field(&mut twice, field::TIMESTAMP, &[0x18, 5]);
        assert_eq!(RecordInfo::parse(&twice).unwrap().timestamp, Some(8_000_000_009));
    }

    #[test]
    fn nanos_are_an_int32_however_they_are_written() {
        for (written, nanos) in [(0xffff_ffff, -1), (u64::MAX, -1), (1 << 32 | 5, 5), (1 << 31, i64::from(i32::MIN))] {
            let mut stamp = Vec::new();
            put_varint_field(&mut stamp, 1, 3);
            put_varint_field(&mut stamp, 2, written);
            let mut request = Vec::new();
            put_bytes_field(&mut request, field::TIMESTAMP, &stamp);
            assert_eq!(RecordInfo::parse(&request).unwrap().timestamp, Some(3_000_000_000 + nanos), "{written:#x}");
        }
    }

    #[test]
    fn ids_are_appended_only_where_there_are_none() {
        let suffix = Suffix::new("config", Some("run"), true);
        let bare = request(1, 1);
        let mut own = bare.clone();
        put_bytes_field(&mut own, field::INGESTION_CONFIG_ID, b"theirs");
        assert_eq!(suffix.for_request(&bare).unwrap(), suffix.for_bare());
        assert_eq!(suffix.for_request(&own).unwrap(), [0x30, 1]);
        let mut own_run = bare.clone();
        put_bytes_field(&mut own_run, field::RUN_ID, b"theirs");
        let config = [&[0x0a, 6][..], b"config", &[0x30, 1]].concat();
        assert_eq!(suffix.for_request(&own_run).unwrap(), config, "its run stays");
        assert_eq!(suffix.for_own_run(), config);
        let mut sent = bare;
        sent.extend_from_slice(suffix.for_bare());
        let info = RecordInfo::parse(&sent).unwrap();
        assert!(info.has_config_id && info.has_run_id);
        assert_eq!(Suffix::without_ids(false), Suffix::default());
        let without = Suffix::without_ids(true);
        assert_eq!([without.for_bare(), without.for_own_run(), without.for_own_ids()], [[0x30, 1]; 3]);
        let forced = Suffix::new("config", Some("run"), true).with_run_for_all("run");
        assert_eq!(forced.for_bare(), suffix.for_bare());
        assert_eq!(forced.for_request(&own).unwrap(), [&[0x30, 1, 0x2a, 3][..], b"run"].concat());
        assert_eq!(forced.for_own_ids(), forced.for_request(&own).unwrap());
        assert_eq!(suffix.for_own_ids(), [0x30, 1]);
    }

    #[test]
    fn an_appended_timestamp_replaces_the_one_before() {
        for ns in [0, 1, -1, 1_700_000_000_000_000_000, i64::MIN, i64::MAX] {
            let mut shifted = request(1_700_000_000, 5);
            put_timestamp(&mut shifted, ns);
            assert_eq!(RecordInfo::parse(&shifted).unwrap().timestamp, Some(ns));
        }
    }
}
