#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use sift_rs::ingest::v1::ingest_with_config_data_channel_value::Type;
use sift_rs::ingest::v1::{IngestWithConfigDataChannelValue, IngestWithConfigDataStreamRequest};

use super::*;
use crate::catalog::{Catalog, SeqSet, discover};
use crate::format::{Compression, Suffix};
use crate::record::{Channel, DataType, FlowSchema, Recorder, RecorderOptions, Schema, SyncPolicy, Timestamp, Value};
use crate::replay::checkpoint::Done;
use crate::replay::options::{Selection, WindowSize};
use crate::replay::plan::Job;
use crate::replay::read::{Item, Memory, Reading, Selector, read_job};
use crate::replay::window::Window;

const FLOWS: [&str; 3] = ["a", "b", "c"];

/// However slow the computer is, frames end where they are full.
const NEVER: Duration = Duration::from_secs(3600);

/// A session of a thousand records of three flows in turn. Every seventh is a request as it came, half of those with ids of
/// their own; there are marks in between.
fn recorded(root: &Path, compression: Compression) -> Vec<PathBuf> {
    let schema = FLOWS.iter().fold(Schema::new("rover", "v1"), |schema, name| {
        schema.flow(FlowSchema::new(*name).channel(Channel::new("n", DataType::Uint64)))
    });
    let options = RecorderOptions {
        frame_bytes: 700,
        compression,
        segment_bytes: 6000,
        sync: SyncPolicy::OnRotation,
        flush_interval: NEVER,
        ..RecorderOptions::default()
    };
    let recorder = Recorder::create(root, &schema, options).unwrap();
    let flows = FLOWS.map(|name| recorder.flow(name).unwrap());
    for n in 0..1000_u64 {
        let time = Timestamp::from_unix_ns(n as i64);
        match n {
            _ if n % 7 == 3 => {
                let value = IngestWithConfigDataChannelValue { r#type: Some(Type::Uint64(n)) };
                let mut request = IngestWithConfigDataStreamRequest {
                    flow: "b".to_owned(),
                    channel_values: vec![value],
                    timestamp: Some(pbjson_types::Timestamp { seconds: 1, nanos: n as i32 }),
                    ..Default::default()
                };
                if n % 2 == 0 {
                    request.ingestion_config_id = "theirs".to_owned();
                }
                let _ = recorder.record_request(&request.encode_to_vec()).unwrap();
            }
            _ => {
                let values = [Value::Uint64(n * n)];
                let _ = recorder.record(&flows[(n % 3) as usize], time, &values).unwrap();
            }
        }
        if n % 100 == 50 {
            recorder.note("a fact").unwrap();
        }
    }
    recorder.finish().unwrap();
    segments(root)
}

fn segments(root: &Path) -> Vec<PathBuf> {
    let catalog = Catalog::build(discover(&[root.to_owned()]).unwrap());
    catalog.sessions[0].segments.iter().map(|file| file.path.clone()).collect()
}

fn outgoing() -> Outgoing {
    Outgoing::new(Suffix::new("config", Some("run"), true), 1_000)
}

/// What reading a directory makes.
fn windows(root: &Path, selection: &Selection, bytes: usize) -> Vec<Window> {
    let catalog = Catalog::build(discover(&[root.to_owned()]).unwrap());
    let reading = Reading {
        job: Job::Session(Arc::new(catalog.sessions[0].clone())),
        outgoing: outgoing(),
        window_size: WindowSize { bytes, records: u64::MAX },
        slots: Slots::unlimited(),
        selector: Selector::new(selection),
        done: Done::default(),
        held: SeqSet::new(),
        delivered: Vec::new(),
    };
    let mut windows = Vec::new();
    let mut sink = |item| {
        windows.extend(if let Item::Window(window) = item { Some(window) } else { None });
        Ok(())
    };
    read_job(reading, &mut Memory::default(), &mut sink).unwrap();
    windows
}

fn again(window: &Window) -> Result<Vec<Bytes>, AgainError> {
    let places = window.places.as_ref().unwrap();
    let read = read_again(places, &window.seqs, outgoing(), Slots::unlimited(), Place::default())?;
    assert_eq!((read.records, read.bytes), (window.records, window.bytes));
    Ok(read.buffers)
}

#[track_caller]
fn assert_the_same_once_more(windows: &[Window], records: u64) {
    assert_eq!(windows.iter().map(|window| window.records).sum::<u64>(), records);
    for window in windows {
        let read = again(window).unwrap();
        assert!(read.concat() == window.buffers.concat(), "{:?}", window.seqs);
        assert_eq!(read.len(), window.buffers.len());
    }
}

#[test]
fn a_window_read_once_more_is_what_it_was() {
    for compression in [Compression::None, Compression::Zstd(1)] {
        let dir = tempfile::tempdir().unwrap();
        assert!(recorded(dir.path(), compression).len() > 2);
        for bytes in [1, 900, 20_000, 4 << 20] {
            let windows = windows(dir.path(), &Selection::default(), bytes);
            assert_the_same_once_more(&windows, 1000);
        }
    }
}

#[test]
fn also_of_records_here_and_there() {
    let dir = tempfile::tempdir().unwrap();
    recorded(dir.path(), Compression::None);
    let selection = Selection { flows: vec!["a".to_owned()], ..Selection::default() };
    for bytes in [900, 4 << 20] {
        let windows = windows(dir.path(), &selection, bytes);
        assert!(windows.iter().any(|window| window.seqs.len() > 10), "ranges within frames");
        assert_the_same_once_more(&windows, (0..1000).filter(|n| n % 3 == 0 && n % 7 != 3).count() as u64);
    }
}

#[test]
fn also_of_what_only_a_copy_has() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (dir.path().join("one"), dir.path().join("other"));
    let files = recorded(&one, Compression::None);
    for file in &files {
        let copy = other.join(file.strip_prefix(&one).unwrap());
        std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
        std::fs::copy(file, &copy).unwrap();
        // Another place in each.
        for (path, at) in [(file, 3000), (&copy, 4500)] {
            let mut bytes = std::fs::read(path).unwrap();
            let at = at.min(bytes.len() / 2);
            bytes[at] ^= 0xff;
            std::fs::write(path, bytes).unwrap();
        }
    }
    let windows = windows(dir.path(), &Selection::default(), 4 << 20);
    let back = |window: &Window| window.seqs.windows(2).any(|pair| pair[1].start < pair[0].end);
    assert!(windows.iter().any(back), "a window with records of both");
    assert_the_same_once_more(&windows, windows.iter().map(|window| window.records).sum());
}

/// Records that stand alone are ranges of their own.
#[test]
fn windows_of_countless_ranges_are_full_early() {
    let dir = tempfile::tempdir().unwrap();
    let schema = FLOWS.iter().fold(Schema::new("rover", "v1"), |schema, name| schema.flow(FlowSchema::new(*name)));
    let recorder = Recorder::create(dir.path(), &schema, RecorderOptions::default()).unwrap();
    let flows = FLOWS.map(|name| recorder.flow(name).unwrap());
    for n in 0..30_000 {
        let _ = recorder.record(&flows[n % 3], Timestamp::from_unix_ns(n as i64), &[]).unwrap();
    }
    recorder.finish().unwrap();
    let selection = Selection { flows: vec!["b".to_owned()], ..Selection::default() };
    let windows = windows(dir.path(), &selection, 4 << 20);
    assert_eq!(windows.iter().map(|window| window.seqs.len()).collect::<Vec<_>>(), [4096, 4096, 10_000 - 2 * 4096]);
    assert_the_same_once_more(&windows, 10_000);
}

#[test]
fn what_is_being_written_stays_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    let flow = FlowSchema::new("n").channel(Channel::new("n", DataType::Uint64));
    let (sync, flush_interval) = (SyncPolicy::OnRotation, NEVER);
    let options =
        RecorderOptions { segment_bytes: 600, frame_bytes: 100, sync, flush_interval, ..RecorderOptions::default() };
    let recorder = Recorder::create(dir.path(), &Schema::new("rover", "v1").flow(flow), options).unwrap();
    let flow = recorder.flow("n").unwrap();
    for n in 0..100 {
        let _ = recorder.record(&flow, Timestamp::from_unix_ns(n), &[Value::Uint64(7)]).unwrap();
    }
    recorder.flush().unwrap();
    let windows = windows(dir.path(), &Selection::default(), 300);
    let kept = windows.iter().filter(|window| window.places.is_none()).count();
    assert!(kept > 0 && kept < windows.len(), "{kept} of {}", windows.len());
    // The last ones: those of the open segment, and one that it shares.
    assert!(windows[windows.len() - kept..].iter().all(|window| window.places.is_none()));
}

#[test]
fn what_is_not_what_it_was_is_not_sent() {
    let dir = tempfile::tempdir().unwrap();
    let files = recorded(dir.path(), Compression::None);
    let windows = windows(dir.path(), &Selection::default(), 2000);
    let window = windows.iter().find(|window| window.places.as_ref().unwrap()[0].offset > 2000).unwrap();
    let place = window.places.as_ref().unwrap()[0].clone();
    let path = &place.file.path;
    let before = std::fs::read(path).unwrap();
    assert!(again(window).is_ok());
    let changed = |bytes: &[u8]| {
        std::fs::write(path, bytes).unwrap();
        matches!(again(window), Err(AgainError::Changed(file)) if file == *path)
    };
    // Another segment under its name: of this session, or of another that has the same frames in the same places.
    let other = files.iter().find(|file| *file != path).unwrap();
    assert!(changed(&std::fs::read(other).unwrap()));
    let twin_dir = tempfile::tempdir().unwrap();
    let twins = recorded(twin_dir.path(), Compression::None);
    let twin = std::fs::read(&twins[files.iter().position(|file| file == path).unwrap()]).unwrap();
    assert!(changed(&twin));
    assert!(changed(b""));
    // Its end is gone, or a place within.
    assert!(changed(&before[..place.offset as usize + 100]));
    for at in [0, 40, 100] {
        let mut bytes = before.clone();
        bytes[place.offset as usize + at] ^= 0xff;
        assert!(changed(&bytes), "{at}");
    }
    std::fs::remove_file(path).unwrap();
    let error = again(window).unwrap_err();
    assert!(matches!(&error, AgainError::Unreadable(error) if error.is_not_found()), "{error}");
    assert!(matches!(error.fault(), Fault::Transient { .. }), "a drive may come back");
    std::fs::write(path, &before).unwrap();
    assert!(again(window).unwrap().concat() == window.buffers.concat());
}
