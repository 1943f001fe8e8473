//! HEADERs of other segments of a session, for those that have lost their own.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::catalog::{Catalog, Session};
use crate::format::SegmentHeader;
use crate::segment::{Identity, SegmentReader};

pub(super) struct Siblings {
    sessions: HashMap<Uuid, Session>,
    /// Which session each file is of.
    files: HashMap<PathBuf, Uuid>,
    /// The HEADER that any segment of a session has.
    known: RefCell<HashMap<Uuid, Option<SegmentHeader>>>,
}

impl Siblings {
    pub(super) fn of(catalog: Catalog) -> Self {
        let files = catalog
            .sessions
            .iter()
            .flat_map(|session| session.segments.iter().map(|file| (file.path.clone(), session.id)));
        let files = files.collect();
        let sessions = catalog.sessions.into_iter().map(|session| (session.id, session)).collect();
        Self { sessions, files, known: RefCell::default() }
    }

    /// A HEADER for the segment at `path`: that of a copy of it, or else of another segment of its session, with all
    /// flows that the session is known to have ([F-33]).
    pub(super) fn header(&self, path: &Path, identity: &Identity) -> Option<SegmentHeader> {
        let session = self.sessions.get(self.files.get(path)?)?;
        let copies = session.segments.iter().filter(|file| file.path != path && Some(file.index) == identity.index);
        copies.filter_map(|file| header_of(&file.path)).next().or_else(|| self.any(session))
    }

    fn any(&self, session: &Session) -> Option<SegmentHeader> {
        let mut known = self.known.borrow_mut();
        let header = known.entry(session.id).or_insert_with(|| {
            let header = session.segments.iter().filter_map(|file| header_of(&file.path)).next()?;
            let ingestion_config = session.requests.as_ref()?.ingestion_config.to_vec();
            Some(SegmentHeader { ingestion_config, ..header })
        });
        header.clone()
    }
}

fn header_of(path: &Path) -> Option<SegmentHeader> {
    // What can't be read is told when it is its turn.
    SegmentReader::open_plain(path).ok()?.identity().header.clone()
}
