//! Destinations that refuse, don't answer, or go away.

use std::sync::atomic::Ordering;
use std::time::Duration;

use sift_replay::record::{Channel, DataType, FlowSchema, Recorder, Schema, Timestamp, Value};
use sift_replay::replay::{Lanes, OnReject, ReplayOptions, State, Work, replay};

use super::{assert_same, counting, files_of, recorded, session, small_frames, small_segments};
use crate::support::destination::{Mood, Raw, Rig, block_on, replay_to};

/// Gives up at the first failure.
fn impatient() -> ReplayOptions {
    ReplayOptions { give_up_after: Some(Duration::ZERO), ..ReplayOptions::default() }
}

/// A session of 90 records, of which record 50 has a NaN.
fn with_a_nan(dir: &std::path::Path) -> Vec<Vec<u8>> {
    let flow = FlowSchema::new("x").channel(Channel::new("x", DataType::Double));
    let recorder = Recorder::create(dir, &Schema::new("rover", "nan").flow(flow), small_frames()).unwrap();
    let flow = recorder.flow("x").unwrap();
    for n in 0..90 {
        let value = if n == 50 { f64::NAN } else { n as f64 };
        let _ = recorder.record(&flow, Timestamp::from_unix_ns(n), &[Value::Double(value)]).unwrap();
    }
    assert_eq!(recorder.finish().unwrap().non_finite, 1);
    recorded(&files_of(&recorder))
}

#[test]
fn a_refused_record_stops_its_session_and_what_was_not_delivered_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    with_a_nan(dir.path());
    let good = session(dir.path(), &counting("good"), small_frames(), 40);
    block_on(async {
        let rig = Rig::start().await;
        let options = ReplayOptions {
            window_bytes: 500,
            windows_per_lane: 1,
            on_reject: OnReject::Stop,
            ..ReplayOptions::default()
        };
        let replayed = rig.replay_with(&[dir.path()], &options).await;
        let report = &replayed.report;
        let nan = report.lines[0].totals;
        assert_eq!(nan.records_found, 90);
        assert_eq!(nan.records_acknowledged + nan.records_refused, 90);
        // Its own window isn't; those that were on their way beside it may be.
        assert!((1..90).contains(&nan.records_acknowledged), "{nan:?}");
        assert!(report.lines[0].refusal.as_deref().unwrap().contains("\"x\""), "{report:?}");
        assert_eq!(report.lines[1].totals.records_acknowledged, 40);
        assert!(report.stopped.is_none() && !report.is_complete());
        let sessions = rig.finish().await;
        let good_one = sessions.iter().find(|session| session.config.client_key == "good").unwrap();
        // Windows that are on their way side by side arrive in any order.
        let (mut arrived, mut expected) = (good_one.records.clone(), recorded(&good));
        arrived.sort();
        expected.sort();
        assert_same(&arrived, &expected);
    });
}

#[test]
fn with_accept_the_rest_is_delivered() {
    let dir = tempfile::tempdir().unwrap();
    let expected = with_a_nan(dir.path());
    block_on(async {
        let rig = Rig::start().await;
        let options = ReplayOptions { on_reject: OnReject::Accept, ..ReplayOptions::default() };
        let replayed = rig.replay_with(&[dir.path()], &options).await;
        assert!(replayed.report.is_complete());
        assert_eq!(rig.refused(), 1);
        assert_same(&rig.finish_records().await, &super::without(&expected, &(50..51)));
    });
}

#[test]
fn what_is_not_acknowledged_in_time_does_not_count() {
    let dir = tempfile::tempdir().unwrap();
    session(dir.path(), &counting("a"), small_segments(), 1100);
    block_on(async {
        let raw = Raw::start(Mood::Silent { after: 2 });
        let acknowledgement_timeout = Duration::from_millis(200);
        let options = ReplayOptions { window_bytes: 5000, windows_per_lane: 2, acknowledgement_timeout, ..impatient() };
        let replayed = replay_to(raw.uri(), &[dir.path()], &options).await;
        let report = &replayed.report;
        assert!(report.stopped.as_deref().unwrap().contains("no acknowledgement within 0.2 s"), "{report:?}");
        assert_eq!(replayed.windows().len(), 2);
        let totals = report.totals;
        assert_eq!(totals.records_found, 1100);
        assert!(totals.records_acknowledged > 0);
        assert_eq!(totals.records_acknowledged + totals.records_refused, 1100);
        // After it, nothing was even tried but what was on its way.
        assert!(raw.seen.streams.load(Ordering::SeqCst) <= 2 + 4, "{:?}", raw.seen.streams);
        assert!(report.lines[0].refusal.is_some(), "{report:?}");
    });
}

#[test]
fn a_destination_that_goes_away_stops_the_replay() {
    let dir = tempfile::tempdir().unwrap();
    session(dir.path(), &counting("a"), small_segments(), 1000);
    std::fs::copy(
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/pbfs/s1_single_message_no_run.pbfs"),
        dir.path().join("key-1"),
    )
    .unwrap();
    block_on(async {
        let mut raw = Raw::start(Mood::Silent { after: 1 });
        let (uri, seen) = (raw.uri(), raw.seen.clone());
        let options = ReplayOptions { window_bytes: 5000, ..impatient() };
        let path = dir.path().to_owned();
        let replaying = tokio::spawn(async move { replay_to(uri, &[&path], &options).await });
        seen.silent.notified().await;
        raw.kill();
        let replayed = replaying.await.unwrap();
        let totals = replayed.report.totals;
        assert!(replayed.report.stopped.is_some());
        assert_eq!(replayed.windows().len(), 1);
        assert_eq!(totals.records_acknowledged + totals.records_refused, 1001);
        assert!(replayed.report.lines[0].refusal.is_some(), "{:?}", replayed.report.lines);
    });
}

#[cfg(unix)]
#[test]
fn a_file_that_can_not_be_read_costs_its_own_records_alone() {
    let dir = tempfile::tempdir().unwrap();
    let files = session(dir.path(), &counting("k"), small_segments(), 500);
    let expected = recorded(&files);
    let lost = crate::support::cli::frames(&files[1]);
    let lost = lost[0].1.start..lost[lost.len() - 1].1.end;
    let paths = [dir.path().to_owned()];
    let catalog = sift_replay::catalog::Catalog::build(sift_replay::catalog::discover(&paths).unwrap());
    // It goes between being found and being read: a card with a loose contact.
    std::fs::remove_file(&files[1]).unwrap();
    block_on(async {
        let rig = Rig::start().await;
        let lanes = Lanes::single(crate::support::destination::connect(rig.uri()).await);
        let work = Work::once(&paths, catalog);
        let report = replay(&lanes, &State::none(), work, &ReplayOptions::default(), &()).await;
        assert_eq!((report.files_unreadable, report.totals.records_missing), (1, lost.end - lost.start));
        assert!(report.stopped.is_none() && !report.is_complete());
        assert_same(&rig.finish_records().await, &super::without(&expected, &lost));
    });
}
