//! Backups of the official library, made by it.

use std::path::{Path, PathBuf};

use sift_replay::receiver::Registry;
use sift_replay::replay::{OnReject, ReplayOptions};
use sift_replay::segment::{PbfsEvent, PbfsReader};
use sift_rs::common::r#type::v1::ChannelDataType;
use sift_rs::ingest::v1::IngestWithConfigDataStreamRequest;
use sift_rs::ingest::v1::ingest_with_config_data_channel_value::Type;
use sift_rs::ingestion_configs::v2::{ChannelConfig, CreateIngestionConfigRequest, FlowConfig};
use sift_rs::runs::v2::CreateRunRequest;

use prost::Message;

use super::assert_same;
use crate::support::destination::{Mood, Raw, Rig, Told, block_on, messages as split, replay_to};

fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/pbfs").join(name)
}

/// The sound messages of a backup.
fn messages(path: &Path) -> Vec<Vec<u8>> {
    let (mut messages, mut reader) = (Vec::new(), PbfsReader::open(path).unwrap());
    while let Some(event) = reader.next_event().unwrap() {
        if let PbfsEvent::Chunk(chunk) = event {
            messages.extend(chunk.messages().map(<[u8]>::to_vec));
        }
    }
    messages
}

fn data_type(value: &Type) -> Option<ChannelDataType> {
    Some(match value {
        Type::Double(_) => ChannelDataType::Double,
        Type::String(_) => ChannelDataType::String,
        Type::Enum(_) => ChannelDataType::Enum,
        Type::BitField(_) => ChannelDataType::BitField,
        Type::Bool(_) => ChannelDataType::Bool,
        Type::Float(_) => ChannelDataType::Float,
        Type::Int32(_) => ChannelDataType::Int32,
        Type::Uint32(_) => ChannelDataType::Uint32,
        Type::Int64(_) => ChannelDataType::Int64,
        Type::Uint64(_) => ChannelDataType::Uint64,
        Type::Bytes(_) => ChannelDataType::Bytes,
        Type::Empty(_) => return None,
    })
}

/// Makes the receiver know the configs and runs that the messages name, with flows as their values have them.
fn seed(registry: &Registry, messages: &[Vec<u8>]) {
    let mut flows: std::collections::BTreeMap<(String, String), Vec<Option<ChannelDataType>>> = Default::default();
    for message in messages {
        let request = IngestWithConfigDataStreamRequest::decode(&message[..]).unwrap();
        if !request.run_id.is_empty() {
            let run = CreateRunRequest { name: "theirs".to_owned(), ..Default::default() };
            registry.seed_run_with_id(&request.run_id, &run).unwrap();
        }
        let types = flows.entry((request.ingestion_config_id, request.flow)).or_default();
        types.resize(request.channel_values.len().max(types.len()), None);
        for (known, value) in types.iter_mut().zip(&request.channel_values) {
            *known = known.or(value.r#type.as_ref().and_then(data_type));
        }
    }
    for ((config, flow), types) in flows {
        let channels = types.iter().enumerate().map(|(n, data_type)| ChannelConfig {
            name: format!("channel {n}"),
            data_type: data_type.unwrap_or(ChannelDataType::Double).into(),
            ..Default::default()
        });
        let flow = FlowConfig { name: flow, channels: channels.collect() };
        let (asset_name, client_key) = ("theirs".to_owned(), format!("key of {config}"));
        let request = CreateIngestionConfigRequest { asset_name, client_key, flows: vec![flow], ..Default::default() };
        registry.seed_config_with_id(&config, &request).unwrap();
    }
}

/// What the receiver keeps of a message: all but the ids.
fn stored(message: &[u8]) -> Vec<u8> {
    let mut request = IngestWithConfigDataStreamRequest::decode(message).unwrap();
    request.ingestion_config_id.clear();
    request.run_id.clear();
    request.encode_to_vec()
}

fn is_finite(message: &[u8]) -> bool {
    let request = IngestWithConfigDataStreamRequest::decode(message).unwrap();
    request.channel_values.iter().all(|value| match value.r#type {
        Some(Type::Double(value)) => value.is_finite(),
        Some(Type::Float(value)) => value.is_finite(),
        _ => true,
    })
}

#[test]
fn every_sound_message_of_a_backup_arrives_under_the_ids_that_it_carries() {
    // With how much is there, and how many places are damaged or torn.
    for (name, count, damaged, torn) in [
        ("s1_single_message_no_run.pbfs", 1, 0, 0),
        ("s2_all_types_run.pbfs", 500, 0, 0),
        ("c1_truncated_in_message.pbfs", 333, 0, 1),
        ("c2_truncated_in_header.pbfs", 333, 0, 1),
        ("c3_flipped_byte.pbfs", 499, 1, 0),
    ] {
        let path = sample(name);
        let messages = messages(&path);
        assert_eq!(messages.len(), count, "{name}");
        block_on(async {
            // As sent: each message as it stands in the file, with nothing but the directive behind it.
            let raw = Raw::start(Mood::Keeps);
            replay_to(raw.uri(), &[&path], &ReplayOptions::default()).await;
            let sent: Vec<_> = raw.seen.kept.lock().unwrap().iter().flat_map(|stream| split(stream)).collect();
            let expected: Vec<_> = messages.iter().map(|message| [message, &[0x30, 1][..]].concat()).collect();
            assert_same(&sent, &expected);

            // As kept: the library wrote NaN as well, which Sift has never taken.
            let rig = Rig::start().await;
            seed(&rig.registry, &messages);
            let options = ReplayOptions { on_reject: OnReject::Accept, ..ReplayOptions::default() };
            let replayed = rig.replay_with(&[&path], &options).await;
            let totals = replayed.report.totals;
            assert_eq!((totals.records_found, totals.records_acknowledged), (count as u64, count as u64), "{name}");
            assert_eq!((totals.damaged_places, totals.torn_files), (damaged, torn), "{name}");
            assert_eq!(replayed.report.is_complete(), damaged == 0, "{name}");
            assert_eq!(replayed.report.pbfs_files, 1);
            let finite: Vec<_> = messages.iter().filter(|message| is_finite(message)).collect();
            assert_eq!(rig.refused(), (count - finite.len()) as u64, "{name}");
            let first = IngestWithConfigDataStreamRequest::decode(&messages[0][..]).unwrap();
            let keys = rig.keys();
            assert_eq!(keys.len(), 1);
            assert_eq!((&keys[0].ingestion_config_id, &keys[0].run_id), (&first.ingestion_config_id, &first.run_id));
            let expected: Vec<_> = finite.iter().map(|message| stored(message)).collect();
            assert_same(&rig.finish_records().await, &expected);
        });
    }
}

#[test]
fn a_backup_whose_config_is_unknown_is_refused_and_the_others_go_on() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(sample("s2_all_types_run.pbfs"), dir.path().join("key-1")).unwrap();
    std::fs::copy(sample("s1_single_message_no_run.pbfs"), dir.path().join("key-2")).unwrap();
    block_on(async {
        let rig = Rig::start().await;
        seed(&rig.registry, &messages(&dir.path().join("key-2")));
        let options = ReplayOptions { on_reject: OnReject::Stop, ..ReplayOptions::default() };
        let replayed = rig.replay_with(&[dir.path()], &options).await;
        let totals = replayed.report.totals;
        assert_eq!((totals.records_acknowledged, totals.records_refused), (1, 500));
        assert!(replayed.report.lines[0].refusal.as_deref().unwrap().contains("ef3a3a51"), "{:?}", replayed.report);
        assert!(replayed.told.iter().any(|told| matches!(told, Told::Refused(_))));
        rig.finish().await;
    });
}
