//! `sift-replay repair`, as people and scripts use it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sift_replay::catalog::{Catalog, ForeignReason, discover};
use sift_replay::format::SegmentHeader;
use sift_replay::record::{Recorder, RecorderOptions};
use sift_replay::verify::{VerifyOptions, verify};
use sift_rs::ingest::v1::IngestWithConfigDataStreamRequest as Request;
use sift_rs::ingestion_configs::v2::CreateIngestionConfigRequest;

use crate::support::cli::{Home, Ran, damage_middle_frame, frames};
use crate::support::desk::{Desk, figures, of_flow, record, tree, two_flows};
use crate::support::recording::counter_schema;

fn requests(count: u64) -> Vec<Request> {
    (0..count).map(|number| of_flow(if number % 3 == 0 { "a" } else { "b" }, number as i64, number)).collect()
}

fn options() -> RecorderOptions {
    RecorderOptions { frame_bytes: 80, ..Default::default() }
}

/// Four segments of 20 records each below `a/b`: a sound one, a damaged one, one that lost its HEADER and its SEAL, and one
/// that was cut off.
struct Field {
    home: Home,
    segments: Vec<PathBuf>,
    /// How many records can't be read any more.
    lost: u64,
}

impl Field {
    fn new() -> Self {
        let home = Home::new();
        let requests = requests(80);
        let dir = home.path().join("in/a/b");
        let (_, mut segments) = record(&dir, &two_flows("rover", "key"), options(), &requests, &[20, 40, 60]);
        assert_eq!(segments.len(), 4);
        let lost = damage_middle_frame(&segments[1]);
        let bytes = std::fs::read(&segments[2]).unwrap();
        let ends = frames(&segments[2]);
        let mut headless = bytes[..ends.last().unwrap().0.end as usize].to_vec();
        headless[8..100].fill(0);
        std::fs::write(&segments[2], headless).unwrap();
        let open = segments[3].with_extension("sfr.open");
        let bytes = std::fs::read(&segments[3]).unwrap();
        let ends = frames(&segments[3]);
        let cut = &ends[ends.len() - 1];
        std::fs::write(&open, &bytes[..cut.0.end as usize - 5]).unwrap();
        std::fs::remove_file(&segments[3]).unwrap();
        segments[3] = open;
        let torn = cut.1.end - cut.1.start;
        Self { home, segments, lost: lost.end - lost.start + torn }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }
}

fn events<'a>(lines: &'a [Value], event: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["event"] == event).collect()
}

/// Files below a directory, by their names.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = tree(dir).into_iter().filter_map(|(path, bytes)| Some((path, bytes?)));
    files.map(|(path, bytes)| (path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned(), bytes)).collect()
}

fn modified(dir: &Path) -> BTreeMap<PathBuf, std::time::SystemTime> {
    tree(dir).into_keys().map(|path| (path.clone(), std::fs::metadata(path).unwrap().modified().unwrap())).collect()
}

#[test]
fn a_directory_is_repaired_into_another_and_stays_as_it_is() {
    let field = Field::new();
    std::fs::write(field.path("in/notes.txt"), "hello").unwrap();
    let before = (tree(&field.path("in")), modified(&field.path("in")));
    let ran = field.home.run(&["repair", "in", "--to", "out", "--json"]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert_eq!((tree(&field.path("in")), modified(&field.path("in"))), before);

    let lines = ran.json();
    let repaired = events(&lines, "repaired");
    let conditions: Vec<_> = repaired.iter().map(|line| (&line["condition"], &line["header"])).collect();
    let expected = [("sound", "own"), ("damaged", "own"), ("damaged", "sibling"), ("unsealed", "own")];
    assert_eq!(json!(conditions), json!(expected));
    assert_eq!(events(&lines, "damage").len(), 2);
    assert_eq!((events(&lines, "torn").len(), events(&lines, "ignored").len()), (1, 1));
    let names = ["files", "files_sound", "files_mended", "files_failed", "files_cut", "records", "schemas_lost"];
    assert_eq!(figures(&ran, &names), [4, 1, 3, 0, 0, 80 - field.lost, 0]);

    // Every file is where its original was, under its sealed name.
    let out = files(&field.path("out"));
    let should = field.segments.iter().map(|path| {
        let path = path.strip_prefix(field.path("in")).unwrap().to_str().unwrap();
        path.trim_end_matches(".open").to_owned()
    });
    assert!(out.keys().cloned().eq(should), "{:?}", out.keys());
    let sound = field.segments[0].strip_prefix(field.path("in")).unwrap().to_str().unwrap();
    assert_eq!(out[sound], std::fs::read(&field.segments[0]).unwrap());

    // All of it is sound; what is lost is missing.
    let mut findings = Vec::new();
    let mut tell = |finding: &sift_replay::verify::Finding<'_>| findings.push(format!("{finding:?}"));
    let report = verify(&[field.path("out")], &VerifyOptions::default(), &mut tell).unwrap();
    assert!(
        findings.iter().all(|finding| finding.starts_with("Missing") || finding.starts_with("Mark")),
        "{findings:?}"
    );
    assert_eq!(report.totals.records_found, 80 - field.lost);

    // Again, and of what was repaired: nothing is to be done.
    let again = field.home.run(&["repair", "in", "--to", "out", "--json"]);
    assert!(events(&again.json(), "repaired").iter().all(|line| line["already_there"] == true));
    assert_eq!(files(&field.path("out")), out);
    let ran = field.home.run(&["repair", "out", "--to", "third", "--json"]);
    assert_eq!((ran.code, figures(&ran, &["files_sound"])), (Some(0), vec![4]));
    assert_eq!(files(&field.path("third")), out);
}

#[test]
fn what_is_said_to_people_names_each_file_and_what_it_lost() {
    let field = Field::new();
    let ran = field.home.run(&["repair", "in", "--to", "out"]);
    assert_eq!(ran.code, Some(3));
    for part in
        ["was", "sound", "damaged", "not finished", "1 damaged place (", "torn end (", "4 files: 1 sound, 3 mended"]
    {
        assert!(ran.stdout.contains(part), "{part:?} in {}", ran.stdout);
    }
    assert!(ran.stderr.contains("damaged: in/a/b/") && ran.stderr.contains("torn: in/a/b/"), "{}", ran.stderr);
    let ran = field.home.run(&["repair", "in", "--to", "out"]);
    assert_eq!(ran.stdout.matches("(was there already)").count(), 4, "{}", ran.stdout);
    let quiet = field.home.run(&["repair", "in", "--to", "out2", "--quiet"]);
    assert_eq!((quiet.code, &quiet.stderr[..]), (Some(3), ""));
}

#[test]
fn a_torn_end_alone_is_no_loss() {
    let field = Field::new();
    let open = field.segments[3].to_str().unwrap();
    let ran = field.home.run(&["repair", open, "--to", "out", "--json"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let name = field.segments[3].file_stem().unwrap().to_str().unwrap();
    assert_eq!(files(&field.path("out")).keys().collect::<Vec<_>>(), [name]);
}

#[test]
fn in_place_is_done_only_with_yes_and_the_originals_stay_and_are_not_read() {
    let field = Field::new();
    let before = files(&field.path("in"));
    let ran = field.home.run(&["repair", "in", "--in-place"]);
    assert_eq!((ran.code, files(&field.path("in")) == before), (Some(2), true));
    assert!(ran.stderr.contains("--yes") && ran.stderr.contains(".damaged"), "{}", ran.stderr);

    let to = field.home.run(&["repair", "in", "--to", "out"]);
    assert_eq!(to.code, Some(3));
    let ran = field.home.run(&["repair", "in", "--in-place", "--yes", "--json"]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    let (out, after) = (files(&field.path("out")), files(&field.path("in")));
    // The same files as elsewhere, and the originals beside them.
    for (name, bytes) in &out {
        assert!(after[name] == *bytes, "{name}");
    }
    for (name, bytes) in before.iter().skip(1) {
        assert!(after[&format!("{name}.damaged")] == *bytes, "{name}");
    }
    assert_eq!(after.len(), 4 + 3);

    let catalog = Catalog::build(discover(&[field.path("in")]).unwrap());
    assert_eq!((catalog.sessions.len(), catalog.sessions[0].segments.len()), (1, 4));
    assert!(catalog.ignored.iter().all(|file| file.reason == ForeignReason::SetAside));
    assert_eq!(catalog.ignored.len(), 3);
    let again = field.home.run(&["repair", "in", "--in-place", "--yes", "--json"]);
    assert_eq!((again.code, figures(&again, &["files_sound", "files_ignored"])), (Some(0), vec![4, 3]));
    assert_eq!(files(&field.path("in")), after);
}

/// [F-42]
#[test]
fn an_unfinished_file_is_passed_over_and_a_waiting_one_takes_its_place() {
    let field = Field::new();
    field.home.run(&["repair", "in", "--to", "out"]);
    let (whole, original) = (&field.path("out/a/b"), &field.segments[1]);
    let name = original.file_name().unwrap().to_str().unwrap();
    let mended = std::fs::read(whole.join("rover/no-run").join(name)).unwrap();
    std::fs::write(original.with_extension("sfr.mending"), &mended[..100]).unwrap();
    std::fs::write(original.with_extension("sfr.mended"), &mended).unwrap();
    std::fs::rename(original, original.with_extension("sfr.damaged")).unwrap();
    let catalog = Catalog::build(discover(&[field.path("in")]).unwrap());
    assert_eq!(catalog.sessions[0].segments.len(), 4, "the one that waits is read");
    let reasons: Vec<_> = catalog.ignored.iter().map(|file| file.reason).collect();
    assert_eq!(reasons, [ForeignReason::SetAside, ForeignReason::Unfinished]);
    field.home.run(&["repair", "in", "--in-place", "--yes"]);
    assert_eq!(std::fs::read(original).unwrap(), mended);
    assert!(!original.with_extension("sfr.mended").exists());
}

#[test]
fn a_directory_that_can_not_be_is_refused_before_anything_is_done() {
    let field = Field::new();
    let before = tree(field.home.path());
    for (to, part) in [("in", "lies within"), ("in/a/new", "lies within")] {
        let ran = field.home.run(&["repair", "in", "--to", to]);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.stderr.contains(part) && ran.stderr.contains("Choose"), "{}", ran.stderr);
    }
    let file = field.segments[0].to_str().unwrap();
    let ran = field.home.run(&["repair", file, "--to", field.segments[0].parent().unwrap().to_str().unwrap()]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    for args in
        [&["repair", "in"][..], &["repair", "in", "--to", "x", "--in-place"], &["repair", "in", "--yes"], &["repair"]]
    {
        assert_eq!(field.home.run(args).code, Some(2), "{args:?}");
    }
    let ran = field.home.run(&["repair", "nowhere", "--to", "out"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("check the path"), "{}", ran.stderr);
    // A file is in the way.
    field.home.file("out", "mine");
    let ran = field.home.run(&["repair", "in", "--to", "out"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("the original is whole"), "{}", ran.stderr);
    std::fs::remove_file(field.path("out")).unwrap();
    assert_eq!(tree(field.home.path()), before);
}

#[cfg(unix)]
#[test]
fn a_live_recorder_is_not_disturbed_and_a_name_can_not_command_the_terminal() {
    let home = Home::new();
    let dir = home.path().join("in/\u{1b}[2J\nevil");
    let recorder = Recorder::create(&dir, &counter_schema(), RecorderOptions::default()).unwrap();
    let ran = home.run(&["repair", "in", "--to", "out"]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(ran.stderr.contains("a recorder is writing"), "{}", ran.stderr);
    assert!(!ran.all().contains('\u{1b}') && ran.all().contains("\\u{1b}[2J\\nevil"), "{ran:?}");
    recorder.finish().unwrap();
    let ran = home.run(&["repair", "in", "--to", "out"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(!ran.all().contains('\u{1b}'));
}

#[test]
fn without_any_header_the_records_are_kept_and_it_is_said_that_the_schema_is_lost() {
    let field = Field::new();
    let alone = field.segments[2].to_str().unwrap();
    let ran = field.home.run(&["repair", alone, "--to", "out"]);
    assert_eq!(ran.code, Some(3));
    assert!(ran.stderr.contains("its schema is lost"), "{}", ran.stderr);
    // Together with the others it can be replayed as it is, and be repaired.
    let whole = field.path("out2");
    let ran = field.home.run(&["repair", "out", "in", "--to", whole.to_str().unwrap(), "--json"]);
    let headers: Vec<_> =
        ran.json().iter().filter(|line| line["event"] == "repaired").map(|l| l["header"].clone()).collect();
    assert_eq!(headers[0], "sibling", "{ran:?}");
}

/// The test of all this: what is repaired delivers what the originals do.
#[test]
fn replaying_what_was_repaired_delivers_the_same_records() {
    let desk = Desk::new();
    let all = requests(80);
    let (_, segments) = record(&desk.dir(), &two_flows("rover", "key"), options(), &all, &[20, 40, 60]);
    let mut lost = 0;
    for segment in &segments[..3] {
        let seqs = damage_middle_frame(segment);
        lost += seqs.end - seqs.start;
    }
    let ran = desk.home.run(&["repair", "backups", "--to", "fixed"]);
    assert_eq!(ran.code, Some(3));
    let ran = desk.replay_at(&["fixed"], &[]);
    let names = ["records_found", "records_acknowledged", "records_missing", "damaged_places"];
    assert_eq!(figures(&ran, &names), [80 - lost, 80 - lost, lost, 0]);
    assert_eq!(desk.arrived(&all) as u64, 80 - lost);
    // What the originals have on top is nothing: their journal isn't here, the records' session is.
    let ran = desk.replay_at(&["fixed", "backups"], &[]);
    assert_eq!(figures(&ran, &["records_acknowledged", "records_already_acknowledged"]), [0, 80 - lost]);
}

fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/pbfs").join(name)
}

fn schema_of(ran: &Ran, home: &Home) -> SegmentHeader {
    let line = ran.json().into_iter().find(|line| line["event"] == "repaired").unwrap();
    let path = home.path().join(line["to"].as_str().unwrap());
    sift_replay::segment::SegmentReader::open(&path).unwrap().identity().header.clone().unwrap()
}

/// [P-4]
#[test]
fn backups_of_the_official_library_stay_what_they_are_or_become_segments() {
    use prost::Message;
    let home = Home::new();
    std::fs::create_dir(home.path().join("in")).unwrap();
    for name in ["s2_all_types_run.pbfs", "c3_flipped_byte.pbfs"] {
        std::fs::copy(sample(name), home.path().join("in").join(name)).unwrap();
    }
    let ran = home.run(&["repair", "in", "--to", "out", "--json"]);
    assert_eq!((ran.code, figures(&ran, &["records", "files_sound"])), (Some(3), vec![999, 1]));
    let names: Vec<_> = files(&home.path().join("out")).into_keys().collect();
    assert_eq!(names, ["c3_flipped_byte.pbfs", "s2_all_types_run.pbfs"]);

    let config =
        CreateIngestionConfigRequest { asset_name: "rover".into(), client_key: "key".into(), ..Default::default() };
    home.file("schema.json", &serde_json::to_string(&config).unwrap());
    std::fs::write(home.path().join("schema.bin"), config.encode_to_vec()).unwrap();
    let segment =
        record(&home.path().join("schema"), &two_flows("probe", "k"), options(), &requests(3), &[]).1.remove(0);
    let mut sessions = Vec::new();
    for (number, schema) in ["schema.json", "schema.bin", segment.to_str().unwrap()].into_iter().enumerate() {
        let to = format!("segments{number}");
        let args = ["repair", "in", "--to", &to, "--schema", schema, "--json"];
        let ran = home.run(&args);
        assert_eq!((ran.code, figures(&ran, &["records", "files_mended"])), (Some(3), vec![999, 1]), "{ran:?}");
        let stored = schema_of(&ran, &home);
        let asset = if number < 2 { "rover" } else { "probe" };
        assert_eq!(CreateIngestionConfigRequest::decode(&stored.ingestion_config[..]).unwrap().asset_name, asset);
        let catalog = Catalog::build(discover(&[home.path().join(&to)]).unwrap());
        sessions.push(catalog.sessions.iter().map(|session| session.id).collect::<Vec<_>>());
        // The same files become the same sessions; they are there already.
        let before = files(&home.path().join(&to));
        let again = home.run(&args);
        assert!(events(&again.json(), "repaired").iter().all(|line| line["already_there"] == true), "{again:?}");
        assert_eq!(files(&home.path().join(&to)), before);
    }
    assert_eq!(sessions[0].len(), 2, "two files that aren't the same");
    assert!(sessions.iter().all(|found| *found == sessions[0]));
    assert!(sessions[0].iter().all(|id| id.get_version_num() == 7));

    for (content, part) in
        [("{\"assetName\": 7}", "holds no schema"), ("", "names no asset"), ("\u{7f}", "holds no schema")]
    {
        let path = home.file("bad", content);
        let ran = home.run(&["repair", "in", "--to", "never", "--schema", path.to_str().unwrap()]);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.stderr.contains(part), "{}", ran.stderr);
    }
    assert!(!home.path().join("never").exists());
}
