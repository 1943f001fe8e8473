//! One contestant at one job, in a process of its own: what it took.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::contestant::{Contestant, Job};

/// What a job took.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// Records, or for what knows none, bytes.
    pub(crate) units: u64,
    pub(crate) seconds: f64,
    /// Of all threads, user and system.
    pub(crate) cpu_seconds: f64,
    /// The most memory that was resident, before and during the job.
    pub(crate) peak_bytes: u64,
    /// Memory that was resident before the job began: the program, and what is prepared for it.
    pub(crate) base_bytes: u64,
    /// Bytes that it left on disk.
    pub(crate) disk_bytes: u64,
    /// What single calls took, where they were timed.
    pub(crate) calls: Option<Calls>,
}

/// What single calls took, in seconds, the clock included.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Calls {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

impl Calls {
    /// `nanos`: of each call.
    pub(crate) fn of(mut nanos: Vec<u32>) -> Self {
        nanos.sort_unstable();
        let at = |part: f64| f64::from(nanos[((nanos.len() - 1) as f64 * part) as usize]) / 1e9;
        Self { p50: at(0.5), p99: at(0.99), p999: at(0.999), max: at(1.0) }
    }
}

impl Measured {
    pub(crate) fn per_second(&self) -> f64 {
        self.units as f64 / self.seconds
    }

    /// Memory that the job took beyond what there was before.
    pub(crate) fn added_bytes(&self) -> f64 {
        self.peak_bytes.saturating_sub(self.base_bytes) as f64
    }

    pub(crate) fn cpu_per_unit(&self) -> f64 {
        self.cpu_seconds / self.units as f64
    }
}

/// Does the job in a child process, which says what it took.
pub(crate) fn in_child(contestant: Contestant, job: &Job) -> Result<Measured, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let name =
        clap::ValueEnum::to_possible_value(&contestant).map(|value| value.get_name().to_owned()).unwrap_or_default();
    let output = Command::new(program)
        .arg("--child")
        .arg(&name)
        .args(["--workload", &format!("{:?}", job.workload)])
        .args(["--records", &job.records.to_string()])
        .args(["--uri", &job.uri])
        .arg("--dir")
        .arg(&job.dir)
        .output()
        .map_err(|error| format!("{name} can't be started: {error}"))?;
    if !output.status.success() {
        return Err(format!("{name} {:?}: {}", job.workload, String::from_utf8_lossy(&output.stderr)));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("{name}: {error}"))
}

/// Does the job here. `work` returns how much it was, and is called with everything prepared.
pub(crate) fn here(dir: &Path, work: impl FnOnce() -> u64) -> Measured {
    let (base, cpu, began) = (resident().1, cpu_seconds(), Instant::now());
    let units = work();
    let seconds = began.elapsed().as_secs_f64();
    Measured {
        units,
        seconds,
        cpu_seconds: cpu_seconds() - cpu,
        peak_bytes: resident().0,
        base_bytes: base,
        disk_bytes: bytes_below(dir),
        calls: None,
    }
}

/// Calls `call` for each record in turn, at this many a second, and times each call.
pub(crate) fn paced(records: u64, per_second: u64, mut call: impl FnMut(u64)) -> Calls {
    let mut nanos = Vec::with_capacity(records as usize);
    let began = Instant::now();
    for number in 0..records {
        let due = Duration::from_nanos(number * 1_000_000_000 / per_second);
        while began.elapsed() < due {
            std::hint::spin_loop();
        }
        let before = Instant::now();
        call(number);
        nanos.push(u32::try_from(before.elapsed().as_nanos()).unwrap_or(u32::MAX));
    }
    Calls::of(nanos)
}

fn cpu_seconds() -> f64 {
    // SAFETY: the call fills in what it is given, which is plain data.
    let usage = unsafe {
        let mut usage = std::mem::zeroed::<libc::rusage>();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        usage
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

/// The most memory that ever was resident, and what is now; 0 where nobody says so.
fn resident() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bytes = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name))?;
        Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
    };
    (bytes("VmHWM:").unwrap_or(0), bytes("VmRSS:").unwrap_or(0))
}

pub(crate) fn bytes_below(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}
