//! A directory of hostile files, and the program at work on it with little memory.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use sift_replay::receiver::ReceiverOptions;

use crate::support::cli::{Home, Ran};
use crate::support::destination::Rig;

/// What is run over each place, in this order. `DIR` is the place, `URI` a sound destination, `REPAIRED` a directory
/// that isn't there.
const COMMANDS: &[(&str, &[&str])] = &[
    ("ls", &["ls", "DIR"]),
    ("ls --json", &["ls", "--json", "DIR"]),
    ("--dry-run", &["--dry-run", "--uri", "URI", "DIR"]),
    ("replay", &["--uri", "URI", "DIR"]),
    ("replay --json, again", &["--uri", "URI", "--json", "DIR"]),
    ("checkpoints", &["checkpoints", "DIR"]),
    ("dead-letters", &["dead-letters", "DIR"]),
    ("verify", &["verify", "DIR"]),
    ("repair", &["repair", "DIR", "--to", "REPAIRED"]),
];

/// Address space that the program may have, in KiB: without any hostile file it takes about 150 MiB. One frame may have 64
/// MiB, as stored and once more decompressed; a message of it is held besides, and sent.
const MEMORY_KIB: u64 = 1 << 20;

/// Bytes that a command may say at most, besides a few lines for each of what is many.
const MOST_SAID: u64 = 16 << 20;

/// A broken test must end.
const PATIENCE: Duration = Duration::from_secs(300);

/// A place.
pub(super) struct Place {
    home: Home,
    pub(super) dir: PathBuf,
    /// Address space for each command, in KiB.
    pub(super) memory: u64,
}

/// What the commands said.
pub(super) struct Said(BTreeMap<&'static str, Ran>);

impl Place {
    pub(super) fn new() -> Self {
        let home = Home::new();
        let dir = home.path().join("backups");
        std::fs::create_dir(&dir).unwrap();
        Self { home, dir, memory: MEMORY_KIB }
    }

    /// With this file in it.
    pub(super) fn with(name: &str, bytes: &[u8]) -> Self {
        let place = Self::new();
        place.put(name, bytes);
        place
    }

    /// Puts a file there.
    pub(super) fn put(&self, name: impl AsRef<Path>, bytes: &[u8]) -> PathBuf {
        let path = self.dir.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// Everything that the program may write to.
    pub(super) fn home(&self) -> &Path {
        self.home.path()
    }

    /// Runs all commands, each with little memory and against a receiver; each must come to an ordinary end.
    #[track_caller]
    pub(super) fn run(&self) -> Said {
        self.run_those(|_| true)
    }

    /// The same with those commands that look into files in different ways: what is large takes its time.
    #[track_caller]
    pub(super) fn run_few(&self) -> Said {
        self.run_those(|name| ["ls", "replay", "replay --json, again", "verify", "repair"].contains(&name))
    }

    #[track_caller]
    fn run_those(&self, wanted: impl Fn(&str) -> bool) -> Said {
        let destination = Destination::start();
        let mut said = BTreeMap::new();
        for (name, args) in COMMANDS.iter().filter(|(name, _)| wanted(name)) {
            let args: Vec<_> = args.iter().map(|arg| arg.replace("URI", &destination.uri)).collect();
            let repaired = self.home.path().join("repaired");
            let args: Vec<_> = args.iter().map(|arg| arg.replace("REPAIRED", repaired.to_str().unwrap())).collect();
            let args: Vec<_> = args.iter().map(|arg| arg.replace("DIR", self.dir.to_str().unwrap())).collect();
            let ran = self.command(&args.iter().map(String::as_str).collect::<Vec<_>>());
            check(name, &ran);
            said.insert(*name, ran);
        }
        Said(said)
    }

    /// Runs the program with little memory.
    pub(super) fn command(&self, args: &[&str]) -> Ran {
        let program = self.home.command(args);
        let mut command = Command::new("sh");
        // The limit counts what is reserved; so each thread has no heap of its own, and there are few threads.
        let limit = if cfg!(target_os = "linux") { format!("ulimit -v {}; ", self.memory) } else { String::new() };
        command.args(["-c", &format!("{limit}exec \"$0\" \"$@\"")]).arg(program.get_program()).args(program.get_args());
        command.env_clear().envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env("MALLOC_ARENA_MAX", "2").env("TOKIO_WORKER_THREADS", "2");
        command.env("XDG_STATE_HOME", self.home.path().join("state")).current_dir(self.home.path());
        let [out, err] = ["out", "err"].map(|name| self.home.path().join(name));
        // To files: whoever says more than a pipe takes would wait for its reader.
        command.stdin(std::process::Stdio::null()).stdout(File::create(&out).unwrap());
        let status = wait(command.stderr(File::create(&err).unwrap()));
        let text = |path: &Path| {
            let bytes = std::fs::metadata(path).unwrap().len();
            assert!(bytes <= MOST_SAID + super::many() * 1000, "{args:?} says {bytes} bytes");
            String::from_utf8(std::fs::read(path).unwrap()).unwrap()
        };
        let ran = Ran { code: status.code(), stdout: text(&out), stderr: text(&err) };
        assert!(ran.code.is_some(), "{args:?}: {status}: {}", shortened(&ran));
        ran
    }
}

fn wait(command: &mut Command) -> ExitStatus {
    let (mut child, begun) = (command.spawn().unwrap(), Instant::now());
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if begun.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("it doesn't end: {command:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What holds whatever the files are.
#[track_caller]
fn check(name: &str, ran: &Ran) {
    let codes: &[i32] = if name.starts_with("ls") || name == "checkpoints" { &[0] } else { &[0, 3] };
    assert!(codes.contains(&ran.code.unwrap()), "{name}: {}", shortened(ran));
    let all = ran.all();
    assert!(!all.contains("panicked") && !all.contains("memory allocation"), "{name}: {}", shortened(ran));
    let commands: String = all.chars().filter(|c| is_obeyed(*c)).take(20).collect();
    assert!(commands.is_empty(), "{name} prints {commands:?}: {}", shortened(ran));
    if name.contains("--json") {
        ran.summary();
    }
    // A line, not a page.
    let longest = all.lines().map(str::len).max().unwrap_or(0);
    assert!(name.contains("--json") || longest < 64 << 10, "{name} prints a line of {longest} bytes");
}

/// What a terminal obeys, or makes a text look like another one.
fn is_obeyed(c: char) -> bool {
    let direction = matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    direction || (c.is_control() && c != '\n')
}

fn shortened(ran: &Ran) -> String {
    let text = |text: &str| text.chars().take(3000).collect::<String>();
    format!("{:?}\n{}\n{}", ran.code, text(&ran.stdout), text(&ran.stderr))
}

impl Said {
    /// The command ends so, and says all of this.
    #[track_caller]
    pub(super) fn says(&self, command: &str, code: i32, parts: &[&str]) -> &Self {
        let ran = &self.0[command];
        assert_eq!(ran.code, Some(code), "{command}: {}", shortened(ran));
        for part in parts {
            assert!(ran.all().contains(part), "{command} doesn't say {part:?}: {}", shortened(ran));
        }
        self
    }

    /// The figure of that name in the summary of the last replay.
    #[track_caller]
    pub(super) fn figure(&self, name: &str) -> u64 {
        let summary = self.0["replay --json, again"].summary();
        summary[name].as_u64().unwrap_or_else(|| panic!("no {name} in {summary}"))
    }
}

/// The embedded destination.
pub(super) struct Destination {
    rig: Option<Rig>,
    runtime: tokio::runtime::Runtime,
    pub(super) uri: String,
}

impl Destination {
    pub(super) fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let rig = runtime.block_on(Rig::with(ReceiverOptions::default()));
        Self { uri: rig.uri(), rig: Some(rig), runtime }
    }
}

impl Drop for Destination {
    fn drop(&mut self) {
        if let Some(rig) = self.rig.take() {
            drop(self.runtime.block_on(rig.end()));
        }
    }
}
