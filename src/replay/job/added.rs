//! Flows that SCHEMA frames have added: a session's dead letters need them, too.

use std::collections::HashSet;
use std::sync::Arc;

use prost::Message;

use crate::catalog::Requests;
use crate::format::{AddedFlows, Fields, put_bytes_field};

/// Most bytes that are kept; the flows of any further ones are lacking in the dead letters' requests. A file can have any
/// number of them.
const MAX_BYTES: usize = 32 << 20;

/// Field `flows` of Sift's requests ([F-19], [F-22]).
const FLOWS: u32 = 2;

/// Flows, encoded, each once, in the order of their coming.
#[derive(Debug, Default)]
pub(in crate::replay) struct Added {
    known: HashSet<Arc<[u8]>>,
    in_order: Vec<Arc<[u8]>>,
    bytes: usize,
}

impl Added {
    pub(super) fn add(&mut self, added: &AddedFlows) {
        for flow in &added.flows {
            let encoded: Arc<[u8]> = flow.encode_to_vec().into();
            let sum = self.bytes.saturating_add(encoded.len()).saturating_add(size_of::<Arc<[u8]>>());
            if sum <= MAX_BYTES && self.known.insert(encoded.clone()) {
                self.in_order.push(encoded);
                self.bytes = sum;
            }
        }
    }

    /// The requests with those flows that they lack: those of an open segment's HEADER lack what was added since.
    pub(super) fn with(&self, requests: &Requests) -> Requests {
        let mut requests = requests.clone();
        // What is empty because records carry their own ids ([F-19]) stays as it is.
        if requests.ingestion_config.is_empty() || self.in_order.is_empty() {
            return requests;
        }
        let fields = Fields::new(&requests.ingestion_config).filter_map(Result::ok);
        let present = fields.filter(|field| field.number == FLOWS).filter_map(|field| field.bytes().ok());
        let present: HashSet<&[u8]> = present.collect();
        let mut config = requests.ingestion_config.to_vec();
        for flow in self.in_order.iter().filter(|flow| !present.contains(&***flow)) {
            // In protobuf, concatenation merges.
            put_bytes_field(&mut config, FLOWS, flow);
        }
        requests.ingestion_config = config.into();
        requests
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{FlowConfig, IngestionConfig};

    fn flow(name: impl Into<String>) -> FlowConfig {
        FlowConfig { name: name.into(), ..Default::default() }
    }

    fn requests(flows: Vec<FlowConfig>) -> Requests {
        let config = IngestionConfig { flows, ..Default::default() }.encode_to_vec().into();
        Requests { ingestion_config: config, run: None, asset: String::new(), run_id: None, run_name: None }
    }

    fn names(requests: &Requests) -> Vec<String> {
        let config = IngestionConfig::decode(&requests.ingestion_config[..]).unwrap();
        config.flows.into_iter().map(|flow| flow.name).collect()
    }

    #[test]
    fn each_added_flow_is_there_once() {
        let mut added = Added::default();
        added.add(&AddedFlows { flows: vec![flow("b"), flow("c"), flow("b")] });
        added.add(&AddedFlows { flows: vec![flow("c"), flow("a")] });
        assert_eq!(names(&added.with(&requests(vec![flow("a")]))), ["a", "b", "c"]);
        assert!(added.with(&requests(Vec::new())).ingestion_config.is_empty(), "records with ids of their own");
    }

    #[test]
    fn any_number_of_added_flows_takes_bounded_memory() {
        let mut added = Added::default();
        for number in 0..40u32 {
            added.add(&AddedFlows { flows: vec![flow(format!("{number}{}", "x".repeat(1 << 20)))] });
        }
        added.add(&AddedFlows { flows: vec![flow("small")] });
        let names = names(&added.with(&requests(vec![flow("a")])));
        assert!(names.len() > 30 && names.iter().map(String::len).sum::<usize>() <= MAX_BYTES);
    }
}
