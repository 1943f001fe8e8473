//! Runs: found by client key or name, or created.

use sift_rs::metadata::v1::MetadataValue;
use sift_rs::runs::v2::run_service_client::RunServiceClient;
use sift_rs::runs::v2::{CreateRunRequest, GetRunRequest, ListRunsRequest, ListRunsResponse, Run, UpdateRunRequest};
use tonic::Status;

use super::connection::Connection;
use super::error::RegisterError;
use super::filter::equals;
use super::labels::{same_metadata, same_tags};
use super::register::{
    MAX_DECODED_BYTES, MAX_PAGES, PAGE_SIZE, already_exists, answered, by_id, look_again, too_many_pages,
};
use super::transport::Authorized;

/// Runs of one name that are told apart; there may be more.
const MAX_SHOWN: usize = 10;

/// A run as a live stream wants it. What is `None` is left alone in a run that is there, and empty in a new one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunRequest {
    /// Its name.
    pub name: String,
    /// By which it is found again; unique within the organization.
    pub client_key: String,
    /// What it is.
    pub description: Option<String>,
    /// Its tags.
    pub tags: Option<Vec<String>>,
    /// Its metadata.
    pub metadata: Option<Vec<MetadataValue>>,
}

impl RunRequest {
    /// The request that creates it.
    pub fn create_request(&self) -> CreateRunRequest {
        CreateRunRequest {
            name: self.name.clone(),
            client_key: Some(self.client_key.clone()),
            description: self.description.clone().unwrap_or_default(),
            tags: self.tags.clone().unwrap_or_default(),
            metadata: self.metadata.clone().unwrap_or_default(),
            ..CreateRunRequest::default()
        }
    }

    /// Makes `run` what is asked for; returns the names of the fields that were something else.
    fn apply(&self, run: &mut Run) -> Vec<String> {
        let mut paths = Vec::new();
        if self.name != run.name {
            run.name.clone_from(&self.name);
            paths.push("name".to_owned());
        }
        if let Some(description) = self.description.as_ref().filter(|description| **description != run.description) {
            run.description.clone_from(description);
            paths.push("description".to_owned());
        }
        if let Some(tags) = self.tags.as_ref().filter(|tags| !same_tags(tags, &run.tags)) {
            run.tags.clone_from(tags);
            paths.push("tags".to_owned());
        }
        if let Some(metadata) = self.metadata.as_ref().filter(|metadata| !same_metadata(metadata, &run.metadata)) {
            run.metadata.clone_from(metadata);
            paths.push("metadata".to_owned());
        }
        paths
    }
}

/// Finds the run with the request's client key, and sets what the request gives and the run has otherwise; or creates
/// it. Returns the run as it is then, and whether it was created here.
///
/// Tags and metadata are compared without regard to order: what is there and not given is taken away.
///
/// # Errors
///
/// [`RegisterError::MissingRunName`] or [`RegisterError::MissingRunKey`] if the request lacks it: nothing has been
/// sent; else what the calls return.
pub async fn load_run(connection: &Connection, request: &RunRequest) -> Result<(Run, bool), RegisterError> {
    if request.name.is_empty() {
        return Err(RegisterError::MissingRunName);
    }
    if request.client_key.is_empty() {
        return Err(RegisterError::MissingRunKey { name: request.name.clone() });
    }
    let (run, created) = find_or_create(connection, &request.create_request(), &request.client_key).await?;
    if created {
        return Ok((run, true));
    }
    Ok((update(connection, run, request).await?, false))
}

/// The run with this id.
///
/// # Errors
///
/// [`RegisterError::NoSuchId`] if there is none; else what the call returns.
pub async fn get_run(connection: &Connection, run_id: &str) -> Result<Run, RegisterError> {
    const CALL: &str = "GetRun";
    if run_id.is_empty() {
        let status = Status::invalid_argument("it is empty");
        return Err(RegisterError::NoSuchId { what: "run", id: String::new(), status });
    }
    let request = GetRunRequest { run_id: run_id.to_owned() };
    let mut client = client(connection);
    let answer = by_id("run", run_id, CALL, connection, client.get_run(request)).await?;
    // Data could end up in another's run.
    let run = answer.run.filter(|run| run.run_id.eq_ignore_ascii_case(run_id));
    run.ok_or(RegisterError::MissingField { call: CALL, field: "run of that id" })
}

async fn update(connection: &Connection, mut run: Run, wanted: &RunRequest) -> Result<Run, RegisterError> {
    const CALL: &str = "UpdateRun";
    let paths = wanted.apply(&mut run);
    if paths.is_empty() {
        return Ok(run);
    }
    tracing::debug!(run_id = run.run_id, fields = paths.join(", "), "the run is there and differs; updating it");
    let run_id = run.run_id.clone();
    let mut request = UpdateRunRequest { run: Some(run), ..UpdateRunRequest::default() };
    request.update_mask.get_or_insert_default().paths = paths;
    let mut client = client(connection);
    let updated = answered(CALL, connection, client.update_run(request)).await?;
    let updated = updated.run.filter(|run| run.run_id == run_id);
    updated.ok_or(RegisterError::MissingField { call: CALL, field: "run" })
}

/// Finds the run with this client key, or creates it. Returns its id, and whether it was created here.
pub(super) async fn find_or_create_run(
    connection: &Connection,
    run: &CreateRunRequest,
    client_key: &str,
) -> Result<(String, bool), RegisterError> {
    find_or_create(connection, run, client_key).await.map(|(run, created)| (run.run_id, created))
}

/// Finds the run with this client key, or creates it. `true` if it was created here.
async fn find_or_create(
    connection: &Connection,
    run: &CreateRunRequest,
    client_key: &str,
) -> Result<(Run, bool), RegisterError> {
    if let Some(found) = find_by_key(connection, client_key).await? {
        return Ok((listed(found)?, false));
    }
    match create(connection, run.clone()).await {
        Err(error) if already_exists(&error) => {
            let found = look_again(|| find_by_key(connection, client_key)).await?;
            let found =
                found.ok_or_else(|| RegisterError::NotListed { what: "run", client_key: client_key.to_owned() })?;
            Ok((listed(found)?, false))
        }
        created => Ok((created?, true)),
    }
}

/// Finds the run of this name, or creates it, with its name for a client key. Returns its id, and whether it was
/// created here.
///
/// # Errors
///
/// [`RegisterError::RunNotUnique`] if there are several runs of that name, [`RegisterError::RunRenamed`] if the client
/// key is that of a run which has another name by now; else what the calls return.
pub async fn find_or_create_run_named(connection: &Connection, name: &str) -> Result<(String, bool), RegisterError> {
    if name.is_empty() {
        return Err(RegisterError::MissingRunName);
    }
    if let Some(run_id) = find_by_name(connection, name).await? {
        return Ok((run_id, false));
    }
    let request =
        CreateRunRequest { name: name.to_owned(), client_key: Some(name.to_owned()), ..CreateRunRequest::default() };
    match create(connection, request).await {
        Err(error) if already_exists(&error) => {
            if let Some(run_id) = look_again(|| find_by_name(connection, name)).await? {
                return Ok((run_id, false));
            }
            Err(match find_by_key(connection, name).await? {
                Some(run) => RegisterError::RunRenamed { name: name.to_owned(), now: run.name, run_id: run.run_id },
                None => RegisterError::NotListed { what: "run", client_key: name.to_owned() },
            })
        }
        created => Ok((created?.run_id, true)),
    }
}

async fn find_by_key(connection: &Connection, client_key: &str) -> Result<Option<Run>, RegisterError> {
    let found =
        find(connection, equals("client_key", client_key), 1, |run| run.client_key.as_deref() == Some(client_key));
    Ok(found.await?.pop())
}

/// The id of the one run of this name. Archived ones count only where there is no other.
async fn find_by_name(connection: &Connection, name: &str) -> Result<Option<String>, RegisterError> {
    let mut found = find(connection, equals("name", name), MAX_SHOWN, |run| run.name == name).await?;
    if found.iter().any(|run| !run.is_archived) {
        found.retain(|run| !run.is_archived);
    }
    // A run that changes while it is listed may stand on two pages.
    found.sort_by(|a, b| a.run_id.cmp(&b.run_id));
    found.dedup_by(|a, b| a.run_id == b.run_id);
    if found.len() > 1 {
        let run_ids = found.into_iter().map(|run| run.run_id).collect();
        return Err(RegisterError::RunNotUnique { name: name.to_owned(), run_ids });
    }
    found.pop().map(|run| listed(run).map(|run| run.run_id)).transpose()
}

/// The first `most` runs that pass `is`, which trusts no filter: data could end up in another's run.
async fn find(
    connection: &Connection,
    filter: String,
    most: usize,
    is: impl Fn(&Run) -> bool,
) -> Result<Vec<Run>, RegisterError> {
    const CALL: &str = "ListRuns";
    let mut client = client(connection);
    let mut found = Vec::new();
    let mut page_token = String::new();
    for _ in 0..MAX_PAGES {
        let request =
            ListRunsRequest { page_size: PAGE_SIZE, page_token, filter: filter.clone(), order_by: String::new() };
        let page = answered(CALL, connection, client.list_runs(request)).await?;
        let ListRunsResponse { runs, next_page_token } = page;
        found.extend(runs.into_iter().filter(&is));
        if found.len() >= most || next_page_token.is_empty() {
            found.truncate(most);
            return Ok(found);
        }
        page_token = next_page_token;
    }
    Err(too_many_pages(CALL))
}

async fn create(connection: &Connection, request: CreateRunRequest) -> Result<Run, RegisterError> {
    const CALL: &str = "CreateRun";
    let mut client = client(connection);
    let created = answered(CALL, connection, client.create_run(request)).await?;
    let created = created.run.filter(|run| !run.run_id.is_empty());
    created.ok_or(RegisterError::MissingField { call: CALL, field: "run id" })
}

/// A run that was listed must have an id.
fn listed(run: Run) -> Result<Run, RegisterError> {
    if run.run_id.is_empty() {
        return Err(RegisterError::MissingField { call: "ListRuns", field: "run id" });
    }
    Ok(run)
}

fn client(connection: &Connection) -> RunServiceClient<Authorized> {
    RunServiceClient::new(connection.service()).max_decoding_message_size(MAX_DECODED_BYTES)
}
