//! Reading a job's files in order and filling windows: blocking, on a thread of its own.

use std::collections::HashSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

use prost::Message;

use super::plan::Job;
use super::window::{Window, WindowBuilder};
use crate::catalog::{SegmentFile, SeqSet, Session};
use crate::format::{AddedFlows, Damage, DamageCause, Mark, MarkMessage, RecordInfo, Suffix, Torn};
use crate::segment::{Batch, Event, PbfsEvent, PbfsReader, SegmentError, SegmentName, SegmentReader, Skipped};

/// What reading yields, in order.
#[derive(Debug)]
pub(super) enum Item {
    /// To be sent and acknowledged.
    Window(Window),
    /// To be registered before what follows is sent.
    Flows(AddedFlows),
    Damage(PathBuf, Damage),
    Torn(PathBuf, Torn),
    /// A frame of a later version, and how many of its records weren't met before.
    Skipped(PathBuf, Skipped, u64),
    Mark(MarkMessage),
    /// The file can't be read on.
    Failed(PathBuf, SegmentError),
    /// The session is read: what of it is nowhere.
    Missing(Vec<Range<u64>>),
}

/// The other side doesn't listen any more.
pub(super) struct Gone;

/// Where items go.
pub(super) trait Sink {
    fn send(&mut self, item: Item) -> Result<(), Gone>;
}

impl<F: FnMut(Item) -> Result<(), Gone>> Sink for F {
    fn send(&mut self, item: Item) -> Result<(), Gone> {
        self(item)
    }
}

/// Reads all of a job.
pub(super) fn read_job(job: &Job, suffix: Suffix, window_bytes: usize, sink: &mut dyn Sink) -> Result<(), Gone> {
    let windows = WindowBuilder::new(suffix, window_bytes);
    match job {
        Job::Session(session) => SessionRead::new(windows, sink).session(session),
        Job::Pbfs(path) => read_pbfs(path, windows, sink),
    }
}

struct SessionRead<'a> {
    windows: WindowBuilder,
    sink: &'a mut dyn Sink,
    /// Seqs that were read, each of which is sent once.
    read: SeqSet,
    /// Seqs whose absence is explained: dropped on board, or in frames of a later version.
    explained: SeqSet,
    /// The seq behind the last one that the session is known to have had.
    end: u64,
    /// Whether the file being read is whole so far.
    whole: bool,
    /// Marks that were told of: copies, and segments written again after an I/O error, repeat them.
    marks: HashSet<Vec<u8>>,
}

impl<'a> SessionRead<'a> {
    fn new(windows: WindowBuilder, sink: &'a mut dyn Sink) -> Self {
        Self {
            windows,
            sink,
            read: SeqSet::new(),
            explained: SeqSet::new(),
            end: 0,
            whole: true,
            marks: HashSet::new(),
        }
    }

    fn session(mut self, session: &Session) -> Result<(), Gone> {
        let mut complete: Option<u32> = None;
        for file in &session.segments {
            // Copies of a segment are read only for what the ones before them lack.
            if complete == Some(file.index) {
                continue;
            }
            if self.segment(file)? {
                complete = Some(file.index);
            }
        }
        self.close_window()?;
        let missing: Vec<_> =
            self.read.missing_in(0..self.end).into_iter().flat_map(|range| self.explained.missing_in(range)).collect();
        self.sink.send(Item::Missing(missing))
    }

    /// Reads one segment; returns whether it was sealed and whole.
    fn segment(&mut self, file: &SegmentFile) -> Result<bool, Gone> {
        self.whole = true;
        let mut sealed = false;
        let mut reader = match SegmentReader::open(&file.path) {
            Ok(reader) => reader,
            Err(error) => return self.sink.send(Item::Failed(file.path.clone(), error)).map(|()| false),
        };
        loop {
            match reader.next_event() {
                Ok(None) => break,
                Ok(Some(event)) => sealed |= self.event(&file.path, event)?,
                Err(error) => return self.sink.send(Item::Failed(file.path.clone(), error)).map(|()| false),
            }
        }
        // [F-29]: a segment gets its sealed name last, so that the end of this one was there once, and may have held
        // records. Whoever was cut off while recording leaves an open name.
        if self.whole && !sealed && is_named_sealed(&file.path) {
            let (offset, cause) = (reader.position(), DamageCause::Trailer);
            self.damage(&file.path, Damage { offset, len: 0, cause, seqs: None })?;
        }
        Ok(sealed && self.whole)
    }

    /// Handles one event; returns whether it was the SEAL.
    fn event(&mut self, path: &Path, event: Event<'_>) -> Result<bool, Gone> {
        match event {
            Event::Records(batch) => self.records(path, &batch)?,
            Event::Header(header) => self.end = self.end.max(header.first_seq),
            Event::Seal(seal) => {
                self.end = self.end.max(seal.end_seq);
                return Ok(true);
            }
            Event::Schema(flows) => {
                self.close_window()?;
                self.sink.send(Item::Flows(flows))?;
            }
            Event::Mark(mark) if !self.marks.insert(mark.encode_to_vec()) => {}
            Event::Mark(mark) => {
                if let Some(Mark::Dropped(dropped)) = &mark.mark
                    && let Some(first) = dropped.first_seq
                {
                    self.explain(first..first.saturating_add(dropped.records));
                }
                self.sink.send(Item::Mark(mark))?;
            }
            Event::Skipped(skipped) => {
                self.whole = false;
                let new = skipped.seqs.clone().map_or(0, |seqs| self.explain(seqs));
                self.sink.send(Item::Skipped(path.to_owned(), skipped, new))?;
            }
            Event::Damage(damage) => self.damage(path, damage)?,
            Event::Torn(torn) => {
                self.whole = false;
                if is_named_sealed(path) {
                    let Torn { offset, len, seqs } = torn;
                    self.damage(path, Damage { offset, len, cause: DamageCause::Trailer, seqs })?;
                } else {
                    self.sink.send(Item::Torn(path.to_owned(), torn))?;
                }
            }
        }
        Ok(false)
    }

    /// Returns how many of the seqs weren't explained before.
    fn explain(&mut self, seqs: Range<u64>) -> u64 {
        self.end = self.end.max(seqs.end);
        self.explained.insert(seqs).into_iter().map(|new| new.end - new.start).sum()
    }

    fn damage(&mut self, path: &Path, damage: Damage) -> Result<(), Gone> {
        self.whole = false;
        // What a malformed or repeated frame claims to hold is not what the session had.
        if matches!(damage.cause, DamageCause::PayloadChecksum | DamageCause::Trailer)
            && let Some(seqs) = &damage.seqs
        {
            self.end = self.end.max(seqs.end);
        }
        self.sink.send(Item::Damage(path.to_owned(), damage))
    }

    /// What is no protobuf message isn't sent: it would end the whole stream.
    fn records(&mut self, path: &Path, batch: &Batch<'_>) -> Result<(), Gone> {
        self.end = self.end.max(batch.end_seq());
        let mut sound_from = batch.first_seq;
        // Frames without ids come from the recorder's own encoder, or were checked when they were recorded.
        if !batch.bare {
            for (seq, record) in (batch.first_seq..).zip(batch.records()) {
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
        for new in self.read.insert(seqs) {
            let (skip, count) = ((new.start - batch.first_seq) as usize, (new.end - new.start) as usize);
            let records = batch.records().skip(skip).take(count);
            let full = |window| self.sink.send(Item::Window(window));
            self.windows.add(records, batch.bare, full)?;
        }
        Ok(())
    }

    fn close_window(&mut self) -> Result<(), Gone> {
        send_rest(&mut self.windows, self.sink)
    }
}

fn is_named_sealed(path: &Path) -> bool {
    SegmentName::of_path(path).is_some_and(|name| !name.open)
}

fn send_rest(windows: &mut WindowBuilder, sink: &mut dyn Sink) -> Result<(), Gone> {
    let window = windows.take();
    if window.is_empty() { Ok(()) } else { sink.send(Item::Window(window)) }
}

fn read_pbfs(path: &Path, mut windows: WindowBuilder, sink: &mut dyn Sink) -> Result<(), Gone> {
    let mut reader = match PbfsReader::open(path) {
        Ok(reader) => reader,
        Err(error) => return sink.send(Item::Failed(path.to_owned(), error)),
    };
    loop {
        match reader.next_event() {
            Ok(None) => return send_rest(&mut windows, sink),
            Err(error) => return sink.send(Item::Failed(path.to_owned(), error)),
            Ok(Some(PbfsEvent::Damage(damage))) => sink.send(Item::Damage(path.to_owned(), damage))?,
            Ok(Some(PbfsEvent::Torn(torn))) => sink.send(Item::Torn(path.to_owned(), torn))?,
            Ok(Some(PbfsEvent::Chunk(chunk))) => {
                // Such requests are sent as they are, whatever ids they carry; nothing in them needs to be looked at.
                let full = |window| sink.send(Item::Window(window));
                windows.add(chunk.messages(), true, full)?;
            }
        }
    }
}
