//! The data types that Sift's channels have.

use std::fmt;

/// A channel's data type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DataType {
    /// 64-bit floating point.
    Double,
    /// Text.
    String,
    /// A number with names.
    Enum,
    /// Bytes whose bits have names.
    BitField,
    /// True or false.
    Bool,
    /// 32-bit floating point.
    Float,
    /// Signed 32-bit.
    Int32,
    /// Unsigned 32-bit.
    Uint32,
    /// Signed 64-bit.
    Int64,
    /// Unsigned 64-bit.
    Uint64,
    /// Any bytes.
    Bytes,
}

impl DataType {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Double,
        Self::String,
        Self::Enum,
        Self::BitField,
        Self::Bool,
        Self::Float,
        Self::Int32,
        Self::Uint32,
        Self::Int64,
        Self::Uint64,
        Self::Bytes,
    ];

    /// Sift's number for it.
    pub fn number(self) -> i32 {
        match self {
            Self::Double => 1,
            Self::String => 2,
            Self::Enum => 3,
            Self::BitField => 4,
            Self::Bool => 5,
            Self::Float => 6,
            Self::Int32 => 7,
            Self::Uint32 => 8,
            Self::Int64 => 9,
            Self::Uint64 => 10,
            Self::Bytes => 11,
        }
    }

    /// The type with Sift's number.
    pub fn from_number(number: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|data_type| data_type.number() == number)
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Double => "double",
            Self::String => "string",
            Self::Enum => "enum",
            Self::BitField => "bit field",
            Self::Bool => "bool",
            Self::Float => "float",
            Self::Int32 => "int32",
            Self::Uint32 => "uint32",
            Self::Int64 => "int64",
            Self::Uint64 => "uint64",
            Self::Bytes => "bytes",
        })
    }
}
