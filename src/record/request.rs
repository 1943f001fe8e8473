//! Looking through ready-made requests without building messages: what Sift's decoder wouldn't take is refused here, for
//! it would end a whole stream there.

use super::value::Value;
use crate::format::{Field, Fields, WireError, WireProblem, WireValue, field};

/// The value in a request's `channel_values` entry; the last one counts, as protobuf merges. Numbers are read only as far
/// as their type and finiteness matter.
pub(super) fn request_value(message: &[u8]) -> Result<Value<'_>, WireError> {
    let mut value = Value::Empty;
    for next in Fields::new(message) {
        let next = next?;
        value = match (next.number, next.value) {
            (1, _) => text(&next).map(|()| Value::String(""))?,
            (2, WireValue::Fixed64(bits)) => Value::Double(f64::from_bits(bits)),
            (3, WireValue::Fixed32(bits)) => Value::Float(f32::from_bits(bits)),
            (4, WireValue::Varint(_)) => Value::Bool(false),
            (5, WireValue::Varint(_)) => Value::Int32(0),
            (6, WireValue::Varint(_)) => Value::Uint32(0),
            (7, WireValue::Varint(_)) => Value::Int64(0),
            (8, WireValue::Varint(_)) => Value::Uint64(0),
            (9, WireValue::Bytes(_)) => Value::BitField(&[]),
            (10, WireValue::Varint(_)) => Value::Enum(0),
            (11, WireValue::Bytes(empty)) => {
                Fields::new(empty).try_for_each(|inner| inner.map(drop)).map_err(|error| next.outward(error))?;
                Value::Empty
            }
            (12, WireValue::Bytes(_)) => Value::Bytes(&[]),
            (1..=12, _) => return Err(next.other_wire_type()),
            _ => value,
        };
    }
    Ok(value)
}

/// Checks a request's own fields, its values apart.
pub(super) fn check_fields(request: &[u8]) -> Result<(), WireError> {
    for next in Fields::new(request) {
        let next = next?;
        match next.number {
            field::INGESTION_CONFIG_ID | field::FLOW | field::RUN_ID | field::ORGANIZATION_ID => text(&next)?,
            field::TIMESTAMP => timestamp(next.bytes()?).map_err(|error| next.outward(error))?,
            field::CHANNEL_VALUES => next.bytes().map(drop)?,
            field::END_STREAM_ON_VALIDATION_ERROR => next.varint().map(drop)?,
            _ => {}
        }
    }
    Ok(())
}

fn timestamp(message: &[u8]) -> Result<(), WireError> {
    Fields::new(message).try_for_each(|part| match part? {
        part if matches!(part.number, 1 | 2) => part.varint().map(drop),
        _ => Ok(()),
    })
}

fn text(field: &Field<'_>) -> Result<(), WireError> {
    match std::str::from_utf8(field.bytes()?) {
        Ok(_) => Ok(()),
        Err(_) => Err(WireError { at: field.start, problem: WireProblem::NotText }),
    }
}
