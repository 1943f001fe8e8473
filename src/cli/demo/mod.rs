//! `sift-replay demo`: one flight, from recording to proof. A recorder is cut off, a frame is damaged, everything is
//! replayed into an embedded destination over a real socket, and what arrived is compared bit for bit with what must have
//! been recorded.

mod flight;
mod verify;

use std::io::{BufRead, BufReader, Write};
use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use super::args::{DemoArgs, DemoVehicleArgs, OutputArgs};
use super::exit::{Exit, Failure};
use super::progress::{JsonLines, observer};
use super::runtime;
use super::text::{note, number, shown_path};
use crate::catalog::{Catalog, discover};
use crate::receiver::{Receiver, ReceiverOptions, RecordingStore, Registry, Unobserved};
use crate::record::{RecordError, Recorder, RecorderOptions};
use crate::replay::{Lanes, Observer, ReplayEvent, ReplayOptions, Report, State, Work, replay};
use crate::segment::{Event, SegmentReader};
use crate::sift::{Destination, DestinationOptions};
use verify::{Part, verify};

/// Connections of the replay.
const LANES: NonZeroUsize = NonZeroUsize::MIN;

/// Records between two reports of the recorder that will be cut off.
const REPORT_EVERY: u64 = 500;

const FIRST_RUN: &str = "Demo flight, part 1";
const SECOND_RUN: &str = "Demo flight, part 2";

pub(super) fn run(args: &DemoArgs, output: &OutputArgs) -> Result<Exit, Failure> {
    let (dir, _temporary) = directory(args)?;
    let say = |text: String| {
        if !output.quiet && !output.json {
            note(text);
        }
    };
    let recordings = dir.join("recordings");
    say(format!("1. recording part 1 into {}, at full speed", shown_path(&recordings)));
    let cut = record_until_killed(&recordings, args.records)?;
    say(format!(
        "   killed (SIGKILL) after {} records, of which it had reported {} as durable",
        number(cut.recorded),
        number(cut.durable)
    ));
    say(format!("2. recording part 2, {} records, to its end", number(args.records)));
    let second = record_to_the_end(&recordings, args.records).map_err(Failure::fatal)?;
    let damaged = damage_one_frame(&second)?;
    say(format!("3. flipped one bit in the frame that holds records {} to {}", damaged.start, damaged.end - 1));
    say("4. replaying everything to an embedded destination, over a socket".to_owned());
    let received = dir.join("received");
    let report = replay_into(&recordings, &received, output)?;
    say("5. comparing what arrived with what must have been recorded\n".to_owned());
    let parts = [
        Part { run: FIRST_RUN, reported: cut.recorded, durable: cut.durable, exact: false, damaged: 0..0 },
        Part { run: SECOND_RUN, reported: args.records, durable: args.records, exact: true, damaged },
    ];
    verify(&parts, &report, &received, output)
}

/// Where the demo works; a temporary directory goes when the second value does.
fn directory(args: &DemoArgs) -> Result<(PathBuf, Option<tempfile::TempDir>), Failure> {
    let Some(into) = &args.into else {
        let temporary = tempfile::Builder::new().prefix("sift-replay-demo-").tempdir();
        let temporary =
            temporary.map_err(|error| Failure::fatal(format!("can't make a temporary directory: {error}")))?;
        return Ok((temporary.path().to_owned(), Some(temporary)));
    };
    std::fs::create_dir_all(into)
        .map_err(|error| Failure::fatal(format!("can't create {}: {error}", into.display())))?;
    let empty = std::fs::read_dir(into).is_ok_and(|mut entries| entries.next().is_none());
    if !empty {
        return Err(Failure::new(
            Exit::Usage,
            format!("{} isn't empty: give the demo a directory of its own", into.display()),
        ));
    }
    Ok((into.clone(), None))
}

/// What the recorder that was cut off had said last.
struct Cut {
    recorded: u64,
    durable: u64,
}

/// Lets a child process record until `enough` records are durable, and kills it without warning.
fn record_until_killed(dir: &Path, enough: u64) -> Result<Cut, Failure> {
    let failed = |what: &str, error: &dyn std::fmt::Display| Failure::fatal(format!("{what}: {error}"));
    let program = std::env::current_exe().map_err(|error| failed("can't find this program's file", &error))?;
    let mut child = Command::new(program)
        .arg("demo-vehicle")
        .arg("--into")
        .arg(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| failed("can't start the recording process", &error))?;
    let mut cut = Cut { recorded: 0, durable: 0 };
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            let line = line.map_err(|error| failed("can't hear the recording process", &error))?;
            let mut figures = line.split(' ').map(str::parse);
            if let (Some(Ok(recorded)), Some(Ok(durable))) = (figures.next(), figures.next()) {
                cut = Cut { recorded, durable };
            }
            if cut.durable >= enough {
                break;
            }
        }
    }
    // On Unix this is SIGKILL: no handler runs, no buffer is flushed.
    child.kill().map_err(|error| failed("can't kill the recording process", &error))?;
    child.wait().map_err(|error| failed("can't await the recording process", &error))?;
    if cut.durable < enough {
        return Err(Failure::fatal("the recording process ended by itself; see what it said above"));
    }
    Ok(cut)
}

/// The process that is cut off: records for ever, and says now and then how far it is.
pub(super) fn vehicle(args: &DemoVehicleArgs) -> Result<Exit, Failure> {
    let recorder = Recorder::create(&args.into, &flight::schema(FIRST_RUN), RecorderOptions::default());
    let recorder = recorder.map_err(Failure::fatal)?;
    let flows = flight::flows(&recorder).map_err(Failure::fatal)?;
    let mut stdout = std::io::stdout().lock();
    for n in 0.. {
        flight::record(&recorder, &flows, n).map_err(Failure::fatal)?;
        if n % REPORT_EVERY == 0 && writeln!(stdout, "{} {}", n + 1, recorder.durable_seq()).is_err() {
            // Whoever should kill this process is gone.
            break;
        }
    }
    Ok(Exit::Complete)
}

/// Records `records` records in several segments; returns the directory of the session.
fn record_to_the_end(dir: &Path, records: u64) -> Result<Vec<PathBuf>, RecordError> {
    let options = RecorderOptions { segment_bytes: 1 << 20, ..RecorderOptions::default() };
    let recorder = Recorder::create(dir, &flight::schema(SECOND_RUN), options)?;
    let flows = flight::flows(&recorder)?;
    (0..records).try_for_each(|n| flight::record(&recorder, &flows, n))?;
    recorder.finish()?;
    let entries = std::fs::read_dir(recorder.dir()).into_iter().flatten().flatten();
    let mut segments: Vec<_> = entries.map(|entry| entry.path()).collect();
    segments.sort();
    Ok(segments)
}

/// Flips one bit in the middle of the payload of the frame in the middle of the middle segment; returns its seqs.
fn damage_one_frame(segments: &[PathBuf]) -> Result<Range<u64>, Failure> {
    let middle = segments.get(segments.len() / 2).ok_or_else(|| Failure::fatal("part 2 has left no segment"))?;
    let mut frames = Vec::new();
    let mut reader = SegmentReader::open(middle).map_err(Failure::fatal)?;
    while let Some(event) = reader.next_event().map_err(Failure::fatal)? {
        let records = match &event {
            Event::Records(batch) => Some((batch.offset, batch.first_seq..batch.end_seq())),
            _ => None,
        };
        drop(event);
        frames.extend(records.map(|(offset, seqs)| (offset..reader.position(), seqs)));
    }
    drop(reader);
    let (bytes, seqs) =
        frames.get(frames.len() / 2).ok_or_else(|| Failure::fatal("a segment of part 2 has no frame"))?;
    let mut file = std::fs::read(middle).map_err(Failure::fatal)?;
    let at = (bytes.start + bytes.end) / 2;
    if let Some(byte) = usize::try_from(at).ok().and_then(|at| file.get_mut(at)) {
        *byte ^= 1;
    }
    std::fs::write(middle, file).map_err(Failure::fatal)?;
    Ok(seqs.clone())
}

/// The demo prints the summary itself, as its last line.
struct JsonButSummary;

impl Observer for JsonButSummary {
    fn event(&self, event: &ReplayEvent<'_>) {
        if !matches!(event, ReplayEvent::Summary(_)) {
            JsonLines.event(event);
        }
    }
}

/// Replays over a real socket into a receiver that records into `received`.
fn replay_into(recordings: &Path, received: &Path, output: &OutputArgs) -> Result<Report, Failure> {
    let store = Arc::new(RecordingStore::new(received, RecorderOptions::default()));
    let options = ReceiverOptions { listen: ([127, 0, 0, 1], 0).into(), ..ReceiverOptions::default() };
    let catalog = Catalog::build(discover(&[recordings.to_owned()]).map_err(Failure::fatal)?);
    let observer: Box<dyn Observer> = match output {
        OutputArgs { json: true, .. } => Box::new(JsonButSummary),
        _ => observer(output, None),
    };
    let report = runtime()?.block_on(async {
        let registry = Arc::new(Registry::new());
        let receiver = Receiver::start(options, registry, store.clone(), Arc::new(Unobserved)).await;
        let receiver = receiver.map_err(Failure::fatal)?;
        let uri = Some(format!("http://{}", receiver.local_addr()));
        let destination = Destination::resolve(&DestinationOptions { uri, ..DestinationOptions::default() });
        let destination = destination.map_err(Failure::fatal)?;
        let lanes = Lanes::open(&destination, LANES).await.map_err(Failure::fatal)?;
        // One after the other, so that their order can be checked.
        let options = ReplayOptions { windows_per_lane: 1, ..ReplayOptions::default() };
        let work = Work::once(&[recordings.to_owned()], catalog);
        let report = replay(&lanes, &State::none(), work, &options, &*observer).await;
        drop(lanes);
        receiver.shutdown().await.map_err(Failure::fatal)?;
        Ok(report)
    })?;
    store.finish().map_err(Failure::fatal)?;
    Ok(report)
}
