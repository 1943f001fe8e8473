//! Journals made byte by byte from the text alone ([F-39], [F-40]), and kept: files of other versions are read.

use std::fs;

use serde_json::{Value, json};

use super::*;
use crate::support::format::{FrameSpec, Pb, SYNC, hex, segment_id, unhex};

const MAGIC: [u8; 8] = [0x89, 0x53, 0x46, 0x4a, 0x0d, 0x0a, 0x1a, 0x0a];
const CHECKPOINT: u8 = 6;
const IDS: [&str; 3] = [
    "01935f6e-1b2c-7000-8123-456789abcdef",
    "01935f6e-1b2c-7000-8123-456789abcdf0",
    "01935f6e-1b2c-7000-8123-456789abcdf1",
];

fn dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("format-spec/vectors/journals")
}

fn ranges(field: u32, pb: Pb, ranges: &[(u64, u64)]) -> Pb {
    ranges.iter().fold(pb, |pb, &(first, end)| pb.always_bytes(field, &Pb::default().varint(1, first).varint(2, end).0))
}

fn session(id: &str, acknowledged: &[(u64, u64)], dead_lettered: &[(u64, u64)]) -> Vec<u8> {
    let pb = Pb::default().bytes(1, &unhex(&id.replace('-', "")));
    ranges(3, ranges(2, pb, acknowledged), dead_lettered).0
}

/// Frames with these payloads, in their places.
fn journal(id: &str, payloads: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let id = segment_id(&unhex(&id.replace('-', "")).try_into().unwrap(), 0);
    let mut bytes = MAGIC.to_vec();
    for (kind, payload) in payloads {
        bytes.extend(FrameSpec::new(*kind, 0, payload.clone()).encode(id, bytes.len() as u64));
    }
    bytes
}

fn target(text: &str, sessions: &[Vec<u8>], pbfs: &[Vec<u8>]) -> Vec<u8> {
    let pb = sessions.iter().fold(Pb::default().bytes(1, text.as_bytes()), |pb, it| pb.always_bytes(2, it));
    let pb = pbfs.iter().fold(pb, |pb, it| pb.always_bytes(3, it));
    Pb::default().always_bytes(1, &pb.0).0
}

/// Of three refused messages among the first 12, two were acknowledged since; and others that no mark covers yet.
fn delivered() -> (&'static str, &'static str, Vec<u8>, Value) {
    let mark = Pb::default().varint(1, 4096).bytes(2, &[0xab; 32]).varint(3, 12).varint(4, 3).0;
    let pbfs = Pb::default().bytes(1, &[0x07; 32]).always_bytes(2, &mark);
    let pbfs = ranges(3, pbfs, &[(2, 3), (11, 20)]).0;
    let payload = target("https://sift.example:443", &[], &[pbfs]);
    let mark = json!({ "end": "4096", "hash": hex(&[0xab; 32]), "messages": "12", "dead_lettered": "1" });
    let known = json!([{ "target": "https://sift.example:443", "sessions": [], "pbfs": [
        { "id": hex(&[7; 32]), "marks": [mark] } ] }]);
    let about =
        "Messages of a PBFS file that were refused and acknowledged later: `known` doesn't count them as dead letters.";
    ("delivered", about, journal(IDS[2], &[(CHECKPOINT, payload)]), known)
}

/// The name, what it shows, the bytes, and what is to be known of them.
fn all() -> Vec<(&'static str, &'static str, Vec<u8>, Value)> {
    let one = "01935f6e-0000-7000-8000-000000000001";
    let mark = Pb::default().varint(1, 4096).bytes(2, &[0xab; 32]).varint(3, 12).varint(4, 1).0;
    let pbfs = Pb::default().bytes(1, &[0x07; 32]).always_bytes(2, &mark).0;
    let plain = target("https://sift.example:443", &[session(one, &[(0, 5)], &[])], &[]);
    let more = target(
        "https://sift.example:443 organization=\"org\"",
        &[session(one, &[(0, 5), (6, u64::MAX)], &[(5, 6)])],
        &[pbfs],
    );
    let again = target("https://sift.example:443", &[session(one, &[(3, 9), (20, 21)], &[])], &[]);
    let first = json!({ "target": "https://sift.example:443", "pbfs": [], "sessions": [
        { "session": one, "acknowledged": [["0", "9"], ["20", "21"]], "dead_lettered": [] } ] });
    let mark = json!({ "end": "4096", "hash": hex(&[0xab; 32]), "messages": "12", "dead_lettered": "1" });
    let second = json!({ "target": "https://sift.example:443 organization=\"org\"",
        "sessions": [ { "session": one, "acknowledged": [["0", "5"], ["6", u64::MAX.to_string()]],
            "dead_lettered": [["5", "6"]] } ],
        "pbfs": [ { "id": hex(&[7; 32]), "marks": [mark] } ] });
    let frames = |payloads: &[Vec<u8>]| payloads.iter().map(|p| (CHECKPOINT, p.clone())).collect::<Vec<_>>();
    let sound = journal(IDS[0], &frames(&[plain.clone(), more.clone(), again.clone()]));
    // Another kind, a frame that isn't a message, one whose payload was hit, and half of one.
    let mut kinds = frames(&[plain, vec![0xff; 5], more, again.clone(), again]);
    kinds.insert(0, (1, vec![8, 1]));
    let mut broken = journal(IDS[1], &kinds);
    let starts: Vec<_> = broken.windows(8).enumerate().filter(|(_, at)| *at == SYNC).map(|(at, _)| at).collect();
    broken[starts[3] + 80] ^= 0x10;
    broken.truncate(starts[5] + 75);
    vec![
        ("sound", "Two targets, a session whose ranges merge, and a PBFS file.", sound, json!([first.clone(), second])),
        (
            "broken",
            "A kind that has no place there, a malformed message, a damaged payload, a torn end: what is sound is known.",
            broken,
            json!([first]),
        ),
        delivered(),
    ]
}

fn known(bytes: &[u8], id: &str) -> Value {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("checkpoints")).unwrap();
    fs::write(dir.path().join("checkpoints").join(format!("{id}.sfj")), bytes).unwrap();
    let pair = |range: Range<u64>| json!([range.start.to_string(), range.end.to_string()]);
    let list = Checkpoints::look(&real_disk(), &only(dir.path())).list();
    let targets = list.iter().map(|known| {
        let sessions = known.sessions.iter().map(|(session, done)| {
            json!({ "session": session.to_string(), "acknowledged": done.acknowledged.ranges().map(pair).collect::<Vec<_>>(),
                "dead_lettered": done.dead_lettered.ranges().map(pair).collect::<Vec<_>>() })
        });
        let pbfs = known.pbfs.iter().map(|(id, marks)| {
            let mark = |mark: &PbfsMark| {
                json!({ "end": mark.end.to_string(), "hash": hex(&mark.hash), "messages": mark.messages.to_string(),
                    "dead_lettered": mark.dead_lettered.to_string() })
            };
            json!({ "id": hex(&id.0), "marks": marks.iter().map(mark).collect::<Vec<_>>() })
        });
        json!({ "target": known.target.as_str(), "sessions": sessions.collect::<Vec<_>>(), "pbfs": pbfs.collect::<Vec<_>>() })
    });
    targets.collect()
}

#[test]
fn journals_are_what_they_were_and_mean_what_they_meant() {
    let mut names = BTreeSet::new();
    for ((name, about, bytes, expected), id) in all().into_iter().zip(IDS) {
        let (sfj, json) = (dir().join(format!("{name}.sfj")), dir().join(format!("{name}.json")));
        let meaning = json!({ "vector": name, "about": about, "file_name": format!("{id}.sfj"), "known": expected });
        if std::env::var_os("UPDATE_VECTORS").is_some() && !sfj.exists() && !json.exists() {
            fs::create_dir_all(dir()).unwrap();
            fs::write(&sfj, &bytes).unwrap();
            fs::write(&json, serde_json::to_string_pretty(&meaning).unwrap() + "\n").unwrap();
        }
        assert_eq!(hex(&fs::read(&sfj).unwrap()), hex(&bytes), "{name} is made differently now");
        let committed: Value = serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
        assert_eq!(committed, meaning, "{name}");
        assert_eq!(known(&bytes, id), expected, "{name}");
        names.extend([format!("{name}.sfj"), format!("{name}.json")]);
    }
    let there: BTreeSet<_> =
        fs::read_dir(dir()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(there, names);
}

/// A journal is written as the text says ([F-39], [F-40]).
#[test]
fn the_writer_of_journals_writes_what_the_text_says() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::open(real_disk(), only(dir.path())).unwrap();
    save(&checkpoints, [1, 3]).unwrap();
    save(&checkpoints, [4]).unwrap();
    let path = fs::read_dir(dir.path().join("checkpoints")).unwrap().next().unwrap().unwrap().path();
    let id = path.file_name().unwrap().to_str().unwrap().strip_suffix(".sfj").unwrap();
    assert_eq!(id.parse::<Uuid>().unwrap().get_version_num(), 7);
    let text = "https://sift.example:443 organization=\"org\"";
    let mark = Pb::default().varint(1, 4).bytes(2, &[4; 32]).varint(3, 4).0;
    let pbfs = Pb::default().bytes(1, &[7; 32]).always_bytes(2, &mark).0;
    let first = target(text, &[session(&SESSION.to_string(), &[(10, 15)], &[(30, 35)])], &[]);
    let expected = journal(id, &[(CHECKPOINT, first), (CHECKPOINT, target(text, &[], &[pbfs]))]);
    assert_eq!(hex(&fs::read(&path).unwrap()), hex(&expected));
}

/// [F-39]: among recordings, a journal isn't one of them, even without its first block; and in a segment a CHECKPOINT
/// frame says nothing [F-11].
#[test]
fn a_journal_is_not_taken_for_a_segment() {
    use sift_replay::catalog::{Catalog, discover};
    let dir = tempfile::tempdir().unwrap();
    for (name, _, mut bytes, _) in all() {
        fs::write(dir.path().join(format!("{name}.sfj")), &bytes).unwrap();
        bytes[..100].fill(0);
        fs::write(dir.path().join(format!("{name} without a beginning.sfj")), &bytes).unwrap();
    }
    let mut seg = crate::support::format::golden::plain();
    seg.frame(FrameSpec::new(CHECKPOINT, 5, Vec::new()), json!({}));
    fs::write(dir.path().join("a segment"), &seg.bytes).unwrap();
    let catalog = Catalog::build(discover(&[dir.path().to_owned()]).unwrap());
    let ignored: Vec<_> = catalog.ignored.iter().map(|file| file.path.extension().is_some()).collect();
    assert_eq!((catalog.sessions.len(), ignored), (1, vec![true; 2 * all().len()]), "{catalog:?}");
    let mut reader = sift_replay::segment::SegmentReader::open(&dir.path().join("a segment")).unwrap();
    let mut skipped = Vec::new();
    while let Some(event) = reader.next_event().unwrap() {
        if let sift_replay::segment::Event::Skipped(frame) = event {
            skipped.push(frame.reason);
        }
    }
    assert_eq!(skipped, [sift_replay::segment::SkipReason::UnknownKind(CHECKPOINT)]);
}
