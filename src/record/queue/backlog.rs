//! What waits to be written, and who waits for that. The writer works on this; recording threads touch it once a frame.

use std::collections::VecDeque;
use std::time::Instant;

use super::waiting::Wakers;
use crate::format::{AddedFlows, Dropped, Mark};
use crate::record::frame_builder::FilledFrame;
use crate::segment::PendingFrame;

/// One piece of work for the writer.
#[derive(Debug)]
pub(in crate::record) enum Work {
    Frame(FilledFrame),
    Schema(AddedFlows),
    Mark(Mark),
    /// A MARK of the recorder's own: unlike one that somebody else makes, it accounts for seqs.
    Dropped(Dropped),
    Rotate,
}

/// Work in order, each piece with its ticket.
pub(in crate::record) type WorkQueue = VecDeque<(Ticket, Work)>;

/// Numbers pieces of work, so that somebody can wait for one to be durable. Several may share a number.
pub(in crate::record) type Ticket = u64;

#[derive(Debug)]
pub(super) struct Backlog {
    work: WorkQueue,
    frames_waiting: usize,
    /// Records in those frames.
    records_waiting: u64,
    /// The ticket of whatever was handed over last.
    last_ticket: Ticket,
    /// Somebody waits until this ticket is durable.
    pub(super) wanted: Ticket,
    /// All tickets before this one are durable.
    pub(super) durable_tickets: Ticket,
    /// Buffers to use again.
    pub(super) buffers: Vec<Vec<u8>>,
    /// No frame that is being filled is due before. `None`: whoever begins one says so.
    pub(super) look_at: Option<Instant>,
    /// The writer looks for work by itself in a moment.
    pub(super) lingering: bool,
    /// Nothing more is recorded: what is being filled is the rest.
    pub(super) finishing: bool,
    /// The writer has ended: nothing more becomes durable.
    pub(super) ended: bool,
    /// What was accepted and will never be durable, in order.
    pub(super) lost: Vec<PendingFrame>,
    /// Tasks that wait for room.
    pub(super) room_wakers: Wakers,
    /// Tasks that wait for something to be durable.
    pub(super) durable_wakers: Wakers,
}

impl Backlog {
    pub(super) fn new() -> Self {
        Self {
            work: VecDeque::new(),
            frames_waiting: 0,
            records_waiting: 0,
            last_ticket: 0,
            wanted: 0,
            durable_tickets: 1,
            buffers: Vec::new(),
            look_at: None,
            lingering: false,
            finishing: false,
            ended: false,
            lost: Vec::new(),
            room_wakers: Wakers::default(),
            durable_wakers: Wakers::default(),
        }
    }

    /// Frames that the writer hasn't taken yet.
    pub(super) fn frames(&self) -> usize {
        self.frames_waiting
    }

    /// Records in those frames.
    pub(super) fn records(&self) -> u64 {
        self.records_waiting
    }

    /// Pieces of work that aren't frames.
    pub(super) fn others(&self) -> usize {
        self.work.len().saturating_sub(self.frames_waiting)
    }

    /// Whether there is anything to be written.
    pub(super) fn is_empty(&self) -> bool {
        self.work.is_empty()
    }

    /// Whether somebody waits for a sync.
    pub(super) fn sync_is_wanted(&self) -> bool {
        self.wanted >= self.durable_tickets
    }

    /// Whether somebody waits for what is still being filled.
    pub(super) fn filling_is_wanted(&self) -> bool {
        self.wanted > self.last_ticket
    }

    /// Adds work; `ticket` is its number.
    pub(super) fn push(&mut self, ticket: Ticket, work: Work) {
        if let Work::Frame(frame) = &work {
            self.frames_waiting += 1;
            self.records_waiting += u64::from(frame.count);
        }
        self.work.push_back((ticket, work));
        self.last_ticket = ticket;
    }

    /// All of it; nothing waits then.
    pub(super) fn take(&mut self) -> WorkQueue {
        self.frames_waiting = 0;
        self.records_waiting = 0;
        std::mem::take(&mut self.work)
    }

    /// The ticket that stands for the durability of a record that was handed over.
    pub(super) fn ticket_of(&self, seq: u64) -> Ticket {
        let holds = |work: &Work| work.seqs().is_some_and(|(first, end)| (first..end).contains(&seq));
        if let Some((ticket, _)) = self.work.iter().find(|(_, work)| holds(work)) {
            return *ticket;
        }
        // The writer has it already, with all that came before what waits.
        self.work.front().map_or(self.last_ticket, |(ticket, _)| ticket - 1)
    }

    /// Drops the frame that has waited longest; the MARK that names its seqs takes its place, and grows with the next
    /// one dropped. Returns how many records that were.
    pub(super) fn drop_oldest(&mut self, reason: &str) -> u64 {
        let Some(at) = self.work.iter().position(|(_, work)| matches!(work, Work::Frame(_))) else { return 0 };
        let Some((ticket, Work::Frame(frame))) = self.work.remove(at) else { return 0 };
        let records = u64::from(frame.count);
        self.frames_waiting -= 1;
        self.records_waiting -= records;
        if self.buffers.is_empty() {
            self.buffers.push(frame.buffer);
        }
        let before = at.checked_sub(1).and_then(|before| self.work.get_mut(before));
        if let Some((at, Work::Dropped(dropped))) = before
            && dropped.first_seq.is_some_and(|first| first + dropped.records == frame.first_seq)
        {
            dropped.records += records;
            *at = ticket;
            return records;
        }
        let dropped = Dropped { records, reason: reason.to_owned(), first_seq: Some(frame.first_seq) };
        self.work.insert(at, (ticket, Work::Dropped(dropped)));
        records
    }
}

impl Work {
    /// The seqs that it accounts for: the first one, and the one behind the last.
    fn seqs(&self) -> Option<(u64, u64)> {
        match self {
            Self::Frame(frame) => Some((frame.first_seq, frame.first_seq + u64::from(frame.count))),
            Self::Dropped(dropped) => dropped.first_seq.map(|first| (first, first + dropped.records)),
            Self::Schema(_) | Self::Mark(_) | Self::Rotate => None,
        }
    }
}
