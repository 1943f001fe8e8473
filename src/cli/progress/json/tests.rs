//! What is emitted is what the README says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use uuid::Uuid;

use super::*;
use crate::catalog::{ForeignReason, Ignored, Requests, Unreadable};
use crate::format::Mark;
use crate::format::{Damage, DamageCause, Torn};
use crate::segment::{SegmentError, SkipReason, Skipped};
use crate::sift::Registration;

/// The README's table: per event all that is set as code in its row.
fn table() -> BTreeMap<String, BTreeSet<String>> {
    let readme = include_str!("../../../../README.md");
    let section = readme.split("\n## JSON\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let code = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let mut table = BTreeMap::new();
    for row in section.lines().filter(|line| line.starts_with("| `")) {
        let (events, fields) = row.trim_matches('|').split_once('|').unwrap();
        for event in code(events).into_iter().filter(|name| name != "event") {
            table.insert(event, code(fields).into_iter().collect());
        }
    }
    table
}

/// One of each.
fn all() -> Vec<Value> {
    let (session, path, seqs) = (Uuid::nil(), Path::new("file"), 1..2);
    let origin = Origin::Session(session);
    let mut catalog = Catalog::default();
    catalog.ignored.push(Ignored { path: path.into(), reason: ForeignReason::Empty });
    catalog.unreadable.push(Unreadable { path: path.into(), reason: "why".to_owned() });
    let requests =
        Requests { ingestion_config: [].into(), run: None, asset: "a".to_owned(), run_id: None, run_name: None };
    let registration = Registration {
        ingestion_config_id: "c".to_owned(),
        asset_id: "a".to_owned(),
        run_id: None,
        config_created: true,
        run_created: false,
    };
    let damage = Damage { offset: 1, len: 2, cause: DamageCause::NoFrame, seqs: Some(seqs.clone()) };
    let torn = Torn { offset: 1, len: 2, seqs: None };
    let error = SegmentError::Abandoned { path: path.into() };
    let skipped = Skipped { offset: 1, len: 2, reason: SkipReason::UnknownKind(9), seqs: None };
    let mark = Mark::Note("note".to_owned());
    let report = Report::default();
    let events = [
        ReplayEvent::Started { origin, asset: None, bytes: 1 },
        ReplayEvent::Registered { session, requests: &requests, registration: &registration },
        ReplayEvent::Damage { path, damage: &damage },
        ReplayEvent::Torn { path, torn: &torn },
        ReplayEvent::Unreadable { path, error: &error },
        ReplayEvent::Skipped { path, skipped: &skipped },
        ReplayEvent::Mark { session, wall_clock_ns: 1, mark: &mark },
        ReplayEvent::Acknowledged { origin, records: 1, bytes: 2, read: 3 },
        ReplayEvent::Passed { origin, records: 1, read: 3 },
        ReplayEvent::Retrying { origin: None, error: "e", attempt: 1, pause: Duration::from_millis(1500) },
        ReplayEvent::DeadLettered { origin: Origin::Pbfs(path), records: 1, reason: "r" },
        ReplayEvent::Retired { path, archived: None },
        ReplayEvent::Kept { path, reason: "r" },
        ReplayEvent::Waiting,
        ReplayEvent::Refused { origin, reason: "r" },
        ReplayEvent::Missing { session, seqs: &seqs },
        ReplayEvent::Summary(&report),
    ];
    found_json(&catalog).into_iter().chain(events.iter().map(event_json)).collect()
}

#[test]
fn each_event_stands_in_the_readme_with_each_of_its_fields() {
    let table = table();
    let mut emitted = BTreeSet::new();
    for value in all() {
        let event = value["event"].as_str().unwrap_or_else(|| panic!("no event: {value}"));
        let fields = table.get(event).unwrap_or_else(|| panic!("{event} isn't in the README"));
        for field in value.as_object().unwrap().keys().filter(|field| *field != "event") {
            assert!(fields.contains(field), "{event}: {field} isn't in the README");
        }
        emitted.insert(event.to_owned());
    }
    let listed: BTreeSet<_> = table.into_keys().collect();
    assert_eq!(emitted, listed, "the README lists what is emitted, and nothing else");
}

#[test]
fn what_there_is_none_of_is_null() {
    let all = all();
    let find = |event: &str| all.iter().find(|value| value["event"] == event).unwrap();
    assert_eq!(find("retrying")["origin"], Value::Null);
    assert_eq!(find("retrying")["pause_seconds"], 1.5);
    assert_eq!(find("retired")["archived"], Value::Null);
    assert_eq!(find("started")["asset"], Value::Null);
    assert_eq!(find("dead_lettered")["origin"], json!({"path": "file"}));
}
