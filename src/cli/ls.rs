//! `sift-replay ls PATH…`: what is there.

use std::path::Path;

use serde_json::json;

use super::args::{LsArgs, OutputArgs};
use super::exit::{Exit, Failure};
use super::text::{Table, bytes, count, note, number, out, shown, shown_path, time};
use crate::catalog::{Catalog, PbfsFile, SegmentFile, SeqSet, Session, discover};
use crate::format::TimeRange;
use crate::segment::{Event, PbfsEvent, PbfsReader, SegmentError, SegmentReader};

/// What a session or file comes to.
struct Listed {
    records: u64,
    times: TimeRange,
    bytes: u64,
    missing: u64,
    /// What is notable, in words.
    notes: Vec<&'static str>,
}

impl Listed {
    fn new() -> Self {
        Self { records: 0, times: TimeRange::EMPTY, bytes: 0, missing: 0, notes: Vec::new() }
    }

    fn note(&mut self, text: &'static str) {
        if !self.notes.contains(&text) {
            self.notes.push(text);
        }
    }
}

pub(super) fn run(args: &LsArgs, output: &OutputArgs) -> Result<Exit, Failure> {
    let catalog = Catalog::build(discover(&args.paths).map_err(Failure::fatal)?);
    let mut table =
        Table::new(&["session or file", "asset", "run", ">segments", ">records", ">bytes", "first", "last", "notes"]);
    let (mut records, mut missing) = (0, 0);
    for session in &catalog.sessions {
        let listed = list_session(session);
        records = u64::saturating_add(records, listed.records);
        missing = u64::saturating_add(missing, listed.missing);
        if output.json {
            out(session_json(session, &listed));
        } else {
            let requests = session.requests.as_ref();
            let asset = requests.map_or_else(|| "?".to_owned(), |requests| shown(&requests.asset));
            let run = requests.and_then(|requests| requests.run_name.as_ref()).map(shown).unwrap_or_default();
            row(&mut table, [session.id.to_string(), asset, run, number(session.segments.len() as u64)], &listed);
        }
    }
    for PbfsFile { path, .. } in &catalog.pbfs {
        let listed = list_pbfs(path);
        records = u64::saturating_add(records, listed.records);
        if output.json {
            out(pbfs_json(path, &listed));
        } else {
            row(&mut table, [shown_path(path), String::new(), String::new(), "PBFS".to_owned()], &listed);
        }
    }
    if output.json {
        print_json_end(&catalog, records, missing);
    } else {
        print_end(&table, &catalog);
    }
    Ok(Exit::Complete)
}

fn row(table: &mut Table, head: [String; 4], listed: &Listed) {
    let ends = |ns| if listed.times.is_empty() { String::new() } else { time(ns) };
    let mut notes: Vec<String> = listed.notes.iter().map(ToString::to_string).collect();
    if listed.missing > 0 {
        notes.insert(0, format!("{} missing or dropped on board", count(listed.missing, "record", "records")));
    }
    let tail = [
        number(listed.records),
        bytes(listed.bytes),
        ends(listed.times.least),
        ends(listed.times.greatest),
        notes.join(", "),
    ];
    table.row(head.into_iter().chain(tail));
}

fn list_session(session: &Session) -> Listed {
    let mut listed = Listed::new();
    let (mut seqs, mut end) = (SeqSet::new(), 0);
    for file in &session.segments {
        // Files with holes can have any size.
        listed.bytes = listed.bytes.saturating_add(file.bytes);
        if file.open {
            listed.note("not sealed");
        }
        end = end.max(list_segment(file, &mut seqs, &mut listed));
    }
    listed.records = seqs.len();
    listed.missing = seqs.missing_in(0..end).iter().map(|range| range.end - range.start).sum();
    if session.requests.is_none() {
        listed.note("schema lost");
    }
    listed
}

/// From SEAL where there is one; else by reading. Returns the seq behind the last that the segment had.
fn list_segment(file: &SegmentFile, seqs: &mut SeqSet, listed: &mut Listed) -> u64 {
    if let Some(sealed) = &file.sealed {
        listed.times.merge(&sealed.times);
        for range in sealed.seqs.ranges() {
            seqs.insert(range);
        }
        return sealed.end_seq;
    }
    let mut end = 0;
    if read_segment(&file.path, seqs, listed, &mut end).is_err() {
        listed.note("can't be read to its end");
    }
    end
}

fn read_segment(path: &Path, seqs: &mut SeqSet, listed: &mut Listed, end: &mut u64) -> Result<(), SegmentError> {
    let mut reader = SegmentReader::open(path)?;
    while let Some(event) = reader.next_event()? {
        match event {
            Event::Records(batch) => {
                listed.times.merge(&batch.times);
                *end = (*end).max(batch.end_seq());
                seqs.insert(batch.first_seq..batch.end_seq());
            }
            Event::Header(header) => *end = (*end).max(header.first_seq),
            Event::Damage(_) => listed.note("damaged"),
            Event::Torn(_) => listed.note("torn end"),
            Event::Skipped(_) => listed.note("has frames of a later version"),
            Event::Schema(_) | Event::Mark(_) | Event::Seal(_) => {}
        }
    }
    Ok(())
}

fn list_pbfs(path: &Path) -> Listed {
    let mut listed = Listed::new();
    if read_pbfs(path, &mut listed).is_err() {
        listed.note("can't be read to its end");
    }
    listed
}

fn read_pbfs(path: &Path, listed: &mut Listed) -> Result<(), SegmentError> {
    let mut reader = PbfsReader::open(path)?;
    while let Some(event) = reader.next_event()? {
        match event {
            PbfsEvent::Chunk(chunk) => {
                listed.records += u64::from(chunk.count);
                for message in chunk.messages() {
                    let info = crate::format::RecordInfo::parse(message).ok();
                    if let Some(at) = info.and_then(|info| info.timestamp) {
                        listed.times.include(at);
                    }
                }
            }
            PbfsEvent::Damage(_) => listed.note("damaged"),
            PbfsEvent::Torn(_) => listed.note("torn end"),
        }
    }
    listed.bytes = reader.position();
    Ok(())
}

fn print_end(table: &Table, catalog: &Catalog) {
    table.print();
    for file in &catalog.ignored {
        note(format!("ignored: {} ({})", shown_path(&file.path), file.reason.as_str()));
    }
    for file in &catalog.unreadable {
        note(format!("can't be read: {}: {}", shown_path(&file.path), shown(&file.reason)));
    }
}

fn session_json(session: &Session, listed: &Listed) -> serde_json::Value {
    let requests = session.requests.as_ref();
    let segments = session.segments.iter().map(|file| {
        json!({"path": file.path.to_string_lossy(), "index": file.index, "bytes": file.bytes, "sealed": !file.open})
    });
    json!({
        "event": "session", "session": session.id.to_string(), "asset": requests.map(|requests| &requests.asset),
        "run": requests.and_then(|requests| requests.run_name.as_ref()),
        "segments": segments.collect::<Vec<_>>(), "records": listed.records, "missing": listed.missing,
        "bytes": listed.bytes, "first_ns": listed.times.ends().0, "last_ns": listed.times.ends().1,
        "notes": listed.notes,
    })
}

fn pbfs_json(path: &Path, listed: &Listed) -> serde_json::Value {
    json!({
        "event": "pbfs", "path": path.to_string_lossy(), "records": listed.records, "bytes": listed.bytes,
        "first_ns": listed.times.ends().0, "last_ns": listed.times.ends().1, "notes": listed.notes,
    })
}

fn print_json_end(catalog: &Catalog, records: u64, missing: u64) {
    for file in &catalog.ignored {
        out(json!({"event": "ignored", "path": file.path.to_string_lossy(), "reason": file.reason.as_str()}));
    }
    for file in &catalog.unreadable {
        out(json!({"event": "unreadable", "path": file.path.to_string_lossy(), "reason": file.reason}));
    }
    let segments: usize = catalog.sessions.iter().map(|session| session.segments.len()).sum();
    out(json!({
        "event": "summary", "sessions": catalog.sessions.len(), "segments": segments, "pbfs_files": catalog.pbfs.len(),
        "files_ignored": catalog.ignored.len(), "files_unreadable": catalog.unreadable.len(),
        "records_found": records, "records_missing": missing,
    }));
}
