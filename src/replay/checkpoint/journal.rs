//! Journals: bytes to facts and back ([F-39], [F-40]).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use prost::Message;
use uuid::Uuid;

use super::error::StateError;
use super::facts::{Checkpoint, Facts, Outcome, PbfsMark};
use crate::format::{
    CheckpointMessage, Codec, EncodeError, Frame, JOURNAL_MAGIC, Kind, MAX_CHECKPOINT_BYTES, PayloadDecoder,
    PayloadError, PbfsFacts, PbfsFactsMark, Scanner, SeqRange, SessionFacts, Step, TargetFacts, TimeRange, segment_id,
};
use crate::replay::target::{PbfsId, Target};
use crate::segment::{PendingFrame, Storage, StorageFile};

/// Ending of a journal's name.
const SUFFIX: &str = ".sfj";

/// Ending of its name until it is whole and locked: nobody else touches it under its final name while it is in use.
pub(super) const NEW_SUFFIX: &str = ".sfj.new";

/// Bytes after which a frame is closed: damage costs a frame.
const FRAME_BYTES: usize = 64 << 10;

/// Most bytes of a target's text: with it, one fact still fits into a frame.
const MAX_TARGET_BYTES: usize = MAX_CHECKPOINT_BYTES as usize / 2;

pub(super) fn is_journal(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(SUFFIX))
}

pub(super) fn is_leftover(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(NEW_SUFFIX))
}

/// Whether facts about this target fit into a journal.
pub(super) fn check_target(target: &Target) -> Result<(), EncodeError> {
    let bytes = target.as_str().len();
    if bytes <= MAX_TARGET_BYTES {
        return Ok(());
    }
    Err(EncodeError::TooLarge { what: "a destination's description", bytes, most: MAX_TARGET_BYTES as u32 })
}

/// Facts as frames.
pub(super) fn frames<'a>(
    facts: impl Iterator<Item = (&'a Target, Checkpoint)>,
) -> Result<Vec<PendingFrame>, StateError> {
    let mut frames = Vec::new();
    let (mut message, mut bytes) = (CheckpointMessage::default(), 0);
    let close = |message: &CheckpointMessage| PendingFrame::message(Kind::Checkpoint, 0, TimeRange::EMPTY, message);
    for (target, checkpoint) in facts {
        check_target(target)?;
        if bytes >= FRAME_BYTES {
            frames.push(close(&std::mem::take(&mut message))?);
            bytes = 0;
        }
        bytes += put(&mut message, target, checkpoint);
    }
    if !message.targets.is_empty() {
        frames.push(close(&message)?);
    }
    Ok(frames)
}

/// Adds a fact; returns about how many bytes it takes.
fn put(message: &mut CheckpointMessage, target: &Target, checkpoint: Checkpoint) -> usize {
    let mut bytes = 0;
    let targets = &mut message.targets;
    let known = last_or(
        targets,
        |facts| facts.target == target.as_str(),
        || {
            bytes += target.as_str().len() + 16;
            TargetFacts { target: target.as_str().to_owned(), ..TargetFacts::default() }
        },
    );
    let Some(known) = known else { return bytes };
    match checkpoint {
        Checkpoint::Session { session, seqs, outcome } => {
            let facts = last_or(
                &mut known.sessions,
                |facts| facts.session_id == session.as_bytes(),
                || {
                    bytes += 32;
                    SessionFacts { session_id: session.as_bytes().to_vec(), ..SessionFacts::default() }
                },
            );
            let Some(facts) = facts else { return bytes };
            let range = SeqRange { first: seqs.start, end: seqs.end };
            match outcome {
                Outcome::Acknowledged => facts.acknowledged.push(range),
                Outcome::DeadLettered => facts.dead_lettered.push(range),
            }
            bytes + 24
        }
        Checkpoint::Pbfs { id, mark } => {
            let Some(facts) = last_pbfs(known, id, &mut bytes) else { return bytes };
            let PbfsMark { end, hash, messages, dead_lettered } = mark;
            facts.marks.push(PbfsFactsMark { end, hash: hash.to_vec(), messages, dead_lettered });
            bytes + 72
        }
        Checkpoint::PbfsDelivered { id, messages } => {
            let Some(facts) = last_pbfs(known, id, &mut bytes) else { return bytes };
            facts.delivered.push(SeqRange { first: messages.start, end: messages.end });
            bytes + 24
        }
    }
}

fn last_pbfs<'a>(known: &'a mut TargetFacts, id: PbfsId, bytes: &mut usize) -> Option<&'a mut PbfsFacts> {
    let new = || {
        *bytes += 48;
        PbfsFacts { id: id.0.to_vec(), ..PbfsFacts::default() }
    };
    last_or(&mut known.pbfs, |facts| facts.id == id.0, new)
}

/// The last of `items`, after a new one was appended if the last isn't the one that is meant. There always is one.
fn last_or<T>(items: &mut Vec<T>, is: impl Fn(&T) -> bool, new: impl FnOnce() -> T) -> Option<&mut T> {
    if !items.last().is_some_and(is) {
        items.push(new());
    }
    items.last_mut()
}

/// The facts of a message, if it is one ([F-40]): wholly or not at all.
fn facts_of(payload: &[u8], facts: &mut Facts) -> Option<CheckpointMessage> {
    let message = CheckpointMessage::decode(payload).ok()?;
    let mut all = Vec::new();
    for known in &message.targets {
        // A text that doesn't fit beside a fact: nobody could write it again.
        if known.target.len() > MAX_TARGET_BYTES {
            return None;
        }
        // Once for all of its facts: its text may be long, and they many.
        let mut of_target = Vec::new();
        for facts in &known.sessions {
            let session = Uuid::from_slice(&facts.session_id).ok()?;
            let of = |ranges: &[SeqRange], outcome| {
                let range = move |range: &SeqRange| {
                    let seqs = range.first..range.end;
                    (!seqs.is_empty()).then_some(Checkpoint::Session { session, seqs, outcome })
                };
                ranges.iter().map(range).collect::<Option<Vec<_>>>()
            };
            let acknowledged = of(&facts.acknowledged, Outcome::Acknowledged)?;
            let dead_lettered = of(&facts.dead_lettered, Outcome::DeadLettered)?;
            of_target.extend(acknowledged.into_iter().chain(dead_lettered));
        }
        for facts in &known.pbfs {
            let id = PbfsId(facts.id.as_slice().try_into().ok()?);
            for &PbfsFactsMark { end, ref hash, messages, dead_lettered } in &facts.marks {
                let mark = PbfsMark { end, hash: hash.as_slice().try_into().ok()?, messages, dead_lettered };
                of_target.push(Checkpoint::Pbfs { id, mark });
            }
            for range in &facts.delivered {
                let messages = range.first..range.end;
                if messages.is_empty() {
                    return None;
                }
                of_target.push(Checkpoint::PbfsDelivered { id, messages });
            }
        }
        all.push((Target::from_text(&known.target), of_target));
    }
    for (target, checkpoints) in &all {
        checkpoints.iter().for_each(|checkpoint| facts.add(target, checkpoint));
    }
    Some(message)
}

/// Reads a journal in whatever state it is; adds its facts. Returns whether this version knows everything that it
/// holds, so that nothing is lost if it is replaced by what was read.
pub(super) fn read(path: &Path, bytes: &[u8], facts: &mut Facts) -> bool {
    let lost = |offset: u64, why: &dyn std::fmt::Display| {
        let path = path.display();
        tracing::warn!(
            "{path} is damaged at byte {offset} ({why}): the checkpoints that stood there are lost, and what they \
             covered will be sent again"
        );
    };
    let Some(magic) = bytes.first_chunk::<{ JOURNAL_MAGIC.len() }>() else {
        // Torn before anything was in it.
        return true;
    };
    if *magic != JOURNAL_MAGIC {
        lost(0, &"it doesn't begin as a journal does");
    }
    let mut scanner = Scanner::of_journal(journal_id(path));
    let (mut decoder, mut known) = (PayloadDecoder::default(), true);
    loop {
        let position = usize::try_from(scanner.position()).unwrap_or(usize::MAX);
        match scanner.step(bytes.get(position..).unwrap_or_default(), true) {
            Step::Frame(frame) => match read_frame(&mut decoder, &frame, facts) {
                Ok(whole) => known &= whole,
                Err(why) => lost(frame.header.offset, &why),
            },
            Step::Damage(damage) => lost(damage.offset, &damage.cause),
            // Ordinary: whoever wrote it was cut off before its sync returned.
            Step::Torn(torn) => tracing::debug!("{} is torn at byte {}", path.display(), torn.offset),
            Step::NeedMore(_) | Step::End => return known,
        }
    }
}

/// Reads a frame; returns whether this version knows everything in it.
fn read_frame(decoder: &mut PayloadDecoder, frame: &Frame<'_>, facts: &mut Facts) -> Result<bool, String> {
    let header = &frame.header;
    match header.kind {
        Kind::Checkpoint => {}
        Kind::Unknown(_) => return Ok(false),
        kind => return Err(format!("a frame of kind {kind} has no place here")),
    }
    // A compressed one could be any number of facts for a few bytes.
    if header.raw_len > MAX_CHECKPOINT_BYTES || header.codec == Codec::Zstd {
        return Err(format!("a frame of {} bytes, stored in {}", header.raw_len, header.stored_len));
    }
    let payload = match decoder.decode(frame) {
        Ok(payload) => payload,
        Err(PayloadError::Unreadable(_)) => return Ok(false),
        Err(error @ PayloadError::Malformed) => return Err(error.to_string()),
    };
    let message = facts_of(payload, facts).ok_or_else(|| PayloadError::Malformed.to_string())?;
    // What a later version added is lost when this one writes the message again.
    Ok(message.encoded_len() == payload.len())
}

/// [F-39]: the id that the frames carry, if the file's name tells it.
fn journal_id(path: &Path) -> Option<u64> {
    let uuid = path.file_name()?.to_str()?.strip_suffix(SUFFIX)?;
    Some(segment_id(Uuid::try_parse(uuid).ok()?, 0))
}

/// A journal that is appended to. It is locked as long as this lives, and never touched again after an error.
pub(super) struct JournalWriter {
    /// `None` after an error.
    file: Option<Box<dyn StorageFile>>,
    path: PathBuf,
    id: u64,
    offset: u64,
}

impl JournalWriter {
    /// Begins a journal in the directory `dir`, with `frames` in it: durable when this returns.
    pub(super) fn create(
        storage: &Arc<dyn Storage>,
        dir: &Path,
        frames: &mut [PendingFrame],
    ) -> Result<Self, StateError> {
        loop {
            let uuid = Uuid::now_v7();
            let new = dir.join(format!("{uuid}{NEW_SUFFIX}"));
            let mut file = storage.create(&new).map_err(StateError::io("create", &new))?;
            match file.lock() {
                Ok(true) => {}
                // Somebody who clears up just looks at it.
                Ok(false) => continue,
                Err(error) => tracing::debug!("{} can't be locked: {error}", new.display()),
            }
            let mut journal = Self { file: Some(file), path: new, id: segment_id(uuid, 0), offset: 0 };
            let mut bytes = JOURNAL_MAGIC.to_vec();
            journal.place(frames, &mut bytes)?;
            journal.write(&bytes)?;
            journal.sync()?;
            let path = dir.join(format!("{uuid}{SUFFIX}"));
            // Under this name it is found; it has been locked since before.
            storage.rename(&journal.path, &path).map_err(StateError::io("rename", &journal.path))?;
            storage.sync_dir(dir).map_err(StateError::io("sync the directory", dir))?;
            return Ok(Self { path, ..journal });
        }
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes in it.
    pub(super) fn len(&self) -> u64 {
        self.offset
    }

    /// Appends frames; durable after [`sync`](Self::sync).
    pub(super) fn append(&mut self, frames: &mut [PendingFrame]) -> Result<(), StateError> {
        let mut bytes = Vec::new();
        self.place(frames, &mut bytes)?;
        self.write(&bytes)
    }

    fn place(&self, frames: &mut [PendingFrame], bytes: &mut Vec<u8>) -> Result<(), StateError> {
        for frame in frames {
            frame.place(self.id, self.offset + bytes.len() as u64)?;
            bytes.extend_from_slice(&frame.buffer);
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        let mut file = self.file.take().ok_or(StateError::Stopped)?;
        file.append(bytes).map_err(StateError::io("write to", &self.path))?;
        self.file = Some(file);
        self.offset += bytes.len() as u64;
        Ok(())
    }

    /// Returns when everything appended is on stable storage.
    pub(super) fn sync(&mut self) -> Result<(), StateError> {
        let mut file = self.file.take().ok_or(StateError::Stopped)?;
        file.sync().map_err(StateError::io("sync", &self.path))?;
        self.file = Some(file);
        Ok(())
    }
}
