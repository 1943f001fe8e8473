//! What must exist at the destination before data can be sent: the ingestion config with its flows,
//! and the run. Both are found by their client keys or created; doing it again changes nothing.

use prost::Message;
use sift_rs::ingestion_configs::v2::ingestion_config_service_client::IngestionConfigServiceClient;
use sift_rs::ingestion_configs::v2::{CreateIngestionConfigRequest, IngestionConfig, ListIngestionConfigsRequest};
use sift_rs::runs::v2::CreateRunRequest;
use tokio::time::timeout;
use tonic::{Code, Response, Status};

use super::assets::get_asset;
use super::connection::Connection;
use super::error::RegisterError;
use super::filter::equals;
use super::flows::{MAX_REQUEST_BYTES, MAX_ROUNDS, PAUSE_BETWEEN_ROUNDS, add_flows};
use super::runs::find_or_create_run;
use super::transport::Authorized;

pub(super) const PAGE_SIZE: u32 = 1000;

/// A filter by client key matches one thing; more pages mean that the server ignores filters.
pub(super) const MAX_PAGES: usize = 1000;

/// Listing a thousand flows of many channels exceeds tonic's default of 4 MiB.
pub(super) const MAX_DECODED_BYTES: usize = 50 * 1024 * 1024;

/// The ids that the destination gave, to be appended to the requests.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Registration {
    /// For `ingestion_config_id`.
    pub ingestion_config_id: String,
    /// The asset of the ingestion config.
    pub asset_id: String,
    /// For `run_id`, if a run was recorded.
    pub run_id: Option<String>,
    /// Whether the ingestion config was not there before.
    pub config_created: bool,
    /// Whether the run was not there before.
    pub run_created: bool,
}

impl Registration {
    /// The same for whoever comes later and finds it there.
    pub fn found(self) -> Self {
        Self { config_created: false, run_created: false, ..self }
    }
}

/// Finds or creates the ingestion config and the run, and adds the flows that the config lacks.
///
/// # Errors
///
/// A [`RegisterError`]; its [`fault`](RegisterError::fault) says whether to try again, to give this
/// recording up, or to stop altogether.
pub async fn register(
    connection: &Connection,
    config: &CreateIngestionConfigRequest,
    run: Option<&CreateRunRequest>,
) -> Result<Registration, RegisterError> {
    for (field, value) in [("client key", &config.client_key), ("asset name", &config.asset_name)] {
        if value.is_empty() {
            return Err(RegisterError::MissingIdentity { field });
        }
    }
    let run = run.map(|run| run_key(run).map(|key| (run, key))).transpose()?;

    let (found, config_created) = find_or_create_config(connection, config).await?;
    if !config_created {
        check_asset(connection, config, &found).await?;
    }
    if !config_created || !fits_one_request(config) {
        add_flows(connection, &found.ingestion_config_id, &config.flows).await?;
    }
    let (run_id, run_created) = match run {
        None => (None, false),
        Some((run, key)) => {
            let (id, created) = find_or_create_run(connection, run, key).await?;
            (Some(id), created)
        }
    };
    Ok(Registration {
        ingestion_config_id: found.ingestion_config_id,
        asset_id: found.asset_id,
        run_id,
        config_created,
        run_created,
    })
}

/// The request that makes the same config for another asset. Client keys are unique whatever the asset, so that the
/// other asset's is a key of its own; an empty one stays empty, and [`register`] refuses it.
pub fn as_asset(config: &CreateIngestionConfigRequest, asset: &str) -> CreateIngestionConfigRequest {
    let client_key = match config.client_key.as_str() {
        "" => String::new(),
        key => format!("{key}@{asset}"),
    };
    CreateIngestionConfigRequest { asset_name: asset.to_owned(), client_key, ..config.clone() }
}

fn run_key(run: &CreateRunRequest) -> Result<&str, RegisterError> {
    run.client_key
        .as_deref()
        .filter(|key| !key.is_empty())
        .ok_or_else(|| RegisterError::MissingRunKey { name: run.name.clone() })
}

fn fits_one_request(config: &CreateIngestionConfigRequest) -> bool {
    config.encoded_len() <= MAX_REQUEST_BYTES
}

/// Looks first and creates then: a destination that would make a second config of the same key is
/// never asked to. `true` if it was created here.
async fn find_or_create_config(
    connection: &Connection,
    config: &CreateIngestionConfigRequest,
) -> Result<(IngestionConfig, bool), RegisterError> {
    const CALL: &str = "CreateIngestionConfig";
    if let Some(found) = find_config(connection, &config.client_key).await? {
        return Ok((found, false));
    }
    let request = if fits_one_request(config) {
        config.clone()
    } else {
        // The flows follow, in requests that fit.
        CreateIngestionConfigRequest {
            asset_name: config.asset_name.clone(),
            client_key: config.client_key.clone(),
            organization_id: config.organization_id.clone(),
            flows: Vec::new(),
        }
    };
    let mut client = configs_client(connection);
    match answered(CALL, connection, client.create_ingestion_config(request)).await {
        Ok(created) => {
            let created = created
                .ingestion_config
                .filter(|created| !created.ingestion_config_id.is_empty())
                .ok_or(RegisterError::MissingField { call: CALL, field: "ingestion config id" })?;
            Ok((created, true))
        }
        Err(error) if already_exists(&error) => {
            let found = look_again(|| find_config(connection, &config.client_key)).await?;
            found.map(|found| (found, false)).ok_or_else(|| RegisterError::NotListed {
                what: "ingestion config",
                client_key: config.client_key.clone(),
            })
        }
        Err(error) => Err(error),
    }
}

async fn find_config(connection: &Connection, client_key: &str) -> Result<Option<IngestionConfig>, RegisterError> {
    const CALL: &str = "ListIngestionConfigs";
    let mut client = configs_client(connection);
    let mut page_token = String::new();
    for _ in 0..MAX_PAGES {
        let request =
            ListIngestionConfigsRequest { page_size: PAGE_SIZE, page_token, filter: equals("client_key", client_key) };
        let page = answered(CALL, connection, client.list_ingestion_configs(request)).await?;
        // Trusting the filter alone could send data to another's config.
        let found = page.ingestion_configs.into_iter().find(|config| config.client_key == client_key);
        match found {
            Some(found) if found.ingestion_config_id.is_empty() => {
                return Err(RegisterError::MissingField { call: CALL, field: "ingestion config id" });
            }
            Some(found) => return Ok(Some(found)),
            None if page.next_page_token.is_empty() => return Ok(None),
            None => page_token = page.next_page_token,
        }
    }
    Err(too_many_pages(CALL))
}

/// Looks for what is said to exist, a few times: the server's lists may lag behind what it has just made.
pub(super) async fn look_again<T, F>(mut look: impl FnMut() -> F) -> Result<Option<T>, RegisterError>
where
    F: Future<Output = Result<Option<T>, RegisterError>>,
{
    for round in 0..MAX_ROUNDS {
        tokio::time::sleep(PAUSE_BETWEEN_ROUNDS * round).await;
        if let Some(found) = look().await? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

async fn check_asset(
    connection: &Connection,
    config: &CreateIngestionConfigRequest,
    found: &IngestionConfig,
) -> Result<(), RegisterError> {
    let asset = get_asset(connection, &found.asset_id).await?;
    // To Sift, names that differ in case alone are one asset.
    if asset.name.eq_ignore_ascii_case(&config.asset_name) {
        return Ok(());
    }
    Err(RegisterError::AssetDiffers {
        client_key: config.client_key.clone(),
        recorded: config.asset_name.clone(),
        destination: asset.name,
    })
}

pub(super) fn configs_client(connection: &Connection) -> IngestionConfigServiceClient<Authorized> {
    IngestionConfigServiceClient::new(connection.service()).max_decoding_message_size(MAX_DECODED_BYTES)
}

/// Awaits one call, no longer than the connection's request timeout.
pub(super) async fn answered<T>(
    call: &'static str,
    connection: &Connection,
    response: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, RegisterError> {
    let waited = connection.timeouts().request;
    match timeout(waited, response).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(RegisterError::Call { call, status }),
        Err(_) => Err(RegisterError::Timeout { call, waited }),
    }
}

/// Awaits one call that asks for one thing by its id: whatever the destination has against the request, it has against
/// the id.
pub(super) async fn by_id<T>(
    what: &'static str,
    id: &str,
    call: &'static str,
    connection: &Connection,
    response: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, RegisterError> {
    match answered(call, connection, response).await {
        Err(RegisterError::Call { status, .. }) if matches!(status.code(), Code::NotFound | Code::InvalidArgument) => {
            Err(RegisterError::NoSuchId { what, id: id.to_owned(), status })
        }
        answer => answer,
    }
}

pub(super) fn already_exists(error: &RegisterError) -> bool {
    matches!(error, RegisterError::Call { status, .. } if status.code() == Code::AlreadyExists)
}

pub(super) fn too_many_pages(call: &'static str) -> RegisterError {
    RegisterError::TooMany { call, limit: MAX_PAGES, what: "pages" }
}
