//! Sessions that are held while they are read.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "tests")]
#![allow(clippy::single_range_in_vec_init, reason = "a set of one range is meant")]

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::*;
use crate::catalog::{Catalog, discover};
use crate::record::{Channel, DataType, FlowSchema, Recorder, RecorderOptions, Schema, Timestamp, Value};
use crate::replay::held::Held;
use crate::replay::options::ReplayOptions;
use crate::segment::SegmentReader;

/// A session of a hundred records in one open segment of many frames, or in sealed ones, too.
fn recorded(root: &Path, segment_bytes: u64) -> Recorder {
    let flow = FlowSchema::new("n").channel(Channel::new("n", DataType::Uint64));
    let compression = crate::format::Compression::None;
    let options = RecorderOptions { frame_bytes: 100, compression, segment_bytes, ..RecorderOptions::default() };
    let recorder = Recorder::create(root, &Schema::new("rover", "v1").flow(flow), options).unwrap();
    let flow = recorder.flow("n").unwrap();
    for n in 0..100 {
        let _ = recorder.record(&flow, Timestamp::from_unix_ns(n), &[Value::Uint64(n as u64)]).unwrap();
    }
    recorder.flush().unwrap();
    recorder
}

/// What a pass over the session would send, and how often something was found wrong.
fn pass(root: &Path, held: &Held, done: Done) -> (Vec<Range<u64>>, usize) {
    let catalog = Catalog::build(discover(&[root.to_owned()]).unwrap());
    let session = catalog.sessions[0].clone();
    let held = held.of(session.id);
    let reading = Reading {
        held,
        job: Job::Session(Arc::new(session)),
        outgoing: Outgoing::default(),
        window_size: ReplayOptions::default().window_size(),
        slots: Slots::unlimited(),
        selector: Selector::new(&ReplayOptions::default().selection),
        done,
        delivered: Vec::new(),
    };
    let (mut sent, mut wrong) = (Vec::new(), 0);
    let mut sink = |item| {
        match item {
            Item::Window(window) => sent.extend(window.seqs),
            Item::Damage(..) | Item::Torn(..) | Item::Skipped(..) | Item::Failed(..) => wrong += 1,
            Item::Missing(seqs) => wrong += seqs.len(),
            _ => {}
        }
        Ok(())
    };
    read_job(reading, &mut Memory::default(), &mut sink).unwrap();
    (sent, wrong)
}

fn ranges(seqs: &[Range<u64>]) -> Done {
    let mut done = Done::default();
    for seqs in seqs {
        done.acknowledged.insert(seqs.clone());
    }
    done
}

#[test]
fn of_a_held_session_only_what_was_released_is_sent() {
    for segment_bytes in [1 << 20, 1000] {
        let (dir, held) = (tempfile::tempdir().unwrap(), Held::default());
        let recorder = recorded(dir.path(), segment_bytes);
        held.hold(recorder.session());
        assert_eq!(pass(dir.path(), &held, Done::default()), (vec![], 0));
        held.release(recorder.session(), 10..13);
        held.release(recorder.session(), 50..60);
        assert_eq!(pass(dir.path(), &held, Done::default()), (vec![10..13, 50..60], 0));
        assert_eq!(pass(dir.path(), &held, ranges(&[0..12, 55..56])), (vec![12..13, 50..55, 56..60], 0));
        // More than there is: what was given up is on its way to the disk.
        held.release(recorder.session(), 90..200);
        assert_eq!(pass(dir.path(), &held, ranges(&[0..60])).0, [90..100]);
        held.let_go(recorder.session());
        assert_eq!(pass(dir.path(), &held, ranges(&[0..60])), (vec![60..100], 0));
    }
}

/// A frame's seqs, and where its payload is.
type Place = (Range<u64>, Range<u64>);

/// The file and the places of its DATA frames' payloads, with their seqs.
fn payloads(root: &Path) -> (PathBuf, Vec<Place>) {
    let path = Catalog::build(discover(&[root.to_owned()]).unwrap()).sessions[0].segments[0].path.clone();
    let (mut reader, mut places) = (SegmentReader::open_plain(&path).unwrap(), Vec::new());
    while let Some(event) = reader.next_event().unwrap() {
        if let crate::segment::Event::Records(batch) = event {
            let seqs = batch.first_seq..batch.end_seq();
            let offset = batch.offset;
            places.push((offset, seqs));
        }
    }
    let ends: Vec<_> =
        places.iter().skip(1).map(|(offset, _)| *offset).chain([std::fs::metadata(&path).unwrap().len()]).collect();
    let header = crate::format::FRAME_HEADER_BYTES as u64;
    (path, places.into_iter().zip(ends).map(|((offset, seqs), end)| (seqs, offset + header..end)).collect())
}

/// A payload that isn't as its header says shows as soon as anybody looks at it.
#[test]
fn payloads_of_an_open_segment_that_are_not_released_are_not_read() {
    let (dir, held) = (tempfile::tempdir().unwrap(), Held::default());
    let recorder = recorded(dir.path(), 1 << 20);
    held.hold(recorder.session());
    let (path, places) = payloads(dir.path());
    assert!(places.len() > 10);
    let wanted = places[5].0.clone();
    held.release(recorder.session(), wanted.start..wanted.end);
    let mut bytes = std::fs::read(&path).unwrap();
    for (seqs, place) in &places {
        if *seqs != wanted {
            bytes[place.start as usize] ^= 0xff;
        }
    }
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(pass(dir.path(), &held, Done::default()), (vec![wanted], 0));
    held.let_go(recorder.session());
    assert!(pass(dir.path(), &held, Done::default()).1 > 0, "now somebody looks");
}
