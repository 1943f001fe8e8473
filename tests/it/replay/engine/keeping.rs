//! What isn't delivered is kept, and asked for again.

use sift_replay::replay::{After, OnReject, Selection};
use tonic::Status;

use super::{Desk, assert_adds_up, number};
use crate::replay::{counting, session, small_frames, small_segments};
use crate::support::faulty::CallFate;

#[test]
fn a_file_with_records_that_were_left_out_is_not_deleted() {
    for on_reject in [OnReject::Skip, OnReject::Stop] {
        let mut desk = Desk::new();
        let files = session(&desk.backups(), &counting("k"), small_frames(), 100);
        let backup = desk.library_backup("theirs-1", &[20; 10]);
        (desk.options.after, desk.options.on_reject) = (After::Delete, on_reject);
        desk.faulty.refuse(|request| {
            let nth = request.timestamp.as_ref().map_or(0, |time| time.nanos % 1000);
            (nth == 50 || number(request) == 50).then(|| Status::invalid_argument("not fifty"))
        });
        let report = desk.run();
        assert!(report.totals.records_refused > 0);
        assert_adds_up(&report);
        for file in files.iter().chain([&backup]) {
            assert!(file.exists(), "{on_reject:?}: {} is gone: {:?}", file.display(), desk.told.lines.lock().unwrap());
        }
    }
}

#[test]
fn a_file_whose_schema_is_refused_is_not_deleted() {
    let mut desk = Desk::new();
    let files = session(&desk.backups(), &counting("k"), small_frames(), 100);
    desk.options.after = After::Delete;
    let refused = Status::invalid_argument("no such flow");
    desk.faulty.next_calls("CreateIngestionConfig", u64::MAX, CallFate::Refused(refused));
    let report = desk.run();
    assert_eq!(report.totals.records_refused, 100);
    assert!(files.iter().all(|file| file.exists()));
}

#[test]
fn a_file_with_records_that_nobody_asked_for_is_not_deleted() {
    let times = [(Some(1_700_000_000_000_000_050), None), (None, Some(0))];
    for (from_ns, to_ns) in times {
        let mut desk = Desk::new();
        let files = session(&desk.backups(), &counting("k"), small_segments(), 100);
        let backup = desk.library_backup("theirs-1", &[20; 10]);
        desk.options.after = After::Delete;
        desk.options.selection = Selection { from_ns, to_ns, ..Selection::default() };
        let report = desk.run();
        assert!(report.totals.records_not_selected > 0);
        assert_adds_up(&report);
        assert!(files[0].exists() && backup.exists());
    }
}
