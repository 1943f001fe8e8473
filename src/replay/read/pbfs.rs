//! Reading a PBFS file. It is known again by its first chunk, and by a running hash of what was delivered of it ([P-4]).

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::{FileMemory, Gone, Item, Memory, Passed, Selector, Sink};
use crate::catalog::{PbfsFile, SeqSet};
use crate::format::{PBFS_HEADER_BYTES, PbfsChunk, RecordInfo};
use crate::replay::checkpoint::PbfsMark;
use crate::replay::outgoing::Ids;
use crate::replay::slots::Slots;
use crate::replay::target::PbfsId;
use crate::replay::window::{Reached, Window, WindowBuilder};
use crate::segment::{PbfsEvent, PbfsReader, SegmentError};

/// Bytes hashed at a time.
const HASH_BYTES: usize = 256 << 10;

/// Which file it is, by its first sound chunk; `None` if it has none.
///
/// # Errors
/// [`SegmentError::Io`].
pub(in crate::replay) fn pbfs_id(path: &Path) -> Result<Option<PbfsId>, SegmentError> {
    let mut reader = PbfsReader::open(path)?;
    while let Some(event) = reader.next_event()? {
        if let PbfsEvent::Chunk(chunk) = event {
            // The checksum is of the rest of the header and the messages, in this order ([P-1]).
            let len = (chunk.payload.len() as u64).to_le_bytes();
            let mut crc = crc32fast::Hasher::new();
            crc.update(&len);
            crc.update(chunk.payload);
            let mut hash = Sha256::new();
            hash.update(crc.finalize().to_le_bytes());
            hash.update(len);
            hash.update(chunk.payload);
            return Ok(Some(PbfsId(hash.finalize().into())));
        }
    }
    Ok(None)
}

/// Why reading ends before the file does.
enum Ended {
    Gone,
    Failed(SegmentError),
}

impl From<Gone> for Ended {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

impl From<SegmentError> for Ended {
    fn from(error: SegmentError) -> Self {
        Self::Failed(error)
    }
}

/// The SHA-256 of a file's first bytes, further and further.
struct PrefixHash<'a> {
    path: &'a Path,
    file: File,
    hash: Sha256,
    at: u64,
    buffer: Vec<u8>,
    slots: Slots,
}

impl<'a> PrefixHash<'a> {
    fn open(path: &'a Path, slots: Slots) -> Result<Self, Ended> {
        let file = File::open(path).map_err(SegmentError::io("read", path))?;
        Ok(Self { path, file, hash: Sha256::new(), at: 0, buffer: vec![0; HASH_BYTES], slots })
    }

    /// Takes in the bytes before `end`, which never goes back; returns false if the file has fewer.
    fn up_to(&mut self, end: u64) -> Result<bool, Ended> {
        let failed = |error| Ended::Failed(SegmentError::io("read", self.path)(error));
        self.file.seek(SeekFrom::Start(self.at)).map_err(failed)?;
        while self.at < end {
            // A file may be large; whoever interrupts doesn't wait for it.
            if self.slots.are_closed() {
                return Err(Ended::Gone);
            }
            let wanted = usize::try_from(end - self.at).unwrap_or(usize::MAX).min(self.buffer.len());
            let Some(buffer) = self.buffer.get_mut(..wanted) else { break };
            let read = self.file.read(buffer).map_err(failed)?;
            if read == 0 {
                return Ok(false);
            }
            self.hash.update(self.buffer.get(..read).unwrap_or_default());
            self.at += read as u64;
        }
        Ok(true)
    }

    /// Takes in a chunk, and what lies before it. Its payload is the one that is sent, whatever the file holds by now: a
    /// hash is either of that or of no file at all.
    fn chunk(&mut self, chunk: &PbfsChunk<'_>) -> Result<(), Ended> {
        if !self.up_to(chunk.offset + PBFS_HEADER_BYTES as u64)? {
            return Err(self.changed());
        }
        self.hash.update(chunk.payload);
        self.at += chunk.payload.len() as u64;
        Ok(())
    }

    fn now(&self) -> [u8; 32] {
        self.hash.clone().finalize().into()
    }

    fn changed(&self) -> Ended {
        let error = io::Error::other("it has changed meanwhile; the next replay reads it again");
        Ended::Failed(SegmentError::io("read", self.path)(error))
    }

    /// The furthest of `marks` (in the order of their ends) that holds for this file.
    fn furthest(&mut self, marks: &[PbfsMark]) -> Result<Option<PbfsMark>, Ended> {
        let mut furthest = None;
        for mark in marks {
            if !self.up_to(mark.end)? {
                break;
            }
            if self.now() == mark.hash {
                furthest = Some(*mark);
            }
        }
        Ok(furthest)
    }
}

/// Reads a file. What was delivered of it is read, too, for damage is worth telling again; it is only not sent.
pub(super) fn read(
    file: &PbfsFile,
    marks: &[PbfsMark],
    windows: WindowBuilder,
    selector: &Selector,
    memory: &mut Memory,
    sink: &mut dyn Sink,
) -> Result<(), Gone> {
    if memory.files.get(&file.path).is_some_and(|known| known.fingerprint == file.fingerprint) {
        return Ok(());
    }
    sink.send(Item::File { path: file.path.clone(), anew: true })?;
    let mut reading = PbfsRead {
        path: &file.path,
        windows,
        selector,
        sink,
        messages: 0,
        reached: None,
        delivered: None,
        passed: false,
        pending: None,
        whole: true,
        accounted: 0,
    };
    let read = reading.run(marks);
    let PbfsRead { whole, sink, delivered, .. } = reading;
    memory.delivered_end = delivered.map_or(0, |mark| mark.end);
    match read {
        Ok(()) => {
            let memory_of = FileMemory { fingerprint: file.fingerprint, sound: 0, whole, seqs: SeqSet::new() };
            memory.files.insert(file.path.clone(), memory_of);
            Ok(())
        }
        Err(Ended::Gone) => Err(Gone),
        Err(Ended::Failed(error)) => {
            memory.files.remove(&file.path);
            sink.send(Item::Failed(file.path.clone(), error))
        }
    }
}

struct PbfsRead<'a> {
    path: &'a Path,
    windows: WindowBuilder,
    selector: &'a Selector,
    sink: &'a mut dyn Sink,
    /// Messages of the chunks so far.
    messages: u64,
    /// How far the file is done when what was read so far is: to the end of a chunk.
    reached: Option<Reached>,
    /// What was delivered before.
    delivered: Option<PbfsMark>,
    /// Whether that was told.
    passed: bool,
    /// A window that is full. It waits until it is known whether it ends with a chunk.
    pending: Option<Window>,
    whole: bool,
    accounted: u64,
}

impl PbfsRead<'_> {
    fn run(&mut self, marks: &[PbfsMark]) -> Result<(), Ended> {
        let path = self.path;
        self.delivered = PrefixHash::open(path, self.windows.slots())?.furthest(marks)?;
        let mut hash = PrefixHash::open(path, self.windows.slots())?;
        let mut reader = PbfsReader::open(path)?;
        while let Some(event) = reader.next_event()? {
            if self.windows.slots().are_closed() {
                return Err(Ended::Gone);
            }
            match event {
                PbfsEvent::Chunk(chunk) => self.chunk(&chunk, &mut hash)?,
                PbfsEvent::Damage(damage) => {
                    self.whole = false;
                    self.sink.send(Item::Damage(path.to_owned(), damage))?;
                }
                PbfsEvent::Torn(torn) => {
                    self.whole = false;
                    self.sink.send(Item::Torn(path.to_owned(), torn))?;
                }
            }
            self.windows.has_read(reader.position() - self.accounted);
            self.accounted = reader.position();
        }
        self.pass()?;
        let rest = self.windows.take();
        if !rest.is_empty() {
            self.sink.send(Item::Window(Window { reached: self.reached, ..rest }))?;
        }
        let read = self.windows.take_read();
        if read > 0 {
            self.sink.send(Item::Passed(Passed { read, ..Passed::default() }))?;
        }
        Ok(())
    }

    fn chunk(&mut self, chunk: &PbfsChunk<'_>, hash: &mut PrefixHash<'_>) -> Result<(), Ended> {
        hash.chunk(chunk)?;
        let first = self.messages;
        let (end, messages) = (hash.at, first + u64::from(chunk.count));
        let dead_lettered = self.delivered.map_or(0, |mark| mark.dead_lettered);
        let now = Reached { end, hash: hash.now(), messages, dead_lettered };
        if let Some(mark) = self.delivered.filter(|mark| end <= mark.end) {
            (self.messages, self.reached) = (messages, Some(now));
            if mark.end > end {
                return Ok(());
            }
            if mark.hash != now.hash {
                return Err(hash.changed());
            }
            return Ok(self.pass()?);
        }
        // Should no chunk have ended where the mark says, that was told of by none.
        self.pass()?;
        self.messages = messages;
        let mut unwanted = 0;
        for (number, message) in (first..).zip(chunk.messages()) {
            let wanted =
                self.selector.wants_all() || RecordInfo::parse(message).is_ok_and(|info| self.selector.wants(&info));
            if !wanted {
                unwanted += 1;
                continue;
            }
            let mut full = None;
            // Such requests are sent as they are, whatever ids they carry; nothing in them needs to be looked at.
            self.windows.add(number, std::iter::once(message), Ids::Own, |window| -> Result<(), Gone> {
                full = Some(window);
                Ok(())
            })?;
            if full.is_some() {
                self.send(full)?;
            }
        }
        // The window that waits ends with this chunk, or within it.
        if self.windows.is_empty() {
            self.reached = Some(now);
        }
        self.send(None)?;
        self.reached = Some(now);
        if unwanted > 0 {
            let read = self.windows.take_read();
            self.sink.send(Item::Passed(Passed { not_selected: unwanted, read, ..Passed::default() }))?;
        }
        Ok(())
    }

    /// Tells of what was delivered before, all at once.
    fn pass(&mut self) -> Result<(), Gone> {
        let Some(mark) = self.delivered.filter(|_| !std::mem::replace(&mut self.passed, true)) else { return Ok(()) };
        let dead_lettered = mark.dead_lettered.min(self.messages);
        let (acknowledged, read) = (self.messages - dead_lettered, self.windows.take_read());
        self.sink.send(Item::Passed(Passed { acknowledged, dead_lettered, read, not_selected: 0 }))
    }

    /// Sends the window that has waited. The next one waits until it is known whether it ends with a chunk.
    fn send(&mut self, next: Option<Window>) -> Result<(), Gone> {
        let Some(window) = std::mem::replace(&mut self.pending, next) else { return Ok(()) };
        self.sink.send(Item::Window(Window { reached: self.reached, ..window }))
    }
}
