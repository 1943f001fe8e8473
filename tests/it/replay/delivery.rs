//! Sound recordings: everything arrives, bit for bit, in order, once.

use std::sync::atomic::Ordering;

use prost::Message;
use sift_replay::format::{MAX_RAW_BYTES, Suffix};
use sift_replay::record::{Channel, DataType, FlowSchema, Recorder, RecorderOptions, Schema, Timestamp, Value};
use sift_replay::replay::ReplayOptions;
use sift_rs::ingest::v1::ingest_with_config_data_channel_value::Type;
use sift_rs::ingest::v1::{IngestWithConfigDataChannelValue, IngestWithConfigDataStreamRequest};

use super::{assert_same, count, counting, files_of, flight, recorded, session, small_frames, small_segments};
use crate::support::destination::{Mood, RAW_CONFIG_ID, RAW_RUN_ID, Raw, Rig, block_on, messages, replay_to};

/// One channel of each type.
fn all_types() -> FlowSchema {
    let channel = |data_type: DataType| match data_type {
        DataType::Enum => Channel::new("enum", data_type).enum_value(0, "off").enum_value(u32::MAX, "on"),
        DataType::BitField => Channel::new("bits", data_type).bits("low", 0, 4).bits("high", 4, 4),
        other => Channel::new(other.to_string(), other).unit("u").description("d"),
    };
    DataType::ALL.into_iter().map(channel).fold(FlowSchema::new("all"), FlowSchema::channel)
}

/// Values at the edges of each type, in the order of [`DataType::ALL`].
fn edges(n: usize, long: &str) -> [Value<'_>; 11] {
    let at = |values: [Value<'static>; 3]| values[n % 3];
    let text = [Value::String(""), Value::String("größe \u{0}\u{1f680}"), Value::String(long)][n % 3];
    let bytes = [Value::Bytes(&[]), Value::Bytes(&[0, 255, 128]), Value::Bytes(long.as_bytes())][n % 3];
    [
        at([Value::Double(f64::MAX), Value::Double(-0.0), Value::Double(f64::from_bits(1))]),
        text,
        at([Value::Enum(0), Value::Enum(u32::MAX), Value::Enum(7)]),
        at([Value::BitField(&[0]), Value::BitField(&[255]), Value::BitField(&[0x5a])]),
        at([Value::Bool(false), Value::Bool(true), Value::Empty]),
        at([Value::Float(f32::MIN), Value::Float(-0.0), Value::Float(f32::MIN_POSITIVE)]),
        at([Value::Int32(i32::MIN), Value::Int32(i32::MAX), Value::Int32(0)]),
        at([Value::Uint32(0), Value::Uint32(u32::MAX), Value::Empty]),
        at([Value::Int64(i64::MIN), Value::Int64(i64::MAX), Value::Int64(-1)]),
        at([Value::Uint64(0), Value::Uint64(u64::MAX), Value::Uint64(1 << 63)]),
        bytes,
    ]
}

#[test]
fn every_data_type_arrives_bit_for_bit_under_the_registered_ids() {
    let dir = tempfile::tempdir().unwrap();
    let schema = flight(Schema::new("rover 7", "all-v1").flow(all_types()));
    let recorder = Recorder::create(dir.path(), &schema, small_frames()).unwrap();
    let flow = recorder.flow("all").unwrap();
    let long = "x".repeat(5000);
    let times = [0, 1, -1, -4_750_000_000, 1_700_000_000_123_456_789, i64::MAX, i64::MIN];
    for n in 0..42 {
        let time = Timestamp::from_unix_ns(times[n % times.len()]);
        let _ = recorder.record(&flow, time, &edges(n / 2, &long)).unwrap();
    }
    let _ = recorder.record(&flow, Timestamp::from_unix_ns(5), &[Value::Empty; 11]).unwrap();
    recorder.finish().unwrap();
    let expected = recorded(&files_of(&recorder));
    assert_eq!(expected.len(), 43);

    block_on(async {
        let rig = Rig::start().await;
        let replayed = rig.replay(&[dir.path()]).await;
        assert!(replayed.report.is_complete(), "{:?}", replayed.report);
        assert_eq!(replayed.report.totals.records_acknowledged, 43);
        assert_eq!(rig.refused(), 0);
        let keys = rig.keys();
        let registered = |config: &str, run: &str| {
            replayed.told.iter().any(|told| {
                matches!(told, crate::support::destination::Told::Registered { config: c, run: Some(r), .. }
                    if c == config && r == run)
            })
        };
        assert!(keys.len() == 1 && registered(&keys[0].ingestion_config_id, &keys[0].run_id), "{keys:?}");
        let sessions = rig.finish().await;
        assert_eq!((&sessions[0].config.asset_name[..], &sessions[0].config.client_key[..]), ("rover 7", "all-v1"));
        assert_eq!(sessions[0].config.flows.len(), 1);
        assert_eq!(sessions[0].config.flows[0].channels.len(), 11);
        let run = sessions[0].run.as_ref().unwrap();
        assert_eq!((&run.name[..], run.client_key.as_deref()), ("Flight 7", Some("flight-7")));
        assert_same(&sessions[0].records, &expected);
    });
}

#[test]
fn sessions_go_out_side_by_side_and_segments_in_seq_order() {
    let dir = tempfile::tempdir().unwrap();
    // Directories whose names sort against the sessions' order.
    let first = session(&dir.path().join("z"), &counting("one"), small_segments(), 500);
    let second = session(&dir.path().join("a"), &counting("two"), small_segments(), 300);
    assert!(first.len() > 2 && second.len() > 2, "{} and {} segments", first.len(), second.len());
    block_on(async {
        let rig = Rig::start().await;
        let replayed = rig.replay(&[dir.path()]).await;
        assert!(replayed.report.is_complete(), "{:?}", replayed.report);
        assert_eq!(replayed.report.sessions, 2);
        assert_eq!(replayed.report.segments, (first.len() + second.len()) as u64);
        let sessions = rig.finish().await;
        let of = |key: &str| &sessions.iter().find(|session| session.config.client_key == key).unwrap().records;
        assert_same(of("one"), &recorded(&first));
        assert_same(of("two"), &recorded(&second));
    });
}

#[test]
fn flows_added_midway_are_registered_before_their_records() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::create(dir.path(), &counting("k"), small_frames()).unwrap();
    count(&recorder, 100);
    let late = FlowSchema::new("late").channel(Channel::new("text", DataType::String));
    let late = recorder.add_flow(late).unwrap();
    for n in 0..100 {
        let _ = recorder.record(&late, Timestamp::from_unix_ns(n), &[Value::String("late")]).unwrap();
    }
    recorder.finish().unwrap();
    let files = files_of(&recorder);
    let expected = recorded(&files);
    // Sealed: SEAL names the flow. Cut off: only SCHEMA, in the middle of the file, does.
    let whole = std::fs::read(&files[0]).unwrap();
    let seal = sift_replay::format::decode_trailer(whole.last_chunk().unwrap()).unwrap();
    let open = tempfile::tempdir().unwrap();
    let name = format!("{}.open", files[0].file_name().unwrap().to_str().unwrap());
    std::fs::write(open.path().join(name), &whole[..seal as usize]).unwrap();
    block_on(async {
        for dir in [dir.path(), open.path()] {
            let rig = Rig::start().await;
            // One window after the other, so that the order is kept.
            let options = ReplayOptions { windows_per_lane: 1, ..ReplayOptions::default() };
            let replayed = rig.replay_with(&[dir], &options).await;
            assert!(replayed.report.is_complete(), "{:?}", replayed.report);
            let sessions = rig.finish().await;
            assert_eq!(sessions[0].config.flows.len(), 2);
            assert_same(&sessions[0].records, &expected);
        }
    });
}

#[test]
fn requests_with_ids_of_their_own_are_sent_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::create(dir.path(), &counting("k"), RecorderOptions::default()).unwrap();
    count(&recorder, 3);
    let own = IngestWithConfigDataStreamRequest {
        ingestion_config_id: "their-config".to_owned(),
        flow: "n".to_owned(),
        timestamp: Some(pbjson_types::Timestamp { seconds: 1, nanos: 2 }),
        channel_values: vec![IngestWithConfigDataChannelValue { r#type: Some(Type::Uint64(7)) }],
        ..Default::default()
    };
    let _ = recorder.record_message(&own).unwrap();
    recorder.finish().unwrap();
    block_on(async {
        let raw = Raw::start(Mood::Keeps);
        let replayed = replay_to(raw.uri(), &[dir.path()], &ReplayOptions::default()).await;
        assert!(replayed.report.is_complete());
        let sent = messages(&raw.seen.kept.lock().unwrap()[0]);
        // Nothing but the directive is appended.
        assert_eq!(sent[3], [&own.encode_to_vec()[..], &[0x30, 1]].concat());
        let counted = IngestWithConfigDataStreamRequest::decode(&sent[2][..]).unwrap();
        assert_eq!(counted.ingestion_config_id, RAW_CONFIG_ID);
    });
}

#[test]
fn no_record_is_decoded_to_be_sent() {
    let dir = tempfile::tempdir().unwrap();
    let segments = session(dir.path(), &flight(counting("k")), small_segments(), 1000);
    let expected = recorded(&segments);
    for (on_reject, directive) in
        [(sift_replay::replay::OnReject::Stop, true), (sift_replay::replay::OnReject::Accept, false)]
    {
        block_on(async {
            let raw = Raw::start(Mood::Keeps);
            let options = ReplayOptions { on_reject, ..ReplayOptions::default() };
            let replayed = replay_to(raw.uri(), &[dir.path()], &options).await;
            assert!(replayed.report.is_complete(), "{:?}", replayed.report);
            let sent: Vec<_> = raw.seen.kept.lock().unwrap().iter().flat_map(|stream| messages(stream)).collect();
            let suffix = Suffix::new(RAW_CONFIG_ID, Some(RAW_RUN_ID), directive);
            let with_suffix: Vec<_> = expected.iter().map(|record| [record, suffix.for_bare()].concat()).collect();
            assert_same(&sent, &with_suffix);
            assert_eq!(replayed.report.totals.bytes_sent, raw.seen.bytes.load(Ordering::SeqCst));
        });
    }
}

#[test]
fn no_more_windows_are_on_their_way_than_asked_for_and_none_is_larger() {
    let dir = tempfile::tempdir().unwrap();
    session(dir.path(), &counting("k"), small_segments(), 5000);
    block_on(async {
        let raw = Raw::start(Mood::Keeps);
        let options = ReplayOptions { window_bytes: 10_000, windows_per_lane: 1, ..ReplayOptions::default() };
        let replayed = replay_to(raw.uri(), &[dir.path()], &options).await;
        assert!(replayed.report.is_complete());
        assert_eq!(raw.seen.most_open.load(Ordering::SeqCst), 1, "a window was begun before the last was acknowledged");
        let windows = replayed.windows();
        let sent: Vec<_> = raw.seen.kept.lock().unwrap().iter().map(|stream| stream.len() as u64).collect();
        assert_eq!(windows, sent);
        let (last, full) = windows.split_last().unwrap();
        assert!(full.len() > 10);
        // A record here is less than 100 bytes with its ids.
        assert!(full.iter().all(|bytes| (10_000..10_100).contains(bytes)), "{full:?}");
        assert!(*last < 10_100);
    });
}

#[test]
fn memory_is_bounded_by_the_window_whatever_a_frame_unpacks_to() {
    use sift_replay::format::{Codec, Compression, FLAG_BARE, FRAME_HEADER_BYTES, Kind, PayloadEncoder, TimeRange};
    use sift_replay::segment::{Disk, PendingFrame, SegmentWriter};
    let dir = tempfile::tempdir().unwrap();
    let files = session(dir.path(), &counting("k"), RecorderOptions::default(), 1);
    let reader = sift_replay::segment::SegmentReader::open(&files[0]).unwrap();
    let header = reader.identity().header.clone().unwrap();
    // A frame of a few hundred bytes that holds a million empty records: gRPC makes tens of MiB of them.
    let records = 1u32 << 20;
    assert!(records * 4 < MAX_RAW_BYTES);
    let raw = vec![0u8; records as usize * 4];
    let mut buffer = Vec::new();
    assert_eq!(PayloadEncoder::new(Compression::default()).unwrap().compress(&raw, &mut buffer).unwrap(), Codec::Zstd);
    assert!(buffer.len() < FRAME_HEADER_BYTES + 2000);
    let bomb = tempfile::tempdir().unwrap();
    let session = header.session().unwrap();
    let mut writer = SegmentWriter::create(std::sync::Arc::new(Disk), bomb.path(), session, header).unwrap();
    let (count, raw_len, times) = (records, raw.len() as u32, TimeRange::EMPTY);
    let kind = Kind::Data;
    let mut frame =
        PendingFrame { kind, codec: Codec::Zstd, flags: FLAG_BARE, count, first_seq: 0, times, raw_len, buffer };
    writer.write(&mut frame).unwrap();
    writer.seal().unwrap();
    block_on(async {
        let raw = Raw::start(Mood::Counts);
        let options = ReplayOptions { window_bytes: 1 << 20, ..ReplayOptions::default() };
        let replayed = replay_to(raw.uri(), &[bomb.path()], &options).await;
        assert_eq!(replayed.report.totals.records_acknowledged, u64::from(records));
        let windows = replayed.windows();
        assert!(windows.len() > 10);
        assert!(windows.iter().all(|bytes| *bytes < (1 << 20) + 100), "{windows:?}");
    });
}
