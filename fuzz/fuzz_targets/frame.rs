//! Frame headers and payloads: a header is read exactly if the text says so, as what the text says, and written back as
//! the same bytes; a payload is what was compressed, or refused, and takes no more memory than a frame may have.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sift_replay::format::{
    Codec, Compression, FRAME_HEADER_BYTES, Frame, FrameHeader, Kind, PayloadDecoder, PayloadEncoder, Records,
    TimeRange, put_record,
};
use sift_replay_fuzz::segment::SYNC;
use sift_replay_fuzz::{Arbitrary, Unstructured, crc32, memory};

fuzz_target!(|input: &[u8]| {
    let Some((&mode, rest)) = input.split_first() else { return };
    if mode & 1 == 1 {
        if let Ok(fields) = Fields::arbitrary_take_rest(Unstructured::new(rest)) {
            written(&fields);
        }
        return;
    }
    let Some((header, stored)) = rest.split_first_chunk::<FRAME_HEADER_BYTES>() else { return };
    read(mode, *header, stored);
});

/// Bytes as they are, or with a marker and a checksum.
fn read(mode: u8, mut bytes: [u8; FRAME_HEADER_BYTES], stored: &[u8]) {
    if mode & 2 != 0 {
        bytes[..8].copy_from_slice(&SYNC);
    }
    if mode & 4 != 0 {
        let crc = crc32(&bytes[..68]);
        bytes[68..].copy_from_slice(&crc.to_le_bytes());
    }
    let stated = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    let offset = if mode & 8 == 0 { stated(56) } else { 8 };
    let id = [None, Some(stated(48)), Some(7)][usize::from(mode >> 4) % 3];
    let cause = judge(&bytes, offset, id);
    match FrameHeader::decode(&bytes, offset, id) {
        Err(found) => assert_eq!(Some(found.as_str()), cause),
        Ok(header) => {
            assert_eq!(cause, None);
            assert_eq!(header.encode(), bytes, "a header is written as it was read");
            payload(header, stored);
        }
    }
}

/// Why these bytes aren't a sound header of that place [F-4], [F-8], [F-14].
fn judge(bytes: &[u8; FRAME_HEADER_BYTES], offset: u64, id: Option<u64>) -> Option<&'static str> {
    let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    let (stored, raw, count) = (u32_at(12), u32_at(16), u32_at(20));
    let sum = |a: u64, b: u64| u128::from(a) + u128::from(b) <= u128::from(u64::MAX);
    if bytes[..8] != SYNC {
        Some("no-frame")
    } else if u32_at(68) != crc32(&bytes[..68]) {
        Some("header-checksum")
    } else if u64_at(56) != offset || id.is_some_and(|id| id != u64_at(48)) {
        Some("misplaced")
    } else if stored > 67_108_864
        || raw > 67_108_864
        || (bytes[8] == 2 && u64::from(count) * 4 > u64::from(raw))
        || !sum(u64_at(24), count.into())
        || !sum(offset, 72 + u64::from(stored))
    {
        Some("limits")
    } else {
        None
    }
}

/// Whatever is stored, decompressing ends, with what the header states or not at all [F-15], and does so again.
fn payload(header: FrameHeader, stored: &[u8]) {
    let most = (64 << 20) + (1 << 20);
    let mut decoder = PayloadDecoder::default();
    let frame = Frame { header, stored };
    let len = memory::within(most, "a payload", || decoder.decode(&frame).map(<[u8]>::len));
    let first = decoder.decode(&frame).map(<[u8]>::to_vec);
    assert_eq!(first.as_ref().map(Vec::len), len.as_ref().copied());
    assert_eq!(decoder.decode(&frame).map(<[u8]>::to_vec), first, "once more");
    assert_eq!(first.is_err(), expect(&header, stored).is_none());
    let Ok(raw) = first else { return };
    assert_eq!(Some(&raw), expect(&header, stored).as_ref());
    if let Some(records) = Records::parse(&raw, header.count) {
        let mut again = Vec::new();
        assert_eq!(records.inspect(|record| put_record(&mut again, record)).count(), header.count as usize);
        assert_eq!(again, raw, "records fill the payload");
    }
}

fn expect(header: &FrameHeader, stored: &[u8]) -> Option<Vec<u8>> {
    let raw = match header.codec {
        _ if header.flags & 0xff00 != 0 => None,
        Codec::None => Some(stored.to_vec()),
        Codec::Zstd => zstd::bulk::decompress(stored, header.raw_len as usize).ok(),
        Codec::Unknown(_) => None,
    };
    raw.filter(|raw| raw.len() == header.raw_len as usize)
}

#[derive(Debug, Arbitrary)]
struct Fields {
    numbers: (u8, u8, u16, u32, u32, u32, u64),
    times: (i64, i64),
    place: (u64, u64, u32),
    level: i8,
    raw: Vec<u8>,
    repeat: u8,
}

/// What is written reads back, or is refused for its limits.
fn written(fields: &Fields) {
    let (kind, codec, flags, stored_len, raw_len, count, first_seq) = fields.numbers;
    let (segment_id, offset, payload_crc) = fields.place;
    let header = FrameHeader {
        kind: Kind::from_byte(kind),
        codec: Codec::from_byte(codec),
        flags,
        stored_len,
        raw_len,
        count,
        first_seq,
        times: TimeRange { least: fields.times.0, greatest: fields.times.1 },
        segment_id,
        offset,
        payload_crc,
    };
    let bytes = header.encode();
    match FrameHeader::decode(&bytes, offset, Some(segment_id)) {
        Ok(read) => assert_eq!(read, header),
        Err(cause) => assert_eq!(cause.as_str(), "limits"),
    }
    assert_eq!(judge(&bytes, offset, Some(segment_id)).is_none(), FrameHeader::decode(&bytes, offset, None).is_ok());

    let raw = fields.raw.repeat(usize::from(fields.repeat) + 1);
    let compression = if fields.level == 0 { Compression::None } else { Compression::Zstd((fields.level % 8).into()) };
    let mut out = Vec::new();
    let codec = PayloadEncoder::new(compression).expect("zstd").compress(&raw, &mut out).expect("a small payload");
    let stored = if codec == Codec::None { &raw[..] } else { &out[FRAME_HEADER_BYTES..] };
    assert!(stored.len() <= raw.len());
    let header = FrameHeader { codec, flags: 0, raw_len: raw.len() as u32, ..header };
    let mut decoder = PayloadDecoder::default();
    assert_eq!(decoder.decode(&Frame { header, stored }), Ok(&raw[..]));
}
