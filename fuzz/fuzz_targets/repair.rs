//! Repairing: whatever happened to a file, what is made of it is sound, holds every sound record, and the original stays;
//! a disk that fails, and power that is lost meanwhile, cost nothing that could be read before ([F-42]).
//!
//! The first byte says what the input is: even: how to mend checksums, where to, and a file; odd: a file's parts, and what
//! happens to it.

#![no_main]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use libfuzzer_sys::fuzz_target;
use sift_replay::format::SegmentHeader;
use sift_replay::segment::{
    Condition, Loss, Repair, RepairError, RepairTo, Repaired, SimDisk, SimFault, SimFiles, pbfs_to_segment,
    repair_pbfs, repair_segment,
};
use sift_replay_fuzz::segment::{Found, Plan, SESSION, What, id_of, oracle};
use sift_replay_fuzz::{Arbitrary, Change, Unstructured, apply, memory, mend, pbfs};

fuzz_target!(|input: &[u8]| {
    let Some((&mode, rest)) = input.split_first() else { return };
    if mode & 1 == 1 {
        if let Ok(case) = Case::arbitrary_take_rest(Unstructured::new(rest)) {
            case.check();
        }
        return;
    }
    let Some((&which, file)) = rest.split_first() else { return };
    let mut file = file.to_vec();
    if mode & 2 != 0 {
        mend(&mut file, (mode & 4 != 0).then(|| id_of(SESSION, 0)), u64::from_le_bytes([which; 8]), mode & 8 == 0);
    }
    let name = match mode >> 6 {
        0 => "unnamed".to_owned(),
        1 => format!("{SESSION}-000000.sfr.open"),
        _ => format!("{SESSION}-000000.sfr"),
    };
    segment(&Work { name, file, in_place: mode & 16 != 0, fault: None, cut: 0 });
});

#[derive(Debug, Arbitrary)]
struct Case {
    plan: Plan,
    pbfs: Option<pbfs::Plan>,
    changes: Vec<Change>,
    open_name: bool,
    in_place: bool,
    fault: Option<(u8, Option<u8>)>,
    cut: u64,
}

impl Case {
    fn check(&self) {
        let (name, mut file) = match &self.pbfs {
            Some(plan) => ("backup".to_owned(), plan.write().0),
            None => {
                let suffix = if self.open_name { "sfr.open" } else { "sfr" };
                (format!("{SESSION}-{:06}.{suffix}", self.plan.index()), self.plan.write(false).bytes)
            }
        };
        apply(&self.changes, &mut file, &self.plan.write(true).bytes);
        let work = Work { name, file, in_place: self.in_place, fault: self.fault, cut: self.cut };
        match &self.pbfs {
            Some(_) => backup(&work),
            None => segment(&work),
        }
    }
}

/// A file that is repaired.
struct Work {
    name: String,
    file: Vec<u8>,
    in_place: bool,
    /// Which operation fails, and how.
    fault: Option<(u8, Option<u8>)>,
    cut: u64,
}

type Mend = fn(&Path, &mut Repair<'_>) -> Result<Repaired, RepairError>;

impl Work {
    fn path(&self) -> PathBuf {
        Path::new("/in").join(&self.name)
    }

    fn to(&self) -> RepairTo<'static> {
        if self.in_place { RepairTo::InPlace } else { RepairTo::Dir(Path::new("/out")) }
    }

    /// Repairs a file of this disk.
    fn mend(&self, disk: &SimDisk, path: &Path, mend: Mend) -> (Result<Repaired, RepairError>, Vec<Loss>) {
        let mut losses = Vec::new();
        let mut lost = |loss| losses.push(loss);
        let most = memory::for_reading(self.file.len() * 4);
        let result = memory::within(most, "repairing", || mend(path, &mut Repair::new(disk, self.to(), &mut lost)));
        (result, losses)
    }

    fn disk(&self) -> SimDisk {
        SimDisk::of([(self.path(), self.file.clone())].into())
    }

    /// Repairs it while something goes wrong, and power is lost behind that: all that could be read can still be read; and
    /// doing it again completes it.
    fn interrupted(&self, mend: Mend, holds: &dyn Fn(&SimFiles) -> bool, done: &Repaired) {
        let Some((number, short)) = self.fault else { return };
        let disk = self.disk();
        disk.fail_at(number.into(), short.map_or(SimFault::Refused, |bytes| SimFault::Short(bytes.into())));
        let failed = self.mend(&disk, &self.path(), mend).0.is_err();
        assert!(holds(&disk.image().all()), "after an error: {failed}");
        for files in [disk.image().least(), disk.image().survivor(self.cut)] {
            assert!(holds(&files), "after a power cut");
        }
        assert_eq!(disk.violations(), Vec::<String>::new());
        let again = SimDisk::of(disk.image().survivor(self.cut));
        if again.image().all().contains_key(&self.path()) {
            let (result, _) = self.mend(&again, &self.path(), mend);
            let repaired = result.expect("a disk that doesn't fail");
            assert_eq!(repaired.path.is_some(), done.path.is_some());
            assert!(holds(&again.image().all()), "after repairing again");
        }
    }
}

fn unread(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "damaged" || ending == "mending")
}

fn name_of(path: &Path) -> &str {
    path.file_name().expect("a name").to_str().expect("a text")
}

/// All records of a segment, by seq.
fn records(found: &[Found]) -> BTreeMap<u64, Vec<u8>> {
    let mut all = BTreeMap::new();
    for found in found {
        if let What::Records { first_seq, records, .. } = &found.what {
            all.extend((*first_seq..).zip(records.iter().cloned()));
        }
    }
    all
}

fn is_lost(found: &Found) -> bool {
    matches!(found.what, What::Damage { .. } | What::Torn { .. })
}

/// What isn't made anew: all but HEADER, SEAL (also those that this version can't read), and what is lost.
fn kept<'a>(file: &[u8], found: &'a [Found]) -> Vec<&'a What> {
    let of = |found: &&Found| !is_lost(found) && !matches!(file.get(found.offset as usize + 8), Some(1 | 5));
    found.iter().filter(of).map(|found| &found.what).collect()
}

fn segment(work: &Work) {
    let who = oracle::identify(&work.name, &work.file);
    let before = oracle::read(&work.file, who.id);
    let disk = work.disk();
    let (result, losses) = work.mend(&disk, &work.path(), repair_segment);
    let repaired = result.expect("a disk that doesn't fail");
    let files = disk.image().least();
    let original = repaired.original.clone().unwrap_or_else(|| work.path());
    assert_eq!(files.get(&original), Some(&work.file), "the original stays");
    assert_eq!(repaired.records, records(&before).len() as u64);
    let lost: u64 = before.iter().filter(|found| is_lost(found)).map(|found| found.len).sum();
    assert_eq!(repaired.losses.bytes + repaired.losses.torn_bytes, lost, "what is lost is told");
    let told = losses.iter().map(|loss| match loss {
        Loss::Damage(damage) => (damage.offset, damage.len),
        Loss::Torn(torn) => (torn.offset, torn.len),
    });
    let places: Vec<_> = before.iter().filter(|found| is_lost(found)).map(|found| (found.offset, found.len)).collect();
    assert_eq!(told.collect::<Vec<_>>(), places, "where it is lost is told");
    let all = records(&before);
    let holds = |files: &SimFiles| {
        let mut found = BTreeMap::new();
        for (path, bytes) in files.iter().filter(|(path, _)| !unread(path)) {
            let name = name_of(path);
            let who = oracle::identify(name, bytes);
            found.extend(records(&oracle::read(bytes, who.id)));
        }
        all.iter().all(|(seq, record)| found.get(seq) == Some(record))
    };
    let Some(path) = &repaired.path else {
        assert_eq!(repaired.condition, Condition::Nothing);
        assert!(all.is_empty(), "records are left out");
        return;
    };
    assert!(holds(&files));
    let mended = &files[path];
    if repaired.condition == Condition::Sound {
        assert_eq!(mended, &work.file, "what is sound is copied");
        assert_eq!(lost, 0);
    }
    sound(name_of(path), mended, &kept(&work.file, &before));
    // Once more: nothing is left to do.
    let (again, losses) = work.mend(&disk, path, repair_segment);
    let again = again.expect("a disk that doesn't fail");
    assert_eq!((again.condition, losses.len()), (Condition::Sound, 0), "what was repaired is sound");
    if !work.in_place {
        let twice = work.mend(&disk, &work.path(), repair_segment).0.expect("a disk that doesn't fail");
        assert!(twice.already_there, "it is there already");
    }
    work.interrupted(repair_segment, &holds, &repaired);
}

/// Sealed, undamaged, with everything that was sound before, and a SEAL that tells the truth.
fn sound(name: &str, mended: &[u8], kept_before: &[&What]) {
    let who = oracle::identify(name, mended);
    let after = oracle::read(mended, who.id);
    assert!(!after.iter().any(is_lost), "{after:?}");
    let seal = who.seal.expect("it is sealed");
    let kept_after = kept(mended, &after);
    // Flows that only SEAL had told of have a SCHEMA at the beginning, and a note at the end tells what was left out.
    let only = |rest: &[&What]| match rest {
        [] => true,
        [What::Schema(_)] => kept_after.first() == rest.first(),
        [What::Mark(_)] => kept_after.last() == rest.first(),
        _ => false,
    };
    let fits = (0..=kept_after.len().saturating_sub(kept_before.len())).any(|begin| {
        let (new, rest) = kept_after.split_at(begin);
        rest.get(..kept_before.len()) == Some(kept_before) && only(new) && only(&rest[kept_before.len()..])
    });
    assert!(fits, "{kept_after:?} instead of {kept_before:?}");
    assert!(seal.records >= records(&after).len() as u64);
    for (seq, _) in records(&after) {
        assert!(seq < seal.end_seq, "seq {seq} isn't ahead of SEAL's end");
    }
    for entry in &seal.index {
        let at = after.iter().find(|found| found.offset == entry.offset).expect("an entry points at a frame");
        if let What::Records { first_seq, .. } = &at.what {
            assert_eq!(*first_seq, entry.first_seq);
        }
    }
}

fn messages(found: &[pbfs::Found]) -> Vec<Vec<u8>> {
    let chunks = found.iter().filter_map(|found| match &found.what {
        pbfs::What::Chunk(messages) => Some(messages.clone()),
        _ => None,
    });
    chunks.flatten().collect()
}

fn backup(work: &Work) {
    let before = pbfs::oracle(&work.file);
    let disk = work.disk();
    let (result, losses) = work.mend(&disk, &work.path(), repair_pbfs);
    let repaired = result.expect("a disk that doesn't fail");
    let files = disk.image().least();
    let original = repaired.original.clone().unwrap_or_else(|| work.path());
    assert_eq!(files.get(&original), Some(&work.file), "the original stays");
    let lost = before.iter().filter(|found| !matches!(found.what, pbfs::What::Chunk(_))).count();
    assert_eq!(losses.len(), lost);
    let all = messages(&before);
    if let Some(path) = &repaired.path {
        let after = pbfs::oracle(&files[path]);
        assert!(after.iter().all(|found| matches!(found.what, pbfs::What::Chunk(_))), "{after:?}");
        assert_eq!(messages(&after), all);
        let again = work.mend(&disk, path, repair_pbfs).0.expect("a disk that doesn't fail");
        assert_eq!(again.condition, Condition::Sound, "what was repaired is sound");
    } else {
        assert!(all.is_empty(), "messages are left out");
    }
    let holds = |files: &SimFiles| {
        let readable = files.iter().filter(|(path, _)| !unread(path));
        all.is_empty() || readable.map(|(_, bytes)| messages(&pbfs::oracle(bytes))).any(|found| found == all)
    };
    work.interrupted(repair_pbfs, &holds, &repaired);

    // As a segment.
    let disk = work.disk();
    let to_segment: Mend =
        |path, repair| pbfs_to_segment(path, Path::new("/out"), SESSION, SegmentHeader::default(), repair);
    let repaired = work.mend(&disk, &work.path(), to_segment).0.expect("a disk that doesn't fail");
    let files = disk.image().least();
    assert_eq!(files.get(&work.path()), Some(&work.file), "the original stays");
    if let Some(path) = repaired.path {
        let after = oracle::read(&files[&path], Some(id_of(SESSION, 0)));
        assert!(!after.iter().any(is_lost), "{after:?}");
        let expected: BTreeMap<u64, Vec<u8>> = (0..).zip(all).collect();
        assert_eq!(records(&after), expected, "messages are records, in order");
    } else {
        assert!(all.is_empty(), "messages are left out");
    }
}
