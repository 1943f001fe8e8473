//! Repairing in memory, with everything that must be true of it whatever the file is.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sift_replay::format::{Compression, SegmentHeader};
use sift_replay::record::{DataType, Recorder, RecorderOptions, Schema, SyncPolicy, Timestamp, Value};
use sift_replay::segment::{
    Condition, DAMAGED_SUFFIX, HeaderFrom, Loss, Repair, RepairError, RepairTo, Repaired, SegmentName, SimDisk,
    SimFiles, repair_segment,
};

use super::recording::flow_of;
use super::sound::{Found, check_sound, find};

/// A segment file as a recorder wrote it.
#[derive(Debug, Clone)]
pub(crate) struct File {
    pub(crate) path: PathBuf,
    pub(crate) bytes: Vec<u8>,
}

impl File {
    pub(crate) fn find(&self) -> Found {
        find(&self.path, &self.bytes)
    }

    /// The file with other bytes.
    pub(crate) fn with(&self, bytes: Vec<u8>) -> Self {
        Self { path: self.path.clone(), bytes }
    }
}

/// What a session of a recorder looks like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) compression: Compression,
    /// Frames of a few records each.
    pub(crate) frames: u64,
    /// Bytes of text in each record.
    pub(crate) text: usize,
    /// Frames to a segment.
    pub(crate) frames_per_segment: u64,
}

impl Shape {
    pub(crate) const SMALL: Self =
        Self { compression: Compression::None, frames: 5, text: 9, frames_per_segment: u64::MAX };

    pub(crate) fn zstd(self) -> Self {
        Self { compression: Compression::Zstd(1), ..self }
    }
}

/// Records some frames of three records, a note and a flow that is added on the way; returns the files, and those of
/// which the last wasn't sealed.
pub(crate) fn record(shape: Shape) -> (Vec<File>, Vec<File>) {
    let disk = SimDisk::new();
    let schema = Schema::new("rover", "rover-v1").flow(flow_of("f", &[DataType::Double, DataType::String]));
    let options = RecorderOptions {
        sync: SyncPolicy::OnRotation,
        compression: shape.compression,
        flush_interval: Duration::from_secs(3600),
        host: "bench".to_owned(),
        storage: Arc::new(disk.clone()),
        ..Default::default()
    };
    let recorder = Recorder::create("root", &schema, options).unwrap();
    let flow = recorder.flow("f").unwrap();
    let mut number = 0;
    for frame in 0..shape.frames {
        for _ in 0..3 {
            let value = if number % 7 == 6 { f64::NAN } else { number as f64 };
            let text = format!("{number:03}-").repeat(1 + shape.text / 4);
            let values = [Value::Double(value), Value::String(&text)];
            let _ = recorder.record(&flow, Timestamp::from_unix_ns(1_000 + number), &values).unwrap();
            number += 1;
        }
        recorder.flush().unwrap();
        if frame == 1 {
            recorder.note("between").unwrap();
            let late = recorder.add_flow(flow_of("late", &[DataType::Uint64])).unwrap();
            let _ = recorder.record(&late, Timestamp::from_unix_ns(number), &[Value::Uint64(7)]).unwrap();
            number += 1;
            recorder.flush().unwrap();
        }
        if (frame + 1) % shape.frames_per_segment == 0 {
            recorder.rotate().unwrap();
        }
    }
    recorder.flush().unwrap();
    let open = files(disk.image().all());
    recorder.finish().unwrap();
    let sealed = files(disk.image().all());
    assert!(open.last().unwrap().path.to_str().unwrap().ends_with(".open"));
    (sealed, open)
}

/// A session of one segment: sealed, and open.
pub(crate) fn one(shape: Shape) -> [File; 2] {
    let (mut sealed, mut open) = record(shape);
    assert_eq!((sealed.len(), open.len()), (1, 1));
    [sealed.remove(0), open.remove(0)]
}

/// One small segment, sealed and open, with both codecs.
pub(crate) fn small() -> Vec<File> {
    [one(Shape::SMALL), one(Shape { text: 60, ..Shape::SMALL }.zstd())].concat()
}

fn files(files: SimFiles) -> Vec<File> {
    files.into_iter().map(|(path, bytes)| File { path, bytes }).collect()
}

/// How a repair went.
#[derive(Debug)]
pub(crate) struct Went {
    pub(crate) repaired: Repaired,
    pub(crate) lost: Vec<Loss>,
    /// What is at `repaired.path`, if that was looked at.
    pub(crate) bytes: Vec<u8>,
}

pub(crate) type Sibling<'a> = &'a dyn Fn(&sift_replay::segment::Identity) -> Option<SegmentHeader>;

/// Nobody knows another segment.
pub(crate) fn alone(_: &sift_replay::segment::Identity) -> Option<SegmentHeader> {
    None
}

/// Repairs a file of a disk.
pub(crate) fn repair_on(
    disk: &SimDisk,
    path: &Path,
    to: RepairTo<'_>,
    sibling: Sibling<'_>,
) -> Result<Went, RepairError> {
    let mut lost = Vec::new();
    let mut note = |loss| lost.push(loss);
    let mut repair = Repair { storage: disk, to, sibling, lost: &mut note };
    let repaired = repair_segment(path, &mut repair)?;
    Ok(Went { repaired, lost, bytes: Vec::new() })
}

/// Where repaired files go.
pub(crate) fn out() -> PathBuf {
    PathBuf::from("out")
}

/// Repairs a file to a directory. The original stays as it was, and nothing else is left.
#[track_caller]
pub(crate) fn repaired(file: &File, sibling: Sibling<'_>) -> Went {
    let disk = SimDisk::of(SimFiles::from([(file.path.clone(), file.bytes.clone())]));
    let mut went = repair_on(&disk, &file.path, RepairTo::Dir(&out()), sibling).unwrap();
    let mut after = disk.image().all();
    assert!(after.remove(&file.path).as_ref() == Some(&file.bytes), "the original was touched");
    went.bytes = went.repaired.path.as_ref().and_then(|path| after.remove(path)).unwrap_or_default();
    assert!(after.is_empty(), "something was left behind: {:?}", after.keys());
    went
}

/// Repairs a file to a directory and checks that the result holds exactly what is sound in it, in order and bit for bit,
/// and nothing else; and that the original is as it was.
#[track_caller]
pub(crate) fn check(file: &File, sibling: Sibling<'_>) -> Went {
    let went = repaired(file, sibling);
    check_result(file, &file.find(), &went);
    went
}

/// What must be true of a result. `original`: what is found in the file.
#[track_caller]
pub(crate) fn check_result(file: &File, original: &Found, went: &Went) {
    let Repaired { condition, losses, records, header, unreadable, .. } = &went.repaired;
    assert_eq!(losses.bytes + losses.torn_bytes, original.lost_bytes());
    assert_eq!(went.lost.len(), original.damage.len() + usize::from(original.torn.is_some()));
    assert_eq!((*records, *unreadable), (original.records.len() as u64, original.skipped as u64));
    if *condition == Condition::Nothing {
        assert_eq!((original.frames.len(), &original.header, went.repaired.path.as_ref()), (0, &None, None));
        return;
    }
    let path = went.repaired.path.as_ref().unwrap();
    let mended = check_sound(path, &went.bytes);
    assert!(mended.records == original.records, "other records");
    if *condition == Condition::Sound {
        assert!(went.bytes == file.bytes, "a sound file is copied byte for byte");
        return;
    }
    let lost = !original.damage.is_empty() || losses.cut || *header == HeaderFrom::Nobody;
    assert_eq!(*condition, if lost { Condition::Damaged } else { Condition::Unsealed });
    let mut frames = &mended.frames[..];
    if original.lost_bytes() > 0 || losses.cut {
        let (note, rest) = frames.split_last().unwrap();
        assert!(note.note().unwrap().starts_with("repaired without "));
        assert_eq!(note.header.first_seq, mended.seal.as_ref().unwrap().end_seq);
        frames = rest;
    }
    if frames.len() > original.frames.len() {
        // Flows whose SCHEMA frame is lost, and which SEAL tells of.
        let (schema, rest) = frames.split_first().unwrap();
        assert_eq!(schema.header.kind, sift_replay::format::Kind::Schema);
        frames = rest;
    }
    assert!(frames == original.frames, "other frames");
    match header {
        HeaderFrom::Own if original.header.is_some() => assert_eq!(mended.header, original.header),
        HeaderFrom::Seal => assert_eq!(mended.header, original.seal.as_ref().unwrap().header),
        HeaderFrom::Nobody => assert_eq!((&mended.header, &mended.seal.unwrap().header), (&None, &None)),
        _ => {}
    }
}

/// Repairing again changes nothing, and finds what is there already; in place comes to the same.
#[track_caller]
pub(crate) fn check_again(file: &File, went: &Went, sibling: Sibling<'_>) {
    let Some(path) = &went.repaired.path else { return };
    let name = path.file_name().unwrap();
    // To another directory.
    let mended = File { path: Path::new("again").join(name), bytes: went.bytes.clone() };
    let again = check(&mended, sibling);
    assert_eq!((again.repaired.condition, again.bytes == went.bytes), (Condition::Sound, true));
    // To the same directory.
    let both = SimFiles::from([(file.path.clone(), file.bytes.clone()), (path.clone(), went.bytes.clone())]);
    let disk = SimDisk::of(both.clone());
    let again = repair_on(&disk, &file.path, RepairTo::Dir(&out()), sibling).unwrap();
    assert!(again.repaired.already_there);
    assert_eq!(disk.image().all(), both);
    // In place, twice.
    let disk = SimDisk::of(SimFiles::from([(file.path.clone(), file.bytes.clone())]));
    let first = repair_on(&disk, &file.path, RepairTo::InPlace, sibling).unwrap();
    let place = file.path.with_file_name(name);
    assert_eq!(first.repaired.path, Some(place.clone()));
    let mut expected = SimFiles::from([(place.clone(), went.bytes.clone())]);
    if went.repaired.condition == Condition::Sound {
        assert_eq!(first.repaired.original, None);
    } else {
        let aside = PathBuf::from(format!("{}{DAMAGED_SUFFIX}", file.path.display()));
        assert_eq!(first.repaired.original, Some(aside.clone()));
        expected.insert(aside, file.bytes.clone());
    }
    assert_eq!(disk.image().all(), expected);
    let second = repair_on(&disk, &place, RepairTo::InPlace, sibling).unwrap();
    assert_eq!((second.repaired.condition, second.repaired.original), (Condition::Sound, None));
    assert_eq!(disk.image().all(), expected);
}

/// The name of a segment, sealed or open.
pub(crate) fn name(path: &Path, open: bool) -> PathBuf {
    let name = SegmentName::of_path(path).unwrap();
    path.with_file_name(SegmentName { open, ..name }.to_string())
}
