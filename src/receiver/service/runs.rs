//! `sift.runs.v2.RunService`.

use super::{Api, ListCall, assets::tag_id};
use crate::receiver::{
    filter::{Cell, Fields, Filter, Kind, with_room},
    list::{Order, Page, SortKey, page},
    observe::Event,
    state::Registry,
};
use sift_rs::runs::v2::{
    CreateAdhocRunRequest, CreateAdhocRunResponse, CreateAutomaticRunAssociationForAssetsRequest,
    CreateAutomaticRunAssociationForAssetsResponse, CreateRunRequest, CreateRunResponse, DeleteRunRequest,
    DeleteRunResponse, GetRunRequest, GetRunResponse, ListRunsRequest, ListRunsResponse, Run, StopRunRequest,
    StopRunResponse, UpdateRunRequest, UpdateRunResponse, ValidateRunFilterRequest, ValidateRunFilterResponse,
    run_service_server::RunService,
};
use std::sync::Arc;
use tonic::{Request, Response, Status, async_trait};

const FIELDS: Fields = Fields {
    of: "runs",
    all: &[
        ("run_id", Kind::Text),
        ("organization_id", Kind::Text),
        ("asset_id", Kind::Text),
        ("asset_name", Kind::Text),
        ("client_key", Kind::Text),
        ("name", Kind::Text),
        ("description", Kind::Text),
        ("created_by_user_id", Kind::Text),
        ("modified_by_user_id", Kind::Text),
        ("created_date", Kind::Time),
        ("modified_date", Kind::Time),
        ("start_time", Kind::Time),
        ("stop_time", Kind::Time),
        ("tag_id", Kind::Text),
        ("asset_tag_id", Kind::Text),
        ("duration", Kind::Number),
        ("duration_string", Kind::Span),
        ("annotation_comments_count", Kind::Number),
        ("annotation_state", Kind::Text),
        ("archived_date", Kind::Time),
        ("is_archived", Kind::Flag),
        ("metadata", Kind::Metadata),
    ],
};

const ORDERS: &[&str] = &["name", "description", "created_date", "modified_date", "start_time", "stop_time"];

fn field(registry: &Registry, run: &Run, field: &str) -> Cell {
    let assets = || run.asset_ids.iter().filter_map(|id| registry.asset(id).ok());
    match field {
        "run_id" => Cell::text(&run.run_id),
        "organization_id" => Cell::text(&run.organization_id),
        "asset_id" => Cell::texts(run.asset_ids.iter().map(String::as_str)),
        "asset_name" => {
            let names: Vec<_> = assets().map(|asset| asset.name).collect();
            Cell::texts(names.iter().map(String::as_str))
        }
        "client_key" => run.client_key.as_deref().map_or_else(Cell::null, Cell::text),
        "name" => Cell::text(&run.name),
        "description" => Cell::text(&run.description),
        "created_by_user_id" => Cell::text(&run.created_by_user_id),
        "modified_by_user_id" => Cell::text(&run.modified_by_user_id),
        "created_date" => Cell::time(run.created_date),
        "modified_date" => Cell::time(run.modified_date),
        "start_time" => Cell::time(run.start_time),
        "stop_time" => Cell::time(run.stop_time),
        "tag_id" => {
            let ids: Vec<_> = run.tags.iter().map(|tag| tag_id(tag)).collect();
            Cell::texts(ids.iter().map(String::as_str))
        }
        "asset_tag_id" => {
            let tags = assets().flat_map(|asset| asset.tags);
            let ids: Vec<_> = tags.map(|tag| tag_id(&tag)).collect();
            Cell::texts(ids.iter().map(String::as_str))
        }
        "duration" => Cell::seconds(run.duration),
        "duration_string" => Cell::span(run.duration),
        // There are no annotations here.
        "annotation_comments_count" => Cell::seconds(Some(pbjson_types::Duration::default())),
        "archived_date" => Cell::time(run.archived_date),
        "is_archived" => Cell::flag(run.is_archived),
        "metadata" => Cell::metadata(&run.metadata),
        _ => Cell::null(),
    }
}

fn sort_key(run: &Run, field: &str) -> SortKey {
    match field {
        "name" => SortKey::Text(run.name.clone()),
        "description" => SortKey::Text(run.description.clone()),
        "modified_date" => SortKey::time(run.modified_date),
        "start_time" => SortKey::time(run.start_time),
        "stop_time" => SortKey::time(run.stop_time),
        _ => SortKey::time(run.created_date),
    }
}

fn list(registry: &Registry, call: &ListCall) -> Result<Page<Run>, Status> {
    let filter = Filter::compile(&call.filter, &FIELDS)?;
    let order = Order::parse(&call.order_by, ORDERS)?;
    let mut runs = Vec::new();
    for run in registry.runs() {
        if filter.passes(&|name| field(registry, &run.item, name))? {
            runs.push(run);
        }
    }
    order.sort(&mut runs, |run| run.number, |run, name| sort_key(&run.item, name));
    let runs = runs.into_iter().map(|run| run.item).collect();
    let call_id = ("runs", &call.filter, &call.order_by);
    page(runs, call.page_size, &call.page_token, call_id)
}

impl Api {
    fn run_created(&self, run: &Run) {
        self.observer.event(&Event::RunCreated { run_id: run.run_id.clone(), name: run.name.clone() });
    }
}

#[async_trait]
impl RunService for Api {
    async fn get_run(&self, request: Request<GetRunRequest>) -> Result<Response<GetRunResponse>, Status> {
        let run = Some(self.registry.run(&request.get_ref().run_id)?);
        Ok(Response::new(GetRunResponse { run }))
    }

    async fn list_runs(&self, request: Request<ListRunsRequest>) -> Result<Response<ListRunsResponse>, Status> {
        let registry = Arc::clone(&self.registry);
        let request = request.into_inner();
        let call = ListCall {
            page_size: request.page_size,
            page_token: request.page_token,
            filter: request.filter,
            order_by: request.order_by,
        };
        let page = with_room(move || list(&registry, &call)).await?;
        Ok(Response::new(ListRunsResponse { runs: page.items, next_page_token: page.next_page_token }))
    }

    async fn create_run(&self, request: Request<CreateRunRequest>) -> Result<Response<CreateRunResponse>, Status> {
        let run = self.registry.create_run(request.get_ref())?;
        self.run_created(&run);
        Ok(Response::new(CreateRunResponse { run: Some(run) }))
    }

    async fn create_adhoc_run(
        &self,
        request: Request<CreateAdhocRunRequest>,
    ) -> Result<Response<CreateAdhocRunResponse>, Status> {
        let run = self.registry.create_adhoc_run(request.into_inner())?;
        self.run_created(&run);
        Ok(Response::new(CreateAdhocRunResponse { run: Some(run) }))
    }

    async fn update_run(&self, request: Request<UpdateRunRequest>) -> Result<Response<UpdateRunResponse>, Status> {
        let UpdateRunRequest { run, update_mask } = request.into_inner();
        let run = run.ok_or_else(|| Status::invalid_argument("the request has no `run`"))?;
        let mask = update_mask.unwrap_or_default().paths;
        let run = Some(self.registry.update_run(&run, &mask)?);
        Ok(Response::new(UpdateRunResponse { run }))
    }

    async fn delete_run(&self, request: Request<DeleteRunRequest>) -> Result<Response<DeleteRunResponse>, Status> {
        self.registry.delete_run(&request.get_ref().run_id)?;
        Ok(Response::new(DeleteRunResponse {}))
    }

    async fn stop_run(&self, request: Request<StopRunRequest>) -> Result<Response<StopRunResponse>, Status> {
        self.registry.stop_run(&request.get_ref().run_id)?;
        Ok(Response::new(StopRunResponse {}))
    }

    async fn validate_run_filter(
        &self,
        request: Request<ValidateRunFilterRequest>,
    ) -> Result<Response<ValidateRunFilterResponse>, Status> {
        let filter = request.into_inner().filter;
        let checked = with_room(move || Filter::compile(&filter, &FIELDS).map(drop)).await;
        // The answer to a bad filter is a message, not an error.
        let error_message = match checked {
            Ok(()) => String::new(),
            Err(status) if status.code() == tonic::Code::InvalidArgument => status.message().to_owned(),
            Err(status) => return Err(status),
        };
        Ok(Response::new(ValidateRunFilterResponse { error_message }))
    }

    async fn create_automatic_run_association_for_assets(
        &self,
        _: Request<CreateAutomaticRunAssociationForAssetsRequest>,
    ) -> Result<Response<CreateAutomaticRunAssociationForAssetsResponse>, Status> {
        Err(Status::unimplemented(
            "this receiver does not associate runs with data by itself; send the run_id with each request",
        ))
    }
}
