//! The protobuf wire format, as far as the ingest path needs it: a request's outline, its values,
//! and its bytes without the fields that belong to the transport. Nothing is decoded into messages
//! and nothing is allocated per request.

use std::ops::Range;

/// What `IngestWithConfigDataStreamRequest` calls its fields.
mod number {
    pub(super) const CONFIG_ID: u32 = 1;
    pub(super) const FLOW: u32 = 2;
    pub(super) const TIMESTAMP: u32 = 3;
    pub(super) const VALUE: u32 = 4;
    pub(super) const RUN_ID: u32 = 5;
    pub(super) const END_STREAM: u32 = 6;
    pub(super) const ORGANIZATION_ID: u32 = 7;
}

/// Bytes that are not a protobuf message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a protobuf message: {what} at byte {at}")]
pub(super) struct Malformed {
    at: usize,
    what: &'static str,
}

/// One field's content, by wire type.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Content<'a> {
    Varint(u64),
    Fixed64([u8; 8]),
    Fixed32([u8; 4]),
    Bytes(&'a [u8]),
}

struct Field<'a> {
    number: u32,
    content: Content<'a>,
    /// Where the field lies in its message, tag included.
    range: Range<usize>,
}

/// Walks the fields of one message, in order.
struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn malformed<T>(&self, what: &'static str) -> Result<T, Malformed> {
        Err(Malformed { at: self.at, what })
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let Some(&byte) = self.bytes.get(self.at) else {
                return self.malformed("a cut-off number");
            };
            self.at += 1;
            // The tenth byte has room for one bit only.
            if shift == 63 && byte > 1 {
                return self.malformed("a number of more than 64 bits");
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        self.malformed("a number of more than ten bytes")
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let end = self.at.checked_add(len);
        let Some((end, taken)) = end.and_then(|end| Some((end, self.bytes.get(self.at..end)?))) else {
            return self.malformed("a field longer than its message");
        };
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let at = self.at;
        self.take(N)?.try_into().map_err(|_| Malformed { at, what: "a cut-off number" })
    }

    fn next(&mut self) -> Result<Option<Field<'a>>, Malformed> {
        if self.at >= self.bytes.len() {
            return Ok(None);
        }
        let start = self.at;
        let Ok(tag) = u32::try_from(self.varint()?) else {
            return self.malformed("a field number that is too large");
        };
        let number = tag >> 3;
        if number == 0 {
            return self.malformed("field number 0");
        }
        let content = match tag & 7 {
            0 => Content::Varint(self.varint()?),
            1 => Content::Fixed64(self.array()?),
            2 => {
                let len = self.varint()?;
                match usize::try_from(len) {
                    Ok(len) => Content::Bytes(self.take(len)?),
                    Err(_) => return self.malformed("a field longer than its message"),
                }
            }
            5 => Content::Fixed32(self.array()?),
            _ => return self.malformed("a wire type that no field of this message has"),
        };
        Ok(Some(Field { number, content, range: start..self.at }))
    }
}

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

fn wrong_type<T>(field: &Field<'_>) -> Result<T, Malformed> {
    Err(Malformed { at: field.range.start, what: "a known field with another wire type" })
}

fn bytes_of<'a>(field: &Field<'a>) -> Result<&'a [u8], Malformed> {
    match field.content {
        Content::Bytes(bytes) => Ok(bytes),
        _ => wrong_type(field),
    }
}

fn varint_of(field: &Field<'_>) -> Result<u64, Malformed> {
    match field.content {
        Content::Varint(value) => Ok(value),
        _ => wrong_type(field),
    }
}

/// The transport's fields: ids that this receiver chose, and directives to it.
fn is_transport(number: u32) -> bool {
    matches!(number, number::CONFIG_ID | number::RUN_ID | number::END_STREAM | number::ORGANIZATION_ID)
}

impl<'a> Outline<'a> {
    /// Reads the outline of a request.
    pub(super) fn of(bytes: &'a [u8]) -> Result<Self, Malformed> {
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
        let mut fields = Fields::of(bytes);
        while let Some(field) = fields.next()? {
            match field.number {
                number::CONFIG_ID => outline.config_id = bytes_of(&field)?,
                number::FLOW => outline.flow = bytes_of(&field)?,
                number::TIMESTAMP => outline.merge_timestamp(bytes_of(&field)?)?,
                number::VALUE => {
                    bytes_of(&field)?;
                    outline.values += 1;
                }
                number::RUN_ID => outline.run_id = bytes_of(&field)?,
                number::END_STREAM => {
                    outline.end_stream_on_validation_error = varint_of(&field)? != 0;
                }
                number::ORGANIZATION_ID => {
                    bytes_of(&field)?;
                }
                _ => {}
            }
            if !is_transport(field.number) {
                outline.keep(field.range);
            }
        }
        Ok(outline)
    }

    fn merge_timestamp(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        let timestamp = self.timestamp.get_or_insert_default();
        let mut fields = Fields::of(bytes);
        while let Some(field) = fields.next()? {
            // Negative numbers are sign-extended to 64 bits on the wire; int32 keeps the low half.
            match field.number {
                1 => timestamp.seconds = varint_of(&field)?.cast_signed(),
                2 => {
                    let low = (varint_of(&field)? & u64::from(u32::MAX)) as u32;
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
    pub(super) fn stripped<'b>(&self, scratch: &'b mut Vec<u8>) -> Result<&'b [u8], Malformed>
    where
        'a: 'b,
    {
        match &self.kept {
            Kept::Nothing => Ok(&[]),
            Kept::Together(range) => Ok(self.bytes.get(range.clone()).unwrap_or_default()),
            Kept::Scattered => {
                scratch.clear();
                let mut fields = Fields::of(self.bytes);
                while let Some(field) = fields.next()? {
                    if !is_transport(field.number) {
                        scratch.extend_from_slice(self.bytes.get(field.range).unwrap_or_default());
                    }
                }
                Ok(scratch)
            }
        }
    }

    /// The channel values, in order.
    pub(super) fn channel_values(&self) -> ChannelValues<'a> {
        ChannelValues(Fields::of(self.bytes))
    }
}

/// Walks the channel values of a request.
pub(super) struct ChannelValues<'a>(Fields<'a>);

impl<'a> Iterator for ChannelValues<'a> {
    type Item = Result<Option<ChannelValue<'a>>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.0.next() {
                Ok(Some(field)) if field.number == number::VALUE => {
                    return Some(bytes_of(&field).and_then(ChannelValue::of));
                }
                Ok(Some(_)) => {}
                Ok(None) => return None,
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
    /// Reads a value; `None` if the message holds none. Of several, the last one counts.
    fn of(bytes: &'a [u8]) -> Result<Option<Self>, Malformed> {
        let mut value = None;
        let mut fields = Fields::of(bytes);
        while let Some(field) = fields.next()? {
            value = Some(match (field.number, field.content) {
                (1, Content::Bytes(bytes)) => Self::String(bytes),
                (2, Content::Fixed64(bytes)) => Self::Double(f64::from_le_bytes(bytes)),
                (3, Content::Fixed32(bytes)) => Self::Float(f32::from_le_bytes(bytes)),
                (4, Content::Varint(_)) => Self::Bool,
                (5, Content::Varint(_)) => Self::Int32,
                (6, Content::Varint(_)) => Self::Uint32,
                (7, Content::Varint(_)) => Self::Int64,
                (8, Content::Varint(_)) => Self::Uint64,
                (9, Content::Bytes(bytes)) => Self::BitField(bytes),
                (10, Content::Varint(_)) => Self::Enum,
                (11, Content::Bytes(_)) => Self::Empty,
                (12, Content::Bytes(_)) => Self::Bytes,
                (1..=12, _) => return wrong_type(&field),
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
