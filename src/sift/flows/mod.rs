//! Flows of an ingestion config: comparing what was recorded with what the destination has, and
//! adding what it lacks.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::time::Duration;

use prost::Message;
use sift_rs::common::r#type::v1::{ChannelBitFieldElement, ChannelDataType};
use sift_rs::ingestion_configs::v2::{
    ChannelConfig, CreateIngestionConfigFlowsRequest, FlowConfig, ListIngestionConfigFlowsRequest,
};
use tonic::Code;

use super::connection::Connection;
use super::error::RegisterError;
use super::register::{PAGE_SIZE, answered, configs_client};

/// Above any real configuration; a server that goes on beyond it is broken.
const MAX_PAGES: usize = 1000;
const MAX_FLOWS: usize = 100_000;

/// Servers commonly take 4 MiB per request; this leaves room for the rest of it.
pub(super) const MAX_REQUEST_BYTES: usize = 3 * 1024 * 1024;
const MAX_FLOWS_PER_REQUEST: usize = 1000;

/// How often flows are listed anew after another client added some in between.
pub(super) const MAX_ROUNDS: u32 = 5;
pub(super) const PAUSE_BETWEEN_ROUNDS: Duration = Duration::from_millis(100);

/// How a flow at the destination differs from the recorded one of the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Difference {
    /// The number of channels.
    ChannelCount {
        /// In the recording.
        recorded: usize,
        /// At the destination.
        destination: usize,
    },
    /// Another channel stands at this position: channels are told apart by position alone.
    ChannelOrder {
        /// Counted from 1.
        position: usize,
        /// The channel's name at the destination.
        destination: String,
    },
    /// The data type.
    DataType {
        /// In the recording.
        recorded: String,
        /// At the destination.
        destination: String,
    },
    /// The unit.
    Unit {
        /// In the recording.
        recorded: String,
        /// At the destination.
        destination: String,
    },
    /// The names and numbers of an enum.
    EnumTypes {
        /// In the recording.
        recorded: String,
        /// At the destination.
        destination: String,
    },
    /// The elements of a bit field.
    BitFields {
        /// In the recording.
        recorded: String,
        /// At the destination.
        destination: String,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Difference::ChannelCount { recorded, destination } => {
                write!(
                    f,
                    "{recorded} {} recorded, {destination} there",
                    if *recorded == 1 { "channel" } else { "channels" }
                )
            }
            Difference::ChannelOrder { position, destination } => {
                write!(f, "position {position} belongs to channel {destination:?} there")
            }
            Difference::DataType { recorded, destination } => {
                write!(f, "type {recorded} recorded, {destination} there")
            }
            Difference::Unit { recorded, destination } => {
                write!(f, "unit {recorded:?} recorded, {destination:?} there")
            }
            Difference::EnumTypes { recorded, destination } => {
                write!(f, "enum [{recorded}] recorded, [{destination}] there")
            }
            Difference::BitFields { recorded, destination } => {
                write!(f, "bit field [{recorded}] recorded, [{destination}] there")
            }
        }
    }
}

/// Makes sure that the ingestion config has all of these flows, adding those it lacks.
///
/// For flows that a recording added midway. That another client adds them at the same time is no
/// error.
///
/// # Errors
///
/// [`RegisterError::FlowDiffers`] if a flow of the same name exists and none of them is equal; else
/// what the calls return.
pub async fn add_flows(
    connection: &Connection,
    ingestion_config_id: &str,
    flows: &[FlowConfig],
) -> Result<(), RegisterError> {
    let names: HashSet<&str> = flows.iter().map(|flow| flow.name.as_str()).collect();
    let mut lacking = None;
    for round in 0..MAX_ROUNDS {
        tokio::time::sleep(PAUSE_BETWEEN_ROUNDS * round).await;
        let present = list_flows(connection, ingestion_config_id, &names).await?;
        let missing = missing_flows(flows, &present)?;
        let Some(first) = missing.first() else {
            return Ok(());
        };
        lacking = Some(first.name.clone());
        if create_flows(connection, ingestion_config_id, missing).await? == Created::All {
            return Ok(());
        }
    }
    match lacking {
        Some(flow) => Err(RegisterError::FlowNotListed { flow }),
        None => Ok(()),
    }
}

/// The config's flows of these names.
async fn list_flows(
    connection: &Connection,
    ingestion_config_id: &str,
    names: &HashSet<&str>,
) -> Result<Vec<FlowConfig>, RegisterError> {
    const CALL: &str = "ListIngestionConfigFlows";
    let mut client = configs_client(connection);
    let mut found = Vec::new();
    let mut page_token = String::new();
    for _ in 0..MAX_PAGES {
        let request = ListIngestionConfigFlowsRequest {
            ingestion_config_id: ingestion_config_id.to_owned(),
            page_size: PAGE_SIZE,
            page_token,
            filter: String::new(),
        };
        let page = answered(CALL, connection, client.list_ingestion_config_flows(request)).await?;
        found.extend(page.flows.into_iter().filter(|flow| names.contains(flow.name.as_str())));
        if found.len() > MAX_FLOWS {
            return Err(RegisterError::TooMany { call: CALL, limit: MAX_FLOWS, what: "flows" });
        }
        if page.next_page_token.is_empty() {
            return Ok(found);
        }
        page_token = page.next_page_token;
    }
    Err(RegisterError::TooMany { call: CALL, limit: MAX_PAGES, what: "pages" })
}

#[derive(PartialEq)]
enum Created {
    All,
    /// Another client was faster with at least one.
    NotAll,
}

async fn create_flows(
    connection: &Connection,
    ingestion_config_id: &str,
    flows: Vec<FlowConfig>,
) -> Result<Created, RegisterError> {
    let mut client = configs_client(connection);
    for flows in batches(flows) {
        let request = CreateIngestionConfigFlowsRequest { ingestion_config_id: ingestion_config_id.to_owned(), flows };
        let created = answered("CreateIngestionConfigFlows", connection, client.create_ingestion_config_flows(request));
        match created.await {
            Ok(_) => {}
            Err(RegisterError::Call { status, .. }) if status.code() == Code::AlreadyExists => {
                return Ok(Created::NotAll);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Created::All)
}

/// Parts flows into requests that servers accept; a flow that alone is too large goes alone.
fn batches(flows: Vec<FlowConfig>) -> Vec<Vec<FlowConfig>> {
    let mut batches = Vec::new();
    let mut batch = Vec::new();
    let mut bytes = 0_usize;
    for flow in flows {
        let length = flow.encoded_len();
        let full = batch.len() >= MAX_FLOWS_PER_REQUEST || bytes.saturating_add(length) > MAX_REQUEST_BYTES;
        if full && !batch.is_empty() {
            batches.push(std::mem::take(&mut batch));
            bytes = 0;
        }
        bytes = bytes.saturating_add(length);
        batch.push(flow);
    }
    if !batch.is_empty() {
        batches.push(batch);
    }
    batches
}

/// Those of the recorded flows that are not present at all.
fn missing_flows(recorded: &[FlowConfig], present: &[FlowConfig]) -> Result<Vec<FlowConfig>, RegisterError> {
    let mut by_name: HashMap<&str, Vec<&FlowConfig>> = HashMap::new();
    for flow in present {
        by_name.entry(&flow.name).or_default().push(flow);
    }
    let mut missing = Vec::new();
    for flow in recorded {
        // A server may hold several flows of one name; to be equal to one of them is enough.
        let candidates = by_name.get(flow.name.as_str()).map_or(&[][..], Vec::as_slice);
        let mut first_difference = None;
        let equal = candidates.iter().any(|candidate| {
            let difference = compare(flow, candidate);
            let equal = difference.is_none();
            if first_difference.is_none() {
                first_difference = difference;
            }
            equal
        });
        match first_difference {
            _ if equal => {}
            None => missing.push(flow.clone()),
            Some((channel, difference)) => {
                return Err(RegisterError::FlowDiffers { flow: flow.name.clone(), channel, difference });
            }
        }
    }
    Ok(missing)
}

/// The first difference that matters to the data, with the recorded channel it concerns.
fn compare(recorded: &FlowConfig, present: &FlowConfig) -> Option<(Option<String>, Difference)> {
    for (index, (ours, theirs)) in recorded.channels.iter().zip(&present.channels).enumerate() {
        if let Some(difference) = compare_channels(index, ours, theirs) {
            return Some((Some(ours.name.clone()), difference));
        }
        if ours.description != theirs.description {
            tracing::debug!(
                flow = recorded.name,
                channel = ours.name,
                "the description differs at the destination; it is left as it is"
            );
        }
    }
    if recorded.channels.len() != present.channels.len() {
        return Some((
            None,
            Difference::ChannelCount { recorded: recorded.channels.len(), destination: present.channels.len() },
        ));
    }
    None
}

fn compare_channels(index: usize, ours: &ChannelConfig, theirs: &ChannelConfig) -> Option<Difference> {
    if ours.name != theirs.name {
        return Some(Difference::ChannelOrder { position: index + 1, destination: theirs.name.clone() });
    }
    if ours.data_type != theirs.data_type {
        return Some(Difference::DataType {
            recorded: type_name(ours.data_type),
            destination: type_name(theirs.data_type),
        });
    }
    if ours.unit != theirs.unit {
        return Some(Difference::Unit { recorded: ours.unit.clone(), destination: theirs.unit.clone() });
    }
    // A server may list these in another order.
    if sorted(&ours.enum_types, |entry| entry.key) != sorted(&theirs.enum_types, |entry| entry.key) {
        return Some(Difference::EnumTypes { recorded: enums(ours), destination: enums(theirs) });
    }
    let place = |element: &ChannelBitFieldElement| element.index;
    if sorted(&ours.bit_field_elements, place) != sorted(&theirs.bit_field_elements, place) {
        return Some(Difference::BitFields { recorded: bits(ours), destination: bits(theirs) });
    }
    None
}

fn sorted<T: Clone, K: Ord>(entries: &[T], key: impl Fn(&T) -> K) -> Vec<T> {
    let mut entries = entries.to_vec();
    entries.sort_by_key(key);
    entries
}

fn type_name(data_type: i32) -> String {
    match ChannelDataType::try_from(data_type) {
        Ok(known) => {
            known.as_str_name().trim_start_matches("CHANNEL_DATA_TYPE_").to_ascii_lowercase().replace("int_", "int")
        }
        Err(_) => format!("number {data_type}"),
    }
}

fn enums(channel: &ChannelConfig) -> String {
    listed(channel.enum_types.iter().map(|entry| {
        let signed = if entry.is_signed { " signed" } else { "" };
        format!("{:?} = {}{signed}", entry.name, entry.key)
    }))
}

fn bits(channel: &ChannelConfig) -> String {
    listed(
        channel
            .bit_field_elements
            .iter()
            .map(|element| format!("{:?} = {} bits at {}", element.name, element.bit_count, element.index)),
    )
}

/// Enough of a list to see the difference, however long it is.
fn listed(entries: impl ExactSizeIterator<Item = String>) -> String {
    const SHOWN: usize = 16;
    let length = entries.len();
    let mut text = entries.take(SHOWN).collect::<Vec<_>>().join(", ");
    if length > SHOWN {
        text.push_str(&format!(", and {} more", length - SHOWN));
    }
    text
}

#[cfg(test)]
mod tests;
