//! Rewriting, and the rate: what is sent differs from what was recorded as was asked for, and in nothing else.

use prost::Message;
use sift_replay::replay::{Rate, ReplayOptions};
use sift_rs::ingest::v1::IngestWithConfigDataStreamRequest as Request;
use sift_rs::runs::v2::CreateRunRequest;

use crate::replay::{flight, recorded, small_frames};
use crate::support::cli::{Home, Ran};
use crate::support::desk::{Desk, figures, library_file, of_flow, record, timeless, two_flows};
use crate::support::destination::{Received, Rig, block_on, received};
use crate::support::faulty::Faulty;

const FIGURES: [&str; 4] = ["records_found", "records_acknowledged", "records_already_acknowledged", "records_refused"];

/// Records of one flow, of which each has another number.
fn numbers(count: u64, base: u64) -> Vec<Request> {
    (0..count).map(|n| of_flow("a", 1_700_000_000_000_000_000 + n as i64, base + n)).collect()
}

/// Replays, as often as `args` says, to the real receiver; what it keeps.
fn to_receiver(home: &Home, args: &[&[&str]]) -> (Vec<Ran>, Vec<Received>) {
    block_on(async {
        let rig = Rig::start().await;
        let uri = rig.uri();
        let run = |args: &&[&str]| {
            home.run(&[&["backups", "--json", "--uri", &uri, "--give-up-after", "60s"], *args].concat())
        };
        let ran = args.iter().map(run).collect();
        (ran, received(rig.end().await.path()))
    })
}

fn decoded(record: &[u8]) -> Request {
    Request::decode(record).unwrap()
}

/// In ns, whatever it is.
fn time_of(request: &Request) -> Option<i128> {
    request.timestamp.as_ref().map(|t| i128::from(t.seconds) * 1_000_000_000 + i128::from(t.nanos))
}

#[test]
fn as_another_asset_is_another_delivery_and_leaves_the_plain_one_alone() {
    let home = Home::new();
    let dir = home.path().join("backups");
    let records = numbers(50, 0);
    record(&dir, &flight(two_flows("rover", "k")), small_frames(), &records, &[20]);
    library_file(&dir.join("theirs"), "c", &[&numbers(7, 100)]);
    let (ran, sessions) =
        to_receiver(&home, &[&["--asset-as", "twin"], &["--asset-as", "twin"], &["--asset", "rover"]]);
    for (ran, sent, before) in [(&ran[0], 50, 0), (&ran[1], 0, 50)] {
        // The library's backup stays behind, with a reason; the sessions don't wait for it.
        assert_eq!((ran.code, figures(ran, &FIGURES)), (Some(3), vec![57, sent, before, 7]), "{ran:?}");
        let events = ran.json();
        let refused: Vec<_> = events.iter().filter(|event| event["event"] == "refused").collect();
        assert_eq!(refused.len(), 1, "{ran:?}");
        let reason = refused[0]["reason"].as_str().unwrap();
        assert!(reason.contains("--asset-as") && !reason.contains("the server that it was made for"), "{reason}");
        let registered = events.iter().find(|event| event["event"] == "registered").unwrap();
        assert_eq!((&registered["asset"], &registered["run"]), (&"twin".into(), &"Flight 7".into()));
    }
    assert_eq!((ran[2].code, figures(&ran[2], &FIGURES)), (Some(0), vec![50, 50, 0, 0]));
    let as_asset = |asset: &str| sessions.iter().find(|session| session.config.asset_name == asset).unwrap();
    assert_ne!(as_asset("twin").config.client_key, "k");
    assert_eq!(as_asset("rover").config.client_key, "k");
    assert_eq!(as_asset("twin").config.flows, as_asset("rover").config.flows);
    let values = |asset: &str| as_asset(asset).records.iter().map(|record| decoded(record)).collect::<Vec<_>>();
    assert_eq!(values("twin"), values("rover"));
    assert_eq!(values("twin").len(), 50);
    // A dry run tells it, too.
    let dry = home.run(&["backups", "--json", "--asset-as", "twin", "--dry-run"]);
    assert_eq!((dry.code, figures(&dry, &FIGURES)), (Some(3), vec![57, 0, 0, 7]), "{dry:?}");
}

#[test]
fn into_a_run_of_that_name_and_no_other_is_made() {
    let desk = Desk::new();
    let records = numbers(30, 0);
    record(&desk.dir(), &flight(two_flows("rover", "k")), small_frames(), &records, &[]);
    let theirs: Vec<_> =
        numbers(5, 100).into_iter().map(|request| Request { run_id: "their-run".to_owned(), ..request }).collect();
    library_file(&desk.dir().join("theirs"), "c", &[&theirs]);
    let ran = desk.replay(&["--run", "all together"]);
    assert_eq!((ran.code, figures(&ran, &FIGURES)), (Some(0), vec![35, 35, 0, 0]));
    assert_eq!(desk.faulty.seen().calls("CreateRun"), 1, "the session's own run is created, too");
    let events = ran.json();
    let registered = events.iter().find(|event| event["event"] == "registered").unwrap();
    assert_eq!(registered["run"], "all together");
    let id = registered["run_id"].as_str().unwrap();
    for (record, copies) in desk.records() {
        let runs: Vec<_> = copies.under.iter().map(|under| under[1].as_str()).collect();
        assert_eq!((copies.received, &runs[..]), (1, &[id][..]), "{record:?}");
    }
    // Found again, and nothing is sent again; as it was recorded is another delivery.
    let ran = desk.replay(&["--run", "all together"]);
    assert_eq!((ran.code, figures(&ran, &FIGURES)), (Some(0), vec![35, 0, 35, 0]));
    assert_eq!(desk.faulty.seen().calls("CreateRun"), 1);
    let ran = desk.replay(&["--flow", "a"]);
    assert_eq!((ran.code, figures(&ran, &FIGURES)), (Some(0), vec![35, 35, 0, 0]));
    assert_eq!(desk.faulty.seen().calls("CreateRun"), 2);
}

#[test]
fn a_name_that_several_runs_have_stops_before_anything_is_sent() {
    let desk = Desk::new();
    record(&desk.dir(), &two_flows("rover", "k"), small_frames(), &numbers(3, 0), &[]);
    for id in ["run-1", "run-2"] {
        let run = CreateRunRequest { name: "twice".to_owned(), ..Default::default() };
        desk.faulty.registry.seed_run_with_id(id, &run).unwrap();
    }
    let ran = desk.replay(&["--run", "twice"]);
    assert_eq!((ran.code, desk.known()), (Some(4), 0), "{ran:?}");
    for part in ["run-1", "run-2", "twice", "Rename"] {
        assert!(ran.stderr.contains(part), "{part}: {ran:?}");
    }
    assert_eq!(desk.faulty.seen().calls("CreateIngestionConfig"), 0, "something was registered");
}

#[test]
fn times_are_moved_exactly_and_nothing_else_is() {
    let home = Home::new();
    // Before 1970, at 0, with all digits, and none at all.
    let times = [-1, 0, 1, 1_700_000_000_999_999_999, -1_999_999_999, 5_000_000_001];
    let records: Vec<_> = times.iter().zip(0..).map(|(time, n)| of_flow("a", *time, n)).collect();
    let (_, files) = record(&home.path().join("backups"), &two_flows("rover", "k"), small_frames(), &records, &[3]);
    for (shift, ns) in
        [("-1.000000001", -1_000_000_001), ("+90s", 90_000_000_000), ("3ns", 3), ("-2d", -172_800_000_000_000)]
    {
        let (ran, mut sessions) = to_receiver(&home, &[&["--shift-time", shift], &["--shift-time", shift]]);
        assert_eq!((ran[0].code, figures(&ran[0], &FIGURES)), (Some(0), vec![6, 6, 0, 0]), "{:?}", ran[0]);
        assert_eq!(figures(&ran[1], &FIGURES), [6, 0, 6, 0]);
        let arrived = sessions.pop().unwrap().records;
        for (arrived, sent) in arrived.iter().zip(recorded(&files)) {
            let (arrived, sent) = (decoded(arrived), decoded(&sent));
            assert_eq!(time_of(&arrived), time_of(&sent).map(|time| time + ns), "{shift}");
            if let Some(time) = &arrived.timestamp {
                assert!((0..1_000_000_000).contains(&time.nanos), "{time:?}");
            }
            assert_eq!(Request { timestamp: None, ..arrived }, Request { timestamp: None, ..sent });
        }
        assert_eq!(arrived.len(), 6);
    }
    // No recorder takes records without a time, but they are seen in other files: they stay as they are.
    let desk = Desk::new();
    let none = [timeless("b", 99)];
    library_file(&desk.dir().join("theirs"), "c", &[&none]);
    assert_eq!(desk.replay(&["--shift-time", "-1h"]).code, Some(0));
    assert_eq!(desk.arrived(&none), 1);
}

#[test]
fn a_dead_letter_is_the_record_as_it_was_recorded() {
    let desk = Desk::new();
    let records = numbers(20, 0);
    record(&desk.dir(), &two_flows("rover", "k"), small_frames(), &records, &[]);
    let moved = time_of(&records[7]).unwrap() - 3_600_000_000_000;
    desk.faulty.refuse(move |request| {
        (time_of(request) == Some(moved)).then(|| tonic::Status::invalid_argument("not this one"))
    });
    let ran = desk.replay(&["--shift-time=-1h", "--asset-as", "twin"]);
    assert_eq!((ran.code, figures(&ran, &FIGURES)), (Some(3), vec![20, 19, 0, 0]), "{ran:?}");
    let letters = desk.home.run(&["dead-letters", "backups", "--export", "--json"]);
    let letter = letters.json().into_iter().find(|line| line["event"] == "dead-letter").unwrap();
    assert_eq!(letter["seq"], 7);
    let dir = desk.dir().join(".sift-replay").join("dead-letters");
    let kept: Vec<_> = received(&dir).into_iter().flat_map(|session| session.records).collect();
    assert_eq!(kept.iter().map(|record| decoded(record)).collect::<Vec<_>>(), [records[7].clone()]);
}

#[test]
fn however_slow_everything_arrives_in_windows_as_small_as_the_rate() {
    let records = numbers(40, 0);
    for (rate, windows) in [("1GB", 1..=1), ("20rec", 2..=2), ("900B", 3..=10)] {
        let desk = Desk::new();
        record(&desk.dir(), &two_flows("rover", "k"), small_frames(), &records, &[]);
        let ran = desk.replay(&["--rate", rate]);
        assert_eq!((ran.code, figures(&ran, &FIGURES)), (Some(0), vec![40, 40, 0, 0]), "{ran:?}");
        assert_eq!(desk.arrived(&records), 40);
        let streams = desk.faulty.seen().acknowledged_streams;
        assert!(windows.contains(&streams), "{rate}: {streams} streams");
    }
}

#[cfg(unix)]
#[test]
fn an_interrupted_replay_at_a_slow_rate_begins_nothing_new() {
    use crate::support::cli::Running;
    let desk = Desk::new();
    let records = numbers(1000, 0);
    record(&desk.dir(), &two_flows("rover", "k"), small_frames(), &records, &[]);
    let uri = desk.faulty.uri();
    // More than a quarter of an hour for all of it.
    let running = Running::start(desk.home.command(&["backups", "--json", "--uri", &uri, "--rate", "1rec"]));
    desk.faulty.wait(|seen| seen.acknowledged() > 0);
    let begun = desk.faulty.seen().streams;
    running.interrupt();
    let (status, out, _) = running.wait();
    assert_eq!(status.code(), Some(130));
    let last: serde_json::Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    assert_eq!(last["interrupted"], true);
    // One may have begun while the signal was on its way, and one when it came.
    let seen = desk.faulty.seen();
    assert!(seen.streams <= begun + 2, "{} streams after {begun}", seen.streams);
    assert_eq!(last["records_acknowledged"], seen.acknowledged());
}

#[test]
fn a_rate_is_kept_over_all_lanes_and_sessions() {
    let dir = tempfile::tempdir().unwrap();
    for session in 0..3 {
        record(dir.path(), &two_flows("rover", "k"), small_frames(), &numbers(20, 100 * session), &[]);
    }
    let faulty = Faulty::start();
    let options =
        ReplayOptions { rate: Some(Rate::Records(std::num::NonZeroU64::new(30).unwrap())), ..ReplayOptions::default() };
    let began = std::time::Instant::now();
    let replayed = block_on(crate::support::destination::replay_to(faulty.uri(), &[dir.path()], &options));
    assert_eq!(replayed.report.totals.records_acknowledged, 60);
    // The last part may go when those before it have had their time: never sooner.
    assert!(began.elapsed().as_secs_f64() > 1.0, "{:?}", began.elapsed());
}
