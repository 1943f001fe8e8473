//! Reading a PBFS file. It is known again by its first chunk, and by a running hash of what was delivered of it ([P-4]).

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::{Instant, SystemTime};

use sha2::{Digest, Sha256};

use super::{FileMemory, Gone, Item, Memory, Passed, PbfsDelivered, Selector, Sink};
use crate::catalog::PbfsFile;
use crate::format::{PbfsChunk, RecordInfo};
use crate::replay::checkpoint::PbfsMark;
use crate::replay::outgoing::Ids;
use crate::replay::slots::Slots;
use crate::replay::target::PbfsId;
use crate::replay::window::{Reached, Window, WindowBuilder};
use crate::segment::{PbfsEvent, PbfsReader, SegmentError, open_file};

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
            return Ok(Some(PbfsId(Sha256::digest(chunk.bytes).into())));
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
        let file = open_file(path).map_err(SegmentError::io("read", path))?;
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

    /// Takes in a chunk, and what lies before it. Its bytes are those that are sent, whatever the file holds by now: a
    /// hash is either of that or of no file at all.
    fn chunk(&mut self, chunk: &PbfsChunk<'_>) -> Result<(), Ended> {
        // Only damage lies between chunks.
        if self.at < chunk.offset && !self.up_to(chunk.offset)? {
            return Err(self.changed());
        }
        self.hash.update(chunk.bytes);
        self.at += chunk.bytes.len() as u64;
        Ok(())
    }

    fn now(&self) -> [u8; 32] {
        self.hash.clone().finalize().into()
    }

    fn changed(&self) -> Ended {
        let error = io::Error::other("it has changed meanwhile; the next replay reads it again");
        Ended::Failed(SegmentError::io("read", self.path)(error))
    }

    /// The furthest mark of each that holds for this file.
    fn furthest<'b>(&mut self, delivered: &'b [PbfsDelivered]) -> Result<Vec<Before<'b>>, Ended> {
        let mut marks: Vec<_> =
            delivered.iter().flat_map(|known| known.marks.iter().map(move |mark| (mark, known))).collect();
        marks.sort_by_key(|(mark, _)| mark.end);
        let mut furthest: Vec<Before<'b>> = Vec::new();
        for (mark, known) in marks {
            if !self.up_to(mark.end)? {
                break;
            }
            if self.now() == mark.hash {
                furthest.retain(|before| !std::ptr::eq(before.selector, &known.selector));
                let dead_letters = mark.without(&known.since).dead_lettered;
                furthest.push(Before { selector: &known.selector, mark: *mark, dead_letters, own: known.own });
            }
        }
        Ok(furthest)
    }
}

/// What was delivered of this file before.
struct Before<'a> {
    selector: &'a Selector,
    /// How far.
    mark: PbfsMark,
    /// Of those that the mark counts, the ones that weren't delivered since.
    dead_letters: u64,
    own: bool,
}

/// How far a file is done: to the end of a chunk. The hash is made of it only where a window ends there.
struct Done {
    end: u64,
    messages: u64,
    /// Dead letters that an earlier replay has made of them.
    dead_lettered: u64,
    hash: Sha256,
}

impl Done {
    fn reached(&self) -> Reached {
        let Self { end, messages, dead_lettered, .. } = *self;
        Reached { end, hash: self.hash.clone().finalize().into(), messages, dead_lettered }
    }
}

/// Reads a file. What was delivered of it is read, too, for damage is worth telling again; it is only not sent.
pub(super) fn read(
    file: &PbfsFile,
    delivered: &[PbfsDelivered],
    windows: WindowBuilder,
    selector: &Selector,
    memory: &mut Memory,
    sink: &mut dyn Sink,
) -> Result<(), Gone> {
    let known = memory.files.get(&file.path);
    if known.is_some_and(|known| known.is_all_of(&file.fingerprint)) {
        return Ok(());
    }
    let remembered = FileMemory::new(known, file.fingerprint, (Instant::now(), SystemTime::now()));
    sink.send(Item::File { path: file.path.clone(), anew: true })?;
    let mut reading = PbfsRead {
        path: &file.path,
        windows,
        selector,
        sink,
        messages: 0,
        done: None,
        before: Vec::new(),
        passed: Passed::default(),
        dead_letters: 0,
        pending: None,
        whole: true,
        accounted: 0,
    };
    let read = reading.run(delivered);
    let PbfsRead { whole, sink, before, .. } = reading;
    memory.delivered_end = before.iter().find(|before| before.own).map_or(0, |before| before.mark.end);
    match read {
        Ok(()) => {
            memory.files.insert(file.path.clone(), FileMemory { whole, ..remembered });
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
    /// How far the file is done when what was read so far is.
    done: Option<Done>,
    /// What was delivered before.
    before: Vec<Before<'a>>,
    /// What needn't be sent and wasn't told of yet.
    passed: Passed,
    /// How many of those delivered before are dead letters and weren't told of yet.
    dead_letters: u64,
    /// A window that is full. It waits until it is known whether it ends with a chunk.
    pending: Option<Window>,
    /// Whether all of it was sound so far.
    whole: bool,
    accounted: u64,
}

impl<'a> PbfsRead<'a> {
    fn run(&mut self, delivered: &'a [PbfsDelivered]) -> Result<(), Ended> {
        let path = self.path;
        self.before = PrefixHash::open(path, self.windows.slots().clone())?.furthest(delivered)?;
        self.dead_letters = self.before.iter().map(|before| before.dead_letters).fold(0, u64::saturating_add);
        let mut hash = PrefixHash::open(path, self.windows.slots().clone())?;
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
        let rest = self.windows.take();
        if !rest.is_empty() {
            let reached = self.done.as_ref().map(Done::reached);
            self.sink.send(Item::Window(Window { reached, ..rest }))?;
        }
        Ok(self.pass()?)
    }

    fn chunk(&mut self, chunk: &PbfsChunk<'_>, hash: &mut PrefixHash<'_>) -> Result<(), Ended> {
        hash.chunk(chunk)?;
        let (first, end) = (self.messages, hash.at);
        self.messages += u64::from(chunk.count);
        // The file was read twice: for the marks, and for what is passed over because of them.
        if self.before.iter().any(|before| before.mark.end == end && before.mark.hash != hash.now()) {
            return Err(hash.changed());
        }
        for (number, message) in (first..).zip(chunk.messages()) {
            if self.before.iter().any(|before| end <= before.mark.end && wants(before.selector, message)) {
                self.passed.acknowledged += 1;
                continue;
            }
            if !wants(self.selector, message) {
                self.passed.not_selected += 1;
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
        let own = self.before.iter().find(|before| before.own);
        let dead_lettered = own.map_or(0, |before| before.mark.dead_lettered);
        let now = Done { end, messages: self.messages, dead_lettered, hash: hash.hash.clone() };
        // The window that waits ends with this chunk, or within it.
        if self.windows.is_empty() {
            self.done = Some(now);
            Ok(self.send(None)?)
        } else {
            self.send(None)?;
            self.done = Some(now);
            Ok(())
        }
    }

    /// Tells of what needn't be sent.
    fn pass(&mut self) -> Result<(), Gone> {
        let mut passed = std::mem::take(&mut self.passed);
        let dead_lettered = self.dead_letters.min(passed.acknowledged);
        self.dead_letters -= dead_lettered;
        passed.acknowledged -= dead_lettered;
        passed.dead_lettered = dead_lettered;
        passed.read = self.windows.take_read();
        if passed == Passed::default() { Ok(()) } else { self.sink.send(Item::Passed(passed)) }
    }

    /// Sends the window that has waited. The next one waits until it is known whether it ends with a chunk.
    fn send(&mut self, next: Option<Window>) -> Result<(), Gone> {
        let Some(window) = std::mem::replace(&mut self.pending, next) else { return Ok(()) };
        self.pass()?;
        let reached = self.done.as_ref().map(Done::reached);
        self.sink.send(Item::Window(Window { reached, ..window }))
    }
}

fn wants(selector: &Selector, message: &[u8]) -> bool {
    selector.wants_all() || RecordInfo::parse(message).is_ok_and(|info| selector.wants(&info))
}
