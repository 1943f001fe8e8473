//! The fake's side of Sift's services.

use sift_rs::assets::v1::asset_service_server::AssetService;
use sift_rs::assets::v1::*;
use sift_rs::common::r#type::v1::Organization;
use sift_rs::ingest::v1::ingest_service_server::IngestService;
use sift_rs::ingest::v1::*;
use sift_rs::ingestion_configs::v2::ingestion_config_service_server::IngestionConfigService;
use sift_rs::ingestion_configs::v2::*;
use sift_rs::me::v2::me_service_server::MeService;
use sift_rs::me::v2::*;
use sift_rs::ping::v1::ping_service_server::PingService;
use sift_rs::ping::v1::*;
use sift_rs::runs::v2::run_service_server::RunService;
use sift_rs::runs::v2::*;
use tonic::{Request, Response, Status, Streaming};

use super::support::{Ended, Fake, Ingest, State};

type Answer<T> = Result<Response<T>, Status>;

/// Asks a real CEL implementation, so that the escaping is proven, not mirrored.
fn matches(state: &State, filter: &str, client_key: &str, name: &str) -> Result<bool, Status> {
    if state.ignores_filters {
        return Ok(true);
    }
    let bad = |error: String| Status::invalid_argument(format!("filter {filter:?}: {error}"));
    let program = cel::Program::compile(filter).map_err(|error| bad(error.to_string()))?;
    let mut context = cel::Context::default();
    for (field, value) in [("client_key", client_key), ("name", name)] {
        context.add_variable(field, value).map_err(|error| bad(error.to_string()))?;
    }
    match program.execute(&context) {
        Ok(cel::Value::Bool(matches)) => Ok(matches),
        other => Err(bad(format!("{other:?}"))),
    }
}

fn hidden(counter: &mut usize) -> bool {
    let hides = *counter > 0;
    *counter = counter.saturating_sub(1);
    hides
}

#[tonic::async_trait]
impl PingService for Fake {
    async fn ping(&self, request: Request<PingRequest>) -> Answer<PingResponse> {
        let mut state = self.state();
        state.metadata = request.metadata().clone();
        match state.ping.clone() {
            Some(status) => Err(status),
            None => Ok(Response::new(PingResponse::default())),
        }
    }
}

#[tonic::async_trait]
impl MeService for Fake {
    async fn get_me(&self, request: Request<GetMeRequest>) -> Answer<GetMeResponse> {
        self.enter("GetMe", &request).await?;
        let organization = |id: &&str| Organization { organization_id: (*id).to_owned(), ..Organization::default() };
        let organizations = self.state().me.clone()?.iter().map(organization).collect();
        Ok(Response::new(GetMeResponse { organizations, ..GetMeResponse::default() }))
    }
}

#[tonic::async_trait]
impl IngestionConfigService for Fake {
    async fn get_ingestion_config(&self, _: Request<GetIngestionConfigRequest>) -> Answer<GetIngestionConfigResponse> {
        Err(Status::unimplemented("not faked"))
    }

    async fn create_ingestion_config(
        &self,
        request: Request<CreateIngestionConfigRequest>,
    ) -> Answer<CreateIngestionConfigResponse> {
        self.enter("CreateIngestionConfig", &request).await?;
        let request = request.into_inner();
        let mut state = self.state();
        if state.answers_without_content {
            return Ok(Response::new(CreateIngestionConfigResponse::default()));
        }
        if state.configs.iter().any(|config| config.client_key == request.client_key) {
            return Err(Status::already_exists("client key is taken"));
        }
        let config = IngestionConfig {
            ingestion_config_id: format!("config-{}", state.configs.len()),
            asset_id: format!("asset:{}", request.asset_name),
            client_key: request.client_key,
        };
        state.configs.push(config.clone());
        state.flows.extend(request.flows);
        Ok(Response::new(CreateIngestionConfigResponse { ingestion_config: Some(config) }))
    }

    async fn list_ingestion_configs(
        &self,
        request: Request<ListIngestionConfigsRequest>,
    ) -> Answer<ListIngestionConfigsResponse> {
        self.enter("ListIngestionConfigs", &request).await?;
        let mut state = self.state();
        let mut response = ListIngestionConfigsResponse::default();
        if !hidden(&mut state.hidden_configs) {
            for config in &state.configs {
                if matches(&state, &request.get_ref().filter, &config.client_key, "")? {
                    response.ingestion_configs.push(config.clone());
                }
            }
        }
        Ok(Response::new(response))
    }

    async fn create_ingestion_config_flows(
        &self,
        request: Request<CreateIngestionConfigFlowsRequest>,
    ) -> Answer<CreateIngestionConfigFlowsResponse> {
        self.enter("CreateIngestionConfigFlows", &request).await?;
        let request = request.into_inner();
        let mut state = self.state();
        let taken = |flow: &FlowConfig| state.flows.iter().any(|known| known.name == flow.name);
        if request.flows.iter().any(taken) {
            return Err(Status::already_exists("flow exists"));
        }
        state.flows.extend(request.flows);
        Ok(Response::new(CreateIngestionConfigFlowsResponse {}))
    }

    async fn list_ingestion_config_flows(
        &self,
        request: Request<ListIngestionConfigFlowsRequest>,
    ) -> Answer<ListIngestionConfigFlowsResponse> {
        self.enter("ListIngestionConfigFlows", &request).await?;
        let mut state = self.state();
        if hidden(&mut state.hidden_flows) {
            return Ok(Response::new(ListIngestionConfigFlowsResponse::default()));
        }
        if state.endless_pages {
            return Ok(Response::new(ListIngestionConfigFlowsResponse {
                flows: Vec::new(),
                next_page_token: "again".to_owned(),
            }));
        }
        let from: usize = request.get_ref().page_token.parse().unwrap_or(0);
        let size = if state.page == 0 { usize::MAX } else { state.page };
        let to = from.saturating_add(size).min(state.flows.len());
        Ok(Response::new(ListIngestionConfigFlowsResponse {
            flows: state.flows[from..to].to_vec(),
            next_page_token: if to < state.flows.len() { to.to_string() } else { String::new() },
        }))
    }
}

#[tonic::async_trait]
impl AssetService for Fake {
    async fn get_asset(&self, request: Request<GetAssetRequest>) -> Answer<GetAssetResponse> {
        self.enter("GetAsset", &request).await?;
        if self.state().answers_without_content {
            return Ok(Response::new(GetAssetResponse::default()));
        }
        let asset_id = request.into_inner().asset_id;
        let known = self.state().updated_assets.iter().rev().find(|asset| asset.asset_id == asset_id).cloned();
        let name = asset_id.trim_start_matches("asset:").to_owned();
        let asset = known.unwrap_or(Asset { asset_id, name, ..Asset::default() });
        Ok(Response::new(GetAssetResponse { asset: Some(asset) }))
    }

    async fn delete_asset(&self, _: Request<DeleteAssetRequest>) -> Answer<DeleteAssetResponse> {
        Err(Status::unimplemented("not faked"))
    }

    async fn create_asset(&self, _: Request<CreateAssetRequest>) -> Answer<CreateAssetResponse> {
        Err(Status::unimplemented("not faked"))
    }

    async fn list_assets(&self, request: Request<ListAssetsRequest>) -> Answer<ListAssetsResponse> {
        self.enter("ListAssets", &request).await?;
        let page = usize::try_from(request.get_ref().page_size).unwrap();
        let asset = |id: &&str| Asset { organization_id: (*id).to_owned(), ..Asset::default() };
        let assets = self.state().assets.clone()?.iter().take(page).map(asset).collect();
        Ok(Response::new(ListAssetsResponse { assets, ..ListAssetsResponse::default() }))
    }

    async fn update_asset(&self, request: Request<UpdateAssetRequest>) -> Answer<UpdateAssetResponse> {
        self.enter("UpdateAsset", &request).await?;
        let UpdateAssetRequest { asset, update_mask } = request.into_inner();
        let mut state = self.state();
        state.masks.push(update_mask.unwrap().paths);
        state.updated_assets.extend(asset.clone());
        Ok(Response::new(UpdateAssetResponse { asset }))
    }

    async fn archive_asset(&self, _: Request<ArchiveAssetRequest>) -> Answer<ArchiveAssetResponse> {
        Err(Status::unimplemented("not faked"))
    }
}

#[tonic::async_trait]
impl RunService for Fake {
    async fn list_runs(&self, request: Request<ListRunsRequest>) -> Answer<ListRunsResponse> {
        self.enter("ListRuns", &request).await?;
        let mut state = self.state();
        let mut response = ListRunsResponse::default();
        if !hidden(&mut state.hidden_runs) {
            for run in &state.runs {
                let key = run.client_key.as_deref().unwrap_or_default();
                if matches(&state, &request.get_ref().filter, key, &run.name)? {
                    response.runs.push(run.clone());
                }
            }
        }
        Ok(Response::new(response))
    }

    async fn create_run(&self, request: Request<CreateRunRequest>) -> Answer<CreateRunResponse> {
        self.enter("CreateRun", &request).await?;
        let request = request.into_inner();
        let mut state = self.state();
        if state.runs.iter().any(|run| run.client_key == request.client_key) {
            return Err(Status::already_exists("client key is taken"));
        }
        let run = Run {
            run_id: format!("run-{}", state.runs.len()),
            name: request.name,
            client_key: request.client_key,
            description: request.description,
            tags: request.tags,
            metadata: request.metadata,
            ..Run::default()
        };
        state.runs.push(run.clone());
        Ok(Response::new(CreateRunResponse { run: Some(run) }))
    }

    async fn get_run(&self, request: Request<GetRunRequest>) -> Answer<GetRunResponse> {
        self.enter("GetRun", &request).await?;
        // As the ids stand, whichever was asked for.
        let run = self.state().runs.first().cloned();
        Ok(Response::new(GetRunResponse { run }))
    }

    async fn create_adhoc_run(&self, _: Request<CreateAdhocRunRequest>) -> Answer<CreateAdhocRunResponse> {
        Err(Status::unimplemented("not faked"))
    }

    async fn update_run(&self, request: Request<UpdateRunRequest>) -> Answer<UpdateRunResponse> {
        self.enter("UpdateRun", &request).await?;
        let UpdateRunRequest { run, update_mask } = request.into_inner();
        let mut state = self.state();
        state.masks.push(update_mask.unwrap().paths);
        if state.answers_without_content {
            return Ok(Response::new(UpdateRunResponse::default()));
        }
        Ok(Response::new(UpdateRunResponse { run }))
    }

    async fn delete_run(&self, _: Request<DeleteRunRequest>) -> Answer<DeleteRunResponse> {
        Err(Status::unimplemented("not faked"))
    }

    async fn stop_run(&self, _: Request<StopRunRequest>) -> Answer<StopRunResponse> {
        Err(Status::unimplemented("not faked"))
    }

    async fn validate_run_filter(&self, _: Request<ValidateRunFilterRequest>) -> Answer<ValidateRunFilterResponse> {
        Err(Status::unimplemented("not faked"))
    }

    async fn create_automatic_run_association_for_assets(
        &self,
        _: Request<CreateAutomaticRunAssociationForAssetsRequest>,
    ) -> Answer<CreateAutomaticRunAssociationForAssetsResponse> {
        Err(Status::unimplemented("not faked"))
    }
}

#[tonic::async_trait]
impl IngestService for Fake {
    async fn ingest_with_config_data_stream(
        &self,
        request: Request<Streaming<IngestWithConfigDataStreamRequest>>,
    ) -> Answer<IngestWithConfigDataStreamResponse> {
        self.enter("Ingest", &request).await?;
        let script = self.state().ingest.clone();
        if matches!(script, Ingest::NeverRead) {
            let _held = request;
            return std::future::pending().await;
        }
        let mut stream = request.into_inner();
        let mut received = Vec::new();
        loop {
            match script {
                Ingest::RefuseAfter(count, ref status) if received.len() >= count => {
                    return Err(status.clone());
                }
                Ingest::OkAfter(count) if received.len() >= count => break,
                _ => {}
            }
            match stream.message().await {
                Ok(Some(message)) => received.push(message),
                Ok(None) => break,
                Err(status) => {
                    self.state().streams.push(Ended::Broken);
                    return Err(status);
                }
            }
        }
        self.state().streams.push(Ended::Complete(received));
        if matches!(script, Ingest::NeverAnswer) {
            return std::future::pending().await;
        }
        Ok(Response::new(IngestWithConfigDataStreamResponse {}))
    }

    async fn ingest_arbitrary_protobuf_data_stream(
        &self,
        _: Request<Streaming<IngestArbitraryProtobufDataStreamRequest>>,
    ) -> Answer<IngestArbitraryProtobufDataStreamResponse> {
        Err(Status::unimplemented("not faked"))
    }
}
