//! Notable things, one line each, and no flood of those that are alike.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::words::{damage_text, mark_text, missing_text, origin_text, skipped_text, torn_text, unreadable_text};
use crate::catalog::Catalog;
use crate::cli::text::{bytes, count, duration, number, shown, shown_path};
use crate::replay::{Origin, ReplayEvent};

/// What is alike is told once in so long.
const PAUSE: Duration = Duration::from_secs(10);

/// Different things of one kind about one session or file that are told in that time.
const MOST_DIFFERENT: u32 = 5;

/// Things told of late that are remembered.
const MOST_REMEMBERED: usize = 1000;

/// Tells things that are alike only now and then, and how many there were in the meantime.
#[derive(Debug, Default)]
struct Throttle {
    /// When it was told last, and how many haven't been told since.
    told: HashMap<String, (Instant, u64)>,
    /// Since when so many different ones were told, by kind and origin.
    different: HashMap<String, (Instant, u32)>,
}

impl Throttle {
    /// How many there are to be told, this `amount` included; `None`: later, or in the closing table.
    fn admit(&mut self, kind: &str, what: &str, amount: u64, now: Instant) -> Option<u64> {
        let recent = |at: Instant| now.saturating_duration_since(at) < PAUSE;
        let key = format!("{kind} {what}");
        if let Some((_, untold)) = self.told.get_mut(&key).filter(|(at, _)| recent(*at)) {
            *untold = untold.saturating_add(amount);
            return None;
        }
        if self.told.len().max(self.different.len()) >= MOST_REMEMBERED {
            self.told.retain(|_, (at, _)| recent(*at));
            self.different.retain(|_, (at, _)| recent(*at));
        }
        let full = self.told.len().max(self.different.len()) >= MOST_REMEMBERED;
        match self.different.get_mut(kind).filter(|(at, _)| recent(*at)) {
            Some((_, told)) if *told >= MOST_DIFFERENT => return None,
            Some((_, told)) => *told += 1,
            None if full => {}
            None => drop(self.different.insert(kind.to_owned(), (now, 1))),
        }
        let untold = self.told.remove(&key).map_or(0, |(_, untold)| untold);
        if !full {
            self.told.insert(key, (now, 0));
        }
        Some(untold.saturating_add(amount))
    }
}

/// Turns events into lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    throttle: Throttle,
    /// Sessions, segments, backups that were told last.
    found: Option<(u64, u64, u64)>,
    /// Files that can't be replayed, told once however often directories are searched.
    passed_over: HashSet<PathBuf>,
    /// Whether something has happened since it was said that all is delivered.
    moved: bool,
    /// How long is tried again, told with the first failure.
    patience: Option<String>,
}

impl Lines {
    /// `give_up_after`: how long is tried without progress.
    pub(super) fn new(give_up_after: Option<Duration>) -> Self {
        let how_long = match give_up_after {
            None => "for as long as it takes".to_owned(),
            Some(most) => format!("until there was no progress for {} (--give-up-after)", duration(most)),
        };
        let patience = format!("it is tried again {how_long}; Ctrl-C ends it, and what is acknowledged is remembered");
        Self { patience: Some(patience), ..Self::default() }
    }

    /// What there is to say of an event.
    pub(super) fn texts(&mut self, event: &ReplayEvent<'_>, now: Instant) -> Vec<String> {
        match event {
            ReplayEvent::Found(catalog) => self.found(catalog),
            ReplayEvent::Waiting if !std::mem::take(&mut self.moved) => Vec::new(),
            ReplayEvent::Acknowledged { .. } | ReplayEvent::Passed { .. } => {
                self.moved = true;
                Vec::new()
            }
            event => {
                let text = self.text(event, now);
                let retries = matches!(event, ReplayEvent::Retrying { .. });
                let patience = if retries { self.patience.take() } else { None };
                text.into_iter().chain(patience).collect()
            }
        }
    }

    fn text(&mut self, event: &ReplayEvent<'_>, now: Instant) -> Option<String> {
        Some(match event {
            ReplayEvent::Started { origin: Origin::Pbfs(path), bytes: length, .. } => {
                format!("{}: a backup of the official library, {}", shown_path(path), bytes(*length))
            }
            ReplayEvent::Registered { session, requests, registration } => {
                let run = requests.run_name.as_ref().map(|run| format!(", run {:?}", shown(run))).unwrap_or_default();
                let how = if registration.config_created { "created" } else { "found" };
                format!("session {session}: asset {:?}{run}; ingestion config {how}", shown(&requests.asset))
            }
            ReplayEvent::Damage { path, damage } => format!("damaged: {}", damage_text(path, damage)),
            ReplayEvent::Torn { path, torn } => format!("torn: {}", torn_text(path, torn)),
            ReplayEvent::Unreadable { path, error } => format!("can't be read: {}", unreadable_text(path, error)),
            ReplayEvent::Skipped { path, skipped } => format!("skipped: {}", skipped_text(path, skipped)),
            ReplayEvent::Mark { session, mark, .. } => format!("session {session}: {}", mark_text(mark)?),
            ReplayEvent::Retrying { origin, error, attempt, pause } => {
                let whose = origin.as_ref().map_or_else(|| "connection".to_owned(), origin_text);
                let times = self.throttle.admit(&format!("retry {whose}"), error, 1, now)?;
                let alike = if times > 1 { format!(", {} times of late", number(times)) } else { String::new() };
                let pause = pause.as_secs_f64();
                format!("{whose}: {}; trying again in {pause:.1} s (attempt {attempt} failed{alike})", shown(error))
            }
            ReplayEvent::DeadLettered { origin, records, reason } => {
                let whose = origin_text(origin);
                let records = self.throttle.admit(&format!("dead {whose}"), "", *records, now)?;
                let records = count(records, "record is", "records are");
                format!("{whose}: {records} refused and kept as dead letters: {}", shown(reason))
            }
            ReplayEvent::Retired { path, archived: None } => format!("deleted: {}", shown_path(path)),
            ReplayEvent::Retired { path, archived: Some(to) } => {
                format!("archived: {} is now {}", shown_path(path), shown_path(to))
            }
            ReplayEvent::Kept { path, reason } => format!("kept: {}: {}", shown_path(path), shown(reason)),
            ReplayEvent::Waiting => "all that is there is delivered; waiting for more (Ctrl-C ends)".to_owned(),
            ReplayEvent::Refused { origin, reason } => {
                let whose = origin_text(origin);
                let times = self.throttle.admit(&format!("refused {whose}"), reason, 1, now)?;
                let alike = if times > 1 { format!(" ({} times of late)", number(times)) } else { String::new() };
                format!("{whose}: {}{alike}", shown(reason))
            }
            ReplayEvent::Missing { session, seqs } => format!("missing: {}", missing_text(*session, seqs)),
            ReplayEvent::Found(_)
            | ReplayEvent::Started { .. }
            | ReplayEvent::Acknowledged { .. }
            | ReplayEvent::Passed { .. }
            | ReplayEvent::Summary(_) => return None,
        })
    }

    fn found(&mut self, catalog: &Catalog) -> Vec<String> {
        let segments = catalog.sessions.iter().map(|session| session.segments.len() as u64).sum();
        let found = (catalog.sessions.len() as u64, segments, catalog.pbfs.len() as u64);
        let mut texts = Vec::new();
        if self.found.replace(found) != Some(found) {
            texts.push(format!(
                "found {} in {}, {} of the official library",
                count(found.0, "session", "sessions"),
                count(found.1, "segment", "segments"),
                count(found.2, "backup", "backups")
            ));
        }
        for file in &catalog.ignored {
            if self.passed_over.insert(file.path.clone()) {
                texts.push(format!("ignored: {} ({})", shown_path(&file.path), file.reason.as_str()));
            }
        }
        for file in &catalog.unreadable {
            if self.passed_over.insert(file.path.clone()) {
                texts.push(format!("can't be read: {}: {}", shown_path(&file.path), shown(&file.reason)));
            }
        }
        texts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use uuid::Uuid;

    const ORIGIN: Origin<'static> = Origin::Session(Uuid::nil());

    fn retrying(error: &str) -> ReplayEvent<'_> {
        ReplayEvent::Retrying { origin: Some(ORIGIN), error, attempt: 3, pause: Duration::from_millis(1250) }
    }

    #[test]
    fn the_same_error_is_counted_not_repeated() {
        let start = Instant::now();
        let mut lines = Lines::default();
        let first = lines.texts(&retrying("no route"), start);
        let whose = origin_text(&ORIGIN);
        assert_eq!(first, [format!("{whose}: no route; trying again in 1.2 s (attempt 3 failed)")]);
        for ms in 1..10_000 {
            assert_eq!(lines.texts(&retrying("no route"), start + Duration::from_millis(ms)), [""; 0]);
        }
        assert_eq!(lines.texts(&retrying("another"), start).len(), 1, "another error is told");
        let connection = ReplayEvent::Retrying { origin: None, error: "no route", attempt: 1, pause: Duration::ZERO };
        assert_eq!(lines.texts(&connection, start).len(), 1, "and that of somebody else");
        let later = lines.texts(&retrying("no route"), start + PAUSE);
        assert!(later[0].contains("10,000 times of late"), "{later:?}");
    }

    #[test]
    fn how_long_is_tried_again_is_told_once() {
        let now = Instant::now();
        let told = |give_up_after| {
            let mut lines = Lines::new(give_up_after);
            let texts = lines.texts(&retrying("no route"), now);
            assert_eq!(lines.texts(&retrying("another"), now).len(), 1);
            assert_eq!(texts.len(), 2, "{texts:?}");
            texts.into_iter().next_back().unwrap()
        };
        assert!(told(Some(Duration::from_secs(900))).contains("for 15 min (--give-up-after); Ctrl-C ends it"));
        assert!(told(Some(Duration::from_millis(500))).contains("for 0.5 s"));
        assert!(told(None).contains("as long as it takes; Ctrl-C ends it"));
    }

    #[test]
    fn ten_thousand_dead_letters_are_a_few_lines_and_each_is_counted() {
        let start = Instant::now();
        let mut lines = Lines::default();
        let mut told = Vec::new();
        for number in 0..10_001 {
            let reason = format!("request {number} is bad\x1b[2J");
            let event = ReplayEvent::DeadLettered { origin: ORIGIN, records: 1, reason: &reason };
            told.extend(lines.texts(&event, start + Duration::from_millis(number)));
        }
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].contains("1 record is refused") && told[1].contains("10,000 records are refused"), "{told:?}");
        assert!(!told[0].contains('\x1b'), "{told:?}");
    }

    #[test]
    fn errors_that_differ_each_time_are_no_flood_either() {
        let start = Instant::now();
        let mut lines = Lines::default();
        let mut told = 0;
        for number in 0..10_000 {
            let reason = format!("record {number} is bad");
            let event = ReplayEvent::Refused { origin: ORIGIN, reason: &reason };
            told += lines.texts(&event, start).len();
        }
        assert_eq!(told, MOST_DIFFERENT as usize);
        let event = ReplayEvent::Refused { origin: ORIGIN, reason: "the last" };
        assert_eq!(lines.texts(&event, start + PAUSE).len(), 1);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_each_origin_is_told_of() {
        let start = Instant::now();
        let mut lines = Lines::default();
        for number in 0..3 * MOST_REMEMBERED as u128 {
            let origin = Some(Origin::Session(Uuid::from_u128(number)));
            let event = ReplayEvent::Retrying { origin, error: "x", attempt: 1, pause: PAUSE };
            assert_eq!(lines.texts(&event, start).len(), 1);
        }
        assert_eq!((lines.throttle.told.len(), lines.throttle.different.len()), (MOST_REMEMBERED, MOST_REMEMBERED));
        lines.texts(&retrying("later"), start + PAUSE);
        assert_eq!((lines.throttle.told.len(), lines.throttle.different.len()), (1, 1));
    }

    #[test]
    fn waiting_is_told_once_until_something_was_delivered() {
        let now = Instant::now();
        let mut lines = Lines::default();
        let delivered = ReplayEvent::Acknowledged { origin: ORIGIN, records: 1, bytes: 1, read: 1 };
        assert_eq!(lines.texts(&ReplayEvent::Waiting, now), [""; 0]);
        for _ in 0..2 {
            lines.texts(&delivered, now);
            assert_eq!(lines.texts(&ReplayEvent::Waiting, now).len(), 1);
            assert_eq!(lines.texts(&ReplayEvent::Waiting, now), [""; 0]);
        }
    }

    #[test]
    fn searching_again_tells_what_is_new() {
        use crate::catalog::{Fingerprint, PbfsFile, Unreadable};
        let now = Instant::now();
        let mut lines = Lines::default();
        let mut catalog = Catalog::default();
        catalog.unreadable.push(Unreadable { path: "bad".into(), reason: "torn\nup".to_owned() });
        assert_eq!(lines.texts(&ReplayEvent::Found(&catalog), now).len(), 2);
        assert_eq!(lines.texts(&ReplayEvent::Found(&catalog), now), [""; 0]);
        catalog.pbfs.push(PbfsFile { path: "new".into(), bytes: 0, fingerprint: Fingerprint::default() });
        assert_eq!(lines.texts(&ReplayEvent::Found(&catalog), now).len(), 1);
    }

    #[test]
    fn names_of_retired_files_can_not_command_the_terminal() {
        let now = Instant::now();
        let mut lines = Lines::default();
        let (path, to) = (Path::new("a\x1b[2J"), Path::new("b\nc"));
        for event in [
            ReplayEvent::Retired { path, archived: Some(to) },
            ReplayEvent::Retired { path, archived: None },
            ReplayEvent::Kept { path, reason: "damaged\r" },
            ReplayEvent::Refused { origin: Origin::Pbfs(path), reason: "\x07" },
        ] {
            let texts = lines.texts(&event, now);
            assert!(texts.len() == 1 && !texts[0].contains(char::is_control), "{texts:?}");
        }
    }
}
