//! What streams sent, request by request, wherever it went.
#![allow(dead_code, reason = "each subject uses some of it")]

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use prost::Message;
use sift_replay::stream::{FileBackupBuilder, Flow, IngestionConfigEncoder, SiftStream, StreamConfigBuilder};
use sift_rs::ingest::v1::IngestWithConfigDataStreamRequest;
use sift_rs::ingest::v1::ingest_with_config_data_channel_value::Type;
use sift_rs::ingest::v1::{IngestWithConfigDataChannelValue, IngestWithConfigDataStreamRequest as Request};

use super::support::FLOW;
use crate::support::destination::received;
use crate::support::faulty::Server;

/// All that a server was sent, in the order in which it came.
#[derive(Clone, Default)]
pub(crate) struct Heard(Arc<Mutex<Vec<Request>>>);

impl Heard {
    /// Listens; nothing is refused.
    pub(crate) fn at(server: &Server) -> Self {
        let heard = Self::default();
        let listener = heard.clone();
        server.refuse(move |request| {
            listener.0.lock().unwrap().push(request.clone());
            None
        });
        heard
    }

    /// As they came, ids and all.
    pub(crate) fn whole(&self) -> Vec<Request> {
        self.0.lock().unwrap().clone()
    }

    /// What they say, without what the stream adds.
    pub(crate) fn bare(&self) -> Vec<Request> {
        self.whole().into_iter().map(bare).collect()
    }
}

/// What a request says, without ids and directives.
pub(crate) fn bare(request: Request) -> Request {
    Request {
        flow: request.flow,
        timestamp: request.timestamp,
        channel_values: request.channel_values,
        ..Default::default()
    }
}

/// What the files below a directory hold, session by session.
pub(crate) fn in_files(dir: &Path) -> Vec<Request> {
    let records = received(dir).into_iter().flat_map(|session| session.records);
    records.map(|record| Request::decode(&record[..]).unwrap()).collect()
}

/// A stream that records below `dir`.
pub(crate) fn recording(base: StreamConfigBuilder, dir: &Path) -> FileBackupBuilder {
    let policy = sift_replay::stream::DiskBackupPolicy {
        backups_dir: Some(dir.to_owned()),
        ..sift_replay::stream::DiskBackupPolicy::default()
    };
    base.file_backup().disk_backup_policy(policy)
}

pub(crate) type Stream<T> = SiftStream<IngestionConfigEncoder, T>;

/// A request of the usual flow, as a stream makes it: `None` is empty.
pub(crate) fn request(time: i64, n: Option<u64>, text: Option<&str>) -> Request {
    let empty = || Type::Empty(pbjson_types::Empty {});
    let values = [n.map_or_else(empty, Type::Uint64), text.map_or_else(empty, |text| Type::String(text.to_owned()))];
    let values = values.map(|value| IngestWithConfigDataChannelValue { r#type: Some(value) });
    let timestamp = pbjson_types::Timestamp {
        seconds: time.div_euclid(1_000_000_000),
        nanos: time.rem_euclid(1_000_000_000) as i32,
    };
    IngestWithConfigDataStreamRequest {
        flow: FLOW.to_owned(),
        timestamp: Some(timestamp),
        channel_values: values.to_vec(),
        ..Default::default()
    }
}

/// What [`message`](super::support::message) `n` says.
pub(crate) fn request_of(n: u64) -> Request {
    request(1_700_000_000_000_000_000 + n as i64, Some(n), None)
}

pub(crate) fn requests(numbers: std::ops::Range<u64>) -> Vec<Request> {
    numbers.map(request_of).collect()
}

/// A message that no flow of a stream fits.
pub(crate) fn of_flow(name: &str) -> Flow {
    Flow { flow_name: name.to_owned(), ..super::support::message(0) }
}

/// Polls a future once.
pub(crate) fn once<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> Poll<T> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}
