//! `sift.ingestion_configs.v2.IngestionConfigService`.

use super::Api;
use crate::receiver::{
    filter::{Cell, Fields, Filter, Kind, with_room},
    list::page,
    observe::Event,
    state::{ConfigView, FlowView},
};
use sift_rs::ingestion_configs::v2::{
    CreateIngestionConfigFlowsRequest, CreateIngestionConfigFlowsResponse, CreateIngestionConfigRequest,
    CreateIngestionConfigResponse, GetIngestionConfigRequest, GetIngestionConfigResponse,
    ListIngestionConfigFlowsRequest, ListIngestionConfigFlowsResponse, ListIngestionConfigsRequest,
    ListIngestionConfigsResponse, ingestion_config_service_server::IngestionConfigService,
};
use std::sync::Arc;
use tonic::{Request, Response, Status, async_trait};

const CONFIG_FIELDS: Fields = Fields {
    of: "ingestion configs",
    all: &[
        ("ingestion_config_id", Kind::Text),
        ("client_key", Kind::Text),
        ("asset_id", Kind::Text),
        ("created_date", Kind::Time),
        ("modified_date", Kind::Time),
    ],
};

const FLOW_FIELDS: Fields = Fields {
    of: "flows",
    all: &[
        ("flow_name", Kind::Text),
        ("flow_id", Kind::Text),
        ("created_date", Kind::Time),
        ("modified_date", Kind::Time),
    ],
};

fn config_field(view: &ConfigView, field: &str) -> Cell {
    match field {
        "ingestion_config_id" => Cell::text(&view.config.ingestion_config_id),
        "client_key" => Cell::text(&view.config.client_key),
        "asset_id" => Cell::text(&view.config.asset_id),
        "created_date" => Cell::time(Some(view.created)),
        "modified_date" => Cell::time(Some(view.modified)),
        _ => Cell::null(),
    }
}

fn flow_field(view: &FlowView, field: &str) -> Cell {
    match field {
        "flow_name" => Cell::text(&view.config.name),
        "flow_id" => Cell::text(&view.id),
        // Flows never change.
        "created_date" | "modified_date" => Cell::time(Some(view.created)),
        _ => Cell::null(),
    }
}

#[async_trait]
impl IngestionConfigService for Api {
    async fn get_ingestion_config(
        &self,
        request: Request<GetIngestionConfigRequest>,
    ) -> Result<Response<GetIngestionConfigResponse>, Status> {
        let config = self.registry.config(&request.get_ref().ingestion_config_id)?;
        Ok(Response::new(GetIngestionConfigResponse { ingestion_config: Some(config) }))
    }

    async fn create_ingestion_config(
        &self,
        request: Request<CreateIngestionConfigRequest>,
    ) -> Result<Response<CreateIngestionConfigResponse>, Status> {
        let request = request.into_inner();
        let config = self.registry.create_config(&request)?;
        self.observer.event(&Event::ConfigCreated {
            ingestion_config_id: config.ingestion_config_id.clone(),
            asset: request.asset_name,
            client_key: request.client_key,
            flows: request.flows.len(),
        });
        Ok(Response::new(CreateIngestionConfigResponse { ingestion_config: Some(config) }))
    }

    async fn list_ingestion_configs(
        &self,
        request: Request<ListIngestionConfigsRequest>,
    ) -> Result<Response<ListIngestionConfigsResponse>, Status> {
        let registry = Arc::clone(&self.registry);
        let call = request.into_inner();
        let page = with_room(move || {
            let filter = Filter::compile(&call.filter, &CONFIG_FIELDS)?;
            let mut passed = Vec::new();
            for view in registry.configs() {
                if filter.passes(&|field| config_field(&view, field))? {
                    passed.push(view.config);
                }
            }
            page(passed, call.page_size, &call.page_token, ("configs", &call.filter))
        })
        .await?;
        Ok(Response::new(ListIngestionConfigsResponse {
            ingestion_configs: page.items,
            next_page_token: page.next_page_token,
        }))
    }

    async fn create_ingestion_config_flows(
        &self,
        request: Request<CreateIngestionConfigFlowsRequest>,
    ) -> Result<Response<CreateIngestionConfigFlowsResponse>, Status> {
        let CreateIngestionConfigFlowsRequest { ingestion_config_id, flows } = request.into_inner();
        self.registry.create_flows(&ingestion_config_id, &flows)?;
        self.observer.event(&Event::FlowsAdded {
            ingestion_config_id,
            flows: flows.into_iter().map(|flow| flow.name).collect(),
        });
        Ok(Response::new(CreateIngestionConfigFlowsResponse {}))
    }

    async fn list_ingestion_config_flows(
        &self,
        request: Request<ListIngestionConfigFlowsRequest>,
    ) -> Result<Response<ListIngestionConfigFlowsResponse>, Status> {
        let registry = Arc::clone(&self.registry);
        let call = request.into_inner();
        let page = with_room(move || {
            let filter = Filter::compile(&call.filter, &FLOW_FIELDS)?;
            let mut passed = Vec::new();
            for view in registry.flows(&call.ingestion_config_id)? {
                if filter.passes(&|field| flow_field(&view, field))? {
                    passed.push(view.config);
                }
            }
            let call_id = ("flows", &call.ingestion_config_id, &call.filter);
            page(passed, call.page_size, &call.page_token, call_id)
        })
        .await?;
        let flows = page.items.iter().map(|flow| flow.as_ref().clone());
        Ok(Response::new(ListIngestionConfigFlowsResponse {
            flows: flows.collect(),
            next_page_token: page.next_page_token,
        }))
    }
}
