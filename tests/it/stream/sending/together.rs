//! Several tasks and threads at one stream.

use std::sync::Arc;

use sift_replay::record::{Timestamp, Value};
use sift_replay::stream::{Finished, SiftStreamTrySendError, Transport, TrySendError};
use sift_rs::ingest::v1::IngestWithConfigDataStreamRequest as Request;

use super::super::observed::{Heard, Stream, in_files, recording, request_of, requests};
use super::super::support::{FLOW, assert_each_once, live_only, message, to, with_backups};
use crate::support::destination::block_on;
use crate::support::faulty::Faulty;

const SENDERS: u64 = 8;
const EACH: u64 = 250;

/// Each sends its own numbers, in its own way.
async fn all_at_once<T: Transport + 'static>(stream: Stream<T>) -> Finished {
    let stream = Arc::new(stream);
    let mut tasks = Vec::new();
    for sender in 0..SENDERS {
        let (stream, numbers) = (stream.clone(), sender * EACH..(sender + 1) * EACH);
        tasks.push(match sender % 4 {
            0 => tokio::spawn(async move {
                for n in numbers {
                    stream.send(message(n)).await.unwrap();
                }
            }),
            1 => tokio::spawn(async move { stream.send_requests(requests(numbers)).await.unwrap() }),
            2 => tokio::spawn(async move {
                let flow = stream.flow(FLOW).unwrap();
                for n in numbers {
                    let time = Timestamp::from_unix_ns(1_700_000_000_000_000_000 + n as i64);
                    stream.record(&flow, time, &[Value::Uint64(n), Value::Empty]).await.unwrap();
                }
            }),
            // A thread without a runtime, which sends what comes back again.
            _ => tokio::task::spawn_blocking(move || {
                for n in numbers {
                    let mut next = request_of(n);
                    while let Err(error) = stream.try_send(next) {
                        next = match error {
                            SiftStreamTrySendError::Channel(TrySendError::Full(back)) => back,
                            other => panic!("{other}"),
                        };
                        std::thread::yield_now();
                    }
                }
            }),
        });
    }
    for task in tasks {
        task.await.unwrap();
    }
    Arc::into_inner(stream).unwrap().finish().await.unwrap()
}

/// gRPC streams are taken in beside each other: only what goes through one of them has an order.
#[test]
fn live_only_sends_what_many_send_each_once_through_a_small_queue() {
    let server = Faulty::start();
    block_on(async {
        let stream = live_only(&server.uri()).ingestion_data_channel_capacity(20).build().await.unwrap();
        assert_eq!(all_at_once(stream).await.acknowledged, SENDERS * EACH);
    });
    assert_each_once(&server.seen(), SENDERS * EACH);
}

#[track_caller]
fn assert_each_once_in_order(came: &[Request]) {
    let number = |request: &Request| request.timestamp.unwrap().nanos as u64;
    for sender in 0..SENDERS {
        let own = sender * EACH..(sender + 1) * EACH;
        let came: Vec<_> = came.iter().map(number).filter(|n| own.contains(n)).collect();
        assert_eq!(came, own.collect::<Vec<_>>());
    }
    assert_eq!(came.len() as u64, SENDERS * EACH);
}

#[test]
fn live_only_sends_what_many_send_each_once_and_each_ones_in_order() {
    let server = Faulty::start();
    let heard = Heard::at(&server);
    block_on(async {
        let stream = live_only(&server.uri()).build().await.unwrap();
        assert_eq!(all_at_once(stream).await.acknowledged, SENDERS * EACH);
    });
    assert_each_once_in_order(&heard.bare());
}

#[test]
fn with_backups_sends_what_many_send_each_once_and_each_ones_in_order() {
    let (server, dir) = (Faulty::start(), tempfile::tempdir().unwrap());
    let heard = Heard::at(&server);
    block_on(async {
        let builder = with_backups(&server.uri(), dir.path()).backup_data_channel_capacity(20);
        assert_eq!(all_at_once(builder.build().await.unwrap()).await.acknowledged, SENDERS * EACH);
    });
    assert_each_once_in_order(&heard.bare());
}

#[test]
fn file_backup_records_what_many_send_each_once_and_each_ones_in_order() {
    let dir = tempfile::tempdir().unwrap();
    block_on(async {
        let builder = recording(to("https://nobody.invalid"), dir.path()).backup_data_channel_capacity(20);
        assert_eq!(all_at_once(builder.build().await.unwrap()).await.on_disk, SENDERS * EACH);
    });
    assert_each_once_in_order(&in_files(dir.path()));
}
