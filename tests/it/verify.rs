//! Verifying: what is sound passes, whatever isn't is told, with its place and once.

mod copies;
mod program;
mod records;
mod samples;
mod schema;
mod seal;
mod sound;
mod sweep;

use std::path::{Path, PathBuf};

use sift_replay::segment::{SkipReason, Skipped};
use sift_replay::verify::{Finding, Report, Subject, VerifyOptions, verify};

use crate::support::format::golden::{header, imus};
use crate::support::format::{Rec, SESSION, Seg, V};

/// What verifying has found: each finding in a few words.
#[derive(Debug)]
pub(crate) struct Looked {
    pub(crate) found: Vec<String>,
    pub(crate) report: Report,
}

impl Looked {
    /// Fails unless there is nothing to find.
    #[track_caller]
    pub(crate) fn is_sound(&self, records: u64) {
        assert_eq!(self.found, [""; 0], "{:#?}", self.report);
        assert!(self.report.is_sound(), "{:#?}", self.report);
        assert_eq!(self.report.totals.records_found, records, "{:#?}", self.report);
    }

    /// Fails unless exactly this was found, and counts as a fault.
    #[track_caller]
    pub(crate) fn finds(&self, expected: &[&str]) {
        assert_eq!(self.found, expected, "{:#?}", self.report);
        assert!(!self.report.is_sound(), "{:#?}", self.report);
    }
}

/// Verifies what is at and below `path`.
pub(crate) fn look(path: &Path) -> Looked {
    look_with(&[path.to_owned()], VerifyOptions::default())
}

fn look_with(paths: &[PathBuf], options: VerifyOptions) -> Looked {
    let mut found = Vec::new();
    let report = verify(paths, &options, &mut |finding| found.push(in_words(finding))).unwrap();
    Looked { found, report }
}

/// A segment in a directory of its own, under the name that it should have.
fn look_at(seg: &Seg) -> Looked {
    look_as(&name(seg), &seg.bytes)
}

/// The same, of these bytes under this name.
fn look_as(name: &str, bytes: &[u8]) -> Looked {
    look_files(&[(name, bytes)])
}

fn look_files(files: &[(&str, &[u8])]) -> Looked {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    look(dir.path())
}

/// The name that a segment should have.
fn name(seg: &Seg) -> String {
    let sealed = seg.frames.last().is_some_and(|frame| frame.event["event"] == "seal");
    let suffix = if sealed { "sfr" } else { "sfr.open" };
    format!("{SESSION}-{:06}.{suffix}", seg.header.index)
}

fn in_words(finding: &Finding<'_>) -> String {
    let file = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    match finding {
        Finding::Ignored { path, reason } => format!("ignored {} {}", file(path), reason.as_str()),
        Finding::Unreadable { path, reason } => format!("unreadable {} {reason}", file(path)),
        Finding::Damage { damage, .. } => {
            format!("damage {} +{} {} {:?}", damage.offset, damage.len, damage.cause.as_str(), damage.seqs)
        }
        Finding::Torn { torn, .. } => format!("torn {} +{} {:?}", torn.offset, torn.len, torn.seqs),
        Finding::Skipped { skipped: Skipped { offset, len, reason, seqs }, .. } => {
            let reason = match reason {
                SkipReason::UnknownKind(kind) => format!("kind {kind}"),
                SkipReason::Unreadable(why) => why.to_string(),
            };
            format!("skipped {offset} +{len} {reason} {seqs:?}")
        }
        Finding::Invalid { offset, seq: Some(seq), problem, .. } => format!("invalid {offset} seq {seq}: {problem}"),
        Finding::Invalid { offset, seq: None, problem, .. } => format!("invalid {offset}: {problem}"),
        Finding::NonFinite { flow, channel, values, .. } => format!("non-finite {flow:?} {channel:?} {values}"),
        Finding::Differs { seqs, path, other, .. } => format!("differs {seqs:?} {} {}", file(path), file(other)),
        Finding::Mark { mark, .. } => format!("mark {mark:?}"),
        Finding::Missing { seqs, .. } => format!("missing {seqs:?}"),
        Finding::More { subject, kind, untold } => {
            let subject = if matches!(subject, Subject::File(_)) { "file" } else { "session" };
            format!("more {} of the {subject}: {untold}", kind.as_str())
        }
    }
}

/// A HEADER and two records of `imu` at byte [`FIRST`]: what follows is the test's.
fn begun() -> Seg {
    let mut seg = Seg::new(header(0));
    seg.data(&imus(0, 2), false);
    seg
}

/// Where the first frame behind HEADER begins in [`begun`].
const FIRST: usize = 216;

/// A record of `imu` with this first value.
fn imu_with(value: V) -> Rec {
    Rec { values: vec![value, V::F64(0.0)], ..imus(7, 1)[0].clone() }
}
