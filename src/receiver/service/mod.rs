//! The unary services: what clients call before and beside ingesting.

mod assets;
mod configs;
mod me;
mod runs;

use super::{observe::Observer, state::Registry};
use sift_rs::ping::v1::{PingRequest, PingResponse, ping_service_server::PingService};
use std::sync::Arc;
use tonic::{Request, Response, Status, async_trait};

/// What a client asked to list.
struct ListCall {
    page_size: u32,
    page_token: String,
    filter: String,
    order_by: String,
}

/// All of the unary services.
#[derive(Clone)]
pub(super) struct Api {
    registry: Arc<Registry>,
    observer: Arc<dyn Observer>,
}

impl Api {
    pub(super) fn new(registry: Arc<Registry>, observer: Arc<dyn Observer>) -> Self {
        Self { registry, observer }
    }
}

#[async_trait]
impl PingService for Api {
    async fn ping(&self, _: Request<PingRequest>) -> Result<Response<PingResponse>, Status> {
        let response = concat!("sift-replay receiver ", env!("CARGO_PKG_VERSION")).to_owned();
        Ok(Response::new(PingResponse { response }))
    }
}
