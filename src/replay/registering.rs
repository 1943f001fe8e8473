//! What must exist at the destination before a session's records: registered again and again while that may help.

use sift_rs::ingestion_configs::v2::{CreateIngestionConfigFlowsRequest, FlowConfig};

use super::context::Context;
use super::observe::{Origin, ReplayEvent};
use super::plan::{schema_is_lost, schema_unreadable, sift_requests};
use super::retry::Stop;
use super::target::Target;
use crate::catalog::{Requests, Session};
use crate::format::AddedFlows;
use crate::sift::{self, Connection, RegisterError, Registration, as_asset};

/// What a session's requests came to.
#[derive(Debug)]
pub(super) struct Registered {
    requests: Requests,
    registration: Registration,
}

impl Registered {
    pub(super) fn config_id(&self) -> String {
        self.registration.ingestion_config_id.clone()
    }
}

/// Tries a call until it succeeds, or trying is of no use.
pub(super) async fn persist<T, F>(
    context: &Context<'_>,
    origin: Option<Origin<'_>>,
    call: impl Fn(Connection) -> F,
) -> Result<T, Stop>
where
    F: Future<Output = Result<T, RegisterError>>,
{
    let (mut attempts, mut failed_on) = (context.patience.attempts(), None);
    loop {
        context.patience.check()?;
        let lane = context.lanes.pick(failed_on);
        let answered = tokio::select! {
            answered = call(lane.connection.clone()) => answered,
            () = context.patience.ending() => return Err(context.patience.check().err().unwrap_or(Stop::Interrupted)),
        };
        match answered {
            Ok(answer) => {
                context.patience.progressed();
                return Ok(answer);
            }
            Err(error) => {
                failed_on = Some(lane.number());
                if matches!(error, RegisterError::Timeout { .. }) {
                    // A connection that has gone deaf doesn't say so.
                    lane.renew();
                }
                drop(lane);
                let tell = |attempt, pause| {
                    let error = &error.to_string();
                    context.observer.event(&ReplayEvent::Retrying { origin, error, attempt, pause });
                };
                context.patience.pause(&mut attempts, &error, tell).await?;
            }
        }
    }
}

/// The target with its organization; `None` if nobody tells that.
pub(super) async fn target_told(context: &Context<'_>) -> Result<Option<Target>, Stop> {
    let call = |connection: Connection| async move { connection.organization().await };
    let organization = persist(context, None, call).await?;
    let target = |id: String| Target::new(&context.lanes.destination_name(), Some(&id), &context.options.rewrite);
    Ok(organization.map(target))
}

/// The target, now that something was registered: where there was no asset at the beginning, none told whose it is. The
/// next replay will find one, and must find the checkpoints of this one.
pub(super) async fn target_after_registering<'a>(context: &'a Context<'_>) -> Result<&'a Target, Stop> {
    if !context.is_nameless || !context.state.is_kept() {
        return Ok(&context.target);
    }
    let ask = || async { Ok(target_told(context).await?.unwrap_or_else(|| context.target.clone())) };
    context.told_later.get_or_try_init(ask).await
}

/// Registers a session, unless that was done before; `None` if there is nothing to register.
pub(super) async fn register(
    context: &Context<'_>,
    registered: &mut Option<Registered>,
    session: &Session,
) -> Result<Option<Registration>, Stop> {
    context.patience.check()?;
    let requests = session.requests.as_ref().ok_or_else(|| Stop::Job(schema_is_lost(session.id)))?;
    if let Some(known) = registered.as_ref().filter(|known| known.requests == *requests) {
        return Ok(Some(known.registration.clone()));
    }
    let read = sift_requests(requests).map_err(|error| Stop::Job(schema_unreadable(session.id, &error)))?;
    let Some((config, run)) = read else { return Ok(None) };
    let config = match &context.options.rewrite.asset {
        Some(asset) => as_asset(&config, asset),
        None => config,
    };
    let _turn = context.key_turns.take(config.client_key.clone()).await;
    let same = context.registered().get(requests).cloned();
    if let Some(registration) = same {
        tell(context, session, requests, registration.clone().found());
        *registered = Some(Registered { requests: requests.clone(), registration: registration.clone() });
        return Ok(Some(registration));
    }
    // Whoever names a run wants no other one.
    let run = run.filter(|_| context.run_id.is_none() && requests.run_id.is_none());
    let origin = Some(Origin::Session(session.id));
    let (config, run) = (&config, run.as_ref());
    let call = |connection| async move { sift::register(&connection, config, run).await };
    let mut registration = persist(context, origin, call).await?;
    registration.run_id = requests.run_id.clone().or(registration.run_id);
    context.registered().insert(requests.clone(), registration.clone());
    tell(context, session, requests, registration.clone());
    *registered = Some(Registered { requests: requests.clone(), registration: registration.clone() });
    Ok(Some(registration))
}

fn tell(context: &Context<'_>, session: &Session, requests: &Requests, registration: Registration) {
    // As what they are delivered, which need not be what was recorded.
    let mut requests = requests.clone();
    let rewrite = &context.options.rewrite;
    requests.asset = rewrite.asset.clone().unwrap_or(requests.asset);
    requests.run_name = rewrite.run.clone().or(requests.run_name);
    let registration = Registration { run_id: context.run_id.clone().or(registration.run_id), ..registration };
    let event = ReplayEvent::Registered { session: session.id, requests: &requests, registration: &registration };
    context.observer.event(&event);
}

/// Adds flows that a segment names later on.
pub(super) async fn add_flows(
    context: &Context<'_>,
    origin: Origin<'_>,
    config_id: String,
    added: AddedFlows,
) -> Result<(), Stop> {
    let flows = sift_flows(&added);
    let (config_id, flows) = (&config_id[..], &flows[..]);
    let call = |connection| async move { sift::add_flows(&connection, config_id, flows).await };
    persist(context, Some(origin), call).await
}

/// Flows as Sift's own type.
fn sift_flows(added: &AddedFlows) -> Vec<FlowConfig> {
    use prost::Message;
    let bytes = added.encode_to_vec();
    // Both types have the same fields, so that what one encodes the other decodes.
    CreateIngestionConfigFlowsRequest::decode(&bytes[..]).map(|request| request.flows).unwrap_or_default()
}
