//! Runs: found by client key or name, or created.

use sift_rs::runs::v2::run_service_client::RunServiceClient;
use sift_rs::runs::v2::{CreateRunRequest, ListRunsRequest, ListRunsResponse, Run};

use super::connection::Connection;
use super::error::RegisterError;
use super::filter::equals;
use super::register::{MAX_DECODED_BYTES, MAX_PAGES, PAGE_SIZE, already_exists, answered, look_again, too_many_pages};
use super::transport::Authorized;

/// Runs of one name that are told apart; there may be more.
const MAX_SHOWN: usize = 10;

/// Finds the run with this client key, or creates it. `true` if it was created here.
pub(super) async fn find_or_create_run(
    connection: &Connection,
    run: &CreateRunRequest,
    client_key: &str,
) -> Result<(String, bool), RegisterError> {
    if let Some(found) = find_by_key(connection, client_key).await? {
        return Ok((run_id(found)?, false));
    }
    match create(connection, run.clone()).await {
        Err(error) if already_exists(&error) => {
            let found = look_again(|| find_by_key(connection, client_key)).await?;
            let found =
                found.ok_or_else(|| RegisterError::NotListed { what: "run", client_key: client_key.to_owned() })?;
            Ok((run_id(found)?, false))
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
        created => Ok((created?, true)),
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
    found.pop().map(run_id).transpose()
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

async fn create(connection: &Connection, request: CreateRunRequest) -> Result<String, RegisterError> {
    const CALL: &str = "CreateRun";
    let mut client = client(connection);
    let created = answered(CALL, connection, client.create_run(request)).await?;
    let created = created.run.map(|run| run.run_id).filter(|run_id| !run_id.is_empty());
    created.ok_or(RegisterError::MissingField { call: CALL, field: "run id" })
}

/// The id of a run that was listed.
fn run_id(run: Run) -> Result<String, RegisterError> {
    match run.run_id {
        id if id.is_empty() => Err(RegisterError::MissingField { call: "ListRuns", field: "run id" }),
        id => Ok(id),
    }
}

fn client(connection: &Connection) -> RunServiceClient<Authorized> {
    RunServiceClient::new(connection.service()).max_decoding_message_size(MAX_DECODED_BYTES)
}
