//! What a receiver has of a program.

use prost::Message;
use sift_rs::assets::v1::asset_service_client::AssetServiceClient;
use sift_rs::assets::v1::{Asset, ListAssetsRequest};
use sift_rs::ingest::v1::IngestWithConfigDataStreamRequest;
use sift_rs::ingestion_configs::v2::ingestion_config_service_client::IngestionConfigServiceClient;
use sift_rs::ingestion_configs::v2::{
    FlowConfig, IngestionConfig, ListIngestionConfigFlowsRequest, ListIngestionConfigsRequest,
};
use sift_rs::runs::v2::run_service_client::RunServiceClient;
use sift_rs::runs::v2::{CreateRunRequest, ListRunsRequest, Run};

use crate::support::destination::Rig;

use super::programs::BEGIN;

/// A session's asset, client key and run. Which flows its config had when its first record came is a matter of timing.
pub(super) type Key = (String, String, Option<CreateRunRequest>);

/// All that a receiver knows, without what clocks and chance say.
pub(super) struct World {
    pub(super) assets: Vec<Asset>,
    pub(super) runs: Vec<Run>,
    flows: Vec<FlowConfig>,
    pub(super) sessions: Vec<(Key, Vec<Vec<u8>>)>,
}

pub(super) async fn world(rig: Rig, in_order: bool) -> World {
    let channel = tonic::transport::Channel::from_shared(rig.uri()).unwrap().connect().await.unwrap();
    let assets = AssetServiceClient::new(channel.clone()).list_assets(ListAssetsRequest::default()).await.unwrap();
    let runs = RunServiceClient::new(channel.clone()).list_runs(ListRunsRequest::default()).await.unwrap();
    let mut configs = IngestionConfigServiceClient::new(channel);
    let known = configs.list_ingestion_configs(ListIngestionConfigsRequest::default()).await.unwrap().into_inner();
    let mut flows = Vec::new();
    for config in known.ingestion_configs {
        let IngestionConfig { ingestion_config_id, .. } = config;
        let request = ListIngestionConfigFlowsRequest { ingestion_config_id, ..Default::default() };
        flows.extend(configs.list_ingestion_config_flows(request).await.unwrap().into_inner().flows);
    }
    flows.sort_by(|a, b| a.name.cmp(&b.name));
    drop(configs);
    let asset = |asset: Asset| Asset {
        created_date: None,
        modified_date: None,
        organization_id: String::new(),
        tags: sorted(asset.tags),
        ..asset
    };
    let run = |run: Run| Run {
        created_date: None,
        modified_date: None,
        start_time: None,
        stop_time: None,
        organization_id: String::new(),
        ..run
    };
    let assets = assets.into_inner().assets.into_iter().map(asset).collect();
    let mut runs: Vec<Run> = runs.into_inner().runs.into_iter().map(run).collect();
    runs.sort_by(|a, b| a.name.cmp(&b.name));
    let sessions = rig.finish().await.into_iter().map(|session| {
        let records = if in_order { session.records } else { sorted(session.records) };
        ((session.config.asset_name, session.config.client_key, session.run), records)
    });
    let mut sessions: Vec<_> = sessions.collect();
    sessions.sort_by_key(|((_, _, run), _)| run.as_ref().map(|run| run.name.clone()));
    World { assets, runs, flows, sessions }
}

fn sorted<T: Ord>(mut list: Vec<T>) -> Vec<T> {
    list.sort();
    list
}

/// Of many records only the first that differ are shown.
#[track_caller]
pub(super) fn assert_same(ours: &World, official: &World) {
    assert_eq!(ours.assets, official.assets);
    assert_eq!(ours.runs, official.runs);
    assert_eq!(ours.flows, official.flows);
    let heads = |world: &World| -> Vec<_> {
        world.sessions.iter().map(|(key, records)| (key.clone(), records.len())).collect()
    };
    assert_eq!(heads(ours), heads(official));
    for ((_, ours), (_, official)) in ours.sessions.iter().zip(&official.sessions) {
        if let Some(at) = (0..ours.len()).find(|at| ours[*at] != official[*at]) {
            panic!("record {at}: {:?} here, and {:?} there", decoded(&ours[at]), decoded(&official[at]));
        }
    }
}

fn decoded(record: &[u8]) -> (IngestWithConfigDataStreamRequest, i64) {
    let request = IngestWithConfigDataStreamRequest::decode(record).unwrap();
    let nanos = request.timestamp.map_or(0, |time| time.seconds * 1_000_000_000 + i64::from(time.nanos));
    (request, (nanos - BEGIN) / 1_000_000)
}

impl World {
    pub(super) fn records(&self) -> usize {
        self.sessions.iter().map(|(_, records)| records.len()).sum()
    }

    pub(super) fn flow_names(&self) -> Vec<&str> {
        self.flows.iter().map(|flow| &flow.name[..]).collect()
    }

    pub(super) fn run_names(&self) -> Vec<&str> {
        self.runs.iter().map(|run| &run.name[..]).collect()
    }
}
