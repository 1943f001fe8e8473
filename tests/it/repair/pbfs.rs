//! The official library's backups: sound copies of them, and segments made of them.

use std::collections::HashSet;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use prost::Message;
use sift_replay::format::{FLAG_BARE, IngestionConfig, Kind, SegmentHeader};
use sift_replay::segment::{
    Condition, DAMAGED_SUFFIX, Loss, PbfsEvent, PbfsReader, Repair, RepairError, RepairTo, Repaired, SimDisk, SimFiles,
    pbfs_to_segment, repair_pbfs,
};
use uuid::Uuid;

use crate::pbfs::chunk;
use crate::support::random::Random;
use crate::support::repairing::out;
use crate::support::sound::check_sound;

fn samples() -> Vec<(PathBuf, Vec<u8>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/pbfs");
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|extension| extension == "pbfs"));
    let samples: Vec<_> =
        files.map(|path| (Path::new("in").join(path.file_name().unwrap()), std::fs::read(path).unwrap())).collect();
    assert!(samples.len() >= 9);
    samples
}

/// What the reader finds: sound chunks, their messages, and the places that are lost.
type Found = (Vec<Vec<u8>>, Vec<Vec<u8>>, Vec<(u64, u64)>);

fn find(bytes: &[u8]) -> Found {
    let mut reader = PbfsReader::from_reader(Path::new("file"), Box::new(Cursor::new(bytes.to_vec())));
    let (mut chunks, mut messages, mut lost) = (Vec::new(), Vec::new(), Vec::new());
    while let Some(event) = reader.next_event().unwrap() {
        match event {
            PbfsEvent::Chunk(chunk) => {
                chunks.push(chunk.bytes.to_vec());
                messages.extend(chunk.messages().map(<[u8]>::to_vec));
            }
            PbfsEvent::Damage(damage) => lost.push((damage.offset, damage.len)),
            PbfsEvent::Torn(torn) => lost.push((torn.offset, torn.len)),
        }
    }
    (chunks, messages, lost)
}

fn disk_of(path: &Path, bytes: &[u8]) -> SimDisk {
    SimDisk::of(SimFiles::from([(path.to_owned(), bytes.to_vec())]))
}

fn repair(disk: &SimDisk, path: &Path, to: RepairTo<'_>) -> (Repaired, Vec<(u64, u64)>) {
    let mut lost = Vec::new();
    let mut note = |loss| {
        lost.push(match loss {
            Loss::Damage(damage) => (damage.offset, damage.len),
            Loss::Torn(torn) => (torn.offset, torn.len),
        });
    };
    let repaired = repair_pbfs(path, &mut Repair::new(disk, to, &mut note)).unwrap();
    (repaired, lost)
}

/// Repairs to a directory, and checks that the result has exactly the sound chunks.
#[track_caller]
fn check(path: &Path, bytes: &[u8]) -> Condition {
    let (disk, out) = (disk_of(path, bytes), out());
    let (repaired, told) = repair(&disk, path, RepairTo::Dir(&out));
    let (chunks, messages, lost) = find(bytes);
    assert_eq!((told, repaired.records), (lost.clone(), messages.len() as u64));
    let mut files = disk.image().all();
    assert!(files.remove(path).as_deref() == Some(bytes), "the original was touched");
    assert_eq!(repaired.condition == Condition::Sound, lost.is_empty());
    assert_eq!(repaired.condition == Condition::Nothing, chunks.is_empty() && !lost.is_empty());
    let Some(target) = repaired.path else {
        assert_eq!((repaired.condition, files.len()), (Condition::Nothing, 0));
        return repaired.condition;
    };
    assert_eq!(target, out.join(path.file_name().unwrap()));
    assert!(files.remove(&target) == Some(chunks.concat()) && files.is_empty());
    repaired.condition
}

/// [P-1], [F-42]
#[test]
fn every_sample_is_repaired_to_its_sound_chunks() {
    for (path, bytes) in samples() {
        // An empty file is sound as it is.
        let expected = match path.file_name().unwrap().to_str().unwrap() {
            name if name.starts_with('s') || name.starts_with("c8") => Condition::Sound,
            name if name.starts_with("c1") || name.starts_with("c2") => Condition::Unsealed,
            _ => Condition::Damaged,
        };
        assert_eq!(check(&path, &bytes), expected, "{}", path.display());
        // In place, twice.
        let disk = disk_of(&path, &bytes);
        repair(&disk, &path, RepairTo::InPlace);
        let files = disk.image().all();
        assert_eq!(files[&path], find(&bytes).0.concat());
        let aside = PathBuf::from(format!("{}{DAMAGED_SUFFIX}", path.display()));
        let original = if expected == Condition::Sound { &path } else { &aside };
        assert_eq!(files[original], bytes);
        let (again, _) = repair(&disk, &path, RepairTo::InPlace);
        assert_eq!((again.condition, disk.image().all()), (Condition::Sound, files));
    }
}

/// The first chunks of a sample.
fn short(name: &str, chunks: usize) -> Vec<u8> {
    let (_, bytes) = samples().into_iter().find(|(path, _)| path.ends_with(name)).unwrap();
    find(&bytes).0[..chunks].concat()
}

/// [P-3]
#[test]
fn whatever_happens_to_a_backup_its_sound_chunks_are_kept() {
    let (path, bytes) = (Path::new("in/backup"), short("s2_all_types_run.pbfs", 8));
    let (whole, _, _) = find(&bytes);
    let untouched = |changed: &[u8]| {
        let (chunks, ..) = find(changed);
        let mut at = 0;
        for chunk in &whole {
            if changed.get(at..at + chunk.len()) == Some(chunk) {
                assert!(chunks.contains(chunk), "a chunk is untouched, and isn't read");
            }
            at += chunk.len();
        }
    };
    for at in 0..bytes.len() {
        for mask in [0x01, 0xff] {
            let mut changed = bytes.clone();
            changed[at] ^= mask;
            untouched(&changed);
            // [P-3]: of the last one, a length that leads beyond the file's end looks like a torn end.
            let expected = [Condition::Damaged, Condition::Unsealed];
            let last = bytes.len() - whole.last().unwrap().len();
            let condition = check(path, &changed);
            assert!(
                expected[..1 + usize::from(at >= last)].contains(&condition),
                "byte {at} ^ {mask:#04x}: {condition:?}"
            );
        }
        check(path, &bytes[..at]);
        untouched(&bytes[..at]);
    }
    for block in [64, 512] {
        for at in (0..bytes.len()).step_by(block / 4) {
            let mut changed = bytes.clone();
            let end = (at + block).min(bytes.len());
            changed[at..end].fill(0);
            untouched(&changed);
            check(path, &changed);
        }
    }
}

#[test]
fn whatever_is_spliced_into_a_backup_only_messages_that_were_recorded_are_kept() {
    let rounds = std::env::var("SIFT_REPLAY_DAMAGE_ROUNDS").map_or(1_000, |text| text.parse().unwrap());
    let files = [
        short("s2_all_types_run.pbfs", 8),
        short("s3_flows_interleaved_no_run.pbfs", 12),
        short("s2_all_types_run.pbfs", 3),
    ];
    let known: HashSet<Vec<u8>> = files.iter().flat_map(|file| find(file).1).collect();
    for round in 0..rounds {
        let mut random = Random::new(round);
        let mut bytes = files[random.below(files.len())].clone();
        for _ in 0..=random.below(3) {
            let donor = &files[random.below(files.len())];
            let from = random.below(donor.len());
            let len = 1 + random.below(donor.len() - from);
            let at = random.below(bytes.len());
            let end = if random.below(2) == 0 { at } else { (at + len).min(bytes.len()) };
            bytes.splice(at..end, donor[from..from + len].iter().copied());
        }
        assert!(find(&bytes).1.iter().all(|message| known.contains(message)), "round {round}");
        check(Path::new("in/backup"), &bytes);
    }
}

fn header() -> SegmentHeader {
    let config = IngestionConfig { asset_name: "rover".into(), ..Default::default() };
    SegmentHeader { format_version: 1, ingestion_config: config.encode_to_vec(), ..Default::default() }
}

const SESSION: Uuid = Uuid::from_u128(0x0193_5f6e_1b2c_7000_8123_4567_89ab_cdef);

fn to_segment(disk: &SimDisk, path: &Path, header: SegmentHeader) -> Result<Repaired, RepairError> {
    let out = out();
    pbfs_to_segment(path, &out, SESSION, header, &mut Repair::new(disk, RepairTo::Dir(&out), &mut |_| {}))
}

/// [F-20], [F-21]
#[test]
fn a_backup_becomes_a_segment_of_the_same_messages_and_the_same_whenever_that_is_done() {
    for (path, bytes) in samples() {
        let disk = disk_of(&path, &bytes);
        let repaired = to_segment(&disk, &path, header()).unwrap();
        let (chunks, messages, _) = find(&bytes);
        assert_eq!(repaired.records, messages.len() as u64);
        let Some(target) = repaired.path else {
            assert!(chunks.is_empty() && disk.image().all().len() == 1);
            continue;
        };
        assert_eq!(target, out().join(format!("{SESSION}-000000.sfr")));
        let files = disk.image().all();
        assert_eq!((files.len(), &files[&path]), (2, &bytes));
        let found = check_sound(&target, &files[&target]);
        assert!(found.records.iter().map(|(seq, _)| *seq).eq(0..messages.len() as u64));
        assert!(found.records.into_iter().map(|(_, record)| record).eq(messages));
        let own = SegmentHeader { session_id: SESSION.as_bytes().to_vec(), ..header() };
        assert_eq!(found.header, Some(own));
        // They carry ids, so that a replayer has to look.
        let data: Vec<_> = found.frames.iter().filter(|frame| frame.header.kind == Kind::Data).collect();
        assert!(data.iter().all(|frame| frame.header.flags & FLAG_BARE == 0));
        assert!(data.len() as u64 >= files[&path].len() as u64 / 100_000);
        let again = to_segment(&disk, &path, header()).unwrap();
        assert!(again.already_there && disk.image().all() == files);
        // Of which segment a header is, the backup doesn't care.
        let elsewhere = SegmentHeader { session_id: vec![7; 16], segment_index: 5, first_seq: 9, ..header() };
        assert!(to_segment(&disk, &path, elsewhere).unwrap().already_there);
        // With another schema it isn't the same.
        let other = SegmentHeader { host: "other".into(), ..header() };
        assert!(matches!(to_segment(&disk, &path, other), Err(RepairError::Taken { .. })));
        assert_eq!(disk.image().all(), files);
    }
}

/// Frames of 64 KiB are what damage costs, and what readers hold in memory.
#[test]
fn a_frame_made_of_a_backup_is_full_when_the_next_record_does_not_fit_into_it() {
    const FULL: usize = 64 << 10;
    // With its length before it, each takes 4 bytes more. These fill a frame to the byte, exceed it by one, fill it
    // alone, and exceed it alone.
    let half = FULL / 2 - 4;
    let sizes = [half, half, half, half + 1, half, FULL - 4, 1, FULL - 3, FULL, 3 * FULL, 1, 0, half, 2, half];
    let frames: [&[usize]; 10] = [
        &[half, half],
        &[half],
        &[half + 1],
        &[half],
        &[FULL - 4],
        &[1],
        &[FULL - 3],
        &[FULL],
        &[3 * FULL],
        &[1, 0, half, 2],
    ];
    let expected: Vec<usize> = frames.iter().map(|frame| frame.len()).chain([1]).collect();
    let messages: Vec<Vec<u8>> = sizes.iter().map(|size| vec![0xff; *size]).collect();
    let messages: Vec<&[u8]> = messages.iter().map(|message| &message[..]).collect();
    let path = Path::new("in/backup");
    // However they lie in chunks.
    for per_chunk in [1, 4, sizes.len()] {
        let bytes: Vec<u8> = messages.chunks(per_chunk).flat_map(chunk).collect();
        let disk = disk_of(path, &bytes);
        let target = to_segment(&disk, path, header()).unwrap().path.unwrap();
        let found = check_sound(&target, &disk.image().all()[&target]);
        let counts: Vec<_> = found.frames.iter().map(|frame| frame.header.count as usize).collect();
        assert_eq!(counts, expected);
        assert!(found.records.iter().map(|(_, record)| &record[..]).eq(messages.iter().copied()));
    }
}

#[test]
fn a_backup_without_messages_becomes_a_segment_without_frames_of_records() {
    let (path, bytes) = (Path::new("in/backup"), [chunk(&[]), chunk(&[])].concat());
    let disk = disk_of(path, &bytes);
    let repaired = to_segment(&disk, path, header()).unwrap();
    let target = repaired.path.unwrap();
    let found = check_sound(&target, &disk.image().all()[&target]);
    assert_eq!((repaired.records, found.frames.len(), found.seal.map(|seal| seal.end_seq)), (0, 0, Some(0)));
}

#[test]
fn a_schema_that_fits_into_no_frame_is_refused() {
    let (path, bytes) =
        samples().into_iter().find(|(path, _)| path.ends_with("s1_single_message_no_run.pbfs")).unwrap();
    let disk = disk_of(&path, &bytes);
    let large = SegmentHeader { ingestion_config: vec![0; 65 << 20], ..header() };
    let error = to_segment(&disk, &path, large).unwrap_err().to_string();
    assert!(error.contains("the schema has") && error.contains("at most 67108864 fit into a frame"), "{error}");
    assert_eq!(disk.image().all().len(), 1);
}
