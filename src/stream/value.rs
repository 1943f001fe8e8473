//! Channel values as callers own them.

use pbjson_types::Empty;
use sift_rs::common::r#type::v1::ChannelDataType;
use sift_rs::ingest::v1::IngestWithConfigDataChannelValue;
use sift_rs::ingest::v1::ingest_with_config_data_channel_value::Type;

use crate::record;

/// A value with the name of its channel.
///
/// ```
/// use sift_replay::stream::{ChannelEnum, ChannelValue};
///
/// let values = [ChannelValue::new("speed", 1.5), ChannelValue::new("gear", ChannelEnum(2))];
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ChannelValue {
    /// The channel's name.
    pub name: String,
    /// Its value.
    pub value: Value,
}

impl ChannelValue {
    /// A value for the channel of this name. The value's Rust type says what the channel's type must be.
    pub fn new<T: Into<Value>>(name: &str, val: T) -> Self {
        Self { name: name.to_owned(), value: val.into() }
    }
}

/// One of an enum channel's values, by its key. A plain `u32` is a value for a uint32 channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChannelEnum(pub u32);

/// A value for a bytes channel. Plain bytes are a value for a bit-field channel.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ChannelBytes(pub Vec<u8>);

/// A channel's value. Each kind of channel takes its own kind only: nothing is converted.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// No value this time, for a channel of any type.
    Empty,
    /// For a bool channel.
    Bool(bool),
    /// For a string channel.
    String(String),
    /// For a float channel. Sift refuses NaN and infinities.
    Float(f32),
    /// For a double channel. Sift refuses NaN and infinities.
    Double(f64),
    /// For an int32 channel.
    Int32(i32),
    /// For an int64 channel.
    Int64(i64),
    /// For a uint32 channel.
    Uint32(u32),
    /// For a uint64 channel.
    Uint64(u64),
    /// For an enum channel.
    Enum(u32),
    /// For a bit-field channel.
    BitField(Vec<u8>),
    /// For a bytes channel.
    Bytes(Vec<u8>),
}

impl Value {
    /// The type of channel that takes it; `None` for [`Value::Empty`], which all take.
    pub fn data_type(&self) -> Option<ChannelDataType> {
        Some(match self {
            Self::Empty => return None,
            Self::Bool(_) => ChannelDataType::Bool,
            Self::String(_) => ChannelDataType::String,
            Self::Float(_) => ChannelDataType::Float,
            Self::Double(_) => ChannelDataType::Double,
            Self::Int32(_) => ChannelDataType::Int32,
            Self::Int64(_) => ChannelDataType::Int64,
            Self::Uint32(_) => ChannelDataType::Uint32,
            Self::Uint64(_) => ChannelDataType::Uint64,
            Self::Enum(_) => ChannelDataType::Enum,
            Self::BitField(_) => ChannelDataType::BitField,
            Self::Bytes(_) => ChannelDataType::Bytes,
        })
    }

    /// The value as a recorder takes it, without a copy.
    pub fn borrowed(&self) -> record::Value<'_> {
        match self {
            Self::Empty => record::Value::Empty,
            Self::Bool(value) => record::Value::Bool(*value),
            Self::String(text) => record::Value::String(text),
            Self::Float(value) => record::Value::Float(*value),
            Self::Double(value) => record::Value::Double(*value),
            Self::Int32(value) => record::Value::Int32(*value),
            Self::Int64(value) => record::Value::Int64(*value),
            Self::Uint32(value) => record::Value::Uint32(*value),
            Self::Uint64(value) => record::Value::Uint64(*value),
            Self::Enum(key) => record::Value::Enum(*key),
            Self::BitField(bytes) => record::Value::BitField(bytes),
            Self::Bytes(bytes) => record::Value::Bytes(bytes),
        }
    }

    /// The value as a request holds it.
    pub(super) fn into_message(self) -> IngestWithConfigDataChannelValue {
        let value = match self {
            Self::Empty => Type::Empty(Empty {}),
            Self::Bool(value) => Type::Bool(value),
            Self::String(text) => Type::String(text),
            Self::Float(value) => Type::Float(value),
            Self::Double(value) => Type::Double(value),
            Self::Int32(value) => Type::Int32(value),
            Self::Int64(value) => Type::Int64(value),
            Self::Uint32(value) => Type::Uint32(value),
            Self::Uint64(value) => Type::Uint64(value),
            Self::Enum(key) => Type::Enum(key),
            Self::BitField(bytes) => Type::BitField(bytes),
            Self::Bytes(bytes) => Type::Bytes(bytes),
        };
        IngestWithConfigDataChannelValue { r#type: Some(value) }
    }
}

/// A value of this type, in words that follow "takes".
pub(super) fn words(data_type: ChannelDataType) -> &'static str {
    match data_type {
        ChannelDataType::Unspecified => "no value, for it has no type",
        ChannelDataType::Double => "a double",
        ChannelDataType::String => "a string",
        ChannelDataType::Enum => "an enum",
        ChannelDataType::BitField => "a bit field",
        ChannelDataType::Bool => "a bool",
        ChannelDataType::Float => "a float",
        ChannelDataType::Int32 => "an int32",
        ChannelDataType::Uint32 => "a uint32",
        ChannelDataType::Int64 => "an int64",
        ChannelDataType::Uint64 => "a uint64",
        ChannelDataType::Bytes => "bytes",
    }
}

// No more of these than there are: callers rely on `vec![1]` being bytes and `1` being an i32.
macro_rules! from {
    ($($type:ty, $given:ident => $value:expr;)*) => {$(
        impl From<$type> for Value {
            fn from($given: $type) -> Self {
                $value
            }
        }
    )*};
}

from! {
    (), _nothing => Self::Empty;
    bool, value => Self::Bool(value);
    String, text => Self::String(text);
    &str, text => Self::String(text.to_owned());
    f32, value => Self::Float(value);
    f64, value => Self::Double(value);
    i32, value => Self::Int32(value);
    i64, value => Self::Int64(value);
    u32, value => Self::Uint32(value);
    u64, value => Self::Uint64(value);
    ChannelEnum, value => Self::Enum(value.0);
    ChannelBytes, value => Self::Bytes(value.0);
    Vec<u8>, bits => Self::BitField(bits);
    &[u8], bits => Self::BitField(bits.to_vec());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::DataType;

    fn one_of_each() -> [Value; 12] {
        [
            ().into(),
            true.into(),
            "text".into(),
            1.5_f32.into(),
            2.5.into(),
            (-3).into(),
            (-4_i64).into(),
            5_u32.into(),
            6_u64.into(),
            ChannelEnum(7).into(),
            vec![8].into(),
            ChannelBytes(vec![9]).into(),
        ]
    }

    #[test]
    fn a_value_its_borrowed_form_and_its_message_say_the_same() {
        for value in one_of_each() {
            let message = value.clone().into_message().r#type.unwrap();
            let same = match (&value, value.borrowed(), &message) {
                (Value::Empty, record::Value::Empty, Type::Empty(_)) => true,
                (Value::Bool(a), record::Value::Bool(b), Type::Bool(c)) => *a == b && b == *c,
                (Value::String(a), record::Value::String(b), Type::String(c)) => a == b && b == c,
                (Value::Float(a), record::Value::Float(b), Type::Float(c)) => *a == b && b == *c,
                (Value::Double(a), record::Value::Double(b), Type::Double(c)) => *a == b && b == *c,
                (Value::Int32(a), record::Value::Int32(b), Type::Int32(c)) => *a == b && b == *c,
                (Value::Int64(a), record::Value::Int64(b), Type::Int64(c)) => *a == b && b == *c,
                (Value::Uint32(a), record::Value::Uint32(b), Type::Uint32(c)) => *a == b && b == *c,
                (Value::Uint64(a), record::Value::Uint64(b), Type::Uint64(c)) => *a == b && b == *c,
                (Value::Enum(a), record::Value::Enum(b), Type::Enum(c)) => *a == b && b == *c,
                (Value::BitField(a), record::Value::BitField(b), Type::BitField(c)) => a == b && b == c,
                (Value::Bytes(a), record::Value::Bytes(b), Type::Bytes(c)) => a == b && b == c,
                _ => false,
            };
            assert!(same, "{value:?}, {:?}, {message:?}", value.borrowed());
        }
    }

    #[test]
    fn each_value_has_the_type_that_its_name_says_and_only_empty_has_none() {
        for value in one_of_each() {
            let Some(data_type) = value.data_type() else {
                assert_eq!(value, Value::Empty);
                continue;
            };
            let name = format!("{value:?}");
            assert_eq!(format!("{data_type:?}"), name.split('(').next().unwrap());
        }
    }

    #[test]
    fn all_types_that_sift_and_the_recorder_know_have_words_of_their_own() {
        let mut seen = std::collections::HashSet::new();
        for data_type in DataType::ALL {
            let sifts = ChannelDataType::try_from(data_type.number()).unwrap();
            assert!(words(sifts).contains(&data_type.to_string()), "{data_type}: {}", words(sifts));
            assert!(seen.insert(words(sifts)));
        }
    }
}
