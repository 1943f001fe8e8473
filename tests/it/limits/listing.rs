//! `ls` of sealed segments.

use std::path::Path;

use sift_replay::record::{Recorder, RecorderOptions};

use crate::replay::{count, counting, small_frames};
use crate::support::cli::Home;
use crate::support::taken::{Reads, reads_of};

/// A session of so many sealed segments, of as many records each.
fn segments(dir: &Path, segments: u64, records: u64, options: RecorderOptions) {
    let recorder = Recorder::create(dir, &counting("k"), options).unwrap();
    for _ in 0..segments {
        count(&recorder, records);
        recorder.rotate().unwrap();
    }
    recorder.finish().unwrap();
}

#[test]
fn try_it() {
    for n in [100, 200] {
        let dir = std::path::PathBuf::from(format!("/tmp/wt/limits-try/ls-{n}"));
        let _ = std::fs::remove_dir_all(&dir);
        segments(&dir, n, 5000, RecorderOptions::default());
        let home = Home::new();
        println!("{:?}", reads_of(&mut home.command(&["ls", dir.to_str().unwrap()])));
    }
}
