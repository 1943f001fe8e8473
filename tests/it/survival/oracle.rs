//! Random recordings, files, refusals, faults and kills, from a seed; then peace; then the promises 2 to 6.
//!
//! `SIFT_REPLAY_ORACLE_ROUNDS` sets the number of rounds, `SIFT_REPLAY_ORACLE_SEED` the first seed: a failure tells the
//! seed to give.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use tonic::Status;

use super::refusals::{self, key};
use super::support::{IN_FLIGHT, PER_WINDOW, Station};
use crate::support::backup::Backup;
use crate::support::faulty::{CallFate, Fate, Server, rate_limited};
use crate::support::proxy::{BOTH, Proxy, Way};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap())
}

#[test]
#[allow(clippy::print_stderr, reason = "shown only when it fails")]
fn whatever_happens_everything_readable_is_delivered_or_dead_lettered_and_nothing_else_is() {
    let first = number("SIFT_REPLAY_ORACLE_SEED", 1000);
    for seed in first..first + number("SIFT_REPLAY_ORACLE_ROUNDS", 8) {
        eprintln!("seed {seed}");
        round(seed);
    }
}

/// Something goes wrong with the line or the server; none of it lasts longer than the program waits.
fn disturb(rng: &mut Rng, server: &Arc<Server>, proxy: &Arc<Proxy>) {
    let (proxy, server) = (proxy.clone(), server.clone());
    let way = BOTH[rng.usize(..2)];
    match rng.usize(..12) {
        0 => proxy.reset_all(),
        1 => proxy.half_close(way),
        2 => proxy.cut_after(way, rng.u64(1..20_000)),
        3 => proxy.delay(&BOTH, Duration::from_millis(rng.u64(1..10))),
        4 => {
            proxy.drop_answers();
            proxy.pass_new();
        }
        5 => proxy.hold(&[Way::Down]),
        6 => {
            proxy.refuse();
            proxy.reset_all();
        }
        7 => server.next_streams([Fate::RefusedAtEnd(Status::unavailable("busy")), Fate::Reset]),
        8 => server.next_streams([Fate::Silent]),
        9 => server.next_streams([Fate::RefusedAfter(rng.u64(1..9), rate_limited(Duration::from_millis(30)))]),
        10 => server.next_calls("*", 2, CallFate::DoneBut(Status::unavailable("busy"))),
        _ => server.kill(),
    }
}

/// All faults end; what is refused for good stays so.
fn peace(station: &Station, refused: &HashSet<(String, i128)>) {
    station.faulty.heal();
    refusals::refuse(&station.faulty, refused);
    if station.faulty.is_dead() {
        station.faulty.revive();
    }
    station.proxy.pass();
}

fn round(seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let station = Station::new(|dir| Backup::random(dir, &mut rng));
    let story = || format!("seed {seed}: {:?}", station.backup.sources.iter().map(|s| &s.done).collect::<Vec<_>>());
    let share = [0, 0, 5, 100][rng.usize(..4)];
    let refused: HashSet<_> = station.backup.readable().filter(|_| rng.u32(..1000) < share).map(key).collect();
    refusals::refuse(&station.faulty, &refused);

    let (mut retries, mut kills) = (0, 0);
    for _ in 0..rng.u64(1..4) {
        let client = station.start();
        for _ in 0..rng.u64(0..3) {
            let (server, proxy) = (Arc::downgrade(&station.faulty.server()), station.proxy.clone());
            let mut rng = rng.fork();
            station.faulty.after(rng.u64(0..300), move || {
                if let Some(server) = server.upgrade() {
                    disturb(&mut rng, &server, &proxy);
                }
            });
        }
        if rng.bool() {
            station.faulty.after(rng.u64(0..400), client.killer());
        }
        // It gets through, or is stuck in a fault, which ends then; or soon, if it waits for something longer.
        let _ = client.tells_within("retrying", Duration::from_secs(1));
        peace(&station, &refused);
        let ended = client.wait();
        retries += ended.retries();
        kills += u64::from(ended.code.is_none());
        // Promise 4, at any time.
        station.check_checkpoints();
    }
    peace(&station, &refused);
    let ended = station.run();
    station.settle();

    // Promise 5.
    assert!(matches!(ended.code, Some(0 | 3)), "{}: {:?}\n{}", story(), ended.code, ended.stderr);
    refusals::check(&station, &refused);
    // Promise 2.
    station.check_nothing_invented();
    let seen = station.faulty.seen();
    if refused.is_empty() {
        let most = kills * IN_FLIGHT + (retries + ended.retries()) * PER_WINDOW;
        assert!(seen.duplicates() <= most, "{}: {} duplicates, {most} allowed", story(), seen.duplicates());
    }
    // Promise 3, as far as the catalog can know it.
    let mut missing = ended.missing();
    let mut expected: Vec<_> = Vec::new();
    for source in &station.backup.sources {
        expected.extend(source.missing.iter().map(|seqs| (source.session.unwrap(), seqs.clone())));
    }
    missing.sort_by_key(|(session, seqs)| (*session, seqs.start));
    expected.sort_by_key(|(session, seqs)| (*session, seqs.start));
    assert_eq!(missing, expected, "{}", story());
    // The exit code: damage beside a whole copy may go unnoticed.
    let damaged = station.backup.sources.iter().any(|source| source.damaged == Some(true));
    let maybe_damaged = station.backup.sources.iter().any(|source| source.damaged.is_some());
    if damaged || !expected.is_empty() {
        assert_eq!(ended.code, Some(3), "{}", story());
    } else if !maybe_damaged && refused.is_empty() {
        assert_eq!(ended.code, Some(0), "{}\n{}", story(), ended.stderr);
    }
    // Nothing is sent once more.
    let messages = seen.messages;
    let again = station.run();
    station.settle();
    assert_eq!((again.code, station.faulty.seen().messages), (ended.code, messages), "{}", story());
}
