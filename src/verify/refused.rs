//! Counting the values that Sift refuses.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use super::finding::{Finding, FindingKind};
use super::schema::Schema;
use super::tell::{Teller, Told};
use crate::record::non_finite_places;

/// Flows that are told apart where no schema says how many there are.
const MOST_FLOWS: usize = 1000;

/// How many values of a file are NaN or infinite.
#[derive(Debug, Default)]
pub(super) struct NonFinite {
    pub(super) values: u64,
    /// By the places of flow and channel in the schema.
    by_channel: BTreeMap<(usize, usize), u64>,
    /// By the flow's name, where the schema isn't known.
    by_flow: HashMap<Vec<u8>, u64>,
    /// Of further flows.
    of_others: u64,
}

impl NonFinite {
    /// Counts those of a record whose flow stands at this place of the schema.
    #[cold]
    pub(super) fn add(&mut self, flow: usize, record: &[u8], values: u64) {
        self.values = self.values.saturating_add(values);
        for channel in non_finite_places(record) {
            *self.by_channel.entry((flow, channel)).or_default() += 1;
        }
    }

    /// Counts those of a record of this flow.
    #[cold]
    pub(super) fn add_alone(&mut self, flow: &[u8], values: u64) {
        self.values = self.values.saturating_add(values);
        if let Some(count) = self.by_flow.get_mut(flow) {
            *count += values;
        } else if self.by_flow.len() < MOST_FLOWS {
            self.by_flow.insert(flow.to_owned(), values);
        } else {
            self.of_others += values;
        }
    }

    /// Tells them.
    pub(super) fn tell(&self, path: &Path, schema: &Schema, told: &mut Told, teller: &mut Teller<'_>) {
        let mut tell = |flow: Option<&str>, channel: Option<&str>, values| {
            teller.tell(told, FindingKind::NonFinite, &Finding::NonFinite { path, flow, channel, values });
        };
        if let Schema::Flows(checker) = schema {
            for (&(flow, channel), &values) in &self.by_channel {
                let flow = checker.flow(flow);
                let channel = flow.and_then(|flow| flow.channel_names().get(channel)).map(String::as_str);
                tell(flow.map(crate::record::Flow::name), channel, values);
            }
        }
        let mut by_flow: Vec<_> = self.by_flow.iter().collect();
        by_flow.sort_unstable();
        for (flow, &values) in by_flow {
            tell(Some(&String::from_utf8_lossy(flow)), None, values);
        }
        if self.of_others > 0 {
            tell(None, None, self.of_others);
        }
    }
}
