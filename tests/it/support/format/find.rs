//! What the crate's readers find, as the JSON of the vectors.

use std::path::Path;

use prost::Message;
use serde_json::{Value, json};
use sift_replay::format::{
    AddedFlows, Bounded, Damage, FlowConfig, FrameHeader, IngestionConfig, Kind, Mark, MarkMessage, PayloadDecoder,
    PayloadError, RecordInfo, Records, Run, Scanner, Seal, SegmentHeader, Step, TimeRange, Torn, Unreadable,
};
use sift_replay::segment::{Event, Identity, SegmentReader, SkipReason};
use sift_rs::ingest::v1::IngestWithConfigDataStreamRequest;
use sift_rs::ingest::v1::ingest_with_config_data_channel_value::Type;

use super::{hex, record_json, sha256};

fn text(ns: Option<i64>) -> Value {
    json!(ns.map(|t| t.to_string()))
}

fn ends(times: &TimeRange) -> (Option<i64>, Option<i64>) {
    if times.is_empty() { (None, None) } else { (Some(times.least), Some(times.greatest)) }
}

fn flow_json(flow: &FlowConfig) -> Value {
    let channels = flow.channels.iter().map(|c| {
        let enums: Vec<_> = c.enum_types.iter().map(|e| json!({ "name": e.name, "key": e.key })).collect();
        let bits = c.bit_field_elements.iter();
        let bits: Vec<_> =
            bits.map(|b| json!({ "name": b.name, "index": b.index, "bit_count": b.bit_count })).collect();
        json!({ "name": c.name, "unit": c.unit, "data_type": c.data_type, "enum_types": enums, "bit_field_elements": bits })
    });
    json!({ "name": flow.name, "channels": channels.collect::<Vec<_>>() })
}

fn header_json(header: &SegmentHeader) -> Value {
    let config = IngestionConfig::decode(&header.ingestion_config[..]).expect("an ingestion config");
    let run = header.run.as_ref().map(|bytes| {
        let run = Run::decode(&bytes[..]).expect("a run");
        json!({ "name": run.name, "client_key": run.client_key, "tags": run.tags, "sha256": sha256(bytes) })
    });
    let mut found = json!({
        "format_version": header.format_version, "first_seq": header.first_seq,
        "wall_clock_ns": header.wall_clock_ns.to_string(), "monotonic_ns": header.monotonic_ns,
        "recorder": header.recorder, "recorder_version": header.recorder_version, "host": header.host,
        "ingestion_config": {
            "asset_name": config.asset_name, "client_key": config.client_key,
            "flows": config.flows.iter().map(flow_json).collect::<Vec<_>>(),
            "sha256": sha256(&header.ingestion_config),
        },
        "run": run,
    });
    if let Some(run_id) = &header.run_id {
        found["run_id"] = run_id.as_str().into();
    }
    found
}

fn value_json(value: &Option<Type>) -> Value {
    match value {
        None => Value::Null,
        Some(Type::String(s)) => json!({ "string": s }),
        Some(Type::Double(v)) => json!({ "double_bits": format!("{:016x}", v.to_bits()) }),
        Some(Type::Float(v)) => json!({ "float_bits": format!("{:08x}", v.to_bits()) }),
        Some(Type::Bool(v)) => json!({ "bool": v }),
        Some(Type::Int32(v)) => json!({ "int32": v }),
        Some(Type::Uint32(v)) => json!({ "uint32": v }),
        Some(Type::Int64(v)) => json!({ "int64": v.to_string() }),
        Some(Type::Uint64(v)) => json!({ "uint64": v.to_string() }),
        Some(Type::BitField(v)) => json!({ "bit_field": hex(v) }),
        Some(Type::Enum(v)) => json!({ "enum": v }),
        Some(Type::Empty(_)) => json!({ "empty": true }),
        Some(Type::Bytes(v)) => json!({ "bytes": hex(v) }),
    }
}

/// A record by Sift's own types, and what the crate says of it without decoding.
fn record(bytes: &[u8]) -> Value {
    let request = IngestWithConfigDataStreamRequest::decode(bytes).expect("a request");
    let info = RecordInfo::parse(bytes).expect("a request");
    assert_eq!(info.flow, request.flow.as_bytes());
    assert_eq!(info.timestamp.is_some(), request.timestamp.is_some());
    let ids = [
        ("ingestion_config_id", &request.ingestion_config_id),
        ("run_id", &request.run_id),
        ("organization_id", &request.organization_id),
    ];
    let ids: serde_json::Map<_, _> =
        ids.iter().filter(|(_, id)| !id.is_empty()).map(|(k, id)| (k.to_string(), json!(id))).collect();
    assert_eq!(info.is_bare(), ids.is_empty());
    let values = request.channel_values.iter().map(|v| value_json(&v.r#type)).collect();
    record_json(bytes, &request.flow, info.timestamp, values, ids.into())
}

fn mark_json(mark: &Option<Mark>) -> Value {
    match mark {
        None => Value::Null,
        Some(Mark::Dropped(d)) => {
            json!({ "dropped": { "records": d.records, "reason": d.reason, "first_seq": d.first_seq } })
        }
        Some(Mark::ClockStep(c)) => json!({ "clock_step": { "step_ns": c.step_ns.to_string() } }),
        Some(Mark::Note(note)) => json!({ "note": note }),
        Some(Mark::Confirmed(c)) => {
            json!({ "confirmed": { "destination": c.destination, "first_seq": c.first_seq, "end_seq": c.end_seq } })
        }
        Some(Mark::Abandoned(a)) => {
            json!({ "abandoned": { "segment_index": a.segment_index, "error": a.error } })
        }
        Some(Mark::Refused(r)) => json!({ "refused": {
            "destination": r.destination, "reason": r.reason, "session_id": hex(&r.session_id),
            "pbfs_id": hex(&r.pbfs_id), "origin_path": r.origin_path,
            "seqs": r.seqs.iter().map(|s| [s.first, s.end]).collect::<Vec<_>>(),
            "first_seq": r.first_seq, "count": r.count,
        } }),
    }
}

fn seal_json(seal: &Seal) -> Value {
    let flows = seal.flows.iter().map(
        |f| json!({ "name": f.name, "records": f.records, "least_ns": text(f.least), "greatest_ns": text(f.greatest) }),
    );
    let index = seal.index.iter().map(|e| {
        json!({
            "offset": e.offset, "first_seq": e.first_seq, "count": e.count,
            "least_ns": text(e.least), "greatest_ns": text(e.greatest),
        })
    });
    json!({
        "event": "seal", "records": seal.records, "end_seq": seal.end_seq, "least_ns": text(seal.least),
        "greatest_ns": text(seal.greatest), "flows": flows.collect::<Vec<_>>(), "index": index.collect::<Vec<_>>(),
        "non_finite": seal.non_finite, "header": seal.header.as_ref().map(header_json),
    })
}

fn records_json<'a>(
    first_seq: u64,
    count: u32,
    bare: bool,
    times: &TimeRange,
    records: impl Iterator<Item = &'a [u8]>,
) -> Value {
    let (least, greatest) = ends(times);
    json!({
        "event": "records", "first_seq": first_seq, "count": count, "bare": bare,
        "least_ns": text(least), "greatest_ns": text(greatest), "records": records.map(record).collect::<Vec<_>>(),
    })
}

fn damage_json(damage: &Damage) -> Value {
    let seqs = damage.seqs.as_ref().map(|s| (s.start, s.end));
    super::damage(damage.offset as usize, damage.len as usize, damage.cause.as_str(), seqs)
}

fn torn_json(torn: &Torn) -> Value {
    super::torn(torn.offset as usize, torn.len as usize, torn.seqs.as_ref().map(|s| (s.start, s.end)))
}

fn reason_json(reason: SkipReason) -> (&'static str, u16) {
    match reason {
        SkipReason::UnknownKind(kind) => ("unknown-kind", kind.into()),
        SkipReason::Unreadable(Unreadable::Codec(codec)) => ("codec", codec.into()),
        SkipReason::Unreadable(Unreadable::CriticalFlags(flags)) => ("critical-flags", flags),
    }
}

pub fn identity_json(identity: &Identity) -> Value {
    json!({
        "session": identity.session.map(|s| s.to_string()), "index": identity.index,
        "segment_id": identity.segment_id.map(|id| format!("{id:016x}")),
        "header": identity.header.as_ref().map(header_json),
    })
}

/// Reads a file with [`SegmentReader`], which maps sealed files and reads the others: identity, whether a SEAL is found
/// through the trailer, and the events.
pub fn read(path: &Path) -> (Value, bool, Vec<Value>) {
    let mut reader = SegmentReader::open(path).expect("a file that can be opened");
    let identity = identity_json(reader.identity());
    let sealed = reader.seal().is_some();
    let mut events: Vec<Value> = Vec::new();
    loop {
        let mut event = match reader.next_event().expect("a file that can be read") {
            None => return (identity, sealed, events),
            Some(Event::Header(header)) => {
                header_json(&header);
                json!({ "event": "header" })
            }
            Some(Event::Records(batch)) => {
                assert_eq!(batch.end_seq(), batch.first_seq + u64::from(batch.count));
                let mut event = records_json(batch.first_seq, batch.count, batch.bare, &batch.times, batch.records());
                event["offset"] = json!(batch.offset);
                event
            }
            Some(Event::Schema(added)) => {
                json!({ "event": "schema", "flows": added.flows.iter().map(flow_json).collect::<Vec<_>>() })
            }
            Some(Event::Mark(mark)) => json!({
                "event": "mark", "wall_clock_ns": mark.wall_clock_ns.to_string(), "mark": mark_json(&mark.mark),
            }),
            Some(Event::Seal(seal)) => seal_json(&seal),
            Some(Event::Skipped(skipped)) => {
                let (reason, value) = reason_json(skipped.reason);
                let seqs = skipped.seqs.map(|s| [s.start, s.end]);
                json!({
                    "event": "skipped", "offset": skipped.offset, "len": skipped.len, "reason": reason,
                    "value": value, "seqs": seqs,
                })
            }
            Some(Event::Damage(damage)) => damage_json(&damage),
            Some(Event::Torn(torn)) => torn_json(&torn),
        };
        // A frame begins where what came before it ended, the first one behind the magic.
        let end = |e: &Value| e["offset"].as_u64().unwrap() + e["len"].as_u64().unwrap();
        let begin = events.last().map_or(8, end);
        if event.get("offset").is_none() {
            event["offset"] = json!(begin);
        }
        if event.get("len").is_none() {
            event["len"] = json!(reader.position() - event["offset"].as_u64().unwrap());
        }
        events.push(event);
    }
}

/// Reads bytes with [`Scanner`], of which `growth` more come to hand whenever it asks: the same events.
pub fn scan(file: &[u8], segment_id: Option<u64>, growth: usize) -> Vec<Value> {
    let (mut scanner, mut decoder) = (Scanner::new(segment_id), PayloadDecoder::default());
    let (mut seen, mut events) = (0usize, Vec::new());
    loop {
        let begin = scanner.position() as usize;
        match scanner.step(&file[begin..seen.max(begin)], seen == file.len()) {
            Step::NeedMore(bytes) => {
                assert!(seen < file.len(), "asks for more at the end");
                assert!(scanner.position() as usize + bytes > seen, "asks for what it has");
                seen = seen.saturating_add(growth).min(file.len());
            }
            Step::Frame(frame) => {
                let raw = decoder.decode(&frame);
                events.push(frame_json(&frame.header, raw));
            }
            Step::Damage(damage) => events.push(damage_json(&damage)),
            Step::Torn(torn) => events.push(torn_json(&torn)),
            Step::End => return events,
        }
    }
}

fn frame_json(header: &FrameHeader, raw: Result<&[u8], PayloadError>) -> Value {
    let seqs = (header.count > 0).then(|| (header.first_seq, header.end_seq()));
    let (offset, len) = (header.offset as usize, header.frame_len() as usize);
    let skip = |(reason, value): (&str, u16)| {
        let seqs = seqs.map(|(a, b)| [a, b]);
        json!({ "event": "skipped", "reason": reason, "value": value, "seqs": seqs })
    };
    let mut event = match (header.kind, raw) {
        (kind @ (Kind::Checkpoint | Kind::Unknown(_)), _) => skip(("unknown-kind", kind.to_byte().into())),
        (_, Err(PayloadError::Unreadable(why))) => skip(reason_json(SkipReason::Unreadable(why))),
        (kind, Ok(raw)) => match frame_content(kind, header, raw) {
            Some(event) => event,
            None => super::damage(offset, len, "malformed", seqs),
        },
        (_, Err(PayloadError::Malformed)) => super::damage(offset, len, "malformed", seqs),
    };
    event["offset"] = json!(offset);
    event["len"] = json!(len);
    event
}

fn frame_content(kind: Kind, header: &FrameHeader, raw: &[u8]) -> Option<Value> {
    Some(match kind {
        Kind::Header => {
            SegmentHeader::decode_bounded(raw)?;
            json!({ "event": "header" })
        }
        Kind::Schema => {
            let added = AddedFlows::decode_bounded(raw)?;
            json!({ "event": "schema", "flows": added.flows.iter().map(flow_json).collect::<Vec<_>>() })
        }
        Kind::Mark => {
            let mark = MarkMessage::decode_bounded(raw)?;
            json!({
                "event": "mark", "wall_clock_ns": mark.wall_clock_ns.to_string(), "mark": mark_json(&mark.mark),
            })
        }
        Kind::Seal => seal_json(&Seal::decode_bounded(raw)?),
        Kind::Data => {
            let records = Records::parse(raw, header.count)?;
            records_json(header.first_seq, header.count, header.flags & 1 != 0, &header.times, records)
        }
        Kind::Checkpoint | Kind::Unknown(_) => return None,
    })
}

/// [F-38]: every byte belongs to exactly one of: magic, a frame, damage, the torn end, the trailer. Fails otherwise.
pub fn check_coverage(file: &[u8], events: &[Value]) {
    let magic_is_lost = events.first().is_some_and(|e| e["offset"] == 0);
    let mut at = if magic_is_lost || file.is_empty() { 0 } else { 8 };
    assert!(magic_is_lost || at == 0 || file.starts_with(&super::MAGIC), "a wrong magic is reported");
    let mut seal = None;
    for event in events {
        let (offset, len) = (event["offset"].as_u64().unwrap() as usize, event["len"].as_u64().unwrap() as usize);
        if let Some(seal) = seal.take()
            && offset == at + 16
        {
            check_trailer(&file[at..offset], seal);
            at = offset;
        }
        assert_eq!(offset, at, "{event}\n{events:#?}");
        assert!(len > 0, "{event}");
        at += len;
        // A SEAL frame whose payload is damaged is followed by the trailer all the same [F-26].
        let is_seal = event["event"] == "seal"
            || (event["event"] == "skipped" || event["event"] == "damage")
                && file.get(offset..offset + 9).is_some_and(|h| h[..8] == super::SYNC && h[8] == super::SEAL);
        seal = is_seal.then_some(offset);
    }
    if let Some(seal) = seal
        && file.len() == at + 16
    {
        check_trailer(&file[at..], seal);
        at += 16;
    }
    assert_eq!(at, file.len(), "every byte is accounted for: {events:#?}");
}

fn check_trailer(bytes: &[u8], seal: usize) {
    assert_eq!(bytes, [&(seal as u64).to_le_bytes()[..], b"SFR-SEAL"].concat(), "a wrong trailer is reported");
}
