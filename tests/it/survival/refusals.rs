//! Records that are refused for good: they alone, and with the reason.

use std::collections::HashSet;

use tonic::Status;

use super::support::Station;
use crate::support::faulty::{RecordId, Server};

/// Records of each session.
const EACH: u64 = 500;

/// Refuses these for good.
pub(super) fn refuse(server: &Server, refused: &HashSet<(String, i128)>) {
    let refused = refused.clone();
    server.refuse(move |request| {
        let time = request.timestamp.as_ref()?;
        let key = (request.flow.clone(), i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos));
        refused.contains(&key).then(|| Status::invalid_argument(format!("{} is not wanted", key.1)))
    });
}

pub(super) fn key(record: &RecordId) -> (String, i128) {
    (record.flow.clone(), record.time)
}

/// That the dead letters are exactly these, and all others are acknowledged.
#[track_caller]
pub(super) fn check(station: &Station, refused: &HashSet<(String, i128)>) {
    let seen = station.faulty.seen();
    for record in station.backup.readable() {
        let is_refused = refused.contains(&key(record));
        assert_eq!(seen.is_acknowledged(record), !is_refused, "{record:?}");
    }
    let mut expected: Vec<_> = Vec::new();
    for source in &station.backup.sources {
        for (seq, record) in source.records.iter().enumerate() {
            if source.session.is_some() && source.readable.contains(&(seq as u64)) && refused.contains(&key(record)) {
                expected.push((source.session, seq as u64));
            }
        }
    }
    let mut letters: Vec<_> = station.dead_letters().into_iter().filter(|(session, _)| session.is_some()).collect();
    expected.sort_unstable();
    letters.sort_unstable();
    // A kill between a letter and its checkpoint may leave a second one; none is lost.
    letters.dedup();
    assert_eq!(letters, expected);
    station.check_checkpoints();
}

#[test]
fn refused_records_are_dead_lettered_alone_and_the_rest_arrives() {
    let mut rng = fastrand::Rng::with_seed(3);
    for (share, most_streams_each) in [(1, 20.0), (30, 8.0), (500, 4.0), (1000, 2.5)] {
        let station = Station::sound(2, EACH);
        let refused: HashSet<_> = station.backup.readable().filter(|_| rng.u32(..1000) < share).map(key).collect();
        refuse(&station.faulty, &refused);
        let ended = station.run();
        station.settle();
        let expected = if refused.is_empty() { 0 } else { 3 };
        assert_eq!(ended.code, Some(expected), "{}", ended.stderr);
        assert_eq!(ended.summary()["records_dead_lettered"], refused.len());
        assert_eq!(ended.summary()["records_acknowledged"], 2 * EACH as usize - refused.len());
        check(&station, &refused);
        let seen = station.faulty.seen();
        let streams = seen.streams as f64 - (2 * EACH) as f64 / 10.0;
        let each = streams / refused.len().max(1) as f64;
        assert!(each <= most_streams_each, "{share}: {each} streams for each refused record");
        // They aren't tried again.
        let messages = seen.messages;
        station.run();
        station.settle();
        assert_eq!(station.faulty.seen().messages, messages);
    }
}
