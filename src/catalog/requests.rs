//! The Sift requests in headers: in memory once, merged for each session, and bounded together, whatever files claim.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use prost::Message;

use crate::format::{Bounded, Fields, FlowConfig, IngestionConfig, Run, SegmentHeader, put_bytes_field};

/// Most bytes of different requests that are kept at once, over all files. A schema rarely has more than some hundred
/// KiB, and most segments share one; but a header of 64 MiB takes a few KiB in a file.
const MAX_KNOWN_BYTES: usize = 256 << 20;

/// Most bytes of a run's id, which is sent with each record.
const MAX_RUN_ID_BYTES: usize = 4096;

/// Most bytes of a name that are kept for people beside the requests.
const MAX_NAME_BYTES: usize = 4096;

/// Field `flows` of `CreateIngestionConfigRequest` ([F-19]).
const FLOWS: u32 = 2;

/// The Sift requests that precede a session's data, encoded ([F-19]).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Requests {
    /// `CreateIngestionConfigRequest`, with all flows that any segment names.
    pub ingestion_config: Arc<[u8]>,
    /// `CreateRunRequest`.
    pub run: Option<Arc<[u8]>>,
    /// The asset's name; of a very long one, the beginning.
    pub asset: String,
    /// The run's id, where the recorder knew one.
    pub run_id: Option<String>,
    /// The run's name, likewise; its id, if nothing else is known.
    pub run_name: Option<String>,
}

/// Requests of headers. Most segments hold the same: it is in memory once.
#[derive(Debug, Default)]
pub(super) struct Known {
    requests: HashSet<Arc<[u8]>>,
    bytes: usize,
}

impl Known {
    /// `None` if there is no room for it.
    fn once(&mut self, bytes: &[u8]) -> Option<Arc<[u8]>> {
        if let Some(known) = self.requests.get(bytes) {
            return Some(known.clone());
        }
        let sum = self.bytes.saturating_add(bytes.len());
        if sum > MAX_KNOWN_BYTES {
            return None;
        }
        let new: Arc<[u8]> = bytes.into();
        self.requests.insert(new.clone());
        self.bytes = sum;
        Some(new)
    }

    /// Forgets what nobody holds any more.
    pub(super) fn forget_unused(&mut self) {
        self.requests.retain(|bytes| Arc::strong_count(bytes) > 1);
        self.bytes = self.requests.iter().map(|bytes| bytes.len()).sum();
    }
}

/// The requests that a header holds.
#[derive(Debug, Clone)]
pub(super) struct Preamble {
    ingestion_config: Arc<[u8]>,
    run: Option<Arc<[u8]>>,
    run_id: Option<String>,
}

impl Preamble {
    /// Of a header; or why it can't be kept.
    pub(super) fn new(header: &SegmentHeader, known: &mut Known) -> Result<Self, String> {
        if let Some(run_id) = header.run_id.as_ref().filter(|run_id| run_id.len() > MAX_RUN_ID_BYTES) {
            return Err(format!("its header names a run by an id of {} bytes, which no run has", run_id.len()));
        }
        let bytes = header.ingestion_config.len() + header.run.as_ref().map_or(0, Vec::len);
        let mut once = |bytes_of: &[u8]| {
            known.once(bytes_of).ok_or_else(|| {
                format!(
                    "its schema has {bytes} bytes, and those of the other files fill the {} MiB that are kept of them: \
                     replay it on its own",
                    MAX_KNOWN_BYTES >> 20
                )
            })
        };
        let run = header.run.as_deref().map(&mut once).transpose()?;
        Ok(Self { ingestion_config: once(&header.ingestion_config)?, run, run_id: header.run_id.clone() })
    }
}

/// The first header's requests, with the flows that later ones add.
pub(super) fn merge_requests<'a>(headers: impl Iterator<Item = &'a Preamble>) -> Option<Requests> {
    let mut merged: Option<(&Preamble, Vec<u8>)> = None;
    let mut known: HashSet<Cow<'a, [u8]>> = HashSet::new();
    let mut last: Option<&Arc<[u8]>> = None;
    for header in headers {
        // Most segments repeat what the one before them says, and what is equal is kept once.
        if last.replace(&header.ingestion_config).is_some_and(|last| Arc::ptr_eq(last, &header.ingestion_config)) {
            continue;
        }
        let Some(flows) = flows_of(&header.ingestion_config) else { continue };
        let new = flows.into_iter().filter(|(_, key)| known.insert(key.clone())).map(|(flow, _)| flow);
        match &mut merged {
            None => {
                new.for_each(drop);
                merged = Some((header, Vec::new()));
            }
            // In protobuf, concatenation merges.
            Some((_, added)) => new.for_each(|flow| put_bytes_field(added, FLOWS, flow)),
        }
    }
    let (first, added) = merged?;
    let run = first.run.as_deref().and_then(Run::decode_bounded);
    Some(Requests {
        ingestion_config: match added.is_empty() {
            true => first.ingestion_config.clone(),
            false => [&first.ingestion_config[..], &added].concat().into(),
        },
        run: first.run.clone(),
        asset: beginning(asset_of(&first.ingestion_config)),
        run_name: run.map(|run| beginning(&run.name)).or_else(|| first.run_id.clone()),
        run_id: first.run_id.clone(),
    })
}

/// A flow as it stands in an ingestion config, and what tells it from others.
type FlowBytes<'a> = (&'a [u8], Cow<'a, [u8]>);

/// The flows of an ingestion config; `None` if it isn't one.
fn flows_of(config: &[u8]) -> Option<Vec<FlowBytes<'_>>> {
    // Also that what isn't a flow is as it should be.
    let has_name = std::str::from_utf8(asset_bytes(config)).is_ok();
    if !IngestionConfig::is_bounded(config) || !has_name {
        return None;
    }
    let flows = Fields::new(config).filter_map(Result::ok).filter(|field| field.number == FLOWS);
    flows
        .map(|field| {
            let bytes = field.bytes().ok()?;
            // One at a time: all of them would take many times as much. Two encodings of a flow are one flow.
            let encoded = FlowConfig::decode_bounded(bytes)?.encode_to_vec();
            Some((bytes, if encoded == bytes { Cow::Borrowed(bytes) } else { Cow::Owned(encoded) }))
        })
        .collect()
}

/// Of several, the last one counts.
fn asset_bytes(config: &[u8]) -> &[u8] {
    let names = Fields::new(config).filter_map(Result::ok).filter(|field| field.number == 1);
    names.filter_map(|field| field.bytes().ok()).last().unwrap_or_default()
}

fn asset_of(config: &[u8]) -> &str {
    std::str::from_utf8(asset_bytes(config)).unwrap_or_default()
}

fn beginning(name: &str) -> String {
    let end = (0..=name.len().min(MAX_NAME_BYTES)).rev().find(|&end| name.is_char_boundary(end)).unwrap_or(0);
    name.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preamble(asset: &str, flows: &[&str], known: &mut Known) -> Preamble {
        let flow = |name: &&str| FlowConfig { name: (*name).to_owned(), ..Default::default() };
        let flows = flows.iter().map(flow).collect();
        let config = IngestionConfig { asset_name: asset.to_owned(), flows, client_key: "k".to_owned() };
        let header = SegmentHeader { ingestion_config: config.encode_to_vec(), ..Default::default() };
        Preamble::new(&header, known).unwrap()
    }

    #[test]
    fn each_flow_is_in_the_merged_config_once_and_what_is_equal_in_memory_once() {
        let mut known = Known::default();
        let headers = [&["a", "b"][..], &["b", "c"], &["a", "b"], &["c", "d", "d"]];
        let headers = headers.map(|flows| preamble("rover", flows, &mut known));
        let merged = merge_requests(headers.iter()).unwrap();
        let config = IngestionConfig::decode(&merged.ingestion_config[..]).unwrap();
        assert_eq!(config.flows.iter().map(|flow| &flow.name[..]).collect::<Vec<_>>(), ["a", "b", "c", "d"]);
        assert_eq!((&merged.asset[..], &config.client_key[..]), ("rover", "k"));
        let same = merge_requests([&headers[0], &headers[2]].into_iter()).unwrap();
        assert!(Arc::ptr_eq(&same.ingestion_config, &headers[0].ingestion_config));
    }

    #[test]
    fn two_encodings_of_a_flow_are_one() {
        let mut known = Known::default();
        let plain = preamble("rover", &["a"], &mut known);
        // The name twice, of which the last counts.
        let mut flow = Vec::new();
        put_bytes_field(&mut flow, 1, b"x");
        put_bytes_field(&mut flow, 1, b"a");
        let mut config = plain.ingestion_config.to_vec();
        put_bytes_field(&mut config, FLOWS, &flow);
        let odd = Preamble { ingestion_config: config.into(), ..plain.clone() };
        assert_eq!(merge_requests([&plain, &odd].into_iter()).unwrap().ingestion_config, plain.ingestion_config);
    }

    #[test]
    fn what_is_not_a_config_is_passed_over() {
        let mut known = Known::default();
        let sound = preamble("rover", &["a"], &mut known);
        for bytes in [&b"\x0a\x05"[..], b"\x0a\x01\xff", b"\x12\x02\x0a\x09", b"\x10\x01"] {
            let broken = Preamble { ingestion_config: bytes.into(), run: None, run_id: None };
            assert_eq!(merge_requests([&broken].into_iter()), None, "{bytes:?}");
            assert_eq!(merge_requests([&broken, &sound].into_iter()).unwrap().asset, "rover");
        }
    }

    #[test]
    fn names_and_ids_that_nobody_has_take_no_room() {
        let mut known = Known::default();
        let long = preamble(&"é".repeat(100_000), &[], &mut known);
        assert_eq!(merge_requests([&long].into_iter()).unwrap().asset.len(), MAX_NAME_BYTES);
        let header = SegmentHeader { run_id: Some("r".repeat(MAX_RUN_ID_BYTES + 1)), ..Default::default() };
        assert!(Preamble::new(&header, &mut known).unwrap_err().contains("4097 bytes"));
    }
}
