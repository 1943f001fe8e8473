//! The organization that a store of recordings stands for. Clients keep what was acknowledged per organization: a store
//! that keeps its id is known again wherever it listens, and another one at the same address isn't taken for it.

use crate::catalog::STATE_DIR;
use crate::segment::Storage;
use std::{
    io,
    path::{Path, PathBuf},
};
use uuid::Uuid;

/// The file below the state directory.
const NAME: &str = "organization";

/// A UUID as text, and room for what an editor leaves around it.
const MAX_BYTES: u64 = 64;

/// Why the id of a store can't be told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The file can't be read or written.
    #[error("can't {doing} {}: {source}; the id of this store of recordings is kept there", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file holds something else.
    #[error(
        "{} is damaged: it must hold the id of this store of recordings, a UUID, and nothing else. Put it back from \
         a copy; or remove the file to give the store another id, and clients will send again what it has",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
    },
}

/// The id of the organization that the store of recordings below `root` stands for: what an earlier call has chosen, or
/// a new one. When this returns, a power cut doesn't change it any more.
///
/// # Errors
/// [`IdentityError`]: the id can't be read or kept, or what is kept is none.
pub fn organization_of(storage: &dyn Storage, root: &Path) -> Result<Uuid, IdentityError> {
    let dir = root.join(STATE_DIR);
    let path = dir.join(NAME);
    if let Some(known) = read(storage, &path)? {
        // Whoever wrote it may have been cut off before the directory was durable.
        storage.sync_dir(&dir).map_err(failed("sync", &dir))?;
        return Ok(known);
    }
    storage.create_dir_all(&dir).map_err(failed("create", &dir))?;
    let id = Uuid::now_v7();
    // A name of its own: what a power cut leaves of it is never read, nor in anybody's way.
    let new = dir.join(format!("{NAME}-{id}.new"));
    let mut file = storage.create(&new).map_err(failed("create", &new))?;
    file.append(format!("{id}\n").as_bytes()).map_err(failed("write", &new))?;
    file.sync().map_err(failed("write", &new))?;
    drop(file);
    storage.rename(&new, &path).map_err(failed("create", &path))?;
    storage.sync_dir(&dir).map_err(failed("sync", &dir))?;
    // Another receiver may have been faster.
    read(storage, &path)?.ok_or(IdentityError::Damaged { path })
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> IdentityError {
    let path = path.to_owned();
    move |source| IdentityError::Io { doing, path, source }
}

fn read(storage: &dyn Storage, path: &Path) -> Result<Option<Uuid>, IdentityError> {
    let damaged = || IdentityError::Damaged { path: path.to_owned() };
    let bytes = match storage.read(path, MAX_BYTES) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => return Err(damaged()),
        Err(error) => return Err(failed("read", path)(error)),
    };
    let text = str::from_utf8(&bytes).map_err(|_| damaged())?.trim();
    let id = Uuid::try_parse(text).ok().filter(|id| !id.is_nil());
    id.map(Some).ok_or_else(damaged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::Disk;

    #[test]
    fn a_store_keeps_its_id_and_no_two_share_one() {
        let root = tempfile::tempdir().unwrap();
        let (one, two) = (root.path().join("one"), root.path().join("two"));
        let id = organization_of(&Disk, &one).unwrap();
        assert_eq!(organization_of(&Disk, &one).unwrap(), id);
        assert_ne!(organization_of(&Disk, &two).unwrap(), id);
        let files = std::fs::read_dir(one.join(STATE_DIR)).unwrap();
        assert_eq!(files.count(), 1, "nothing else is left");
    }

    #[test]
    fn what_is_no_id_is_an_error_that_says_what_to_do_and_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let id = organization_of(&Disk, root.path()).unwrap();
        let path = root.path().join(STATE_DIR).join(NAME);
        let nil = Uuid::nil().to_string();
        let long = format!("{id}{}", " ".repeat(64));
        for content in [&b""[..], b"\n", b"org", &[0xff; 36], &[0; 36], nil.as_bytes(), long.as_bytes()] {
            std::fs::write(&path, content).unwrap();
            let error = organization_of(&Disk, root.path()).unwrap_err();
            assert!(matches!(error, IdentityError::Damaged { .. }), "{error:?}");
            assert!(error.to_string().contains("remove the file"), "{error}");
            assert_eq!(std::fs::read(&path).unwrap(), content);
        }
        std::fs::write(&path, format!("  {id}\r\n")).unwrap();
        assert_eq!(organization_of(&Disk, root.path()).unwrap(), id);
    }

    #[test]
    fn a_file_that_can_not_be_read_is_not_taken_for_none() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join(STATE_DIR).join(NAME)).unwrap();
        let error = organization_of(&Disk, root.path()).unwrap_err();
        assert!(matches!(error, IdentityError::Io { .. }), "{error:?}");
    }
}
