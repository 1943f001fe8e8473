//! A stream with files over a bad line, to a server that remembers everything.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sift_replay::catalog::{Catalog, discover};
use sift_replay::replay::{Checkpoints, StateDirs};
use sift_replay::segment::{Disk, Event, SegmentError, SegmentReader, Storage};
use sift_replay::stream::{
    DiskBackupPolicy, Finished, IngestionConfigEncoder, LiveStreamingWithBackups, LiveWithBackupsBuilder, SiftStream,
};
use uuid::Uuid;

use super::support::{assert_all, message, numbers, quick, to};
use crate::support::faulty::{Faulty, RecordId};
use crate::support::proxy::Proxy;

/// Longest that anything is waited for: a broken test must end.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) type Stream = SiftStream<IngestionConfigEncoder, LiveStreamingWithBackups>;

pub(crate) struct Line {
    pub(crate) server: Faulty,
    pub(crate) proxy: Arc<Proxy>,
    pub(crate) dir: tempfile::TempDir,
}

/// What the journal says of all sessions together.
#[derive(Debug, Default)]
pub(crate) struct Noted {
    pub(crate) acknowledged: Vec<(Uuid, u64)>,
    pub(crate) dead_lettered: Vec<(Uuid, u64)>,
}

impl Line {
    pub(crate) fn start() -> Self {
        let server = Faulty::start();
        let proxy = Arc::new(Proxy::start(server.address()));
        Self { server, proxy, dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.dir.path().join("rover-v1")
    }

    pub(crate) fn policy(&self) -> DiskBackupPolicy {
        DiskBackupPolicy { backups_dir: Some(self.dir.path().to_owned()), ..DiskBackupPolicy::default() }
    }

    /// A stream that hurries. Its files stay, so that what the journal says can be compared with them.
    pub(crate) fn builder(&self) -> LiveWithBackupsBuilder {
        to(&self.proxy.uri())
            .connect_timeout(Duration::from_secs(1))
            .live_with_backups()
            .metrics_streaming_interval(None)
            .retry_policy(quick())
            .checkpoint_interval(Duration::from_millis(50))
            .acknowledgement_timeout(Duration::from_millis(500))
            .disk_backup_policy(DiskBackupPolicy { retain_backups: true, ..self.policy() })
            .finish_timeout(PATIENCE)
    }

    /// All faults end.
    pub(crate) fn peace(&self) {
        self.server.heal();
        if self.server.is_dead() {
            self.server.revive();
        }
        self.proxy.pass();
    }

    /// Waits until what is still on its way, of streams that have ended, has come.
    #[track_caller]
    pub(crate) fn settle(&self) {
        // Nobody is at the other end of what is still open, however deaf it is.
        self.proxy.reset_all();
        self.proxy.wait(|counts| counts.open == 0);
        self.server.wait(|seen| seen.open_streams == 0 && seen.open_connections == 0);
    }

    /// What the journal says now.
    pub(crate) fn noted(&self) -> Noted {
        let storage: Arc<dyn Storage> = Arc::new(Disk);
        let known = Checkpoints::look(&storage, &StateDirs::resolve_in(&[self.home()], None, None)).list();
        let mut noted = Noted::default();
        for (session, done) in known.iter().flat_map(|target| &target.sessions) {
            noted.acknowledged.extend(done.acknowledged.ranges().flatten().map(|seq| (*session, seq)));
            noted.dead_lettered.extend(done.dead_lettered.ranges().flatten().map(|seq| (*session, seq)));
        }
        noted
    }

    /// Each record that can be read from the files, by session and seq.
    pub(crate) fn records(&self) -> BTreeMap<(Uuid, u64), Vec<u8>> {
        records_below(&self.home())
    }

    /// Promise 4: what is noted as acknowledged was, what is noted as a dead letter was refused. All files must be there.
    #[track_caller]
    pub(crate) fn check_checkpoints(&self) {
        let (noted, records) = (self.noted(), self.records());
        let seen = self.server.seen();
        for place in &noted.acknowledged {
            let record = RecordId::of(&records[place]);
            assert!(seen.is_acknowledged(&record), "{place:?} isn't acknowledged: {record:?} {}", seen.figures());
        }
        for place in &noted.dead_lettered {
            assert!(seen.copies(&RecordId::of(&records[place])).refused > 0, "{place:?} wasn't refused");
        }
    }

    /// What was confirmed doesn't come again: `done` says of each such record how often it had come. Then it is what is
    /// confirmed now. Nothing may be on its way, and all files must be there.
    #[track_caller]
    pub(crate) fn check_done(&self, done: &mut BTreeMap<RecordId, u64>) {
        let (noted, records, seen) = (self.noted(), self.records(), self.server.seen());
        let again = done.iter().find(|(id, received)| seen.copies(id).received != **received);
        assert!(again.is_none(), "{again:?} was confirmed, and came again: {}", seen.figures());
        let ids = noted.acknowledged.iter().map(|place| RecordId::of(&records[place]));
        *done = ids.map(|id| (id.clone(), seen.copies(&id).received)).collect();
    }
}

/// Each record that can be read from files below `dir`, by session and seq.
pub(crate) fn records_below(dir: &Path) -> BTreeMap<(Uuid, u64), Vec<u8>> {
    // A segment gets another name when it is sealed.
    let mut attempts = (0..100).map(|_| read_below(dir));
    attempts.find(|read| !read.as_ref().is_err_and(SegmentError::is_not_found)).unwrap().unwrap()
}

fn read_below(dir: &Path) -> Result<BTreeMap<(Uuid, u64), Vec<u8>>, SegmentError> {
    let mut records = BTreeMap::new();
    let catalog = Catalog::build(discover(&[dir.to_owned()]).unwrap());
    for session in &catalog.sessions {
        for file in &session.segments {
            let mut reader = SegmentReader::open(&file.path)?;
            while let Some(event) = reader.next_event()? {
                let Event::Records(batch) = event else { continue };
                let places = (batch.first_seq..).map(|seq| (session.id, seq));
                records.extend(places.zip(batch.records().map(<[u8]>::to_vec)));
            }
        }
    }
    Ok(records)
}

/// A stream, and how far its numbers are.
pub(crate) struct Story<'a> {
    pub(crate) line: &'a Line,
    pub(crate) stream: Stream,
    pub(crate) sent: u64,
}

impl<'a> Story<'a> {
    pub(crate) async fn begin(line: &'a Line, builder: LiveWithBackupsBuilder) -> Self {
        Self { line, stream: builder.build().await.unwrap(), sent: 0 }
    }

    pub(crate) async fn send(&mut self, count: u64) {
        for n in self.sent..self.sent + count {
            self.stream.send(message(n)).await.unwrap();
        }
        self.sent += count;
    }

    /// Things that went wrong, as far as the stream has noticed.
    pub(crate) fn troubles(&self) -> u64 {
        let now = self.stream.get_metrics_snapshot();
        now.total_retry_count + now.checkpoint.failed_checkpoint_count
    }

    /// Waits until the stream notices that something goes wrong.
    pub(crate) async fn notices(&self, before: u64) {
        until("it doesn't notice", || self.troubles() > before).await;
    }

    /// Waits until the journal has all that was sent.
    pub(crate) async fn confirmed(&self) {
        let mut noted = 0;
        let done = || {
            let now = self.line.noted();
            noted = now.acknowledged.len() + now.dead_lettered.len();
            noted as u64 >= self.sent
        };
        until("not everything is confirmed", done).await;
        assert_eq!(noted as u64, self.sent, "more was confirmed than was sent");
    }

    /// Sends while nothing goes wrong: that arrives once, and not again.
    pub(crate) async fn in_peace(&mut self, count: u64) -> std::ops::Range<u64> {
        let (first, before) = (self.sent, self.troubles());
        self.send(count).await;
        self.confirmed().await;
        // An overloaded computer may be late enough to be a fault.
        if self.troubles() > before { first..first } else { first..self.sent }
    }

    /// Ends it, when everything is confirmed.
    pub(crate) async fn end(self) -> Finished {
        let Self { line, stream, sent } = self;
        let finished = stream.finish().await.unwrap();
        assert_eq!((finished.requests, finished.on_disk, &finished.reason), (sent, 0, &None), "{finished}");
        line.settle();
        assert_eq!(line.server.seen().malformed, 0);
        line.check_checkpoints();
        finished
    }

    /// The same; all of it must be there, and what was sent in peace once.
    pub(crate) async fn end_with_all(self, in_peace: &[std::ops::Range<u64>]) {
        let (line, sent) = (self.line, self.sent);
        let finished = self.end().await;
        assert_eq!(finished.acknowledged, sent, "{finished}");
        let seen = line.server.seen();
        assert_all(&seen, sent);
        let numbers = numbers(&seen);
        let twice = in_peace.iter().cloned().flatten().find(|n| numbers[n] != (1, 1));
        assert_eq!(twice.map(|n| (n, numbers[&n])), None, "{}", seen.figures());
    }
}

/// Tries cases at the same time: most of what they do is to wait.
pub(crate) fn side_by_side<T: Send>(cases: impl IntoIterator<Item = T>, each: impl Fn(T) + Sync) {
    std::thread::scope(|scope| {
        let each = &each;
        let threads: Vec<_> = cases.into_iter().map(|case| scope.spawn(move || each(case))).collect();
        let ended: Vec<_> = threads.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        ended.into_iter().for_each(|ended| ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
    });
}

/// Waits until it is so.
pub(crate) async fn until(otherwise: &str, mut so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < PATIENCE, "{otherwise}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
