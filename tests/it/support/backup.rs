//! Backups as they come from the field, made from a seed: several sessions and flows, segments that are deleted, damaged,
//! torn, copied and renamed, and the official library's files. What must arrive, and what must be missed, is known.
#![allow(dead_code, reason = "each test uses some of it")]

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use fastrand::Rng;
use sift_replay::format::FRAME_HEADER_BYTES;
use sift_replay::record::{DataType, Recorded, Recorder, RecorderOptions, RunSchema, Schema, Timestamp};
use sift_replay::segment::SegmentReader;
use uuid::Uuid;

use super::cli::frames;
use super::faulty::RecordId;
use super::recording::{Owned, encoded, flow_of};

/// Types of which a flow has some.
const TYPES: [DataType; 6] =
    [DataType::Uint64, DataType::Double, DataType::String, DataType::Bool, DataType::Int32, DataType::Bytes];

/// The field number of `ingestion_config_id`, with its wire type.
const CONFIG_ID: u8 = 0x0a;

/// Where records come from: a session, or a backup of the official library.
#[derive(Debug)]
pub(crate) struct Source {
    /// None for a backup of the official library.
    pub(crate) session: Option<Uuid>,
    /// All that were recorded, by seq.
    pub(crate) records: Vec<RecordId>,
    /// Which of them can still be read somewhere.
    pub(crate) readable: BTreeSet<u64>,
    /// Those whose absence can be told.
    pub(crate) missing: Vec<Range<u64>>,
    /// What was done to its files, for messages.
    pub(crate) done: Vec<String>,
    /// Whether a file is damaged; `Some(false)` if nobody need notice, since there is a whole copy of it.
    pub(crate) damaged: Option<bool>,
}

/// A directory of recordings.
#[derive(Debug)]
pub(crate) struct Backup {
    pub(crate) dir: PathBuf,
    pub(crate) sources: Vec<Source>,
}

impl Backup {
    /// Sound sessions of so many records each.
    pub(crate) fn sound(dir: &Path, seed: u64, sessions: u64, records: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let session = |number| Session::record(dir, &mut rng, number, records).source();
        Self { dir: dir.to_owned(), sources: (0..sessions).map(session).collect() }
    }

    /// Anything.
    pub(crate) fn random(dir: &Path, rng: &mut Rng) -> Self {
        let mut sources = Vec::new();
        for number in 0..rng.u64(1..=3) {
            let records = rng.u64(0..600);
            let mut session = Session::record(&dir.join(format!("disk {number}")), rng, number, records);
            for _ in 0..rng.usize(0..=3) {
                session.suffer(dir, rng);
            }
            sources.push(session.source());
        }
        for number in 0..rng.u64(0..=2) {
            sources.push(library_backup(dir, rng, number));
        }
        Self { dir: dir.to_owned(), sources }
    }

    /// What must arrive.
    pub(crate) fn readable(&self) -> impl Iterator<Item = &RecordId> {
        self.sources.iter().flat_map(Source::readable)
    }

    pub(crate) fn session(&self, id: Uuid) -> &Source {
        self.sources.iter().find(|source| source.session == Some(id)).unwrap()
    }
}

impl Source {
    pub(crate) fn readable(&self) -> impl Iterator<Item = &RecordId> {
        self.readable.iter().map(|&seq| &self.records[seq as usize])
    }

    /// The seq of a record.
    pub(crate) fn seq(&self, record: &RecordId) -> Option<u64> {
        self.records.iter().position(|known| known == record).map(|seq| seq as u64)
    }
}

/// A segment file as it is now.
#[derive(Clone, Debug)]
struct File {
    path: PathBuf,
    index: u32,
    first_seq: u64,
    /// Its sound DATA frames: places and seqs.
    frames: Vec<(Range<u64>, Range<u64>)>,
    /// The end of the seqs that it tells of.
    end: u64,
    /// Neither damaged nor torn.
    whole: bool,
    damaged: bool,
}

struct Session {
    id: Uuid,
    records: Vec<RecordId>,
    files: Vec<File>,
    done: Vec<String>,
}

impl Session {
    /// Records a session of its own asset or run, with times that no other session has.
    fn record(dir: &Path, rng: &mut Rng, number: u64, records: u64) -> Self {
        let flows: Vec<_> = (0..rng.usize(1..=3))
            .map(|flow| {
                (format!("flow {flow}"), (0..rng.usize(1..=4)).map(|_| TYPES[rng.usize(..6)]).collect::<Vec<_>>())
            })
            .collect();
        let mut schema = Schema::new(format!("asset {}", rng.u64(..2)), format!("key-{number}"));
        for (name, types) in &flows {
            schema = schema.flow(flow_of(name, types));
        }
        if rng.bool() {
            schema = schema.run(RunSchema::new(format!("run {number}"), format!("run-{number}")));
        }
        let options = RecorderOptions {
            frame_bytes: [200, 600, 2000][rng.usize(..3)],
            segment_bytes: [2000, 6000, 1 << 20][rng.usize(..3)],
            ..RecorderOptions::default()
        };
        let recorder = Recorder::create(dir, &schema, options).unwrap();
        let handles: Vec<_> = flows.iter().map(|(name, _)| recorder.flow(name).unwrap()).collect();
        let mut known = Vec::new();
        for seq in 0..records {
            let flow = rng.usize(..flows.len());
            let (name, types) = &flows[flow];
            let time = time_of(number, seq);
            let values: Vec<_> = types.iter().map(|data_type| value(rng, *data_type)).collect();
            let borrowed: Vec<_> = values.iter().map(Owned::value).collect();
            let recorded = recorder.record(&handles[flow], Timestamp::from_unix_ns(time), &borrowed).unwrap();
            assert_eq!(recorded, Recorded::Seq(seq));
            known.push(RecordId::of(&encoded(name, time, &values)));
        }
        recorder.finish().unwrap();
        let mut paths: Vec<_> = std::fs::read_dir(recorder.dir()).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.to_str().unwrap().contains(&recorder.session().to_string()));
        paths.sort();
        let files = paths.into_iter().map(File::look).collect();
        Self { id: recorder.session(), records: known, files, done: Vec::new() }
    }

    /// Something happens to one of its files.
    fn suffer(&mut self, dir: &Path, rng: &mut Rng) {
        let Some(at) = (!self.files.is_empty()).then(|| rng.usize(..self.files.len())) else { return };
        let file = self.files[at].clone();
        let name = file.path.file_name().unwrap().to_str().unwrap().to_owned();
        match rng.usize(..5) {
            // Every session keeps a file: one without any is none.
            0 if self.files.len() > 1 => {
                std::fs::remove_file(&file.path).unwrap();
                self.files.remove(at);
                self.done.push(format!("{name} deleted"));
            }
            1 if file.whole && !file.frames.is_empty() => {
                let hit = rng.usize(..file.frames.len());
                let (place, _) = file.frames[hit].clone();
                let byte = rng.u64(place.start + FRAME_HEADER_BYTES as u64..place.end) as usize;
                let mut bytes = std::fs::read(&file.path).unwrap();
                bytes[byte] ^= 1 << rng.u32(..8);
                std::fs::write(&file.path, bytes).unwrap();
                let file = &mut self.files[at];
                file.frames.remove(hit);
                file.whole = false;
                file.damaged = true;
                self.done.push(format!("{name} damaged at byte {byte}"));
            }
            // The last segment may have been cut off, at any byte behind its header.
            2 if file.whole && at + 1 == self.files.len() && !file.frames.is_empty() => {
                self.tear(at, rng);
            }
            3 => {
                let copies = dir.join(format!("copies {}", rng.u32(..2)));
                std::fs::create_dir_all(&copies).unwrap();
                let new = if rng.bool() { name.clone() } else { format!("copy {} of {name}", rng.u32(..)) };
                let path = copies.join(new);
                if !path.exists() {
                    std::fs::copy(&file.path, &path).unwrap();
                    self.files.push(File { path, ..file });
                    self.done.push(format!("{name} copied"));
                }
            }
            4 => {
                let moved = dir.join(format!("moved {}", rng.u32(..)));
                std::fs::create_dir_all(&moved).unwrap();
                let path = moved.join(&name);
                std::fs::rename(&file.path, &path).unwrap();
                self.files[at].path = path;
                self.done.push(format!("{name} moved"));
            }
            _ => {}
        }
    }

    fn tear(&mut self, at: usize, rng: &mut Rng) {
        let file = &mut self.files[at];
        let open = file.path.with_extension("sfr.open");
        let sealed = file.path.extension().is_some_and(|extension| extension == "sfr");
        if !sealed || open.exists() {
            return;
        }
        let bytes = std::fs::read(&file.path).unwrap();
        let (first, last) = (file.frames[0].0.start, file.frames[file.frames.len() - 1].0.end);
        let cut = rng.u64(first..=last);
        std::fs::write(&open, &bytes[..cut as usize]).unwrap();
        std::fs::remove_file(&file.path).unwrap();
        self.done.push(format!("{} torn at byte {cut}", file.path.display()));
        file.frames.retain(|(place, _)| place.end <= cut);
        file.end = file.frames.last().map_or(file.first_seq, |(_, seqs)| seqs.end);
        file.path = open;
        file.whole = false;
    }

    /// What can be known of it now.
    fn source(self) -> Source {
        let readable: BTreeSet<u64> =
            self.files.iter().flat_map(|file| file.frames.iter().flat_map(|(_, seqs)| seqs.clone())).collect();
        let end = self.files.iter().map(|file| file.end.max(file.first_seq)).max().unwrap_or(0);
        let mut missing: Vec<Range<u64>> = Vec::new();
        for seq in (0..end).filter(|seq| !readable.contains(seq)) {
            match missing.last_mut() {
                Some(last) if last.end == seq => last.end += 1,
                _ => missing.push(seq..seq + 1),
            }
        }
        let whole: BTreeSet<u32> = self.files.iter().filter(|file| file.whole).map(|file| file.index).collect();
        let damaged: Vec<_> = self.files.iter().filter(|file| file.damaged).collect();
        let harmful = damaged.iter().any(|file| !whole.contains(&file.index));
        Source {
            session: Some(self.id),
            records: self.records,
            readable,
            missing,
            done: self.done,
            damaged: (!damaged.is_empty()).then_some(harmful),
        }
    }
}

impl File {
    fn look(path: PathBuf) -> Self {
        let frames = frames(&path);
        let reader = SegmentReader::open(&path).unwrap();
        let (seal, identity) = (reader.seal().unwrap(), reader.identity());
        let first_seq = identity.header.as_ref().unwrap().first_seq;
        Self { index: identity.index.unwrap(), first_seq, end: seal.end_seq, frames, whole: true, damaged: false, path }
    }
}

fn time_of(number: u64, seq: u64) -> i64 {
    1_700_000_000_000_000_000 + number as i64 * 1_000_000_000_000 + seq as i64 * 1_000_003
}

fn value(rng: &mut Rng, data_type: DataType) -> Owned {
    if rng.u8(..10) == 0 {
        return Owned::Empty;
    }
    match data_type {
        DataType::Uint64 => Owned::Uint64(rng.u64(..)),
        DataType::Double => Owned::Double(f64::from(rng.i32(..)) / 7.0),
        DataType::String => Owned::Text("x".repeat(rng.usize(..40))),
        DataType::Bool => Owned::Bool(rng.bool()),
        DataType::Int32 => Owned::Int32(rng.i32(..)),
        _ => Owned::Bytes((0..rng.usize(..20)).map(|_| rng.u8(..)).collect()),
    }
}

/// A backup of the official library: chunks of requests that carry an id; perhaps torn, perhaps there twice.
fn library_backup(dir: &Path, rng: &mut Rng, number: u64) -> Source {
    let config = format!("theirs-{number}");
    let (mut file, mut records, mut readable) = (Vec::new(), Vec::new(), 0);
    let mut torn = false;
    for _ in 0..rng.usize(1..6) {
        let chunk: Vec<_> = (0..rng.u64(1..50))
            .map(|n| {
                let (time, value) = (time_of(100 + number, records.len() as u64 + n), Owned::Uint64(rng.u64(..)));
                let id = [&[CONFIG_ID, config.len() as u8], config.as_bytes()].concat();
                [id, encoded("p", time, &[value])].concat()
            })
            .collect();
        records.extend(chunk.iter().map(|record| RecordId::of(record)));
        put_chunk(&mut file, &chunk);
        readable = records.len() as u64;
    }
    if rng.bool() {
        let cut: Vec<_> = (0..rng.u64(1..9)).map(|n| encoded("p", n as i64, &[])).collect();
        let whole = file.len();
        put_chunk(&mut file, &cut);
        file.truncate(rng.usize(whole + 1..file.len()));
        torn = true;
    }
    std::fs::create_dir_all(dir).unwrap();
    std::fs::write(dir.join(format!("theirs-{}", 1_700_000_000_000_000 + number)), &file).unwrap();
    let twice = rng.bool();
    if twice {
        std::fs::create_dir_all(dir.join("again")).unwrap();
        std::fs::write(dir.join("again").join(format!("renamed {number}")), &file).unwrap();
    }
    Source {
        session: None,
        records,
        readable: (0..readable).collect(),
        missing: Vec::new(),
        done: vec![format!("PBFS, torn: {torn}, twice: {twice}")],
        damaged: None,
    }
}

/// [P-1]: a chunk as the official library writes it.
pub(crate) fn put_chunk(file: &mut Vec<u8>, messages: &[Vec<u8>]) {
    let payload: Vec<u8> =
        messages.iter().flat_map(|message| [&(message.len() as u32).to_le_bytes()[..], message].concat()).collect();
    let covered = [&(payload.len() as u64).to_le_bytes()[..], &payload].concat();
    file.extend_from_slice(&crc32fast::hash(&covered).to_le_bytes());
    file.extend_from_slice(&covered);
}

/// Which of these records the server has not acknowledged.
pub(crate) fn unacknowledged<'a>(
    records: impl Iterator<Item = &'a RecordId>,
    seen: &super::faulty::Seen,
) -> BTreeMap<&'a RecordId, u64> {
    let lacking = records.filter(|record| !seen.is_acknowledged(record));
    lacking.map(|record| (record, seen.copies(record).received)).collect()
}
