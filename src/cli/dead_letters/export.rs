//! Single dead letters as JSON, from which the request can be had back.

use std::ops::ControlFlow;
use std::path::PathBuf;

use chrono::{DateTime, SecondsFormat};
use prost::Message;
use serde_json::{Map, Number, Value, json};
use sift_rs::ingest::v1::IngestWithConfigDataStreamRequest;
use sift_rs::ingest::v1::ingest_with_config_data_channel_value::Type;

use super::super::args::OutputArgs;
use super::super::exit::Failure;
use super::super::text::out;
use super::{Waits, origin_json, origin_path};
use crate::catalog::Session;
use crate::format::{Bounded, ChannelConfig, Fields, FlowConfig, IngestionConfig};
use crate::record::DataType;
use crate::replay::{DeadLetter, Trouble, dead_letter_catalog, read_dead_letters};

/// Fields of a request that is shown value by value; one with more is shown as bytes alone, so that a hostile file
/// doesn't choose how much memory that takes.
const MAX_FIELDS: usize = 1 << 16;

/// Prints every dead letter; returns what couldn't be read.
pub(super) fn run(dirs: &[PathBuf], waits: Waits<'_>, output: &OutputArgs) -> Result<Vec<Trouble>, Failure> {
    let found = dead_letter_catalog(dirs).map_err(Failure::fatal)?;
    let unreadable = found.unreadable.into_iter();
    let mut troubles: Vec<_> = unreadable.map(|file| Trouble { path: file.path, what: file.reason }).collect();
    let mut records = 0u64;
    for session in &found.sessions {
        let flows = flows_of(session);
        troubles.extend(read_dead_letters(session, &mut |letter| {
            if waits(session.id, &letter) {
                records += 1;
                out(letter_json(session, &flows, &letter));
            }
            ControlFlow::Continue(())
        }));
    }
    if output.json {
        out(json!({
            "event": "summary", "records": records, "sessions": found.sessions.len(), "troubles": troubles.len(),
        }));
    }
    Ok(troubles)
}

fn flows_of(session: &Session) -> Vec<FlowConfig> {
    let config = session.requests.as_ref().map(|requests| &requests.ingestion_config[..]);
    config.and_then(IngestionConfig::decode_bounded).map(|config| config.flows).unwrap_or_default()
}

fn letter_json(session: &Session, flows: &[FlowConfig], letter: &DeadLetter<'_>) -> Value {
    // [F-19]: an empty config is nobody's.
    let requests = session.requests.as_ref().filter(|requests| !requests.ingestion_config.is_empty());
    let mut object = json!({
        "event": "dead-letter", "session": session.id.to_string(), "letter": letter.letter,
        "origin": origin_json(letter.refusal), "origin_path": origin_path(letter.refusal), "seq": letter.seq,
        "destination": letter.refusal.map(|refusal| refusal.target.as_str()),
        "reason": letter.refusal.map(|refusal| &refusal.reason),
        "refused_ns": letter.refused_ns.map(|ns| ns.to_string()),
        "asset": requests.map(|requests| &requests.asset),
        "run": requests.and_then(|requests| requests.run_name.as_ref()), "flow": letter.flow,
    });
    if let Value::Object(object) = &mut object {
        let small = Fields::new(letter.bytes).take(MAX_FIELDS + 1).count() <= MAX_FIELDS;
        let request = Some(letter.bytes).filter(|_| small);
        let request = request.and_then(|bytes| IngestWithConfigDataStreamRequest::decode(bytes).ok());
        let wholly = request.is_some_and(|request| {
            let wholly = shows_wholly(&request, letter.bytes);
            object.extend(request_json(&request, flows));
            wholly
        });
        if !wholly {
            object.insert("request".to_owned(), hex(letter.bytes).into());
        }
    }
    object
}

/// Whether the request's bytes follow from what is shown of it.
fn shows_wholly(request: &IngestWithConfigDataStreamRequest, bytes: &[u8]) -> bool {
    let time = request.timestamp.as_ref();
    time.is_none_or(|time| (0..1_000_000_000).contains(&time.nanos))
        && !request.end_stream_on_validation_error
        && request.encode_to_vec() == bytes
}

fn request_json(request: &IngestWithConfigDataStreamRequest, flows: &[FlowConfig]) -> Map<String, Value> {
    let count = request.channel_values.len();
    // Of flows that share a name, the one that fits.
    let named = || flows.iter().filter(|flow| flow.name == request.flow);
    let flow = named().find(|flow| flow.channels.len() == count).or_else(|| named().next());
    let values = request.channel_values.iter().enumerate().map(|(position, value)| {
        let channel = flow.and_then(|flow| flow.channels.get(position));
        value_json(position, channel, value.r#type.as_ref())
    });
    let time_ns = request.timestamp.as_ref().map(|t| i128::from(t.seconds) * 1_000_000_000 + i128::from(t.nanos));
    let time = time_ns.and_then(|ns| i64::try_from(ns).ok()).map(DateTime::from_timestamp_nanos);
    let ids = [
        ("ingestion_config_id", &request.ingestion_config_id),
        ("run_id", &request.run_id),
        ("organization_id", &request.organization_id),
    ];
    let ids = ids.into_iter().filter(|(_, id)| !id.is_empty()).map(|(name, id)| (name.to_owned(), json!(id)));
    let fields = [
        ("time_ns", json!(time_ns.map(|ns| ns.to_string()))),
        ("time", json!(time.map(|time| time.to_rfc3339_opts(SecondsFormat::Nanos, true)))),
        ("values", values.collect()),
        ("ids", Value::Object(ids.collect())),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// A value by its channel's name and its own type. Where the recording declares another type, that stands there as well:
/// it may well be the reason.
fn value_json(position: usize, channel: Option<&ChannelConfig>, value: Option<&Type>) -> Value {
    let (name, data_type, shown) = shown_value(value);
    let mut object = Map::new();
    match channel {
        Some(channel) => object.insert("channel".to_owned(), json!(channel.name)),
        None => object.insert("position".to_owned(), json!(position)),
    };
    object.insert("type".to_owned(), json!(name));
    object.insert("value".to_owned(), shown);
    let Some(channel) = channel else { return Value::Object(object) };
    let declared = DataType::from_number(channel.data_type);
    if let (Some(declared), Some(data_type)) = (declared, data_type)
        && declared != data_type
    {
        object.insert("declared".to_owned(), json!(declared.to_string()));
    }
    if let Some(Type::Enum(key)) = value
        && let Some(entry) = channel.enum_types.iter().find(|entry| entry.key == *key)
    {
        object.insert("name".to_owned(), json!(entry.name));
    }
    Value::Object(object)
}

/// A value's type in words, as one of Sift's data types, and the value.
fn shown_value(value: Option<&Type>) -> (&'static str, Option<DataType>, Value) {
    use DataType as T;
    let (name, data_type, shown) = match value {
        None => return ("none", None, Value::Null),
        Some(Type::Empty(_)) => return ("empty", None, Value::Null),
        Some(Type::String(text)) => ("string", T::String, json!(text)),
        Some(Type::Double(v)) => ("double", T::Double, real(*v, v.to_bits() == f64::NAN.to_bits(), v.to_bits())),
        Some(Type::Float(v)) => {
            // The shortest text that is read back as this float.
            let shortest = v.to_string().parse().unwrap_or(f64::from(*v));
            ("float", T::Float, real(shortest, v.to_bits() == f32::NAN.to_bits(), u64::from(v.to_bits())))
        }
        Some(Type::Bool(v)) => ("bool", T::Bool, json!(v)),
        Some(Type::Int32(v)) => ("int32", T::Int32, json!(v)),
        Some(Type::Uint32(v)) => ("uint32", T::Uint32, json!(v)),
        Some(Type::Int64(v)) => ("int64", T::Int64, json!(v.to_string())),
        Some(Type::Uint64(v)) => ("uint64", T::Uint64, json!(v.to_string())),
        Some(Type::BitField(bytes)) => ("bit_field", T::BitField, json!(hex(bytes))),
        Some(Type::Enum(v)) => ("enum", T::Enum, json!(v)),
        Some(Type::Bytes(bytes)) => ("bytes", T::Bytes, json!(hex(bytes))),
    };
    (name, Some(data_type), shown)
}

/// A floating-point number; JSON has none that aren't finite. A NaN other than the usual one shows its bits.
fn real(value: f64, usual_nan: bool, bits: u64) -> Value {
    match Number::from_f64(value) {
        Some(number) => Value::Number(number),
        None if value == f64::INFINITY => json!("Infinity"),
        None if value == f64::NEG_INFINITY => json!("-Infinity"),
        None if usual_nan => json!("NaN"),
        None => json!(format!("NaN({bits:#x})")),
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_back_as_they_were() {
        let text = |value: Type| shown_value(Some(&value)).2.to_string();
        for v in [0.1, -0.0, f64::MAX, f64::MIN_POSITIVE, f64::from_bits(1), 1e300] {
            assert_eq!(text(Type::Double(v)).parse::<f64>().unwrap().to_bits(), v.to_bits());
        }
        for v in [0.1, -0.0, f32::MAX, f32::from_bits(1), 16_777_217.0] {
            assert_eq!(text(Type::Float(v)).parse::<f32>().unwrap().to_bits(), v.to_bits());
        }
        assert_eq!(text(Type::Float(0.1)), "0.1");
        assert_eq!(text(Type::Uint64(u64::MAX)), "\"18446744073709551615\"");
        assert_eq!(text(Type::Int64(i64::MIN)), "\"-9223372036854775808\"");
        assert_eq!(text(Type::Double(f64::NEG_INFINITY)), "\"-Infinity\"");
        assert_eq!(text(Type::Float(f32::INFINITY)), "\"Infinity\"");
        assert_eq!((text(Type::Double(f64::NAN)), text(Type::Float(f32::NAN))), ("\"NaN\"".into(), "\"NaN\"".into()));
        assert_eq!(text(Type::Double(f64::from_bits(0x7ff8_0000_0000_0001))), "\"NaN(0x7ff8000000000001)\"");
        assert_eq!(text(Type::Float(f32::from_bits(0xffc0_0000))), "\"NaN(0xffc00000)\"");
        assert_eq!(text(Type::Bytes(vec![0, 255])), "\"00ff\"");
    }
}
