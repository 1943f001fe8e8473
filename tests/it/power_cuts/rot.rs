//! A medium that rots: any byte may differ, any block may be zero. That costs the frames that it touches, and is told.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use sift_replay::format::Compression;
use sift_replay::record::SyncPolicy;
use sift_replay::segment::{Event, SegmentReader, SimDisk, Storage};

use super::History;
use super::recorder::MIXED;
use super::script::{Run, Watched, options};

/// A frame with records: where it stands, and their seqs.
type Frame = (PathBuf, Range<u64>, Range<u64>);

fn recorded(compression: Compression, frame_bytes: usize) -> (SimDisk, History, Vec<Frame>) {
    let disk = SimDisk::new();
    let options = options(SyncPolicy::Bytes(150), compression, frame_bytes, &disk);
    let mut run = Run::create(options, &Watched::default()).unwrap();
    run.play(&MIXED).unwrap();
    let files = disk.image().all();
    let frames = files.keys().flat_map(|path| read(&disk, path).0).collect();
    (disk, run.history(), frames)
}

/// The frames of a file that are read, and how many bytes are told to be damaged or torn.
fn read(disk: &SimDisk, path: &Path) -> (Vec<Frame>, u64) {
    let mut reader = SegmentReader::from_reader(path, disk.open(path).unwrap()).unwrap();
    let (mut frames, mut lost) = (Vec::new(), 0);
    loop {
        let begin = reader.position();
        let seqs = match reader.next_event().unwrap() {
            None => return (frames, lost),
            Some(Event::Records(batch)) => Some(batch.first_seq..batch.end_seq()),
            Some(Event::Damage(damage)) => {
                lost += damage.len;
                None
            }
            Some(Event::Torn(torn)) => {
                lost += torn.len;
                None
            }
            Some(_) => None,
        };
        frames.extend(seqs.map(|seqs| (path.to_owned(), begin..reader.position(), seqs)));
    }
}

/// Somewhere, as a share of all there is, so many bytes: zeros, or flipped bits.
#[derive(Debug, Clone)]
struct Rot {
    at: prop::sample::Index,
    bytes: usize,
    flip: Option<u8>,
}

fn rot() -> impl Strategy<Value = Rot> {
    let bytes = prop_oneof![Just(1usize), 2usize..80, Just(512)];
    (any::<prop::sample::Index>(), bytes, prop::option::of(1u8..)).prop_map(|(at, bytes, flip)| Rot { at, bytes, flip })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rot_costs_the_frames_that_it_touches_and_is_told(
        rots in prop::collection::vec(rot(), 1..4), zstd: bool, frame_bytes in prop_oneof![Just(1usize), Just(100)],
    ) {
        let (disk, history, frames) =
            recorded(if zstd { Compression::Zstd(1) } else { Compression::None }, frame_bytes);
        let before = disk.image().all();
        for Rot { at, bytes, flip } in &rots {
            let path = at.get(&before.keys().collect::<Vec<_>>()).to_path_buf();
            disk.rot(&path, |content| {
                let begin = at.index(content.len());
                let end = content.len().min(begin + bytes);
                content[begin..end].iter_mut().for_each(|byte| *byte = flip.map_or(0, |flip| *byte ^ flip));
            });
        }
        let after = disk.image().all();
        let untouched = |(path, place, _): &&Frame| {
            let place = place.start as usize..place.end as usize;
            before[path][place.clone()] == after[path][place]
        };
        let mut expected: BTreeSet<u64> = frames.iter().filter(untouched).flat_map(|(_, _, seqs)| seqs.clone()).collect();
        for path in after.keys() {
            let mut reader = SegmentReader::from_reader(path, disk.open(path).unwrap()).unwrap();
            while let Some(event) = reader.next_event().unwrap() {
                let Event::Records(batch) = event else { continue };
                for (seq, record) in (batch.first_seq..).zip(batch.records()) {
                    prop_assert_eq!(record, &history.records[seq as usize][..], "seq {}", seq);
                    prop_assert!(expected.remove(&seq), "seq {} was touched, or is read twice", seq);
                }
            }
            let lost = read(&disk, path).1;
            prop_assert_eq!(lost > 0, before[path] != after[path], "{} bytes are told of {}", lost, path.display());
        }
        prop_assert!(expected.is_empty(), "{:?} weren't touched, and aren't read", expected);
    }
}
