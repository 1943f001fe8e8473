//! The comparisons, and how they came out.

use serde::{Deserialize, Serialize};

use crate::contestant::Contestant::{self, *};
use crate::measure::Measured;
use crate::workload::Workload::{self, *};

/// What of two contestants is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Figure {
    /// Units a second, ours as a multiple of the other's.
    Speed,
    /// CPU time for a unit, ours as a part of the other's.
    Cpu,
    /// Bytes on disk for a unit, ours as a part of the other's.
    Disk,
    /// The most memory, in MiB, of ours alone, beyond what there was before.
    Memory,
    /// What half of the calls take at most, ours as a multiple of the other's.
    P50,
    /// 99 of 100.
    P99,
    /// 999 of 1000.
    P999,
    /// All of them.
    Longest,
}

/// Where files are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Place {
    Memory,
    Disk,
}

/// One row: ours against another, and what is aimed at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Comparison {
    pub(crate) what: &'static str,
    pub(crate) figure: Figure,
    pub(crate) workload: Workload,
    pub(crate) place: Place,
    pub(crate) ours: Contestant,
    pub(crate) other: Contestant,
    /// Infinite: none.
    pub(crate) target: f64,
}

const fn of(
    what: &'static str,
    figure: Figure,
    workload: Workload,
    ours: Contestant,
    other: Contestant,
    target: f64,
) -> Comparison {
    Comparison { what, figure, workload, place: Place::Memory, ours, other, target }
}

const fn on_disk(comparison: Comparison) -> Comparison {
    Comparison { place: Place::Disk, ..comparison }
}

const fn of_calls(what: &'static str, figure: Figure, ours: Contestant, target: f64) -> Comparison {
    Comparison { what, figure, workload: W1, place: Place::Disk, ours, other: ProstEncodeCalls, target }
}

const RECORD: &str = "record";
const NULL: &str = "record, dropped; encode + CRC";
const NULL_SINGLY: &str = "the same, one record a call";
const WRITE: &str = "record; bare write + sync";
const RECORD_ON_DISK: &str = "record, on disk";
const WRITE_ON_DISK: &str = "record, on disk; bare write + sync";
const CALL: &str = "one call of record(); prost encodes it";
const CALL_STALLING: &str = "the same, the disk stalls for 200 ms";
const ZSTD: &str = "record, zstd 1";
const REPLAY: &str = "replay segments";
const BUFFERS: &str = "replay; whole buffers from memory";
const FAR: &str = "replay, round trip of 100 ms; of 0 ms";
const WIRE: &str = "the same, over 1 Gbit/s";
const LIVE: &str = "live_only";
const BACKUPS: &str = "live_with_backups, uncompressed";
const BACKUPS_ZSTD: &str = "live_with_backups, zstd 1";

/// All of them. Where there is no other, it is ours once more.
pub(crate) const COMPARISONS: &[Comparison] = &[
    of(RECORD, Figure::Speed, W1, OurRecord, PeerRecord, 12.0),
    of(RECORD, Figure::Speed, W2, OurRecord, PeerRecord, 6.0),
    of(RECORD, Figure::Speed, W3, OurRecord, PeerRecord, 15.0),
    of(RECORD, Figure::Cpu, W1, OurRecord, PeerRecord, 0.1),
    of(RECORD, Figure::Memory, W1, OurRecord, OurRecord, 16.0),
    of(RECORD, Figure::Memory, W2, OurRecord, OurRecord, 16.0),
    of(NULL, Figure::Speed, W1, OurRecordNull, BareEncode, 0.7),
    of(NULL, Figure::Speed, W2, OurRecordNull, BareEncode, 0.7),
    of(NULL, Figure::Speed, W3, OurRecordNull, BareEncode, 0.7),
    of(NULL_SINGLY, Figure::Speed, W1, OurRecordNullSingly, BareEncode, f64::INFINITY),
    of(NULL_SINGLY, Figure::Speed, W2, OurRecordNullSingly, BareEncode, f64::INFINITY),
    of(NULL_SINGLY, Figure::Speed, W3, OurRecordNullSingly, BareEncode, f64::INFINITY),
    of(WRITE, Figure::Speed, W1, OurRecord, BareWrite, 0.85),
    of(WRITE, Figure::Speed, W2, OurRecord, BareWrite, 0.85),
    of(WRITE, Figure::Speed, W3, OurRecord, BareWrite, 0.85),
    on_disk(of(RECORD_ON_DISK, Figure::Speed, W1, OurRecord, PeerRecord, 5.0)),
    on_disk(of(RECORD_ON_DISK, Figure::Speed, W2, OurRecord, PeerRecord, 3.0)),
    on_disk(of(RECORD_ON_DISK, Figure::Speed, W3, OurRecord, PeerRecord, 12.0)),
    on_disk(of(WRITE_ON_DISK, Figure::Speed, W1, OurRecord, BareWrite, 0.85)),
    on_disk(of(WRITE_ON_DISK, Figure::Speed, W2, OurRecord, BareWrite, 0.85)),
    on_disk(of(WRITE_ON_DISK, Figure::Speed, W3, OurRecord, BareWrite, 0.85)),
    of_calls(CALL, Figure::P50, OurRecordCalls, 1.0),
    of_calls(CALL, Figure::P99, OurRecordCalls, 3.0),
    of_calls(CALL, Figure::P999, OurRecordCalls, f64::INFINITY),
    of_calls(CALL, Figure::Longest, OurRecordCalls, f64::INFINITY),
    of_calls(CALL_STALLING, Figure::P50, OurRecordCallsStalling, 1.0),
    of_calls(CALL_STALLING, Figure::P99, OurRecordCallsStalling, 3.0),
    of_calls(CALL_STALLING, Figure::P999, OurRecordCallsStalling, f64::INFINITY),
    of_calls(CALL_STALLING, Figure::Longest, OurRecordCallsStalling, f64::INFINITY),
    of(ZSTD, Figure::Speed, W1, OurRecordZstd, PeerRecord, 3.0),
    of(ZSTD, Figure::Disk, W1, OurRecordZstd, PeerRecord, 0.55),
    of(ZSTD, Figure::Speed, Signal, OurRecordZstd, PeerRecord, 3.0),
    of(ZSTD, Figure::Disk, Signal, OurRecordZstd, PeerRecord, 0.2),
    of(REPLAY, Figure::Speed, W1, OurReplay, PeerReplay, 10.0),
    of(REPLAY, Figure::Speed, W2, OurReplay, PeerReplay, 8.0),
    of(REPLAY, Figure::Speed, W3, OurReplay, PeerReplay, 10.0),
    of(BUFFERS, Figure::Speed, W1, OurReplay, WholeBuffers, 0.5),
    of(BUFFERS, Figure::Speed, W2, OurReplay, WholeBuffers, 0.5),
    of(BUFFERS, Figure::Speed, W3, OurReplay, WholeBuffers, 0.5),
    of("replay; raw tonic pass-through", Figure::Speed, W1, OurReplay, TonicPassThrough, 2.0),
    of(FAR, Figure::Speed, W1, OurReplayFar, OurReplayNear, 0.9),
    of(WIRE, Figure::Speed, W1, OurReplayWireFar, OurReplayWireNear, 0.9),
    of("replay PBFS", Figure::Speed, W1, OurReplayPbfs, PeerReplay, 8.0),
    of("replay PBFS", Figure::Memory, W1, OurReplayPbfs, OurReplayPbfs, 64.0),
    of(LIVE, Figure::Speed, W1, OurLiveOnly, PeerLiveOnly, 5.0),
    of(LIVE, Figure::Speed, W2, OurLiveOnly, PeerLiveOnly, 5.0),
    of(LIVE, Figure::Speed, W3, OurLiveOnly, PeerLiveOnly, 3.0),
    of(BACKUPS, Figure::Speed, W1, OurLiveWithBackups, PeerLiveWithBackups, 4.0),
    of(BACKUPS, Figure::Speed, W2, OurLiveWithBackups, PeerLiveWithBackups, 4.0),
    of(BACKUPS, Figure::Speed, W3, OurLiveWithBackups, PeerLiveWithBackups, 3.0),
    of(BACKUPS_ZSTD, Figure::Speed, W1, OurLiveWithBackupsZstd, PeerLiveWithBackups, 1.0),
    of(BACKUPS_ZSTD, Figure::Speed, Signal, OurLiveWithBackupsZstd, PeerLiveWithBackups, 1.0),
    of("verify; CRC of the same", Figure::Speed, W1, OurVerify, CrcOfMemory, 0.5),
    of("verify; CRC of the same", Figure::Speed, W2, OurVerify, CrcOfMemory, 0.5),
];

impl Figure {
    /// What a call took.
    fn of_call(self, measured: &Measured) -> f64 {
        let Some(calls) = &measured.calls else { return f64::NAN };
        match self {
            Self::P50 => calls.p50,
            Self::P99 => calls.p99,
            Self::P999 => calls.p999,
            _ => calls.max,
        }
    }
}

impl Comparison {
    /// How ours came out against the other in one round.
    pub(crate) fn ratio(&self, ours: &Measured, other: &Measured) -> f64 {
        match self.figure {
            Figure::Speed => ours.per_second() / other.per_second(),
            Figure::Cpu => ours.cpu_per_unit() / other.cpu_per_unit(),
            Figure::Disk => {
                (ours.disk_bytes as f64 / ours.units as f64) / (other.disk_bytes as f64 / other.units as f64)
            }
            Figure::Memory => ours.added_bytes() / f64::from(1 << 20),
            Figure::P50 | Figure::P99 | Figure::P999 | Figure::Longest => {
                self.figure.of_call(ours) / self.figure.of_call(other)
            }
        }
    }

    pub(crate) fn is_met(&self, ratio: f64) -> bool {
        match self.figure {
            Figure::Speed => ratio >= self.target,
            _ => ratio <= self.target,
        }
    }

    fn bound(&self) -> String {
        match self.figure {
            _ if self.target.is_infinite() => "–".to_owned(),
            Figure::Speed => format!("≥ {}", self.target),
            Figure::Memory => format!("≤ {} MiB", self.target),
            _ => format!("≤ {}", self.target),
        }
    }
}

/// The least, the middle one, and the most.
pub(crate) fn spread(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    [at(0), at(values.len() / 2), at(values.len().saturating_sub(1))]
}

/// The table's head, in Markdown.
pub(crate) const HEAD: &str = "| what | | workload | ours | other | min | median | max | target | |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |";

/// One line of the table: `rounds` are ours and the other's.
pub(crate) fn line(comparison: &Comparison, rounds: &[(Measured, Measured)]) -> String {
    let ratios = rounds.iter().map(|(ours, other)| comparison.ratio(ours, other)).collect();
    let [min, median, max] = spread(ratios);
    let figure = |measured: &Measured| match comparison.figure {
        Figure::Speed => measured.per_second(),
        Figure::Cpu => measured.cpu_per_unit(),
        Figure::Disk => measured.disk_bytes as f64 / measured.units as f64,
        Figure::Memory => measured.added_bytes(),
        of_calls => of_calls.of_call(measured),
    };
    let unit = match comparison.figure {
        Figure::Speed => "/s",
        Figure::Disk | Figure::Memory => "bytes",
        _ => "s",
    };
    let middle = |other: bool| {
        let figures = rounds.iter().map(|(ours, theirs)| figure(if other { theirs } else { ours })).collect();
        spread(figures)[1]
    };
    format!(
        "| {} | {:?} | {:?} | {} {unit} | {} {unit} | {min:.2} | {median:.2} | {max:.2} | {} | {} |",
        comparison.what,
        comparison.figure,
        comparison.workload,
        short(middle(false)),
        if comparison.figure == Figure::Memory { "–".to_owned() } else { short(middle(true)) },
        comparison.bound(),
        match comparison.is_met(median) {
            _ if comparison.target.is_infinite() => "",
            true => "met",
            false => "**missed**",
        },
    )
}

fn short(value: f64) -> String {
    match value {
        1e9.. => format!("{:.2} G", value / 1e9),
        1e6.. => format!("{:.2} M", value / 1e6),
        1e3.. => format!("{:.1} k", value / 1e3),
        1.0.. => format!("{value:.1}"),
        1e-3.. => format!("{:.2} m", value * 1e3),
        1e-6.. => format!("{:.2} µ", value * 1e6),
        _ => format!("{:.1} n", value * 1e9),
    }
}
