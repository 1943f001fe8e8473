//! `sift.assets.v1.AssetService`.

use super::{Api, ListCall};
use crate::receiver::{
    filter::{Cell, Fields, Filter, Kind, with_room},
    list::{Order, Page, SortKey, page},
    state::{Registry, id_of},
};
use sift_rs::assets::v1::{
    ArchiveAssetRequest, ArchiveAssetResponse, Asset, CreateAssetRequest, CreateAssetResponse, DeleteAssetRequest,
    DeleteAssetResponse, GetAssetRequest, GetAssetResponse, ListAssetsRequest, ListAssetsResponse, UpdateAssetRequest,
    UpdateAssetResponse, asset_service_server::AssetService,
};
use std::sync::Arc;
use tonic::{Request, Response, Status, async_trait};

const FIELDS: Fields = Fields {
    of: "assets",
    all: &[
        ("asset_id", Kind::Text),
        ("created_by_user_id", Kind::Text),
        ("modified_by_user_id", Kind::Text),
        ("created_date", Kind::Time),
        ("modified_date", Kind::Time),
        ("name", Kind::Text),
        ("name_lower", Kind::Text),
        ("tag_id", Kind::Text),
        ("tag_name", Kind::Text),
        ("archived_date", Kind::Time),
        ("is_archived", Kind::Flag),
        ("metadata", Kind::Metadata),
    ],
};

const ORDERS: &[&str] = &["name", "created_date", "modified_date", "archived_date"];

/// The id of a tag: this receiver has no tags of their own, only names on things.
pub(super) fn tag_id(name: &str) -> String {
    id_of("tag", &[name])
}

fn field(asset: &Asset, field: &str) -> Cell {
    match field {
        "asset_id" => Cell::text(&asset.asset_id),
        "created_by_user_id" => Cell::text(&asset.created_by_user_id),
        "modified_by_user_id" => Cell::text(&asset.modified_by_user_id),
        "created_date" => Cell::time(asset.created_date),
        "modified_date" => Cell::time(asset.modified_date),
        "name" => Cell::text(&asset.name),
        "name_lower" => Cell::text(&asset.name.to_lowercase()),
        "tag_id" => {
            let ids: Vec<_> = asset.tags.iter().map(|tag| tag_id(tag)).collect();
            Cell::texts(ids.iter().map(String::as_str))
        }
        "tag_name" => Cell::texts(asset.tags.iter().map(String::as_str)),
        "archived_date" => Cell::time(asset.archived_date),
        "is_archived" => Cell::flag(asset.is_archived),
        "metadata" => Cell::metadata(&asset.metadata),
        _ => Cell::null(),
    }
}

fn sort_key(asset: &Asset, field: &str) -> SortKey {
    match field {
        "name" => SortKey::Text(asset.name.clone()),
        "modified_date" => SortKey::time(asset.modified_date),
        "archived_date" => SortKey::time(asset.archived_date),
        _ => SortKey::time(asset.created_date),
    }
}

fn list(registry: &Registry, call: &ListCall) -> Result<Page<Asset>, Status> {
    let filter = Filter::compile(&call.filter, &FIELDS)?;
    let order = Order::parse(&call.order_by, ORDERS)?;
    let mut assets = Vec::new();
    for asset in registry.assets() {
        if filter.passes(&|name| field(&asset.item, name))? {
            assets.push(asset);
        }
    }
    order.sort(&mut assets, |asset| asset.number, |asset, name| sort_key(&asset.item, name));
    let assets = assets.into_iter().map(|asset| asset.item).collect();
    let call_id = ("assets", &call.filter, &call.order_by);
    page(assets, call.page_size, &call.page_token, call_id)
}

#[async_trait]
impl AssetService for Api {
    async fn delete_asset(
        &self,
        request: Request<DeleteAssetRequest>,
    ) -> Result<Response<DeleteAssetResponse>, Status> {
        let request = request.get_ref();
        // Sift documents this call as an older name of ArchiveAsset.
        self.registry.archive_asset(&request.asset_id, request.archive_runs)?;
        Ok(Response::new(DeleteAssetResponse {}))
    }

    async fn create_asset(
        &self,
        request: Request<CreateAssetRequest>,
    ) -> Result<Response<CreateAssetResponse>, Status> {
        let asset = Some(self.registry.create_asset(request.get_ref())?);
        Ok(Response::new(CreateAssetResponse { asset }))
    }

    async fn get_asset(&self, request: Request<GetAssetRequest>) -> Result<Response<GetAssetResponse>, Status> {
        let asset = Some(self.registry.asset(&request.get_ref().asset_id)?);
        Ok(Response::new(GetAssetResponse { asset }))
    }

    async fn list_assets(&self, request: Request<ListAssetsRequest>) -> Result<Response<ListAssetsResponse>, Status> {
        let registry = Arc::clone(&self.registry);
        let request = request.into_inner();
        let call = ListCall {
            page_size: request.page_size,
            page_token: request.page_token,
            filter: request.filter,
            order_by: request.order_by,
        };
        let page = with_room(move || list(&registry, &call)).await?;
        Ok(Response::new(ListAssetsResponse { assets: page.items, next_page_token: page.next_page_token }))
    }

    async fn update_asset(
        &self,
        request: Request<UpdateAssetRequest>,
    ) -> Result<Response<UpdateAssetResponse>, Status> {
        let UpdateAssetRequest { asset, update_mask } = request.into_inner();
        let asset = asset.ok_or_else(|| Status::invalid_argument("the request has no `asset`"))?;
        let mask = update_mask.unwrap_or_default().paths;
        let asset = Some(self.registry.update_asset(&asset, &mask)?);
        Ok(Response::new(UpdateAssetResponse { asset }))
    }

    async fn archive_asset(
        &self,
        request: Request<ArchiveAssetRequest>,
    ) -> Result<Response<ArchiveAssetResponse>, Status> {
        let request = request.get_ref();
        let archived_run_ids = self.registry.archive_asset(&request.asset_id, request.archive_runs)?;
        Ok(Response::new(ArchiveAssetResponse { archived_run_ids }))
    }
}
