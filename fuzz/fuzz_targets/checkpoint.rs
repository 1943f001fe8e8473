//! Checkpoint journals: what is known is what stands in sound frames, and nothing else ([F-39], [F-40]); several journals
//! add up; reading, replacing and writing lose nothing and make nothing up.
//!
//! The first byte says what the input is: even: how to mend, and a journal; odd: journals' parts, and what happens to
//! them.

#![no_main]

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use libfuzzer_sys::fuzz_target;
use sift_replay::replay::{Checkpoint, Checkpoints, StateDirs};
use sift_replay::segment::{SimDisk, SimFiles, Storage};
use sift_replay_fuzz::checkpoint::{Fact, Journal, Known, oracle};
use sift_replay_fuzz::segment::{SESSION, id_of};
use sift_replay_fuzz::{Arbitrary, Change, Unstructured, apply, memory, mend};
use uuid::Uuid;

const DIR: &str = "/nowhere/state";

fuzz_target!(|input: &[u8]| {
    let Some((&mode, rest)) = input.split_first() else { return };
    if mode & 1 == 1 {
        if let Ok(case) = Case::arbitrary_take_rest(Unstructured::new(rest)) {
            made(&case);
        }
        return;
    }
    let Some((&which, file)) = rest.split_first() else { return };
    let mut file = file.to_vec();
    let id = (mode & 4 != 0).then(|| id_of(SESSION, 0));
    if mode & 2 != 0 {
        mend(&mut file, id, u64::from_le_bytes([which; 8]), mode & 8 == 0);
    }
    let name = if id.is_some() { format!("{SESSION}.sfj") } else { "a copy.sfj".to_owned() };
    check(vec![(name, id, file)], &[]);
});

#[derive(Debug, Arbitrary)]
struct Case {
    journals: Vec<(Journal, Vec<Change>)>,
    more: Vec<Fact>,
}

fn made(case: &Case) {
    let mut files = Vec::new();
    for (i, (journal, changes)) in case.journals.iter().take(4).enumerate() {
        let uuid = Uuid::from_u128(SESSION.as_u128() ^ i as u128);
        let (mut bytes, written) = journal.write(uuid);
        let mut known = Known::default();
        oracle(&bytes, Some(id_of(uuid, 0)), &mut known);
        assert_eq!(known, written, "the text's reader errs");
        apply(changes, &mut bytes, &journal.write(Uuid::from_u128(7)).0);
        files.push((format!("{uuid}.sfj"), Some(id_of(uuid, 0)), bytes));
    }
    let more: Vec<_> = case.more.iter().map(Fact::checkpoint).collect();
    check(files, &more);
}

fn path(name: &str) -> PathBuf {
    Path::new(DIR).join("checkpoints").join(name)
}

fn dirs() -> StateDirs {
    StateDirs::resolve_in(&[], Some(Path::new(DIR)), None)
}

fn check(files: Vec<(String, Option<u64>, Vec<u8>)>, more: &[(sift_replay::replay::Target, Checkpoint)]) {
    let (mut known, mut stay, mut on_disk) = (Known::default(), Vec::new(), SimFiles::new());
    for (name, id, bytes) in files {
        let mut alone = Known::default();
        let whole = oracle(&bytes, id, &mut alone);
        oracle(&bytes, id, &mut known);
        let only: Arc<dyn Storage> = Arc::new(SimDisk::of([(path(&name), bytes.clone())].into()));
        let looked =
            memory::within(memory::for_reading(bytes.len()), "a journal", || Checkpoints::look(&only, &dirs()));
        alone.compare(&looked);
        if !whole {
            stay.push((path(&name), bytes.clone()));
        }
        on_disk.insert(path(&name), bytes);
    }
    let disk = SimDisk::of(on_disk);
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    known.compare(&Checkpoints::look(&storage, &dirs()));
    // Replacing them, and saving more, twice.
    for round in 0..2 {
        let checkpoints = Checkpoints::open(storage.clone(), dirs()).expect("a disk that doesn't fail");
        known.compare(&checkpoints);
        if round == 0 {
            for (target, fact) in more {
                block_on(checkpoints.save(target, vec![fact.clone()])).expect("a disk that doesn't fail");
                known.add(target.as_str(), fact);
            }
        }
        known.compare(&checkpoints);
        drop(checkpoints);
        known.compare(&Checkpoints::look(&storage, &dirs()));
        let left = disk.image().least();
        let journals = left.keys().filter(|path| path.extension().is_some_and(|ending| ending == "sfj"));
        assert_eq!(journals.count(), stay.len() + 1, "what is wholly known is replaced");
        for (path, bytes) in &stay {
            assert_eq!(left.get(path), Some(bytes), "what a later version wrote stays");
        }
        // A power cut costs nothing that was saved.
        let survivors: Arc<dyn Storage> = Arc::new(SimDisk::of(left));
        known.compare(&Checkpoints::look(&survivors, &dirs()));
    }
    assert_eq!(disk.violations(), Vec::<String>::new());
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let (mut future, mut context) = (pin!(future), Context::from_waker(&waker));
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(done) => return done,
            Poll::Pending => thread::park(),
        }
    }
}
