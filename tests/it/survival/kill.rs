//! SIGKILL at any moment, again and again.
//!
//! `SIFT_REPLAY_KILL_ROUNDS` sets how often; the backup grows with it.

use super::support::{IN_FLIGHT, PER_WINDOW, Station};

#[test]
fn killed_at_fifty_random_moments_it_delivers_everything_in_the_end() {
    let kills: u64 = std::env::var("SIFT_REPLAY_KILL_ROUNDS").map_or(50, |kills| kills.parse().unwrap());
    let mut rng = fastrand::Rng::with_seed(50);
    let station = Station::sound(4, 5000.max(kills * 100));
    let mut killed = 0;
    let mut retries = 0;
    for round in 0..kills {
        let client = station.start();
        // Also before the first message, and between any two.
        station.faulty.after(rng.u64(0..400), client.killer());
        let ended = client.wait();
        retries += ended.retries();
        killed += u64::from(ended.code.is_none());
        if ended.code.is_some() {
            assert_eq!(ended.code, Some(0), "{}", ended.stderr);
            assert!(round > kills / 2, "it was done too soon to say anything");
            break;
        }
        // Looking after each would take long, and say the same.
        if rng.u32(..5) == 0 {
            station.check_checkpoints();
        }
    }
    let ended = station.run();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    station.settle();
    let duplicates = station.faulty.seen().duplicates();
    let most = killed * IN_FLIGHT + (retries + ended.retries()) * PER_WINDOW;
    assert!(duplicates <= most, "{duplicates} duplicates, {most} were in flight at {killed} kills");
    station.check_complete();
    println!("{killed} kills; {duplicates} records came twice; lost: 0");
}
