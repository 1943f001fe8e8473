//! Assets: looked at by id, and labelled.

use sift_rs::assets::v1::asset_service_client::AssetServiceClient;
use sift_rs::assets::v1::{Asset, GetAssetRequest, UpdateAssetRequest};
use sift_rs::metadata::v1::MetadataValue;

use super::connection::Connection;
use super::error::RegisterError;
use super::labels::{same_metadata, same_tags};
use super::register::{MAX_DECODED_BYTES, answered, by_id};
use super::transport::Authorized;

/// Sets the tags and the metadata of an asset, each if it is given and differs from what the destination says; what is
/// not given is left alone. `Some` of nothing takes all of them away.
///
/// # Errors
///
/// [`RegisterError::NoSuchId`] if there is no such asset; else what the calls return.
pub async fn update_asset(
    connection: &Connection,
    asset_id: &str,
    tags: Option<&[String]>,
    metadata: Option<&[MetadataValue]>,
) -> Result<(), RegisterError> {
    if tags.is_none() && metadata.is_none() {
        return Ok(());
    }
    let mut asset = get_asset(connection, asset_id).await?;
    let mut paths = Vec::new();
    if let Some(tags) = tags.filter(|tags| !same_tags(tags, &asset.tags)) {
        asset.tags = tags.to_vec();
        paths.push("tags".to_owned());
    }
    if let Some(metadata) = metadata.filter(|metadata| !same_metadata(metadata, &asset.metadata)) {
        asset.metadata = metadata.to_vec();
        paths.push("metadata".to_owned());
    }
    if paths.is_empty() {
        return Ok(());
    }
    let mut request = UpdateAssetRequest { asset: Some(asset), ..UpdateAssetRequest::default() };
    request.update_mask.get_or_insert_default().paths = paths;
    answered("UpdateAsset", connection, client(connection).update_asset(request)).await?;
    Ok(())
}

/// The asset with this id.
pub(super) async fn get_asset(connection: &Connection, asset_id: &str) -> Result<Asset, RegisterError> {
    const CALL: &str = "GetAsset";
    let request = GetAssetRequest { asset_id: asset_id.to_owned() };
    let mut client = client(connection);
    let answer = by_id("asset", asset_id, CALL, connection, client.get_asset(request)).await?;
    answer.asset.ok_or(RegisterError::MissingField { call: CALL, field: "asset" })
}

fn client(connection: &Connection) -> AssetServiceClient<Authorized> {
    AssetServiceClient::new(connection.service()).max_decoding_message_size(MAX_DECODED_BYTES)
}
