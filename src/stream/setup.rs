//! What must be there at Sift before a leg's records, and how Sift is reached.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sift_rs::ingestion_configs::v2::FlowConfig;
use sift_rs::metadata::v1::MetadataValue;
use sift_rs::{Credentials, SiftChannel};

use super::error::StreamError;
use super::forms::{RunForm, RunSelector};
use super::leg::{Leg, Registered};
use crate::format::Suffix;
use crate::replay::{Attempts, Faulty, Lanes, OnReject, Outgoing, Patience, ReplayOptions, Rewrite, Target};
use crate::sift::{
    self, ApiKey, ConnectError, Connection, Destination, DestinationOptions, RegisterError, RunRequest, Timeouts,
    get_run, load_run, register, update_asset,
};

/// How Sift is reached.
#[derive(Clone)]
pub(super) enum Link {
    /// Each lane has a connection of its own.
    Destination(Box<Destination>),
    /// All share a channel that somebody else made.
    Shared(Connection),
}

/// What each leg's records need, besides the leg's own.
pub(super) struct Setup {
    pub(super) link: Link,
    pub(super) asset_tags: Option<Vec<String>>,
    pub(super) asset_metadata: Option<Vec<MetadataValue>>,
    /// Whether the asset's details are set.
    asset_is_set: AtomicBool,
    pub(super) on_reject: OnReject,
    /// Attempts at one call while the stream is built.
    pub(super) control_attempts: u32,
}

impl Link {
    /// The destination that the credentials are for.
    pub(super) fn of(credentials: &Credentials, tls: bool, timeouts: Timeouts) -> Result<Self, StreamError> {
        let options = DestinationOptions { timeouts, insecure: !tls, ..DestinationOptions::default() };
        let options = match credentials {
            Credentials::Profile(profile) => DestinationOptions { profile: profile.clone(), ..options },
            Credentials::Config { uri, apikey } => {
                let plain = |uri: &str| uri.replacen("https://", "http://", 1);
                let with_scheme = if uri.contains("://") { uri.clone() } else { format!("https://{uri}") };
                let uri = Some(if tls { with_scheme } else { plain(&with_scheme) });
                let api_key = Some(ApiKey::new(apikey, "the credentials")?);
                DestinationOptions { uri, api_key, ..options }
            }
        };
        Ok(Self::Destination(Box::new(Destination::resolve(&options)?)))
    }

    pub(super) fn shared(channel: SiftChannel, name: &str, timeouts: Timeouts) -> Self {
        Self::Shared(Connection::from_channel(channel, name, timeouts))
    }

    /// What checkpoints are kept by.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Destination(destination) => destination.name(),
            Self::Shared(connection) => connection.destination_name(),
        }
    }

    /// A lane of its own.
    pub(super) fn lane(&self, gzip: bool) -> Result<Lanes, ConnectError> {
        match self {
            Self::Destination(destination) => Lanes::lazy(destination, gzip),
            Self::Shared(connection) => Ok(Lanes::single(connection.clone().with_gzip(gzip))),
        }
    }

    /// Connects and pings: what is wrong with endpoint or credentials shows.
    pub(super) async fn check(&self) -> Result<Connection, ConnectError> {
        match self {
            Self::Destination(destination) => Connection::open(destination).await,
            Self::Shared(connection) => connection.check().await.map(|()| connection.clone()),
        }
    }
}

impl Setup {
    pub(super) fn new(link: Link, on_reject: OnReject, control_attempts: u32) -> Self {
        Self {
            link,
            asset_tags: None,
            asset_metadata: None,
            asset_is_set: AtomicBool::new(false),
            on_reject,
            control_attempts,
        }
    }

    /// Registers a leg: its ingestion config, its run, and the asset's details.
    pub(super) async fn register(&self, connection: &Connection, leg: &Leg) -> Result<Registered, RegisterError> {
        let told = leg.untold();
        let registration = register(connection, &leg.whole_config(), None).await?;
        leg.add_flows(told, true);
        let run = self.load_run(connection, leg.run.as_ref()).await?;
        if !self.asset_is_set.load(Ordering::Relaxed) {
            let (tags, metadata) = (self.asset_tags.as_deref(), self.asset_metadata.as_deref());
            update_asset(connection, &registration.asset_id, tags, metadata).await?;
            self.asset_is_set.store(true, Ordering::Relaxed);
        }
        // Asked for last: before there is an asset, perhaps nobody tells.
        let organization = connection.organization().await?;
        let target = Target::new(connection.destination_name(), organization.as_deref(), &Rewrite::default());
        let (run, run_created) = run.map_or((None, false), |(run, created)| (Some(run), created));
        let run_id = run.as_ref().map(|run| run.run_id.as_str());
        let end_stream = self.on_reject != OnReject::Accept;
        let suffix = Suffix::new(&registration.ingestion_config_id, run_id, end_stream);
        tracing::info!(asset = leg.config.asset_name, run_id, "registered with {}", connection.destination_name());
        Ok(Registered {
            config_id: registration.ingestion_config_id,
            outgoing: Outgoing::new(suffix, 0),
            run,
            target,
            fresh: registration.config_created || run_created,
            end_stream,
        })
    }

    async fn load_run(
        &self,
        connection: &Connection,
        run: Option<&RunSelector>,
    ) -> Result<Option<(sift_rs::runs::v2::Run, bool)>, RegisterError> {
        match run {
            None => Ok(None),
            Some(RunSelector::ById(id)) => Ok(Some((get_run(connection, id).await?, false))),
            Some(RunSelector::ByForm(form)) => Ok(Some(load_run(connection, &run_wanted(form)).await?)),
        }
    }

    /// Tells Sift of flows that were added, unless it knows them.
    pub(super) async fn tell_flows(
        &self,
        connection: &Connection,
        leg: &Leg,
        registered: &Registered,
    ) -> Result<(), RegisterError> {
        let flows = leg.untold();
        if !flows.is_empty() {
            self.add_flows(connection, registered, &flows).await?;
            leg.add_flows(flows, true);
        }
        Ok(())
    }

    /// Adds flows to a leg's ingestion config.
    pub(super) async fn add_flows(
        &self,
        connection: &Connection,
        registered: &Registered,
        flows: &[FlowConfig],
    ) -> Result<(), RegisterError> {
        sift::add_flows(connection, &registered.config_id, flows).await
    }

    /// Tries a call of the control plane a few times, while that may help.
    pub(super) async fn persist<T, E, F>(&self, call: impl Fn() -> F) -> Result<T, E>
    where
        E: Faulty,
        F: Future<Output = Result<T, E>>,
    {
        let options = ReplayOptions {
            most_attempts: Some(self.control_attempts),
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_secs(10),
            give_up_after: None,
            ..ReplayOptions::default()
        };
        let patience = Patience::new(&options);
        let mut attempts = patience.attempts();
        loop {
            match call().await {
                Ok(answer) => return Ok(answer),
                Err(error) => pause_or(&patience, &mut attempts, error).await?,
            }
        }
    }
}

async fn pause_or<E: Faulty>(patience: &Patience, attempts: &mut Attempts, error: E) -> Result<(), E> {
    let tell = |attempt, pause| tracing::info!(%error, attempt, ?pause, "trying again");
    patience.pause(attempts, &error, tell).await.map_err(|_| error)
}

fn run_wanted(form: &RunForm) -> RunRequest {
    let RunForm { name, client_key, description, tags, metadata } = form.clone();
    RunRequest { name, client_key, description, tags, metadata }
}
