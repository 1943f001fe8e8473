//! What is to be replayed, in which order: sessions, then the official library's backups.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sift_rs::ingestion_configs::v2::CreateIngestionConfigRequest;
use sift_rs::runs::v2::CreateRunRequest;
use uuid::Uuid;

use super::observe::Origin;
use super::options::Selection;
use crate::catalog::{Catalog, Fingerprint, PbfsFile, Requests, SegmentFile, Session};
use crate::format::{Bounded, IngestionConfig, MAX_MESSAGE_PARTS, Run};

/// One piece of work: its records go out in order.
#[derive(Debug, Clone)]
pub(super) enum Job {
    Session(Arc<Session>),
    Pbfs(Arc<PbfsFile>),
}

/// Whose work it is, over several looks into the directories.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum JobKey {
    Session(Uuid),
    Pbfs(PathBuf),
}

impl Job {
    pub(super) fn key(&self) -> JobKey {
        match self {
            Self::Session(session) => JobKey::Session(session.id),
            Self::Pbfs(file) => JobKey::Pbfs(file.path.clone()),
        }
    }

    pub(super) fn origin(&self) -> Origin<'_> {
        match self {
            Self::Session(session) => Origin::Session(session.id),
            Self::Pbfs(file) => Origin::Pbfs(&file.path),
        }
    }

    pub(super) fn requests(&self) -> Option<&Requests> {
        match self {
            Self::Session(session) => session.requests.as_ref(),
            Self::Pbfs(_) => None,
        }
    }

    /// Its files as they were found. If they are the same at another time, there is nothing new.
    pub(super) fn files(&self) -> Vec<(PathBuf, Fingerprint)> {
        match self {
            Self::Session(session) => {
                session.segments.iter().map(|file| (file.path.clone(), file.fingerprint)).collect()
            }
            Self::Pbfs(file) => vec![(file.path.clone(), file.fingerprint)],
        }
    }

    /// With those files of an earlier search that aren't there any more, and which these are: what wasn't read of them
    /// may be lost.
    pub(super) fn with_gone_of(self, before: &Self) -> (Self, HashSet<PathBuf>) {
        let (Self::Session(session), Self::Session(before)) = (&self, before) else { return (self, HashSet::new()) };
        let found: HashSet<&Path> = session.segments.iter().map(|file| &*file.path).collect();
        let gone: Vec<_> = before.segments.iter().filter(|file| !found.contains(&*file.path)).cloned().collect();
        let paths = gone.iter().map(|file| file.path.clone()).collect();
        let lost = session.requests.is_none() && before.requests.is_some();
        if gone.is_empty() && !lost {
            return (self, paths);
        }
        let mut session = Session::clone(session);
        session.segments.extend(gone);
        session.segments.sort_by_key(|file| file.index);
        session.requests = session.requests.or_else(|| before.requests.clone());
        (Self::Session(Arc::new(session)), paths)
    }

    /// Without the files that are `needless`; returns which these were.
    pub(super) fn forget(&mut self, needless: impl Fn(&SegmentFile) -> bool) -> Vec<PathBuf> {
        let Self::Session(session) = self else { return Vec::new() };
        let (needless, rest): (Vec<_>, Vec<_>) = session.segments.iter().cloned().partition(needless);
        if !needless.is_empty() {
            *session = Arc::new(Session { segments: rest, ..Session::clone(session) });
        }
        needless.into_iter().map(|file| file.path).collect()
    }

    /// Bytes of its files, copies left out.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Session(session) => {
                let mut last = None;
                let mut is_new = |index| last.replace(index) != Some(index);
                let files = session.segments.iter().filter(|file| is_new(file.index));
                // Files with holes can have any size.
                files.fold(0, |sum, file| sum.saturating_add(file.bytes))
            }
            Self::Pbfs(file) => file.bytes,
        }
    }
}

/// The jobs of a catalog that are selected, in order.
pub(super) fn plan(catalog: &Catalog, selection: &Selection) -> Vec<Job> {
    let sessions = catalog.sessions.iter().filter(|session| selects(selection, session));
    let sessions = sessions.cloned().map(|session| Job::Session(Arc::new(session)));
    // A backup names no asset, and is no session.
    let has_pbfs = selection.assets.is_empty() && selection.sessions.is_empty();
    let pbfs = catalog.pbfs.iter().filter(|_| has_pbfs).cloned();
    sessions.chain(pbfs.map(|file| Job::Pbfs(Arc::new(file)))).collect()
}

fn selects(selection: &Selection, session: &Session) -> bool {
    let by_id = selection.sessions.is_empty() || selection.sessions.contains(&session.id);
    // To Sift, names that differ in case alone are one asset.
    let is = |asset: &String| session.requests.as_ref().is_some_and(|its| its.asset.eq_ignore_ascii_case(asset));
    by_id && (selection.assets.is_empty() || selection.assets.iter().any(is))
}

/// How many files are recordings that aren't selected.
pub(super) fn not_selected(catalog: &Catalog, jobs: &[Job]) -> u64 {
    let segments: usize = catalog.sessions.iter().map(|session| session.segments.len()).sum();
    let selected: usize = jobs.iter().map(|job| job.files().len()).sum();
    (segments + catalog.pbfs.len()).saturating_sub(selected) as u64
}

pub(super) fn schema_is_lost(session: Uuid) -> String {
    format!("the schema of session {session} is lost: replay it together with another segment of the session")
}

pub(super) fn schema_unreadable(session: Uuid, error: &str) -> String {
    format!("the schema of session {session} can't be read: {error}")
}

/// A session's requests as Sift's own types; `None` if there are none, because each record carries its own ids ([F-19]).
pub(super) fn sift_requests(
    requests: &Requests,
) -> Result<Option<(CreateIngestionConfigRequest, Option<CreateRunRequest>)>, String> {
    use prost::Message;
    if requests.ingestion_config.is_empty() {
        return Ok(None);
    }
    // [F-14]
    if !IngestionConfig::is_bounded(&requests.ingestion_config) || !requests.run.as_deref().is_none_or(Run::is_bounded)
    {
        return Err(format!("it has more than {MAX_MESSAGE_PARTS} flows, channels and other parts"));
    }
    let unreadable = |error: prost::DecodeError| error.to_string();
    let config = CreateIngestionConfigRequest::decode(&requests.ingestion_config[..]).map_err(unreadable)?;
    let run = requests.run.as_deref().map(CreateRunRequest::decode).transpose().map_err(unreadable)?;
    Ok(Some((config, run)))
}
