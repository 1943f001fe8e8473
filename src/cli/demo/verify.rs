//! The proof: what must have been recorded against what arrived.

use std::ops::Range;
use std::path::Path;

use prost::Message;
use serde_json::json;

use super::flight;
use crate::catalog::{Catalog, Session, discover};
use crate::cli::args::OutputArgs;
use crate::cli::exit::{Exit, Failure};
use crate::cli::progress::summary_json;
use crate::cli::text::{Table, number, out};
use crate::replay::{Line, Report};
use crate::segment::{Event, SegmentReader};

/// One recording of the demo.
pub(super) struct Part {
    pub(super) run: &'static str,
    /// Records that the recorder had taken when it last said so.
    pub(super) reported: u64,
    /// Records that it had reported as durable.
    pub(super) durable: u64,
    /// Whether it was finished in order, so that exactly `reported` records must be there.
    pub(super) exact: bool,
    /// Seqs of the damaged frame.
    pub(super) damaged: Range<u64>,
}

/// What became of a part.
struct Outcome {
    /// Records that the files hold or held: all of them, from 0 on.
    kept: u64,
    line: Line,
    arrived: u64,
    /// The first record that arrived otherwise than it must have been recorded.
    first_difference: Option<u64>,
    checks: Vec<(&'static str, bool)>,
}

/// Compares, prints the table, and says whether everything adds up.
pub(super) fn verify(parts: &[Part], report: &Report, received: &Path, output: &OutputArgs) -> Result<Exit, Failure> {
    let catalog = Catalog::build(discover(&[received.to_owned()]).map_err(Failure::fatal)?);
    let mut outcomes = Vec::new();
    for part in parts {
        let line = report.lines.iter().find(|line| line.run.as_deref() == Some(part.run));
        let line = line.ok_or_else(|| Failure::fatal(format!("{:?} was not replayed at all", part.run)))?;
        outcomes.push(compare(part, line, &catalog)?);
    }
    let sound = outcomes.iter().all(|outcome| outcome.checks.iter().all(|(_, holds)| *holds));
    if output.json {
        print_json(parts, &outcomes, sound, report);
    } else {
        print_table(parts, &outcomes);
        out(if sound { "\nEverything adds up." } else { "\nIT DOES NOT ADD UP: see the lines marked FAILED." });
    }
    Ok(if sound { Exit::Complete } else { Exit::Fatal })
}

fn compare(part: &Part, line: &Line, received: &Catalog) -> Result<Outcome, Failure> {
    let totals = line.totals;
    let kept = totals.records_found + totals.records_missing;
    let mut expected = (0..kept).filter(|seq| !part.damaged.contains(seq));
    let (mut arrived, mut first_difference) = (0, None);
    let sessions = received.sessions.iter().filter(|session| {
        session.requests.as_ref().and_then(|requests| requests.run_name.as_deref()) == Some(part.run)
    });
    for session in sessions {
        each_record(session, |record| {
            arrived += 1;
            let seq = expected.next();
            let same = seq.is_some_and(|seq| flight::expected(seq).encode_to_vec() == record);
            if !same {
                first_difference = first_difference.or(Some(arrived - 1));
            }
        })?;
    }
    let left = expected.next();
    let damaged = part.damaged.end - part.damaged.start;
    let mut checks = vec![
        ("what was durable when the recorder ended is there", kept >= part.durable),
        ("the damage cost exactly the frame that it hit", totals.records_missing == damaged),
        ("the damage was reported", totals.damaged_places == u64::from(damaged > 0)),
        ("all that was found was acknowledged", totals.records_acknowledged == totals.records_found),
        ("each of those arrived once", arrived == totals.records_found && left.is_none()),
        ("in order, bit for bit", first_difference.is_none()),
    ];
    if part.exact {
        checks.push(("exactly what was recorded was there", kept == part.reported));
    }
    Ok(Outcome { kept, line: line.clone(), arrived, first_difference, checks })
}

fn each_record(session: &Session, mut record: impl FnMut(&[u8])) -> Result<(), Failure> {
    for file in &session.segments {
        let mut reader = SegmentReader::open(&file.path).map_err(Failure::fatal)?;
        while let Some(event) = reader.next_event().map_err(Failure::fatal)? {
            if let Event::Records(batch) = event {
                batch.records().for_each(&mut record);
            }
        }
    }
    Ok(())
}

fn print_table(parts: &[Part], outcomes: &[Outcome]) {
    let mut table = Table::new(&["", ">part 1: cut off", ">part 2: damaged"]);
    let mut row = |name: &str, value: &dyn Fn(&Part, &Outcome) -> u64| {
        let cells = parts.iter().zip(outcomes).map(|(part, outcome)| number(value(part, outcome)));
        table.row(std::iter::once(name.to_owned()).chain(cells));
    };
    row("records taken, as last reported", &|part, _| part.reported);
    row("reported durable before the end", &|part, _| part.durable);
    row("kept in the files", &|_, outcome| outcome.kept);
    row("cost of the cut (taken, not yet durable)", &|part, outcome| part.reported.saturating_sub(outcome.kept));
    row("cost of the damage (one frame)", &|_, outcome| outcome.line.totals.records_missing);
    row("readable", &|_, outcome| outcome.line.totals.records_found);
    row("acknowledged by the destination", &|_, outcome| outcome.line.totals.records_acknowledged);
    row("arrived there, on stable storage", &|_, outcome| outcome.arrived);
    table.print();
    out("");
    for (part, outcome) in parts.iter().zip(outcomes) {
        for (check, holds) in &outcome.checks {
            out(format!("{} {}: {check}", if *holds { "ok    " } else { "FAILED" }, part.run));
        }
        if let Some(at) = outcome.first_difference {
            out(format!("       the first that differs is number {at} of those that arrived"));
        }
    }
}

fn print_json(parts: &[Part], outcomes: &[Outcome], sound: bool, report: &Report) {
    let parts = parts.iter().zip(outcomes).map(|(part, outcome)| {
        let checks: serde_json::Map<_, _> =
            outcome.checks.iter().map(|(check, holds)| ((*check).to_owned(), (*holds).into())).collect();
        json!({
            "run": part.run, "reported": part.reported, "durable": part.durable, "kept": outcome.kept,
            "damaged": part.damaged.end - part.damaged.start, "found": outcome.line.totals.records_found,
            "acknowledged": outcome.line.totals.records_acknowledged, "arrived": outcome.arrived, "checks": checks,
        })
    });
    out(json!({"event": "demo", "parts": parts.collect::<Vec<_>>(), "adds_up": sound}));
    out(summary_json(report));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::demo::flight;
    use crate::record::{Recorder, RecorderOptions};
    use crate::replay::Totals;

    const RUN: &str = "Demo flight, part 1";
    const RECORDS: u64 = 2000;

    /// What arrived: records `0..RECORDS` of the flight, but for those that `change` leaves out or alters.
    fn received(change: impl Fn(u64) -> Option<u64>) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let recorder = Recorder::create(dir.path(), &flight::schema(RUN), RecorderOptions::default()).unwrap();
        for n in (0..RECORDS).filter_map(change) {
            let _ = recorder.record_message(&flight::expected(n)).unwrap();
        }
        recorder.finish().unwrap();
        dir
    }

    fn part() -> Part {
        Part { run: RUN, reported: RECORDS, durable: RECORDS, exact: true, damaged: 0..0 }
    }

    fn line() -> Line {
        let totals = Totals { records_found: RECORDS, records_acknowledged: RECORDS, ..Totals::default() };
        Line { origin: String::new(), asset: None, run: Some(RUN.to_owned()), totals, refusal: None }
    }

    /// The checks that fail.
    fn failed(part: &Part, line: &Line, received: &Path) -> Vec<&'static str> {
        let catalog = Catalog::build(discover(&[received.to_owned()]).unwrap());
        let checks = compare(part, line, &catalog).unwrap().checks;
        checks.into_iter().filter(|(_, holds)| !holds).map(|(check, _)| check).collect()
    }

    const ONCE: &str = "each of those arrived once";
    const BITS: &str = "in order, bit for bit";

    #[test]
    fn what_arrived_whole_adds_up() {
        assert_eq!(failed(&part(), &line(), received(Some).path()), [""; 0]);
    }

    #[test]
    fn the_proof_fails_when_a_record_is_lost_doubled_swapped_or_altered() {
        let lost = received(|n| (n != 700).then_some(n));
        assert_eq!(failed(&part(), &line(), lost.path()), [ONCE, BITS]);
        let last_lost = received(|n| (n != RECORDS - 1).then_some(n));
        assert_eq!(failed(&part(), &line(), last_lost.path()), [ONCE]);
        let swapped = received(|n| Some(if n == 7 || n == 8 { 15 - n } else { n }));
        assert_eq!(failed(&part(), &line(), swapped.path()), [BITS]);
        let altered = received(|n| Some(if n == 7 { 1007 } else { n }));
        assert_eq!(failed(&part(), &line(), altered.path()), [BITS]);
        let whole = received(Some);
        let doubled = received(Some);
        for entry in std::fs::read_dir(session_dir(doubled.path())).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, session_dir(whole.path()).join(path.file_name().unwrap())).unwrap();
        }
        assert_eq!(failed(&part(), &line(), whole.path()), [ONCE, BITS]);
    }

    #[test]
    fn the_proof_fails_when_a_received_segment_is_corrupted() {
        let received = received(Some);
        let segment = std::fs::read_dir(session_dir(received.path())).unwrap().next().unwrap().unwrap().path();
        let mut bytes = std::fs::read(&segment).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&segment, bytes).unwrap();
        assert!(failed(&part(), &line(), received.path()).contains(&ONCE));
    }

    #[test]
    fn the_proof_fails_when_the_figures_do_not_fit() {
        let received = received(Some);
        let durable = Part { durable: RECORDS + 1, exact: false, ..part() };
        assert_eq!(failed(&durable, &line(), received.path()), ["what was durable when the recorder ended is there"]);
        let totals = Totals { records_acknowledged: RECORDS - 1, ..line().totals };
        let unacknowledged = Line { totals, ..line() };
        assert_eq!(failed(&part(), &unacknowledged, received.path()), ["all that was found was acknowledged"]);
        let exact = Part { reported: RECORDS + 1, ..part() };
        assert_eq!(failed(&exact, &line(), received.path()), ["exactly what was recorded was there"]);
        let unreported = Part { damaged: 5..9, ..part() };
        assert!(failed(&unreported, &line(), received.path()).contains(&"the damage was reported"));
    }

    fn session_dir(root: &Path) -> std::path::PathBuf {
        crate::segment::session_dir(root, "demo-drone", Some(RUN))
    }
}
