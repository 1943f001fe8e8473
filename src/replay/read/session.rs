//! Reading a session's segments.

mod passing;

use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use prost::Message;
use sha2::{Digest, Sha256};

use super::cursor::Cursor;
use super::{FileMemory, Gone, Item, Memory, Passed, Selector, Sink, send_rest};
use crate::catalog::{SegmentFile, SeqSet, Session};
use crate::format::{Damage, DamageCause, Mark, MarkMessage, RecordInfo, Records, Torn};
use crate::replay::checkpoint::{Done, present_in};
use crate::replay::outgoing::Ids;
use crate::replay::window::{Finished, WindowBuilder};
use crate::segment::{Batch, Event, SegmentError, SegmentName, SegmentReader};

pub(super) struct SessionRead<'a> {
    windows: WindowBuilder,
    selector: &'a Selector,
    done: &'a Done,
    /// Acknowledged or dead-lettered, or not for the replay now.
    delivered: SeqSet,
    /// Whether some of it isn't for the replay now: what a recorder is writing is read again and again.
    is_held: bool,
    memory: &'a mut Memory,
    sink: &'a mut dyn Sink,
    /// The file being read, if nobody writes to it any more.
    file: Option<Arc<Finished>>,
    /// Whether the file being read is whole so far.
    whole: bool,
    /// How far it is sound, in bytes.
    sound: u64,
    /// Where the bytes begin that weren't accounted for yet.
    accounted: u64,
}

impl<'a> SessionRead<'a> {
    pub(super) fn new(
        windows: WindowBuilder,
        selector: &'a Selector,
        done: &'a Done,
        held: &SeqSet,
        memory: &'a mut Memory,
        sink: &'a mut dyn Sink,
    ) -> Self {
        let mut delivered = done.all();
        delivered.union(held);
        let is_held = !held.is_empty();
        let (file, whole, sound, accounted) = (None, true, 0, 0);
        Self { windows, selector, done, delivered, is_held, memory, sink, file, whole, sound, accounted }
    }

    pub(super) fn session(mut self, session: &Session) -> Result<(), Gone> {
        let gaps = boundary_gaps(&session.segments);
        for file in &session.segments {
            // Copies of a segment are read only for what the ones before them lack.
            if self.memory.complete.contains(&file.index) {
                continue;
            }
            if self.segment(file, !gaps.contains(&file.index))? {
                self.memory.complete.insert(file.index);
            }
        }
        send_rest(&mut self.windows, self.sink)?;
        let memory = &*self.memory;
        let unread = memory.read.missing_in(0..memory.end).into_iter();
        let unexplained = unread.flat_map(|range| memory.explained.missing_in(range));
        // What was delivered isn't missing, wherever its file is now.
        let missing = unexplained.flat_map(|range| self.delivered.missing_in(range)).collect();
        self.sink.send(Item::Missing(missing))
    }

    /// Reads one segment; returns whether it was sealed and whole. `may_skip`: what was delivered needn't be read.
    fn segment(&mut self, file: &SegmentFile, may_skip: bool) -> Result<bool, Gone> {
        let known = self.memory.files.get(&file.path);
        if known.is_some_and(|known| known.is_all_of(&file.fingerprint)) {
            return Ok(false);
        }
        let remembered = FileMemory::new(known, file.fingerprint, (Instant::now(), SystemTime::now()));
        // A segment that is appended to is read on from where it ended; anything else, from its beginning.
        let sound = known.filter(|known| file.open && known.fingerprint.id == file.fingerprint.id);
        let sound = sound.filter(|known| known.fingerprint.bytes <= file.bytes).map_or(0, |known| known.sound);
        (self.whole, self.sound, self.accounted) = (true, 0, 0);
        let read = self.read_segment(file, sound, may_skip)?;
        let sealed = match read {
            Ok(sealed) => sealed,
            Err(error) if error.is_not_found() && self.was_read(file) => return Ok(false),
            Err(error) => {
                self.memory.files.remove(&file.path);
                self.sink.send(Item::Failed(file.path.clone(), error))?;
                return Ok(false);
            }
        };
        let whole = sealed && self.whole;
        let remembered = FileMemory { index: file.index, sound: self.sound, whole, ..remembered };
        self.memory.files.insert(file.path.clone(), remembered);
        Ok(whole)
    }

    /// Whether nothing of a file that is gone is lost: it was read as it was, or all of it is delivered.
    fn was_read(&self, file: &SegmentFile) -> bool {
        let known = self.memory.files.get(&file.path);
        let missing =
            |seqs| self.memory.read.missing_in(seqs).into_iter().flat_map(|seqs| self.delivered.missing_in(seqs));
        known.is_some_and(|known| known.fingerprint == file.fingerprint)
            || file.sealed.as_ref().is_some_and(|sealed| sealed.seqs.ranges().flat_map(missing).next().is_none())
    }

    fn read_segment(
        &mut self,
        file: &SegmentFile,
        sound: u64,
        may_skip: bool,
    ) -> Result<Result<bool, SegmentError>, Gone> {
        let mut reader = match SegmentReader::open_plain(&file.path) {
            Ok(reader) => reader,
            Err(error) => return Ok(Err(error)),
        };
        // One that is being written gets another name when it is sealed.
        let segment_id = reader.segment_id().filter(|_| !file.open);
        self.file = segment_id.map(|segment_id| Arc::new(Finished { path: file.path.clone(), segment_id }));
        match if sound > 0 { reader.skip_to(sound, None) } else { Ok(false) } {
            Ok(on) => {
                if on {
                    (self.sound, self.accounted) = (sound, sound);
                }
                self.sink.send(Item::File { path: file.path.clone(), anew: !on })?;
            }
            Err(error) => return Ok(Err(error)),
        }
        let (mut sealed, mut stretch_end) = (false, 0);
        loop {
            if self.windows.slots().are_closed() {
                return Err(Gone);
            }
            if may_skip && reader.position() >= stretch_end {
                match self.skip(file, &mut reader)? {
                    Ok(Some(end)) => stretch_end = end,
                    Ok(None) => return Ok(Ok(true)),
                    Err(error) => return Ok(Err(error)),
                }
            }
            if let Err(error) = self.pass_frames(file, &mut reader) {
                return Ok(Err(error));
            }
            match reader.next_event() {
                Ok(None) => break,
                Ok(Some(event)) => sealed |= self.event(&file.path, event)?,
                Err(error) => return Ok(Err(error)),
            }
            self.account(reader.position());
        }
        // [F-29]: a segment gets its sealed name last, so that the end of this one was there once, and may have held
        // records. Whoever was cut off while recording leaves an open name.
        if self.whole && !sealed && is_named_sealed(&file.path) {
            let (offset, cause) = (reader.position(), DamageCause::Trailer);
            self.damage(&file.path, Damage { offset, len: 0, cause, seqs: None })?;
        }
        self.pass(Passed::default())?;
        Ok(Ok(sealed))
    }
}

impl SessionRead<'_> {
    /// Handles one event; returns whether it was the SEAL.
    fn event(&mut self, path: &Path, event: Event<'_>) -> Result<bool, Gone> {
        match event {
            Event::Records(batch) => self.records(path, &batch)?,
            Event::Header(header) => self.memory.end = self.memory.end.max(header.first_seq),
            Event::Seal(seal) => {
                self.memory.end = self.memory.end.max(seal.end_seq);
                return Ok(true);
            }
            Event::Schema(flows) => {
                send_rest(&mut self.windows, self.sink)?;
                self.sink.send(Item::Flows(flows))?;
            }
            Event::Mark(mark) => self.mark(mark)?,
            Event::Skipped(skipped) => {
                self.unsound();
                let new = skipped.seqs.clone().map_or(0, |seqs| self.explain(seqs));
                self.sink.send(Item::Skipped(path.to_owned(), skipped, new))?;
            }
            Event::Damage(damage) => self.damage(path, damage)?,
            Event::Torn(torn) => {
                if is_named_sealed(path) {
                    let Torn { offset, len, seqs } = torn;
                    self.damage(path, Damage { offset, len, cause: DamageCause::Trailer, seqs })?;
                } else {
                    // Where it may go on.
                    self.sound = if self.whole { torn.offset } else { 0 };
                    self.whole = false;
                    self.sink.send(Item::Torn(path.to_owned(), torn))?;
                }
            }
        }
        Ok(false)
    }

    /// The file is read from its beginning when it is read again, so that what is wrong with it is counted once.
    fn unsound(&mut self) {
        (self.whole, self.sound) = (false, 0);
    }

    fn mark(&mut self, mark: MarkMessage) -> Result<(), Gone> {
        // Marks can be long and many, so that only their hashes are kept.
        if !self.memory.marks.insert(Sha256::digest(mark.encode_to_vec()).into()) {
            return Ok(());
        }
        if let Some(Mark::Dropped(dropped)) = &mark.mark
            && let Some(first) = dropped.first_seq
        {
            self.explain(first..first.saturating_add(dropped.records));
        }
        self.sink.send(Item::Mark(mark))
    }

    /// Returns how many of the seqs weren't explained before.
    fn explain(&mut self, seqs: Range<u64>) -> u64 {
        self.memory.end = self.memory.end.max(seqs.end);
        self.memory.explained.insert(seqs).into_iter().map(|new| new.end - new.start).sum()
    }

    fn damage(&mut self, path: &Path, damage: Damage) -> Result<(), Gone> {
        self.unsound();
        // What a malformed or repeated frame claims to hold is not what the session had.
        if matches!(damage.cause, DamageCause::PayloadChecksum | DamageCause::Trailer)
            && let Some(seqs) = &damage.seqs
        {
            self.memory.end = self.memory.end.max(seqs.end);
        }
        self.sink.send(Item::Damage(path.to_owned(), damage))
    }

    /// What is no protobuf message isn't sent: it would end the whole stream.
    fn records(&mut self, path: &Path, batch: &Batch<'_>) -> Result<(), Gone> {
        self.memory.end = self.memory.end.max(batch.end_seq());
        self.windows.stands_at(self.file.as_ref(), batch.offset);
        let mut sound_from = batch.first_seq;
        // Frames without ids come from the recorder's own encoder, or were checked when they were recorded.
        if !batch.bare {
            for (seq, record) in (batch.first_seq..batch.end_seq()).zip(batch.records()) {
                if RecordInfo::parse(record).is_err() {
                    self.new_records(batch, sound_from..seq)?;
                    sound_from = seq + 1;
                    let (offset, len, cause) = (batch.offset, record.len() as u64, DamageCause::Malformed);
                    self.damage(path, Damage { offset, len, cause, seqs: Some(seq..seq + 1) })?;
                }
            }
        }
        self.new_records(batch, sound_from..batch.end_seq())
    }

    /// [F-34]: each seq is sent once, wherever else it stands.
    fn new_records(&mut self, batch: &Batch<'_>, seqs: Range<u64>) -> Result<(), Gone> {
        let (mut passed, mut cursor) = (Passed::default(), Cursor::new(batch));
        for new in self.memory.read.missing_in(seqs) {
            for seqs in present_in(&self.delivered, new.clone()) {
                self.pass_delivered(seqs, &mut passed);
            }
            for seqs in self.delivered.missing_in(new) {
                self.memory.read.insert(seqs.clone());
                if self.selector.wants_all() {
                    self.add(batch, seqs.clone(), cursor.from(seqs.start))?;
                } else if self.selector.wants_none_of(&batch.times) {
                    passed.not_selected += seqs.end - seqs.start;
                } else {
                    passed.not_selected += self.add_selected(batch, seqs.clone(), cursor.from(seqs.start))?;
                }
            }
        }
        if passed.records() > 0 { self.pass(passed) } else { Ok(()) }
    }

    /// Adds the first of `records`, as many as there are `seqs`.
    fn add(&mut self, batch: &Batch<'_>, seqs: Range<u64>, records: Records<'_>) -> Result<(), Gone> {
        let records = records.take((seqs.end - seqs.start) as usize);
        self.windows.add(seqs.start, records, Ids::of(batch), |window| self.sink.send(Item::Window(window)))
    }

    /// Adds those of `records` that are wanted, of as many as there are `seqs`; returns how many aren't.
    fn add_selected(&mut self, batch: &Batch<'_>, seqs: Range<u64>, mut records: Records<'_>) -> Result<u64, Gone> {
        let (mut wanted_from, mut wanted, mut unwanted) = (seqs.start, records.clone(), 0);
        for seq in seqs.clone() {
            let info = records.next().and_then(|record| RecordInfo::parse(record).ok());
            if info.is_some_and(|info| self.selector.wants(&info)) {
                continue;
            }
            unwanted += 1;
            if wanted_from < seq {
                self.add(batch, wanted_from..seq, wanted)?;
            }
            (wanted_from, wanted) = (seq + 1, records.clone());
        }
        self.add(batch, wanted_from..seqs.end, wanted)?;
        Ok(unwanted)
    }

    /// Counts records that were delivered by an earlier replay.
    fn pass_delivered(&mut self, seqs: Range<u64>, passed: &mut Passed) {
        self.memory.read.insert(seqs.clone());
        let acknowledged = present_in(&self.done.acknowledged, seqs.clone());
        let acknowledged: u64 = acknowledged.iter().map(|seqs| seqs.end - seqs.start).sum();
        let done = present_in(&self.done.dead_lettered, seqs.clone()).into_iter();
        let dead: u64 = done.flat_map(|dead| self.done.acknowledged.missing_in(dead)).map(|s| s.end - s.start).sum();
        passed.acknowledged += acknowledged;
        passed.dead_lettered += dead;
        passed.not_selected += seqs.end - seqs.start - acknowledged - dead;
    }

    /// Notes that the file was read up to `position`.
    fn account(&mut self, position: u64) {
        self.windows.has_read(position.saturating_sub(self.accounted));
        self.accounted = position;
        if self.whole {
            self.sound = position;
        }
    }

    /// Tells of records that needn't be sent, and of bytes that belong to no window.
    fn pass(&mut self, mut passed: Passed) -> Result<(), Gone> {
        passed.read = self.windows.take_read();
        if passed == Passed::default() { Ok(()) } else { self.sink.send(Item::Passed(passed)) }
    }
}

/// Segments beside seqs that are in none: whatever explains the gap (a mark, damage) stands at their ends, so that they
/// are read whole.
fn boundary_gaps(segments: &[SegmentFile]) -> HashSet<u32> {
    let mut gaps = HashSet::new();
    let mut before: Option<(u32, u64)> = None;
    for file in segments {
        let Some(sealed) = &file.sealed else { continue };
        let first = sealed.seqs.ranges().next().map_or(sealed.end_seq, |seqs| seqs.start);
        match before {
            // A copy.
            Some((index, _)) if index == file.index => continue,
            Some((index, end)) if end != first => gaps.extend([index, file.index]),
            None if first != 0 => gaps.extend([file.index]),
            _ => {}
        }
        before = Some((file.index, sealed.end_seq));
    }
    gaps
}

fn is_named_sealed(path: &Path) -> bool {
    SegmentName::of_path(path).is_some_and(|name| !name.open)
}
