//! A desk in the rain: a backup, the program, a bad line, and a server that remembers everything.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::backup::{Backup, Source, unacknowledged};
use crate::support::cli::{Home, Ran, ran};
use crate::support::faulty::Faulty;
use crate::support::proxy::Proxy;

/// Longest that anything is waited for: a broken test must end.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) const LANES: u64 = 2;
/// Few, so that few duplicates are allowed.
const WINDOWS_PER_LANE: u64 = 2;
const WINDOW_BYTES: u64 = 2000;
/// No message with its ids is smaller.
const LEAST_MESSAGE: u64 = 35;

/// Records of one window at most.
pub(crate) const PER_WINDOW: u64 = WINDOW_BYTES / LEAST_MESSAGE + 1;

/// Records that may be sent, or acknowledged and not yet durably noted, at one moment: windows of all lanes, and two more.
pub(crate) const IN_FLIGHT: u64 = (LANES * WINDOWS_PER_LANE + 2) * PER_WINDOW;

pub(crate) struct Station {
    home: Home,
    pub(crate) backup: Backup,
    pub(crate) faulty: Faulty,
    pub(crate) proxy: Arc<Proxy>,
    ack_timeout: &'static str,
    give_up_after: &'static str,
}

impl Station {
    /// With what `make` puts into a directory.
    pub(crate) fn new(make: impl FnOnce(&std::path::Path) -> Backup) -> Self {
        let home = Home::new();
        let dir = home.path().join("backups");
        std::fs::create_dir(&dir).unwrap();
        let backup = make(&dir);
        let faulty = Faulty::start();
        let proxy = Arc::new(Proxy::start(faulty.address()));
        Self { home, backup, faulty, proxy, ack_timeout: "0.5", give_up_after: "90s" }
    }

    /// With sound sessions of so many records each.
    pub(crate) fn sound(sessions: u64, records: u64) -> Self {
        Self::new(|dir| Backup::sound(dir, 7, sessions, records))
    }

    pub(crate) fn ack_timeout(self, ack_timeout: &'static str) -> Self {
        Self { ack_timeout, ..self }
    }

    pub(crate) fn give_up_after(self, give_up_after: &'static str) -> Self {
        Self { give_up_after, ..self }
    }

    fn state_dir(&self) -> PathBuf {
        self.home.path().join("state")
    }

    fn with_env(&self, mut command: Command) -> Command {
        command.env("XDG_STATE_HOME", self.home.path().join("xdg-state"));
        command
    }

    /// The program, about to replay.
    fn command(&self) -> Command {
        let state_dir = self.state_dir();
        let [lanes, windows, window_bytes] = [LANES, WINDOWS_PER_LANE, WINDOW_BYTES].map(|n| n.to_string());
        self.with_env(self.home.command(&[
            self.backup.dir.to_str().unwrap(),
            "--uri",
            &self.proxy.uri(),
            "--state-dir",
            state_dir.to_str().unwrap(),
            "--json",
            "--ack-timeout",
            self.ack_timeout,
            "--give-up-after",
            self.give_up_after,
            "--window-bytes",
            &window_bytes,
            "--lanes",
            &lanes,
            "--windows-per-lane",
            &windows,
        ]))
    }

    pub(crate) fn start(&self) -> Client {
        Client::start(self.command())
    }

    /// Replays to the end.
    pub(crate) fn run(&self) -> Ended {
        self.start().wait()
    }

    fn ask(&self, command: &str, more: &[&str]) -> Ran {
        let state_dir = self.state_dir();
        let args = [&[command, self.backup.dir.to_str().unwrap(), "--state-dir", state_dir.to_str().unwrap()], more];
        ran(&mut self.with_env(self.home.command(&[&args.concat()[..], &["--json"]].concat())))
    }

    /// Waits until what is still on its way, of programs that have ended, has come. Nothing may be held by then.
    #[track_caller]
    pub(crate) fn settle(&self) {
        self.proxy.wait(|counts| counts.open == 0);
        self.faulty.wait(|seen| seen.open_streams == 0 && seen.open_connections == 0);
    }

    /// What is noted as delivered is delivered: of each session and each of the library's backups.
    #[track_caller]
    pub(crate) fn check_checkpoints(&self) {
        let shown = self.ask("checkpoints", &[]);
        assert_eq!(shown.code, Some(0), "{shown:?}");
        let seen = self.faulty.seen();
        for line in shown.json() {
            match line["event"].as_str() {
                Some("session") => {
                    let source = self.backup.session(line["session"].as_str().unwrap().parse().unwrap());
                    for seq in seqs(&line["acknowledged"]) {
                        let record = &source.records[seq as usize];
                        assert!(seen.is_acknowledged(record), "seq {seq} of {line} isn't acknowledged");
                    }
                    for seq in seqs(&line["dead_lettered"]) {
                        assert!(seen.copies(&source.records[seq as usize]).refused > 0, "seq {seq} wasn't refused");
                    }
                }
                Some("pbfs") => {
                    for mark in line["marks"].as_array().unwrap() {
                        let messages = mark["messages"].as_u64().unwrap() as usize;
                        let done = |source: &Source| {
                            source.session.is_none()
                                && source.records.get(..messages).is_some_and(|records| {
                                    let settled = |r| seen.is_acknowledged(r) || seen.copies(r).refused > 0;
                                    records.iter().all(settled)
                                })
                        };
                        assert!(self.backup.sources.iter().any(done), "{line}: nobody has acknowledged so much");
                    }
                }
                _ => {}
            }
        }
    }

    /// Everything readable has arrived, nothing else has, and nothing is sent again.
    #[track_caller]
    pub(crate) fn check_complete(&self) {
        self.settle();
        let seen = self.faulty.seen();
        let lacking = unacknowledged(self.backup.readable(), &seen);
        assert!(lacking.is_empty(), "{} records lack: {lacking:?}", lacking.len());
        self.check_nothing_invented();
        self.check_checkpoints();
        let again = self.run();
        self.settle();
        assert_eq!(self.faulty.seen().messages, seen.messages, "a second run sends something");
        assert_eq!(again.code, Some(0), "{again:?}");
        assert_eq!(again.summary()["records_acknowledged"], 0);
    }

    #[track_caller]
    pub(crate) fn check_nothing_invented(&self) {
        let seen = self.faulty.seen();
        let known: std::collections::HashSet<_> = self.backup.readable().collect();
        let invented: Vec<_> = seen.records.keys().filter(|record| !known.contains(record)).collect();
        assert!(invented.is_empty() && seen.malformed == 0, "never recorded: {invented:?}");
        // [F-21]: bare records come with the ids of their registration, and only with one set of them.
        let doubtful = seen.records.iter().find(|(_, copies)| copies.under.len() != 1);
        assert!(doubtful.is_none(), "{doubtful:?}");
    }

    /// The dead letters, as (session, seq).
    pub(crate) fn dead_letters(&self) -> Vec<(Option<uuid::Uuid>, u64)> {
        let shown = self.ask("dead-letters", &["--export"]);
        assert_eq!(shown.code, Some(0), "{shown:?}");
        let letters = shown.json().into_iter().filter(|line| line["event"] == "dead-letter");
        let letter = |line: Value| {
            let session = line["origin"]["session"].as_str().map(|id| id.parse().unwrap());
            (session, line["seq"].as_u64().unwrap())
        };
        letters.map(letter).collect()
    }
}

fn seqs(ranges: &Value) -> impl Iterator<Item = u64> + '_ {
    let ranges = ranges.as_array().unwrap().iter();
    ranges.flat_map(|range| range[0].as_u64().unwrap()..range[1].as_u64().unwrap())
}

/// What the program says while it runs.
#[derive(Default)]
struct Told {
    lines: Mutex<(Vec<Value>, bool)>,
    changed: Condvar,
}

/// The program while it runs.
pub(crate) struct Client {
    child: Arc<Mutex<Child>>,
    told: Arc<Told>,
    stderr: Option<std::thread::JoinHandle<String>>,
}

/// How it ended, and all that it said.
#[derive(Debug)]
pub(crate) struct Ended {
    /// None if it was killed.
    pub(crate) code: Option<i32>,
    pub(crate) events: Vec<Value>,
    pub(crate) stderr: String,
}

impl Client {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let told = Arc::new(Told::default());
        let tell = told.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // The last line of a killed program may be cut off.
                let Ok(event) = serde_json::from_str(&line) else { continue };
                tell.lines.lock().unwrap_or_else(PoisonError::into_inner).0.push(event);
                tell.changed.notify_all();
            }
            tell.lines.lock().unwrap_or_else(PoisonError::into_inner).1 = true;
            tell.changed.notify_all();
        });
        let stderr = std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ = stderr.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        Self { child: Arc::new(Mutex::new(child)), told, stderr: Some(stderr) }
    }

    /// Waits until it has told of such an event, or has ended; returns whether it has.
    pub(crate) fn tells(&self, event: &str) -> bool {
        self.tells_within(event, PATIENCE).unwrap_or_else(|| panic!("no {event} in {PATIENCE:?}"))
    }

    /// The same, but not for ever.
    pub(crate) fn tells_within(&self, event: &str, patience: Duration) -> Option<bool> {
        let begun = Instant::now();
        let mut lines = self.told.lines.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if lines.0.iter().any(|line| line["event"] == event) {
                return Some(true);
            }
            if lines.1 {
                return Some(false);
            }
            if begun.elapsed() >= patience {
                return None;
            }
            let short = Duration::from_millis(100);
            lines = self.told.changed.wait_timeout(lines, short).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.child.lock().unwrap_or_else(PoisonError::into_inner).try_wait().unwrap().is_some()
    }

    /// What kills it at once, from wherever.
    pub(crate) fn killer(&self) -> impl FnOnce() + Send + 'static {
        let child = self.child.clone();
        move || drop(child.lock().unwrap_or_else(PoisonError::into_inner).kill())
    }

    pub(crate) fn wait(mut self) -> Ended {
        let begun = Instant::now();
        while !self.has_ended() {
            assert!(begun.elapsed() < PATIENCE, "it doesn't end: {:?}", self.told.lines.lock().unwrap().0.last());
            std::thread::sleep(Duration::from_millis(2));
        }
        let code = self.child.lock().unwrap().wait().unwrap().code();
        let stderr = self.stderr.take().unwrap().join().unwrap();
        let mut lines = self.told.lines.lock().unwrap();
        while !lines.1 {
            lines = self.told.changed.wait(lines).unwrap();
        }
        Ended { code, events: std::mem::take(&mut lines.0), stderr }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = child.kill();
        let _ = child.wait();
    }
}

impl Ended {
    pub(crate) fn summary(&self) -> &Value {
        let last = self.events.last().unwrap_or_else(|| panic!("it said nothing: {}", self.stderr));
        assert_eq!(last["event"], "summary", "{}", self.stderr);
        last
    }

    /// How often a window was to be sent again.
    pub(crate) fn retries(&self) -> u64 {
        let retries = |line: &&Value| line["event"] == "retrying" && !line["origin"].is_null();
        self.events.iter().filter(retries).count() as u64
    }

    /// Seqs told to be missing, with their sessions.
    pub(crate) fn missing(&self) -> Vec<(uuid::Uuid, std::ops::Range<u64>)> {
        let missing = self.events.iter().filter(|line| line["event"] == "missing");
        let range = |line: &Value| {
            let (first, end) = (line["seqs"]["first"].as_u64().unwrap(), line["seqs"]["end"].as_u64().unwrap());
            (line["session"].as_str().unwrap().parse().unwrap(), first..end)
        };
        missing.map(range).collect()
    }
}
