//! Whatever byte of a sound recording is changed, and wherever it is cut: verifying says so.

use std::path::Path;

use super::{Looked, look, name};
use crate::support::format::golden::{header, imus};
use crate::support::format::{Pb, Seg};
use serde_json::json;

/// HEADER, two DATA frames, a mark between them; SEAL if wanted.
fn segment(sealed: bool, zstd: bool) -> Seg {
    let mut seg = Seg::new(header(0));
    seg.data(&imus(0, 3), zstd);
    seg.mark(7, Pb::default().always_bytes(4, b"note"), json!({ "note": "note" }));
    seg.data(&imus(3, 5), zstd);
    if sealed {
        seg.seal();
    }
    seg
}

fn all() -> Vec<Seg> {
    [(false, false), (false, true), (true, false), (true, true)].map(|(sealed, zstd)| segment(sealed, zstd)).into()
}

fn look_at_bytes(dir: &Path, seg: &Seg, bytes: &[u8]) -> Looked {
    std::fs::write(dir.join(name(seg)), bytes).unwrap();
    look(dir)
}

#[test]
fn every_flipped_byte_is_told() {
    for seg in all() {
        let dir = tempfile::tempdir().unwrap();
        look_at_bytes(dir.path(), &seg, &seg.bytes).is_sound(8);
        for at in 0..seg.bytes.len() {
            let mut bytes = seg.bytes.clone();
            bytes[at] ^= if at.is_multiple_of(2) { 0x01 } else { 0xff };
            let looked = look_at_bytes(dir.path(), &seg, &bytes);
            assert!(!looked.found.is_empty() && !looked.report.is_sound(), "byte {at}: {looked:?}");
            assert_eq!(looked.report.totals.damaged_places, 1, "byte {at}: {looked:?}");
        }
    }
}

/// [F-30]: of a file that was sealed, every cut is a loss; one that was never finished ends somewhere.
#[test]
fn every_cut_of_a_sealed_segment_is_told_and_an_open_one_is_torn() {
    for seg in all() {
        let sealed = name(&seg).ends_with(".sfr");
        let ends: Vec<_> = seg.frames.iter().map(|frame| frame.offset + frame.len).collect();
        let dir = tempfile::tempdir().unwrap();
        for cut in 0..seg.bytes.len() {
            let looked = look_at_bytes(dir.path(), &seg, &seg.bytes[..cut]);
            assert_eq!(looked.report.is_sound(), !sealed, "cut at {cut}: {looked:?}");
            let whole = cut == 8 || ends.contains(&cut);
            assert_eq!(looked.found.is_empty(), !sealed && whole, "cut at {cut}: {looked:?}");
        }
    }
}
