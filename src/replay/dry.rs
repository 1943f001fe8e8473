//! What would be replayed, without a word to anybody.

use std::time::Instant;

use super::checkpoint::{Checkpoints, Done, PbfsMark};
use super::job::JobState;
use super::observe::{Observer, ReplayEvent};
use super::options::ReplayOptions;
use super::outgoing::Outgoing;
use super::plan::{Job, plan};
use super::read::{Item, Memory, Reading, Selector, pbfs_id, read_job};
use super::report::{Report, add};
use super::slots::Slots;
use crate::catalog::Catalog;
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
    let mut report = Report { dry_run: true, ..Report::of(catalog) };
    for job in plan(catalog, &options.selection) {
        let mut state = JobState::new(job.clone());
        let (done, marks) = known(&job, endpoint, checkpoints);
        let reading = Reading {
            job: job.clone(),
            outgoing: Outgoing::default(),
            window_bytes: options.window_bytes,
            slots: Slots::unlimited(),
            selector: Selector::new(&options.selection),
            done,
            marks,
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

/// What is known to be delivered to an endpoint, whichever organization and run it went to.
fn known(job: &Job, endpoint: Option<&str>, checkpoints: &Checkpoints) -> (Done, Vec<PbfsMark>) {
    let Some(endpoint) = endpoint else { return Default::default() };
    match job {
        Job::Session(session) => (checkpoints.known(endpoint, session.id), Vec::new()),
        Job::Pbfs(file) => {
            let Ok(Some(id)) = pbfs_id(&file.path) else { return Default::default() };
            let targets = checkpoints.list().into_iter().map(|known| known.target);
            let targets = targets.filter(|target| target.endpoint() == endpoint);
            let marks = |target| {
                let delivered = checkpoints.pbfs_delivered(&target, id);
                checkpoints.pbfs_marks(&target, id).into_iter().map(move |mark| mark.without(&delivered))
            };
            let mut marks: Vec<_> = targets.flat_map(marks).collect();
            marks.sort_by_key(|mark| mark.end);
            (Done::default(), marks)
        }
    }
}

fn count(state: &mut JobState, job: &Job, item: Item, observer: &dyn Observer) {
    let JobState { line, findings, .. } = state;
    let totals = &mut line.totals;
    match item {
        Item::Window(window) => totals.records_found += window.records,
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
