//! How far a replay is: events in, texts out. Time comes from outside.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::meter::{Amount, Meter, Speed};
use crate::catalog::Catalog;
use crate::cli::text::{bytes, count, number, shown, shown_path};
use crate::replay::{Origin, ReplayEvent};

/// Bars of sessions and files that are shown at once.
const MOST_BARS: usize = 8;

/// Characters of a bar, and of the name before it.
const BAR_CHARS: u64 = 20;
const LABEL_CHARS: usize = 32;

/// What isn't in any record (headers, indexes) may never be reported as read: what is nearly through and rests is taken
/// for finished.
const RESTS: Duration = Duration::from_secs(5);

/// Whose records, kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Session(Uuid),
    Pbfs(PathBuf),
}

impl From<&Origin<'_>> for Key {
    fn from(origin: &Origin<'_>) -> Self {
        match origin {
            Origin::Session(session) => Self::Session(*session),
            Origin::Pbfs(path) => Self::Pbfs(path.to_path_buf()),
        }
    }
}

/// A session or file.
#[derive(Debug)]
struct Work {
    name: String,
    run: Option<String>,
    /// Bytes of its files.
    bytes: u64,
    read: u64,
    /// Since when, if it is being read.
    meter: Option<Meter>,
    latest: Instant,
}

impl Work {
    fn is_running(&self, now: Instant) -> bool {
        let nearly = self.read >= self.bytes - self.bytes / 50;
        let rests = now.saturating_duration_since(self.latest) >= RESTS;
        self.meter.is_some() && self.read < self.bytes && !(nearly && rests)
    }

    fn text(&self, now: Instant) -> String {
        let run = self.run.as_ref().map(|run| format!(", {run}")).unwrap_or_default();
        let label = clipped(&format!("{}{run}", self.name));
        let speed = self.meter.as_ref().map(|meter| meter.speed(now)).unwrap_or_default();
        format!("{label:<LABEL_CHARS$} {}  {}", bar(self.read, self.bytes), pace(&speed, self.bytes - self.read))
    }
}

/// What bars show.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct View {
    /// One line for all.
    pub(super) total: String,
    /// One for each that is running, a few at most.
    pub(super) running: Vec<String>,
}

/// How far it is.
#[derive(Debug)]
pub(super) struct Progress {
    works: BTreeMap<Key, Work>,
    meter: Meter,
    /// Of passes over files that have grown since and are read again.
    earlier: u64,
    acknowledged: u64,
    passed: u64,
    retries: u64,
    dead_letters: u64,
    waiting: bool,
    /// What the last line told.
    told: (u64, u64, u64, u64, bool),
}

impl Progress {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            works: BTreeMap::new(),
            meter: Meter::new(now),
            earlier: 0,
            acknowledged: 0,
            passed: 0,
            retries: 0,
            dead_letters: 0,
            waiting: false,
            told: (0, 0, 0, 0, false),
        }
    }

    pub(super) fn event(&mut self, event: &ReplayEvent<'_>, now: Instant) {
        match event {
            ReplayEvent::Found(catalog) => self.found(catalog, now),
            ReplayEvent::Started { origin, asset, bytes } => self.started(origin, *asset, *bytes, now),
            ReplayEvent::Registered { session, requests, .. } => {
                let work = self.work(&Origin::Session(*session), now);
                work.name = shown(&requests.asset);
                work.run = requests.run_name.as_ref().map(shown);
            }
            ReplayEvent::Acknowledged { origin, records, bytes, read } => {
                self.acknowledged = self.acknowledged.saturating_add(*records);
                self.moved(origin, Amount { records: *records, bytes: *bytes, read: *read }, now);
            }
            ReplayEvent::Passed { origin, records, read } => {
                self.passed = self.passed.saturating_add(*records);
                self.moved(origin, Amount { read: *read, ..Amount::default() }, now);
            }
            ReplayEvent::Retrying { .. } => self.retries = self.retries.saturating_add(1),
            ReplayEvent::DeadLettered { records, .. } => {
                self.dead_letters = self.dead_letters.saturating_add(*records);
            }
            ReplayEvent::Waiting => self.waiting = true,
            _ => {}
        }
    }

    /// What there is to do, so that the whole is known before it is begun.
    fn found(&mut self, catalog: &Catalog, now: Instant) {
        for session in &catalog.sessions {
            let bytes = session.segments.iter().map(|segment| segment.bytes).sum();
            self.planned(&Origin::Session(session.id), bytes, now);
        }
        for file in &catalog.pbfs {
            self.planned(&Origin::Pbfs(&file.path), file.bytes, now);
        }
    }

    fn planned(&mut self, origin: &Origin<'_>, bytes: u64, now: Instant) {
        let work = self.work(origin, now);
        if work.meter.is_none() {
            work.bytes = bytes;
        }
    }

    fn started(&mut self, origin: &Origin<'_>, asset: Option<&str>, bytes: u64, now: Instant) {
        let work = self.work(origin, now);
        if let Some(asset) = asset {
            work.name = shown(asset);
        }
        let before = std::mem::take(&mut work.read);
        work.bytes = bytes;
        work.meter = Some(Meter::new(now));
        work.latest = now;
        self.earlier = self.earlier.saturating_add(before);
        self.waiting = false;
    }

    fn moved(&mut self, origin: &Origin<'_>, amount: Amount, now: Instant) {
        self.meter.add(amount, now);
        self.waiting = false;
        let work = self.work(origin, now);
        // A file may have grown since.
        work.read = work.read.saturating_add(amount.read).min(work.bytes);
        work.latest = now;
        work.meter.get_or_insert_with(|| Meter::new(now)).add(amount, now);
    }

    fn work(&mut self, origin: &Origin<'_>, now: Instant) -> &mut Work {
        let name = match origin {
            Origin::Session(session) => session.to_string(),
            Origin::Pbfs(path) => {
                path.file_name().map_or_else(|| shown_path(path), |name| shown(name.to_string_lossy()))
            }
        };
        let new = || Work { name, run: None, bytes: 0, read: 0, meter: None, latest: now };
        self.works.entry(origin.into()).or_insert_with(new)
    }

    /// Bytes read, and bytes of all files.
    fn extent(&self) -> (u64, u64) {
        let sum = |of: fn(&Work) -> u64| {
            self.works.values().map(of).fold(self.earlier, |sum, figure| sum.saturating_add(figure))
        };
        (sum(|work| work.read), sum(|work| work.bytes))
    }

    /// What went wrong on the way, where something did.
    fn troubles(&self) -> String {
        let mut text = String::new();
        if self.retries > 0 {
            text.push_str(&format!("  {}", count(self.retries, "retry", "retries")));
        }
        if self.dead_letters > 0 {
            text.push_str(&format!("  {}", count(self.dead_letters, "dead letter", "dead letters")));
        }
        text
    }

    /// What bars show now.
    pub(super) fn view(&self, now: Instant) -> View {
        let (read, all) = self.extent();
        let mut running: Vec<&Work> = self.works.values().filter(|work| work.is_running(now)).collect();
        // The latest first, so that what rests makes room; then by name, so that bars keep their places.
        running.sort_by_key(|work| std::cmp::Reverse(work.latest));
        let more = running.len().saturating_sub(MOST_BARS);
        running.truncate(MOST_BARS);
        let mut running: Vec<_> = running.into_iter().map(|work| work.text(now)).collect();
        running.sort();
        if more > 0 {
            running.push(format!("and {} more", number(more as u64)));
        }
        let pace = match self.waiting {
            true => "all delivered, waiting for more".to_owned(),
            false => pace(&self.meter.speed(now), all.saturating_sub(read)),
        };
        let total = format!("{:<LABEL_CHARS$} {}  {pace}{}", "total", bar(read, all), self.troubles());
        View { total, running }
    }

    /// How far it is in one line, if that has changed since the last one.
    pub(super) fn line(&mut self, now: Instant) -> Option<String> {
        let facts = (self.acknowledged, self.passed, self.retries, self.dead_letters, self.waiting);
        if std::mem::replace(&mut self.told, facts) == facts {
            return None;
        }
        let (read, all) = self.extent();
        let passed = match self.passed {
            0 => String::new(),
            passed => format!(", {} passed over", number(passed)),
        };
        let acknowledged = count(self.acknowledged, "record", "records");
        let pace = match self.waiting {
            true => "all delivered, waiting for more".to_owned(),
            false => pace(&self.meter.speed(now), all.saturating_sub(read)),
        };
        let (read, all) = (bytes(read), bytes(all));
        Some(format!("read {read} of {all}: {acknowledged} acknowledged{passed}  {pace}{}", self.troubles()))
    }
}

fn bar(read: u64, all: u64) -> String {
    // Nothing to do is done.
    let done = |parts: u64| match all {
        0 => parts,
        all => u64::try_from(u128::from(read.min(all)) * u128::from(parts) / u128::from(all)).unwrap_or(parts),
    };
    let full = usize::try_from(done(BAR_CHARS)).unwrap_or_default();
    let rest = usize::try_from(BAR_CHARS).unwrap_or_default().saturating_sub(full);
    format!("[{}{}] {:>3}%", "#".repeat(full), "-".repeat(rest), done(100))
}

fn pace(speed: &Speed, left: u64) -> String {
    let mut text =
        format!("{} records/s  {}/s", number(speed.records.round() as u64), bytes(speed.bytes.round() as u64));
    if left > 0 && speed.read >= 1.0 {
        text.push_str(&format!("  {} left", span((left as f64 / speed.read).ceil() as u64)));
    }
    text
}

/// A length of time, roughly.
fn span(seconds: u64) -> String {
    match seconds {
        0..=99 => format!("{seconds} s"),
        100..=5999 => format!("{} min", seconds.div_ceil(60)),
        6000..=359_999 => format!("{} h", seconds.div_ceil(3600)),
        _ => "days".to_owned(),
    }
}

/// Without its middle if it is too long: names that go together often begin alike.
fn clipped(label: &str) -> String {
    let chars = label.chars().count();
    if chars <= LABEL_CHARS {
        return label.to_owned();
    }
    let begin = LABEL_CHARS / 2;
    let end = chars - (LABEL_CHARS - begin - 1);
    label.chars().take(begin).chain(['…']).chain(label.chars().skip(end)).collect()
}

#[cfg(test)]
mod tests;
