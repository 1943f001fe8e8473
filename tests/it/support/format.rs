//! Segments built byte by byte from the text of `format-spec/README.md` alone: no code of the crate under test stands
//! behind a byte made here, so that the specification and the code can't drift apart together.

pub mod find;
pub mod golden;
mod message;

use std::sync::LazyLock;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub use message::{Chan, Flow, Header, Pb, Rec, V, record_json};

pub const MAGIC: [u8; 8] = [0x89, 0x53, 0x46, 0x52, 0x0d, 0x0a, 0x1a, 0x0a];
pub const SYNC: [u8; 8] = [0xd7, 0x1c, 0x4a, 0xe9, 0x85, 0x3b, 0xf2, 0x60];
pub const SESSION: &str = "01935f6e-1b2c-7000-8123-456789abcdef";
pub const HEADER: u8 = 1;
pub const DATA: u8 = 2;
pub const SCHEMA: u8 = 3;
pub const MARK: u8 = 4;
pub const SEAL: u8 = 5;

/// [F-6]: CRC-32 ISO-HDLC, by its definition.
pub fn crc32(bytes: &[u8]) -> u32 {
    static TABLE: LazyLock<[u32; 256]> = LazyLock::new(|| {
        std::array::from_fn(|i| (0..8).fold(i as u32, |c, _| if c & 1 == 1 { c >> 1 ^ 0xedb8_8320 } else { c >> 1 }))
    });
    !bytes.iter().fold(!0u32, |crc, &b| crc >> 8 ^ TABLE[((crc ^ u32::from(b)) & 0xff) as usize])
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

pub fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().map(|b| (b as char).to_digit(16).expect("a hex digit") as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// [F-9]: the segment's id.
pub fn segment_id(session: &[u8; 16], index: u32) -> u64 {
    u64::from_be_bytes(session[8..].try_into().unwrap()) ^ u64::from(index).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

pub fn session_bytes() -> [u8; 16] {
    unhex(&SESSION.replace('-', "")).try_into().unwrap()
}

/// Least and greatest ([F-17]).
#[derive(Clone, Copy, PartialEq)]
pub struct Times(pub i64, pub i64);

impl Times {
    pub const NONE: Self = Self(i64::MAX, i64::MIN);
    pub fn of(records: &[Rec]) -> Self {
        records.iter().filter_map(Rec::ns).fold(Self::NONE, |t, ns| Self(t.0.min(ns), t.1.max(ns)))
    }
    fn merge(self, other: Self) -> Self {
        Self(self.0.min(other.0), self.1.max(other.1))
    }
    pub fn ends(self) -> (Option<i64>, Option<i64>) {
        if self.0 > self.1 { (None, None) } else { (Some(self.0), Some(self.1)) }
    }
}

/// What a frame's header states, and its payload; the lengths can be made to lie.
#[derive(Clone)]
pub struct FrameSpec {
    pub kind: u8,
    pub codec: u8,
    pub flags: u16,
    pub count: u32,
    pub first_seq: u64,
    pub times: Times,
    pub stored: Vec<u8>,
    pub stored_len: u32,
    pub raw_len: u32,
}

impl FrameSpec {
    pub fn new(kind: u8, first_seq: u64, payload: Vec<u8>) -> Self {
        let len = payload.len() as u32;
        let times = Times::NONE;
        Self { kind, codec: 0, flags: 0, count: 0, first_seq, times, stored: payload, stored_len: len, raw_len: len }
    }
    /// [F-4], by the byte map.
    pub fn encode(&self, segment_id: u64, offset: u64) -> Vec<u8> {
        let mut out = vec![0u8; 72];
        out[0..8].copy_from_slice(&SYNC);
        out[8] = self.kind;
        out[9] = self.codec;
        out[10..12].copy_from_slice(&self.flags.to_le_bytes());
        out[12..16].copy_from_slice(&self.stored_len.to_le_bytes());
        out[16..20].copy_from_slice(&self.raw_len.to_le_bytes());
        out[20..24].copy_from_slice(&self.count.to_le_bytes());
        out[24..32].copy_from_slice(&self.first_seq.to_le_bytes());
        out[32..40].copy_from_slice(&self.times.0.to_le_bytes());
        out[40..48].copy_from_slice(&self.times.1.to_le_bytes());
        out[48..56].copy_from_slice(&segment_id.to_le_bytes());
        out[56..64].copy_from_slice(&offset.to_le_bytes());
        out[64..68].copy_from_slice(&crc32(&self.stored).to_le_bytes());
        let crc = crc32(&out[..68]);
        out[68..72].copy_from_slice(&crc.to_le_bytes());
        out.extend(&self.stored);
        out
    }
}

/// A frame where it stands, and what a reader must find there.
#[derive(Clone)]
pub struct Placed {
    pub offset: usize,
    pub len: usize,
    pub seqs: Option<(u64, u64)>,
    pub event: Value,
}

impl Placed {
    pub fn lost(&self, cause: &str) -> Value {
        damage(self.offset, self.len, cause, self.seqs)
    }
}

pub fn damage(offset: usize, len: usize, cause: &str, seqs: Option<(u64, u64)>) -> Value {
    json!({ "event": "damage", "offset": offset, "len": len, "cause": cause, "seqs": seqs.map(|(a, b)| [a, b]) })
}

pub fn torn(offset: usize, len: usize, seqs: Option<(u64, u64)>) -> Value {
    json!({ "event": "torn", "offset": offset, "len": len, "seqs": seqs.map(|(a, b)| [a, b]) })
}

pub fn skipped(frame: &Placed, reason: &str, value: u16) -> Value {
    json!({
        "event": "skipped", "offset": frame.offset, "len": frame.len, "reason": reason, "value": value,
        "seqs": frame.seqs.map(|(a, b)| [a, b]),
    })
}

/// A DATA payload ([F-20]).
pub fn payload(records: &[Rec]) -> Vec<u8> {
    records.iter().map(Rec::encode).flat_map(|r| [&(r.len() as u32).to_le_bytes()[..], &r].concat()).collect()
}

/// A segment under construction.
#[derive(Clone)]
pub struct Seg {
    pub header: Header,
    pub bytes: Vec<u8>,
    pub frames: Vec<Placed>,
    pub next_seq: u64,
    data: Vec<(usize, u64, u32, Times)>,
    per_flow: Vec<(&'static str, u64, Times)>,
    non_finite: u64,
}

impl Seg {
    /// Magic and HEADER.
    pub fn new(header: Header) -> Self {
        let (first, message) = (header.first_seq, header.encode());
        let (bytes, frames, data, per_flow) = (MAGIC.to_vec(), Vec::new(), Vec::new(), Vec::new());
        let mut seg = Self { header, bytes, frames, next_seq: first, data, per_flow, non_finite: 0 };
        seg.frame(FrameSpec::new(HEADER, first, message), json!({ "event": "header" }));
        seg
    }
    pub fn id(&self) -> u64 {
        segment_id(&self.header.session, self.header.index)
    }
    /// Appends a frame; `event` is completed with its place.
    pub fn frame(&mut self, spec: FrameSpec, mut event: Value) -> &mut Self {
        let (offset, encoded) = (self.bytes.len(), spec.encode(self.id(), self.bytes.len() as u64));
        event["offset"] = json!(offset);
        event["len"] = json!(encoded.len());
        let seqs = (spec.count > 0).then(|| (spec.first_seq, spec.first_seq.saturating_add(spec.count.into())));
        self.frames.push(Placed { offset, len: encoded.len(), seqs, event });
        self.bytes.extend(encoded);
        self
    }
    /// The DATA frame for these records and what is to be found in it.
    pub fn data_spec(&self, records: &[Rec], zstd: bool) -> (FrameSpec, Value) {
        let raw = payload(records);
        let mut spec = FrameSpec::new(DATA, self.next_seq, raw.clone());
        let bare = records.iter().all(|r| r.ids == [""; 3]);
        spec.count = records.len() as u32;
        spec.times = Times::of(records);
        spec.flags = bare.into();
        if zstd {
            spec.stored = zstd::bulk::compress(&raw, 1).unwrap();
            spec.stored_len = spec.stored.len() as u32;
            spec.codec = 1;
        }
        let (least, greatest) = spec.times.ends();
        let event = json!({
            "event": "records", "first_seq": self.next_seq, "count": records.len(), "bare": bare,
            "least_ns": least.map(|t| t.to_string()), "greatest_ns": greatest.map(|t| t.to_string()),
            "records": records.iter().map(Rec::json).collect::<Vec<_>>(),
        });
        (spec, event)
    }
    /// Appends a DATA frame.
    pub fn data(&mut self, records: &[Rec], zstd: bool) -> &mut Self {
        let (spec, event) = self.data_spec(records, zstd);
        self.data_frame(records, spec, event)
    }
    /// Appends a DATA frame that was made by hand.
    pub fn data_frame(&mut self, records: &[Rec], spec: FrameSpec, event: Value) -> &mut Self {
        self.data.push((self.bytes.len(), self.next_seq, spec.count, spec.times));
        for record in records {
            let time = record.ns().map_or(Times::NONE, |t| Times(t, t));
            match self.per_flow.iter_mut().find(|(name, ..)| *name == record.flow) {
                Some((_, n, times)) => (*n, *times) = (*n + 1, times.merge(time)),
                None => self.per_flow.push((record.flow, 1, time)),
            }
            self.non_finite += record.values.iter().filter(|v| v.non_finite()).count() as u64;
        }
        self.next_seq += u64::from(spec.count);
        self.frame(spec, event)
    }
    /// Appends a SCHEMA frame ([F-22]); later HEADERs and the SEAL have these flows too.
    pub fn schema(&mut self, flows: Vec<Flow>) -> &mut Self {
        let message = flows.iter().fold(Pb::default(), |pb, flow| pb.always_bytes(2, &flow.encode()));
        let event = json!({ "event": "schema", "flows": flows.iter().map(Flow::json).collect::<Vec<_>>() });
        self.header.flows.extend(flows);
        self.frame(FrameSpec::new(SCHEMA, self.next_seq, message.0), event)
    }
    /// Appends a MARK frame ([F-23]): `body` is the field of the mark.
    pub fn mark(&mut self, ns: i64, body: Pb, expect: Value) -> &mut Self {
        let mut spec = FrameSpec::new(MARK, self.next_seq, [Pb::default().sfixed64(1, ns).0, body.0].concat());
        spec.times = Times(ns, ns);
        self.frame(spec, json!({ "event": "mark", "wall_clock_ns": ns.to_string(), "mark": expect }))
    }
    /// Appends SEAL ([F-24]) and the trailer ([F-26]).
    pub fn seal(&mut self) -> &mut Self {
        let text = |t: Option<i64>| t.map(|t| t.to_string());
        let total = self.data.iter().fold(Times::NONE, |t, d| t.merge(d.3));
        let records: u64 = self.data.iter().map(|d| u64::from(d.2)).sum();
        let (least, greatest) = total.ends();
        let mut pb = Pb::default().always_bytes(1, &self.header.encode()).varint(2, records).varint(3, self.next_seq);
        pb = pb.optional_sfixed64(4, least).optional_sfixed64(5, greatest);
        let (mut flows, mut index) = (Vec::new(), Vec::new());
        for (name, n, times) in &self.per_flow {
            let (a, b) = times.ends();
            let flow = Pb::default().bytes(1, name.as_bytes()).varint(2, *n);
            pb = pb.always_bytes(6, &flow.optional_sfixed64(3, a).optional_sfixed64(4, b).0);
            flows.push(json!({ "name": name, "records": n, "least_ns": text(a), "greatest_ns": text(b) }));
        }
        for &(offset, seq, n, times) in &self.data {
            let (a, b) = times.ends();
            let entry = Pb::default().varint(1, offset as u64).varint(2, seq).varint(3, n.into());
            pb = pb.always_bytes(7, &entry.optional_sfixed64(4, a).optional_sfixed64(5, b).0);
            index.push(json!({
                "offset": offset, "first_seq": seq, "count": n, "least_ns": text(a), "greatest_ns": text(b),
            }));
        }
        pb = pb.varint(8, self.non_finite);
        let event = json!({
            "event": "seal", "records": records, "end_seq": self.next_seq, "least_ns": text(least),
            "greatest_ns": text(greatest), "flows": flows, "index": index, "non_finite": self.non_finite,
            "header": self.header.json(),
        });
        let at = self.bytes.len() as u64;
        self.frame(FrameSpec::new(SEAL, self.next_seq, pb.0), event);
        self.bytes.extend(at.to_le_bytes());
        self.bytes.extend(b"SFR-SEAL");
        self
    }
    pub fn events(&self) -> Vec<Value> {
        self.frames.iter().map(|f| f.event.clone()).collect()
    }
}
