//! What a repaired file must be, checked without the code that repairs: by the scanner alone, and Sift's own types.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;
use std::path::Path;

use prost::Message;
use sift_replay::format::{
    Damage, FRAME_HEADER_BYTES, Frame, FrameHeader, IngestionConfig, Kind, MAGIC, Mark, MarkMessage, PayloadDecoder,
    Records, Scanner, Seal, SegmentHeader, Step, TimeRange, Torn, encode_trailer, segment_id,
};
use sift_replay::segment::{Event, SegmentName, SegmentReader};
use sift_rs::ingest::v1::IngestWithConfigDataStreamRequest;
use sift_rs::ingest::v1::ingest_with_config_data_channel_value::Type;

/// A frame wherever it stands: its header without its place, and its payload as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Moved {
    pub(crate) header: FrameHeader,
    pub(crate) stored: Vec<u8>,
}

impl Moved {
    fn new(header: FrameHeader, stored: &[u8]) -> Self {
        Self { header: FrameHeader { segment_id: 0, offset: 0, ..header }, stored: stored.to_vec() }
    }

    fn at(bytes: &[u8], offset: u64) -> Self {
        let from = offset as usize;
        let header = bytes[from..].first_chunk::<FRAME_HEADER_BYTES>().unwrap();
        let header = FrameHeader::decode(header, offset, None).unwrap();
        let stored = from + FRAME_HEADER_BYTES..from + header.frame_len() as usize;
        Self::new(header, &bytes[stored])
    }

    /// The note, if it is one.
    pub(crate) fn note(&self) -> Option<String> {
        let message = (self.header.kind == Kind::Mark).then(|| MarkMessage::decode(&self.stored[..]).ok())??;
        if let Some(Mark::Note(note)) = message.mark { Some(note) } else { None }
    }
}

/// What the reader finds in a segment.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// HEADER's message, if it stands where it belongs.
    pub(crate) header: Option<SegmentHeader>,
    /// SEAL's.
    pub(crate) seal: Option<Seal>,
    /// All other sound frames.
    pub(crate) frames: Vec<Moved>,
    /// Where they begin.
    pub(crate) offsets: Vec<u64>,
    pub(crate) records: Vec<(u64, Vec<u8>)>,
    pub(crate) damage: Vec<Damage>,
    pub(crate) torn: Option<Torn>,
    /// Frames of later versions, HEADER and SEAL included.
    pub(crate) skipped: usize,
    pub(crate) id: Option<u64>,
}

impl Found {
    /// Bytes that are lost.
    pub(crate) fn lost_bytes(&self) -> u64 {
        self.damage.iter().map(|damage| damage.len).sum::<u64>() + self.torn.as_ref().map_or(0, |torn| torn.len)
    }
}

/// Reads a segment from memory. Every byte of it is in one event, or in the magic, or in the trailer.
pub(crate) fn find(path: &Path, bytes: &[u8]) -> Found {
    let mut reader = SegmentReader::from_reader(path, Box::new(Cursor::new(bytes.to_vec()))).unwrap();
    let (mut found, mut at, mut behind_seal) = (Found::default(), 0, false);
    loop {
        let begin = if at == 0 && bytes.starts_with(&MAGIC) { MAGIC.len() as u64 } else { at };
        let Some(event) = reader.next_event().unwrap() else { break };
        let mut kept = false;
        match event {
            Event::Header(header) if begin == MAGIC.len() as u64 => found.header = Some(header),
            Event::Header(_) => {}
            Event::Seal(seal) => found.seal = Some(*seal),
            Event::Records(batch) => {
                assert_eq!(batch.offset, begin);
                found.records.extend((batch.first_seq..).zip(batch.records().map(<[u8]>::to_vec)));
                kept = true;
            }
            Event::Schema(_) | Event::Mark(_) => kept = true,
            Event::Skipped(skipped) => {
                assert_eq!(skipped.offset, begin);
                found.skipped += 1;
                kept = true;
            }
            Event::Damage(damage) => {
                let trailer = if behind_seal && damage.offset != begin { 16 } else { 0 };
                assert_eq!(damage.offset, begin + trailer, "a byte is in no event");
                found.damage.push(damage);
            }
            Event::Torn(torn) => {
                assert_eq!(torn.offset, begin, "a byte is in no event");
                found.torn = Some(torn);
            }
        }
        let frame = kept.then(|| Moved::at(bytes, begin));
        behind_seal |= bytes.get(begin as usize + 8) == Some(&5);
        if let Some(frame) = frame.filter(|frame| !matches!(frame.header.kind, Kind::Header | Kind::Seal)) {
            found.frames.push(frame);
            found.offsets.push(begin);
        }
        at = reader.position();
    }
    assert!(reader.position() == bytes.len() as u64 || bytes.is_empty(), "it isn't read to its end");
    found.id = reader.segment_id();
    found
}

/// Checks a segment that a repair has made: it has nothing but sound frames, and SEAL says what they say. Returns it read.
#[track_caller]
pub(crate) fn check_sound(path: &Path, bytes: &[u8]) -> Found {
    let frames = only_frames(bytes);
    let (seal_at, seal) = match &frames[..] {
        [.., last] if last.header.kind == Kind::Seal => (last.header.offset, Seal::decode(last.stored).unwrap()),
        _ => panic!("{} has no SEAL at its end", path.display()),
    };
    assert_eq!(&bytes[bytes.len() - 16..], encode_trailer(seal_at));
    let header = frames.first().filter(|frame| frame.header.kind == Kind::Header);
    let named = SegmentName::of_path(path);
    let readable = header.and_then(|frame| SegmentHeader::decode(frame.stored).ok());
    if let (Some(header), Some(named)) = (&readable, named) {
        assert_eq!((header.session(), header.segment_index), (Some(named.session), named.index), "{}", path.display());
        assert!(!named.open);
    }
    if let Some(named) = named {
        assert_eq!(frames[0].header.segment_id, segment_id(named.session, named.index));
    }
    assert!(frames.iter().skip(1).all(|frame| frame.header.kind != Kind::Header));
    assert!(frames.iter().rev().skip(1).all(|frame| frame.header.kind != Kind::Seal));
    check_copy_of_header(readable.as_ref(), &frames, &seal);
    check_figures(&frames, &seal);
    let found = find(path, bytes);
    assert_eq!((found.damage.len(), &found.torn), (0, &None));
    found
}

fn only_frames(bytes: &[u8]) -> Vec<Frame<'_>> {
    let (mut scanner, mut frames) = (Scanner::new(None), Vec::new());
    assert!(bytes.starts_with(&MAGIC));
    loop {
        let from = scanner.position() as usize;
        match scanner.step(&bytes[from..], true) {
            Step::Frame(frame) => frames.push(frame),
            Step::End => return frames,
            other => panic!("{other:?}"),
        }
    }
}

/// [F-24]: HEADER's message once more, with the flows added since.
fn check_copy_of_header(header: Option<&SegmentHeader>, frames: &[Frame<'_>], seal: &Seal) {
    let (Some(header), Some(copy)) = (header, &seal.header) else { return };
    let config = |config: &[u8]| IngestionConfig::decode(config).unwrap();
    let (mut has, mut should) = (config(&copy.ingestion_config), config(&header.ingestion_config));
    for frame in frames.iter().filter(|frame| frame.header.kind == Kind::Schema) {
        let mut decoder = PayloadDecoder::default();
        if let Ok(payload) = decoder.decode(frame) {
            should.flows.extend(IngestionConfig::decode(payload).unwrap().flows);
        }
    }
    let flows =
        |config: &mut IngestionConfig| config.flows.drain(..).map(|flow| flow.encode_to_vec()).collect::<BTreeSet<_>>();
    assert_eq!(flows(&mut has), flows(&mut should), "flows");
    assert_eq!(has, should);
    assert_eq!(*copy, SegmentHeader { ingestion_config: copy.ingestion_config.clone(), ..header.clone() });
}

/// [F-24], [F-25]
fn check_figures(frames: &[Frame<'_>], seal: &Seal) {
    let data: Vec<&Frame<'_>> = frames.iter().filter(|frame| frame.header.kind == Kind::Data).collect();
    assert_eq!(seal.records, data.iter().map(|frame| u64::from(frame.header.count)).sum::<u64>());
    assert!(seal.end_seq >= data.last().map_or(0, |frame| frame.header.end_seq()));
    let mut times = TimeRange::EMPTY;
    data.iter().for_each(|frame| times.merge(&frame.header.times));
    assert_eq!(TimeRange::from_ends(seal.least, seal.greatest), times);
    let index = seal.index.iter().map(|entry| (entry.offset, entry.first_seq, entry.count));
    let begins = data.iter().map(|frame| (frame.header.offset, frame.header.first_seq, u64::from(frame.header.count)));
    assert_eq!(index.collect::<Vec<_>>(), begins.collect::<Vec<_>>());
    let (mut flows, mut non_finite) = (BTreeMap::<String, (u64, TimeRange)>::new(), 0);
    let mut decoder = PayloadDecoder::default();
    for frame in data {
        let Ok(payload) = decoder.decode(frame) else { continue };
        for record in Records::parse(payload, frame.header.count).unwrap() {
            let Ok(request) = IngestWithConfigDataStreamRequest::decode(record) else { continue };
            let flow = flows.entry(request.flow).or_insert((0, TimeRange::EMPTY));
            flow.0 += 1;
            if let Some(time) = request.timestamp {
                let ns = i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos);
                flow.1.include(ns.clamp(i64::MIN.into(), i64::MAX.into()) as i64);
            }
            let values = request.channel_values.iter().map(|value| match value.r#type {
                Some(Type::Double(v)) => !v.is_finite(),
                Some(Type::Float(v)) => !v.is_finite(),
                _ => false,
            });
            non_finite += values.filter(|non_finite| *non_finite).count() as u64;
        }
    }
    let listed = seal
        .flows
        .iter()
        .map(|flow| (flow.name.clone(), (flow.records, TimeRange::from_ends(flow.least, flow.greatest))));
    assert_eq!(listed.collect::<BTreeMap<_, _>>(), flows);
    assert_eq!(seal.non_finite, non_finite);
}
