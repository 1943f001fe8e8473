//! Sift's own Rust libraries, unchanged.

use super::support::{Memory, Rig, flow, rig_with};
use crate::receiver::{Event, ReceiverOptions};
use prost::Message;
use sift_rs::{
    Credentials, SiftChannelBuilder,
    common::r#type::v1::ChannelDataType as Data,
    ingest::v1::{IngestWithConfigDataStreamRequest, ingest_with_config_data_channel_value::Type},
    ingestion_configs::v2::FlowConfig,
    wrappers::{
        assets::{AssetServiceWrapper, new_asset_service},
        ingestion_configs::{IngestionConfigServiceWrapper, new_ingestion_config_service},
        runs::{RunServiceWrapper, new_run_service},
    },
};
use sift_stream::{ChannelValue, Flow, IngestionConfigForm, RunForm, SiftStreamBuilder, TimeValue};

async fn guarded_rig() -> Rig {
    let options = ReceiverOptions { api_key: Some("secret".into()), ..Default::default() };
    rig_with(Memory::default(), options).await
}

fn credentials(rig: &Rig) -> Credentials {
    Credentials::Config { uri: rig.uri(), apikey: "secret".into() }
}

fn run_form(description: &str) -> RunForm {
    RunForm {
        name: "flight 7".into(),
        client_key: "flight-7".into(),
        description: Some(description.into()),
        tags: Some(vec!["test".into()]),
        metadata: None,
    }
}

/// Sends `count` values through the live mode of `sift_stream`, from connecting to the last
/// acknowledgement.
async fn stream(rig: &Rig, flows: Vec<FlowConfig>, run: RunForm, flow: &str, count: i32) {
    let form = IngestionConfigForm { asset_name: "rover".into(), client_key: "rover-v1".into(), flows };
    let mut stream = SiftStreamBuilder::new(credentials(rig))
        .ingestion_config(form)
        .attach_run(run)
        .live_only()
        .metrics_streaming_interval(None)
        .build()
        .await
        .unwrap();
    for n in 0..count {
        let values = [ChannelValue::new("channel-0", f64::from(n))];
        let time = TimeValue::try_from_timestamp(i64::from(n), 5).unwrap();
        stream.send(Flow::new(flow, time, &values)).await.unwrap();
    }
    stream.finish().await.unwrap();
}

fn values(rig: &Rig, flow: &str) -> Vec<f64> {
    let records = rig.store.records().into_iter().filter_map(|record| {
        let record = IngestWithConfigDataStreamRequest::decode(record.as_slice()).unwrap();
        assert_eq!(record.ingestion_config_id, "");
        match record.channel_values[0].r#type {
            Some(Type::Double(value)) if record.flow == flow => Some(value),
            _ => None,
        }
    });
    records.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sift_stream_works_unchanged_and_finds_its_things_again() {
    let mut rig = guarded_rig().await;
    let first = vec![flow("first", &[Data::Double])];
    stream(&rig, first.clone(), run_form("one"), "first", 500).await;
    let expected: Vec<_> = (0..500).map(f64::from).collect();
    assert_eq!(values(&rig, "first"), expected);
    let event = rig.event(|event| matches!(event, Event::StreamAcknowledged { .. })).await;
    assert!(matches!(event, Event::StreamAcknowledged { accepted: 500, refused: 0, .. }));

    // Again, with a flow more and another description: found, completed, updated.
    let both = vec![first[0].clone(), flow("second", &[Data::Double, Data::Int32])];
    stream(&rig, both.clone(), run_form("two"), "first", 1).await;
    let added = rig.event(|event| matches!(event, Event::FlowsAdded { .. })).await;
    assert!(matches!(added, Event::FlowsAdded { flows, .. } if flows == ["second"]));
    let runs = rig.registry.runs();
    assert_eq!(runs.len(), 1);
    assert_eq!(runs[0].item.description, "two");
    assert_eq!(rig.registry.configs().len(), 1);

    // And with no flows of its own: it takes those that are here.
    stream(&rig, vec![], run_form("two"), "first", 1).await;
    assert_eq!(values(&rig, "first").len(), 502);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_wrappers_of_sift_rs_work_unchanged() {
    let rig = guarded_rig().await;
    let channel = SiftChannelBuilder::new(credentials(&rig)).use_tls(false).build().unwrap();
    let mut configs = new_ingestion_config_service(channel.clone());
    let flows: Vec<_> = (0..1200).map(|n| flow(&format!("flow-{n}"), &[Data::Bool])).collect();
    let made = configs.try_create_ingestion_config("rover", "k", &flows).await.unwrap();
    let id = made.ingestion_config_id.clone();
    assert_eq!(configs.try_get_ingestion_config_by_id(&id).await.unwrap(), made);
    assert_eq!(configs.try_get_ingestion_config_by_client_key("k").await.unwrap(), made);
    assert_eq!(configs.try_filter_flows(&id, "").await.unwrap(), flows);
    let some = configs.try_filter_flows(&id, "flow_name in ['flow-7','flow-1100','other']").await;
    assert_eq!(some.unwrap(), [flows[7].clone(), flows[1100].clone()]);
    configs.try_create_flows(&id, vec![flow("more", &[Data::Bool])]).await.unwrap();

    let mut runs = new_run_service(channel.clone());
    assert!(runs.try_get_run_by_client_key("r").await.is_err());
    let mut run = runs.try_create_run("name", "r", "", &[], &[]).await.unwrap();
    assert_eq!(runs.try_get_run_by_client_key("r").await.unwrap(), run);
    run.name = "other".into();
    let run = runs.try_update_run(run, &["name".to_owned()]).await.unwrap();
    assert_eq!(runs.try_get_run_by_id(&run.run_id).await.unwrap().name, "other");

    let mut assets = new_asset_service(channel);
    let mut asset = assets.try_get_asset_by_id(&made.asset_id).await.unwrap();
    asset.tags = vec!["red".into()];
    let asset = assets.try_update_asset(asset, vec!["tags".into()]).await.unwrap();
    assert_eq!(asset.tags, ["red"]);
}
