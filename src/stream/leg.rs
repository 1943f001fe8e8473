//! A leg: the part of a stream that goes into one run. With files, it is a session of its own.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use bytes::Bytes;
use prost::Message;
use sift_rs::ingestion_configs::v2::{CreateIngestionConfigRequest, FlowConfig};
use sift_rs::runs::v2::{CreateRunRequest, Run};
use uuid::Uuid;

use super::forms::{RunForm, RunSelector};
use super::pieces::Piece;
use crate::format::Suffix;
use crate::record::{Recorder, Schema, SchemaError};
use crate::replay::{Ids, Outgoing, Target, put_message};

/// Room for what goes before and behind a record: gRPC's prefix, and ids, which are UUIDs as text.
const MESSAGE_ROOM: usize = 100;

/// What records of one leg need to be sent.
#[derive(Debug)]
pub(super) struct Leg {
    /// The session's id; the stream's own where nothing is recorded.
    pub(super) id: Uuid,
    pub(super) config: CreateIngestionConfigRequest,
    pub(super) run: Option<RunSelector>,
    /// Who records it, if anybody does.
    pub(super) recorder: Weak<Recorder>,
    /// Flows that were added since `config` was made.
    added: Mutex<Vec<Added>>,
    registered: OnceLock<Arc<Registered>>,
}

/// A flow that was added later.
#[derive(Debug)]
struct Added {
    flow: FlowConfig,
    /// Whether Sift knows it.
    told: bool,
}

/// What Sift said to a leg.
#[derive(Debug)]
pub(super) struct Registered {
    pub(super) config_id: String,
    pub(super) outgoing: Outgoing,
    pub(super) run: Option<Run>,
    /// By which checkpoints are kept.
    pub(super) target: Target,
    /// Whether the config or the run was made just now.
    pub(super) fresh: bool,
    /// Whether Sift is told to refuse what doesn't fit.
    pub(super) end_stream: bool,
}

impl Registered {
    /// A piece as gRPC messages, with the ids behind each.
    pub(super) fn messages(&self, piece: &Piece) -> Bytes {
        let ids = if piece.bare { Ids::None } else { Ids::Unknown };
        let mut buffer = Vec::with_capacity(piece.bytes() + piece.count as usize * MESSAGE_ROOM);
        match self.outgoing.fixed_tail(ids) {
            Some(tail) => piece.records().for_each(|record| put_message(record, tail, &mut buffer)),
            None => piece.records().for_each(|record| self.outgoing.put(record, ids, &mut buffer)),
        }
        buffer.into()
    }

    /// The same for records that go into no run.
    pub(super) fn without_run(&self) -> Self {
        Self {
            config_id: self.config_id.clone(),
            outgoing: Outgoing::new(Suffix::new(&self.config_id, None, self.end_stream), 0),
            run: None,
            target: self.target.clone(),
            fresh: false,
            end_stream: self.end_stream,
        }
    }
}

impl Leg {
    pub(super) fn new(
        id: Uuid,
        config: CreateIngestionConfigRequest,
        run: Option<RunSelector>,
        recorder: Weak<Recorder>,
    ) -> Self {
        Self { id, config, run, recorder, added: Mutex::default(), registered: OnceLock::new() }
    }

    pub(super) fn registered(&self) -> Option<&Arc<Registered>> {
        self.registered.get()
    }

    /// The first answer stays.
    pub(super) fn set_registered(&self, registered: Arc<Registered>) -> &Arc<Registered> {
        self.registered.get_or_init(|| registered)
    }

    fn added(&self) -> MutexGuard<'_, Vec<Added>> {
        self.added.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records behind may use these flows; `told`: Sift knows them.
    pub(super) fn add_flows(&self, flows: impl IntoIterator<Item = FlowConfig>, told: bool) {
        let mut added = self.added();
        for flow in flows {
            match added.iter_mut().find(|known| known.flow == flow) {
                Some(known) => known.told |= told,
                None => added.push(Added { flow, told }),
            }
        }
    }

    /// Flows that Sift must be told of.
    pub(super) fn untold(&self) -> Vec<FlowConfig> {
        self.added().iter().filter(|added| !added.told).map(|added| added.flow.clone()).collect()
    }

    /// The same without a run.
    pub(super) fn without_run(&self) -> Self {
        let leg = Self::new(self.id, self.whole_config(), None, self.recorder.clone());
        if let Some(registered) = self.registered() {
            leg.set_registered(Arc::new(registered.without_run()));
        }
        leg
    }

    /// The config with all flows so far.
    pub(super) fn whole_config(&self) -> CreateIngestionConfigRequest {
        let mut config = self.config.clone();
        config.flows.extend(self.added().iter().map(|added| added.flow.clone()));
        config
    }
}

/// What HEADER has to say.
pub(super) fn schema(config: &CreateIngestionConfigRequest, run: Option<&RunSelector>) -> Result<Schema, SchemaError> {
    // Sift keeps flows of one name apart by their channels; names are all that a stream has.
    let mut names = HashSet::new();
    if let Some(repeated) = config.flows.iter().find(|flow| !names.insert(&flow.name)) {
        return Err(SchemaError::RepeatedFlow { flow: repeated.name.clone() });
    }
    let (form, id) = match run {
        None => (None, None),
        // Without these, Sift couldn't be asked for it later: what is recorded would have nowhere to go.
        Some(RunSelector::ByForm(form)) if form.name.is_empty() => return Err(empty("the run's name")),
        Some(RunSelector::ByForm(form)) if form.client_key.is_empty() => return Err(empty("the run's client key")),
        Some(RunSelector::ById(id)) if id.is_empty() => return Err(empty("the run's id")),
        Some(RunSelector::ByForm(form)) => (Some(run_request(form).encode_to_vec()), None),
        Some(RunSelector::ById(id)) => (None, Some(id)),
    };
    let schema = Schema::from_requests(&config.encode_to_vec(), form.as_deref())?;
    Ok(match id {
        Some(id) => schema.run_id(id),
        None => schema,
    })
}

fn empty(what: &str) -> SchemaError {
    SchemaError::Empty { what: what.to_owned() }
}

pub(super) fn run_request(form: &RunForm) -> CreateRunRequest {
    CreateRunRequest {
        name: form.name.clone(),
        description: form.description.clone().unwrap_or_default(),
        tags: form.tags.clone().unwrap_or_default(),
        metadata: form.metadata.clone().unwrap_or_default(),
        client_key: Some(form.client_key.clone()),
        ..CreateRunRequest::default()
    }
}

/// A run as far as it is known before Sift was asked.
pub(super) fn expected_run(run: &RunSelector) -> Run {
    match run {
        RunSelector::ById(id) => Run { run_id: id.clone(), ..Run::default() },
        RunSelector::ByForm(form) => {
            let CreateRunRequest { name, description, tags, metadata, client_key, .. } = run_request(form);
            Run { name, description, tags, metadata, client_key, ..Run::default() }
        }
    }
}
