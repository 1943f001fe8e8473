//! Power cuts and failing operations at every point of a repair: nothing that could be read before can't be read after, the
//! original is whole, and doing it again completes it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sift_replay::segment::{
    DAMAGED_SUFFIX, Loss, MENDING_SUFFIX, Repair, RepairError, RepairTo, SimDisk, SimFault, SimFiles, repair_pbfs,
    repair_segment,
};

use crate::support::repairing::{File, Shape, one, out};
use crate::support::sound::find;

/// What is repaired, and where to.
struct Case {
    name: &'static str,
    file: File,
    in_place: bool,
}

impl Case {
    fn to<'a>(&self, dir: &'a Path) -> RepairTo<'a> {
        if self.in_place { RepairTo::InPlace } else { RepairTo::Dir(dir) }
    }

    fn is_pbfs(&self) -> bool {
        self.name.contains("PBFS")
    }

    fn start(&self) -> SimDisk {
        SimDisk::of(SimFiles::from([(self.file.path.clone(), self.file.bytes.clone())]))
    }

    fn repair(&self, disk: &SimDisk, path: &Path) -> Result<(), RepairError> {
        let (dir, mut lost) = (out(), |_: Loss| {});
        let mut repair = Repair::new(disk, self.to(&dir), &mut lost);
        if self.is_pbfs() {
            repair_pbfs(path, &mut repair)?
        } else {
            repair_segment(path, &mut repair)?
        };
        Ok(())
    }

    /// Repairs all that a search for recordings would find, as the command does.
    fn repair_all(&self, disk: &SimDisk) {
        for path in readable(&disk.image().all()) {
            if path.starts_with(out()) {
                continue;
            }
            match self.repair(disk, &path) {
                Err(error) if !error.is_not_found() => panic!("{}: {error}", self.name),
                _ => {}
            }
        }
    }

    /// What can be read: records by seq, or chunks of a PBFS file, each once.
    fn read(&self, files: &SimFiles) -> BTreeMap<u64, Vec<u8>> {
        let mut read = BTreeMap::new();
        for path in readable(files) {
            let bytes = &files[&path];
            let records: Vec<_> = if self.is_pbfs() { messages(bytes) } else { find(&path, bytes).records };
            for (seq, record) in records {
                let first = read.entry(seq).or_insert_with(|| record.clone());
                assert!(*first == record, "{}: {seq} stands there twice, differently", self.name);
            }
        }
        read
    }
}

/// [F-42]
fn readable(files: &SimFiles) -> Vec<PathBuf> {
    let passed_over = |path: &Path| {
        let name = path.to_str().unwrap();
        name.ends_with(DAMAGED_SUFFIX) || name.ends_with(MENDING_SUFFIX)
    };
    files.keys().filter(|path| !passed_over(path)).cloned().collect()
}

/// The messages of a PBFS file's sound chunks, numbered by what they are: copies count once.
fn messages(bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
    use sift_replay::segment::{PbfsEvent, PbfsReader};
    let file = std::io::Cursor::new(bytes.to_vec());
    let (mut reader, mut messages) = (PbfsReader::from_reader(Path::new("x"), Box::new(file)), Vec::new());
    while let Some(event) = reader.next_event().unwrap() {
        if let PbfsEvent::Chunk(chunk) = event {
            messages.extend(chunk.messages().map(|message| (u64::from(crc32fast::hash(message)), message.to_vec())));
        }
    }
    messages
}

fn cases() -> Vec<Case> {
    let [sealed, open] = one(Shape { frames: 3, ..Shape::SMALL });
    let mut torn = open.bytes.clone();
    torn.truncate(torn.len() - 30);
    let damaged = |file: &File| {
        let mut bytes = file.bytes.clone();
        let at = file.find().offsets[1] as usize + 80;
        bytes[at] ^= 1;
        file.with(bytes)
    };
    let pbfs =
        std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/pbfs/s2_all_types_run.pbfs")).unwrap();
    let mut pbfs = File { path: "in/backup-17".into(), bytes: pbfs[..pbfs.len() / 40].to_vec() };
    pbfs.bytes[1200] ^= 1;
    let mut cases = Vec::new();
    for in_place in [false, true] {
        cases.extend([
            Case { name: "sound", file: sealed.clone(), in_place },
            Case { name: "damaged", file: damaged(&sealed), in_place },
            Case { name: "torn", file: open.with(torn.clone()), in_place },
            Case { name: "open and damaged", file: damaged(&open), in_place },
            Case { name: "PBFS", file: pbfs.clone(), in_place },
        ]);
    }
    cases
}

/// Nothing is lost at any point: as much can be read as before, and the original's bytes are there under one of its names.
#[track_caller]
fn check(case: &Case, files: &SimFiles, before: &BTreeMap<u64, Vec<u8>>, what: &str) {
    let aside = PathBuf::from(format!("{}{DAMAGED_SUFFIX}", case.file.path.display()));
    let original = files.get(&case.file.path) == Some(&case.file.bytes) || files.get(&aside) == Some(&case.file.bytes);
    assert!(original, "{what}: the original isn't whole: {:?}", files.keys());
    assert!(case.read(files) == *before, "{what}: something else can be read than before");
}

/// Doing it again ends as it would have ended.
#[track_caller]
fn check_again(case: &Case, files: SimFiles, end: &SimFiles, what: &str) {
    let disk = SimDisk::of(files);
    case.repair_all(&disk);
    let now = disk.image();
    assert!(now.all() == *end, "{what}: {:?} isn't {:?}", now.all().keys(), end.keys());
    assert!(now.least() == *end, "{what}: the end isn't durable");
}

/// What a repair that isn't disturbed leaves.
fn end_of(case: &Case) -> (SimDisk, SimFiles) {
    let disk = case.start();
    case.repair_all(&disk);
    let end = disk.image().all();
    assert!(disk.image().least() == end, "{}: the end isn't durable", case.name);
    assert_eq!(disk.violations(), Vec::<String>::new());
    (disk, end)
}

#[test]
fn a_power_cut_at_any_operation_leaves_the_original_and_no_less_to_read() {
    for case in cases() {
        let before = case.read(&case.start().image().all());
        let (_, end) = end_of(&case);
        let disk = case.start();
        let states = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let seen = states.clone();
        disk.watch(move |number, image| seen.lock().unwrap().push((number, image.clone())));
        case.repair_all(&disk);
        let mut states = std::mem::take(&mut *states.lock().unwrap());
        states.push((states.len(), disk.image()));
        assert!(states.len() > 4 || case.name == "sound");
        for (number, image) in states {
            let survivors = [image.least(), image.all()].into_iter().chain((0..24).map(|seed| image.survivor(seed)));
            for (survivor, files) in survivors.enumerate() {
                let what = format!("{} (in place: {}), cut at {number}, {survivor}", case.name, case.in_place);
                check(&case, &files, &before, &what);
                check_again(&case, files, &end, &what);
            }
        }
    }
}

#[test]
fn a_failing_operation_leaves_the_original_and_no_less_to_read_and_is_told() {
    for case in cases() {
        let before = case.read(&case.start().image().all());
        let (disk, end) = end_of(&case);
        for number in 0..disk.log().len() {
            for fault in [SimFault::Refused, SimFault::Short(5)] {
                for dead in [false, true] {
                    let what = format!("{} (in place: {}), {fault:?} at {number}, {dead}", case.name, case.in_place);
                    let disk = case.start();
                    disk.fail_at(number, fault);
                    if dead {
                        disk.die_at(number + 1);
                    }
                    let result = case.repair(&disk, &case.file.path);
                    // What is left of a draft that couldn't be removed is nobody's.
                    assert!(matches!(result, Err(RepairError::Write(_))), "{what}: {result:?}");
                    assert_eq!(disk.violations(), Vec::<String>::new(), "{what}");
                    let image = disk.image();
                    for files in [image.all(), image.least(), image.survivor(7)] {
                        check(&case, &files, &before, &what);
                        check_again(&case, files, &end, &what);
                    }
                }
            }
        }
    }
}

#[test]
fn a_full_disk_is_told_and_nothing_is_left_of_the_attempt() {
    for case in cases().iter().filter(|case| !(case.in_place && case.name == "sound")) {
        let disk = case.start();
        disk.set_capacity(Some(case.file.bytes.len() as u64 + 100));
        match case.repair(&disk, &case.file.path) {
            Err(RepairError::Write(error)) => assert!(error.is_out_of_space(), "{error}"),
            other => panic!("{}: {other:?}", case.name),
        }
        assert_eq!(disk.image().all(), case.start().image().all(), "{}", case.name);
    }
}

#[test]
fn a_draft_that_an_interrupted_repair_has_left_is_replaced() {
    for case in cases().iter().filter(|case| !(case.in_place && case.name == "sound")) {
        let (_, end) = end_of(case);
        let target = end.keys().find(|path| **path != case.file.path && !path.to_str().unwrap().ends_with("damaged"));
        let target = target.unwrap_or(&case.file.path);
        let draft = PathBuf::from(format!("{}{MENDING_SUFFIX}", target.display()));
        let mut files = case.start().image().all();
        files.insert(draft, b"garbage".to_vec());
        check_again(case, files, &end, case.name);
    }
}
