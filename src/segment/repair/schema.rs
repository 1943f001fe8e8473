//! The flows of a segment: HEADER's, those added since, and those that only SEAL tells of because the frame that
//! added them is lost ([F-22], [F-24]). All by their bytes, so that what later versions of Sift add passes through.

use std::collections::HashSet;

use prost::Message;

use crate::format::{Fields, FlowConfig, WireValue, put_bytes_field};

/// The field of flows, in a `CreateIngestionConfigRequest` and in a `CreateIngestionConfigFlowsRequest`.
const FLOWS: u32 = 2;

/// Most bytes of added flows that SEAL repeats: with HEADER's, they must fit into a frame. Later segments have them.
const MAX_ADDED_BYTES: usize = 16 << 20;

/// Most flows that are told apart: a hostile config has a million tiny ones, each of which takes more memory than bytes.
/// Of a schema with more, SEAL's copy is believed.
const MAX_FLOWS: usize = 1 << 17;

/// The flows of an encoded ingestion config, or of an encoded SCHEMA message.
pub(super) fn flows(message: &[u8]) -> impl Iterator<Item = &[u8]> {
    Fields::new(message).map_while(Result::ok).filter_map(|field| match (field.number, field.value) {
        (FLOWS, WireValue::Bytes(flow)) => Some(flow),
        _ => None,
    })
}

/// An ingestion config that grows.
#[derive(Debug, Default)]
pub(super) struct Schema {
    known: HashSet<Vec<u8>>,
    /// Flows that HEADER hasn't, encoded as they stand in the config.
    added: Vec<u8>,
    /// There are more than can be told apart, or than SEAL can repeat; or they aren't all known, for HEADER's config isn't a
    /// message, and what is appended to it can't be read.
    overflows: bool,
}

impl Schema {
    /// HEADER's.
    pub(super) fn of(config: &[u8]) -> Self {
        let mut schema = Self { overflows: Fields::new(config).any(|field| field.is_err()), ..Self::default() };
        for flow in flows(config) {
            if !schema.learn(flow) && schema.overflows {
                break;
            }
        }
        schema
    }

    /// Whether a flow is new.
    fn learn(&mut self, flow: &[u8]) -> bool {
        if self.known.len() >= MAX_FLOWS && !self.known.contains(flow) {
            self.overflows = true;
            return false;
        }
        self.known.insert(flow.to_vec())
    }

    /// Adds the flows of a SCHEMA message.
    pub(super) fn add(&mut self, message: &[u8]) {
        for flow in flows(message) {
            if self.added.len().saturating_add(flow.len()) > MAX_ADDED_BYTES {
                self.overflows = true;
            } else if self.learn(flow) {
                put_bytes_field(&mut self.added, FLOWS, flow);
            }
        }
    }

    /// Adds what was added to another one.
    pub(super) fn take_in(&mut self, other: &Self) {
        self.add(&other.added);
        self.overflows |= other.overflows;
    }

    /// What has to be added to HEADER's config, encoded; in protobuf, concatenation merges.
    pub(super) fn added(&self) -> &[u8] {
        &self.added
    }

    /// The flows of `config` that aren't known, as a SCHEMA message. A hostile one may hold what isn't a flow, and no SCHEMA
    /// message may ([F-22]).
    pub(super) fn lacks(&self, config: &[u8]) -> Vec<u8> {
        let mut lacking = Self::default();
        // Of too many, nobody can tell.
        let config = if self.overflows { &[] } else { config };
        let sound = |flow: &&[u8]| !self.known.contains(*flow) && FlowConfig::decode(*flow).is_ok();
        flows(config).filter(sound).for_each(|flow| {
            let mut message = Vec::new();
            put_bytes_field(&mut message, FLOWS, flow);
            lacking.add(&message);
        });
        lacking.added
    }

    /// Whether exactly the flows of `config` are known, as far as anybody can tell.
    pub(super) fn is(&self, config: &[u8]) -> bool {
        if self.overflows || flows(config).take(MAX_FLOWS + 1).count() > MAX_FLOWS {
            return true;
        }
        let stated: HashSet<&[u8]> = flows(config).collect();
        stated.len() == self.known.len() && stated.iter().all(|flow| self.known.contains(*flow))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(names: &[&str]) -> Vec<u8> {
        let mut config = b"\x0a\x05rover".to_vec();
        for name in names {
            let flow = FlowConfig { name: (*name).to_owned(), channels: Vec::new() };
            put_bytes_field(&mut config, FLOWS, &flow.encode_to_vec());
        }
        config
    }

    #[test]
    fn of_too_many_flows_nobody_can_tell() {
        let names: Vec<String> = (0..MAX_FLOWS + 1).map(|number| number.to_string()).collect();
        let names: Vec<&str> = names.iter().map(|name| &name[..]).collect();
        let mut schema = Schema::of(&config(&names[1..]));
        assert!(!schema.is(&config(&["a"])) && schema.is(&config(&names[1..])));
        assert_eq!(schema.lacks(&config(&["a"])), &config(&["a"])[7..]);
        schema.add(&config(&["1", "a"])[7..]);
        assert!(schema.added().is_empty() && schema.is(&config(&["b"])) && schema.lacks(&config(&["b"])).is_empty());
        assert!(Schema::of(&config(&names)).is(&config(&["b"])));
        // Of as many as can be told apart, anybody can.
        let one = Schema::of(&config(&["1"]));
        assert!(one.is(&config(&names)) && !one.is(&config(&names[1..])));
    }

    #[test]
    fn flows_are_added_as_long_as_seal_has_room_for_them() {
        let flow = |bytes: usize| {
            let mut message = Vec::new();
            put_bytes_field(&mut message, FLOWS, &vec![7; bytes]);
            message
        };
        let mut schema = Schema::of(&config(&["a"]));
        schema.add(&flow(MAX_ADDED_BYTES));
        assert!(schema.added() == flow(MAX_ADDED_BYTES) && !schema.is(&config(&["a"])));
        schema.add(&config(&["b"])[7..]);
        assert!(schema.added() == flow(MAX_ADDED_BYTES) && schema.is(&config(&["a"])), "nobody can tell any more");
        let mut schema = Schema::of(&config(&["a"]));
        schema.add(&flow(MAX_ADDED_BYTES + 1));
        assert!(schema.added().is_empty() && schema.is(&config(&["b"])));
    }

    #[test]
    fn flows_are_added_once_and_what_is_lacking_is_told() {
        let mut schema = Schema::of(&config(&["a", "b"]));
        schema.add(&config(&["b", "c"])[7..]);
        assert_eq!(schema.added(), &config(&["c"])[7..]);
        assert_eq!(schema.lacks(&config(&["a", "d", "c", "d"])), &config(&["d"])[7..]);
        assert!(schema.is(&config(&["c", "b", "a"])) && !schema.is(&config(&["a", "b"])));
        assert!(!schema.is(&config(&["a", "b", "c", "d"])));
        // Where one stands twice, all are known.
        assert!(Schema::of(&config(&["a", "a", "b"])).is(&config(&["b", "a"])));
    }

    #[test]
    fn what_is_no_flow_is_not_lacking() {
        let mut hostile = config(&["a"]);
        put_bytes_field(&mut hostile, FLOWS, b"\x0a\xff");
        hostile.extend_from_slice(&config(&["b"])[7..]);
        assert_eq!(Schema::of(&config(&["a"])).lacks(&hostile), &config(&["b"])[7..]);
    }

    #[test]
    fn nothing_is_lacking_in_what_nobody_can_read() {
        let broken = [&config(&["a"])[..], b"\x0a\xff"].concat();
        let schema = Schema::of(&broken);
        assert!(schema.lacks(&config(&["a", "b"])).is_empty());
        assert!(schema.is(&[&broken[..], &config(&["b"])[7..]].concat()));
        // What is known of it isn't added to it once more.
        let mut both = Schema::of(&[&config(&["a", "b"])[..], b"\x0a\xff"].concat());
        both.add(&config(&["a", "b"])[7..]);
        assert!(both.added().is_empty());
        // Nobody can, either, when something is added to it, or it to something.
        let (mut with, mut to) = (Schema::of(&broken), Schema::of(&config(&["a"])));
        with.take_in(&Schema::of(&config(&["a"])));
        to.take_in(&schema);
        for schema in [with, to] {
            assert!(schema.lacks(&config(&["a", "b"])).is_empty() && schema.is(&config(&["b"])));
        }
    }
}
