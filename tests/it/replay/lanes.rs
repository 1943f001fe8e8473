//! Lanes, and the windows on their way.

use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use sift_replay::catalog::{Catalog, discover};
use sift_replay::replay::{Lanes, Observer, Origin, ReplayEvent, ReplayOptions, Report, State, Work, replay};
use sift_replay::sift::{Destination, DestinationOptions};

use super::{counting, session, small_segments};
use crate::support::destination::block_on;
use crate::support::faulty::{Fate, Faulty, Seen};

const LANES: NonZeroUsize = NonZeroUsize::new(3).unwrap();

pub(super) fn replayed(
    faulty: &Faulty,
    dir: &Path,
    lanes: NonZeroUsize,
    options: &ReplayOptions,
    observer: &dyn Observer,
) -> Report {
    block_on(async {
        let destination = DestinationOptions { uri: Some(faulty.uri()), ..DestinationOptions::default() };
        let lanes = Lanes::open(&Destination::resolve(&destination).unwrap(), lanes).await.unwrap();
        let paths = [dir.to_owned()];
        let work = Work::once(&paths, Catalog::build(discover(&paths).unwrap()));
        replay(&lanes, &State::none(), work, options, observer).await
    })
}

/// What a server has seen that acknowledges none of a session's windows before it has seen `such`, and then all.
fn held_until(such: impl Fn(&Seen) -> bool + Send + 'static, lanes: NonZeroUsize, options: &ReplayOptions) -> Seen {
    let dir = tempfile::tempdir().unwrap();
    session(dir.path(), &counting("k"), small_segments(), 2000);
    let faulty = Faulty::start();
    faulty.all_streams(Fate::Held);
    let server = faulty.server();
    let held = std::thread::spawn(move || {
        server.wait(such);
        server.heal();
        // Those that came to their end only now are held, too.
        let release = || {
            server.release();
            false
        };
        server.wait_unless(|seen| seen.acknowledged() == 2000, release);
    });
    let report = replayed(&faulty, dir.path(), lanes, options, &());
    held.join().unwrap();
    assert!(report.is_complete(), "{report:?}");
    let seen = faulty.seen();
    assert_eq!((seen.acknowledged(), seen.duplicates()), (2000, 0));
    seen
}

#[test]
fn each_lane_is_a_connection_with_several_windows_on_its_way() {
    let options = ReplayOptions { window_bytes: 2000, windows_per_lane: 2, ..ReplayOptions::default() };
    let seen = held_until(|seen| seen.open_streams == 6 && seen.streams == 6, LANES, &options);
    assert_eq!((seen.connections, seen.most_open_streams), (3, 6), "{}", seen.figures());
    assert!(seen.streams > 20, "{}", seen.figures());
}

/// What was sent isn't in memory any more, so that a long way, or a destination that thinks for long, holds nothing up.
#[test]
fn many_more_windows_are_on_their_way_than_fit_into_memory() {
    // Three of them are in memory.
    let give_up_after = Some(Duration::from_secs(60));
    let options = ReplayOptions { window_bytes: 2000, windows_per_lane: 20, give_up_after, ..ReplayOptions::default() };
    let seen = held_until(|seen| seen.held_streams == 20, NonZeroUsize::MIN, &options);
    assert_eq!((seen.connections, seen.most_open_streams), (1, 20), "{}", seen.figures());
}

#[test]
fn sessions_share_the_lanes_evenly() {
    let dir = tempfile::tempdir().unwrap();
    for key in ["a", "b", "c"] {
        session(dir.path(), &counting(key), small_segments(), 1000);
    }
    let faulty = Faulty::start();
    let options = ReplayOptions { window_bytes: 2000, windows_per_lane: 1, ..ReplayOptions::default() };
    let order = std::sync::Mutex::new(Vec::new());
    let observer = Order(&order);
    let report = replayed(&faulty, dir.path(), LANES, &options, &observer);
    assert!(report.is_complete(), "{report:?}");
    let order = order.into_inner().unwrap();
    // Before any session is through, each of the others has had a fair part.
    let windows = |session: &str| order.iter().filter(|done| *done == session).count();
    let first_through = (1..=order.len())
        .find(|&at| order[at - 1..].iter().filter(|done| **done == order[at - 1]).count() == 1)
        .unwrap();
    for line in &report.lines {
        let so_far = order[..first_through].iter().filter(|done| **done == line.origin).count();
        assert!(so_far * 3 >= windows(&line.origin), "{}: {so_far} of {}", line.origin, windows(&line.origin));
    }
}

/// Whose windows are acknowledged, in order.
struct Order<'a>(&'a std::sync::Mutex<Vec<String>>);

impl Observer for Order<'_> {
    fn event(&self, event: &ReplayEvent<'_>) {
        if let ReplayEvent::Acknowledged { origin: Origin::Session(session), .. } = event {
            self.0.lock().unwrap().push(session.to_string());
        }
    }
}

#[test]
fn a_lane_that_leaves_a_stream_unanswered_gets_a_new_connection() {
    let dir = tempfile::tempdir().unwrap();
    session(dir.path(), &counting("k"), small_segments(), 500);
    let faulty = Faulty::start();
    faulty.next_streams([Fate::Silent]);
    let acknowledgement_timeout = Duration::from_millis(200);
    let options = ReplayOptions { acknowledgement_timeout, ..ReplayOptions::default() };
    let report = replayed(&faulty, dir.path(), NonZeroUsize::MIN, &options, &());
    assert!(report.is_complete(), "{report:?}");
    let seen = faulty.seen();
    // One for each attempt, of which a slow computer may need several.
    assert_eq!((seen.acknowledged(), seen.connections), (500, seen.streams), "{}", seen.figures());
    assert!(seen.streams > 1, "{}", seen.figures());
}
