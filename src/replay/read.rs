//! Reading a job's files in order and filling windows: blocking, on a thread of its own.

use std::collections::HashSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

use prost::Message;

use super::plan::Job;
use super::window::{Window, WindowBuilder};
use crate::catalog::{SegmentFile, SeqSet, Session};
use crate::format::{AddedFlows, Damage, DamageCause, Mark, MarkMessage, Suffix, Torn};
use crate::segment::{Batch, Event, PbfsEvent, PbfsReader, SegmentError, SegmentReader, Skipped};

/// What reading yields, in order.
#[derive(Debug)]
pub(super) enum Item {
    /// To be sent and acknowledged.
    Window(Window),
    /// To be registered before what follows is sent.
    Flows(AddedFlows),
    Damage(PathBuf, Damage),
    Torn(PathBuf, Torn),
    Skipped(PathBuf, Skipped),
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
                Ok(None) => return Ok(sealed && self.whole),
                Ok(Some(event)) => sealed |= self.event(&file.path, event)?,
                Err(error) => return self.sink.send(Item::Failed(file.path.clone(), error)).map(|()| false),
            }
        }
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
                if let Some(seqs) = &skipped.seqs {
                    self.explain(seqs.clone());
                }
                self.whole = false;
                self.sink.send(Item::Skipped(path.to_owned(), skipped))?;
            }
            Event::Damage(damage) => self.damage(path, damage)?,
            Event::Torn(torn) => {
                self.whole = false;
                self.sink.send(Item::Torn(path.to_owned(), torn))?;
            }
        }
        Ok(false)
    }

    fn explain(&mut self, seqs: Range<u64>) {
        self.end = self.end.max(seqs.end);
        self.explained.insert(seqs);
    }

    fn damage(&mut self, path: &Path, damage: Damage) -> Result<(), Gone> {
        self.whole = false;
        // What a malformed or repeated frame claims to hold is not what the session had.
        if damage.cause == DamageCause::PayloadChecksum
            && let Some(seqs) = &damage.seqs
        {
            self.end = self.end.max(seqs.end);
        }
        self.sink.send(Item::Damage(path.to_owned(), damage))
    }

    /// [F-34]: each seq is sent once, wherever else it stands.
    fn records(&mut self, path: &Path, batch: &Batch<'_>) -> Result<(), Gone> {
        self.end = self.end.max(batch.end_seq());
        for new in self.read.insert(batch.first_seq..batch.end_seq()) {
            let count = (new.end - new.start) as u32;
            let skip = (new.start - batch.first_seq) as usize;
            let records = batch.records().skip(skip).take(count as usize);
            match self.windows.add(records, count, batch.payload.len(), batch.bare) {
                Ok(Some(window)) => self.sink.send(Item::Window(window))?,
                Ok(None) => {}
                // The frame is as it was written, but what was written is no request.
                Err(_) => {
                    let seqs = Some(new);
                    let (offset, len, cause) = (batch.offset, batch.payload.len() as u64, DamageCause::Malformed);
                    self.damage(path, Damage { offset, len, cause, seqs })?;
                }
            }
        }
        Ok(())
    }

    fn close_window(&mut self) -> Result<(), Gone> {
        send_rest(&mut self.windows, self.sink)
    }
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
                let added = windows.add(chunk.messages(), chunk.count, chunk.payload.len(), true);
                if let Ok(Some(window)) = added {
                    sink.send(Item::Window(window))?;
                }
            }
        }
    }
}
