//! Files for readers that need real ones: in memory where the system has a place for that, one directory a process.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// A directory for this process's files. `fuzz/run` removes those of processes that are gone.
pub fn dir() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let memory = Path::new("/dev/shm");
        let root = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let dir = root.join(format!("sift-replay-fuzz-{}", std::process::id()));
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
