//! Queues that are full, and streams that are closed: who waits, and what comes back.

use std::pin::pin;
use std::task::Poll;

use sift_replay::record::{RecordError, RecorderOptions, SyncPolicy, Timestamp, Value};
use sift_replay::stream::{
    ChannelValue, DiskBackupPolicy, Flow, FlowBuilder, SiftStreamSendError, SiftStreamTrySendError, TimeValue,
    TrySendError,
};
use tonic::Status;

use super::super::observed::{Heard, once, recording, request, request_of, requests};
use super::super::support::{FLOW, assert_each_once, live_only, message, numbers, to};
use crate::support::destination::block_on;
use crate::support::faulty::{Fate, Faulty};

/// Awaits something while all held streams are released, also those that are held only then.
async fn releasing<T>(server: &Faulty, future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    loop {
        server.release();
        let waited = tokio::time::timeout(std::time::Duration::from_millis(5), future.as_mut()).await;
        if let Ok(output) = waited {
            return output;
        }
    }
}

#[test]
fn a_queue_of_ten_holds_ten_unacknowledged_requests_and_hands_back_the_rest() {
    let server = Faulty::start();
    server.all_streams(Fate::Held);
    block_on(async {
        let stream = live_only(&server.uri()).ingestion_data_channel_capacity(10).build().await.unwrap();
        for n in 0..4 {
            stream.try_send(message(n)).unwrap();
        }
        // They are on their way, and still count.
        server.wait(|seen| seen.messages == 4);
        let back = stream.try_send_requests(requests(4..15)).unwrap_err();
        assert!(back.is_full() && !back.is_closed());
        assert_eq!(back.into_inner(), requests(10..15));
        for n in 10..13 {
            match stream.try_send(message(n)).unwrap_err() {
                SiftStreamTrySendError::Channel(TrySendError::Full(back)) => assert_eq!(back, request_of(n)),
                other => panic!("{other}"),
            }
        }
        let partial = Flow::new(FLOW, TimeValue::from_timestamp_nanos(-5), &[ChannelValue::new("text", "part")]);
        match stream.try_send(partial).unwrap_err() {
            SiftStreamTrySendError::Channel(full) => assert_eq!(full.into_inner(), request(-5, None, Some("part"))),
            other => panic!("{other}"),
        }
        let descriptor = stream.get_flow_descriptor(FLOW).unwrap();
        let mut built = FlowBuilder::new(&descriptor);
        built.set_with_key("n", 3_u64).unwrap();
        match stream.try_send(built).unwrap_err() {
            SiftStreamTrySendError::Channel(full) => {
                assert_eq!(full.into_inner().channel_values, request(0, Some(3), None).channel_values);
            }
            other => panic!("{other}"),
        }
        let (flow, values) = (stream.flow(FLOW).unwrap(), [Value::Empty, Value::Empty]);
        let error = stream.try_record(&flow, Timestamp::now(), &values).unwrap_err();
        assert!(matches!(error, RecordError::Full), "{error}");
        // What is wrong is told as such, full or not.
        let error = stream.try_send(super::of_flow("nubmers")).unwrap_err();
        assert!(matches!(error, SiftStreamTrySendError::EncodeError(_)), "{error}");
        server.all_streams(Fate::Taken);
        assert_eq!(releasing(&server, stream.finish()).await.unwrap().acknowledged, 10);
    });
    assert_each_once(&server.seen(), 10);
}

#[test]
fn send_waits_for_room_and_goes_on_and_who_gives_up_waiting_has_sent_nothing() {
    let server = Faulty::start();
    server.all_streams(Fate::Held);
    block_on(async {
        let stream = live_only(&server.uri()).ingestion_data_channel_capacity(10).build().await.unwrap();
        stream.try_send_requests(requests(0..10)).unwrap();
        {
            let (mut one, mut batch) =
                (pin!(stream.send(message(500))), pin!(stream.send_requests(requests(600..700))));
            let (flow, values) = (stream.flow(FLOW).unwrap(), [Value::Uint64(1), Value::Empty]);
            let mut prepared = pin!(stream.record(&flow, Timestamp::from_unix_ns(1), &values));
            for _ in 0..3 {
                assert!(once(one.as_mut()).is_pending());
                assert!(once(batch.as_mut()).is_pending());
                assert!(once(prepared.as_mut()).is_pending());
            }
        }
        let mut waiting = Box::pin(stream.send(message(10)));
        assert!(once(waiting.as_mut()).is_pending());
        server.all_streams(Fate::Taken);
        releasing(&server, waiting).await.unwrap();
        releasing(&server, stream.send_requests(requests(11..200))).await.unwrap();
        assert_eq!(stream.finish().await.unwrap().acknowledged, 200);
    });
    assert_each_once(&server.seen(), 200);
}

#[test]
fn queues_for_one_request_or_none_at_all_pass_everything_on() {
    for capacity in [0, 1, 2, 3, 5] {
        let server = Faulty::start();
        block_on(async {
            let stream = live_only(&server.uri()).ingestion_data_channel_capacity(capacity).build().await.unwrap();
            for n in 0..25 {
                stream.send(message(n)).await.unwrap();
            }
            assert_eq!(stream.finish().await.unwrap().acknowledged, 25);
        });
        assert_each_once(&server.seen(), 25);
    }
}

/// Bytes of each of the messages below in the queue, at least.
const LONG: usize = 1000;

fn long(n: u64) -> Flow {
    let mut flow = message(n);
    flow.values.push(ChannelValue::new("text", "x".repeat(LONG)));
    flow
}

#[test]
fn a_queue_is_bounded_in_bytes_and_one_request_may_be_larger_than_it() {
    let server = Faulty::start();
    server.all_streams(Fate::Held);
    block_on(async {
        let stream = live_only(&server.uri()).ingestion_data_channel_bytes(10 * LONG).build().await.unwrap();
        let taken = (0..).take_while(|n| stream.try_send(long(*n)).is_ok()).count();
        // Each is a little more than its text.
        assert_eq!(taken, 10);
        server.all_streams(Fate::Taken);
        let mut large = message(10);
        large.values.push(ChannelValue::new("text", "y".repeat(100 * LONG)));
        releasing(&server, stream.send(large)).await.unwrap();
        for n in 11..20 {
            stream.send(long(n)).await.unwrap();
        }
        assert_eq!(stream.finish().await.unwrap().acknowledged, 20);
    });
    assert_each_once(&server.seen(), 20);
}

#[test]
fn a_closed_stream_hands_everything_back_and_says_why() {
    let server = Faulty::start();
    let heard = Heard::at(&server);
    block_on(async {
        let stream =
            live_only(&server.uri()).ingestion_data_channel_capacity(2).retry_policy(None).build().await.unwrap();
        assert_eq!(stream.closed(), None);
        server.all_streams(Fate::Held);
        stream.try_send_requests(requests(0..2)).unwrap();
        let mut one = Box::pin(stream.send(message(2)));
        let mut batch = Box::pin(stream.send_requests(requests(3..6)));
        assert!(once(one.as_mut()).is_pending() && once(batch.as_mut()).is_pending());
        server.wait(|seen| seen.held_streams > 0);
        server.all_streams(Fate::Refused(Status::unavailable("gone for lunch")));
        server.kill();
        match one.await.unwrap_err() {
            SiftStreamSendError::ChannelClosed(back) => assert_eq!(back, request_of(2)),
            other => panic!("{other}"),
        }
        assert_eq!(batch.await.unwrap_err().into_inner(), requests(3..6));
        let why = stream.closed().unwrap();
        assert!(why.contains("connection failed"), "{why}");
        match stream.send(message(7)).await.unwrap_err() {
            SiftStreamSendError::ChannelClosed(back) => assert_eq!(back, request_of(7)),
            other => panic!("{other}"),
        }
        match stream.try_send(message(8)).unwrap_err() {
            SiftStreamTrySendError::Channel(TrySendError::Closed(back)) => assert_eq!(back, request_of(8)),
            other => panic!("{other}"),
        }
        let back = stream.try_send_requests(requests(9..12)).unwrap_err();
        assert!(back.is_closed());
        assert_eq!(back.into_inner(), requests(9..12));
        let (flow, values) = (stream.flow(FLOW).unwrap(), [Value::Empty, Value::Empty]);
        let error = stream.record(&flow, Timestamp::now(), &values).await.unwrap_err();
        assert!(matches!(error, RecordError::Finished), "{error}");
        let failed = stream.finish().await.unwrap_err();
        assert_eq!(failed.undelivered, requests(0..2));
        assert!(failed.to_string().contains("2 of 2 requests are neither acknowledged nor on disk"), "{failed}");
        assert!(failed.reason.contains("connection failed"), "{failed}");
    });
    assert!(heard.bare().iter().all(|request| requests(0..2).contains(request)));
    assert!(numbers(&server.seen()).values().all(|(acknowledged, _)| *acknowledged == 0));
}

#[test]
fn a_recording_whose_directory_is_gone_closes_and_hands_everything_back() {
    let dir = tempfile::tempdir().unwrap();
    block_on(async {
        let policy = DiskBackupPolicy {
            backups_dir: Some(dir.path().to_owned()),
            max_backup_file_size: 1,
            ..DiskBackupPolicy::default()
        };
        let options = RecorderOptions { sync: SyncPolicy::EveryRecord, ..RecorderOptions::default() };
        let stream = recording(to("https://nobody.invalid"), dir.path())
            .disk_backup_policy(policy)
            .recorder_options(options)
            .build()
            .await
            .unwrap();
        stream.send(message(0)).await.unwrap();
        let home = dir.path().join("rover-v1");
        std::fs::rename(&home, dir.path().join("elsewhere")).unwrap();
        std::fs::write(&home, "a file").unwrap();
        // The next segment can't be made; what waits for its sync learns of it, and so does what comes behind.
        let mut sent = 1;
        let back = loop {
            match stream.send(message(sent)).await {
                Ok(()) => sent += 1,
                Err(SiftStreamSendError::ChannelClosed(back)) => break back,
                Err(other) => panic!("{other}"),
            }
        };
        assert_eq!(back, request_of(sent));
        assert!(stream.closed().unwrap().contains("recording has stopped"), "{:?}", stream.closed());
        let back = stream.try_send_requests(requests(100..103)).unwrap_err();
        assert!(back.is_closed());
        assert_eq!(back.into_inner(), requests(100..103));
        // What went back isn't accepted; the rest is on disk, as said when it was sent.
        let finished = stream.finish().await.unwrap();
        assert_eq!((finished.requests, finished.on_disk), (sent, sent), "{finished:?}");
    });
}

#[test]
fn nothing_is_ever_pending_while_there_is_room() {
    let server = Faulty::start();
    block_on(async {
        let stream = live_only(&server.uri()).build().await.unwrap();
        assert!(matches!(once(pin!(stream.send(message(0)))), Poll::Ready(Ok(()))));
        assert!(matches!(once(pin!(stream.send_requests(requests(1..100)))), Poll::Ready(Ok(()))));
        stream.finish().await.unwrap();
    });
    assert_each_once(&server.seen(), 100);
}
