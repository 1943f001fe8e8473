//! A desk on which things come and go while the program runs.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use sift_replay::record::{
    Channel, DataType, FlowSchema, Recorded, Recorder, RecorderOptions, Schema, Timestamp, Value as Number,
};

use crate::replay::files_of;
use crate::support::cli::Home;
use crate::support::faulty::{Faulty, RecordId};
use crate::support::recording::{Owned, encoded};

/// Longest that anything is waited for: a broken test must end.
const PATIENCE: Duration = Duration::from_secs(60);

/// Small, so that little data has many windows.
const WINDOW_BYTES: &str = "2000";

pub(crate) struct Desk {
    home: Home,
    pub(crate) faulty: Faulty,
    /// What the program is told to replay.
    pub(crate) dir: PathBuf,
    /// On the same file system, and not searched.
    pub(crate) elsewhere: PathBuf,
}

/// A recorder whose records no other one's are like.
pub(crate) struct Live {
    pub(crate) recorder: Recorder,
    number: u64,
    count: u64,
}

/// A session: its files, and the records in it.
pub(crate) struct Session {
    pub(crate) files: Vec<PathBuf>,
    pub(crate) records: Vec<RecordId>,
}

impl Live {
    pub(crate) fn start(dir: &Path, number: u64, options: RecorderOptions) -> Self {
        let schema = Schema::new(format!("asset {number}"), format!("key-{number}"));
        Self::with_schema(dir, number, &schema, DataType::Uint64, options)
    }

    pub(crate) fn with_schema(
        dir: &Path,
        number: u64,
        schema: &Schema,
        data_type: DataType,
        options: RecorderOptions,
    ) -> Self {
        let schema = schema.clone().flow(FlowSchema::new("n").channel(Channel::new("n", data_type)));
        Self { recorder: Recorder::create(dir, &schema, options).unwrap(), number, count: 0 }
    }

    /// Records so many more; they are on the disk when this returns.
    pub(crate) fn record(&mut self, count: u64) {
        let flow = self.recorder.flow("n").unwrap();
        for seq in self.count..self.count + count {
            let time = Timestamp::from_unix_ns(time_of(self.number, seq));
            let recorded = self.recorder.record(&flow, time, &[Number::Uint64(seq)]).unwrap();
            assert_eq!(recorded, Recorded::Seq(seq));
        }
        self.count += count;
        self.recorder.flush().unwrap();
    }

    /// All that were recorded.
    pub(crate) fn records(&self) -> Vec<RecordId> {
        let record = |seq| RecordId::of(&encoded("n", time_of(self.number, seq), &[Owned::Uint64(seq)]));
        (0..self.count).map(record).collect()
    }

    pub(crate) fn finish(self) -> Session {
        self.recorder.finish().unwrap();
        Session { files: files_of(&self.recorder), records: self.records() }
    }
}

fn time_of(number: u64, seq: u64) -> i64 {
    1_700_000_000_000_000_000 + (number * 1_000_000_000_000 + seq) as i64
}

/// A finished session of one segment.
pub(crate) fn record(dir: &Path, number: u64, count: u64) -> Session {
    record_with(dir, number, count, RecorderOptions { frame_bytes: 256, ..RecorderOptions::default() })
}

pub(crate) fn record_with(dir: &Path, number: u64, count: u64, options: RecorderOptions) -> Session {
    let mut live = Live::start(dir, number, options);
    live.record(count);
    live.finish()
}

impl Desk {
    pub(crate) fn new() -> Self {
        let home = Home::new();
        let (dir, elsewhere) = (home.path().join("backups"), home.path().join("elsewhere"));
        std::fs::create_dir(&dir).unwrap();
        std::fs::create_dir(&elsewhere).unwrap();
        Self { home, faulty: Faulty::start(), dir, elsewhere }
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// The program, about to replay `paths`.
    pub(crate) fn command_for(&self, paths: &[&Path], more: &[&str]) -> Command {
        let paths = paths.iter().map(|path| path.to_str().unwrap());
        let uri = self.faulty.uri();
        let sizes = ["--lanes", "2", "--windows-per-lane", "2", "--window-bytes", WINDOW_BYTES];
        let args: Vec<&str> = paths.chain(["--uri", &uri, "--json"]).chain(sizes).chain(more.iter().copied()).collect();
        let mut command = self.home.command(&args);
        command.env("XDG_STATE_HOME", self.home.path().join("xdg-state"));
        command
    }

    /// The program, about to tell people about a replay.
    pub(crate) fn plain(&self) -> Command {
        let mut command = self.home.command(&[self.dir.to_str().unwrap(), "--uri", &self.faulty.uri()]);
        command.env("XDG_STATE_HOME", self.home.path().join("xdg-state"));
        command
    }

    pub(crate) fn start(&self, more: &[&str]) -> Program {
        Program::start(self.command_for(&[&self.dir], more))
    }

    pub(crate) fn watch(&self, more: &[&str]) -> Program {
        self.start(&[&["--watch"], more].concat())
    }

    /// Replays to the end.
    pub(crate) fn run(&self, more: &[&str]) -> Ended {
        self.start(more).end()
    }

    /// That all of these have arrived, each once, and nothing was found to be wrong.
    #[track_caller]
    pub(crate) fn check(&self, ended: &Ended, records: &[RecordId]) {
        self.check_arrived(records, 0);
        let summary = ended.summary();
        for figure in [
            "records_missing",
            "records_unreadable",
            "records_refused",
            "damaged_places",
            "torn_files",
            "files_unreadable",
        ] {
            assert_eq!(summary[figure], 0, "{figure}: {summary}\n{}", ended.stderr);
        }
        assert_eq!(summary["records_acknowledged"], records.len(), "{summary}");
        assert_eq!(summary["records_found"], records.len(), "{summary}");
    }

    #[track_caller]
    pub(crate) fn check_arrived(&self, records: &[RecordId], duplicates: u64) {
        let seen = self.faulty.seen();
        let lacking: Vec<_> = records.iter().filter(|record| !seen.is_acknowledged(record)).collect();
        assert!(lacking.is_empty(), "{} records lack: {:?}…", lacking.len(), lacking.first());
        assert!(seen.records.len() == records.len(), "{} others came", seen.records.len() - records.len());
        assert!(seen.duplicates() <= duplicates, "{}", seen.figures());
    }
}

#[derive(Default)]
struct Told {
    /// What was said, and whether that was all.
    lines: Mutex<(Vec<Value>, bool)>,
    stderr: Mutex<String>,
    changed: Condvar,
}

/// The program while it runs.
pub(crate) struct Program {
    child: Child,
    told: Arc<Told>,
    stderr: Option<std::thread::JoinHandle<()>>,
}

impl Program {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let told = Arc::new(Told::default());
        let tell = told.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).unwrap_or(Value::String(line));
                tell.lines.lock().unwrap_or_else(PoisonError::into_inner).0.push(event);
                tell.changed.notify_all();
            }
            tell.lines.lock().unwrap_or_else(PoisonError::into_inner).1 = true;
            tell.changed.notify_all();
        });
        let tell = told.clone();
        let stderr = std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut text = tell.stderr.lock().unwrap_or_else(PoisonError::into_inner);
                text.push_str(&line);
                text.push('\n');
                drop(text);
                tell.changed.notify_all();
            }
        });
        Self { child, told, stderr: Some(stderr) }
    }

    /// Waits until it has said such.
    #[track_caller]
    pub(crate) fn wait(&self, what: &str, such: impl Fn(&[Value]) -> bool) {
        let begun = Instant::now();
        let mut lines = self.told.lines.lock().unwrap_or_else(PoisonError::into_inner);
        while !such(&lines.0) {
            assert!(!lines.1, "it ended without {what}: {:?}", lines.0.last());
            assert!(begun.elapsed() < PATIENCE, "no {what}: {:?}", lines.0.iter().rev().take(5).collect::<Vec<_>>());
            let short = Duration::from_millis(100);
            lines = self.told.changed.wait_timeout(lines, short).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    #[track_caller]
    pub(crate) fn tells(&self, event: &str) {
        self.wait(event, |lines| lines.iter().any(|line| line["event"] == event));
    }

    /// Waits until it has delivered so many records, and has nothing left to do.
    #[track_caller]
    pub(crate) fn delivers(&self, records: usize) {
        let done = |lines: &[Value]| {
            let last = lines.iter().rposition(|line| line["event"] == "acknowledged").unwrap_or(0);
            sum(lines, "acknowledged", "records") == records as u64
                && lines[last..].iter().any(|line| line["event"] == "waiting")
        };
        self.wait(&format!("{records} records delivered"), done);
    }

    /// How often it has said so.
    pub(crate) fn count(&self, event: &str) -> usize {
        let lines = self.told.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.0.iter().filter(|line| line["event"] == event).count()
    }

    /// Waits until it has noticed that it is to end.
    #[track_caller]
    pub(crate) fn notices(&self) {
        self.notes("interrupted");
    }

    /// Waits until it has noted such for people.
    #[track_caller]
    pub(crate) fn notes(&self, text: &str) {
        self.wait(text, |_| self.told.stderr.lock().unwrap_or_else(PoisonError::into_inner).contains(text));
    }

    #[track_caller]
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status().unwrap();
        assert!(status.success());
    }

    /// Does what Ctrl-C does, and waits for the end.
    #[track_caller]
    pub(crate) fn interrupt(self) -> Ended {
        self.signal("INT");
        let ended = self.end();
        assert_eq!(ended.code, Some(130), "{}", ended.stderr);
        ended
    }

    #[track_caller]
    pub(crate) fn end(mut self) -> Ended {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(begun.elapsed() < PATIENCE, "it doesn't end: {:?}", self.told.lines.lock().unwrap().0.last());
            std::thread::sleep(Duration::from_millis(2));
        };
        self.stderr.take().unwrap().join().unwrap();
        let stderr = std::mem::take(&mut *self.told.stderr.lock().unwrap());
        let mut lines = self.told.lines.lock().unwrap();
        while !lines.1 {
            lines = self.told.changed.wait(lines).unwrap();
        }
        Ended { code: status.code(), lines: std::mem::take(&mut lines.0), stderr }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How it ended, and all that it said.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) lines: Vec<Value>,
    pub(crate) stderr: String,
}

impl Ended {
    #[track_caller]
    pub(crate) fn summary(&self) -> &Value {
        let last = self.lines.last().unwrap_or_else(|| panic!("it said nothing: {}", self.stderr));
        assert_eq!(last["event"], "summary", "{}", self.stderr);
        last
    }

    pub(crate) fn of(&self, event: &str) -> Vec<&Value> {
        self.lines.iter().filter(|line| line["event"] == event).collect()
    }

    /// Files that were kept, by their names, and why.
    pub(crate) fn kept(&self) -> Vec<(String, String)> {
        let name = |path: &Value| Path::new(path.as_str().unwrap()).file_name().unwrap().to_str().unwrap().to_owned();
        let kept = self.of("kept").into_iter();
        kept.map(|line| (name(&line["path"]), line["reason"].as_str().unwrap().to_owned())).collect()
    }
}

fn sum(lines: &[Value], event: &str, figure: &str) -> u64 {
    lines.iter().filter(|line| line["event"] == event).filter_map(|line| line[figure].as_u64()).sum()
}
