//! It ends.

use std::time::{Duration, Instant};

use sift_replay::replay::OnReject;
use tonic::Status;

use super::{Desk, PATIENCE, append, assert_adds_up, library_backup, number};
use crate::replay::{counting, session, small_frames};
use crate::support::faulty::Fate;

#[test]
fn a_backup_with_left_out_records_is_read_to_its_end() {
    let mut desk = Desk::new();
    desk.library_backup("theirs-1", &[20; 100]);
    desk.options.on_reject = OnReject::Skip;
    desk.faulty.refuse(|request| (number(request) == 30).then(|| Status::invalid_argument("not thirty")));
    let report = desk.run();
    assert_eq!((report.totals.records_acknowledged, report.totals.records_refused), (1999, 1));
    assert_adds_up(&report);
}

#[test]
fn a_first_chunk_larger_than_all_windows_in_memory_is_delivered() {
    let mut desk = Desk::new();
    desk.library_backup("theirs-1", &[2000, 10]);
    let report = desk.run();
    assert_eq!(report.totals.records_acknowledged, 2010);
    desk.options.window_bytes = 1;
    let report = desk.run();
    assert_eq!(report.totals.records_already_acknowledged, 2010);
}

#[test]
fn windows_on_their_way_when_everything_is_read_have_the_grace_period_too() {
    let mut desk = Desk::new();
    session(&desk.backups(), &counting("k"), small_frames(), 3);
    desk.options.grace = Duration::from_millis(50);
    desk.faulty.all_streams(Fate::Silent);
    let (server, interrupted) = (desk.faulty.server(), std::sync::Arc::new(std::sync::Mutex::new(None)));
    let at = interrupted.clone();
    let report = desk.run_until(async move {
        while server.seen().silent_streams == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // What is read is read long since.
        tokio::time::sleep(Duration::from_millis(100)).await;
        *at.lock().unwrap() = Some(Instant::now());
    });
    assert!(report.interrupted);
    let took = interrupted.lock().unwrap().unwrap().elapsed();
    assert!(took < desk.options.acknowledgement_timeout / 2, "{took:?}");
}

#[test]
fn many_backups_of_one_lane_and_tiny_windows_end() {
    let mut desk = Desk::new();
    desk.options.windows_per_lane = 1;
    desk.options.window_bytes = 1;
    for n in 0..4 {
        desk.library_backup(&format!("copy-{n}"), &[20; 10]);
        let others = library_backup(&format!("others-{n}"), 0, &[20; 10]);
        std::fs::write(desk.backups().join(format!("theirs-{n}")), others).unwrap();
        session(&desk.backups(), &counting(&format!("k{n}")), small_frames(), 100);
    }
    let report = desk.run();
    assert_eq!(report.totals.records_acknowledged, 200 + 4 * 200 + 4 * 100);
    assert_eq!(report.totals.records_already_acknowledged, 3 * 200);
    assert_adds_up(&report);
}

#[test]
fn a_failure_for_all_ends_it_however_many_files_there_are() {
    let mut desk = Desk::new();
    desk.lanes = 2;
    for n in 0..10 {
        let file = library_backup(&format!("theirs-{n}"), 0, &[50; 20]);
        std::fs::write(desk.backups().join(format!("theirs-{n}")), file).unwrap();
    }
    desk.faulty.next_streams([Fate::Taken, Fate::Taken, Fate::Taken]);
    desk.faulty.all_streams(Fate::Refused(Status::unauthenticated("who are you?")));
    let report = desk.run();
    assert_eq!(report.totals.records_found, 10_000);
    assert_adds_up(&report);
    assert!(report.stopped.is_some());
}

#[test]
fn a_file_that_can_not_be_read_is_not_tried_all_the_time() {
    let mut desk = Desk::new();
    desk.watch = true;
    let path = desk.library_backup("theirs-1", &[5]);
    let catalog = sift_replay::catalog::Catalog::build(sift_replay::catalog::discover(&[desk.backups()]).unwrap());
    // It is there, and can't be opened.
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(desk.backups().join("nowhere"), &path).unwrap();
    let report = desk.run_of(catalog, async { tokio::time::sleep(Duration::from_millis(1000)).await });
    assert!(report.interrupted);
    let tries = desk.told.count("started");
    assert!((1..30).contains(&tries), "{tries} tries");
}

#[test]
fn a_file_that_grows_is_read_on_whatever_went_before() {
    let mut desk = Desk::new();
    desk.watch = true;
    desk.options.on_reject = OnReject::Stop;
    let path = desk.library_backup("theirs-1", &[20; 10]);
    let server = desk.faulty.server();
    server.refuse(|request| (number(request) == 100).then(|| Status::invalid_argument("not hundred")));
    let done = async move {
        while server.seen().refused == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        server.heal();
        append(&path, &library_backup("theirs", 200, &[20]));
        let begun = Instant::now();
        while server.seen().records.values().filter(|copies| copies.acknowledged > 0).count() < 220 {
            assert!(begun.elapsed() < PATIENCE / 2, "{}", server.seen().figures());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    };
    let report = desk.run_until(done);
    assert_eq!((report.totals.records_found, report.totals.records_acknowledged), (220, 220), "{:?}", report.totals);
    assert_eq!(report.totals.records_refused, 0);
}
