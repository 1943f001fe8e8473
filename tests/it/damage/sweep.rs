//! Damage of every kind at every place of segments as the recorder writes them, sealed and unsealed, with both codecs: what
//! the reader finds in what is left, and what repair makes of it. All in memory.
//!
//! `SIFT_REPLAY_DAMAGE_ROUNDS` sets how many random splices there are, `SIFT_REPLAY_DAMAGE_SEED` which.

use std::collections::{BTreeMap, BTreeSet};

use sift_replay::format::TRAILER_BYTES;
use sift_replay::segment::Condition;

use crate::support::random::Random;
use crate::support::repairing::{File, Shape, alone, check_result, record, repaired, small};
use crate::support::sound::Found;

/// A segment, and what is known of it.
struct Known {
    file: File,
    found: Found,
}

impl Known {
    fn new(file: File) -> Self {
        let found = file.find();
        assert!(found.damage.is_empty() && found.torn.is_none() && !found.records.is_empty());
        Self { file, found }
    }

    fn len(&self) -> usize {
        self.file.bytes.len()
    }
}

/// Segments that are somewhat longer than a few blocks.
fn large() -> Vec<Known> {
    let shapes =
        [Shape { frames: 12, text: 400, ..Shape::SMALL }, Shape { frames: 90, text: 400, ..Shape::SMALL }.zstd()];
    let files: Vec<_> = shapes.into_iter().flat_map(crate::support::repairing::one).map(Known::new).collect();
    assert!(files.iter().all(|file| file.len() > 3 * 4096), "{:?}", files.iter().map(Known::len).collect::<Vec<_>>());
    files
}

/// Everything that was recorded, by the segment's id and the seq.
#[derive(Default)]
struct Recorded(BTreeMap<u64, BTreeMap<u64, Vec<u8>>>);

impl Recorded {
    fn of<'a>(segments: impl IntoIterator<Item = &'a Known>) -> Self {
        let mut recorded = Self::default();
        for known in segments {
            recorded.0.entry(known.found.id.unwrap()).or_default().extend(known.found.records.iter().cloned());
        }
        recorded
    }

    /// What is read was recorded, in this place of this segment, and in order.
    #[track_caller]
    fn holds(&self, found: &Found, what: &str) {
        let mut next = 0;
        for (seq, record) in &found.records {
            assert!(*seq >= next, "{what}: seq {seq} after {next}");
            next = seq + 1;
            let recorded = self.0.get(&found.id.unwrap()).and_then(|records| records.get(seq));
            assert!(recorded == Some(record), "{what}: seq {seq} wasn't recorded so");
        }
    }
}

/// Frames that no change touches are read, wherever the rest has gone.
#[track_caller]
fn holds_untouched(known: &Known, bytes: &[u8], found: &Found, what: &str) {
    let read: BTreeSet<u64> = found.offsets.iter().copied().collect();
    for (frame, offset) in known.found.frames.iter().zip(&known.found.offsets) {
        let place = *offset as usize..*offset as usize + frame.header.frame_len() as usize;
        if bytes.get(place.clone()) == Some(&known.file.bytes[place]) {
            assert!(read.contains(offset), "{what}: the frame at {offset} is untouched, and isn't read");
        }
    }
}

/// Reads and repairs changed bytes. `in_place`: no byte was moved.
#[track_caller]
fn look(known: &Known, recorded: &Recorded, bytes: Vec<u8>, in_place: bool, what: &str) -> Condition {
    let file = known.file.with(bytes);
    let found = file.find();
    recorded.holds(&found, what);
    if in_place {
        holds_untouched(known, &file.bytes, &found, what);
    }
    let went = repaired(&file, &alone);
    check_result(&file, &found, &went);
    went.repaired.condition
}

/// [F-31], [F-32], [F-42]
#[test]
fn every_flipped_byte_costs_what_it_hits_and_repair_keeps_the_rest() {
    for known in small().into_iter().map(Known::new) {
        let recorded = Recorded::of([&known]);
        for at in 0..known.len() {
            for mask in [0x01, 0xff] {
                let mut bytes = known.file.bytes.clone();
                bytes[at] ^= mask;
                let what = format!("{} with byte {at} ^ {mask:#04x}", known.file.path.display());
                let condition = look(&known, &recorded, bytes, true, &what);
                assert_eq!(condition, Condition::Damaged, "{what}");
            }
        }
    }
}

#[test]
fn every_zeroed_block_costs_what_it_covers_and_repair_keeps_the_rest() {
    for known in large() {
        let recorded = Recorded::of([&known]);
        for (block, step) in [(512, 512), (4096, 4096), (512, 97)] {
            for at in (0..known.len()).step_by(step) {
                let mut bytes = known.file.bytes.clone();
                let end = (at + block).min(bytes.len());
                bytes[at..end].fill(0);
                let what = format!("{} without {block} bytes at {at}", known.file.path.display());
                assert_eq!(look(&known, &recorded, bytes, true, &what), Condition::Damaged, "{what}");
            }
        }
    }
}

/// [F-30]
#[test]
fn every_truncation_costs_what_stood_behind_it_and_repair_keeps_the_rest() {
    for known in small().into_iter().map(Known::new) {
        let recorded = Recorded::of([&known]);
        let open = known.file.path.extension().is_some_and(|extension| extension == "open");
        for len in 0..known.len() {
            let bytes = known.file.bytes[..len].to_vec();
            let what = format!("the first {len} bytes of {}", known.file.path.display());
            let expected = match len {
                _ if len < known.found.offsets[0] as usize => Condition::Nothing,
                // A sealed name says that there was more, unless all frames are there.
                _ if !open && len != known.len() - TRAILER_BYTES => Condition::Damaged,
                _ => Condition::Unsealed,
            };
            assert_eq!(look(&known, &recorded, bytes, true, &what), expected, "{what}");
        }
    }
}

/// Bytes of other files, and of the file itself, written over it or put between.
#[test]
fn whatever_is_spliced_in_nothing_is_read_that_was_not_recorded_there_and_repair_keeps_what_is() {
    let number = |name: &str, default| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let (rounds, seed) = (number("SIFT_REPLAY_DAMAGE_ROUNDS", 4_000), number("SIFT_REPLAY_DAMAGE_SEED", 1));
    let several = Shape { frames: 8, text: 60, frames_per_segment: 3, ..Shape::SMALL };
    let (sealed, open) = record(several);
    let (other, _) = record(several);
    let (zstd, _) = record(several.zstd());
    let (small, large) = (small(), large());
    let known: Vec<_> = [sealed, open, other, zstd, small].concat().into_iter().map(Known::new).chain(large).collect();
    let recorded = Recorded::of(&known);
    for round in 0..rounds {
        let mut random = Random::new(seed ^ (round << 20));
        let target = &known[random.below(known.len())];
        let (mut bytes, mut in_place) = (target.file.bytes.clone(), true);
        let mut what = format!("round {round} (seed {seed}), {}", target.file.path.display());
        for _ in 0..=random.below(3) {
            let donor = &known[random.below(known.len())];
            let from = random.place(&boundaries(donor), donor.len());
            let len = 1 + random.below(donor.len() - from);
            let piece = &donor.file.bytes[from..from + len];
            // Often where it stood in the other file, where its frames say that they belong.
            let place = random.place(&boundaries(target), target.len());
            let at = if random.below(3) == 0 { from } else { place }.min(bytes.len());
            let insert = random.below(3) == 0;
            let end = if insert { at } else { (at + len).min(bytes.len()) };
            what.push_str(&format!(", {len} bytes from {from} at {at}..{end}"));
            bytes.splice(at..end, piece.iter().copied());
            in_place &= !insert;
        }
        let same = target.file.with(bytes.clone()).find().id == target.found.id;
        look(target, &recorded, bytes, in_place && same, &what);
    }
}

/// Where frames begin and end.
fn boundaries(known: &Known) -> Vec<usize> {
    let ends = known.found.frames.iter().zip(&known.found.offsets);
    let ends = ends.flat_map(|(frame, offset)| [*offset, *offset + frame.header.frame_len()]);
    [0, 8].into_iter().chain(ends.map(|at| at as usize)).filter(|at| *at < known.len()).collect()
}
