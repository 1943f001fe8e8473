//! Runs.

use super::{AddAsset, KnownRun, Numbered, Registry, State, id_of, now, random_id};
use crate::receiver::error::{RegistryError, clipped};
use pbjson_types::{Duration, Timestamp};
use prost::Message;
use sift_rs::runs::v2::{CreateAdhocRunRequest, CreateRunRequest, Run};

fn derived_id(client_key: &str) -> String {
    id_of("run", &[client_key])
}

/// The client key, unless there is none or it is empty.
fn client_key(request: &CreateRunRequest) -> Option<&str> {
    request.client_key.as_deref().filter(|key| !key.is_empty())
}

fn order(time: Timestamp) -> (i64, i32) {
    (time.seconds, time.nanos)
}

fn check_times(start: Option<Timestamp>, stop: Option<Timestamp>) -> Result<(), RegistryError> {
    let problem = match (start, stop) {
        (None, Some(_)) => "the run has a stop_time but no start_time; give both",
        (Some(start), Some(stop)) if order(start) > order(stop) => "the run's start_time is after its stop_time",
        _ => return Ok(()),
    };
    Err(RegistryError::Invalid(problem.to_owned()))
}

fn check_request(request: &CreateRunRequest) -> Result<(), RegistryError> {
    if request.name.is_empty() {
        return Err(RegistryError::Invalid("the run has no name; give `name`".to_owned()));
    }
    check_times(request.start_time, request.stop_time)
}

impl State {
    fn insert_run(&mut self, id: &str, request: &CreateRunRequest) -> Result<&mut Run, RegistryError> {
        let bytes = request.encoded_len();
        self.charge(bytes)?;
        let created = now();
        let run = Run {
            run_id: id.to_owned(),
            created_date: Some(created),
            modified_date: Some(created),
            organization_id: match request.organization_id.as_str() {
                "" => self.organization_id.clone(),
                named => named.to_owned(),
            },
            start_time: request.start_time,
            stop_time: request.stop_time,
            name: request.name.clone(),
            description: request.description.clone(),
            tags: request.tags.clone(),
            client_key: client_key(request).map(ToOwned::to_owned),
            metadata: request.metadata.clone(),
            ..Default::default()
        };
        if let Some(key) = client_key(request) {
            self.run_by_client_key.insert(key.to_owned(), id.to_owned());
        }
        let number = self.number();
        let item = KnownRun { run, request: request.clone(), bytes };
        let known = self.runs.entry(id.to_owned());
        Ok(&mut known.insert_entry(Numbered { number, item }).into_mut().item.run)
    }

    fn run_mut(&mut self, id: &str) -> Result<&mut KnownRun, RegistryError> {
        let known = self.runs.get_mut(id).map(|run| &mut run.item);
        known.ok_or_else(|| RegistryError::not_found("run", id))
    }
}

/// The run as clients see it: with its duration up to now.
fn shown(run: &Run) -> Run {
    let duration = run.start_time.map(|start| {
        let stop = run.stop_time.unwrap_or_else(now);
        let seconds = stop.seconds.saturating_sub(start.seconds);
        let nanos = stop.nanos.saturating_sub(start.nanos);
        // Both parts of a duration must have the same sign.
        match nanos {
            nanos if nanos < 0 && seconds > 0 => Duration { seconds: seconds - 1, nanos: nanos + 1_000_000_000 },
            nanos => Duration { seconds, nanos },
        }
    });
    Run { duration, ..run.clone() }
}

impl Registry {
    pub(super) fn restore_run(&self, request: &CreateRunRequest) -> Result<String, RegistryError> {
        check_request(request)?;
        let mut state = self.state();
        let id = match client_key(request) {
            None => random_id(),
            Some(key) => match state.run_by_client_key.get(key) {
                Some(known) => return Ok(known.clone()),
                None => derived_id(key),
            },
        };
        state.insert_run(&id, request)?;
        Ok(id)
    }

    /// Makes a run known under an id that somebody else gave it, or that an earlier life of this
    /// receiver gave it without being able to derive it from a client key. A known id is left
    /// as it is.
    ///
    /// # Errors
    /// If the request is not valid, or memory's bound is reached.
    pub fn seed_run_with_id(&self, id: &str, run: &CreateRunRequest) -> Result<(), RegistryError> {
        check_request(run)?;
        let mut state = self.state();
        if !state.runs.contains_key(id) {
            state.insert_run(id, run)?;
        }
        Ok(())
    }

    pub(in crate::receiver) fn create_run(&self, request: &CreateRunRequest) -> Result<Run, RegistryError> {
        check_request(request)?;
        let mut state = self.state();
        let id = client_key(request).map_or_else(random_id, derived_id);
        if let Some(key) = client_key(request)
            && (state.run_by_client_key.contains_key(key) || state.runs.contains_key(&id))
        {
            return Err(RegistryError::exists("a run with client key", key));
        }
        Ok(shown(state.insert_run(&id, request)?))
    }

    /// Creates a run for data that has been ingested before.
    pub(in crate::receiver) fn create_adhoc_run(&self, request: CreateAdhocRunRequest) -> Result<Run, RegistryError> {
        for asset_id in &request.asset_ids {
            self.asset(asset_id)?;
        }
        let made = self.create_run(&CreateRunRequest {
            name: request.name,
            description: request.description,
            tags: request.tags,
            start_time: request.start_time,
            stop_time: request.stop_time,
            client_key: request.client_key,
            metadata: request.metadata,
            ..Default::default()
        })?;
        let mut state = self.state();
        let run = &mut state.run_mut(&made.run_id)?.run;
        run.is_adhoc = true;
        request.asset_ids.iter().for_each(|id| run.add_asset(id));
        Ok(shown(run))
    }

    pub(in crate::receiver) fn run(&self, id: &str) -> Result<Run, RegistryError> {
        self.state().run_mut(id).map(|known| shown(&known.run))
    }

    /// All runs, in no particular order.
    pub(in crate::receiver) fn runs(&self) -> Vec<Numbered<Run>> {
        let state = self.state();
        let runs = state.runs.values().map(|run| Numbered { number: run.number, item: shown(&run.item.run) });
        runs.collect()
    }

    /// Changes the fields that `mask` names; nothing, if one of them can't be changed so.
    pub(in crate::receiver) fn update_run(&self, update: &Run, mask: &[String]) -> Result<Run, RegistryError> {
        let mut state = self.state();
        let known = state.run_mut(&update.run_id)?;
        let mut run = known.run.clone();
        let mut request = known.request.clone();
        for path in mask {
            match path.as_str() {
                "name" if update.name.is_empty() => {
                    let text = "a run's name can't be made empty";
                    return Err(RegistryError::Invalid(text.to_owned()));
                }
                "name" => run.name.clone_from(&update.name),
                "description" => run.description.clone_from(&update.description),
                "start_time" => run.start_time = update.start_time,
                "stop_time" => run.stop_time = update.stop_time,
                "is_pinned" => run.is_pinned = update.is_pinned,
                "tags" => run.tags.clone_from(&update.tags),
                "metadata" => run.metadata.clone_from(&update.metadata),
                "is_archived" => {
                    run.is_archived = update.is_archived;
                    run.archived_date = update.is_archived.then(now);
                }
                "client_key" if run.client_key == update.client_key => {}
                "client_key" if run.client_key.is_some() => {
                    let text = "a run's client key can be set only once";
                    return Err(RegistryError::Precondition(text.to_owned()));
                }
                "client_key" => run.client_key.clone_from(&update.client_key),
                other => {
                    return Err(RegistryError::Invalid(format!(
                        "the field {:?} of a run can't be updated; those that can are name, description, start_time, stop_time, is_pinned, client_key, tags, is_archived and metadata",
                        clipped(other)
                    )));
                }
            }
        }
        check_times(run.start_time, run.stop_time)?;
        run.modified_date = Some(now());
        request.name.clone_from(&run.name);
        request.description.clone_from(&run.description);
        request.tags.clone_from(&run.tags);
        request.metadata.clone_from(&run.metadata);
        request.client_key.clone_from(&run.client_key);
        let bytes = run.encoded_len();
        self.replace_run(&mut state, KnownRun { run, request, bytes })
    }

    fn replace_run(&self, state: &mut State, changed: KnownRun) -> Result<Run, RegistryError> {
        let id = changed.run.run_id.clone();
        let key = client_key(&changed.request);
        if let Some(key) = key
            && state.run_by_client_key.get(key).is_some_and(|known| *known != id)
        {
            return Err(RegistryError::exists("a run with client key", key));
        }
        state.charge(changed.bytes)?;
        if let Some(key) = key {
            state.run_by_client_key.insert(key.to_owned(), id.clone());
        }
        let run = shown(&changed.run);
        let replaced = std::mem::replace(state.run_mut(&id)?, changed);
        state.refund(replaced.bytes);
        Ok(run)
    }

    /// Ends a run now. A run without a start is one of no length.
    pub(in crate::receiver) fn stop_run(&self, id: &str) -> Result<(), RegistryError> {
        let mut state = self.state();
        let run = &mut state.run_mut(id)?.run;
        let now = now();
        run.start_time.get_or_insert(now);
        run.stop_time = Some(now);
        run.modified_date = Some(now);
        Ok(())
    }

    /// Forgets a run that has ended. What was recorded under it stays.
    pub(in crate::receiver) fn delete_run(&self, id: &str) -> Result<(), RegistryError> {
        let mut state = self.state();
        let run = &state.run_mut(id)?.run;
        if run.stop_time.is_none() {
            let text = "the run has no stop_time; stop it before deleting it";
            return Err(RegistryError::Precondition(text.to_owned()));
        }
        let key = run.client_key.clone();
        if let Some(key) = key {
            state.run_by_client_key.remove(&key);
        }
        if let Some(forgotten) = state.runs.remove(id) {
            state.refund(forgotten.item.bytes);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(registry: &Registry, client_key: Option<&str>) -> Run {
        let request =
            CreateRunRequest { name: "flight".into(), client_key: client_key.map(Into::into), ..Default::default() };
        registry.create_run(&request).unwrap()
    }

    #[test]
    fn an_update_changes_what_the_mask_names_and_nothing_else() {
        let registry = Registry::new();
        let run = made(&registry, Some("k"));
        let update = Run {
            run_id: run.run_id.clone(),
            name: "new".into(),
            description: "not asked for".into(),
            ..Default::default()
        };
        let changed = registry.update_run(&update, &["name".into()]).unwrap();
        assert_eq!(changed.name, "new");
        assert_eq!(changed.description, "");
        let error = registry.update_run(&update, &["description".into(), "run_id".into()]);
        assert!(error.unwrap_err().to_string().contains("\"run_id\""));
        assert_eq!(registry.run(&run.run_id).unwrap().description, "");
    }

    #[test]
    fn a_client_key_is_set_once_and_belongs_to_one_run() {
        let registry = Registry::new();
        made(&registry, Some("taken"));
        let run = made(&registry, None);
        let set = |key: &str| {
            let client_key = Some(key.to_owned());
            let update = Run { client_key, ..run.clone() };
            registry.update_run(&update, &["client_key".into()])
        };
        assert!(matches!(set("taken"), Err(RegistryError::AlreadyExists { .. })));
        assert_eq!(set("free").unwrap().client_key.as_deref(), Some("free"));
        assert!(matches!(set("other"), Err(RegistryError::Precondition(_))));
    }

    #[test]
    fn only_a_run_that_has_ended_can_be_deleted() {
        let registry = Registry::new();
        let id = made(&registry, Some("k")).run_id;
        assert!(matches!(registry.delete_run(&id), Err(RegistryError::Precondition(_))));
        registry.stop_run(&id).unwrap();
        registry.delete_run(&id).unwrap();
        assert!(matches!(registry.run(&id), Err(RegistryError::NotFound { .. })));
        assert_eq!(made(&registry, Some("k")).run_id, id);
    }

    #[test]
    fn what_is_replaced_or_forgotten_does_not_count_against_the_limit() {
        let registry = Registry::with_limit(4096);
        for n in 0..100 {
            let run = made(&registry, Some("k"));
            let update = Run { run_id: run.run_id.clone(), name: format!("name {n}"), ..Default::default() };
            registry.update_run(&update, &["name".into()]).unwrap();
            registry.stop_run(&run.run_id).unwrap();
            registry.delete_run(&run.run_id).unwrap();
        }
        assert_eq!(registry.state().bytes, 0);
    }

    #[test]
    fn a_seeded_run_is_known_under_the_id_that_it_was_given() {
        let registry = Registry::new();
        let request = CreateRunRequest { name: "flight".into(), ..Default::default() };
        registry.seed_run_with_id("theirs", &request).unwrap();
        let renamed = CreateRunRequest { name: "other".into(), ..request };
        registry.seed_run_with_id("theirs", &renamed).unwrap();
        assert_eq!(registry.run("theirs").unwrap().name, "flight");
    }
}
