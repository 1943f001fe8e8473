//! Writing one segment: frames in order, then the seal. After a failed write or sync the file is never touched again.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use prost::Message;
use uuid::Uuid;

use super::error::SegmentError;
use super::name::SegmentName;
use super::storage::{Storage, StorageFile};
use crate::format::{
    Codec, FRAME_HEADER_BYTES, FrameHeader, Kind, MAGIC, SealBuilder, SegmentHeader, Tally, TimeRange, check_raw_len,
    encode_trailer, segment_id,
};

/// A frame that is complete but for its place: its payload stands in `buffer` behind room for the header, so that it is
/// written in one piece, and can be written again, to another segment, if the first one fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingFrame {
    /// What it holds.
    pub kind: Kind,
    /// How the payload in `buffer` is stored.
    pub codec: Codec,
    /// Its flags.
    pub flags: u16,
    /// Records in it.
    pub count: u32,
    /// Seq of its first record (or of the next one, for other kinds than DATA).
    pub first_seq: u64,
    /// Times of its records.
    pub times: TimeRange,
    /// Bytes of the payload before compression.
    pub raw_len: u32,
    /// [`FRAME_HEADER_BYTES`] of room, and the payload as stored.
    pub buffer: Vec<u8>,
}

impl PendingFrame {
    /// A frame of another kind than DATA, uncompressed.
    ///
    /// # Errors
    /// [`SegmentError::Encode`] if the message exceeds a frame.
    pub fn message(kind: Kind, next_seq: u64, times: TimeRange, message: &impl Message) -> Result<Self, SegmentError> {
        let raw_len = check_raw_len("a message", message.encoded_len())?;
        let mut buffer = vec![0; FRAME_HEADER_BYTES];
        buffer.extend(message.encode_to_vec());
        Ok(Self { kind, codec: Codec::None, flags: 0, count: 0, first_seq: next_seq, times, raw_len, buffer })
    }

    /// The seq behind its last record.
    pub fn end_seq(&self) -> u64 {
        self.first_seq + u64::from(self.count)
    }

    /// Writes the header that the frame has at this place into `buffer`.
    ///
    /// # Errors
    /// [`SegmentError::Encode`] if the payload exceeds a frame.
    pub(crate) fn place(&mut self, segment_id: u64, offset: u64) -> Result<FrameHeader, SegmentError> {
        let stored = self.buffer.get(FRAME_HEADER_BYTES..).unwrap_or_default();
        let header = FrameHeader {
            kind: self.kind,
            codec: self.codec,
            flags: self.flags,
            stored_len: check_raw_len("a payload", stored.len())?,
            raw_len: self.raw_len,
            count: self.count,
            first_seq: self.first_seq,
            times: self.times,
            segment_id,
            offset,
            payload_crc: crc32fast::hash(stored),
        };
        match self.buffer.first_chunk_mut::<FRAME_HEADER_BYTES>() {
            Some(place) => *place = header.encode(),
            None => debug_assert!(false, "a pending frame has room for its header"),
        }
        Ok(header)
    }
}

/// An open segment.
pub struct SegmentWriter {
    storage: Arc<dyn Storage>,
    /// `None` once a write or sync has failed.
    file: Option<Box<dyn StorageFile>>,
    dir: PathBuf,
    name: SegmentName,
    segment_id: u64,
    header: SegmentHeader,
    offset: u64,
    seal: SealBuilder,
}

impl SegmentWriter {
    /// Creates `<dir>/<session>-<index>.sfr.open` and writes its HEADER; nothing is durable yet.
    ///
    /// # Errors
    /// [`SegmentError::Io`], also if the file exists; [`SegmentError::Encode`] if the header exceeds a frame.
    pub fn create(
        storage: Arc<dyn Storage>,
        dir: &Path,
        session: Uuid,
        header: SegmentHeader,
    ) -> Result<Self, SegmentError> {
        let name = SegmentName { session, index: header.segment_index, open: true };
        let path = dir.join(name.to_string());
        storage.create_dir_all(dir).map_err(SegmentError::io("create the directory", dir))?;
        let mut first = PendingFrame::message(Kind::Header, header.first_seq, TimeRange::EMPTY, &header)?;
        let mut file = storage.create(&path).map_err(SegmentError::io("create", &path))?;
        // Tells who clears up that somebody is at work here. Where there are no locks, nothing tells. On Windows, nobody
        // could read what is locked.
        if cfg!(unix) {
            let _ = file.lock();
        }
        let mut writer = Self {
            storage,
            file: Some(file),
            dir: dir.to_owned(),
            name,
            segment_id: segment_id(session, header.segment_index),
            seal: SealBuilder::new(header.first_seq),
            header,
            offset: 0,
        };
        writer.append(&MAGIC)?;
        writer.write(&mut first)?;
        // The file's name must not be lost when its first frames are kept.
        writer.storage.sync_dir(dir).map_err(SegmentError::io("sync the directory", dir))?;
        Ok(writer)
    }

    /// Bytes in the file.
    pub fn len(&self) -> u64 {
        self.offset
    }

    /// Whether no record was written yet.
    pub fn is_empty(&self) -> bool {
        self.seal.records() == 0
    }

    /// The segment's number in its session.
    pub fn index(&self) -> u32 {
        self.name.index
    }

    /// The file.
    pub fn path(&self) -> PathBuf {
        self.dir.join(self.name.to_string())
    }

    /// Appends a frame, in its place. The frame keeps its payload, to be written again if this file fails.
    ///
    /// # Errors
    /// [`SegmentError::Io`], and from then on [`SegmentError::Abandoned`].
    pub fn write(&mut self, frame: &mut PendingFrame) -> Result<(), SegmentError> {
        let header = frame.place(self.segment_id, self.offset)?;
        self.append(&frame.buffer)?;
        if frame.kind == Kind::Data {
            self.seal.add_frame(&header);
        }
        Ok(())
    }

    /// Counts records of a flow for the SEAL.
    pub fn add_flow(&mut self, name: &str, tally: &Tally) {
        self.seal.add_flow(name, tally);
    }

    /// Counts values that were NaN or infinite for the SEAL.
    pub fn add_non_finite(&mut self, values: u64) {
        self.seal.add_non_finite(values);
    }

    /// From now on SEAL repeats this ingestion config (it has more flows than HEADER's).
    pub fn set_ingestion_config(&mut self, ingestion_config: Vec<u8>) {
        self.header.ingestion_config = ingestion_config;
    }

    /// Returns when all frames written are on stable storage.
    ///
    /// # Errors
    /// [`SegmentError::Io`], and from then on [`SegmentError::Abandoned`].
    pub fn sync(&mut self) -> Result<(), SegmentError> {
        let Some(mut file) = self.file.take() else {
            return Err(SegmentError::Abandoned { path: self.path() });
        };
        file.sync().map_err(|e| SegmentError::io("sync", self.path())(e))?;
        self.file = Some(file);
        Ok(())
    }

    /// Ends the segment ([F-29]): SEAL, trailer, sync, rename, sync of the directory. Returns the sealed file's path.
    ///
    /// # Errors
    /// [`SegmentError::Io`]. If the sync succeeded, all frames are durable even so, under the open name.
    pub fn seal(mut self) -> Result<PathBuf, SegmentError> {
        self.seal_in_place()
    }

    /// The same, for who wants to know the [length](Self::len) afterwards. Nothing more can be written.
    pub(crate) fn seal_in_place(&mut self) -> Result<PathBuf, SegmentError> {
        let seal_offset = self.offset;
        let end_seq = self.seal.end_seq();
        let builder = std::mem::replace(&mut self.seal, SealBuilder::new(end_seq));
        let seal = builder.finish(std::mem::take(&mut self.header));
        self.write(&mut PendingFrame::message(Kind::Seal, end_seq, TimeRange::EMPTY, &seal)?)?;
        self.append(&encode_trailer(seal_offset))?;
        self.sync()?;
        self.file = None;
        let sealed = self.dir.join(SegmentName { open: false, ..self.name }.to_string());
        let open = self.path();
        self.storage.rename(&open, &sealed).map_err(SegmentError::io("rename to its sealed name", &open))?;
        self.storage.sync_dir(&self.dir).map_err(SegmentError::io("sync the directory", &self.dir))?;
        Ok(sealed)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), SegmentError> {
        let Some(mut file) = self.file.take() else {
            return Err(SegmentError::Abandoned { path: self.path() });
        };
        file.append(bytes).map_err(|e| SegmentError::io("write to", self.path())(e))?;
        self.file = Some(file);
        self.offset += bytes.len() as u64;
        Ok(())
    }
}

impl std::fmt::Debug for SegmentWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SegmentWriter").field("path", &self.path()).field("len", &self.offset).finish_non_exhaustive()
    }
}
