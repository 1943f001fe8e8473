//! Retries that are cut short, kept out, or have odd letters before them.

use super::*;

#[test]
fn an_interrupted_retry_keeps_what_is_acknowledged() {
    let (desk, backup) = Desk::sound(2, 300);
    refuse(&desk.faulty, times(&backup, 3));
    assert_eq!(desk.replay(&[]).code, Some(3));
    desk.faulty.heal();
    desk.faulty.next_streams([Fate::Held]);
    let more = ["--window-bytes", "500"];
    let running = Running::start(desk.command(&["dead-letters", "--retry", "--json"], &desk.faulty, &more));
    desk.faulty.wait(|seen| seen.held_streams == 1 && seen.acknowledged_streams > 0);
    running.interrupt();
    desk.faulty.wait(|seen| seen.open_streams == 1);
    desk.faulty.release();
    let (status, stdout, stderr) = running.wait();
    assert_eq!(status.code(), Some(130), "{stdout} {stderr}");
    let retried = desk.retry();
    assert_eq!(retried.code, Some(0), "{retried:?}");
    assert_eq!(desk.faulty.seen().acknowledged_twice(), 0);
    desk.check_healed();
}

#[test]
fn two_at_a_time_are_one_too_many() {
    let (desk, backup) = Desk::sound(1, 100);
    refuse(&desk.faulty, times(&backup, 3));
    assert_eq!(desk.replay(&[]).code, Some(3));
    desk.faulty.heal();
    desk.faulty.all_streams(Fate::Held);
    let running = Running::start(desk.command(&["dead-letters", "--retry", "--json"], &desk.faulty, &[]));
    desk.faulty.wait(|seen| seen.held_streams > 0);
    let second = desk.retry();
    assert_eq!(second.code, Some(1), "{second:?}");
    assert!(second.stderr.contains("another sift-replay"), "{second:?}");
    desk.faulty.heal();
    let (status, stdout, stderr) = running.wait();
    assert_eq!(status.code(), Some(0), "{stdout} {stderr}");
    desk.check_healed();
}

/// An open segment's HEADER lacks the flows that were added since.
#[test]
fn letters_of_a_flow_that_was_added_later_have_it_in_their_header() {
    let desk = Desk::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let recorder = Recorder::create(elsewhere.path(), &counter_schema(), RecorderOptions::default()).unwrap();
    let first = recorder.flow("f").unwrap();
    let _ = recorder.record(&first, Timestamp::from_unix_ns(1), &[Owned::Uint64(1).value()]).unwrap();
    let late = recorder.add_flow(flow_of("late", &[DataType::Bool])).unwrap();
    for time in 2..5 {
        let _ = recorder.record(&late, Timestamp::from_unix_ns(time), &[Owned::Bool(true).value()]).unwrap();
    }
    recorder.flush().unwrap();
    let open = std::fs::read_dir(recorder.dir()).unwrap().next().unwrap().unwrap().path();
    assert!(open.to_str().unwrap().ends_with(".open"));
    std::fs::copy(&open, desk.backups.join(open.file_name().unwrap())).unwrap();
    refuse(&desk.faulty, [1, 3]);
    let ran = desk.replay(&[]);
    assert_eq!((ran.code, &ran.summary()["records_dead_lettered"]), (Some(3), &json!(2)), "{ran:?}");
    let names = |path: &PathBuf| Segment::read(path).flows().into_iter().map(|flow| flow.name).collect::<Vec<_>>();
    assert!(desk.files().iter().map(names).any(|names| names == ["f", "late"]), "{:?}", desk.files());
    // Whoever replays the letters alone, to where nothing is known, can do so.
    let other = Faulty::start();
    let path = desk.files().pop().unwrap();
    let dir = path.parent().unwrap();
    let uri = other.uri();
    let alone = desk.home.run(&["--uri", &uri, "--json", "--state-dir", "alone", dir.to_str().unwrap()]);
    assert_eq!((alone.code, &alone.summary()["records_acknowledged"]), (Some(0), &json!(2)), "{alone:?}");
    desk.faulty.heal();
    assert_eq!(desk.retry().code, Some(0));
    let seen = desk.faulty.seen();
    assert!(seen.is_acknowledged(&RecordId::of(&encoded("late", 3, &[Owned::Bool(true)]))));
    desk.check_healed();
}

#[test]
fn letters_without_a_sound_target_are_told_and_kept() {
    let desk = Desk::new();
    std::fs::write(desk.backups.join("readme"), "nothing").unwrap();
    let mut letters = on_disk(&desk.state());
    let strange = Target::from_text(&format!("{} colour=\"red\"", desk.faulty.uri()));
    letters.add(&strange, &SESSION, None, Some(&requests()), "no", &records([1])).unwrap();
    letters.add(&Target::from_text(&desk.faulty.uri()), &PBFS, None, Some(&requests()), "no", &records([2])).unwrap();
    drop(letters);
    assert!(desk.files().iter().all(|path| path.extension().unwrap() == "sfr"), "sealed at the end, whatever ends it");
    let retried = desk.retry();
    assert_eq!((retried.code, &retried.summary()["records_acknowledged"]), (Some(3), &json!(1)), "{retried:?}");
    assert!(retried.stderr.contains("colour") && retried.stderr.contains("sift-replay FILE"), "{retried:?}");
    assert_eq!(desk.files().len(), 1);
}
