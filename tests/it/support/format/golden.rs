//! The golden vectors: what each file holds, and what a reader must find in it. The findings follow from how a file was
//! made, never from reading it.

mod broken;

use serde_json::{Value, json};

use super::*;

/// One vector.
pub struct Vector {
    pub name: &'static str,
    pub about: &'static str,
    pub rules: &'static [&'static str],
    /// The name under which the file is to be read; `None` for one that tells nothing.
    pub file_name: Option<String>,
    pub bytes: Vec<u8>,
    pub identity: Value,
    pub sealed: bool,
    pub events: Vec<Value>,
    /// Compressed by a zstd of some version, so that its bytes may differ when made anew.
    pub compressed: bool,
}

impl Vector {
    /// The vector's JSON.
    pub fn json(&self) -> Value {
        let of = |kind: &str| self.events.iter().filter(|e| e["event"] == kind).collect::<Vec<_>>();
        let sum = |kind: &str, field: &str| of(kind).iter().map(|e| e[field].as_u64().unwrap()).sum::<u64>();
        let unreadable = |kind: &str| {
            let seqs = of(kind).into_iter().filter_map(|e| e["seqs"].as_array());
            seqs.map(|s| s[1].as_u64().unwrap() - s[0].as_u64().unwrap()).sum::<u64>()
        };
        json!({
            "vector": self.name, "about": self.about, "rules": self.rules, "file_name": self.file_name,
            "bytes": self.bytes.len(), "sha256": sha256(&self.bytes), "compressed": self.compressed,
            "identity": self.identity, "sealed": self.sealed, "events": self.events,
            "totals": {
                "records": sum("records", "count"), "damaged_places": of("damage").len(),
                "damaged_bytes": sum("damage", "len"), "torn_bytes": sum("torn", "len"),
                "skipped_frames": of("skipped").len(), "skipped_records": unreadable("skipped"),
                "known_lost_records": unreadable("damage") + unreadable("torn"),
            },
        })
    }
    fn with(mut self, events: Vec<Value>) -> Self {
        self.events = events;
        self
    }
    fn flip(mut self, at: usize) -> Self {
        self.bytes[at] ^= 0x40;
        self
    }
    fn identity_of_name(mut self) -> Self {
        self.identity["header"] = Value::Null;
        self
    }
}

pub fn chan(name: &'static str, unit: &'static str, data_type: u64) -> Chan {
    Chan { name, unit, data_type, ..Chan::default() }
}

pub fn imu() -> Flow {
    Flow { name: "imu", channels: vec![chan("x", "m/s^2", 1), chan("y", "m/s^2", 1)] }
}

fn gps() -> Flow {
    Flow { name: "gps", channels: vec![chan("fix", "", 5), chan("sats", "", 8)] }
}

pub fn header(index: u32) -> Header {
    let flows = vec![imu(), gps()];
    Header {
        session: session_bytes(),
        index,
        first_seq: 0,
        flows,
        run: None,
        run_id: None,
        unknown: Vec::new(),
        without_requests: false,
    }
}

/// `n` records of `imu`, from `first` on.
pub fn imus(first: i64, n: i64) -> Vec<Rec> {
    let rec = |i: i64| Rec::new("imu", 1_700_000_000 + i, 500, vec![V::F64(i as f64 / 8.0), V::F64(-1.0)]);
    (first..first + n).map(rec).collect()
}

/// A vector of a segment as it was built.
fn of(name: &'static str, about: &'static str, rules: &'static [&'static str], seg: &Seg) -> Vector {
    let sealed = seg.frames.last().is_some_and(|f| f.event["event"] == "seal");
    let suffix = if sealed { "sfr" } else { "sfr.open" };
    let identity = json!({
        "session": SESSION, "index": seg.header.index, "segment_id": format!("{:016x}", seg.id()),
        // HEADER as it was written, without the flows added later.
        "header": Header { flows: seg.header.flows[..seg.header.flows.len().min(2)].to_vec(), ..seg.header.clone() }.json(),
    });
    let file_name = Some(format!("{SESSION}-{:06}.{suffix}", seg.header.index));
    let (bytes, events) = (seg.bytes.clone(), seg.events());
    Vector { name, about, rules, file_name, bytes, identity, sealed, events, compressed: false }
}

/// HEADER and three DATA frames of two, one and two records.
pub fn plain() -> Seg {
    let mut seg = Seg::new(header(3));
    seg.data(&imus(0, 2), false).data(&imus(2, 1), false).data(&imus(3, 2), false);
    seg
}

fn sealed_plain() -> Seg {
    let mut seg = plain();
    seg.seal();
    seg
}

pub fn all() -> Vec<Vector> {
    [sound(), broken::ends(), broken::flipped(), broken::foreign(), broken::later_versions(), broken::hostile()]
        .into_iter()
        .flatten()
        .collect()
}

fn sound() -> Vec<Vector> {
    let mut out = Vec::new();
    let mut seg = Seg::new(header(0));
    out.push(of("open-empty", "An open segment that has no record yet.", &["F-2", "F-18"], &seg));
    seg.seal();
    out.push(of("sealed-empty", "A sealed segment without a record.", &["F-2", "F-24", "F-26"], &seg));

    let mut seg = Seg::new(header(0));
    seg.data(&imus(0, 1), false);
    out.push(of("open-one-record", "One record, not sealed.", &["F-4", "F-20"], &seg));
    seg.seal();
    out.push(of("sealed-one-record", "One record, sealed.", &["F-4", "F-20", "F-24", "F-25"], &seg));
    out.push(of("sealed-three-frames", "Three DATA frames, sealed.", &["F-16", "F-25"], &sealed_plain()));

    out.push(of(
        "channel-types",
        "Every type of value, with its edges; 6 values aren't finite.",
        &["F-19", "F-20", "F-24"],
        &types(),
    ));
    out.push(of("timestamps", "Negative, fractional, extreme and absent times.", &["F-17", "F-24"], &times()));

    let mut seg = Seg::new(header(0));
    let gps = |i: i64| Rec::new("gps", 1_700_000_000, i as i32, vec![V::Bool(i % 2 == 0), V::U32(i as u32)]);
    seg.data(&[imus(0, 2), vec![gps(1), gps(2)], imus(2, 1)].concat(), false).data(&[gps(3)], false).seal();
    out.push(of("flows", "Two flows, interleaved.", &["F-20", "F-24"], &seg));

    let mut seg = Seg::new(header(0));
    let added = Flow { name: "motor", channels: vec![chan("rpm", "1/min", 7)] };
    seg.data(&imus(0, 1), false).schema(vec![added]);
    seg.data(&[Rec::new("motor", 1_700_000_009, 0, vec![V::I32(-3000)])], false).seal();
    out.push(of(
        "schema-added",
        "A flow is added midway; SEAL's copy of HEADER has it, HEADER hasn't.",
        &["F-22", "F-24"],
        &seg,
    ));

    let mut seg = Seg::new(header(0));
    seg.data(&imus(0, 40), true).data(&imus(40, 40), true).seal();
    let about = "DATA frames compressed with zstd.";
    out.push(Vector { compressed: true, ..of("codec-zstd", about, &["F-12", "F-15"], &seg) });
    let mut seg = Seg::new(header(0));
    seg.data(&imus(0, 40), true).data(&imus(40, 3), false).data(&imus(43, 40), true);
    let about = "Compressed and uncompressed frames in one open segment.";
    out.push(Vector { compressed: true, ..of("codec-mixed", about, &["F-12", "F-15"], &seg) });

    let mut seg = Seg::new(Header { run: Some(("flight 7", "flight-7")), ..header(0) });
    seg.data(&imus(0, 1), false).seal();
    out.push(of("run", "A run is to be attached.", &["F-18", "F-19"], &seg));
    let mut seg = Seg::new(Header { run_id: Some("5d1c"), ..header(0) });
    seg.data(&imus(0, 1), false).seal();
    out.push(of("run-id", "A run is to be attached whose id was known.", &["F-18", "F-21"], &seg));
    out.push(of("marks", "Each kind of mark, and one of a later version.", &["F-16", "F-23"], &marks()));

    let mut seg = Seg::new(header(0));
    let own = Rec { ids: ["cfg-1", "run-1", ""], ..imus(0, 1)[0].clone() };
    let organization = Rec { ids: ["", "", "org-1"], ..imus(1, 1)[0].clone() };
    seg.data(&imus(0, 1), false).data(&[imus(1, 1), vec![own, organization]].concat(), false).seal();
    out.push(of("own-ids", "Records with ids of their own: their frame isn't BARE.", &["F-13", "F-21"], &seg));

    let unknown = Pb::default().always_varint(1000, 7).always_bytes(1001, b"later").always_fixed32(1002, 9).0;
    let mut seg = Seg::new(Header { unknown, ..header(0) });
    seg.data(&imus(0, 1), false).seal();
    out.push(of(
        "unknown-fields",
        "HEADER's message and the ingestion config in it have fields of a later version.",
        &["F-18", "F-19", "F-35"],
        &seg,
    ));

    let mut seg = plain();
    seg.next_seq += 10;
    let dropped = Pb::default().varint(1, 10).bytes(2, b"disk too slow").always_varint(3, 5);
    let expect = json!({ "dropped": { "records": 10, "reason": "disk too slow", "first_seq": 5 } });
    seg.mark(1_700_000_100_000_000_000, Pb::default().always_bytes(2, &dropped.0), expect);
    seg.data(&imus(20, 1), false).seal();
    out.push(of("gap", "Seqs 5 to 14 are missing, and a mark says why.", &["F-23", "F-34"], &seg));

    let mut seg = Seg::new(Header { first_seq: 3, ..header(4) });
    let abandoned = Pb::default().varint(1, 3).bytes(2, b"No space left on device");
    let expect = json!({ "abandoned": { "segment_index": 3, "error": "No space left on device" } });
    seg.mark(1_700_000_100_000_000_000, Pb::default().always_bytes(6, &abandoned.0), expect);
    seg.data(&imus(3, 3), false).seal();
    out.push(of(
        "written-again",
        "Goes on where open-three-frames failed: seqs 3 and 4 stand in both, and count once.",
        &["F-23", "F-34"],
        &seg,
    ));
    out.push(of(
        "refused",
        "Dead letters of a session, refused for two reasons; no mark explains the last one.",
        &["F-23", "F-41"],
        &refused(),
    ));
    out.push(of(
        "refused-pbfs",
        "Dead letters of a PBFS file: no request precedes them, each has ids of its own.",
        &["F-19", "F-41"],
        &refused_pbfs(),
    ));
    out.push(of("open-three-frames", "Abandoned after an I/O error; see written-again.", &["F-30", "F-34"], &plain()));
    out
}

fn types() -> Seg {
    let mut alltypes = Flow { name: "all", channels: Vec::new() };
    let names =
        ["double", "string", "enum", "bit-field", "bool", "float", "int32", "uint32", "int64", "uint64", "bytes"];
    alltypes.channels.extend(names.iter().enumerate().map(|(i, name)| chan(name, "", i as u64 + 1)));
    alltypes.channels[2].enums = vec![("off", 0), ("on", 1), ("max", u32::MAX)];
    alltypes.channels[3].bits = vec![("low", 0, 4), ("high", 4, 12)];
    let mut seg = Seg::new(Header { flows: vec![alltypes], ..header(0) });
    let row = |i: i64, v: [V; 11]| Rec::new("all", 1_700_000_000 + i, 0, v.to_vec());
    let rows = [
        row(
            0,
            [
                V::F64(0.0),
                V::Str(""),
                V::Enum(0),
                V::Bits(b""),
                V::Bool(false),
                V::F32(0.0),
                V::I32(0),
                V::U32(0),
                V::I64(0),
                V::U64(0),
                V::Bytes(b""),
            ],
        ),
        row(
            1,
            [
                V::F64(f64::MAX),
                V::Str("\u{e9}\u{1f680}\0"),
                V::Enum(u32::MAX),
                V::Bits(b"\xff\x0f"),
                V::Bool(true),
                V::F32(f32::MAX),
                V::I32(i32::MAX),
                V::U32(u32::MAX),
                V::I64(i64::MAX),
                V::U64(u64::MAX),
                V::Bytes(b"\0\xff"),
            ],
        ),
        row(
            2,
            [
                V::F64(f64::from_bits(1)),
                V::Str("-0"),
                V::Enum(1),
                V::Bits(b"\x01\0"),
                V::Bool(true),
                V::F32(f32::from_bits(1)),
                V::I32(i32::MIN),
                V::U32(1),
                V::I64(i64::MIN),
                V::U64(1),
                V::Bytes(b"SFR-SEAL"),
            ],
        ),
        Rec::new("all", 1_700_000_003, 0, (0..11).map(|_| V::Empty).collect()),
        Rec::new(
            "all",
            1_700_000_004,
            0,
            vec![
                V::F64(f64::from_bits(0x7ff8_0000_0000_0000)),
                V::F64(f64::INFINITY),
                V::F64(f64::NEG_INFINITY),
                V::F64(-0.0),
                V::F32(f32::from_bits(0x7fc0_0000)),
                V::F32(f32::INFINITY),
                V::F32(f32::NEG_INFINITY),
                V::F32(-0.0),
            ],
        ),
    ];
    seg.data(&rows, false).seal();
    seg
}

fn times() -> Seg {
    let mut seg = Seg::new(header(0));
    let at = |time| Rec { time, ..imus(0, 1)[0].clone() };
    seg.data(&[at(None)], false);
    seg.data(&[at(Some((-5, 250_000_000))), at(None), at(Some((0, 0))), at(Some((0, 1)))], false);
    seg.data(&[at(Some((-62_135_596_800, 0))), at(Some((253_402_300_799, 999_999_999)))], false);
    seg.data(&[at(Some((9_223_372_036, 854_775_807))), at(Some((-9_223_372_037, 145_224_192)))], false);
    seg.seal();
    seg
}

fn marks() -> Seg {
    let mut seg = Seg::new(header(0));
    let t = 1_700_000_000_000_000_000;
    let sub = |field, pb: Pb| Pb::default().always_bytes(field, &pb.0);
    let dropped = Pb::default().varint(1, 12).bytes(2, b"queue full");
    seg.mark(t, sub(2, dropped), json!({ "dropped": { "records": 12, "reason": "queue full", "first_seq": null } }));
    // sint64 is zigzag: -3 is 5.
    seg.mark(t + 1, sub(3, Pb::default().varint(1, 5)), json!({ "clock_step": { "step_ns": "-3" } }));
    seg.data(&imus(0, 2), false);
    seg.mark(
        t + 2,
        Pb::default().always_bytes(4, "engine hot, \u{b0}C".as_bytes()),
        json!({ "note": "engine hot, \u{b0}C" }),
    );
    let confirmed = Pb::default().bytes(1, b"sift").varint(2, 0).varint(3, 2);
    let expect = json!({ "confirmed": { "destination": "sift", "first_seq": 0, "end_seq": 2 } });
    seg.mark(t + 3, sub(5, confirmed), expect);
    let abandoned = Pb::default().varint(1, 0).bytes(2, b"Input/output error");
    let expect = json!({ "abandoned": { "segment_index": 0, "error": "Input/output error" } });
    seg.mark(t + 4, sub(6, abandoned), expect);
    seg.mark(t + 5, sub(99, Pb::default().varint(1, 1)), Value::Null);
    seg.seal();
    seg
}

/// A Refused mark ([F-41]) about the next `count` records.
fn refusal(seg: &mut Seg, origin: (u32, &[u8]), reason: &str, seqs: &[(u64, u64)]) {
    let path = if origin.0 == 3 { "/media/card/rover" } else { "/media/card/rover-1700000000" };
    let count: u64 = seqs.iter().map(|(first, end)| end - first).sum();
    let mut pb = Pb::default().bytes(1, b"https://sift.example:443").bytes(2, reason.as_bytes());
    pb = pb.bytes(origin.0, origin.1).bytes(5, path.as_bytes());
    for &(first, end) in seqs {
        pb = pb.always_bytes(6, &Pb::default().varint(1, first).varint(2, end).0);
    }
    pb = pb.varint(7, seg.next_seq).varint(8, count);
    let id = |field| if origin.0 == field { hex(origin.1) } else { String::new() };
    let expect = json!({ "refused": {
        "destination": "https://sift.example:443", "reason": reason, "session_id": id(3), "pbfs_id": id(4),
        "origin_path": path, "seqs": seqs, "first_seq": seg.next_seq, "count": count,
    } });
    seg.mark(1_700_000_200_000_000_000, Pb::default().always_bytes(7, &pb.0), expect);
}

fn refused() -> Seg {
    let mut seg = Seg::new(header(0));
    let origin = [0x11; 16];
    refusal(&mut seg, (3, &origin), "channel x: expected a double", &[(3, 5), (900, 901)]);
    seg.data(&[imus(3, 2), imus(900, 1)].concat(), false);
    refusal(&mut seg, (3, &origin), "timestamp before the run", &[(0, 1)]);
    seg.data(&imus(0, 1), false).data(&imus(7, 1), false).seal();
    seg
}

fn refused_pbfs() -> Seg {
    let mut seg = Seg::new(Header { flows: Vec::new(), without_requests: true, ..header(1) });
    refusal(&mut seg, (4, &[0x22; 32]), "unknown ingestion config", &[(17, 19)]);
    let own = |i| Rec { ids: ["cfg-1", "run-1", ""], ..imus(i, 1)[0].clone() };
    seg.data(&[own(17), own(18)], false);
    seg
}
