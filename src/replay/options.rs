//! How a replay behaves.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use uuid::Uuid;

/// What to do with records that the destination refuses for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnReject {
    /// Find out which they are, keep them as dead letters with the reason, and go on.
    #[default]
    DeadLetter,
    /// Find out which they are, report them, and go on; the next replay tries them again.
    Skip,
    /// Stop the session (or file) that they are in, and report what wasn't delivered.
    Stop,
    /// Let the destination take the rest: what doesn't fit goes to its own error queue, unseen from here.
    Accept,
}

/// What happens to a file when all of its records are acknowledged or dead-lettered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum After {
    /// Nothing.
    #[default]
    Keep,
    /// It is moved below this directory, its path below the one that was searched kept.
    Archive(PathBuf),
    /// It is deleted.
    Delete,
}

/// Which records are replayed: those that meet all that is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selection {
    /// Not before this time, in ns since the Unix epoch. Records without a time are in no range.
    pub from_ns: Option<i64>,
    /// Before this time.
    pub to_ns: Option<i64>,
    /// Of one of these flows; of all if empty.
    pub flows: Vec<String>,
    /// Of one of these assets (as recorded); of all if empty.
    pub assets: Vec<String>,
    /// Of one of these sessions; of all if empty.
    pub sessions: Vec<Uuid>,
}

impl Selection {
    /// Whether each record has to be looked at.
    pub fn looks_into_records(&self) -> bool {
        self.from_ns.is_some() || self.to_ns.is_some() || !self.flows.is_empty()
    }

    /// Whether everything is selected.
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }
}

/// As what records are delivered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rewrite {
    /// As another asset's.
    pub asset: Option<String>,
    /// In the run of this name, which is found or created.
    pub run: Option<String>,
    /// Times moved by so many ns.
    pub shift_ns: i64,
}

/// How fast at most, over all lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rate {
    /// Bytes a second.
    Bytes(NonZeroU64),
    /// Records a second.
    Records(NonZeroU64),
}

/// Less than 4 MiB, by more than most records have: the last one of a window is in it wholly.
const DEFAULT_WINDOW_BYTES: usize = (4 << 20) - (256 << 10);

/// How a replay behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayOptions {
    /// Bytes after which a window is closed and acknowledged, at most: with more than 4 lanes, they are smaller, so
    /// that those in memory take no more than 32 MiB. Default: 3.75 MiB. A server takes so many bytes of a stream
    /// unasked, often 4 MiB; a window that is longer, however little, costs one more round trip.
    pub window_bytes: usize,
    /// Windows on their way on each lane: sent, or being sent, and not yet acknowledged. Two of them are in memory; the others
    /// are read once more if they must be sent once more. A crash repeats them. Default: 16.
    pub windows_per_lane: usize,
    /// Time after a window's end in which its acknowledgement must come. At each further attempt, the window is given twice
    /// as long, up to 16 times this. Default: 30 s.
    pub acknowledgement_timeout: Duration,
    /// What to do with records that the destination refuses. Default: dead-letter them.
    pub on_reject: OnReject,
    /// Whether a session is gone on with however many of its records are refused. Default: no; when each of the first
    /// thousand is refused, it is hardly the records.
    pub despite_refusals: bool,
    /// Time without any progress after which the replay is given up; `None`: never. Default: 15 min.
    pub give_up_after: Option<Duration>,
    /// Attempts at one thing after which it is given up, the first included; `None`: as many as it takes. Default: none.
    pub most_attempts: Option<u32>,
    /// How many of them were made before the replay was asked: they are named, not counted. Default: 0.
    pub attempts_made: u32,
    /// The first pause before something that failed is tried again is random, below this. Default: 200 ms.
    pub first_pause: Duration,
    /// By how much the range of each further pause is longer. Default: 2.
    pub pause_factor: u8,
    /// The longest range of pauses, and the longest that a server is believed when it asks for one. Default: 30 s.
    pub longest_pause: Duration,
    /// Time that windows in flight have to be acknowledged when the replay is interrupted. Default: 10 s.
    pub grace: Duration,
    /// Which records. Default: all.
    pub selection: Selection,
    /// As what. Default: as they are.
    pub rewrite: Rewrite,
    /// How fast. Default: as fast as it goes.
    pub rate: Option<Rate>,
    /// What happens to files that are wholly delivered. Default: nothing.
    pub after: After,
    /// Whether that goes for segments that were never sealed, too: for who knows that their recorders are gone. Default:
    /// no.
    pub after_unsealed: bool,
}

/// Under a rate, a window is no more than what may go in this time: its stream never waits long, neither does
/// whoever wants to see progress or an end.
const PACE: Duration = Duration::from_secs(1);

/// How large a window may be. Whichever is reached first closes it; a single record may be larger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WindowSize {
    pub(super) bytes: usize,
    pub(super) records: u64,
}

impl ReplayOptions {
    /// How large windows are.
    pub(super) fn window_size(&self) -> WindowSize {
        let in_pace = |rate: NonZeroU64| rate.get().saturating_mul(PACE.as_secs());
        let (bytes, records) = match self.rate {
            Some(Rate::Bytes(rate)) => (usize::try_from(in_pace(rate)).unwrap_or(usize::MAX), u64::MAX),
            Some(Rate::Records(rate)) => (usize::MAX, in_pace(rate)),
            None => (usize::MAX, u64::MAX),
        };
        WindowSize { bytes: self.window_bytes.min(bytes), records }
    }
}

impl Default for ReplayOptions {
    fn default() -> Self {
        Self {
            window_bytes: DEFAULT_WINDOW_BYTES,
            windows_per_lane: 16,
            acknowledgement_timeout: Duration::from_secs(30),
            on_reject: OnReject::default(),
            despite_refusals: false,
            give_up_after: Some(Duration::from_secs(15 * 60)),
            most_attempts: None,
            attempts_made: 0,
            first_pause: Duration::from_millis(200),
            pause_factor: 2,
            longest_pause: Duration::from_secs(30),
            grace: Duration::from_secs(10),
            selection: Selection::default(),
            rewrite: Rewrite::default(),
            rate: None,
            after: After::default(),
            after_unsealed: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_takes_no_longer_than_the_pace_however_slow_it_is() {
        let size = |rate| {
            let WindowSize { bytes, records } = ReplayOptions { rate, ..ReplayOptions::default() }.window_size();
            (bytes, records)
        };
        let of = |rate| NonZeroU64::new(rate).unwrap();
        assert_eq!(size(None), (DEFAULT_WINDOW_BYTES, u64::MAX));
        assert_eq!(size(Some(Rate::Bytes(of(10_000)))), (10_000, u64::MAX));
        assert_eq!(size(Some(Rate::Bytes(of(u64::MAX)))), (DEFAULT_WINDOW_BYTES, u64::MAX));
        assert_eq!(size(Some(Rate::Records(of(1)))), (DEFAULT_WINDOW_BYTES, 1));
    }
}
