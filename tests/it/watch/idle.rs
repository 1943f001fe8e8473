//! The program when there is nothing to do, or nothing can be done.

use std::fs;

use sift_replay::record::{DataType, RecorderOptions, Schema};

use super::desk::{Desk, Live, record};

#[test]
fn its_own_journals_do_not_wake_it() {
    let desk = Desk::new();
    let mut records = record(&desk.dir, 0, 2000).records;
    let begun = std::time::Instant::now();
    let program = desk.watch(&["-v"]);
    program.delivers(2000);
    // Nothing is left to be noticed when something else was.
    records.extend(record(&desk.dir, 1, 10).records);
    program.delivers(2010);
    assert!(fs::read_dir(desk.dir.join(".sift-replay")).unwrap().count() > 0, "they are somewhere else");
    assert_eq!(program.count("waiting"), 2);
    let ended = program.interrupt();
    desk.check(&ended, &records);
    let searches = ended.stderr.matches("searching for recordings").count() as u64;
    // One for what came, perhaps in two parts, and those that come in any case.
    let rescans = begun.elapsed().as_secs() / 10;
    assert!((1..=3 + rescans).contains(&searches), "{searches} searches");
    assert_eq!(ended.of("found").len(), 2);
}

#[test]
fn a_server_that_is_away_is_waited_for_as_long_as_it_takes() {
    let desk = Desk::new();
    let mut records = record(&desk.dir, 0, 500).records;
    let program = desk.watch(&["--ack-timeout", "500ms"]);
    program.delivers(500);
    for number in 1..=2 {
        desk.faulty.kill();
        records.extend(record(&desk.dir, number, 500).records);
        let before = program.count("retrying");
        program.wait("attempts", |lines| lines.iter().filter(|line| line["event"] == "retrying").count() > before + 3);
        desk.faulty.revive();
        program.delivers(500 * (number as usize + 1));
    }
    desk.check(&program.interrupt(), &records);
}

#[test]
fn who_gives_up_after_a_time_does_not_count_the_time_of_idleness() {
    let desk = Desk::new();
    let mut records = record(&desk.dir, 0, 100).records;
    let program = desk.watch(&["--give-up-after", "2s"]);
    program.delivers(100);
    // Idle for longer than that.
    std::thread::sleep(std::time::Duration::from_millis(2500));
    desk.faulty.kill();
    records.extend(record(&desk.dir, 1, 100).records);
    program.tells("retrying");
    desk.faulty.revive();
    program.delivers(200);
    desk.check(&program.interrupt(), &records);
}

#[test]
fn a_session_whose_schema_is_refused_stops_no_other() {
    let desk = Desk::new();
    let schema = Schema::new("rover", "rover-v1");
    let start =
        |number, data_type| Live::with_schema(&desk.dir, number, &schema, data_type, RecorderOptions::default());
    let mut good = start(0, DataType::Uint64);
    good.record(100);
    let good = good.finish();
    let program = desk.watch(&[]);
    program.delivers(100);
    let bad = start(1, DataType::String).finish();
    fs::metadata(&bad.files[0]).unwrap();
    program.tells("refused");
    let mut other = start(2, DataType::Uint64);
    other.record(100);
    program.delivers(200);
    other.record(100);
    program.delivers(300);
    let ended = program.interrupt();
    desk.check_arrived(&[good.records, other.records()].concat(), 0);
    let refused = ended.of("refused");
    assert!(refused.len() == 1 && refused[0]["reason"].as_str().unwrap().contains("string"), "{refused:?}");
}
