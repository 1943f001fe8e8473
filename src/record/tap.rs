//! Watching what is recorded, frame by frame, while it is written.

use crate::format::AddedFlows;

/// A DATA frame that was written, as a [`Tap`] sees it.
#[derive(Debug, Clone, Copy)]
pub struct TappedFrame<'a> {
    /// The seq of its first record.
    pub first_seq: u64,
    /// The number of its segment within the session, from 0.
    pub segment: u32,
    /// Records in it.
    pub count: u32,
    /// No record of it carries ids of its own.
    pub bare: bool,
    /// Its records before compression: each a u32-LE length and the request's bytes
    /// ([`Records`](crate::format::Records) takes them apart).
    pub payload: &'a [u8],
}

/// Sees each frame that a recorder has written. It is called on the writer thread, which does nothing else meanwhile: it
/// should copy what it wants and return. If it panics, recording stops with
/// [`RecordError::Failed`](super::RecordError::Failed).
pub trait Tap: Send + Sync {
    /// The file system has taken this frame; it need not be durable yet (see
    /// [`Recorder::durable_seq`](super::Recorder::durable_seq)). Each frame is shown once, in order of seq, also if the
    /// first attempt to write it failed and it went to a new segment. One that can't be written at all isn't shown, nor
    /// one that [`OnFull::DropOldest`](super::OnFull::DropOldest) dropped.
    fn frame(&self, frame: &TappedFrame<'_>);

    /// Flows were added, and frames may have records of them from now on. The schema with which the recorder was created
    /// isn't shown.
    fn flows(&self, flows: &AddedFlows);
}
