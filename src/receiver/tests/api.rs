//! The calls beside ingesting.

use super::support::{Memory, Rig, flow, rig, rig_with};
use crate::receiver::{Event, Observer, Receiver, ReceiverError, ReceiverOptions, Registry, Unobserved};
use sift_rs::{
    assets::v1::{
        ArchiveAssetRequest, CreateAssetRequest, GetAssetRequest, ListAssetsRequest,
        asset_service_client::AssetServiceClient,
    },
    common::r#type::v1::ChannelDataType as Data,
    ingest::v1::IngestArbitraryProtobufDataStreamRequest,
    ingestion_configs::v2::{
        CreateIngestionConfigRequest, GetIngestionConfigRequest, ListIngestionConfigFlowsRequest,
        ListIngestionConfigsRequest,
    },
    me::v2::{GetMeRequest, me_service_client::MeServiceClient},
    ping::v1::{PingRequest, ping_service_client::PingServiceClient},
    runs::v2::{
        CreateAdhocRunRequest, CreateAutomaticRunAssociationForAssetsRequest, CreateRunRequest, DeleteRunRequest,
        GetRunRequest, ListRunsRequest, StopRunRequest, ValidateRunFilterRequest,
    },
    tags::v2::{ListTagsRequest, tag_service_client::TagServiceClient},
};
use std::{fmt::Debug, sync::Arc};
use tonic::{Code, Request, Response, Status, transport::Channel};

fn refused<T: Debug>(answer: Result<Response<T>, Status>, code: Code, why: &str) {
    let status = answer.unwrap_err();
    assert_eq!(status.code(), code, "{status}");
    assert!(status.message().contains(why), "{status}");
}

fn assets(rig: &Rig) -> AssetServiceClient<Channel> {
    AssetServiceClient::new(rig.channel.clone())
}

#[tokio::test]
async fn a_config_is_found_by_id_by_client_key_and_by_filter() {
    let rig = rig().await;
    let id = rig.config("k", vec![flow("f", &[Data::Bool])]).await;
    rig.config("other", vec![]).await;
    let get = GetIngestionConfigRequest { ingestion_config_id: id.clone() };
    let config = rig.configs().get_ingestion_config(get).await.unwrap().into_inner();
    let config = config.ingestion_config.unwrap();
    assert_eq!(config.client_key, "k");
    for filter in [
        "client_key == 'k'".to_owned(),
        "client_key==\"k\"".to_owned(),
        format!("ingestion_config_id == '{id}'"),
        format!("asset_id == '{}' && client_key.startsWith('k')", config.asset_id),
    ] {
        let list = ListIngestionConfigsRequest { filter, ..Default::default() };
        let found = rig.configs().list_ingestion_configs(list).await.unwrap().into_inner();
        assert_eq!(found.ingestion_configs, std::slice::from_ref(&config));
    }
    let list = ListIngestionConfigsRequest { filter: "name == 'k'".into(), ..Default::default() };
    let answer = rig.configs().list_ingestion_configs(list).await;
    refused(answer, Code::InvalidArgument, "ingestion configs have no field \"name\"");
}

#[tokio::test]
async fn creating_what_exists_or_makes_no_sense_is_refused() {
    let rig = rig().await;
    let id = rig.config("k", vec![flow("f", &[Data::Bool])]).await;
    let create =
        CreateIngestionConfigRequest { asset_name: "rover".into(), client_key: "k".into(), ..Default::default() };
    let again = rig.configs().create_ingestion_config(create).await;
    refused(again, Code::AlreadyExists, "\"k\"");
    let again = rig.add_flow(&id, flow("f", &[Data::Bool])).await.unwrap_err();
    assert_eq!(again.code(), Code::AlreadyExists);
    let unnamed = rig.add_flow(&id, flow("", &[])).await.unwrap_err();
    assert_eq!(unnamed.code(), Code::InvalidArgument);
    let nowhere = rig.add_flow("nothing", flow("g", &[])).await.unwrap_err();
    assert_eq!(nowhere.code(), Code::NotFound);
    let run = CreateRunRequest { name: "x".into(), client_key: Some("r".into()), ..Default::default() };
    rig.runs().create_run(run.clone()).await.unwrap();
    refused(rig.runs().create_run(run).await, Code::AlreadyExists, "\"r\"");
    let unnamed = rig.runs().create_run(CreateRunRequest::default()).await;
    refused(unnamed, Code::InvalidArgument, "no name");
    let get = GetRunRequest { run_id: "nobody".into() };
    refused(rig.runs().get_run(get).await, Code::NotFound, "\"nobody\"");
}

#[tokio::test]
async fn lists_come_in_pages_and_in_order() {
    let rig = rig().await;
    for n in 0..7 {
        rig.run(&format!("run {n}"), &format!("key-{n}")).await;
    }
    let (mut names, mut page_token) = (Vec::new(), String::new());
    loop {
        let list = ListRunsRequest {
            page_size: 3,
            page_token,
            filter: "name != 'run 5' && is_archived == false".into(),
            order_by: "name desc".into(),
        };
        let page = rig.runs().list_runs(list).await.unwrap().into_inner();
        names.extend(page.runs.into_iter().map(|run| run.name));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(names, ["run 6", "run 4", "run 3", "run 2", "run 1", "run 0"]);
    let newest = rig.runs().list_runs(ListRunsRequest::default()).await.unwrap().into_inner();
    assert_eq!(newest.runs[0].name, "run 6");
    let garbage = ListRunsRequest { page_token: "garbage".into(), ..Default::default() };
    refused(rig.runs().list_runs(garbage).await, Code::InvalidArgument, "page_token");
    let unordered = ListRunsRequest { order_by: "colour".into(), ..Default::default() };
    refused(rig.runs().list_runs(unordered).await, Code::InvalidArgument, "order_by");
    let id = rig.config("k", vec![]).await;
    let unfiltered = ListIngestionConfigFlowsRequest {
        ingestion_config_id: id,
        filter: "flow_name ==".into(),
        ..Default::default()
    };
    let answer = rig.configs().list_ingestion_config_flows(unfiltered).await;
    refused(answer, Code::InvalidArgument, "bad filter");
}

#[tokio::test]
async fn runs_are_made_validated_stopped_and_deleted() {
    let rig = rig().await;
    let create = CreateAssetRequest { name: "Rover".into(), ..Default::default() };
    let made = assets(&rig).create_asset(create).await;
    let asset_id = made.unwrap().into_inner().asset.unwrap().asset_id;
    let adhoc = CreateAdhocRunRequest { name: "later".into(), asset_ids: vec![asset_id.clone()], ..Default::default() };
    let adhoc = rig.runs().create_adhoc_run(adhoc).await.unwrap().into_inner().run.unwrap();
    let list = ListRunsRequest {
        filter: format!("asset_name == 'Rover' && asset_id in ['{asset_id}'] && stop_time == null"),
        ..Default::default()
    };
    let found = rig.runs().list_runs(list).await.unwrap().into_inner().runs;
    assert_eq!((found.len(), found[0].is_adhoc), (1, true));
    let run_id = adhoc.run_id;
    let delete = DeleteRunRequest { run_id: run_id.clone() };
    let early = rig.runs().delete_run(delete.clone()).await;
    refused(early, Code::FailedPrecondition, "stop it");
    rig.runs().stop_run(StopRunRequest { run_id }).await.unwrap();
    rig.runs().delete_run(delete).await.unwrap();
    for (filter, expected) in [("name == 'x'", ""), ("nmae == 'x'", "\"nmae\"")] {
        let filter = filter.to_owned();
        let validate = ValidateRunFilterRequest { filter };
        let answer = rig.runs().validate_run_filter(validate).await;
        let message = answer.unwrap().into_inner().error_message;
        assert_eq!(message.is_empty(), expected.is_empty());
        assert!(message.contains(expected), "{message}");
    }
}

#[tokio::test]
async fn assets_are_found_and_archived_with_their_runs() {
    let rig = rig().await;
    rig.config("k", vec![]).await;
    let list = ListAssetsRequest { filter: "name_lower == 'rover' && !is_archived".into(), ..Default::default() };
    let found = assets(&rig).list_assets(list.clone()).await.unwrap().into_inner().assets;
    let asset_id = found[0].asset_id.clone();
    let adhoc = CreateAdhocRunRequest { name: "run".into(), asset_ids: vec![asset_id.clone()], ..Default::default() };
    let run = rig.runs().create_adhoc_run(adhoc).await.unwrap().into_inner().run.unwrap();
    let archive = ArchiveAssetRequest { asset_id: asset_id.clone(), archive_runs: true };
    let archived = assets(&rig).archive_asset(archive).await.unwrap().into_inner();
    assert_eq!(archived.archived_run_ids, [run.run_id]);
    let get = GetAssetRequest { asset_id };
    let asset = assets(&rig).get_asset(get).await.unwrap().into_inner().asset.unwrap();
    assert!(asset.is_archived && asset.archived_date.is_some());
    let found = assets(&rig).list_assets(list).await.unwrap().into_inner().assets;
    assert_eq!(found, []);
}

#[tokio::test]
async fn only_those_who_know_the_key_may_call_and_it_is_never_echoed() {
    let options = ReceiverOptions { api_key: Some("secret".into()), ..Default::default() };
    let rig = rig_with(Memory::default(), options).await;
    let mut ping = PingServiceClient::new(rig.channel.clone());
    for given in [None, Some("Bearer guess"), Some("secret")] {
        let mut request = Request::new(PingRequest {});
        if let Some(given) = given {
            request.metadata_mut().insert("authorization", given.parse().unwrap());
        }
        let status = ping.ping(request).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated);
        assert!(!status.message().contains("guess") && !status.message().contains("secret"));
    }
    let status = rig.send(vec![]).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    let mut request = Request::new(PingRequest {});
    request.metadata_mut().insert("authorization", "Bearer secret".parse().unwrap());
    ping.ping(request).await.unwrap();
}

#[tokio::test]
async fn what_is_not_spoken_is_answered_with_what_is() {
    let rig = rig().await;
    let tags = TagServiceClient::new(rig.channel.clone()).list_tags(ListTagsRequest::default()).await;
    refused(tags, Code::Unimplemented, "it speaks Ping, MeService v2, IngestionConfigService v2");
    let arbitrary = tokio_stream::iter([IngestArbitraryProtobufDataStreamRequest::default()]);
    let arbitrary = rig.ingest().ingest_arbitrary_protobuf_data_stream(arbitrary).await;
    refused(arbitrary, Code::Unimplemented, "IngestArbitraryProtobufDataStream");
    let associate = CreateAutomaticRunAssociationForAssetsRequest::default();
    let associate = rig.runs().create_automatic_run_association_for_assets(associate).await;
    refused(associate, Code::Unimplemented, "run_id");
}

#[tokio::test]
async fn there_is_one_organization_and_what_names_none_belongs_to_it() {
    let rig = rig().await;
    rig.config("k", vec![]).await;
    rig.run("flight", "r").await;
    let foreign = CreateRunRequest { name: "x".into(), organization_id: "theirs".into(), ..Default::default() };
    let foreign = rig.runs().create_run(foreign).await.unwrap().into_inner().run.unwrap();
    assert_eq!(foreign.organization_id, "theirs");

    let me = MeServiceClient::new(rig.channel.clone()).get_me(GetMeRequest {}).await.unwrap().into_inner();
    let [organization] = &me.organizations[..] else { panic!("{me:?}") };
    let id = organization.organization_id.clone();
    assert_eq!((me.user_id.as_str(), id.as_str()), ("receiver", rig.registry.organization_id().as_str()));
    let assets = assets(&rig).list_assets(ListAssetsRequest::default()).await.unwrap().into_inner().assets;
    assert_eq!(assets[0].organization_id, id);
    let list = ListRunsRequest { filter: format!("organization_id == '{id}'"), ..Default::default() };
    let runs = rig.runs().list_runs(list).await.unwrap().into_inner().runs;
    assert_eq!(runs.iter().map(|run| run.name.as_str()).collect::<Vec<_>>(), ["flight"]);
    assert_ne!(Registry::new().organization_id(), id, "each has its own");
    let destination = crate::sift::DestinationOptions { uri: Some(rig.uri()), ..Default::default() };
    let destination = crate::sift::Destination::resolve(&destination).unwrap();
    let connection = crate::sift::Connection::open(&destination).await.unwrap();
    assert_eq!(connection.organization().await.unwrap(), Some(id));
}

#[tokio::test]
async fn what_clients_create_is_told_to_the_observer() {
    let mut rig = rig().await;
    let id = rig.config("k", vec![flow("f", &[Data::Bool])]).await;
    rig.add_flow(&id, flow("g", &[])).await.unwrap();
    let run_id = rig.run("flight", "r").await;
    let expected = [
        Event::ConfigCreated {
            ingestion_config_id: id.clone(),
            asset: "rover".into(),
            client_key: "k".into(),
            flows: 1,
        },
        Event::FlowsAdded { ingestion_config_id: id, flows: vec!["g".into()] },
        Event::RunCreated { run_id, name: "flight".into() },
    ];
    for expected in expected {
        assert_eq!(rig.events.recv().await, Some(expected));
    }
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let rig = rig().await;
    let options = ReceiverOptions { listen: rig.receiver.local_addr(), ..Default::default() };
    let observer: Arc<dyn Observer> = Arc::new(Unobserved);
    let registry = Arc::new(Registry::new());
    let again = Receiver::start(options, registry, Arc::new(Memory::default()), observer).await;
    let error = again.unwrap_err();
    assert!(matches!(error, ReceiverError::Listen { .. }));
    let address = rig.receiver.local_addr().to_string();
    assert!(error.to_string().contains(&address), "{error}");
}
