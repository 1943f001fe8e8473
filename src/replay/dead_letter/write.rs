//! Writing dead letters: durably, before anything else may rest on them. After a failed write or sync the segment is never
//! touched again; the records, still in memory, go to a new one.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use uuid::Uuid;

use super::super::target::{Subject, Target};
use super::origin::ranges_of;
use super::{bounded, dir_in};
use crate::catalog::Requests;
use crate::format::{
    Abandoned, Compression, EncodeError, FLAG_BARE, FORMAT_VERSION, FRAME_HEADER_BYTES, Fields, Kind, MAX_RECORD_BYTES,
    Mark, MarkMessage, PayloadEncoder, RECORD_PREFIX_BYTES, RecordInfo, Refused, SegmentHeader, Tally, TimeRange,
    WireValue, field, put_record,
};
use crate::record::{RecorderOptions, Timestamp};
use crate::segment::{PendingFrame, SegmentError, SegmentWriter, Storage, session_dir};

/// Bytes after which a frame is full; one with a single record may be larger.
const FRAME_BYTES: usize = 256 << 10;

/// Records after which a frame is full: its mark, which may need a range for each, stays small as well.
const FRAME_RECORDS: usize = 16 << 10;

/// Directory of dead letters whose asset nothing tells.
const UNKNOWN_ASSET: &str = "unknown-asset";

/// A record that the destination refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedRecord {
    /// Its seq in its session; of a PBFS file, its message number.
    pub seq: u64,
    /// The request's bytes as they were recorded, nothing appended.
    pub bytes: Vec<u8>,
}

/// Keeps dead letters in segments below a state directory. There is one for a process; it makes no directory and no file
/// before the first refusal. All of it blocks: it writes and syncs.
pub struct DeadLetters {
    storage: Arc<dyn Storage>,
    root: PathBuf,
    sessions: HashMap<(Target, Subject), Letters>,
}

/// What is the same for all records of one call.
struct Why<'a> {
    target: &'a Target,
    subject: &'a Subject,
    origin_path: String,
    reason: &'a str,
}

impl DeadLetters {
    /// Keeps them in `<state_dir>/dead-letters/`.
    pub fn new(storage: Arc<dyn Storage>, state_dir: &Path) -> Self {
        Self { storage, root: dir_in(state_dir), sessions: HashMap::new() }
    }

    /// Keeps `records`, which `target` refused for `reason`. When this returns, they are on stable storage. `requests` are
    /// those of the session that they are of, with the flows known by now; `None` if each record carries its own ids, as
    /// those of a PBFS file do.
    ///
    /// # Errors
    /// [`SegmentError`], after a second segment has failed as well, or if something doesn't fit into a frame. Then none of
    /// `records` counts as kept, though some may be found later; those of earlier calls are kept all the same, and the next
    /// call tries anew.
    pub fn add(
        &mut self,
        target: &Target,
        subject: &Subject,
        origin_path: Option<&Path>,
        requests: Option<&Requests>,
        reason: &str,
        records: &[RefusedRecord],
    ) -> Result<(), SegmentError> {
        if records.is_empty() {
            return Ok(());
        }
        let key = (target.clone(), *subject);
        let mut letters = self.sessions.remove(&key).unwrap_or_else(|| Letters::new(&self.root, requests));
        letters.adopt(requests);
        let origin_path = origin_path.map(|path| bounded(&path.to_string_lossy()).to_owned()).unwrap_or_default();
        let why = Why { target, subject, origin_path, reason: bounded(reason) };
        let mut frames = match letters.frames(&why, records) {
            Ok(frames) => frames,
            Err(error) => {
                // Nothing was written: the session goes on.
                self.sessions.insert(key, letters);
                return Err(error);
            }
        };
        // If this fails, the session isn't gone on with: its next seqs may stand in its files, for these records.
        letters.write(&self.storage, &mut frames)?;
        self.sessions.insert(key, letters);
        Ok(())
    }

    /// Ends the segment of these dead letters; returns the sealed file's path, or `None` if there is no such segment. Dead
    /// letters that come later go to a new one.
    ///
    /// # Errors
    /// [`SegmentError`]. What [`add`](Self::add) has kept stays kept, in an unsealed file.
    pub fn finish(&mut self, target: &Target, subject: &Subject) -> Result<Option<PathBuf>, SegmentError> {
        let letters = self.sessions.remove(&(target.clone(), *subject));
        letters.and_then(|letters| letters.segment).map(SegmentWriter::seal).transpose()
    }

    /// Ends all segments, whatever becomes of each.
    ///
    /// # Errors
    /// The first [`SegmentError`].
    pub fn finish_all(&mut self) -> Result<(), SegmentError> {
        let segments = std::mem::take(&mut self.sessions).into_values().filter_map(|letters| letters.segment);
        let results: Vec<_> = segments.map(SegmentWriter::seal).collect();
        results.into_iter().try_for_each(|result| result.map(drop))
    }
}

impl Drop for DeadLetters {
    /// An interrupted job may leave a letter behind that is written after its segment was ended.
    fn drop(&mut self) {
        if let Err(error) = self.finish_all() {
            // What it holds is durable, under the name of an open segment.
            tracing::warn!("a segment of dead letters stays unsealed: {error}");
        }
    }
}

impl std::fmt::Debug for DeadLetters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeadLetters").field("root", &self.root).field("sessions", &self.sessions.len()).finish()
    }
}

/// A session of dead letters: those of one target and one origin.
struct Letters {
    session: Uuid,
    dir: PathBuf,
    began: Instant,
    header: SegmentHeader,
    /// `None` before the first record.
    segment: Option<SegmentWriter>,
    next_seq: u64,
}

/// A frame that is to be written, with what the SEAL will say of it.
struct Frame {
    pending: PendingFrame,
    flows: HashMap<String, Tally>,
    non_finite: u64,
}

impl Letters {
    fn new(root: &Path, requests: Option<&Requests>) -> Self {
        let session = Uuid::now_v7();
        let asset = requests.map_or(UNKNOWN_ASSET, |requests| &requests.asset);
        let header = SegmentHeader {
            format_version: FORMAT_VERSION,
            session_id: session.as_bytes().to_vec(),
            recorder: env!("CARGO_PKG_NAME").to_owned(),
            recorder_version: env!("CARGO_PKG_VERSION").to_owned(),
            host: RecorderOptions::default().host,
            ingestion_config: config_of(requests).to_vec(),
            run: requests.and_then(|requests| requests.run.as_deref().map(<[u8]>::to_vec)),
            run_id: requests.and_then(|requests| requests.run_id.clone()),
            ..SegmentHeader::default()
        };
        let dir = session_dir(root, asset, requests.and_then(|requests| requests.run_name.as_deref()));
        Self { session, dir, began: Instant::now(), header, segment: None, next_seq: 0 }
    }

    /// Where the origin has got flows since, what follows goes to a segment whose HEADER has them.
    fn adopt(&mut self, requests: Option<&Requests>) {
        if self.header.ingestion_config == config_of(requests) {
            return;
        }
        self.header.ingestion_config = config_of(requests).to_vec();
        if let Some(segment) = self.segment.take() {
            self.header.segment_index = self.header.segment_index.saturating_add(1);
            // What it holds is durable, sealed or not.
            if let Err(error) = segment.seal() {
                tracing::warn!("a segment of dead letters stays unsealed: {error}");
            }
        }
    }

    /// The records as frames, each behind the mark that explains it ([F-41]).
    fn frames(&self, why: &Why<'_>, records: &[RefusedRecord]) -> Result<Vec<Frame>, SegmentError> {
        let mut encoder = PayloadEncoder::new(Compression::default())?;
        let (mut frames, mut rest, mut first_seq) = (Vec::new(), records, self.next_seq);
        while !rest.is_empty() {
            let (some, others) = rest.split_at_checked(records_in_frame(rest)).unwrap_or((rest, &[]));
            frames.push(mark_frame(why, first_seq, some)?);
            frames.push(data_frame(&mut encoder, first_seq, some)?);
            first_seq += some.len() as u64;
            rest = others;
        }
        Ok(frames)
    }

    /// Writes the frames and syncs, to a second segment if the first one fails.
    fn write(&mut self, storage: &Arc<dyn Storage>, frames: &mut [Frame]) -> Result<(), SegmentError> {
        if let Err(error) = self.try_write(storage, frames, None) {
            tracing::warn!("dead letters go to another segment: {error}");
            let abandoned = Abandoned { segment_index: self.header.segment_index, error: error.to_string() };
            self.segment = None;
            self.header.segment_index = self.header.segment_index.saturating_add(1);
            self.try_write(storage, frames, Some(abandoned))?;
        }
        self.next_seq = frames.last().map_or(self.next_seq, |frame| frame.pending.end_seq());
        Ok(())
    }

    fn try_write(
        &mut self,
        storage: &Arc<dyn Storage>,
        frames: &mut [Frame],
        abandoned: Option<Abandoned>,
    ) -> Result<(), SegmentError> {
        let segment = match &mut self.segment {
            Some(segment) => segment,
            None => {
                // What came before these frames is durable, in an earlier segment.
                self.header.first_seq = self.next_seq;
                self.header.wall_clock_ns = Timestamp::now().unix_ns();
                self.header.monotonic_ns = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
                let segment = SegmentWriter::create(storage.clone(), &self.dir, self.session, self.header.clone())?;
                self.segment.insert(segment)
            }
        };
        if let Some(abandoned) = abandoned {
            segment.write(&mut mark(self.next_seq, Mark::Abandoned(abandoned))?)?;
        }
        for frame in frames.iter_mut() {
            segment.write(&mut frame.pending)?;
            for (name, tally) in &frame.flows {
                segment.add_flow(name, tally);
            }
            segment.add_non_finite(frame.non_finite);
        }
        segment.sync()
    }
}

/// [F-19]: empty if no request precedes the data.
fn config_of(requests: Option<&Requests>) -> &[u8] {
    requests.map_or(&[], |requests| &requests.ingestion_config)
}

/// How many of the records, at least one, go into one frame.
fn records_in_frame(records: &[RefusedRecord]) -> usize {
    let mut bytes = 0usize;
    let fit = records.iter().take(FRAME_RECORDS).take_while(|record| {
        bytes = bytes.saturating_add(record.bytes.len()).saturating_add(RECORD_PREFIX_BYTES);
        bytes <= FRAME_BYTES
    });
    fit.count().max(1)
}

fn mark(next_seq: u64, mark: Mark) -> Result<PendingFrame, SegmentError> {
    let wall_clock_ns = Timestamp::now().unix_ns();
    let message = MarkMessage { wall_clock_ns, mark: Some(mark) };
    PendingFrame::message(Kind::Mark, next_seq, TimeRange::at(wall_clock_ns), &message)
}

fn mark_frame(why: &Why<'_>, first_seq: u64, records: &[RefusedRecord]) -> Result<Frame, SegmentError> {
    let (session_id, pbfs_id) = match why.subject {
        Subject::Session(session) => (session.as_bytes().to_vec(), Vec::new()),
        Subject::Pbfs(id) => (Vec::new(), id.0.to_vec()),
    };
    let refused = Refused {
        destination: why.target.as_str().to_owned(),
        reason: why.reason.to_owned(),
        session_id,
        pbfs_id,
        origin_path: why.origin_path.clone(),
        seqs: ranges_of(records.iter().map(|record| record.seq)),
        first_seq,
        count: records.len() as u64,
    };
    Ok(Frame { pending: mark(first_seq, Mark::Refused(refused))?, flows: HashMap::new(), non_finite: 0 })
}

fn data_frame(encoder: &mut PayloadEncoder, first_seq: u64, records: &[RefusedRecord]) -> Result<Frame, SegmentError> {
    let (mut raw, mut times, mut bare) = (Vec::new(), TimeRange::EMPTY, true);
    let (mut flows, mut non_finite): (HashMap<String, Tally>, u64) = (HashMap::new(), 0);
    for RefusedRecord { bytes, .. } in records {
        // [F-14]
        if bytes.len() > MAX_RECORD_BYTES as usize {
            let (what, most) = ("a dead letter", MAX_RECORD_BYTES);
            return Err(EncodeError::TooLarge { what, bytes: bytes.len(), most }.into());
        }
        put_record(&mut raw, bytes);
        // What is no message counts as a record and has no flow.
        let Ok(info) = RecordInfo::parse(bytes) else {
            bare = false;
            continue;
        };
        bare &= info.is_bare();
        let time = info.timestamp.map_or(TimeRange::EMPTY, TimeRange::at);
        times.merge(&time);
        let tally = flows.entry(String::from_utf8_lossy(info.flow).into_owned()).or_insert(Tally::ZERO);
        tally.merge(&Tally { records: 1, times: time });
        non_finite += non_finite_values(bytes);
    }
    let mut buffer = Vec::new();
    let codec = encoder.compress(&raw, &mut buffer)?;
    if buffer.is_empty() {
        buffer.resize(FRAME_HEADER_BYTES, 0);
        buffer.extend_from_slice(&raw);
    }
    let pending = PendingFrame {
        kind: Kind::Data,
        codec,
        flags: if bare { FLAG_BARE } else { 0 },
        count: records.len() as u32,
        first_seq,
        times,
        raw_len: raw.len() as u32,
        buffer,
    };
    Ok(Frame { pending, flows, non_finite })
}

/// How many of a request's values are NaN or infinite ([F-24]).
fn non_finite_values(request: &[u8]) -> u64 {
    let values = Fields::new(request).filter_map(Result::ok).filter(|next| next.number == field::CHANNEL_VALUES);
    let is_non_finite = |value: &[u8]| {
        Fields::new(value).filter_map(Result::ok).last().is_some_and(|value| match (value.number, value.value) {
            (2, WireValue::Fixed64(bits)) => !f64::from_bits(bits).is_finite(),
            (3, WireValue::Fixed32(bits)) => !f32::from_bits(bits).is_finite(),
            _ => false,
        })
    };
    values.filter(|value| value.bytes().is_ok_and(is_non_finite)).count() as u64
}
