//! What a process has taken of the computer, as Linux counts it. It counts beyond the process's end, until somebody asks how
//! it ended, so that nothing is missed and nobody has to be quick.

use std::path::Path;
use std::process::{Command, Stdio};

/// What was read by a process, from files and whatever else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reads {
    /// System calls that read.
    pub(crate) calls: u64,
    /// Bytes that they returned.
    pub(crate) bytes: u64,
}

/// What the process has read so far.
pub(crate) fn reads(process: u32) -> Reads {
    let (calls, bytes) = (figure(process, "io", "syscr:"), figure(process, "io", "rchar:"));
    Reads { calls, bytes }
}

/// The most memory that the process, which must be running, ever had resident, in bytes.
pub(crate) fn peak(process: u32) -> u64 {
    figure(process, "status", "VmHWM:") << 10
}

/// Runs a command to its end, which must be a good one; returns what it said on stdout, and what it read.
pub(crate) fn reads_of(command: &mut Command) -> (String, Reads) {
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let said = std::io::read_to_string(child.stdout.take().unwrap()).unwrap();
    // It has ended, and nobody has asked how yet.
    let state = format!("/proc/{}/stat", child.id());
    while !std::fs::read_to_string(&state).unwrap().contains(") Z ") {
        std::thread::yield_now();
    }
    let reads = reads(child.id());
    assert!(child.wait().unwrap().success());
    (said, reads)
}

fn figure(process: u32, file: &str, name: &str) -> u64 {
    let path = format!("/proc/{process}/{file}");
    let text = std::fs::read_to_string(Path::new(&path)).unwrap();
    let line =
        text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name} in {path}: {text}"));
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
