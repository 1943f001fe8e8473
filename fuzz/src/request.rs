//! `sift.ingest.v1.IngestWithConfigDataStreamRequest` as any protobuf library has it, on Sift's field numbers ([F-20]): what
//! appending to its bytes must agree with. Sift's own type is the same; building its crate takes longer than fuzzing.

use prost::Message;

/// The request.
#[derive(Clone, PartialEq, Message)]
pub struct Request {
    #[prost(string, tag = "1")]
    pub ingestion_config_id: String,
    #[prost(string, tag = "2")]
    pub flow: String,
    #[prost(message, optional, tag = "3")]
    pub timestamp: Option<Timestamp>,
    #[prost(message, repeated, tag = "4")]
    pub channel_values: Vec<ChannelValue>,
    #[prost(string, tag = "5")]
    pub run_id: String,
    #[prost(bool, tag = "6")]
    pub end_stream_on_validation_error: bool,
    #[prost(string, tag = "7")]
    pub organization_id: String,
}

/// `google.protobuf.Timestamp`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Timestamp {
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

/// `IngestWithConfigDataChannelValue`.
#[derive(Clone, PartialEq, Message)]
pub struct ChannelValue {
    #[prost(oneof = "Type", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12")]
    pub value: Option<Type>,
}

/// Its value.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Type {
    #[prost(string, tag = "1")]
    String(String),
    #[prost(double, tag = "2")]
    Double(f64),
    #[prost(float, tag = "3")]
    Float(f32),
    #[prost(bool, tag = "4")]
    Bool(bool),
    #[prost(int32, tag = "5")]
    Int32(i32),
    #[prost(uint32, tag = "6")]
    Uint32(u32),
    #[prost(int64, tag = "7")]
    Int64(i64),
    #[prost(uint64, tag = "8")]
    Uint64(u64),
    #[prost(bytes = "vec", tag = "9")]
    BitField(Vec<u8>),
    #[prost(uint32, tag = "10")]
    Enum(u32),
    #[prost(message, tag = "11")]
    Empty(Empty),
    #[prost(bytes = "vec", tag = "12")]
    Bytes(Vec<u8>),
}

/// `google.protobuf.Empty`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Empty {}
