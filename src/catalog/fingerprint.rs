//! Telling whether a file is still the one that was looked at, without reading it.

use std::fs::Metadata;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// How long a file must have been left alone for its times to tell of every change: file systems round them, FAT to
/// two seconds, so that a file may change twice within one time.
const SETTLED: Duration = Duration::from_secs(3);

/// What a file system says of a file. A file whose fingerprint is another has changed, or is another file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fingerprint {
    /// Its size in bytes.
    pub bytes: u64,
    /// When it was written to last; `None` where nothing tells.
    pub modified: Option<SystemTime>,
    /// Its device and number there; `None` where files have none.
    pub id: Option<(u64, u64)>,
}

impl Fingerprint {
    /// The present fingerprint of the file at `path`; of the file that a link points at.
    ///
    /// # Errors
    /// The operating system's; [`io::ErrorKind::NotFound`] if the file is gone.
    pub fn of(path: &Path) -> io::Result<Self> {
        std::fs::metadata(path).map(|metadata| Self::from(&metadata))
    }

    /// Whether a change after `now` will show: the file was left alone for longer than times are rounded.
    pub(crate) fn is_settled(&self, now: SystemTime) -> bool {
        self.modified.and_then(|modified| now.duration_since(modified).ok()).is_some_and(|age| age >= SETTLED)
    }
}

impl From<&Metadata> for Fingerprint {
    fn from(metadata: &Metadata) -> Self {
        Self { bytes: metadata.len(), modified: metadata.modified().ok(), id: file_id(metadata) }
    }
}

#[cfg(unix)]
fn file_id(metadata: &Metadata) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    Some((metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn file_id(_metadata: &Metadata) -> Option<(u64, u64)> {
    None
}
