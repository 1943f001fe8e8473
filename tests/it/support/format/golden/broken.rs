//! Vectors of files that are cut off, damaged, forged, or of a later version.

use serde_json::json;

use super::*;

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

/// Files that end too early.
pub fn ends() -> Vec<Vector> {
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
pub fn flipped() -> Vec<Vector> {
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
pub fn foreign() -> Vec<Vector> {
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

    let mut seg = plain();
    // The record ends the frame, so that the next frame's marker follows right behind.
    let markers: &'static [u8] = Box::leak([&SYNC[..], &SYNC, &SYNC[..4]].concat().into_boxed_slice());
    seg.data(&[Rec::new("imu", 1_700_000_050, 0, vec![V::Bytes(markers)])], false).data(&imus(60, 1), false).seal();
    let about = "Sync markers, the last cut short, right ahead of a frame, in a frame whose header is damaged.";
    let mut markers = of("markers-in-damage", about, &["F-5", "F-32"], &seg).flip(seg.frames[4].offset);
    markers.events[4] = damage(seg.frames[4].offset, seg.frames[4].len, "no-frame", None);

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
    vec![nested, within, markers, data, header, seal, spliced.identity_of_name(), shifted, backwards, behind]
}

/// Sound frames of a later version.
pub fn later_versions() -> Vec<Vector> {
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
pub fn hostile() -> Vec<Vector> {
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
    let mut spec = FrameSpec::new(SCHEMA, 2, [0x12, 0].repeat((1 << 20) + 1));
    spec.stored = zstd::bulk::compress(&spec.stored, 1).unwrap();
    (spec.codec, spec.stored_len) = (1, spec.stored.len() as u32);
    let mut parts = Seg::new(header(3));
    parts.data(&imus(0, 2), false).frame(spec, json!({})).data(&imus(2, 1), false);
    let about = "SCHEMA has 1048577 flows, in a few hundred bytes.";
    let parts = Vector { compressed: true, ..lose("too-many-parts", about, &["F-14"], &parts, "malformed", true) };
    vec![
        parts,
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
