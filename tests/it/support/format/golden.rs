//! The golden vectors: what each file holds, and what a reader must find in it. The findings follow from how a file was
//! made, never from reading it.

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
    Header { session: session_bytes(), index, first_seq: 0, flows, run: None, unknown: Vec::new() }
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

/// `plain`, with the frame in the middle replaced by one that `change` has tampered with.
fn tampered(change: impl FnOnce(&mut FrameSpec)) -> Seg {
    let mut seg = Seg::new(header(3));
    seg.data(&imus(0, 2), false);
    let (mut spec, event) = seg.data_spec(&imus(2, 1), false);
    change(&mut spec);
    seg.data_frame(&imus(2, 1), spec, event);
    seg.data(&imus(3, 2), false);
    seg
}

pub fn all() -> Vec<Vector> {
    [sound(), ends(), flipped(), foreign(), later_versions(), hostile()].into_iter().flatten().collect()
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

/// Files that end too early.
fn ends() -> Vec<Vector> {
    let cut = |name, about, rules, seg: &Seg, to: usize, whole: usize, seqs| {
        let mut v = of(name, about, rules, seg);
        let begin = if whole == 0 { 0 } else { seg.frames[whole - 1].offset + seg.frames[whole - 1].len };
        v.bytes.truncate(to);
        v.events.truncate(whole);
        v.sealed = false;
        if to > begin {
            v.events.push(torn(begin, to - begin, seqs));
        }
        v
    };
    let (open, sealed) = (plain(), sealed_plain());
    let last = open.frames[3].clone();
    let empty = cut(
        "torn-empty",
        "A file of no byte: its writer was cut off first of all.",
        &["F-30", "F-33"],
        &open,
        0,
        0,
        None,
    );
    let magic = cut("torn-magic", "Ends within the magic.", &["F-3", "F-30", "F-33"], &open, 5, 0, None);
    let header = cut("torn-frame-header", "Ends within a frame's header.", &["F-30"], &open, last.offset + 71, 3, None);
    let payload = cut(
        "torn-payload",
        "Ends within a payload; the header tells which seqs are lost.",
        &["F-30", "F-31"],
        &open,
        last.offset + last.len - 1,
        3,
        last.seqs,
    );
    let end = sealed.bytes.len();
    let seal = cut("torn-seal", "Ends within SEAL.", &["F-30"], &sealed, end - 20, 4, None);
    let trailer = cut("torn-trailer", "Ends within the trailer.", &["F-26", "F-30"], &sealed, end - 3, 5, None);
    let behind = cut(
        "torn-behind-seal",
        "Ends behind SEAL, without a trailer: not sealed, and nothing is lost.",
        &["F-26", "F-30"],
        &sealed,
        end - 16,
        5,
        None,
    );
    vec![empty.identity_of_name(), magic.identity_of_name(), header, payload, seal, trailer, behind]
}

/// One byte differs.
fn flipped() -> Vec<Vector> {
    let (open, sealed) = (plain(), sealed_plain());
    let frame = |i: usize| sealed.frames[i].clone();
    let end = sealed.bytes.len();
    let lose = |name, about, rules, seg: &Seg, i: usize, within: usize, cause| {
        let v = of(name, about, rules, seg).flip(seg.frames[i].offset + within);
        let mut events = seg.events();
        // Without a sound header nothing tells the seqs.
        let seqs = if within < 72 { None } else { seg.frames[i].seqs };
        events[i] = damage(seg.frames[i].offset, seg.frames[i].len, cause, seqs);
        v.with(events)
    };
    let magic = of("flipped-magic", "The magic is damaged; all frames are found.", &["F-3"], &sealed).flip(2);
    let events = [vec![damage(0, 8, "magic", None)], sealed.events()].concat();
    let copy = lose(
        "header-lost-sealed",
        "HEADER is damaged; SEAL's copy of it tells who the segment is.",
        &["F-31", "F-33"],
        &sealed,
        0,
        90,
        "payload-checksum",
    );
    let name = lose(
        "header-lost-open",
        "HEADER is damaged, and there is no SEAL: the name tells the session.",
        &["F-32", "F-33"],
        &open,
        0,
        3,
        "no-frame",
    );
    let seal = of(
        "flipped-seal-header",
        "SEAL's header is damaged, and with it the trailer is lost.",
        &["F-26", "F-32"],
        &sealed,
    )
    .flip(frame(4).offset + 9);
    let mut seal_events = sealed.events();
    seal_events[4] = damage(frame(4).offset, end - frame(4).offset, "header-checksum", None);
    let mut nameless = lose(
        "header-lost-nameless",
        "HEADER is damaged, there is no SEAL and no name: the frames tell the segment's id, and nothing tells the session.",
        &["F-9", "F-33"],
        &open,
        0,
        90,
        "payload-checksum",
    );
    nameless.identity = json!({ "session": null, "index": null, "segment_id": null, "header": null });
    nameless.file_name = None;
    let mut hole = of(
        "hole",
        "A block of zeros over the end of one frame and the beginning of the next.",
        &["F-31", "F-32"],
        &sealed,
    );
    hole.bytes[frame(2).offset - 30..frame(2).offset + 30].fill(0);
    let mut hole_events = sealed.events();
    hole_events[1] = frame(1).lost("payload-checksum");
    hole_events[2] = damage(frame(2).offset, frame(2).len, "no-frame", None);
    let trailer = of("flipped-trailer", "The trailer is damaged: SEAL is found by scanning alone.", &["F-26"], &sealed)
        .flip(end - 1);
    let events_trailer = [sealed.events(), vec![damage(end - 16, 16, "trailer", None)]].concat();
    let mut pointer =
        of("trailer-points-elsewhere", "The trailer names another place than SEAL's.", &["F-26"], &sealed);
    pointer.bytes[end - 16..end - 8].copy_from_slice(&8u64.to_le_bytes());
    let unseal = |v: Vector| Vector { sealed: false, ..v };
    vec![
        magic.with(events),
        copy,
        name.identity_of_name(),
        nameless,
        lose("flipped-marker", "A DATA frame's sync marker is damaged.", &["F-5", "F-32"], &sealed, 2, 0, "no-frame"),
        lose(
            "flipped-data-header",
            "A DATA frame's header is damaged.",
            &["F-6", "F-32"],
            &sealed,
            2,
            24,
            "header-checksum",
        ),
        lose(
            "flipped-data-payload",
            "A DATA frame's payload is damaged.",
            &["F-7", "F-31"],
            &sealed,
            2,
            80,
            "payload-checksum",
        ),
        unseal(lose(
            "flipped-seal-payload",
            "SEAL's payload is damaged; the trailer is sound.",
            &["F-7", "F-26"],
            &sealed,
            4,
            100,
            "payload-checksum",
        )),
        unseal(seal.with(seal_events)),
        unseal(trailer.with(events_trailer.clone())),
        unseal(pointer.with(events_trailer)),
        hole.with(hole_events),
    ]
}

/// Frames that stand where they don't belong.
fn foreign() -> Vec<Vector> {
    let sealed = sealed_plain();
    let second = sealed.bytes[sealed.frames[2].offset..][..sealed.frames[2].len].to_vec();
    let mut seg = plain();
    let nested = FrameSpec::new(DATA, 100, payload(&imus(50, 1))).encode(seg.id(), 4711);
    let bytes: &'static [u8] = Box::leak([nested, second.clone()].concat().into_boxed_slice());
    let record = Rec::new("imu", 1_700_000_050, 0, vec![V::Bytes(bytes)]);
    seg.data(&[record], false).data(&imus(60, 1), false).seal();
    let rules = &["F-8", "F-32"];
    let nested = of(
        "nested",
        "A record holds frames: one made for another offset, and a copy of a frame of this file.",
        rules,
        &seg,
    );
    let mut within = of(
        "nested-in-damage",
        "The same, and the header of the frame around them is damaged: neither is taken for a frame.",
        rules,
        &seg,
    );
    within = within.flip(seg.frames[4].offset + 20);
    let mut events = seg.events();
    events[4] = damage(seg.frames[4].offset, seg.frames[4].len, "header-checksum", None);
    let within = within.with(events);

    let mut other = Seg::new(header(9));
    other.data(&imus(0, 2), false).data(&imus(2, 1), false).data(&imus(3, 2), false).seal();
    let range = |i: usize| sealed.frames[i].offset..sealed.frames[i].offset + sealed.frames[i].len;
    assert_eq!(other.bytes.len(), sealed.bytes.len(), "the segments are laid out alike");
    let splice = |name, about, i: usize| {
        let mut v = of(name, about, &["F-8", "F-37"], &sealed);
        v.bytes[range(i)].copy_from_slice(&other.bytes[range(i)]);
        let mut events = sealed.events();
        events[i] = damage(sealed.frames[i].offset, sealed.frames[i].len, "misplaced", None);
        v.with(events)
    };
    let data = splice("spliced-data", "A DATA frame of another segment, at its very offset there.", 2);
    let header =
        splice("spliced-header", "HEADER is another segment's: SEAL, the name and most frames say who this one is.", 0);
    let mut seal = splice("spliced-seal", "SEAL and the trailer are another segment's.", 4);
    seal.events[4] = damage(sealed.frames[4].offset, sealed.frames[4].len + 16, "misplaced", None);
    seal.sealed = false;
    let mut open = plain();
    open.bytes[range(0)].copy_from_slice(&other.bytes[range(0)]);
    let mut spliced = of(
        "spliced-header-open",
        "HEADER is another segment's, and there is no SEAL: the name and most frames say who this one is.",
        &["F-8", "F-37"],
        &open,
    );
    spliced.events[0] = damage(open.frames[0].offset, open.frames[0].len, "misplaced", None);

    let mut moved = plain();
    let extra = moved.bytes[range(1)].to_vec();
    let at = moved.bytes.len();
    moved.bytes.extend(&extra);
    let mut shifted =
        of("repeated-frame", "A copy of the first DATA frame at the end: not in its place.", &["F-8"], &moved);
    shifted.events.push(damage(at, extra.len(), "misplaced", None));

    let mut back = plain();
    back.next_seq = 3;
    let (spec, event) = back.data_spec(&imus(3, 2), false);
    back.data_frame(&imus(3, 2), spec, event);
    let mut backwards = of("seqs-backwards", "A frame repeats seqs of an earlier one.", &["F-34"], &back);
    backwards.events[4] = back.frames[4].lost("seq-backwards");

    let mut behind = of("behind-trailer", "Bytes behind the trailer.", &["F-2", "F-26"], &sealed);
    let end = behind.bytes.len();
    behind.bytes.extend(&second);
    behind.events.push(damage(end, second.len(), "after-seal", None));
    // The trailer isn't at the file's end.
    behind.sealed = false;
    vec![nested, within, data, header, seal, spliced.identity_of_name(), shifted, backwards, behind]
}

/// Sound frames of a later version.
fn later_versions() -> Vec<Vector> {
    let skip = |name, about, rules, seg: &Seg, i: usize, reason, value| {
        let mut v = of(name, about, rules, seg);
        v.events[i] = skipped(&seg.frames[i], reason, value);
        v
    };
    let mut empty = plain();
    empty.frame(FrameSpec::new(77, empty.next_seq, b"something new".to_vec()), json!({}));
    empty.data(&imus(5, 1), false);
    let kind = skip(
        "unknown-kind",
        "A frame of an unknown kind, without records.",
        &["F-10", "F-11"],
        &empty,
        4,
        "unknown-kind",
        77,
    );
    let records = tampered(|spec| spec.kind = 200);
    let kind_records = skip(
        "unknown-kind-records",
        "A frame of an unknown kind with a record: that one can't be read.",
        &["F-10", "F-11"],
        &records,
        2,
        "unknown-kind",
        200,
    );
    let codec = tampered(|spec| spec.codec = 2);
    let codec =
        skip("unknown-codec", "A frame of the codec reserved for encryption.", &["F-12"], &codec, 2, "codec", 2);
    let critical = tampered(|spec| spec.flags = 0x8001);
    let critical = skip(
        "critical-flag",
        "A frame with an unknown critical flag.",
        &["F-13"],
        &critical,
        2,
        "critical-flags",
        0x8000,
    );
    let ignorable = tampered(|spec| spec.flags |= 0x00f0);
    let ignorable =
        of("ignorable-flag", "A frame with unknown flags that may be ignored.", &["F-13", "F-35"], &ignorable);
    vec![kind, kind_records, codec, critical, ignorable]
}

/// Checksums hold, and what they cover is impossible.
fn hostile() -> Vec<Vector> {
    let lose = |name, about, rules, seg: &Seg, cause, known: bool| {
        let mut v = of(name, about, rules, seg);
        v.events[2] = damage(seg.frames[2].offset, seg.frames[2].len, cause, seg.frames[2].seqs.filter(|_| known));
        v
    };
    let long = tampered(|spec| spec.stored_len = (64 << 20) + 1);
    let bomb = tampered(|spec| spec.raw_len = u32::MAX);
    let many = tampered(|spec| spec.count = spec.raw_len / 4 + 1);
    let mut wrap = tampered(|spec| spec.first_seq = u64::MAX);
    wrap.frames[2].seqs = None;
    let short = tampered(|spec| spec.raw_len -= 1);
    let count = tampered(|spec| spec.count = 2);
    let cut = tampered(|spec| {
        spec.stored.pop();
        (spec.stored_len, spec.raw_len) = (spec.stored_len - 1, spec.raw_len - 1);
    });
    let zstd = |name, about, change: fn(&mut FrameSpec)| {
        let mut seg = Seg::new(header(3));
        seg.data(&imus(0, 2), false);
        let (mut spec, event) = seg.data_spec(&imus(2, 40), true);
        change(&mut spec);
        seg.data_frame(&imus(2, 40), spec, event).data(&imus(42, 2), false);
        Vector { compressed: true, ..lose(name, about, &["F-15"], &seg, "malformed", true) }
    };
    vec![
        lose(
            "oversized-stored",
            "A header states more stored bytes than a frame may have.",
            &["F-14"],
            &long,
            "limits",
            false,
        ),
        lose(
            "oversized-raw",
            "A header states more raw bytes than a frame may have.",
            &["F-14"],
            &bomb,
            "limits",
            false,
        ),
        lose(
            "oversized-count",
            "A header states more records than its payload has room for.",
            &["F-14"],
            &many,
            "limits",
            false,
        ),
        lose("oversized-seq", "A header's seqs exceed what 64 bits hold.", &["F-14"], &wrap, "limits", false),
        lose(
            "raw-length-mismatch",
            "Stored without compression, and the two lengths differ.",
            &["F-15"],
            &short,
            "malformed",
            true,
        ),
        lose(
            "count-mismatch",
            "A header states another number of records than there are.",
            &["F-20"],
            &count,
            "malformed",
            true,
        ),
        lose(
            "record-cut",
            "The last record is longer than what is left of the payload.",
            &["F-20"],
            &cut,
            "malformed",
            true,
        ),
        zstd("zstd-longer", "zstd yields more than stated.", |spec| spec.raw_len -= 1),
        zstd("zstd-shorter", "zstd yields less than stated: a claim of 64 MiB.", |spec| spec.raw_len = 64 << 20),
        zstd("zstd-garbage", "What should be zstd isn't.", |spec| spec.stored = vec![0xaa; spec.stored_len as usize]),
    ]
}
