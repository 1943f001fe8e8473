//! Each fault of the line and of the server, met by a stream with files: in the end everything is there, nothing else is,
//! and what went well isn't sent again.

use std::time::Duration;

use sift_replay::record::SyncPolicy;
use tonic::Status;

use super::line::{Line, Story, side_by_side, until};
use super::support::numbers;
use crate::support::destination::block_on;
use crate::support::faulty::{CallFate, Fate, rate_limited};
use crate::support::proxy::{BOTH, Way};

/// How many are sent before, during and after a fault.
const EACH: u64 = 200;

/// What goes wrong, and how it is mended.
type Fault = (fn(&Line), fn(&Line));

/// Something goes wrong in the middle; when the stream has noticed, it is mended.
fn through(fault: impl FnOnce(&Line), mend: impl FnOnce(&Line)) {
    let line = Line::start();
    block_on(async {
        let mut story = Story::begin(&line, line.builder()).await;
        let before = story.in_peace(EACH).await;
        let troubles = story.troubles();
        fault(&line);
        story.send(EACH).await;
        story.notices(troubles).await;
        line.check_checkpoints();
        mend(&line);
        story.confirmed().await;
        let after = story.in_peace(EACH).await;
        story.end_with_all(&[before, after]).await;
    });
}

fn pass(line: &Line) {
    line.proxy.pass();
}

#[test]
fn a_line_that_is_down_at_the_start_is_waited_for_beside_the_recording() {
    let faults: [Fault; 4] = [
        (|line| line.server.kill(), |line| line.server.server().revive()),
        (|line| line.proxy.refuse(), pass),
        (|line| line.proxy.hold(&BOTH), pass),
        (|line| line.proxy.swallow(&BOTH), pass),
    ];
    side_by_side(faults, |(fault, mend)| {
        let line = Line::start();
        fault(&line);
        block_on(async {
            let mut story = Story::begin(&line, line.builder()).await;
            story.send(EACH).await;
            mend(&line);
            story.confirmed().await;
            let after = story.in_peace(EACH).await;
            story.end_with_all(&[after]).await;
        });
    });
}

fn each_through<const N: usize>(faults: [Fault; N]) {
    side_by_side(faults, |(fault, mend)| through(fault, mend));
}

#[test]
fn a_line_that_is_gone_for_a_while_costs_nothing() {
    let refuse = |line: &Line| {
        line.proxy.refuse();
        line.proxy.reset_all();
    };
    let reset = |line: &Line| {
        line.proxy.reset_newcomers();
        line.proxy.reset_all();
    };
    each_through([(refuse, pass), (reset, pass)]);
}

#[test]
fn a_line_that_stalls_for_a_while_costs_nothing() {
    each_through([
        (|line| line.proxy.hold(&BOTH), pass),
        (|line| line.proxy.hold(&[Way::Up]), pass),
        (|line| line.proxy.hold(&[Way::Down]), pass),
    ]);
}

#[test]
fn answers_that_get_lost_are_not_taken_for_given() {
    each_through([(|line| line.proxy.drop_answers(), pass), (|line| line.proxy.swallow(&BOTH), pass)]);
}

#[test]
fn connections_that_have_gone_deaf_are_given_up() {
    // Nobody ever says so: calls that register something have 10 s.
    let pass_new = |line: &Line| line.proxy.pass_new();
    each_through([(|line| line.proxy.drop_answers(), pass_new), (|line| line.proxy.swallow(&BOTH), pass_new)]);
}

#[test]
fn half_closed_connections_cost_nothing() {
    for way in BOTH {
        let line = Line::start();
        block_on(async {
            let mut story = Story::begin(&line, line.builder()).await;
            let before = story.in_peace(EACH).await;
            let proxy = line.proxy.clone();
            line.server.after(EACH / 2, move || proxy.half_close(way));
            story.send(EACH).await;
            story.confirmed().await;
            let after = story.in_peace(EACH).await;
            story.end_with_all(&[before, after]).await;
        });
    }
}

#[test]
fn a_server_that_dies_and_comes_back_costs_nothing() {
    through(|line| line.server.kill(), |line| line.server.server().revive());
    // In the middle of a stream.
    through(
        |line| line.server.die_after(EACH / 2),
        |line| {
            line.server.wait_unless(|_| false, || line.server.is_dead());
            line.server.server().revive();
        },
    );
}

#[test]
fn streams_that_fail_in_passing_are_replayed() {
    let status = || Status::unavailable("restarting");
    let fates = [
        vec![Fate::Refused(status())],
        vec![Fate::RefusedAfter(5, status())],
        vec![Fate::RefusedAtEnd(status()), Fate::RefusedAtEnd(Status::internal("oops"))],
        vec![Fate::Reset, Fate::Reset],
        vec![Fate::Refused(status()); 8],
    ];
    side_by_side(fates, |fates| through(|line| line.server.next_streams(fates), |_| {}));
}

#[test]
fn streams_that_are_never_answered_are_failed_checkpoints() {
    for fate in [Fate::Silent, Fate::Unread] {
        let line = Line::start();
        block_on(async {
            let mut story = Story::begin(&line, line.builder()).await;
            line.server.next_streams([fate.clone(), fate]);
            story.send(EACH).await;
            story.confirmed().await;
            let failed = story.stream.get_metrics_snapshot().checkpoint.failed_checkpoint_count;
            assert!(failed > 0);
            story.end_with_all(&[]).await;
        });
        assert_eq!(line.server.seen().acknowledged_twice(), 0);
    }
}

#[test]
fn an_acknowledgement_that_comes_too_late_is_a_failed_checkpoint() {
    let line = Line::start();
    block_on(async {
        let mut story = Story::begin(&line, line.builder()).await;
        line.server.next_streams([Fate::Held]);
        story.send(EACH).await;
        story.notices(0).await;
        assert_eq!(story.stream.get_metrics_snapshot().checkpoint.failed_checkpoint_count, 1);
        line.server.release();
        story.confirmed().await;
        let after = story.in_peace(EACH).await;
        story.end_with_all(&[after]).await;
    });
}

#[test]
fn a_stream_that_breaks_while_nothing_is_sent_is_noticed() {
    let line = Line::start();
    block_on(async {
        let builder = line.builder().checkpoint_interval(Duration::from_secs(3600));
        let mut story = Story::begin(&line, builder).await;
        story.send(EACH).await;
        line.server.wait(|seen| seen.messages == EACH);
        line.proxy.reset_all();
        // Nothing is sent, and no checkpoint is due for an hour.
        story.confirmed().await;
        story.end_with_all(&[]).await;
    });
}

#[test]
fn a_line_that_flaps_delivers_everything() {
    let line = Line::start();
    block_on(async {
        let mut story = Story::begin(&line, line.builder()).await;
        for round in 0..12 {
            story.send(EACH / 2).await;
            // It comes to something, and then it's gone, for long enough that this is noticed now and then.
            let acknowledged = line.server.seen().acknowledged();
            until("nothing comes through", || line.server.seen().acknowledged() > acknowledged).await;
            story.send(EACH / 2).await;
            let troubles = story.troubles();
            line.proxy.refuse();
            line.proxy.reset_all();
            if round % 3 == 0 {
                story.send(1).await;
                story.notices(troubles).await;
            }
            line.proxy.pass();
        }
        story.confirmed().await;
        story.end_with_all(&[]).await;
    });
}

#[test]
fn credentials_that_are_refused_for_a_while_cost_nothing() {
    for status in [Status::unauthenticated("who are you?"), Status::permission_denied("not you")] {
        through(
            |line| {
                line.server.all_streams(Fate::Refused(status.clone()));
                line.server.next_calls("*", u64::MAX, CallFate::Refused(status));
            },
            |line| line.server.heal(),
        );
    }
}

#[test]
fn a_server_that_is_too_busy_is_given_time_and_refuses_nothing() {
    let wait = Duration::from_millis(30);
    let fates = [Fate::Refused(rate_limited(wait)), Fate::RefusedAfter(3, rate_limited(wait))];
    through(|line| line.server.next_streams(fates), |_| {});
    let line = Line::start();
    line.server.next_calls("CreateIngestionConfig", 2, CallFate::Refused(rate_limited(wait)));
    block_on(async {
        let mut story = Story::begin(&line, line.builder()).await;
        let all = story.in_peace(EACH).await;
        story.end_with_all(&[all]).await;
    });
}

#[test]
fn a_config_that_can_not_be_made_at_once_is_made_later() {
    let unavailable = || Status::unavailable("restarting");
    for fate in [CallFate::Refused(unavailable()), CallFate::DoneBut(unavailable())] {
        for times in [2, 12] {
            let line = Line::start();
            line.server.next_calls("CreateIngestionConfig", times, fate.clone());
            block_on(async {
                let mut story = Story::begin(&line, line.builder()).await;
                let all = story.in_peace(EACH).await;
                assert!(line.server.seen().calls("CreateIngestionConfig") > 0);
                story.end_with_all(&[all]).await;
            });
        }
    }
}

#[test]
fn calls_that_are_never_answered_do_not_hold_up_the_start() {
    let line = Line::start();
    line.server.next_calls("CreateIngestionConfig", 1, CallFate::Silent);
    block_on(async {
        let begun = std::time::Instant::now();
        let mut story = Story::begin(&line, line.builder()).await;
        // Far above the second that it may take, far below what each call may.
        assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
        story.send(EACH).await;
        story.confirmed().await;
        story.end_with_all(&[]).await;
    });
}

#[test]
fn a_config_that_was_just_made_may_be_unknown_where_records_arrive() {
    for times in [1, 3] {
        let line = Line::start();
        let unknown = Fate::Refused(Status::not_found("no such ingestion config"));
        line.server.next_streams(vec![unknown; times]);
        block_on(async {
            let mut story = Story::begin(&line, line.builder()).await;
            story.send(EACH).await;
            story.confirmed().await;
            assert_eq!(line.noted().dead_lettered, []);
            let after = story.in_peace(EACH).await;
            story.end_with_all(&[after]).await;
        });
    }
}

#[test]
fn what_is_refused_becomes_a_dead_letter_and_all_else_arrives() {
    for share in [3, 50, 1000] {
        let line = Line::start();
        let bad = move |n: u64| n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32 & 1023 < share;
        line.server.refuse(move |request| {
            let nanos = request.timestamp.as_ref().unwrap().nanos as u64;
            bad(nanos).then(|| Status::invalid_argument("not this one"))
        });
        block_on(async {
            let mut story = Story::begin(&line, line.builder()).await;
            let refused = (0..3 * EACH).filter(|n| bad(*n)).count() as u64;
            for _ in 0..3 {
                story.send(EACH).await;
                let acknowledged = line.server.seen().messages;
                until("nothing goes", || line.server.seen().messages > acknowledged).await;
            }
            story.confirmed().await;
            let finished = story.end().await;
            assert_eq!((finished.acknowledged, finished.dead_lettered), (3 * EACH - refused, refused));
            let numbers = numbers(&line.server.seen());
            assert_eq!(numbers.len() as u64, 3 * EACH, "some lack, or were invented");
            for (n, (acknowledged, _)) in numbers {
                assert_eq!(acknowledged > 0, !bad(n), "{n}");
            }
        });
    }
}

#[test]
fn when_everything_is_refused_for_a_while_nothing_is_given_up() {
    // Too many to be the records' fault: nothing becomes a dead letter in vain beyond that.
    let line = Line::start();
    line.server.refuse(|_| Some(Status::failed_precondition("closed for today")));
    block_on(async {
        let mut story = Story::begin(&line, line.builder()).await;
        story.send(3000).await;
        story.notices(0).await;
        until("nothing is believed", || line.noted().dead_lettered.len() >= 900).await;
        line.server.heal();
        story.confirmed().await;
        let finished = story.end().await;
        assert!(finished.dead_lettered <= 1100, "{finished}");
        assert_eq!(finished.acknowledged + finished.dead_lettered, 3000);
    });
}

#[test]
fn what_send_promised_to_be_durable_survives_a_stream_that_is_dropped() {
    let line = Line::start();
    block_on(async {
        line.proxy.hold(&[Way::Down]);
        let builder = line.builder().recorder_options(sift_replay::record::RecorderOptions {
            sync: SyncPolicy::EveryRecord,
            ..sift_replay::record::RecorderOptions::default()
        });
        let mut story = Story::begin(&line, builder).await;
        story.send(30).await;
        drop(story.stream);
        line.peace();
        let again = async || match line.builder().build().await {
            Ok(stream) => Some(stream),
            Err(error) => {
                assert!(error.to_string().contains("alone with its files"), "{error}");
                None
            }
        };
        let mut stream = again().await;
        while stream.is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
            stream = again().await;
        }
        let mut story = Story { line: &line, stream: stream.unwrap(), sent: 30 };
        story.send(10).await;
        story.confirmed().await;
        let finished = story.stream.finish().await.unwrap();
        assert_eq!((finished.requests, finished.acknowledged), (10, 10));
        line.settle();
        line.check_checkpoints();
    });
    super::support::assert_all(&line.server.seen(), 40);
}
