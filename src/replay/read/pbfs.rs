//! Reading a PBFS file. It is known again by its first chunk, and by a running hash of what was delivered of it ([P-4]).

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::{FileMemory, Gone, Item, Memory, Passed, PbfsDelivered, Selector, Sink};
use crate::catalog::PbfsFile;
use crate::format::{PBFS_HEADER_BYTES, PbfsChunk, RecordInfo};
use crate::replay::checkpoint::PbfsMark;
use crate::replay::outgoing::Ids;
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

/// The SHA-256 of a file's first bytes, further and further.
struct PrefixHash {
    file: File,
    hash: Sha256,
    at: u64,
    buffer: Vec<u8>,
}

impl PrefixHash {
    fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { file: File::open(path)?, hash: Sha256::new(), at: 0, buffer: vec![0; HASH_BYTES] })
    }

    /// Of the first `end` bytes; `None` if the file has fewer. `end` never goes back.
    fn up_to(&mut self, end: u64) -> io::Result<Option<[u8; 32]>> {
        while self.at < end {
            let wanted = usize::try_from(end - self.at).unwrap_or(usize::MAX).min(self.buffer.len());
            let Some(buffer) = self.buffer.get_mut(..wanted) else { break };
            let read = self.file.read(buffer)?;
            if read == 0 {
                return Ok(None);
            }
            self.hash.update(self.buffer.get(..read).unwrap_or_default());
            self.at += read as u64;
        }
        Ok(Some(self.hash.clone().finalize().into()))
    }

    /// The furthest mark of each that holds for this file.
    fn furthest<'a>(&mut self, delivered: &'a [PbfsDelivered]) -> io::Result<Vec<Before<'a>>> {
        let mut marks: Vec<_> =
            delivered.iter().flat_map(|known| known.marks.iter().map(move |mark| (mark, known))).collect();
        marks.sort_by_key(|(mark, _)| mark.end);
        let mut furthest: Vec<Before<'a>> = Vec::new();
        for (mark, known) in marks {
            match self.up_to(mark.end)? {
                Some(hash) if hash == mark.hash => {
                    furthest.retain(|before| !std::ptr::eq(before.selector, &known.selector));
                    furthest.push(Before { selector: &known.selector, mark: *mark, own: known.own });
                }
                Some(_) => {}
                None => break,
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
    own: bool,
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
    if memory.files.get(&file.path).is_some_and(|known| known.fingerprint == file.fingerprint) {
        return Ok(());
    }
    sink.send(Item::File { path: file.path.clone(), anew: true })?;
    let mut reading = PbfsRead {
        file,
        windows,
        selector,
        sink,
        known: memory.read.len(),
        messages: 0,
        reached: None,
        before: Vec::new(),
        passed: Passed::default(),
        dead_letters: 0,
        pending: None,
        accounted: 0,
    };
    let read = reading.run(delivered)?;
    let PbfsRead { messages, sink, before, .. } = reading;
    memory.delivered_end = before.iter().find(|before| before.own).map_or(0, |before| before.mark.end);
    memory.read.insert(0..messages);
    match read {
        Ok(()) => {
            memory.files.insert(file.path.clone(), FileMemory { fingerprint: file.fingerprint, sound: 0 });
            Ok(())
        }
        Err(error) => {
            memory.files.remove(&file.path);
            sink.send(Item::Failed(file.path.clone(), error))
        }
    }
}

struct PbfsRead<'a> {
    file: &'a PbfsFile,
    windows: WindowBuilder,
    selector: &'a Selector,
    sink: &'a mut dyn Sink,
    /// Messages that were met when the file was read before in this process.
    known: u64,
    /// Messages of the chunks so far.
    messages: u64,
    /// The end of the last chunk that was read, in bytes, and the messages up to there.
    reached: Option<(u64, u64)>,
    /// What was delivered before.
    before: Vec<Before<'a>>,
    /// What needn't be sent and wasn't told of yet.
    passed: Passed,
    /// How many of those delivered before are dead letters and weren't told of yet.
    dead_letters: u64,
    /// A window that is full. It waits until it is known whether it ends with a chunk.
    pending: Option<Window>,
    accounted: u64,
}

impl<'a> PbfsRead<'a> {
    fn run(&mut self, delivered: &'a [PbfsDelivered]) -> Result<Result<(), SegmentError>, Gone> {
        let path = &self.file.path;
        let furthest = PrefixHash::open(path).and_then(|mut hash| hash.furthest(delivered));
        let mut hash = match furthest.and_then(|furthest| Ok((furthest, PrefixHash::open(path)?))) {
            Ok((furthest, hash)) => {
                // Those of messages met in this process are counted already.
                let unmet = furthest.iter().filter(|before| before.mark.messages > self.known);
                self.dead_letters = unmet.map(|before| before.mark.dead_lettered).fold(0, u64::saturating_add);
                self.before = furthest;
                hash
            }
            Err(error) => return Ok(Err(SegmentError::io("read", path)(error))),
        };
        let mut reader = match PbfsReader::open(path) {
            Ok(reader) => reader,
            Err(error) => return Ok(Err(error)),
        };
        loop {
            let read = match reader.next_event() {
                Ok(Some(PbfsEvent::Chunk(chunk))) => self.chunk(&chunk, &mut hash)?,
                Ok(Some(PbfsEvent::Damage(damage))) => {
                    self.sink.send(Item::Damage(path.clone(), damage))?;
                    Ok(())
                }
                Ok(Some(PbfsEvent::Torn(torn))) => {
                    self.sink.send(Item::Torn(path.clone(), torn))?;
                    Ok(())
                }
                Ok(None) => break,
                Err(error) => return Ok(Err(error)),
            };
            if let Err(error) = read {
                return Ok(Err(SegmentError::io("read", path)(error)));
            }
            self.windows.has_read(reader.position() - self.accounted);
            self.accounted = reader.position();
        }
        let mut rest = self.windows.take();
        if !rest.is_empty() {
            if let Err(error) = self.mark(&mut rest, &mut hash) {
                return Ok(Err(SegmentError::io("read", path)(error)));
            }
            self.sink.send(Item::Window(rest))?;
        }
        self.pass()?;
        Ok(Ok(()))
    }

    fn chunk(&mut self, chunk: &PbfsChunk<'_>, hash: &mut PrefixHash) -> Result<io::Result<()>, Gone> {
        let first = self.messages;
        self.messages += u64::from(chunk.count);
        let end = chunk.offset + (PBFS_HEADER_BYTES + chunk.payload.len()) as u64;
        for (number, message) in (first..).zip(chunk.messages()) {
            let new = u64::from(number >= self.known);
            if self.before.iter().any(|before| end <= before.mark.end && wants(before.selector, message)) {
                self.passed.acknowledged += new;
                continue;
            }
            if !wants(self.selector, message) {
                self.passed.not_selected += new;
                continue;
            }
            let mut full = None;
            // Such requests are sent as they are, whatever ids they carry; nothing in them needs to be looked at.
            self.windows.add(number, std::iter::once(message), Ids::Own, |window| -> Result<(), Gone> {
                full = Some(window);
                Ok(())
            })?;
            if let Some(window) = full
                && let Err(error) = self.send(Some(window), hash)?
            {
                return Ok(Err(error));
            }
        }
        // The window that waits ends with this chunk, or within it.
        let whole = self.windows.is_empty();
        let before = self.reached.replace((end, self.messages));
        let now = self.reached;
        self.reached = if whole { now } else { before };
        if let Err(error) = self.send(None, hash)? {
            return Ok(Err(error));
        }
        self.reached = now;
        Ok(Ok(()))
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
    fn send(&mut self, next: Option<Window>, hash: &mut PrefixHash) -> Result<io::Result<()>, Gone> {
        let Some(mut window) = std::mem::replace(&mut self.pending, next) else { return Ok(Ok(())) };
        if let Err(error) = self.mark(&mut window, hash) {
            return Ok(Err(error));
        }
        self.pass()?;
        self.sink.send(Item::Window(window)).map(Ok)
    }

    /// Notes in a window how far the file is done with it.
    fn mark(&mut self, window: &mut Window, hash: &mut PrefixHash) -> io::Result<()> {
        window.again = window.seqs.iter().map(|seqs| seqs.end.min(self.known).saturating_sub(seqs.start)).sum();
        if let Some((end, messages)) = self.reached {
            window.reached = hash.up_to(end)?.map(|hash| Reached { end, hash, messages });
        }
        Ok(())
    }
}

fn wants(selector: &Selector, message: &[u8]) -> bool {
    selector.wants_all() || RecordInfo::parse(message).is_ok_and(|info| selector.wants(&info))
}
