//! The made backups themselves: today's replay, without any fault, delivers and misses exactly what they say.

use fastrand::Rng;
use sift_replay::replay::ReplayOptions;

use crate::support::backup::{Backup, unacknowledged};
use crate::support::destination::{block_on, replay_to};
use crate::support::faulty::Faulty;

#[test]
fn what_a_made_backup_says_of_itself_is_so() {
    let (mut missing, mut torn, mut copies, mut pbfs) = (0, 0, 0, 0);
    for seed in 0..20 {
        let dir = tempfile::tempdir().unwrap();
        let backup = Backup::random(dir.path(), &mut Rng::with_seed(seed));
        let context = || format!("seed {seed}: {:?}", backup.sources.iter().map(|s| &s.done).collect::<Vec<_>>());
        block_on(async {
            let faulty = Faulty::start();
            let replayed = replay_to(faulty.uri(), &[dir.path()], &ReplayOptions::default()).await;
            let seen = faulty.seen();
            assert_eq!(unacknowledged(backup.readable(), &seen).len(), 0, "{}", context());
            let readable: std::collections::HashSet<_> = backup.readable().collect();
            let invented: Vec<_> = seen.records.keys().filter(|record| !readable.contains(record)).collect();
            assert!(invented.is_empty(), "{}: {invented:?}", context());
            let mut expected: Vec<_> = backup.sources.iter().flat_map(|source| source.missing.clone()).collect();
            let mut told = replayed.missing();
            expected.sort_by_key(|seqs| (seqs.start, seqs.end));
            told.sort_by_key(|seqs| (seqs.start, seqs.end));
            assert_eq!(told, expected, "{}", context());
            let damaged =
                |as_said: fn(bool) -> bool| backup.sources.iter().any(|source| source.damaged.is_some_and(as_said));
            let found = replayed.report.totals.damaged_places > 0;
            assert!(found || !damaged(|certainly| certainly), "{}", context());
            assert!(!found || damaged(|_| true), "{}: {:?}", context(), replayed.told);
            missing += expected.len();
            torn += usize::from(replayed.report.totals.torn_files > 0);
        });
        copies += backup.sources.iter().filter(|source| source.done.iter().any(|done| done.contains("copied"))).count();
        pbfs += backup.sources.iter().filter(|source| source.session.is_none()).count();
    }
    // The seeds have some of everything.
    assert!(missing > 2 && torn > 2 && copies > 2 && pbfs > 2, "{missing} {torn} {copies} {pbfs}");
}
