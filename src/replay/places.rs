//! Where a path leads, also if it isn't there yet.

use std::io;
use std::path::{Path, PathBuf};

/// `path` without links and detours, as far as it is there; what isn't there is appended as it stands.
///
/// # Errors
/// The operating system's, if the current directory is gone.
pub(super) fn resolve(path: &Path) -> io::Result<PathBuf> {
    let absolute = std::path::absolute(path)?;
    for existing in absolute.ancestors() {
        if let Ok(resolved) = existing.canonicalize() {
            let rest = absolute.strip_prefix(existing).unwrap_or(Path::new(""));
            return Ok(if rest.as_os_str().is_empty() { resolved } else { resolved.join(rest) });
        }
    }
    Ok(absolute)
}
