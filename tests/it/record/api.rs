//! Each error of the API names what is wrong, and leaves nothing behind.

use std::sync::Arc;

use prost::Message;
use sift_replay::format::{Compression, Mark, put_bytes_field, put_varint_field};
use sift_replay::record::{
    Channel, DataType, FlowSchema, MAX_RECORDED_BYTES, RecordError, Recorder, RecorderOptions, RunSchema, Schema,
    SchemaError, Timestamp, Value,
};

use super::{quiet, saved};
use crate::support::recording::{Owned, at, counted, counter_schema, encoded, flow_of, request};
use crate::support::storage::FaultyStorage;

const MIXED: [DataType; 3] = [DataType::Double, DataType::String, DataType::Bool];

fn schema() -> Schema {
    counter_schema().flow(flow_of("imu", &MIXED)).flow(flow_of("empty", &[]))
}

fn sound() -> [Owned; 3] {
    [Owned::Double(1.5), Owned::Text("ok".into()), Owned::Bool(true)]
}

/// Runs `call` between two sound records; it must fail, say all of `texts`, and leave no trace.
#[track_caller]
fn refused(texts: &[&str], call: impl FnOnce(&Recorder) -> Result<(), RecordError>) {
    let storage = FaultyStorage::new();
    let recorder = Recorder::create("root", &schema(), quiet(&storage)).unwrap();
    let flow = recorder.flow("f").unwrap();
    let _ = recorder.record(&flow, at(0), &[Value::Uint64(0)]).unwrap();
    recorder.flush().unwrap();
    let before = (recorder.stats(), storage.log());
    let error = call(&recorder).expect_err("the call must fail").to_string();
    for text in texts {
        assert!(error.contains(text), "{error:?} doesn't say {text:?}");
    }
    recorder.flush().unwrap();
    assert_eq!((recorder.stats(), storage.log()), before);
    let _ = recorder.record(&flow, at(1), &[Value::Uint64(1)]).unwrap();
    recorder.finish().unwrap();
    let records: Vec<_> = saved(&storage).into_iter().flat_map(|segment| segment.records).collect();
    assert_eq!(records, [(0, counted(0)), (1, counted(1))]);
}

#[test]
fn a_value_of_the_wrong_type_is_refused_by_channel() {
    refused(&["\"imu\"", "\"c1\"", "string", "an int32"], |recorder| {
        let imu = recorder.flow("imu")?;
        recorder.record(&imu, at(1), &[Value::Double(1.0), Value::Int32(1), Value::Bool(true)]).map(drop)
    });
    refused(&["\"imu\"", "\"c0\"", "double", "a float"], |recorder| {
        recorder.record_named("imu", at(1), &[("c0", Value::Float(1.0))]).map(drop)
    });
    refused(&["\"imu\"", "\"c2\"", "bool", "a double"], |recorder| {
        let imu = recorder.flow("imu")?;
        recorder.try_record(&imu, at(1), &[Value::Double(1.0), Value::String("x"), Value::Double(1.0)]).map(drop)
    });
}

#[test]
fn a_wrong_number_of_values_is_refused_with_both_numbers() {
    for given in [0, 1, 2, 4] {
        refused(&["\"imu\"", "3 channels", &format!("{given} values")], |recorder| {
            let imu = recorder.flow("imu")?;
            recorder.record(&imu, at(1), &vec![Value::Empty; given]).map(drop)
        });
    }
    refused(&["\"empty\"", "0 channels"], |recorder| {
        recorder.record(&recorder.flow("empty")?, at(1), &[Value::Empty]).map(drop)
    });
}

#[test]
fn unknown_and_repeated_names_are_refused_by_name() {
    refused(&["\"gps\"", "`add_flow`"], |recorder| recorder.flow("gps").map(drop));
    refused(&["\"gps\""], |recorder| recorder.record_named("gps", at(1), &[]).map(drop));
    refused(&["\"imu\"", "\"c9\"", "c0, c1, c2"], |recorder| {
        recorder.record_named("imu", at(1), &[("c0", Value::Double(1.0)), ("c9", Value::Bool(true))]).map(drop)
    });
    refused(&["\"imu\"", "\"c2\"", "twice"], |recorder| {
        recorder.record_named("imu", at(1), &[("c2", Value::Bool(true)), ("c2", Value::Bool(true))]).map(drop)
    });
}

#[test]
fn a_flow_of_another_recorder_is_refused() {
    let other = Recorder::create("root", &schema(), quiet(&FaultyStorage::new())).unwrap();
    let foreign = other.flow("f").unwrap();
    refused(&["\"f\"", "another recorder"], |r| r.record(&foreign, at(1), &[Value::Uint64(1)]).map(drop));
    refused(&["\"f\"", "another recorder"], |r| r.try_record(&foreign, at(1), &[Value::Uint64(1)]).map(drop));
}

#[test]
fn what_is_too_large_is_refused_with_the_bound() {
    let huge = "x".repeat(MAX_RECORDED_BYTES);
    let bound = MAX_RECORDED_BYTES.to_string();
    refused(&["\"imu\"", &bound], |recorder| {
        recorder.record_named("imu", at(1), &[("c1", Value::String(&huge))]).map(drop)
    });
    let values = [Owned::Empty, Owned::Text(huge.clone()), Owned::Empty];
    refused(&["\"imu\"", &bound], |recorder| recorder.record_request(&encoded("imu", 1, &values)).map(drop));
    refused(&["\"imu\"", &bound], |recorder| recorder.record_message(&request("imu", 1, &values)).map(drop));
    refused(&["a mark", "bytes"], |recorder| recorder.note(huge.clone()));
    refused(&["flows", "bytes"], |recorder| {
        recorder
            .add_flow(FlowSchema::new("new").channel(Channel::new("c", DataType::Bool).description(&huge)))
            .map(drop)
    });
    let flow = FlowSchema::new("new").channel(Channel::new("c", DataType::Bool).description(&huge));
    let error = Recorder::create("root", &schema().flow(flow), quiet(&FaultyStorage::new())).unwrap_err();
    assert!(matches!(error, RecordError::Schema(SchemaError::TooLarge { .. })), "{error}");
}

#[test]
fn the_largest_record_is_recorded() {
    let storage = FaultyStorage::new();
    let recorder = Recorder::create("root", &schema(), quiet(&storage)).unwrap();
    let empty = encoded("imu", 1, &[Owned::Empty, Owned::Text(String::new()), Owned::Empty]).len();
    // Two lengths of 4 bytes each instead of 1.
    let text = "x".repeat(MAX_RECORDED_BYTES - empty - 6);
    let values = [Owned::Empty, Owned::Text(text.clone()), Owned::Empty];
    let _ = recorder.record_named("imu", at(1), &[("c1", Value::String(&text))]).unwrap();
    let _ = recorder.record_message(&request("imu", 1, &values)).unwrap();
    recorder.finish().unwrap();
    let records = saved(&storage).remove(0).records;
    assert_eq!(records[0].1.len(), MAX_RECORDED_BYTES);
    assert!(records[0].1 == encoded("imu", 1, &values) && records[1].1 == records[0].1);
}

#[test]
fn a_ready_made_request_that_does_not_fit_the_schema_is_refused() {
    let mut wrong = sound();
    wrong[2] = Owned::Int64(1);
    refused(&["\"imu\"", "\"c2\"", "bool", "an int64"], |r| r.record_request(&encoded("imu", 1, &wrong)).map(drop));
    refused(&["\"imu\"", "3 channels", "2 values"], |r| r.record_request(&encoded("imu", 1, &sound()[..2])).map(drop));
    let four = [sound().to_vec(), vec![Owned::Empty]].concat();
    refused(&["\"imu\"", "3 channels", "4 values"], |r| r.record_request(&encoded("imu", 1, &four)).map(drop));
    refused(&["\"gps\""], |r| r.record_request(&encoded("gps", 1, &sound())).map(drop));
    refused(&["\"\""], |r| r.record_request(&encoded("", 1, &sound())).map(drop));
    let mut timeless = request("imu", 1, &sound());
    timeless.timestamp = None;
    refused(&["\"imu\"", "no timestamp"], |r| r.record_message(&timeless).map(drop));
}

#[test]
fn garbage_is_no_request() {
    let sound = encoded("imu", 1, &sound());
    refused(&["can't be read"], |r| r.record_request(&[0xff; 20]).map(drop));
    refused(&["can't be read"], |r| r.record_request(&sound[..sound.len() - 1]).map(drop));
    // What prost, and so Sift, can't decode either.
    let with = |append: &dyn Fn(&mut Vec<u8>)| {
        let mut request = sound.clone();
        append(&mut request);
        assert!(sift_rs::ingest::v1::IngestWithConfigDataStreamRequest::decode(&request[..]).is_err());
        refused(&["can't be read"], |r| r.record_request(&request).map(drop));
    };
    with(&|request| put_bytes_field(request, 2, b"\xff"));
    with(&|request| put_bytes_field(request, 5, b"\xff"));
    with(&|request| put_varint_field(request, 1, 7));
    with(&|request| put_varint_field(request, 4, 7));
    with(&|request| put_bytes_field(request, 6, b"x"));
    with(&|request| put_bytes_field(request, 3, b"\x0a\x00"));
    let value = |value: &[u8]| {
        let mut request = encoded("imu", 1, &self::sound()[..1]);
        put_bytes_field(&mut request, 4, value);
        put_bytes_field(&mut request, 4, b"\x20\x01");
        assert!(sift_rs::ingest::v1::IngestWithConfigDataStreamRequest::decode(&request[..]).is_err());
        refused(&["can't be read"], |r| r.record_request(&request).map(drop));
    };
    value(b"\x0a\x01\xff");
    value(b"\x08\x01");
    value(b"\x5a\x01\xff");
}

#[test]
fn ready_made_requests_are_stored_bit_for_bit_and_bare_only_without_ids() {
    type Change = fn(&mut sift_rs::ingest::v1::IngestWithConfigDataStreamRequest);
    let changes: [(Change, bool); 5] = [
        (|_| {}, true),
        (|request| request.ingestion_config_id = "config".into(), false),
        (|request| request.run_id = "run".into(), false),
        (|request| request.organization_id = "organization".into(), false),
        (|request| request.end_stream_on_validation_error = true, true),
    ];
    for (change, bare) in changes {
        let storage = FaultyStorage::new();
        let options = RecorderOptions { frame_bytes: 64 << 10, ..quiet(&storage) };
        let recorder = Recorder::create("root", &schema(), options).unwrap();
        let mut message = request("imu", -7, &sound());
        change(&mut message);
        // An unknown field and an unusual order of fields survive too.
        let mut bytes = vec![0xf8, 0x01, 0x05];
        bytes.extend(message.encode_to_vec());
        let _ = recorder.record_request(&bytes).unwrap();
        let _ = recorder.record_message(&message).unwrap();
        let _ = recorder.record_message(&request("f", 1, &[Owned::Uint64(1)])).unwrap();
        recorder.finish().unwrap();
        let segment = saved(&storage).remove(0);
        segment.check_seal();
        let records: Vec<_> = segment.records.iter().map(|(_, record)| record.clone()).collect();
        assert_eq!(records, [bytes, message.encode_to_vec(), counted(1)]);
        assert_eq!(segment.frames.len(), 1);
        assert_eq!(segment.frames[0].4, bare);
    }
}

#[test]
fn non_finite_values_are_recorded_and_counted() {
    let storage = FaultyStorage::new();
    let schema = Schema::new("a", "k").flow(flow_of("f", &[DataType::Double, DataType::Float]));
    let recorder = Recorder::create("root", &schema, quiet(&storage)).unwrap();
    let rows = [
        [Owned::Double(f64::NAN), Owned::Float(f32::NEG_INFINITY)],
        [Owned::Double(1.0), Owned::Float(f32::NAN)],
        [Owned::Double(f64::MAX), Owned::Empty],
    ];
    for row in &rows {
        let values: Vec<_> = row.iter().map(Owned::value).collect();
        let _ = recorder.record(&recorder.flow("f").unwrap(), at(0), &values).unwrap();
    }
    let _ = recorder.record_request(&encoded("f", 0, &rows[0])).unwrap();
    assert_eq!(recorder.stats().non_finite, 5);
    assert_eq!(recorder.finish().unwrap().non_finite, 5);
    let segment = saved(&storage).remove(0);
    assert_eq!(segment.seal.as_ref().unwrap().non_finite, 5);
    assert_eq!(segment.records[3].1, encoded("f", 0, &rows[0]));
}

#[test]
fn adding_a_flow_again_returns_the_one_that_is_there_and_another_of_its_name_is_refused() {
    let storage = FaultyStorage::new();
    let recorder = Recorder::create("root", &schema(), quiet(&storage)).unwrap();
    let new = || flow_of("new", &[DataType::Enum]);
    let first = recorder.add_flow(new()).unwrap();
    let second = recorder.add_flow(new()).unwrap();
    let _ = recorder.record(&first, at(0), &[Value::Enum(3)]).unwrap();
    let _ = recorder.record(&second, at(1), &[Value::Enum(4)]).unwrap();
    let error = recorder.add_flow(flow_of("new", &[DataType::Bool])).unwrap_err();
    assert!(matches!(&error, RecordError::Schema(SchemaError::FlowDiffers { flow }) if flow == "new"));
    assert!(matches!(recorder.add_flow(FlowSchema::new("")), Err(RecordError::Schema(SchemaError::Empty { .. }))));
    recorder.finish().unwrap();
    let segment = saved(&storage).remove(0);
    segment.check_seal();
    assert_eq!(segment.schemas.len(), 1);
    assert_eq!(segment.records.len(), 2);
}

#[test]
fn options_that_can_not_work_are_refused() {
    let create = |change: fn(&mut RecorderOptions)| {
        let mut options = quiet(&FaultyStorage::new());
        change(&mut options);
        Recorder::create("root", &schema(), options).map(|_| ()).unwrap_err()
    };
    for (change, text) in [
        ((|o| o.frame_bytes = 0) as fn(&mut RecorderOptions), "`frame_bytes`"),
        (|o| o.frame_bytes = MAX_RECORDED_BYTES + 1, "`frame_bytes`"),
        (|o| o.buffers = 0, "`buffers`"),
        (|o| o.segment_bytes = 0, "`segment_bytes`"),
        (|o| o.unsynced_bytes = 0, "`unsynced_bytes`"),
        (|o| o.sync = sift_replay::record::SyncPolicy::Interval(std::time::Duration::ZERO), "interval"),
        (
            |o| {
                o.sync = sift_replay::record::SyncPolicy::EveryRecord;
                o.on_full = sift_replay::record::OnFull::DropOldest;
            },
            "`EveryRecord`",
        ),
    ] {
        let error = create(change);
        assert!(matches!(error, RecordError::Options(_)) && error.to_string().contains(text), "{error}");
    }
    let error = Recorder::create("root", &Schema::new("a", ""), quiet(&FaultyStorage::new())).unwrap_err();
    assert!(matches!(error, RecordError::Schema(SchemaError::Empty { .. })));
}

#[test]
fn a_mark_that_somebody_else_makes_moves_no_seq() {
    let storage = FaultyStorage::new();
    let recorder = Recorder::create("root", &schema(), quiet(&storage)).unwrap();
    let dropped = sift_replay::format::Dropped { records: u64::MAX, reason: "theirs".into(), first_seq: Some(1000) };
    recorder.mark(Mark::Dropped(dropped.clone())).unwrap();
    let _ = recorder.record(&recorder.flow("f").unwrap(), at(0), &[Value::Uint64(0)]).unwrap();
    recorder.flush().unwrap();
    assert_eq!(recorder.durable_seq(), 1);
    recorder.finish().unwrap();
    let segment = saved(&storage).remove(0);
    segment.check_seal();
    assert_eq!(segment.marks, [Mark::Dropped(dropped)]);
    assert_eq!(segment.records, [(0, counted(0))]);
}

#[test]
fn the_schema_and_the_run_stand_in_header_and_seal() {
    let storage = FaultyStorage::new();
    let schema = schema().run(RunSchema::new("flight 7", "flight-7").description("d").tag("t"));
    let options = RecorderOptions { program: "autopilot".into(), program_version: "9".into(), ..quiet(&storage) };
    let recorder = Recorder::create("root", &schema, options).unwrap();
    assert_eq!(recorder.dir(), std::path::Path::new("root/rover/flight%207"));
    recorder.add_flow(flow_of("late", &[DataType::Bytes])).unwrap();
    recorder.finish().unwrap();
    let segment = saved(&storage).remove(0);
    let header = segment.header.as_ref().unwrap();
    assert_eq!((header.recorder.as_str(), header.recorder_version.as_str()), ("autopilot", "9"));
    type Config = sift_rs::ingestion_configs::v2::CreateIngestionConfigRequest;
    let config = Config::decode(&header.ingestion_config[..]).unwrap();
    assert_eq!((config.asset_name.as_str(), config.client_key.as_str()), ("rover", "rover-v1"));
    assert_eq!(config.flows.iter().map(|flow| flow.name.as_str()).collect::<Vec<_>>(), ["f", "imu", "empty"]);
    let run = sift_rs::runs::v2::CreateRunRequest::decode(&header.run.as_ref().unwrap()[..]).unwrap();
    assert_eq!((run.name.as_str(), run.client_key.as_deref()), ("flight 7", Some("flight-7")));
    let sealed = segment.seal.as_ref().unwrap().header.as_ref().unwrap();
    let config = Config::decode(&sealed.ingestion_config[..]).unwrap();
    assert_eq!(config.flows.iter().map(|flow| flow.name.as_str()).collect::<Vec<_>>(), ["f", "imu", "empty", "late"]);
}

#[test]
fn a_recorder_may_be_shared_between_threads() {
    fn shared<T: Send + Sync + 'static>(_: &T) {}
    let options = RecorderOptions { compression: Compression::default(), ..quiet(&FaultyStorage::new()) };
    let recorder = Arc::new(Recorder::create("root", &schema(), options).unwrap());
    shared(&recorder);
    shared(&recorder.flow("f").unwrap());
    let _ = recorder.record(&recorder.flow("f").unwrap(), Timestamp::now(), &[Value::Uint64(0)]).unwrap();
}
