//! Values and timestamps, and how they are encoded: straight into a frame's buffer, without a message in between.

use std::time::{SystemTime, UNIX_EPOCH};

use super::data_type::DataType;
use crate::format::{field, put_varint, put_varint_field, varint_len, varint_word};

const NS_PER_SECOND: i64 = 1_000_000_000;

/// A channel's value. Bytes and text are borrowed: they are copied once, into the frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// For a double channel. NaN and infinities are recorded, and counted: Sift refuses them.
    Double(f64),
    /// For a string channel.
    String(&'a str),
    /// For an enum channel.
    Enum(u32),
    /// For a bit-field channel.
    BitField(&'a [u8]),
    /// For a bool channel.
    Bool(bool),
    /// For a float channel. NaN and infinities are recorded, and counted: Sift refuses them.
    Float(f32),
    /// For an int32 channel.
    Int32(i32),
    /// For a uint32 channel.
    Uint32(u32),
    /// For an int64 channel.
    Int64(i64),
    /// For a uint64 channel.
    Uint64(u64),
    /// For a bytes channel.
    Bytes(&'a [u8]),
    /// No value this time, for a channel of any type.
    Empty,
}

impl Value<'_> {
    /// Whether a channel of this type takes the value.
    #[inline]
    pub(super) fn fits(&self, data_type: DataType) -> bool {
        match self {
            Self::Double(_) => data_type == DataType::Double,
            Self::String(_) => data_type == DataType::String,
            Self::Enum(_) => data_type == DataType::Enum,
            Self::BitField(_) => data_type == DataType::BitField,
            Self::Bool(_) => data_type == DataType::Bool,
            Self::Float(_) => data_type == DataType::Float,
            Self::Int32(_) => data_type == DataType::Int32,
            Self::Uint32(_) => data_type == DataType::Uint32,
            Self::Int64(_) => data_type == DataType::Int64,
            Self::Uint64(_) => data_type == DataType::Uint64,
            Self::Bytes(_) => data_type == DataType::Bytes,
            Self::Empty => true,
        }
    }

    /// The value's type, for messages.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Double(_) => "a double",
            Self::String(_) => "a string",
            Self::Enum(_) => "an enum",
            Self::BitField(_) => "a bit field",
            Self::Bool(_) => "a bool",
            Self::Float(_) => "a float",
            Self::Int32(_) => "an int32",
            Self::Uint32(_) => "a uint32",
            Self::Int64(_) => "an int64",
            Self::Uint64(_) => "a uint64",
            Self::Bytes(_) => "bytes",
            Self::Empty => "no value",
        }
    }

    /// Whether the value is a number that Sift refuses.
    #[inline]
    pub(super) fn is_non_finite(&self) -> bool {
        match self {
            Self::Double(value) => !value.is_finite(),
            Self::Float(value) => !value.is_finite(),
            _ => false,
        }
    }

    /// Bytes beyond the fixed ones that encoding takes.
    #[inline]
    pub(super) fn variable_len(&self) -> usize {
        match self {
            Self::String(text) => text.len(),
            Self::BitField(bytes) | Self::Bytes(bytes) => bytes.len(),
            _ => 0,
        }
    }

    /// Appends the value as a `channel_values` field of the request.
    #[inline]
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Double(value) => put_double(value, out),
            Self::Float(value) => {
                let mut bytes = [FIELD, 5, 0x1d, 0, 0, 0, 0];
                if let Some(place) = bytes.last_chunk_mut() {
                    *place = value.to_le_bytes();
                }
                out.extend_from_slice(&bytes);
            }
            Self::Bool(value) => out.extend_from_slice(&[FIELD, 2, 0x20, u8::from(value)]),
            // Negative numbers are sign-extended, as protobuf has it.
            Self::Int32(value) => put_number(out, FIELD, 0x28, i64::from(value) as u64),
            Self::Uint32(value) => put_number(out, FIELD, 0x30, u64::from(value)),
            Self::Int64(value) => put_number(out, FIELD, 0x38, value as u64),
            Self::Uint64(value) => put_number(out, FIELD, 0x40, value),
            Self::Enum(value) => put_number(out, FIELD, 0x50, u64::from(value)),
            Self::String(text) => put_bytes(out, FIELD, 0x0a, text.as_bytes()),
            Self::BitField(bytes) => put_bytes(out, FIELD, 0x4a, bytes),
            Self::Bytes(bytes) => put_bytes(out, FIELD, 0x62, bytes),
            Self::Empty => out.extend_from_slice(&[FIELD, 2, 0x5a, 0]),
        }
    }
}

/// What stands before each value of a request.
const FIELD: u8 = (field::CHANNEL_VALUES << 3 | 2) as u8;

/// A double as a `channel_values` field, but for its own bytes, the last eight.
pub(super) const DOUBLE: [u8; 11] = [FIELD, 9, 0x11, 0, 0, 0, 0, 0, 0, 0, 0];

/// Appends a double as a `channel_values` field.
#[inline(always)]
pub(super) fn put_double(value: f64, out: &mut Vec<u8>) {
    let mut bytes = DOUBLE;
    if let Some(place) = bytes.last_chunk_mut() {
        *place = value.to_le_bytes();
    }
    out.extend_from_slice(&bytes);
}

#[inline]
fn put_number(out: &mut Vec<u8>, field: u8, tag: u8, value: u64) {
    out.extend_from_slice(&[field, 1 + varint_len(value) as u8, tag]);
    put_varint(out, value);
}

#[inline]
fn put_bytes(out: &mut Vec<u8>, field: u8, tag: u8, bytes: &[u8]) {
    let len = bytes.len() as u64;
    out.push(field);
    put_varint(out, 1 + varint_len(len) as u64 + len);
    out.push(tag);
    put_varint(out, len);
    out.extend_from_slice(bytes);
}

macro_rules! from {
    ($($type:ty => $variant:ident),* $(,)?) => {$(
        impl<'a> From<$type> for Value<'a> {
            fn from(value: $type) -> Self {
                Self::$variant(value)
            }
        }
    )*};
}

from!(f64 => Double, f32 => Float, bool => Bool, i32 => Int32, u32 => Uint32, i64 => Int64, u64 => Uint64, &'a str => String);

/// When: ns since the Unix epoch, from 1677 to 2262.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From ns since the Unix epoch.
    pub fn from_unix_ns(ns: i64) -> Self {
        Self(ns)
    }

    /// The wall clock's time.
    pub fn now() -> Self {
        SystemTime::now().into()
    }

    /// ns since the Unix epoch.
    pub fn unix_ns(self) -> i64 {
        self.0
    }

    /// Appends it as the request's timestamp field; like prost, without the parts that are zero.
    #[inline]
    pub(super) fn put(self, out: &mut Vec<u8>) {
        let (Ok(ns @ SHORT_FROM..), nanos @ 1..) = (u64::try_from(self.0), self.0 % NS_PER_SECOND) else {
            return self.put_parts(out);
        };
        // Tag, length, tag and seconds are eight bytes, as words are; tag and ns are six at most.
        let (seconds, (nanos, nanos_len)) = (varint_word(ns / NS_PER_SECOND as u64).0, varint_word(nanos as u64));
        let len = 1 + SHORT_SECONDS_BYTES + 1 + nanos_len;
        let first = TIMESTAMP | (len as u64) << 8 | 0x08 << 16 | seconds << 24;
        let second = 0x10 | nanos << 8;
        let start = out.len();
        out.extend_from_slice(&(u128::from(first) | u128::from(second) << 64).to_le_bytes());
        out.truncate(start + 2 + len);
    }

    /// The same for any time.
    #[cold]
    fn put_parts(self, out: &mut Vec<u8>) {
        let seconds = self.0.div_euclid(NS_PER_SECOND) as u64;
        let nanos = self.0.rem_euclid(NS_PER_SECOND) as u64;
        let part = |value| if value == 0 { 0 } else { 1 + varint_len(value) };
        out.extend_from_slice(&[TIMESTAMP as u8, (part(seconds) + part(nanos)) as u8]);
        if seconds != 0 {
            put_varint_field(out, 1, seconds);
        }
        if nanos != 0 {
            put_varint_field(out, 2, nanos);
        }
    }
}

/// Bytes that seconds take as a varint from July 1978 on, and longer than a [`Timestamp`] reaches.
const SHORT_SECONDS_BYTES: usize = 5;

/// That time, in ns since the Unix epoch.
const SHORT_FROM: u64 = (1 << 28) * NS_PER_SECOND as u64;

const TIMESTAMP: u64 = (field::TIMESTAMP << 3 | 2) as u64;

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let ns = |duration: std::time::Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
        Self(match time.duration_since(UNIX_EPOCH) {
            Ok(after) => ns(after),
            Err(before) => -ns(before.duration()),
        })
    }
}
