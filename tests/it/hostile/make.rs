//! Segments written frame by frame, whatever sense that makes. All checksums are right.

use crate::support::format::{DATA, FrameSpec, HEADER, MAGIC, Pb, Rec, SEAL, Times, V, payload, segment_id};

/// A second in 2023.
pub(super) const SECOND: i64 = 1_700_000_000;

/// A segment under construction.
pub(super) struct Made {
    pub(super) bytes: Vec<u8>,
    session: [u8; 16],
    index: u32,
}

impl Made {
    /// The magic of a segment of the session with this number.
    pub(super) fn new(session: u32, index: u32) -> Self {
        Self { bytes: MAGIC.to_vec(), session: session_id(session), index }
    }

    /// With the HEADER of an ordinary session: asset `rover`, flow `f` of one uint64 channel.
    pub(super) fn ordinary(session: u32, index: u32) -> Self {
        let mut made = Self::new(session, index);
        made.header(&ordinary_config());
        made
    }

    /// Appends the HEADER with this ingestion config.
    pub(super) fn header(&mut self, config: &[u8]) -> &mut Self {
        let message = header_message(&self.session, self.index, config);
        self.frame(FrameSpec::new(HEADER, 0, message.0))
    }

    /// Appends a frame.
    pub(super) fn frame(&mut self, spec: FrameSpec) -> &mut Self {
        let frame = spec.encode(segment_id(&self.session, self.index), self.bytes.len() as u64);
        self.bytes.extend(frame);
        self
    }

    /// Appends a DATA frame of ordinary records.
    pub(super) fn data(&mut self, first_seq: u64, count: u64) -> &mut Self {
        let records: Vec<_> = (first_seq..first_seq.saturating_add(count)).map(|seq| record(seq % 1000, seq)).collect();
        self.frame(data_spec(first_seq, &records))
    }

    /// Appends SEAL with this message, and the trailer.
    pub(super) fn seal(&mut self, message: Vec<u8>) -> &mut Self {
        self.seal_as(FrameSpec::new(SEAL, 0, message))
    }

    /// The same with a frame made by hand.
    pub(super) fn seal_as(&mut self, spec: FrameSpec) -> &mut Self {
        let at = self.bytes.len() as u64;
        self.frame(spec);
        self.bytes.extend(at.to_le_bytes());
        self.bytes.extend(b"SFR-SEAL");
        self
    }

    /// HEADER's message, as SEAL repeats it.
    pub(super) fn header_message(&self, config: &[u8]) -> Vec<u8> {
        header_message(&self.session, self.index, config).0
    }

    /// The name of an open segment.
    pub(super) fn open_name(&self) -> String {
        format!("{}-{:06}.sfr.open", uuid(&self.session), self.index)
    }

    /// The name of a sealed one.
    pub(super) fn sealed_name(&self) -> String {
        format!("{}-{:06}.sfr", uuid(&self.session), self.index)
    }
}

pub(super) fn session_id(number: u32) -> [u8; 16] {
    let mut id = [0x01, 0x93, 0x5f, 0x6e, 0x1b, 0x2c, 0x70, 0, 0x80, 0, 0, 0, 0, 0, 0, 0];
    id[12..].copy_from_slice(&number.to_be_bytes());
    id
}

fn uuid(id: &[u8; 16]) -> uuid::Uuid {
    uuid::Uuid::from_bytes(*id)
}

/// HEADER's message ([F-18]).
pub(super) fn header_message(session: &[u8; 16], index: u32, config: &[u8]) -> Pb {
    let pb = Pb::default().varint(1, 1).bytes(2, session).varint(3, index.into());
    pb.sfixed64(5, SECOND * 1_000_000_000).bytes(7, b"hostile").bytes(10, config)
}

/// An ingestion config ([F-19]) of these flows, each encoded.
pub(super) fn config<'a>(asset: &str, flows: impl IntoIterator<Item = &'a Vec<u8>>) -> Vec<u8> {
    let pb = Pb::default().bytes(1, asset.as_bytes());
    let pb = flows.into_iter().fold(pb, |pb, flow| pb.always_bytes(2, flow));
    pb.bytes(4, format!("{}-key", asset.len()).as_bytes()).0
}

/// A flow of channels, each encoded.
pub(super) fn flow<'a>(name: &str, channels: impl IntoIterator<Item = &'a Vec<u8>>) -> Vec<u8> {
    let pb = Pb::default().bytes(1, name.as_bytes());
    channels.into_iter().fold(pb, |pb, channel| pb.always_bytes(2, channel)).0
}

/// A uint64 channel.
pub(super) fn channel(name: &str) -> Vec<u8> {
    Pb::default().bytes(1, name.as_bytes()).varint(4, 10).0
}

pub(super) fn ordinary_config() -> Vec<u8> {
    config("rover", [&flow("f", [&channel("c")])])
}

/// A record of flow `f`.
pub(super) fn record(second: u64, value: u64) -> Rec {
    Rec::new("f", SECOND + second as i64, 0, vec![V::U64(value)])
}

pub(super) fn data_spec(first_seq: u64, records: &[Rec]) -> FrameSpec {
    let mut spec = FrameSpec::new(DATA, first_seq, payload(records));
    (spec.count, spec.flags, spec.times) = (records.len() as u32, 1, Times::of(records));
    spec
}

/// The frame with its payload compressed: a few bytes that become many.
pub(super) fn compressed(mut spec: FrameSpec) -> FrameSpec {
    spec.raw_len = spec.stored.len() as u32;
    spec.stored = zstd::bulk::compress(&spec.stored, 1).unwrap();
    spec.stored_len = spec.stored.len() as u32;
    spec.codec = 1;
    spec
}
