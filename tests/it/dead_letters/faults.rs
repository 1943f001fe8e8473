//! What `add` returned for is there, whatever the disk does.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use sift_replay::format::{Mark, MarkMessage, Refused, SegmentHeader, SeqRange, TimeRange};
use sift_replay::segment::{PendingFrame, SegmentWriter};

use super::*;
use crate::support::storage::{Fault, FaultyStorage, Op};

/// Records, by whose they are and their seq.
type Origins = BTreeSet<(Subject, u64)>;

/// Refusals in order: of which origin, why, which seqs.
const REFUSALS: [(Subject, &str, &[u64]); 4] = [
    (SESSION, "out of range", &[3, 4, 900]),
    (PBFS, "too old", &[17]),
    (SESSION, "too old", &[0, 1]),
    (SESSION, "out of range", &[7]),
];

/// Makes the refusals known until the disk says no; returns whose came back as kept, in order.
fn refuse(letters: &mut DeadLetters, requests: &Requests, kept: &dyn Fn(Subject, u64)) -> Vec<(usize, String)> {
    let mut failed = Vec::new();
    for (number, (subject, reason, seqs)) in REFUSALS.into_iter().enumerate() {
        let records = records(seqs.iter().copied());
        match letters.add(&target(), &subject, None, Some(requests), reason, &records) {
            Ok(()) => seqs.iter().for_each(|seq| kept(subject, *seq)),
            Err(error) => failed.push((number, error.to_string())),
        }
    }
    // What was kept doesn't depend on it.
    let _ = letters.finish_all();
    failed
}

/// What is read is what was refused, with its reason; returns which.
fn check(state: &Path) -> Origins {
    let (letters, _) = read(state);
    let mut found = BTreeSet::new();
    for letter in letters.into_values() {
        let (refusal, seq) = (letter.refusal.unwrap(), letter.seq.unwrap());
        assert_eq!(letter.bytes, counted(seq));
        let origin = (refusal.subject.unwrap(), seq);
        let known = |(subject, reason, seqs): &(Subject, &str, &[u64])| {
            (*subject, *reason) == (origin.0, refusal.reason.as_str()) && seqs.contains(&seq)
        };
        assert!(REFUSALS.iter().any(known), "{origin:?}: {}", refusal.reason);
        found.insert(origin);
    }
    found
}

/// Saves some state of the disk, and checks that all that counts as kept is there.
fn check_saved(kept: &Origins, save: impl FnOnce(&Path), what: &str) {
    let state = tempfile::tempdir().unwrap();
    let dir = state.path().join(DEAD_LETTERS_DIR);
    std::fs::create_dir(&dir).unwrap();
    save(&dir);
    let found = check(state.path());
    assert!(found.is_superset(kept), "{what}: {kept:?} were kept, {found:?} are there");
}

fn check_power_cuts(storage: &FaultyStorage, kept: &Origins, what: &str) {
    check_saved(kept, |dir| storage.save(dir), what);
    check_saved(kept, |dir| storage.save_durable(dir), what);
    for seed in 0..4 {
        check_saved(kept, |dir| storage.save_after_power_cut(seed, dir), what);
    }
}

/// Runs the refusals on this disk.
fn run(storage: &FaultyStorage, requests: &Requests) -> (Origins, Vec<(usize, String)>) {
    let kept = Mutex::new(BTreeSet::new());
    let mut letters = DeadLetters::new(Arc::new(storage.clone()), Path::new("state"));
    let failed = refuse(&mut letters, requests, &|subject, seq| assert!(kept.lock().unwrap().insert((subject, seq))));
    (kept.into_inner().unwrap(), failed)
}

fn everything() -> Origins {
    REFUSALS.into_iter().flat_map(|(subject, _, seqs)| seqs.iter().map(move |seq| (subject, *seq))).collect()
}

fn operations(requests: &Requests) -> Vec<Op> {
    let storage = FaultyStorage::new();
    let (kept, failed) = run(&storage, requests);
    assert_eq!((kept, failed), (everything(), Vec::new()));
    let log = storage.log();
    assert!(
        [Op::CreateDir, Op::Create, Op::Append, Op::Sync, Op::Rename, Op::SyncDir].iter().all(|op| log.contains(op))
    );
    log
}

#[test]
fn one_failing_operation_costs_no_dead_letter_whichever_it_is() {
    let requests = requests();
    for (number, op) in operations(&requests).into_iter().enumerate() {
        for fault in [Fault::Refused, Fault::Half] {
            let storage = FaultyStorage::new();
            storage.fail_at(number, fault);
            let what = format!("{fault:?} at operation {number}, {op:?}");
            let (kept, failed) = run(&storage, &requests);
            assert_eq!((kept.len(), failed), (7, Vec::new()), "{what}");
            assert_eq!(storage.violations(), Vec::<String>::new(), "{what}");
            check_power_cuts(&storage, &kept, &what);
        }
    }
}

#[test]
fn what_add_returned_for_survives_two_failures_and_a_disk_that_dies() {
    let requests = requests();
    let operations = operations(&requests).len();
    for number in 0..operations {
        for second in 0..12 {
            let storage = FaultyStorage::new();
            match second {
                0 => storage.die_at(number),
                _ => {
                    storage.fail_at(number, Fault::Half);
                    storage.fail_at(number + second, if second % 2 == 0 { Fault::Half } else { Fault::Refused });
                }
            }
            let what = format!("operations {number} and {second} later");
            let (kept, failed) = run(&storage, &requests);
            assert_eq!(storage.violations(), Vec::<String>::new(), "{what}");
            for (_, error) in &failed {
                assert!(error.contains("failed on purpose"), "{what}: {error}");
            }
            // Two failures are the end of one call at most; later ones try anew.
            assert!(second == 0 || failed.len() <= 1, "{what}: {failed:?}");
            check_power_cuts(&storage, &kept, &what);
        }
    }
}

#[test]
fn a_power_cut_at_any_instant_leaves_what_add_returned_for() {
    let requests = requests();
    let storage = FaultyStorage::new();
    let kept = Arc::new(Mutex::new(BTreeSet::new()));
    let (now, states) = (kept.clone(), Arc::new(Mutex::new(Vec::new())));
    let seen = states.clone();
    storage.watch(move |disk| {
        let views = std::iter::once(disk.durable()).chain((0..4).map(|seed| disk.after_power_cut(seed)));
        let kept = now.lock().unwrap().clone();
        seen.lock().unwrap().extend(views.map(|files| (kept.clone(), files)));
    });
    let mut letters = DeadLetters::new(Arc::new(storage.clone()), Path::new("state"));
    let failed = refuse(&mut letters, &requests, &|subject, seq| assert!(kept.lock().unwrap().insert((subject, seq))));
    assert_eq!(failed, Vec::new());
    let states = std::mem::take(&mut *states.lock().unwrap());
    assert!(states.len() > 200);
    for (kept, files) in states {
        let save = |dir: &Path| {
            for (path, bytes) in files {
                std::fs::write(dir.join(path.file_name().unwrap()), bytes).unwrap();
            }
        };
        check_saved(&kept, save, "power cut");
    }
}

#[test]
fn a_record_written_twice_after_a_failed_sync_is_one_dead_letter() {
    let requests = requests();
    let log = operations(&requests);
    // The first sync of records comes behind the first appends.
    let sync = log.iter().position(|op| *op == Op::Sync).unwrap();
    let storage = FaultyStorage::new();
    storage.fail_at(sync, Fault::Refused);
    let (kept, _) = run(&storage, &requests);
    let state = tempfile::tempdir().unwrap();
    let dir = state.path().join(DEAD_LETTERS_DIR);
    std::fs::create_dir(&dir).unwrap();
    storage.save(&dir);
    // The abandoned file has the records as well: its bytes were written, though nobody knows whether they are durable.
    let written: usize = files(state.path()).iter().map(|path| Segment::read(path).records.len()).sum();
    assert_eq!((written, kept.len()), (7 + 3, 7));
    let (letters, troubles) = read(state.path());
    assert_eq!((letters.len(), troubles), (7, Vec::new()));
    let records = list_dead_letters(&[state.path().to_owned()]).unwrap().sessions;
    let records: u64 = records.iter().flat_map(|session| &session.groups).map(|group| group.records).sum();
    assert_eq!(records, 7);
    let marks: Vec<_> = files(state.path()).iter().flat_map(|path| Segment::read(path).marks).collect();
    let abandoned = marks.iter().filter(|mark| matches!(mark, Mark::Abandoned(mark) if mark.segment_index == 0));
    assert_eq!(abandoned.count(), 1, "[F-29]");
}

/// A file of dead letters, and what it holds.
fn sound_file() -> (tempfile::TempDir, PathBuf, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let (mut letters, requests) = (on_disk(dir.path()), requests());
    assert_eq!(refuse(&mut letters, &requests, &|_, _| ()), Vec::new());
    let path = files(dir.path()).into_iter().find(|path| Segment::read(path).records.len() == 6).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    (dir, path, bytes)
}

#[test]
fn no_damage_gives_a_record_a_reason_or_an_origin_that_is_not_its_own() {
    let (dir, path, bytes) = sound_file();
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x40;
        std::fs::write(&path, damaged).unwrap();
        let (letters, troubles) = read(dir.path());
        assert!(!troubles.is_empty(), "byte {at}");
        for letter in letters.into_values() {
            match (letter.seq, letter.refusal) {
                (Some(seq), Some(refusal)) => {
                    assert_eq!(letter.bytes, counted(seq), "byte {at}");
                    let reason =
                        REFUSALS.iter().find(|(s, _, seqs)| Some(*s) == refusal.subject && seqs.contains(&seq));
                    assert_eq!(reason.unwrap().1, refusal.reason, "byte {at}");
                }
                // Its mark is lost; it isn't.
                (seq, refusal) => assert_eq!((seq, refusal), (None, None), "byte {at}"),
            }
        }
    }
}

#[test]
fn a_file_cut_anywhere_keeps_what_is_before_the_cut() {
    let (dir, path, bytes) = sound_file();
    let frames = Segment::read(&path).frames;
    for len in 0..bytes.len() {
        std::fs::write(&path, &bytes[..len]).unwrap();
        let found = check(dir.path()).into_iter().filter(|(subject, _)| *subject == SESSION).count();
        let before: u32 = frames.iter().rev().skip(1).filter(|frame| frame.0 < len as u64).map(|frame| frame.2).sum();
        assert!(found + 3 >= before as usize, "{found} of {before} at {len}");
        let _ = dead_letter_origins(&path).unwrap();
        // [F-30]: it has the name of a sealed file, so it was whole once. All but the trailer is as good as whole [F-26].
        let troubles = read(dir.path()).1;
        assert_eq!(troubles.len(), usize::from(len + 16 != bytes.len()), "{len} of {} bytes", bytes.len());
    }
}

/// Writes a segment with these marks, each ahead of three records.
fn hostile(state: &Path, marks: Vec<Refused>) -> PathBuf {
    let session = uuid::Uuid::from_u128(0x0193_5f6e_0000_7000_8000_0000_0000_0009);
    let header = SegmentHeader { session_id: session.as_bytes().to_vec(), ..SegmentHeader::default() };
    let dir = state.join(DEAD_LETTERS_DIR);
    let mut writer = SegmentWriter::create(Arc::new(Disk), &dir, session, header).unwrap();
    let mut seq = 0;
    for mark in marks {
        let message = MarkMessage { wall_clock_ns: i64::MIN, mark: Some(Mark::Refused(mark)) };
        let kind = sift_replay::format::Kind::Mark;
        writer.write(&mut PendingFrame::message(kind, seq, TimeRange::EMPTY, &message).unwrap()).unwrap();
        let mut buffer = vec![0; sift_replay::format::FRAME_HEADER_BYTES];
        (seq..seq + 3).for_each(|seq| sift_replay::format::put_record(&mut buffer, &counted(seq)));
        let raw_len = buffer.len() as u32 - sift_replay::format::FRAME_HEADER_BYTES as u32;
        let (kind, codec) = (sift_replay::format::Kind::Data, sift_replay::format::Codec::None);
        let (flags, count, times) = (0, 3, TimeRange::EMPTY);
        let mut frame = PendingFrame { kind, codec, flags, count, first_seq: seq, times, raw_len, buffer };
        writer.write(&mut frame).unwrap();
        seq += 3;
    }
    writer.seal().unwrap()
}

#[test]
fn marks_that_lie_cost_neither_memory_nor_a_panic_and_explain_only_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let all = SeqRange { first: 0, end: u64::MAX };
    let base = Refused { session_id: vec![1; 16], count: u64::MAX, seqs: vec![all], ..Refused::default() };
    let marks = vec![
        base.clone(),
        Refused { first_seq: u64::MAX, ..base.clone() },
        Refused {
            seqs: vec![SeqRange { first: 9, end: 3 }, SeqRange { first: 5, end: 6 }],
            first_seq: 6,
            ..base.clone()
        },
        Refused { first_seq: 10, count: 1, seqs: vec![all, all, all], ..base.clone() },
        Refused { session_id: vec![1; 5], pbfs_id: vec![2; 31], reason: "r".repeat(1 << 20), ..base },
    ];
    let path = hostile(dir.path(), marks);
    let (letters, troubles) = read(dir.path());
    assert_eq!(troubles, []);
    let seqs: Vec<_> = letters.values().map(|letter| letter.seq).collect();
    let none = None;
    let expected = [
        [Some(0), Some(1), Some(2)],
        [none, none, none],
        [Some(5), none, none],
        [none, Some(0), none],
        [Some(12), Some(13), Some(14)],
    ];
    assert_eq!(seqs, expected.concat());
    let list = list_dead_letters(&[dir.path().to_owned()]).unwrap();
    assert_eq!(list.sessions[0].groups.iter().map(|group| group.records).sum::<u64>(), 15);
    let reasons = list.sessions[0].groups.iter().filter_map(|group| group.refusal.as_ref());
    assert!(reasons.map(|refusal| refusal.reason.len()).max() <= Some(4096));
    let origins = dead_letter_origins(&path).unwrap();
    let pairs: Vec<_> = origins.iter().map(|origin| (origin.letters.clone(), origin.seqs.clone())).collect();
    assert_eq!(pairs, [(0..3, vec![0..3]), (6..7, vec![5..6]), (10..11, vec![0..1])], "no origin without a subject");
}

#[test]
fn copies_of_a_file_and_foreign_files_add_nothing() {
    let (dir, path, bytes) = sound_file();
    let copy = dir.path().join(DEAD_LETTERS_DIR).join("copy");
    std::fs::create_dir(&copy).unwrap();
    std::fs::write(copy.join(path.file_name().unwrap()), &bytes).unwrap();
    std::fs::write(copy.join("notes.txt"), "nothing").unwrap();
    std::fs::write(copy.join("empty"), "").unwrap();
    let (letters, troubles) = read(dir.path());
    assert_eq!((letters.len(), troubles), (7, Vec::new()));
    assert!(list_dead_letters(&[dir.path().join("none"), PathBuf::from("/nonexistent")]).unwrap().sessions.is_empty());
}
