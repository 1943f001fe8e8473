//! Segments that were never sealed, where their recorders are gone.

use super::*;

/// What a killed recorder leaves: an open segment of a hundred records, as `change` makes it.
fn left(change: impl FnOnce(&mut Vec<u8>)) -> Backup {
    let Backup { dir, file, mut bytes, done, .. } = Backup::new();
    let seal = crate::format::decode_trailer(bytes.last_chunk().unwrap()).unwrap() as usize;
    fs::remove_file(&file).unwrap();
    bytes.truncate(seal);
    change(&mut bytes);
    let open = file.with_file_name(format!("{}.open", file.file_name().unwrap().to_str().unwrap()));
    fs::write(&open, bytes).unwrap();
    Backup::of(dir, open, done)
}

fn delete(backup: &Backup, abandoned: bool) -> Retired {
    let (root, content) = (backup.root(), Content::Segment(&backup.done));
    let (file, expected) = (&*backup.file, &backup.expected);
    retire(&Disk, &After::Delete, &Delivered { root: &root, file, expected, content, abandoned }).unwrap()
}

#[test]
fn an_open_segment_goes_when_its_recorder_is_gone_and_all_of_it_is_delivered() {
    let whole = left(|_| {});
    assert_eq!(delete(&whole, false), Retired::Kept(Kept::Open));
    assert_eq!(delete(&whole, true), Retired::Deleted);
    assert!(!whole.file.exists());
    // Cut off while it wrote a frame: that was never a record.
    let torn = left(|bytes| bytes.truncate(bytes.len() - 3));
    assert_eq!(delete(&torn, false), Retired::Kept(Kept::Open));
    assert_eq!(delete(&torn, true), Retired::Deleted);
}

#[test]
fn an_open_segment_stays_while_something_of_it_is_not_delivered() {
    let mut some = left(|_| {});
    some.done = SeqSet::new();
    some.done.insert(0..99);
    assert_eq!(delete(&some, true), Retired::Kept(Kept::NotDelivered { seqs: 99..100 }));
    assert!(some.file.exists());
}

#[test]
fn a_damaged_open_segment_always_stays() {
    let damaged = left(|bytes| {
        let middle = bytes.len() / 2;
        *bytes.get_mut(middle).unwrap() ^= 1;
        bytes.extend([0; 4096]);
    });
    let Retired::Kept(Kept::Damaged { .. } | Kept::Torn { .. }) = delete(&damaged, true) else { panic!() };
    assert!(damaged.file.exists());
}

/// Whoever believes that it is abandoned may be wrong: it is another process's, say.
#[cfg(unix)]
#[test]
fn an_open_segment_that_somebody_writes_always_stays() {
    let dir = tempfile::tempdir().unwrap();
    let flow = FlowSchema::new("n").channel(Channel::new("n", DataType::Uint64));
    let schema = Schema::new("rover", "rover-v1").flow(flow);
    let recorder = Recorder::create(dir.path().join("drive"), &schema, RecorderOptions::default()).unwrap();
    recorder.flush().unwrap();
    let file = fs::read_dir(recorder.dir()).unwrap().next().unwrap().unwrap().path();
    let backup = Backup::of(dir, file, SeqSet::new());
    assert_eq!(delete(&backup, true), Retired::Kept(Kept::Open));
    recorder.finish().unwrap();
}
