//! What it says is so, and what it remembers is found again.

use std::time::Duration;

use tonic::Status;

use super::{Desk, append, assert_adds_up, library_backup, number, request};
use crate::replay::{counting, session, small_frames};
use crate::support::backup::put_chunk;
use crate::support::cli::damage_middle_frame;
use crate::support::faulty::Fate;

#[test]
fn an_organization_that_is_known_only_after_the_first_registration_sends_nothing_twice() {
    let mut desk = Desk::new();
    desk.faulty.organization(None);
    for n in 0..3 {
        session(&desk.backups(), &counting(&format!("k{n}")), small_frames(), 100);
    }
    let report = desk.run();
    assert_eq!(report.totals.records_acknowledged, 300);
    let messages = desk.faulty.seen().messages;
    // Now there is an asset, which tells whose it is.
    let report = desk.run();
    assert_eq!(report.totals.records_already_acknowledged, 300, "{:?}", report.totals);
    assert_eq!(desk.faulty.seen().messages, messages);
    let targets: Vec<_> = desk.state().checkpoints().list().into_iter().map(|known| known.target).collect();
    assert!(targets.len() == 1 && targets[0].as_str().contains("organization="), "{targets:?}");
}

#[test]
fn all_windows_in_flight_wait_for_a_new_config_to_be_known() {
    let mut desk = Desk::new();
    desk.lanes = 4;
    session(&desk.backups(), &counting("k"), small_frames(), 500);
    // Each of those in flight is told so three times.
    let unknown = Status::invalid_argument("no such config");
    desk.faulty.next_streams(std::iter::repeat_n(Fate::Refused(unknown), 8));
    let report = desk.run();
    assert_eq!((report.totals.records_acknowledged, report.totals.records_dead_lettered), (500, 0));
}

#[test]
fn a_backup_for_another_server_does_not_become_dead_letters_with_time() {
    let mut desk = Desk::new();
    desk.library_backup("theirs-1", &[100; 40]);
    desk.options.window_bytes = 4 << 10;
    desk.faulty.refuse(|_| Some(Status::not_found("no such config")));
    for _ in 0..2 {
        let report = desk.run();
        assert_adds_up(&report);
        assert!(report.totals.records_dead_lettered < 2600, "{:?}", report.totals);
        assert!(report.totals.records_refused > 1000, "{:?}", report.totals);
    }
}

#[test]
fn a_backup_that_grew_is_resumed_and_one_that_begins_alike_is_not_taken_for_it() {
    let mut desk = Desk::new();
    let path = desk.library_backup("theirs-1", &[20; 10]);
    assert_eq!(desk.run().totals.records_acknowledged, 200);
    append(&path, &library_backup("theirs", 200, &[20]));
    let report = desk.run();
    assert_eq!((report.totals.records_already_acknowledged, report.totals.records_acknowledged), (200, 20));
    // Shorter than what is marked, and then another one behind the same first chunk.
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let report = desk.run();
    assert_adds_up(&report);
    let mut other = library_backup("theirs", 0, &[20]);
    other.extend(library_backup("theirs", 5000, &[20; 20]));
    std::fs::write(&path, other).unwrap();
    let report = desk.run();
    assert_eq!(report.totals.records_found, 420);
    assert_adds_up(&report);
    let seen = desk.faulty.seen();
    let last = crate::support::faulty::RecordId::of(&request("theirs", 5399));
    assert!(seen.is_acknowledged(&last));
}

#[test]
fn damage_is_told_again_and_chunks_without_messages_are_passed() {
    let mut desk = Desk::new();
    let files = session(&desk.backups(), &counting("k"), small_frames(), 300);
    let lost = damage_middle_frame(&files[0]);
    let mut backup = library_backup("theirs", 0, &[20, 20]);
    put_chunk(&mut backup, &[]);
    let damaged = backup.len() + 30;
    backup.extend(library_backup("theirs", 40, &[20, 20, 20]));
    put_chunk(&mut backup, &[]);
    backup[damaged] ^= 1;
    std::fs::write(desk.backups().join("theirs-1"), backup).unwrap();
    for already in [false, true] {
        let report = desk.run();
        let totals = &report.totals;
        assert_adds_up(&report);
        assert_eq!(totals.records_found, 300 - (lost.end - lost.start) + 80);
        assert_eq!(totals.records_already_acknowledged == totals.records_found, already, "{totals:?}");
        assert_eq!((totals.damaged_places, totals.records_missing), (2, lost.end - lost.start));
        assert!(!report.is_complete());
    }
}

#[test]
fn damage_in_a_segment_that_grows_is_counted_once() {
    let mut desk = Desk::new();
    desk.watch = true;
    let elsewhere = tempfile::tempdir().unwrap();
    let files = session(elsewhere.path(), &counting("k"), small_frames(), 300);
    damage_middle_frame(&files[0]);
    let whole = std::fs::read(&files[0]).unwrap();
    let frames = crate::support::cli::frames(&files[0]);
    let ends: Vec<_> = frames.iter().rev().take(4).rev().map(|(place, _)| place.end as usize).collect();
    let open = desk.backups().join(format!("{}.open", files[0].file_name().unwrap().to_str().unwrap()));
    std::fs::write(&open, &whole[..ends[0]]).unwrap();
    let (server, last) = (desk.faulty.server(), frames.last().unwrap().1.end);
    let lost = frames.iter().map(|(_, seqs)| seqs.end - seqs.start).sum::<u64>();
    let grows = async move {
        for pair in ends.windows(2) {
            let before = server.seen().acknowledged_streams;
            while server.seen().acknowledged_streams == before && before == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            tokio::time::sleep(Duration::from_millis(150)).await;
            append(&open, &whole[pair[0]..pair[1]]);
        }
        while (server.seen().records.len() as u64) < lost {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    };
    let report = desk.run_until(grows);
    assert_eq!(report.totals.damaged_places, 1, "{:?}", report.totals);
    assert_eq!(report.totals.records_found, lost);
    assert_eq!(report.totals.records_missing, last - lost);
}

#[test]
fn records_of_all_policies_add_up() {
    use sift_replay::replay::OnReject;
    for on_reject in [OnReject::DeadLetter, OnReject::Skip, OnReject::Stop, OnReject::Accept] {
        let mut desk = Desk::new();
        (desk.options.on_reject, desk.lanes) = (on_reject, 3);
        for n in 0..3 {
            session(&desk.backups(), &counting(&format!("k{n}")), small_frames(), 200);
            desk.library_backup(&format!("theirs-{n}"), &[50; 4]);
        }
        desk.faulty.refuse(|request| {
            let nth = number(request) % 10 + request.timestamp.as_ref().map_or(0, |time| time.nanos as u64 % 10);
            let reason = format!("{nth} isn't wanted");
            (nth == 7 || nth == 9).then(|| Status::invalid_argument(reason))
        });
        for _ in 0..2 {
            let report = desk.run();
            assert_adds_up(&report);
            assert_eq!(report.totals.records_found, 600 + 600, "{on_reject:?}");
        }
    }
}

#[test]
fn dead_letters_of_a_backup_that_begins_alike_are_not_counted_for_this_one() {
    let mut desk = Desk::new();
    desk.options.window_bytes = 4 << 10;
    let mut other = library_backup("theirs", 0, &[20]);
    other.extend(library_backup("theirs", 1000, &[20]));
    std::fs::write(desk.backups().join("theirs-0"), other).unwrap();
    desk.faulty.refuse(|request| (number(request) >= 1000).then(|| Status::invalid_argument("too late")));
    assert_eq!(desk.run().totals.records_dead_lettered, 20);
    std::fs::remove_file(desk.backups().join("theirs-0")).unwrap();
    desk.library_backup("theirs-1", &[20; 10]);
    for already in [false, true] {
        let totals = desk.run().totals;
        assert_eq!((totals.records_found, totals.records_dead_lettered), (200, 0));
        assert_eq!(totals.records_already_acknowledged, if already { 200 } else { 0 }, "{totals:?}");
    }
}

#[test]
fn interrupted_at_any_moment_it_ends_and_claims_no_more_than_was_acknowledged() {
    let mut rng = fastrand::Rng::with_seed(5);
    for _ in 0..12 {
        let mut desk = Desk::new();
        (desk.lanes, desk.options.windows_per_lane) = (rng.usize(1..4), rng.usize(1..3));
        desk.options.grace = Duration::from_millis(rng.u64(0..20));
        session(&desk.backups(), &counting("k"), small_frames(), 600);
        for n in 0..3 {
            // Two of them are copies.
            let backup = library_backup("theirs", n / 2 * 1000, &[70; 3]);
            std::fs::write(desk.backups().join(format!("theirs-{n}")), backup).unwrap();
        }
        desk.faulty.refuse(|request| (number(request) % 50 == 7).then(|| Status::invalid_argument("no")));
        desk.faulty.every(5, Fate::Silent);
        desk.options.acknowledgement_timeout = Duration::from_millis(100);
        for _ in 0..3 {
            let (interrupt, interrupted) = tokio::sync::oneshot::channel();
            desk.faulty.after(rng.u64(0..300), move || interrupt.send(()).unwrap_or_default());
            desk.run_until(async { interrupted.await.unwrap_or(()) });
            // What has not been pulled would be pulled by the next.
            desk.faulty.heal();
            desk.faulty.refuse(|request| (number(request) % 50 == 7).then(|| Status::invalid_argument("no")));
            let seen = desk.faulty.seen();
            let taken = seen.records.values().filter(|copies| copies.acknowledged > 0).count() as u64;
            let known = desk.state().checkpoints().list();
            let sessions = known.iter().flat_map(|known| &known.sessions);
            let of_sessions: u64 = sessions.map(|(_, done)| done.acknowledged.len()).sum();
            let backups = known.iter().flat_map(|known| &known.pbfs).filter_map(|(_, marks)| marks.last());
            let of_backups: u64 = backups.map(|mark| mark.messages - mark.dead_lettered).sum();
            assert!(of_sessions + of_backups <= taken, "{of_sessions} + {of_backups} of {taken}");
        }
        let report = desk.run();
        assert_adds_up(&report);
        let totals = &report.totals;
        assert_eq!(totals.records_found, 600 + 3 * 210);
        assert_eq!(totals.records_refused, 0);
        let seen = desk.faulty.seen();
        // The second copy has nothing of its own.
        let lacking = seen.records.values().filter(|copies| copies.acknowledged == 0 && copies.refused == 0).count();
        assert_eq!((seen.records.len(), lacking), (600 + 2 * 210, 0));
    }
}
