//! `sift.me.v2.MeService`: who the caller is, and where. Clients keep what was acknowledged per organization.

use super::Api;
use sift_rs::{
    common::r#type::v1::Organization,
    me::v2::{GetMeRequest, GetMeResponse, me_service_server::MeService},
};
use tonic::{Request, Response, Status, async_trait};

/// There is one user only, whoever knows the key.
const USER: &str = "receiver";

#[async_trait]
impl MeService for Api {
    async fn get_me(&self, _: Request<GetMeRequest>) -> Result<Response<GetMeResponse>, Status> {
        let organization = Organization {
            organization_id: self.registry.organization_id(),
            organization_name: "sift-replay receiver".to_owned(),
            ..Organization::default()
        };
        Ok(Response::new(GetMeResponse {
            user_id: USER.to_owned(),
            organizations: vec![organization],
            ..GetMeResponse::default()
        }))
    }
}
