//! Segments made of arbitrary parts, by the byte maps of the text, together with what must be found in them.

use arbitrary::Arbitrary;
use prost::Message;
use sift_replay::format::{AddedFlows, FlowConfig, IngestionConfig, Mark, MarkMessage, Seal, SegmentHeader};
use uuid::Uuid;

use super::{Found, HEADER_BYTES, MAGIC, SESSION, SYNC, Skipped, What};
use crate::crc32;

const NO_TIMES: (i64, i64) = (i64::MAX, i64::MIN);

/// [F-9]
pub fn id_of(session: Uuid, index: u32) -> u64 {
    let low = u64::from_be_bytes(session.as_bytes()[8..].try_into().expect("half of it"));
    low ^ u64::from(index).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// What a segment is made of.
#[derive(Debug, Clone, Arbitrary)]
pub struct Plan {
    index: u8,
    flows: u8,
    parts: Vec<Part>,
    sealed: bool,
}

/// A frame.
#[derive(Debug, Clone, Arbitrary)]
enum Part {
    Data {
        gap: u8,
        bare: bool,
        zstd: bool,
        records: Vec<Record>,
    },
    Schema(u8),
    Note(u16),
    /// Of a later version.
    Later {
        kind: u8,
        codec: u8,
        flags: u16,
        count: u8,
        payload: u16,
    },
    /// Its checksums hold, and its content isn't what its header says.
    Malformed {
        zstd: bool,
        records: Vec<Record>,
        longer: i8,
        more: i8,
    },
    /// It repeats seqs.
    Backwards {
        by: u8,
    },
}

#[derive(Debug, Clone, Arbitrary)]
enum Record {
    Empty,
    Bytes([u8; 5]),
    Request {
        flow: u8,
        time: i64,
        value: u64,
    },
    Markers(u8),
    /// The end of the file as it is so far: frames, but in another place.
    Nested(u16),
    Long {
        len: u16,
        byte: u8,
    },
}

/// A segment, and what it is made of.
#[derive(Debug, Clone)]
pub struct Written {
    pub bytes: Vec<u8>,
    pub id: u64,
    /// All of it: what a reader finds.
    pub found: Vec<Found>,
    header: SegmentHeader,
    next_seq: u64,
    /// Behind the last DATA frame.
    data_end: u64,
}

struct Frame {
    kind: u8,
    codec: u8,
    flags: u16,
    raw_len: u32,
    count: u32,
    first_seq: u64,
    times: (i64, i64),
    stored: Vec<u8>,
}

impl Plan {
    /// A segment of small DATA frames, by the seqs that are missing ahead of each and the number of its records.
    pub fn of_frames(frames: &[(u8, u8)]) -> Self {
        let record = |i: u8| Record::Request { flow: i, time: i.into(), value: i.into() };
        let data = |&(gap, count): &(u8, u8)| {
            let records = (0..count % 4 + 1).map(record).collect();
            Part::Data { gap: gap % 2, bare: true, zstd: false, records }
        };
        Self { index: 0, flows: 1, parts: frames.iter().map(data).collect(), sealed: true }
    }

    /// The segment of [`SESSION`], or of a sibling's number.
    pub fn write(&self, other: bool) -> Written {
        let mut out = self.begin(other);
        if self.sealed {
            out.seal();
        }
        out
    }

    /// The same, not yet sealed.
    pub fn write_open(&self) -> Written {
        self.begin(false)
    }

    fn begin(&self, other: bool) -> Written {
        let index = u32::from(self.index) + u32::from(other) * 1000;
        let config = IngestionConfig { asset_name: "rover".into(), flows: flows(self.flows), client_key: "k".into() };
        let header = SegmentHeader {
            format_version: 1,
            session_id: SESSION.as_bytes().to_vec(),
            segment_index: index,
            ingestion_config: config.encode_to_vec(),
            ..SegmentHeader::default()
        };
        let id = id_of(SESSION, index);
        let mut out =
            Written { bytes: MAGIC.to_vec(), id, found: Vec::new(), header: header.clone(), next_seq: 0, data_end: 0 };
        out.message(1, &header, What::Header(header.clone()));
        self.parts.iter().for_each(|part| part.write(&mut out));
        out
    }

    /// The segment's number in its session.
    pub fn index(&self) -> u32 {
        self.index.into()
    }
}

fn flows(count: u8) -> Vec<FlowConfig> {
    (0..count % 4).map(|i| FlowConfig { name: format!("flow {i}"), channels: Vec::new() }).collect()
}

impl Part {
    fn write(&self, out: &mut Written) {
        match self {
            Self::Data { gap, bare, zstd, records } => {
                out.next_seq += u64::from(*gap) * 7;
                let (first_seq, records) = (out.next_seq, content(records, &out.bytes));
                let what = What::Records { first_seq, bare: *bare, times: (-5, 9), records: records.clone() };
                let mut frame = data(first_seq, &records, *zstd);
                frame.flags = u16::from(*bare);
                out.next_seq += records.len() as u64;
                out.frame(frame, what);
            }
            Self::Schema(count) => {
                let added = AddedFlows { flows: flows(*count) };
                out.message(3, &added, What::Schema(added.clone()));
            }
            Self::Note(len) => {
                let note = Mark::Note("n".repeat(usize::from(len % 512)));
                let mark = MarkMessage { wall_clock_ns: -1, mark: Some(note) };
                out.message(4, &mark, What::Mark(mark.clone()));
            }
            Self::Later { kind, codec, flags, count, payload } => out.later(*kind, *codec, *flags, *count, *payload),
            Self::Malformed { zstd, records, longer, more } => {
                let records = content(records, &out.bytes);
                let mut frame = data(out.next_seq, &records, *zstd);
                frame.raw_len = frame.raw_len.saturating_add_signed((*longer).into());
                frame.count = frame.count.saturating_add_signed((*more).into()).min(frame.raw_len / 4);
                let same = (frame.raw_len as usize, frame.count as usize)
                    == (4 * records.len() + records.iter().map(Vec::len).sum::<usize>(), records.len());
                let what = match same {
                    true => What::Records { first_seq: out.next_seq, bare: false, times: (-5, 9), records },
                    false => What::Damage { cause: "malformed", seqs: seqs(&frame) },
                };
                out.next_seq += u64::from(frame.count);
                out.frame(frame, what);
            }
            Self::Backwards { by } => {
                let first_seq = out.data_end.saturating_sub(u64::from(*by) + 1);
                if first_seq < out.data_end {
                    let frame = data(first_seq, &[b"again".to_vec()], false);
                    let what = What::Damage { cause: "seq-backwards", seqs: seqs(&frame) };
                    out.frame(frame, what);
                }
            }
        }
    }
}

fn seqs(frame: &Frame) -> Option<(u64, u64)> {
    (frame.count > 0).then(|| (frame.first_seq, frame.first_seq + u64::from(frame.count)))
}

fn content(records: &[Record], file: &[u8]) -> Vec<Vec<u8>> {
    records.iter().map(|record| record.bytes(file)).collect()
}

impl Record {
    fn bytes(&self, file: &[u8]) -> Vec<u8> {
        match self {
            Self::Empty => Vec::new(),
            Self::Bytes(bytes) => bytes.to_vec(),
            Self::Request { flow, time, value } => {
                let mut request = vec![0x12, 1, b'a' + flow % 26, 0x1a, 11, 0x08];
                let seconds = (*time as u64 & 0x7fff_ffff).to_le_bytes();
                request.extend((0..9).map(|i| seconds[i % 8] | 0x80).chain([0]));
                request.extend([0x22, 9, 0x11]);
                request.extend(value.to_le_bytes());
                request
            }
            Self::Markers(count) => SYNC.repeat(usize::from(count % 8) + 1),
            Self::Nested(len) => file[file.len().saturating_sub(usize::from(len % 2048))..].to_vec(),
            Self::Long { len, byte } => vec![*byte; usize::from(len % 3000)],
        }
    }
}

/// [F-20]
fn data(first_seq: u64, records: &[Vec<u8>], zstd: bool) -> Frame {
    let raw: Vec<u8> = records.iter().flat_map(|r| [&(r.len() as u32).to_le_bytes()[..], r].concat()).collect();
    let (raw_len, count) = (raw.len() as u32, records.len() as u32);
    let stored = if zstd { zstd::bulk::compress(&raw, 1).expect("zstd") } else { raw };
    Frame { kind: 2, codec: zstd.into(), flags: 0, raw_len, count, first_seq, times: (-5, 9), stored }
}

impl Written {
    fn frame(&mut self, frame: Frame, what: What) {
        let offset = self.bytes.len();
        if frame.kind == 2 {
            self.data_end = self.data_end.max(frame.first_seq + u64::from(frame.count));
        }
        let mut header = SYNC.to_vec();
        header.extend([frame.kind, frame.codec]);
        header.extend(frame.flags.to_le_bytes());
        header.extend((frame.stored.len() as u32).to_le_bytes());
        header.extend(frame.raw_len.to_le_bytes());
        header.extend(frame.count.to_le_bytes());
        header.extend(frame.first_seq.to_le_bytes());
        header.extend(frame.times.0.to_le_bytes());
        header.extend(frame.times.1.to_le_bytes());
        header.extend(self.id.to_le_bytes());
        header.extend((offset as u64).to_le_bytes());
        header.extend(crc32(&frame.stored).to_le_bytes());
        header.extend(crc32(&header).to_le_bytes());
        assert_eq!(header.len(), HEADER_BYTES);
        self.bytes.extend(header);
        self.bytes.extend(frame.stored);
        self.found.push(Found { offset: offset as u64, len: (self.bytes.len() - offset) as u64, what });
    }

    fn message(&mut self, kind: u8, message: &impl Message, what: What) {
        let stored = message.encode_to_vec();
        let (raw_len, first_seq) = (stored.len() as u32, self.next_seq);
        self.frame(Frame { kind, codec: 0, flags: 0, raw_len, count: 0, first_seq, times: NO_TIMES, stored }, what);
    }

    fn later(&mut self, kind: u8, codec: u8, flags: u16, count: u8, payload: u16) {
        let stored = vec![0x5a; usize::from(payload % 1024)];
        let (raw_len, first_seq) = (stored.len() as u32, self.next_seq);
        let kind = if (1..=5).contains(&kind) { 2 } else { kind };
        let (codec, flags) = if kind == 2 { (codec.max(2), flags) } else { (codec, flags) };
        let count = u32::from(count).min(raw_len / 4);
        let reason = if kind == 2 { Skipped::Codec(codec) } else { Skipped::Kind(kind) };
        let frame = Frame { kind, codec, flags, raw_len, count, first_seq, times: NO_TIMES, stored };
        let what = What::Skipped { reason, seqs: seqs(&frame) };
        self.next_seq += u64::from(count);
        self.frame(frame, what);
    }

    /// SEAL with an index of all DATA frames that can be read, and the trailer.
    fn seal(&mut self) {
        let seal = Seal { header: Some(self.header.clone()), end_seq: self.next_seq, ..Seal::default() };
        self.seal_with(seal);
    }

    /// SEAL with this message, and the trailer.
    pub fn seal_with(&mut self, seal: Seal) {
        let offset = self.bytes.len() as u64;
        self.message(5, &seal, What::Seal(Box::new(seal.clone())));
        self.bytes.extend(offset.to_le_bytes());
        self.bytes.extend(b"SFR-SEAL");
    }
}
