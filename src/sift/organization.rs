//! Whose destination it is: checkpoints are kept per organization.

use sift_rs::assets::v1::ListAssetsRequest;
use sift_rs::assets::v1::asset_service_client::AssetServiceClient;
use sift_rs::me::v2::GetMeRequest;
use sift_rs::me::v2::me_service_client::MeServiceClient;
use tonic::Code;

use super::connection::Connection;
use super::error::RegisterError;
use super::register::{MAX_DECODED_BYTES, answered};

impl Connection {
    /// The id of the organization that the credentials belong to: what `GetMe` says, or else what the oldest asset says;
    /// `None` if neither tells. Where there is no asset yet, that may change once there is one: ask again after the
    /// first [`register`](super::register).
    ///
    /// # Errors
    ///
    /// Whatever may be different later (no answer, an answer that isn't about these calls): it is never taken for
    /// `None`.
    pub async fn organization(&self) -> Result<Option<String>, RegisterError> {
        let mut me = MeServiceClient::new(self.service()).max_decoding_message_size(MAX_DECODED_BYTES);
        let known = match answered("GetMe", self, me.get_me(GetMeRequest {})).await {
            Ok(me) => match &me.organizations[..] {
                [organization] => Some(organization.organization_id.clone()),
                _ => None,
            },
            Err(error) if isnt_told(&error) => None,
            Err(error) => return Err(error),
        };
        match known.filter(|id| !id.is_empty()) {
            Some(id) => Ok(Some(id)),
            None => self.organization_of_assets().await,
        }
    }

    async fn organization_of_assets(&self) -> Result<Option<String>, RegisterError> {
        let mut assets = AssetServiceClient::new(self.service()).max_decoding_message_size(MAX_DECODED_BYTES);
        // The oldest: which one is the first should not change with time.
        let request =
            ListAssetsRequest { page_size: 1, order_by: "created_date".to_owned(), ..ListAssetsRequest::default() };
        match answered("ListAssets", self, assets.list_assets(request)).await {
            Ok(page) => {
                let id = page.assets.into_iter().next().map(|asset| asset.organization_id);
                Ok(id.filter(|id| !id.is_empty()))
            }
            Err(error) if isnt_told(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Whether the answer is that these credentials will never be told.
fn isnt_told(error: &RegisterError) -> bool {
    let RegisterError::Call { status, .. } = error else { return false };
    matches!(status.code(), Code::Unimplemented | Code::PermissionDenied | Code::NotFound | Code::InvalidArgument)
}
