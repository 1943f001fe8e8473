//! What an earlier process left, and what a stream is given to do while there is no link.

use std::collections::BTreeSet;
use std::time::Duration;

use prost::Message;
use sift_replay::record::{Recorder, RecorderOptions, Schema, Timestamp, Value};
use sift_replay::stream::{DiskBackupPolicy, FlowConfig, RunForm, RunSelector};
use sift_rs::ingestion_configs::v2::CreateIngestionConfigRequest;

use super::line::{Line, Story, records_below, until};
use super::support::{FLOW, flow_config, form, numbers, segments};
use crate::support::destination::block_on;
use crate::support::faulty::RecordId;
use crate::support::proxy::BOTH;

const FIRST: i64 = 1_700_000_000_000_000_000;

fn schema() -> Schema {
    let form = form("rover-v1");
    let config = CreateIngestionConfigRequest {
        asset_name: form.asset_name,
        client_key: form.client_key,
        flows: form.flows,
        ..CreateIngestionConfigRequest::default()
    };
    Schema::from_requests(&config.encode_to_vec(), None).unwrap()
}

/// Leaves a segment as a process does that is killed: open, and cut off at `keep` of its bytes.
fn leave(line: &Line, numbers: std::ops::Range<u64>, keep: impl FnOnce(u64) -> u64) {
    let aside = tempfile::tempdir().unwrap();
    let options = RecorderOptions { frame_bytes: 256, ..RecorderOptions::default() };
    let recorder = Recorder::create(aside.path(), &schema(), options).unwrap();
    let flow = recorder.flow(FLOW).unwrap();
    for n in numbers {
        let values = [Value::Uint64(n), Value::Empty];
        let _ = recorder.record(&flow, Timestamp::from_unix_ns(FIRST + n as i64), &values).unwrap();
    }
    recorder.flush().unwrap();
    let [open] = &segments(aside.path())[..] else { panic!("one segment is meant") };
    let bytes = std::fs::read(open).unwrap();
    let keep = keep(bytes.len() as u64) as usize;
    let dir = line.home().join("rover").join("no-run");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join(open.file_name().unwrap()), &bytes[..keep.min(bytes.len())]).unwrap();
}

/// Files without a single byte aren't segments: they hold nothing, and stay.
fn with_bytes(line: &Line) -> Vec<std::path::PathBuf> {
    let mut files = segments(&line.home());
    files.retain(|path| path.metadata().is_ok_and(|metadata| metadata.len() > 0));
    files
}

#[test]
fn what_killed_processes_left_is_replayed_in_the_background_and_deleted() {
    let line = Line::start();
    // Whole, and torn at many places: in the magic, in HEADER, between frames, within them.
    for (i, keep) in [u64::MAX, 0, 4, 8, 40, 100, 300].into_iter().enumerate() {
        leave(&line, i as u64 * 100..i as u64 * 100 + 50, |_| keep);
    }
    for i in 7..20u64 {
        leave(&line, i * 100..i * 100 + 50, |bytes| bytes * i / 20);
    }
    leave(&line, 2000..2050, |bytes| bytes - 1);
    let left: BTreeSet<_> = records_below(&line.home()).values().map(|record| RecordId::of(record)).collect();
    assert!(left.len() > 400, "{} can be read", left.len());
    block_on(async {
        let builder = line.builder().disk_backup_policy(line.policy());
        let mut story = Story { line: &line, stream: builder.build().await.unwrap(), sent: 10_000 };
        story.send(100).await;
        let all = left.len() as u64 + 100;
        until("not all is replayed", || line.server.seen().acknowledged() == all).await;
        // In the background: nobody has finished yet.
        until("they aren't deleted", || with_bytes(&line).len() <= 1).await;
        let finished = story.stream.finish().await.unwrap();
        assert_eq!((finished.requests, finished.acknowledged), (100, 100), "{finished}");
    });
    line.settle();
    assert_eq!(with_bytes(&line), Vec::<std::path::PathBuf>::new());
    let seen = line.server.seen();
    let came: BTreeSet<_> = seen.records.keys().filter(|id| id.time < i128::from(FIRST) + 10_000).cloned().collect();
    assert_eq!(came, left);
    assert_eq!((seen.duplicates(), seen.malformed), (0, 0));
}

#[test]
fn without_a_link_nothing_of_what_was_left_is_lost_or_deleted() {
    let line = Line::start();
    leave(&line, 0..50, |_| u64::MAX);
    let before = records_below(&line.home());
    line.proxy.refuse();
    block_on(async {
        let builder = line.builder().disk_backup_policy(line.policy());
        let mut story = Story { line: &line, stream: builder.build().await.unwrap(), sent: 50 };
        story.send(50).await;
        let finished = story.stream.finish().await.unwrap();
        assert_eq!((finished.acknowledged, finished.on_disk), (0, 50), "{finished}");
    });
    let after = records_below(&line.home());
    assert_eq!(after.len(), 100);
    assert!(before.iter().all(|(place, record)| after[place] == *record));
    assert_eq!(line.noted().acknowledged, []);
}

fn run(key: &str) -> RunSelector {
    RunSelector::ByForm(RunForm { name: key.to_owned(), client_key: key.to_owned(), ..RunForm::default() })
}

fn second_flow() -> FlowConfig {
    FlowConfig { name: "later".to_owned(), ..flow_config(FLOW) }
}

fn of_second_flow(n: u64) -> sift_replay::stream::Flow {
    use sift_replay::stream::{ChannelValue, Flow, TimeValue};
    Flow::new("later", TimeValue::from_timestamp_nanos(FIRST + n as i64), &[ChannelValue::new("n", n)])
}

#[test]
fn runs_and_flows_that_come_while_the_line_is_down_are_made_when_it_is_up() {
    for held in [false, true] {
        let line = Line::start();
        block_on(async {
            let mut story = Story::begin(&line, line.builder()).await;
            let before = story.in_peace(50).await;
            let troubles = story.troubles();
            if held {
                line.proxy.hold(&BOTH);
            } else {
                line.proxy.refuse();
                line.proxy.reset_all();
            }
            story.send(50).await;
            // Whether or not the stream knows already.
            if !held {
                story.notices(troubles).await;
            }
            let begun = std::time::Instant::now();
            story.stream.attach_run(run("one")).await.unwrap();
            // Far above the second that it may take, far below what a call may.
            assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
            story.send(50).await;
            story.stream.add_new_flows(&[second_flow()]).await.unwrap();
            for n in 0..50 {
                story.stream.send(of_second_flow(n)).await.unwrap();
            }
            story.stream.attach_run(run("two")).await.unwrap();
            for n in 50..100 {
                story.stream.send(of_second_flow(n)).await.unwrap();
            }
            story.stream.detach_run();
            story.send(50).await;
            line.proxy.pass();
            let so_far = story.sent + 100;
            until("not all is acknowledged", || line.server.seen().acknowledged() == so_far).await;
            let after = story.sent;
            story.send(50).await;
            let finished = story.stream.finish().await.unwrap();
            assert_eq!((finished.requests, finished.acknowledged), (so_far + 50, so_far + 50), "{finished}");
            line.settle();
            line.check_checkpoints();
            let seen = line.server.seen();
            assert_eq!((seen.records.len() as u64, seen.malformed), (so_far + 50, 0));
            let runs: BTreeSet<_> = seen.records.values().map(|copies| copies.under.clone()).collect();
            assert!(runs.iter().all(|under| under.len() == 1), "a record went into several runs: {runs:?}");
            let run_of = |flow: &str, n: u64| {
                let time = i128::from(FIRST) + i128::from(n);
                let (_, copies) = seen.records.iter().find(|(id, _)| id.flow == flow && id.time == time).unwrap();
                copies.under.first().unwrap()[1].clone()
            };
            let [one, two] = [run_of(FLOW, 100), run_of("later", 60)];
            assert!(one != two && !one.is_empty() && !two.is_empty(), "{one} {two}");
            assert!((100..150).all(|n| run_of(FLOW, n) == one) && (0..50).all(|n| run_of("later", n) == one));
            assert!((50..100).all(|n| run_of("later", n) == two));
            assert!((0..100).chain(150..after + 50).all(|n| run_of(FLOW, n).is_empty()));
            let twice = before.into_iter().find(|n| numbers(&seen)[n] != (1, 1));
            assert_eq!(twice, None);
        });
    }
}

#[test]
fn eviction_while_the_line_is_down_loses_nothing() {
    let line = Line::start();
    line.proxy.refuse();
    block_on(async {
        let policy = DiskBackupPolicy { max_backup_file_size: 4096, ..line.policy() };
        let builder = line.builder().ingestion_data_channel_capacity(10).disk_backup_policy(policy);
        let mut story = Story::begin(&line, builder.checkpoint_interval(Duration::from_millis(20))).await;
        for round in 0..10 {
            story.send(100).await;
            if round == 5 {
                line.proxy.pass();
            }
        }
        until("not all is acknowledged", || line.server.seen().acknowledged() == 1000).await;
        assert!(story.stream.get_metrics_snapshot().old_messages_dropped_for_ingestion > 0);
        let finished = story.stream.finish().await.unwrap();
        assert_eq!(finished.acknowledged, 1000, "{finished}");
    });
    line.settle();
    super::support::assert_all(&line.server.seen(), 1000);
    assert_eq!(segments(&line.home()), Vec::<std::path::PathBuf>::new());
}
