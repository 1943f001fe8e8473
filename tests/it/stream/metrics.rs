//! A stream's numbers: that they are true, and that they reach Sift without getting in anybody's way.

mod figures;
mod sending;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use prost::Message;
use sift_replay::stream::{IngestionConfigEncoder, SiftStream, SiftStreamMetricsSnapshot, Transport};
use sift_rs::ingest::v1::ingest_with_config_data_channel_value::Type;
use sift_rs::ingestion_configs::v2::ListIngestionConfigFlowsRequest;
use sift_rs::ingestion_configs::v2::ingestion_config_service_client::IngestionConfigServiceClient;
use tonic::Status;

use crate::support::faulty::{Request, Server};

pub(crate) const METRICS: &str = "sift-stream-metrics-flow";
pub(crate) const LOGS: &str = "sift-stream-logs";

/// Longest that anything is waited for: a broken test must end.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Every request that a server has read, refused ones included, in order.
#[derive(Clone, Default)]
pub(crate) struct Kept(Arc<Mutex<Vec<Request>>>);

impl Kept {
    /// Keeps what comes to this server, until it is healed.
    pub(crate) fn of(server: &Server) -> Self {
        Self::refusing(server, |_| None)
    }

    pub(crate) fn refusing(
        server: &Server,
        refuse: impl Fn(&Request) -> Option<Status> + Send + Sync + 'static,
    ) -> Self {
        let kept = Self::default();
        let inner = kept.clone();
        server.refuse(move |request| {
            inner.0.lock().unwrap().push(request.clone());
            refuse(request)
        });
        kept
    }

    pub(crate) fn flow(&self, flow: &str) -> Vec<Request> {
        self.0.lock().unwrap().iter().filter(|request| request.flow == flow).cloned().collect()
    }

    /// Bytes that these requests had on the wire, with what gRPC puts before each.
    fn bytes(&self, flow: &str) -> u64 {
        self.flow(flow).iter().map(|request| request.encoded_len() as u64 + 5).sum()
    }

    /// Waits until so many of a flow have come.
    pub(crate) async fn wait(&self, flow: &str, such: impl Fn(&[Request]) -> bool) -> Vec<Request> {
        let begun = Instant::now();
        loop {
            let requests = self.flow(flow);
            if such(&requests) {
                return requests;
            }
            assert!(begun.elapsed() < PATIENCE, "still only {} of {flow}", requests.len());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// The channels of a flow, as they were registered with the server under the ids of this request.
pub(crate) async fn channels(server: &Server, request: &Request) -> Vec<String> {
    let mut client = IngestionConfigServiceClient::connect(server.uri()).await.unwrap();
    let ingestion_config_id = request.ingestion_config_id.clone();
    let list = ListIngestionConfigFlowsRequest { ingestion_config_id, page_size: 1000, ..Default::default() };
    let flows = client.list_ingestion_config_flows(list).await.unwrap().into_inner().flows;
    let flow = flows.into_iter().find(|flow| flow.name == request.flow).unwrap();
    flow.channels.into_iter().map(|channel| channel.name).collect()
}

/// A snapshot as it arrived, by the channels' names behind the stream's own.
pub(crate) fn by_name(channels: &[String], request: &Request) -> BTreeMap<String, f64> {
    let value = |value: &Option<Type>| match value {
        Some(Type::Double(value)) => *value,
        Some(Type::Uint64(value)) => *value as f64,
        other => panic!("{other:?}"),
    };
    let values = request.channel_values.iter().map(|channel| value(&channel.r#type));
    assert_eq!(request.channel_values.len(), channels.len());
    channels.iter().map(|name| name.strip_prefix("stream.rover.rover-v1.").unwrap().to_owned()).zip(values).collect()
}

/// Figures that only grow.
fn totals(snapshot: &SiftStreamMetricsSnapshot) -> Vec<u64> {
    let (s, c) = (snapshot, &snapshot.checkpoint);
    let mut totals = vec![
        s.loaded_flows,
        s.messages_received,
        s.bytes_received,
        s.messages_sent,
        s.bytes_sent,
        s.messages_acknowledged,
        s.messages_sent_to_backup,
        s.old_messages_dropped_for_ingestion,
        s.messages_replayed,
        s.messages_dead_lettered,
        s.messages_refused,
        s.total_retry_count,
        s.logs_dropped_channel_full,
        s.metrics_dropped_channel_full,
        c.checkpoint_count,
        c.failed_checkpoint_count,
        c.checkpoint_timer_reached_cnt,
        c.checkpoint_manually_reached_cnt,
        c.messages_confirmed,
        s.backups.total_messages,
    ];
    totals.extend(s.grpc_status_counts);
    totals
}

/// Looks at a stream's numbers again and again, and that they never go back.
#[derive(Default)]
pub(crate) struct Watcher(Option<SiftStreamMetricsSnapshot>);

impl Watcher {
    pub(crate) fn look<T: Transport>(
        &mut self,
        stream: &SiftStream<IngestionConfigEncoder, T>,
    ) -> SiftStreamMetricsSnapshot {
        let now = stream.get_metrics_snapshot();
        if let Some(before) = self.0.replace(now) {
            let pairs = totals(&before).into_iter().zip(totals(&now));
            assert!(pairs.into_iter().all(|(before, now)| before <= now), "{before:#?}\nthen {now:#?}");
            assert!(before.elapsed_secs <= now.elapsed_secs);
        }
        now
    }

    /// Waits until the numbers are such.
    pub(crate) async fn wait<T: Transport>(
        &mut self,
        stream: &SiftStream<IngestionConfigEncoder, T>,
        such: impl Fn(&SiftStreamMetricsSnapshot) -> bool,
    ) -> SiftStreamMetricsSnapshot {
        let begun = Instant::now();
        loop {
            let snapshot = self.look(stream);
            if such(&snapshot) {
                return snapshot;
            }
            assert!(begun.elapsed() < PATIENCE, "it's still {snapshot:#?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}
