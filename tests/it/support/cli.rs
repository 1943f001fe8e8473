//! Running the program, with nothing of this computer's environment in reach.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};

use serde_json::Value;
use sift_replay::segment::SegmentReader;

/// How the program ended, and what it said.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// Stdout as JSON lines.
    pub(crate) fn json(&self) -> Vec<Value> {
        let line = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        self.stdout.lines().map(line).collect()
    }

    /// The last line of stdout, which must be the summary.
    pub(crate) fn summary(&self) -> Value {
        let last = self.json().pop().unwrap_or_else(|| panic!("nothing on stdout: {self:?}"));
        assert_eq!(last["event"], "summary", "{self:?}");
        last
    }

    /// Everything that was said.
    pub(crate) fn all(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// A home directory that holds nothing but what a test puts there.
pub(crate) struct Home(tempfile::TempDir);

impl Home {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Where things can be put.
    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Puts a file there.
    pub(crate) fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// The program, to be run here.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sift-replay"));
        command
            .args(args)
            .env_clear()
            .env("HOME", self.path())
            .env("XDG_CONFIG_HOME", self.path())
            .env("TMPDIR", std::env::temp_dir())
            .current_dir(self.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs the program to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        ran(&mut self.command(args))
    }
}

/// Runs a command to its end.
pub(crate) fn ran(command: &mut Command) -> Ran {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// The program while it runs.
pub(crate) struct Running {
    child: Child,
    stdout: BufReader<ChildStdout>,
    stderr: BufReader<ChildStderr>,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let stderr = BufReader::new(child.stderr.take().unwrap());
        Self { child, stdout, stderr }
    }

    /// The next line of stdout, as JSON.
    pub(crate) fn json_line(&mut self) -> Value {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    /// Waits for a line of stderr with this in it.
    pub(crate) fn says(&mut self, part: &str) {
        let mut said = String::new();
        while !said.contains(part) {
            let before = said.len();
            self.stderr.read_line(&mut said).unwrap();
            assert_ne!(said.len(), before, "it ended without {part:?}: {said}");
        }
    }

    /// The process's number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it without warning (SIGKILL).
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Does what Ctrl-C does.
    pub(crate) fn interrupt(&self) {
        let status = Command::new("kill").arg("-INT").arg(self.child.id().to_string()).status().unwrap();
        assert!(status.success());
    }

    /// Waits for the end; returns how it ended, and what it said since.
    pub(crate) fn wait(mut self) -> (ExitStatus, String, String) {
        let (mut out, mut err) = (String::new(), String::new());
        self.stdout.read_to_string(&mut out).unwrap();
        self.stderr.read_to_string(&mut err).unwrap();
        (self.child.wait().unwrap(), out, err)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Flips a bit in the middle of the frame in the middle of a segment; returns that frame's seqs.
pub(crate) fn damage_middle_frame(path: &Path) -> std::ops::Range<u64> {
    let frames = frames(path);
    let (place, seqs) = frames[frames.len() / 2].clone();
    let mut bytes = std::fs::read(path).unwrap();
    bytes[(place.start + place.end) as usize / 2] ^= 1;
    std::fs::write(path, bytes).unwrap();
    seqs
}

/// The DATA frames of a sound segment: their places and their seqs.
pub(crate) fn frames(path: &Path) -> Vec<(std::ops::Range<u64>, std::ops::Range<u64>)> {
    let mut frames = Vec::new();
    let mut reader = SegmentReader::open(path).unwrap();
    while let Some(event) = reader.next_event().unwrap() {
        if let sift_replay::segment::Event::Records(batch) = &event {
            let (offset, seqs) = (batch.offset, batch.first_seq..batch.end_seq());
            drop(event);
            frames.push((offset..reader.position(), seqs));
        }
    }
    frames
}
