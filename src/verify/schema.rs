//! The schema that holds at a place of a segment ([F-22], [F-33]).

use prost::Message;

use super::finding::Problem;
use crate::catalog::Requests;
use crate::format::{AddedFlows, Bounded, IngestionConfig, MAX_MESSAGE_PARTS};
use crate::record::Checker;

/// What records are checked against.
#[derive(Debug, Clone)]
pub(super) enum Schema {
    /// Nothing has told it yet.
    Unknown,
    /// No request precedes the data: each record names an ingestion config ([F-19]).
    OwnIds,
    /// These flows.
    Flows(Checker),
    /// It is lost, or can't be read.
    Lost,
}

/// The schemas of a session's segments. Most are alike, so that the one made last is kept.
#[derive(Debug)]
pub(super) struct Schemas<'a> {
    requests: Option<&'a Requests>,
    last: Option<(Vec<u8>, Schema)>,
}

impl<'a> Schemas<'a> {
    /// `requests`: those of the session, with all flows that any segment names.
    pub(super) fn new(requests: Option<&'a Requests>) -> Self {
        Self { requests, last: None }
    }

    /// That of a HEADER with this ingestion config, and what is wrong with it.
    pub(super) fn of_header(&mut self, config: &[u8]) -> (Schema, Vec<Problem>) {
        if let Some((bytes, schema)) = &self.last
            && bytes == config
        {
            return (schema.clone(), Vec::new());
        }
        let (mut schema, mut problems) = (Schema::Unknown, Vec::new());
        if config.is_empty() {
            schema = Schema::OwnIds;
        } else {
            problems = add(&mut schema, config);
        }
        if problems.is_empty() {
            self.last = Some((config.to_vec(), schema.clone()));
        }
        (schema, problems)
    }

    /// What tells the schema was lost, or may have been: all flows that the session has anywhere will do.
    pub(super) fn of_session(&self, schema: &mut Schema) {
        let Some(requests) = self.requests else {
            if matches!(schema, Schema::Unknown) {
                *schema = Schema::Lost;
            }
            return;
        };
        match schema {
            Schema::Unknown if requests.ingestion_config.is_empty() => *schema = Schema::OwnIds,
            // What is wrong with these is told where they stand.
            Schema::Unknown | Schema::Flows(_) => drop(add(schema, &requests.ingestion_config)),
            Schema::OwnIds | Schema::Lost => {}
        }
    }
}

impl Schema {
    /// Adds the flows of a SCHEMA frame; returns what is wrong with them.
    pub(super) fn add(&mut self, added: &AddedFlows) -> Vec<Problem> {
        match self {
            Self::Flows(checker) => {
                let added = added.flows.iter().map(|flow| checker.add(flow));
                added.filter_map(|added| added.err().map(Problem::Schema)).collect()
            }
            // What they add to isn't known; or there is nothing to add to, and then they do no harm.
            Self::Unknown | Self::OwnIds | Self::Lost => Vec::new(),
        }
    }
}

/// Adds an ingestion config's flows to `schema`, which becomes one of flows.
fn add(schema: &mut Schema, config: &[u8]) -> Vec<Problem> {
    let mut checker = match std::mem::replace(schema, Schema::Lost) {
        Schema::Flows(checker) => checker,
        _ => Checker::new(),
    };
    // [F-14]
    if !IngestionConfig::is_bounded(config) {
        let text = format!("it isn't a message, or has more than {MAX_MESSAGE_PARTS} flows, channels and other parts");
        return vec![Problem::SchemaUnreadable(text)];
    }
    match IngestionConfig::decode(config) {
        Ok(config) => {
            let added: Vec<_> = config.flows.iter().map(|flow| checker.add(flow)).collect();
            *schema = Schema::Flows(checker);
            added.into_iter().filter_map(|added| added.err().map(Problem::Schema)).collect()
        }
        Err(error) => vec![Problem::SchemaUnreadable(error.to_string())],
    }
}
