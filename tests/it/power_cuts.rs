//! Power cuts on a simulated disk: at each of its operations, with many of the states that the disk may be left in. What
//! must hold then are the promises of the design: what was durable is read back, bit for bit; what is read back was
//! recorded; what is damaged is told, and costs no more than the frames that it touches.

mod faults;
#[cfg(feature = "cli")]
mod journal;
mod model;
mod recorder;
mod rot;
mod script;

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{Hash, Hasher};
use std::io::Cursor;
use std::path::Path;

use prost::Message;
use sift_replay::format::{FlowConfig, IngestionConfig, Mark, RecordInfo, SegmentHeader};
use sift_replay::segment::{Event, SegmentName, SegmentReader, SimFiles, SimImage};

/// What was done until a moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct History {
    /// Every record that was given a seq, by its seq.
    pub(crate) records: Vec<Vec<u8>>,
    /// Records before this seq count as durable.
    pub(crate) durable: u64,
    /// Notes that were made, in order.
    pub(crate) notes: Vec<String>,
    /// So many of them were followed by a `flush` that returned.
    pub(crate) durable_notes: usize,
}

/// How many states of the disk are looked at. More with `SIFT_REPLAY_CRASH_FACTOR`.
fn factor() -> usize {
    std::env::var("SIFT_REPLAY_CRASH_FACTOR").map_or(1, |factor| factor.parse().expect("a number"))
}

/// The states that a power cut may leave, and whether they were looked at before.
#[derive(Default)]
pub(crate) struct Cuts {
    seen: HashSet<u64>,
}

impl Cuts {
    /// Different states that were looked at.
    pub(crate) fn count(&self) -> usize {
        self.seen.len()
    }

    /// Calls `check` with states that a power cut at this moment may leave: the least, everything, torn at each byte (or
    /// at so many places), and `random` others; not with those that an earlier moment with the same `promise` had.
    pub(crate) fn each(
        &mut self,
        image: &SimImage,
        promise: impl Hash,
        (torn, random): (usize, usize),
        mut check: impl FnMut(&str, &SimFiles),
    ) {
        let mut look = |what: &str, files: SimFiles| {
            let mut hasher = DefaultHasher::new();
            (&files, &promise).hash(&mut hasher);
            if self.seen.insert(hasher.finish()) {
                check(what, &files);
            }
        };
        look("the least", image.least());
        look("everything", image.all());
        let points = image.torn_points();
        for point in (0..points).step_by(points.div_ceil(torn.max(1)).max(1)) {
            look(&format!("torn at {point}"), image.torn(point));
        }
        for seed in 0..(random * factor()) as u64 {
            look(&format!("seed {seed}"), image.survivor(seed));
        }
    }
}

/// What is read of some files.
#[derive(Debug, Default)]
struct Found {
    records: BTreeMap<u64, Vec<u8>>,
    flows: Vec<FlowConfig>,
    notes: BTreeSet<String>,
}

impl Found {
    fn header(&mut self, header: &SegmentHeader) {
        let config = IngestionConfig::decode(&header.ingestion_config[..]).expect("an ingestion config");
        self.flows.extend(config.flows);
    }

    /// Reads a file; says what is wrong with what is read.
    fn read(&mut self, path: &Path, bytes: &[u8], history: &History) -> Result<(), String> {
        let mut reader = SegmentReader::from_reader(path, Box::new(Cursor::new(bytes.to_vec()))).unwrap();
        let (mut next_seq, mut position) = (0, 0);
        // Stale blocks may make the file another session's, whole: then it is read as that session's, as HEADER says.
        let session = SegmentName::of_path(path).map(|name| name.session);
        if let Some(header) = reader.seal().and_then(|seal| seal.header.clone()) {
            self.header(&header);
        }
        while let Some(event) = reader.next_event().unwrap() {
            match event {
                Event::Records(batch) => {
                    for (seq, record) in (batch.first_seq..).zip(batch.records()) {
                        if seq < next_seq {
                            return Err(format!("seq {seq} after {next_seq}"));
                        }
                        next_seq = seq + 1;
                        let recorded = usize::try_from(seq).ok().and_then(|seq| history.records.get(seq));
                        if recorded.map(Vec::as_slice) != Some(record) {
                            return Err(format!("seq {seq} isn't what was recorded"));
                        }
                        self.records.insert(seq, record.to_vec());
                    }
                }
                Event::Header(header) if header.session() != session => return Ok(()),
                Event::Header(header) => self.header(&header),
                Event::Schema(added) => self.flows.extend(added.flows),
                Event::Mark(message) => {
                    if let Some(Mark::Note(note)) = message.mark {
                        if !history.notes.contains(&note) {
                            return Err(format!("nobody made the note {note:?}"));
                        }
                        self.notes.insert(note);
                    }
                }
                Event::Seal(_) => {}
                Event::Skipped(skipped) => return Err(format!("{skipped:?} in what this version wrote")),
                // That it is told, with its place, is the promise.
                Event::Damage(damage) => {
                    if damage.offset < position || damage.len == 0 {
                        return Err(format!("{damage:?}, read up to {position}"));
                    }
                    if damage.seqs.is_some_and(|seqs| seqs.end > history.records.len() as u64) {
                        return Err("damage of seqs that were never given".to_owned());
                    }
                }
                Event::Torn(torn) => {
                    if torn.offset + torn.len != bytes.len() as u64 {
                        return Err(format!("{torn:?} in a file of {}", bytes.len()));
                    }
                }
            }
            position = reader.position();
        }
        if reader.position() != bytes.len() as u64 {
            return Err(format!("read up to {} of {}", reader.position(), bytes.len()));
        }
        Ok(())
    }
}

/// Whether the promises hold for what is on the disk.
pub(crate) fn check(files: &SimFiles, history: &History) -> Result<(), String> {
    let mut found = Found::default();
    for (path, bytes) in files.iter().filter(|(path, _)| SegmentName::of_path(path).is_some()) {
        found.read(path, bytes, history).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    for seq in 0..history.durable {
        let Some(record) = found.records.get(&seq) else { return Err(format!("seq {seq} was durable, and is gone")) };
        let flow = RecordInfo::parse(record).map(|info| String::from_utf8_lossy(info.flow).into_owned());
        if !found.flows.iter().any(|known| Ok(&known.name) == flow.as_ref()) {
            return Err(format!("nothing tells the flow {flow:?} of seq {seq}"));
        }
    }
    let lost = history.notes[..history.durable_notes].iter().find(|note| !found.notes.contains(*note));
    lost.map_or(Ok(()), |note| Err(format!("the note {note:?} was durable, and is gone")))
}
