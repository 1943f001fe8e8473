//! Segments made of the official library's backups.

use std::path::Path;

use prost::Message;
use sha2::{Digest, Sha256};
use sift_rs::ingestion_configs::v2::CreateIngestionConfigRequest;
use uuid::{Builder, Uuid};

use super::super::exit::Failure;
use crate::format::{FORMAT_VERSION, RecordInfo, SegmentHeader};
use crate::segment::{
    PbfsEvent, PbfsReader, Repair, RepairError, Repaired, SegmentError, SegmentReader, pbfs_to_segment,
};

/// Most bytes of a file that holds a schema and isn't a segment.
const MAX_SCHEMA_BYTES: u64 = 64 << 20;

/// The requests that precede the data.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Schema {
    ingestion_config: Vec<u8>,
    run: Option<Vec<u8>>,
    run_id: Option<String>,
}

impl Schema {
    /// Reads a schema: out of a segment, or a `CreateIngestionConfigRequest` as JSON or as it is sent.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let reader = SegmentReader::open_plain(path).map_err(Failure::fatal)?;
        let copy = reader.seal().and_then(|seal| seal.header.as_ref());
        // SEAL's copy has the flows that were added since.
        if let Some(header) = copy.or(reader.identity().header.as_ref()) {
            let SegmentHeader { ingestion_config, run, run_id, .. } = header.clone();
            return Ok(Self { ingestion_config, run, run_id });
        }
        let no_schema = |why: String| {
            Failure::fatal(format!(
                "{} holds no schema ({why}): give a segment that does, or Sift's CreateIngestionConfigRequest as JSON or \
                 protobuf",
                path.display()
            ))
        };
        if reader.bytes() > MAX_SCHEMA_BYTES {
            return Err(no_schema(format!("it has more than {MAX_SCHEMA_BYTES} bytes")));
        }
        let bytes = std::fs::read(path).map_err(SegmentError::io("read", path)).map_err(Failure::fatal)?;
        let config = if bytes.trim_ascii_start().starts_with(b"{") {
            serde_json::from_slice::<CreateIngestionConfigRequest>(&bytes)
                .map_err(|error| no_schema(error.to_string()))?
        } else {
            CreateIngestionConfigRequest::decode(&bytes[..]).map_err(|error| no_schema(error.to_string()))?
        };
        if config.asset_name.is_empty() {
            return Err(no_schema("it names no asset".to_owned()));
        }
        Ok(Self { ingestion_config: config.encode_to_vec(), ..Self::default() })
    }

    /// Makes a segment of a backup. Its session follows from what is in the backup, so that the same backup, wherever it is
    /// and whenever it is repaired, becomes the same session.
    pub(super) fn segment_of(&self, path: &Path, dir: &Path, repair: &mut Repair<'_>) -> Result<Repaired, RepairError> {
        let (session, first_ns) = session_of(path)?;
        let Self { ingestion_config, run, run_id } = self.clone();
        let header = SegmentHeader {
            format_version: FORMAT_VERSION,
            wall_clock_ns: first_ns.unwrap_or(0),
            recorder: "sift-replay repair".to_owned(),
            ingestion_config,
            run,
            run_id,
            ..SegmentHeader::default()
        };
        pbfs_to_segment(path, dir, session, header, repair)
    }
}

/// A UUID (version 7) made of a backup's sound chunks: its time is that of the first message that has one, all else a hash
/// [P-4]; and that time.
fn session_of(path: &Path) -> Result<(Uuid, Option<i64>), RepairError> {
    let (mut hash, mut first_ns) = (Sha256::new(), None);
    let mut reader = PbfsReader::open(path)?;
    while let Some(event) = reader.next_event()? {
        if let PbfsEvent::Chunk(chunk) = event {
            hash.update(chunk.bytes);
            if first_ns.is_none() {
                first_ns = chunk.messages().find_map(|message| RecordInfo::parse(message).ok()?.timestamp);
            }
        }
    }
    let millis = first_ns.unwrap_or(0).max(0).unsigned_abs() / 1_000_000;
    let hash: [u8; 32] = hash.finalize().into();
    let random = hash.first_chunk::<10>().copied().unwrap_or_default();
    Ok((Builder::from_unix_timestamp_millis(millis, &random).into_uuid(), first_ns))
}
