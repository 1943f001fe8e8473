//! A desk: backups, the program, and a server that remembers everything.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use sift_replay::record::{DataType, Recorder, RecorderOptions, Schema};
use sift_rs::ingest::v1::IngestWithConfigDataStreamRequest as Request;

use super::cli::{Home, Ran};
use super::faulty::{Copies, Faulty, RecordId};
use super::recording::{Owned, flow_of, request};

/// A home with backups, and a server.
pub(crate) struct Desk {
    pub(crate) home: Home,
    pub(crate) faulty: Faulty,
}

impl Desk {
    pub(crate) fn new() -> Self {
        let home = Home::new();
        std::fs::create_dir(home.path().join("backups")).unwrap();
        Self { home, faulty: Faulty::start() }
    }

    /// Where the backups are.
    pub(crate) fn dir(&self) -> PathBuf {
        self.home.path().join("backups")
    }

    /// Replays the backups with these arguments.
    pub(crate) fn replay(&self, args: &[&str]) -> Ran {
        self.replay_at(&["backups"], args)
    }

    /// Replays what is there, below the home. Nothing is waited for longer than a test may take.
    pub(crate) fn replay_at(&self, paths: &[&str], args: &[&str]) -> Ran {
        let uri = self.faulty.uri();
        let always = ["--json", "--uri", &uri, "--give-up-after", "60s"];
        let ran = self.home.run(&[paths, &always[..], args].concat());
        // What the program has sent has come by now, if it was acknowledged; nothing else is on its way.
        self.faulty.wait(|seen| seen.open_streams == 0);
        ran
    }

    /// How many of the records are acknowledged; each of them came once at most.
    #[track_caller]
    pub(crate) fn arrived<'a>(&self, records: impl IntoIterator<Item = &'a Request>) -> usize {
        use prost::Message;
        let seen = self.faulty.seen();
        let mut arrived = 0;
        for record in records {
            let copies = seen.copies(&RecordId::of(&record.encode_to_vec()));
            assert!(copies.received <= 1, "{record:?} came {} times", copies.received);
            arrived += copies.acknowledged as usize;
        }
        arrived
    }

    /// How many records the server knows at all.
    pub(crate) fn known(&self) -> usize {
        self.faulty.seen().records.len()
    }

    /// What it knows of each record.
    pub(crate) fn records(&self) -> HashMap<RecordId, Copies> {
        self.faulty.seen().records
    }
}

/// Figures of a summary, in this order.
#[track_caller]
pub(crate) fn figures(ran: &Ran, names: &[&str]) -> Vec<u64> {
    let summary = ran.summary();
    names.iter().map(|name| summary[name].as_u64().unwrap_or_else(|| panic!("{name} in {summary}"))).collect()
}

/// Two flows, `a` and `b`, of one number each.
pub(crate) fn two_flows(asset: &str, client_key: &str) -> Schema {
    let types = [DataType::Uint64];
    Schema::new(asset, client_key).flow(flow_of("a", &types)).flow(flow_of("b", &types))
}

/// A record of one of them. Records of one test differ in their numbers.
pub(crate) fn of_flow(flow: &str, time: i64, number: u64) -> Request {
    request(flow, time, &[Owned::Uint64(number)])
}

/// The same without a time.
pub(crate) fn timeless(flow: &str, number: u64) -> Request {
    Request { timestamp: None, ..of_flow(flow, 0, number) }
}

/// Records these requests, with a new segment before each of the indices; returns the segments in order.
pub(crate) fn record(
    dir: &Path,
    schema: &Schema,
    options: RecorderOptions,
    requests: &[Request],
    rotate_before: &[usize],
) -> (uuid::Uuid, Vec<PathBuf>) {
    let recorder = Recorder::create(dir, schema, options).unwrap();
    for (number, request) in requests.iter().enumerate() {
        if rotate_before.contains(&number) {
            recorder.rotate().unwrap();
        }
        let _ = recorder.record_message(request).unwrap();
    }
    recorder.finish().unwrap();
    (recorder.session(), crate::replay::files_of(&recorder))
}

/// A backup as the official library writes it: its chunks, each of its messages under this ingestion config ([P-1]).
pub(crate) fn library_file(path: &Path, config: &str, chunks: &[&[Request]]) {
    use prost::Message;
    let mut file = Vec::new();
    for chunk in chunks {
        let mut payload = Vec::new();
        for request in *chunk {
            let message = Request { ingestion_config_id: config.to_owned(), ..request.clone() }.encode_to_vec();
            payload.extend_from_slice(&(message.len() as u32).to_le_bytes());
            payload.extend_from_slice(&message);
        }
        let covered = [&(payload.len() as u64).to_le_bytes()[..], &payload].concat();
        file.extend_from_slice(&crc32fast::hash(&covered).to_le_bytes());
        file.extend_from_slice(&covered);
    }
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, file).unwrap();
}

/// All files and directories below `dir`, with their contents.
pub(crate) fn tree(dir: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut tree = BTreeMap::new();
    let mut left = vec![dir.to_owned()];
    while let Some(dir) = left.pop() {
        for entry in std::fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path.clone());
                tree.insert(path, None);
            } else {
                let content = std::fs::read(&path).unwrap();
                tree.insert(path, Some(content));
            }
        }
    }
    tree
}
