//! What was recorded as it should be is sound, and nothing is said of it.

use std::path::Path;

use prost::Message;
use sift_replay::format::{Compression, Mark};
use sift_replay::record::{DataType, Recorder, RecorderOptions, RunSchema, Schema, SyncPolicy, Timestamp};

use super::{Looked, look};
use crate::support::backup::Backup;
use crate::support::recording::{Owned, flow_of, request};

const TYPES: [DataType; 11] = DataType::ALL;

fn values(n: u64) -> Vec<Owned> {
    vec![
        Owned::Double(n as f64 / 3.0),
        Owned::Text(format!("text {n}")),
        Owned::Enum(n as u32),
        Owned::BitField(vec![n as u8; 3]),
        Owned::Bool(n.is_multiple_of(2)),
        Owned::Float(n as f32),
        Owned::Int32(-(n as i32)),
        Owned::Uint32(n as u32),
        Owned::Int64(-(n as i64)),
        Owned::Uint64(n),
        if n.is_multiple_of(5) { Owned::Empty } else { Owned::Bytes(vec![n as u8; n as usize % 9]) },
    ]
}

/// Records everything that a recorder can: flows, a flow added midway, requests with ids, notes, rotation.
fn recorder(dir: &Path, schema: Schema, options: RecorderOptions, records: u64) -> Recorder {
    let schema = schema.flow(flow_of("all", &TYPES)).flow(flow_of("one", &[DataType::Uint64]));
    let recorder = Recorder::create(dir, &schema, options).unwrap();
    let (all, one) = (recorder.flow("all").unwrap(), recorder.flow("one").unwrap());
    let mut added = None;
    for n in 0..records {
        let time = 1_700_000_000_000_000_000 - n as i64 * 7;
        let (at, values) = (Timestamp::from_unix_ns(time), values(n));
        if n == records / 2 {
            added = Some(recorder.add_flow(flow_of("added", &[DataType::Bool])).unwrap());
            recorder.mark(Mark::Note("half of it".to_owned())).unwrap();
        }
        let values: Vec<_> = values.iter().map(Owned::value).collect();
        let _ = match (n % 4, &added) {
            (0, _) => recorder.record(&one, at, &values[9..10]).unwrap(),
            (1, Some(added)) => recorder.record(added, at, &values[4..5]).unwrap(),
            (2, _) => {
                let mut request = request("one", time, &[Owned::Uint64(n)]);
                request.run_id = "a run".to_owned();
                recorder.record_request(&request.encode_to_vec()).unwrap()
            }
            _ => recorder.record(&all, at, &values).unwrap(),
        };
    }
    recorder
}

fn options(compression: Compression) -> RecorderOptions {
    RecorderOptions { compression, frame_bytes: 700, segment_bytes: 5000, ..RecorderOptions::default() }
}

fn schemas() -> [Schema; 3] {
    let plain = || Schema::new("rover", "rover-v1");
    [plain(), plain().run(RunSchema::new("Flight 7", "flight-7")), plain().run_id("5d1c")]
}

#[test]
fn whatever_a_recorder_writes_is_sound() {
    for compression in [Compression::None, Compression::default()] {
        for schema in schemas() {
            let dir = tempfile::tempdir().unwrap();
            recorder(dir.path(), schema, options(compression), 400).finish().unwrap();
            let Looked { report, .. } = &look(dir.path());
            assert!(report.segments > 1 && report.totals.frames > 20, "{report:#?}");
            look(dir.path()).is_sound(400);
        }
    }
}

#[test]
fn a_recording_in_progress_is_sound_and_so_is_one_that_was_cut_off_between_frames() {
    let dir = tempfile::tempdir().unwrap();
    let options = RecorderOptions { sync: SyncPolicy::EveryRecord, ..options(Compression::None) };
    let recorder = recorder(dir.path(), Schema::new("rover", "rover-v1"), options, 101);
    let looked = look(dir.path());
    looked.is_sound(101);
    assert_eq!(looked.report.totals.torn_files, 0);
    let open = std::fs::read_dir(recorder.dir()).unwrap().map(|entry| entry.unwrap().path());
    assert_eq!(open.filter(|path| path.to_str().unwrap().ends_with(".open")).count(), 1);
    recorder.finish().unwrap();
}

#[test]
fn the_figures_are_those_of_the_files() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        recorder(dir.path(), Schema::new("rover", "rover-v1"), options(Compression::None), 100).finish().unwrap();
    }
    std::fs::write(dir.path().join("notes.txt"), "telemetry is in here").unwrap();
    let looked = look(dir.path());
    assert_eq!(looked.found, ["ignored notes.txt neither a segment nor a PBFS backup"]);
    let report = looked.report;
    assert!(report.is_sound(), "{report:#?}");
    assert_eq!((report.sessions, report.files_ignored, report.pbfs_files), (2, 1, 0));
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir.path().join("rover/no-run")).unwrap() {
        bytes += entry.unwrap().metadata().unwrap().len();
    }
    assert_eq!((report.totals.records_found, report.totals.bytes), (200, bytes));
    assert_eq!(report.lines.iter().map(|line| line.totals.records_found).collect::<Vec<_>>(), [100, 100]);
    assert_eq!(report.lines[0].asset.as_deref(), Some("rover"));
}

/// Backups as they come from the field, of which it is known what was done to them.
#[test]
fn of_backups_from_the_field_exactly_what_is_wrong_is_found() {
    let (mut missing, mut damaged) = (0, 0);
    for seed in 0..24 {
        let dir = tempfile::tempdir().unwrap();
        let backup = Backup::random(dir.path(), &mut fastrand::Rng::with_seed(seed));
        let report = look(dir.path()).report;
        let t = report.totals;
        let readable: usize = backup.sources.iter().filter_map(|s| s.session.map(|_| s.readable.len())).sum();
        let lost: u64 =
            backup.sources.iter().flat_map(|source| &source.missing).map(|seqs| seqs.end - seqs.start).sum();
        let sessions = report.lines.iter().filter(|line| line.asset.is_some() || line.origin.len() == 36);
        let found: u64 = sessions.map(|line| line.totals.records_found).sum();
        assert_eq!((found, t.records_missing), (readable as u64, lost), "seed {seed}: {backup:#?}");
        let hit = backup.sources.iter().any(|source| source.damaged.is_some());
        assert_eq!(t.damaged_places > 0, hit, "seed {seed}: {backup:#?}");
        assert_eq!(
            (t.records_invalid, t.values_non_finite, t.contradictions, t.records_differing, t.files_unreadable),
            (0, 0, 0, 0, 0),
            "seed {seed}: {:#?}",
            look(dir.path()).found
        );
        assert_eq!(report.is_sound(), lost == 0 && !hit, "seed {seed}");
        missing += u64::from(lost > 0);
        damaged += u64::from(hit);
    }
    assert!(missing > 5 && damaged > 2, "{missing} {damaged}");
}
