//! Random bursts, options, runs, flows and faults, from a seed; then peace; then everything must be there, once as far as
//! nothing went wrong, and what the journal says must be true.
//!
//! `SIFT_REPLAY_ORACLE_ROUNDS` sets the number of rounds, `SIFT_REPLAY_ORACLE_SEED` the first seed: a failure tells the
//! seed to give.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use sift_replay::catalog::STATE_DIR;
use sift_replay::record::{RecorderOptions, SyncPolicy};
use sift_replay::replay::{Checkpoints, StateDirs};
use sift_replay::segment::Disk;
use sift_replay::stream::{
    ChannelValue, DiskBackupPolicy, Flow, FlowConfig, LiveWithBackupsBuilder, RollingFilePolicy, RunForm, RunSelector,
    TimeValue,
};
use tonic::Status;

use super::line::{Line, Stream, side_by_side, until};
use super::support::{FLOW, flow_config};
use crate::support::destination::block_on;
use crate::support::faulty::{CallFate, Fate, Server, rate_limited};
use crate::support::proxy::{BOTH, Proxy};

pub(crate) fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap())
}

/// Something goes wrong with the line or the server.
pub(crate) fn disturb(rng: &mut Rng, server: &Arc<Server>, proxy: &Proxy) {
    let way = BOTH[rng.usize(..2)];
    match rng.usize(..16) {
        0 | 1 => proxy.reset_all(),
        2 => proxy.half_close(way),
        3 => proxy.cut_after(way, rng.u64(1..20_000)),
        4 => proxy.delay(&BOTH, Duration::from_millis(rng.u64(1..10))),
        5 => {
            proxy.drop_answers();
            proxy.pass_new();
        }
        6 => proxy.hold(&[way]),
        7 => {
            proxy.refuse();
            proxy.reset_all();
        }
        8 => proxy.swallow(&[way]),
        9 => server.next_streams([Fate::RefusedAtEnd(Status::unavailable("busy")), Fate::Reset]),
        10 => server.next_streams([Fate::Silent]),
        11 => server.next_streams([Fate::RefusedAfter(rng.u64(1..9), rate_limited(Duration::from_millis(30)))]),
        12 => server.next_calls("*", 2, CallFate::DoneBut(Status::unavailable("busy"))),
        13 => server.all_streams(Fate::Refused(Status::unauthenticated("who are you?"))),
        14 => server.next_streams([Fate::Held, Fate::Unread]),
        _ if server.is_dead() => {}
        _ => server.kill(),
    }
}

#[test]
#[allow(clippy::print_stderr, reason = "shown only when it fails")]
fn whatever_happens_to_a_stream_everything_sent_is_delivered_or_a_dead_letter_and_nothing_else_is() {
    let first = number("SIFT_REPLAY_ORACLE_SEED", 1);
    let seeds = first..first + number("SIFT_REPLAY_ORACLE_ROUNDS", 3);
    // A few at a time.
    for seeds in seeds.collect::<Vec<_>>().chunks(3) {
        eprintln!("seeds {seeds:?}");
        side_by_side(seeds, |seed| block_on(round(*seed)));
    }
}

fn options(rng: &mut Rng, line: &Line, retain: bool) -> LiveWithBackupsBuilder {
    let sync = match rng.usize(..4) {
        0 => SyncPolicy::EveryRecord,
        1 => SyncPolicy::Interval(Duration::from_millis(rng.u64(1..100))),
        2 => SyncPolicy::Bytes(rng.u64(1..10_000)),
        _ => SyncPolicy::OnRotation,
    };
    let recorder = RecorderOptions {
        sync,
        frame_bytes: rng.usize(256..20_000),
        flush_interval: Duration::from_millis(rng.u64(1..30)),
        ..RecorderOptions::default()
    };
    let most = if rng.bool() { Some(rng.usize(1..5)) } else { None };
    let policy = DiskBackupPolicy {
        max_backup_file_size: rng.usize(2_000..200_000),
        rolling_file_policy: RollingFilePolicy { max_file_count: most },
        retain_backups: retain,
        ..line.policy()
    };
    line.builder()
        .recorder_options(recorder)
        .disk_backup_policy(policy)
        .checkpoint_interval(Duration::from_millis(rng.u64(10..400)))
        .ingestion_data_channel_capacity(if rng.bool() { rng.usize(1..50) } else { 10_000 })
        .backup_data_channel_capacity(if rng.bool() { rng.usize(1..50) } else { 10_000 })
        .acknowledgement_timeout(Duration::from_millis(300))
        .finish_timeout(Duration::from_secs(1))
}

/// Message `n` of a flow.
fn of(flow: &str, n: u64) -> Flow {
    let time = TimeValue::from_timestamp_nanos(1_700_000_000_000_000_000 + n as i64);
    Flow::new(flow, time, &[ChannelValue::new("n", n)])
}

/// What a round has sent so far: of each number, into which run.
#[derive(Default)]
struct Sent {
    runs: Vec<Option<usize>>,
    run: Option<usize>,
    flows: u64,
}

impl Sent {
    async fn act(&mut self, rng: &mut Rng, stream: &mut Stream) {
        match rng.usize(..8) {
            0 => {
                let run = rng.usize(..4);
                let key = format!("run {run}");
                let form = RunForm { name: key.clone(), client_key: key, ..RunForm::default() };
                stream.attach_run(RunSelector::ByForm(form)).await.unwrap();
                self.run = Some(run);
            }
            1 => {
                stream.detach_run();
                self.run = None;
            }
            2 => {
                let flow = FlowConfig { name: format!("flow {}", self.flows), ..flow_config(FLOW) };
                stream.add_new_flows(&[flow]).await.unwrap();
                self.flows += 1;
            }
            3 => tokio::time::sleep(Duration::from_millis(rng.u64(..60))).await,
            _ => {
                for _ in 0..rng.u64(1..120) {
                    let n = self.runs.len() as u64;
                    let flow = rng.u64(..=self.flows);
                    let name = if flow == self.flows { FLOW.to_owned() } else { format!("flow {flow}") };
                    stream.send(of(&name, n)).await.unwrap();
                    self.runs.push(self.run);
                }
            }
        }
    }
}

async fn round(seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let (line, mut sent, retain) = (Line::start(), Sent::default(), rng.bool());
    let share = [0, 0, 5, 100][rng.usize(..4)];
    let bad = move |nanos: i32| (nanos as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32 & 1023 < share;
    let refuse = |line: &Line| {
        line.server.refuse(move |request| {
            bad(request.timestamp.as_ref().unwrap().nanos).then(|| Status::invalid_argument("not this one"))
        });
    };
    refuse(&line);
    let (mut dead_lettered, mut done) = (0, BTreeMap::new());
    for _ in 0..rng.u64(1..4) {
        if rng.u32(..3) == 0 {
            disturb(&mut rng, &line.server.server(), &line.proxy);
        }
        let mut stream = options(&mut rng, &line, retain).build().await.unwrap();
        for flow in 0..sent.flows {
            let flow = FlowConfig { name: format!("flow {flow}"), ..flow_config(FLOW) };
            stream.add_new_flows(&[flow]).await.unwrap();
        }
        sent.run = None;
        for _ in 0..rng.u64(1..4) {
            for _ in 0..rng.u64(..3) {
                let (server, proxy) = (Arc::downgrade(&line.server.server()), line.proxy.clone());
                let mut rng = rng.fork();
                line.server.after(rng.u64(0..200), move || {
                    if let Some(server) = server.upgrade() {
                        disturb(&mut rng, &server, &proxy);
                    }
                });
            }
            for _ in 0..rng.u64(3..12) {
                sent.act(&mut rng, &mut stream).await;
            }
            if rng.bool() {
                line.peace();
                refuse(&line);
            }
        }
        if retain {
            line.check_checkpoints();
        }
        if rng.bool() {
            line.peace();
            refuse(&line);
        }
        if line.server.is_dead() || rng.bool() {
            // Somebody is impatient.
            drop(tokio::time::timeout(Duration::from_millis(rng.u64(..300)), stream.finish()).await);
        } else {
            let before = sent.runs.len();
            let finished = stream.finish().await.unwrap();
            assert!(finished.requests <= before as u64);
            dead_lettered += finished.dead_lettered;
        }
        // Its files are free when its tasks have ended.
        line.peace();
        refuse(&line);
        let dirs = StateDirs::resolve_in(&[line.home()], None, None);
        let free = || Checkpoints::open(Arc::new(Disk), dirs.clone()).is_ok();
        until("its files aren't let go of", free).await;
        line.settle();
        if retain {
            line.check_checkpoints();
            line.check_done(&mut done);
        }
    }
    let stream = options(&mut rng, &line, retain).finish_timeout(Duration::from_secs(30)).build().await.unwrap();
    let expected: Vec<bool> = (0..sent.runs.len()).map(|n| bad(n as i32)).collect();
    let settled = || {
        let noted = line.noted();
        (noted.acknowledged.len() + noted.dead_lettered.len()) >= expected.len()
    };
    let what = format!("seed {seed}: not everything is delivered");
    until(&what, settled).await;
    let finished = stream.finish().await.unwrap();
    assert_eq!((finished.requests, finished.on_disk), (0, 0), "seed {seed}");
    line.settle();
    check(seed, &line, &sent, &expected, retain);
    if retain {
        line.check_done(&mut done);
    }
    assert!(dead_lettered <= expected.iter().filter(|bad| **bad).count() as u64, "seed {seed}");
}

fn check(seed: u64, line: &Line, sent: &Sent, refused: &[bool], retain: bool) {
    let seen = line.server.seen();
    assert_eq!((seen.records.len(), seen.malformed), (sent.runs.len(), 0), "seed {seed}: {}", seen.figures());
    let mut ids: Vec<(Option<usize>, String)> = Vec::new();
    for (id, copies) in &seen.records {
        let n = (id.time - 1_700_000_000_000_000_000) as usize;
        // While faults end, for a moment nothing is refused.
        let is_done = copies.acknowledged > 0 || refused[n] && copies.refused > 0;
        assert!(is_done, "seed {seed}: {n} {copies:?}");
        assert_eq!(copies.under.len(), 1, "seed {seed}: {n} went to several places: {copies:?}");
        let run = copies.under.first().unwrap()[1].clone();
        assert_eq!(run.is_empty(), sent.runs[n].is_none(), "seed {seed}: {n}");
        ids.push((sent.runs[n], run));
    }
    ids.sort();
    ids.dedup();
    let runs = ids.iter().map(|(run, _)| run);
    assert_eq!(runs.clone().count(), runs.collect::<std::collections::BTreeSet<_>>().len(), "seed {seed}: {ids:?}");
    if retain {
        line.check_checkpoints();
    } else {
        let mut left = super::support::segments(&line.home());
        left.retain(|path| !path.starts_with(line.home().join(STATE_DIR)));
        assert_eq!(left, Vec::<std::path::PathBuf>::new(), "seed {seed}");
    }
}
