//! What one request says about itself, and its bytes without the fields that belong to the transport.
//! Nothing is decoded into messages and nothing is allocated per request.

use crate::format::{Field, Fields, WireError, WireValue, field};
use std::ops::Range;

/// A timestamp as it was sent; not yet checked to be a valid one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Timestamp {
    /// Seconds since the Unix epoch.
    pub(super) seconds: i64,
    /// Nanoseconds on top of the seconds.
    pub(super) nanos: i64,
}

/// Which bytes of a request remain when the transport's fields are taken out.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Kept {
    Nothing,
    /// All of them lie together, as in whatever the SDKs encode.
    Together(Range<usize>),
    Scattered,
}

/// What one request says about itself. Repeated scalar fields: the last one counts, as everywhere
/// in protobuf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outline<'a> {
    bytes: &'a [u8],
    kept: Kept,
    pub(super) config_id: &'a [u8],
    pub(super) flow: &'a [u8],
    pub(super) run_id: &'a [u8],
    pub(super) timestamp: Option<Timestamp>,
    pub(super) end_stream_on_validation_error: bool,
    /// How many channel values there are.
    pub(super) values: usize,
}

/// The transport's fields: ids that this receiver chose, and directives to it.
fn is_transport(number: u32) -> bool {
    matches!(
        number,
        field::INGESTION_CONFIG_ID | field::RUN_ID | field::END_STREAM_ON_VALIDATION_ERROR | field::ORGANIZATION_ID
    )
}

impl<'a> Outline<'a> {
    /// Reads the outline of a request.
    pub(super) fn of(bytes: &'a [u8]) -> Result<Self, WireError> {
        let mut outline = Self {
            bytes,
            kept: Kept::Nothing,
            config_id: &[],
            flow: &[],
            run_id: &[],
            timestamp: None,
            end_stream_on_validation_error: false,
            values: 0,
        };
        for next in Fields::new(bytes) {
            let next = next?;
            match next.number {
                field::INGESTION_CONFIG_ID => outline.config_id = next.bytes()?,
                field::FLOW => outline.flow = next.bytes()?,
                field::TIMESTAMP => outline.merge_timestamp(next.bytes()?).map_err(|error| next.outward(error))?,
                field::CHANNEL_VALUES => {
                    next.bytes()?;
                    outline.values += 1;
                }
                field::RUN_ID => outline.run_id = next.bytes()?,
                field::END_STREAM_ON_VALIDATION_ERROR => {
                    outline.end_stream_on_validation_error = next.varint()? != 0;
                }
                field::ORGANIZATION_ID => {
                    next.bytes()?;
                }
                _ => {}
            }
            if !is_transport(next.number) {
                outline.keep(next.start..next.end);
            }
        }
        Ok(outline)
    }

    fn merge_timestamp(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        let timestamp = self.timestamp.get_or_insert_default();
        for part in Fields::new(bytes) {
            let part = part?;
            // Negative numbers are sign-extended to 64 bits on the wire; int32 keeps the low half.
            match part.number {
                1 => timestamp.seconds = part.varint()?.cast_signed(),
                2 => {
                    let low = (part.varint()? & u64::from(u32::MAX)) as u32;
                    timestamp.nanos = i64::from(low.cast_signed());
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn keep(&mut self, field: Range<usize>) {
        match &mut self.kept {
            Kept::Nothing => self.kept = Kept::Together(field),
            Kept::Together(range) if range.end == field.start => range.end = field.end,
            Kept::Together(_) => self.kept = Kept::Scattered,
            Kept::Scattered => {}
        }
    }

    /// The request's bytes without the transport's fields: a slice of the request where that is
    /// possible, otherwise gathered in `scratch`.
    pub(super) fn stripped<'b>(&self, scratch: &'b mut Vec<u8>) -> Result<&'b [u8], WireError>
    where
        'a: 'b,
    {
        match &self.kept {
            Kept::Nothing => Ok(&[]),
            Kept::Together(range) => Ok(self.bytes.get(range.clone()).unwrap_or_default()),
            Kept::Scattered => {
                scratch.clear();
                for next in Fields::new(self.bytes) {
                    let next = next?;
                    if !is_transport(next.number) {
                        scratch.extend_from_slice(self.bytes.get(next.start..next.end).unwrap_or_default());
                    }
                }
                Ok(scratch)
            }
        }
    }

    /// The channel values, in order.
    pub(super) fn channel_values(&self) -> ChannelValues<'a> {
        ChannelValues(Fields::new(self.bytes))
    }
}

/// Walks the channel values of a request.
pub(super) struct ChannelValues<'a>(Fields<'a>);

impl<'a> Iterator for ChannelValues<'a> {
    type Item = Result<Option<ChannelValue<'a>>, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.0.next()? {
                Ok(next) if next.number == field::CHANNEL_VALUES => return Some(ChannelValue::of(&next)),
                Ok(_) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// One channel's value, as far as its validity depends on it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum ChannelValue<'a> {
    String(&'a [u8]),
    Double(f64),
    Float(f32),
    Bool,
    Int32,
    Uint32,
    Int64,
    Uint64,
    BitField(&'a [u8]),
    Enum,
    Empty,
    Bytes,
}

impl<'a> ChannelValue<'a> {
    /// Reads a request's value; `None` if the message holds none. Of several, the last one counts.
    fn of(field: &Field<'a>) -> Result<Option<Self>, WireError> {
        let mut value = None;
        for next in Fields::new(field.bytes()?) {
            let next = next.map_err(|error| field.outward(error))?;
            value = Some(match (next.number, next.value) {
                (1, WireValue::Bytes(bytes)) => Self::String(bytes),
                (2, WireValue::Fixed64(bits)) => Self::Double(f64::from_bits(bits)),
                (3, WireValue::Fixed32(bits)) => Self::Float(f32::from_bits(bits)),
                (4, WireValue::Varint(_)) => Self::Bool,
                (5, WireValue::Varint(_)) => Self::Int32,
                (6, WireValue::Varint(_)) => Self::Uint32,
                (7, WireValue::Varint(_)) => Self::Int64,
                (8, WireValue::Varint(_)) => Self::Uint64,
                (9, WireValue::Bytes(bytes)) => Self::BitField(bytes),
                (10, WireValue::Varint(_)) => Self::Enum,
                (11, WireValue::Bytes(_)) => Self::Empty,
                (12, WireValue::Bytes(_)) => Self::Bytes,
                (1..=12, _) => return Err(field.outward(next.other_wire_type())),
                _ => continue,
            });
        }
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pbjson_types::Timestamp as PbTimestamp;
    use proptest::prelude::*;
    use prost::Message;
    use sift_rs::ingest::v1::{
        IngestWithConfigDataChannelValue, IngestWithConfigDataStreamRequest,
        ingest_with_config_data_channel_value::Type,
    };

    fn request() -> IngestWithConfigDataStreamRequest {
        IngestWithConfigDataStreamRequest {
            ingestion_config_id: "config".into(),
            flow: "flow".into(),
            timestamp: Some(PbTimestamp { seconds: -7, nanos: 9 }),
            channel_values: [Type::Double(1.5), Type::Int32(-1), Type::String("x".into())]
                .map(|value| IngestWithConfigDataChannelValue { r#type: Some(value) })
                .into(),
            run_id: "run".into(),
            end_stream_on_validation_error: true,
            organization_id: "organization".into(),
        }
    }

    fn without_transport(request: IngestWithConfigDataStreamRequest) -> IngestWithConfigDataStreamRequest {
        IngestWithConfigDataStreamRequest {
            ingestion_config_id: String::new(),
            run_id: String::new(),
            end_stream_on_validation_error: false,
            organization_id: String::new(),
            ..request
        }
    }

    #[test]
    fn an_outline_says_what_prost_says() {
        let bytes = request().encode_to_vec();
        let outline = Outline::of(&bytes).unwrap();
        assert_eq!(outline.config_id, b"config");
        assert_eq!(outline.flow, b"flow");
        assert_eq!(outline.run_id, b"run");
        let at = Timestamp { seconds: -7, nanos: 9 };
        assert_eq!(outline.timestamp, Some(at));
        assert!(outline.end_stream_on_validation_error);
        assert_eq!(outline.values, 3);
        let values: Vec<_> = outline.channel_values().map(Result::unwrap).collect();
        let expected = [ChannelValue::Double(1.5), ChannelValue::Int32, ChannelValue::String(b"x")];
        assert_eq!(values, expected.map(Some));
    }

    #[test]
    fn stripping_leaves_the_other_bytes_alone_and_copies_nothing_for_sdk_requests() {
        let bytes = request().encode_to_vec();
        let mut scratch = Vec::new();
        let outline = Outline::of(&bytes).unwrap();
        let stripped = outline.stripped(&mut scratch).unwrap();
        assert_eq!(stripped, without_transport(request()).encode_to_vec());
        assert_eq!(scratch.capacity(), 0);
    }

    #[test]
    fn fields_in_any_order_and_unknown_ones_survive_stripping() {
        let kept = without_transport(request()).encode_to_vec();
        let (head, tail) = kept.split_at(6); // After field 2: one tag, one length, "flow".
        let unknown = [0x7a, 2, 0xff, 0xfe]; // Field 15, two bytes.
        let bytes = [head, &[0x2a, 1, b'r'], &unknown, &[0x30, 1], tail].concat();
        let mut scratch = vec![1, 2, 3];
        let outline = Outline::of(&bytes).unwrap();
        let stripped = outline.stripped(&mut scratch).unwrap();
        assert_eq!(stripped, [head, &unknown, tail].concat());
    }

    #[test]
    fn of_duplicated_scalars_the_last_one_counts() {
        let bytes = [request().encode_to_vec(), vec![0x0a, 1, b'x', 0x12, 1, b'y', 0x2a, 0, 0x30, 0]].concat();
        let outline = Outline::of(&bytes).unwrap();
        assert_eq!(outline.config_id, b"x");
        assert_eq!(outline.flow, b"y");
        assert_eq!(outline.run_id, b"");
        assert!(!outline.end_stream_on_validation_error);
    }

    #[test]
    fn timestamps_merge() {
        let bytes = [0x1a, 2, 0x08, 5, 0x1a, 2, 0x10, 6];
        let at = Timestamp { seconds: 5, nanos: 6 };
        assert_eq!(Outline::of(&bytes).unwrap().timestamp, Some(at));
    }

    #[test]
    fn garbage_is_named_with_its_place() {
        let cases: [(&[u8], &str); 6] = [
            (&[0x80], "a cut-off number at byte 1"),
            (&[0x00], "field number 0 at byte 1"),
            (&[0x12, 5, 1], "a field longer than its message at byte 2"),
            (&[0x0b], "a wire type that no field"),
            (&[0x08, 1], "a known field with another wire type at byte 0"),
            (&[0xff; 12], "a number of more than 64 bits at byte 10"),
        ];
        for (bytes, expected) in cases {
            let error = Outline::of(bytes).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_walker_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(outline) = Outline::of(&bytes) {
                prop_assert!(outline.channel_values().count() <= outline.values);
                let mut scratch = Vec::new();
                prop_assert!(outline.stripped(&mut scratch).unwrap().len() <= bytes.len());
            }
        }

        #[test]
        fn what_prost_decodes_after_stripping_is_what_was_sent(seconds: i64, nanos: i32, flow: String, n in 0usize..5) {
            let mut sent = request();
            sent.timestamp = Some(PbTimestamp { seconds, nanos });
            sent.flow = flow;
            sent.channel_values.truncate(n);
            let bytes = sent.encode_to_vec();
            let outline = Outline::of(&bytes).unwrap();
            prop_assert_eq!(outline.timestamp, Some(Timestamp { seconds, nanos: i64::from(nanos) }));
            let mut scratch = Vec::new();
            let stripped = outline.stripped(&mut scratch).unwrap();
            prop_assert_eq!(IngestWithConfigDataStreamRequest::decode(stripped).unwrap(), without_transport(sent));
        }
    }
}
