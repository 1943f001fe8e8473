//! What may go wrong with segment files.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::format::EncodeError;

/// A segment that can't be written or read.
#[derive(Debug, Error)]
pub enum SegmentError {
    /// The operating system refuses.
    #[error("can't {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// An earlier write or sync of this file failed. It is never touched again: after a failed sync, a second one that
    /// succeeds proves nothing.
    #[error("{} was abandoned after an earlier error; its unsynced frames belong into a new segment", path.display())]
    Abandoned {
        /// The file.
        path: PathBuf,
    },
    /// What should be written doesn't fit into a frame.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

impl SegmentError {
    /// Whether the disk is full, or a quota on it.
    pub fn is_out_of_space(&self) -> bool {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        matches!(self, Self::Io { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded | FileTooLarge))
    }

    /// Whether the file isn't there (any more).
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// For `map_err`: wraps the operating system's answer.
    pub(crate) fn io<P: AsRef<Path>>(action: &'static str, path: P) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.as_ref().to_owned(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use io::ErrorKind::*;

    #[test]
    fn only_a_full_disk_is_out_of_space_and_only_what_is_not_there_is_not_found() {
        let of = |kind: io::ErrorKind| SegmentError::io("read", "file")(kind.into());
        let said = |error: &SegmentError| (error.is_out_of_space(), error.is_not_found());
        for kind in [StorageFull, QuotaExceeded, FileTooLarge] {
            assert_eq!(said(&of(kind)), (true, false), "{kind}");
        }
        assert_eq!(said(&of(NotFound)), (false, true));
        assert_eq!(said(&of(PermissionDenied)), (false, false));
        assert_eq!(said(&SegmentError::Abandoned { path: "file".into() }), (false, false));
    }
}
