//! Files for readers that need real ones: one directory a process, where the system keeps temporary files. `fuzz/run` has
//! them in memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// A directory for this process's files.
pub fn dir() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let dir = std::env::temp_dir().join(format!("sift-replay-fuzz-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("a directory for files");
        dir
    })
}

/// A file of that name with this content.
pub fn put(name: &str, bytes: &[u8]) -> PathBuf {
    let path = dir().join(name);
    fs::write(&path, bytes).expect("a file");
    path
}
