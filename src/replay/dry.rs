//! What would be replayed, without a word to anybody.

use std::time::Instant;

use super::checkpoint::{Checkpoints, Done};
use super::job::{JobState, PBFS_AS_ANOTHER};
use super::observe::{Observer, ReplayEvent};
use super::options::ReplayOptions;
use super::outgoing::Outgoing;
use super::plan::{Job, not_selected, plan, schema_is_lost, schema_unreadable, sift_requests};
use super::read::{Item, Memory, PbfsDelivered, Reading, Selector, pbfs_id, read_job};
use super::report::{Report, add};
use super::slots::Slots;
use super::target::Target;
use crate::catalog::{Catalog, SeqSet};
use crate::format::Mark;

/// Reads and counts what a replay of `catalog` would send to `endpoint` (a destination's
/// [`name`](crate::sift::Destination::name)), or to a place that has nothing yet. Nothing is sent or written. Blocks.
pub fn dry_run(
    catalog: &Catalog,
    endpoint: Option<&str>,
    checkpoints: &Checkpoints,
    options: &ReplayOptions,
    observer: &dyn Observer,
) -> Report {
    let began = Instant::now();
    observer.event(&ReplayEvent::Found(catalog));
    let jobs = plan(catalog, &options.selection);
    let files_not_selected = not_selected(catalog, &jobs);
    let mut report = Report { dry_run: true, files_not_selected, ..Report::of(catalog) };
    for job in jobs {
        let mut state = JobState::new(job.clone());
        let (done, delivered) = known(&job, endpoint, checkpoints, options);
        state.line.refusal = refusal(&job, options);
        let reading = Reading {
            held: SeqSet::new(),
            job: job.clone(),
            outgoing: Outgoing::default(),
            window_size: options.window_size(),
            slots: Slots::unlimited(),
            selector: Selector::new(&options.selection),
            done,
            delivered,
        };
        let mut count = |item| {
            count(&mut state, &job, item, observer);
            Ok(())
        };
        // Nobody hangs up.
        let _ = read_job(reading, &mut Memory::default(), &mut count);
        report.files_unreadable += state.findings.unreadable();
        report.lines.push(state.line(true));
    }
    report.elapsed = began.elapsed();
    report.sum();
    observer.event(&ReplayEvent::Summary(&report));
    report
}

/// What is known to be delivered to an endpoint, as what it would be now, whichever organization it went to.
fn known(
    job: &Job,
    endpoint: Option<&str>,
    checkpoints: &Checkpoints,
    options: &ReplayOptions,
) -> (Done, Vec<PbfsDelivered>) {
    let Some(endpoint) = endpoint else { return Default::default() };
    let target = Target::new(endpoint, None, &options.rewrite);
    match job {
        Job::Session(session) => (checkpoints.done_for(|known| known.anywhere() == target, session.id), Vec::new()),
        Job::Pbfs(file) => {
            let Ok(Some(id)) = pbfs_id(&file.path) else { return Default::default() };
            let known = checkpoints.pbfs_marks_for(|known| known.anywhere().part_of(&target), id).into_iter();
            let known = known.map(|(selection, marks, since)| {
                let selector = Selector::new(&selection);
                PbfsDelivered { selector, marks, since, own: false }
            });
            (Done::default(), known.collect())
        }
    }
}

/// Why nothing of it could be sent, as far as that can be told from here.
fn refusal(job: &Job, options: &ReplayOptions) -> Option<String> {
    match job {
        Job::Pbfs(_) => options.rewrite.asset.as_ref().map(|_| PBFS_AS_ANOTHER.to_owned()),
        Job::Session(session) => match &session.requests {
            None => Some(schema_is_lost(session.id)),
            Some(requests) => sift_requests(requests).err().map(|error| schema_unreadable(session.id, &error)),
        },
    }
}

fn count(state: &mut JobState, job: &Job, item: Item, observer: &dyn Observer) {
    let JobState { line, findings, .. } = state;
    let totals = &mut line.totals;
    match item {
        Item::Window(window) => {
            totals.records_found += window.records;
            if line.refusal.is_some() {
                add(&mut totals.records_refused, window.records);
            }
        }
        Item::Passed(passed) => passed.count(totals),
        Item::Mark(message) => {
            if let Some(Mark::Dropped(dropped)) = &message.mark {
                add(&mut totals.records_dropped_on_board, dropped.records);
            }
        }
        Item::Skipped(path, skipped, records) => {
            add(&mut totals.records_unreadable, records);
            observer.event(&ReplayEvent::Skipped { path: &path, skipped: &skipped });
        }
        Item::Flows(_) => {}
        other => findings.note(other, job.origin(), false, observer),
    }
}
