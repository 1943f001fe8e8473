//! Who does what.

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use sift_replay::format::Compression;

use crate::measure::Measured;
use crate::workload::Workload;
use crate::{limits, ours, peer};

/// What is to be done.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) workload: Workload,
    pub(crate) records: u64,
    /// Where to write, or what to replay.
    pub(crate) dir: PathBuf,
    /// A server that counts.
    pub(crate) uri: String,
}

/// What lies between the program and the server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Way {
    /// How long it takes, each way.
    pub(crate) each: Duration,
    pub(crate) bytes_per_second: Option<u64>,
}

/// Records that are handed over at once: the official library's fastest way, and ours.
pub(crate) const BATCH: u64 = 256;

/// A Gbit/s, in bytes.
const GIGABIT: u64 = 125_000_000;

/// One way of doing one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum, Serialize, Deserialize)]
pub(crate) enum Contestant {
    /// The official `file_backup`, fed with requests of a `FlowBuilder` in batches, to the end of `finish()`.
    PeerRecord,
    /// The recorder, uncompressed, synced every 100 ms, fed in batches as large, to the end of `finish()`.
    OurRecord,
    /// The same with zstd, level 1.
    OurRecordZstd,
    /// The same with zstd, level −3.
    OurRecordZstdFast,
    /// The recorder, to a storage that drops everything.
    OurRecordNull,
    /// The same, fed with one record a call.
    OurRecordNullSingly,
    /// A bare loop: encodes into 64 KiB, with a CRC of each.
    BareEncode,
    /// The same, written to a file that is synced every 100 ms and at the end.
    BareWrite,
    /// Messages that are built already, encoded by prost.
    ProstEncode,
    /// The same at 50,000 a second, each call timed.
    ProstEncodeCalls,
    /// `record()` at 50,000 a second, each call timed.
    OurRecordCalls,
    /// The same with a disk that stalls for 200 ms, about once a second.
    OurRecordCallsStalling,
    /// PBFS read by the official decoder, sent by the generated client.
    PeerReplay,
    /// Segments, as `sift-replay DIR` does, checkpoints included.
    OurReplay,
    /// The same through a proxy that hands on at once.
    OurReplayNear,
    /// The same through a proxy that hands on after 50 ms, each way.
    OurReplayFar,
    /// Through one that hands on at once, and not more than a Gbit/s.
    OurReplayWireNear,
    /// The same after 50 ms, each way.
    OurReplayWireFar,
    /// PBFS, the same way.
    OurReplayPbfs,
    /// Encoded messages from memory, through tonic's client-stream.
    TonicPassThrough,
    /// Buffers of 64 KiB from memory, as bodies of as many connections as the replay has.
    WholeBuffers,
    /// The official `live_only`, to the end of `finish()`.
    PeerLiveOnly,
    OurLiveOnly,
    /// The official `live_with_backups`.
    PeerLiveWithBackups,
    /// Uncompressed, as the official one writes.
    OurLiveWithBackups,
    /// With zstd, level 1, as it is by default.
    OurLiveWithBackupsZstd,
    /// `verify` of segments; its units are bytes.
    OurVerify,
    /// CRC-32 of the same bytes in memory, 64 KiB at a time.
    CrcOfMemory,
}

impl Contestant {
    /// Does the job in this process.
    pub(crate) fn run(self, job: &Job) -> Measured {
        match self {
            Self::PeerRecord => peer::record(job),
            Self::OurRecord => ours::record(job, ours::Output::Disk, BATCH),
            Self::OurRecordZstd => ours::record(job, ours::Output::Zstd(1), BATCH),
            Self::OurRecordZstdFast => ours::record(job, ours::Output::Zstd(-3), BATCH),
            Self::OurRecordNull => ours::record(job, ours::Output::Null, BATCH),
            Self::OurRecordNullSingly => ours::record(job, ours::Output::Null, 1),
            Self::BareEncode => limits::encode(job),
            Self::BareWrite => limits::encode_and_write(job),
            Self::ProstEncode => limits::prost_encode(job),
            Self::ProstEncodeCalls => limits::prost_encode_calls(job),
            Self::OurRecordCalls => ours::record_calls(job, false),
            Self::OurRecordCallsStalling => ours::record_calls(job, true),
            Self::PeerReplay => peer::replay(job),
            Self::OurReplay | Self::OurReplayNear | Self::OurReplayFar => ours::replay(job),
            Self::OurReplayWireNear | Self::OurReplayWireFar | Self::OurReplayPbfs => ours::replay(job),
            Self::TonicPassThrough => limits::pass_through(job),
            Self::WholeBuffers => limits::whole_buffers(job),
            Self::PeerLiveOnly => peer::live_only(job),
            Self::OurLiveOnly => ours::live_only(job),
            Self::PeerLiveWithBackups => peer::live_with_backups(job),
            Self::OurLiveWithBackups => ours::live_with_backups(job, Compression::None),
            Self::OurLiveWithBackupsZstd => ours::live_with_backups(job, Compression::Zstd(1)),
            Self::OurVerify => ours::verify(job),
            Self::CrcOfMemory => limits::crc(job),
        }
    }

    /// How much it does, as a multiple of what the others do: what is over in a moment, or ought to last a while.
    pub(crate) fn factor(self) -> f64 {
        match self {
            Self::OurVerify | Self::CrcOfMemory => 8.0,
            Self::OurReplayNear | Self::OurReplayFar => 24.0,
            Self::OurReplayWireNear | Self::OurReplayWireFar => 4.0,
            Self::ProstEncodeCalls | Self::OurRecordCalls | Self::OurRecordCallsStalling => 0.1,
            _ => 1.0,
        }
    }

    /// The way to the server, if it isn't the shortest.
    pub(crate) fn way(self) -> Option<Way> {
        let way = |round_trip_ms: u64, bytes_per_second| {
            Some(Way { each: Duration::from_millis(round_trip_ms / 2), bytes_per_second })
        };
        match self {
            Self::OurReplayNear => way(0, None),
            Self::OurReplayFar => way(100, None),
            Self::OurReplayWireNear => way(0, Some(GIGABIT)),
            Self::OurReplayWireFar => way(100, Some(GIGABIT)),
            _ => None,
        }
    }

    /// Whether it reads what was recorded before, and from whom.
    pub(crate) fn reads(self) -> Option<Contestant> {
        match self {
            Self::OurReplayNear | Self::OurReplayFar | Self::OurReplayWireNear | Self::OurReplayWireFar => {
                Some(Self::OurRecord)
            }
            Self::OurReplay | Self::OurVerify | Self::CrcOfMemory => Some(Self::OurRecord),
            Self::PeerReplay | Self::OurReplayPbfs => Some(Self::PeerRecord),
            _ => None,
        }
    }
}
